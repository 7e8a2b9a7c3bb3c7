//! Events become work items.

use tracing::{error, info};

use super::App;
use crate::{
    events::{Change, HubEvent, Verdict},
    handler::{HandlerError, InvocationResponse},
    telemetry,
    work::WorkItem,
};

impl App {
    /// Sends one work item for each hub that the events are about.
    pub(super) async fn enqueue(&self, verdicts: Vec<Verdict>) -> Result<InvocationResponse, HandlerError> {
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let mut response = InvocationResponse::new();
        for verdict in verdicts {
            match verdict {
                Verdict::Irrelevant { reason } => info!(%reason, "an event is not about a hub"),
                Verdict::Malformed { reason } => {
                    error!(%reason, "an event cannot be understood");
                    response = response.log(format!("an event cannot be understood: {reason}"));
                }
                Verdict::Hub(event) if !state.guardrails().allows_hub(&event.hub) => {
                    info!(hub.id = %event.hub, "the hub's subscription is not in the guardrails");
                }
                Verdict::Hub(event) if self.is_our_own(&event) => {
                    info!(hub.id = %event.hub, "our own write came back");
                }
                Verdict::Hub(event) => {
                    let deleted = event.change == Change::Deleted;
                    let item =
                        WorkItem::for_event(event.hub, deleted, event.event_id, telemetry::trace_parent())
                            .received(self.arm.clock().now());
                    self.send(&item).await?;
                    info!(hub.id = %item.hub, deleted, messaging.message.id = %item.work_id, "a hub is to be looked at");
                    response = response.log(format!("{}: to be looked at", item.hub.name()));
                }
            }
        }
        Ok(response)
    }

    /// Whether an event tells of a write by ourselves. The worker that wrote looks again anyway.
    /// A deletion is always news.
    fn is_our_own(&self, event: &HubEvent) -> bool {
        let caller = event.caller.and_then(|caller| caller.app_id);
        event.change == Change::Written && caller.is_some() && caller == self.client_id
    }
}
