//! Reads what we may do and holds it against what is needed.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use tracing::debug;

use super::{
    checkup::{Checkup, HeldBelow, ScopeCheck, Verdict},
    fix::fixes,
    needs::{Need, needs},
    power::{Held, warnings},
};
use crate::{
    arm::{ArmError, ArmReader, OwnAssignment},
    desired::{DesiredState, TargetDemand},
    model::{ResourceId, permission::Permission},
};

/// Scopes that are asked at the same time.
const AT_ONCE: usize = 8;
/// Narrower scopes that are asked where something is missing on a wide one. Beyond it, grants further
/// down do not count: a role for each of so many resources belongs on the group.
const MOST_BELOW: usize = 50;

/// Checks our rights on everything that the document names.
///
/// # Errors
/// There is no token, so nobody knows who we are. Whatever else goes wrong is part of the checkup.
pub async fn check(arm: &ArmReader, state: &DesiredState) -> Result<Checkup, ArmError> {
    let principal = arm.client().principal().await?;
    let demand = state.demand();
    let all = needs(&demand, state.guardrails());
    let mut by_scope: BTreeMap<ResourceId, Vec<Need>> = BTreeMap::new();
    for need in &all {
        by_scope.entry(need.scope.clone()).or_default().push(need.clone());
    }
    let object_id = principal.object_id.as_deref();
    let looks = by_scope.into_iter().map(|(scope, needs)| look(arm, scope, needs, object_id));
    let looks: Vec<Look> = stream::iter(looks).buffered(AT_ONCE).collect().await;

    let held: Vec<Held<'_>> = looks
        .iter()
        .filter_map(|look| {
            let (permissions, assignments) = (look.permissions.as_deref()?, look.assignments.as_deref());
            let scope = &look.check.scope;
            let target = demand.targets.iter().find(|target| target.scope == *scope);
            let granted = target.map(TargetDemand::granted_roles).unwrap_or_default();
            Some(Held { scope, permissions, assignments, granted })
        })
        .collect();
    let warnings = warnings(arm, &held).await;
    let scopes: Vec<ScopeCheck> = looks.iter().map(|look| look.check.clone()).collect();
    let open: Vec<&Need> =
        scopes.iter().flat_map(|scope| scope.missing.iter().chain(&scope.unknown)).collect();
    let fixes = fixes(&open, &all, &principal);
    Ok(Checkup { checked_as: principal, verdict: Verdict::of(&scopes), scopes, fixes, warnings })
}

/// What one scope showed.
struct Look {
    check: ScopeCheck,
    permissions: Option<Vec<Permission>>,
    assignments: Option<Vec<OwnAssignment>>,
}

async fn look(arm: &ArmReader, scope: ResourceId, needs: Vec<Need>, object_id: Option<&str>) -> Look {
    let mut check = ScopeCheck {
        scope,
        held: Vec::new(),
        held_below: Vec::new(),
        sees_below: false,
        missing: Vec::new(),
        unknown: Vec::new(),
        unreadable: None,
    };
    let permissions = match arm.permissions(&check.scope).await {
        Ok(permissions) => permissions,
        Err(error) => {
            check.unreadable = Some(error.explained());
            check.unknown = needs;
            return Look { check, permissions: None, assignments: None };
        }
    };
    let assignments = own_assignments(arm, &check.scope, object_id).await;
    check.sees_below = assignments.is_some();
    let (held, missing): (Vec<_>, Vec<_>) = needs.into_iter().partition(|need| need.is_met(&permissions));
    check.held = held;
    let below = match missing.is_empty() {
        true => Vec::new(),
        false => permissions_below(arm, &check.scope, assignments.as_deref().unwrap_or_default()).await,
    };
    for need in missing {
        let there = below.iter().filter(|(_, permissions)| need.is_met(permissions));
        let scopes: Vec<ResourceId> = there.map(|(scope, _)| scope.clone()).collect();
        if scopes.is_empty() {
            check.missing.push(need);
        } else {
            check.held_below.push(HeldBelow { need, scopes });
        }
    }
    Look { check, permissions: Some(permissions), assignments }
}

/// `None` where they cannot be listed.
async fn own_assignments(
    arm: &ArmReader,
    scope: &ResourceId,
    object_id: Option<&str>,
) -> Option<Vec<OwnAssignment>> {
    match arm.own_assignments(scope, object_id?).await {
        Ok(list) => Some(list),
        Err(error) => {
            debug!(%scope, %error, "our own role assignments cannot be listed");
            None
        }
    }
}

/// What we may do at narrower scopes where we hold roles. What cannot be read allows nothing.
async fn permissions_below(
    arm: &ArmReader,
    scope: &ResourceId,
    assignments: &[OwnAssignment],
) -> Vec<(ResourceId, Vec<Permission>)> {
    let parsed = assignments.iter().filter_map(|own| ResourceId::parse(&own.scope).ok());
    let mut below: Vec<ResourceId> = parsed.filter(|own| own != scope && own.is_within(scope)).collect();
    below.sort();
    below.dedup();
    below.truncate(MOST_BELOW);
    let reads = below.into_iter().map(|own| async move {
        let permissions = arm.permissions(&own).await.unwrap_or_default();
        (own, permissions)
    });
    stream::iter(reads).buffered(AT_ONCE).collect().await
}
