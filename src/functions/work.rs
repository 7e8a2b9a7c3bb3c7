//! Work items become looks at hubs and steps of bulk jobs; what is left to do becomes the next item.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{App, LOOK_UNTIL, leftovers, log, requests::Known};
use crate::{
    arm::{ArmError, ArmWriter, Reaction},
    desired::{DesiredState, Request, Wanted},
    handler::{HandlerError, InvocationResponse},
    jobs::{self, Advance, JobReport, run::Jobs},
    model::{
        hub::HubDocument,
        job::{JobDoor, JobId, JobItem, JobPhase, JobStatus},
    },
    offboard::Swept,
    outcomes::{Record, Word, of_job, of_look, store::LastOfHub},
    plan::HubPlan,
    reconcile::{Aim, Chain, NotFound, Outcome, Past, plan_for},
    telemetry::metrics,
    work::{Origin, Reason, WorkItem},
};

/// Looks of one chain after which a hub that is "not found" is gone.
pub(super) const MISSING_LOOKS: u32 = 3;
/// Looks of one chain after which the pauses between them grow.
const PATIENT_LOOKS: u32 = 20;
/// Longest pause between looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Pause before a hub that could not be read is tried again.
pub(super) const PAUSE: time::Duration = time::Duration::seconds(30);

impl App {
    /// Does what a work item asks for; `again` if somebody may have begun with it already.
    pub(super) async fn work(&self, item: WorkItem, again: bool) -> Result<InvocationResponse, HandlerError> {
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        match &item.reason {
            Reason::Job { item: job, .. } => self.job(&state, &item, job, again).await,
            Reason::Request { .. } => self.asked(&state, &item).await,
            Reason::Deleted { .. } | Reason::Leftovers { .. } => self.leftovers(&state, &item).await,
            Reason::Written { .. } | Reason::Resync { .. } | Reason::FollowUp { .. } => {
                self.look(Aim::profile(&state), &item, item.chain(), None).await
            }
        }
    }

    /// Writes to Azure, and waits for nothing longer than this invocation should.
    pub(super) fn writer(&self) -> ArmWriter {
        ArmWriter::new(self.arm.until(Instant::now() + LOOK_UNTIL))
    }

    /// Does what an operator asks for. The request is read anew: guardrails may have changed since.
    async fn asked(&self, state: &DesiredState, item: &WorkItem) -> Result<InvocationResponse, HandlerError> {
        let now = self.arm.clock().now();
        let json = item.request.as_deref().cloned().unwrap_or_default();
        let request = match state.request_again(json, now) {
            Ok(request) => request,
            Err(mistakes) => {
                let causes = mistakes.iter().map(ToString::to_string).collect();
                let record = Record::of(item, Word::Refused, causes, now);
                let record = if item.is_true() { record } else { record.of_message(item) };
                return self.finish(item, record).await;
            }
        };
        let origin = Origin::of(&request);
        if item.origin.as_ref() != Some(&origin) {
            let causes = vec!["the message names another request than it holds".to_owned()];
            return self.finish(item, Record::of(item, Word::Refused, causes, now).of_message(item)).await;
        }
        match self.known(&request).await {
            // Whoever ended it may have been killed before it was told.
            Ok(Known::Ended(record)) => return self.finish(item, *record).await,
            Ok(Known::KeyTaken(cause)) => {
                return self.finish(item, Record::of(item, Word::Refused, vec![cause], now)).await;
            }
            Ok(Known::New) => {}
            Err(error) => return self.unkept(item, item.chain(), &error).await,
        }
        if !request.is_about_state() {
            return self.about_jobs(state, item, &request).await;
        }
        let aim = Aim { request: Some(&request), ..Aim::profile(state) };
        if request.dry_run {
            self.plan_only(aim, item).await
        } else {
            self.look(aim, item, item.chain(), None).await
        }
    }

    /// Plans, and changes nothing.
    async fn plan_only(&self, aim: Aim<'_>, item: &WorkItem) -> Result<InvocationResponse, HandlerError> {
        let arm = self.writer();
        let planned = plan_for(arm.reader(), aim, &item.hub).await;
        let now = self.arm.clock().now();
        let record = match planned {
            Ok(HubPlan { blocked, .. }) if !blocked.is_empty() => {
                let causes = blocked.iter().map(ToString::to_string).collect();
                Record::of(item, Word::Blocked, causes, now)
            }
            Ok(plan) => Record {
                profile: Some(plan.profile.clone()),
                plan: plan.to_string().lines().map(str::to_owned).collect(),
                warnings: plan.warnings.iter().map(ToString::to_string).collect(),
                ..Record::of(item, Word::Planned, Vec::new(), now)
            },
            Err(Outcome::Waiting { cause, until, .. }) => {
                return self.later(item, &cause, until, Chain::default()).await;
            }
            Err(outcome) => {
                let (word, causes) = of_look(&outcome);
                Record::of(item, word, causes, now)
            }
        };
        self.finish(item, record).await
    }

    /// Looks at one hub, and hands over what is left to do. `swept` is what came of the look for what it left
    /// behind, if there was one.
    pub(super) async fn look(
        &self,
        aim: Aim<'_>,
        item: &WorkItem,
        chain: Chain,
        swept: Option<Swept>,
    ) -> Result<InvocationResponse, HandlerError> {
        let started = Instant::now();
        let arm = self.writer();
        let not_found = if item.follows >= MISSING_LOOKS { NotFound::Final } else { NotFound::MayPass };
        let reconciler = self.reconciler.with(arm);
        let seen = self.last_of(&item.hub).await;
        let last = seen.as_ref().and_then(|seen| seen.record.as_ref());
        let aim = Aim { past: past(aim, item, last), written: last.map(|last| &last.written), ..aim };
        let report = reconciler.reconcile(aim, &item.hub, not_found, &chain).await;
        log::look(&report, started.elapsed());
        metrics::looked(report.outcome.name(), started.elapsed());
        let now = self.arm.clock().now();
        if let Outcome::Waiting { cause, until, .. } = &report.outcome {
            let due = patiently(*until, item.follows, now);
            let next = leftovers::next(item, cause, due, report.chain.clone(), swept.as_ref());
            let record = Record { written: report.written.clone(), ..self.waiting(item, cause, due) };
            return self.again(item, next, record, seen).await;
        }
        if report.is_gone && aim.request.is_none() {
            // Nobody has told of its deletion.
            return Box::pin(self.leftovers(aim.state, item)).await;
        }
        let (word, causes) = leftovers::with_failure(of_look(&report.outcome), swept.as_ref());
        let mut record = Record::of(item, word, causes, now).with_report(&report);
        if let Some(swept) = &swept {
            record.warnings.extend(swept.warnings.iter().cloned());
            let is_done = !of_look(&swept.outcome).0.is_parked();
            if let Some(principals) = record.principals.as_mut().filter(|_| is_done) {
                principals.swept = true;
            }
        }
        self.finish_chain(item, record, report.chain, seen).await
    }

    /// Hands over what is left to do.
    pub(super) async fn later(
        &self,
        item: &WorkItem,
        cause: &str,
        until: OffsetDateTime,
        chain: Chain,
    ) -> Result<InvocationResponse, HandlerError> {
        let due = patiently(until, item.follows, self.arm.clock().now());
        let next = match &item.reason {
            Reason::Job { item: job, .. } => item.next_step(job.taken_up_again(), due),
            // The search for what a hub left behind goes on with the search.
            Reason::Leftovers { .. } => item.leftovers_again(due, chain),
            _ => item.follow_up(cause, due, chain),
        };
        self.again(item, next, self.waiting(item, cause, due), None).await
    }

    /// The record of work that waits.
    pub(super) fn waiting(&self, item: &WorkItem, cause: &str, due: OffsetDateTime) -> Record {
        Record::of(item, Word::Waiting, vec![format!("{cause}, until {due}")], self.arm.clock().now())
    }

    /// Sends the message that goes on, and tells what is waited for; `seen` is the hub's last outcome, if it was read.
    pub(super) async fn again(
        &self,
        item: &WorkItem,
        next: WorkItem,
        record: Record,
        seen: Option<LastOfHub>,
    ) -> Result<InvocationResponse, HandlerError> {
        self.send(&next).await?;
        self.waits(item, record, seen).await?;
        Ok(InvocationResponse::new().log(format!("{}: Waiting", item.hub.name())))
    }

    /// Takes one step of a bulk job, and hands over the next.
    async fn job(
        &self,
        state: &DesiredState,
        work: &WorkItem,
        item: &JobItem,
        again: bool,
    ) -> Result<InvocationResponse, HandlerError> {
        // The same request, sent once more while the first was at it, must not be done again.
        if let (Some(origin), JobPhase::Wanted { .. }) = (&work.origin, &item.phase) {
            match self.ended(origin).await {
                Ok(Some(record)) => return self.finish(work, record).await,
                Ok(None) => {}
                Err(error) => return self.unkept(work, Chain::default(), &error).await,
            }
        }
        let arm = self.writer();
        let jobs = Jobs { arm: &arm, guardrails: state.guardrails() };
        let (name, kind, request) = (work.hub.name(), item.request.job.word(), item.request.id);
        match jobs.advance(&work.hub, item, again).await {
            Advance::Later { item, waited_for, due } => {
                self.send(&work.next_step(*item, due)).await?;
                info!(hub.id = %work.hub, job.request = %request, "{name}: {kind} waits for {waited_for}");
                self.waits(work, self.waiting(work, &waited_for, due), None).await?;
                Ok(InvocationResponse::new().log(format!("{name}: {kind} {request}: Waiting")))
            }
            Advance::Done(outcome) => {
                let report = JobReport { hub: work.hub.clone(), request: item.request.clone(), outcome };
                jobs::tell(&report);
                let (word, causes) = of_job(&report);
                let record = Record {
                    looks: item.steps.saturating_add(1),
                    job: serde_json::to_value(&report).ok(),
                    ..Record::of(work, word, causes, self.arm.clock().now())
                };
                self.finish(work, record).await
            }
        }
    }

    /// Starts a bulk job that an operator asks for, or ends one.
    async fn about_jobs(
        &self,
        state: &DesiredState,
        item: &WorkItem,
        request: &Request,
    ) -> Result<InvocationResponse, HandlerError> {
        let arm = self.writer();
        let now = self.arm.clock().now();
        let refused = |cause: &str| Record::of(item, Word::Refused, vec![cause.to_owned()], now);
        let hub = match arm.reader().hub(&item.hub).await {
            Ok(Some(hub)) if !hub.is_being_deleted() => hub,
            Ok(None) if item.follows < MISSING_LOOKS => {
                return self.later(item, "the hub to be readable", now + PAUSE, Chain::default()).await;
            }
            Ok(_) => return self.finish(item, refused("there is no such hub")).await,
            Err(error) => return self.not_read(item, &error).await,
        };
        match state.for_request(request, &hub, now) {
            Wanted::Job(_) if request.dry_run => {
                let plan = vec![format!("{} through {}", request.kind.word(), item.hub.name())];
                let record = Record { plan, ..Record::of(item, Word::Planned, Vec::new(), now) };
                self.finish(item, record).await
            }
            Wanted::Job(job) => {
                self.send(&item.job(*job)).await?;
                let line = format!("{}: {} is begun", item.hub.name(), request.kind.word());
                Ok(InvocationResponse::new().log(line))
            }
            Wanted::CancelJob(id) => self.cancel(&arm, item, &hub, &id, request.dry_run).await,
            Wanted::State(choice) => {
                let causes = choice.causes();
                self.finish(item, Record::of(item, Word::Refused, causes, now)).await
            }
        }
    }

    async fn cancel(
        &self,
        arm: &ArmWriter,
        item: &WorkItem,
        hub: &HubDocument,
        id: &JobId,
        dry_run: bool,
    ) -> Result<InvocationResponse, HandlerError> {
        let now = self.arm.clock().now();
        let record = |word, cause: Option<String>| Record::of(item, word, cause.into_iter().collect(), now);
        let mut chain = item.chain();
        let job = match arm.reader().job(hub, JobDoor::DataPlane, id).await {
            Ok(job) => job,
            Err(error) => return self.not_read(item, &error).await,
        };
        let ended = match job {
            None => record(Word::Refused, Some(format!("the hub knows no job {id}"))),
            Some(job) if !matches!(job.status, JobStatus::Active) => {
                // We may be the ones who cancelled it, and could not say so.
                record(if chain.done.is_empty() { Word::InSync } else { Word::Changed }, None)
            }
            Some(_) if dry_run => {
                Record { plan: vec![format!("cancel job {id}")], ..record(Word::Planned, None) }
            }
            Some(_) => match arm.cancel_job(hub, id).await {
                Ok(()) => {
                    chain.done = vec![format!("cancel job {id}")];
                    record(Word::Changed, None)
                }
                Err(error) => return self.not_read(item, &error).await,
            },
        };
        self.finish_chain(item, ended, chain, None).await
    }

    /// A call that came to nothing: again later, if that can help, and not for ever.
    async fn not_read(&self, item: &WorkItem, error: &ArmError) -> Result<InvocationResponse, HandlerError> {
        let now = self.arm.clock().now();
        let pause = match error.reaction() {
            Reaction::Fail => None,
            Reaction::Wait(pause) | Reaction::Garbled(pause) => time::Duration::try_from(pause).ok(),
            _ => Some(PAUSE),
        };
        match pause.filter(|_| item.follows < PATIENT_LOOKS) {
            Some(pause) => self.later(item, &error.explained(), now + pause, Chain::default()).await,
            None => self.finish(item, Record::of(item, Word::Failed, vec![error.explained()], now)).await,
        }
    }

    /// Tells what is waited for. It is only told: the work goes on by itself.
    async fn waits(
        &self,
        item: &WorkItem,
        record: Record,
        seen: Option<LastOfHub>,
    ) -> Result<(), HandlerError> {
        let Some(store) = &self.store else { return Ok(()) };
        let told = if item.origin.is_some() { store.tell(&record).await.map(|_| ()) } else { Ok(()) };
        if let Err(error) = told {
            warn!(hub.id = %item.hub, %error, "{}: what is waited for could not be written down", item.hub.name());
        }
        self.write_down(item, &record, seen).await
    }
}

/// What is known of the hub's past, where a profile wants hubs that were in order left alone.
fn past(aim: Aim<'_>, item: &WorkItem, last: Option<&Record>) -> Past {
    if aim.request.is_some() || !item.chain().done.is_empty() || !aim.state.asks_for_the_past() {
        return Past::NotAsked;
    }
    match last {
        Some(Record { in_sync_as: Some(fingerprint), .. }) => Past::InSync(*fingerprint),
        // Of a version that did not write down what was wanted, or of a request.
        Some(Record { outcome: Word::InSync | Word::Changed, .. }) | None => Past::Unknown,
        Some(_) => Past::Never,
    }
}

/// Keeps a chain that goes on and on from asking too often: after many looks the pauses double, up
/// to a quarter of an hour.
pub(super) fn patiently(until: OffsetDateTime, follows: u32, now: OffsetDateTime) -> OffsetDateTime {
    let Some(extra) = follows.checked_sub(PATIENT_LOOKS) else { return until };
    let pause = Duration::from_secs(30).saturating_mul(2u32.saturating_pow(extra.min(8))).min(LONGEST_PAUSE);
    until.max(now + pause)
}
