//! The storage queue `hub-requests`: messages are hidden while somebody has them, and come back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::local::clock::SimClock;

/// Takes after which a message goes to the poison queue: `maxDequeueCount` of host.json.
const MAX_TAKES: u32 = 5;
/// When a message comes back whose function failed: `visibilityTimeout` of host.json.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// When it comes back if the host has died: so long the host hides what it takes.
const AFTER_DEATH: Duration = Duration::from_secs(10 * 60);

/// How a take ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
    /// Nobody said anything: the process is gone.
    Died,
}

/// The queue.
pub(super) struct Requests {
    clock: SimClock,
    state: Mutex<State>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// By when they can be seen, and then in the order in which they came.
    visible: BTreeMap<(OffsetDateTime, u64), Request>,
    came: u64,
    poison: Vec<String>,
}

/// A message that was taken.
pub(super) struct Request {
    text: String,
    takes: u32,
}

impl Request {
    pub(super) fn envelope(&self) -> Value {
        let text = Value::from(self.text.as_str()).to_string();
        json!({"Data": {"request": text}, "Metadata": {"DequeueCount": self.takes.to_string()}})
    }
}

impl Requests {
    pub(super) fn new(clock: &SimClock, news: Arc<Notify>) -> Self {
        Self { clock: clock.clone(), state: Mutex::default(), news }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, request: Request, after: Duration) {
        let mut state = self.state();
        state.came += 1;
        let key = (self.clock.now() + after, state.came);
        state.visible.insert(key, request);
        drop(state);
        self.news.notify_one();
    }

    pub(super) fn put(&self, text: String) {
        self.insert(Request { text, takes: 0 }, Duration::ZERO);
    }

    pub(super) fn take(&self) -> Option<Request> {
        let (mut state, now) = (self.state(), self.clock.now());
        let key = state.visible.first_key_value().map(|(key, _)| *key).filter(|key| key.0 <= now)?;
        let mut request = state.visible.remove(&key)?;
        request.takes += 1;
        Some(request)
    }

    pub(super) fn next_due(&self) -> Option<OffsetDateTime> {
        self.state().visible.first_key_value().map(|(key, _)| key.0)
    }

    pub(super) fn settle(&self, request: Request, end: End) {
        match end {
            End::Done => {}
            _ if request.takes >= MAX_TAKES => self.state().poison.push(request.text),
            End::Failed => self.insert(request, AFTER_FAILURE),
            End::Died => self.insert(request, AFTER_DEATH),
        }
    }

    /// Messages that were given up since this was asked last.
    pub(super) fn poison(&self) -> Vec<String> {
        std::mem::take(&mut self.state().poison)
    }
}
