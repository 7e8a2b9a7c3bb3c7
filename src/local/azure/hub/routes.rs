//! Where messages go: routes tested without sending (`$testall`, `$testnew`), and the health of
//! endpoints, which only messages change.
//!
//! Shapes from the published interface, 2023-06-30: `TestAllRoutesResult`, `TestRouteResult` and
//! `EndpointHealthData`.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{ENDPOINT_LISTS, Hub, document, query, query_eval};
use crate::local::azure::{
    answer::{Answer, Reply, http_date},
    call::Call,
    state::State,
};

/// What was seen of an endpoint since the hub was made.
#[derive(Debug, Clone, Default)]
pub(in crate::local::azure) struct Health {
    healthy: bool,
    sent: Option<OffsetDateTime>,
    delivered: Option<OffsetDateTime>,
    error: Option<(String, OffsetDateTime)>,
}

impl Health {
    fn view(&self, endpoint: &str) -> Value {
        let mut shown = Map::new();
        let status = if self.healthy { "healthy" } else { "unhealthy" };
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                shown.insert(name.to_owned(), json!(value));
            }
        };
        add("endpointId", Some(endpoint.to_owned()));
        add("healthStatus", Some(status.to_owned()));
        add("lastKnownError", self.error.as_ref().map(|(text, _)| text.clone()));
        add("lastKnownErrorTime", self.error.as_ref().map(|(_, at)| http_date(*at)));
        add("lastSuccessfulSendAttemptTime", self.delivered.map(http_date));
        add("lastSendAttemptTime", self.sent.map(http_date));
        Value::Object(shown)
    }
}

impl State {
    /// Notes what became of a message at an endpoint.
    pub(super) fn note_send(&mut self, hub: &str, endpoint: &str, error: Option<&str>, now: OffsetDateTime) {
        let health = self.health.entry((hub.to_owned(), endpoint.to_owned())).or_default();
        health.healthy = error.is_none();
        health.sent = Some(now);
        match error {
            None => health.delivered = Some(now),
            Some(text) => health.error = Some((text.to_owned(), now)),
        }
    }

    /// The health of the built-in endpoint and of every other one of a hub.
    pub(super) fn health_of(&self, hub: &Hub) -> Vec<Value> {
        let ids = ENDPOINT_LISTS
            .iter()
            .flat_map(|list| document::endpoints(&hub.properties, list))
            .filter_map(|endpoint| endpoint["id"].as_str());
        let view = |id: &str| {
            let known = self.health.get(&(hub.id.key().to_owned(), id.to_owned()));
            known.map_or_else(
                || json!({"endpointId": id, "healthStatus": "unknown"}),
                |health| health.view(id),
            )
        };
        std::iter::once("events").chain(ids).map(view).collect()
    }
}

/// Whether a route takes a message from this source: `None` when the condition is undefined or cannot
/// be read.
pub(super) fn takes(route: &Value, source: &str, message: &query_eval::Message) -> Option<bool> {
    let same = route["source"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(source));
    if !same {
        return Some(false);
    }
    let expr = query::parse(route["condition"].as_str().unwrap_or("true")).ok()?;
    query_eval::value(&expr, message)?.as_bool()
}

/// `$testall`: the enabled routes that a message would take.
pub(super) fn test_all(hub: &Hub, call: &Call) -> Answer {
    let body = call.json()?;
    let message = query_eval::Message::new(&body["message"], &body["twin"]);
    let source = body["routingSource"].as_str().unwrap_or("DeviceMessages");
    let routes = hub.properties["routing"]["routes"].as_array().cloned().unwrap_or_default();
    let matched: Vec<Value> = routes
        .into_iter()
        .filter(|route| route["isEnabled"] == true && takes(route, source, &message) == Some(true))
        .map(|route| json!({"properties": route}))
        .collect();
    Ok(Reply::json(200, json!({"routes": matched})))
}

/// `$testnew`: what a route that need not be there would do with a message.
pub(super) fn test_new(call: &Call) -> Answer {
    let body = call.json()?;
    let route = &body["route"];
    if !route.is_object() {
        let message = "The request content was invalid and could not be deserialized: 'route is required.'.";
        return Err(Reply::arm(400, "InvalidRequestContent", message));
    }
    let expr = match query::parse(route["condition"].as_str().unwrap_or("true")) {
        Ok(expr) => expr,
        Err(mistake) => {
            let errors = json!({"compilationErrors": [mistake.view()]});
            return Ok(Reply::json(200, json!({"result": "false", "details": errors})));
        }
    };
    let message = query_eval::Message::new(&body["message"], &body["twin"]);
    let result = match query_eval::value(&expr, &message).as_ref().and_then(Value::as_bool) {
        Some(true) => "true",
        Some(false) => "false",
        None => "undefined",
    };
    Ok(Reply::json(200, json!({"result": result})))
}
