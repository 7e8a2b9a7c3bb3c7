//! Azure's time of day, as Azure itself tells it.
//!
//! The age of a grant is the difference of two of Azure's own times. Taking "now" from the `Date`
//! header of ARM's answers keeps our computer's clock out of it. Before the first answer, and
//! between answers, the local clock is carried on.

use std::sync::{Arc, Mutex, PoisonError};

use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::time::Instant;

/// A clock set by ARM's answers. Cheap to clone; clones share the setting.
#[derive(Debug, Clone)]
pub struct AzureClock {
    anchor: Arc<Mutex<Anchor>>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    time: OffsetDateTime,
    at: Instant,
}

impl AzureClock {
    /// A clock that shows `time` now and runs with tokio's time.
    pub fn starting_at(time: OffsetDateTime) -> Self {
        Self { anchor: Arc::new(Mutex::new(Anchor { time, at: Instant::now() })) }
    }

    /// A clock that starts from this computer's time.
    pub fn local() -> Self {
        Self::starting_at(OffsetDateTime::now_utc())
    }

    /// Azure's time.
    pub fn now(&self) -> OffsetDateTime {
        let anchor = *self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        anchor.time + anchor.at.elapsed()
    }

    /// Sets the clock from a `Date` header. The header has whole seconds, so a difference below
    /// one second tells nothing and is ignored.
    pub(super) fn observe(&self, date: &str) {
        let Ok(date) = OffsetDateTime::parse(date, &Rfc2822) else { return };
        let now = self.now();
        if (date - now).whole_seconds().abs() >= 1 {
            *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) =
                Anchor { time: date, at: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::macros::datetime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_azure() {
        let clock = AzureClock::starting_at(datetime!(2026-01-31 12:00:00 UTC));
        clock.observe("Sat, 31 Jan 2026 12:10:00 GMT");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), datetime!(2026-01-31 12:10:05 UTC));
        clock.observe("Sat, 31 Jan 2026 12:10:05 GMT");
        clock.observe("rubbish");
        assert_eq!(clock.now(), datetime!(2026-01-31 12:10:05 UTC));
    }
}
