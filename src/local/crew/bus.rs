//! The queue `hub-work`, with sessions, scheduled messages and duplicate detection.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::Notify;
use uuid::Uuid;

use super::weather::Weather;
use crate::{
    bus::{SendError, WorkQueue},
    campaigns::step::CampaignStep,
    local::clock::SimClock,
    work::WorkItem,
};

/// Deliveries after which a message goes to the dead letters.
const MAX_DELIVERIES: u32 = 10;

/// The queue, and who may use it.
pub(super) struct Broker {
    clock: SimClock,
    state: Mutex<Queued>,
    weather: Arc<dyn Weather>,
    /// Tells of every message that comes.
    pub(super) news: Arc<Notify>,
}

#[derive(Default)]
struct Queued {
    /// By when they are due, and then in the order in which they came.
    waiting: BTreeMap<(OffsetDateTime, u64), Message>,
    came: u64,
    seen: HashSet<Uuid>,
    /// Sessions that somebody is at.
    locked: HashSet<String>,
    dead: Vec<String>,
}

/// A message that was taken.
pub(super) struct Message {
    key: (OffsetDateTime, u64),
    session: String,
    pub(super) text: String,
    deliveries: u32,
}

impl Message {
    pub(super) fn envelope(&self) -> Value {
        // Trigger data and metadata are JSON texts inside the JSON.
        let text = Value::from(self.text.as_str()).to_string();
        let session = Value::from(self.session.as_str()).to_string();
        let metadata = json!({"DeliveryCount": self.deliveries.to_string(), "SessionId": session});
        json!({"Data": {"work": text}, "Metadata": metadata})
    }
}

impl Broker {
    pub(super) fn new(clock: &SimClock, weather: Arc<dyn Weather>, news: Arc<Notify>) -> Self {
        Self { clock: clock.clone(), state: Mutex::default(), weather, news }
    }

    fn state(&self) -> MutexGuard<'_, Queued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages that were given up since this was asked last.
    pub(super) fn dead(&self) -> Vec<String> {
        std::mem::take(&mut self.state().dead)
    }

    /// Gives something up that was no message that could come again.
    pub(super) fn bury(&self, text: String) {
        self.state().dead.push(text);
    }

    fn put(&self, id: Uuid, session: String, due: Option<OffsetDateTime>, text: String) {
        self.weather.sent(&text);
        let mut state = self.state();
        if !state.seen.insert(id) {
            return;
        }
        state.came += 1;
        let key = (due.unwrap_or_else(|| self.clock.now()), state.came);
        state.waiting.insert(key, Message { key, session, text, deliveries: 0 });
        drop(state);
        self.news.notify_one();
    }

    /// The first message that is due and whose session is free.
    pub(super) fn take(&self) -> Option<Message> {
        let (mut state, now) = (self.state(), self.clock.now());
        let due = state.waiting.iter().take_while(|(key, _)| key.0 <= now);
        let key = due.into_iter().find(|(_, message)| !state.locked.contains(&message.session))?.0.to_owned();
        let mut message = state.waiting.remove(&key)?;
        message.deliveries += 1;
        state.locked.insert(message.session.clone());
        Some(message)
    }

    /// When there is a message to take next, if nobody comes back before.
    pub(super) fn next_due(&self) -> Option<OffsetDateTime> {
        let state = self.state();
        let free = state.waiting.iter().find(|(_, message)| !state.locked.contains(&message.session));
        free.map(|(key, _)| key.0)
    }

    /// Ends a delivery: the message is done with, or comes back.
    pub(super) fn settle(&self, message: Message, is_done: bool) {
        let mut state = self.state();
        state.locked.remove(&message.session);
        if is_done {
            return;
        }
        if message.deliveries < MAX_DELIVERIES {
            state.waiting.insert(message.key, message);
        } else {
            state.dead.push(message.text);
        }
    }
}

#[async_trait]
impl WorkQueue for Broker {
    async fn send(&self, item: &WorkItem) -> Result<(), SendError> {
        if !self.weather.takes_messages() {
            return Err(SendError::new(item, "the broker is away"));
        }
        let text = serde_json::to_string(item).map_err(|error| SendError::new(item, error.to_string()))?;
        self.put(item.work_id, item.session_id(), item.due(), text);
        Ok(())
    }

    async fn send_step(&self, step: &CampaignStep) -> Result<(), SendError> {
        let text =
            serde_json::to_string(step).map_err(|error| SendError::of_step(step, error.to_string()))?;
        self.put(step.step_id, step.session_id(), Some(step.due), text);
        Ok(())
    }
}
