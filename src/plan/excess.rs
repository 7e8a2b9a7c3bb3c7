//! Roles that are more than what is sent with them needs: too far up, too broad, or of no use.

use std::fmt;

use serde::Serialize;

use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, Target},
    hub::{EndpointAuth, HubDocument},
    observed::{Grant, HeldRole},
    role::Role,
};

/// What is too much about a role assignment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is")]
pub enum Excess {
    /// A data role further up than needed.
    TooWide {
        /// Where it would do.
        instead: Vec<ResourceId>,
    },
    /// A role that is more than a hub needs.
    TooBroad,
    /// A data role of the hub's own identity on something that the hub does not send to.
    Unused,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::TooWide { instead } => {
                let scopes: Vec<&str> = instead.iter().map(ResourceId::as_str).collect();
                write!(f, "{} would do", scopes.join(", "))
            }
            Excess::TooBroad => f.write_str("more than a hub needs"),
            Excess::Unused => f.write_str("the hub does not send there"),
        }
    }
}

/// What one identity of a hub has to be able to write to: because it is wanted, or because others
/// have put it into the hub.
pub fn needed(
    hub: &HubDocument,
    desired: Option<&DesiredHub>,
    guardrails: &Guardrails,
    identity: &IdentityRef,
) -> Vec<(ResourceId, Role)> {
    let scope = |target: &Target| (target.grant_scope(guardrails.storage_grants), target.role());
    let wanted = desired.into_iter().flat_map(DesiredHub::uses).filter(|used| used.identity == identity);
    let mut needed: Vec<_> = wanted.map(|used| scope(used.target)).collect();
    let auth = EndpointAuth::Identity(identity.clone());
    let found = hub.endpoints().into_iter().filter(|endpoint| endpoint.auth() == auth);
    needed.extend(found.filter_map(|endpoint| Some(scope(&endpoint.target(hub.id())?))));
    needed.sort();
    needed.dedup();
    needed
}

/// What is too much about an assignment, and the role's name.
pub fn excess(
    grant: &Grant,
    identity: &IdentityRef,
    needed: &[(ResourceId, Role)],
    guardrails: &Guardrails,
) -> Option<(String, Excess)> {
    let role = match grant.role {
        HeldRole::Other => return None,
        HeldRole::Broad(role) => return Some((role.to_string(), Excess::TooBroad)),
        HeldRole::Ours(role) => role,
    };
    let instead: Vec<ResourceId> = needed
        .iter()
        .filter(|(scope, needed)| *needed == role && scope.is_within(&grant.scope))
        .map(|(scope, _)| scope.clone())
        .collect();
    if instead.contains(&grant.scope) {
        return None;
    }
    if !instead.is_empty() {
        return Some((role.to_string(), Excess::TooWide { instead }));
    }
    // A user-assigned identity may serve other hubs, and what is outside the guardrails is not ours.
    let is_ours = *identity == IdentityRef::System && guardrails.allows_target(&grant.scope);
    is_ours.then(|| (role.to_string(), Excess::Unused))
}
