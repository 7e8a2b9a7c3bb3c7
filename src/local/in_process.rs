//! A transport that calls axum routers in the same process, by host and port.
//!
//! It stands in for the network in tests: no sockets, so tokio's paused time works and a run is the
//! same each time. A router that answers by dropping the connection (a body that fails) looks like
//! a lost answer, as it would on the wire.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use axum::{Router, body::Body};
use azure_core::{
    error::ErrorKind,
    http::{
        AsyncRawResponse, HttpClient, Request, StatusCode,
        headers::{HeaderName, HeaderValue, Headers},
        request::Body as RequestBody,
    },
};
use tower::ServiceExt;

/// Routers by authority, such as `127.0.0.1:4101`.
#[derive(Clone, Default)]
pub struct InProcess {
    routers: BTreeMap<String, Router>,
    elsewhere: Option<Router>,
}

impl InProcess {
    /// A network with nobody in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a router at an authority.
    pub fn with(mut self, authority: &str, router: Router) -> Self {
        self.routers.insert(authority.to_owned(), router);
        self
    }

    /// Puts a router at every other authority.
    pub fn elsewhere(mut self, router: Router) -> Self {
        self.elsewhere = Some(router);
        self
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routers.keys()).finish()
    }
}

#[async_trait]
impl HttpClient for InProcess {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let failed = |cause: String| azure_core::Error::with_message(ErrorKind::Io, cause);
        let url = request.url();
        let authority = url.authority();
        let router = self
            .routers
            .get(authority)
            .or(self.elsewhere.as_ref())
            .cloned()
            .ok_or_else(|| failed(format!("nobody listens at {authority}")))?;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut call =
            http::Request::builder().method(request.method().as_ref()).uri(path).header("host", authority);
        for (name, value) in request.headers().iter() {
            call = call.header(name.as_str(), value.as_str());
        }
        let body = match request.body() {
            RequestBody::Bytes(bytes) => Body::from(bytes.clone()),
            RequestBody::SeekableStream(_) => return Err(failed("streams are not carried".into())),
        };
        let call = call.body(body).map_err(|error| failed(error.to_string()))?;
        let answer = router.oneshot(call).await.unwrap_or_else(|never| match never {});
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| failed(error.to_string()))?;
        let mut headers = Headers::new();
        for (name, value) in &parts.headers {
            if let Ok(value) = value.to_str() {
                headers
                    .insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_owned()));
            }
        }
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(parts.status.as_u16()), headers, body))
    }
}
