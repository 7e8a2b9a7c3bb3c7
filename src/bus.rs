//! Sends work items to the Service Bus queue `hub-work`, and requests to `hub-requests`.
//!
//! The published crate `azure_messaging_servicebus` (0.21, the REST client) builds and sends the
//! message, with its session, id and scheduled time. It signs shared access keys and fixes the host
//! to the public cloud, and Hubward uses neither; so the crate sends through an HTTP client of ours,
//! `EntraSender`, which takes the key's signature off, puts an Entra token on, sets the configured
//! endpoint, and sends through the same connections as every other call. It also writes the
//! scheduled time the way the service documents it (RFC 1123, `GMT`), where the crate writes an
//! offset. The newer AMQP client of the same name is not published; [`WorkQueue`] is the one place
//! to change when it is.
//!
//! Reference: <https://learn.microsoft.com/rest/api/servicebus/send-message-to-queue>.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    credentials::TokenCredential,
    http::{HttpClient, Method, Request, Url},
};
use azure_core_021 as core_021;
use azure_messaging_servicebus::service_bus::{QueueClient, SendMessageOptions, SettableBrokerProperties};
use tracing::{Instrument, debug, info_span, warn};

use crate::{campaigns::step::CampaignStep, desired, work::WorkItem};

/// The queue that all work goes through.
pub const WORK_QUEUE: &str = "hub-work";
/// The queue that operators' requests go through; there is a storage queue of the same name.
pub const REQUEST_QUEUE: &str = "hub-requests";
/// Token scope of Service Bus, the same in every cloud.
const SCOPE: &str = "https://servicebus.azure.net/.default";
/// Tries of one send. A message is safe to send twice: its id is derived from its content.
const MAX_TRIES: u32 = 4;
/// First pause between tries; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest time one send may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A message that could not be handed over.
#[derive(Debug, thiserror::Error)]
#[error("could not put {what} on {queue}: {cause}")]
pub struct SendError {
    what: String,
    queue: &'static str,
    cause: String,
}

impl SendError {
    /// A work item that was not taken, and why.
    pub fn new(item: &WorkItem, cause: impl Into<String>) -> Self {
        Self { what: work_of(item), queue: WORK_QUEUE, cause: cause.into() }
    }

    /// A step of a campaign that was not taken, and why.
    pub fn of_step(step: &CampaignStep, cause: impl Into<String>) -> Self {
        Self { what: step_of(step), queue: WORK_QUEUE, cause: cause.into() }
    }
}

fn work_of(item: &WorkItem) -> String {
    format!("the work for {}", item.hub.name())
}

fn step_of(step: &CampaignStep) -> String {
    format!("the next step of campaign {}", step.campaign)
}

/// Where work items go.
#[async_trait]
pub trait WorkQueue: Send + Sync {
    /// Hands a work item over, to appear when it is due. Once this returns, the work is durable.
    async fn send(&self, item: &WorkItem) -> Result<(), SendError>;

    /// Hands the next step of a campaign over, in the same way.
    async fn send_step(&self, step: &CampaignStep) -> Result<(), SendError>;
}

/// A Service Bus queue.
pub struct ServiceBusQueue {
    client: QueueClient,
    name: &'static str,
}

impl ServiceBusQueue {
    /// A queue ([`WORK_QUEUE`] or [`REQUEST_QUEUE`]) at an endpoint such as
    /// `https://ns1.servicebus.windows.net`.
    pub fn new(
        name: &'static str,
        endpoint: Url,
        credential: Arc<dyn TokenCredential>,
        transport: Arc<dyn HttpClient>,
    ) -> Result<Self, core_021::Error> {
        let sender = EntraSender { endpoint, credential, transport };
        // Namespace and key only go into what the sender replaces.
        let client = QueueClient::new(Arc::new(sender), "unused", name, "unused", "unused".to_owned())?;
        Ok(Self { client, name })
    }

    /// Sends an operator's request. The same request is the same message.
    pub async fn send_request(&self, request: &desired::Request) -> Result<(), SendError> {
        let properties = SettableBrokerProperties {
            message_id: Some(request.digest().to_string()),
            ..SettableBrokerProperties::default()
        };
        self.send_text(&format!("request {}", request.id), &request.json().to_string(), properties).await
    }

    async fn send_text(
        &self,
        what: &str,
        body: &str,
        properties: SettableBrokerProperties,
    ) -> Result<(), SendError> {
        let failed = |cause: String| SendError { what: what.to_owned(), queue: self.name, cause };
        let message_id = properties.message_id.clone().unwrap_or_default();
        let span = info_span!(
            "bus.send",
            otel.kind = "producer",
            messaging.system = "servicebus",
            messaging.destination.name = self.name,
            messaging.message.id = %message_id,
        );
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=MAX_TRIES {
            let options = SendMessageOptions {
                content_type: Some("application/json".into()),
                broker_properties: Some(properties.clone()),
                custom_properties: None,
            };
            let sent = tokio::time::timeout(TIMEOUT, self.client.send_message(body, Some(options)))
                .instrument(span.clone())
                .await;
            match sent {
                Ok(Ok(())) => {
                    debug!(messaging.message.id = %message_id, "{what}: sent to {}", self.name);
                    return Ok(());
                }
                Ok(Err(error)) if attempt == MAX_TRIES || !is_passing(&error) => {
                    return Err(failed(describe(&error)));
                }
                Ok(Err(error)) => warn!(attempt, error = %describe(&error), "sending again"),
                Err(_) if attempt == MAX_TRIES => {
                    return Err(failed(format!("no answer in {} s", TIMEOUT.as_secs())));
                }
                Err(_) => warn!(attempt, "no answer; sending again"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(failed("no try left".into()))
    }
}

#[async_trait]
impl WorkQueue for ServiceBusQueue {
    async fn send(&self, item: &WorkItem) -> Result<(), SendError> {
        let body = serde_json::to_string(item).map_err(|error| SendError::new(item, error.to_string()))?;
        let properties = SettableBrokerProperties {
            message_id: Some(item.work_id.to_string()),
            session_id: Some(item.session_id()),
            scheduled_enqueue_time_utc: item.due(),
            ..SettableBrokerProperties::default()
        };
        self.send_text(&work_of(item), &body, properties).await
    }

    async fn send_step(&self, step: &CampaignStep) -> Result<(), SendError> {
        let body =
            serde_json::to_string(step).map_err(|error| SendError::of_step(step, error.to_string()))?;
        let properties = SettableBrokerProperties {
            message_id: Some(step.step_id.to_string()),
            session_id: Some(step.session_id()),
            scheduled_enqueue_time_utc: Some(step.due),
            ..SettableBrokerProperties::default()
        };
        self.send_text(&step_of(step), &body, properties).await
    }
}

/// Whether the same send may succeed later.
fn is_passing(error: &core_021::Error) -> bool {
    answered(error).is_none_or(|status| matches!(status, 401 | 408 | 429 | 500..=599))
}

/// The service's status, if it answered at all.
fn answered(error: &core_021::Error) -> Option<u16> {
    match error.kind() {
        core_021::error::ErrorKind::HttpResponse { status, .. } => Some(u16::from(*status)),
        _ => None,
    }
}

fn describe(error: &core_021::Error) -> String {
    let Some(status) = answered(error) else { return error.to_string() };
    let hint = match status {
        401 | 403 => "; our identity needs the role Azure Service Bus Data Sender on the queue",
        404 | 410 => "; the namespace has no such queue, or HUBWARD_BUS_ENDPOINT is another namespace",
        _ => "",
    };
    format!("the service answered {status}{hint}")
}

/// The HTTP client below the published crate: Entra instead of keys, the configured endpoint.
struct EntraSender {
    endpoint: Url,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
}

impl std::fmt::Debug for EntraSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntraSender").field("endpoint", &self.endpoint.as_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl core_021::HttpClient for EntraSender {
    async fn execute_request(&self, request: &core_021::Request) -> core_021::Result<core_021::Response> {
        let failed = |error: azure_core::Error| {
            core_021::Error::message(core_021::error::ErrorKind::Io, error.to_string())
        };
        let mut url = self.endpoint.clone();
        url.set_path(request.url().path());
        url.set_query(request.url().query());
        let mut own = Request::new(url, Method::Post);
        for (name, value) in request.headers().iter() {
            let value = match name.as_str().to_ascii_lowercase().as_str() {
                "authorization" => continue,
                "brokerproperties" => value.as_str().replace(" +0000\"", " GMT\""),
                _ => value.as_str().to_owned(),
            };
            own.insert_header(name.as_str().to_owned(), value);
        }
        let token = self.credential.get_token(&[SCOPE], None).await.map_err(failed)?;
        own.insert_header("authorization", format!("Bearer {}", token.token.secret()));
        if let core_021::Body::Bytes(bytes) = request.body() {
            own.set_body(bytes.clone());
        }
        let answer = self.transport.execute_request(&own).await.map_err(failed)?;
        let status: u16 = answer.status().into();
        let status = core_021::StatusCode::try_from(status).map_err(|_| {
            core_021::Error::message(core_021::error::ErrorKind::DataConversion, "odd status")
        })?;
        let body = answer.into_body().collect().await.map_err(failed)?;
        let body = futures::stream::iter([Ok(body)]);
        Ok(core_021::Response::new(status, core_021::headers::Headers::new(), Box::pin(body)))
    }
}
