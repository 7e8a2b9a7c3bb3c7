//! The server between the host and the functions.
//!
//! | what happened | answer | also |
//! | --- | --- | --- |
//! | the function answered | 200, its [`InvocationResponse`] | |
//! | [`HandlerError::Permanent`], or data of the wrong shape | 200, the text in `Logs` (HTTP functions: 500) | `error` |
//! | [`HandlerError::Transient`] | 500 | `warn` |
//! | the binding named at registration was not sent | 500 | `error` |
//! | the body is no envelope, too long, or broke off | 500 | `error` |
//! | the deadline passed, or the function panicked | 500 | `error` |
//! | no function of that name | 500 | `warn` |
//!
//! Every answer is a JSON object, `{"error":"…"}` for failures: an empty 2xx would make the host wait
//! until it kills the process. So a call is answered with 200 or with 500, and nothing else: the host
//! takes every status but 2xx for a failed call alike. Requests in the host's *forwarding* mode arrive at the client's path and end there, too: leave
//! `enableForwardingHttpRequest` off.
//!
//! Invariants: one call cannot end the process or hold up another; `GET /` answers at once;
//! nothing here waits for a signal (the host sends none, it kills); no log line holds a key, a
//! header's value or a body.

use std::{
    collections::BTreeMap, future::Future, io, net::Ipv4Addr, panic::AssertUnwindSafe, sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use futures::{FutureExt, future::BoxFuture};
use http::{Method, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};
use tracing::{Instrument, error, info, info_span, warn};

use super::{
    error::{HandlerError, chain},
    invocation::{DecodeError, Invocation, InvocationHead},
    metadata::RetryContext,
    response::InvocationResponse,
    trace::TraceParent,
    trigger::FromInvocation,
};

/// Half a minute below the shortest default of `functionTimeout` (five minutes, on the consumption
/// plan). When that passes, the host kills the process and with it every other call.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(270);
/// The host takes 100 MB from clients and from queues, and writing it as JSON text at most doubles
/// that for ordinary text. Anything longer is not from the host.
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;
/// Longest text of a failure that is sent back.
const MAX_ERROR_CHARS: usize = 300;

/// Functions by name, and the server for them.
///
/// See the [module's example](crate::handler).
#[derive(Default)]
pub struct Runtime {
    functions: BTreeMap<String, Function>,
    deadline: Option<Duration>,
}

/// What is particular about one function.
#[derive(Debug, Clone, Default)]
pub struct FunctionOptions {
    binding: Option<String>,
    deadline: Option<Duration>,
}

impl FunctionOptions {
    /// The trigger's binding is the only one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The trigger's binding in `function.json`; needed only beside further input bindings.
    pub fn binding(mut self, name: impl Into<String>) -> Self {
        self.binding = Some(name.into());
        self
    }

    /// A deadline other than the runtime's. Event Grid, for one, gives up after 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

/// What a function may know about its call besides the trigger.
#[derive(Debug, Clone)]
pub struct InvocationContext {
    /// The function's name.
    pub function: String,
    /// The host's id of this call; the same for all attempts of one retry policy.
    pub invocation_id: Option<String>,
    /// The host's version.
    pub host_version: Option<String>,
    /// Parent span, if the host traces.
    pub traceparent: Option<TraceParent>,
    /// Vendors' part of the trace context.
    pub tracestate: Option<String>,
    /// Attempts so far, if there is a retry policy.
    pub retry: Option<RetryContext>,
    /// When the call is answered with a failure, whatever the function does. It is then dropped
    /// where it stands, so a function with steps should stop between two of them before that.
    pub deadline: Instant,
}

impl InvocationContext {
    /// Time left until the deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

type Call = dyn Fn(Invocation, InvocationContext) -> BoxFuture<'static, Result<InvocationResponse, Failure>>
    + Send
    + Sync;

struct Function {
    call: Box<Call>,
    deadline: Option<Duration>,
    acknowledges: bool,
}

/// Why a call was not answered by its function.
enum Failure {
    Decode(DecodeError),
    Function(HandlerError),
}

impl Runtime {
    /// A runtime without functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function under the name of its folder.
    ///
    /// # Panics
    ///
    /// If the name is taken, or is not one that the host allows (a letter, then letters, digits,
    /// `_` or `-`, at most 128). Both are mistakes in the program, not in its input.
    pub fn function<T, F, Fut>(self, name: &str, run: F) -> Self
    where
        T: FromInvocation + Send + 'static,
        F: Fn(T, InvocationContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<InvocationResponse, HandlerError>> + Send + 'static,
    {
        self.function_with(name, FunctionOptions::new(), run)
    }

    /// Registers a function with a named binding or a deadline of its own.
    ///
    /// # Panics
    ///
    /// As [`Runtime::function`].
    pub fn function_with<T, F, Fut>(mut self, name: &str, options: FunctionOptions, run: F) -> Self
    where
        T: FromInvocation + Send + 'static,
        F: Fn(T, InvocationContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<InvocationResponse, HandlerError>> + Send + 'static,
    {
        assert!(is_function_name(name), "`{name}` cannot be the name of a function");
        let FunctionOptions { binding, deadline } = options;
        let run = Arc::new(run);
        let call = move |invocation: Invocation, context: InvocationContext| {
            let decoded = T::from_invocation(&invocation, binding.as_deref()).map_err(Failure::Decode);
            drop(invocation);
            let run = Arc::clone(&run);
            async move { run(decoded?, context).await.map_err(Failure::Function) }.boxed()
        };
        let function = Function { call: Box::new(call), deadline, acknowledges: T::ACKNOWLEDGES };
        let earlier = self.functions.insert(name.to_owned(), function);
        assert!(earlier.is_none(), "the function `{name}` is registered twice");
        self
    }

    /// Time that a call may take, reading its body included. Must stay below `functionTimeout` of
    /// `host.json`; 270 seconds unless said otherwise.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The names registered so far, sorted.
    pub fn function_names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }

    /// The server as a service, for [`serve`] and for tests without a socket.
    pub fn into_router(self) -> Router {
        Router::new()
            .route("/", get(ready))
            .method_not_allowed_fallback(|| async {
                failure(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD")
            })
            .fallback(dispatch)
            .with_state(Arc::new(self))
    }
}

/// Listens where the host looks: on 127.0.0.1, at the port it gave (`FUNCTIONS_CUSTOMHANDLER_PORT`),
/// or at any free one for port 0. Do this before anything slow, the host is waiting.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    // Answers are small and awaited. A socket that cannot be told so works all the same.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).await
}

/// The host asks until it gets any answer at all, and now and then later to measure the delay.
async fn ready() -> Response {
    reply(StatusCode::OK, &json!({}))
}

/// All other paths: the path is the function's name.
async fn dispatch(State(runtime): State<Arc<Runtime>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().strip_prefix('/').unwrap_or_default();
    let Some(function) = runtime.functions.get(name) else {
        let name = if is_function_name(name) { name } else { "(not a name)" };
        warn!(function.name = name, "the host called a function that is not registered here");
        return failure(StatusCode::INTERNAL_SERVER_ERROR, "no function of that name is registered");
    };
    if parts.method != Method::POST {
        return failure(StatusCode::METHOD_NOT_ALLOWED, "functions are called with POST");
    }
    let head = InvocationHead::parse(name, &parts.headers);
    let span = info_span!(
        "invocation",
        function.name = name,
        invocation.id = head.id.as_deref().unwrap_or("unknown"),
        traceparent = head.traceparent.as_ref().map(TraceParent::as_str),
    );
    let deadline = function.deadline.or(runtime.deadline).unwrap_or(DEFAULT_DEADLINE);
    Box::pin(answer(function, head, body, deadline)).instrument(span).await
}

/// One call from its body to its answer, with the line that closes its log.
async fn answer(function: &Function, head: InvocationHead, body: Body, limit: Duration) -> Response {
    let started = Instant::now();
    // A limit beyond what the clock can count is as good as a day.
    let deadline = started.checked_add(limit).unwrap_or_else(|| started + Duration::from_secs(86_400));
    let call = AssertUnwindSafe(call(function, head, body, deadline)).catch_unwind();
    let (outcome, response) = match timeout_at(deadline, call).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_panic)) => {
            // The panic's text may quote data; the hook has already shown it on stderr.
            error!("the function panicked");
            ("panicked", failure(StatusCode::INTERNAL_SERVER_ERROR, "the function panicked"))
        }
        Err(_elapsed) => {
            let text = format!("the function did not finish within {} ms", limit.as_millis());
            error!(deadline_ms = millis(limit), "{text}");
            ("timed out", failure(StatusCode::INTERNAL_SERVER_ERROR, &text))
        }
    };
    info!(duration_ms = millis(started.elapsed()), outcome, "invocation {outcome}");
    response
}

/// Reads, decodes and runs. Gives the outcome in words and the answer.
async fn call(
    function: &Function,
    head: InvocationHead,
    body: Body,
    deadline: Instant,
) -> (&'static str, Response) {
    let parsed = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(bytes) => Invocation::parse(head, &bytes).map_err(|err| err.to_string()),
        Err(err) => Err(format!("could not read the request's body: {}", chain(&err))),
    };
    let invocation = match parsed {
        Ok(invocation) => invocation,
        Err(text) => {
            error!(error = text, "the call could not be read");
            return ("unreadable", failure(StatusCode::INTERNAL_SERVER_ERROR, &text));
        }
    };
    let InvocationHead { function: name, id, host_version, traceparent, tracestate } =
        invocation.head.clone();
    let context = InvocationContext {
        function: name,
        invocation_id: id,
        host_version,
        traceparent,
        tracestate,
        retry: invocation.metadata.retry(),
        deadline,
    };
    let (text, permanent) = match (function.call)(invocation, context).await {
        Ok(response) => return ("succeeded", reply(StatusCode::OK, &response)),
        Err(Failure::Decode(err)) => (chain(&err), err.is_permanent()),
        Err(Failure::Function(err @ HandlerError::Permanent(_))) => (chain(&err), true),
        Err(Failure::Function(err @ HandlerError::Transient(_))) => {
            let text = chain(&err);
            warn!(error = text, "the function failed and may be tried again");
            return ("failed for now", failure(StatusCode::INTERNAL_SERVER_ERROR, &err.to_string()));
        }
    };
    if permanent && function.acknowledges {
        error!(error = text, "the function failed for good and is not tried again");
        let response =
            InvocationResponse::new().log(format!("failed for good, not tried again: {}", short(&text)));
        return ("failed for good", reply(StatusCode::OK, &response));
    }
    error!(error = text, "the function failed");
    ("failed", failure(StatusCode::INTERNAL_SERVER_ERROR, &text))
}

/// The host's own rule for folder names.
fn is_function_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn failure(status: StatusCode, text: &str) -> Response {
    reply(status, &json!({ "error": short(text) }))
}

fn reply(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => {
            let text = r#"{"error":"the answer cannot be written as JSON"}"#;
            (StatusCode::INTERNAL_SERVER_ERROR, [(CONTENT_TYPE, "application/json")], text).into_response()
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_ERROR_CHARS).collect()
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
