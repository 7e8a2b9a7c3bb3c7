//! Timer expressions: every rule of the host as a row, and random ones against a clock that only ticks.
//!
//! Source of facts: the contract of the Functions host, section 4.4 (Timer), which was read off
//! `atifaziz/NCrontab` v3.3.3 (`CrontabSchedule.cs`, `CrontabField.cs`, `CrontabFieldImpl.cs`). What is
//! expected here was worked out from those rules and a calendar, never from what the parser answered.

use hubward::schedule::Ncrontab;
use rand::{Rng, SeedableRng, rngs::StdRng};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset, macros::datetime};

/// Some way into a morning.
const WEDNESDAY: OffsetDateTime = datetime!(2026-07-01 10:20:30 UTC);

fn next(text: &str, from: OffsetDateTime) -> Option<OffsetDateTime> {
    let schedule: Ncrontab = text.parse().unwrap_or_else(|err| panic!("{text}: {err}"));
    schedule.next_after(from)
}

fn holds(rows: &[(&str, OffsetDateTime, OffsetDateTime)]) {
    for (text, from, expected) in rows {
        assert_eq!(next(text, *from), Some(*expected), "{text} from {from}");
    }
}

#[test]
fn six_fields_begin_with_the_second_and_five_mean_second_zero() {
    holds(&[
        ("15 40 8 2 7 *", WEDNESDAY, datetime!(2026-07-02 08:40:15 UTC)),
        ("40 8 2 7 *", WEDNESDAY, datetime!(2026-07-02 08:40:00 UTC)),
        ("21 10 * * *", WEDNESDAY, datetime!(2026-07-01 10:21:00 UTC)),
        // Second 0 of this minute is over.
        ("20 10 * * *", WEDNESDAY, datetime!(2026-07-02 10:20:00 UTC)),
        ("* * * * *", WEDNESDAY, datetime!(2026-07-01 10:21:00 UTC)),
    ]);
}

#[test]
fn the_day_of_the_month_and_the_day_of_the_week_must_both_match() {
    holds(&[
        // No first of a month is a Monday before February 2027.
        ("0 0 0 1 * Mon", WEDNESDAY, datetime!(2027-02-01 00:00:00 UTC)),
        // The first Monday of each month.
        ("0 0 12 1-7 * 1", WEDNESDAY, datetime!(2026-07-06 12:00:00 UTC)),
        ("0 0 12 1-7 * 1", datetime!(2026-07-06 12:00:00 UTC), datetime!(2026-08-03 12:00:00 UTC)),
        // Leap days: a Tuesday in 2028, and five days later in the week each time.
        ("0 0 0 29 2 1", WEDNESDAY, datetime!(2044-02-29 00:00:00 UTC)),
    ]);
}

#[test]
fn a_reversed_range_is_swapped_and_never_wraps() {
    holds(&[
        ("0 0 17-9 * * *", WEDNESDAY, datetime!(2026-07-01 11:00:00 UTC)),
        ("0 0 17-9 * * *", datetime!(2026-07-01 17:00:00 UTC), datetime!(2026-07-02 09:00:00 UTC)),
        ("0 50-10 * * * *", WEDNESDAY, datetime!(2026-07-01 10:21:00 UTC)),
        ("0 50-10 * * * *", datetime!(2026-07-01 10:50:00 UTC), datetime!(2026-07-01 11:10:00 UTC)),
        // February to November, so neither December nor January.
        ("0 0 0 * 11-2 *", datetime!(2026-12-05 00:00:00 UTC), datetime!(2027-02-01 00:00:00 UTC)),
        // Monday to Saturday: the one day that is left out is the Sunday.
        ("0 0 0 * * Sat-Mon", datetime!(2026-07-04 00:00:00 UTC), datetime!(2026-07-06 00:00:00 UTC)),
        // The steps are counted from the smaller end: 8, 14, 20.
        ("0 0 20-8/6 * * *", WEDNESDAY, datetime!(2026-07-01 14:00:00 UTC)),
        ("0 0 20-8/6 * * *", datetime!(2026-07-01 20:00:00 UTC), datetime!(2026-07-02 08:00:00 UTC)),
    ]);
}

#[test]
fn steps_count_from_the_start_of_the_range_and_begin_anew_with_the_field() {
    holds(&[
        ("*/20 * * * * *", WEDNESDAY, datetime!(2026-07-01 10:20:40 UTC)),
        ("*/20 * * * * *", datetime!(2026-07-01 10:20:40 UTC), datetime!(2026-07-01 10:21:00 UTC)),
        // 0, 25, 50, and then 0 and not 75.
        ("0 */25 * * * *", datetime!(2026-07-01 10:50:00 UTC), datetime!(2026-07-01 11:00:00 UTC)),
        // Days and months begin at 1: 1, 11, 21, 31; 1, 6, 11.
        ("0 0 0 */10 * *", WEDNESDAY, datetime!(2026-07-11 00:00:00 UTC)),
        ("0 0 0 */10 * *", datetime!(2026-07-21 00:00:00 UTC), datetime!(2026-07-31 00:00:00 UTC)),
        ("0 0 0 */10 * *", datetime!(2026-07-31 00:00:00 UTC), datetime!(2026-08-01 00:00:00 UTC)),
        ("0 0 0 1 */5 *", WEDNESDAY, datetime!(2026-11-01 00:00:00 UTC)),
        // 6, 10, 14.
        ("0 0 6-15/4 * * *", WEDNESDAY, datetime!(2026-07-01 14:00:00 UTC)),
        ("0 0 6-15/4 * * *", datetime!(2026-07-01 14:00:00 UTC), datetime!(2026-07-02 06:00:00 UTC)),
        // The step is longer than the field.
        ("0 7/100 * * * *", WEDNESDAY, datetime!(2026-07-01 11:07:00 UTC)),
    ]);
}

#[test]
fn a_number_with_a_step_goes_on_to_the_end_of_its_field() {
    holds(&[
        // 5, 14, 23.
        ("0 0 5/9 * * *", WEDNESDAY, datetime!(2026-07-01 14:00:00 UTC)),
        ("0 0 5/9 * * *", datetime!(2026-07-01 14:00:00 UTC), datetime!(2026-07-01 23:00:00 UTC)),
        ("0 0 5/9 * * *", datetime!(2026-07-01 23:00:00 UTC), datetime!(2026-07-02 05:00:00 UTC)),
        ("40/7 * * * * *", datetime!(2026-07-01 10:20:54 UTC), datetime!(2026-07-01 10:21:40 UTC)),
        ("0 59/5 * * * *", datetime!(2026-07-01 10:59:00 UTC), datetime!(2026-07-01 11:59:00 UTC)),
        ("0 0 0 20/6 * *", datetime!(2026-07-26 00:00:00 UTC), datetime!(2026-08-20 00:00:00 UTC)),
        // Wednesday and Friday; September and November.
        ("0 0 0 * * 3/2", WEDNESDAY, datetime!(2026-07-03 00:00:00 UTC)),
        ("0 0 0 * * 3/2", datetime!(2026-07-03 00:00:00 UTC), datetime!(2026-07-08 00:00:00 UTC)),
        ("0 0 0 1 Sep/2 *", datetime!(2026-11-01 00:00:00 UTC), datetime!(2027-09-01 00:00:00 UTC)),
    ]);
}

#[test]
fn a_step_below_one_counts_as_one() {
    holds(&[
        ("0 30/0 * * * *", datetime!(2026-07-01 10:30:00 UTC), datetime!(2026-07-01 10:31:00 UTC)),
        ("0 10-12/0 * * * *", datetime!(2026-07-01 10:10:00 UTC), datetime!(2026-07-01 10:11:00 UTC)),
        ("0 10-12/0 * * * *", WEDNESDAY, datetime!(2026-07-01 11:10:00 UTC)),
        ("0 */-3 * * * *", WEDNESDAY, datetime!(2026-07-01 10:21:00 UTC)),
        ("0 58/-2 * * * *", datetime!(2026-07-01 10:58:00 UTC), datetime!(2026-07-01 10:59:00 UTC)),
    ]);
}

#[test]
fn names_are_known_by_how_they_begin_in_any_case() {
    holds(&[
        ("0 0 0 * * w", WEDNESDAY, datetime!(2026-07-08 00:00:00 UTC)),
        ("0 0 0 * * THURSDAY", WEDNESDAY, datetime!(2026-07-02 00:00:00 UTC)),
        ("0 0 0 * * tH", WEDNESDAY, datetime!(2026-07-02 00:00:00 UTC)),
        ("0 0 0 * * satur", WEDNESDAY, datetime!(2026-07-04 00:00:00 UTC)),
        // Where several begin so, the first: Tuesday, Sunday, June, April.
        ("0 0 0 * * T", WEDNESDAY, datetime!(2026-07-07 00:00:00 UTC)),
        ("0 0 0 * * s", WEDNESDAY, datetime!(2026-07-05 00:00:00 UTC)),
        ("0 0 0 1 ju *", WEDNESDAY, datetime!(2027-06-01 00:00:00 UTC)),
        ("0 0 0 1 a *", WEDNESDAY, datetime!(2027-04-01 00:00:00 UTC)),
        ("0 0 0 1 ma *", WEDNESDAY, datetime!(2027-03-01 00:00:00 UTC)),
        ("0 0 0 1 May *", WEDNESDAY, datetime!(2027-05-01 00:00:00 UTC)),
        ("0 0 0 1 feb,NOV *", WEDNESDAY, datetime!(2026-11-01 00:00:00 UTC)),
        ("0 0 0 * * mo-We", WEDNESDAY, datetime!(2026-07-06 00:00:00 UTC)),
        ("0 0 0 * * 0", WEDNESDAY, datetime!(2026-07-05 00:00:00 UTC)),
    ]);
}

#[test]
fn a_list_is_all_of_its_items_together_in_any_order() {
    holds(&[
        ("0 5,10-12,50/5 * * * *", WEDNESDAY, datetime!(2026-07-01 10:50:00 UTC)),
        ("0 5,10-12,50/5 * * * *", datetime!(2026-07-01 10:55:00 UTC), datetime!(2026-07-01 11:05:00 UTC)),
        ("0 5,10-12,50/5 * * * *", datetime!(2026-07-01 11:10:00 UTC), datetime!(2026-07-01 11:11:00 UTC)),
        ("0 0 0 9,3,5-4 * *", WEDNESDAY, datetime!(2026-07-03 00:00:00 UTC)),
        ("0 0 0 9,3,5-4 * *", datetime!(2026-07-05 00:00:00 UTC), datetime!(2026-07-09 00:00:00 UTC)),
        ("0 5,* * * * *", WEDNESDAY, datetime!(2026-07-01 10:21:00 UTC)),
    ]);
}

#[test]
fn the_next_one_is_later_than_the_start_and_fractions_do_not_count() {
    holds(&[
        ("30 20 10 * * *", WEDNESDAY, datetime!(2026-07-02 10:20:30 UTC)),
        ("30 20 10 * * *", datetime!(2026-07-01 10:20:30.999 UTC), datetime!(2026-07-02 10:20:30 UTC)),
        ("30 20 10 * * *", datetime!(2026-07-01 10:20:29.999 UTC), datetime!(2026-07-01 10:20:30 UTC)),
        ("0 0 0 1 1 *", datetime!(2026-12-31 23:59:59.5 UTC), datetime!(2027-01-01 00:00:00 UTC)),
        // Half past ten in the evening, UTC.
        ("0 0 23 * * *", datetime!(2026-07-01 00:30:00 +2), datetime!(2026-06-30 23:00:00 UTC)),
    ]);
}

#[test]
fn months_without_such_a_day_are_passed_over() {
    holds(&[
        ("0 0 0 31 * *", datetime!(2026-07-31 00:00:00 UTC), datetime!(2026-08-31 00:00:00 UTC)),
        ("0 0 0 31 * *", datetime!(2026-08-31 00:00:00 UTC), datetime!(2026-10-31 00:00:00 UTC)),
        ("0 0 0 29,30 2 *", WEDNESDAY, datetime!(2028-02-29 00:00:00 UTC)),
        // 2100 is no leap year.
        ("0 0 0 29 2 *", datetime!(2096-03-01 00:00:00 UTC), datetime!(2104-02-29 00:00:00 UTC)),
    ]);
    for never in ["0 0 0 30 2 *", "0 0 0 31 4,6,9,Nov *", "* * * 31-30 feb *"] {
        assert_eq!(next(never, WEDNESDAY), None, "{never}");
    }
}

#[test]
fn spaces_set_fields_apart_and_nothing_else_does() {
    holds(&[
        ("  0   30  2 * *   * ", WEDNESDAY, datetime!(2026-07-02 02:30:00 UTC)),
        // A number may have white space behind it, a step on both sides: .NET reads them so.
        ("0\t 30\r\n 2 * * 0-6\n", WEDNESDAY, datetime!(2026-07-02 02:30:00 UTC)),
        ("0 */\t20\t * * * *", WEDNESDAY, datetime!(2026-07-01 10:40:00 UTC)),
        // Five fields: what a tab holds together is one.
        ("30\t 2 * * *", WEDNESDAY, datetime!(2026-07-02 02:30:00 UTC)),
    ]);
    for text in [
        "0\t30\t2\t*\t*\t*",
        "0 30 2 *\t* *",
        "0 30 2 * * *\n",
        "0 30 \t2 * * *",
        "0 30\u{a0}2 * * * *",
        "0 30\u{a0} 2 * * *",
        "0 30 2 * * Mon\n",
        "0 1\t2 2 * * *",
    ] {
        assert!(text.parse::<Ncrontab>().is_err(), "{text:?}");
    }
}

#[test]
fn what_the_host_cannot_read_is_refused() {
    let rows = [
        // 7 is not Sunday, wherever it stands.
        "0 0 0 * * 5-7",
        "0 0 0 * * 7-0",
        "0 0 0 * * 7/1",
        "0 0 0 * * 1,7",
        // Neither five fields nor six.
        "*",
        "0 0 0 1",
        "0 0 0 1 1 * 2026",
        // What other crons have.
        "0 0 0 * * ?",
        "0 0 0 LW * *",
        "0 0 0 * * 5L",
        "0 0 0 * * Mon#1",
        "@hourly",
        "@every 5m",
        // Of the host, and no expression: an interval, a setting.
        "00:05:00",
        "%Schedule%",
        // Out of the field.
        "60 * * * * *",
        "0 1-60 * * * *",
        "0 0 24 * * *",
        "0 0 0 32 * *",
        "0 0 0 0-5 * *",
        "0 0 0 1 0 *",
        "0 0 0 1 13 *",
        "0 0 0 1 13/2 *",
        // Names that are none, or stand in the wrong field.
        "0 0 0 * * Mondays",
        "0 0 0 1 Maj *",
        "0 0 0 1 Wed *",
        "0 0 0 Mon * *",
        "0 0 J * * *",
        // Half an item, or one too many.
        "0 */x * * * *",
        "0 */ * * * *",
        "0 /5 * * * *",
        "0 1/2/3 * * * *",
        "0 -5 * * * *",
        "0 +5 * * * *",
        "0 5- * * * *",
        "0 1--3 * * * *",
        "0 1-2-3 * * * *",
        "0 *-5 * * * *",
        "0 ,1 * * * *",
        "0 1,,2 * * * *",
        "0 1.5 * * * *",
    ];
    for text in rows {
        assert!(text.parse::<Ncrontab>().is_err(), "{text}");
    }
}

/// One of the six fields, as the test knows it.
struct Kind {
    min: usize,
    max: usize,
    names: &'static [&'static str],
}

const SIXTY: Kind = Kind { min: 0, max: 59, names: &[] };
const HOURS: Kind = Kind { min: 0, max: 23, names: &[] };
const DAYS: Kind = Kind { min: 1, max: 31, names: &[] };
const MONTHS: Kind = Kind {
    min: 1,
    max: 12,
    names: &[
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
};
const WEEKDAYS: Kind = Kind {
    min: 0,
    max: 6,
    names: &["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"],
};

/// Which values of a field are allowed.
type Allowed = [bool; 60];

/// An expression in two forms that were made side by side: what it says, and what it means.
struct Expression {
    text: String,
    seconds: Allowed,
    minutes: Allowed,
    hours: Allowed,
    days: Allowed,
    months: Allowed,
    weekdays: Allowed,
}

impl Kind {
    fn any(&self, random: &mut StdRng) -> usize {
        random.random_range(self.min..=self.max)
    }

    /// A value as a number, or by as much of its name as no earlier name begins with.
    fn spell(&self, value: usize, random: &mut StdRng) -> String {
        if self.names.is_empty() || random.random_bool(0.4) {
            return value.to_string();
        }
        let (name, earlier) = (self.names[value - self.min], &self.names[..value - self.min]);
        let shortest = (1..=name.len())
            .find(|length| !earlier.iter().any(|other| other.starts_with(&name[..*length])))
            .unwrap();
        let length = random.random_range(shortest..=name.len());
        let chars = name[..length].chars();
        chars.map(|c| if random.random_bool(0.5) { c.to_ascii_uppercase() } else { c }).collect()
    }

    /// A range, in whichever order, written down; and its ends, the smaller one first.
    fn range(&self, random: &mut StdRng) -> (String, usize, usize) {
        let (a, b) = (self.any(random), self.any(random));
        let text = format!("{}-{}", self.spell(a, random), self.spell(b, random));
        if a <= b { (text, a, b) } else { (text, b, a) }
    }

    /// One item of a list, and the values it adds.
    fn item(&self, random: &mut StdRng, allowed: &mut Allowed) -> String {
        let (mut text, first, mut last) = match random.random_range(0..4) {
            0 => ("*".to_owned(), self.min, self.max),
            1 => self.range(random),
            _ => {
                let value = self.any(random);
                (self.spell(value, random), value, value)
            }
        };
        let mut step = 1;
        if random.random_bool(0.4) {
            if !text.contains(['-', '*']) {
                last = self.max;
            }
            let written = random.random_range(-2..=i32::try_from(self.max).unwrap() / 2 + 3);
            text = format!("{text}/{written}");
            step = usize::try_from(written).unwrap_or(1).max(1);
        }
        let mut value = first;
        while value <= last {
            allowed[value] = true;
            value += step;
        }
        text
    }

    fn field(&self, random: &mut StdRng) -> (String, Allowed) {
        let mut allowed = [false; 60];
        if random.random_bool(0.25) {
            allowed[self.min..=self.max].fill(true);
            return ("*".to_owned(), allowed);
        }
        let count = random.random_range(1..=3);
        let items: Vec<String> = (0..count).map(|_| self.item(random, &mut allowed)).collect();
        (items.join(","), allowed)
    }

    /// A single value out of a few.
    fn one_of(&self, few: &[usize], random: &mut StdRng) -> (String, Allowed) {
        let value = few[random.random_range(0..few.len())];
        let mut allowed = [false; 60];
        allowed[value] = true;
        (self.spell(value, random), allowed)
    }
}

impl Expression {
    fn any(random: &mut StdRng) -> Self {
        let mut seconds = SIXTY.field(random);
        let (minutes, hours) = (SIXTY.field(random), HOURS.field(random));
        let (mut days, mut months) = (DAYS.field(random), MONTHS.field(random));
        let mut weekdays = WEEKDAYS.field(random);
        if random.random_bool(0.2) {
            // Dates that come once in many years, or never.
            days = DAYS.one_of(&[29, 30, 31], random);
            months = MONTHS.one_of(&[2, 2, 4, 11, 12], random);
            weekdays = WEEKDAYS.one_of(&[0, 1, 2, 3, 4, 5, 6], random);
        }
        let mut fields = vec![minutes.0, hours.0, days.0, months.0, weekdays.0];
        if random.random_bool(0.2) {
            seconds.1 = [false; 60];
            seconds.1[0] = true;
        } else {
            fields.insert(0, seconds.0);
        }
        Self {
            text: fields.join(" "),
            seconds: seconds.1,
            minutes: minutes.1,
            hours: hours.1,
            days: days.1,
            months: months.1,
            weekdays: weekdays.1,
        }
    }
}

/// A day of the test's own calendar.
#[derive(Clone, Copy)]
struct Day {
    year: i32,
    month: usize,
    day: usize,
    weekday: usize,
}

impl Day {
    fn at(self, (hour, minute, second): (usize, usize, usize)) -> OffsetDateTime {
        let small = |number: usize| u8::try_from(number).unwrap();
        let month = Month::try_from(small(self.month)).unwrap();
        let date = Date::from_calendar_date(self.year, month, small(self.day)).unwrap();
        date.with_time(Time::from_hms(small(hour), small(minute), small(second)).unwrap()).assume_utc()
    }
}

/// The days from 1 January 2000, a Saturday, one after the other.
fn calendar(until: i32) -> Vec<Day> {
    let mut days = Vec::new();
    let mut weekday = 6;
    for year in 2000..until {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, length) in (1..).zip(lengths) {
            for day in 1..=length {
                days.push(Day { year, month, day, weekday });
                weekday = (weekday + 1) % 7;
            }
        }
    }
    days
}

/// Days and weekdays repeat after 400 years: what has not matched by then never does.
const CYCLE: usize = 146_097;

/// Ticks on from a second of a day until everything matches: which day it is then, and which second.
fn tick(expression: &Expression, days: &[Day], from: (usize, usize)) -> Option<(usize, usize)> {
    let (mut index, mut second) = (from.0, from.1 + 1);
    while index <= from.0 + CYCLE {
        let Day { month, day, weekday, .. } = days[index];
        if expression.months[month] && expression.days[day] && expression.weekdays[weekday] {
            while second < 86_400 {
                let (h, m, s) = clock(second);
                if expression.hours[h] && expression.minutes[m] && expression.seconds[s] {
                    return Some((index, second));
                }
                second += 1;
            }
        }
        (index, second) = (index + 1, 0);
    }
    None
}

fn clock(second: usize) -> (usize, usize, usize) {
    (second / 3600, second / 60 % 60, second % 60)
}

#[test]
fn a_clock_that_only_ticks_comes_to_the_same_times() {
    let days = calendar(2502);
    let century = days.iter().position(|day| day.year == 2101).unwrap();
    let (mut never, mut years_away, mut five_fields) = (0, 0, 0);
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let expression = Expression::any(&mut random);
        let text = &expression.text;
        five_fields += usize::from(text.split(' ').count() == 5);
        let schedule: Ncrontab = text.parse().unwrap_or_else(|err| panic!("seed {seed}, {text}: {err}"));

        let second = if random.random_bool(0.1) { 86_399 } else { random.random_range(0..86_400) };
        let mut now = (random.random_range(0..century), second);
        // Two in a row: the second one starts from a time that matches.
        for _ in 0..2 {
            let offset = UtcOffset::from_hms(random.random_range(-11..=13), 0, 0).unwrap();
            let nanosecond = random.random_range(0..1_000_000_000);
            let from = days[now.0].at(clock(now.1)).replace_nanosecond(nanosecond).unwrap();
            let expected = tick(&expression, &days, now);
            let time = expected.map(|(index, second)| days[index].at(clock(second)));
            let next = schedule.next_after(from.to_offset(offset));
            assert_eq!(next, time, "seed {seed}, {text} from {from}");
            let Some(expected) = expected.filter(|(index, _)| *index < century) else {
                never += usize::from(expected.is_none());
                break;
            };
            years_away += usize::from(expected.0 > now.0 + 4 * 366);
            now = expected;
        }
    }
    // The expressions were worth the trouble.
    assert!(never > 10 && years_away > 10 && five_fields > 30, "{never}, {years_away}, {five_fields}");
}
