//! What an endpoint sends to, and whether it gets in: asked when the endpoint is written, and again
//! for every message.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-managed-identity#egress-connectivity-from-iot-hub-to-other-azure-resources>

use serde_json::Value;
use time::OffsetDateTime;

use super::{Hub, key_access};
use crate::local::azure::{
    network::Reach,
    role_definitions::{BLOB_DATA_CONTRIBUTOR, EVENT_HUBS_DATA_SENDER, SERVICE_BUS_DATA_SENDER},
    state::State,
};

/// Why an endpoint does not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such namespace, account or container, or nothing of that name in it.
    Missing,
    /// The hub does not have the identity.
    NoIdentity,
    /// The target's network keeps the hub out.
    Network,
    /// The identity has no effective role on the target.
    Role,
    /// The key is wrong, may not send, or no key would do.
    Key,
}

impl Refusal {
    /// In words, as `/_sim` and the endpoint's health tell it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Missing => "NotFound: the target does not exist",
            Self::NoIdentity => "Unauthorized: the hub has no such identity",
            Self::Network => "Forbidden: the target's network rules keep the hub out",
            Self::Role => "Unauthorized: 401: the identity may not send to the target",
            Self::Key => "Unauthorized: the key does not open the target",
        }
    }
}

/// How an endpoint gets in: what it is, and as whom. A target that is not known here has no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) target: Option<String>,
    pub(super) principal: Option<String>,
}

/// Whether an endpoint of this list may send, now.
pub(super) fn enter(
    state: &State,
    hub: &Hub,
    list: &str,
    endpoint: &Value,
    now: OffsetDateTime,
) -> Result<Entry, Refusal> {
    if !is_identity_based(endpoint) {
        let target = key_access::enter(state, list, endpoint)?;
        return Ok(Entry { target, principal: None });
    }
    let target = find_target(state, list, endpoint).ok_or(Refusal::Missing)?;
    enter_as(state, hub, list, endpoint, &target, now)
}

/// Whether the identity of an endpoint, or of file upload, may write to a target.
pub(super) fn enter_as(
    state: &State,
    hub: &Hub,
    list: &str,
    endpoint: &Value,
    target: &str,
    now: OffsetDateTime,
) -> Result<Entry, Refusal> {
    let principal = principal(state, hub, endpoint).ok_or(Refusal::NoIdentity)?;
    let through = match state.reach(target) {
        Reach::Open => true,
        // Trusted services come with the identity that is theirs alone.
        Reach::Trusted => user_identity(endpoint).is_none(),
        Reach::Closed => false,
    };
    if !through {
        return Err(Refusal::Network);
    }
    let granted = match list {
        "eventHubs" => state.is_granted(&principal, EVENT_HUBS_DATA_SENDER, target, now),
        "storageContainers" => state.is_granted(&principal, BLOB_DATA_CONTRIBUTOR, target, now),
        "cosmosDBSqlContainers" => cosmos_parts(target).is_some_and(|[account, database, container]| {
            state.is_cosmos_granted(&principal, account, database, container, now)
        }),
        _ => state.is_granted(&principal, SERVICE_BUS_DATA_SENDER, target, now),
    };
    if !granted {
        return Err(Refusal::Role);
    }
    Ok(Entry { target: Some(target.to_owned()), principal: Some(principal) })
}

/// Account, database and container of a container's id.
fn cosmos_parts(target: &str) -> Option<[&str; 3]> {
    let (rest, container) = target.rsplit_once("/containers/")?;
    let (account, database) = rest.rsplit_once("/sqldatabases/")?;
    Some([account, database, container])
}

pub(super) fn is_identity_based(endpoint: &Value) -> bool {
    endpoint["authenticationType"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("identityBased"))
}

/// The user-assigned identity an endpoint names, if it names one.
pub(super) fn user_identity(endpoint: &Value) -> Option<&str> {
    endpoint["identity"]["userAssignedIdentity"].as_str().filter(|id| !id.is_empty())
}

/// The principal that an endpoint authenticates as, if the hub has it by now.
fn principal(state: &State, hub: &Hub, endpoint: &Value) -> Option<String> {
    match user_identity(endpoint) {
        Some(id) => state.identities.get(&id.to_ascii_lowercase()).map(|identity| identity.principal.clone()),
        None => hub.system.clone(),
    }
}

/// The lower-cased id of what an endpoint with an address sends to, if it is there.
fn find_target(state: &State, list: &str, endpoint: &Value) -> Option<String> {
    let host = host(endpoint["endpointUri"].as_str()?);
    let text = |field: &str| endpoint[field].as_str().map(str::to_ascii_lowercase);
    let id = match list {
        "storageContainers" => {
            let account = holder(state, "primaryEndpoints/blob", "", &host)?;
            format!("{account}/blobservices/default/containers/{}", text("containerName")?)
        }
        "cosmosDBSqlContainers" => {
            let account = holder(state, "documentEndpoint", "", &host)?;
            cosmos_container(&account, &text("databaseName")?, &text("containerName")?)
        }
        _ => entity(&namespace(state, list, &host)?, list, &text("entityPath")?),
    };
    state.targets.contains_key(&id).then_some(id)
}

/// The namespace at this host that the list's endpoints can send to, by its lower-cased id.
pub(super) fn namespace(state: &State, list: &str, host: &str) -> Option<String> {
    let provider = if list == "eventHubs" { "/microsoft.eventhub/" } else { "/microsoft.servicebus/" };
    holder(state, "serviceBusEndpoint", provider, host)
}

/// The id of an entity of a namespace.
pub(super) fn entity(namespace: &str, list: &str, name: &str) -> String {
    let word = match list {
        "eventHubs" => "eventhubs",
        "serviceBusQueues" => "queues",
        _ => "topics",
    };
    format!("{namespace}/{word}/{}", name.to_ascii_lowercase())
}

pub(super) fn cosmos_container(account: &str, database: &str, container: &str) -> String {
    format!("{account}/sqldatabases/{database}/containers/{container}").to_ascii_lowercase()
}

/// The target whose property `field` is an address at this host.
pub(super) fn holder(state: &State, field: &str, provider: &str, at: &str) -> Option<String> {
    let pointer = format!("/properties/{field}");
    let found = state.targets.iter().find(|(id, shown)| {
        id.contains(provider)
            && shown.pointer(&pointer).and_then(Value::as_str).is_some_and(|address| host(address) == at)
    });
    found.map(|(id, _)| id.clone())
}

/// The storage account that a connection string names, by its lower-cased id.
pub(super) fn account(state: &State, connection: &str) -> Option<String> {
    let name = super::secrets::connection_part(connection, "AccountName")?.to_ascii_lowercase();
    let suffix = format!("/microsoft.storage/storageaccounts/{name}");
    state.targets.keys().find(|id| id.ends_with(&suffix)).cloned()
}

/// The lower-cased host of an address, without scheme, port and path.
pub(super) fn host(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase()
}
