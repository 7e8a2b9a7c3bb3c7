//! Schedules become work items.

use std::sync::PoisonError;

use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{App, LOOK_UNTIL};
use crate::{
    arm::ArmReader,
    desired::{Choice, DesiredState},
    handler::{HandlerError, InvocationResponse, TimerTrigger},
    model::{hub::HubDocument, job::JobRequest},
    schedule::{self, Ncrontab},
    telemetry,
    work::{REMEMBERED, WorkItem},
};

/// How far back a tick looks for exports that have become due, unless this process has seen to them: so
/// long may ticks fail before an export is lost.
const LOOK_BACK: time::Duration = time::Duration::hours(12);
// An occurrence that is asked for twice is dropped by the queue, as long as it remembers the first one.
const _: () = assert!((LOOK_BACK.whole_seconds() as u64) < REMEMBERED.as_secs());

impl App {
    /// Asks for the exports that have become due since the last tick that went well.
    ///
    /// An occurrence is one message whoever sends it, so looking back further than needed makes up for
    /// ticks that failed, and starts nothing twice. Subscriptions are seen to one by one: one that cannot be
    /// read fails the tick, after the others had theirs.
    pub(super) async fn exports(&self, timer: TimerTrigger) -> Result<InvocationResponse, HandlerError> {
        let status = timer.schedule_status.unwrap_or_default();
        // The host has said that this moment has come, even if Azure has not been asked for a while.
        let now = self.arm.clock().now();
        let now = status.next.map_or(now, |next| now.max(next));
        let back = status.last.map_or(now, |last| last.min(now)).min(now - LOOK_BACK);
        let seen_to = *self.exports_seen_to.lock().unwrap_or_else(PoisonError::into_inner);
        let from = seen_to.map_or(back, |seen_to| seen_to.max(back));
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let mut response = InvocationResponse::new();
        if state.export_schedules().any(|schedule| schedule::due(schedule, from, now).is_some()) {
            let arm = ArmReader::new(self.arm.until(Instant::now() + LOOK_UNTIL));
            let mut failed = None;
            for subscription in &state.guardrails().subscriptions {
                match self.exports_of(&state, &arm, subscription, from, now).await {
                    Ok(asked) => response = asked.into_iter().fold(response, InvocationResponse::log),
                    Err(error) => {
                        error!(%error, "exports of subscription {subscription} were not all asked for");
                        failed.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        *self.exports_seen_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(response)
    }

    /// Asks for the exports of one subscription's hubs. A line for each.
    async fn exports_of(
        &self,
        state: &DesiredState,
        arm: &ArmReader,
        subscription: &str,
        from: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, HandlerError> {
        let mut asked = Vec::new();
        for hub in arm.hubs(subscription).await.map_err(HandlerError::transient)? {
            for (name, request) in due_exports(state, &hub, from, now) {
                let item =
                    WorkItem::for_job(hub.id().clone(), request, telemetry::trace_parent()).received(now);
                self.send(&item).await?;
                info!(hub.id = %item.hub, messaging.message.id = %item.work_id, "export {name} is due");
                asked.push(format!("{}: export {name} is due", item.hub.name()));
            }
        }
        Ok(asked)
    }
}

/// The exports of one hub that have become due.
fn due_exports(
    state: &DesiredState,
    hub: &HubDocument,
    from: OffsetDateTime,
    now: OffsetDateTime,
) -> Vec<(String, JobRequest)> {
    let desired = match state.for_document(hub) {
        Choice::Desired(desired) => desired,
        Choice::NoProfile | Choice::OutOfScope => return Vec::new(),
        Choice::Refused(refusals) => {
            let why: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            warn!(hub.id = %hub.id(), "{}: no export, its profile cannot be used: {}", hub.id().name(), why.join("; "));
            return Vec::new();
        }
    };
    let due = desired.exports.iter().filter_map(|export| {
        let schedule: Ncrontab = export.schedule.parse().ok()?;
        let occurrence = schedule::due(&schedule, from, now)?;
        Some((export.name.clone(), export.request(hub.id(), occurrence, now)))
    });
    due.collect()
}
