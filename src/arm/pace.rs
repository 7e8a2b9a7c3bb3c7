//! Keeps calls within what Resource Manager allows, so that it need not refuse any.
//!
//! For each subscription, caller and kind of call Resource Manager keeps a bucket of tokens that refills
//! steadily, and refuses calls while it is empty. Each answer says what is left. Here is a copy of each
//! bucket: a call that finds none waits for its turn, first come, first served, instead of being refused.
//!
//! Several processes share one bucket, and none knows of the others. So what an answer says always
//! replaces what was thought, a refusal slows the pace down, and time without one raises it again:
//! <https://www.rfc-editor.org/rfc/rfc5681>. Sizes and rates are Azure's own:
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use azure_core::http::Method;
use tokio::{
    sync::{Mutex as Queue, Notify},
    time::Instant,
};

/// The part of the full rate below which the pace never falls.
const SLOWEST: f64 = 1.0 / 50.0;
/// By how much of itself the pace rises in each second without a refusal.
const RAISE: f64 = 0.05;
/// The part of a bucket above which others clearly leave some, and by how much each answer that says so
/// raises the pace.
const PLENTY: (f64, f64) = (0.25, 1.25);
/// The part of a bucket that is taken to be there before an answer has said so: others may have been at it.
const UNSEEN: f64 = 0.1;
/// What a refusal leaves of the pace.
const CUT: f64 = 0.7;
/// Shortest pause after a refusal, and shortest time between two cuts of the pace.
const PAUSE: Duration = Duration::from_secs(1);

/// When to ask again at the latest, if a call's turn seems far: the pace may have picked up by then.
const COME_BACK: Duration = Duration::from_secs(60);
/// Turns in a row that go to early calls while usual ones wait too.
const EARLY_TURNS: u32 = 9;

/// Who goes first when there is a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Something has to spread or to settle after this call, and more calls follow then. The sooner it is
    /// sent, the sooner all is done; nine turns of ten are for such calls.
    Early,
    /// Any other call.
    Usual,
}

impl Urgency {
    fn index(self) -> usize {
        match self {
            Urgency::Early => 0,
            Urgency::Usual => 1,
        }
    }
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Reads,
    Writes,
    Deletes,
}

impl Kind {
    fn of(method: Method) -> Self {
        match method {
            Method::Get | Method::Head => Self::Reads,
            Method::Delete => Self::Deletes,
            _ => Self::Writes,
        }
    }

    /// Tokens of a full bucket, and tokens that come back in a second.
    fn bucket(self) -> (f64, f64) {
        match self {
            Self::Reads => (250.0, 25.0),
            Self::Writes | Self::Deletes => (200.0, 10.0),
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Reads => "x-ms-ratelimit-remaining-subscription-reads",
            Self::Writes => "x-ms-ratelimit-remaining-subscription-writes",
            Self::Deletes => "x-ms-ratelimit-remaining-subscription-deletes",
        }
    }
}

/// The buckets of every subscription that was called.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<(String, Kind), Arc<Lane>>>);

impl Pace {
    /// Waits until a call may go out. Calls that concern no subscription are not counted.
    ///
    /// # Errors
    /// For how long it may not, if that is until after the deadline, or the service has asked to be left
    /// alone for longer than `patience`.
    pub(super) async fn turn(
        &self,
        method: Method,
        path: &str,
        urgency: Urgency,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Result<Place, Duration> {
        let Some(subscription) = subscription(path) else { return Ok(Place { lane: None }) };
        let kind = Kind::of(method);
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.entry((subscription, kind)).or_insert_with(|| Arc::new(Lane::new(kind))).clone()
        };
        lane.enter(urgency, deadline, patience).await
    }
}

/// `x` in `/subscriptions/x/…`.
fn subscription(path: &str) -> Option<String> {
    let mut segments = path.trim_start_matches('/').split('/');
    let is_below = segments.next().is_some_and(|word| word.eq_ignore_ascii_case("subscriptions"));
    segments.next().filter(|id| is_below && !id.is_empty()).map(str::to_ascii_lowercase)
}

/// One bucket, and those who wait for it.
#[derive(Debug)]
struct Lane {
    kind: Kind,
    bucket: Mutex<Bucket>,
    /// One for each urgency: whoever holds it is at the head of that queue. Fair: the longest wait is over
    /// first.
    queues: [Queue<()>; 2],
    /// The bucket holds more than was thought, or another queue's head has gone.
    changed: Notify,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    rate: f64,
    filled: Instant,
    /// No call goes out before.
    closed_until: Instant,
    last_cut: Option<Instant>,
    /// Calls that wait for their turn, by urgency.
    waiting: [u32; 2],
    /// Early calls that went out in a row while usual ones were waiting.
    in_a_row: u32,
    /// Calls that are out; what an answer says is left may not know of them.
    out: u32,
}

impl Bucket {
    fn fill(&mut self, now: Instant, (size, full): (f64, f64)) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(size);
        self.rate = (self.rate * (1.0 + passed * RAISE)).min(full);
        self.filled = now;
    }

    /// Whether the next turn is for a call of this urgency, as far as the others go.
    fn is_turn_of(&self, urgency: Urgency) -> bool {
        let is_for_early = self.in_a_row < EARLY_TURNS;
        match urgency {
            Urgency::Early => self.waiting[Urgency::Usual.index()] == 0 || is_for_early,
            Urgency::Usual => self.waiting[Urgency::Early.index()] == 0 || !is_for_early,
        }
    }

    fn take(&mut self, urgency: Urgency) {
        self.tokens -= 1.0;
        self.out += 1;
        let others_wait = urgency == Urgency::Early && self.waiting[Urgency::Usual.index()] > 0;
        self.in_a_row = if others_wait { self.in_a_row + 1 } else { 0 };
    }

    /// How long until there are as many tokens as this.
    fn wait_for(&self, tokens: f64, now: Instant) -> Duration {
        let missing = Duration::from_secs_f64(((tokens - self.tokens) / self.rate).max(0.0));
        missing.max(self.closed_until.saturating_duration_since(now))
    }
}

impl Lane {
    fn new(kind: Kind) -> Self {
        let ((size, rate), now) = (kind.bucket(), Instant::now());
        let tokens = size * UNSEEN;
        let bucket = Bucket {
            tokens,
            rate,
            filled: now,
            closed_until: now,
            last_cut: None,
            waiting: [0; 2],
            in_a_row: 0,
            out: 0,
        };
        Self { kind, bucket: Mutex::new(bucket), queues: Default::default(), changed: Notify::new() }
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bucket as it is now.
    fn filled(&self) -> (MutexGuard<'_, Bucket>, Instant) {
        let (mut bucket, now) = (self.bucket(), Instant::now());
        bucket.fill(now, self.kind.bucket());
        (bucket, now)
    }

    async fn enter(
        self: Arc<Self>,
        urgency: Urgency,
        deadline: Option<Instant>,
        patience: Duration,
    ) -> Result<Place, Duration> {
        let waiter = Waiter::new(&self, urgency);
        let (wait, closed) = self.outlook();
        let is_late = |wait| deadline.is_some_and(|deadline| Instant::now() + wait >= deadline);
        if closed > patience {
            return Err(closed);
        }
        if is_late(wait) {
            return Err(wait.min(COME_BACK));
        }
        let enter = async {
            let _head = self.queues[urgency.index()].lock().await;
            loop {
                let changed = self.changed.notified();
                let wait = {
                    let (mut bucket, now) = self.filled();
                    let wait = bucket.wait_for(1.0, now);
                    let is_turn = bucket.is_turn_of(urgency);
                    if wait.is_zero() && is_turn {
                        bucket.take(urgency);
                        return;
                    }
                    is_turn.then_some(wait)
                };
                match wait {
                    Some(wait) => drop(tokio::time::timeout(wait, changed).await),
                    // The head of the other queue goes first.
                    None => changed.await,
                }
            }
        };
        match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, enter).await.map_err(|_| self.outlook().0.min(COME_BACK))?
            }
            None => enter.await,
        }
        drop(waiter);
        Ok(Place { lane: Some(self) })
    }

    /// How long the last of those who wait will wait, and for how long nobody goes out.
    fn outlook(&self) -> (Duration, Duration) {
        let (bucket, now) = self.filled();
        let wait = bucket.wait_for(f64::from(bucket.waiting.iter().sum::<u32>()), now);
        (wait, bucket.closed_until.saturating_duration_since(now))
    }
}

/// Counts as waiting while it lives.
struct Waiter<'a>(&'a Lane, Urgency);

impl<'a> Waiter<'a> {
    fn new(lane: &'a Lane, urgency: Urgency) -> Self {
        lane.bucket().waiting[urgency.index()] += 1;
        Self(lane, urgency)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Self(lane, urgency) = self;
        lane.bucket().waiting[urgency.index()] -= 1;
        // It may have been what the head of the other queue was waiting for.
        lane.changed.notify_waiters();
    }
}

/// One call that may go out.
#[derive(Debug)]
pub(super) struct Place {
    lane: Option<Arc<Lane>>,
}

impl Place {
    /// The header in which the answer says what is left.
    pub(super) fn header(&self) -> Option<&'static str> {
        self.lane.as_ref().map(|lane| lane.kind.header())
    }

    /// Whether the call counts in a bucket.
    pub(super) fn is_counted(&self) -> bool {
        self.lane.is_some()
    }

    /// Learns from an answer: whether the call was let in, and what is left.
    pub(super) fn learn(&self, status: u16, left: Option<u32>, retry_after: Option<Duration>) {
        let Some(lane) = &self.lane else { return };
        let (size, rate) = lane.kind.bucket();
        let (mut bucket, now) = lane.filled();
        let thought = bucket.tokens;
        if status == 429 {
            bucket.tokens = thought.min(0.0);
            bucket.closed_until = bucket.closed_until.max(now + retry_after.unwrap_or_default().max(PAUSE));
            if bucket.last_cut.is_none_or(|last| now - last >= PAUSE) {
                bucket.rate = (bucket.rate * CUT).max(rate * SLOWEST);
                bucket.last_cut = Some(now);
            }
            return;
        }
        if let Some(left) = left {
            // This call is still counted as out, and the others may not have been seen yet.
            if f64::from(left) > size * PLENTY.0 {
                bucket.rate = (bucket.rate * PLENTY.1).min(rate);
            }
            let seen = f64::from(left) - f64::from(bucket.out.saturating_sub(1));
            // Where others take from the same bucket, not all that is left is for us.
            bucket.tokens = seen.min(size * bucket.rate / rate);
        }
        let is_more = bucket.tokens > thought;
        drop(bucket);
        if is_more {
            lane.changed.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            lane.bucket().out -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
