//! A message from a device: where the hub's routes take it, and whether each endpoint lets the hub in.
//!
//! This is the proof that egress works: not that the documents look right, but that the identity
//! behind an endpoint may send to what the endpoint points at, now. What happens shows in the health of
//! the endpoints.
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-d2c>

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{ENDPOINT_LISTS, Hub, document, query_eval::Message, routes, target};
use crate::local::azure::state::State;

/// Sends one message of a device through a hub. Lists what became of it, endpoint by endpoint.
pub(in crate::local::azure) fn send(
    state: &mut State,
    hub: &Hub,
    message: &Value,
    now: OffsetDateTime,
) -> Value {
    let seen = Message::new(message, &message["twin"]);
    let source = message["source"].as_str().unwrap_or("DeviceMessages");
    let all = hub.properties["routing"]["routes"].as_array().cloned().unwrap_or_default();
    let mut deliveries = Vec::new();
    let mut matched = false;
    for route in &all {
        let same = route["source"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(source));
        if !same || route["isEnabled"] != true {
            continue;
        }
        let name = route["name"].as_str().unwrap_or_default();
        if routes::takes(route, source, &seen) != Some(true) {
            let reason = "the condition is not true for this message";
            deliveries.push(json!({"route": name, "delivered": false, "reason": reason}));
            continue;
        }
        matched = true;
        for endpoint in route["endpointNames"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            deliveries.push(deliver(state, hub, name, endpoint, now));
        }
    }
    let fallback = &hub.properties["routing"]["fallbackRoute"];
    if !matched && fallback["isEnabled"] == true && source.eq_ignore_ascii_case("DeviceMessages") {
        let endpoint = fallback["endpointNames"][0].as_str().unwrap_or("events");
        deliveries.push(deliver(state, hub, "$fallback", endpoint, now));
    }
    json!({"hub": hub.id.name(), "deliveries": deliveries})
}

fn deliver(state: &mut State, hub: &Hub, route: &str, name: &str, now: OffsetDateTime) -> Value {
    let refused =
        |reason: &str| json!({"route": route, "endpoint": name, "delivered": false, "reason": reason});
    if name.eq_ignore_ascii_case("events") {
        state.note_send(hub.id.key(), "events", None, now);
        return json!({"route": route, "endpoint": name, "delivered": true});
    }
    let found = ENDPOINT_LISTS.iter().find_map(|list| {
        document::find_endpoint(&hub.properties, list, name).map(|endpoint| (list, endpoint))
    });
    let Some((list, endpoint)) = found else { return refused("there is no such endpoint") };
    let entered = target::enter(state, hub, list, endpoint, now);
    let error = entered.as_ref().err().map(|refusal| refusal.reason());
    let id = endpoint["id"].as_str().unwrap_or_default();
    state.note_send(hub.id.key(), id, error, now);
    match entered {
        Err(refusal) => refused(refusal.reason()),
        Ok(target::Entry { target, principal: Some(principal) }) => json!({
            "route": route, "endpoint": name, "delivered": true, "with": "identity", "principal": principal,
            "target": target,
        }),
        Ok(_) => json!({"route": route, "endpoint": name, "delivered": true, "with": "key"}),
    }
}
