//! `/_sim/blobs/…`: what containers hold, past networks and tokens.

use axum::{body::Body, http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{Azure, blob::Content, call::Call};

/// The answer to `/_sim/blobs/…`; `None` for all other addresses.
pub(super) fn blobs(azure: &Azure, call: &Call) -> Option<Response> {
    let rest = call.path.strip_prefix("/_sim/blobs/")?;
    let mut parts = rest.splitn(3, '/');
    let (account, container) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let name = parts.next().unwrap_or_default();
    let mut state = azure.lock();
    let found =
        state.storage_account(account).and_then(|account| state.storage_container(&account, container));
    let Some(id) = found else {
        let text = format!("there is no container `{container}` of a storage account `{account}`");
        return Some(json_response(404, &json!({"error": text})));
    };
    Some(match (call.method.as_str(), name) {
        ("GET", "") => json_response(200, &json!(state.blob_names(&id))),
        ("GET", name) => match state.blob(&id, name) {
            Some(blob) => response(200, Body::from(blob.data.clone())),
            None => json_response(404, &json!({"error": format!("there is no blob `{name}`")})),
        },
        ("PUT", name) if !name.is_empty() => {
            state.put_blob(&id, name, Content::plain(call.body.clone()), call.now);
            response(201, Body::empty())
        }
        ("DELETE", name) if !name.is_empty() => {
            response(if state.remove_blob(&id, name) { 204 } else { 404 }, Body::empty())
        }
        _ => json_response(405, &json!({"error": "only GET, PUT and DELETE"})),
    })
}

fn response(status: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn json_response(status: u16, body: &Value) -> Response {
    response(status, Body::from(body.to_string()))
}
