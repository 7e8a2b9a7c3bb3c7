//! Service Bus messages, one ([`ServiceBusTrigger`]) or a batch ([`ServiceBusBatch`]).
//!
//! Which of the two arrives is `cardinality` in `function.json`. The two cannot be told apart from
//! the data alone (one message may hold a list), so the function's signature says it. The lock token
//! is absent on purpose: a lock belongs to the host's connection, and a function's only vote on a
//! message is success or failure.
//!
//! Source: `ServiceBusTriggerBindingStrategy.cs` in <https://github.com/Azure/azure-sdk-for-net>;
//! limits of the broker: <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas>.

use std::fmt;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    invocation::{DecodeError, HostValue, Invocation, kind},
    metadata::{Metadata, is_name, parse_time},
    trigger::FromInvocation,
};

/// The broker's limit for message ids, session ids and partition keys.
const MAX_KEY: usize = 128;
/// Longest label, content type or address that is believed.
const MAX_LABEL: usize = 1024;

/// One message.
#[derive(Clone, PartialEq)]
pub struct ServiceBusTrigger {
    /// The body as text. In a batch without `"dataType": "string"` it is the compact JSON of what
    /// the host parsed.
    pub body: String,
    /// Set by the sender, or by the broker's client.
    pub message_id: Option<String>,
    /// The session, for entities that have sessions.
    pub session_id: Option<String>,
    /// This delivery included.
    pub delivery_count: Option<u32>,
    /// When the broker accepted the message.
    pub enqueued_time: Option<OffsetDateTime>,
    /// When the broker drops it.
    pub expires_at: Option<OffsetDateTime>,
    /// The broker's own number.
    pub sequence_number: Option<i64>,
    /// Set by the sender.
    pub correlation_id: Option<String>,
    /// Set by the sender; also called label.
    pub subject: Option<String>,
    /// Set by the sender.
    pub content_type: Option<String>,
    /// Set by the sender.
    pub to: Option<String>,
    /// Set by the sender.
    pub reply_to: Option<String>,
    /// Set by the sender; equals the session in entities with sessions.
    pub partition_key: Option<String>,
    /// The queue that the message was dead-lettered from.
    pub dead_letter_source: Option<String>,
    /// Set by the sender; numbers and texts only survive as JSON has them.
    pub application_properties: Map<String, Value>,
}

impl ServiceBusTrigger {
    /// Whether it was delivered before: somebody may have begun with it.
    pub fn came_before(&self) -> bool {
        self.delivery_count.is_some_and(|count| count > 1)
    }
}

impl FromInvocation for ServiceBusTrigger {
    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError> {
        let body = invocation.binding(binding)?.value.text().into_owned();
        let metadata = &invocation.metadata;
        let key = |name| metadata.text(name, MAX_KEY);
        let label = |name| metadata.text(name, MAX_LABEL);
        let either = |name, utc| metadata.time(name).or_else(|| metadata.time(utc));
        Ok(Self {
            body,
            message_id: key("MessageId"),
            session_id: key("SessionId"),
            delivery_count: metadata.count("DeliveryCount"),
            enqueued_time: either("EnqueuedTime", "EnqueuedTimeUtc"),
            expires_at: either("ExpiresAt", "ExpiresAtUtc"),
            sequence_number: metadata.sequence("SequenceNumber"),
            correlation_id: key("CorrelationId"),
            subject: label("Subject"),
            content_type: label("ContentType"),
            to: label("To"),
            reply_to: label("ReplyTo"),
            partition_key: key("PartitionKey"),
            dead_letter_source: label("DeadLetterSource"),
            application_properties: metadata.object("ApplicationProperties").cloned().unwrap_or_default(),
        })
    }
}

impl fmt::Debug for ServiceBusTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBusTrigger")
            .field("body_bytes", &self.body.len())
            .field("message_id", &self.message_id)
            .field("session_id", &self.session_id)
            .field("delivery_count", &self.delivery_count)
            .field("sequence_number", &self.sequence_number)
            .finish_non_exhaustive()
    }
}

/// All messages of one delivery, in the broker's order. They are settled together.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceBusBatch {
    /// The messages.
    pub messages: Vec<ServiceBusTrigger>,
}

impl FromInvocation for ServiceBusBatch {
    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError> {
        let binding = invocation.binding(binding)?;
        let bodies = match binding.value.json().into_owned() {
            Value::Array(bodies) => bodies,
            other => return Err(binding.shape_error("a list of messages", kind(&other))),
        };
        let columns = Columns { metadata: &invocation.metadata, len: bodies.len() };
        let mut messages: Vec<_> = bodies.into_iter().map(ServiceBusTrigger::bare).collect();
        let key = |value: &Value| text(value, MAX_KEY);
        let label = |value: &Value| text(value, MAX_LABEL);
        let time = |value: &Value| parse_time(value.as_str()?);
        // The plain columns after the `…Utc` ones: they carry the offset, and win.
        columns.fill("EnqueuedTimeUtc", &mut messages, time, |m| &mut m.enqueued_time);
        columns.fill("EnqueuedTime", &mut messages, time, |m| &mut m.enqueued_time);
        columns.fill("ExpiresAtUtc", &mut messages, time, |m| &mut m.expires_at);
        columns.fill("ExpiresAt", &mut messages, time, |m| &mut m.expires_at);
        columns.fill("MessageId", &mut messages, key, |m| &mut m.message_id);
        columns.fill("SessionId", &mut messages, key, |m| &mut m.session_id);
        columns.fill("CorrelationId", &mut messages, key, |m| &mut m.correlation_id);
        columns.fill("PartitionKey", &mut messages, key, |m| &mut m.partition_key);
        columns.fill("Subject", &mut messages, label, |m| &mut m.subject);
        columns.fill("ContentType", &mut messages, label, |m| &mut m.content_type);
        columns.fill("To", &mut messages, label, |m| &mut m.to);
        columns.fill("ReplyTo", &mut messages, label, |m| &mut m.reply_to);
        columns.fill("DeadLetterSource", &mut messages, label, |m| &mut m.dead_letter_source);
        let count = |value: &Value| value.as_u64().and_then(|n| n.try_into().ok());
        columns.fill("DeliveryCount", &mut messages, count, |m| &mut m.delivery_count);
        let number = |value: &Value| value.as_i64().filter(|n| *n >= 0);
        columns.fill("SequenceNumber", &mut messages, number, |m| &mut m.sequence_number);
        if let Some(properties) = invocation.metadata.list("ApplicationProperties", messages.len()) {
            for (message, value) in messages.iter_mut().zip(properties) {
                if let Value::Object(properties) = value {
                    message.application_properties = properties;
                }
            }
        }
        Ok(Self { messages })
    }
}

/// The per-message lists of a batch: `MessageIdArray` and so on.
struct Columns<'a> {
    metadata: &'a Metadata,
    len: usize,
}

impl Columns<'_> {
    /// Sets one field of each message; a list of another length, or of other values, says nothing.
    fn fill<T>(
        &self,
        name: &str,
        messages: &mut [ServiceBusTrigger],
        read: impl Fn(&Value) -> Option<T>,
        field: impl Fn(&mut ServiceBusTrigger) -> &mut Option<T>,
    ) {
        let Some(list) = self.metadata.list(name, self.len) else { return };
        for (message, value) in messages.iter_mut().zip(&list) {
            if let Some(value) = read(value) {
                *field(message) = Some(value);
            }
        }
    }
}

impl ServiceBusTrigger {
    /// A message of which only the body is known. Elements of a list carry no further encoding.
    fn bare(body: Value) -> Self {
        Self {
            body: match body {
                Value::String(text) => text,
                other => other.to_string(),
            },
            message_id: None,
            session_id: None,
            delivery_count: None,
            enqueued_time: None,
            expires_at: None,
            sequence_number: None,
            correlation_id: None,
            subject: None,
            content_type: None,
            to: None,
            reply_to: None,
            partition_key: None,
            dead_letter_source: None,
            application_properties: Map::new(),
        }
    }
}

fn text(value: &Value, max: usize) -> Option<String> {
    HostValue(value).bare().filter(|text| is_name(text, max)).map(str::to_owned)
}
