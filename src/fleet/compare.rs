//! Where one hub stands, from what a resync has of it. Pure; the planner decides.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{FleetGrants, Standing};
use crate::{
    desired::{Choice, DesiredState},
    model::{
        desired::{DesiredHub, Guardrails, Target},
        hub::HubDocument,
        observed::ObservedHub,
    },
    plan::{Blocked, HubPlan, Step, missing_grants, plan, targets_to_read},
};

/// Compares a hub with its profile. Targets are not read: a hub that is in order needs none, and for any
/// other the look reads them.
pub fn compare(
    state: &DesiredState,
    hub: HubDocument,
    grants: &FleetGrants,
    now: OffsetDateTime,
) -> (Option<String>, Standing) {
    if hub.is_being_deleted() {
        return (None, Standing::Refused { causes: vec!["the hub is being deleted".to_owned()] });
    }
    match state.for_document(&hub) {
        Choice::Desired(desired) => {
            let standing = planned(&desired, hub, grants, state.guardrails(), now);
            (Some(desired.profile), standing)
        }
        Choice::NoProfile => {
            let held = hub.identity().system_principal.map(|own| grants.of(&own)).unwrap_or_default();
            let said = held.iter().filter_map(|grant| grant.description.as_deref());
            match state.for_former(&hub, said) {
                Some(former) => (None, planned(&former, hub, grants, state.guardrails(), now)),
                None => (None, Standing::NoProfile),
            }
        }
        refused => {
            let profile = match &refused {
                Choice::Refused(refusals) => refusals.first().map(|refusal| refusal.profile.clone()),
                _ => None,
            };
            (profile, Standing::Refused { causes: refused.causes() })
        }
    }
}

fn planned(
    desired: &DesiredHub,
    hub: HubDocument,
    grants: &FleetGrants,
    guardrails: &Guardrails,
    now: OffsetDateTime,
) -> Standing {
    let observed = from_afar(hub, grants);
    let plan = plan(desired, &observed, guardrails, now);
    standing(desired, &observed, &plan, guardrails, now)
}

/// What a resync has of a hub: its document and its grants.
fn from_afar(hub: HubDocument, grants: &FleetGrants) -> ObservedHub {
    let mut observed = ObservedHub {
        hub,
        targets: BTreeMap::new(),
        user_identities: BTreeMap::new(),
        grants: Vec::new(),
        readable: BTreeSet::new(),
        assignments_left: BTreeMap::new(),
    };
    let identity = observed.hub.identity();
    let principals =
        identity.system_principal.into_iter().chain(identity.user_assigned.into_values().flatten());
    observed.grants = principals.flat_map(|principal| grants.of(&principal)).collect();
    observed.readable = observed.grants.iter().map(|grant| grant.id.clone()).collect();
    observed
}

/// Where a hub stands, by a plan for it.
pub fn standing(
    desired: &DesiredHub,
    observed: &ObservedHub,
    plan: &HubPlan,
    guardrails: &Guardrails,
    now: OffsetDateTime,
) -> Standing {
    let HubPlan { steps, blocked, .. } = plan;
    // That a target was not read is our doing and says nothing of the hub.
    let causes: Vec<String> = blocked
        .iter()
        .filter(|cause| !matches!(cause, Blocked::TargetNotRead { .. }))
        .map(ToString::to_string)
        .collect();
    if !causes.is_empty() {
        return Standing::Blocked { causes };
    }
    if blocked.is_empty() && steps.is_empty() {
        return Standing::InSync;
    }
    let missing = missing_grants(desired, observed, guardrails).len();
    if missing == 0
        && let Some(since) = youngest(desired, observed, guardrails)
        && now - since < guardrails.grant_window.duration()
    {
        return Standing::Waiting { since };
    }
    let is_read = |target: &&Target| observed.targets.contains_key(target.id());
    let changes = if targets_to_read(desired, &observed.hub).iter().all(is_read) {
        steps.iter().filter(|step| !matches!(step, Step::AwaitPropagation { .. })).count()
    } else {
        // What else is in the edit cannot be said without the targets: one edit, and the grants.
        missing + 1
    };
    Standing::Differs { changes: u64::try_from(changes).unwrap_or(u64::MAX) }
}

/// When the youngest of the grants that are wanted was made.
fn youngest(desired: &DesiredHub, observed: &ObservedHub, guardrails: &Guardrails) -> Option<OffsetDateTime> {
    let made = desired.uses().filter_map(|used| {
        let principal = observed.principal_of(used.identity)?;
        let scope = used.target.grant_scope(guardrails.storage_grants);
        observed.grant_for(&scope, used.target.role(), &principal)?.created_on
    });
    made.max()
}
