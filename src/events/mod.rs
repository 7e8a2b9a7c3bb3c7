//! Reads Azure's events and says which IoT hub was written or deleted. No I/O, no clock.
//!
//! There is no "hub created" and no "identity added" event: whatever is done to a hub arrives as
//! `ResourceWriteSuccess` with the operation `Microsoft.Devices/IotHubs/write` and without the hub's
//! content. So an event only says *look at this hub*; what to do is decided by reading it.
//!
//! # Rules
//!
//! - **One [`Verdict`] for each event, in order.** Nothing is dropped without a word, and one odd
//!   event does not hide the others of its delivery.
//! - A change needs the event's type, its operation and its resource id to agree. An id below a hub
//!   (a certificate, a role assignment) is not the hub. Names are compared without case.
//! - Anything may have any type, or be absent: claims, authorization, data, times.
//! - Nothing here panics on any input, and no reason quotes the event.
//!
//! # Sources
//!
//! - <https://learn.microsoft.com/azure/event-grid/event-schema-subscriptions> and
//!   <https://learn.microsoft.com/azure/event-grid/cloud-event-schema>: the two schemas
//! - <https://learn.microsoft.com/azure/event-grid/event-schema-resources>: Azure Resource Notifications
//! - <https://learn.microsoft.com/azure/event-grid/event-schema-iot-hub>: a hub's own events, about devices
//! - <https://learn.microsoft.com/azure/event-grid/delivery-and-retry>: at least once, in no order
//!
//! ```
//! use hubward::events::{self, Change};
//!
//! let text = r#"{"eventType":"Microsoft.Resources.ResourceWriteSuccess","id":"1",
//!   "subject":"/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/hub-1",
//!   "data":{"operationName":"Microsoft.Devices/IotHubs/write"}}"#;
//! let verdicts = events::parse(text)?;
//! let hubs = events::newest_per_hub(&verdicts);
//! assert_eq!(hubs[0].hub.name(), "hub-1");
//! assert_eq!(hubs[0].change, Change::Written);
//! # Ok::<(), events::ParseError>(())
//! ```

mod classify;
mod fields;
mod unwrap;

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::IotHubId;

pub use unwrap::ParseError;

/// What one event means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A hub was written or deleted.
    Hub(HubEvent),
    /// Understood, and nothing for us.
    Irrelevant {
        /// What it is instead.
        reason: Irrelevant,
    },
    /// Not an event, or one about a hub that cannot be named.
    Malformed {
        /// What is wrong with it.
        reason: Malformed,
    },
}

/// A hub that should be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubEvent {
    /// Which hub, as the event spells it.
    pub hub: IotHubId,
    /// What happened to it.
    pub change: Change,
    /// The event's id; the same again is the same event delivered again.
    pub event_id: Option<String>,
    /// When it happened, in UTC.
    pub event_time: Option<OffsetDateTime>,
    /// Who did it, if the event says so.
    pub caller: Option<Caller>,
    /// Shared by all events of one deployment.
    pub correlation_id: Option<String>,
    /// The subscription that the event was published for. Normally the hub's own; worth a check,
    /// because whoever can write to a queue can write any event.
    pub source_subscription: Option<Uuid>,
}

impl HubEvent {
    /// The hub's subscription, lower-cased.
    pub fn subscription(&self) -> &str {
        self.hub.subscription()
    }

    /// Whether the event was published for another subscription than the hub's.
    pub fn is_from_elsewhere(&self) -> bool {
        self.source_subscription.is_some_and(|source| Uuid::try_parse(self.subscription()) != Ok(source))
    }
}

/// What happened to a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Created, updated or tagged: the events do not tell these apart.
    Written,
    /// Deleted. Confirm it by reading before anything is cleaned up.
    Deleted,
}

/// Who made a change. At least one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The application (client) id.
    pub app_id: Option<Uuid>,
    /// The principal's object id.
    pub object_id: Option<Uuid>,
}

/// Why an event is nothing for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Irrelevant {
    /// The same id, type and resource as an earlier event of the delivery.
    #[error("a duplicate within the delivery")]
    Duplicate,
    /// A write or delete that failed or was cancelled.
    #[error("the operation failed or was cancelled")]
    NotCompleted,
    /// A POST, such as listing keys.
    #[error("an action, which changes no resource")]
    Action,
    /// About a device of a hub, never about the hub.
    #[error("an event about a device")]
    DeviceEvent,
    /// Event Grid asking whether the address is ours; answered by the Functions host.
    #[error("Event Grid's validation of a subscription")]
    SubscriptionValidation,
    /// Somebody removed the event subscription.
    #[error("the event subscription was deleted")]
    SubscriptionDeleted,
    /// Any other type of event.
    #[error("another type of event")]
    OtherType,
    /// Of a resource that is no hub and not below one.
    #[error("about another resource")]
    OtherResource,
    /// Of something below a hub.
    #[error("about something below a hub")]
    BelowHub,
    /// On a hub, but neither a write nor a delete of it, or not the one the type speaks of.
    #[error("another operation on a hub")]
    OtherOperation,
}

/// Why an event cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// Not an object, nor text that holds one.
    #[error("not an object")]
    NotAnObject,
    /// Neither an Event Grid event nor a CloudEvent.
    #[error("of neither event schema")]
    NoSchema,
    /// A hub's operation without a resource id.
    #[error("a change of a hub that is not named")]
    NoHubId,
    /// An id that looks like a hub's and is none.
    #[error("the hub's id is not valid")]
    BadHubId,
}

/// Reads text from a queue: base64 or plain, JSON in strings up to three deep, one event or a list,
/// bare or in a call's `{"Data":…}` envelope.
pub fn parse(text: &str) -> Result<Vec<Verdict>, ParseError> {
    unwrap::from_text(text).map(|events| judge(&events))
}

/// Reads events that are decoded already, such as the Event Grid trigger's.
pub fn parse_value(value: &Value) -> Result<Vec<Verdict>, ParseError> {
    unwrap::from_value(value).map(|events| judge(&events))
}

/// The newest event of each hub, sorted by hub. An event without a time counts as newer than any;
/// among equals the later in the list wins.
pub fn newest_per_hub(verdicts: &[Verdict]) -> Vec<&HubEvent> {
    let mut newest = BTreeMap::<&IotHubId, &HubEvent>::new();
    let rank = |event: &HubEvent| (event.event_time.is_none(), event.event_time);
    for verdict in verdicts {
        let Verdict::Hub(event) = verdict else { continue };
        let known = newest.entry(&event.hub).or_insert(event);
        if rank(event) >= rank(known) {
            *known = event;
        }
    }
    newest.into_values().collect()
}

/// A verdict for each event; repetitions of an earlier one are told so.
fn judge(events: &[Value]) -> Vec<Verdict> {
    let mut seen = HashSet::new();
    let mut is_new = |event| classify::fingerprint(event).is_none_or(|fingerprint| seen.insert(fingerprint));
    let duplicate = Verdict::Irrelevant { reason: Irrelevant::Duplicate };
    events
        .iter()
        .map(|event| if is_new(event) { classify::classify(event) } else { duplicate.clone() })
        .collect()
}
