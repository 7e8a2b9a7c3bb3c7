//! The REST face: `POST /{queue}/messages`, "Send Message" of the Service Bus REST API.
//!
//! Documented at <https://learn.microsoft.com/rest/api/servicebus/send-message-to-queue> and
//! `/message-headers-and-properties`. The page lists 410 for an unknown entity and 403 for a large
//! message; the service has long answered 404 and 413, with an XML `<Error>`, and so does this.
//! Receiving over REST and sending in batches are absent.
//!
//! A custom property travels in its own header: text in double quotes, numbers and booleans bare.
//! The service keeps the header's spelling; here property names are lower case.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;

use super::{BusError, Message, ServiceBus};

/// The only audience a token for the data plane may have.
const AUDIENCE: &str = "https://servicebus.azure.net";

/// Bodies are read up to here, so that a queue can say how much too large one was.
const READ_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Headers that are HTTP's own and not custom properties of the message.
const NOT_PROPERTIES: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "brokerproperties",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "keep-alive",
    "transfer-encoding",
    "user-agent",
];

pub(super) fn router(bus: ServiceBus) -> Router {
    Router::new().fallback(send).with_state(bus)
}

async fn send(State(bus): State<ServiceBus>, request: Request) -> Response {
    let date = imf_fixdate(bus.clock().now());
    let mut response = match accept(&bus, request).await {
        Ok(()) => empty(StatusCode::CREATED),
        Err(refusal) => refusal.into_response(),
    };
    if let Ok(date) = date.parse() {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn accept(bus: &ServiceBus, request: Request) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches('/');
    let Some(queue) = path.strip_suffix("/messages") else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "The requested resource was not found."));
    };
    if parts.method != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "The specified HTTP verb is not valid."));
    }
    authorize(&parts.headers)?;
    if bus.queue_options(queue).is_none() {
        return Err(BusError::NotFound(queue.to_owned()).into());
    }
    let body = axum::body::to_bytes(body, READ_LIMIT_BYTES).await;
    let body = body.map_err(|_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "The message is too large."))?;
    let message = Message { body, ..message(&parts.headers)? };
    bus.send(queue, message)?;
    Ok(())
}

/// Whether the caller shows a token for Service Bus. Signatures are not checked: nobody signed it.
fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |detail: &str| Refusal::new(StatusCode::UNAUTHORIZED, detail);
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    let token = token.ok_or_else(|| refuse("MissingToken: The authorization header was not found."))?;
    let parts: Vec<&str> = token.split('.').collect();
    let [_, payload, _] = parts[..] else {
        return Err(refuse("InvalidToken: The token is not a JSON web token."));
    };
    let claims = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok();
    let claims = claims.and_then(|claims| serde_json::from_slice::<Value>(&claims).ok());
    let audience = claims.as_ref().and_then(|claims| claims["aud"].as_str()).unwrap_or_default();
    if audience.strip_suffix('/').unwrap_or(audience) != AUDIENCE {
        return Err(refuse("InvalidAudience: The token's audience is not https://servicebus.azure.net."));
    }
    Ok(())
}

/// Everything about a message that its headers say.
fn message(headers: &HeaderMap) -> Result<Message, Refusal> {
    let bad = |detail: String| Refusal::new(StatusCode::BAD_REQUEST, &detail);
    let broker: Map<String, Value> = match headers.get("BrokerProperties") {
        Some(value) => serde_json::from_slice(value.as_bytes())
            .map_err(|err| bad(format!("BrokerProperties is not a JSON object: {err}")))?,
        None => Map::new(),
    };
    let text = |name: &str| match broker.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let scheduled = text("ScheduledEnqueueTimeUtc").map(|text| {
        parse_time(&text).ok_or_else(|| bad(format!("ScheduledEnqueueTimeUtc '{text}' is not a time")))
    });
    let time_to_live = text("TimeToLive").map(|text| {
        let seconds = text.parse::<f64>().ok().and_then(|value| Duration::try_from_secs_f64(value).ok());
        seconds.ok_or_else(|| bad(format!("TimeToLive '{text}' is not a number of seconds")))
    });
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(Message {
        body: Default::default(),
        message_id: text("MessageId"),
        session_id: text("SessionId"),
        scheduled_enqueue_time: scheduled.transpose()?,
        content_type: content_type.map(str::to_owned),
        subject: text("Label"),
        correlation_id: text("CorrelationId"),
        to: text("To"),
        reply_to: text("ReplyTo"),
        reply_to_session_id: text("ReplyToSessionId"),
        partition_key: text("PartitionKey"),
        time_to_live: time_to_live.transpose()?,
        application_properties: custom_properties(headers),
    })
}

fn custom_properties(headers: &HeaderMap) -> Map<String, Value> {
    let custom = headers
        .iter()
        .filter(|(name, _)| !NOT_PROPERTIES.contains(&name.as_str()) && !name.as_str().starts_with("x-ms-"));
    let typed = |text: &str| match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) => Value::from(text),
        None => match serde_json::from_str(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
            _ => Value::from(text),
        },
    };
    custom.filter_map(|(name, value)| Some((name.as_str().to_owned(), typed(value.to_str().ok()?)))).collect()
}

/// Reads RFC 1123 (`Sun, 06 Nov 1994 08:49:37 GMT`) and ISO 8601; without a zone it is UTC.
fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    OffsetDateTime::parse(text, &Rfc2822)
        .or_else(|_| OffsetDateTime::parse(text, &Rfc3339))
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .ok()
}

fn imf_fixdate(when: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    when.to_offset(time::UtcOffset::UTC).format(&format).unwrap_or_default()
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer that is not 201.
struct Refusal {
    status: StatusCode,
    detail: String,
}

impl Refusal {
    fn new(status: StatusCode, detail: &str) -> Self {
        Self { status, detail: detail.to_owned() }
    }

    fn into_response(self) -> Response {
        let Self { status, detail } = self;
        let detail = detail.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let xml = format!("<Error><Code>{}</Code><Detail>{detail}</Detail></Error>", status.as_u16());
        let mut response = Response::new(Body::from(xml));
        *response.status_mut() = status;
        let content_type = header::HeaderValue::from_static("application/xml; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}

impl From<BusError> for Refusal {
    fn from(err: BusError) -> Self {
        let (status, prefix) = match &err {
            BusError::NotFound(_) => (StatusCode::NOT_FOUND, ""),
            BusError::SessionIdMissing(_) => (StatusCode::BAD_REQUEST, "InvalidOperation: "),
            BusError::InvalidMessage(_) | BusError::SessionMismatch(_) | BusError::LockLost => {
                (StatusCode::BAD_REQUEST, "")
            }
            BusError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, ""),
        };
        Self { status, detail: format!("{prefix}{err}.") }
    }
}
