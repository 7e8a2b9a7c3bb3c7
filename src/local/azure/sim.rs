//! `/_sim/…`: the simulator's own addresses, for tests, demos and operators. They need no token and
//! are not counted. `README.md` beside this file documents each.

use serde_json::{Map, Value, json};

use super::{
    Azure,
    answer::{Answer, Reply},
    call::{Call, Caller},
    events::Happening,
    faults::{Fault, Hits},
    hub::Phase,
};
use crate::model::{IotHubId, ResourceId};

pub(super) async fn answer(azure: &Azure, call: Call) -> Reply {
    let path = call.path.trim_start_matches("/_sim").trim_start_matches('/').to_owned();
    let (first, rest) = path.split_once('/').unwrap_or((&path, ""));
    let result = match (call.method.as_str(), first, rest) {
        ("GET", "state", "") => Ok(Reply::json(200, azure.state())),
        ("POST", "reset-counters", "") => {
            let mut state = azure.lock();
            state.counters = super::state::Counters::default();
            state.log.clear();
            Ok(Reply::empty(204))
        }
        ("GET", "faults", "") => Ok(Reply::json(200, json!(azure.lock().faults.waiting()))),
        ("POST", "faults", "") => add_faults(azure, &call),
        ("DELETE", "faults", "") => {
            azure.lock().faults.clear();
            Ok(Reply::empty(204))
        }
        ("GET", "events", "") => Ok(Reply::json(200, azure.events())),
        ("POST", "events", "") => emit(azure, &call),
        ("POST", "hubs", "") => create(azure, call).await,
        ("POST", "hubs", name) if name.ends_with("/messages") => device_message(azure, &call, name),
        ("GET" | "POST", "hubs", name) if name.ends_with("/devices") => devices(azure, &call, name),
        ("POST", "hubs", name) if name.ends_with("/copies") => copies(azure, &call, name),
        ("PUT" | "PATCH" | "DELETE", "hubs", name) if !name.is_empty() => change(azure, call, name).await,
        ("PATCH", "targets", "") => change_target(azure, &call),
        _ => Err(problem(404, "there is no such address; see src/local/azure/README.md")),
    };
    result.unwrap_or_else(|refusal| refusal)
}

fn problem(status: u16, text: impl ToString) -> Reply {
    Reply::json(status, json!({"error": text.to_string()}))
}

fn add_faults(azure: &Azure, call: &Call) -> Answer {
    let body: Value = serde_json::from_slice(&call.body).map_err(|err| problem(400, err))?;
    let items = match body {
        Value::Array(items) => items,
        one => vec![one],
    };
    let faults: Result<Vec<Fault>, _> = items.into_iter().map(serde_json::from_value).collect();
    let faults = faults.map_err(|err| problem(400, err))?;
    let mut state = azure.lock();
    faults.into_iter().for_each(|fault| state.faults.add(fault));
    Ok(Reply::json(201, json!(state.faults.waiting())))
}

/// `{"id": …}` sends an event again, `{"hub": …, "verb": "write"|"delete"}` a new one for a hub,
/// `{"event": {…}}` one as it stands.
fn emit(azure: &Azure, call: &Call) -> Answer {
    let body = object(call)?;
    if let Some(event) = body.get("event") {
        azure.lock().events.queue(event.clone());
        return Ok(Reply::json(202, event.clone()));
    }
    if let Some(id) = body.get("id").and_then(Value::as_str) {
        let mut state = azure.lock();
        let event =
            state.events.by_id(id).ok_or_else(|| problem(404, format!("id: there is no event `{id}`")))?;
        state.events.queue(event.clone());
        return Ok(Reply::json(202, event));
    }
    let Some(hub) = body.get("hub").and_then(Value::as_str) else {
        return Err(problem(400, "one of `id`, `hub` and `event` is needed"));
    };
    let subject = hub_id(azure, hub).map_or_else(|| hub.to_owned(), |id| id.as_str().to_owned());
    let (verb, word) = match body.get("verb").and_then(Value::as_str).unwrap_or("write") {
        "write" => ("Write", "write"),
        "delete" => ("Delete", "delete"),
        other => return Err(problem(400, format!("verb: `{other}` is neither `write` nor `delete`"))),
    };
    let mut inner = operator_call(azure, call, "PUT", &subject, Value::Null);
    inner.hits = Hits::default();
    let what = Happening::of(&inner, verb, &subject, &format!("Microsoft.Devices/IotHubs/{word}"), true);
    let mut state = azure.lock();
    let id = state.emit(&what, call.now, &azure.inner.settings.events);
    let event = state.events.by_id(&id).unwrap_or_default();
    Ok(Reply::json(202, event))
}

/// A device of the hub sends a message: tells where it went.
fn device_message(azure: &Azure, call: &Call, path: &str) -> Answer {
    let name = path.trim_end_matches("/messages");
    let missing = || problem(404, format!("there is no hub `{name}`"));
    let id = hub_id(azure, name).ok_or_else(missing)?;
    let message = if call.body.is_empty() { Map::new() } else { object(call)? };
    let mut state = azure.lock();
    let hub = state.hubs.get(id.key()).cloned().ok_or_else(missing)?;
    Ok(Reply::json(200, super::hub::device::send(&mut state, &hub, &Value::Object(message), call.now)))
}

/// The devices of a hub: GET lists them, POST adds `count` of them (named `prefix` and a number), those in
/// `devices`, and the `configurations`.
fn devices(azure: &Azure, call: &Call, path: &str) -> Answer {
    let name = path.trim_end_matches("/devices");
    let id = hub_id(azure, name).ok_or_else(|| problem(404, format!("there is no hub `{name}`")))?;
    if call.method == "GET" {
        return Ok(Reply::json(200, azure.lock().registry_view(id.key())));
    }
    let body = Value::Object(object(call)?);
    super::registry::check_devices(&body["devices"])
        .map_err(|err| problem(400, format!("devices: {err}")))?;
    let mut state = azure.lock();
    let count = body["count"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    state.make_devices(id.key(), count, body["prefix"].as_str().unwrap_or("device-"));
    state.add_devices(id.key(), &body["devices"]);
    for configuration in body["configurations"].as_array().into_iter().flatten() {
        state
            .import_configuration(id.key(), &configuration.to_string())
            .map_err(|err| problem(400, format!("configurations: {}", err.view())))?;
    }
    Ok(Reply::json(201, state.registry_view(id.key())))
}

/// Makes `count` copies of a hub, named by `prefix` and a number, with the grants that it has.
fn copies(azure: &Azure, call: &Call, path: &str) -> Answer {
    let name = path.trim_end_matches("/copies");
    let id = hub_id(azure, name).ok_or_else(|| problem(404, format!("there is no hub `{name}`")))?;
    let body = Value::Object(object(call)?);
    let count = body["count"].as_u64().and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(|| problem(400, "count: must be a whole number"))?;
    let prefix = body["prefix"].as_str().unwrap_or("copy");
    let mut state = azure.lock();
    if state.hubs.get(id.key()).is_some_and(|hub| hub.phase != Phase::Active) {
        return Err(problem(409, format!("the hub `{name}` is not at rest")));
    }
    state
        .copy_hub(id.key(), count, prefix, call.now)
        .map_err(|err| problem(400, format!("prefix: {err}")))?;
    Ok(Reply::json(201, json!({"hubs": state.hubs.len(), "roleAssignments": state.assignments.len()})))
}

/// Changes what a hub sends to: `properties` and `networkRuleSet` are merged into what is there,
/// `authorizationRules` are added.
fn change_target(azure: &Azure, call: &Call) -> Answer {
    let body = Value::Object(object(call)?);
    let text = body["id"].as_str().ok_or_else(|| problem(400, "id: is missing"))?;
    let id = ResourceId::parse(text).map_err(|err| problem(400, format!("id: {err}")))?;
    let mut state = azure.lock();
    if !state.change_target(id.key(), &body["properties"], &body["networkRuleSet"]) {
        return Err(problem(404, format!("id: there is no target `{text}`")));
    }
    for rule in body["authorizationRules"].as_array().into_iter().flatten() {
        let name =
            rule["name"].as_str().ok_or_else(|| problem(400, "authorizationRules: a name is missing"))?;
        let rights: Vec<&str> =
            rule["rights"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        state.add_rule(id.as_str(), name, &rights);
    }
    let shown = state.targets.get(id.key()).cloned().unwrap_or_default();
    let rules = state.rule_sets.get(id.key()).cloned().unwrap_or_default();
    Ok(Reply::json(200, json!({"target": shown, "networkRuleSet": rules})))
}

/// Makes a hub as an operator would, through the same door as everyone.
async fn create(azure: &Azure, call: Call) -> Answer {
    let mut body = object(&call)?;
    let text =
        |body: &Map<String, Value>, name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let name = text(&body, "name").ok_or_else(|| problem(400, "name: is missing"))?;
    let group = text(&body, "resourceGroup").ok_or_else(|| problem(400, "resourceGroup: is missing"))?;
    let first = azure.lock().subscriptions.keys().next().cloned();
    let subscription =
        text(&body, "subscription").or(first).ok_or_else(|| problem(400, "subscription: is missing"))?;
    let id = format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}"
    );
    let id = IotHubId::parse(&id).map_err(|err| problem(400, format!("name: {err}")))?;
    if azure.lock().hubs.contains_key(id.key()) {
        return Err(problem(409, format!("name: the hub `{name}` is there already")));
    }
    let wait = body.shift_remove("wait").is_some_and(|wait| wait == true);
    for name in ["properties", "sku", "tags", "identity", "endpoints"] {
        if body.get(name).is_some_and(|value| !value.is_object()) {
            return Err(problem(400, format!("{name}: must be an object")));
        }
    }
    let mut document = json!({
        "location": body.get("location").cloned().unwrap_or_else(|| json!("westus2")),
        "sku": body.get("sku").cloned().unwrap_or_else(|| json!({"name": "S1", "capacity": 1})),
        "tags": body.get("tags").cloned().unwrap_or_else(|| json!({})),
        "properties": body.get("properties").cloned().unwrap_or_else(|| json!({})),
    });
    if let Some(identity) = body.get("identity") {
        document["identity"] = identity.clone();
    }
    if body.contains_key("endpoints") || body.contains_key("routes") {
        let routing = &mut document["properties"]["routing"];
        if !routing.is_object() {
            *routing = json!({"fallbackRoute": {
                "name": "$fallback", "source": "DeviceMessages", "condition": "true",
                "endpointNames": ["events"], "isEnabled": true,
            }});
        }
        for name in ["endpoints", "routes"] {
            if let Some(value) = body.get(name) {
                routing[name] = value.clone();
            }
        }
    }
    let inner = operator_call(azure, &call, "PUT", id.as_str(), document);
    let reply = azure.dispatch(&inner)?;
    finish(azure, &id, wait, reply).await
}

/// A change by someone else: PUT replaces, PATCH merges into what a GET shows, DELETE deletes.
async fn change(azure: &Azure, call: Call, name: &str) -> Answer {
    let id = hub_id(azure, name).ok_or_else(|| problem(404, format!("there is no hub `{name}`")))?;
    let mut body = if call.body.is_empty() { Map::new() } else { object(&call)? };
    let wait = body.shift_remove("wait").is_some_and(|wait| wait == true)
        || call.query.get("wait").is_some_and(|wait| wait == "true");
    let (method, document) = match call.method.as_str() {
        "DELETE" => ("DELETE", Value::Null),
        "PUT" => ("PUT", Value::Object(body)),
        _ => {
            let mut document = {
                let state = azure.lock();
                state
                    .hubs
                    .get(id.key())
                    .map(|hub| hub.view(&state, super::hub::NEWEST_VERSION))
                    .unwrap_or_default()
            };
            super::targets::merge(&mut document, Value::Object(body));
            ("PUT", document)
        }
    };
    let inner = operator_call(azure, &call, method, id.as_str(), document);
    let reply = azure.dispatch(&inner)?;
    finish(azure, &id, wait, reply).await
}

/// Waits for the hub to be at rest, if asked to, and answers with what a GET shows then.
async fn finish(azure: &Azure, id: &IotHubId, wait: bool, reply: Reply) -> Answer {
    if !wait {
        return Ok(reply);
    }
    loop {
        let until = {
            let state = azure.lock();
            match state.hubs.get(id.key()) {
                None => return Ok(Reply::empty(204)),
                Some(hub) if hub.phase == Phase::Active => {
                    return Ok(Reply::json(200, hub.view(&state, super::hub::NEWEST_VERSION)));
                }
                Some(_) => {
                    let ends =
                        state.operations.values().filter(|op| op.result.is_none() && op.hub == id.as_str());
                    ends.map(|op| op.finishes).max()
                }
            }
        };
        match until {
            Some(until) => azure.inner.clock.sleep_until(until).await,
            None => azure.inner.clock.sleep(std::time::Duration::from_secs(1)).await,
        }
    }
}

fn object(call: &Call) -> Result<Map<String, Value>, Reply> {
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(problem(400, "the body must be a JSON object")),
        Err(err) => Err(problem(400, err)),
    }
}

/// A hub by its name or its id.
fn hub_id(azure: &Azure, text: &str) -> Option<IotHubId> {
    let state = azure.lock();
    let whole = format!("/{}", text.trim_start_matches('/'));
    if let Ok(id) = IotHubId::parse(&whole) {
        return state.hubs.get(id.key()).map(|hub| hub.id.clone());
    }
    state.hubs.values().find(|hub| hub.id.name().eq_ignore_ascii_case(text)).map(|hub| hub.id.clone())
}

/// A call to ARM in the operator's name: not counted, not throttled, and no fault hits it.
fn operator_call(azure: &Azure, outer: &Call, method: &str, path: &str, body: Value) -> Call {
    let mut state = azure.lock();
    let request_id = state.random.guid();
    Call {
        method: method.to_owned(),
        path: path.to_owned(),
        target: format!("{path}?api-version={}", super::hub::NEWEST_VERSION),
        query: [("api-version".to_owned(), super::hub::NEWEST_VERSION.to_owned())].into(),
        headers: axum::http::HeaderMap::new(),
        body: body.to_string().into(),
        origin: outer.origin.clone(),
        caller: Caller::operator(),
        correlation_id: request_id.clone(),
        request_id,
        now: outer.now,
        hits: Hits::default(),
    }
}
