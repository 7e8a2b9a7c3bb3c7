//! The desired-state document as it is written: these types *are* its schema.
//!
//! Descriptions become the schema's and show up in editors, so they speak to the document's author.
//! Rules that a schema can express stand here; all others are in [`super::check`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::targets;
use crate::model::desired::SystemIdentity;

/// What a fleet of IoT hubs should be: which hubs may be touched, and what each should have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Hubward profiles")]
pub(super) struct ProfilesDoc {
    /// The version of this document's shape. There is one.
    #[schemars(extend("const" = 1))]
    pub(super) version: u32,
    /// What keeps a run small and in its place.
    pub(super) guardrails: GuardrailsDoc,
    /// What hubs should be. The first profile that matches a hub wins.
    #[schemars(length(max = 100))]
    pub(super) profiles: Vec<ProfileDoc>,
}

/// What keeps a run small and in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GuardrailsDoc {
    /// Subscriptions whose hubs may be touched.
    #[schemars(length(min = 1, max = 500))]
    pub(super) subscriptions: Vec<SubscriptionGuid>,
    /// Scopes that may be granted on and pointed at: ids of subscriptions, resource groups or
    /// resources. Everything below them is meant too.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub(super) targets: Vec<String>,
    /// Whether anything may be removed.
    #[serde(default)]
    pub(super) allow_removals: bool,
    /// How many hubs one run may change.
    #[serde(default = "max_hubs_changed")]
    #[schemars(range(max = 1_000_000))]
    pub(super) max_hubs_changed: u32,
}

fn max_hubs_changed() -> u32 {
    50
}

/// What the hubs that it matches should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileDoc {
    /// The profile's name. Unique, compared without case.
    pub(super) name: ProfileName,
    /// Which hubs it is for. Without conditions, every hub of the allowed subscriptions.
    #[serde(default, rename = "match")]
    pub(super) matching: MatchDoc,
    /// Which identities the hubs have.
    #[serde(default)]
    pub(super) identity: IdentityDoc,
    /// Routing endpoints that send with an identity.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) endpoints: Vec<EndpointDoc>,
    /// Message routes.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(super) routes: Vec<RouteDoc>,
}

/// Conditions on a hub. All that are given must hold; an empty list holds for every hub.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MatchDoc {
    /// Tags that the hub has: a name (compared without case) and a glob for the value.
    #[schemars(length(max = 50))]
    pub(super) tags: BTreeMap<String, Glob>,
    /// Globs for the hub's region: `westus2` or `West US 2`.
    #[schemars(length(max = 50))]
    pub(super) locations: Vec<Glob>,
    /// Globs for the name of the hub's resource group.
    #[schemars(length(max = 50))]
    pub(super) resource_groups: Vec<Glob>,
    /// Globs for the hub's name.
    #[schemars(length(max = 50))]
    pub(super) names: Vec<Glob>,
}

/// The identities that the hubs have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct IdentityDoc {
    /// The system-assigned identity: `on`, `off`, or `unmanaged` (left as it is found).
    pub(super) system: SystemWord,
    /// Ids of user-assigned identities to attach. Others that are attached stay.
    #[schemars(length(max = 50))]
    pub(super) user: Vec<String>,
}

/// `on`, `off` or `unmanaged`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SystemWord {
    On,
    Off,
    #[default]
    Unmanaged,
}

impl From<SystemWord> for SystemIdentity {
    fn from(word: SystemWord) -> Self {
        match word {
            SystemWord::On => SystemIdentity::On,
            SystemWord::Off => SystemIdentity::Off,
            SystemWord::Unmanaged => SystemIdentity::Unmanaged,
        }
    }
}

/// A routing endpoint that sends with an identity. What it sends to implies the role that the
/// identity gets and the scope of the grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-not-fields" = not_endpoint_fields()), transform = targets::exactly_one)]
pub(super) struct EndpointDoc {
    /// The endpoint's name in the hub. Unique in the profile, compared without case.
    pub(super) name: ServiceName,
    /// The id of the event hub that it sends to. Names in it may hold `{hub}`, `{location}`,
    /// `{resourceGroup}` and `{subscription}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) event_hub: Option<String>,
    /// The identity that it sends with: `system`, or one of `identity.user` (its id or its name).
    #[serde(rename = "as")]
    pub(super) identity: String,
}

/// One message route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteDoc {
    /// The route's name in the hub. Unique in the profile, compared without case.
    pub(super) name: ServiceName,
    /// The message source, such as `DeviceMessages`.
    pub(super) source: Source,
    /// The routing query. `"true"`, in quotes, takes every message.
    #[serde(default = "always")]
    #[schemars(length(min = 1))]
    pub(super) condition: String,
    /// The name of the endpoint it leads to: one of this profile's, or the built-in `events`.
    pub(super) endpoint: String,
    /// Whether it is on.
    #[serde(default = "enabled")]
    pub(super) enabled: bool,
}

fn always() -> String {
    "true".to_owned()
}

fn enabled() -> bool {
    true
}

/// The GUID of a subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "the GUID of a subscription, such as 0b1f6471-1bf0-4dda-aec3-cb9272f09590"))]
pub(super) struct SubscriptionGuid(
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"))] pub(super) String,
);

/// The name of a profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend(
    "patternErrorMessage" = "1 to 64 letters, digits, `.`, `_` or `-`, with a letter or digit first"
))]
pub(super) struct ProfileName(
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))] pub(super) String,
);

/// The name of an endpoint or a route, by the service's rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "1 to 64 letters, digits, `.`, `_` or `-`"))]
pub(super) struct ServiceName(#[schemars(regex(pattern = r"^[A-Za-z0-9._-]{1,64}$"))] pub(super) String);

/// A message source. An open set: the service adds to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("patternErrorMessage" = "the name of a message source, such as `DeviceMessages`"))]
pub(super) struct Source(#[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9]{0,63}$"))] pub(super) String);

/// A text with `*`, `?`, `[a-z]` and `{one,two}`, compared without case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Glob(#[schemars(length(min = 1, max = 256))] pub(super) String);

/// What people look for in an endpoint, and why it is not there.
fn not_endpoint_fields() -> Value {
    let role = "what an endpoint sends to implies the role and the scope";
    let keys = "endpoints send with an identity and never with a key";
    json!({
        "role": role, "roles": role, "scope": role, "roleDefinitionId": role,
        "connectionString": keys, "key": keys, "primaryKey": keys, "sharedAccessKey": keys,
        "authenticationType": keys,
    })
}
