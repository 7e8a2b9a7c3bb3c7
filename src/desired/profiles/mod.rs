//! The desired-state document as it is written: these types *are* its schema.
//!
//! Descriptions become the schema's and show up in editors, so they speak to the document's author.
//! Rules that a schema can express stand here; all others are in [`super::check`].

mod exports;
mod file_upload;
mod routing;
mod words;

pub(super) use exports::{ExportDoc, Through};
pub(super) use file_upload::{CloudToDeviceDoc, FileUploadDoc, NotificationsDoc};
pub(super) use routing::{EndpointDoc, EnrichmentDoc, RouteDoc};
pub(super) use words::{
    ClockText, Day, Drift, EnrichmentKey, Glob, HubName, IsoText, NamePrefix, OffsetText, ProfileName,
    Rollout, RuleName, ServiceName, Source, SubscriptionGuid, SwitchWord,
};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::desired::StorageScope;

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
    /// Scopes of user-assigned identities that requests may attach and send with, besides those that
    /// profiles list: ids of subscriptions, resource groups or identities.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub(super) identities: Vec<String>,
    /// Whether anything may be removed.
    #[serde(default)]
    pub(super) allow_removals: bool,
    /// Whether an endpoint may be given a key (`as: key`): the way back from an identity.
    #[serde(default)]
    pub(super) allow_keys: bool,
    /// Names of hubs that devices may be imported into. An import cannot be undone.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub(super) allow_imports: Vec<HubName>,
    /// How far up roles on storage containers are granted: on the `container`, or on its `account` for
    /// hubs that do not accept a grant on the container.
    #[serde(default)]
    pub(super) storage_grants: StorageGrants,
    /// How many hubs one run may change.
    #[serde(default = "max_hubs_changed")]
    #[schemars(range(max = 1_000_000))]
    pub(super) max_hubs_changed: u32,
    /// How often one hub may be written within an hour. A new hub needs two writes.
    #[serde(default = "max_writes_per_hub")]
    #[schemars(range(min = 2, max = 100))]
    pub(super) max_writes_per_hub: u32,
    /// Age of a grant after which a hub's refusal is a failure and no longer "not yet": `PT5M` to
    /// `PT2H`.
    #[serde(default = "grant_window")]
    pub(super) grant_window: IsoText,
}

fn max_hubs_changed() -> u32 {
    50
}

fn max_writes_per_hub() -> u32 {
    12
}

fn grant_window() -> IsoText {
    IsoText("PT15M".to_owned())
}

/// `container` or `account`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum StorageGrants {
    #[default]
    Container,
    Account,
}

impl From<StorageGrants> for StorageScope {
    fn from(word: StorageGrants) -> Self {
        match word {
            StorageGrants::Container => StorageScope::Container,
            StorageGrants::Account => StorageScope::Account,
        }
    }
}

/// What the hubs that it matches should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProfileDoc {
    /// The profile's name. Unique, compared without case.
    pub(super) name: ProfileName,
    /// How it comes to its hubs: `automatic`, as soon as a hub is looked at, or `campaign`: then looks only
    /// plan, and hubs are changed by campaigns and by operators' requests.
    #[serde(default)]
    pub(super) rollout: Rollout,
    /// What happens when a hub that was in order differs: `repair`, or `report`, which writes nothing until
    /// an operator asks for it.
    #[serde(default)]
    pub(super) drift: Drift,
    /// Hours in which a hub that was in order is not repaired. New hubs, a changed profile and operators'
    /// requests do not wait for their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "QuietHoursDoc")]
    pub(super) quiet_hours: Option<QuietHoursDoc>,
    /// Which hubs it is for. Without conditions, every hub of the allowed subscriptions.
    #[serde(default, rename = "match")]
    pub(super) matching: MatchDoc,
    /// Which identities the hubs have.
    #[serde(default)]
    pub(super) identity: IdentityDoc,
    /// Routing endpoints.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) endpoints: Vec<EndpointDoc>,
    /// Message routes.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(super) routes: Vec<RouteDoc>,
    /// The fallback route, which takes what no other route takes: `on`, `off`, or `unmanaged` (left as
    /// it is found).
    #[serde(default)]
    pub(super) fallback: SwitchWord,
    /// Message enrichments.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) enrichments: Vec<EnrichmentDoc>,
    /// Where devices upload files to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "FileUploadDoc")]
    pub(super) file_upload: Option<FileUploadDoc>,
    /// Cloud-to-device messages.
    #[serde(default)]
    pub(super) cloud_to_device: CloudToDeviceDoc,
    /// Exports of the hub's devices, on schedule.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) exports: Vec<ExportDoc>,
    /// Endpoints, routes and enrichments whose names begin with one of these belong to this document
    /// alone: one that the profile does not list is removed, if `guardrails.allowRemovals` is `true`.
    #[serde(default)]
    #[schemars(length(max = 10))]
    pub(super) owned_prefixes: Vec<NamePrefix>,
    /// What happens where a hub restricts outbound network access.
    #[serde(default)]
    pub(super) outbound: OutboundDoc,
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
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IdentityDoc {
    /// The system-assigned identity: `on`, `off`, or `unmanaged` (left as it is found).
    pub(super) system: SwitchWord,
    /// Ids of user-assigned identities to attach. Others that are attached stay.
    #[schemars(length(max = 50))]
    pub(super) user: Vec<String>,
    /// Ids of user-assigned identities to detach, if `guardrails.allowRemovals` is `true`. The
    /// identities themselves are not touched.
    #[schemars(length(max = 50))]
    pub(super) detach: Vec<String>,
    /// Whether every attached identity that is not in `user` is detached.
    pub(super) detach_others: bool,
}

/// Hours in which a hub that was in order is not repaired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct QuietHoursDoc {
    /// When they begin, such as `"22:00"`.
    pub(super) from: ClockText,
    /// When they end, such as `"06:00"`: on the next day if that is not after `from`.
    pub(super) to: ClockText,
    /// How far the clock is from UTC, such as `"+01:00"`. Summer time is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "OffsetText")]
    pub(super) utc_offset: Option<OffsetText>,
    /// The days on which they begin; without any, every day.
    #[serde(default)]
    #[schemars(length(max = 7))]
    pub(super) days: Vec<Day>,
}

/// What happens where a hub restricts outbound network access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OutboundDoc {
    /// Whether the hosts of targets are added to the hub's `allowedFqdnList`.
    pub(super) allow_targets: bool,
}
