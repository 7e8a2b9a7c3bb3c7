//! What was found in Azure: one hub, the targets it shall send to, and the grants of its identities.
//!
//! An observation is a snapshot, maybe stale, maybe incomplete. What could not be read is recorded
//! as such, so that the planner never takes "not read" for "not there".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    IotHubId, ResourceId,
    desired::{IdentityRef, Target},
    hub::HubDocument,
    role::{BroadRole, Role},
};

/// One hub and everything around it that a plan needs.
#[derive(Clone)]
pub struct ObservedHub {
    /// The hub's document.
    pub hub: HubDocument,
    /// Targets that the desired state names, as far as they had to be read: a target that the hub
    /// sends to already, in just the way it should, is not.
    pub targets: BTreeMap<ResourceId, ObservedTarget>,
    /// Principals of user-assigned identities that the desired state names; `None` where the
    /// identity does not exist.
    pub user_identities: BTreeMap<ResourceId, Option<String>>,
    /// Role assignments of the principals that matter, at, above and below the targets.
    pub grants: Vec<Grant>,
    /// Ids of grants that were read back, and not only made.
    pub readable: BTreeSet<String>,
    /// How many role assignments a subscription has room for, where that was asked.
    pub assignments_left: BTreeMap<String, AssignmentsLeft>,
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

    /// What is known about a target that was read and is there.
    pub fn target(&self, target: &Target) -> Option<&TargetFacts> {
        match self.targets.get(target.id()) {
            Some(ObservedTarget::Found(facts)) => Some(facts),
            _ => None,
        }
    }

    /// The grant that lets this principal use the role at the scope: the oldest one at the scope
    /// or above it, since it has had the most time to spread.
    pub fn grant_for(&self, scope: &ResourceId, role: Role, principal: &str) -> Option<&Grant> {
        self.grants
            .iter()
            .filter(|grant| {
                grant.role == HeldRole::Ours(role)
                    && grant.is_of(principal)
                    && !grant.is_conditional
                    && scope.is_within(&grant.scope)
            })
            .min_by_key(|grant| grant.created_on)
    }
}

/// One target as ARM shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedTarget {
    /// It is there.
    Found(TargetFacts),
    /// ARM says that there is no such resource. Names the resource that is missing.
    Missing(ResourceId),
    /// It could not be read; in the service's words.
    Unreadable(String),
}

/// What a hub has to know about a target. Addresses come from ARM and are never built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFacts {
    /// The address as endpoints have it: `sb://ns1.servicebus.windows.net`,
    /// `https://acct.blob.core.windows.net/`, `https://acct.documents.azure.com:443/`.
    pub endpoint_uri: String,
    /// The name of the event hub, queue, topic or container, as ARM spells it.
    pub entity: String,
    /// Who may reach it.
    pub network: Network,
    /// Whether it takes keys at all.
    pub takes_keys: bool,
}

impl TargetFacts {
    /// The host of the address.
    pub fn host(&self) -> &str {
        let rest = self.endpoint_uri.split_once("://").map_or(self.endpoint_uri.as_str(), |(_, rest)| rest);
        rest.split(['/', ':']).next().unwrap_or_default()
    }
}

/// Who may reach a target. Hubs come over its public address, from addresses that nobody can list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Everybody.
    Open,
    /// Trusted services of Azure: a hub, if it comes with its system-assigned identity.
    TrustedServices,
    /// No hub.
    Closed,
    /// Its rules could not be read.
    Unknown,
}

/// A role that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeldRole {
    /// One of those that Hubward grants.
    Ours(Role),
    /// One that is more than a hub needs.
    Broad(BroadRole),
    /// Any other.
    Other,
}

/// One role assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its own id.
    pub id: String,
    /// Where it applies.
    pub scope: ResourceId,
    /// The role.
    pub role: HeldRole,
    /// Who holds it.
    pub principal: String,
    /// Whether a condition limits it; such a grant proves nothing.
    #[serde(default)]
    pub is_conditional: bool,
    /// When Azure made it. Propagation is counted from here. Cosmos DB does not say: then it is the
    /// time of our own write or of the first refusal, and `None` where neither is known.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub created_on: Option<OffsetDateTime>,
    /// What it says of itself, if it was listed; see [`Claim`](super::claim::Claim). No part of what travels in
    /// messages.
    #[serde(skip)]
    pub description: Option<String>,
}

impl Grant {
    /// Whether this principal holds it.
    pub fn is_of(&self, principal: &str) -> bool {
        self.principal.eq_ignore_ascii_case(principal)
    }

    /// Whether it stands for the same thing, whatever its times.
    pub fn is_same(&self, other: &Grant) -> bool {
        self.scope == other.scope && self.role == other.role && self.is_of(&other.principal)
    }
}

/// Room for role assignments in a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignmentsLeft {
    /// How many there may be.
    pub limit: u64,
    /// How many more there may be.
    pub left: u64,
}
