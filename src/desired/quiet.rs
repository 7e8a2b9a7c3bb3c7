//! Quiet hours: when a hub that was in order is left alone.

use time::{Duration, OffsetDateTime, Time, UtcOffset, Weekday};

use super::profiles::{Day, QuietHoursDoc};

/// Hours of the day, on some days of the week, in which drift is not repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    to: Time,
    offset: UtcOffset,
    /// The days on which they begin; empty for every day.
    days: Vec<Weekday>,
}

/// `22:00`.
fn time_of(text: &str) -> Option<Time> {
    let (hours, minutes) = text.split_once(':')?;
    Time::from_hms(hours.parse().ok()?, minutes.parse().ok()?, 0).ok()
}

/// `+01:00`.
fn offset_of(text: &str) -> Option<UtcOffset> {
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let sign: i8 = if sign == "-" { -1 } else { 1 };
    UtcOffset::from_hms(sign * hours.parse::<i8>().ok()?, sign * minutes.parse::<i8>().ok()?, 0).ok()
}

fn weekday(day: Day) -> Weekday {
    match day {
        Day::Mon => Weekday::Monday,
        Day::Tue => Weekday::Tuesday,
        Day::Wed => Weekday::Wednesday,
        Day::Thu => Weekday::Thursday,
        Day::Fri => Weekday::Friday,
        Day::Sat => Weekday::Saturday,
        Day::Sun => Weekday::Sunday,
    }
}

impl QuietHours {
    /// Of a checked document.
    pub(super) fn of(doc: &QuietHoursDoc) -> Option<Self> {
        Some(Self {
            from: time_of(&doc.from.0)?,
            to: time_of(&doc.to.0)?,
            offset: match &doc.utc_offset {
                Some(text) => offset_of(&text.0)?,
                None => UtcOffset::UTC,
            },
            days: doc.days.iter().copied().map(weekday).collect(),
        })
    }

    /// When they end, if they are on.
    pub fn end(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let local = now.to_offset(self.offset);
        let nightly = self.to <= self.from;
        // Those that began today, and those that began yesterday and go past midnight.
        [local.date(), local.date().previous_day()?].into_iter().find_map(|day| {
            let is_on = self.days.is_empty() || self.days.contains(&day.weekday());
            let begin = day.with_time(self.from).assume_offset(self.offset);
            let last_day = if nightly { day.next_day()? } else { day };
            let end = last_day.with_time(self.to).assume_offset(self.offset);
            (is_on && begin <= now && now < end && end - begin <= Duration::DAY)
                .then_some(end.to_offset(UtcOffset::UTC))
        })
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn hours(from: &str, to: &str, offset: &str, days: Vec<Weekday>) -> QuietHours {
        let (from, to) = (time_of(from).unwrap(), time_of(to).unwrap());
        QuietHours { from, to, offset: offset_of(offset).unwrap(), days }
    }

    #[test]
    fn hours_of_the_night_go_past_midnight() {
        let night = hours("22:00", "06:00", "+00:00", vec![]);
        let end = |now| night.end(now);
        assert_eq!(end(datetime!(2026-01-31 21:59:59 UTC)), None);
        assert_eq!(end(datetime!(2026-01-31 22:00 UTC)), Some(datetime!(2026-02-01 06:00 UTC)));
        assert_eq!(end(datetime!(2026-02-01 05:59:59 UTC)), Some(datetime!(2026-02-01 06:00 UTC)));
        assert_eq!(end(datetime!(2026-02-01 06:00 UTC)), None);
    }

    #[test]
    fn an_offset_moves_them_and_days_are_those_on_which_they_begin() {
        // 31 January 2026 is a Saturday.
        let there = hours("22:00", "06:00", "-05:30", vec![Weekday::Saturday]);
        assert_eq!(there.end(datetime!(2026-02-01 03:29 UTC)), None);
        assert_eq!(there.end(datetime!(2026-02-01 03:30 UTC)), Some(datetime!(2026-02-01 11:30 UTC)));
        assert_eq!(there.end(datetime!(2026-02-02 04:00 UTC)), None, "they began on Sunday");
        let noon = hours("12:00", "13:00", "+01:00", vec![]);
        assert_eq!(noon.end(datetime!(2026-01-31 11:30 UTC)), Some(datetime!(2026-01-31 12:00 UTC)));
        assert_eq!(noon.end(datetime!(2026-01-31 12:30 UTC)), None);
    }
}
