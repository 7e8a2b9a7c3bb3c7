//! Timer expressions: `{second} {minute} {hour} {day} {month} {day-of-week}`, exactly as the host reads them.
//!
//! Where this differs from Unix cron and from the usual Rust crates:
//!
//! - day of month and day of week must *both* match
//! - Sunday is 0, and 7 is an error
//! - a reversed range is swapped, not wrapped: `22-4` is `4-22`
//! - `a/n` runs from `a` to the end of the field
//! - names match by prefix, without case: `Mon`, `monday` and `M` are Monday
//! - five fields mean second 0
//! - fields are set apart by spaces; a tab or a line's end does not, but may stand around a number
//!
//! `?`, `L`, `W`, `#` and `@daily` do not exist.
//!
//! Facts: `atifaziz/NCrontab` v3.3.3 (`CrontabSchedule.cs`, `CrontabField.cs`, `CrontabFieldImpl.cs`).

use std::fmt;
use std::str::FromStr;

use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

/// After this year there is no next occurrence: `0 0 0 31 2 *` would be looked for in vain.
const YEARS_AHEAD: i32 = 400;

const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: &[&str] = &["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Which values each field has, in order.
const FIELDS: [Field; 6] = [
    Field { name: "second", min: 0, max: 59, words: &[] },
    Field { name: "minute", min: 0, max: 59, words: &[] },
    Field { name: "hour", min: 0, max: 23, words: &[] },
    Field { name: "day", min: 1, max: 31, words: &[] },
    Field { name: "month", min: 1, max: 12, words: MONTHS },
    Field { name: "day-of-week", min: 0, max: 6, words: DAYS },
];

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ncrontab {
    text: String,
    /// Bit n is set when value n matches.
    fields: [u64; 6],
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NcrontabError {
    /// Neither five nor six fields.
    #[error("`{text}` has {count} fields, and a schedule has 5 or 6")]
    FieldCount {
        /// The expression.
        text: String,
        /// How many there are.
        count: usize,
    },
    /// A field that cannot be read.
    #[error("`{value}` is not a valid {field}: {reason}")]
    Field {
        /// Which of the six.
        field: &'static str,
        /// The part that is wrong.
        value: String,
        /// Why.
        reason: String,
    },
}

/// What the host takes around a number: the white space of .NET's `NumberStyles.Integer`. A space has set
/// the fields apart before.
fn is_white(c: char) -> bool {
    matches!(c, '\t'..='\r')
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    words: &'static [&'static str],
}

impl Ncrontab {
    /// The first occurrence strictly after `base`, in UTC; its fraction of a second is ignored.
    ///
    /// Nothing when no day ever matches.
    pub fn next_after(&self, base: OffsetDateTime) -> Option<OffsetDateTime> {
        let base = base.checked_to_offset(UtcOffset::UTC)?.replace_nanosecond(0).ok()?;
        let base = base.checked_add(Duration::SECOND)?;
        let last_year = base.year() + YEARS_AHEAD;
        let (mut date, mut earliest) = (base.date(), base.time());
        loop {
            if self.matches_day(date)
                && let Some(time) = self.time_from(earliest)
            {
                return Some(date.with_time(time).assume_utc());
            }
            earliest = Time::MIDNIGHT;
            date = if self.has(4, u8::from(date.month())) { date.next_day()? } else { next_month(date)? };
            if date.year() > last_year {
                return None;
            }
        }
    }

    fn has(&self, field: usize, value: u8) -> bool {
        self.fields[field] & (1 << value) != 0
    }

    fn matches_day(&self, date: Date) -> bool {
        self.has(3, date.day())
            && self.has(4, date.month().into())
            && self.has(5, date.weekday().number_days_from_sunday())
    }

    /// The first matching time of day that is not before `earliest`.
    fn time_from(&self, earliest: Time) -> Option<Time> {
        let (hour0, minute0, second0) = earliest.as_hms();
        for hour in (hour0..24).filter(|hour| self.has(2, *hour)) {
            let minute0 = if hour == hour0 { minute0 } else { 0 };
            for minute in (minute0..60).filter(|minute| self.has(1, *minute)) {
                let second0 = if (hour, minute) == (hour0, minute0) { second0 } else { 0 };
                if let Some(second) = (second0..60).find(|second| self.has(0, *second)) {
                    return Time::from_hms(hour, minute, second).ok();
                }
            }
        }
        None
    }
}

fn next_month(date: Date) -> Option<Date> {
    let (year, month) = match date.month() {
        Month::December => (date.year() + 1, Month::January),
        month => (date.year(), month.next()),
    };
    Date::from_calendar_date(year, month, 1).ok()
}

impl FromStr for Ncrontab {
    type Err = NcrontabError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts: Vec<&str> = text.split(' ').filter(|part| !part.is_empty()).collect();
        if parts.len() == 5 {
            parts.insert(0, "0");
        }
        if parts.len() != 6 {
            return Err(NcrontabError::FieldCount { text: text.to_owned(), count: parts.len() });
        }
        let mut fields = [0; 6];
        for ((bits, part), field) in fields.iter_mut().zip(parts).zip(&FIELDS) {
            for item in part.split(',') {
                *bits |= field.parse(item)?;
            }
        }
        Ok(Self { text: text.to_owned(), fields })
    }
}

impl fmt::Display for Ncrontab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Field {
    /// The values of one item of a list: `*`, `a`, `a-b`, each optionally with `/n`.
    fn parse(&self, item: &str) -> Result<u64, NcrontabError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step: i32 = step
                    .trim_matches(is_white)
                    .parse()
                    .map_err(|_| self.error(item, "the step is not a number"))?;
                // Less than one counts as one, and that may be less than nothing.
                (range, Some(step.max(1).unsigned_abs()))
            }
            None => (item, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => {
                let (from, to) = (self.value(from)?, self.value(to)?);
                (from.min(to), from.max(to))
            }
            None => {
                let from = self.value(range)?;
                (from, if step.is_some() { self.max } else { from })
            }
        };
        let values = (from..=to).step_by(step.unwrap_or(1) as usize);
        Ok(values.fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, NcrontabError> {
        // What begins with a digit is a number, with white space behind it or none.
        let number = match text.trim_end_matches(is_white).parse::<u32>() {
            Ok(number) if text.starts_with(|c: char| c.is_ascii_digit()) => number,
            _ if text.is_empty() => return Err(self.error(text, "it is empty")),
            _ => {
                let lower = text.to_lowercase();
                let found = self.words.iter().position(|word| word.to_lowercase().starts_with(&lower));
                let found = found.and_then(|index| u32::try_from(index).ok());
                found.ok_or_else(|| self.error(text, "it is neither a number nor a name"))? + self.min
            }
        };
        if (self.min..=self.max).contains(&number) {
            return Ok(number);
        }
        Err(self.error(text, &format!("it must be between {} and {}", self.min, self.max)))
    }

    fn error(&self, value: &str, reason: &str) -> NcrontabError {
        NcrontabError::Field { field: self.name, value: value.to_owned(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const BASE: OffsetDateTime = datetime!(2026-01-31 12:00:05.9 UTC); // a Saturday

    fn next(text: &str) -> Option<OffsetDateTime> {
        text.parse::<Ncrontab>().unwrap().next_after(BASE)
    }

    #[test]
    fn occurrences_follow_the_hosts_rules() {
        let cases = [
            ("0 */5 * * * *", datetime!(2026-01-31 12:05:00 UTC)),
            ("*/5 * * * *", datetime!(2026-01-31 12:05:00 UTC)),
            ("* * * * * *", datetime!(2026-01-31 12:00:06 UTC)),
            ("5 0 12 * * *", datetime!(2026-02-01 12:00:05 UTC)),
            ("0 30 9 * * *", datetime!(2026-02-01 09:30:00 UTC)),
            ("30 1 12 * * *", datetime!(2026-01-31 12:01:30 UTC)),
            // Both day fields: Friday the 13th.
            ("0 0 0 13 * 5", datetime!(2026-02-13 00:00:00 UTC)),
            ("0 0 0 13 * 1", datetime!(2026-04-13 00:00:00 UTC)),
            // A reversed range is swapped: 4 to 22, so 13 is in.
            ("0 0 22-4 * * *", datetime!(2026-01-31 13:00:00 UTC)),
            ("0 0 0 * * Fri-Mon", datetime!(2026-02-02 00:00:00 UTC)),
            ("0 0 0 * * M", datetime!(2026-02-02 00:00:00 UTC)),
            ("0 0 0 1 M *", datetime!(2026-03-01 00:00:00 UTC)),
            ("0 0 0 * * sun", datetime!(2026-02-01 00:00:00 UTC)),
            // a/n: from a to the end.
            ("0 50/4 * * * *", datetime!(2026-01-31 12:50:00 UTC)),
            ("0 2-10/4 * * * *", datetime!(2026-01-31 12:02:00 UTC)),
            ("0 0,7 * * * *", datetime!(2026-01-31 12:07:00 UTC)),
            ("0 */0 * * * *", datetime!(2026-01-31 12:01:00 UTC)),
            ("0 0 0 29 2 *", datetime!(2028-02-29 00:00:00 UTC)),
        ];
        for (text, expected) in cases {
            assert_eq!(next(text), Some(expected), "{text}");
        }
        assert_eq!(next("0 0 0 31 2 *"), None);
    }

    #[test]
    fn a_slash_after_a_number_reaches_the_end_of_the_field() {
        let schedule: Ncrontab = "0 50/4 * * * *".parse().unwrap();
        let after = schedule.next_after(datetime!(2026-01-31 12:50:00 UTC));
        assert_eq!(after, Some(datetime!(2026-01-31 12:54:00 UTC)));
        let wrapped = schedule.next_after(datetime!(2026-01-31 12:58:00 UTC));
        assert_eq!(wrapped, Some(datetime!(2026-01-31 13:50:00 UTC)));
    }

    #[test]
    fn after_the_last_second_of_the_calendar_nothing_comes() {
        let schedule: Ncrontab = "* * * * * *".parse().unwrap();
        for last in [datetime!(9999-12-31 23:59:59 UTC), datetime!(9999-12-31 23:59:59 -1)] {
            assert_eq!(schedule.next_after(last), None);
        }
    }

    #[test]
    fn what_other_crons_take_is_refused() {
        for text in [
            "0 0 0 * * 7",
            "0 0 0 ? * *",
            "0 0 0 L * *",
            "0 0 0 15W * *",
            "0 0 0 * * 5#2",
            "@daily",
            "0 0 0 0 * *",
            "0 60 * * * *",
            "0 0 0 * *  * *",
            "0 0 0 * * 1,",
            "* * * *",
            "",
        ] {
            assert!(text.parse::<Ncrontab>().is_err(), "{text}");
        }
        let err = "0 0 0 * * 7".parse::<Ncrontab>().unwrap_err();
        assert_eq!(err.to_string(), "`7` is not a valid day-of-week: it must be between 0 and 6");
    }
}
