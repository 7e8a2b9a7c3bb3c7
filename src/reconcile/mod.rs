//! The one use case: look at a hub, plan, apply, look again, report.
//!
//! Level-triggered: whatever the reason for looking, the answer depends only on what is wanted and
//! what is found. Each round applies the next step of a fresh plan, so a change by somebody else
//! between two steps is noticed and planned for. A look that cannot go on (a grant has to spread,
//! the hub is busy, the service asks to wait) ends with [`Outcome::Waiting`] and a time; the caller
//! turns that into a scheduled message.

mod memory;
mod report;

pub use report::{Outcome, Report, ReportedStep};

use std::sync::Arc;

use tracing::warn;

use crate::{
    apply::{StepOutcome, Work},
    arm::{ArmError, ArmReader, ArmWriter, Reaction},
    desired::{Choice, DesiredState},
    model::{
        IotHubId,
        desired::{DesiredHub, Switch},
        observed::{Grant, ObservedHub},
    },
    observe::Observer,
    plan::{self, Blocked, HubPlan, HubWrite, Step, Writer, grant_states, over_budget, plan, second_owner},
    prove::prove,
};
use memory::Memory;

/// Rounds of one look. Each step is one, and a hub has room for eleven grants.
const MAX_ROUNDS: usize = 40;
/// Hub PUTs of one look. A cold hub needs two; more means that somebody else writes all the time.
const MAX_EDITS: usize = 6;
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

/// Looks at a hub and plans. Reads only.
pub async fn plan_hub(arm: &ArmReader, state: &DesiredState, hub: &IotHubId) -> Result<HubPlan, Outcome> {
    let mut observer = Observer::new(arm.clone(), hub.clone(), &[]);
    let desired = choose(arm, &mut observer, state, NotFound::Final).await?;
    look(arm, &mut observer, state, &desired).await.map(|(_, plan)| plan)
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

    /// Brings one hub to where it should be, as far as that goes now. `made` are the grants that
    /// earlier looks of the same chain have made.
    pub async fn reconcile(
        &self,
        state: &DesiredState,
        hub: &IotHubId,
        not_found: NotFound,
        made: &[Grant],
    ) -> Report {
        let mut report = Report::of(hub);
        let mut observer = Observer::new(self.arm.reader().clone(), hub.clone(), made);
        report.outcome = match choose(self.arm.reader(), &mut observer, state, not_found).await {
            Err(outcome) => outcome,
            Ok(desired) => {
                report.profile = Some(desired.profile.clone());
                self.converge(state, &desired, &mut observer, &mut report)
                    .await
                    .unwrap_or_else(|outcome| outcome)
            }
        };
        report.made = observer.made().to_vec();
        report
    }

    async fn converge(
        &self,
        state: &DesiredState,
        desired: &DesiredHub,
        observer: &mut Observer,
        report: &mut Report,
    ) -> Result<Outcome, Outcome> {
        let clock = self.arm.reader().client().clock();
        let guardrails = state.guardrails();
        let mut edits = 0;
        for _ in 0..MAX_ROUNDS {
            let (observed, plan) = look(self.arm.reader(), observer, state, desired).await?;
            report.grants = grant_states(desired, &observed, guardrails, &plan.pending());
            report.warnings.clone_from(&plan.warnings);
            if !plan.blocked.is_empty() {
                return Err(blocked(&plan.blocked));
            }
            let Some(step) = plan.steps.first() else {
                return Ok(self.in_sync(desired, &observed, edits > 0, report).await);
            };
            let is_edit = matches!(step, Step::EditHub { .. });
            if is_edit {
                self.may_write(state, desired, &observed, report, edits).await?;
            }
            let work = Work { arm: &self.arm, desired, guardrails, observed: &observed };
            let applied = work.apply(observer, step).await;
            report.moved_besides.extend(applied.moved_besides);
            report.steps.push(ReportedStep { step: step.to_string(), outcome: applied.outcome.clone() });
            match applied.outcome {
                StepOutcome::Applied if is_edit => {
                    edits += 1;
                    self.memory.wrote(observed.id(), desired.fingerprint(), clock.now());
                }
                StepOutcome::Stale { .. } if is_edit => edits += 1,
                StepOutcome::Applied | StepOutcome::AlreadyInPlace | StepOutcome::Stale { .. } => {}
                StepOutcome::Waiting { cause, until } => return Err(Outcome::Waiting { cause, until }),
                StepOutcome::Failed { cause } => return Err(Outcome::Failed { cause }),
            }
        }
        Err(self.contended())
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
            self.memory.brought_in_sync(observed.id());
            report.proof = Some(prove(self.arm.reader(), desired, &observed.hub).await);
        }
        let changed = report.steps.iter().any(|step| step.outcome == StepOutcome::Applied);
        if changed { Outcome::Changed } else { Outcome::InSync }
    }

    /// Whether the hub may be written now: it is at rest, nobody fights over it, and it has not been
    /// written too often.
    async fn may_write(
        &self,
        state: &DesiredState,
        desired: &DesiredHub,
        observed: &ObservedHub,
        report: &Report,
        edits: usize,
    ) -> Result<(), Outcome> {
        let now = self.arm.reader().client().clock().now();
        if edits >= MAX_EDITS {
            return Err(self.contended());
        }
        if !observed.hub.is_ready() {
            return Err(Outcome::Waiting {
                cause: format!("the hub to be ready (it is {})", observed.hub.state().unwrap_or("busy")),
                until: now + BUSY_PAUSE,
            });
        }
        let hub = observed.id();
        let here = self.memory.writes(hub);
        let logged = if is_new_to_us(state, desired, observed, report, now) {
            Vec::new()
        } else {
            self.history(hub).await
        };
        let mark = desired.fingerprint();
        // Within this look, a write may take more than one PUT.
        if edits == 0
            && let Some(owner) = second_owner(&logged, mark, self.memory.times_in_sync(hub, mark))
        {
            return Err(blocked(&[owner]));
        }
        let per_hour = state.guardrails().max_writes_per_hub;
        let until =
            [&here, &logged].into_iter().filter_map(|writes| over_budget(writes, per_hour, now)).max();
        match until {
            Some(until) => Err(Outcome::Waiting {
                cause: format!("the hub was written {per_hour} times within an hour"),
                until,
            }),
            None => Ok(()),
        }
    }

    /// Who wrote the hub lately, from Azure's own log.
    async fn history(&self, hub: &IotHubId) -> Vec<HubWrite> {
        match self.arm.reader().hub_writes(hub, plan::LOOK_BACK).await {
            Ok(writes) => {
                let write = |logged: crate::arm::LoggedWrite| HubWrite {
                    at: logged.at,
                    by: if logged.is_ours {
                        Writer::Us(logged.correlation)
                    } else {
                        Writer::Other(logged.caller)
                    },
                };
                writes.into_iter().map(write).collect()
            }
            Err(error) => {
                warn!(hub.id = %hub, %error, "the activity log could not be read: a second owner may go unnoticed");
                Vec::new()
            }
        }
    }

    fn contended(&self) -> Outcome {
        Outcome::Waiting {
            cause: "other writers to leave the hub alone".into(),
            until: self.arm.reader().client().clock().now() + CONTENTION_PAUSE,
        }
    }
}

/// Whether a write is explained by its being the first: the identity is being turned on, or a grant
/// for it is fresh. Then nobody can have undone anything, and the log need not be read.
fn is_new_to_us(
    state: &DesiredState,
    desired: &DesiredHub,
    observed: &ObservedHub,
    report: &Report,
    now: time::OffsetDateTime,
) -> bool {
    let window = state.guardrails().grant_window.duration();
    let turns_on = desired.identity.system == Switch::On && !observed.hub.identity().system_assigned;
    let fresh = report.grants.iter().any(|grant| grant.created_on.is_some_and(|at| now - at < window));
    let wrote_already = report.steps.iter().any(|step| step.outcome == StepOutcome::Applied);
    turns_on || fresh || wrote_already
}

/// Reads the hub and finds the profile for it.
async fn choose(
    arm: &ArmReader,
    observer: &mut Observer,
    state: &DesiredState,
    not_found: NotFound,
) -> Result<DesiredHub, Outcome> {
    if !state.guardrails().allows_hub(observer.hub()) {
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
    match state.for_document(document) {
        Choice::Desired(desired) => Ok(desired),
        Choice::NoProfile => Err(Outcome::Refused { causes: vec!["no profile matches the hub".into()] }),
        Choice::OutOfScope => Err(out_of_scope(document.id())),
        Choice::Refused(refusals) => {
            Err(Outcome::Refused { causes: refusals.iter().map(ToString::to_string).collect() })
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
    }
}

fn not_read(arm: &ArmReader, error: &ArmError) -> Outcome {
    let cause = error.explained();
    let pause = match error.reaction() {
        Reaction::Wait(pause) => pause,
        Reaction::Reread | Reaction::PrincipalYoung | Reaction::MaybeNotYet | Reaction::AlreadyThere => {
            BUSY_PAUSE.unsigned_abs()
        }
        Reaction::Fail => return Outcome::Failed { cause },
    };
    Outcome::Waiting { cause, until: arm.client().clock().now() + pause }
}
