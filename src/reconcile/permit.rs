//! Whether a hub may be written now: it is at rest, nobody fights over it, it keeps what it is given,
//! and it has not been written too often.

use time::{Duration, OffsetDateTime};
use tracing::warn;

use super::{Aim, MAX_EDITS, Outcome, Reconciler, Report, at_rest, blocked, not_kept};
use crate::{
    apply::StepOutcome,
    arm::LoggedWrite,
    desired::DesiredState,
    model::{
        IotHubId,
        desired::{DesiredHub, Switch},
        hub::HubEdit,
        observed::ObservedHub,
    },
    plan::{self, HubWrite, Stage, Writer, over_budget, second_owner},
};

/// Age up to which a hub without an identity is taken to be one that was just made.
const NEW: Duration = Duration::HOUR;

impl Reconciler {
    /// Nothing, or why not.
    pub(super) async fn may_write(
        &self,
        aim: Aim<'_>,
        desired: &DesiredHub,
        observed: &ObservedHub,
        edit: &HubEdit,
        report: &Report,
        edits: usize,
    ) -> Result<(), Outcome> {
        let now = self.arm.reader().client().clock().now();
        if edits >= MAX_EDITS {
            return Err(self.contended());
        }
        at_rest(observed, now)?;
        let fingerprint = desired.fingerprint();
        if self.memory.keeps_not(&observed.hub, fingerprint) {
            return Err(not_kept(edit));
        }
        let mut known = self.memory.writes(&observed.hub);
        // Other processes have written it too, and this one may have been told of what it knows.
        for at in aim.written.into_iter().flat_map(|written| written.of(&observed.hub)) {
            if known.iter().all(|write| write.at != at) {
                known.push(HubWrite { at, by: Writer::Us(None), stage: Stage::Accepted });
            }
        }
        let logged = if is_new_to_us(aim.state, desired, observed, report, now) {
            Vec::new()
        } else {
            self.history(observed.id()).await
        };
        // Within this look, a write may take more than one PUT.
        let undone_here = self.memory.times_in_sync(&observed.hub, fingerprint);
        if edits == 0
            && let Some(owner) = second_owner(&logged, fingerprint, undone_here)
        {
            return Err(blocked(&[owner]));
        }
        let per_hour = aim.state.guardrails().max_writes_per_hub;
        let until =
            [&known, &logged].into_iter().filter_map(|writes| over_budget(writes, per_hour, now)).max();
        match until {
            Some(until) => Err(Outcome::Waiting {
                cause: format!("the hub was written {per_hour} times within an hour"),
                until,
                in_doubt: false,
            }),
            None => Ok(()),
        }
    }

    /// Who wrote the hub lately, from Azure's own log.
    async fn history(&self, hub: &IotHubId) -> Vec<HubWrite> {
        match self.arm.reader().hub_writes(hub, plan::LOOK_BACK).await {
            Ok(writes) => writes.into_iter().map(read).collect(),
            Err(error) => {
                warn!(hub.id = %hub, %error, "the activity log could not be read: a second owner may go unnoticed");
                Vec::new()
            }
        }
    }
}

fn read(logged: LoggedWrite) -> HubWrite {
    let by = match logged.is_ours {
        _ if logged.is_deletion => Writer::Deleter,
        true => Writer::Us(logged.correlation),
        false => Writer::Other(logged.caller),
    };
    let stage = if logged.succeeded { Stage::Succeeded } else { Stage::Accepted };
    HubWrite { at: logged.at, by, stage }
}

/// Whether a write is explained by its being the first: a hub that was just made gets its identity,
/// or a grant for it is fresh. Then nobody can have undone anything, and the log need not be read.
/// An identity that has to be turned on at an older hub may be one that somebody keeps turning off.
fn is_new_to_us(
    state: &DesiredState,
    desired: &DesiredHub,
    observed: &ObservedHub,
    report: &Report,
    now: OffsetDateTime,
) -> bool {
    let window = state.guardrails().grant_window.duration();
    let turns_on = desired.identity.system == Switch::On && !observed.hub.identity().system_assigned;
    let is_young = observed.hub.created_at().is_some_and(|at| now - at < NEW);
    let fresh = report.grants.iter().any(|grant| grant.created_on.is_some_and(|at| now - at < window));
    let wrote_already = report.steps.iter().any(|step| step.outcome == StepOutcome::Applied);
    (turns_on && is_young) || fresh || wrote_already
}
