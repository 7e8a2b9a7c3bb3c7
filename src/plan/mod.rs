//! Decides what has to change. Pure: no I/O, no clock, no randomness.
//!
//! [`plan`] compares what one hub should be with what was found and answers with ordered steps.
//! The order is forced by Azure: an identity must exist before a role can be granted to it, the
//! grant must have spread before the hub accepts what uses it, what leads to an endpoint is written
//! in one PUT with it, and an identity goes when nothing uses it any more and its grants are gone.
//!
//! The one property that most tests lean on: after a plan was applied, planning again gives an
//! empty plan.

mod blocked;
mod check;
mod diff;
mod excess;
mod history;
mod in_use;
mod preflight;
mod propagation;
mod render;
mod warning;

pub use blocked::Blocked;
pub use excess::{Excess, excess, needed};
pub use history::{HubWrite, LOOK_BACK, Stage, Writer, mark, over_budget, second_owner};
pub use propagation::{
    GrantState, Propagation, SETTLE, Spread, ask_again, grant_states, grants_of_unknown_age, grants_used,
};
pub use render::edit_lines;
pub use warning::Warning;

use serde::Serialize;
use time::OffsetDateTime;

use crate::model::{
    IotHubId, ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, Target},
    hub::{HubDocument, HubEdit, IdentityEdit, Part, Removal},
    observed::{Grant, HeldRole, ObservedHub},
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
    /// The steps, in the order in which they must happen. Empty: the hub is in sync, or blocked by more than changes
    /// being turned off: what they would be is shown then too.
    pub steps: Vec<Step>,
    /// What cannot be planned, and why. Nothing is written to a hub while anything is blocked.
    pub blocked: Vec<Blocked>,
    /// What the operator should know but need not act on at once.
    pub warnings: Vec<Warning>,
}

impl HubPlan {
    /// Whether nothing is to be done and nothing stands in the way.
    pub fn is_in_sync(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }

    /// How many hub PUTs this plan takes.
    pub fn hub_edits(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::EditHub { .. })).count()
    }

    /// Everything that hub PUTs of this plan change, taken together.
    pub fn pending(&self) -> HubEdit {
        let mut pending = HubEdit::default();
        for step in &self.steps {
            if let Step::EditHub { edit } = step {
                pending.endpoints.extend(edit.endpoints.iter().cloned());
                pending.file_upload = pending.file_upload.or_else(|| edit.file_upload.clone());
            }
        }
        pending
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Step {
    /// One PUT of the hub.
    EditHub {
        /// The changes it makes.
        edit: Box<HubEdit>,
    },
    /// One role assignment.
    Grant(GrantStep),
    /// Wait until the grants have had time to spread.
    AwaitPropagation {
        /// When to look again. `None` while a grant of this plan has not been made yet.
        #[serde(with = "time::serde::rfc3339::option")]
        until: Option<OffsetDateTime>,
    },
    /// Take a role assignment away.
    Revoke(RevokeStep),
}

impl Step {
    fn edit(edit: HubEdit) -> Step {
        Step::EditHub { edit: Box::new(edit) }
    }
}

/// One role to grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantStep {
    /// The scope: the target itself, or its account.
    pub scope: ResourceId,
    /// The least role that does the job.
    pub role: Role,
    /// The identity it goes to.
    pub identity: IdentityRef,
    /// The identity's principal. `None` until the identity exists.
    pub principal: Option<String>,
}

/// One role assignment to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokeStep {
    /// The assignment's own id.
    pub id: String,
    /// Where it applies.
    pub scope: ResourceId,
    /// The role: always one of those that Hubward grants.
    pub role: Role,
    /// The identity that holds it.
    pub identity: IdentityRef,
}

/// The targets that have to be read before [`plan`] can say anything: those that the hub does not
/// send to yet, or not in just the way it should.
pub fn targets_to_read<'a>(desired: &'a DesiredHub, hub: &HubDocument) -> Vec<&'a Target> {
    diff::targets_to_read(desired, hub)
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
    let unwanted = diff::stale(desired, &observed.hub);
    let stale = in_use::removable(desired, observed, &unwanted);
    let mut edit = HubEdit {
        identity: None,
        endpoints: diff::endpoints(desired, observed),
        routes: diff::routes(desired, observed),
        enrichments: diff::enrichments(desired, observed),
        file_upload: diff::file_upload(desired, observed),
        settings: Vec::new(),
        removals: if guardrails.allow_removals { stale.parts.clone() } else { Vec::new() },
    };
    edit.settings = diff::settings(desired, observed, &check::written_targets(&edit));
    let grants = missing_grants(desired, observed, guardrails);
    let mut plan = HubPlan {
        hub: observed.id().clone(),
        profile: desired.profile.clone(),
        steps: Vec::new(),
        blocked: check::check(desired, observed, guardrails, &edit, &grants, &stale),
        warnings: warning::warnings(desired, observed, guardrails, &unwanted, &stale),
    };
    if plan.blocked.iter().all(|cause| matches!(cause, Blocked::ChangesOff)) {
        let identity = diff::identity(&desired.identity, &observed.hub.identity()).unwrap_or_default();
        let detach = in_use::detachable(desired, observed, guardrails, &stale, identity.detach);
        let identity = IdentityEdit { detach, ..identity };
        plan.steps = steps(desired, observed, guardrails, identity, edit, grants, now);
    }
    plan
}

fn steps(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    identity: IdentityEdit,
    mut edit: HubEdit,
    grants: Vec<GrantStep>,
    now: OffsetDateTime,
) -> Vec<Step> {
    let IdentityEdit { system, attach, detach } = identity;
    let mut steps = Vec::new();
    let propagation = Propagation::of(&edit, observed, guardrails, now);
    let waits = propagation::needs(&edit).any(|(target, identity)| {
        let scope = target.grant_scope(guardrails.storage_grants);
        grants.iter().any(|grant| grant.scope == scope && grant.identity == *identity)
    });

    // Grants to a principal that does not exist yet, and what needs them, come after a PUT of their
    // own. In every other case identities ride in the same PUT as the rest. An identity that is
    // detached goes with what moved away from it.
    let identity_first = grants.iter().any(|grant| grant.principal.is_none());
    if identity_first {
        let on = IdentityEdit { system: system.filter(|on| *on), attach, detach: Vec::new() }.if_any();
        if on.is_some() {
            steps.push(Step::edit(HubEdit { identity: on, ..HubEdit::default() }));
        }
        edit.identity = IdentityEdit { detach, ..IdentityEdit::default() }.if_any();
    } else {
        edit.identity = IdentityEdit { system: system.filter(|on| *on), attach, detach }.if_any();
    }
    steps.extend(grants.into_iter().map(Step::Grant));
    if waits {
        steps.push(Step::AwaitPropagation { until: None });
    } else if let Propagation::Settling { until } = propagation {
        steps.push(Step::AwaitPropagation { until: Some(until) });
    }

    // A system-assigned identity that goes leaves its grants behind as "identity not found", and
    // nobody could tell afterwards whose they were: they go first. But what still sends with it is
    // moved before that.
    let goes = system == Some(false);
    let unneeded = if desired.revoke_unneeded && guardrails.allow_removals && !goes {
        unneeded_grants(desired, observed, guardrails, &edit.removals)
    } else {
        Vec::new()
    };
    let revokes: Vec<Step> = if goes { revokes(observed, guardrails) } else { Vec::new() };
    let off = HubEdit {
        identity: IdentityEdit { system: Some(false), ..IdentityEdit::default() }.if_any(),
        ..HubEdit::default()
    };
    let moves_away = goes && !observed.hub.users_of(&IdentityRef::System).is_empty();
    if goes && !moves_away {
        let identity = edit.identity.get_or_insert_default();
        identity.system = Some(false);
        steps.extend(revokes);
        steps.push(Step::edit(edit));
        return steps;
    }
    if !edit.is_empty() {
        steps.push(Step::edit(edit));
    }
    if goes {
        steps.extend(revokes);
        steps.push(Step::edit(off));
    }
    steps.extend(unneeded);
    steps
}

/// The grants that what is wanted needs and that are not there, each once.
pub fn missing_grants(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
) -> Vec<GrantStep> {
    let mut missing: Vec<GrantStep> = Vec::new();
    for used in desired.uses() {
        let principal = observed.principal_of(used.identity);
        let (scope, role) = (used.target.grant_scope(guardrails.storage_grants), used.target.role());
        let is_there = principal
            .as_deref()
            .is_some_and(|principal| observed.grant_for(&scope, role, principal).is_some());
        let step = GrantStep { scope, role, identity: used.identity.clone(), principal };
        if !is_there && !missing.contains(&step) {
            missing.push(step);
        }
    }
    missing
}

/// Steps that take away what the system-assigned identity holds of our roles and needs no longer, once
/// some parts of the hub are gone.
fn unneeded_grants(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    removals: &[Removal],
) -> Vec<Step> {
    let stays = |name: &str| {
        !removals
            .iter()
            .any(|gone| matches!(gone.part, Part::Endpoint(_)) && gone.name.eq_ignore_ascii_case(name))
    };
    let is_needed = |revoke: &RevokeStep| {
        excess::may_serve(&observed.hub, desired, &IdentityRef::System, &revoke.scope, revoke.role, stays)
    };
    let revokes = revokes(observed, guardrails).into_iter();
    revokes.filter(|step| !matches!(step, Step::Revoke(revoke) if is_needed(revoke))).collect()
}

/// The grants of the system-assigned identity that are of our making: our roles, within the
/// guardrails. Others are not ours to take away.
fn revokes(observed: &ObservedHub, guardrails: &Guardrails) -> Vec<Step> {
    let Some(principal) = observed.principal_of(&IdentityRef::System) else { return Vec::new() };
    let ours = |grant: &Grant| match grant.role {
        HeldRole::Ours(role) if grant.is_of(&principal) && guardrails.allows_target(&grant.scope) => {
            Some(Step::Revoke(RevokeStep {
                id: grant.id.clone(),
                scope: grant.scope.clone(),
                role,
                identity: IdentityRef::System,
            }))
        }
        _ => None,
    };
    observed.grants.iter().filter_map(ours).collect()
}
