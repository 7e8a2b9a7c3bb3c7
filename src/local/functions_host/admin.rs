//! The admin API: host status, the list of functions, and starting one by hand.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script.WebHost/Controllers/HostController.cs` and
//! `FunctionsController.cs`; <https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http>.
//! Keys, drain, restart and sync triggers are absent.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::envelope::{TriggerInput, Wire};
use super::function::{Function, Trigger};
use super::http::Incoming;
use super::invoke::Trace;
use super::timer_trigger::timer_info;
use super::{HOST_VERSION, Host};

/// Answers a request below `/admin`.
pub(crate) async fn answer(host: &Arc<Host>, incoming: &Incoming, path: &str) -> Response {
    let lower = path.to_lowercase();
    if lower == "admin/host/ping" {
        return StatusCode::OK.into_response();
    }
    if !host.keys.allows_admin(incoming) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let get = incoming.method == Method::GET;
    // Azure does not distinguish case in function names either.
    let parts: Vec<&str> = lower.split('/').collect();
    match (get, &parts[1..]) {
        (true, ["host", "status"]) => json_answer(&host_status(host)),
        (true, ["functions"]) => {
            json_answer(&host.functions.iter().map(|function| metadata(function)).collect())
        }
        (true, ["functions", name]) => match host.function(name) {
            Some(function) => json_answer(&metadata(&function)),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        (true, ["functions", name, "status"]) => match host.function_errors(name) {
            Some(errors) if errors.is_empty() => json_answer(&json!({})),
            Some(errors) => json_answer(&json!({ "errors": errors })),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        (false, ["functions", name]) if incoming.method == Method::POST => start(host, name, incoming),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn json_answer(value: &Value) -> Response {
    ([("Content-Type", "application/json; charset=utf-8")], value.to_string()).into_response()
}

fn host_status(host: &Host) -> Value {
    let uptime = (host.clock.now() - host.started).whole_milliseconds();
    let mut status = json!({
        "id": host.id,
        "state": host.state(),
        "version": HOST_VERSION,
        "versionDetails": HOST_VERSION,
        "platformVersion": "",
        "instanceId": "local",
        "computerName": "local",
        "processUptime": u64::try_from(uptime).unwrap_or_default(),
        "functionAppContentEditingState": "NotAllowed",
    });
    let errors = host.errors();
    if !errors.is_empty() {
        status["errors"] = json!(errors);
    }
    if let Some(bundle) = &host.host_json.extension_bundle {
        status["extensionBundle"] = bundle.clone();
    }
    status
}

fn metadata(function: &Function) -> Value {
    let mut value = json!({
        "name": function.name,
        "href": format!("http://localhost/admin/functions/{}", function.name),
        "config": function.config,
        "language": "Custom",
        "isDisabled": function.disabled,
    });
    if let Trigger::Http { route, .. } = &function.trigger {
        value["invoke_url_template"] = json!(format!("http://localhost/{route}"));
    }
    value
}

/// Starts a function in the background: the 202 says nothing about how it ends.
fn start(host: &Arc<Host>, name: &str, incoming: &Incoming) -> Response {
    let Some(function) = host.function(name).filter(|function| !function.disabled) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let Ok(Value::Object(body)) = serde_json::from_slice(&incoming.body) else {
        return (StatusCode::BAD_REQUEST, "the body must be {\"input\":\"…\"}").into_response();
    };
    let text = match body.get("input") {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text,
        Some(_) => return (StatusCode::BAD_REQUEST, "`input` must be a string").into_response(),
    };
    let Some(input) = input(host, &function, text) else {
        return (StatusCode::BAD_REQUEST, "call an HTTP function at its own URL").into_response();
    };
    let guard = host.activity.begin(&function.name);
    let host = Arc::clone(host);
    tokio::spawn(async move {
        // A failure is counted and logged; nobody waits for it.
        let _ = host.run(&function, &input, Trace::Off).await;
        drop(guard);
    });
    StatusCode::ACCEPTED.into_response()
}

fn input(host: &Host, function: &Function, text: &str) -> Option<TriggerInput> {
    let parameter = &function.parameter;
    match &function.trigger {
        Trigger::Queue { .. } => {
            Some(TriggerInput::queue_by_hand(parameter, text, function.data_type, host.clock.now()))
        }
        Trigger::ServiceBus { many: false, .. } => {
            Some(TriggerInput::by_hand(parameter, Wire::text(text), text))
        }
        Trigger::ServiceBus { many: true, .. } => {
            let one = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            let batch = if one.is_array() { one } else { json!([one]) };
            Some(TriggerInput::by_hand(parameter, Wire::Json(batch), text))
        }
        Trigger::EventGrid { many } => {
            let event = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            let mut input = match (many, &event) {
                (true, Value::Array(events)) => TriggerInput::events(events),
                (true, event) => TriggerInput::events(std::slice::from_ref(event)),
                (false, event) => TriggerInput::event(event),
            };
            input.metadata.set(parameter.as_str(), Wire::text(text));
            Some(input)
        }
        Trigger::Timer { schedule, .. } => {
            let status = host.timers.get(&function.name);
            let data = Wire::Json(timer_info(schedule, status.as_ref(), false));
            Some(TriggerInput::by_hand(parameter, data, text))
        }
        Trigger::Http { .. } => None,
    }
}
