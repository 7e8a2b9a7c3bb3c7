//! The one use case: look at a hub, plan, apply, look again, report.
//!
//! Level-triggered: whatever the reason for looking, the answer depends only on what is wanted and
//! what is found. Each round applies the next step of a fresh plan, so a change by somebody else
//! between two steps is noticed and planned for. A look that cannot go on (a grant has to spread,
//! the hub is busy, the service asks to wait) ends with [`Outcome::Waiting`] and a time; the caller
//! turns that into a scheduled message.

mod drift;
mod memory;
mod permit;
mod report;

pub use drift::Past;
pub use report::{Chain, Outcome, Report, ReportedStep, Written};

use std::sync::Arc;

use time::OffsetDateTime;

use crate::{
    apply::{Applied, StepOutcome, Work},
    arm::{ArmError, ArmReader, ArmWriter, Reaction},
    desired::{Choice, DesiredState, Request, Wanted},
    model::{
        IotHubId,
        desired::DesiredHub,
        hub::{HubDocument, HubEdit},
        observed::ObservedHub,
    },
    observe::Observer,
    plan::{self, Blocked, HubPlan, Step, grant_states, plan},
    prove::prove,
};
use memory::Memory;

/// Rounds of one look. Each step is one, and a hub has room for eleven grants.
const MAX_ROUNDS: usize = 40;
/// Hub PUTs of one look. A cold hub needs two; more means that somebody else writes all the time.
const MAX_EDITS: usize = 6;
/// Steps of a chain that are kept for its outcome: they travel in a message.
const MOST_DONE: usize = 60;
/// Pause before a hub that was changed by somebody in every round is looked at again.
const CONTENTION_PAUSE: time::Duration = time::Duration::seconds(30);
/// Pause while a hub is busy with a change that is not ours.
const BUSY_PAUSE: time::Duration = time::Duration::seconds(15);

/// What a "not found" for the hub itself means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// It may pass: a hub can be unreadable for a while after somebody changed it.
    MayPass,
    /// It is final: the hub was seen deleted, or was not found several times over.
    Final,
}

/// Where a hub is to be brought: to what its profile says, or to what a request asks for.
#[derive(Clone, Copy)]
pub struct Aim<'a> {
    /// The profiles and the guardrails.
    pub state: &'a DesiredState,
    /// The request, if it is about what the hub is.
    pub request: Option<&'a Request>,
    /// What is known of the hub's past, if that matters.
    pub past: Past,
    /// When the hub was written lately, as far as its last outcome tells.
    pub written: Option<&'a Written>,
}

impl<'a> Aim<'a> {
    /// What the hub's profile says.
    pub fn profile(state: &'a DesiredState) -> Self {
        Self { state, request: None, past: Past::NotAsked, written: None }
    }

    /// Whether nobody in particular asks, and the profile is rolled out wave by wave.
    fn is_plan_only(self, desired: &DesiredHub) -> bool {
        self.request.is_none() && self.state.is_by_campaign(&desired.profile)
    }

    fn choice(self, hub: &HubDocument, now: OffsetDateTime) -> Choice {
        let Some(request) = self.request else { return self.state.for_document(hub) };
        match self.state.for_request(request, hub, now) {
            Wanted::State(choice) => choice,
            Wanted::Job(_) | Wanted::CancelJob(_) => Choice::NoProfile,
        }
    }
}

/// Looks at a hub and plans for its profile. Reads only.
pub async fn plan_hub(arm: &ArmReader, state: &DesiredState, hub: &IotHubId) -> Result<HubPlan, Outcome> {
    plan_for(arm, Aim::profile(state), hub).await
}

/// Looks at a hub and plans. Reads only.
pub async fn plan_for(arm: &ArmReader, aim: Aim<'_>, hub: &IotHubId) -> Result<HubPlan, Outcome> {
    let mut observer = Observer::new(arm.clone(), hub.clone(), &[]);
    let desired = choose(arm, &mut observer, aim, NotFound::Final).await?;
    look(arm, &mut observer, aim.state, &desired).await.map(|(_, plan)| plan)
}

/// Brings hubs to where they should be. Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct Reconciler {
    arm: ArmWriter,
    memory: Arc<Memory>,
}

impl Reconciler {
    /// A reconciler that remembers nothing yet.
    pub fn new(arm: ArmWriter) -> Self {
        Self { arm, memory: Arc::default() }
    }

    /// The same reconciler, writing through another client: one with a deadline.
    pub fn with(&self, arm: ArmWriter) -> Self {
        Self { arm, memory: self.memory.clone() }
    }

    /// Brings one hub to where it should be, as far as that goes now. `chain` is what the look before
    /// this one handed over.
    pub async fn reconcile(
        &self,
        aim: Aim<'_>,
        hub: &IotHubId,
        not_found: NotFound,
        chain: &Chain,
    ) -> Report {
        let mut report = Report::of(hub);
        let mut observer = Observer::new(self.arm.reader().clone(), hub.clone(), &chain.made);
        let outcome = match choose(self.arm.reader(), &mut observer, aim, not_found).await {
            Err(outcome) => outcome,
            Ok(desired) => {
                report.profile = Some(desired.profile.clone());
                report.fingerprint = aim.request.is_none().then(|| desired.fingerprint());
                self.converge(aim, &desired, &mut observer, &mut report)
                    .await
                    .unwrap_or_else(|outcome| outcome)
            }
        };
        if matches!(outcome, Outcome::Refused { .. }) && observer.is_without_hub() {
            self.memory.forget(hub);
            report.is_gone = observer.seen().is_none();
        }
        report.system_principal = observer.seen().map(|hub| hub.identity().system_principal);
        report.chain.made = observer.made().to_vec();
        let done = report.steps.iter().filter(|step| step.outcome == StepOutcome::Applied);
        report.chain.done = chain.done.iter().cloned().chain(done.map(|step| step.step.clone())).collect();
        report.chain.done.truncate(MOST_DONE);
        // What an earlier look of the chain did was done for this end.
        let outcome = match outcome {
            Outcome::InSync if !chain.done.is_empty() => Outcome::Changed,
            other => other,
        };
        self.end(aim.state, chain, outcome, &mut report);
        report
    }

    /// Forgets what is remembered of a hub that is gone.
    pub fn forget(&self, hub: &IotHubId) {
        self.memory.forget(hub);
    }

    /// Ends a look. What may be a mistake to wait for is waited for no longer than for a grant.
    fn end(&self, state: &DesiredState, chain: &Chain, outcome: Outcome, report: &mut Report) {
        report.outcome = outcome;
        let Outcome::Waiting { cause, in_doubt: true, .. } = &report.outcome else { return };
        let now = self.arm.reader().client().clock().now();
        let since = chain.doubt_since.unwrap_or(now);
        let window = &state.guardrails().grant_window;
        if now - since > window.duration() {
            let cause = format!("{cause} (and no better for {window})");
            report.outcome = Outcome::Failed { cause };
        } else {
            report.chain.doubt_since = Some(since);
        }
    }

    async fn converge(
        &self,
        aim: Aim<'_>,
        desired: &DesiredHub,
        observer: &mut Observer,
        report: &mut Report,
    ) -> Result<Outcome, Outcome> {
        let clock = self.arm.reader().client().clock();
        let state = aim.state;
        let guardrails = state.guardrails();
        let mut edits = 0;
        let mut before: Option<Step> = None;
        for _ in 0..MAX_ROUNDS {
            let (observed, plan) = look(self.arm.reader(), observer, state, desired).await?;
            report.grants = grant_states(desired, &observed, guardrails, &plan.pending());
            report.warnings.clone_from(&plan.warnings);
            if !plan.blocked.is_empty() {
                return Err(blocked(&plan.blocked));
            }
            let Some(step) = plan.steps.first() else {
                // A write that is under way, ours or another's, shows what it will be and may fail yet.
                at_rest(&observed, clock.now())?;
                return Ok(self.in_sync(desired, &observed, edits > 0, report).await);
            };
            if aim.is_plan_only(desired) {
                return Err(planned(&plan));
            }
            if report.steps.is_empty()
                && let Some(outcome) = aim.holds_back(desired, &observed, &plan, clock.now())
            {
                return Err(outcome);
            }
            if before.as_ref() == Some(step) && report.moved_besides.is_empty() {
                return Err(self.did_nothing(desired, &observed, step));
            }
            let is_edit = matches!(step, Step::EditHub { .. });
            if let Step::EditHub { edit } = step {
                self.may_write(aim, desired, &observed, edit, report, edits).await?;
            }
            let is_last = plan.hub_edits() == 1;
            let work = Work { arm: &self.arm, desired, guardrails, observed: &observed, is_last };
            let Applied { outcome, moved_besides, wrote_hub } = work.apply(observer, step).await;
            if wrote_hub {
                let now = clock.now();
                self.memory.wrote(&observed.hub, work.mark(), now);
                report.written.now(&observed.hub, now);
            }
            report.moved_besides.extend(moved_besides);
            report.steps.push(ReportedStep { step: step.to_string(), outcome: outcome.clone() });
            let is_new = matches!(outcome, StepOutcome::Applied | StepOutcome::AlreadyInPlace);
            before = plan.steps.into_iter().next().filter(|_| is_new);
            match outcome {
                StepOutcome::Applied | StepOutcome::Stale { .. } if is_edit => edits += 1,
                StepOutcome::Applied | StepOutcome::AlreadyInPlace | StepOutcome::Stale { .. } => {}
                StepOutcome::Waiting { cause, until, in_doubt } => {
                    return Err(Outcome::Waiting { cause, until, in_doubt });
                }
                StepOutcome::Failed { cause } => return Err(Outcome::Failed { cause }),
            }
        }
        Err(self.contended())
    }

    /// A step that was carried out is wanted once more, with nobody else in sight: to go on would be
    /// to go round in circles.
    fn did_nothing(&self, desired: &DesiredHub, observed: &ObservedHub, step: &Step) -> Outcome {
        if let Step::EditHub { edit } = step {
            self.memory.did_not_keep(&observed.hub, desired.fingerprint());
            return not_kept(edit);
        }
        Outcome::Failed { cause: format!("Azure says that it is done, and does not show it: {step}") }
    }

    /// Nothing is left to do. After a write, the hub is asked what it makes of it.
    async fn in_sync(
        &self,
        desired: &DesiredHub,
        observed: &ObservedHub,
        was_edited: bool,
        report: &mut Report,
    ) -> Outcome {
        if was_edited {
            self.memory.brought_in_sync(&observed.hub);
            report.proof = Some(prove(self.arm.reader(), desired, &observed.hub).await);
        }
        let changed = report.steps.iter().any(|step| step.outcome == StepOutcome::Applied);
        if changed { Outcome::Changed } else { Outcome::InSync }
    }

    fn contended(&self) -> Outcome {
        Outcome::Waiting {
            cause: "other writers to leave the hub alone".into(),
            until: self.arm.reader().client().clock().now() + CONTENTION_PAUSE,
            in_doubt: false,
        }
    }
}

/// Nothing, if no write of the hub is under way.
fn at_rest(observed: &ObservedHub, now: OffsetDateTime) -> Result<(), Outcome> {
    if observed.hub.is_ready() {
        return Ok(());
    }
    Err(Outcome::Waiting {
        cause: format!("the hub to be ready (it is {})", observed.hub.state().unwrap_or("busy")),
        until: now + BUSY_PAUSE,
        in_doubt: false,
    })
}

/// Reads the hub and finds the profile for it.
async fn choose(
    arm: &ArmReader,
    observer: &mut Observer,
    aim: Aim<'_>,
    not_found: NotFound,
) -> Result<DesiredHub, Outcome> {
    if !aim.state.guardrails().allows_hub(observer.hub()) {
        return Err(out_of_scope(observer.hub()));
    }
    let document = observer.document().await.map_err(|error| not_read(arm, &error))?;
    let Some(document) = document else {
        return Err(match not_found {
            NotFound::MayPass => unreadable_for_now(arm),
            NotFound::Final => Outcome::Refused { causes: vec!["there is no such hub".into()] },
        });
    };
    if document.is_being_deleted() {
        return Err(Outcome::Refused { causes: vec!["the hub is being deleted".into()] });
    }
    match aim.choice(document, arm.client().clock().now()) {
        Choice::Desired(desired) => Ok(desired),
        choice @ Choice::NoProfile if aim.request.is_none() && aim.state.guardrails().allow_removals => {
            let document = document.clone();
            let said = match observer.descriptions(aim.state.guardrails()).await {
                // Who may not look at grants has not made any.
                Err(error) if error.reaction() == Reaction::Fail => Vec::new(),
                said => said.map_err(|error| not_read(arm, &error))?,
            };
            let former = aim.state.for_former(&document, said.iter().map(String::as_str));
            former.ok_or_else(|| Outcome::Refused { causes: choice.causes() })
        }
        Choice::OutOfScope => Err(out_of_scope(document.id())),
        choice @ (Choice::NoProfile | Choice::Refused(_)) => {
            Err(Outcome::Refused { causes: choice.causes() })
        }
    }
}

async fn look(
    arm: &ArmReader,
    observer: &mut Observer,
    state: &DesiredState,
    desired: &DesiredHub,
) -> Result<(ObservedHub, HubPlan), Outcome> {
    let observed =
        observer.observe(desired, state.guardrails()).await.map_err(|error| not_read(arm, &error))?;
    let Some(observed) = observed else {
        // Right after a write a hub can be "not found" for a while; a real deletion is confirmed
        // by a later look, which starts with a fresh GET.
        return Err(unreadable_for_now(arm));
    };
    let plan = plan(desired, &observed, state.guardrails(), arm.client().clock().now());
    Ok((observed, plan))
}

fn planned(plan: &HubPlan) -> Outcome {
    Outcome::Planned {
        cause: "the profile is rolled out by campaigns".to_owned(),
        plan: plan.to_string().lines().map(str::to_owned).collect(),
    }
}

fn blocked(causes: &[Blocked]) -> Outcome {
    Outcome::Blocked { causes: causes.iter().map(ToString::to_string).collect() }
}

fn out_of_scope(hub: &IotHubId) -> Outcome {
    let cause = format!("subscription {} is not in guardrails.subscriptions", hub.subscription());
    Outcome::Refused { causes: vec![cause] }
}

fn unreadable_for_now(arm: &ArmReader) -> Outcome {
    Outcome::Waiting {
        cause: "the hub to be readable".into(),
        until: arm.client().clock().now() + CONTENTION_PAUSE,
        in_doubt: false,
    }
}

/// What became of a write that the hub takes and shows something else after.
fn not_kept(edit: &HubEdit) -> Outcome {
    let what = plan::edit_lines(edit).join("; ");
    Outcome::Failed { cause: format!("the hub takes this and does not keep it: {what}") }
}

fn not_read(arm: &ArmReader, error: &ArmError) -> Outcome {
    let cause = error.explained();
    let (pause, in_doubt) = match error.reaction() {
        Reaction::Wait(pause) => (pause, false),
        Reaction::Garbled(pause) => (pause, true),
        Reaction::Reread | Reaction::PrincipalYoung | Reaction::MaybeNotYet | Reaction::AlreadyThere => {
            (BUSY_PAUSE.unsigned_abs(), false)
        }
        Reaction::Fail => return Outcome::Failed { cause },
    };
    Outcome::Waiting { cause, until: arm.client().clock().now() + pause, in_doubt }
}
