//! HTTP functions: routing, keys, and the two ways to pass a request on.
//!
//! By default the request is wrapped in the envelope, keys and all. With
//! `customHandler.enableForwardingHttpRequest` a function whose bindings are exactly one HTTP trigger
//! and one HTTP output gets the request itself, and whatever it answers goes back.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Extensions/HttpRequestExtensions.cs`
//! (`GetRequestAsJObject`), `Azure/azure-webjobs-sdk-extensions`
//! `src/WebJobs.Extensions.Http/HttpTriggerAttributeBindingProvider.cs` (`GetRequestBindingData`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde_json::{Map, Value, json};

use super::envelope::{TriggerInput, Wire, lift};
use super::function::{AuthLevel, Function, Trigger};
use super::invoke::Trace;
use super::{Host, HostKeys, admin, event_grid};

/// The host's limit for incoming bodies.
const MAX_BODY_BYTES: usize = 104_857_600;

/// Headers that describe one connection and are not passed on.
const HOP_BY_HOP: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "upgrade"];

/// A request with its body read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Incoming {
    /// A query parameter; its name is compared without case.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        self.queries().into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All query parameters; repeated ones are joined with a comma.
    fn queries(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes()) {
            match found.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                Some((_, known)) => *known = format!("{known},{value}"),
                None => found.push((name.into_owned(), value.into_owned())),
            }
        }
        found
    }

    fn key(&self) -> Option<String> {
        let header = self.headers.get("x-functions-key").and_then(|key| key.to_str().ok());
        header.map(str::to_owned).or_else(|| self.query("code"))
    }

    /// The body, unless its length was not announced: a chunked body is lost, as in the real host.
    fn announced_body(&self) -> Option<&Bytes> {
        let length = self.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let announced = length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > 0);
        announced.then_some(&self.body)
    }

    fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl HostKeys {
    fn level(&self, incoming: &Incoming) -> AuthLevel {
        let key = incoming.key();
        match key.as_deref() {
            _ if !self.enforce => AuthLevel::Admin,
            Some(key) if key == self.master => AuthLevel::Admin,
            Some(key) if key == self.function => AuthLevel::Function,
            _ => AuthLevel::Anonymous,
        }
    }

    pub(crate) fn allows_admin(&self, incoming: &Incoming) -> bool {
        self.level(incoming) == AuthLevel::Admin
    }

    pub(crate) fn allows_event_grid(&self, incoming: &Incoming) -> bool {
        self.allows_admin(incoming) || incoming.key().is_some_and(|key| key == self.event_grid)
    }
}

/// Answers every request to the host.
pub(crate) async fn dispatch(host: Arc<Host>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let incoming = Incoming { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    let path = incoming.uri.path().trim_matches('/').to_owned();
    let lower = path.to_lowercase();
    if lower == "admin" || lower.starts_with("admin/") {
        return admin::answer(&host, &incoming, &path).await;
    }
    if lower == "runtime/webhooks/eventgrid" {
        return event_grid::webhook(&host, incoming).await;
    }
    if lower.is_empty() {
        return StatusCode::NO_CONTENT.into_response();
    }
    function_call(&host, incoming).await
}

async fn function_call(host: &Arc<Host>, incoming: Incoming) -> Response {
    let candidates = host.functions.iter().filter(|function| !function.disabled).filter_map(|function| {
        let Trigger::Http { route, methods, auth_level } = &function.trigger else { return None };
        let method_fits =
            methods.is_empty() || methods.iter().any(|method| incoming.method == method.as_str());
        let params = route.matches(incoming.uri.path()).filter(|_| method_fits)?;
        Some((route.precedence(), function, *auth_level, params))
    });
    let Some((_, function, required, params)) = candidates.min_by(|(left, ..), (right, ..)| left.cmp(right))
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let level = host.keys.level(&incoming);
    let allowed = match required {
        AuthLevel::Anonymous => true,
        AuthLevel::Function => level != AuthLevel::Anonymous,
        AuthLevel::Admin => level == AuthLevel::Admin,
    };
    if !allowed {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let guard = host.activity.begin(&function.name);
    let (host, function) = (Arc::clone(host), Arc::clone(function));
    // In a task of its own: the host goes on when the caller hangs up.
    let call = tokio::spawn(async move {
        let response = match host.host_json.custom_handler.forward_http && function.is_http_in_and_out() {
            true => forwarded(&host, &function, &incoming).await,
            false => wrapped(&host, &function, &incoming, params, level).await,
        };
        drop(guard);
        response
    });
    call.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

async fn forwarded(host: &Host, function: &Function, incoming: &Incoming) -> Response {
    let body = incoming.announced_body().cloned().unwrap_or_default();
    let mut request = http::Request::new(body);
    *request.method_mut() = incoming.method.clone();
    let Ok(uri) = incoming.path_and_query().parse() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    for (name, value) in &incoming.headers {
        let content = name.as_str().starts_with("content-") && *name != header::CONTENT_TYPE;
        let length = *name == header::CONTENT_LENGTH && !request.body().is_empty();
        if (content && !length) || HOP_BY_HOP.contains(&name.as_str()) || name == "traceparent" {
            continue;
        }
        request.headers_mut().append(name.clone(), value.clone());
    }
    match host.forward(function, request, trace(&incoming.headers)).await {
        Ok(answer) => {
            let mut response = answer.map(Body::from);
            HOP_BY_HOP.iter().for_each(|name| drop(response.headers_mut().remove(*name)));
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn wrapped(
    host: &Host,
    function: &Function,
    incoming: &Incoming,
    params: Map<String, Value>,
    level: AuthLevel,
) -> Response {
    let input = request_input(incoming, params, level);
    match host.run(function, &input, trace(&incoming.headers)).await {
        Ok(answer) => answer.http_response(function),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn request_input(incoming: &Incoming, params: Map<String, Value>, level: AuthLevel) -> TriggerInput {
    let queries = incoming.queries();
    let header_text = |name: &str| {
        let values = incoming.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let names: Vec<&str> = incoming.headers.keys().map(http::HeaderName::as_str).collect();
    let headers: Map<String, Value> =
        names.iter().map(|name| (header_name(name), json!(header_text(name)))).collect();
    let flat: Map<String, Value> =
        names.iter().map(|name| (header_name(name), json!(header_text(name).join(",")))).collect();
    let query: Map<String, Value> =
        queries.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let host = header_text("host").pop().unwrap_or_else(|| "localhost".to_owned());
    let mut data = json!({
        "Url": format!("http://{host}{}", incoming.path_and_query()),
        "Method": incoming.method.as_str(),
        "Query": query,
        "Headers": headers,
        "Params": params,
        "Identities": [identity(level)],
    });
    let mut lifted = Vec::new();
    if let Some(body) = incoming.announced_body() {
        let content_type = header_text("content-type").pop().unwrap_or_default().to_lowercase();
        let binary =
            content_type.starts_with("application/octet-stream") || content_type.starts_with("multipart/");
        let text = if binary { STANDARD.encode(body) } else { String::from_utf8_lossy(body).into_owned() };
        lifted = lift(&text);
        data["Body"] = json!(text);
    }
    let mut input = TriggerInput::new(Wire::Json(data));
    let queried = queries.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("code"));
    lifted.into_iter().for_each(|(name, value)| input.metadata.set(name, value));
    queried.for_each(|(name, value)| input.metadata.set(name, Wire::text(value)));
    params.into_iter().for_each(|(name, value)| input.metadata.set(name, Wire::Json(value)));
    input.metadata.set("Query", Wire::Json(Value::Object(query)));
    input.metadata.set("Headers", Wire::Json(Value::Object(flat)));
    input
}

/// The spelling of a header: the usual one where there is one, else as it came.
fn header_name(name: &str) -> String {
    if name.starts_with("x-") || name.starts_with("aeg-") || name == "traceparent" || name == "tracestate" {
        return name.to_owned();
    }
    let part = |part: &str| match part.split_at_checked(1) {
        Some((first, rest)) => first.to_uppercase() + rest,
        None => String::new(),
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

fn identity(level: AuthLevel) -> Value {
    let value = match level {
        AuthLevel::Anonymous => "Anonymous",
        AuthLevel::Function => "Function",
        AuthLevel::Admin => "Admin",
    };
    json!({
        "AuthenticationType": "WebJobsAuthLevel",
        "IsAuthenticated": true,
        "Actor": null,
        "BootstrapContext": null,
        "Claims": [{
            "Issuer": "LOCAL AUTHORITY",
            "OriginalIssuer": "LOCAL AUTHORITY",
            "Properties": {},
            "Type": "http://schemas.microsoft.com/2017/07/functions/claims/authlevel",
            "Value": value,
            "ValueType": "http://www.w3.org/2001/XMLSchema#string",
        }],
        "Label": null,
        "Name": null,
        "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
        "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    })
}

/// An incoming request always runs in a trace: the caller's, or a new one.
pub(crate) fn trace(headers: &HeaderMap) -> Trace {
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let parent = parent.filter(|parent| parent.split('-').count() == 4);
    parent.map_or(Trace::New, |parent| Trace::Continue(parent.to_owned()))
}
