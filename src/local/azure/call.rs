//! One call to the ARM plane, taken apart.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    answer::{HubError, Reply},
    faults::Hits,
    samples::OPERATOR,
};

/// Which scheme the caller used. The server that terminates TLS puts it into the request's
/// extensions, so that links in answers lead back to it; without one it is `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme(pub String);

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) client: String,
    pub(super) object: String,
}

impl Caller {
    /// Nobody yet: a call without a good token.
    pub(super) fn nobody() -> Self {
        Self { name: "nobody".to_owned(), client: String::new(), object: String::new() }
    }

    /// Whoever uses `/_sim`: another tool or person than the one under test.
    pub(super) fn operator() -> Self {
        let (name, client, object) = OPERATOR;
        Self { name: name.to_owned(), client: client.to_owned(), object: object.to_owned() }
    }
}

pub(super) struct Call {
    pub(super) method: String,
    /// The path as it came, percent-decoded, without a slash too many.
    pub(super) path: String,
    /// Path and query as they came.
    pub(super) target: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Scheme, host and port that the caller used.
    pub(super) origin: String,
    pub(super) caller: Caller,
    pub(super) request_id: String,
    pub(super) correlation_id: String,
    pub(super) now: OffsetDateTime,
    pub(super) hits: Hits,
}

impl Call {
    /// The path's segments, as they came.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn version(&self) -> &str {
        self.query.get("api-version").map(String::as_str).unwrap_or_default()
    }

    /// The body as a JSON object.
    pub(super) fn json(&self) -> Result<Value, Reply> {
        let refuse = |why: String| {
            Reply::arm(
                400,
                "InvalidRequestContent",
                format!("The request content was invalid and could not be deserialized: '{why}'."),
            )
        };
        let value: Value = serde_json::from_slice(&self.body).map_err(|err| refuse(err.to_string()))?;
        if !value.is_object() {
            return Err(refuse("an object was expected".to_owned()));
        }
        Ok(value)
    }

    pub(super) fn refuse(&self, error: &HubError) -> Reply {
        error.reply(&self.correlation_id, self.now)
    }

    /// Where this call is, for a link to the rest of a list.
    pub(super) fn link(&self, path: &str, query: &str) -> String {
        format!("{}{path}?{query}", self.origin)
    }
}

/// Takes a query string apart. A name without a value is there with an empty one; names are
/// compared without case, as ARM does.
pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()))
        .collect()
}

/// Decodes `%xx`. What is not UTF-8 afterwards stays as it came and will not be found.
pub(super) fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| path.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

/// A path without empty segments. Clients that are given an address with a slash at the end put
/// their paths behind it with another one.
pub(super) fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_come_apart() {
        assert_eq!(decode("/a%20b/%zz/%"), "/a b/%zz/%");
        assert_eq!(plain("//a/B//c/"), "/a/B/c");
        assert_eq!(plain("//"), "/");
        let parsed = query("Api-Version=2023-06-30&asyncinfo&$filter=a%20eq%20'b'");
        assert_eq!(parsed["api-version"], "2023-06-30");
        assert_eq!(parsed["asyncinfo"], "");
        assert_eq!(parsed["$filter"], "a eq 'b'");
    }
}
