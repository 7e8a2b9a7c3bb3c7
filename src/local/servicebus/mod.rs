//! An in-memory Azure Service Bus: queues with peek-lock, sessions, schedules, duplicate detection
//! and dead letters.
//!
//! It behaves like the standard tier where that matters to a sender or to a Functions trigger:
//!
//! - a message is *locked* for a receiver and comes back when the lock ends or is given up
//! - `delivery_count` counts deliveries; the broker, not the receiver, moves a message to
//!   `<queue>/$DeadLetterQueue` after `max_delivery_count` of them
//! - a session belongs to one receiver at a time and is first in, first out
//! - a scheduled message has its place in the queue from the moment it is due
//!
//! All times are times of the [`SimClock`]. Topics are absent: an entity path such as
//! `orders/subscriptions/audit` is a queue of that name here.
//!
//! Facts: <https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement>,
//! `/message-sessions`, `/duplicate-detection`, `/service-bus-dead-letter-queues`.

mod queue;
mod rest;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::local::clock::SimClock;
use queue::Queue;

/// What the path of a dead-letter sub-queue ends with.
pub const DEAD_LETTER_SUFFIX: &str = "/$DeadLetterQueue";

/// One message, as a sender writes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// The payload.
    pub body: Bytes,
    /// Chosen by the sender; the broker makes one up when it is absent.
    pub message_id: Option<String>,
    /// Required by, and only meaningful to, a queue with sessions.
    pub session_id: Option<String>,
    /// When the message is to appear; absent or past means now.
    pub scheduled_enqueue_time: Option<OffsetDateTime>,
    /// Describes the payload, for example `application/json`.
    pub content_type: Option<String>,
    /// Also called label.
    pub subject: Option<String>,
    /// Ties a message to a conversation.
    pub correlation_id: Option<String>,
    /// The intended receiver; not read by the broker.
    pub to: Option<String>,
    /// Where an answer should go; not read by the broker.
    pub reply_to: Option<String>,
    /// The session an answer should go to; not read by the broker.
    pub reply_to_session_id: Option<String>,
    /// Must equal the session id when both are given.
    pub partition_key: Option<String>,
    /// How long the message may wait; the queue's own default is the upper limit.
    pub time_to_live: Option<Duration>,
    /// The sender's own properties.
    pub application_properties: Map<String, Value>,
}

impl Message {
    /// A message with this payload and nothing else.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// The same message in a session.
    pub fn in_session(mut self, session_id: impl Into<String>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }

    /// The same message with an id.
    pub fn with_id(mut self, message_id: impl Into<String>) -> Self {
        self.message_id = Some(message_id.into());
        self
    }

    /// The same message, to appear at `when`.
    pub fn scheduled_at(mut self, when: OffsetDateTime) -> Self {
        self.scheduled_enqueue_time = Some(when);
        self
    }
}

/// How one queue behaves. The defaults are those of a queue made in the portal.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueOptions {
    /// Whether every message needs a session id.
    pub requires_session: bool,
    /// How long a message, or a session, is locked without renewal. Azure allows up to 5 minutes.
    pub lock_duration: Duration,
    /// After how many deliveries a message is dead-lettered.
    pub max_delivery_count: u32,
    /// For how long a message id is remembered; absent switches duplicate detection off.
    pub duplicate_detection_window: Option<Duration>,
    /// How long a message may wait.
    pub default_ttl: Duration,
    /// Whether a message whose time has run out is dead-lettered rather than dropped.
    pub dead_lettering_on_expiration: bool,
    /// The largest payload, in bytes. The standard tier takes 256 KB.
    pub max_message_bytes: usize,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            requires_session: false,
            lock_duration: Duration::from_secs(60),
            max_delivery_count: 10,
            duplicate_detection_window: None,
            default_ttl: Duration::from_secs(14 * 24 * 3600),
            dead_lettering_on_expiration: false,
            max_message_bytes: 256 * 1024,
        }
    }
}

/// A locked message in a receiver's hands.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// What was sent.
    pub message: Message,
    /// The message's place in the queue.
    pub sequence_number: i64,
    /// 1 on the first delivery.
    pub delivery_count: u32,
    /// When the message became available for the first time.
    pub enqueued_at: OffsetDateTime,
    /// When its time to live runs out.
    pub expires_at: OffsetDateTime,
    /// Names this lock; a later delivery has another.
    pub lock_token: Uuid,
}

/// A session in a receiver's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLock {
    /// The session.
    pub session_id: String,
    /// Names this lock.
    pub token: Uuid,
}

/// Why the bus said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// No queue of that name.
    #[error("the messaging entity '{0}' could not be found")]
    NotFound(String),
    /// The queue needs a session id.
    #[error(
        "the SessionId was not set on a message, and it cannot be sent to the entity '{0}', which has session support enabled"
    )]
    SessionIdMissing(String),
    /// A receiver without sessions on a queue with sessions, or the reverse.
    #[error("the entity '{0}' and the receiver disagree about sessions")]
    SessionMismatch(String),
    /// A property is too long or contradicts another.
    #[error("{0}")]
    InvalidMessage(String),
    /// The payload is above the queue's limit.
    #[error("the message of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Bytes sent.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The lock has ended, or was never given.
    #[error("the lock supplied is invalid: it expired, or the message was already settled")]
    LockLost,
}

/// An in-memory namespace; clones share it.
#[derive(Debug, Clone)]
pub struct ServiceBus {
    clock: SimClock,
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    /// By lower-cased path: Azure does not distinguish case in entity names.
    queues: BTreeMap<String, Queue>,
    rng: StdRng,
}

impl ServiceBus {
    /// An empty namespace.
    pub fn new(clock: SimClock) -> Self {
        Self::with_seed(clock, 0)
    }

    /// An empty namespace whose lock tokens and message ids come from `seed`.
    pub fn with_seed(clock: SimClock, seed: u64) -> Self {
        let inner = Inner { queues: BTreeMap::new(), rng: StdRng::seed_from_u64(seed) };
        Self { clock, inner: Arc::new(Mutex::new(inner)), changes: watch::Sender::new(0) }
    }

    /// Creates a queue and its dead-letter sub-queue; an existing queue only takes the new options.
    pub fn create_queue(&self, name: &str, options: QueueOptions) {
        let mut inner = self.lock();
        let dead =
            QueueOptions { requires_session: false, duplicate_detection_window: None, ..options.clone() };
        let dead_name = format!("{name}{DEAD_LETTER_SUFFIX}");
        for (name, options) in [(name.to_owned(), options), (dead_name, dead)] {
            match inner.queues.get_mut(&name.to_lowercase()) {
                Some(queue) => queue.options = options,
                None => drop(inner.queues.insert(name.to_lowercase(), Queue::new(name, options))),
            }
        }
        drop(inner);
        self.changed();
    }

    /// How a queue behaves; absent when there is no such queue.
    pub fn queue_options(&self, queue: &str) -> Option<QueueOptions> {
        self.lock().queues.get(&queue.to_lowercase()).map(|queue| queue.options.clone())
    }

    /// Sends a message and returns its sequence number, or nothing when it was dropped as a duplicate.
    ///
    /// # Errors
    ///
    /// No such queue, no session id, too large, or contradictory properties.
    pub fn send(&self, queue: &str, message: Message) -> Result<Option<i64>, BusError> {
        let sent = self.with_queue(queue, |queue, now, rng| queue.send(message, now, rng))?;
        self.changed();
        sent
    }

    /// Locks up to `max` messages of a queue without sessions, waiting until there is at least one.
    ///
    /// Dropping the future before it is ready locks nothing.
    ///
    /// # Errors
    ///
    /// No such queue, or a queue with sessions.
    pub async fn receive(&self, queue: &str, max: usize) -> Result<Vec<Delivery>, BusError> {
        self.wait_for(queue, || self.try_receive(queue, max), |found| !found.is_empty()).await
    }

    /// Locks up to `max` messages that are available now.
    ///
    /// # Errors
    ///
    /// No such queue, or a queue with sessions.
    pub fn try_receive(&self, queue: &str, max: usize) -> Result<Vec<Delivery>, BusError> {
        self.with_queue(queue, |queue, now, rng| queue.receive(None, max, now, rng))?
    }

    /// Locks the session whose message has waited longest, waiting until there is one.
    ///
    /// # Errors
    ///
    /// No such queue, or a queue without sessions.
    pub async fn accept_session(&self, queue: &str) -> Result<SessionLock, BusError> {
        let attempt = || self.with_queue(queue, |queue, now, rng| queue.accept_session(now, rng))?;
        let accepted = self.wait_for(queue, attempt, Option::is_some).await?;
        accepted.ok_or(BusError::LockLost)
    }

    /// Locks up to `max` messages of a session in order, waiting until there is at least one.
    ///
    /// # Errors
    ///
    /// No such queue, or the session's lock has ended.
    pub async fn receive_in_session(
        &self,
        queue: &str,
        session: &SessionLock,
        max: usize,
    ) -> Result<Vec<Delivery>, BusError> {
        let attempt =
            || self.with_queue(queue, |queue, now, rng| queue.receive(Some(session), max, now, rng))?;
        self.wait_for(queue, attempt, |found| !found.is_empty()).await
    }

    /// Keeps a session for another lock duration.
    ///
    /// # Errors
    ///
    /// The session's lock has ended.
    pub fn renew_session(&self, queue: &str, session: &SessionLock) -> Result<(), BusError> {
        self.with_queue(queue, |queue, now, _| queue.renew_session(session, now))?
    }

    /// Gives a session back; messages still locked in it become available again.
    pub fn release_session(&self, queue: &str, session: &SessionLock) {
        let _ = self.with_queue(queue, |queue, now, _| queue.release_session(session, now));
        self.changed();
    }

    /// Keeps a message for another lock duration.
    ///
    /// # Errors
    ///
    /// The lock has ended.
    pub fn renew_lock(&self, queue: &str, lock_token: Uuid) -> Result<(), BusError> {
        self.with_queue(queue, |queue, now, _| queue.renew(lock_token, now))?
    }

    /// Removes a message that was handled.
    ///
    /// # Errors
    ///
    /// The lock has ended.
    pub fn complete(&self, queue: &str, lock_token: Uuid) -> Result<(), BusError> {
        let result = self.with_queue(queue, |queue, _, _| queue.complete(lock_token))?;
        self.changed();
        result
    }

    /// Gives a message back at once; after the last permitted delivery the broker dead-letters it.
    ///
    /// # Errors
    ///
    /// The lock has ended.
    pub fn abandon(&self, queue: &str, lock_token: Uuid) -> Result<(), BusError> {
        let result = self.with_queue(queue, |queue, _, _| queue.abandon(lock_token))?;
        self.changed();
        result
    }

    /// Moves a message to the dead-letter sub-queue.
    ///
    /// # Errors
    ///
    /// The lock has ended.
    pub fn dead_letter(
        &self,
        queue: &str,
        lock_token: Uuid,
        reason: &str,
        description: &str,
    ) -> Result<(), BusError> {
        let result =
            self.with_queue(queue, |queue, _, _| queue.dead_letter(lock_token, reason, description))?;
        self.changed();
        result
    }

    /// How many messages a receiver could have now.
    pub fn available(&self, queue: &str) -> usize {
        self.with_queue(queue, |queue, _, _| queue.available()).unwrap_or_default()
    }

    /// How many messages of a queue are not settled, those in a receiver's hands included.
    pub fn outstanding(&self, queue: &str) -> usize {
        self.with_queue(queue, |queue, _, _| queue.len()).unwrap_or_default()
    }

    /// When the next scheduled message of a queue is due.
    pub fn next_scheduled(&self, queue: &str) -> Option<OffsetDateTime> {
        self.with_queue(queue, |queue, _, _| queue.next_scheduled()).ok().flatten()
    }

    /// Counts per queue, and its messages without their payloads.
    pub fn snapshot(&self) -> Value {
        let now = self.clock.now();
        let mut inner = self.lock();
        let names: Vec<String> = inner.queues.keys().cloned().collect();
        names.iter().for_each(|name| advance(&mut inner, name, now));
        let mut queues = Map::new();
        for queue in inner.queues.values().filter(|queue| !queue.is_dead_letter()) {
            let dead = inner.queues.get(&queue.dead_letter_key());
            let mut entry = queue.describe();
            entry["deadLettered"] = json!(dead.map(Queue::len).unwrap_or_default());
            entry["deadLetters"] = dead.map(|dead| dead.describe()["messages"].take()).unwrap_or_default();
            queues.insert(queue.name.clone(), entry);
        }
        json!({ "queues": queues })
    }

    /// Changes with every message that is sent or settled.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The face that `POST /{queue}/messages` talks to.
    pub fn router(&self) -> axum::Router {
        rest::router(self.clone())
    }

    /// The clock all times are read from.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    async fn wait_for<T>(
        &self,
        queue: &str,
        attempt: impl Fn() -> Result<T, BusError>,
        enough: impl Fn(&T) -> bool,
    ) -> Result<T, BusError> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let found = attempt()?;
            if enough(&found) {
                return Ok(found);
            }
            let due = self.with_queue(queue, |queue, _, _| queue.next_change())?;
            match due {
                Some(due) => tokio::select! {
                    _ = changes.changed() => {}
                    () = self.clock.sleep_until(due) => {}
                },
                None => drop(changes.changed().await),
            }
        }
    }

    /// Runs `act` on a queue that is up to date, then moves what it gave up to its dead-letter queue.
    fn with_queue<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Queue, OffsetDateTime, &mut StdRng) -> T,
    ) -> Result<T, BusError> {
        let now = self.clock.now();
        let key = name.to_lowercase();
        let mut inner = self.lock();
        advance(&mut inner, &key, now);
        let Inner { queues, rng } = &mut *inner;
        let queue = queues.get_mut(&key).ok_or_else(|| BusError::NotFound(name.to_owned()))?;
        let result = act(queue, now, rng);
        move_dead_letters(&mut inner, &key, now);
        Ok(result)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets time pass for one queue: schedules, locks and times to live.
fn advance(inner: &mut Inner, key: &str, now: OffsetDateTime) {
    if let Some(queue) = inner.queues.get_mut(key) {
        queue.advance(now);
        move_dead_letters(inner, key, now);
    }
}

fn move_dead_letters(inner: &mut Inner, key: &str, now: OffsetDateTime) {
    let Some(queue) = inner.queues.get_mut(key) else { return };
    let (target, dead) = (queue.dead_letter_key(), queue.take_dead_letters());
    if let Some(target) = inner.queues.get_mut(&target) {
        dead.into_iter().for_each(|message| target.enqueue(message, now));
    }
}
