//! What stands in the way of a plan: data, not errors, so that all of it can be shown at once.

use std::fmt;

use serde::Serialize;

use super::{diff, turns_off};
use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, SystemIdentity},
    hub::EndpointAuth,
    observed::{ObservedHub, ObservedTarget},
};

/// Custom endpoints that a hub may have: paid tiers, and Free.
/// <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>
const MAX_ENDPOINTS: (usize, usize) = (10, 1);
/// Routes that a hub may have: paid tiers, and Free.
const MAX_ROUTES: (usize, usize) = (100, 5);

/// One reason why a hub is not planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Blocked {
    /// The hub's subscription is not in `guardrails.subscriptions`.
    HubOutOfScope,
    /// A target is not below any of `guardrails.targets`.
    #[serde(rename_all = "camelCase")]
    TargetOutOfScope {
        /// The endpoint that names it.
        endpoint: String,
        /// The target.
        target: ResourceId,
    },
    /// A target does not exist.
    #[serde(rename_all = "camelCase")]
    TargetMissing {
        /// The endpoint that names it.
        endpoint: String,
        /// What is missing: the target, or the namespace it should be in.
        missing: ResourceId,
    },
    /// A target could not be read.
    #[serde(rename_all = "camelCase")]
    TargetNotRead {
        /// The endpoint that names it.
        endpoint: String,
        /// The service's words.
        cause: String,
    },
    /// A user-assigned identity does not exist.
    #[serde(rename_all = "camelCase")]
    IdentityMissing {
        /// The identity.
        identity: ResourceId,
    },
    /// An endpoint shall use an identity that the hub has not and is not given.
    #[serde(rename_all = "camelCase")]
    IdentityNotOnHub {
        /// The endpoint.
        endpoint: String,
        /// The identity, in words.
        identity: String,
    },
    /// Another kind of endpoint has the name.
    #[serde(rename_all = "camelCase")]
    NameTaken {
        /// The endpoint's name.
        endpoint: String,
        /// What has it.
        by: String,
    },
    /// The hub would have more than it may.
    #[serde(rename_all = "camelCase")]
    TooMany {
        /// `endpoints` or `routes`.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An identity that something still uses would be turned off.
    #[serde(rename_all = "camelCase")]
    IdentityInUse {
        /// Endpoints, or `file upload`.
        used_by: Vec<String>,
    },
    /// The plan would remove something, and `guardrails.allowRemovals` is off.
    #[serde(rename_all = "camelCase")]
    RemovalNotAllowed {
        /// What would be removed.
        what: String,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::HubOutOfScope => {
                f.write_str("the hub's subscription is not allowed; add it to guardrails.subscriptions")
            }
            Blocked::TargetOutOfScope { endpoint, target } => {
                write!(f, "endpoint {endpoint}: {target} is outside guardrails.targets")
            }
            Blocked::TargetMissing { endpoint, missing } => {
                write!(f, "endpoint {endpoint}: {missing} does not exist; create it or correct the profile")
            }
            Blocked::TargetNotRead { endpoint, cause } => {
                write!(f, "endpoint {endpoint}: the target could not be read: {cause}")
            }
            Blocked::IdentityMissing { identity } => {
                write!(
                    f,
                    "user-assigned identity {identity} does not exist; create it or correct the profile"
                )
            }
            Blocked::IdentityNotOnHub { endpoint, identity } => write!(
                f,
                "endpoint {endpoint}: the hub has no {identity} and the profile does not give it one; set it under identity"
            ),
            Blocked::NameTaken { endpoint, by } => {
                write!(
                    f,
                    "endpoint {endpoint}: the name belongs to a {by} endpoint of this hub; choose another"
                )
            }
            Blocked::TooMany { what, count, limit } => {
                write!(f, "the hub would have {count} {what}; its tier allows {limit}")
            }
            Blocked::IdentityInUse { used_by } => {
                write!(f, "the system-assigned identity cannot be turned off: used by {}", used_by.join(", "))
            }
            Blocked::RemovalNotAllowed { what } => {
                write!(f, "{what} would be removed, and guardrails.allowRemovals is false")
            }
        }
    }
}

/// Everything that stands in the way, in the order of the desired state.
pub(super) fn check(desired: &DesiredHub, observed: &ObservedHub, guardrails: &Guardrails) -> Vec<Blocked> {
    let mut blocked = Vec::new();
    if !guardrails.allows_hub(observed.id()) {
        blocked.push(Blocked::HubOutOfScope);
    }
    for (id, principal) in &observed.user_identities {
        if principal.is_none() {
            blocked.push(Blocked::IdentityMissing { identity: id.clone() });
        }
    }
    let found = observed.hub.endpoints();
    for want in &desired.endpoints {
        let endpoint = want.name.clone();
        let target = want.target.id();
        if !guardrails.allows_target(target) {
            blocked.push(Blocked::TargetOutOfScope { endpoint, target: target.clone() });
            continue;
        }
        if !will_have(&want.identity, desired, observed) {
            let identity = want.identity.to_string();
            blocked.push(Blocked::IdentityNotOnHub { endpoint: endpoint.clone(), identity });
        }
        match observed.targets.get(target) {
            Some(ObservedTarget::EventHub { .. }) => {}
            Some(ObservedTarget::Missing(missing)) => {
                blocked.push(Blocked::TargetMissing { endpoint: endpoint.clone(), missing: missing.clone() });
            }
            Some(ObservedTarget::Unreadable(cause)) => {
                blocked.push(Blocked::TargetNotRead { endpoint: endpoint.clone(), cause: cause.clone() });
            }
            None => {
                blocked.push(Blocked::TargetNotRead { endpoint: endpoint.clone(), cause: "not read".into() })
            }
        }
        if let Some(other) =
            found.iter().find(|have| have.is_named(&want.name) && have.kind != diff::kind_of(&want.target))
        {
            blocked.push(Blocked::NameTaken { endpoint, by: other.kind.to_string() });
        }
    }
    blocked.extend(limits(desired, observed));
    blocked.extend(turning_off(desired, observed, guardrails));
    blocked
}

/// Whether the hub has an identity, or will have it after this plan.
fn will_have(identity: &IdentityRef, desired: &DesiredHub, observed: &ObservedHub) -> bool {
    let have = observed.hub.identity();
    match identity {
        IdentityRef::System => match desired.identity.system {
            SystemIdentity::On => true,
            SystemIdentity::Off => false,
            SystemIdentity::Unmanaged => have.system_assigned,
        },
        IdentityRef::User(id) => desired.identity.user.contains(id) || have.user_assigned.contains_key(id),
    }
}

fn limits(desired: &DesiredHub, observed: &ObservedHub) -> Vec<Blocked> {
    let free = observed
        .hub
        .json()
        .get("sku")
        .and_then(|sku| sku.get("name"))
        .and_then(|name| name.as_str())
        .is_some_and(|name| name.eq_ignore_ascii_case("F1"));
    let of_tier = |(paid, on_free): (usize, usize)| if free { on_free } else { paid };
    let (endpoints, routes) = (observed.hub.endpoints(), observed.hub.routes());
    let new_endpoints = desired
        .endpoints
        .iter()
        .filter(|want| !endpoints.iter().any(|have| have.is_named(&want.name)))
        .count();
    let new_routes =
        desired.routes.iter().filter(|want| !routes.iter().any(|have| have.is_named(&want.name))).count();
    [
        ("endpoints", endpoints.len(), new_endpoints, of_tier(MAX_ENDPOINTS)),
        ("routes", routes.len(), new_routes, of_tier(MAX_ROUTES)),
    ]
    .into_iter()
    // A hub that is over the limit already is not ours to judge, as long as we add nothing.
    .filter(|(_, have, new, limit)| *new > 0 && have + new > *limit)
    .map(|(what, have, new, limit)| Blocked::TooMany { what, count: have + new, limit })
    .collect()
}

fn turning_off(desired: &DesiredHub, observed: &ObservedHub, guardrails: &Guardrails) -> Vec<Blocked> {
    let off = desired.identity.system == SystemIdentity::Off
        && diff::identity(&desired.identity, &observed.hub.identity()).is_some_and(|edit| turns_off(&edit));
    if !off {
        return Vec::new();
    }
    let mut blocked = Vec::new();
    if !guardrails.allow_removals {
        blocked.push(Blocked::RemovalNotAllowed { what: "the system-assigned identity".into() });
    }
    let moved = |name: &str| desired.endpoints.iter().any(|want| want.name.eq_ignore_ascii_case(name));
    let mut used_by: Vec<String> = observed
        .hub
        .endpoints()
        .into_iter()
        .filter(|have| have.auth() == EndpointAuth::Identity(IdentityRef::System) && !moved(have.name))
        .map(|have| format!("endpoint {}", have.name))
        .collect();
    if observed.hub.file_upload().is_some_and(uses_system_identity) {
        used_by.push("file upload".into());
    }
    if !used_by.is_empty() {
        blocked.push(Blocked::IdentityInUse { used_by });
    }
    blocked
}

/// Whether a file-upload entry authenticates with the system-assigned identity. The service does
/// not refuse to take that identity away, so we do.
fn uses_system_identity(entry: &serde_json::Map<String, serde_json::Value>) -> bool {
    let text = |pointer: &str| entry.get(pointer).and_then(serde_json::Value::as_str);
    text("authenticationType").is_some_and(|word| word.eq_ignore_ascii_case("identityBased"))
        && entry.get("identity").is_none_or(|identity| {
            identity.get("userAssignedIdentity").and_then(serde_json::Value::as_str).is_none_or(str::is_empty)
        })
}
