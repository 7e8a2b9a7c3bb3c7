//! The handler: starting it, watching it, restarting it, and talking HTTP to it.
//!
//! | Exit code | What the host does |
//! |---|---|
//! | 0 | nothing: later invocations fail until the host itself restarts |
//! | 200 | starts it again, as often as it likes |
//! | any other, or a signal | starts it again at once; the third within 30 minutes of another stops the host |
//!
//! The handler is killed with SIGKILL; it never gets a SIGTERM. Everything here that the handler can
//! feel (readiness, time-outs) runs in real time, not on the simulated clock: the handler's own
//! deadlines do too.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Workers/Http/HttpWorkerProcess.cs`,
//! `DefaultHttpWorkerService.cs` (`IsWorkerReady`), `HttpFunctionInvocationDispatcher.cs`,
//! `src/WebJobs.Script/Workers/ProcessManagement/WorkerProcess.cs` (`OnProcessExited`).

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Host;
use super::channel::{Channel, Connection, Endpoint};
use super::settings::{CustomHandler, Settings, expand_percent, lookup};
use super::status::{DiagnosticCode, LogLevel, WorkerState, WorkerStatus};

/// How often the host looks whether the worker answers.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// Errors after which the host stops itself.
const MAX_STRIKES: u32 = 3;
/// Two errors further apart than this do not add up.
const STRIKE_WINDOW: Duration = Duration::from_secs(30 * 60);
/// The exit code with which a worker asks to be started again.
const RESTART_EXIT_CODE: i32 = 200;

/// What runs the functions.
#[derive(Debug, Clone)]
pub enum Worker {
    /// The executable that `host.json` names, in a process of its own.
    Process,
    /// A router in this process, for tests on paused time.
    InProcess(Router),
}

/// What is needed to start a worker.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) worker: Worker,
    pub(crate) root: PathBuf,
    pub(crate) handler: CustomHandler,
    pub(crate) settings: Settings,
    /// Of one HTTP exchange: `functionTimeout` and a minute.
    pub(crate) http_timeout: Option<Duration>,
    pub(crate) seed: u64,
}

/// A handle to the supervised worker.
#[derive(Debug)]
pub(crate) struct WorkerLink {
    connection: watch::Sender<Connection>,
    orders: mpsc::UnboundedSender<Order>,
    status: Mutex<WorkerStatus>,
}

/// What the supervisor is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// As if somebody else had killed it: counts as a crash.
    Kill,
    /// The host itself wants a fresh one in place of this life: does not count.
    Restart(u32),
    Stop,
}

/// How one life of the worker ended.
enum End {
    Exit(Option<i32>),
    Restart,
    Stop,
    NeverReady(String),
}

impl WorkerLink {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let status =
            WorkerStatus { state: WorkerState::NotStarted, pid: None, port: None, restarts: 0, strikes: 0 };
        let connection = watch::Sender::new(Connection::Waiting);
        (Self { connection, orders, status: Mutex::new(status) }, receiver)
    }

    pub(crate) fn status(&self) -> WorkerStatus {
        self.lock().clone()
    }

    pub(crate) fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.subscribe()
    }

    pub(crate) fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }

    /// Ends a worker that is stuck; everything it was doing fails.
    pub(crate) fn restart(&self, stuck: &Channel) {
        // At once, so that nobody is sent to the old one in between.
        self.connection.send_if_modified(|connection| match connection {
            Connection::Open(open) if open.life() == stuck.life() => {
                *connection = Connection::Waiting;
                true
            }
            _ => false,
        });
        let _ = self.orders.send(Order::Restart(stuck.life()));
    }

    pub(crate) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }

    fn lock(&self) -> MutexGuard<'_, WorkerStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the worker and keeps it going until it is told to stop or has failed too often.
pub(crate) async fn supervise(
    link: Arc<WorkerLink>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    launch: Launch,
    host: Arc<Host>,
) {
    let mut last_strike: Option<Instant> = None;
    for life in 1.. {
        link.connection.send_replace(Connection::Waiting);
        {
            let mut status = link.lock();
            *status = WorkerStatus {
                state: WorkerState::Starting,
                pid: None,
                port: None,
                restarts: life - 1,
                strikes: status.strikes,
            };
        }
        host.activity.changed();
        let (end, last_words) = one_life(life, &link, &mut orders, &launch, &host).await;
        let reason = match end {
            End::Stop => break,
            End::Restart | End::Exit(Some(RESTART_EXIT_CODE)) => continue,
            End::Exit(Some(0)) => {
                link.lock().state = WorkerState::ExitedZero;
                let message = "the worker ended with exit code 0: the host takes that for intended, does not start \
                               it again, and every later invocation fails";
                host.diagnose(DiagnosticCode::WorkerExitedZero, None, message.to_owned());
                while !matches!(orders.recv().await, Some(Order::Stop) | None) {}
                break;
            }
            End::Exit(Some(code)) => format!("the worker exited with code {code}{last_words}"),
            End::Exit(None) => format!("the worker was killed by a signal{last_words}"),
            End::NeverReady(reason) => format!("{reason}{last_words}"),
        };
        let strikes = {
            let mut status = link.lock();
            if last_strike.is_some_and(|last| last.elapsed() > STRIKE_WINDOW) {
                status.strikes = 0;
            }
            status.strikes += 1;
            status.strikes
        };
        last_strike = Some(Instant::now());
        host.diagnose(DiagnosticCode::WorkerCrashed, None, reason);
        if strikes >= MAX_STRIKES {
            link.lock().state = WorkerState::Stopped;
            link.connection.send_replace(Connection::Closed);
            host.stop_listening("Exceeded http worker restart retry count. Shutting down Functions Host");
            return;
        }
    }
    let mut status = link.lock();
    (status.state, status.pid) = (WorkerState::Stopped, None);
    drop(status);
    link.connection.send_replace(Connection::Closed);
    host.activity.changed();
}

/// Runs the worker once; returns how it ended and what it wrote to stderr last.
async fn one_life(
    life: u32,
    link: &WorkerLink,
    orders: &mut mpsc::UnboundedReceiver<Order>,
    launch: &Launch,
    host: &Arc<Host>,
) -> (End, String) {
    let (endpoint, mut process) = match &launch.worker {
        Worker::InProcess(router) => (Endpoint::Router(router.clone()), None),
        Worker::Process => match start_process(life, launch, host) {
            Ok((endpoint, process)) => (endpoint, Some(process)),
            Err(err) => return (End::NeverReady(err), String::new()),
        },
    };
    {
        let mut status = link.lock();
        status.pid = process.as_ref().and_then(|process| process.child.id());
        status.port = match &endpoint {
            Endpoint::Tcp { port, .. } => Some(*port),
            Endpoint::Router(_) => None,
        };
    }
    let (ended, watched) = watch::channel(false);
    let channel = Arc::new(Channel::new(life, endpoint, watched));

    let ready = async {
        let deadline = Instant::now() + launch.handler.initialization_timeout;
        while !channel.answers().await {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        true
    };
    let early = tokio::select! {
        ready = ready => if ready { None } else {
            let limit = launch.handler.initialization_timeout;
            Some(End::NeverReady(format!(
                "the worker did not answer GET / on 127.0.0.1 within {limit:?}; it must listen on \
                 FUNCTIONS_CUSTOMHANDLER_PORT"
            )))
        },
        end = end_of(life, process.as_mut(), orders) => Some(match end {
            // The host goes on asking, in vain.
            End::Exit(Some(0)) => End::NeverReady("the worker exited with code 0 before it answered".to_owned()),
            end => end,
        }),
    };
    let end = match early {
        Some(end) => end,
        None => {
            link.lock().state = WorkerState::Ready;
            link.connection.send_replace(Connection::Open(Arc::clone(&channel)));
            host.ready();
            end_of(life, process.as_mut(), orders).await
        }
    };
    if !matches!(end, End::Exit(Some(0))) {
        // Before anyone learns of the end, so that a redelivered message waits for the next life.
        link.connection.send_replace(Connection::Waiting);
    }
    ended.send_replace(true);
    let last_words = match process {
        Some(process) => process.finish().await,
        None => String::new(),
    };
    (end, last_words)
}

/// Waits until the process exits or an order ends it.
async fn end_of(
    life: u32,
    mut process: Option<&mut Process>,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> End {
    loop {
        let exit = async {
            match &mut process {
                Some(process) => process.child.wait().await.ok().and_then(|status| status.code()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            code = exit => return End::Exit(code),
            order = orders.recv() => match order {
                Some(Order::Kill) => return End::Exit(None),
                Some(Order::Restart(stuck)) if stuck == life => return End::Restart,
                Some(Order::Restart(_)) => {}
                Some(Order::Stop) | None => return End::Stop,
            },
        }
    }
}

/// A running worker and the tasks that read what it writes.
struct Process {
    child: Child,
    readers: JoinSet<()>,
    last_words: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Kills what is left, reads what it still had to say, and returns its last three error lines.
    async fn finish(mut self) -> String {
        let _ = self.child.start_kill();
        let goodbye = async {
            let _ = self.child.wait().await;
            while self.readers.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
        let lines = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() { String::new() } else { format!("; its last words: {}", lines.join(" | ")) }
    }
}

fn start_process(life: u32, launch: &Launch, host: &Arc<Host>) -> Result<(Endpoint, Process), String> {
    let port = free_port().map_err(|err| format!("no free port for the worker: {err}"))?;
    let id = uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_OID,
        format!("{}/{life}/{}", launch.seed, launch.root.display()).as_bytes(),
    );
    let root = std::path::absolute(&launch.root).unwrap_or_else(|_| launch.root.clone());
    let own = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
        ("FUNCTIONS_HTTPWORKER_PORT", port.to_string()),
        ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", id.to_string()),
        ("FUNCTIONS_HTTPWORKER_ID", id.to_string()),
        ("FUNCTIONS_APP_ROOT_PATH", root.display().to_string()),
    ];
    let handler = &launch.handler;
    let resolve = |name: &str| {
        let own = own.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
        Some(own.or_else(|| lookup(&launch.settings, name)).unwrap_or_default())
    };
    let arguments = handler.arguments.iter().map(|text| expand_percent(text, resolve).unwrap_or_default());
    let executable = executable(&root, handler);
    let mut child = Command::new(&executable)
        .args(arguments)
        .envs(&launch.settings)
        .envs(own.iter().map(|(name, value)| (name, value)))
        .current_dir(root.join(&handler.working_directory))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| format!("failed to start the worker {}: {err}", executable.display()))?;

    let last_words = Arc::<Mutex<Vec<String>>>::default();
    let mut readers = JoinSet::new();
    if let Some(stdout) = child.stdout.take() {
        let host = Arc::clone(host);
        readers.spawn(read_lines(stdout, move |line| forward(&host, &line, LogLevel::Information)));
    }
    if let Some(stderr) = child.stderr.take() {
        let (host, errors_only) = (Arc::clone(host), handler.stderr_for_errors_only);
        let last_words = Arc::clone(&last_words);
        readers.spawn(read_lines(stderr, move |line| {
            forward(&host, &line, stderr_level(&line, errors_only));
            let mut lines = last_words.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == 3 {
                lines.remove(0);
            }
            lines.push(line);
        }));
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5));
    let client = match launch.http_timeout {
        Some(timeout) => client.timeout(timeout),
        None => client,
    };
    let client = client.build().map_err(|err| format!("no HTTP client: {err}"))?;
    Ok((Endpoint::Tcp { port, client }, Process { child, readers, last_words }))
}

/// The file below the worker directory if there is one, otherwise a command to be found on `PATH`.
fn executable(root: &Path, handler: &CustomHandler) -> PathBuf {
    let file = root.join(&handler.worker_directory).join(&handler.executable);
    if file.is_file() { file } else { PathBuf::from(&handler.executable) }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn read_lines(stream: impl AsyncRead + Unpin, take: impl Fn(String)) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        take(line);
    }
}

fn forward(host: &Host, line: &str, level: LogLevel) {
    if let Some(text) = line.strip_prefix("LanguageWorkerConsoleLog") {
        host.log(LogLevel::Information, "Host.LanguageWorkerConsoleLog", text);
    } else if let Some(text) = line.strip_prefix("azfuncjsonlog:") {
        host.log(LogLevel::Information, "Host.Tooling", text);
    } else {
        host.log(level, "Host.Function.Console", line);
    }
}

fn stderr_level(line: &str, errors_only: bool) -> LogLevel {
    let line = line.to_lowercase();
    let errors = ["error", "fail", "severe", "unhandled exception"];
    if line.contains("warn") {
        LogLevel::Warning
    } else if errors_only || errors.iter().any(|word| line.contains(word)) {
        LogLevel::Error
    } else {
        LogLevel::Information
    }
}
