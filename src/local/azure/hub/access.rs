//! Whether a written document may be accepted for what its endpoints and its file upload send to.
//!
//! Only what is new or changed is asked about, unless the settings say otherwise.

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    ENDPOINT_LISTS, Hub, document, key_access,
    secrets::connection_part,
    target::{self, Refusal, is_identity_based, user_identity},
};
use crate::local::azure::{
    answer::HubError,
    settings::{RefusalCodes, Settings},
    state::State,
};

/// Checks every endpoint that is new or changed, and file upload.
pub(super) fn check(
    state: &State,
    hub: &Hub,
    old: Option<&Map<String, Value>>,
    now: OffsetDateTime,
    settings: &Settings,
) -> Result<(), HubError> {
    for list in ENDPOINT_LISTS {
        for endpoint in document::endpoints(&hub.properties, list) {
            let name = endpoint["name"].as_str().unwrap_or_default();
            let before = old.and_then(|old| document::find_endpoint(old, list, name));
            let same = before.is_some_and(|before| same_use(before, endpoint));
            if same && !settings.revalidate_unchanged_endpoints {
                continue;
            }
            let at = match is_identity_based(endpoint) {
                true => target::host(endpoint["endpointUri"].as_str().unwrap_or_default()),
                false => key_access::address(list, endpoint),
            };
            outbound(hub, name, &at, &settings.refusals)?;
            target::enter(state, hub, list, endpoint, now)
                .map_err(|refusal| refused(refusal, list, name, endpoint, &settings.refusals))?;
        }
    }
    file_upload(state, hub, old, now, settings)
}

/// A hub that restricts its way out reaches what its list names, and nothing else.
/// <https://learn.microsoft.com/azure/iot-hub/iot-hub-outbound-network-restrictions>
fn outbound(hub: &Hub, name: &str, host: &str, codes: &RefusalCodes) -> Result<(), HubError> {
    if may_reach(hub, host) {
        return Ok(());
    }
    let message = format!("endpointName:{name}, exceptionMessage:'{host}' is not in the allowedFqdnList.");
    Err(HubError::new(codes.outbound_denied, message))
}

/// Whether a hub's own rules let it out to a host.
pub(super) fn may_reach(hub: &Hub, host: &str) -> bool {
    if hub.properties.get("restrictOutboundNetworkAccess").is_none_or(|value| value != true) {
        return true;
    }
    let allowed = hub.properties["allowedFqdnList"].as_array().map_or(&[][..], Vec::as_slice);
    allowed.iter().filter_map(Value::as_str).any(|known| known.eq_ignore_ascii_case(host))
}

fn refused(refusal: Refusal, list: &str, name: &str, endpoint: &Value, codes: &RefusalCodes) -> HubError {
    let text = |field: &str| endpoint[field].as_str().unwrap_or_default();
    let denied = match list {
        "eventHubs" => codes.event_hub_denied,
        "storageContainers" => codes.storage_denied,
        "cosmosDBSqlContainers" => codes.cosmos_denied,
        _ => codes.service_bus_denied,
    };
    let (code, message) = match refusal {
        Refusal::Missing if list == "storageContainers" => {
            let container = text("containerName");
            let message = format!("Endpoint Name:{name}, Storage Container Name:{container}.");
            return HubError::new(400_123, message);
        }
        Refusal::Missing if list == "cosmosDBSqlContainers" => (400_142, "Database does not exist."),
        Refusal::Missing => (codes.target_missing, "The messaging entity could not be found."),
        Refusal::Key => (codes.key_denied, "The connection string does not open the endpoint."),
        Refusal::NoIdentity | Refusal::Network | Refusal::Role => {
            (denied, "Unauthorized. The IoT hub's identity is not authorized to send to the endpoint.")
        }
    };
    HubError::new(code, format!("endpointName:{name}, exceptionMessage:{message}"))
}

fn same_use(before: &Value, now: &Value) -> bool {
    let same_text = |name: &str| {
        let text = |endpoint: &Value| endpoint[name].as_str().unwrap_or_default().to_ascii_lowercase();
        text(before).trim_end_matches('/') == text(now).trim_end_matches('/')
    };
    let identity = |endpoint: &Value| user_identity(endpoint).map(str::to_ascii_lowercase);
    let places = ["endpointUri", "entityPath", "containerName", "databaseName"];
    match (is_identity_based(before), is_identity_based(now)) {
        (true, true) => identity(before) == identity(now) && places.into_iter().all(same_text),
        (false, false) => {
            let keys = ["connectionString", "primaryKey", "secondaryKey"];
            places.into_iter().all(same_text) && keys.iter().all(|name| before[*name] == now[*name])
        }
        _ => false,
    }
}

fn file_upload(
    state: &State,
    hub: &Hub,
    old: Option<&Map<String, Value>>,
    now: OffsetDateTime,
    settings: &Settings,
) -> Result<(), HubError> {
    let codes = &settings.refusals;
    let entry = &hub.properties["storageEndpoints"]["$default"];
    let before = old.map_or(&Value::Null, |old| &old["storageEndpoints"]["$default"]);
    let same = |names: &[&str]| names.iter().all(|name| before[*name] == entry[*name]);
    let text = entry["connectionString"].as_str().unwrap_or_default();
    let same_string = same(&["connectionString"]);
    let by_identity = is_identity_based(entry);
    let unset = text.is_empty() && !by_identity;
    if unset || (same(&["authenticationType", "identity", "containerName"]) && same_string) {
        return Ok(());
    }
    let refuse = |code: u32, why: &str| HubError::new(code, format!("storageEndpoints:$default, {why}"));
    let has_key = connection_part(text, "AccountKey").is_some();
    if by_identity && !has_key && settings.file_upload_needs_key {
        let message = "exceptionMessage:No valid combination of account information found.";
        return Err(HubError::new(400_116, format!("endpointName:$default, {message}")));
    }
    outbound(hub, "$default", &key_access::blob_host(text), codes)?;
    let account = target::account(state, text);
    let keyless = account.as_ref().is_some_and(|account| !key_access::takes_keys(state, account));
    if has_key && keyless {
        return Err(refuse(codes.key_denied, "the storage account does not take account keys."));
    }
    let container = entry["containerName"].as_str().unwrap_or_default().to_ascii_lowercase();
    if !by_identity {
        return match key_access::blob(state, text, &container) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refused(refusal, "storageContainers", "$default", entry, codes)),
        };
    }
    let on_hub = match user_identity(entry) {
        Some(id) => hub.users.iter().any(|user| user.eq_ignore_ascii_case(id)),
        None => hub.system_on,
    };
    if !on_hub {
        return Err(refuse(codes.identity_missing, "the identity is not assigned to the IoT hub."));
    }
    let Some(account) = account else { return Ok(()) };
    let target = format!("{account}/blobservices/default/containers/{container}");
    if target::enter_as(state, hub, "storageContainers", entry, &target, now).is_err() {
        return Err(HubError::new(codes.storage_denied, "storage endpoint authorization rejected"));
    }
    Ok(())
}
