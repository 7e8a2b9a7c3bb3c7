//! What stands in the way of a plan: data, not errors, so that all of it can be shown at once.

use std::fmt;

use serde::Serialize;

use crate::model::ResourceId;

/// One reason why a hub is not planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "reason")]
pub enum Blocked {
    /// The hub's subscription is not in `guardrails.subscriptions`.
    HubOutOfScope,
    /// Nothing may be changed at all.
    ChangesOff,
    /// A target, or the scope of its grant, is not below any of `guardrails.targets`.
    TargetOutOfScope {
        /// What names it: an endpoint or file upload.
        by: String,
        /// The target or the scope.
        target: ResourceId,
    },
    /// A target is the container of Hubward's own outcomes, or a role there would reach it.
    TargetReserved {
        /// What wants it.
        by: String,
        /// The target.
        target: ResourceId,
    },
    /// A target does not exist.
    TargetMissing {
        /// What names it.
        by: String,
        /// What is missing: the target, or the namespace or account it should be in.
        missing: ResourceId,
    },
    /// A target could not be read.
    TargetNotRead {
        /// What names it.
        by: String,
        /// The service's words.
        cause: String,
    },
    /// No hub can reach the target: its firewall is on and does not let trusted services pass.
    TargetClosed {
        /// What names it.
        by: String,
        /// Whose firewall it is: the namespace or account.
        service: String,
    },
    /// The target's firewall lets trusted services pass, and only a system-assigned identity counts
    /// as one.
    NotTrusted {
        /// What names it.
        by: String,
        /// What it would authenticate with.
        with: String,
        /// Whose firewall it is.
        service: String,
    },
    /// The hub restricts outbound access and the target's host is not on its list.
    HostNotAllowed {
        /// What names it.
        by: String,
        /// The host.
        host: String,
    },
    /// A key is wanted, and the target does not take keys.
    KeysOff {
        /// What names it.
        by: String,
        /// The namespace or account.
        service: String,
    },
    /// A key is wanted, and the guardrails do not allow keys.
    KeysNotAllowed {
        /// What names it.
        by: String,
    },
    /// File upload would go to an account of another subscription, which the service does not take.
    UploadElsewhere {
        /// The account's subscription.
        subscription: String,
    },
    /// A user-assigned identity does not exist.
    IdentityMissing {
        /// The identity.
        identity: ResourceId,
    },
    /// Something shall use an identity that the hub has not and is not given.
    IdentityNotOnHub {
        /// What uses it.
        by: String,
        /// The identity, in words.
        identity: String,
    },
    /// Another kind of endpoint has the name.
    NameTaken {
        /// The endpoint's name.
        endpoint: String,
        /// What has it.
        by: String,
    },
    /// An endpoint's encoding would change, which the service does not take.
    EncodingFixed {
        /// The endpoint.
        endpoint: String,
        /// The encoding it has.
        found: String,
        /// The encoding it should have.
        wanted: String,
    },
    /// The hub would have more than it may.
    TooMany {
        /// `endpoints`, `routes` or `enrichments`.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An identity that something still uses would be taken away.
    IdentityInUse {
        /// The identity, in words.
        identity: String,
        /// Endpoints, or file upload.
        used_by: Vec<String>,
    },
    /// An endpoint that something still names would be removed.
    EndpointInUse {
        /// The endpoint.
        endpoint: String,
        /// Routes and enrichments that stay.
        used_by: Vec<String>,
    },
    /// The role is held under a condition, and Azure takes no second assignment beside it.
    GrantConditional {
        /// The identity, in words.
        identity: String,
        /// The role.
        role: String,
        /// Where.
        scope: ResourceId,
        /// The assignment's own id.
        id: String,
    },
    /// The plan would remove something, and `guardrails.allowRemovals` is off.
    RemovalNotAllowed {
        /// What would be removed.
        what: String,
    },
    /// The subscription has no room for the role assignments that are needed.
    AssignmentLimit {
        /// The subscription.
        subscription: String,
        /// How many are needed.
        needed: u64,
        /// How many there is room for.
        left: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Somebody else has undone what we wrote, more than once.
    SecondOwner {
        /// How often.
        times: usize,
        /// Who wrote in between.
        by: Vec<String>,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::HubOutOfScope => {
                f.write_str("the hub's subscription is not allowed; add it to guardrails.subscriptions")
            }
            Blocked::ChangesOff => {
                f.write_str("guardrails.maxHubsChanged is 0: nothing is changed; raise it to go on")
            }
            Blocked::TargetOutOfScope { by, target } => {
                write!(f, "{by}: {target} is outside guardrails.targets")
            }
            Blocked::TargetReserved { by, target } => {
                write!(
                    f,
                    "{by}: Hubward keeps its own outcomes in {target}, or in its account; point elsewhere"
                )
            }
            Blocked::TargetMissing { by, missing } => {
                write!(f, "{by}: {missing} does not exist; create it or correct the profile")
            }
            Blocked::TargetNotRead { by, cause } => {
                write!(f, "{by}: the target could not be read: {cause}")
            }
            Blocked::TargetClosed { by, service } => write!(
                f,
                "{by}: the firewall of {service} lets no hub pass; allow trusted Microsoft services there"
            ),
            Blocked::NotTrusted { by, with, service } => write!(
                f,
                "{by}: the firewall of {service} lets only trusted services pass, which needs the system-assigned \
                 identity and not a {with}; send as: system"
            ),
            Blocked::HostNotAllowed { by, host } => write!(
                f,
                "{by}: the hub restricts outbound access and {host} is not in its allowedFqdnList; add it, or set \
                 outbound.allowTargets in the profile"
            ),
            Blocked::KeysOff { by, service } => {
                write!(f, "{by}: {service} does not take keys (local or shared-key authentication is off)")
            }
            Blocked::KeysNotAllowed { by } => {
                write!(f, "{by}: a key is wanted, and guardrails.allowKeys is false")
            }
            Blocked::UploadElsewhere { subscription } => write!(
                f,
                "file upload: the storage account is in subscription {subscription}; it must be in the hub's own"
            ),
            Blocked::IdentityMissing { identity } => {
                write!(
                    f,
                    "user-assigned identity {identity} does not exist; create it or correct the profile"
                )
            }
            Blocked::IdentityNotOnHub { by, identity } => write!(
                f,
                "{by}: the hub has no {identity} and the profile does not give it one; set it under identity"
            ),
            Blocked::NameTaken { endpoint, by } => {
                write!(
                    f,
                    "endpoint {endpoint}: the name belongs to a {by} endpoint of this hub; choose another"
                )
            }
            Blocked::EncodingFixed { endpoint, found, wanted } => write!(
                f,
                "endpoint {endpoint}: its encoding is {found} and cannot become {wanted}; use another name for a new \
                 endpoint"
            ),
            Blocked::TooMany { what, count, limit } => {
                write!(f, "the hub would have {count} {what}; its tier allows {limit}")
            }
            Blocked::IdentityInUse { identity, used_by } => {
                write!(f, "the {identity} cannot be taken away: used by {}", used_by.join(", "))
            }
            Blocked::EndpointInUse { endpoint, used_by } => {
                write!(f, "endpoint {endpoint} cannot be removed: named by {}", used_by.join(", "))
            }
            Blocked::GrantConditional { identity, role, scope, id } => write!(
                f,
                "the {identity} holds {role} on {scope} under a condition only; remove the condition, or the role \
                 assignment {id}"
            ),
            Blocked::RemovalNotAllowed { what } => {
                write!(f, "{what} would be removed, and guardrails.allowRemovals is false")
            }
            Blocked::AssignmentLimit { subscription, needed, left, limit } => write!(
                f,
                "subscription {subscription} has room for {left} more role assignments of {limit}, and {needed} are \
                 needed; remove unused ones, or share a user-assigned identity"
            ),
            Blocked::SecondOwner { times, by } => write!(
                f,
                "somebody has undone this {times} times ({}); the hub is left alone until one of the two owners gives \
                 way",
                if by.is_empty() { "unknown".to_owned() } else { by.join(", ") }
            ),
        }
    }
}
