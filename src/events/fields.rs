//! Lenient access to an event's members: any case, any type, JSON in strings.

use std::borrow::Cow;

use serde_json::{Map, Value};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Longest id that is taken over from an event.
const MAX_ID_LEN: usize = 256;

/// A member by its name, in any case; the exact spelling first.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// A member that is text and not empty.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    member(object, name)?.as_str().filter(|text| !text.is_empty())
}

/// A member that is an object, or text that holds one.
pub(super) fn object<'a>(object: &'a Map<String, Value>, name: &str) -> Option<Cow<'a, Map<String, Value>>> {
    match member(object, name)? {
        Value::Object(inner) => Some(Cow::Borrowed(inner)),
        Value::String(json) => serde_json::from_str(json).ok().map(Cow::Owned),
        _ => None,
    }
}

/// A member that could be an id: printable and not long.
pub(super) fn id(object: &Map<String, Value>, name: &str) -> Option<String> {
    text(object, name)
        .filter(|id| id.len() <= MAX_ID_LEN && !id.chars().any(char::is_control))
        .map(str::to_owned)
}

/// A GUID, with dashes as claims have it or without as role evidence has it.
pub(super) fn guid(text: &str) -> Option<Uuid> {
    match text.len() {
        32 | 36 => Uuid::try_parse(text).ok(),
        _ => None,
    }
}

/// An event's time, in UTC.
pub(super) fn time(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn members_in_any_case_and_any_wrapping() {
        let event =
            json!({"EventType": "a", "claims": "{\"appid\":\"x\"}", "junk": "{x}", "list": [], "empty": ""});
        let event = event.as_object().unwrap();
        assert_eq!(text(event, "eventType"), Some("a"));
        assert_eq!(text(event, "empty"), None);
        assert_eq!(object(event, "claims").unwrap().get("appid"), Some(&json!("x")));
        for name in ["junk", "list", "missing"] {
            assert!(object(event, name).is_none(), "{name}");
        }
    }

    #[test]
    fn guids_and_times() {
        assert_eq!(guid("2b0c5f0e7a554d0c9a3e0d4f6a1c9e77"), guid("2B0C5F0E-7A55-4D0C-9A3E-0D4F6A1C9E77"));
        assert!(guid("2b0c5f0e7a554d0c9a3e0d4f6a1c9e77").is_some());
        assert_eq!(guid("{2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77}"), None);
        assert_eq!(time("2018-07-03T23:20:52.646434+00:00"), Some(datetime!(2018-07-03 23:20:52.646434 UTC)));
        assert_eq!(time("2018-07-19T19:24:12.763881Z"), Some(datetime!(2018-07-19 19:24:12.763881 UTC)));
        assert_eq!(time("9999-12-31T23:59:59-01:00"), None);
        assert_eq!(time("yesterday"), None);
    }
}
