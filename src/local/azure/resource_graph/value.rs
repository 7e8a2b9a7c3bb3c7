//! The values that queries deal with, and how they are held against each other.

use std::{borrow::Cow, cmp::Ordering, time::Duration};

use serde_json::{Value, json};
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use crate::local::azure::answer::iso;

/// What a column holds. `Dynamic` may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Long,
    Real,
    Bool,
    Date,
    Span,
    Dynamic,
}

impl Type {
    /// As the table format names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Type::Text => "string",
            Type::Long => "integer",
            Type::Real => "number",
            Type::Bool => "boolean",
            Type::Date => "datetime",
            Type::Span => "timespan",
            Type::Dynamic => "object",
        }
    }

    /// Whether two can be compared at all.
    pub(super) fn compares_with(self, other: Self) -> bool {
        let is_number = |kind| matches!(kind, Type::Long | Type::Real);
        self == other
            || self == Type::Dynamic
            || other == Type::Dynamic
            || (is_number(self) && is_number(other))
    }
}

/// A value, borrowed from what is queried as far as can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum<'a> {
    Null,
    Bool(bool),
    Long(i64),
    Real(f64),
    Text(Cow<'a, str>),
    Date(OffsetDateTime),
    Span(Duration),
    /// A list or an object.
    Json(Cow<'a, Value>),
}

impl<'a> Datum<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Datum::Text(Cow::Borrowed(text))
    }

    pub(super) fn owned(text: String) -> Self {
        Datum::Text(Cow::Owned(text))
    }

    /// What a JSON value is.
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Datum::Null,
            Value::Bool(truth) => Datum::Bool(*truth),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Datum::Long(whole),
                None => number.as_f64().map_or(Datum::Null, Datum::Real),
            },
            Value::String(text) => Datum::text(text),
            Value::Array(_) | Value::Object(_) => Datum::Json(Cow::Borrowed(value)),
        }
    }

    /// The same, borrowed.
    pub(super) fn borrowed(&self) -> Datum<'_> {
        match self {
            Datum::Text(text) => Datum::text(text),
            Datum::Json(json) => Datum::Json(Cow::Borrowed(json)),
            plain => plain.clone(),
        }
    }

    /// The same, on its own.
    pub(super) fn into_owned(self) -> Datum<'static> {
        match self {
            Datum::Null => Datum::Null,
            Datum::Bool(truth) => Datum::Bool(truth),
            Datum::Long(number) => Datum::Long(number),
            Datum::Real(number) => Datum::Real(number),
            Datum::Text(text) => Datum::owned(text.into_owned()),
            Datum::Date(date) => Datum::Date(date),
            Datum::Span(span) => Datum::Span(span),
            Datum::Json(json) => Datum::Json(Cow::Owned(json.into_owned())),
        }
    }

    /// As JSON.
    pub(super) fn into_json(self) -> Value {
        match self {
            Datum::Null => Value::Null,
            Datum::Bool(truth) => json!(truth),
            Datum::Long(number) => json!(number),
            Datum::Real(number) => json!(number),
            Datum::Text(text) => Value::String(text.into_owned()),
            Datum::Date(date) => json!(iso(date)),
            Datum::Span(span) => json!(clock(span)),
            Datum::Json(json) => json.into_owned(),
        }
    }

    /// As text; what is null is the empty one.
    pub(super) fn into_text(self) -> Cow<'a, str> {
        match self {
            Datum::Text(text) => text,
            Datum::Null => Cow::Borrowed(""),
            other => match other.into_json() {
                Value::String(text) => Cow::Owned(text),
                other => Cow::Owned(other.to_string()),
            },
        }
    }

    /// A member of an object.
    pub(super) fn member(self, name: &str) -> Self {
        match self {
            Datum::Json(Cow::Borrowed(json)) => json.get(name).map_or(Datum::Null, Datum::of),
            Datum::Json(Cow::Owned(json)) => {
                json.get(name).map_or(Datum::Null, |found| Datum::of(found).into_owned())
            }
            _ => Datum::Null,
        }
    }

    /// An element of a list.
    pub(super) fn item(self, at: usize) -> Self {
        match self {
            Datum::Json(Cow::Borrowed(json)) => json.get(at).map_or(Datum::Null, Datum::of),
            Datum::Json(Cow::Owned(json)) => {
                json.get(at).map_or(Datum::Null, |found| Datum::of(found).into_owned())
            }
            _ => Datum::Null,
        }
    }

    /// The order of two of one kind; `None` for two that have none.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Datum::Text(a), Datum::Text(b)) => Some(a.cmp(b)),
            (Datum::Bool(a), Datum::Bool(b)) => Some(a.cmp(b)),
            (Datum::Long(a), Datum::Long(b)) => Some(a.cmp(b)),
            (Datum::Date(a), Datum::Date(b)) => Some(a.cmp(b)),
            (Datum::Span(a), Datum::Span(b)) => Some(a.cmp(b)),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Kusto compares whole numbers with others as these")]
    fn number(&self) -> Option<f64> {
        match self {
            Datum::Long(number) => Some(*number as f64),
            Datum::Real(number) => Some(*number),
            _ => None,
        }
    }
}

/// A moment out of text: RFC 3339, or a date alone.
pub(super) fn moment(text: &str) -> Option<OffsetDateTime> {
    let date = || Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| Some(date()?.midnight().assume_utc()))
}

/// `hh:mm:ss`, with days before and parts of a second behind if there are any.
pub(super) fn clock(span: Duration) -> String {
    let (seconds, parts) = (span.as_secs(), span.subsec_nanos() / 100);
    let days = match seconds / 86_400 {
        0 => String::new(),
        days => format!("{days}."),
    };
    let parts = if parts == 0 { String::new() } else { format!(".{parts:07}") };
    format!("{days}{:02}:{:02}:{:02}{parts}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_kusto_writes_them() {
        for (millis, text) in [(5_000, "00:00:05"), (90_061_500, "1.01:01:01.5000000")] {
            assert_eq!(clock(Duration::from_millis(millis)), text);
        }
        assert_eq!(moment("2026-03-01"), moment("2026-03-01T00:00:00.0000000Z"));
        assert_eq!(moment("soon"), None);
    }
}
