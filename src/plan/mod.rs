//! Decides what has to change. Pure: no I/O, no clock, no randomness.
//!
//! [`plan`] compares what one hub should be with what was found and answers with ordered steps.
//! The order is forced by Azure: an identity must exist before a role can be granted to it, the
//! grant must have spread before the hub accepts an endpoint that uses it, and endpoints and the
//! routes to them are written together, in one PUT.
//!
//! The one property that most tests lean on: after a plan was applied, planning again gives an
//! empty plan.

mod blocked;
mod diff;
mod propagation;
mod render;

pub use blocked::Blocked;
pub use propagation::{Propagation, SETTLE, WINDOW, ask_again};

use serde::Serialize;
use time::OffsetDateTime;

use crate::model::{
    IotHubId, ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef},
    hub::{EndpointEdit, HubEdit, IdentityEdit},
    observed::ObservedHub,
    role::Role,
};

/// What has to change at one hub, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubPlan {
    /// The hub.
    pub hub: IotHubId,
    /// The profile that asks for it.
    pub profile: String,
    /// The steps, in the order in which they must happen. Empty: the hub is in sync, or blocked.
    pub steps: Vec<Step>,
    /// What cannot be planned, and why. Nothing is written to a hub while anything is blocked.
    pub blocked: Vec<Blocked>,
    /// What the operator should know but need not act on.
    pub notes: Vec<String>,
}

impl HubPlan {
    /// Whether nothing is to be done and nothing stands in the way.
    pub fn is_in_sync(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Step {
    /// One PUT of the hub.
    EditHub {
        /// The changes it makes.
        edit: HubEdit,
    },
    /// One role assignment.
    Grant(GrantStep),
    /// Wait until the grants have had time to spread.
    AwaitPropagation {
        /// When to look again. `None` while a grant of this plan has not been made yet.
        #[serde(with = "time::serde::rfc3339::option")]
        until: Option<OffsetDateTime>,
    },
}

/// One role to grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantStep {
    /// The scope: the target itself.
    pub scope: ResourceId,
    /// The least role that does the job.
    pub role: Role,
    /// The identity it goes to.
    pub identity: IdentityRef,
    /// The identity's principal. `None` until the identity exists.
    pub principal: Option<String>,
}

/// Compares what a hub should be with what it is.
///
/// `now` is Azure's own time, so that the age of a grant does not depend on our clock.
pub fn plan(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    now: OffsetDateTime,
) -> HubPlan {
    let mut plan = HubPlan {
        hub: observed.id().clone(),
        profile: desired.profile.clone(),
        steps: Vec::new(),
        blocked: blocked::check(desired, observed, guardrails),
        notes: notes(observed),
    };
    if !plan.blocked.is_empty() {
        return plan;
    }

    let identity = diff::identity(&desired.identity, &observed.hub.identity());
    let endpoints = diff::endpoints(desired, observed);
    let routes = diff::routes(desired, observed);
    let grants = missing_grants(desired, observed);
    let propagation = Propagation::of(&endpoints, observed, now);

    // Grants to a principal that does not exist yet, and endpoints that need them, come after a
    // PUT of their own. In every other case the identity rides in the same PUT as the rest.
    let identity_first = grants.iter().any(|grant| grant.principal.is_none());
    let mut last = HubEdit { identity: None, endpoints, routes };
    if identity_first {
        let edit = HubEdit { identity, ..HubEdit::default() };
        if !edit.is_empty() {
            plan.steps.push(Step::EditHub { edit });
        }
    } else {
        last.identity = identity;
    }
    let waits_for_grant =
        last.endpoints.iter().any(|endpoint| grants.iter().any(|grant| serves(grant, endpoint)));
    plan.steps.extend(grants.into_iter().map(Step::Grant));
    if waits_for_grant {
        plan.steps.push(Step::AwaitPropagation { until: None });
    } else if let Propagation::Settling { until } = propagation {
        plan.steps.push(Step::AwaitPropagation { until: Some(until) });
    }
    if !last.is_empty() {
        plan.steps.push(Step::EditHub { edit: last });
    }
    plan
}

/// The grants that the desired endpoints need and that are not there, each once.
fn missing_grants(desired: &DesiredHub, observed: &ObservedHub) -> Vec<GrantStep> {
    let mut missing: Vec<GrantStep> = Vec::new();
    for endpoint in &desired.endpoints {
        let principal = observed.principal_of(&endpoint.identity);
        let (scope, role) = (endpoint.target.id(), endpoint.target.role());
        if principal.as_deref().is_some_and(|principal| observed.grant_for(scope, role, principal).is_some())
        {
            continue;
        }
        let step = GrantStep { scope: scope.clone(), role, identity: endpoint.identity.clone(), principal };
        if !missing.contains(&step) {
            missing.push(step);
        }
    }
    missing
}

fn serves(grant: &GrantStep, endpoint: &EndpointEdit) -> bool {
    grant.scope == endpoint.target && grant.identity == endpoint.identity
}

fn notes(observed: &ObservedHub) -> Vec<String> {
    let newer = observed.hub.preview_settings();
    if newer.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "the hub has settings of a newer api-version ({}): check them after a write",
        newer.join(", ")
    )]
}

/// Whether this edit turns an identity off; the planner's own guard is in [`blocked`].
fn turns_off(edit: &IdentityEdit) -> bool {
    edit.system == Some(false)
}
