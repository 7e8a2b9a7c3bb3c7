//! What an operator should know and need not act on at once.

use std::fmt;

use serde::Serialize;

use super::{
    diff::Stale,
    excess::{Excess, excess, needed},
    in_use,
};
use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef},
    observed::{Network, ObservedHub},
};

/// Room for role assignments below which it is told. A subscription takes 4,000.
const FEW_LEFT: u64 = 200;

/// One thing to know about a hub.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "warning")]
pub enum Warning {
    /// The hub has settings that only newer api-versions know; a write might drop them.
    PreviewSettings {
        /// Their names.
        names: Vec<String>,
    },
    /// Something is there that should not be, and nothing may be removed.
    WouldRemove {
        /// What.
        what: String,
    },
    /// Something is there that should not be, and something that stays uses it.
    InUse {
        /// What.
        what: String,
        /// By what.
        used_by: Vec<String>,
    },
    /// An identity holds a role that is more than it needs, or further up.
    ExcessGrant {
        /// The identity.
        identity: String,
        /// The role.
        role: String,
        /// Where.
        scope: ResourceId,
        /// What is too much about it.
        excess: Excess,
    },
    /// A subscription has little room for more role assignments.
    FewAssignmentsLeft {
        /// The subscription.
        subscription: String,
        /// How many more there may be.
        left: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The firewall rules of a target could not be read.
    NetworkUnknown {
        /// The target.
        target: ResourceId,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::PreviewSettings { names } => write!(
                f,
                "the hub has settings of a newer api-version ({}): check them after a write",
                names.join(", ")
            ),
            Warning::WouldRemove { what } => {
                write!(f, "{what} is not wanted and stays, because guardrails.allowRemovals is false")
            }
            Warning::InUse { what, used_by } => {
                write!(f, "{what} is not wanted and stays: used by {}", used_by.join(", "))
            }
            Warning::ExcessGrant { identity, role, scope, excess } => {
                write!(f, "the {identity} holds {role} on {scope}; {excess}")
            }
            Warning::FewAssignmentsLeft { subscription, left, limit } => {
                write!(f, "subscription {subscription} has room for {left} more role assignments of {limit}")
            }
            Warning::NetworkUnknown { target } => {
                write!(f, "the firewall rules of {target} could not be read; the hub may be refused there")
            }
        }
    }
}

/// All warnings about one hub.
pub(super) fn warnings(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    unwanted: &Stale,
    removable: &Stale,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let names = observed.hub.preview_settings();
    if !names.is_empty() {
        warnings.push(Warning::PreviewSettings { names });
    }
    if guardrails.allow_removals {
        warnings.extend(in_use::kept_endpoints(desired, observed, unwanted));
        warnings.extend(in_use::kept_identities(desired, observed, removable));
    } else {
        // What is named outright is a block.
        let parts = unwanted
            .parts
            .iter()
            .filter(|gone| !gone.is_named_by(desired))
            .map(|gone| format!("{} {}", gone.part.word(), gone.name));
        let others = observed.hub.identity().user_assigned.into_keys().filter(|id| {
            // What is named outright is a block; what only is not listed is a warning.
            desired.identity.detaches(id) && !desired.identity.detach.contains(id)
        });
        let others = others.map(|id| format!("user-assigned identity {}", id.name()));
        warnings.extend(parts.chain(others).map(|what| Warning::WouldRemove { what }));
    }
    warnings.extend(grants(desired, observed, guardrails));
    for (subscription, room) in &observed.assignments_left {
        if room.left < FEW_LEFT {
            let subscription = subscription.clone();
            warnings.push(Warning::FewAssignmentsLeft { subscription, left: room.left, limit: room.limit });
        }
    }
    for used in desired.uses() {
        if observed.target(used.target).is_some_and(|facts| facts.network == Network::Unknown) {
            warnings.push(Warning::NetworkUnknown { target: used.target.id().clone() });
        }
    }
    warnings.sort();
    warnings.dedup();
    warnings
}

/// Roles that are too much, too far up, or of no use.
fn grants(desired: &DesiredHub, observed: &ObservedHub, guardrails: &Guardrails) -> Vec<Warning> {
    let mut identities: Vec<&IdentityRef> = desired.uses().map(|used| used.identity).collect();
    identities.sort();
    identities.dedup();
    let mut warnings = Vec::new();
    for identity in identities {
        let Some(principal) = observed.principal_of(identity) else { continue };
        let needed = needed(&observed.hub, Some(desired), guardrails, identity);
        for grant in observed.grants.iter().filter(|grant| grant.is_of(&principal)) {
            if let Some((role, excess)) = excess(&observed.hub, grant, identity, &needed, guardrails) {
                let (identity, scope) = (identity.to_string(), grant.scope.clone());
                warnings.push(Warning::ExcessGrant { identity, role, scope, excess });
            }
        }
    }
    warnings
}
