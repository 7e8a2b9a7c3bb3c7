//! Carries out the next step of a plan. All choices were made by the planner; none are made here.

use serde::Serialize;
use time::OffsetDateTime;
use tracing::info;

use crate::{
    arm::{ArmError, ArmWriter, Reaction},
    model::{
        desired::DesiredHub,
        hub::EditError,
        observed::{Grant, ObservedHub},
    },
    observe::Observer,
    plan::{GrantStep, Step, ask_again},
};

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum StepOutcome {
    /// It was written.
    Applied,
    /// It was there already, made by someone else.
    AlreadyInPlace,
    /// What it was based on has changed: plan afresh.
    Stale {
        /// In the service's words.
        cause: String,
    },
    /// Nothing is wrong; it is to be tried (again) later.
    Waiting {
        /// What for.
        cause: String,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// The service refused it for good.
    Failed {
        /// In the service's words.
        cause: String,
    },
}

/// Pause before a fresh principal, unknown to the role service, is tried again.
const PRINCIPAL_PAUSE: std::time::Duration = std::time::Duration::from_secs(5);
/// Tries within one invocation for a fresh principal; then it becomes a scheduled message.
const PRINCIPAL_TRIES: usize = 4;

/// Carries out one step and tells the observer what it has to look at again.
pub async fn apply_step(
    arm: &ArmWriter,
    observer: &mut Observer,
    desired: &DesiredHub,
    observed: &ObservedHub,
    step: &Step,
) -> StepOutcome {
    let outcome = match step {
        Step::EditHub { edit } => match edit.put_body(&observed.hub) {
            Err(error @ (EditError::Shape(_) | EditError::Collateral(_))) => {
                StepOutcome::Failed { cause: error.to_string() }
            }
            Ok(body) => {
                let written = arm.put_hub(observed.id(), &body).await;
                observer.forget_hub();
                match written {
                    Ok(()) => StepOutcome::Applied,
                    Err(error) => refused_edit(arm, observed, step, &error),
                }
            }
        },
        Step::Grant(grant) => match &grant.principal {
            None => {
                // The identity is on, but the service does not show its principal yet.
                observer.forget_hub();
                waiting(arm, "the identity's principal".to_owned(), PRINCIPAL_PAUSE)
            }
            Some(principal) => {
                let reason = format!("Hubward: hub {} (profile {})", observed.id().name(), desired.profile);
                match make_grant(arm, grant, principal, &reason).await {
                    Ok(made) => {
                        observer.learn_grant(made);
                        StepOutcome::Applied
                    }
                    Err(error) => refused_grant(arm, observer, grant, principal, &error),
                }
            }
        },
        Step::AwaitPropagation { until } => StepOutcome::Waiting {
            cause: "the grants to spread".into(),
            until: until.unwrap_or_else(|| arm.reader().client().clock().now()),
        },
    };
    info!(hub.id = %observed.id(), step = %kind_of(step), outcome = ?outcome, "step: {}", kind_of(step));
    outcome
}

fn kind_of(step: &Step) -> &'static str {
    match step {
        Step::EditHub { .. } => "update the hub",
        Step::Grant(_) => "grant a role",
        Step::AwaitPropagation { .. } => "await propagation",
    }
}

async fn make_grant(
    arm: &ArmWriter,
    step: &GrantStep,
    principal: &str,
    reason: &str,
) -> Result<Grant, ArmError> {
    let mut tries = 1;
    loop {
        let made = arm.grant(&step.scope, step.role, principal, reason).await;
        match made {
            Err(error) if error.reaction() == Reaction::PrincipalYoung && tries < PRINCIPAL_TRIES => {
                tries += 1;
                arm.reader().client().pause(PRINCIPAL_PAUSE, "a fresh principal").await?;
            }
            other => return other,
        }
    }
}

fn refused_edit(arm: &ArmWriter, observed: &ObservedHub, step: &Step, error: &ArmError) -> StepOutcome {
    let cause = error.to_string();
    match error.reaction() {
        Reaction::Reread => StepOutcome::Stale { cause },
        Reaction::Wait(pause) => waiting(arm, cause, pause),
        Reaction::MaybeNotYet => {
            let Step::EditHub { edit } = step else { return StepOutcome::Failed { cause } };
            match ask_again(&edit.endpoints, observed, arm.reader().client().clock().now()) {
                Some(until) => {
                    StepOutcome::Waiting { cause: format!("the grants to spread ({cause})"), until }
                }
                None => StepOutcome::Failed { cause },
            }
        }
        Reaction::PrincipalYoung | Reaction::AlreadyThere | Reaction::Fail => StepOutcome::Failed { cause },
    }
}

fn refused_grant(
    arm: &ArmWriter,
    observer: &mut Observer,
    step: &GrantStep,
    principal: &str,
    error: &ArmError,
) -> StepOutcome {
    let cause = error.to_string();
    match error.reaction() {
        Reaction::AlreadyThere => {
            observer.forget_grants(&step.scope, principal);
            StepOutcome::AlreadyInPlace
        }
        Reaction::PrincipalYoung => waiting(arm, cause, PRINCIPAL_PAUSE * 2),
        // The name follows from the content, so writing it again is the same write.
        Reaction::Reread => waiting(arm, cause, PRINCIPAL_PAUSE),
        Reaction::Wait(pause) => waiting(arm, cause, pause),
        Reaction::MaybeNotYet | Reaction::Fail => StepOutcome::Failed { cause },
    }
}

fn waiting(arm: &ArmWriter, cause: String, pause: std::time::Duration) -> StepOutcome {
    StepOutcome::Waiting { cause, until: arm.reader().client().clock().now() + pause }
}
