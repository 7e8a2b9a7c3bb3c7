//! From what a queue or a trigger delivers to a list of events.
//!
//! Event Grid puts base64 into storage queues and plain JSON into Service Bus; the Functions host
//! wraps text into JSON strings; a person pastes whatever is at hand. All of these hold the same
//! events, and this module finds them.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use super::fields::member;

/// How many strings may be wrapped around each other.
const MAX_STRINGS: usize = 3;

/// Padding is optional: people lose it when they copy.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why there are no events in a text at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseError {
    /// Nothing but white space.
    #[error("the message is empty")]
    Empty,
    /// Neither JSON nor base64 of JSON.
    #[error("the message is neither JSON nor base64 of JSON")]
    NotJson,
    /// More strings around each other than any sender makes.
    #[error("the message is wrapped in more than {MAX_STRINGS} strings")]
    TooDeep,
    /// JSON, but a number, a boolean or null.
    #[error("the message is neither an event nor a list of events")]
    NotEvents,
}

/// Finds the events in a message's text.
pub(super) fn from_text(text: &str) -> Result<Vec<Value>, ParseError> {
    read(text).and_then(|value| events(value, 0))
}

/// Finds the events in a decoded value.
pub(super) fn from_value(value: &Value) -> Result<Vec<Value>, ParseError> {
    events(value.clone(), 0)
}

/// Undoes strings and the envelope. `depth` counts the strings so far.
fn events(value: Value, depth: usize) -> Result<Vec<Value>, ParseError> {
    match unwrap_strings(value, depth)? {
        (Value::Array(list), depth) => {
            // An element that cannot be unwrapped stays as it is, and gets its own verdict.
            let element = |element: Value| match unwrap_strings(element.clone(), depth) {
                Ok((inner, _)) => inner,
                Err(_) => element,
            };
            Ok(list.into_iter().map(element).collect())
        }
        (Value::Object(object), depth) => match enveloped(&object) {
            // One more string is counted, so that envelopes cannot be nested without end either.
            Some(inner) => events(inner.clone(), depth + 1),
            None => Ok(vec![Value::Object(object)]),
        },
        _ => Err(ParseError::NotEvents),
    }
}

fn unwrap_strings(mut value: Value, mut depth: usize) -> Result<(Value, usize), ParseError> {
    loop {
        if depth > MAX_STRINGS {
            return Err(ParseError::TooDeep);
        }
        let Value::String(text) = value else { return Ok((value, depth)) };
        value = read(&text)?;
        depth += 1;
    }
}

/// The only binding of a call's envelope. An event has a type, and `data` in lower case.
fn enveloped(object: &Map<String, Value>) -> Option<&Value> {
    if member(object, "eventType").is_some() || member(object, "type").is_some() {
        return None;
    }
    let bindings = object.get("Data")?.as_object()?;
    bindings.values().next().filter(|_| bindings.len() == 1)
}

/// JSON, or base64 of JSON. No text is both, except for numbers, which are no events.
fn read(text: &str) -> Result<Value, ParseError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(ParseError::Empty);
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let compact: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(compact).map_err(|_| ParseError::NotJson)?;
    let inner = std::str::from_utf8(&bytes).map_err(|_| ParseError::NotJson)?;
    serde_json::from_str(inner.trim_start_matches('\u{feff}')).map_err(|_| ParseError::NotJson)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quoted(text: &str, times: usize) -> String {
        (0..times).fold(text.to_owned(), |text, _| Value::String(text).to_string())
    }

    #[test]
    fn the_same_event_in_all_its_wrappings() {
        let event = json!({"type": "t", "source": "s"});
        let json = event.to_string();
        let base64 = BASE64.encode(&json);
        let mut wrapped = vec![
            base64.clone(),
            base64.trim_end_matches('=').to_owned(),
            format!("\u{feff} {json}\n"),
            format!("[{json}]"),
            format!("[{}]", quoted(&json, 1)),
            json!({"Data": {"event": event}, "Metadata": {}}).to_string(),
            json!({"Data": {"events": format!("[{json}]")}}).to_string(),
            json!({"Data": {"item": quoted(&base64, 1)}}).to_string(),
            BASE64.encode(quoted(&json, 1)),
        ];
        wrapped.extend((0..=3).map(|times| quoted(&json, times)));
        wrapped.extend((0..=2).map(|times| quoted(&base64, times)));
        for text in wrapped {
            assert_eq!(from_text(&text).as_deref(), Ok(&[event.clone()][..]), "{text}");
        }
    }

    #[test]
    fn texts_without_events() {
        let json = "{}";
        for (text, error) in [
            ("", ParseError::Empty),
            (" \u{feff}", ParseError::NotJson),
            ("\u{feff} ", ParseError::Empty),
            ("hello world", ParseError::NotJson),
            ("{\"a\":", ParseError::NotJson),
            ("42", ParseError::NotEvents),
            ("null", ParseError::NotEvents),
            ("AP8QIA==", ParseError::NotJson),
            ("\"\"", ParseError::Empty),
            (&quoted(json, 4), ParseError::TooDeep),
        ] {
            assert_eq!(from_text(text), Err(error), "{text}");
        }
        assert_eq!(from_text("[]"), Ok(vec![]));
    }

    #[test]
    fn nesting_has_an_end() {
        assert_eq!(from_text(&"[".repeat(100_000)), Err(ParseError::NotJson));
        let mut envelope = json!({"a": 1});
        for _ in 0..30 {
            envelope = json!({"Data": {"x": envelope}});
        }
        assert_eq!(from_text(&envelope.to_string()), Err(ParseError::TooDeep));
    }

    #[test]
    fn an_event_with_odd_case_is_no_envelope() {
        let event = json!({"EventType": "t", "Data": {"OperationName": {"a": 1}}});
        assert_eq!(from_value(&event), Ok(vec![event]));
    }
}
