//! One invocation from trigger to outcome.
//!
//! The order is the host's: wait for the worker, send the envelope, read the answer, send the output
//! messages, and only then report success to the trigger. An output that fails therefore fails the
//! invocation although other outputs may already be out.
//!
//! Facts: `Azure/azure-functions-host` `src/WebJobs.Script/Workers/Http/DefaultHttpWorkerService.cs`,
//! `src/WebJobs.Script/Description/Workers/WorkerFunctionInvoker.cs`,
//! `src/WebJobs.Script.WebHost/WebScriptHostExceptionHandler.cs` (time-outs).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{Answer, OutputMessage, Unusable, expand_braces, messages};
use super::channel::{Channel, Connection};
use super::envelope::{Envelope, TriggerInput};
use super::function::{Function, OutputKind};
use super::status::{DiagnosticCode, LogLevel};
use super::{Framing, HOST_VERSION, Host};
use crate::local::servicebus::Message;
use std::sync::Arc;

/// How long after `functionTimeout` the worker is killed.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);

/// A failed invocation; the text is the inner exception's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvocationError(pub(crate) String);

/// Where a `traceparent` comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trace {
    /// None is sent.
    Off,
    /// A new one.
    New,
    /// The caller's: same trace, new span.
    Continue(String),
}

impl Host {
    /// Runs a function, with its retry policy, and counts the result.
    pub(crate) async fn run(
        &self,
        function: &Function,
        input: &TriggerInput,
        trace: Trace,
    ) -> Result<Answer, InvocationError> {
        let invocation_id = self.guid();
        let mut failures = 0;
        let mut last_error = Value::Null;
        let result = loop {
            let retry = function.retry.as_ref().map(|policy| {
                json!({
                    "RetryCount": failures,
                    "MaxRetryCount": policy.max_retry_count.map_or(-1, i64::from),
                    "Exception": last_error,
                    "Instance": null,
                    "State": {},
                })
            });
            let result = self.attempt(function, input, invocation_id, retry, &trace).await;
            let (Err(err), Some(policy)) = (&result, &function.retry) else { break result };
            if policy.max_retry_count.is_some_and(|max| failures >= max) {
                break result;
            }
            failures += 1;
            last_error = exception(&function.name, &err.0);
            let delay = policy.delay(failures);
            let text = format!("Waiting for `{delay:?}` before retrying function execution.");
            self.log(LogLevel::Information, &format!("Function.{}", function.name), &text);
            let mut stopping = self.stopping();
            tokio::select! {
                () = self.clock.sleep(delay) => {}
                _ = stopping.wait_for(|stop| *stop) => break result,
            }
        };
        self.activity.ended(&function.name, result.is_ok());
        if let Err(err) = &result {
            let text = format!("Executed 'Functions.{}' (Failed, Id={invocation_id}): {err}", function.name);
            self.log(LogLevel::Error, &format!("Function.{}", function.name), &text);
        }
        result
    }

    async fn attempt(
        &self,
        function: &Function,
        input: &TriggerInput,
        invocation_id: Uuid,
        retry: Option<Value>,
        trace: &Trace,
    ) -> Result<Answer, InvocationError> {
        let channel = self.ready_channel().await?;
        let envelope =
            input.envelope(&function.name, &function.parameter, self.clock.now(), self.guid(), retry);
        let request = self.invocation_request(function, &envelope, invocation_id, trace)?;
        let exchange = async {
            let answer = channel.send_following(request).await.map_err(InvocationError)?;
            match Answer::read(answer.status(), answer.headers(), answer.body()) {
                Ok(answer) => Ok(answer),
                Err(Unusable::Failure(reason)) => Err(InvocationError(reason)),
                Err(Unusable::Hang(what)) => {
                    let message = format!(
                        "the handler answered {} with {what}: the real host would hang here until \
                         functionTimeout and then kill the worker; answer 200 with at least {{}}",
                        answer.status()
                    );
                    self.diagnose(DiagnosticCode::WouldHang, Some(&function.name), message);
                    if self.hang_fails_at_once {
                        self.worker.restart(&channel);
                        return Err(InvocationError(format!("the invocation never completed: {what}")));
                    }
                    std::future::pending().await
                }
            }
        };
        let answer = self.within_timeout(function, &channel, exchange).await?;
        self.publish(function, &answer, &envelope).await?;
        for line in &answer.logs {
            self.log(LogLevel::Information, &format!("Function.{}.User", function.name), line);
        }
        Ok(answer)
    }

    /// Passes a request on as it is; whatever the handler answers is a success.
    pub(crate) async fn forward(
        &self,
        function: &Function,
        mut request: Request<Bytes>,
        trace: Trace,
    ) -> Result<Response<Bytes>, InvocationError> {
        let invocation_id = self.guid();
        let own = self.own_headers(invocation_id, &trace)?;
        let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.map(|agent| format!("{agent} Azure-Functions-Host/{HOST_VERSION}"));
        request.headers_mut().extend(own);
        if let Some(agent) = agent.and_then(|agent| agent.parse().ok()) {
            request.headers_mut().insert(header::USER_AGENT, agent);
        }
        let result = async {
            let channel = self.ready_channel().await?;
            let exchange = async { channel.send(request).await.map_err(InvocationError) };
            self.within_timeout(function, &channel, exchange).await
        };
        let result = result.await;
        self.activity.ended(&function.name, result.is_ok());
        result
    }

    /// The worker, once it answers; gives the host up when it never does.
    async fn ready_channel(&self) -> Result<Arc<Channel>, InvocationError> {
        let mut connection = self.worker.connection();
        let wait = connection.wait_for(|connection| !matches!(connection, Connection::Waiting));
        let limit = self.host_json.custom_handler.initialization_timeout * 4;
        match tokio::time::timeout(limit, wait).await.map(|waited| waited.map(|found| found.clone())) {
            Ok(Ok(Connection::Open(channel))) => Ok(channel),
            Ok(_) => Err(InvocationError("the worker has been stopped".to_owned())),
            Err(_) => {
                self.stop_listening("the worker did not become ready");
                Err(InvocationError("the worker did not become ready".to_owned()))
            }
        }
    }

    /// Ends the worker, and with it all other invocations, when this one takes too long.
    async fn within_timeout<T>(
        &self,
        function: &Function,
        channel: &Channel,
        exchange: impl Future<Output = Result<T, InvocationError>>,
    ) -> Result<T, InvocationError> {
        let Some(limit) = self.host_json.function_timeout else { return exchange.await };
        match tokio::time::timeout(limit + TIMEOUT_GRACE, exchange).await {
            Ok(result) => result,
            Err(_) => {
                let message = format!(
                    "Timeout value of {limit:?} exceeded: the worker is killed and started again, and every other \
                     invocation in it fails"
                );
                self.diagnose(DiagnosticCode::TimedOut, Some(&function.name), message.clone());
                self.worker.restart(channel);
                Err(InvocationError(message))
            }
        }
    }

    fn invocation_request(
        &self,
        function: &Function,
        envelope: &Envelope,
        invocation_id: Uuid,
        trace: &Trace,
    ) -> Result<Request<Bytes>, InvocationError> {
        let body = Bytes::from(envelope.body.to_string());
        let mut headers = self.own_headers(invocation_id, trace)?;
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, json);
        match self.framing {
            Framing::Chunked => {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            Framing::ContentLength => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            }
        }
        let uri = format!("/{}", function.name).parse();
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.map_err(|err: http::uri::InvalidUri| InvocationError(err.to_string()))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn own_headers(&self, invocation_id: Uuid, trace: &Trace) -> Result<HeaderMap, InvocationError> {
        let mut headers = HeaderMap::new();
        let mut insert = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).map_err(|err| InvocationError(err.to_string()))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, InvocationError>(())
        };
        insert("x-azure-functions-hostversion", HOST_VERSION.to_owned())?;
        insert("x-azure-functions-invocationid", invocation_id.to_string())?;
        insert("user-agent", format!("Azure-Functions-Host/{HOST_VERSION}"))?;
        let trace_id = match trace {
            Trace::Off => None,
            Trace::New => Some(self.guid().simple().to_string()),
            Trace::Continue(parent) => parent.split('-').nth(1).map(str::to_owned),
        };
        if let Some(trace_id) = trace_id {
            let span = &self.guid().simple().to_string()[..16];
            insert("traceparent", format!("00-{trace_id}-{span}-01"))?;
        }
        Ok(headers)
    }

    /// Sends what the answer says to send.
    async fn publish(
        &self,
        function: &Function,
        answer: &Answer,
        envelope: &Envelope,
    ) -> Result<(), InvocationError> {
        let mut failed = None;
        for output in &function.outputs {
            let Some(value) = answer.value(function, output) else { continue };
            let guid = self.guid();
            let name = |template: &str| expand_braces(template, &envelope.binding, self.clock.now(), guid);
            for message in messages(&value, &output.kind, output.data_type) {
                let sent = match &output.kind {
                    OutputKind::Http => Ok(()),
                    OutputKind::Queue(queue) => match name(queue) {
                        Ok(queue) => self.put(&queue, &message).await,
                        Err(err) => Err(err),
                    },
                    OutputKind::ServiceBus(entity) => name(entity).and_then(|entity| {
                        let body = match message {
                            OutputMessage::Text(text) => Bytes::from(text),
                            OutputMessage::Bytes(bytes) => bytes,
                        };
                        let content_type = Some("text/plain".to_owned());
                        let message = Message { content_type, ..Message::new(body) };
                        self.bus.send(&entity, message).map(drop).map_err(|err| err.to_string())
                    }),
                };
                if let Err(err) = sent {
                    failed = Some(format!("Error while handling parameter {} : {err}", output.name));
                }
            }
        }
        failed.map_or(Ok(()), |reason| Err(InvocationError(reason)))
    }

    /// Puts an output message on a queue, which is created when it is missing.
    async fn put(&self, queue: &str, message: &OutputMessage) -> Result<(), String> {
        let bytes = match message {
            OutputMessage::Text(text) => text.as_bytes(),
            OutputMessage::Bytes(bytes) => bytes,
        };
        let text = if self.host_json.queues.base64 {
            STANDARD.encode(bytes)
        } else {
            String::from_utf8_lossy(bytes).into_owned()
        };
        self.queues.put(queue, &text).await.map_err(|err| err.to_string())
    }
}

/// A .NET exception as Newtonsoft writes it; its members are a guess, apart from the texts.
fn exception(function: &str, inner: &str) -> Value {
    json!({
        "ClassName": "Microsoft.Azure.WebJobs.Host.FunctionInvocationException",
        "Message": format!("Exception while executing function: Functions.{function}"),
        "Data": null,
        "InnerException": { "ClassName": "System.Net.Http.HttpRequestException", "Message": inner },
        "HelpURL": null,
        "StackTraceString": null,
        "RemoteStackTraceString": null,
        "RemoteStackIndex": 0,
        "ExceptionMethod": null,
        "HResult": -2_146_233_088,
        "Source": null,
        "WatsonBuckets": null,
    })
}
