//! Schedules: what the Functions host takes as a timer expression, and which occurrence is due.

mod ncrontab;

pub use ncrontab::{Ncrontab, NcrontabError};

use time::{
    Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// How an occurrence stands in a name: `20260131T023000Z`. Sorts as text.
const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// How far back a missed occurrence is still made up for. Older ones are left to the next.
const MAKE_UP: Duration = Duration::days(7);

/// The occurrence to run now, given that everything up to `last` was seen to: the latest one in
/// `(last, now]`. Several missed ones run once.
pub fn due(schedule: &Ncrontab, last: OffsetDateTime, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let from = last.max(now.saturating_sub(MAKE_UP));
    std::iter::successors(schedule.next_after(from), |at| schedule.next_after(*at))
        .take_while(|at| *at <= now)
        .last()
}

/// An occurrence as it stands in a name.
pub fn stamp(time: OffsetDateTime) -> String {
    time.to_offset(UtcOffset::UTC).format(STAMP).unwrap_or_default()
}

/// The occurrence that stands there, if it is one, and as [`stamp`] writes it.
pub fn time_of(text: &str) -> Option<OffsetDateTime> {
    let time = PrimitiveDateTime::parse(text, STAMP).ok()?.assume_utc();
    // A sign before the year is understood too.
    (stamp(time) == text).then_some(time)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn due_at(schedule: &str, last: OffsetDateTime, now: OffsetDateTime) -> Option<OffsetDateTime> {
        due(&schedule.parse().unwrap(), last, now)
    }

    #[test]
    fn several_missed_occurrences_run_once() {
        let now = datetime!(2026-02-03 04:05:06 UTC);
        let night = "0 30 2 * * *";
        assert_eq!(
            due_at(night, datetime!(2026-02-03 02:29:59 UTC), now),
            Some(datetime!(2026-02-03 02:30:00 UTC))
        );
        assert_eq!(
            due_at(night, datetime!(2026-01-30 00:00:00 UTC), now),
            Some(datetime!(2026-02-03 02:30:00 UTC))
        );
        assert_eq!(due_at(night, datetime!(2026-02-03 02:30:00 UTC), now), None, "it was seen to");
        assert_eq!(due_at("* * * * * *", datetime!(2020-01-01 00:00:00 UTC), now), Some(now));
        assert_eq!(due_at("0 0 0 1 1 *", datetime!(2020-01-01 00:00:00 UTC), now), None, "too long ago");
    }
}
