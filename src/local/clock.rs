//! The local cloud's clock: runs `speed` times as fast as the computer's own.
//!
//! Everything in the local cloud that takes time in Azure (operations, propagation, scheduled
//! messages) is written in Azure's durations and waits on this clock. It is built on tokio's
//! time, so a test on paused time controls it completely.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

/// A clock that started at `epoch` and has run `speed` times real time since.
#[derive(Debug, Clone)]
pub struct SimClock {
    epoch: OffsetDateTime,
    started: Instant,
    speed: f64,
}

impl SimClock {
    /// A clock that starts now. `speed` below 1 counts as 1.
    pub fn start(epoch: OffsetDateTime, speed: f64) -> Self {
        Self { epoch, started: Instant::now(), speed: speed.max(1.0) }
    }

    /// How many times faster than real time this clock runs.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The simulated time of day.
    pub fn now(&self) -> OffsetDateTime {
        self.epoch + self.started.elapsed().mul_f64(self.speed)
    }

    /// Waits for a simulated duration.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(self.real(duration)).await;
    }

    /// Waits until a simulated time of day; returns at once when it is past.
    pub async fn sleep_until(&self, when: OffsetDateTime) {
        tokio::time::sleep_until(self.instant(when)).await;
    }

    /// The moment on tokio's clock at which the simulated time of day will be `when`.
    pub fn instant(&self, when: OffsetDateTime) -> Instant {
        let ahead = Duration::try_from(when - self.epoch).unwrap_or_default();
        self.started + self.real(ahead)
    }

    /// The real time that a simulated duration takes.
    pub fn real(&self, duration: Duration) -> Duration {
        duration.div_f64(self.speed)
    }
}
