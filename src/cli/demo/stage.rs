//! What the stories of `hubward demo` are played on: a local cloud, and this program as an operator's.

use std::{
    process::Output,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    cli::{
        local::{CloudArgs, Staged, start},
        print,
    },
    local::{azure::World, functions_host::LogLine},
};

/// Longest time one request may take, on this computer's clock.
pub(super) const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A story's cloud, and every line of its functions' log.
pub(super) struct Stage {
    pub(super) staged: Staged,
    pub(super) log: Arc<Mutex<Vec<String>>>,
    quiet: bool,
}

impl Stage {
    pub(super) async fn start(args: &CloudArgs, profiles: &str, quiet: bool) -> anyhow::Result<Self> {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = log.clone();
        let keep = move |line: &LogLine| {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line.text.clone());
        };
        let staged = start(args, World::reference(), Some(profiles), None, None, "info", keep).await?;
        Ok(Self { staged, log, quiet })
    }

    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            print(text);
        }
    }

    pub(super) async fn sim(&self, method: &str, path: &str, body: Value) -> anyhow::Result<Value> {
        self.staged.cloud.sim(method, path, body).await.map_err(anyhow::Error::msg)
    }

    /// Runs this program against the cloud, in a process of its own.
    pub(super) async fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        tokio::process::Command::new(std::env::current_exe()?)
            .args(args)
            .envs(self.staged.cloud.client_settings())
            .output()
            .await
            .context("cannot run hubward")
    }

    /// The same, for what has to go well; what it prints.
    pub(super) async fn hubward(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.run(args).await?;
        ensure!(
            output.status.success(),
            "hubward {args:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let waiting = async {
            while !is_so(&self.staged.cloud.azure.state()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("waited too long for {what}"))
    }
}
