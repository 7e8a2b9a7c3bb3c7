//! Durations the way Azure writes them: ISO 8601, such as `PT1H`.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

/// A duration of days, hours, minutes and seconds. Compared by length: `PT60M` is `PT1H`.
#[derive(Clone)]
pub struct IsoDuration {
    text: String,
    seconds: u64,
}

impl IsoDuration {
    /// Parses `P1DT2H3M4S` and shorter forms. Years, months, weeks and fractions are not taken:
    /// the service's ranges end at days.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('P')?;
        let (date, time) = match rest.split_once('T') {
            Some((_, "")) => return None,
            Some((date, time)) => (date, time),
            None if rest.is_empty() => return None,
            None => (rest, ""),
        };
        let days = units(date, &[('D', 86_400)])?;
        let below = units(time, &[('H', 3600), ('M', 60), ('S', 1)])?;
        Some(Self { text: text.to_owned(), seconds: days.checked_add(below)? })
    }

    /// Its length.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Its length.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Adds up numbers with units, which must come in the given order, each at most once.
fn units(text: &str, mut allowed: &[(char, u64)]) -> Option<u64> {
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?;
        let at = allowed.iter().position(|(letter, _)| *letter == unit)?;
        total = total.checked_add(number.checked_mul(allowed[at].1)?)?;
        allowed = &allowed[at + 1..];
        rest = &rest[end + 1..];
    }
    Some(total)
}

impl PartialEq for IsoDuration {
    fn eq(&self, other: &Self) -> bool {
        self.seconds == other.seconds
    }
}

impl Eq for IsoDuration {}

impl fmt::Display for IsoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for IsoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for IsoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::IsoDuration;

    #[test]
    fn durations_are_read_as_azure_writes_them() {
        for (text, seconds) in [
            ("PT1H", Some(3600)),
            ("PT15S", Some(15)),
            ("P2D", Some(172_800)),
            ("P1DT2H3M4S", Some(93_784)),
            ("PT90M", Some(5400)),
            ("PT", None),
            ("P", None),
            ("1H", None),
            ("PT1", None),
            ("PT1S1M", None),
            ("PT1M1M", None),
            ("P1W", None),
            ("PT0.5S", None),
            ("PT-1S", None),
            ("PT99999999999999999999S", None),
            ("PTéS", None),
        ] {
            assert_eq!(IsoDuration::parse(text).map(|d| d.seconds()), seconds, "{text}");
        }
        assert_eq!(IsoDuration::parse("PT60M"), IsoDuration::parse("PT1H"));
    }
}
