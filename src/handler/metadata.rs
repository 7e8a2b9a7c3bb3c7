//! What the host says about a trigger besides its data: counts, ids and times.
//!
//! **Nothing here can be trusted.** For queue and Service Bus messages the host copies the
//! properties of a JSON payload over its own values (`Utility.ApplyBindingData` in
//! <https://github.com/Azure/azure-functions-host>), so whoever writes the message can set most of
//! them. Each accessor takes only the shape that the host itself would write, which catches the
//! copies that differ in shape (`DequeueCount` of a payload arrives quoted) and leaves the rest
//! good for logs, not for decisions. A value of another shape counts as absent.

use std::fmt;

use serde_json::{Map, Value};
use time::{
    OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::well_known::Rfc3339,
    macros::format_description,
};
use uuid::Uuid;

use super::invocation::HostValue;

/// Highest count that is believed. Real delivery counts stay below 2000.
const MAX_COUNT: u64 = 1_000_000;

/// The `Metadata` member of a call.
#[derive(Clone, Default)]
pub struct Metadata {
    values: Map<String, Value>,
}

/// How often the host has tried, when `function.json` or `host.json` has a retry policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryContext {
    /// Attempts before this one; 0 the first time.
    pub retry_count: u32,
    /// The policy's limit; `None` if it has none.
    pub max_retry_count: Option<u32>,
}

impl Metadata {
    pub(super) fn new(values: Map<String, Value>) -> Self {
        Self { values }
    }

    /// The value of exactly this name. Names differing in case are a payload's.
    pub fn get(&self, name: &str) -> Option<HostValue<'_>> {
        self.values.get(name).map(HostValue)
    }

    /// A small number, such as `DequeueCount`.
    pub fn count(&self, name: &str) -> Option<u32> {
        self.get(name)?.number().filter(|n| *n <= MAX_COUNT).and_then(|n| n.try_into().ok())
    }

    /// A number as Service Bus assigns it, such as `SequenceNumber`.
    pub fn sequence(&self, name: &str) -> Option<i64> {
        self.get(name)?.number()?.try_into().ok()
    }

    /// A text of at most `max` characters without control characters, such as `MessageId`.
    pub fn text(&self, name: &str, max: usize) -> Option<String> {
        let value = self.get(name)?;
        value.bare()?;
        Some(value.text()).filter(|text| is_name(text, max)).map(|text| text.into_owned())
    }

    /// A GUID, such as a queue message's `Id`.
    pub fn guid(&self, name: &str) -> Option<Uuid> {
        let text = self.text(name, 36)?;
        (text.len() == 36).then(|| Uuid::try_parse(&text).ok())?
    }

    /// A time, in UTC.
    pub fn time(&self, name: &str) -> Option<OffsetDateTime> {
        parse_time(self.get(name)?.bare()?)
    }

    /// An inline object, such as `ApplicationProperties`.
    pub fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.get(name)?.object()
    }

    /// The list that `cardinality: many` sends for `name`, provided that it has `len` elements.
    pub fn list(&self, name: &str, len: usize) -> Option<Vec<Value>> {
        match self.get(&format!("{name}Array"))?.json().into_owned() {
            Value::Array(list) if list.len() == len => Some(list),
            _ => None,
        }
    }

    /// The retry policy's counts, if there is one.
    pub fn retry(&self) -> Option<RetryContext> {
        let retry = self.object("RetryContext")?;
        let count = |name| HostValue(retry.get(name)?).number().filter(|n| *n <= MAX_COUNT);
        Some(RetryContext {
            retry_count: count("RetryCount")?.try_into().ok()?,
            max_retry_count: count("MaxRetryCount").and_then(|n| n.try_into().ok()),
        })
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Whether `text` could be an id or a label: not empty, not long, printable.
pub(super) fn is_name(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

/// A date as .NET writes it: with offset and up to seven decimals, or with neither, which is UTC on
/// Azure's hosts. .NET's "no date", the year 1, is `None`.
pub(super) fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let local = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]");
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(text, &local).map(PrimitiveDateTime::assume_utc))
        .ok()?;
    time.checked_to_offset(UtcOffset::UTC).filter(|time| time.year() > 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn metadata(values: Value) -> Metadata {
        Metadata::new(values.as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("2026-01-31T12:00:00", Some(datetime!(2026-01-31 12:00 UTC))),
            ("2026-01-31T12:00:00+00:00", Some(datetime!(2026-01-31 12:00 UTC))),
            ("2026-01-31T13:00:00.0131415+01:00", Some(datetime!(2026-01-31 12:00:00.0131415 UTC))),
            ("2026-01-31T12:00:05.1234567Z", Some(datetime!(2026-01-31 12:00:05.1234567 UTC))),
            ("9999-12-31T23:59:59+00:00", Some(datetime!(9999-12-31 23:59:59 UTC))),
            ("9999-12-31T23:59:59-01:00", None),
            ("0001-01-01T00:00:00+00:00", None),
            ("0001-01-01T00:00:00+14:00", None),
            ("01/31/2026 11:59:00", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn a_payload_cannot_pass_for_a_count_or_a_message_id() {
        let spoofed =
            metadata(json!({"DequeueCount": "\"99\"", "Id": "\"payload-id\"", "MessageId": {"a": 1}}));
        assert_eq!(spoofed.count("DequeueCount"), None);
        assert_eq!(spoofed.guid("Id"), None);
        assert_eq!(spoofed.text("MessageId", 128), None);
        let own = metadata(json!({"DequeueCount": "3", "Id": "\"c4e5f2a0-0b0e-4c4d-8a3e-2f4d4a6f1b11\""}));
        assert_eq!(own.count("DequeueCount"), Some(3));
        assert!(own.guid("Id").is_some());
        assert_eq!(own.count("dequeueCount"), None);
    }

    #[test]
    fn texts_have_a_length_and_no_control_characters() {
        let values = metadata(
            json!({"a": "\"fine\"", "b": "\"line\\nbreak\"", "c": "\"longer\"", "d": "\"\"", "e": 1}),
        );
        assert_eq!(values.text("a", 4).as_deref(), Some("fine"));
        for name in ["b", "c", "d", "e", "f"] {
            assert_eq!(values.text(name, 4), None, "{name}");
        }
    }

    #[test]
    fn retry_counts() {
        let first =
            metadata(json!({"RetryContext": {"RetryCount": 0, "MaxRetryCount": 2, "Exception": null}}));
        assert_eq!(first.retry(), Some(RetryContext { retry_count: 0, max_retry_count: Some(2) }));
        assert_eq!(metadata(json!({"RetryContext": {"RetryCount": -1}})).retry(), None);
        assert_eq!(metadata(json!({"RetryContext": "{}"})).retry(), None);
    }
}
