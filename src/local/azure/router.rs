//! The front door of the ARM plane: who calls, how often, with which faults; then on to the right
//! provider, and the headers that every answer has.

use axum::{
    Router,
    body::Body,
    extract::{Request, State as Extract},
    http::{HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Azure, Scheme,
    answer::{Answer, HubError, Reply, http_date, iso},
    call::{self, Call, Caller},
    faults::{Fault, FaultKind, Hits, Subject},
    graph, resource_graph, resources,
    settings::seconds,
    sim, sim_data, throttle,
};

/// Largest body that is read. ARM's own limit for a request is 4 MB.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Largest body of a blob.
const ROOMY_BODY: usize = 256 * 1024 * 1024;

pub(super) fn router(azure: Azure) -> Router {
    Router::new().fallback(serve).with_state(azure)
}

/// What becomes of an answer after it has been made.
struct Outcome {
    reply: Reply,
    hits: Hits,
}

/// Takes a request apart. `None` when its body is larger than may be: what ARM takes, and more for
/// the addresses below `roomy`.
pub(super) async fn read(azure: &Azure, request: Request, roomy: &str) -> Option<Call> {
    let (parts, body) = request.into_parts();
    let most = if parts.uri.path().starts_with(roomy) { ROOMY_BODY } else { MAX_BODY };
    let body = axum::body::to_bytes(body, most).await.ok()?;
    let scheme = parts.extensions.get::<Scheme>().map_or("http", |scheme| scheme.0.as_str());
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok());
    let host =
        host.or_else(|| parts.uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
    let origin = format!("{scheme}://{host}");
    let path = call::plain(&call::decode(parts.uri.path()));
    let target = parts.uri.path_and_query().map_or_else(|| path.clone(), |target| target.as_str().to_owned());
    let query = call::query(parts.uri.query().unwrap_or_default());
    Some(Call {
        method: parts.method.as_str().to_owned(),
        path,
        target,
        query,
        headers: parts.headers,
        body,
        origin,
        caller: Caller::nobody(),
        request_id: String::new(),
        correlation_id: String::new(),
        now: azure.inner.clock.now(),
        hits: Hits::default(),
    })
}

/// The answer to the simulator's own addresses. All others get their call back.
pub(super) async fn own(azure: &Azure, call: Call) -> Result<Response, Box<Call>> {
    if call.path != "/_sim" && !call.path.starts_with("/_sim/") {
        return Err(Box::new(call));
    }
    if let Some(response) = sim_data::blobs(azure, &call) {
        return Ok(response);
    }
    let reply = sim::answer(azure, call).await;
    azure.deliver_waiting();
    Ok(respond(azure, reply))
}

async fn serve(Extract(azure): Extract<Azure>, request: Request) -> Response {
    let Some(call) = read(&azure, request, "/_sim/").await else {
        let reply = Reply::arm(
            413,
            "RequestContentTooLarge",
            "The request content size exceeds the maximum size of 4 MB.",
        );
        return respond(&azure, reply);
    };
    let mut call = match own(&azure, call).await {
        Ok(response) => return response,
        Err(call) => *call,
    };
    let Outcome { reply, hits } = azure.arm(&mut call);
    azure.deliver_waiting();
    if let Some(fault) = hits.get(FaultKind::SlowAnswer) {
        azure.inner.clock.sleep(seconds(fault.seconds.unwrap_or(30.0))).await;
    }
    let lost = hits.get(FaultKind::ResetBefore).or_else(|| hits.get(FaultKind::LoseAnswer));
    if let Some(fault) = lost {
        return match fault.status {
            Some(status) => respond(&azure, asked_for(fault, status, "The answer was lost.")),
            None => broken(),
        };
    }
    let reply = reply
        .with("x-ms-request-id", call.request_id.clone())
        .with("x-ms-correlation-request-id", call.correlation_id.clone());
    let reply = match call.header("x-ms-client-request-id") {
        Some(id) => reply.with("x-ms-client-request-id", id),
        None => reply,
    };
    if let Some(fault) = hits.get(FaultKind::BadJson) {
        let mut response = respond(&azure, Reply { body: None, ..reply });
        *response.status_mut() = StatusCode::from_u16(fault.status.unwrap_or(200)).unwrap_or_default();
        *response.body_mut() = Body::from("{\"id\": \"/subscriptions/");
        return response;
    }
    respond(&azure, reply)
}

impl Azure {
    fn arm(&self, call: &mut Call) -> Outcome {
        let settings = &self.inner.settings;
        {
            let mut state = self.lock();
            call.request_id = state.random.guid();
            let given =
                call.header("x-ms-correlation-request-id").filter(|id| uuid::Uuid::try_parse(id).is_ok());
            call.correlation_id = given.map_or_else(|| call.request_id.clone(), str::to_owned);
        }
        let outcome = |reply: Reply, call: &Call| {
            self.note(call, reply.status);
            Outcome { reply, hits: call.hits.clone() }
        };
        if call.method == "GET" && call.path.eq_ignore_ascii_case("/metadata/endpoints") {
            return Outcome { reply: resources::cloud_metadata(call), hits: Hits::default() };
        }
        if let Some(rest) = graph::below(&call.path) {
            return Outcome { reply: self.graph(call, rest), hits: Hits::default() };
        }
        // SDKs that are given an address ask for a token for just that address.
        let audiences = [settings.arm_audiences.as_slice(), std::slice::from_ref(&call.origin)].concat();
        let (remaining, hits) = {
            let mut state = self.lock();
            match state.authenticate(call.header("authorization"), &audiences) {
                Ok(caller) => call.caller = caller,
                Err(refusal) => {
                    drop(state);
                    return outcome(refusal, call);
                }
            }
            let subscription = call.segments().get(1).map(|part| (*part).to_owned()).unwrap_or_default();
            let taken = state.buckets.take(
                &subscription,
                &call.caller.object,
                &call.method,
                call.now,
                &settings.throttling,
            );
            let remaining = match taken {
                Ok(remaining) => remaining,
                Err(wait) => {
                    state.counters.throttled += 1;
                    drop(state);
                    let reply = self.throttled(Some(wait), call);
                    return outcome(reply, call);
                }
            };
            let subject = Subject {
                method: &call.method,
                path: &call.path,
                caller: [&call.caller.client, &call.caller.object],
            };
            (remaining, state.faults.take(&subject))
        };
        call.hits = hits;
        let reply = match self.refused_by_fault(call) {
            Some(reply) => reply,
            None => match self.refused_by_rights(call) {
                Some(reply) => reply,
                None => self.checked(call).unwrap_or_else(|refusal| refusal),
            },
        };
        let reply = remaining_headers(reply, call, remaining);
        let reply = if names_its_operation(call) {
            let (tenant, object) = (self.lock().tenant.clone(), &call.caller.object);
            let id = format!("tenantId={tenant},objectId={object}/westus2/{}", call.request_id);
            reply.with("x-ms-operation-identifier", id)
        } else {
            reply
        };
        outcome(reply, call)
    }

    /// Faults that answer before anything happens.
    fn refused_by_fault(&self, call: &Call) -> Option<Reply> {
        let hits = &call.hits;
        if let Some(fault) = hits.get(FaultKind::Throttle) {
            self.lock().counters.throttled += 1;
            return Some(self.throttled(fault.retry_after, call));
        }
        if let Some(fault) = hits.get(FaultKind::ServerError) {
            let reply = asked_for(fault, fault.status.unwrap_or(500), "Encountered internal server error.");
            return Some(match fault.retry_after {
                Some(wait) => reply.with("retry-after", self.callers_seconds(wait).to_string()),
                None => reply,
            });
        }
        if hits.get(FaultKind::ResetBefore).is_some() {
            return Some(Reply::empty(503));
        }
        let fault = hits.get(FaultKind::Deny)?;
        Some(match &fault.message {
            Some(message) => Reply::arm(403, "AuthorizationFailed", message),
            None => denied(call),
        })
    }

    /// Whether a caller that may not do everything may not do this.
    fn refused_by_rights(&self, call: &Call) -> Option<Reply> {
        let may = self.lock().may(&call.caller, &action(call), &call.path, call.now);
        // Anybody may ask what they may do, and follow what they have started.
        let own = ["permissions", "operationsStatus"].contains(&kind(&call.path).as_str());
        let is_below_subscriptions = call.path.to_ascii_lowercase().starts_with("/subscriptions/");
        (is_below_subscriptions && !own && !may).then(|| denied(call))
    }

    fn throttled(&self, wait: Option<f64>, call: &Call) -> Reply {
        let message =
            format!("The request rate for subscription {} is too high.", throttle::kind(&call.method));
        let reply = Reply::arm(429, "SubscriptionRequestsThrottled", message);
        let reply = remaining_headers(reply, call, 0);
        match wait {
            Some(wait) => reply.with("retry-after", self.callers_seconds(wait).to_string()),
            None => reply,
        }
    }

    fn checked(&self, call: &Call) -> Answer {
        match call.query.get("api-version").map(String::as_str) {
            None | Some("") => {
                let message = "The api-version query parameter (?api-version=) is required for all requests.";
                return Err(Reply::arm(400, "MissingApiVersionParameter", message));
            }
            Some(version) if !is_version(version) => {
                let message = format!("The api-version '{version}' is invalid.");
                return Err(Reply::arm(400, "InvalidApiVersionParameter", message));
            }
            Some(_) => {}
        }
        self.dispatch(call)
    }

    /// To the provider that the path names.
    pub(super) fn dispatch(&self, call: &Call) -> Answer {
        let parts = call.segments();
        let lower: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        let scope_of = |at: usize| format!("/{}", parts[..at].join("/"));
        let providers = |name: &str| {
            (0..words.len()).rev().find(|at| words[*at] == "providers" && words.get(at + 1) == Some(&name))
        };
        if let Some(at) = providers("microsoft.authorization") {
            let scope = if at == 0 { String::new() } else { scope_of(at) };
            return self.authorization(call, &scope, &parts[at + 2..]);
        }
        // The first `providers` tells the resource; what follows may be an extension of it.
        match words.iter().position(|word| *word == "providers") {
            None => self.management(call, &parts),
            Some(at) if words.get(at + 1) == Some(&"microsoft.devices") => {
                self.devices(call, &scope_of(at), &words[at + 2..])
            }
            Some(at) if words.get(at + 1) == Some(&"microsoft.resourcegraph") => {
                self.resource_graph(call, &words[at + 2..])
            }
            Some(at) if words.get(at + 1) == Some(&"microsoft.insights") => self.activity(call),
            Some(at) if words.get(at + 1) == Some(&"microsoft.documentdb") => self.documents(call),
            Some(_) => match self.target_keys(call).or_else(|| self.network(call)) {
                Some(answer) => answer,
                None => self.resource(call),
            },
        }
    }

    fn note(&self, call: &Call, status: u16) {
        let mut state = self.lock();
        let kind = kind(&call.path);
        state.counters.arm_calls += 1;
        *state.counters.calls.entry(format!("{} {kind}", call.method)).or_default() += 1;
        if call.method == "PUT" && kind == "iotHubs" {
            state.counters.hub_puts += 1;
        }
        let caller = call.caller.name.clone();
        state.log_call(json!({
            "time": iso(call.now), "method": call.method, "path": call.path, "status": status, "caller": caller,
        }));
    }
}

/// Whether the answer names who asked for the operation: the hub provider's do, but for plain reads.
fn names_its_operation(call: &Call) -> bool {
    let kind = kind(&call.path);
    call.path.to_ascii_lowercase().contains("/providers/microsoft.devices/")
        && !kind.starts_with("role")
        && (call.method != "GET" || kind == "operationResults")
}

/// What kind of thing a path is about: the innermost type's last word.
fn kind(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let at = parts.iter().rposition(|part| part.eq_ignore_ascii_case("providers"));
    let words: Vec<&str> = match at {
        Some(at) => parts.get(at + 2..).unwrap_or_default().iter().step_by(2).copied().collect(),
        None => parts.iter().step_by(2).copied().collect(),
    };
    const KNOWN: [&str; 11] = [
        "iotHubs",
        "roleAssignments",
        "roleDefinitions",
        "userAssignedIdentities",
        "operationResults",
        "listkeys",
        "namespaces",
        "eventhubs",
        "storageAccounts",
        "resourceGroups",
        "subscriptions",
    ];
    let last = words.last().copied().unwrap_or("other");
    KNOWN
        .iter()
        .find(|known| known.eq_ignore_ascii_case(last))
        .map_or_else(|| last.to_owned(), |known| (*known).to_owned())
}

/// A refusal for want of a right.
fn denied(call: &Call) -> Reply {
    let (client, object) = (&call.caller.client, &call.caller.object);
    let condition = if action(call).starts_with("Microsoft.Authorization/") {
        " or an ABAC condition not fulfilled"
    } else {
        ""
    };
    let message = format!(
        "The client '{client}' with object id '{object}' does not have authorization{condition} to perform action \
         '{}' over scope '{}' or the scope is invalid. If access was recently granted, please refresh your \
         credentials.",
        action(call),
        call.path
    );
    Reply::arm(403, "AuthorizationFailed", message)
}

/// The action that role-based access control would ask for.
fn action(call: &Call) -> String {
    if let Some((_, test)) = call.path.split_once("/routing/routes/$") {
        // Routes are no resources of their own, so this is the one name with a word at every place.
        return format!("Microsoft.Devices/IotHubs/routing/routes/${test}/action");
    }
    let parts = call.segments();
    let at = parts.iter().rposition(|part| part.eq_ignore_ascii_case("providers"));
    let mut name = match at.and_then(|at| parts.get(at + 1..)) {
        Some([provider, pairs @ ..]) => {
            let types: Vec<&str> = pairs.iter().step_by(2).copied().collect();
            format!("{provider}/{}", types.join("/"))
        }
        _ => "Microsoft.Resources/subscriptions/resourceGroups".to_owned(),
    };
    name.push_str(match call.method.as_str() {
        "GET" | "HEAD" => "/read",
        "DELETE" => "/delete",
        "POST" => "/action",
        _ => "/write",
    });
    name
}

fn is_version(text: &str) -> bool {
    let (date, rest) = text.split_at_checked(10).unwrap_or((text, ""));
    let digits = date.len() == 10
        && date
            .bytes()
            .enumerate()
            .all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
    digits && matches!(rest, "" | "-preview" | "-privatepreview" | "-alpha" | "-beta")
}

fn remaining_headers(reply: Reply, call: &Call, remaining: u64) -> Reply {
    // Writes of hubs are counted by the provider, everything else by ARM.
    if matches!(call.method.as_str(), "PUT" | "PATCH") && kind(&call.path) == "iotHubs" {
        return reply.with("x-ms-ratelimit-remaining-subscription-resource-requests", remaining.to_string());
    }
    // What is asked of no subscription is counted for the whole directory.
    if resource_graph::is_at(&call.path) {
        return reply.with("x-ms-ratelimit-remaining-tenant-resource-requests", remaining.to_string());
    }
    let (own, global) = match throttle::kind(&call.method) {
        "reads" => (
            "x-ms-ratelimit-remaining-subscription-reads",
            "x-ms-ratelimit-remaining-subscription-global-reads",
        ),
        "deletes" => (
            "x-ms-ratelimit-remaining-subscription-deletes",
            "x-ms-ratelimit-remaining-subscription-global-deletes",
        ),
        _ => (
            "x-ms-ratelimit-remaining-subscription-writes",
            "x-ms-ratelimit-remaining-subscription-global-writes",
        ),
    };
    reply.with(own, remaining.to_string()).with(global, (remaining.saturating_mul(15)).to_string())
}

/// An error with the code and text that a fault asks for.
fn asked_for(fault: &Fault, status: u16, default: &str) -> Reply {
    let message = fault.message.as_deref().unwrap_or(default);
    match &fault.code {
        Some(Value::Number(code)) => {
            let code = code.as_u64().and_then(|code| u32::try_from(code).ok()).unwrap_or_default();
            let body = HubError::new(code, message);
            Reply::json(status, json!({"code": body.code, "httpStatusCode": status, "message": body.message}))
        }
        Some(Value::String(code)) => Reply::arm(status, code, message),
        _ if status == 503 => Reply::arm(503, "ServerTimeout", message),
        _ => Reply::arm(status, "InternalServerError", message),
    }
}

fn respond(azure: &Azure, reply: Reply) -> Response {
    let Reply { status, headers, body } = reply;
    let text = body.map(|body| body.to_string());
    let mut response = Response::new(match &text {
        Some(text) => Body::from(text.clone()),
        None => Body::empty(),
    });
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let all = response.headers_mut();
    if text.is_some() {
        all.insert("content-type", HeaderValue::from_static("application/json; charset=utf-8"));
    }
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-cache", "CONFIG_NOCACHE"),
    ] {
        all.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // Clients read Azure's clock from here, so it is simulated time.
    let date = HeaderValue::from_str(&http_date(azure.inner.clock.now()));
    if let Ok(date) = date {
        all.insert("date", date);
    }
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            all.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// A response that breaks off: what a lost connection looks like to the caller.
pub(super) fn broken() -> Response {
    let end = futures::stream::once(async {
        Err::<Bytes, _>(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the connection was lost"))
    });
    Response::new(Body::from_stream(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_paths() {
        let hub = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/IotHubs/h";
        for (path, name) in [
            (hub.to_owned(), "iotHubs"),
            (format!("{hub}/providers/Microsoft.Authorization/roleAssignments/x"), "roleAssignments"),
            (format!("{hub}/listkeys"), "listkeys"),
            (
                "/subscriptions/s/providers/Microsoft.Devices/locations/l/operationResults/o".to_owned(),
                "operationResults",
            ),
            ("/subscriptions/s/resourcegroups/g".to_owned(), "resourceGroups"),
        ] {
            assert_eq!(kind(&path), name, "{path}");
        }
    }

    #[test]
    fn versions() {
        assert!(is_version("2023-06-30") && is_version("2023-06-30-preview"));
        assert!(!is_version("latest") && !is_version("2023-6-30") && !is_version(""));
    }
}
