//! The four functions: events and schedules become work items, work items become looks at hubs and steps
//! of bulk jobs.
//!
//! They translate and nothing more. What is understood ends with status 200, whatever came of it;
//! a function fails only when work could not be made durable, so that its trigger delivers again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{Instrument, error, info, info_span, warn};
use uuid::Uuid;

use crate::{
    arm::{ArmClient, ArmReader, ArmWriter},
    bus::WorkQueue,
    desired::{Choice, DesiredState},
    events::{self, Change, HubEvent, Verdict},
    handler::{
        EventGridTrigger, HandlerError, InvocationContext, InvocationResponse, QueueTrigger, Runtime,
        ServiceBusTrigger, TimerTrigger,
    },
    jobs::{self, Advance, JobReport, run::Jobs},
    model::{
        hub::HubDocument,
        job::{JobItem, JobRequest},
    },
    profiles::Profiles,
    prove::Proof,
    reconcile::{NotFound, Outcome, Reconciler, Report},
    schedule::{self, Ncrontab},
    telemetry::{self, Telemetry},
    work::{REMEMBERED, Reason, WorkItem},
};

/// The functions' names: the folders in `functions/`.
pub const NAMES: [&str; 4] = ["HubEvent", "HubEventQueue", "ScheduledExport", "Work"];

/// Longest time a function runs. Shorter than `functionTimeout` in host.json, at which the host
/// kills the whole process and everything else that is running in it.
pub const DEADLINE: Duration = Duration::from_secs(9 * 60);
/// Longest time a look waits for anything, so that there is time left to hand the rest over.
pub const LOOK_UNTIL: Duration = Duration::from_secs(8 * 60);

/// Looks of one chain after which a hub that is "not found" is gone.
const MISSING_LOOKS: u32 = 3;
/// Looks of one chain after which the pauses between them grow.
const PATIENT_LOOKS: u32 = 20;
/// How far back a tick looks for exports that have become due, unless this process has seen to them: so
/// long may ticks fail before an export is lost.
const LOOK_BACK: time::Duration = time::Duration::hours(12);
// An occurrence that is asked for twice is dropped by the queue, as long as it remembers the first one.
const _: () = assert!((LOOK_BACK.whole_seconds() as u64) < REMEMBERED.as_secs());
/// Longest pause between looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

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
    /// Our own client id: writes by it are not news.
    pub client_id: Option<Uuid>,
    /// What is flushed after each invocation.
    pub telemetry: Telemetry,
    /// Up to when this process has asked for every export that was due. Only saves work: a process that
    /// does not know looks back.
    pub exports_seen_to: Mutex<Option<OffsetDateTime>>,
}

impl App {
    /// Sends one work item for each hub that the events are about.
    async fn enqueue(&self, verdicts: Vec<Verdict>) -> Result<InvocationResponse, HandlerError> {
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
                        WorkItem::for_event(event.hub, deleted, event.event_id, telemetry::trace_parent());
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

    /// Does what a work item asks for; `again` if somebody may have begun with it already.
    async fn work(&self, item: WorkItem, again: bool) -> Result<InvocationResponse, HandlerError> {
        match &item.reason {
            Reason::Job { item: job, .. } => self.job(&item, job, again).await,
            Reason::Written { .. } | Reason::Deleted { .. } | Reason::FollowUp { .. } => {
                self.look(item).await
            }
        }
    }

    /// Takes one step of a bulk job, and hands over the next.
    async fn job(
        &self,
        work: &WorkItem,
        item: &JobItem,
        again: bool,
    ) -> Result<InvocationResponse, HandlerError> {
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let arm = ArmWriter::new(self.arm.until(Instant::now() + LOOK_UNTIL));
        let jobs = Jobs { arm: &arm, guardrails: state.guardrails() };
        let (name, kind, request) = (work.hub.name(), item.request.job.word(), item.request.id);
        let word = match jobs.advance(&work.hub, item, again).await {
            Advance::Later { item, waited_for, due } => {
                self.send(&work.next_step(*item, due)).await?;
                info!(hub.id = %work.hub, job.request = %request, "{name}: {kind} waits for {waited_for}");
                "Waiting"
            }
            Advance::Done(outcome) => {
                let report = JobReport { hub: work.hub.clone(), request: item.request.clone(), outcome };
                jobs::tell(&report);
                report.outcome.name()
            }
        };
        Ok(InvocationResponse::new().log(format!("{name}: {kind} {request}: {word}")))
    }

    /// Looks at one hub, and hands over what is left to do.
    async fn look(&self, item: WorkItem) -> Result<InvocationResponse, HandlerError> {
        let started = Instant::now();
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let arm = ArmWriter::new(self.arm.until(started + LOOK_UNTIL));
        let not_found = match item.reason {
            Reason::Deleted { .. } => NotFound::Final,
            _ if item.follows >= MISSING_LOOKS => NotFound::Final,
            _ => NotFound::MayPass,
        };
        let reconciler = self.reconciler.with(arm);
        let report = reconciler.reconcile(&state, &item.hub, not_found, &item.chain()).await;
        if let Outcome::Waiting { cause, until, .. } = &report.outcome {
            let due = patiently(*until, item.follows, self.arm.clock().now());
            let next = item.follow_up(cause, due, report.chain.clone());
            self.send(&next).await?;
        }
        log(&report, started.elapsed());
        Ok(InvocationResponse::new().log(format!("{}: {}", report.hub.name(), report.outcome.name())))
    }

    /// Asks for the exports that have become due since the last tick that went well.
    ///
    /// An occurrence is one message whoever sends it, so looking back further than needed makes up for
    /// ticks that failed, and starts nothing twice. Subscriptions are seen to one by one: one that cannot be
    /// read fails the tick, after the others had theirs.
    async fn exports(&self, timer: TimerTrigger) -> Result<InvocationResponse, HandlerError> {
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
                let item = WorkItem::for_job(hub.id().clone(), request, telemetry::trace_parent());
                self.send(&item).await?;
                info!(hub.id = %item.hub, messaging.message.id = %item.work_id, "export {name} is due");
                asked.push(format!("{}: export {name} is due", item.hub.name()));
            }
        }
        Ok(asked)
    }

    async fn send(&self, item: &WorkItem) -> Result<(), HandlerError> {
        self.queue.send(item).await.map_err(HandlerError::transient)
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

/// Keeps a chain that goes on and on from asking too often: after many looks the pauses double, up
/// to a quarter of an hour.
fn patiently(until: OffsetDateTime, follows: u32, now: OffsetDateTime) -> OffsetDateTime {
    let Some(extra) = follows.checked_sub(PATIENT_LOOKS) else { return until };
    let pause = Duration::from_secs(30).saturating_mul(2u32.saturating_pow(extra.min(8))).min(LONGEST_PAUSE);
    until.max(now + pause)
}

/// One line a look, readable alone.
fn log(report: &Report, elapsed: Duration) {
    let Report { hub, profile, outcome, steps, grants, warnings, moved_besides, proof, chain: _ } = report;
    let (name, outcome_name, duration_ms) = (hub.name(), outcome.name(), elapsed.as_millis() as u64);
    let detail = match outcome {
        Outcome::InSync | Outcome::Changed => String::new(),
        Outcome::Waiting { cause, until, .. } => format!(" for {cause}, until {until}"),
        Outcome::Blocked { causes } | Outcome::Refused { causes } => format!(": {}", causes.join("; ")),
        Outcome::Failed { cause } => format!(": {cause}"),
    };
    let profile = profile.as_deref().unwrap_or("-");
    let (steps, grants) = (steps.len(), grants.len());
    if outcome.needs_attention() {
        warn!(hub.id = %hub, outcome = outcome_name, profile, steps, grants, duration_ms, "{name}: {outcome_name}{detail}");
    } else {
        info!(hub.id = %hub, outcome = outcome_name, profile, steps, grants, duration_ms, "{name}: {outcome_name}{detail}");
    }
    for warning in warnings {
        warn!(hub.id = %hub, "{name}: {warning}");
    }
    if !moved_besides.is_empty() {
        warn!(hub.id = %hub, "{name}: somebody else changed {} meanwhile", moved_besides.join(", "));
    }
    for doubt in proof.iter().flat_map(Proof::doubts) {
        warn!(hub.id = %hub, "{name}: {doubt}");
    }
}

/// The functions, ready to be served.
pub fn runtime(app: Arc<App>) -> Runtime {
    let (by_event, by_queue, by_timer, worker) = (app.clone(), app.clone(), app.clone(), app);
    Runtime::new()
        .deadline(DEADLINE)
        .function("HubEvent", move |trigger: EventGridTrigger, context| {
            let app = by_event.clone();
            let trace_parent = parent_of(&context);
            in_trace("events", app.clone(), trace_parent, async move {
                let verdicts = events::parse_value(&Value::Array(trigger.events));
                app.enqueue(verdicts.map_err(HandlerError::permanent)?).await
            })
        })
        .function("HubEventQueue", move |trigger: QueueTrigger, context| {
            let app = by_queue.clone();
            let trace_parent = parent_of(&context);
            in_trace("events", app.clone(), trace_parent, async move {
                let verdicts = events::parse(&trigger.text);
                app.enqueue(verdicts.map_err(HandlerError::permanent)?).await
            })
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
            // This delivery counts too.
            let again = trigger.delivery_count.is_some_and(|count| count > 1);
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
