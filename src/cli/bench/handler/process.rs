//! A handler as a process: its start, an invocation, its memory, its end.

use std::{
    collections::BTreeMap,
    io::{Read, Seek},
    net::Ipv4Addr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

use super::contender::Contender;
use crate::cli::bench::memory::Memory;

/// Longest time that a start may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions whether it is there. The host asks every 25 ms; this is to see more.
const PROBE_INTERVAL: Duration = Duration::from_millis(1);
/// Settings of whoever runs the bench that would make a handler do other work.
const NOT_OURS: [&str; 11] = [
    "ALL_PROXY",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "HUBWARD_CLOUD",
    "HUBWARD_DATA_ENDPOINT",
    "HUBWARD_OUTCOMES",
    "HUBWARD_QUEUES",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "RUST_BACKTRACE",
    "http_proxy",
];

/// A handler that answers.
pub(super) struct Running {
    child: Child,
    complaints: std::fs::File,
    client: reqwest::Client,
    address: String,
    /// When it was started.
    pub(super) started: Instant,
    /// From there to its first 200.
    pub(super) cold_start: Duration,
}

impl Running {
    /// Starts it as the Functions host does, and asks `GET /` until that is answered with 200.
    pub(super) async fn start(
        contender: &Contender,
        settings: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port();
        let complaints = tempfile::tempfile()?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()?;
        let mut command = Command::new(&contender.program);
        command
            .args(contender.arguments(port))
            .envs(settings)
            .envs(contender.settings.iter().copied())
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .current_dir(&contender.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(complaints.try_clone()?)
            .kill_on_drop(true);
        for name in NOT_OURS {
            command.env_remove(name);
        }
        let started = Instant::now();
        let child =
            command.spawn().with_context(|| format!("cannot start {}", contender.program.display()))?;
        let address = format!("http://127.0.0.1:{port}");
        let mut running = Self { child, complaints, client, address, started, cold_start: Duration::ZERO };
        while !running.answers().await {
            if let Some(status) = running.child.try_wait()? {
                bail!("it ended before it answered ({status}){}", running.stop().await);
            }
            if started.elapsed() > PATIENCE {
                bail!("it does not answer GET /{}", running.stop().await);
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        running.cold_start = started.elapsed();
        Ok(running)
    }

    async fn answers(&self) -> bool {
        let answer = self.client.get(&self.address).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Sends one invocation, and gives the body of its 200.
    pub(super) async fn invoke(&self, function: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let request = self
            .client
            .post(format!("{}/{function}", self.address))
            .header("content-type", "application/json; charset=utf-8")
            .body(body);
        let answer = request.send().await?;
        ensure!(answer.status() == 200, "{function} answered {}", answer.status());
        Ok(answer.bytes().await?)
    }

    /// Its memory, where the system tells it (`/proc`).
    pub(super) fn memory(&self) -> Option<Memory> {
        Memory::of(self.child.id()?)
    }

    /// Ends it; its last three error lines.
    pub(super) async fn stop(mut self) -> String {
        let _ = self.child.kill().await;
        let mut said = String::new();
        let _ = self.complaints.rewind().and_then(|()| self.complaints.read_to_string(&mut said));
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
        if last.is_empty() {
            "it said nothing".to_owned()
        } else {
            format!("its last words: {}", last.join(" | "))
        }
    }
}
