//! What was found in Azure: one hub, the targets it shall send to, and the grants of its identities.
//!
//! An observation is a snapshot, maybe stale, maybe incomplete. What could not be read is recorded
//! as such, so that the planner never takes "not read" for "not there".

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{IotHubId, ResourceId, desired::IdentityRef, hub::HubDocument, role::Role};

/// One hub and everything around it that a plan needs.
#[derive(Clone)]
pub struct ObservedHub {
    /// The hub's document.
    pub hub: HubDocument,
    /// The targets that the desired state names.
    pub targets: BTreeMap<ResourceId, ObservedTarget>,
    /// Principals of user-assigned identities that the desired state names; `None` where the
    /// identity does not exist.
    pub user_identities: BTreeMap<ResourceId, Option<String>>,
    /// Role assignments at, above and below the targets, of the principals that matter.
    pub grants: Vec<Grant>,
}

impl ObservedHub {
    /// The hub's id.
    pub fn id(&self) -> &IotHubId {
        self.hub.id()
    }

    /// The principal of an identity, if it is known. That of the system-assigned identity is known
    /// only once the service has made one.
    pub fn principal_of(&self, identity: &IdentityRef) -> Option<String> {
        match identity {
            IdentityRef::System => self.hub.identity().system_principal,
            IdentityRef::User(id) => match self.user_identities.get(id) {
                Some(principal) => principal.clone(),
                None => self.hub.identity().user_assigned.get(id).cloned().flatten(),
            },
        }
    }

    /// The grant that lets this principal use the role at the scope: the oldest one at the scope
    /// or above it, since it has had the most time to spread.
    pub fn grant_for(&self, scope: &ResourceId, role: Role, principal: &str) -> Option<&Grant> {
        self.grants
            .iter()
            .filter(|grant| {
                grant.role == Some(role)
                    && grant.principal.eq_ignore_ascii_case(principal)
                    && !grant.is_conditional
                    && scope.is_within(&grant.scope)
            })
            .min_by_key(|grant| grant.created_on)
    }
}

/// One target as ARM shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedTarget {
    /// It is there. Addresses come from ARM and are never built.
    EventHub {
        /// The namespace's address without port: `sb://ns1.servicebus.windows.net`.
        endpoint_uri: String,
        /// The event hub's name, as ARM spells it.
        entity_path: String,
    },
    /// ARM says that there is no such resource. Names the resource that is missing.
    Missing(ResourceId),
    /// It could not be read; in the service's words.
    Unreadable(String),
}

/// One role assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Where it applies.
    pub scope: ResourceId,
    /// The role, if it is one of ours.
    pub role: Option<Role>,
    /// Who holds it.
    pub principal: String,
    /// Whether a condition limits it; such a grant proves nothing.
    pub is_conditional: bool,
    /// When Azure made it. Propagation is counted from here, never from our own memory.
    pub created_on: OffsetDateTime,
}
