//! A terminal for the commands of the docs: `sh`, with the programs of this build on its path and settings of a
//! local cloud.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::local::ended;

/// A limit for things that go wrong, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// `cargo run` of our program is our program; nothing else of cargo is.
const CARGO: &str =
    "cargo() { [ \"$1 $2 $3 $4 $5\" = 'run --release --bin hubward --' ]; shift 5; exec hubward \"$@\"; }\n";

/// What `hubward local` prints last.
const READY: &str = "Ctrl-C ends it.";

pub(crate) struct Shell {
    folder: tempfile::TempDir,
    settings: BTreeMap<String, String>,
    /// What was exported by hand.
    exports: String,
    /// A program that goes on until it is stopped.
    running: Option<Child>,
}

impl Shell {
    /// A shell in an empty folder.
    pub(crate) fn new() -> Self {
        let programs = Path::new(env!("CARGO_BIN_EXE_hubward")).parent().unwrap();
        #[expect(clippy::disallowed_methods, reason = "where sh and curl are, which is no setting of ours")]
        let others = std::env::var("PATH").unwrap();
        let settings = BTreeMap::from([("PATH".to_owned(), format!("{}:{others}", programs.display()))]);
        Self { folder: tempfile::tempdir().unwrap(), settings, exports: String::new(), running: None }
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &tempfile::TempDir {
        &self.folder
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// Sets many of them.
    pub(crate) fn set_all(&mut self, settings: BTreeMap<String, String>) {
        self.settings.extend(settings);
    }

    /// Writes a file into its folder.
    pub(crate) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-ec").arg(format!("{CARGO}{}{line}", self.exports));
        command.current_dir(self.folder.path()).env_clear().envs(&self.settings).kill_on_drop(true);
        command
    }

    /// Runs a command to its end: its exit code, and what it said.
    pub(crate) async fn run(&mut self, line: &str) -> (Option<i32>, String) {
        if line.starts_with("export ") {
            self.exports.push_str(&format!("{line}\n"));
        }
        let Ok((code, said, remarked)) = timeout(PATIENCE, ended(&mut self.command(line))).await else {
            panic!("`{line}` does not end");
        };
        (code, format!("{said}{remarked}"))
    }

    /// Starts a `hubward local`, in place of the one before, and exports what it prints, as a reader would.
    pub(crate) async fn start(&mut self, line: &str) {
        self.stop().await;
        let line =
            line.strip_prefix("hubward ").map_or(line.to_owned(), |rest| format!("exec hubward {rest}"));
        let mut command = self.command(&line);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let read = async {
            while let Some(printed) = lines.next_line().await.unwrap() {
                if printed == READY {
                    return;
                }
                if let Some((name, value)) =
                    printed.strip_prefix("export ").and_then(|set| set.split_once('='))
                {
                    self.settings.insert(name.to_owned(), value.trim_matches('\'').to_owned());
                }
            }
            panic!("`{line}` has ended before it was ready");
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("`{line}` is never ready"));
        self.running = Some(child);
    }

    /// Asks what was started to end, which it does well.
    pub(crate) async fn stop(&mut self) {
        let Some(mut child) = self.running.take() else { return };
        let line = format!("kill -TERM {}", child.id().unwrap());
        assert_eq!(self.run(&line).await.0, Some(0));
        let status = timeout(PATIENCE, child.wait()).await.expect("it ends when it is asked to").unwrap();
        assert!(status.success(), "{status}");
    }
}
