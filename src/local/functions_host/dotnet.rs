//! .NET's text forms, which leak into what a custom handler sees and into what its outputs become.
//!
//! The host is a .NET program: it parses payloads with Newtonsoft.Json, which turns ISO dates into
//! `DateTime`, and writes scalars with `ToString(CultureInfo.InvariantCulture)`. The host's zone is
//! UTC here, as it is in Azure unless somebody sets `WEBSITE_TIME_ZONE`.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Utility.cs` (`ApplyBindingData`),
//! `JamesNK/Newtonsoft.Json` `Src/Newtonsoft.Json/Utilities/DateTimeUtils.cs`.

use std::time::Duration;

use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Number, Value};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

const SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");

/// A `DateTime` as the host sends it: seconds only, no zone.
pub(crate) fn date_time(when: OffsetDateTime) -> String {
    when.to_offset(UtcOffset::UTC).format(SECONDS).unwrap_or_default()
}

/// A `DateTimeOffset` as the host sends it: seconds only, numeric offset.
pub(crate) fn date_time_offset(when: OffsetDateTime) -> String {
    date_time(when) + "+00:00"
}

/// The round-trip form, up to 7 decimals with trailing zeros cut, and `suffix` for the zone.
pub(crate) fn round_trip(when: OffsetDateTime, suffix: &str) -> String {
    let fraction = format!("{:07}", when.nanosecond() / 100);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}{suffix}", date_time(when))
}

/// How a date inside JSON text names its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    Utc,
    Offset,
    None,
}

/// Reads text that Newtonsoft takes for a date: `2026-01-31T11:59:00`, optionally with a fraction
/// and a zone. Everything else, a date without a time included, stays text.
fn parse_iso(text: &str) -> Option<(OffsetDateTime, Zone)> {
    if !(19..=40).contains(&text.len()) || !text.is_ascii() || text.as_bytes()[10] != b'T' {
        return None;
    }
    let (base, rest) = text.split_at(19);
    let base = PrimitiveDateTime::parse(base, SECONDS).ok()?;
    let zone_at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone_at);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{digits:0<9}").get(..9)?.parse().ok()?
        }
        None if fraction.is_empty() => 0,
        _ => return None,
    };
    let base = base.replace_nanosecond(nanos).ok()?;
    match zone {
        "" => Some((base.assume_utc(), Zone::None)),
        "Z" => Some((base.assume_utc(), Zone::Utc)),
        offset => {
            let digits = offset[1..].replace(':', "");
            let hours: i8 = digits.get(..2)?.parse().ok()?;
            let minutes: i8 = digits.get(2..).filter(|rest| !rest.is_empty()).unwrap_or("00").parse().ok()?;
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            let offset = UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()?;
            Some((base.assume_offset(offset).to_offset(UtcOffset::UTC), Zone::Offset))
        }
    }
}

/// What `ToString()` makes of a scalar: `True`, `1.5`, `01/31/2026 11:59:00`.
///
/// An object or an array gives nothing; null gives the empty text.
pub(crate) fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        Value::Number(number) => Some(number_text(number)),
        Value::String(text) => Some(match parse_iso(text) {
            Some((when, _)) => {
                let format = format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");
                when.format(format).unwrap_or_default()
            }
            None => text.clone(),
        }),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// `Double.ToString()` in .NET: shortest digits, scientific from 1E+15 and below 0.0001.
fn number_text(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return number.to_string() };
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    match exponent {
        -4..15 => float.to_string(),
        _ if exponent < 0 => format!("{mantissa}E-{:02}", -exponent),
        _ => format!("{mantissa}E+{exponent:02}"),
    }
}

/// The value after Newtonsoft has read and written it: dates inside are re-formatted.
pub(crate) fn reparsed(value: &Value) -> Value {
    match value {
        Value::String(text) => match parse_iso(text) {
            Some((when, Zone::Utc)) => Value::from(round_trip(when, "Z")),
            Some((when, Zone::Offset)) => Value::from(round_trip(when, "+00:00")),
            Some((when, Zone::None)) => Value::from(round_trip(when, "")),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(reparsed).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), reparsed(member))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// JSON with Newtonsoft's indentation: two spaces.
pub(crate) fn indented(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"  "));
    if serde::Serialize::serialize(&reparsed(value), &mut serializer).is_err() {
        return String::new();
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Reads a `TimeSpan`: `[d.]hh:mm[:ss[.fffffff]]`, or days alone.
///
/// `-1` and other negative spans give nothing.
pub(crate) fn time_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let day = 24.0 * 3600.0;
    if let Ok(days) = text.parse::<u32>() {
        return Some(Duration::from_secs_f64(f64::from(days) * day));
    }
    let (days, clock) = match (text.find('.'), text.find(':')) {
        (Some(dot), Some(colon)) if dot < colon => (text[..dot].parse::<u32>().ok()?, &text[dot + 1..]),
        _ => (0, text),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [hours, minutes] => (hours, minutes, "0"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds: f64 = seconds.parse().ok()?;
    if hours > 23 || minutes > 59 || !(0.0..60.0).contains(&seconds) {
        return None;
    }
    let whole = f64::from(days) * day + f64::from(hours * 3600 + minutes * 60);
    Duration::try_from_secs_f64(whole + seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn dates_keep_seconds_or_seven_decimals() {
        let when = datetime!(2026-01-31 12:00:05.123456789 UTC);
        assert_eq!(date_time(when), "2026-01-31T12:00:05");
        assert_eq!(date_time_offset(when), "2026-01-31T12:00:05+00:00");
        assert_eq!(round_trip(when, "Z"), "2026-01-31T12:00:05.1234567Z");
        assert_eq!(round_trip(datetime!(2026-01-31 12:00:05.5 UTC), "Z"), "2026-01-31T12:00:05.5Z");
        assert_eq!(round_trip(datetime!(0001-01-01 0:00 UTC), "+00:00"), "0001-01-01T00:00:00+00:00");
    }

    #[test]
    fn scalars_become_dotnet_text() {
        let cases = [
            (json!("o-17"), "o-17"),
            (json!(3), "3"),
            (json!(-1.5), "-1.5"),
            (json!(1e3), "1000"),
            (json!(1e15), "1E+15"),
            (json!(0.00001), "1E-05"),
            (json!(true), "True"),
            (json!("2026-01-31T11:59:00Z"), "01/31/2026 11:59:00"),
            (json!("2026-01-31T11:59:00.5+02:00"), "01/31/2026 09:59:00"),
            (json!("2026-01-31"), "2026-01-31"),
            (json!("2026-01-31T25:00:00Z"), "2026-01-31T25:00:00Z"),
        ];
        for (value, text) in cases {
            assert_eq!(to_text(&value).as_deref(), Some(text));
        }
        assert_eq!(to_text(&json!([1])), None);
    }

    #[test]
    fn dates_inside_objects_lose_trailing_zeros() {
        let value = json!({ "at": ["2026-01-31T11:59:00.100Z", "2026-01-31T11:59:00+01:00", "soon"] });
        let expected = json!({ "at": ["2026-01-31T11:59:00.1Z", "2026-01-31T10:59:00+00:00", "soon"] });
        assert_eq!(reparsed(&value), expected);
    }

    #[test]
    fn time_spans_are_read_as_dotnet_reads_them() {
        let cases = [
            ("00:05:00", Some(300.0)),
            ("00:00:00.80", Some(0.8)),
            ("1.00:00:01", Some(86401.0)),
            ("1:30", Some(5400.0)),
            ("2", Some(172_800.0)),
            ("-1", None),
            ("24:00:00", None),
            ("5m", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(time_span(text), seconds.map(Duration::from_secs_f64), "{text}");
        }
    }
}
