//! What one hub should be: the resolved, checked form that the planner reads.
//!
//! The operators' document (`profiles.yaml`) is parsed in [`crate::desired`]; a profile that matches
//! a hub becomes one [`DesiredHub`], with all placeholders filled in.

use std::fmt;

use serde::Serialize;

use super::{IotHubId, ResourceId, role::Role};

/// The wanted state of one hub. What is not named here is not ours and survives every write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredHub {
    /// The hub.
    pub hub: IotHubId,
    /// The profile that matched it.
    pub profile: String,
    /// Which identities the hub has.
    pub identity: DesiredIdentity,
    /// Routing endpoints, in the document's order. Names are unique (compared without case).
    pub endpoints: Vec<DesiredEndpoint>,
    /// Routes, in the document's order. Every `endpoint` is one of `endpoints` or `events`.
    pub routes: Vec<DesiredRoute>,
}

/// The identities a hub should have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredIdentity {
    /// The system-assigned identity.
    pub system: SystemIdentity,
    /// User-assigned identities to attach. Others that are attached stay.
    pub user: Vec<ResourceId>,
}

/// What should be done about the system-assigned identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SystemIdentity {
    /// Turned on.
    On,
    /// Turned off.
    Off,
    /// Left as it is found.
    #[default]
    Unmanaged,
}

/// The identity that an endpoint authenticates with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IdentityRef {
    /// The hub's system-assigned identity.
    System,
    /// A user-assigned identity that the hub has.
    User(ResourceId),
}

impl fmt::Display for IdentityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityRef::System => f.write_str("system-assigned identity"),
            IdentityRef::User(id) => write!(f, "user-assigned identity {}", id.name()),
        }
    }
}

/// One identity-authenticated routing endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredEndpoint {
    /// The endpoint's name in the hub.
    pub name: String,
    /// Where it sends to.
    pub target: Target,
    /// The identity it sends with.
    pub identity: IdentityRef,
}

/// What an endpoint sends to. The kind implies the role and the scope of the grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// An event hub: `…/Microsoft.EventHub/namespaces/{namespace}/eventhubs/{name}`.
    EventHub(ResourceId),
}

impl Target {
    /// The target's own id: also the scope of the grant, the least that the service accepts.
    pub fn id(&self) -> &ResourceId {
        match self {
            Target::EventHub(id) => id,
        }
    }

    /// The least role that lets a hub send there.
    pub fn role(&self) -> Role {
        match self {
            Target::EventHub(_) => Role::EventHubsDataSender,
        }
    }
}

/// One message route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredRoute {
    /// The route's name in the hub.
    pub name: String,
    /// The message source, such as `DeviceMessages`. An open set: the service adds to it.
    pub source: String,
    /// The routing query; `true` takes everything.
    pub condition: String,
    /// The one endpoint it leads to.
    pub endpoint: String,
    /// Whether it is on.
    pub enabled: bool,
}

/// What keeps a plan small and in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guardrails {
    /// Subscriptions (GUIDs, lower-cased) whose hubs may be touched.
    pub subscriptions: Vec<String>,
    /// Scopes that may be granted on and pointed at.
    pub targets: Vec<ResourceId>,
    /// Whether anything may be removed.
    pub allow_removals: bool,
    /// How many hubs one run may change.
    pub max_hubs_changed: u32,
}

impl Guardrails {
    /// Whether hubs of this id's subscription may be touched.
    pub fn allows_hub(&self, hub: &IotHubId) -> bool {
        self.subscriptions.iter().any(|sub| sub == hub.subscription())
    }

    /// Whether this target may be granted on and pointed at.
    pub fn allows_target(&self, target: &ResourceId) -> bool {
        self.targets.iter().any(|scope| target.is_within(scope))
    }
}
