//! What happened in a run: the log that is printed, what left the program, and what broke.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tracing_subscriber::fmt::MakeWriter;

use super::Broken;
use crate::local::{clock::SimClock, workbench::START};

/// The log of a run. Clones share everything.
#[derive(Clone)]
pub(super) struct Log {
    clock: SimClock,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    lines: Vec<String>,
    /// Everything that leaves the program: answers, messages, log lines.
    output: Vec<u8>,
    broken: BTreeSet<Broken>,
    /// Writes of each hub that were taken on. One that is made anew begins afresh.
    writes: BTreeMap<(String, usize), Vec<OffsetDateTime>>,
    /// How often each hub was deleted.
    deletions: BTreeMap<String, usize>,
    /// Looks that could not tell what they did.
    untold: usize,
    /// Outcomes of requests that could not be kept at first.
    unkept: BTreeSet<String>,
}

impl Log {
    pub(super) fn new(clock: &SimClock) -> Self {
        Self { clock: clock.clone(), inner: Arc::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened now.
    pub(super) fn say(&self, line: impl AsRef<str>) {
        let at = (self.clock.now() - START).as_seconds_f64();
        self.inner().lines.push(format!("{at:>9.3}  {}", line.as_ref()));
    }

    /// Something left the program.
    pub(super) fn output(&self, text: &str) {
        let mut inner = self.inner();
        inner.output.extend_from_slice(text.as_bytes());
        inner.output.push(b'\n');
    }

    /// An invariant does not hold.
    pub(super) fn broke(&self, invariant: &'static str, how: String) {
        self.say(format!("BROKEN {invariant}: {how}"));
        self.inner().broken.insert(Broken { invariant, how });
    }

    /// A write of a hub was taken on.
    pub(super) fn wrote(&self, hub: String) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let life = inner.deletions.get(&hub).copied().unwrap_or_default();
        inner.writes.entry((hub, life)).or_default().push(now);
    }

    /// A hub was deleted.
    pub(super) fn deleted(&self, hub: String) {
        *self.inner().deletions.entry(hub).or_default() += 1;
    }

    /// When each hub was written, of each of its lives.
    pub(super) fn writes(&self) -> BTreeMap<(String, usize), Vec<OffsetDateTime>> {
        self.inner().writes.clone()
    }

    /// A process has died.
    pub(super) fn died(&self, function: &str) {
        self.say(format!("died       {function}"));
        self.could_not_tell();
    }

    /// Something could not be written down.
    pub(super) fn could_not_tell(&self) {
        self.inner().untold += 1;
    }

    pub(super) fn untold(&self) -> usize {
        self.inner().untold
    }

    /// The outcome of a request could not be kept.
    pub(super) fn could_not_keep(&self, outcome: &str) {
        self.inner().unkept.insert(outcome.to_owned());
    }

    pub(super) fn was_kept(&self, outcome: &str) -> bool {
        !self.inner().unkept.contains(outcome)
    }

    pub(super) fn output_text(&self) -> String {
        String::from_utf8_lossy(&self.inner().output).into_owned()
    }

    pub(super) fn broken(&self) -> Vec<Broken> {
        self.inner().broken.iter().cloned().collect()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.inner().lines.clone()
    }

    /// The same for the same run, and for no other.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for line in &self.inner().lines {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Log lines of the program are output too.
impl<'a> MakeWriter<'a> for Log {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines(self.clone())
    }
}

/// Takes what the program logs.
pub(super) struct Lines(Log);

impl io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.inner().output.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
