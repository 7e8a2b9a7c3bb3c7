//! What one hub should be: the resolved, checked form that the planner reads.
//!
//! The operators' document (`profiles.yaml`) is parsed in [`crate::desired`]; a profile that matches
//! a hub becomes one [`DesiredHub`], with all placeholders filled in.

mod endpoint;
mod export;
mod file_upload;
mod reserved;
mod target;

pub use endpoint::{
    CosmosOptions, DesiredAuth, DesiredEndpoint, DesiredEnrichment, DesiredRoute, EndpointOptions,
    StorageOptions,
};
pub use export::{BlobName, DesiredExport};
pub use file_upload::{CloudToDevice, Connection, DesiredFileUpload, Notifications};
pub use reserved::ReservedContainer;
pub use target::{StorageScope, Target};

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{IotHubId, ResourceId, duration::IsoDuration};

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
    /// The fallback route.
    pub fallback: Switch,
    /// Message enrichments, in the document's order.
    pub enrichments: Vec<DesiredEnrichment>,
    /// File upload, if it is managed.
    pub file_upload: Option<DesiredFileUpload>,
    /// Cloud-to-device messaging, as far as it is managed.
    pub cloud_to_device: CloudToDevice,
    /// Exports on schedule. They are no part of the hub's document; their grants are made ahead.
    pub exports: Vec<DesiredExport>,
    /// Endpoints, routes and enrichments whose names begin with one of these are ours alone: one
    /// that is not wanted is removed.
    pub owned_prefixes: Vec<String>,
    /// Single parts that are to go, whatever their names begin with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owned: Vec<Owned>,
    /// Whether roles of ours that the system-assigned identity does not need are taken away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub revoke_unneeded: bool,
    /// Whether hosts of targets may be added to a hub's list of allowed outbound hosts.
    pub allow_target_hosts: bool,
}

/// One part of a hub that is named to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owned {
    /// What it is.
    pub part: OwnedPart,
    /// Its name.
    pub name: String,
}

/// What can be named to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnedPart {
    /// A routing endpoint, of any kind.
    Endpoint,
    /// A route.
    Route,
    /// An enrichment.
    Enrichment,
}

/// Names that are never ours, whatever their prefix: Azure itself puts them into a hub.
const OF_AZURE: [&str; 1] = ["RouteToEventGrid"];
/// Namespace of fingerprints, made once for this purpose.
const FINGERPRINTS: Uuid = Uuid::from_u128(0x97d0_3c1e_21bb_4f0e_8d57_64c1_0f6e_2b43);

impl DesiredHub {
    /// A state that leaves everything as it is found.
    pub fn leaving_all(hub: IotHubId, profile: String) -> Self {
        Self {
            hub,
            profile,
            identity: DesiredIdentity::default(),
            endpoints: Vec::new(),
            routes: Vec::new(),
            fallback: Switch::Unmanaged,
            enrichments: Vec::new(),
            file_upload: None,
            cloud_to_device: CloudToDevice::default(),
            exports: Vec::new(),
            owned_prefixes: Vec::new(),
            owned: Vec::new(),
            revoke_unneeded: false,
            allow_target_hosts: false,
        }
    }

    /// What another state lists may only be in the hub if this one wants it.
    pub fn own_what_it_lists(&mut self, other: &DesiredHub) {
        let part = |part, name: &str| Owned { part, name: name.to_owned() };
        let routes = other.routes.iter().map(|own| part(OwnedPart::Route, &own.name));
        let enrichments = other.enrichments.iter().map(|own| part(OwnedPart::Enrichment, &own.key));
        let endpoints = other.endpoints.iter().map(|own| part(OwnedPart::Endpoint, &own.name));
        self.owned.extend(routes.chain(enrichments).chain(endpoints));
        self.owned_prefixes.extend(other.owned_prefixes.iter().cloned());
    }

    /// Whether an endpoint, a route or an enrichment of this name may only be there if it is wanted.
    pub fn owns(&self, part: OwnedPart, name: &str) -> bool {
        let starts = |prefix: &String| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        !OF_AZURE.iter().any(|own| own.eq_ignore_ascii_case(name))
            && (self.names_to_go(part, name) || self.owned_prefixes.iter().any(starts))
    }

    /// Whether this part is named outright to go.
    pub fn names_to_go(&self, part: OwnedPart, name: &str) -> bool {
        self.owned.iter().any(|owned| {
            // The service tells keys of enrichments apart by case.
            owned.part == part
                && match part {
                    OwnedPart::Enrichment => owned.name == name,
                    OwnedPart::Endpoint | OwnedPart::Route => owned.name.eq_ignore_ascii_case(name),
                }
        })
    }

    /// What is sent with an identity: where to, and with which.
    pub fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let endpoints = self.endpoints.iter().filter_map(|endpoint| {
            let identity = endpoint.auth.identity()?;
            Some(Use { by: User::Endpoint(&endpoint.name), target: &endpoint.target, identity })
        });
        let upload = self.file_upload.iter().filter_map(|upload| {
            let identity = upload.auth.identity()?;
            Some(Use { by: User::FileUpload, target: &upload.container, identity })
        });
        let exports = self.exports.iter().map(|export| Use {
            by: User::Export(&export.name),
            target: &export.container,
            identity: &export.identity,
        });
        endpoints.chain(upload).chain(exports)
    }

    /// The same for the same wanted state: our writes carry it as correlation id, so that Azure's
    /// activity log tells which of our writes were for what we want today.
    pub fn fingerprint(&self) -> Uuid {
        let text = serde_json::to_string(self).unwrap_or_default();
        Uuid::new_v5(&FINGERPRINTS, text.as_bytes())
    }
}

/// Something of a hub that sends with an identity.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// What sends.
    pub by: User<'a>,
    /// Where to.
    pub target: &'a Target,
    /// With which identity.
    pub identity: &'a IdentityRef,
}

/// What uses an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum User<'a> {
    /// The endpoint of this name.
    Endpoint(&'a str),
    /// File upload.
    FileUpload,
    /// The scheduled export of this name.
    Export(&'a str),
}

impl fmt::Display for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Endpoint(name) => write!(f, "endpoint {name}"),
            User::FileUpload => f.write_str("file upload"),
            User::Export(name) => write!(f, "export {name}"),
        }
    }
}

/// The identities a hub should have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredIdentity {
    /// The system-assigned identity.
    pub system: Switch,
    /// User-assigned identities to attach.
    pub user: Vec<ResourceId>,
    /// User-assigned identities to detach. The identities themselves are not touched.
    pub detach: Vec<ResourceId>,
    /// Whether every attached identity that is not in `user` is detached.
    pub detach_others: bool,
}

impl DesiredIdentity {
    /// Whether an attached identity has to go.
    pub fn detaches(&self, id: &ResourceId) -> bool {
        self.detach.contains(id) || (self.detach_others && !self.user.contains(id))
    }
}

/// Something that can be managed or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Switch {
    /// Turned on.
    On,
    /// Turned off.
    Off,
    /// Left as it is found.
    #[default]
    Unmanaged,
}

impl Switch {
    /// The wanted position, if there is one and it is another than the one found.
    pub fn change(self, found: bool) -> Option<bool> {
        match self {
            Switch::On => Some(true),
            Switch::Off => Some(false),
            Switch::Unmanaged => None,
        }
        .filter(|wanted| *wanted != found)
    }
}

/// One of a hub's identities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// What keeps a plan small and in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Guardrails {
    /// Subscriptions (GUIDs, lower-cased) whose hubs may be touched.
    pub subscriptions: Vec<String>,
    /// Scopes that may be granted on and pointed at.
    pub targets: Vec<ResourceId>,
    /// Scopes of user-assigned identities that a request may bring, besides those in profiles.
    pub identities: Vec<ResourceId>,
    /// Whether anything may be removed.
    pub allow_removals: bool,
    /// Whether an endpoint may be given a key: the way back from an identity.
    pub allow_keys: bool,
    /// Names of hubs, lower-cased, that devices may be imported into.
    pub allow_imports: Vec<String>,
    /// How far up grants on storage containers are made.
    pub storage_grants: StorageScope,
    /// How many hubs one run may change.
    pub max_hubs_changed: u32,
    /// How often one hub may be written in an hour.
    pub max_writes_per_hub: u32,
    /// Age of a grant after which a refusal is no longer "not yet" but a failure.
    pub grant_window: IsoDuration,
    /// The container of our own outcomes, wherever it lies: a setting of the app, not of the document.
    #[serde(skip)]
    pub reserved: Option<ReservedContainer>,
}

impl Guardrails {
    /// Whether hubs of this id's subscription may be touched.
    pub fn allows_hub(&self, hub: &IotHubId) -> bool {
        self.subscriptions.iter().any(|sub| sub == hub.subscription())
    }

    /// Whether devices may be imported into a hub. An import cannot be undone.
    pub fn allows_import(&self, hub: &IotHubId) -> bool {
        self.allow_imports.iter().any(|name| name.eq_ignore_ascii_case(hub.name()))
    }

    /// Whether this target may be granted on and pointed at.
    pub fn allows_target(&self, target: &ResourceId) -> bool {
        self.scope_of(target).is_some() && !self.is_reserved(target)
    }

    /// Whether a role or an endpoint there would reach our own outcomes.
    pub fn is_reserved(&self, scope: &ResourceId) -> bool {
        self.reserved.as_ref().is_some_and(|own| own.is_reached_by(scope))
    }

    /// The allowed scopes that do not lie in another one. A list at one of them has all that is below.
    pub fn outermost_targets(&self) -> impl Iterator<Item = &ResourceId> {
        let is_inside =
            |scope: &ResourceId| self.targets.iter().any(|other| other != scope && scope.is_within(other));
        self.targets.iter().filter(move |scope| !is_inside(scope))
    }

    /// The widest allowed scope that a target lies in: where its grants are looked for, since that is
    /// where our own rights are given.
    pub fn scope_of(&self, target: &ResourceId) -> Option<&ResourceId> {
        self.targets.iter().filter(|scope| target.is_within(scope)).min_by_key(|scope| scope.key().len())
    }
}
