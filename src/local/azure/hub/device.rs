//! A message from a device: where the hub's routes take it, and whether each endpoint lets the hub in.
//!
//! This is the proof that egress works: not that the documents look right, but that the identity
//! behind an endpoint may send to what the endpoint points at, now. Only the condition `true` is
//! evaluated; a route with another query is reported as not evaluated and takes nothing.
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-d2c>

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{ENDPOINT_LISTS, Hub, document, target};
use crate::local::azure::state::State;

/// Sends one message of a device through a hub. Lists what became of it, endpoint by endpoint.
pub(in crate::local::azure) fn send(state: &State, hub: &Hub, now: OffsetDateTime) -> Value {
    let routes = hub.properties["routing"]["routes"].as_array().cloned().unwrap_or_default();
    let mut deliveries = Vec::new();
    let mut matched = false;
    for route in &routes {
        let is_for_messages =
            route["source"].as_str().is_some_and(|source| source.eq_ignore_ascii_case("DeviceMessages"));
        if !is_for_messages || route["isEnabled"] != true {
            continue;
        }
        let name = route["name"].as_str().unwrap_or_default();
        let condition = route["condition"].as_str().unwrap_or("true").trim();
        if !condition.eq_ignore_ascii_case("true") {
            deliveries.push(
                json!({"route": name, "delivered": false, "reason": "the condition is not evaluated here"}),
            );
            continue;
        }
        matched = true;
        for endpoint in route["endpointNames"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            deliveries.push(deliver(state, hub, name, endpoint, now));
        }
    }
    let fallback = &hub.properties["routing"]["fallbackRoute"];
    if !matched && fallback["isEnabled"] == true {
        deliveries.push(json!({"route": "$fallback", "endpoint": "events", "delivered": true}));
    }
    json!({"hub": hub.id.name(), "deliveries": deliveries})
}

fn deliver(state: &State, hub: &Hub, route: &str, name: &str, now: OffsetDateTime) -> Value {
    let refused =
        |reason: &str| json!({"route": route, "endpoint": name, "delivered": false, "reason": reason});
    if name.eq_ignore_ascii_case("events") {
        return json!({"route": route, "endpoint": name, "delivered": true});
    }
    let found = ENDPOINT_LISTS.iter().find_map(|list| {
        document::find_endpoint(&hub.properties, list, name).map(|endpoint| (list, endpoint))
    });
    let Some((list, endpoint)) = found else { return refused("there is no such endpoint") };
    match target::enter(state, hub, list, endpoint, now) {
        Err(refusal) => refused(refusal.reason()),
        Ok(target::Entry { target, principal: Some(principal) }) => json!({
            "route": route, "endpoint": name, "delivered": true, "with": "identity", "principal": principal,
            "target": target,
        }),
        Ok(_) => json!({"route": route, "endpoint": name, "delivered": true, "with": "key"}),
    }
}
