//! Hub documents: what the service fills in and leaves out.

use serde_json::{Map, Value, json};

use super::{ENDPOINT_LISTS, secrets::connection_part};
use crate::{local::azure::random::Random, model::IotHubId};

/// Checks that what is read below has the kind of value it should have; the first that has not, by name.
pub(super) fn check_shape(body: &Value) -> Result<(), String> {
    let properties = &body["properties"];
    for (name, value) in [
        ("sku", &body["sku"]),
        ("identity", &body["identity"]),
        ("identity.userAssignedIdentities", &body["identity"]["userAssignedIdentities"]),
        ("properties", properties),
        ("properties.eventHubEndpoints", &properties["eventHubEndpoints"]),
        ("properties.eventHubEndpoints.events", &properties["eventHubEndpoints"]["events"]),
        ("properties.routing", &properties["routing"]),
        ("properties.routing.endpoints", &properties["routing"]["endpoints"]),
        ("properties.routing.fallbackRoute", &properties["routing"]["fallbackRoute"]),
        ("properties.storageEndpoints", &properties["storageEndpoints"]),
        ("properties.storageEndpoints.$default", &properties["storageEndpoints"]["$default"]),
        ("properties.messagingEndpoints", &properties["messagingEndpoints"]),
        ("properties.cloudToDevice", &properties["cloudToDevice"]),
    ] {
        if !value.is_object() && !value.is_null() {
            return Err(name.to_owned());
        }
    }
    let routing = &properties["routing"];
    let lists = ENDPOINT_LISTS.map(|list| (list, &routing["endpoints"][list]));
    for (name, value) in
        lists.into_iter().chain([("routes", &routing["routes"]), ("enrichments", &routing["enrichments"])])
    {
        let items = value.as_array();
        if !value.is_null() && !items.is_some_and(|items| items.iter().all(Value::is_object)) {
            return Err(format!("properties.routing.{name}"));
        }
    }
    Ok(())
}

/// The properties that were sent: without nulls and without what only the service writes.
pub(super) fn sent(properties: &Value) -> Map<String, Value> {
    const READ_ONLY: [&str; 5] =
        ["state", "provisioningState", "hostName", "locations", "operationsMonitoringProperties"];
    let mut sent = properties.as_object().cloned().unwrap_or_default();
    sent.retain(|name, value| !value.is_null() && !READ_ONLY.contains(&name.as_str()));
    let events = sent.get_mut("eventHubEndpoints").and_then(|all| all.get_mut("events"));
    if let Some(events) = events.and_then(Value::as_object_mut) {
        for name in ["partitionIds", "path", "endpoint"] {
            events.shift_remove(name);
        }
    }
    if let Some(routing) = sent.get_mut("routing") {
        strip_nulls(routing);
    }
    if let Some(storage) = sent.get_mut("storageEndpoints") {
        strip_nulls(storage);
        for entry in storage.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
            fill(entry, json!({"sasTtlAsIso8601": "PT1H"}));
        }
    }
    for name in ["messagingEndpoints", "cloudToDevice", "networkRuleSets", "rootCertificate"] {
        if let Some(value) = sent.get_mut(name) {
            strip_nulls(value);
        }
    }
    sent
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

pub(super) fn endpoints<'a>(properties: &'a Map<String, Value>, list: &str) -> &'a [Value] {
    properties
        .get("routing")
        .and_then(|routing| routing.get("endpoints"))
        .and_then(|all| all.get(list))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn endpoints_mut<'a>(
    properties: &'a mut Map<String, Value>,
    list: &str,
) -> Option<&'a mut Vec<Value>> {
    properties.get_mut("routing")?.get_mut("endpoints")?.get_mut(list)?.as_array_mut()
}

pub(super) fn find_endpoint<'a>(
    properties: &'a Map<String, Value>,
    list: &str,
    name: &str,
) -> Option<&'a Value> {
    endpoints(properties, list)
        .iter()
        .find(|endpoint| endpoint["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name)))
}

/// Fills in what was not sent: a PUT replaces everything, and what is missing falls to a default.
pub(super) fn complete(
    mut sent: Map<String, Value>,
    old: Option<&Map<String, Value>>,
    free: bool,
) -> Map<String, Value> {
    let mut done = Map::new();
    let mut take = |name: &str, default: Value| sent.shift_remove(name).unwrap_or(default);
    done.insert("ipFilterRules".to_owned(), take("ipFilterRules", json!([])));

    let events = take("eventHubEndpoints", json!({}));
    let before = old.map(|old| &old["eventHubEndpoints"]["events"]);
    let count = events["events"]["partitionCount"].as_u64();
    let count = before.and_then(|events| events["partitionCount"].as_u64()).or(count);
    let count = count.unwrap_or(if free { 2 } else { 4 });
    let days = events["events"]["retentionTimeInDays"].as_u64().unwrap_or(1);
    done.insert(
        "eventHubEndpoints".to_owned(),
        json!({"events": {"retentionTimeInDays": days, "partitionCount": count}}),
    );

    done.insert("routing".to_owned(), complete_routing(take("routing", Value::Null), old.is_none()));

    let mut storage = take(
        "storageEndpoints",
        json!({"$default": {"sasTtlAsIso8601": "PT1H", "connectionString": "", "containerName": ""}}),
    );
    for entry in storage.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        let mut whole = Map::from_iter([("sasTtlAsIso8601".to_owned(), json!("PT1H"))]);
        whole.extend(entry.as_object().cloned().unwrap_or_default());
        normalize_connection(&mut whole);
        *entry = Value::Object(whole);
    }
    done.insert("storageEndpoints".to_owned(), storage);

    let queue =
        |lock: &str| json!({"lockDurationAsIso8601": lock, "ttlAsIso8601": "PT1H", "maxDeliveryCount": 10});
    let mut messaging = take("messagingEndpoints", json!({}));
    fill(&mut messaging, json!({"fileNotifications": queue("PT1M")}));
    done.insert("messagingEndpoints".to_owned(), messaging);
    done.insert(
        "enableFileUploadNotifications".to_owned(),
        take("enableFileUploadNotifications", json!(false)),
    );
    let mut commands = take("cloudToDevice", json!({}));
    fill(
        &mut commands,
        json!({"maxDeliveryCount": 10, "defaultTtlAsIso8601": "PT1H", "feedback": queue("PT1M")}),
    );
    done.insert("cloudToDevice".to_owned(), commands);
    let features = take("features", json!("None"));
    // Whatever is asked for, every hub has the new root certificate by now.
    let features = if features == "None" { json!("RootCertificateV2") } else { features };
    done.insert("features".to_owned(), features);
    done.insert("minTlsVersion".to_owned(), take("minTlsVersion", json!("1.2")));
    let fqdns = take("allowedFqdnList", json!([]));
    let connections = take("privateEndpointConnections", Value::Null);
    let connections = if connections.is_null() {
        old.and_then(|old| old.get("privateEndpointConnections").cloned()).unwrap_or_default()
    } else {
        connections
    };
    sent.shift_remove("authorizationPolicies");
    done.extend(sent);
    if !connections.is_null() {
        done.insert("privateEndpointConnections".to_owned(), connections);
    }
    done.insert("allowedFqdnList".to_owned(), fqdns);
    done
}

fn complete_routing(sent: Value, creating: bool) -> Value {
    let absent = sent.is_null();
    let mut sent = match sent {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let mut lists = match sent.shift_remove("endpoints") {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let mut endpoints = Map::new();
    for list in ENDPOINT_LISTS {
        let mut items = lists.shift_remove(list).unwrap_or_else(|| json!([]));
        for item in items.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            normalize_connection(item);
        }
        endpoints.insert(list.to_owned(), items);
    }
    endpoints.extend(lists);
    let mut routes = sent.shift_remove("routes").unwrap_or_else(|| json!([]));
    for route in routes.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if !route.contains_key("condition") {
            route.insert("condition".to_owned(), json!("true"));
        }
        if let Some(source) = route.get_mut("source") {
            canonical_source(source);
        }
    }
    // A block that is not sent turns the fallback off; only a new hub has it on by itself.
    let fallback = sent.shift_remove("fallbackRoute").unwrap_or_else(|| {
        json!({
            "name": "$fallback", "source": "DeviceMessages", "condition": "true",
            "endpointNames": ["events"], "isEnabled": creating && absent,
        })
    });
    let mut done = Map::new();
    done.insert("endpoints".to_owned(), Value::Object(endpoints));
    done.insert("routes".to_owned(), routes);
    done.insert("fallbackRoute".to_owned(), fallback);
    done.extend(sent);
    Value::Object(done)
}

/// Sources may be sent in any case and come back as the service writes them.
fn canonical_source(source: &mut Value) {
    const KNOWN: [&str; 8] = [
        "DeviceMessages",
        "TwinChangeEvents",
        "DeviceLifecycleEvents",
        "DeviceJobLifecycleEvents",
        "DeviceConnectionStateEvents",
        "DigitalTwinChangeEvents",
        "MqttBrokerMessages",
        "Invalid",
    ];
    if let Some(known) =
        source.as_str().and_then(|text| KNOWN.iter().find(|known| known.eq_ignore_ascii_case(text)))
    {
        *source = json!(known);
    }
}

/// Storage connection strings come back with their parts in the service's order, the key last; those of
/// namespaces with the port of AMQP.
fn normalize_connection(entry: &mut Map<String, Value>) {
    const ORDER: [&str; 8] = [
        "DefaultEndpointsProtocol",
        "EndpointSuffix",
        "BlobEndpoint",
        "FileEndpoint",
        "QueueEndpoint",
        "TableEndpoint",
        "AccountName",
        "AccountKey",
    ];
    let Some(text) = entry.get("connectionString").and_then(Value::as_str) else { return };
    let text = if connection_part(text, "AccountKey").is_some() {
        let known = ORDER
            .iter()
            .filter_map(|name| connection_part(text, name).map(|value| format!("{name}={value}")));
        known.collect::<Vec<_>>().join(";")
    } else {
        with_port(text)
    };
    entry.insert("connectionString".to_owned(), json!(text));
}

fn with_port(text: &str) -> String {
    let Some(address) = connection_part(text, "Endpoint") else { return text.to_owned() };
    let bare = address.trim_end_matches('/');
    match bare.strip_prefix("sb://") {
        Some(host) if !host.contains([':', '/']) => text.replacen(address, &format!("{bare}:5671/"), 1),
        _ => text.to_owned(),
    }
}

fn fill(value: &mut Value, defaults: Value) {
    let (Some(members), Value::Object(defaults)) = (value.as_object_mut(), defaults) else { return };
    for (name, default) in defaults {
        match members.get_mut(&name) {
            Some(known) => fill(known, default),
            None => {
                members.insert(name, default);
            }
        }
    }
}

/// Gives endpoints what the service gives them: an id each, and the hub's subscription and group
/// where none were sent.
pub(super) fn give_ids(
    properties: &mut Map<String, Value>,
    old: Option<&Map<String, Value>>,
    hub: &IotHubId,
    random: &mut Random,
) {
    for list in ENDPOINT_LISTS {
        let Some(endpoints) = endpoints_mut(properties, list) else { continue };
        for endpoint in endpoints.iter_mut().filter_map(Value::as_object_mut) {
            let name = endpoint.get("name").and_then(Value::as_str).unwrap_or_default();
            let known = old.and_then(|old| find_endpoint(old, list, name)).and_then(|known| known.get("id"));
            let id = match (known, endpoint.get("id")) {
                (Some(known), _) => known.clone(),
                (None, Some(sent)) if sent.as_str().is_some_and(|text| !text.is_empty()) => sent.clone(),
                _ => json!(random.guid()),
            };
            endpoint.insert("id".to_owned(), id);
            let default = |name: &str, value: &str, endpoint: &mut Map<String, Value>| {
                if !endpoint.contains_key(name) {
                    endpoint.insert(name.to_owned(), json!(value));
                }
            };
            default("subscriptionId", hub.subscription(), endpoint);
            default("resourceGroup", hub.resource_group().unwrap_or_default(), endpoint);
        }
    }
}

/// What 2019-07-01-preview, the oldest version that is recorded, does not show.
const YOUNG: [&str; 6] = [
    "minTlsVersion",
    "disableLocalAuth",
    "disableDeviceSAS",
    "disableModuleSAS",
    "allowedFqdnList",
    "rootCertificate",
];

/// Whether a version is from before hubs had identities.
pub(super) fn is_old(version: &str) -> bool {
    version < "2020"
}

/// What older and newer versions of the interface leave out or show.
pub(super) fn as_of_version(properties: &mut Value, version: &str, created: &str) {
    let preview = version.ends_with("-preview");
    let Some(members) = properties.as_object_mut() else { return };
    if is_old(version) {
        members.retain(|name, _| !YOUNG.contains(&name.as_str()));
    } else if !preview {
        members.shift_remove("rootCertificate");
    } else if version >= "2023" {
        let sent = members.shift_remove("rootCertificate");
        let mut block = Map::from_iter([("enableRootCertificateV2".to_owned(), json!(true))]);
        block.extend(sent.and_then(|sent| sent.as_object().cloned()).unwrap_or_default());
        block.insert("lastUpdatedTimeUtc".to_owned(), json!(created));
        members.insert("rootCertificate".to_owned(), Value::Object(block));
    }
    let Some(lists) = members.get_mut("routing").and_then(|routing| routing.get_mut("endpoints")) else {
        return;
    };
    let Some(lists) = lists.as_object_mut() else { return };
    if version < "2022-11-15" {
        lists.shift_remove("cosmosDBSqlContainers");
    }
    // Versions from before identities show an identity endpoint as one with an empty string.
    if version < "2021-03-31" {
        for endpoint in lists.values_mut().filter_map(Value::as_array_mut).flatten() {
            let Some(endpoint) = endpoint.as_object_mut() else { continue };
            if endpoint.shift_remove("authenticationType").is_some_and(|kind| kind == "identityBased") {
                for name in ["endpointUri", "entityPath", "identity"] {
                    endpoint.shift_remove(name);
                }
                endpoint.insert("connectionString".to_owned(), json!(""));
            }
        }
    }
}

/// Name, tier and capacity.
pub(super) fn sku(sent: &Value) -> Value {
    let name = sent["name"].as_str().unwrap_or("S1").to_ascii_uppercase();
    let tier = match name.as_bytes().first() {
        Some(b'F') => "Free",
        Some(b'B') => "Basic",
        _ => "Standard",
    };
    json!({"name": name, "tier": tier, "capacity": sent["capacity"].as_u64().unwrap_or(1)})
}

/// A region's display name, for the few that are known; any other as it is.
pub(super) fn region_name(location: &str) -> String {
    let plain = plain_region(location);
    let name = match plain.as_str() {
        "westus2" => "West US 2",
        "westus3" => "West US 3",
        "westus" => "West US",
        "westcentralus" => "West Central US",
        "eastus" => "East US",
        "eastus2" => "East US 2",
        "centralus" => "Central US",
        "northeurope" => "North Europe",
        "westeurope" => "West Europe",
        "eastasia" => "East Asia",
        "southeastasia" => "Southeast Asia",
        _ => return location.to_owned(),
    };
    name.to_owned()
}

/// A region's name as ids have it.
pub(super) fn plain_region(location: &str) -> String {
    location.to_ascii_lowercase().replace(' ', "")
}

/// Whether a hub's data stays in its region.
pub(super) fn stays(properties: &Map<String, Value>) -> bool {
    properties.get("enableDataResidency").is_some_and(|on| on == true)
}

/// The region that a hub fails over to.
pub(super) fn paired_region(name: &str) -> &str {
    match name {
        "West US 2" => "West Central US",
        "West US 3" => "East US",
        "West US" => "East US",
        "East US" => "West US",
        "East US 2" => "Central US",
        "Central US" => "East US 2",
        "North Europe" => "West Europe",
        "West Europe" => "North Europe",
        "East Asia" => "Southeast Asia",
        "Southeast Asia" => "East Asia",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_shown_with_its_port() {
        let text = |address: &str| format!("Endpoint={address};SharedAccessKeyName=p;SharedAccessKey=k=");
        for address in ["sb://x", "sb://x/", "sb://x:5671/"] {
            assert_eq!(with_port(&text(address)), text("sb://x:5671/"), "{address}");
        }
        assert_eq!(with_port("AccountName=x"), "AccountName=x");
    }

    #[test]
    fn a_missing_fallback_is_on_for_a_new_hub_and_off_after_an_update() {
        let new = complete(Map::new(), None, false);
        assert_eq!(new["routing"]["fallbackRoute"]["isEnabled"], true);
        let updated = complete(Map::new(), Some(&new), false);
        assert_eq!(updated["routing"]["fallbackRoute"]["isEnabled"], false);
    }
}
