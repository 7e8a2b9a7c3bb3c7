//! The functions: events, schedules and requests become work items, work items become looks at hubs and
//! steps of bulk jobs, and each ends in one outcome.
//!
//! They translate and nothing more. What is understood ends with status 200, whatever came of it;
//! a function fails only when work could not be made durable, so that its trigger delivers again.

mod campaigns;
mod events;
mod exports;
mod last;
mod leftovers;
mod log;
mod requests;
mod resync;
mod status;
mod work;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{Instrument, field::Empty, info, info_span};
use uuid::Uuid;

use crate::{
    arm::ArmClient,
    bus::{REQUEST_QUEUE, WORK_QUEUE, WorkQueue},
    campaigns::step::WorkMessage,
    events as hub_events, fleet,
    handler::{
        EventGridTrigger, HandlerError, HttpTrigger, InvocationContext, InvocationResponse, QueueTrigger,
        Runtime, ServiceBusTrigger, TimerTrigger,
    },
    outcomes::{parked::ParkedQueue, store::OutcomeStore},
    profiles::Profiles,
    reconcile::Reconciler,
    telemetry::{self, Telemetry, metrics},
    work::WorkItem,
};

/// The functions' names: the folders in `functions/`.
pub const NAMES: [&str; 9] = [
    "HubEvent",
    "HubEventQueue",
    "Hubs",
    "Request",
    "RequestBus",
    "Resync",
    "ScheduledExport",
    "Status",
    "Work",
];

/// Longest time a function runs. Shorter than `functionTimeout` in host.json, at which the host
/// kills the whole process and everything else that is running in it.
pub const DEADLINE: Duration = Duration::from_secs(9 * 60);
/// Longest time a look waits for anything, so that there is time left to hand the rest over.
pub const LOOK_UNTIL: Duration = Duration::from_secs(8 * 60);

/// Longest time that a delivery is held back which has failed.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// How telemetry names functions that answer a request.
const HTTP: &str = "http";

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
    /// Where failed work is parked, for the status page.
    pub parked: Option<Arc<dyn ParkedQueue>>,
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
    let (asked, asked_by_bus, resyncer) = (app.clone(), app.clone(), app.clone());
    let (page, list) = (app.clone(), app);
    Runtime::new()
        .deadline(DEADLINE)
        .function("HubEvent", move |trigger: EventGridTrigger, context| {
            let app = by_event.clone();
            let call = Invoked::new("HubEvent", "pubsub", &context);
            call.run(app.clone(), async move {
                let verdicts = hub_events::parse_value(&Value::Array(trigger.events));
                app.enqueue(verdicts.map_err(HandlerError::permanent)?).await
            })
        })
        .function("HubEventQueue", move |trigger: QueueTrigger, context| {
            let app = by_queue.clone();
            let call = Invoked::new("HubEventQueue", "pubsub", &context).by_queue("hub-events", &trigger);
            call.run(app.clone(), async move {
                let verdicts = hub_events::parse(&trigger.body());
                app.enqueue(verdicts.map_err(HandlerError::permanent)?).await
            })
        })
        .function("Hubs", move |request: HttpTrigger, context| {
            let app = list.clone();
            let call = Invoked::new("Hubs", HTTP, &context);
            call.run(app.clone(), async move { app.hubs(&request).await })
        })
        .function("Request", move |trigger: QueueTrigger, context| {
            let app = asked.clone();
            let call = Invoked::new("Request", "pubsub", &context).by_queue(REQUEST_QUEUE, &trigger);
            call.run(app.clone(), async move {
                app.request("hub-requests", &trigger.body(), trigger.came_before()).await
            })
        })
        .function("RequestBus", move |trigger: ServiceBusTrigger, context| {
            let app = asked_by_bus.clone();
            let call = Invoked::new("RequestBus", "pubsub", &context).by_bus(REQUEST_QUEUE, &trigger);
            call.run(app.clone(), async move {
                app.request("hub-requests (Service Bus)", &trigger.body, trigger.came_before()).await
            })
        })
        .function("Resync", move |timer: TimerTrigger, context| {
            let app = resyncer.clone();
            let call = Invoked::new("Resync", "timer", &context);
            call.run(app.clone(), async move { app.resync(timer).await })
        })
        .function("ScheduledExport", move |timer: TimerTrigger, context| {
            let app = by_timer.clone();
            let call = Invoked::new("ScheduledExport", "timer", &context);
            call.run(app.clone(), async move { app.exports(timer).await })
        })
        .function("Status", move |request: HttpTrigger, context| {
            let app = page.clone();
            let call = Invoked::new("Status", HTTP, &context);
            call.run(app.clone(), async move { app.status(&request).await })
        })
        .function("Work", move |trigger: ServiceBusTrigger, context| {
            let app = worker.clone();
            // A message that is no work item will never be one: trying ten times would not help.
            let message = WorkMessage::parse(&trigger.body).map_err(HandlerError::permanent);
            let mut call = Invoked::new("Work", "pubsub", &context).by_bus(WORK_QUEUE, &trigger);
            // The trace of what led to it, and not that of the host's delivery.
            call.parent = message.as_ref().ok().and_then(WorkMessage::trace_parent).or(call.parent);
            let again = trigger.came_before();
            call.run(app.clone(), async move {
                match message? {
                    WorkMessage::Hub(item) => app.work(*item, again).await,
                    WorkMessage::Campaign(step) => app.campaign(step, trigger.session_id.as_deref()).await,
                }
            })
        })
}

/// One invocation, as telemetry names it.
struct Invoked {
    function: &'static str,
    trigger: &'static str,
    id: Option<String>,
    parent: Option<String>,
    message: Option<Message>,
}

/// The message that it is for.
struct Message {
    system: &'static str,
    queue: &'static str,
    id: Option<String>,
    /// When it could first be taken up.
    due: Option<OffsetDateTime>,
    /// How long the host is left waiting for the news that it failed.
    hold: Duration,
}

impl Invoked {
    fn new(function: &'static str, trigger: &'static str, context: &InvocationContext) -> Self {
        let parent = context.traceparent.as_ref().map(|parent| parent.as_str().to_owned());
        Self { function, trigger, id: context.invocation_id.clone(), parent, message: None }
    }

    /// For a message of a storage queue.
    fn by_queue(self, queue: &'static str, trigger: &QueueTrigger) -> Self {
        let id = trigger.id.map(|id| id.to_string());
        let (due, hold) = (trigger.insertion_time, Duration::ZERO);
        Self { message: Some(Message { system: "azqueues", queue, id, due, hold }), ..self }
    }

    /// For a message of a Service Bus queue.
    fn by_bus(self, queue: &'static str, trigger: &ServiceBusTrigger) -> Self {
        let (id, due) = (trigger.message_id.clone(), trigger.enqueued_time);
        let hold = hold(trigger.delivery_count.unwrap_or(1));
        Self { message: Some(Message { system: "servicebus", queue, id, due, hold }), ..self }
    }

    /// Runs the function inside a span that belongs to the caller's trace, and flushes afterwards: the
    /// host may kill the process at any time.
    async fn run(
        self,
        app: Arc<App>,
        run: impl Future<Output = Result<InvocationResponse, HandlerError>>,
    ) -> Result<InvocationResponse, HandlerError> {
        let started = Instant::now();
        let Self { function, trigger, id, parent, message } = self;
        let span = info_span!(
            "function",
            otel.kind = if trigger == HTTP { "server" } else { "consumer" },
            otel.name = function,
            faas.name = function,
            faas.trigger = trigger,
            faas.invocation_id = id,
            messaging.system = Empty,
            messaging.destination.name = Empty,
            messaging.message.id = Empty,
        );
        telemetry::set_parent(&span, parent.as_deref());
        if let Some(Message { system, queue, id, due, .. }) = &message {
            span.record("messaging.system", system);
            span.record("messaging.destination.name", queue);
            span.record("messaging.message.id", id.as_deref());
            if let Some(due) = due {
                let age = (app.arm.clock().now() - *due).as_seconds_f64().max(0.0);
                metrics::taken_up(queue, age);
                span.in_scope(|| info!(queue_age_s = age, messaging.destination.name = queue, "taken up"));
            }
        }
        let answer = run.instrument(span).await;
        metrics::invoked(function, trigger, started.elapsed(), answer.is_err());
        app.telemetry.flush().await;
        if let (Err(HandlerError::Transient(_)), Some(Message { hold, .. })) = (&answer, &message) {
            tokio::time::sleep(*hold).await;
        }
        answer
    }
}

/// How long a delivery that failed is held back. Service Bus delivers a message again as soon as it hears of
/// a failure, and the tenth is the last: without a pause, trouble of a second would be the end of it. With it,
/// ten deliveries take four minutes. The message stays locked meanwhile, so nothing is lost if the
/// process dies; a storage queue makes the pause itself (`visibilityTimeout` in host.json).
fn hold(deliveries: u32) -> Duration {
    let pause = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(deliveries.saturating_sub(1)));
    pause.min(LONGEST_HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_deliveries_outlast_an_outage_of_four_minutes() {
        let all: Duration = (1..10).map(hold).sum();
        assert_eq!(all, Duration::from_secs(243));
        assert_eq!(hold(0), Duration::from_secs(1));
        assert_eq!(hold(u32::MAX), LONGEST_HOLD);
    }
}
