//! The invocation envelope: `{"Data":{…},"Metadata":{…}}`.
//!
//! One rule decides how every value is written: an object goes inline, bytes become base64, dates
//! lose their fraction, and *everything else becomes a JSON string that holds JSON text*. A queue
//! message `hello` therefore arrives as `"\"hello\""`, and `1` as `"1"`.
//!
//! Facts: `Azure/azure-functions-host`
//! `src/WebJobs.Script/Workers/MessageExtensions/ScriptInvocationContextExtensions.cs`,
//! `src/WebJobs.Script/Utility.cs` (`ApplyBindingData`); the trigger bindings of the Storage.Queues,
//! ServiceBus and EventGrid extensions in `Azure/azure-sdk-for-net`. The inner members of `Client`
//! and of the `*Actions` are a guess; a handler should not read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use super::dotnet::{date_time, date_time_offset, reparsed, round_trip, to_text};
use super::function::DataType;
use crate::local::servicebus::Delivery;
use crate::local::storage_queue::QueueMessage;

/// .NET's `DateTimeOffset.MaxValue`, at the precision that is sent.
const FOREVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// A .NET value on its way to the handler.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wire {
    Bytes(Bytes),
    /// `DateTime`: no zone.
    Utc(OffsetDateTime),
    /// `DateTimeOffset`.
    Offset(OffsetDateTime),
    Json(Value),
}

impl Wire {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Json(Value::String(text.into()))
    }

    fn optional(text: Option<&String>) -> Self {
        Self::Json(text.map_or(Value::Null, |text| json!(text)))
    }

    /// What is written for the value.
    pub(crate) fn encode(&self) -> Value {
        match self {
            Self::Bytes(bytes) => json!(STANDARD.encode(bytes)),
            Self::Utc(when) => json!(date_time(*when)),
            Self::Offset(when) => json!(date_time_offset(*when)),
            Self::Json(Value::Object(members)) => Value::Object(members.clone()),
            Self::Json(other) => json!(other.to_string()),
        }
    }

    /// What a binding expression such as `{orderId}` makes of the value.
    pub(crate) fn expression(&self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => Some(STANDARD.encode(bytes)),
            Self::Utc(when) => Some(round_trip(*when, "Z")),
            Self::Offset(when) => Some(round_trip(*when, "+00:00")),
            Self::Json(value) => to_text(value),
        }
    }
}

/// Binding data: in order, with names that are compared without case.
///
/// Setting a name again replaces the value and keeps the first spelling, which is how a payload
/// property `id` comes to replace the built-in `Id`.
#[derive(Debug, Clone, Default)]
pub(crate) struct BindingData(Vec<(String, Wire)>);

impl BindingData {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: Wire) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Wire> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn encode(&self) -> Map<String, Value> {
        let kept = self.0.iter().filter(|(name, value)| {
            !name.to_lowercase().ends_with("trigger") && *value != Wire::Json(Value::Null)
        });
        kept.map(|(name, value)| (name.clone(), value.encode())).collect()
    }
}

/// What a trigger hands over.
#[derive(Debug, Clone)]
pub(crate) struct TriggerInput {
    pub(crate) data: Wire,
    /// Before `sys`.
    pub(crate) metadata: BindingData,
    /// After `sys`: what was lifted out of a JSON payload.
    pub(crate) lifted: Vec<(String, Wire)>,
}

/// The envelope, and the binding data it was made from.
pub(crate) struct Envelope {
    pub(crate) body: Value,
    pub(crate) binding: BindingData,
}

impl TriggerInput {
    pub(crate) fn new(data: Wire) -> Self {
        Self { data, metadata: BindingData::default(), lifted: Vec::new() }
    }

    fn with(mut self, name: &str, value: Wire) -> Self {
        self.metadata.set(name, value);
        self
    }

    /// Completes the envelope for one attempt.
    pub(crate) fn envelope(
        &self,
        function: &str,
        parameter: &str,
        now: OffsetDateTime,
        guid: Uuid,
        retry: Option<Value>,
    ) -> Envelope {
        let mut binding = self.metadata.clone();
        let now = round_trip(now, "Z");
        let sys = json!({ "MethodName": function, "UtcNow": now, "RandGuid": guid.to_string() });
        binding.set("sys", Wire::Json(sys));
        if let Some(retry) = retry {
            binding.set("RetryContext", Wire::Json(retry));
        }
        self.lifted.iter().for_each(|(name, value)| binding.set(name.as_str(), value.clone()));
        let data = Map::from_iter([(parameter.to_owned(), self.data.encode())]);
        Envelope { body: json!({ "Data": data, "Metadata": binding.encode() }), binding }
    }

    /// A storage queue message; `body` is its text after the host's own decoding.
    pub(crate) fn queue(message: &QueueMessage, body: Vec<u8>, data_type: DataType) -> Self {
        let (data, lifted) = payload(body, data_type);
        let input = Self::new(data)
            .with("DequeueCount", Wire::Json(json!(message.dequeue_count)))
            .with("ExpirationTime", Wire::Offset(message.expires_at))
            .with("Id", Wire::text(message.id.to_string()))
            .with("InsertionTime", Wire::Offset(message.inserted_at))
            .with("NextVisibleTime", Wire::Offset(message.next_visible_at))
            .with("PopReceipt", Wire::text(message.pop_receipt.clone()));
        Self { lifted, ..input }
    }

    /// A queue function that was started by hand: the message was never in a queue.
    pub(crate) fn queue_by_hand(
        parameter: &str,
        text: &str,
        data_type: DataType,
        now: OffsetDateTime,
    ) -> Self {
        let (data, lifted) = payload(text.as_bytes().to_vec(), data_type);
        let input = Self::new(data)
            .with("DequeueCount", Wire::Json(json!(0)))
            .with("ExpirationTime", Wire::Offset(FOREVER))
            .with("InsertionTime", Wire::Offset(now))
            .with("NextVisibleTime", Wire::Offset(FOREVER))
            .with(parameter, Wire::text(text));
        Self { lifted, ..input }
    }

    /// One Service Bus message.
    pub(crate) fn bus_one(delivery: &Delivery, data_type: DataType, client: &Value) -> Self {
        let (data, lifted) = payload(delivery.message.body.to_vec(), data_type);
        let mut input = Self::new(data);
        bus_services(&mut input.metadata, client);
        bus_properties(delivery).into_iter().for_each(|(name, value)| input.metadata.set(name, value));
        Self { lifted, ..input }
    }

    /// A batch of Service Bus messages.
    ///
    /// # Errors
    ///
    /// Without a `dataType` every payload must be JSON; otherwise the handler is never called.
    pub(crate) fn bus_many(
        deliveries: &[Delivery],
        data_type: DataType,
        client: &Value,
    ) -> Result<Self, String> {
        let body = |delivery: &Delivery| {
            let body = &delivery.message.body;
            match data_type {
                DataType::Unset => {
                    serde_json::from_slice(body).map_err(|err| format!("a message is not JSON: {err}"))
                }
                DataType::String => Ok(json!(String::from_utf8_lossy(body))),
                DataType::Binary | DataType::Stream => Ok(json!(STANDARD.encode(body))),
            }
        };
        let bodies = deliveries.iter().map(body).collect::<Result<Value, String>>()?;
        let mut input = Self::new(Wire::Json(bodies));
        bus_services(&mut input.metadata, client);
        let mut columns: Vec<(&str, Vec<Value>)> = Vec::new();
        for delivery in deliveries {
            for (at, (name, value)) in bus_properties(delivery).into_iter().enumerate() {
                let value = match value {
                    Wire::Utc(when) => json!(round_trip(when, "Z")),
                    Wire::Offset(when) => json!(round_trip(when, "+00:00")),
                    Wire::Json(value) => value,
                    Wire::Bytes(_) => value.encode(),
                };
                match columns.get_mut(at) {
                    Some((_, column)) => column.push(value),
                    None => columns.push((name, vec![value])),
                }
            }
        }
        // The order of the arrays is a guess, except that the id leads.
        columns.sort_by_key(|(name, _)| *name != "MessageId");
        for (name, column) in columns {
            input.metadata.set(format!("{name}Array"), Wire::Json(column.into()));
        }
        Ok(input)
    }

    /// One Event Grid event, in either schema.
    pub(crate) fn event(event: &Value) -> Self {
        Self::new(Wire::Json(event.clone())).with("data", Wire::Json(event["data"].clone()))
    }

    /// A whole Event Grid delivery.
    pub(crate) fn events(events: &[Value]) -> Self {
        let data: Value = events.iter().map(|event| event["data"].clone()).collect();
        Self::new(Wire::Json(events.into())).with("data", Wire::Json(data))
    }

    /// Started by hand with a plain text: the text is lifted as a queue message's would be.
    pub(crate) fn by_hand(parameter: &str, data: Wire, text: &str) -> Self {
        Self { lifted: lift(text), ..Self::new(data).with(parameter, Wire::text(text)) }
    }
}

/// A text payload with what is lifted out of it, or plain bytes.
fn payload(body: Vec<u8>, data_type: DataType) -> (Wire, Vec<(String, Wire)>) {
    match data_type {
        DataType::Binary | DataType::Stream => (Wire::Bytes(body.into()), Vec::new()),
        DataType::Unset | DataType::String => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let lifted = lift(&text);
            (Wire::text(text), lifted)
        }
    }
}

/// The top-level members of a text that is a JSON object, except nulls and arrays: objects stay
/// objects, scalars become their .NET text.
pub(crate) fn lift(text: &str) -> Vec<(String, Wire)> {
    let trimmed = text.trim();
    if !trimmed.starts_with('{') || !trimmed.ends_with('}') {
        return Vec::new();
    }
    let members: Map<String, Value> = serde_json::from_str(trimmed).unwrap_or_default();
    let lifted = members.into_iter().filter_map(|(name, value)| match value {
        Value::Null | Value::Array(_) => None,
        Value::Object(_) => Some((name, Wire::Json(reparsed(&value)))),
        scalar => to_text(&scalar).map(|text| (name, Wire::text(text))),
    });
    lifted.collect()
}

fn bus_services(metadata: &mut BindingData, client: &Value) {
    for name in ["MessageReceiver", "MessageSession", "MessageActions", "SessionActions", "ReceiveActions"] {
        metadata.set(name, Wire::Json(json!({})));
    }
    metadata.set("Client", Wire::Json(client.clone()));
}

fn bus_properties(delivery: &Delivery) -> Vec<(&'static str, Wire)> {
    let message = &delivery.message;
    let application = Wire::Json(Value::Object(message.application_properties.clone()));
    let optional = |text: &Option<String>| Wire::optional(text.as_ref());
    vec![
        ("DeliveryCount", Wire::Json(json!(delivery.delivery_count))),
        ("DeadLetterSource", Wire::Json(Value::Null)),
        ("LockToken", Wire::text(delivery.lock_token.to_string())),
        ("ExpiresAtUtc", Wire::Utc(delivery.expires_at)),
        ("ExpiresAt", Wire::Offset(delivery.expires_at)),
        ("EnqueuedTimeUtc", Wire::Utc(delivery.enqueued_at)),
        ("EnqueuedTime", Wire::Offset(delivery.enqueued_at)),
        ("MessageId", optional(&message.message_id)),
        ("ContentType", optional(&message.content_type)),
        ("ReplyTo", optional(&message.reply_to)),
        ("SequenceNumber", Wire::Json(json!(delivery.sequence_number))),
        ("To", optional(&message.to)),
        ("Subject", optional(&message.subject)),
        ("Label", optional(&message.subject)),
        ("CorrelationId", optional(&message.correlation_id)),
        ("ApplicationProperties", application.clone()),
        ("UserProperties", application),
        ("SessionId", optional(&message.session_id)),
        ("ReplyToSessionId", optional(&message.reply_to_session_id)),
        ("PartitionKey", optional(&message.partition_key)),
        ("TransactionPartitionKey", Wire::Json(Value::Null)),
    ]
}
