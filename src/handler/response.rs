//! What a function answers, in a form from which the host cannot read anything else.
//!
//! The host *guesses*: a text output that happens to be base64 is decoded first (and reaches
//! Service Bus as the words `System.Byte[]`), a text that looks like a list becomes several
//! messages, an object is written out anew with line breaks, an empty answer is waited for until
//! the function times out. The one form it takes literally is a list of texts, so that is the only
//! form [`InvocationResponse`] can write, always inside a complete JSON object.
//!
//! Sources: `HttpScriptInvocationResultExtensions.cs`, `FunctionBinding.cs` and
//! `HttpOutputBindingResponse.cs` in <https://github.com/Azure/azure-functions-host>.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A function's answer to the host: messages for output bindings, and lines for its log.
///
/// ```
/// use hubward::handler::{InvocationResponse, OutputMessage};
///
/// let answer = InvocationResponse::new()
///     .send("work", OutputMessage::json(&["hub-1"]).unwrap())
///     .log("asked for one hub");
/// assert_eq!(
///     serde_json::to_string(&answer).unwrap(),
///     r#"{"Outputs":{"work":["[\"hub-1\"]"]},"Logs":["asked for one hub"],"ReturnValue":null}"#
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvocationResponse {
    outputs: BTreeMap<String, Output>,
    logs: Vec<String>,
    return_value: Option<Output>,
}

/// A binding's value: messages, or the answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Output {
    Messages(Vec<OutputMessage>),
    Http(HttpResponse),
}

/// One message, written exactly like this to a queue or to Service Bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OutputMessage(String);

/// The host rewrites texts that look like a date, so they cannot be sent as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host would rewrite a message that is nothing but a date; send it inside a JSON document")]
pub struct LooksLikeADate;

/// The answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpResponse {
    #[serde(serialize_with = "as_number")]
    status_code: StatusCode,
    headers: BTreeMap<String, String>,
    body: String,
}

impl InvocationResponse {
    /// Success, with nothing to send and nothing to say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message to an output binding. Names are those of `function.json`, case included.
    pub fn send(mut self, binding: &str, message: OutputMessage) -> Self {
        match self.outputs.get_mut(binding) {
            Some(Output::Messages(messages)) => messages.push(message),
            _ => {
                self.outputs.insert(binding.to_owned(), Output::Messages(vec![message]));
            }
        }
        self
    }

    /// Answers an HTTP request through an output binding.
    pub fn http(mut self, binding: &str, response: HttpResponse) -> Self {
        self.outputs.insert(binding.to_owned(), Output::Http(response));
        self
    }

    /// Sends messages through the binding named `$return`, instead of any sent there before.
    pub fn return_messages(mut self, messages: impl IntoIterator<Item = OutputMessage>) -> Self {
        self.return_value = Some(Output::Messages(messages.into_iter().collect()));
        self
    }

    /// Answers an HTTP request through the binding named `$return`.
    pub fn return_http(mut self, response: HttpResponse) -> Self {
        self.return_value = Some(Output::Http(response));
        self
    }

    /// Adds a line to the invocation's log. The host writes each at level Information.
    pub fn log(mut self, line: impl Into<String>) -> Self {
        self.logs.push(line.into());
        self
    }

    /// The lines so far.
    pub fn logs(&self) -> &[String] {
        &self.logs
    }
}

/// Written by hand so that the three names are always there.
impl Serialize for InvocationResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { outputs, logs, return_value } = self;
        let mut object = serializer.serialize_struct("InvocationResponse", 3)?;
        object.serialize_field("Outputs", outputs)?;
        object.serialize_field("Logs", logs)?;
        object.serialize_field("ReturnValue", return_value)?;
        object.end()
    }
}

impl OutputMessage {
    /// A JSON document, on one line. Two characters that XML does not have, in which a queue's messages
    /// travel, are escaped.
    pub fn json(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_string(value)?;
        Ok(Self(text.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")))
    }

    /// Any text.
    pub fn text(text: impl Into<String>) -> Result<Self, LooksLikeADate> {
        let text = text.into();
        if looks_like_a_date(&text) { Err(LooksLikeADate) } else { Ok(Self(text)) }
    }

    /// The text that is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The two forms that the host's JSON reader turns into a date. Rather too many than too few.
fn looks_like_a_date(text: &str) -> bool {
    let text = text.trim();
    let iso = text.len() >= 10
        && text.bytes().zip(b"0000-00-00").take(10).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == b'-',
        });
    iso || text.starts_with("/Date(")
}

impl HttpResponse {
    /// An answer without a body.
    pub fn status(status: StatusCode) -> Self {
        Self { status_code: status, headers: BTreeMap::new(), body: String::new() }
    }

    /// An answer with a JSON body.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::status(status)
            .header("Content-Type", "application/json; charset=utf-8")
            .with_body(serde_json::to_string(value)?))
    }

    /// An answer with a text body. (A body that is nothing but a date would be rewritten.)
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::status(status).header("Content-Type", "text/plain; charset=utf-8").with_body(body.into())
    }

    /// An answer with a page as its body.
    pub fn html(status: StatusCode, body: String) -> Self {
        Self::status(status).header("Content-Type", "text/html; charset=utf-8").with_body(body)
    }

    /// Sets a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.to_owned(), value.into());
        self
    }

    fn with_body(mut self, body: String) -> Self {
        self.body = body;
        self
    }
}

fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn an_empty_answer_is_still_an_object() {
        let empty = serde_json::to_string(&InvocationResponse::new()).unwrap();
        assert_eq!(empty, r#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#);
    }

    #[test]
    fn messages_are_lists_of_texts() {
        let text = |text: &str| OutputMessage::text(text).unwrap();
        let answer = InvocationResponse::new()
            .send("next", OutputMessage::json(&json!({"step": 1})).unwrap())
            .send("next", text("test"))
            .send("audit", text("[1,2]"))
            .return_messages([text("")]);
        assert_eq!(
            to_value(&answer).unwrap(),
            json!({
                "Outputs": {"next": ["{\"step\":1}", "test"], "audit": ["[1,2]"]},
                "Logs": [],
                "ReturnValue": [""],
            })
        );
    }

    #[test]
    fn http_answers_say_status_code() {
        let body = HttpResponse::json(StatusCode::CREATED, &json!({"created": true})).unwrap();
        let answer = to_value(InvocationResponse::new().http("res", body.header("x-my", "1"))).unwrap();
        assert_eq!(
            answer["Outputs"]["res"],
            json!({
                "statusCode": 201,
                "headers": {"Content-Type": "application/json; charset=utf-8", "x-my": "1"},
                "body": "{\"created\":true}",
            })
        );
    }

    #[test]
    fn dates_alone_are_refused() {
        for date in ["2026-01-31T12:00:00Z", "2026-01-31", " 2026-01-31T12:00:00", "/Date(1)/"] {
            assert_eq!(OutputMessage::text(date), Err(LooksLikeADate), "{date}");
        }
        for text in ["2026", "at 2026-01-31", "\"2026-01-31T12:00:00Z\""] {
            assert!(OutputMessage::text(text).is_ok(), "{text}");
        }
    }
}
