//! What a hub may have left behind is looked for, and taken away.

use super::{
    App,
    work::{MISSING_LOOKS, patiently},
};
use crate::{
    apply::StepOutcome,
    desired::DesiredState,
    handler::{HandlerError, InvocationResponse},
    offboard::{Certainty, Sweeper, Swept},
    outcomes::{Principals, Record, Word, of_look},
    reconcile::{Aim, Chain, Outcome},
    work::{Reason, WorkItem},
};

impl App {
    /// Looks for what a hub has left behind. A hub that is there is then looked at as always.
    pub(super) async fn leftovers(
        &self,
        state: &DesiredState,
        item: &WorkItem,
    ) -> Result<InvocationResponse, HandlerError> {
        let certainty = match item.reason {
            _ if item.follows >= MISSING_LOOKS => Certainty::Sure,
            Reason::Deleted { .. } => Certainty::Told,
            _ => Certainty::Unsure,
        };
        let hints = self.hints(item).await;
        let arm = self.writer();
        let swept = Sweeper { arm: &arm, state }.sweep(&item.hub, certainty, &hints).await;
        let applied = swept.steps.iter().filter(|step| step.outcome == StepOutcome::Applied);
        let mut chain = item.chain();
        chain.done.extend(applied.map(|step| step.step.clone()));
        if let Outcome::Waiting { cause, until, .. } = &swept.outcome {
            let due = patiently(*until, item.follows, self.arm.clock().now());
            let record = self.waiting(item, cause, due);
            return self.again(item, item.leftovers_again(due, chain), record, None).await;
        }
        let is_there = swept.is_there == Some(true);
        if is_there && !is_aside(item) {
            return self.look(Aim::profile(state), item, chain, Some(swept)).await;
        }
        let (word, causes) = match of_look(&swept.outcome) {
            (Word::InSync, _) if !chain.done.is_empty() => (Word::Changed, Vec::new()),
            other => other,
        };
        let mut record =
            Record::of(item, word, causes, self.arm.clock().now()).with_swept(&swept, &chain.done);
        if swept.is_there == Some(false) {
            self.reconciler.forget(&item.hub);
            record.warnings.push("the hub is gone".to_owned());
        }
        if is_there && !word.is_parked() {
            self.former_are_done(item).await?;
            return self.end(item, &record, None);
        }
        if !word.is_parked() {
            record.principals = Some(Principals { swept: true, ..Principals::default() });
        }
        self.finish(item, record).await
    }
}

/// Whether the item is about the hub's former principals alone.
pub(super) fn is_aside(item: &WorkItem) -> bool {
    matches!(item.reason, Reason::Leftovers { then_look: false, .. })
}

/// What came of a look at a hub that left something behind: what could not be taken away is no success.
pub(super) fn with_failure(look: (Word, Vec<String>), swept: Option<&Swept>) -> (Word, Vec<String>) {
    let Some(swept) = swept else { return look };
    let (left, why) = of_look(&swept.outcome);
    match look {
        (Word::InSync | Word::Changed, _) if left.is_parked() => (left, why),
        (word, mut causes) => {
            causes.extend(why);
            (word, causes)
        }
    }
}

/// The message that goes on with a look that waits: what could not be taken away is tried again with it.
pub(super) fn next(
    item: &WorkItem,
    cause: &str,
    due: time::OffsetDateTime,
    chain: Chain,
    swept: Option<&Swept>,
) -> WorkItem {
    match swept {
        Some(swept) if of_look(&swept.outcome).0.is_parked() => item.leftovers_again(due, chain),
        _ => item.follow_up(cause, due, chain),
    }
}
