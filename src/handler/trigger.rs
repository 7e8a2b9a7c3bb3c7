//! What woke a function, as a type: [`FromInvocation`] and the triggers without much of their own.
//!
//! A function names its trigger's type and gets it decoded. What a trigger cannot be told without a
//! doubt (a missing time, a count of the wrong shape) is `None`; only data of the wrong shape is an
//! error, and it names the binding.
//!
//! Sources: the triggers' extensions in <https://github.com/Azure/azure-sdk-for-net>
//! (`Microsoft.Azure.WebJobs.Extensions.{EventGrid,Storage.Queues}`) and
//! <https://github.com/Azure/azure-webjobs-sdk-extensions> (`Extensions/Timers`).

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    invocation::{DecodeError, HostValue, Invocation, kind},
    metadata::{RetryContext, parse_time},
};

/// A trigger that can be read from a call.
pub trait FromInvocation: Sized {
    /// Whether a permanent failure may be answered with success, so that the host does not deliver
    /// the same thing again. Not for HTTP: its caller would take the failure for a result.
    const ACKNOWLEDGES: bool = true;

    /// Reads the trigger from the binding of the given name, or from the only one.
    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError>;
}

/// Whatever was sent, for functions that want to look for themselves.
impl FromInvocation for Invocation {
    fn from_invocation(invocation: &Invocation, _: Option<&str>) -> Result<Self, DecodeError> {
        Ok(invocation.clone())
    }
}

/// One event (`cardinality: one`, sent inline) or a whole delivery (`many`, a list in a string).
///
/// The events are as the sender wrote them, in the Event Grid or the CloudEvents schema.
#[derive(Clone, PartialEq)]
pub struct EventGridTrigger {
    /// At least the elements are there; that each is an event is for the reader to find out.
    pub events: Vec<Value>,
}

impl FromInvocation for EventGridTrigger {
    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError> {
        let binding = invocation.binding(binding)?;
        match binding.value.json().into_owned() {
            Value::Array(events) => Ok(Self { events }),
            event @ Value::Object(_) => Ok(Self { events: vec![event] }),
            other => Err(binding.shape_error("an event or a list of events", kind(&other))),
        }
    }
}

impl std::fmt::Debug for EventGridTrigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventGridTrigger").field("events", &self.events.len()).finish()
    }
}

/// One message of a storage queue.
///
/// The pop receipt is deliberately absent: deleting the message is the host's business.
#[derive(Clone, PartialEq, Eq)]
pub struct QueueTrigger {
    /// The message's text, after the host undid its base64 (with `messageEncoding: base64` in
    /// `host.json`), or as it was put (with `none`).
    pub text: String,
    /// Given by the queue; absent when the function was started by hand.
    pub id: Option<Uuid>,
    /// This delivery included; 0 when started by hand.
    pub dequeue_count: Option<u32>,
    /// When the message was put into the queue.
    pub insertion_time: Option<OffsetDateTime>,
    /// When the queue drops it.
    pub expiration_time: Option<OffsetDateTime>,
    /// When it comes back if this delivery is not finished.
    pub next_visible_time: Option<OffsetDateTime>,
}

impl QueueTrigger {
    /// The text that was meant, whoever put it: with `messageEncoding: none` the host passes on what it
    /// finds, and many senders encode. A text that is JSON was not encoded.
    pub fn body(&self) -> Cow<'_, str> {
        let text = self.text.trim();
        if text.starts_with(['{', '[']) {
            return Cow::Borrowed(text);
        }
        let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.map_or(Cow::Borrowed(&self.text), Cow::Owned)
    }

    /// Whether it was delivered before: somebody may have begun with it.
    pub fn came_before(&self) -> bool {
        self.dequeue_count.is_some_and(|count| count > 1)
    }

    /// The message's bytes, for a binding with `"dataType": "binary"`: there the host sends base64.
    /// `None` if the text is not base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.text).ok()
    }
}

impl FromInvocation for QueueTrigger {
    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError> {
        let metadata = &invocation.metadata;
        Ok(Self {
            text: invocation.binding(binding)?.value.text().into_owned(),
            id: metadata.guid("Id"),
            dequeue_count: metadata.count("DequeueCount"),
            insertion_time: metadata.time("InsertionTime"),
            expiration_time: metadata.time("ExpirationTime"),
            next_visible_time: metadata.time("NextVisibleTime"),
        })
    }
}

impl std::fmt::Debug for QueueTrigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueTrigger")
            .field("text_bytes", &self.text.len())
            .field("id", &self.id)
            .field("dequeue_count", &self.dequeue_count)
            .field("insertion_time", &self.insertion_time)
            .finish_non_exhaustive()
    }
}

/// A timer's tick. It carries no current time: take the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerTrigger {
    /// The state before this run; absent for schedules that the host does not keep in storage.
    pub schedule_status: Option<ScheduleStatus>,
    /// The host was down when the tick was due. However many were missed, one comes.
    pub is_past_due: bool,
    /// `true` for cron expressions, `false` for a plain period.
    pub adjust_for_dst: bool,
    /// Present if the function has a retry policy.
    pub retry: Option<RetryContext>,
}

/// What the host remembers about a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScheduleStatus {
    /// The previous run; `None` before the first.
    pub last: Option<OffsetDateTime>,
    /// The occurrence that is being run.
    pub next: Option<OffsetDateTime>,
    /// When the host last wrote the state; `None` before the first run.
    pub last_updated: Option<OffsetDateTime>,
}

impl FromInvocation for TimerTrigger {
    fn from_invocation(invocation: &Invocation, binding: Option<&str>) -> Result<Self, DecodeError> {
        let binding = invocation.binding(binding)?;
        let value = binding.value.json();
        let Some(timer) = value.as_object() else {
            return Err(binding.shape_error("a timer's state", kind(&value)));
        };
        let flag =
            |from: &Map<String, Value>, name| from.get(name).and_then(Value::as_bool).unwrap_or_default();
        let status = timer.get("ScheduleStatus").and_then(Value::as_object).map(|status| {
            let time = |name| status.get(name).and_then(|v| parse_time(HostValue(v).bare()?));
            ScheduleStatus { last: time("Last"), next: time("Next"), last_updated: time("LastUpdated") }
        });
        Ok(Self {
            schedule_status: status,
            is_past_due: flag(timer, "IsPastDue"),
            adjust_for_dst: timer
                .get("Schedule")
                .and_then(Value::as_object)
                .is_some_and(|schedule| flag(schedule, "AdjustForDST")),
            retry: invocation.metadata.retry(),
        })
    }
}
