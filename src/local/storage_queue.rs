//! In-memory Azure storage queues: visibility, pop receipts, dequeue counts.
//!
//! The text of a message is what travels on the wire. A Functions host reads it as base64 unless
//! `host.json` says `"messageEncoding": "none"`; [`StorageQueues::put_base64`] writes what it expects.
//! All times are times of the [`SimClock`]. The HTTP protocol of the service is absent; the Functions host
//! can use a real service instead ([`HostQueues`](crate::local::functions_host::HostQueues)).
//!
//! Facts: <https://learn.microsoft.com/rest/api/storageservices/queue-service-rest-api>.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::local::clock::SimClock;

/// The longest text of one message, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// How long a message lives unless its sender says otherwise.
pub const DEFAULT_TIME_TO_LIVE: Duration = Duration::from_secs(7 * 24 * 3600);

/// When a message appears, and when it leaves by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOptions {
    /// How long the message stays invisible at first.
    pub visibility_delay: Duration,
    /// How long the message lives.
    pub time_to_live: Duration,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { visibility_delay: Duration::ZERO, time_to_live: DEFAULT_TIME_TO_LIVE }
    }
}

/// One message as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueMessage {
    /// Made up by the service.
    pub id: Uuid,
    /// What was put.
    pub text: String,
    /// Proves that the reader is the latest one; changes with every get and update.
    pub pop_receipt: String,
    /// 1 after the first get.
    pub dequeue_count: u32,
    /// When the message was put.
    #[serde(with = "time::serde::rfc3339")]
    pub inserted_at: OffsetDateTime,
    /// When it leaves by itself.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it can be got again.
    #[serde(with = "time::serde::rfc3339")]
    pub next_visible_at: OffsetDateTime,
}

/// Why a queue said no. The words in the texts are the service's own error codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageQueueError {
    /// There is no such queue.
    #[error("QueueNotFound: there is no queue '{0}'")]
    QueueNotFound(String),
    /// There is no such message, or it has expired.
    #[error("MessageNotFound: there is no message {0}")]
    MessageNotFound(Uuid),
    /// Somebody else has got the message since.
    #[error("PopReceiptMismatch: the pop receipt for message {0} is an old one")]
    PopReceiptMismatch(Uuid),
    /// Longer than [`MAX_TEXT_BYTES`].
    #[error("RequestBodyTooLarge: {0} bytes, and a message can have {MAX_TEXT_BYTES}")]
    TooLarge(usize),
}

/// A storage account's queues; clones share them.
#[derive(Debug, Clone)]
pub struct StorageQueues {
    clock: SimClock,
    inner: Arc<Mutex<Inner>>,
    arrivals: watch::Sender<u64>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    queues: BTreeMap<String, Vec<QueueMessage>>,
    rng: StdRng,
}

impl StorageQueues {
    /// An account without queues.
    pub fn new(clock: SimClock) -> Self {
        Self::with_seed(clock, 0)
    }

    /// An account without queues whose ids and pop receipts come from `seed`.
    pub fn with_seed(clock: SimClock, seed: u64) -> Self {
        let inner = Inner { queues: BTreeMap::new(), rng: StdRng::seed_from_u64(seed) };
        Self {
            clock,
            inner: Arc::new(Mutex::new(inner)),
            arrivals: watch::Sender::new(0),
            changes: watch::Sender::new(0),
        }
    }

    /// Creates a queue, unless it is there.
    pub fn create(&self, queue: &str) {
        self.lock().queues.entry(queue.to_lowercase()).or_default();
        self.changed(true);
    }

    /// Whether there is such a queue.
    pub fn exists(&self, queue: &str) -> bool {
        self.lock().queues.contains_key(&queue.to_lowercase())
    }

    /// Puts a text that is visible at once.
    ///
    /// # Errors
    ///
    /// No such queue, or too long.
    pub fn put(&self, queue: &str, text: impl Into<String>) -> Result<Uuid, StorageQueueError> {
        self.put_with(queue, text, &PutOptions::default())
    }

    /// Puts the base64 of a payload, which is what a Functions trigger expects by default.
    ///
    /// # Errors
    ///
    /// No such queue, or too long.
    pub fn put_base64(&self, queue: &str, payload: impl AsRef<[u8]>) -> Result<Uuid, StorageQueueError> {
        self.put(queue, STANDARD.encode(payload))
    }

    /// Puts a text that becomes visible, and leaves, as `options` say.
    ///
    /// # Errors
    ///
    /// No such queue, or too long.
    pub fn put_with(
        &self,
        queue: &str,
        text: impl Into<String>,
        options: &PutOptions,
    ) -> Result<Uuid, StorageQueueError> {
        let (text, now) = (text.into(), self.clock.now());
        if text.len() > MAX_TEXT_BYTES {
            return Err(StorageQueueError::TooLarge(text.len()));
        }
        let mut inner = self.lock();
        let id = random_uuid(&mut inner.rng);
        let pop_receipt = pop_receipt(&mut inner.rng);
        let messages = inner.messages(queue, now)?;
        messages.push(QueueMessage {
            id,
            text,
            pop_receipt,
            dequeue_count: 0,
            inserted_at: now,
            expires_at: now + options.time_to_live,
            next_visible_at: now + options.visibility_delay,
        });
        drop(inner);
        self.changed(true);
        Ok(id)
    }

    /// Takes up to `max` visible messages, which nobody else sees for `visibility`.
    ///
    /// # Errors
    ///
    /// No such queue.
    pub fn get(
        &self,
        queue: &str,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<QueueMessage>, StorageQueueError> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let Inner { queues, rng } = &mut *inner;
        let messages = live(queues, queue, now)?;
        let visible = messages.iter_mut().filter(|message| message.next_visible_at <= now).take(max);
        let got: Vec<QueueMessage> = visible
            .map(|message| {
                message.dequeue_count += 1;
                message.next_visible_at = now + visibility;
                message.pop_receipt = pop_receipt(rng);
                message.clone()
            })
            .collect();
        drop(inner);
        if !got.is_empty() {
            self.changed(false);
        }
        Ok(got)
    }

    /// Makes a message visible after `visibility` and returns its new pop receipt.
    ///
    /// # Errors
    ///
    /// No such queue or message, or an old pop receipt.
    pub fn update(
        &self,
        queue: &str,
        id: Uuid,
        receipt: &str,
        visibility: Duration,
    ) -> Result<String, StorageQueueError> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let Inner { queues, rng } = &mut *inner;
        let messages = live(queues, queue, now)?;
        let at = position(messages, id, receipt)?;
        messages[at].next_visible_at = now + visibility;
        messages[at].pop_receipt = pop_receipt(rng);
        let receipt = messages[at].pop_receipt.clone();
        drop(inner);
        self.changed(visibility.is_zero());
        Ok(receipt)
    }

    /// Removes a message.
    ///
    /// # Errors
    ///
    /// No such queue or message, or an old pop receipt.
    pub fn delete(&self, queue: &str, id: Uuid, receipt: &str) -> Result<(), StorageQueueError> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let messages = inner.messages(queue, now)?;
        let at = position(messages, id, receipt)?;
        messages.remove(at);
        drop(inner);
        self.changed(false);
        Ok(())
    }

    /// The messages of a queue, visible or not; none when there is no such queue.
    pub fn list(&self, queue: &str) -> Vec<QueueMessage> {
        let now = self.clock.now();
        self.lock().messages(queue, now).map(|messages| messages.clone()).unwrap_or_default()
    }

    /// The texts of a queue's messages with one layer of base64 taken off where there is one.
    pub fn payloads(&self, queue: &str) -> Vec<String> {
        let payload = |text: String| match STANDARD.decode(&text).map(String::from_utf8) {
            Ok(Ok(payload)) => payload,
            _ => text,
        };
        self.list(queue).into_iter().map(|message| payload(message.text)).collect()
    }

    /// How many messages of a queue could be got now.
    pub fn visible(&self, queue: &str) -> usize {
        let now = self.clock.now();
        self.list(queue).iter().filter(|message| message.next_visible_at <= now).count()
    }

    /// Counts per queue, for a status page.
    pub fn snapshot(&self) -> Value {
        let names: Vec<String> = self.lock().queues.keys().cloned().collect();
        let count = |name: &String| {
            let messages = self.list(name);
            (name.clone(), json!({ "messages": messages.len(), "visible": self.visible(name) }))
        };
        json!({ "queues": names.iter().map(count).collect::<serde_json::Map<_, _>>() })
    }

    /// Changes whenever a message may have become visible by somebody's doing, not by time.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Changes with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self, arrival: bool) {
        if arrival {
            self.arrivals.send_modify(|count| *count += 1);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn messages(
        &mut self,
        queue: &str,
        now: OffsetDateTime,
    ) -> Result<&mut Vec<QueueMessage>, StorageQueueError> {
        live(&mut self.queues, queue, now)
    }
}

/// A queue's messages, after those whose time has run out have left.
fn live<'a>(
    queues: &'a mut BTreeMap<String, Vec<QueueMessage>>,
    queue: &str,
    now: OffsetDateTime,
) -> Result<&'a mut Vec<QueueMessage>, StorageQueueError> {
    let messages = queues.get_mut(&queue.to_lowercase());
    let messages = messages.ok_or_else(|| StorageQueueError::QueueNotFound(queue.to_owned()))?;
    messages.retain(|message| message.expires_at > now);
    Ok(messages)
}

fn position(messages: &[QueueMessage], id: Uuid, receipt: &str) -> Result<usize, StorageQueueError> {
    let at = messages.iter().position(|message| message.id == id);
    let at = at.ok_or(StorageQueueError::MessageNotFound(id))?;
    if messages[at].pop_receipt == receipt { Ok(at) } else { Err(StorageQueueError::PopReceiptMismatch(id)) }
}

fn random_uuid(rng: &mut StdRng) -> Uuid {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn pop_receipt(rng: &mut StdRng) -> String {
    let mut bytes = [0; 20];
    rng.fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const MINUTE: Duration = Duration::from_secs(60);

    fn account() -> StorageQueues {
        let queues = StorageQueues::new(SimClock::start(datetime!(2026-01-31 12:00 UTC), 1.0));
        queues.create("orders");
        queues
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_got_comes_back_after_its_visibility() {
        let queues = account();
        queues.put("orders", "a").unwrap();
        let first = queues.get("orders", 32, MINUTE).unwrap().remove(0);
        assert_eq!((first.dequeue_count, queues.get("orders", 32, MINUTE).unwrap().len()), (1, 0));

        tokio::time::advance(MINUTE).await;
        let second = queues.get("Orders", 32, MINUTE).unwrap().remove(0);
        assert_eq!((second.dequeue_count, second.id), (2, first.id));
        let late = queues.delete("orders", first.id, &first.pop_receipt);
        assert_eq!(late, Err(StorageQueueError::PopReceiptMismatch(first.id)));
        queues.delete("orders", second.id, &second.pop_receipt).unwrap();
        assert_eq!(queues.list("orders"), []);
    }

    #[tokio::test(start_paused = true)]
    async fn delay_time_to_live_and_size_are_respected() {
        let queues = account();
        let options = PutOptions { visibility_delay: MINUTE, time_to_live: 2 * MINUTE };
        queues.put_with("orders", "late", &options).unwrap();
        assert_eq!(queues.visible("orders"), 0);
        tokio::time::advance(MINUTE).await;
        assert_eq!(queues.visible("orders"), 1);
        tokio::time::advance(MINUTE).await;
        assert_eq!(queues.list("orders"), []);

        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        assert_eq!(queues.put("orders", long), Err(StorageQueueError::TooLarge(MAX_TEXT_BYTES + 1)));
        assert_eq!(queues.put("nope", "a"), Err(StorageQueueError::QueueNotFound("nope".to_owned())));
    }
}
