//! What a hub may have left behind is looked for, and taken away.

use tracing::warn;

use super::{
    App,
    work::{MISSING_LOOKS, patiently},
};
use crate::{
    apply::StepOutcome,
    desired::DesiredState,
    handler::{HandlerError, InvocationResponse},
    offboard::{Certainty, Hints, Sweeper, Swept},
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
            return self.again(item, item.leftovers_again(due, chain), record).await;
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
            self.former_are_done(item).await;
            return self.end(item, &record, None);
        }
        if !word.is_parked() {
            record.principals = Some(Principals { swept: true, ..Principals::default() });
        }
        self.finish(item, record).await
    }

    /// Nothing of the hub's former principals is left. How the hub itself stands is written down already, and stays.
    async fn former_are_done(&self, item: &WorkItem) {
        let Some(store) = &self.store else { return };
        let written = async {
            let Some(mut last) = store.of_hub(&item.hub).await? else { return Ok(()) };
            let Some(principals) = &mut last.principals else { return Ok(()) };
            principals.former.clear();
            store.tell_of_hub(&item.hub, &last).await
        };
        if let Err(error) = written.await {
            warn!(hub.id = %item.hub, %error, "{}: its last outcome could not be written down", item.hub.name());
        }
    }

    /// What earlier looks have written down about a hub.
    async fn hints(&self, item: &WorkItem) -> Hints {
        let Some(store) = &self.store else { return Hints::default() };
        match store.of_hub(&item.hub).await {
            Ok(record) => {
                let known = record.and_then(|record| record.principals).unwrap_or_default();
                Hints {
                    principals: known.former.into_iter().chain(known.system).collect(),
                    accounts: known.cosmos_accounts,
                }
            }
            Err(error) => {
                warn!(hub.id = %item.hub, %error, "{}: its last outcome could not be read", item.hub.name());
                Hints::default()
            }
        }
    }

    /// Writes down the last outcome of a hub, and whom it acts as. One that acts as another than before has left
    /// grants behind: a message to look for them is sent before what tells of it is overwritten.
    pub(super) async fn write_down(&self, item: &WorkItem, record: &Record) -> Result<(), HandlerError> {
        let Some(store) = &self.store else { return Ok(()) };
        if is_aside(item) && record.outcome == Word::Waiting {
            return Ok(());
        }
        let mut record = record.clone();
        let written = match store.of_hub(&item.hub).await {
            Ok(last) => {
                // What was wanted when it was last in order.
                let in_sync_as = last.as_ref().and_then(|last| last.in_sync_as);
                record.in_sync_as = record.in_sync_as.or(in_sync_as);
                let (before, written) = last.map(|last| (last.principals, last.written)).unwrap_or_default();
                record.written = record.written.after(written, self.arm.clock().now());
                let mut gone = None;
                record.principals = match (record.principals, before) {
                    (Some(now), Some(before)) => {
                        let (now, former) = now.after(&before);
                        // An identity that we turn off has its grants taken away before it goes.
                        let by_us = record.outcome == Word::Changed && now.system.is_none();
                        gone = former.filter(|_| !by_us);
                        Some(now)
                    }
                    (now, before) => now.or(before),
                };
                if let Some(principal) = gone {
                    let mut next = WorkItem::for_former_principal(item.hub.clone(), &principal);
                    next.trace_parent.clone_from(&item.trace_parent);
                    self.send(&next.received(self.arm.clock().now())).await?;
                }
                store.tell_of_hub(&item.hub, &record).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            warn!(hub.id = %item.hub, %error, "{}: its last outcome could not be written down", item.hub.name());
        }
        Ok(())
    }
}

/// Whether the item is about the hub's former principals alone.
fn is_aside(item: &WorkItem) -> bool {
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
