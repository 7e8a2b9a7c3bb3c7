//! The Event Grid webhook, `/runtime/webhooks/EventGrid?functionName=…&code=…`.
//!
//! Both handshakes are answered here; the handler only ever sees events. With cardinality `one` every
//! event of a delivery is an invocation of its own, all at once, and one failure makes Event Grid
//! deliver all of them again.
//!
//! Facts: `Azure/azure-functions-host`
//! `src/WebJobs.Script.WebHost/Controllers/HostController.cs` (`ExtensionWebHookHandler`);
//! `Azure/azure-sdk-for-net` `sdk/eventgrid/Microsoft.Azure.WebJobs.Extensions.EventGrid/src/`;
//! <https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema>.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::Host;
use super::envelope::TriggerInput;
use super::function::{Function, Trigger};
use super::http::{Incoming, trace};

/// Who may be told that it is welcome; anybody else is told the first name.
const ORIGINS: [&str; 3] = ["eventgrid.azure.net", "eventgrid.azure.cn", "eventgrid.azure.us"];

/// Answers one request to the webhook.
pub(crate) async fn webhook(host: &Arc<Host>, incoming: Incoming) -> Response {
    if !host.keys.allows_event_grid(&incoming) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let name = incoming.query("functionName").unwrap_or_default();
    let named = |function: &&Arc<Function>| function.name.eq_ignore_ascii_case(&name) && !function.disabled;
    let found = host.functions.iter().find(named).cloned();
    let Some((function, many)) = found.and_then(|function| match function.trigger {
        Trigger::EventGrid { many } => Some((function, many)),
        _ => None,
    }) else {
        return (StatusCode::NOT_FOUND, format!("cannot find function: '{name}'")).into_response();
    };
    let header = |name: &str| text(&incoming.headers, name);
    if incoming.method == Method::OPTIONS {
        let asked = header("webhook-request-origin").unwrap_or_default();
        let known = ORIGINS.into_iter().find(|origin| asked.eq_ignore_ascii_case(origin));
        let allowed = HeaderValue::from_static(known.unwrap_or(ORIGINS[0]));
        return (StatusCode::OK, [("Webhook-Allowed-Origin", allowed)]).into_response();
    }
    if incoming.method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let kind = header("aeg-event-type").unwrap_or_default().to_lowercase();
    match kind.as_str() {
        "unsubscribe" => StatusCode::ACCEPTED.into_response(),
        "subscriptionvalidation" | "notification" => {
            let events = match serde_json::from_slice(&incoming.body) {
                Ok(Value::Array(events)) => events,
                Ok(event @ Value::Object(_)) => vec![event],
                Ok(_) => return StatusCode::BAD_REQUEST.into_response(),
                Err(err) => return (StatusCode::INTERNAL_SERVER_ERROR, err.to_string()).into_response(),
            };
            if kind == "notification" {
                notify(host, function, many, events, &incoming).await
            } else {
                validate(&events)
            }
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Answers the Event Grid schema's handshake. With CloudEvents `data` is JSON inside a string.
fn validate(events: &[Value]) -> Response {
    let data = match events.first().map(|event| &event["data"]) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(data) => data.clone(),
        None => Value::Null,
    };
    let answer = json!({ "validationResponse": data["validationCode"] }).to_string();
    ([("Content-Type", "application/json; charset=utf-8")], answer).into_response()
}

async fn notify(
    host: &Arc<Host>,
    function: Arc<Function>,
    many: bool,
    events: Vec<Value>,
    incoming: &Incoming,
) -> Response {
    let inputs = match many {
        true => vec![TriggerInput::events(&events)],
        false => events.iter().map(TriggerInput::event).collect(),
    };
    // In tasks of their own: the host goes on when the caller hangs up.
    let mut runs = Vec::new();
    for input in inputs {
        let (host, function) = (Arc::clone(host), Arc::clone(&function));
        let (trace, guard) = (trace(&incoming.headers), host.activity.begin(&function.name));
        runs.push(tokio::spawn(async move {
            let result = host.run(&function, &input, trace).await;
            drop(guard);
            result
        }));
    }
    let mut failed = false;
    for run in runs {
        failed |= !matches!(run.await, Ok(Ok(_)));
    }
    if failed {
        let message = format!("Exception while executing function: Functions.{}", function.name);
        return (StatusCode::INTERNAL_SERVER_ERROR, message).into_response();
    }
    StatusCode::ACCEPTED.into_response()
}
