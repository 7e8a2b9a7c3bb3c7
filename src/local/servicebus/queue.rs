//! One queue's state. Every function is told the time; nothing here waits or locks.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand::RngCore;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use uuid::Uuid;

use super::{BusError, DEAD_LETTER_SUFFIX, Delivery, Message, QueueOptions, SessionLock};

/// Azure's limit for message, session and similar ids, in characters.
const MAX_ID_CHARS: usize = 128;

/// When a message without a limit expires.
const FOREVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) options: QueueOptions,
    next_sequence: i64,
    /// By sequence number, so in the order of delivery.
    messages: BTreeMap<i64, Stored>,
    /// Due times of messages that are not yet in `messages`; in the order sent where equal.
    scheduled: Vec<(OffsetDateTime, i64, Message)>,
    sessions: HashMap<String, (Uuid, OffsetDateTime)>,
    seen_ids: HashMap<String, OffsetDateTime>,
    dead: Vec<Message>,
    completed: u64,
    deduplicated: u64,
    expired: u64,
}

#[derive(Debug)]
struct Stored {
    message: Message,
    enqueued_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    delivery_count: u32,
    lock: Option<(Uuid, OffsetDateTime)>,
}

impl Queue {
    pub(super) fn new(name: String, options: QueueOptions) -> Self {
        Self {
            name,
            options,
            next_sequence: 1,
            messages: BTreeMap::new(),
            scheduled: Vec::new(),
            sessions: HashMap::new(),
            seen_ids: HashMap::new(),
            dead: Vec::new(),
            completed: 0,
            deduplicated: 0,
            expired: 0,
        }
    }

    pub(super) fn is_dead_letter(&self) -> bool {
        self.name.to_lowercase().ends_with(&DEAD_LETTER_SUFFIX.to_lowercase())
    }

    pub(super) fn dead_letter_key(&self) -> String {
        format!("{}{DEAD_LETTER_SUFFIX}", self.name).to_lowercase()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn send(
        &mut self,
        mut message: Message,
        now: OffsetDateTime,
        rng: &mut StdRng,
    ) -> Result<Option<i64>, BusError> {
        self.check(&message)?;
        let id = message.message_id.get_or_insert_with(|| random_uuid(rng).simple().to_string()).clone();
        if let Some(window) = self.options.duplicate_detection_window {
            self.seen_ids.retain(|_, seen| *seen + window > now);
            if self.seen_ids.contains_key(&id) {
                self.deduplicated += 1;
                return Ok(None);
            }
            self.seen_ids.insert(id, now);
        }
        let sequence = self.next_sequence;
        match message.scheduled_enqueue_time.filter(|due| *due > now) {
            Some(due) => {
                self.next_sequence += 1;
                self.scheduled.push((due, sequence, message));
                self.scheduled.sort_by_key(|(due, sequence, _)| (*due, *sequence));
            }
            None => self.enqueue(message, now),
        }
        Ok(Some(sequence))
    }

    fn check(&self, message: &Message) -> Result<(), BusError> {
        let limit = self.options.max_message_bytes;
        if message.body.len() > limit {
            return Err(BusError::TooLarge { size: message.body.len(), limit });
        }
        let ids = [&message.message_id, &message.session_id, &message.partition_key];
        if ids.into_iter().flatten().any(|id| id.chars().count() > MAX_ID_CHARS) {
            return Err(BusError::InvalidMessage(format!("an id is longer than {MAX_ID_CHARS} characters")));
        }
        if message.message_id.as_deref() == Some("") {
            return Err(BusError::InvalidMessage("the MessageId is empty".to_owned()));
        }
        if self.options.requires_session && message.session_id.as_deref().unwrap_or_default().is_empty() {
            return Err(BusError::SessionIdMissing(self.name.clone()));
        }
        match (&message.session_id, &message.partition_key) {
            (Some(session), Some(key)) if session != key => {
                Err(BusError::InvalidMessage("SessionId and PartitionKey differ".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Puts a message at the end of the queue.
    pub(super) fn enqueue(&mut self, message: Message, now: OffsetDateTime) {
        let default = self.options.default_ttl;
        let ttl = message.time_to_live.unwrap_or(default).min(default);
        let expires_at = ttl.try_into().ok().and_then(|ttl| now.checked_add(ttl)).unwrap_or(FOREVER);
        let stored = Stored { message, enqueued_at: now, expires_at, delivery_count: 0, lock: None };
        self.messages.insert(self.next_sequence, stored);
        self.next_sequence += 1;
    }

    /// Lets time pass: due schedules appear, ended locks are given back, stale messages leave.
    pub(super) fn advance(&mut self, now: OffsetDateTime) {
        while self.scheduled.first().is_some_and(|(due, ..)| *due <= now) {
            let (due, _, message) = self.scheduled.remove(0);
            self.enqueue(message, due);
        }
        self.sessions.retain(|_, (_, until)| *until > now);
        let sessions: HashSet<&String> = self.sessions.keys().collect();
        let requires_session = self.options.requires_session;
        let ended: Vec<i64> = self
            .messages
            .iter()
            .filter(|(_, stored)| match (stored.lock, &stored.message.session_id) {
                (None, _) => false,
                // In a session it is the session's lock that counts.
                (Some(_), Some(session)) if requires_session => !sessions.contains(session),
                (Some((_, until)), _) => until <= now,
            })
            .map(|(sequence, _)| *sequence)
            .collect();
        ended.into_iter().for_each(|sequence| self.give_back(sequence));
        // A dead letter does not expire, and neither does a message in a receiver's hands.
        if self.is_dead_letter() {
            return;
        }
        let stale = |stored: &Stored| stored.lock.is_none() && stored.expires_at <= now;
        let stale: Vec<i64> =
            self.messages.iter().filter(|(_, stored)| stale(stored)).map(|(sequence, _)| *sequence).collect();
        for sequence in stale {
            self.expired += 1;
            if self.options.dead_lettering_on_expiration {
                self.bury(sequence, "TTLExpiredException", "the message expired");
            } else {
                self.messages.remove(&sequence);
            }
        }
    }

    pub(super) fn receive(
        &mut self,
        session: Option<&SessionLock>,
        max: usize,
        now: OffsetDateTime,
        rng: &mut StdRng,
    ) -> Result<Vec<Delivery>, BusError> {
        if session.is_some() != self.options.requires_session {
            return Err(BusError::SessionMismatch(self.name.clone()));
        }
        if let Some(session) = session {
            self.held(session)?;
        }
        let until = now + self.options.lock_duration;
        let wanted = session.map(|session| session.session_id.as_str());
        let mut found = Vec::new();
        for (sequence, stored) in &mut self.messages {
            if found.len() == max {
                break;
            }
            let ours = wanted.is_none() || stored.message.session_id.as_deref() == wanted;
            if !ours || stored.lock.is_some() {
                continue;
            }
            let lock_token = random_uuid(rng);
            stored.lock = Some((lock_token, until));
            stored.delivery_count += 1;
            found.push(Delivery {
                message: stored.message.clone(),
                sequence_number: *sequence,
                delivery_count: stored.delivery_count,
                enqueued_at: stored.enqueued_at,
                expires_at: stored.expires_at,
                lock_token,
            });
        }
        Ok(found)
    }

    pub(super) fn accept_session(
        &mut self,
        now: OffsetDateTime,
        rng: &mut StdRng,
    ) -> Result<Option<SessionLock>, BusError> {
        if !self.options.requires_session {
            return Err(BusError::SessionMismatch(self.name.clone()));
        }
        let waiting = self.messages.values().filter(|stored| stored.lock.is_none());
        let free = waiting
            .filter_map(|stored| stored.message.session_id.as_ref())
            .find(|session| !self.sessions.contains_key(*session))
            .cloned();
        Ok(free.map(|session_id| {
            let token = random_uuid(rng);
            self.sessions.insert(session_id.clone(), (token, now + self.options.lock_duration));
            SessionLock { session_id, token }
        }))
    }

    fn held(&mut self, session: &SessionLock) -> Result<&mut OffsetDateTime, BusError> {
        match self.sessions.get_mut(&session.session_id) {
            Some((token, until)) if *token == session.token => Ok(until),
            _ => Err(BusError::LockLost),
        }
    }

    pub(super) fn renew_session(
        &mut self,
        session: &SessionLock,
        now: OffsetDateTime,
    ) -> Result<(), BusError> {
        let until = now + self.options.lock_duration;
        self.held(session).map(|held| *held = until)
    }

    pub(super) fn release_session(&mut self, session: &SessionLock, now: OffsetDateTime) {
        if self.held(session).is_ok() {
            self.sessions.remove(&session.session_id);
            self.advance(now);
        }
    }

    fn locked(&self, token: Uuid) -> Result<i64, BusError> {
        let holds = |stored: &Stored| stored.lock.is_some_and(|(held, _)| held == token);
        let found = self.messages.iter().find(|(_, stored)| holds(stored));
        found.map(|(sequence, _)| *sequence).ok_or(BusError::LockLost)
    }

    pub(super) fn renew(&mut self, token: Uuid, now: OffsetDateTime) -> Result<(), BusError> {
        let sequence = self.locked(token)?;
        let until = now + self.options.lock_duration;
        if let Some(stored) = self.messages.get_mut(&sequence) {
            stored.lock = Some((token, until));
        }
        Ok(())
    }

    pub(super) fn complete(&mut self, token: Uuid) -> Result<(), BusError> {
        let sequence = self.locked(token)?;
        self.messages.remove(&sequence);
        self.completed += 1;
        Ok(())
    }

    pub(super) fn abandon(&mut self, token: Uuid) -> Result<(), BusError> {
        let sequence = self.locked(token)?;
        self.give_back(sequence);
        Ok(())
    }

    pub(super) fn dead_letter(
        &mut self,
        token: Uuid,
        reason: &str,
        description: &str,
    ) -> Result<(), BusError> {
        let sequence = self.locked(token)?;
        self.bury(sequence, reason, description);
        Ok(())
    }

    fn give_back(&mut self, sequence: i64) {
        let max = self.options.max_delivery_count;
        let Some(stored) = self.messages.get_mut(&sequence) else { return };
        stored.lock = None;
        // A dead letter stays where it is, however often it is looked at.
        if stored.delivery_count >= max && !self.is_dead_letter() {
            let description = format!("Message could not be consumed after {max} delivery attempts.");
            self.bury(sequence, "MaxDeliveryCountExceeded", &description);
        }
    }

    fn bury(&mut self, sequence: i64, reason: &str, description: &str) {
        if let Some(Stored { mut message, .. }) = self.messages.remove(&sequence) {
            let properties = &mut message.application_properties;
            properties.insert("DeadLetterReason".to_owned(), json!(reason));
            properties.insert("DeadLetterErrorDescription".to_owned(), json!(description));
            self.dead.push(message);
        }
    }

    pub(super) fn take_dead_letters(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.dead)
    }

    pub(super) fn available(&self) -> usize {
        self.messages.values().filter(|stored| stored.lock.is_none()).count()
    }

    pub(super) fn next_scheduled(&self) -> Option<OffsetDateTime> {
        self.scheduled.first().map(|(due, ..)| *due)
    }

    /// When time alone will next change what a receiver sees.
    pub(super) fn next_change(&self) -> Option<OffsetDateTime> {
        let locks = self.messages.values().filter_map(|stored| stored.lock.map(|(_, until)| until));
        // In a session it is the session's lock that counts.
        let locks = locks.filter(|_| !self.options.requires_session);
        let sessions = self.sessions.values().map(|(_, until)| *until);
        locks.chain(sessions).chain(self.next_scheduled()).min()
    }

    pub(super) fn describe(&self) -> Value {
        let one = |sequence: &i64, stored: &Stored| {
            json!({
                "sequenceNumber": sequence,
                "messageId": stored.message.message_id,
                "sessionId": stored.message.session_id,
                "subject": stored.message.subject,
                "state": if stored.lock.is_some() { "locked" } else { "active" },
                "deliveryCount": stored.delivery_count,
                "enqueuedTimeUtc": iso(stored.enqueued_at),
                "applicationProperties": stored.message.application_properties,
            })
        };
        let waiting = |due: &OffsetDateTime, sequence: &i64, message: &Message| {
            json!({
                "sequenceNumber": sequence,
                "messageId": message.message_id,
                "sessionId": message.session_id,
                "subject": message.subject,
                "state": "scheduled",
                "scheduledEnqueueTimeUtc": iso(*due),
                "applicationProperties": message.application_properties,
            })
        };
        let messages = self.messages.iter().map(|(sequence, stored)| one(sequence, stored));
        let scheduled = self.scheduled.iter().map(|(due, sequence, message)| waiting(due, sequence, message));
        json!({
            "active": self.messages.len(),
            "locked": self.messages.len() - self.available(),
            "scheduled": self.scheduled.len(),
            "completed": self.completed,
            "deduplicated": self.deduplicated,
            "expired": self.expired,
            "messages": messages.chain(scheduled).collect::<Vec<_>>(),
        })
    }
}

fn iso(when: OffsetDateTime) -> String {
    when.format(&Rfc3339).unwrap_or_default()
}

fn random_uuid(rng: &mut StdRng) -> Uuid {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
