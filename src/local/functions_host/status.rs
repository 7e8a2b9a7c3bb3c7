//! What the host knows about itself: state, worker, diagnostics, counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// A line of the host's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// The host's own category, for example `Host.Function.Console` or `Function.Sweep.User`.
    pub category: String,
    /// The text without a line break.
    pub text: String,
}

/// How loud a line of the host's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// As expected.
    Information,
    /// Worth a look.
    Warning,
    /// Somebody should look.
    Error,
}

/// Receives every line of the host's log, in order.
pub type LogSink = Arc<dyn Fn(&LogLine) + Send + Sync>;

/// Something that would hurt in production and is easily overlooked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// What kind.
    pub code: DiagnosticCode,
    /// The function concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// One sentence for a person.
    pub message: String,
}

/// Kinds of [`Diagnostic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DiagnosticCode {
    /// No function was found or all are disabled, so the worker is not started.
    NoFunctions,
    /// Something about a folder or `function.json`; the functions run.
    Layout,
    /// A folder that should be a function is not one.
    Indexing,
    /// The handler's answer never completes the invocation in the real host.
    WouldHang,
    /// A function took longer than `functionTimeout`.
    TimedOut,
    /// The worker ended with code 0, and nothing will start it again.
    WorkerExitedZero,
    /// The worker crashed, or never became ready.
    WorkerCrashed,
    /// A trigger's queue does not exist.
    MissingEntity,
    /// A queue of a real service did not answer, or said no.
    QueueTrouble,
    /// A message's lock ended before its function did, so it will be delivered again.
    LockLost,
    /// A message could not be read at all.
    Undecodable,
    /// The host has stopped itself.
    HostStopped,
}

/// What the host is doing; the words are those of `/admin/host/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum HostState {
    /// The functions are loaded and the worker is not ready yet.
    Initialized,
    /// All is well.
    Running,
    /// The host has given up.
    Error,
    /// Asked to stop.
    Stopping,
    /// Stopped.
    Stopped,
}

/// The handler process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// Where it is in its life.
    pub state: WorkerState,
    /// Its process id; absent for an in-process worker.
    pub pid: Option<u32>,
    /// Its port; absent for an in-process worker.
    pub port: Option<u16>,
    /// How often it was started again, for whatever reason.
    pub restarts: u32,
    /// Errors that count towards the limit of three.
    pub strikes: u32,
}

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// There is no function to run.
    NotStarted,
    /// Started and not yet answering.
    Starting,
    /// Answering.
    Ready,
    /// Ended with code 0; the host believes that it is still there.
    ExitedZero,
    /// Ended, and will not be started again.
    Stopped,
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionStatus {
    /// The trigger's type, for example `timerTrigger`; absent when indexing failed.
    pub trigger: Option<&'static str>,
    /// Whether a setting switches it off.
    pub disabled: bool,
    /// Why it could not be indexed.
    pub errors: Vec<String>,
    /// Invocations, with retries counted once.
    #[serde(flatten)]
    pub counts: InvocationCounts,
}

/// How often a function ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvocationCounts {
    /// Running now.
    pub running: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended badly.
    pub failed: u64,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// What the host is doing.
    pub state: HostState,
    /// The handler process.
    pub worker: WorkerStatus,
    /// What would hurt in production, oldest first.
    pub diagnostics: Vec<Diagnostic>,
    /// Every folder with a `function.json`.
    pub functions: BTreeMap<String, FunctionStatus>,
}

/// Counts invocations and tells whoever waits that something has changed.
#[derive(Debug)]
pub(crate) struct Activity {
    counts: Mutex<BTreeMap<String, InvocationCounts>>,
    pulse: watch::Sender<u64>,
    claim: Mutex<()>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { counts: Mutex::default(), pulse: watch::Sender::new(0), claim: Mutex::default() }
    }
}

impl Activity {
    /// Counts an invocation as running until the guard is dropped.
    ///
    /// Call it in the same breath as taking the message, so that nobody sees neither.
    pub(crate) fn begin(self: &Arc<Self>, function: &str) -> Running {
        self.update(function, |counts| counts.running += 1);
        Running { activity: Arc::clone(self), function: function.to_owned() }
    }

    /// Held while messages are taken and counted, so that a look at both sees them in one place.
    pub(crate) fn claim(&self) -> MutexGuard<'_, ()> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ended(&self, function: &str, succeeded: bool) {
        self.update(function, |counts| match succeeded {
            true => counts.succeeded += 1,
            false => counts.failed += 1,
        });
    }

    fn update(&self, function: &str, change: impl FnOnce(&mut InvocationCounts)) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry(function.to_owned()).or_default());
        drop(counts);
        self.changed();
    }

    pub(crate) fn counts(&self, function: &str) -> InvocationCounts {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(function).copied().unwrap_or_default()
    }

    pub(crate) fn running(&self) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().map(|counts| counts.running).sum()
    }

    pub(crate) fn changed(&self) {
        self.pulse.send_modify(|count| *count += 1);
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }
}

/// An invocation that counts as running.
#[derive(Debug)]
pub(crate) struct Running {
    activity: Arc<Activity>,
    function: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.update(&self.function, |counts| counts.running -= 1);
    }
}
