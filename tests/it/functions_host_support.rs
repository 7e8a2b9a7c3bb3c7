//! A staged folder, in-memory brokers and a handler that records what it is sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hubward::local::clock::SimClock;
use hubward::local::functions_host::{
    DiagnosticCode, FunctionsHost, HostKeys, HostOptions, HostStatus, InvocationCounts, LogLine, Worker,
};
use hubward::local::servicebus::ServiceBus;
use hubward::local::storage_queue::StorageQueues;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use tower::ServiceExt;

/// When every story starts: a Saturday.
pub(crate) const NOON: OffsetDateTime = datetime!(2026-01-31 12:00 UTC);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// One request to the handler.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) at: OffsetDateTime,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The text of a queue or Service Bus message: JSON in a string in JSON.
    pub(crate) fn text(&self) -> String {
        let data = self.json()["Data"].as_object().unwrap().values().next().cloned().unwrap();
        serde_json::from_str(data.as_str().unwrap()).unwrap()
    }

    pub(crate) fn metadata(&self, name: &str) -> Value {
        self.json()["Metadata"][name].clone()
    }
}

/// What the handler answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// In real time.
    pub(crate) after: Duration,
}

impl Reply {
    pub(crate) fn json(body: Value) -> Self {
        let content_type = Some("application/json".to_owned());
        Self { status: 200, content_type, headers: Vec::new(), body: body.to_string(), after: Duration::ZERO }
    }

    pub(crate) fn ok() -> Self {
        Self::json(json!({ "Outputs": {}, "Logs": [], "ReturnValue": null }))
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, content_type: None, body: String::new(), ..Self::ok() }
    }

    pub(crate) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// Everything around a host.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) clock: SimClock,
    pub(crate) bus: ServiceBus,
    pub(crate) queues: StorageQueues,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) log: Arc<Mutex<Vec<LogLine>>>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl World {
    /// A staged folder with a `host.json` and nothing else.
    pub(crate) fn new() -> Self {
        let clock = SimClock::start(NOON, 1.0);
        let world = Self {
            root: tempfile::tempdir().unwrap(),
            bus: ServiceBus::new(clock.clone()),
            queues: StorageQueues::new(clock.clone()),
            clock,
            settings: BTreeMap::new(),
            log: Arc::default(),
            calls: Arc::default(),
        };
        world.host_json(json!({}))
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Writes `host.json` with these members added.
    pub(crate) fn host_json(self, members: Value) -> Self {
        let mut host = json!({
            "version": "2.0",
            "customHandler": { "description": { "defaultExecutablePath": "handler" } },
        });
        merge(&mut host, members);
        std::fs::write(self.path().join("host.json"), host.to_string()).unwrap();
        self
    }

    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn function(self, name: &str, config: Value) -> Self {
        let folder = self.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("function.json"), config.to_string()).unwrap();
        self
    }

    /// A function with one trigger.
    pub(crate) fn triggered(self, name: &str, trigger: Value) -> Self {
        let mut binding = json!({ "name": "input", "direction": "in" });
        merge(&mut binding, trigger);
        self.function(name, json!({ "bindings": [binding] }))
    }

    pub(crate) fn options(&self, worker: Worker) -> HostOptions {
        let mut options =
            HostOptions::new(self.path(), worker, self.bus.clone(), self.queues.clone(), self.clock.clone());
        options.settings = self.settings.clone();
        let log = Arc::clone(&self.log);
        options.log = Some(Arc::new(move |line| log.lock().unwrap().push(line.clone())));
        options
    }

    /// A handler that records its calls and answers as told.
    pub(crate) fn handler(&self, reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Worker {
        Worker::InProcess(self.router(reply))
    }

    pub(crate) fn router(&self, reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Router {
        let (calls, reply, clock) = (Arc::clone(&self.calls), Arc::new(reply), self.clock.clone());
        Router::new().fallback(move |request: Request| {
            let (calls, reply, at) = (Arc::clone(&calls), Arc::clone(&reply), clock.now());
            async move {
                if request.method() == "GET" && request.uri().path() == "/" {
                    return Response::new(Body::empty());
                }
                let call = record(request, at).await;
                calls.lock().unwrap().push(call.clone());
                let reply = reply(&call);
                if !reply.after.is_zero() {
                    tokio::time::sleep(reply.after).await;
                }
                let mut response = Response::builder().status(reply.status);
                if let Some(content_type) = reply.content_type {
                    response = response.header("Content-Type", content_type);
                }
                for (name, value) in reply.headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(reply.body)).unwrap()
            }
        })
    }

    pub(crate) fn start(&self, reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> FunctionsHost {
        FunctionsHost::start(self.options(self.handler(reply))).unwrap()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn user_log(&self) -> Vec<String> {
        let lines = self.log.lock().unwrap();
        lines.iter().filter(|line| line.category.ends_with(".User")).map(|line| line.text.clone()).collect()
    }
}

async fn record(request: Request, at: OffsetDateTime) -> Call {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Call {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: headers.collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        at,
    }
}

/// Adds members to an object, member by member.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Sends one request to the host's own router and returns status, headers and body.
pub(crate) async fn call(
    host: &FunctionsHost,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, BTreeMap<String, String>, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = host.router().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) fn codes(status: &HostStatus) -> Vec<DiagnosticCode> {
    let codes = status.diagnostics.iter().map(|diagnostic| diagnostic.code);
    codes.filter(|code| *code != DiagnosticCode::Layout).collect()
}

pub(crate) fn counts(status: &HostStatus, function: &str) -> (u64, u64) {
    let InvocationCounts { running, succeeded, failed } = status.functions[function].counts;
    assert_eq!(running, 0);
    (succeeded, failed)
}

pub(crate) fn queue_trigger() -> Value {
    json!({ "type": "queueTrigger", "queueName": "orders" })
}

pub(crate) fn bus_trigger(sessions: bool) -> Value {
    json!({ "type": "serviceBusTrigger", "queueName": "orders", "isSessionsEnabled": sessions })
}

pub(crate) fn timer(schedule: &str) -> Value {
    json!({ "type": "timerTrigger", "schedule": schedule })
}

/// Fails the first `failures` calls.
pub(crate) fn failing(failures: u64) -> impl Fn(&Call) -> Reply + Send + Sync + 'static {
    let calls = AtomicU64::new(0);
    move |_| match calls.fetch_add(1, Ordering::Relaxed) < failures {
        true => Reply::status(500),
        false => Reply::ok(),
    }
}

/// Seconds after noon, for each call.
pub(crate) fn times(world: &World) -> Vec<i64> {
    world.calls().iter().map(|call| (call.at - NOON).whole_seconds()).collect()
}

/// A host that lets in only who has one of the keys `M`, `K` and `E`.
pub(crate) fn with_keys(
    world: &World,
    reply: impl Fn(&Call) -> Reply + Send + Sync + 'static,
) -> FunctionsHost {
    let mut options = world.options(world.handler(reply));
    let key = str::to_owned;
    options.keys = HostKeys { enforce: true, master: key("M"), function: key("K"), event_grid: key("E") };
    FunctionsHost::start(options).unwrap()
}
