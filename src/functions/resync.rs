//! A timer becomes a run over the fleet, and hubs that may not be in order become work items.

use tokio::time::Instant;
use tracing::{error, warn};

use super::{App, LOOK_UNTIL};
use crate::{
    arm::ArmReader,
    fleet::{self, Survey},
    handler::{HandlerError, InvocationResponse, TimerTrigger},
    telemetry,
};

impl App {
    /// Compares the fleet with the profiles, and asks for looks at the hubs that differ.
    ///
    /// Instances that start within the same quarter of an hour come to the same messages, of which the
    /// queue keeps one.
    pub(super) async fn resync(&self, timer: TimerTrigger) -> Result<InvocationResponse, HandlerError> {
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let arm = ArmReader::new(self.arm.until(Instant::now() + LOOK_UNTIL));
        let now = self.arm.clock().now();
        // The host has said that this moment has come, even if Azure has not been asked for a while.
        let next = timer.schedule_status.and_then(|status| status.next);
        let at = next.filter(|next| *next - now < fleet::QUARTER).map_or(now, |next| now.max(next));
        let run = fleet::run_at(at);
        let surveyed = fleet::survey(&arm, &state, self.resync_source, run).await;
        let Survey { mut report, left_behind } = surveyed.map_err(HandlerError::transient)?;
        let before = match &self.store {
            Some(store) => store.of_fleet().await.unwrap_or_else(|error| {
                warn!(%error, "what the last resync found cannot be read");
                None
            }),
            None => None,
        };
        let hubs = fleet::nominate(&mut report, before.as_ref(), &state);
        let (queued, received) = (hubs.len(), self.arm.clock().now());
        let queue = self.queue.as_ref();
        fleet::ask_for_looks(queue, hubs, run, received, telemetry::trace_parent())
            .await
            .map_err(HandlerError::transient)?;
        fleet::ask_for_leftovers(queue, left_behind, run).await.map_err(HandlerError::transient)?;
        if let Some(store) = &self.store
            && let Err(error) = store.tell_of_fleet(&report).await
        {
            warn!(%error, "what the resync found could not be written down");
        }
        for (subscription, cause) in &report.unread {
            error!("subscription {subscription} could not be read: {cause}");
        }
        let line = format!("{} hubs compared, {queued} to be looked at", report.hubs.len());
        match fleet::record_of_stop(&report) {
            Some(record) => {
                error!(resync.run = %run, "the resync was stopped: {}", record.causes.join("; "));
                Ok(self.stopped(record).await?.log(line))
            }
            None => Ok(InvocationResponse::new().log(line)),
        }
    }
}
