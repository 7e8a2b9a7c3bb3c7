//! What the service refuses in a document, whoever sends it.
//!
//! Codes that public sources show are used as they are; everything else is the general 400004.
//! Limits: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    ENDPOINT_LISTS, Hub, document, query,
    secrets::connection_part,
    target::{is_identity_based, user_identity},
};
use crate::local::azure::{answer::HubError, settings::RefusalCodes};

/// Checks a completed document against itself and against the one before it.
pub(super) fn check(
    hub: &Hub,
    old: Option<&Map<String, Value>>,
    codes: &RefusalCodes,
) -> Result<(), HubError> {
    let free = hub.sku["name"] == "F1";
    let properties = &hub.properties;
    general(properties, free)?;
    residency(properties, &hub.location)?;
    let names = endpoints(hub, old, free, codes)?;
    routes(properties, old, &names, free)?;
    storage_endpoints(properties)
}

fn general(properties: &Map<String, Value>, free: bool) -> Result<(), HubError> {
    let count = properties["eventHubEndpoints"]["events"]["partitionCount"].as_u64().unwrap_or(4);
    let most = if free { 2 } else { 128 };
    if !(2..=most).contains(&count) {
        let message = format!("Invalid PartitionCount {count} - value must be between 2 and {most}.");
        return Err(HubError::new(400_016, message));
    }
    let tls = properties["minTlsVersion"].as_str().unwrap_or_default();
    if !matches!(tls, "1.0" | "1.1" | "1.2") {
        return Err(HubError::new(400_089, format!("{tls} is not a valid MinTlsVersion value.")));
    }
    Ok(())
}

/// <https://learn.microsoft.com/azure/iot-hub/iot-hub-ha-dr#disable-disaster-recovery>
fn residency(properties: &Map<String, Value>, region: &str) -> Result<(), HubError> {
    if !document::stays(properties) || ["brazilsouth", "southeastasia"].contains(&region) {
        return Ok(());
    }
    let message = format!(
        "Requested IoT Hub features '\"DataResidency, RootCertificateV2\"' not available in '{region}' region."
    );
    Err(HubError::new(400_059, message))
}

/// Checks all endpoints and returns their lower-cased names.
fn endpoints(
    hub: &Hub,
    old: Option<&Map<String, Value>>,
    free: bool,
    codes: &RefusalCodes,
) -> Result<BTreeSet<String>, HubError> {
    const RESERVED: [&str; 4] = ["events", "filenotifications", "$default", "operationsmonitoringevents"];
    let mut names = BTreeSet::new();
    for list in ENDPOINT_LISTS {
        for endpoint in document::endpoints(&hub.properties, list) {
            let name = endpoint["name"].as_str().unwrap_or_default();
            if !is_name(name) || RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(HubError::invalid(format!("Invalid endpoint name. endpointName:{name}.")));
            }
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(HubError::invalid(format!(
                    "Endpoint names must be unique. endpointName:{name}."
                )));
            }
            let before = old.and_then(|old| document::find_endpoint(old, list, name));
            endpoint_fields(list, name, endpoint, before)?;
            if is_identity_based(endpoint) && !has_identity(hub, endpoint) {
                let message = format!(
                    "endpointName:{name}, exceptionMessage:The identity is not assigned to the IoT hub."
                );
                return Err(HubError::new(codes.identity_missing, message));
            }
        }
    }
    let limit = if free { 1 } else { 10 };
    if names.len() > limit {
        return Err(HubError::invalid(format!(
            "At most {limit} custom endpoints are allowed, found {}.",
            names.len()
        )));
    }
    Ok(names)
}

fn has_identity(hub: &Hub, endpoint: &Value) -> bool {
    match user_identity(endpoint) {
        Some(id) => hub.users.iter().any(|user| user.eq_ignore_ascii_case(id)),
        None => hub.system_on,
    }
}

fn endpoint_fields(list: &str, name: &str, endpoint: &Value, before: Option<&Value>) -> Result<(), HubError> {
    let text = |field: &str| endpoint[field].as_str().unwrap_or_default();
    let lacks =
        |field: &str| HubError::invalid(format!("endpointName:{name}, {field} is missing or invalid."));
    let kind = text("authenticationType");
    if !kind.is_empty() && !["keybased", "identitybased"].contains(&kind.to_ascii_lowercase().as_str()) {
        return Err(lacks("authenticationType"));
    }
    if is_identity_based(endpoint) {
        let scheme =
            if matches!(list, "storageContainers" | "cosmosDBSqlContainers") { "https://" } else { "sb://" };
        if !text("endpointUri").starts_with(scheme) {
            return Err(lacks("endpointUri"));
        }
        if scheme == "sb://" && text("entityPath").is_empty() {
            return Err(lacks("entityPath"));
        }
    } else if list != "cosmosDBSqlContainers" {
        let part = if list == "storageContainers" { "AccountKey" } else { "SharedAccessKey" };
        if connection_part(text("connectionString"), part).is_none() {
            return Err(HubError::new(
                400_116,
                format!(
                    "endpointName:{name}, exceptionMessage:No valid combination of account information found."
                ),
            ));
        }
    }
    if list == "storageContainers" {
        storage_fields(name, endpoint, before)?;
    }
    Ok(())
}

fn storage_fields(name: &str, endpoint: &Value, before: Option<&Value>) -> Result<(), HubError> {
    let wrong =
        |field: &str| HubError::invalid(format!("endpointName:{name}, {field} is missing or invalid."));
    if endpoint["containerName"].as_str().is_none_or(str::is_empty) {
        return Err(wrong("containerName"));
    }
    for (field, low, high) in
        [("batchFrequencyInSeconds", 60, 720), ("maxChunkSizeInBytes", 10_485_760, 524_288_000)]
    {
        let value = &endpoint[field];
        if !value.is_null() && value.as_u64().is_none_or(|number| !(low..=high).contains(&number)) {
            return Err(wrong(field));
        }
    }
    let encoding = |endpoint: &Value| endpoint["encoding"].as_str().unwrap_or("avro").to_ascii_lowercase();
    if !["avro", "avrodeflate", "json"].contains(&encoding(endpoint).as_str())
        || before.is_some_and(|before| encoding(before) != encoding(endpoint))
    {
        return Err(wrong("encoding"));
    }
    if let Some(format) = endpoint["fileNameFormat"].as_str() {
        let tokens = ["{iothub}", "{partition}", "{YYYY}", "{MM}", "{DD}", "{HH}", "{mm}"];
        if tokens.iter().any(|token| !format.contains(token)) {
            return Err(wrong("fileNameFormat"));
        }
    }
    Ok(())
}

fn routes(
    properties: &Map<String, Value>,
    old: Option<&Map<String, Value>>,
    names: &BTreeSet<String>,
    free: bool,
) -> Result<(), HubError> {
    let routing = &properties["routing"];
    let knows =
        |name: &str| name.eq_ignore_ascii_case("events") || names.contains(&name.to_ascii_lowercase());
    let was_there = |name: &str| {
        old.is_some_and(|old| {
            ENDPOINT_LISTS.iter().any(|list| document::find_endpoint(old, list, name).is_some())
        })
    };
    let list = |field: &str| routing[field].as_array().map_or(&[][..], Vec::as_slice);
    let (limit, enrichments) = if free { (5, 2) } else { (100, 10) };
    if list("routes").len() > limit || list("enrichments").len() > enrichments {
        return Err(HubError::invalid("Too many routes or enrichments."));
    }
    let fallback = &routing["fallbackRoute"];
    if fallback["source"].as_str().is_some_and(|source| !source.eq_ignore_ascii_case("DeviceMessages")) {
        return Err(HubError::invalid("The fallback route's source must be DeviceMessages."));
    }
    let mut seen = BTreeSet::new();
    for route in list("routes").iter().chain([fallback]) {
        let name = route["name"].as_str().unwrap_or_default();
        let is_fallback = std::ptr::eq(route, fallback);
        if !is_fallback && (!is_name(name) || !seen.insert(name.to_ascii_lowercase())) {
            return Err(HubError::invalid(format!("Invalid or repeated route name. Route Name:{name}.")));
        }
        if let Err(mistake) = query::parse(route["condition"].as_str().unwrap_or("true")) {
            let message = format!("Invalid route condition, Route Name:{name}, {}.", mistake.message);
            return Err(HubError::invalid(message));
        }
        let targets = route["endpointNames"].as_array().map_or(&[][..], Vec::as_slice);
        let [target] = targets else {
            return Err(HubError::invalid(format!("Exactly one endpoint is allowed. Route Name:{name}.")));
        };
        let target = target.as_str().unwrap_or_default();
        if !knows(target) {
            return Err(undefined(was_there(target), "Route", "Route Name", name, target));
        }
    }
    for enrichment in list("enrichments") {
        let key = enrichment["key"].as_str().unwrap_or_default();
        let targets = enrichment["endpointNames"].as_array().map_or(&[][..], Vec::as_slice);
        if targets.is_empty() {
            return Err(HubError::invalid(format!("An endpoint is required. Enrichment Key:{key}.")));
        }
        if let Some(target) = targets.iter().filter_map(Value::as_str).find(|target| !knows(target)) {
            return Err(undefined(was_there(target), "Enrichment", "Enrichment Key", key, target));
        }
    }
    Ok(())
}

/// 400111 for an endpoint that this write would delete; 400131 is known for enrichments, and 400130
/// for routes stands in for a code that is not.
fn undefined(was_there: bool, kind: &str, label: &str, name: &str, target: &str) -> HubError {
    if was_there {
        let message = format!(
            "A routing endpoint that is still referenced cannot be deleted, {label}:{name}, EndpointName:{target}."
        );
        return HubError::new(400_111, message);
    }
    let code = if kind == "Enrichment" { 400_131 } else { 400_130 };
    HubError::new(code, format!("{kind} has an undefined endpoint, {label}:{name}, EndpointName:{target}."))
}

fn storage_endpoints(properties: &Map<String, Value>) -> Result<(), HubError> {
    let entries = properties["storageEndpoints"].as_object();
    if entries.is_some_and(|entries| entries.keys().any(|name| name != "$default")) {
        return Err(HubError::invalid("storageEndpoints may hold only the key $default."));
    }
    let default = entries.and_then(|entries| entries.get("$default"));
    let text = |field: &str| default.and_then(|entry| entry[field].as_str()).unwrap_or_default();
    let set = !text("connectionString").is_empty();
    if set && text("containerName").is_empty() {
        return Err(HubError::invalid("storageEndpoints:$default, containerName is missing."));
    }
    if properties["enableFileUploadNotifications"] == true && !set {
        return Err(HubError::invalid("File upload notifications need a storage endpoint."));
    }
    let notifications = &properties["messagingEndpoints"]["fileNotifications"];
    for (field, value, low, high) in [
        ("sasTtlAsIso8601", text("sasTtlAsIso8601"), 60, 86_400),
        (
            "lockDurationAsIso8601",
            notifications["lockDurationAsIso8601"].as_str().unwrap_or_default(),
            5,
            300,
        ),
        ("ttlAsIso8601", notifications["ttlAsIso8601"].as_str().unwrap_or_default(), 60, 172_800),
    ] {
        if !value.is_empty() && iso_seconds(value).is_none_or(|seconds| !(low..=high).contains(&seconds)) {
            return Err(HubError::invalid(format!("{field} is out of range: {value}.")));
        }
    }
    if notifications["maxDeliveryCount"].as_u64().is_none_or(|count| !(1..=100).contains(&count)) {
        return Err(HubError::invalid("maxDeliveryCount is out of range."));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// An ISO 8601 duration of days, hours, minutes and seconds.
fn iso_seconds(text: &str) -> Option<u64> {
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((date, time)) => (date, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let sum = |part: &str, units: &[(char, u64)]| {
        let (mut total, mut digits) = (0_u64, String::new());
        for letter in part.chars() {
            if letter.is_ascii_digit() {
                digits.push(letter);
                continue;
            }
            let (_, unit) = units.iter().find(|(name, _)| *name == letter)?;
            total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(*unit)?)?;
            digits.clear();
        }
        digits.is_empty().then_some(total)
    };
    Some(sum(date, &[('D', 86_400)])? + sum(time, &[('H', 3600), ('M', 60), ('S', 1)])?)
}

#[cfg(test)]
mod tests {
    use super::iso_seconds;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("PT1H", Some(3600)),
            ("P1DT5H", Some(104_400)),
            ("PT15S", Some(15)),
            ("P2D", Some(172_800)),
            ("1H", None),
            ("PT1", None),
        ] {
            assert_eq!(iso_seconds(text), seconds, "{text}");
        }
    }
}
