//! What an endpoint sends to, and whether its identity may: asked when the endpoint is written, not
//! later.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-managed-identity#egress-connectivity-from-iot-hub-to-other-azure-resources>

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{Hub, document, secrets};
use crate::local::azure::{
    answer::HubError,
    roles::{BLOB_DATA_CONTRIBUTOR, EVENT_HUBS_DATA_SENDER, SERVICE_BUS_DATA_SENDER},
    settings::Settings,
    state::State,
};

/// Checks every endpoint that uses an identity and is new or changed.
pub(super) fn check_access(
    state: &State,
    hub: &Hub,
    old: Option<&Map<String, Value>>,
    now: OffsetDateTime,
    settings: &Settings,
) -> Result<(), HubError> {
    let codes = &settings.refusals;
    for (list, role, denied) in [
        ("eventHubs", EVENT_HUBS_DATA_SENDER, codes.event_hub_denied),
        ("serviceBusQueues", SERVICE_BUS_DATA_SENDER, codes.service_bus_denied),
        ("serviceBusTopics", SERVICE_BUS_DATA_SENDER, codes.service_bus_denied),
        ("storageContainers", BLOB_DATA_CONTRIBUTOR, codes.storage_denied),
    ] {
        for endpoint in document::endpoints(&hub.properties, list) {
            if !is_identity_based(endpoint) {
                continue;
            }
            let name = endpoint["name"].as_str().unwrap_or_default();
            let before = old.and_then(|old| document::find_endpoint(old, list, name));
            if !settings.revalidate_unchanged_endpoints
                && before.is_some_and(|before| same_use(before, endpoint))
            {
                continue;
            }
            let target = find_target(state, list, endpoint)
                .ok_or_else(|| missing(list, name, endpoint, codes.target_missing))?;
            let allowed = principal(state, hub, endpoint)
                .is_some_and(|principal| state.is_granted(&principal, role, &target, now));
            if !allowed {
                return Err(HubError::new(
                    denied,
                    format!(
                        "endpointName:{name}, exceptionMessage:Unauthorized. The IoT hub's identity is not \
                         authorized to send to the endpoint."
                    ),
                ));
            }
        }
    }
    check_file_upload(state, hub, old, now, settings)
}

fn check_file_upload(
    state: &State,
    hub: &Hub,
    old: Option<&Map<String, Value>>,
    now: OffsetDateTime,
    settings: &Settings,
) -> Result<(), HubError> {
    let entry = &hub.properties["storageEndpoints"]["$default"];
    let before = old.map_or(&Value::Null, |old| &old["storageEndpoints"]["$default"]);
    let unchanged =
        ["authenticationType", "identity", "containerName"].iter().all(|name| before[name] == entry[name]);
    if !is_identity_based(entry) || unchanged {
        return Ok(());
    }
    let on_hub = match user_identity(entry) {
        Some(id) => hub.users.iter().any(|user| user.eq_ignore_ascii_case(id)),
        None => hub.system_on,
    };
    if !on_hub {
        return Err(HubError::new(
            settings.refusals.identity_missing,
            "storageEndpoints:$default, the identity is not assigned to the IoT hub.",
        ));
    }
    let text = entry["connectionString"].as_str().unwrap_or_default();
    let Some(account) = account(state, text) else { return Ok(()) };
    let container = entry["containerName"].as_str().unwrap_or_default().to_ascii_lowercase();
    let target = format!("{account}/blobservices/default/containers/{container}");
    let principal = principal(state, hub, entry);
    if principal.is_some_and(|principal| state.is_granted(&principal, BLOB_DATA_CONTRIBUTOR, &target, now)) {
        return Ok(());
    }
    Err(HubError::new(settings.refusals.storage_denied, "storage endpoint authorization rejected"))
}

pub(super) fn is_identity_based(endpoint: &Value) -> bool {
    endpoint["authenticationType"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("identityBased"))
}

/// The user-assigned identity an endpoint names, if it names one.
pub(super) fn user_identity(endpoint: &Value) -> Option<&str> {
    endpoint["identity"]["userAssignedIdentity"].as_str().filter(|id| !id.is_empty())
}

fn same_use(before: &Value, now: &Value) -> bool {
    let same_text = |name: &str| {
        let text = |endpoint: &Value| endpoint[name].as_str().unwrap_or_default().to_ascii_lowercase();
        text(before).trim_end_matches('/') == text(now).trim_end_matches('/')
    };
    let identity = |endpoint: &Value| user_identity(endpoint).map(str::to_ascii_lowercase);
    is_identity_based(before)
        && identity(before) == identity(now)
        && ["endpointUri", "entityPath", "containerName"].into_iter().all(same_text)
}

/// The principal that an endpoint authenticates as, if the hub has it by now.
pub(super) fn principal(state: &State, hub: &Hub, endpoint: &Value) -> Option<String> {
    match user_identity(endpoint) {
        Some(id) => state.identities.get(&id.to_ascii_lowercase()).map(|identity| identity.principal.clone()),
        None => hub.system.clone(),
    }
}

/// The lower-cased id of what an endpoint sends to.
pub(super) fn find_target(state: &State, list: &str, endpoint: &Value) -> Option<String> {
    let address = endpoint["endpointUri"].as_str()?.to_ascii_lowercase();
    let id = if list == "storageContainers" {
        let container = endpoint["containerName"].as_str()?.to_ascii_lowercase();
        let account = state.targets.iter().find(|(_, doc)| {
            let blob = doc["properties"]["primaryEndpoints"]["blob"].as_str().unwrap_or_default();
            !blob.is_empty() && blob.trim_end_matches('/').eq_ignore_ascii_case(address.trim_end_matches('/'))
        });
        format!("{}/blobservices/default/containers/{container}", account?.0)
    } else {
        let host = address.strip_prefix("sb://")?.trim_end_matches('/').to_owned();
        let entity = endpoint["entityPath"].as_str()?.to_ascii_lowercase();
        let word = match list {
            "eventHubs" => "eventhubs",
            "serviceBusQueues" => "queues",
            _ => "topics",
        };
        let provider = if list == "eventHubs" { "/microsoft.eventhub/" } else { "/microsoft.servicebus/" };
        let namespace = state.targets.iter().find(|(id, doc)| {
            let at = doc["properties"]["serviceBusEndpoint"].as_str().unwrap_or_default();
            let at = at.trim_start_matches("https://").trim_end_matches('/').trim_end_matches(":443");
            id.contains(provider) && at.eq_ignore_ascii_case(&host)
        });
        format!("{}/{word}/{entity}", namespace?.0)
    };
    state.targets.contains_key(&id).then_some(id)
}

fn account(state: &State, connection: &str) -> Option<String> {
    let name = secrets::connection_part(connection, "AccountName")?.to_ascii_lowercase();
    let suffix = format!("/microsoft.storage/storageaccounts/{name}");
    state.targets.keys().find(|id| id.ends_with(&suffix)).cloned()
}

fn missing(list: &str, name: &str, endpoint: &Value, code: u32) -> HubError {
    if list == "storageContainers" {
        let container = endpoint["containerName"].as_str().unwrap_or_default();
        return HubError::new(400_123, format!("Endpoint Name:{name}, Storage Container Name:{container}."));
    }
    HubError::new(
        code,
        format!("endpointName:{name}, exceptionMessage:The messaging entity could not be found."),
    )
}
