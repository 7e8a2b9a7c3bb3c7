//! HTTP to the handler: over TCP, or straight into a router.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Workers/Http/DefaultHttpWorkerService.cs`;
//! .NET's `HttpClient` follows redirects, turning a POST into a GET except after 307 and 308.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long after a broken connection the worker's exit is noticed.
const EXIT_NOTICE: Duration = Duration::from_millis(250);
/// .NET's `HttpClientHandler.MaxAutomaticRedirections`.
const MAX_REDIRECTS: usize = 50;

/// Whether, and how, the worker can be reached.
#[derive(Debug, Clone)]
pub(crate) enum Connection {
    Waiting,
    Open(Arc<Channel>),
    Closed,
}

/// A way to one life of the worker.
#[derive(Debug)]
pub(crate) struct Channel {
    life: u32,
    endpoint: Endpoint,
    ended: watch::Receiver<bool>,
}

/// Where a life of the worker listens.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Tcp { port: u16, client: reqwest::Client },
    Router(Router),
}

impl Channel {
    /// `ended` becomes true when this life of the worker is over.
    pub(crate) fn new(life: u32, endpoint: Endpoint, ended: watch::Receiver<bool>) -> Self {
        Self { life, endpoint, ended }
    }

    /// Which life of the worker this leads to; the first is 1.
    pub(crate) fn life(&self) -> u32 {
        self.life
    }

    /// Whether `GET /` gets any answer at all.
    pub(crate) async fn answers(&self) -> bool {
        let request = Request::new(Bytes::new());
        self.exchange(request).await.is_ok()
    }

    /// Sends one request; fails when this life of the worker ends before the answer is complete.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let mut ended = self.ended.clone();
        if *ended.borrow() {
            return Err("Connection refused (127.0.0.1)".to_owned());
        }
        let answer = tokio::select! {
            biased;
            answer = self.exchange(request) => answer,
            _ = ended.wait_for(|ended| *ended) => Err("the worker ended: connection closed".to_owned()),
        };
        if answer.is_err() {
            // A broken connection is often the first sign of a crash. Without this pause the message
            // would come back, and fail again, before the exit has been noticed.
            let _ = tokio::time::timeout(EXIT_NOTICE, ended.wait_for(|ended| *ended)).await;
        }
        answer
    }

    /// Sends one request and follows redirects as .NET's `HttpClient` does.
    pub(crate) async fn send_following(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let (mut parts, mut body) = request.into_parts();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.send(Request::from_parts(parts.clone(), body.clone())).await?;
            let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let (Some(location), 300 | 301 | 302 | 303 | 307 | 308) = (location, answer.status().as_u16())
            else {
                return Ok(answer);
            };
            let base = url::Url::parse("http://127.0.0.1").and_then(|base| base.join(&parts.uri.to_string()));
            let target = base.and_then(|base| base.join(location)).map_err(|err| err.to_string())?;
            let path = &target[url::Position::BeforePath..url::Position::AfterQuery];
            parts.uri = path.parse().map_err(|err: http::uri::InvalidUri| err.to_string())?;
            let keeps_method =
                [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&answer.status());
            if !keeps_method && parts.method != Method::HEAD {
                (parts.method, body) = (Method::GET, Bytes::new());
                for name in [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONTENT_TYPE] {
                    parts.headers.remove(name);
                }
            }
        }
        Err(format!("more than {MAX_REDIRECTS} redirects"))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        match &self.endpoint {
            Endpoint::Tcp { port, client } => {
                let (parts, body) = request.into_parts();
                let url = format!("http://127.0.0.1:{port}{}", parts.uri);
                let request = client.request(parts.method, url).headers(parts.headers);
                let request = if body.is_empty() { request } else { request.body(body) };
                let answer = request.send().await.map_err(|err| chain(&err))?;
                let (status, headers) = (answer.status(), answer.headers().clone());
                let body = answer.bytes().await.map_err(|err| chain(&err))?;
                Ok(response(status, headers, body))
            }
            Endpoint::Router(router) => {
                // In a task of its own, so that a panic in the handler stays there.
                let mut task = JoinSet::new();
                let answer = router.clone().oneshot(request.map(Body::from));
                task.spawn(async move {
                    let (parts, body) = match answer.await {
                        Ok(answer) => answer.into_parts(),
                        Err(never) => match never {},
                    };
                    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|err| err.to_string())?;
                    Ok(response(parts.status, parts.headers, body))
                });
                let closed = || Err("the worker panicked: connection closed".to_owned());
                task.join_next().await.and_then(Result::ok).unwrap_or_else(closed)
            }
        }
    }
}

fn response(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

fn chain(err: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(err), |err| err.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
