//! What a host is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{HostQueues, LogSink, TimerStatuses, Worker};
use crate::local::clock::SimClock;
use crate::local::servicebus::ServiceBus;

/// How the body of an invocation is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`, as in Azure.
    #[default]
    Chunked,
    /// `Content-Length`, as with Core Tools.
    ContentLength,
}

/// Who may call what.
#[derive(Clone)]
pub struct HostKeys {
    /// Whether keys are looked at; Core Tools does not.
    pub enforce: bool,
    /// `_master`: may do everything.
    pub master: String,
    /// The default function key.
    pub function: String,
    /// The system key `eventgrid_extension`.
    pub event_grid: String,
}

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKeys").field("enforce", &self.enforce).finish_non_exhaustive()
    }
}

impl Default for HostKeys {
    /// No key is needed.
    fn default() -> Self {
        Self { enforce: false, master: String::new(), function: String::new(), event_grid: String::new() }
    }
}

/// Everything a host needs to start.
#[derive(Clone)]
pub struct HostOptions {
    /// The staged folder, with `host.json` in it.
    pub script_root: PathBuf,
    /// App settings. The worker gets them as environment variables, and `%name%` is resolved from them.
    pub settings: BTreeMap<String, String>,
    /// What runs the functions.
    pub worker: Worker,
    /// Service Bus for triggers and outputs, whatever their `connection` says.
    pub bus: ServiceBus,
    /// Storage queues for triggers and outputs, whatever their `connection` says.
    pub queues: HostQueues,
    /// The clock that Azure's side runs on.
    pub clock: SimClock,
    /// How bodies are framed.
    pub framing: Framing,
    /// Whether queue, Service Bus and timer invocations carry a `traceparent`, as they do when the host
    /// exports telemetry. HTTP and Event Grid invocations always do.
    pub traceparent: bool,
    /// Who may call what.
    pub keys: HostKeys,
    /// Whether an answer that hangs the real host fails the invocation at once, instead of after
    /// `functionTimeout`. The worker is restarted either way.
    pub hang_fails_at_once: bool,
    /// Scales the defaults that depend on the number of cores.
    pub processors: usize,
    /// Where ids, jitter and lock tokens come from.
    pub seed: u64,
    /// What timers remember; hand it to the next host to see past-due runs.
    pub timers: TimerStatuses,
    /// Receives the host's log, which also goes to `tracing`.
    pub log: Option<LogSink>,
}

impl HostOptions {
    /// Options with the defaults of a host in Azure, except that keys are not needed and that an
    /// answer which would hang fails at once.
    pub fn new(
        script_root: impl Into<PathBuf>,
        worker: Worker,
        bus: ServiceBus,
        queues: impl Into<HostQueues>,
        clock: SimClock,
    ) -> Self {
        Self {
            script_root: script_root.into(),
            settings: BTreeMap::new(),
            worker,
            bus,
            queues: queues.into(),
            clock,
            framing: Framing::default(),
            traceparent: false,
            keys: HostKeys::default(),
            hang_fails_at_once: true,
            processors: 1,
            seed: 0,
            timers: TimerStatuses::default(),
            log: None,
        }
    }
}
