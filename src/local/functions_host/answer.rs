//! What the handler's answer means: success or failure, log lines, and messages to send.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Workers/Http/DefaultHttpWorkerService.cs`
//! (`ProcessDefaultInvocationRequest`), `HttpScriptInvocationResultExtensions.cs` (`GetBindingValue`),
//! `src/WebJobs.Script/Binding/FunctionBinding.cs` (`ReadAsEnumerable`, `BindAsyncCollectorAsync`),
//! `src/WebJobs.Script/Binding/Http/HttpBinding.cs`.

use axum::body::Body;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::dotnet::{indented, round_trip, to_text};
use super::envelope::{BindingData, Wire};
use super::function::{DataType, Function, Output, OutputKind};

/// How much of a broken answer is quoted in an error.
const QUOTED_CHARS: usize = 200;

/// A successful answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    /// Absent when the handler said null or nothing.
    pub(crate) outputs: Option<Map<String, Value>>,
    pub(crate) logs: Vec<String>,
    pub(crate) return_value: Value,
}

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The invocation fails.
    Failure(String),
    /// The host never completes the invocation: it waits until `functionTimeout`.
    Hang(&'static str),
}

/// A message for a queue or for Service Bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputMessage {
    Text(String),
    Bytes(Bytes),
}

impl Answer {
    /// Reads an answer to a default-mode invocation.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Self, Unusable> {
        let failure = |text: String| Err(Unusable::Failure(text));
        if !status.is_success() {
            let reason = status.canonical_reason().unwrap_or_default();
            let status = status.as_u16();
            return failure(format!("Response status code does not indicate success: {status} ({reason})."));
        }
        if body.is_empty() {
            return Err(Unusable::Hang("an empty body"));
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !["application/json", "text/json"].iter().any(|json| media_type.eq_ignore_ascii_case(json)) {
            return failure(format!(
                "No MediaTypeFormatter is available to read an object of type \
                 'HttpScriptInvocationResult' from content with media type '{media_type}'."
            ));
        }
        let members = match serde_json::from_slice(body) {
            Ok(Value::Null) => return Err(Unusable::Hang("a JSON null")),
            Ok(Value::Object(members)) => members,
            Ok(_) => return failure(format!("Invalid HttpResponseMessage: not an object: {}", quote(body))),
            Err(err) => return failure(format!("Invalid HttpResponseMessage: {err}: {}", quote(body))),
        };
        let mut answer = Self::default();
        for (name, value) in members {
            match (name.to_lowercase().as_str(), value) {
                ("outputs", Value::Object(outputs)) => answer.outputs = Some(outputs),
                ("logs", Value::Array(lines)) => {
                    let text = |line: &Value| to_text(line).filter(|_| !line.is_string());
                    let line = |line: &Value| line.as_str().map(str::to_owned).or_else(|| text(line));
                    answer.logs = match lines.iter().map(line).collect() {
                        Some(lines) => lines,
                        None => return failure("a member of Logs is not a string".to_owned()),
                    };
                }
                ("outputs" | "logs", Value::Null) => {}
                ("outputs" | "logs", _) => return failure(format!("{name} has the wrong type")),
                ("returnvalue", value) => answer.return_value = value,
                _ => {}
            }
        }
        Ok(answer)
    }

    /// The value for an output binding.
    ///
    /// Without a binding `$return` the members of an object in `ReturnValue` count as outputs.
    pub(crate) fn value(&self, function: &Function, output: &Output) -> Option<Value> {
        if output.name == "$return" {
            return Some(self.return_value.clone());
        }
        let from_outputs = self.outputs.as_ref().and_then(|outputs| outputs.get(&output.name));
        let from_return = match function.output("$return") {
            None => self.return_value.get(&output.name),
            Some(_) => None,
        };
        from_outputs.or(from_return).cloned()
    }

    /// What the client of an HTTP function gets.
    pub(crate) fn http_response(&self, function: &Function) -> Response {
        let output = function.outputs.iter().find(|output| output.kind == OutputKind::Http);
        match output.and_then(|output| self.value(function, output)) {
            Some(value) => http_response(&value),
            None if self.outputs.is_some() && output.is_some() => respond(StatusCode::OK, "{}".to_owned()),
            None => {
                let mut response = respond(StatusCode::OK, String::new());
                response.headers_mut().remove(header::CONTENT_TYPE);
                response
            }
        }
    }
}

/// Makes messages of a value under `Outputs`, with every quirk of the host's.
pub(crate) fn messages(value: &Value, kind: &OutputKind, data_type: DataType) -> Vec<OutputMessage> {
    let text = match value {
        Value::Null => return Vec::new(),
        Value::Array(items) => return items.iter().filter_map(element).collect(),
        Value::Object(_) => return vec![OutputMessage::Text(indented(value))],
        Value::Bool(_) | Value::Number(_) => return element(value).into_iter().collect(),
        Value::String(text) => text,
    };
    // Any text that happens to be valid base64 is taken for bytes.
    if data_type != DataType::Binary
        && let Some(bytes) = from_base64(text)
    {
        return vec![match kind {
            OutputKind::ServiceBus(_) => OutputMessage::Text("System.Byte[]".to_owned()),
            OutputKind::Queue(_) | OutputKind::Http => OutputMessage::Bytes(bytes.into()),
        }];
    }
    let trimmed = text.trim();
    let looks_like = |open, close| trimmed.starts_with(open) && trimmed.ends_with(close);
    match serde_json::from_str::<Value>(trimmed) {
        Ok(Value::Array(items)) if looks_like('[', ']') => items.iter().filter_map(element).collect(),
        Ok(object @ Value::Object(_)) if looks_like('{', '}') => {
            vec![OutputMessage::Text(indented(&object))]
        }
        _ => element(value).into_iter().collect(),
    }
}

fn element(value: &Value) -> Option<OutputMessage> {
    if value.is_null() {
        return None;
    }
    Some(OutputMessage::Text(to_text(value).unwrap_or_else(|| indented(value))))
}

/// `Convert.FromBase64String`: padding is required, white space is skipped.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|char| !matches!(char, ' ' | '\t' | '\r' | '\n')).collect();
    STANDARD.decode(compact).ok()
}

/// Resolves `{name}`, `{sys.RandGuid}`, `{rand-guid}` and `{DateTime}` in a queue name.
pub(crate) fn expand_braces(
    template: &str,
    binding: &BindingData,
    now: OffsetDateTime,
    guid: Uuid,
) -> Result<String, String> {
    let (mut expanded, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) =
            after.split_once('}').ok_or_else(|| format!("`{template}` has no closing brace"))?;
        let value = match name.to_lowercase().as_str() {
            "rand-guid" => Some(guid.to_string()),
            "datetime" => Some(round_trip(now, "Z")),
            _ => {
                let mut path = name.split('.');
                let first = binding.get(path.next().unwrap_or_default());
                path.try_fold(first.cloned(), |at, part| match at {
                    Some(Wire::Json(value)) => Some(value.get(part).cloned().map(Wire::Json)),
                    _ => None,
                })
                .flatten()
                .and_then(|value| value.expression())
            }
        };
        expanded += before;
        expanded += &value.ok_or_else(|| format!("No value for named parameter '{name}'."))?;
        rest = after;
    }
    Ok(expanded + rest)
}

/// `res` as the host reads it: `statusCode`, `headers` and `body`. A member `status` is ignored.
fn http_response(value: &Value) -> Response {
    let Value::Object(members) = value else {
        return respond(StatusCode::OK, to_text(value).unwrap_or_else(|| indented(value)));
    };
    let member = |wanted: &str| {
        members.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let status = member("statusCode").and_then(to_text).and_then(|text| text.parse::<u16>().ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK);
    let body = match member("body") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => to_text(other).unwrap_or_else(|| indented(other)),
    };
    let mut response = respond(status, body);
    let headers = member("headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        let value = to_text(value).and_then(|text| HeaderValue::from_str(&text).ok());
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name.as_str()), value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn respond(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(QUOTED_CHARS).collect()
}
