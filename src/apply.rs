//! Carries out the next step of a plan. All choices were made by the planner; none are made here.

use serde::Serialize;
use time::OffsetDateTime;
use tracing::info;
use uuid::Uuid;

use crate::{
    arm::{ArmError, ArmWriter, NotWritten, Reaction, Urgency},
    model::{
        claim::Claim,
        desired::{DesiredHub, Guardrails, Target},
        hub::{EditError, HubDocument, HubEdit, Secrets},
        observed::{Grant, ObservedHub},
    },
    observe::Observer,
    plan::{self, GrantStep, Step, ask_again, grants_of_unknown_age, grants_used},
    telemetry,
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
        /// Whether it may be a mistake to wait: not for ever, then.
        #[serde(skip)]
        in_doubt: bool,
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

/// What a step is carried out with.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// Writes to Azure.
    pub arm: &'a ArmWriter,
    /// What the hub should be.
    pub desired: &'a DesiredHub,
    /// What keeps the run in its place.
    pub guardrails: &'a Guardrails,
    /// What the step was planned from.
    pub observed: &'a ObservedHub,
    /// Whether a write of the hub leaves nothing more to write.
    pub is_last: bool,
}

/// What became of a step, and what else was noticed.
pub struct Applied {
    /// What became of it.
    pub outcome: StepOutcome,
    /// Paths of the hub that are different and that the step did not name: somebody else wrote
    /// meanwhile, or the service did more than it was asked.
    pub moved_besides: Vec<String>,
    /// Whether the hub was written, or may have been, whatever came of it.
    pub wrote_hub: bool,
}

/// A hub that was not written as planned.
struct Undone {
    outcome: StepOutcome,
    may_have_written: bool,
}

impl From<StepOutcome> for Undone {
    /// Before anything was sent.
    fn from(outcome: StepOutcome) -> Self {
        Self { outcome, may_have_written: false }
    }
}

impl Work<'_> {
    /// What a write of the hub is marked with.
    pub fn mark(&self) -> Uuid {
        plan::mark(self.desired.fingerprint(), self.is_last)
    }

    /// Carries out one step and tells the observer what it has to look at again.
    pub async fn apply(self, observer: &mut Observer, step: &Step) -> Applied {
        let (mut moved_besides, mut wrote_hub) = (Vec::new(), false);
        let outcome = match step {
            Step::EditHub { edit } => match self.edit_hub(observer, edit).await {
                Ok(after) => {
                    wrote_hub = true;
                    moved_besides = edit.moved_besides(&self.observed.hub, &after);
                    observer.learn_hub(after);
                    self.measure(edit);
                    StepOutcome::Applied
                }
                Err(Undone { outcome, may_have_written }) => {
                    wrote_hub = may_have_written;
                    outcome
                }
            },
            Step::Grant(grant) => self.grant(observer, grant).await,
            Step::Revoke(revoke) => match self.arm.revoke(&revoke.id, revoke.role).await {
                Ok(()) => {
                    observer.forget_grant(&revoke.id);
                    StepOutcome::Applied
                }
                Err(error) => self.refused(&error),
            },
            Step::AwaitPropagation { until } => StepOutcome::Waiting {
                cause: "the grants to spread".into(),
                until: until.unwrap_or_else(|| self.now()),
                in_doubt: false,
            },
        };
        let kind = kind_of(step);
        info!(hub.id = %self.observed.id(), step = %kind, outcome = ?outcome, "step: {kind}");
        Applied { outcome, moved_besides, wrote_hub }
    }

    fn now(&self) -> OffsetDateTime {
        self.arm.reader().client().clock().now()
    }

    async fn edit_hub(self, observer: &mut Observer, edit: &HubEdit) -> Result<HubDocument, Undone> {
        let mut secrets = Secrets::default();
        for need in edit.keys_needed() {
            let members = self.arm.target_key(&need).await.map_err(|error| self.refused(&error))?;
            secrets.add(need.slot, members);
        }
        let body = edit.put_body(&self.observed.hub, &secrets).map_err(
            |error @ (EditError::Shape(_) | EditError::NoKey(_) | EditError::Collateral(_))| {
                StepOutcome::Failed { cause: error.to_string() }
            },
        )?;
        let urgency = if self.is_last { Urgency::Usual } else { Urgency::Early };
        let written = self.arm.put_hub(self.observed.id(), &body, self.mark(), urgency).await;
        observer.forget_hub();
        written.map_err(|NotWritten { error, may_have_been_taken_on }| Undone {
            outcome: self.refused_edit(observer, edit, &error),
            may_have_written: may_have_been_taken_on,
        })
    }

    fn refused_edit(self, observer: &mut Observer, edit: &HubEdit, error: &ArmError) -> StepOutcome {
        if error.reaction() != Reaction::MaybeNotYet {
            return self.refused(error);
        }
        let cause = error.explained();
        let now = self.now();
        let undated = grants_of_unknown_age(edit, self.observed, self.guardrails);
        let targets: Vec<&Target> = edit.endpoints.iter().map(|endpoint| &endpoint.target).collect();
        observer.doubt(&undated, &targets, now);
        let until = if undated.is_empty() {
            ask_again(edit, self.observed, self.guardrails, now)
        } else {
            Some(now + crate::plan::SETTLE)
        };
        match until {
            Some(until) => {
                let cause = format!("the grants to spread ({cause})");
                StepOutcome::Waiting { cause, until, in_doubt: false }
            }
            None => StepOutcome::Failed { cause },
        }
    }

    async fn grant(self, observer: &mut Observer, step: &GrantStep) -> StepOutcome {
        let Some(principal) = &step.principal else {
            // The identity is on, but the service does not show its principal yet.
            observer.forget_hub();
            return self.doubting("the identity's principal".to_owned(), PRINCIPAL_PAUSE);
        };
        let claim = Claim { hub: self.observed.id().clone(), identity: step.identity.clone() };
        let reason = claim.describe(&format!("profile {}", self.desired.profile));
        match self.make_grant(step, principal, &reason).await {
            Ok(made) => {
                observer.learn_grant(made);
                StepOutcome::Applied
            }
            Err(error) => match error.reaction() {
                Reaction::AlreadyThere => {
                    observer.list_again(principal);
                    StepOutcome::AlreadyInPlace
                }
                Reaction::PrincipalYoung => self.doubting(error.to_string(), PRINCIPAL_PAUSE * 2),
                // The name follows from the content, so writing it again is the same write.
                Reaction::Reread => self.waiting(error.to_string(), PRINCIPAL_PAUSE),
                _ => self.refused(&error),
            },
        }
    }

    async fn make_grant(self, step: &GrantStep, principal: &str, reason: &str) -> Result<Grant, ArmError> {
        let mut tries = 1;
        loop {
            let made = self.arm.grant(&step.scope, step.role, principal, reason).await;
            match made {
                Err(error) if error.reaction() == Reaction::PrincipalYoung && tries < PRINCIPAL_TRIES => {
                    tries += 1;
                    self.arm.reader().client().pause(PRINCIPAL_PAUSE, "a fresh principal").await?;
                }
                other => return other,
            }
        }
    }

    fn refused(self, error: &ArmError) -> StepOutcome {
        let cause = error.explained();
        match error.reaction() {
            Reaction::Reread => StepOutcome::Stale { cause },
            Reaction::Wait(pause) => self.waiting(cause, pause),
            Reaction::Garbled(pause) => self.doubting(cause, pause),
            Reaction::MaybeNotYet | Reaction::PrincipalYoung | Reaction::AlreadyThere | Reaction::Fail => {
                StepOutcome::Failed { cause }
            }
        }
    }

    fn waiting(self, cause: String, pause: std::time::Duration) -> StepOutcome {
        StepOutcome::Waiting { cause, until: self.now() + pause, in_doubt: false }
    }

    /// To be tried again, but not for ever.
    fn doubting(self, cause: String, pause: std::time::Duration) -> StepOutcome {
        StepOutcome::Waiting { cause, until: self.now() + pause, in_doubt: true }
    }

    /// The hub took what needs these grants: so long, at most, did they take to spread.
    fn measure(self, edit: &HubEdit) {
        let (now, window) = (self.now(), self.guardrails.grant_window.seconds());
        for (role, grant) in grants_used(edit, self.observed, self.guardrails) {
            let age = grant.created_on.map(|created_on| (now - created_on).as_seconds_f64());
            if let Some(seconds) = age.filter(|seconds| *seconds <= 2.0 * window as f64) {
                info!(hub.id = %self.observed.id(), role = %role, propagation_s = seconds, "a grant works");
                telemetry::metrics::grant_took_effect(role, seconds);
            }
        }
    }
}

fn kind_of(step: &Step) -> &'static str {
    match step {
        Step::EditHub { .. } => "update the hub",
        Step::Grant(_) => "grant a role",
        Step::Revoke(_) => "take a role away",
        Step::AwaitPropagation { .. } => "await propagation",
    }
}
