//! An HTTP request that the host wrapped into a call (the default; not the forwarding mode).
//!
//! The host passes function keys on, in the URL's `code` and in `x-functions-key`. [`HttpTrigger`]
//! holds the first only as a secret, apart from the URL, and its `Debug` shows neither that nor header
//! values nor the body nor claims.
//!
//! Source: `GetRequestAsJObject` in `HttpRequestExtensions.cs`,
//! <https://github.com/Azure/azure-functions-host>.

use std::{collections::BTreeMap, fmt};

use azure_core::credentials::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Map, Value};

use super::{
    invocation::{DecodeError, Invocation, kind},
    trigger::FromInvocation,
};

/// The claim by which the host says which kind of key was used.
const AUTH_LEVEL_CLAIM: &str = "http://schemas.microsoft.com/2017/07/functions/claims/authlevel";
/// The query parameter that carries a function key.
const KEY_PARAMETER: &str = "code";

/// A client's request.
#[derive(Clone, PartialEq)]
pub struct HttpTrigger {
    /// Upper case.
    pub method: Method,
    /// Scheme, host, path and query as the client sent them, without the `code` parameter.
    pub url: String,
    /// The function key that stood in the URL. For links of a page that was opened with it, and for nothing
    /// else.
    pub url_key: Option<Secret>,
    /// Names ignore case; values may be secrets.
    pub headers: HttpHeaders,
    /// Repeated parameters are joined by commas; without `code`.
    pub query: BTreeMap<String, String>,
    /// The route's parameters; numbers where the route says so (`{id:int}`).
    pub params: BTreeMap<String, Value>,
    /// Present only if the client sent a length. Base64 for binary kinds: see [`HttpTrigger::body_bytes`].
    pub body: Option<String>,
    /// Who the platform says is calling.
    pub identities: Vec<HttpIdentity>,
}

/// A request's headers.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HttpHeaders(BTreeMap<String, Vec<String>>);

/// One of the caller's identities.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct HttpIdentity {
    /// For example `WebJobsAuthLevel`, the host's own.
    pub authentication_type: Option<String>,
    /// As the platform says.
    pub is_authenticated: bool,
    /// Pairs of type and value.
    pub claims: Vec<(String, String)>,
}

impl HttpTrigger {
    /// The body's bytes. The host sends base64 for `application/octet-stream` and `multipart/*`, and
    /// text for everything else. `None` without a body, or with broken base64.
    pub fn body_bytes(&self) -> Option<Vec<u8>> {
        let body = self.body.as_deref()?;
        let kind = self.headers.get("content-type").unwrap_or_default().trim().to_ascii_lowercase();
        if kind.starts_with("application/octet-stream") || kind.starts_with("multipart/") {
            STANDARD.decode(body).ok()
        } else {
            Some(body.as_bytes().to_vec())
        }
    }

    /// The kind of key that was used: `Anonymous`, `Function`, `System` or `Admin`.
    pub fn auth_level(&self) -> Option<&str> {
        let mut claims = self.identities.iter().flat_map(|identity| &identity.claims);
        claims.find(|(kind, _)| kind == AUTH_LEVEL_CLAIM).map(|(_, value)| value.as_str())
    }
}

impl HttpHeaders {
    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase())?.first().map(String::as_str)
    }

    /// The lower-cased names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromInvocation for HttpTrigger {
    const ACKNOWLEDGES: bool = false;

    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError> {
        let binding = invocation.binding(binding)?;
        let value = binding.value.json();
        let Some(request) = value.as_object() else {
            return Err(binding.shape_error("an HTTP request", kind(&value)));
        };
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let members = |name: &str| request.get(name).and_then(Value::as_object).into_iter().flatten();
        let method = text("Method").and_then(|method| method.to_ascii_uppercase().parse().ok());
        Ok(Self {
            method: method.ok_or_else(|| binding.shape_error("an HTTP request", "one without a method"))?,
            url: without_key(text("Url").unwrap_or_default()),
            url_key: key_in(text("Url").unwrap_or_default()),
            headers: headers(request),
            query: members("Query")
                .filter(|(name, _)| !name.eq_ignore_ascii_case(KEY_PARAMETER))
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            params: members("Params").map(|(name, value)| (name.clone(), value.clone())).collect(),
            body: match request.get("Body") {
                None | Some(Value::Null) => None,
                Some(Value::String(body)) => Some(body.clone()),
                Some(other) => Some(other.to_string()),
            },
            identities: request
                .get("Identities")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_object)
                .map(identity)
                .collect(),
        })
    }
}

fn headers(request: &Map<String, Value>) -> HttpHeaders {
    let members = request.get("Headers").and_then(Value::as_object).into_iter().flatten();
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in members {
        let values = headers.entry(name.to_ascii_lowercase()).or_default();
        match value {
            Value::String(one) => values.push(one.clone()),
            Value::Array(many) => values.extend(many.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
    }
    HttpHeaders(headers)
}

fn identity(identity: &Map<String, Value>) -> HttpIdentity {
    let claims = identity.get("Claims").and_then(Value::as_array).into_iter().flatten();
    HttpIdentity {
        authentication_type: identity.get("AuthenticationType").and_then(Value::as_str).map(str::to_owned),
        is_authenticated: identity.get("IsAuthenticated").and_then(Value::as_bool).unwrap_or_default(),
        claims: claims
            .filter_map(|claim| {
                let part = |name: &str| claim.get(name).and_then(Value::as_str).map(str::to_owned);
                Some((part("Type")?, part("Value")?))
            })
            .collect(),
    }
}

/// The key in a URL.
fn key_in(url: &str) -> Option<Secret> {
    let (_, query) = url.split_once('?')?;
    let (_, key) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| is_key_name(name))?;
    (!key.is_empty()).then(|| Secret::new(key.into_owned()))
}

fn is_key_name(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case(KEY_PARAMETER)
}

/// A URL without the parameter that carries a key, however its name is escaped; everything else
/// keeps its spelling.
fn without_key(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let is_key =
        |pair: &str| url::form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| is_key_name(&name));
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) }
}

impl fmt::Debug for HttpTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, url, url_key: _, headers, query: _, params, body, identities } = self;
        f.debug_struct("HttpTrigger")
            .field("method", method)
            .field("url", url)
            .field("headers", headers)
            .field("params", params)
            .field("body_bytes", &body.as_ref().map(String::len))
            .field("identities", identities)
            .finish()
    }
}

impl fmt::Debug for HttpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl fmt::Debug for HttpIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authentication_type, is_authenticated, claims } = self;
        f.debug_struct("HttpIdentity")
            .field("authentication_type", authentication_type)
            .field("is_authenticated", is_authenticated)
            .field("claims", &claims.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_cut_from_a_url() {
        for (url, clean) in [
            ("http://h/api/x?code=K", "http://h/api/x"),
            ("http://h/api/x?a=1&code=K&b=%20", "http://h/api/x?a=1&b=%20"),
            ("http://h/api/x?CODE=K&a", "http://h/api/x?a"),
            ("http://h/api/x?%63ode=K&a=1", "http://h/api/x?a=1"),
            ("http://h/api/x?code=K&code=L", "http://h/api/x"),
            ("http://h/api/x?code", "http://h/api/x"),
            ("http://h/api/x?barcode=K", "http://h/api/x?barcode=K"),
            ("http://h/api/x", "http://h/api/x"),
            ("", ""),
        ] {
            assert_eq!(without_key(url), clean, "{url}");
            let key = key_in(url);
            let is_there = clean != url && !url.ends_with("?code");
            assert_eq!(key.as_ref().map(Secret::secret), is_there.then_some("K"), "{url}");
        }
    }
}
