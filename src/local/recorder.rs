//! Records what is said between Resource Manager and its callers: one line of JSON an exchange, in the form that
//! Microsoft's validator [`oav`](https://github.com/Azure/oav) takes (`liveRequest`, `liveResponse`).
//!
//! No secret is written: every key and token that the simulated Azure ever handed out is masked, wherever it
//! stands, and so is whatever a caller shows as its token.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, response::Parts};
use serde_json::{Map, Value, json};

use super::azure::{Azure, Scheme};

/// What stands in place of a secret.
const MASK: &str = "****";

/// Writes down exchanges with one simulated Azure. Clones share the file.
#[derive(Clone)]
pub struct Recorder {
    azure: Azure,
    file: Arc<Mutex<File>>,
}

impl Recorder {
    /// A recorder that writes to a new file.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn create(path: &Path, azure: Azure) -> io::Result<Self> {
        Ok(Self { azure, file: Arc::new(Mutex::new(File::create(path)?)) })
    }

    /// The same door, with every exchange through it written down.
    pub fn at(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), through))
    }

    fn write(&self, exchange: &Value) -> io::Result<()> {
        let mut secrets = self.azure.secrets();
        // One may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut line = exchange.to_string();
        for secret in secrets {
            line = line.replace(&secret, MASK);
        }
        line.push('\n');
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

/// Passes one exchange on and writes it down. The simulator's own addresses are no part of Azure, and an answer
/// that breaks off is none.
async fn through(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/_sim") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    // Larger ones are none of Resource Manager's, which says so itself.
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let scheme = parts.extensions.get::<Scheme>().map_or("http", |scheme| scheme.0.as_str());
    let host = parts.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let asked = json!({
        "method": parts.method.as_str(),
        "url": format!("{scheme}://{host}{target}"),
        "headers": headers(&parts.headers),
        "body": document(&body),
    });
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return broken(parts, error),
    };
    let answered = json!({
        "statusCode": parts.status.as_str(),
        "headers": headers(&parts.headers),
        "body": document(&body),
    });
    if let Err(error) = recorder.write(&json!({"liveRequest": asked, "liveResponse": answered})) {
        tracing::warn!(%error, "an exchange cannot be recorded");
    }
    Response::from_parts(parts, Body::from(body))
}

/// The same break for the caller.
fn broken(parts: Parts, error: axum::Error) -> Response {
    Response::from_parts(parts, Body::from_stream(futures::stream::once(async { Err::<Bytes, _>(error) })))
}

fn headers(all: &HeaderMap) -> Map<String, Value> {
    let shown = |name: &str, value: &http::HeaderValue| match name {
        "authorization" => MASK.to_owned(),
        _ => String::from_utf8_lossy(value.as_bytes()).into_owned(),
    };
    all.iter().map(|(name, value)| (name.to_string(), json!(shown(name.as_str(), value)))).collect()
}

/// A body as JSON; as text where it is none; nothing where there is none.
fn document(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| json!(String::from_utf8_lossy(body)))
}
