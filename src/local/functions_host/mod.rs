//! A stand-in for the Azure Functions host: starts a custom handler and feeds it triggers.
//!
//! It takes the *staged* folder that would be deployed (`host.json`, one folder per function, the
//! executable) and does what the real host does with it, down to the encoding of every value and the
//! answers that make the real host hang. What would hurt in production is in
//! [`FunctionsHost::status`] as a [`Diagnostic`].
//!
//! - Service Bus comes from [`ServiceBus`], in memory
//! - storage queues are in memory too, or those of a real service, then in real time: [`HostQueues`]
//! - Event Grid, HTTP functions and the admin API are behind [`FunctionsHost::router`]
//! - timers and everything else that waits for Azure run on the [`SimClock`]; what the handler itself
//!   can feel (readiness, `functionTimeout`) runs in real time
//!
//! Absent: other trigger types, blob leases and scaling out, gRPC workers, file watching, host keys
//! beyond the three in [`HostKeys`].
//!
//! Written from `Azure/azure-functions-host`, `Azure/azure-webjobs-sdk(-extensions)` and the extensions
//! in `Azure/azure-sdk-for-net`; each file names its sources.

mod admin;
mod answer;
mod bus_trigger;
mod channel;
mod dotnet;
mod envelope;
mod event_grid;
mod function;
mod http;
mod invoke;
mod options;
mod queue_trigger;
mod queues;
mod route;
mod schedule;
mod settings;
mod status;
mod timer_trigger;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::local::clock::SimClock;
use crate::local::servicebus::ServiceBus;
use channel::Connection;
use function::{Function, Trigger};
use invoke::Trace;
use settings::{HostJson, Settings};
use status::Activity;
use worker::{Launch, WorkerLink};

pub(crate) use envelope::TriggerInput;
pub(crate) use function::DataType;
pub use options::{Framing, HostKeys, HostOptions};
pub use queues::{HostQueues, RemoteQueues};
pub use schedule::{ScheduleStatus, TimerStatuses};
pub use settings::StartError;
pub use status::{
    Diagnostic, DiagnosticCode, FunctionStatus, HostState, HostStatus, InvocationCounts, LogLevel, LogLine,
    LogSink, WorkerState, WorkerStatus,
};
pub use worker::Worker;

/// The version this host says it has.
const HOST_VERSION: &str = "4.1037.0.0";

/// How long running invocations may take to finish when the host stops.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What is kept of the diagnostics; a worker in trouble would otherwise fill the memory.
const MAX_DIAGNOSTICS: usize = 1000;

/// A running host. Dropping it ends the worker and everything else at once.
#[derive(Debug)]
pub struct FunctionsHost {
    host: Arc<Host>,
    listeners: JoinSet<()>,
    supervisor: JoinSet<()>,
}

impl FunctionsHost {
    /// Reads the script root, starts the worker if there is a function for it, and starts listening.
    ///
    /// Call it inside a tokio runtime. It returns before the worker is ready; invocations wait for it.
    ///
    /// # Errors
    ///
    /// `host.json` is missing or wrong. A function that is wrong is a [`Diagnostic`].
    pub fn start(options: HostOptions) -> Result<Self, StartError> {
        let host_json = HostJson::read(&options.script_root, &options.settings, options.processors)?;
        let index = function::index(&options.script_root, &host_json, &options.settings)?;
        let (link, orders) = WorkerLink::new();
        let launch = Launch {
            worker: options.worker,
            root: options.script_root.clone(),
            handler: host_json.custom_handler.clone(),
            settings: options.settings.clone(),
            http_timeout: host_json.function_timeout.map(|limit| limit + Duration::from_secs(60)),
            seed: options.seed,
        };
        let host = Arc::new(Host {
            id: format!("local-{:08x}", options.seed),
            bus_namespace: bus_namespace(&options.settings),
            functions: index.functions.into_iter().map(Arc::new).collect(),
            index_errors: index.errors,
            host_json,
            started: options.clock.now(),
            clock: options.clock,
            bus: options.bus,
            queues: options.queues,
            framing: options.framing,
            traceparent: options.traceparent,
            keys: options.keys,
            hang_fails_at_once: options.hang_fails_at_once,
            timers: options.timers,
            timers_due: Mutex::default(),
            sink: options.log,
            rng: Mutex::new(StdRng::seed_from_u64(options.seed)),
            diagnostics: Mutex::default(),
            activity: Arc::default(),
            worker: Arc::new(link),
            stop: watch::Sender::new(false),
            state: Mutex::new(HostState::Initialized),
        });
        for warning in index.warnings {
            host.diagnose(DiagnosticCode::Layout, None, warning);
        }
        for (name, reasons) in &host.index_errors {
            for reason in reasons {
                let message = format!("The function '{name}' is in error: {reason}");
                host.diagnose(DiagnosticCode::Indexing, Some(name), message);
            }
        }
        let (mut listeners, mut supervisor) = (JoinSet::new(), JoinSet::new());
        let enabled: Vec<_> = host.functions.iter().filter(|function| !function.disabled).cloned().collect();
        if enabled.is_empty() {
            let message = "no function was found: the worker is not started; every function needs a folder with \
                           function.json directly beside host.json";
            host.diagnose(DiagnosticCode::NoFunctions, None, message.to_owned());
            host.set_state(HostState::Running);
            return Ok(Self { host, listeners, supervisor });
        }
        supervisor.spawn(worker::supervise(Arc::clone(&host.worker), orders, launch, Arc::clone(&host)));
        for function in enabled {
            let host = Arc::clone(&host);
            match &function.trigger {
                Trigger::Queue { queue } => {
                    let queue = queue.clone();
                    listeners.spawn(queue_trigger::listen(host, function, queue));
                }
                Trigger::ServiceBus { .. } => drop(listeners.spawn(bus_trigger::listen(host, function))),
                Trigger::Timer { .. } => {
                    // Due until the listener has looked, so that nobody takes the host for idle.
                    lock(&host.timers_due).insert(function.name.clone(), host.started);
                    listeners.spawn(timer_trigger::listen(host, function));
                }
                Trigger::EventGrid { .. } | Trigger::Http { .. } => {}
            }
        }
        Ok(Self { host, listeners, supervisor })
    }

    /// `/admin/*`, `/runtime/webhooks/EventGrid` and the HTTP functions.
    pub fn router(&self) -> Router {
        let host = Arc::clone(&self.host);
        Router::new().fallback(move |request| http::dispatch(Arc::clone(&host), request))
    }

    /// Everything at this moment.
    pub fn status(&self) -> HostStatus {
        self.host.status()
    }

    /// Kills the worker with SIGKILL, as if it had crashed: the host counts it and starts it again.
    pub fn kill_worker(&self) {
        self.host.worker.kill();
    }

    /// Waits until the worker answers; false when it never will.
    pub async fn wait_ready(&self) -> bool {
        if self.supervisor.is_empty() {
            return false;
        }
        let mut connection = self.host.worker.connection();
        let settled = connection.wait_for(|connection| !matches!(connection, Connection::Waiting)).await;
        settled.is_ok_and(|connection| matches!(*connection, Connection::Open(_)))
    }

    /// Waits until no invocation is running and none is due.
    ///
    /// A message that is scheduled or invisible and a timer that fires later do not count, nor does what
    /// waits in a queue of a real service: the host does not know it. A host that has stopped is idle.
    pub async fn wait_idle(&self) {
        self.wait_until(|_| self.host.is_idle()).await;
    }

    /// Waits until the status is as wanted; looks again after every change.
    pub async fn wait_until(&self, wanted: impl Fn(&HostStatus) -> bool) {
        let mut activity = self.host.activity.changes();
        let (mut bus, mut queues) = (self.host.bus.changes(), self.host.queues.changes());
        loop {
            activity.mark_unchanged();
            bus.mark_unchanged();
            queues.mark_unchanged();
            if wanted(&self.host.status()) {
                return;
            }
            tokio::select! {
                _ = activity.changed() => {}
                _ = bus.changed() => {}
                _ = queues.changed() => {}
            }
        }
    }

    /// Changes with every invocation, diagnostic and state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.host.activity.changes()
    }

    /// Stops listening, gives running invocations up to 10 s, then kills the worker.
    pub async fn shutdown(mut self) -> HostStatus {
        self.host.set_state(HostState::Stopping);
        self.host.stop.send_replace(true);
        let mut changes = self.host.activity.changes();
        let quiet = async {
            while self.listeners.join_next().await.is_some() {}
            while self.host.activity.running() > 0 {
                let _ = changes.changed().await;
            }
        };
        let _ = tokio::time::timeout(STOP_LIMIT, quiet).await;
        self.host.worker.stop();
        while self.supervisor.join_next().await.is_some() {}
        // What was cut off fails now; let it be counted and its messages given back.
        let cut_off = async { while self.listeners.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), cut_off).await;
        self.listeners.shutdown().await;
        self.host.set_state(HostState::Stopped);
        self.host.status()
    }
}

/// What all parts of a host share.
struct Host {
    id: String,
    host_json: HostJson,
    functions: Vec<Arc<Function>>,
    index_errors: BTreeMap<String, Vec<String>>,
    clock: SimClock,
    started: OffsetDateTime,
    bus: ServiceBus,
    bus_namespace: String,
    queues: HostQueues,
    framing: Framing,
    traceparent: bool,
    keys: HostKeys,
    hang_fails_at_once: bool,
    timers: TimerStatuses,
    timers_due: Mutex<BTreeMap<String, OffsetDateTime>>,
    sink: Option<LogSink>,
    rng: Mutex<StdRng>,
    diagnostics: Mutex<Vec<Diagnostic>>,
    activity: Arc<Activity>,
    worker: Arc<WorkerLink>,
    stop: watch::Sender<bool>,
    state: Mutex<HostState>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("id", &self.id)
            .field("functions", &self.functions)
            .finish_non_exhaustive()
    }
}

impl Host {
    fn guid(&self) -> Uuid {
        let mut bytes = [0; 16];
        lock(&self.rng).fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A number from 0 up to 1.
    fn random(&self) -> f64 {
        lock(&self.rng).random()
    }

    /// For invocations that no request started.
    fn background_trace(&self) -> Trace {
        if self.traceparent { Trace::New } else { Trace::Off }
    }

    /// True once the host stops.
    fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn state(&self) -> HostState {
        *lock(&self.state)
    }

    fn set_state(&self, state: HostState) {
        *lock(&self.state) = state;
        self.activity.changed();
    }

    fn function(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name)).cloned()
    }

    /// Why a function could not be indexed; absent when there is no such folder.
    fn function_errors(&self, name: &str) -> Option<Vec<String>> {
        let errors = self.index_errors.iter().find(|(folder, _)| folder.eq_ignore_ascii_case(name));
        errors.map(|(_, errors)| errors.clone()).or_else(|| self.function(name).map(|_| Vec::new()))
    }

    /// Why the host is in state `Error`.
    fn errors(&self) -> Vec<String> {
        if self.state() != HostState::Error {
            return Vec::new();
        }
        let diagnostics = lock(&self.diagnostics);
        let stopped = diagnostics.iter().filter(|diagnostic| diagnostic.code == DiagnosticCode::HostStopped);
        stopped.map(|diagnostic| diagnostic.message.clone()).collect()
    }

    /// The host has given up: listeners stop, the router stays.
    fn stop_listening(&self, reason: &str) {
        self.diagnose(DiagnosticCode::HostStopped, None, reason.to_owned());
        self.set_state(HostState::Error);
        self.stop.send_replace(true);
        self.worker.stop();
        self.activity.changed();
    }

    fn is_idle(&self) -> bool {
        let _claim = self.activity.claim();
        if self.activity.running() > 0 {
            return false;
        }
        if *self.stop.borrow() {
            return true;
        }
        let due = |function: &Arc<Function>| match &function.trigger {
            Trigger::Queue { queue } => self.queues.visible(queue) > 0,
            Trigger::ServiceBus { entity, sessions, .. } => {
                // A trigger that disagrees with its queue about sessions never takes anything.
                let options = self.bus.queue_options(entity);
                options.is_some_and(|options| options.requires_session == *sessions)
                    && self.bus.outstanding(entity) > 0
            }
            Trigger::Timer { .. } => {
                lock(&self.timers_due).get(&function.name).is_some_and(|due| *due <= self.clock.now())
            }
            Trigger::EventGrid { .. } | Trigger::Http { .. } => false,
        };
        !self.functions.iter().filter(|function| !function.disabled).any(due)
    }

    fn status(&self) -> HostStatus {
        let one = |function: &Arc<Function>| FunctionStatus {
            trigger: Some(function.trigger.word()),
            disabled: function.disabled,
            errors: Vec::new(),
            counts: self.activity.counts(&function.name),
        };
        let broken = |errors: &Vec<String>| FunctionStatus {
            trigger: None,
            disabled: false,
            errors: errors.clone(),
            counts: InvocationCounts::default(),
        };
        let functions = self.functions.iter().map(|function| (function.name.clone(), one(function)));
        let errors = self.index_errors.iter().map(|(name, errors)| (name.clone(), broken(errors)));
        HostStatus {
            state: self.state(),
            worker: self.worker.status(),
            diagnostics: lock(&self.diagnostics).clone(),
            functions: functions.chain(errors).collect(),
        }
    }
}

impl Host {
    fn log(&self, level: LogLevel, category: &str, text: &str) {
        match level {
            LogLevel::Information => tracing::info!(category, "{text}"),
            LogLevel::Warning => tracing::warn!(category, "{text}"),
            LogLevel::Error => tracing::error!(category, "{text}"),
        }
        if let Some(sink) = &self.sink {
            sink(&LogLine { level, category: category.to_owned(), text: text.to_owned() });
        }
    }

    fn diagnose(&self, code: DiagnosticCode, function: Option<&str>, message: String) {
        self.log(LogLevel::Warning, "Host.Diagnostics", &message);
        let mut diagnostics = lock(&self.diagnostics);
        if diagnostics.len() < MAX_DIAGNOSTICS {
            diagnostics.push(Diagnostic { code, function: function.map(str::to_owned), message });
        }
        drop(diagnostics);
        self.activity.changed();
    }

    /// A queue that is not there, or a service in trouble.
    fn diagnose_queue(&self, function: &Function, fault: &queues::Fault) {
        let (code, message) = match fault.is_missing_queue() {
            true => (DiagnosticCode::MissingEntity, format!("{fault}; a trigger does not create its queue")),
            false => (DiagnosticCode::QueueTrouble, fault.to_string()),
        };
        self.diagnose(code, Some(&function.name), message);
    }

    /// The worker answers, for the first time or again.
    fn ready(&self) {
        let mut state = lock(&self.state);
        if *state == HostState::Initialized {
            *state = HostState::Running;
        }
        drop(state);
        self.activity.changed();
    }
}

/// The namespace that the settings name, for the `Client` member of the metadata.
fn bus_namespace(settings: &Settings) -> String {
    let named = settings.iter().find(|(name, _)| name.to_lowercase().ends_with("__fullyqualifiednamespace"));
    named.map_or_else(|| "local.servicebus.windows.net".to_owned(), |(_, value)| value.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
