//! The front door of the data planes: which hub or account the `Host` header names, who calls, with
//! which faults; then on to `hub_service` or `blob_service`.
//!
//! <https://learn.microsoft.com/rest/api/iothub/service>,
//! <https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api>

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
    Azure,
    answer::{http_date, iso},
    blob_service,
    call::Call,
    faults::{FaultKind, Subject},
    hub_service, router,
    settings::seconds,
};

/// What the names of hubs end in.
pub(super) const HUB_SUFFIX: &str = ".azure-devices.net";
/// What the names of blob services end in.
pub(super) const BLOB_SUFFIX: &str = ".blob.core.windows.net";

/// A status, headers and a body of any kind.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// What a handler of a data plane returns; a refusal is an answer too.
pub(super) type Outcome = Result<Sent, Sent>;

impl Sent {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::empty(status)
            .with("content-type", "application/json; charset=utf-8")
            .with_body(Bytes::from(body.to_string()))
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub(super) fn with_body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// Whose data plane is called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Service {
    /// A hub, by its name.
    Hub(String),
    /// A storage account, by its name.
    Blob(String),
}

impl Service {
    fn at(host: &str) -> Option<Self> {
        let name = |suffix: &str| host.strip_suffix(suffix).filter(|name| !name.is_empty());
        name(HUB_SUFFIX)
            .map(|name| Self::Hub(name.to_owned()))
            .or_else(|| name(BLOB_SUFFIX).map(|name| Self::Blob(name.to_owned())))
    }

    /// Audiences that it takes.
    fn audiences(&self) -> Vec<String> {
        match self {
            Self::Hub(_) => vec![Azure::IOT_HUBS.to_owned()],
            Self::Blob(name) => vec![Azure::STORAGE.to_owned(), format!("https://{name}{BLOB_SUFFIX}")],
        }
    }

    fn unauthorized(&self, call: &Call) -> Sent {
        match self {
            Self::Hub(_) => hub_service::error(call, 401, "IotHubUnauthorized", "Unauthorized"),
            Self::Blob(_) => blob_service::error(
                call,
                401,
                "AuthenticationFailed",
                "Server failed to authenticate the request. Please refer to the information in the \
                 www-authenticate header.",
            )
            .with(
                "www-authenticate",
                format!(
                    "Bearer authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize \
                     resource_id={}",
                    Azure::STORAGE
                ),
            ),
        }
    }
}

pub(super) fn router(azure: Azure) -> Router {
    Router::new().fallback(serve).with_state(azure)
}

/// The host that is called, in lower case and without a port. A proxy is asked with the whole address.
fn host(request: &Request) -> String {
    let asked = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let header = || request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned);
    let whole = asked.or_else(header).unwrap_or_default().to_ascii_lowercase();
    whole.split(':').next().unwrap_or_default().to_owned()
}

async fn serve(Extract(azure): Extract<Azure>, request: Request) -> Response {
    let host = host(&request);
    let Some(call) = router::read(&azure, request, "/").await else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return response;
    };
    let mut call = match router::own(&azure, call).await {
        Ok(response) => return response,
        Err(call) => *call,
    };
    let Some(service) = Service::at(&host) else {
        let text = format!("the simulated Azure has no data plane at `{host}`");
        return respond(&azure, &call, Sent::json(404, &json!({"error": text})));
    };
    let Some(sent) = azure.data(&mut call, &host, &service) else { return router::broken() };
    let hits = call.hits.clone();
    if let Some(fault) = hits.get(FaultKind::SlowAnswer) {
        azure.inner.clock.sleep(seconds(fault.seconds.unwrap_or(30.0))).await;
    }
    let lost = hits.get(FaultKind::ResetBefore).or_else(|| hits.get(FaultKind::LoseAnswer));
    if let Some(fault) = lost {
        let Some(status) = fault.status else { return router::broken() };
        let text = fault.message.as_deref().unwrap_or("The answer was lost.");
        return respond(&azure, &call, service.failure(&call, status, text));
    }
    if let Some(fault) = hits.get(FaultKind::BadJson) {
        let half = Bytes::from_static(b"{\"jobId\": \"");
        let sent = Sent { status: fault.status.unwrap_or(200), body: half, ..sent };
        return respond(&azure, &call, sent);
    }
    respond(&azure, &call, sent)
}

impl Service {
    /// A failure of the service itself.
    fn failure(&self, call: &Call, status: u16, text: &str) -> Sent {
        match self {
            Self::Hub(_) => hub_service::error(call, status, "ServerError", text),
            Self::Blob(_) => blob_service::error(call, status, "InternalError", text),
        }
    }

    /// The answer of a fault that lets nothing happen.
    fn refused_by_fault(&self, azure: &Azure, call: &Call) -> Option<Sent> {
        let hits = &call.hits;
        if let Some(fault) = hits.get(FaultKind::Throttle) {
            azure.lock().counters.throttled += 1;
            let sent = match self {
                Self::Hub(_) => hub_service::error(
                    call,
                    429,
                    "ThrottlingBacklogTimeout",
                    fault.message.as_deref().unwrap_or(
                        "The request has been throttled. Wait 10 seconds and try again. Operation type: \
                         ImportExportDevices",
                    ),
                ),
                Self::Blob(_) => blob_service::error(
                    call,
                    503,
                    "ServerBusy",
                    "The server is currently unable to receive requests. Please retry your request.",
                ),
            };
            return Some(match fault.retry_after {
                Some(wait) => sent.with("retry-after", azure.callers_seconds(wait).to_string()),
                None => sent,
            });
        }
        if let Some(fault) = hits.get(FaultKind::ServerError) {
            let status = fault.status.unwrap_or(500);
            let text = fault.message.as_deref().unwrap_or("An internal error occurred. Please retry.");
            let code = fault.code.as_ref().and_then(Value::as_str);
            return Some(match (self, code) {
                (Self::Hub(_), Some(code)) => hub_service::error(call, status, code, text),
                (Self::Blob(_), Some(code)) => blob_service::error(call, status, code, text),
                (_, None) => self.failure(call, status, text),
            });
        }
        if hits.get(FaultKind::ResetBefore).is_some() {
            return Some(Sent::empty(503));
        }
        hits.get(FaultKind::Deny)?;
        Some(match self {
            Self::Hub(_) => {
                let text = format!(
                    "Principal {} is not authorized for {} on {} due to no assigned permissions",
                    call.caller.object, call.method, call.path
                );
                hub_service::error(call, 401, "IotHubUnauthorized", &text)
            }
            Self::Blob(_) => blob_service::mismatch(call),
        })
    }
}

impl Azure {
    /// `None` when there is nobody at the address, so that no connection comes about.
    fn data(&self, call: &mut Call, host: &str, service: &Service) -> Option<Sent> {
        call.request_id = self.lock().random.guid();
        if let Service::Blob(name) = service {
            self.lock().storage_account(name)?;
        }
        let known = {
            let mut state = self.lock();
            let known = state.authenticate(call.header("authorization"), &service.audiences());
            if let Ok(caller) = &known {
                call.caller = caller.clone();
                let whole = format!("{host}{}", call.path);
                let subject = Subject {
                    method: &call.method,
                    path: &whole,
                    caller: [&call.caller.client, &call.caller.object],
                };
                call.hits = state.faults.take(&subject);
            }
            known.is_ok()
        };
        let sent = if known {
            service.refused_by_fault(self, call).unwrap_or_else(|| {
                let outcome = match service {
                    Service::Hub(name) => self.hub_service(call, name),
                    Service::Blob(name) => self.blob_service(call, name),
                };
                outcome.unwrap_or_else(|refusal| refusal)
            })
        } else {
            service.unauthorized(call)
        };
        let mut state = self.lock();
        state.counters.data_calls += 1;
        state.log_call(json!({
            "time": iso(call.now), "method": call.method, "host": host, "path": call.path,
            "status": sent.status, "caller": call.caller.name.clone(),
        }));
        Some(sent)
    }
}

fn respond(azure: &Azure, call: &Call, sent: Sent) -> Response {
    let Sent { status, headers, body } = sent;
    let head = call.method == "HEAD";
    let mut response = Response::new(if head { Body::empty() } else { Body::from(body) });
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let date = http_date(azure.inner.clock.now());
    let client = call.header("x-ms-client-request-id").map(str::to_owned);
    let own = [
        ("date".to_owned(), Some(date)),
        ("x-ms-request-id".to_owned(), Some(call.request_id.clone())),
        ("x-ms-client-request-id".to_owned(), client),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in own.chain(headers) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_tell_the_services_apart() {
        assert_eq!(Service::at("h1.azure-devices.net"), Some(Service::Hub("h1".to_owned())));
        assert_eq!(Service::at("data.blob.core.windows.net"), Some(Service::Blob("data".to_owned())));
        for other in ["localhost", ".azure-devices.net", "data.queue.core.windows.net", ""] {
            assert_eq!(Service::at(other), None, "{other}");
        }
    }
}
