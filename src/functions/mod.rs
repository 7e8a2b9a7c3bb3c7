//! The functions: events, schedules and requests become work items, work items become looks at hubs and
//! steps of bulk jobs, and each ends in one outcome.
//!
//! They translate and nothing more. What is understood ends with status 200, whatever came of it;
//! a function fails only when work could not be made durable, so that its trigger delivers again.

mod events;
mod exports;
mod log;
mod requests;
mod resync;
mod work;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use time::OffsetDateTime;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::{
    arm::ArmClient,
    bus::WorkQueue,
    events as hub_events, fleet,
    handler::{
        EventGridTrigger, HandlerError, InvocationContext, InvocationResponse, QueueTrigger, Runtime,
        ServiceBusTrigger, TimerTrigger,
    },
    outcomes::store::OutcomeStore,
    profiles::Profiles,
    reconcile::Reconciler,
    telemetry::{self, Telemetry},
    work::WorkItem,
};

/// The functions' names: the folders in `functions/`.
pub const NAMES: [&str; 7] =
    ["HubEvent", "HubEventQueue", "Request", "RequestBus", "Resync", "ScheduledExport", "Work"];

/// Longest time a function runs. Shorter than `functionTimeout` in host.json, at which the host
/// kills the whole process and everything else that is running in it.
pub const DEADLINE: Duration = Duration::from_secs(9 * 60);
/// Longest time a look waits for anything, so that there is time left to hand the rest over.
pub const LOOK_UNTIL: Duration = Duration::from_secs(8 * 60);

/// What the functions work with.
pub struct App {
    /// The desired state.
    pub profiles: Profiles,
    /// Azure Resource Manager.
    pub arm: ArmClient,
    /// What brings hubs to where they should be.
    pub reconciler: Reconciler,
    /// Where work goes.
    pub queue: Arc<dyn WorkQueue>,
    /// Where outcomes are kept, besides the queue that they are written to.
    pub store: Option<Arc<dyn OutcomeStore>>,
    /// Our own client id: writes by it are not news.
    pub client_id: Option<Uuid>,
    /// What is flushed after each invocation.
    pub telemetry: Telemetry,
    /// Up to when this process has asked for every export that was due. Only saves work: a process that
    /// does not know looks back.
    pub exports_seen_to: Mutex<Option<OffsetDateTime>>,
    /// Where a resync reads.
    pub resync_source: fleet::Source,
}

impl App {
    async fn send(&self, item: &WorkItem) -> Result<(), HandlerError> {
        self.queue.send(item).await.map_err(HandlerError::transient)
    }
}

/// The functions, ready to be served.
pub fn runtime(app: Arc<App>) -> Runtime {
    let (by_event, by_queue, by_timer, worker) = (app.clone(), app.clone(), app.clone(), app.clone());
    let (asked, asked_by_bus, resyncer) = (app.clone(), app.clone(), app);
    Runtime::new()
        .deadline(DEADLINE)
        .function("HubEvent", move |trigger: EventGridTrigger, context| {
            let app = by_event.clone();
            let trace_parent = parent_of(&context);
            in_trace("events", app.clone(), trace_parent, async move {
                let verdicts = hub_events::parse_value(&Value::Array(trigger.events));
                app.enqueue(verdicts.map_err(HandlerError::permanent)?).await
            })
        })
        .function("HubEventQueue", move |trigger: QueueTrigger, context| {
            let app = by_queue.clone();
            let trace_parent = parent_of(&context);
            in_trace("events", app.clone(), trace_parent, async move {
                let verdicts = hub_events::parse(&trigger.body());
                app.enqueue(verdicts.map_err(HandlerError::permanent)?).await
            })
        })
        .function("Request", move |trigger: QueueTrigger, context| {
            let app = asked.clone();
            let trace_parent = parent_of(&context);
            in_trace("requests", app.clone(), trace_parent, async move {
                app.request("hub-requests", &trigger.body(), trigger.came_before()).await
            })
        })
        .function("RequestBus", move |trigger: ServiceBusTrigger, context| {
            let app = asked_by_bus.clone();
            let trace_parent = parent_of(&context);
            in_trace("requests", app.clone(), trace_parent, async move {
                app.request("hub-requests (Service Bus)", &trigger.body, trigger.came_before()).await
            })
        })
        .function("Resync", move |timer: TimerTrigger, context| {
            let app = resyncer.clone();
            let trace_parent = parent_of(&context);
            in_trace("resync", app.clone(), trace_parent, async move { app.resync(timer).await })
        })
        .function("ScheduledExport", move |timer: TimerTrigger, context| {
            let app = by_timer.clone();
            let trace_parent = parent_of(&context);
            in_trace("exports", app.clone(), trace_parent, async move { app.exports(timer).await })
        })
        .function("Work", move |trigger: ServiceBusTrigger, _: InvocationContext| {
            let app = worker.clone();
            // A message that is no work item will never be one: trying ten times would not help.
            let item = WorkItem::parse(&trigger.body).map_err(HandlerError::permanent);
            let trace_parent = item.as_ref().ok().and_then(|item| item.trace_parent.clone());
            let again = trigger.came_before();
            in_trace("work", app.clone(), trace_parent, async move { app.work(item?, again).await })
        })
}

fn parent_of(context: &InvocationContext) -> Option<String> {
    context.traceparent.as_ref().map(|parent| parent.as_str().to_owned())
}

/// Runs a function inside a span that belongs to the caller's trace, and flushes afterwards: the
/// host may kill the process at any time.
async fn in_trace(
    kind: &'static str,
    app: Arc<App>,
    trace_parent: Option<String>,
    run: impl Future<Output = Result<InvocationResponse, HandlerError>>,
) -> Result<InvocationResponse, HandlerError> {
    let span = info_span!("function", otel.kind = "consumer", otel.name = kind);
    telemetry::set_parent(&span, trace_parent.as_deref());
    let answer = run.instrument(span).await;
    app.telemetry.flush().await;
    answer
}
