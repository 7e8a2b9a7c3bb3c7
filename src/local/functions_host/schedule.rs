//! When timers fire, and what is remembered between runs.
//!
//! Facts: `Azure/azure-webjobs-sdk-extensions` `src/WebJobs.Extensions/Extensions/Timers/`
//! (`Scheduling/TimerSchedule.cs`, `Scheduling/ScheduleMonitor.cs`, `Listener/TimerListener.cs`).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;

use super::dotnet::{round_trip, time_span};
use crate::schedule::Ncrontab;

/// .NET's `default(DateTime)`, which stands for "never".
pub(crate) const NEVER: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);

/// How many occurrences ahead are looked at to see whether the monitor makes sense.
const OCCURRENCES_CHECKED: usize = 10;

/// The `schedule` of a timer trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Schedule {
    Cron(Ncrontab),
    /// Counted from the start of the previous run.
    Every(Duration),
}

impl Schedule {
    pub(crate) fn next_after(&self, base: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Cron(cron) => cron.next_after(base),
            Self::Every(interval) => base.checked_add((*interval).try_into().ok()?),
        }
    }

    /// Whether it fires more than once a minute; such a timer has no status.
    pub(crate) fn is_frequent(&self, now: OffsetDateTime) -> bool {
        let occurrences = std::iter::successors(self.next_after(now), |last| self.next_after(*last));
        let occurrences: Vec<_> = occurrences.take(OCCURRENCES_CHECKED).collect();
        occurrences.windows(2).any(|pair| pair[1] - pair[0] < time::Duration::MINUTE)
    }

    pub(crate) fn adjusts_for_dst(&self) -> bool {
        matches!(self, Self::Cron(_))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text.parse(), time_span(text)) {
            (Ok(cron), _) => Ok(Self::Cron(cron)),
            (Err(_), Some(interval)) if !interval.is_zero() => Ok(Self::Every(interval)),
            (Err(err), _) => Err(err.to_string()),
        }
    }
}

/// What the host keeps in a blob for each timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduleStatus {
    /// When the previous run started; `0001-01-01` before the first run.
    #[serde(with = "time::serde::rfc3339")]
    pub last: OffsetDateTime,
    /// When the next run is due.
    #[serde(with = "time::serde::rfc3339")]
    pub next: OffsetDateTime,
    /// When this record was made.
    #[serde(with = "time::serde::rfc3339")]
    pub last_updated: OffsetDateTime,
}

impl ScheduleStatus {
    pub(crate) fn to_wire(&self) -> Value {
        let Self { last, next, last_updated } = self;
        let text = |when: &OffsetDateTime| round_trip(*when, "+00:00");
        json!({ "Last": text(last), "Next": text(next), "LastUpdated": text(last_updated) })
    }
}

/// The status of every timer, by function name; clones share it.
///
/// Hand the same one to the next host and it notices what was missed in between, as the real host
/// does after a restart.
#[derive(Debug, Clone, Default)]
pub struct TimerStatuses(Arc<Mutex<BTreeMap<String, ScheduleStatus>>>);

impl TimerStatuses {
    /// The status of one timer.
    pub fn get(&self, function: &str) -> Option<ScheduleStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(function).cloned()
    }

    /// Records the status of one timer.
    pub fn set(&self, function: &str, status: ScheduleStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(function.to_owned(), status);
    }

    /// All of them, for a file.
    pub fn all(&self) -> BTreeMap<String, ScheduleStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings a timer's record up to date at start, and says whether a run was missed.
    ///
    /// With no record yet one is written, so that a run missed before the very first one is noticed
    /// next time. A record that the schedule would not have made means the schedule was edited, and
    /// an edit never counts as past due.
    pub(crate) fn check_past_due(&self, function: &str, schedule: &Schedule, now: OffsetDateTime) -> bool {
        let Some(upcoming) = schedule.next_after(now) else { return false };
        let Some(mut status) = self.get(function) else {
            self.set(function, ScheduleStatus { last: NEVER, next: upcoming, last_updated: now });
            return false;
        };
        let base = if status.last == NEVER { status.last_updated } else { status.last };
        let expected = schedule.next_after(base).unwrap_or(upcoming);
        if status.next != expected {
            let (next, last_updated) = if now > expected { (upcoming, now) } else { (expected, base) };
            status = ScheduleStatus { last: NEVER, next, last_updated };
            self.set(function, status.clone());
        }
        now > status.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: OffsetDateTime = datetime!(2026-01-31 12:00 UTC);

    #[test]
    fn a_schedule_is_cron_or_an_interval() {
        let every: Schedule = "00:05:00".parse().unwrap();
        assert_eq!(every.next_after(NOON), Some(datetime!(2026-01-31 12:05 UTC)));
        assert!(!every.adjusts_for_dst());
        assert!("00:00:00".parse::<Schedule>().is_err());
        assert!("*/10 * * * * *".parse::<Schedule>().unwrap().is_frequent(NOON));
        assert!("0,30 0 * * * *".parse::<Schedule>().unwrap().is_frequent(NOON));
        assert!(!"0 * * * * *".parse::<Schedule>().unwrap().is_frequent(NOON));
    }

    #[test]
    fn an_edited_schedule_is_not_past_due_but_a_missed_run_is() {
        let statuses = TimerStatuses::default();
        let hourly: Schedule = "0 0 * * * *".parse().unwrap();
        assert!(!statuses.check_past_due("Sweep", &hourly, NOON));
        let later = datetime!(2026-01-31 13:00:01 UTC);
        assert!(statuses.check_past_due("Sweep", &hourly, later));

        let edited: Schedule = "0 30 * * * *".parse().unwrap();
        assert!(!statuses.check_past_due("Sweep", &edited, later));
        let status = statuses.get("Sweep").unwrap();
        assert_eq!((status.last, status.next), (NEVER, datetime!(2026-01-31 13:30 UTC)));
    }
}
