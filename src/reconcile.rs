//! The one use case: look at a hub, plan, apply, look again, report.
//!
//! Level-triggered: whatever the reason for looking, the answer depends only on what is wanted and
//! what is found. Each round applies the next step of a fresh plan, so a change by somebody else
//! between two steps is noticed and planned for. A look that cannot go on (a grant has to spread,
//! the hub is busy, the service asks to wait) ends with [`Outcome::Waiting`] and a time; the caller
//! turns that into a scheduled message.

use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    apply::{StepOutcome, apply_step},
    arm::{ArmError, ArmReader, ArmWriter, Reaction},
    desired::{Choice, DesiredState, HubFacts},
    model::{IotHubId, desired::DesiredHub},
    observe::Observer,
    plan::{HubPlan, Step, plan},
};

/// Rounds of one look. A cold hub needs four; more means that somebody else writes all the time.
const MAX_ROUNDS: usize = 12;
/// Pause before a hub that was changed by somebody in every round is looked at again.
const CONTENTION_PAUSE: time::Duration = time::Duration::seconds(30);
/// Pause while a hub is busy with a change that is not ours.
const BUSY_PAUSE: time::Duration = time::Duration::seconds(15);

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The hub.
    pub hub: IotHubId,
    /// The profile that asks for it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The steps that were tried, in order.
    pub steps: Vec<ReportedStep>,
}

/// One step that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedStep {
    /// In words.
    pub step: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: StepOutcome,
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome")]
pub enum Outcome {
    /// Nothing had to be done.
    InSync,
    /// Something was changed, and a last look found the hub in sync.
    Changed,
    /// The work goes on later; nothing is wrong.
    Waiting {
        /// What for.
        cause: String,
        /// When to look again, in Azure's time.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// Something stands in the way that only a person can move.
    Blocked {
        /// Each reason.
        causes: Vec<String>,
    },
    /// The guardrails do not allow it, or no profile asks for it.
    Refused {
        /// Each reason.
        causes: Vec<String>,
    },
    /// The service refused for good.
    Failed {
        /// In the service's words.
        cause: String,
    },
}

impl Outcome {
    /// The outcome's name, as it is reported and counted.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::InSync => "InSync",
            Outcome::Changed => "Changed",
            Outcome::Waiting { .. } => "Waiting",
            Outcome::Blocked { .. } => "Blocked",
            Outcome::Refused { .. } => "Refused",
            Outcome::Failed { .. } => "Failed",
        }
    }

    /// Whether somebody should look at it.
    pub fn needs_attention(&self) -> bool {
        matches!(self, Outcome::Blocked { .. } | Outcome::Failed { .. })
    }
}

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
    let mut observer = Observer::new(arm.clone(), hub.clone());
    let desired = choose(arm, &mut observer, state, NotFound::Final).await?;
    look(arm, &mut observer, state, &desired).await.map(|(_, plan)| plan)
}

/// Brings one hub to where it should be, as far as that goes now.
pub async fn reconcile(arm: &ArmWriter, state: &DesiredState, hub: &IotHubId, not_found: NotFound) -> Report {
    let mut report = Report { hub: hub.clone(), profile: None, outcome: Outcome::InSync, steps: Vec::new() };
    let mut observer = Observer::new(arm.reader().clone(), hub.clone());
    report.outcome = match choose(arm.reader(), &mut observer, state, not_found).await {
        Err(outcome) => outcome,
        Ok(desired) => {
            report.profile = Some(desired.profile.clone());
            converge(arm, state, &desired, &mut observer, &mut report.steps)
                .await
                .unwrap_or_else(|outcome| outcome)
        }
    };
    report
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
    let tags = document.tags();
    match state.for_hub(&HubFacts::new(
        document.id(),
        document.location(),
        tags.iter().map(|(name, value)| (name.as_str(), value.as_str())),
    )) {
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
) -> Result<(crate::model::observed::ObservedHub, HubPlan), Outcome> {
    let observed = observer.observe(desired).await.map_err(|error| not_read(arm, &error))?;
    let Some(observed) = observed else {
        // Right after a write a hub can be "not found" for a while; a real deletion is confirmed
        // by a later look, which starts with a fresh GET.
        return Err(unreadable_for_now(arm));
    };
    let plan = plan(desired, &observed, state.guardrails(), arm.client().clock().now());
    Ok((observed, plan))
}

async fn converge(
    arm: &ArmWriter,
    state: &DesiredState,
    desired: &DesiredHub,
    observer: &mut Observer,
    steps: &mut Vec<ReportedStep>,
) -> Result<Outcome, Outcome> {
    let clock = arm.reader().client().clock();
    for _ in 0..MAX_ROUNDS {
        let (observed, plan) = look(arm.reader(), observer, state, desired).await?;
        if !plan.blocked.is_empty() {
            return Err(Outcome::Blocked { causes: plan.blocked.iter().map(ToString::to_string).collect() });
        }
        let Some(step) = plan.steps.first() else {
            let changed = steps.iter().any(|step| step.outcome == StepOutcome::Applied);
            return Ok(if changed { Outcome::Changed } else { Outcome::InSync });
        };
        if matches!(step, Step::EditHub { .. }) && !observed.hub.is_ready() {
            return Err(Outcome::Waiting {
                cause: format!("the hub to be ready (it is {})", observed.hub.state().unwrap_or("busy")),
                until: clock.now() + BUSY_PAUSE,
            });
        }
        let outcome = apply_step(arm, observer, desired, &observed, step).await;
        steps.push(ReportedStep { step: step.to_string(), outcome: outcome.clone() });
        match outcome {
            StepOutcome::Applied | StepOutcome::AlreadyInPlace | StepOutcome::Stale { .. } => {}
            StepOutcome::Waiting { cause, until } => return Err(Outcome::Waiting { cause, until }),
            StepOutcome::Failed { cause } => return Err(Outcome::Failed { cause }),
        }
    }
    Err(Outcome::Waiting {
        cause: "other writers to leave the hub alone".into(),
        until: clock.now() + CONTENTION_PAUSE,
    })
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
    let cause = error.to_string();
    let pause = match error.reaction() {
        Reaction::Wait(pause) => pause,
        Reaction::Reread | Reaction::PrincipalYoung | Reaction::MaybeNotYet | Reaction::AlreadyThere => {
            BUSY_PAUSE.unsigned_abs()
        }
        Reaction::Fail => return Outcome::Failed { cause },
    };
    Outcome::Waiting { cause, until: arm.client().clock().now() + pause }
}
