//! One call by the Functions host: headers and body in, undone of the host's encodings.
//!
//! The host sends `{"Data":{…},"Metadata":{…}}` and encodes each member by its .NET type: what can
//! be written as a JSON *object* arrives inline, bytes arrive as base64, dates as bare text, and
//! **everything else (text, numbers, arrays) arrives as a string that holds JSON**. A queue message
//! `{"a":1}` is therefore a string holding a string literal holding an object. [`HostValue`] is the
//! only place that knows this; triggers and [`Metadata`] are built on it.
//!
//! Invariants: nothing here panics on any input; neither `Debug` nor an error quotes a value of the
//! body, because bodies hold keys and customers' data.
//!
//! Source: `ScriptInvocationContextExtensions.cs` and `DefaultHttpWorkerService.cs` in
//! <https://github.com/Azure/azure-functions-host> (`src/WebJobs.Script/Workers/`).

use std::{borrow::Cow, fmt};

use http::HeaderMap;
use serde_json::{Map, Value};

use super::{metadata::Metadata, trace::TraceParent};

/// Longest header value that is taken over as an id.
const MAX_ID_LEN: usize = 128;
/// Longest `tracestate` that is passed on; W3C asks for at least 512 characters.
const MAX_TRACESTATE_LEN: usize = 2048;

/// What the request's headers say about a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvocationHead {
    /// The function's name: the request's path, and the folder of its `function.json`.
    pub function: String,
    /// New for each delivery, but the same for all attempts of one retry policy.
    pub id: Option<String>,
    /// Version of the host, for example `4.1037.0.0`.
    pub host_version: Option<String>,
    /// Parent span, if the host traces.
    pub traceparent: Option<TraceParent>,
    /// Vendors' part of the trace context, as received.
    pub tracestate: Option<String>,
}

impl InvocationHead {
    /// Reads the headers; what is missing or not plain text is left out.
    pub fn parse(function: &str, headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            (!value.is_empty() && value.len() <= MAX_ID_LEN).then(|| value.to_owned())
        };
        let traceparent = headers.get("traceparent").and_then(|v| TraceParent::parse(v.to_str().ok()?));
        let states: Vec<&str> =
            headers.get_all("tracestate").iter().filter_map(|v| v.to_str().ok()).collect();
        let tracestate = Some(states.join(","))
            .filter(|text| traceparent.is_some() && !text.is_empty() && text.len() <= MAX_TRACESTATE_LEN);
        Self {
            function: function.to_owned(),
            id: text("x-azure-functions-invocationid"),
            host_version: text("x-azure-functions-hostversion"),
            traceparent,
            tracestate,
        }
    }
}

/// One call: who is called, by which host, with what.
#[derive(Clone)]
pub struct Invocation {
    /// What the headers say.
    pub head: InvocationHead,
    /// The bindings' values, by binding name, still encoded: read them with [`Invocation::binding`].
    data: Map<String, Value>,
    /// What the host adds about the trigger; not to be trusted, see there.
    pub metadata: Metadata,
}

/// Why a body is not an envelope at all. That is between the host and us, never the trigger's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Broken, too deeply nested or not UTF-8.
    #[error("the request's body is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
    /// JSON, but a list or a scalar.
    #[error("the request's body is {0} instead of a JSON object")]
    NotAnObject(&'static str),
    /// `Data` or `Metadata` has the wrong type, or there is no `Data`.
    #[error("`{member}` of the request's body is {found} instead of an object")]
    Member {
        /// `Data` or `Metadata`.
        member: &'static str,
        /// What was there.
        found: &'static str,
    },
}

/// Why a call's data is not what the function takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The binding named at registration was not sent: `function.json` and the code disagree.
    #[error("the host sent no binding `{binding}`, but {found}")]
    Missing {
        /// The name given at registration.
        binding: String,
        /// The names that were sent.
        found: String,
    },
    /// No name was given at registration, and there is not exactly one to choose from.
    #[error("the trigger's binding was not named at registration and the host sent {found}")]
    Ambiguous {
        /// The names that were sent.
        found: String,
    },
    /// The binding is there and holds something else.
    #[error("binding `{binding}` should be {expected} and is {found}")]
    Shape {
        /// The binding's name.
        binding: String,
        /// What the trigger sends.
        expected: &'static str,
        /// What was there, in words.
        found: &'static str,
    },
}

impl DecodeError {
    /// Whether another delivery would fail in the same way. A wrong binding name is *not* of that
    /// kind: it is put right by a deployment, and the messages should still be there then.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Shape { .. })
    }
}

impl Invocation {
    /// Parses a body. Doubled keys count once, the last wins; unknown members are ignored.
    pub fn parse(head: InvocationHead, body: &[u8]) -> Result<Self, EnvelopeError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|err| EnvelopeError::NotJson { line: err.line(), column: err.column() })?;
        let Value::Object(mut envelope) = value else {
            return Err(EnvelopeError::NotAnObject(kind(&value)));
        };
        let data = match envelope.remove("Data") {
            Some(Value::Object(data)) => data,
            other => {
                let found = other.as_ref().map_or("missing", kind);
                return Err(EnvelopeError::Member { member: "Data", found });
            }
        };
        let metadata = match envelope.remove("Metadata") {
            Some(Value::Object(metadata)) => metadata,
            None | Some(Value::Null) => Map::new(),
            Some(other) => {
                return Err(EnvelopeError::Member { member: "Metadata", found: kind(&other) });
            }
        };
        Ok(Self { head, data, metadata: Metadata::new(metadata) })
    }

    /// The binding of the given name, or the only one.
    pub fn binding<'a>(&'a self, wanted: Option<&str>) -> Result<Binding<'a>, DecodeError> {
        let found = || match self.data.len() {
            0 => "none at all".to_owned(),
            _ => self
                .data
                .keys()
                .take(8)
                .map(|name| format!("`{}`", clip(name)))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let entry = match wanted {
            Some(name) => self.data.get_key_value(name),
            None if self.data.len() == 1 => self.data.iter().next(),
            None => None,
        };
        match (entry, wanted) {
            (Some((name, value)), _) => Ok(Binding { name, value: HostValue(value) }),
            (None, Some(name)) => Err(DecodeError::Missing { binding: name.to_owned(), found: found() }),
            (None, None) => Err(DecodeError::Ambiguous { found: found() }),
        }
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, data, metadata } = self;
        f.debug_struct("Invocation")
            .field("head", head)
            .field("data", &data.keys().collect::<Vec<_>>())
            .field("metadata", metadata)
            .finish()
    }
}

/// A binding's name and value.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    /// As in `function.json`.
    pub name: &'a str,
    /// Still encoded.
    pub value: HostValue<'a>,
}

impl Binding<'_> {
    /// The error for a value of the wrong shape.
    pub fn shape_error(&self, expected: &'static str, found: &'static str) -> DecodeError {
        DecodeError::Shape { binding: clip(self.name), expected, found }
    }
}

/// A member of `Data` or `Metadata` as the host wrote it.
#[derive(Clone, Copy)]
pub struct HostValue<'a>(pub(super) &'a Value);

impl<'a> HostValue<'a> {
    /// The value as text: a string literal inside the string is undone, anything else in the string
    /// is the text itself. An inline object (which no host sends for text) gives its compact JSON.
    pub fn text(self) -> Cow<'a, str> {
        match self.0 {
            Value::String(outer) => match serde_json::from_str::<String>(outer) {
                Ok(inner) => Cow::Owned(inner),
                Err(_) => Cow::Borrowed(outer),
            },
            other => Cow::Owned(other.to_string()),
        }
    }

    /// The value as JSON: inline, in a string, or in a string in a string. Text that is not JSON
    /// stays a string.
    pub fn json(self) -> Cow<'a, Value> {
        let mut value = Cow::Borrowed(self.0);
        for _ in 0..2 {
            let Value::String(text) = value.as_ref() else { break };
            match serde_json::from_str(text) {
                Ok(inner) => value = Cow::Owned(inner),
                Err(_) => break,
            }
        }
        value
    }

    /// The string as the host wrote it, with nothing undone: dates and base64 come this way.
    pub fn bare(self) -> Option<&'a str> {
        self.0.as_str()
    }

    /// The value as a number, if it has the shape that the host gives a number: bare, or the digits
    /// in a string. A number in quotes *inside* the string was text in the payload.
    pub fn number(self) -> Option<u64> {
        match self.0 {
            Value::Number(number) => number.as_u64(),
            Value::String(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The value as an inline object.
    pub fn object(self) -> Option<&'a Map<String, Value>> {
        self.0.as_object()
    }
}

/// A value's type in words, for errors.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A name short enough for an error.
fn clip(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &str) -> Result<Invocation, EnvelopeError> {
        Invocation::parse(InvocationHead::default(), body.as_bytes())
    }

    #[test]
    fn text_is_decoded_twice_and_never_a_third_time() {
        for (sent, text) in [
            (json!("\"hello\""), "hello"),
            (json!("hello"), "hello"),
            (json!("\"{\\\"a\\\":1}\""), "{\"a\":1}"),
            (json!("\"42\""), "42"),
            (json!("42"), "42"),
            (json!("\"\\\"quoted\\\"\""), "\"quoted\""),
            (json!("\"broken \\ud800\""), "\"broken \\ud800\""),
            (json!({"a": 1}), "{\"a\":1}"),
            (json!(""), ""),
        ] {
            assert_eq!(HostValue(&sent).text(), text, "{sent}");
        }
    }

    #[test]
    fn json_is_found_at_each_level() {
        let list = json!([1, 2]);
        for sent in [json!([1, 2]), json!("[1,2]"), json!("\"[1,2]\"")] {
            assert_eq!(*HostValue(&sent).json(), list, "{sent}");
        }
        assert_eq!(*HostValue(&json!("\"plain\"")).json(), json!("plain"));
    }

    #[test]
    fn a_number_in_quotes_was_text() {
        assert_eq!(HostValue(&json!("3")).number(), Some(3));
        assert_eq!(HostValue(&json!(3)).number(), Some(3));
        for odd in [
            json!("\"3\""),
            json!(""),
            json!("-1"),
            json!("+3"),
            json!(1.5),
            json!(null),
            json!("99999999999999999999"),
        ] {
            assert_eq!(HostValue(&odd).number(), None, "{odd}");
        }
    }

    #[test]
    fn envelopes_that_are_none() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for body in [
            "",
            "null",
            "[]",
            "42",
            "{",
            "{}",
            "{\"Data\":null}",
            "{\"Data\":[]}",
            "{\"Data\":\"{}\"}",
            "{\"Data\":{},\"Metadata\":[]}",
            "{\"Data\":{\"a\":\"\\ud800\"}}",
            "{\"data\":{}}",
            &deep,
        ] {
            assert!(parse(body).is_err(), "{body}");
        }
        assert!(Invocation::parse(InvocationHead::default(), b"{\"Data\":{\"a\":\"\xff\"}}").is_err());
        assert!(parse("{\"Data\":{},\"Metadata\":null,\"More\":1}").is_ok());
        assert!(parse("{\"Data\":{\"a\":1,\"a\":2}}").is_ok());
    }

    #[test]
    fn the_binding_is_the_named_one_or_the_only_one() {
        let one = parse(r#"{"Data":{"item":"1"}}"#).unwrap();
        assert_eq!(one.binding(None).unwrap().name, "item");
        let err = one.binding(Some("Item")).map(|b| b.name).unwrap_err();
        assert_eq!(err.to_string(), "the host sent no binding `Item`, but `item`");
        assert!(!err.is_permanent());
        let two = parse(r#"{"Data":{"a":"1","b":"2"}}"#).unwrap();
        assert_eq!(two.binding(Some("b")).unwrap().name, "b");
        assert!(two.binding(None).is_err());
        let none = parse(r#"{"Data":{}}"#).unwrap();
        let err = none.binding(Some("item")).map(|b| b.name).unwrap_err();
        assert_eq!(err.to_string(), "the host sent no binding `item`, but none at all");
        assert!(none.binding(None).is_err());
    }

    #[test]
    fn ids_and_traces_of_unreasonable_length_are_left_out() {
        let head = |id: &str, states: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-azure-functions-invocationid", id.parse().unwrap());
            let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            headers.insert("traceparent", parent.parse().unwrap());
            for state in states {
                headers.append("tracestate", state.parse().unwrap());
            }
            InvocationHead::parse("F", &headers)
        };
        assert_eq!(head(&"x".repeat(128), &[]).id, Some("x".repeat(128)));
        assert_eq!(head(&"x".repeat(129), &[]).id, None);
        assert_eq!(head("", &[]).id, None);
        assert_eq!(head("x", &["a=1", "b=2"]).tracestate.as_deref(), Some("a=1,b=2"));
        assert_eq!(head("x", &[&"a".repeat(2048)]).tracestate.map(|text| text.len()), Some(2048));
        assert_eq!(head("x", &[&"a".repeat(2049)]).tracestate, None);
        assert_eq!(head("x", &[]).tracestate, None);
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let call =
            parse(r#"{"Data":{"req":{"Url":"secret"}},"Metadata":{"Headers":{"x-functions-key":"secret"}}}"#);
        let text = format!("{:?}", call.unwrap());
        assert!(text.contains("req") && text.contains("Headers") && !text.contains("secret"), "{text}");
    }
}
