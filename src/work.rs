//! The work item: a message on `hub-work` that says which hub to look at, never what to change.
//!
//! `hub-work` is a session queue and the session is the hub, so one hub is worked on by one worker
//! at a time, across any number of instances. Message ids are derived from what they stand for, so
//! that the broker's duplicate detection drops what was sent twice: an event delivered again, or
//! the follow-up of an invocation that crashed after sending it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    desired::{self, Request, RequestKind},
    model::{
        IotHubId,
        job::{JobItem, JobRequest},
    },
    reconcile::Chain,
};

/// For how long the queue remembers message ids; it has to be made so. What is sent again after a longer
/// time is done again.
pub const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// The one version of this message that is understood.
const SCHEMA: &str = "hubward/work/v1";
/// Longest session id that Service Bus takes; ids of hubs in groups with long names exceed it.
/// <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas>
const MAX_SESSION_ID: usize = 128;
/// Namespace of message ids, made once for this purpose.
const MESSAGES: Uuid = Uuid::from_u128(0x2b6c_1e57_90f2_4a41_8f4e_7d0b_54c3_9a02);

/// A request to look at one hub.
///
/// Member names are chosen so that none equals a name in the trigger's metadata: the Functions host
/// lets a payload's members replace those of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkItem {
    schema: Schema,
    /// Also the broker's MessageId.
    pub work_id: Uuid,
    /// The hub to look at.
    pub hub: IotHubId,
    /// Why.
    pub reason: Reason,
    /// The request that this is for, if it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// That request as it was written. It is read and checked anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<Value>>,
    /// When what led to this came in.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub received_at: Option<OffsetDateTime>,
    /// How many looks of this chain came before this one.
    #[serde(default)]
    pub follows: u32,
    /// W3C trace context of the work that led to this, so that one trace spans all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Schema {
    #[serde(rename = "hubward/work/v1")]
    V1,
}

/// An operator's request, as far as its outcome has to name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The request's idempotency key.
    pub id: String,
    /// Its digest: another request under the same key has another one.
    pub digest: Uuid,
    /// What it asks for.
    pub kind: RequestKind,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}

impl Origin {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        Self {
            id: request.id.clone(),
            digest: request.digest(),
            kind: request.kind,
            requested_by: request.requested_by.clone(),
            reason: request.reason.clone(),
        }
    }
}

/// Why a hub is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Reason {
    /// Azure says that the hub was written.
    #[serde(rename_all = "camelCase")]
    Written {
        /// The event's id, if it had one.
        event_id: Option<String>,
    },
    /// Azure says that the hub was deleted.
    #[serde(rename_all = "camelCase")]
    Deleted {
        /// The event's id, if it had one.
        event_id: Option<String>,
    },
    /// Somebody asks for something.
    #[serde(rename_all = "camelCase")]
    Request {
        /// When it is (or goes) on; absent for at once.
        #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
        due: Option<OffsetDateTime>,
        /// What the look before handed over.
        #[serde(flatten)]
        chain: Chain,
    },
    /// An earlier look could not go on.
    #[serde(rename_all = "camelCase")]
    FollowUp {
        /// What it waited for.
        waited_for: String,
        /// When it was to be looked at again.
        #[serde(with = "time::serde::rfc3339")]
        due: OffsetDateTime,
        /// What the look before handed over.
        #[serde(flatten)]
        chain: Chain,
    },
    /// A resync found that the hub may not be as it should be.
    #[serde(rename_all = "camelCase")]
    Resync {
        /// The run.
        run: Uuid,
    },
    /// The hub may have left grants behind: it is gone, was made again, or got another principal.
    #[serde(rename_all = "camelCase")]
    Leftovers {
        /// The run that noticed it.
        run: Uuid,
        /// Whether a hub that is there is then looked at as always.
        #[serde(default)]
        then_look: bool,
        /// When it is looked at again; absent for at once.
        #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
        due: Option<OffsetDateTime>,
        /// What the look before handed over.
        #[serde(flatten)]
        chain: Chain,
    },
    /// A bulk job of the hub is asked for, or goes on.
    #[serde(rename_all = "camelCase")]
    Job {
        /// What was asked, and how far it is.
        item: Box<JobItem>,
        /// When it goes on; absent for at once.
        #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
        due: Option<OffsetDateTime>,
    },
}

impl WorkItem {
    /// The first of a chain, for nobody's request.
    fn new(hub: IotHubId, work_id: Uuid, reason: Reason, trace_parent: Option<String>) -> Self {
        Self {
            schema: Schema::V1,
            work_id,
            hub,
            reason,
            origin: None,
            request: None,
            received_at: None,
            follows: 0,
            trace_parent,
        }
    }

    /// Work that an event asks for. The same event gives the same message id.
    pub fn for_event(
        hub: IotHubId,
        deleted: bool,
        event_id: Option<String>,
        trace_parent: Option<String>,
    ) -> Self {
        let work_id = match &event_id {
            Some(event) => derive(&hub, &["event", event]),
            None => Uuid::new_v4(),
        };
        let reason = if deleted { Reason::Deleted { event_id } } else { Reason::Written { event_id } };
        Self::new(hub, work_id, reason, trace_parent)
    }

    /// Work that a resync asks for. The same run, on however many instances, gives the same message id.
    pub fn for_resync(hub: IotHubId, run: Uuid, at: OffsetDateTime, trace_parent: Option<String>) -> Self {
        let work_id = derive(&hub, &["resync", &run.to_string()]);
        let reason = Reason::Resync { run };
        Self { received_at: Some(at), ..Self::new(hub, work_id, reason, trace_parent) }
    }

    /// A look for what a hub has left behind, found by a run; a hub that is there is then looked at as always.
    /// The same hub in the same run gives the same message id.
    pub fn for_leftovers(hub: IotHubId, run: Uuid) -> Self {
        let work_id = derive(&hub, &["leftovers", &run.to_string()]);
        let reason = Reason::Leftovers { run, then_look: true, due: None, chain: Chain::default() };
        Self::new(hub, work_id, reason, None)
    }

    /// A look for what a hub has left behind that has another principal now. The hub itself has just been looked at.
    pub fn for_former_principal(hub: IotHubId, principal: &str) -> Self {
        let run = derive(&hub, &["former", principal]);
        let reason = Reason::Leftovers { run, then_look: false, due: None, chain: Chain::default() };
        Self { reason, ..Self::for_leftovers(hub, run) }
    }

    /// Work that an operator asks for. The same request gives the same message id.
    pub fn for_request(request: &Request, at: OffsetDateTime, trace_parent: Option<String>) -> Self {
        let origin = Origin::of(request);
        let reason = Reason::Request {
            due: request.not_before.filter(|due| *due > at).map(round_up),
            chain: Chain::default(),
        };
        let work_id = derive(&request.hub, &["request", &origin.id, &origin.digest.to_string()]);
        Self {
            origin: Some(origin),
            request: Some(Box::new(request.json().clone())),
            received_at: Some(at),
            ..Self::new(request.hub.clone(), work_id, reason, trace_parent)
        }
    }

    /// Whether the request that it holds is the one that it names: whoever sends messages may say anything.
    pub fn is_true(&self) -> bool {
        let (Some(origin), Some(request)) = (&self.origin, &self.request) else { return false };
        origin.digest == desired::digest_of(request)
            && request.get("id").and_then(Value::as_str) == Some(origin.id.as_str())
    }

    /// The same, with when it came in.
    #[must_use]
    pub fn received(mut self, at: OffsetDateTime) -> Self {
        self.received_at = Some(at);
        self
    }

    /// A bulk job that somebody asks for. The same request gives the same message id.
    pub fn for_job(hub: IotHubId, request: JobRequest, trace_parent: Option<String>) -> Self {
        Self::of_job(hub, JobItem::new(request), None, 0, trace_parent)
    }

    /// A bulk job that this item, a request, asks for.
    pub fn job(&self, request: JobRequest) -> Self {
        self.goes_on_as(Self::for_job(self.hub.clone(), request, self.trace_parent.clone()))
    }

    /// The next step of a job. Its id follows from the request and the number of the step, so that a step
    /// that is taken again sends the same message.
    pub fn next_step(&self, item: JobItem, due: OffsetDateTime) -> Self {
        let follows = self.follows.saturating_add(1);
        let due = Some(round_up(due));
        self.goes_on_as(Self::of_job(self.hub.clone(), item, due, follows, self.trace_parent.clone()))
    }

    /// The other item, for the request that this one is for.
    fn goes_on_as(&self, other: Self) -> Self {
        Self {
            origin: self.origin.clone(),
            request: self.request.clone(),
            received_at: self.received_at,
            ..other
        }
    }

    fn of_job(
        hub: IotHubId,
        item: JobItem,
        due: Option<OffsetDateTime>,
        follows: u32,
        trace_parent: Option<String>,
    ) -> Self {
        let work_id = derive(&hub, &["job", &item.request.id.to_string(), &item.steps.to_string()]);
        let reason = Reason::Job { item: Box::new(item), due };
        Self { follows, ..Self::new(hub, work_id, reason, trace_parent) }
    }

    /// The next look, due at a time. Its id follows from hub and time, so that several looks that come
    /// to the same conclusion send one message; those of a request stay its own.
    ///
    /// Never the id of the item it follows: the broker would take it for a duplicate and the hub
    /// would be forgotten.
    pub fn follow_up(&self, waited_for: &str, due: OffsetDateTime, chain: Chain) -> Self {
        let due = round_up(due);
        let reason = match &self.reason {
            Reason::Request { .. } => Reason::Request { due: Some(due), chain },
            _ => Reason::FollowUp { waited_for: waited_for.to_owned(), due, chain },
        };
        match &self.origin {
            Some(origin) => {
                self.next_look("request", &format!("{}|{}", origin.id, origin.digest), due, reason)
            }
            None => self.next_look("follow-up", "", due, reason),
        }
    }

    /// The next look for what the hub has left behind.
    pub fn leftovers_again(&self, due: OffsetDateTime, chain: Chain) -> Self {
        let due = round_up(due);
        let (run, then_look) = match &self.reason {
            Reason::Leftovers { run, then_look, .. } => (*run, *then_look),
            _ => (self.work_id, true),
        };
        let reason = Reason::Leftovers { run, then_look, due: Some(due), chain };
        self.next_look("leftovers", &run.to_string(), due, reason)
    }

    fn next_look(&self, kind: &str, key: &str, due: OffsetDateTime, reason: Reason) -> Self {
        let ids = (0..).map(|turn: u32| {
            derive(&self.hub, &[kind, key, &due.unix_timestamp().to_string(), &turn.to_string()])
        });
        // The item followed may itself be the n-th for this time, if it came early.
        let mut ids = ids.take(64);
        let mut work_id = ids.next().unwrap_or_else(Uuid::new_v4);
        if self.due() == Some(due) {
            let mut candidate = Some(work_id);
            while let Some(id) = candidate {
                if id == self.work_id {
                    work_id = ids.next().unwrap_or_else(Uuid::new_v4);
                    break;
                }
                candidate = ids.next();
            }
        }
        Self { work_id, reason, follows: self.follows.saturating_add(1), ..self.clone() }
    }

    /// When this item is to appear; `None` for at once.
    pub fn due(&self) -> Option<OffsetDateTime> {
        match &self.reason {
            Reason::FollowUp { due, .. } => Some(*due),
            Reason::Job { due, .. } | Reason::Request { due, .. } | Reason::Leftovers { due, .. } => *due,
            Reason::Written { .. } | Reason::Deleted { .. } | Reason::Resync { .. } => None,
        }
    }

    /// What the look before this one handed over.
    pub fn chain(&self) -> Chain {
        match &self.reason {
            Reason::FollowUp { chain, .. }
            | Reason::Request { chain, .. }
            | Reason::Leftovers { chain, .. } => chain.clone(),
            Reason::Written { .. } | Reason::Deleted { .. } | Reason::Resync { .. } | Reason::Job { .. } => {
                Chain::default()
            }
        }
    }

    /// The session: the lower-cased hub id, or, where that is longer than the broker's limit, the
    /// hub's name and a UUID v5 of the id.
    pub fn session_id(&self) -> String {
        let key = self.hub.key();
        if key.len() <= MAX_SESSION_ID {
            return key.to_owned();
        }
        let name = self.hub.name().to_ascii_lowercase();
        let id = Uuid::new_v5(&MESSAGES, key.as_bytes());
        format!("{}~{id}", &name[..name.len().min(MAX_SESSION_ID - 37)])
    }

    /// Reads a message's text. The error names what is wrong and never quotes the message.
    pub fn parse(text: &str) -> Result<Self, WorkItemError> {
        serde_json::from_str(text)
            .map_err(|error| WorkItemError { line: error.line(), cause: error.to_string() })
    }
}

/// Why a message is not a work item.
#[derive(Debug, thiserror::Error)]
#[error("not a {SCHEMA} message: {cause}")]
pub struct WorkItemError {
    /// Where in the text.
    pub line: usize,
    cause: String,
}

fn derive(hub: &IotHubId, parts: &[&str]) -> Uuid {
    let key = [&[hub.key()], parts].concat().join("|");
    Uuid::new_v5(&MESSAGES, key.as_bytes())
}

/// The whole second after the one that `time` lies in. The broker takes whole seconds, and ARM tells
/// the time in whole seconds, cut off: woken at the very moment, we would find it a second early.
fn round_up(time: OffsetDateTime) -> OffsetDateTime {
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.saturating_add(if whole == time { time::Duration::SECOND } else { time::Duration::seconds(2) })
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn hub() -> IotHubId {
        IotHubId::parse("/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/H1").unwrap()
    }

    #[test]
    fn the_same_event_is_the_same_message() {
        let event = |id: &str| WorkItem::for_event(hub(), false, Some(id.into()), None).work_id;
        assert_eq!(event("a"), event("a"));
        assert_ne!(event("a"), event("b"));
    }

    #[test]
    fn the_session_is_the_hub_within_the_brokers_limit() {
        let item = |group: &str, name: &str| {
            let id = format!(
                "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}"
            );
            WorkItem::for_event(IotHubId::parse(&id).unwrap(), false, None, None)
        };
        assert_eq!(item("RG", "H1").session_id(), item("rg", "h1").hub.key());
        let (a, b) = (item(&"g".repeat(90), "hub-plant-01"), item(&"g".repeat(89), "hub-plant-01"));
        assert!(a.session_id().len() <= 128 && a.session_id().starts_with("hub-plant-01~"));
        assert_ne!(a.session_id(), b.session_id());
        assert_eq!(a.session_id(), item(&"G".repeat(90), "HUB-plant-01").session_id());
    }

    #[test]
    fn two_looks_with_one_conclusion_send_one_message() {
        let due = datetime!(2026-01-31 12:01:00.5 UTC);
        let first = WorkItem::for_event(hub(), false, Some("a".into()), None);
        let second = WorkItem::for_event(hub(), false, Some("b".into()), None);
        let follow_up = first.follow_up("the grants to spread", due, Chain::default());
        assert_eq!(
            follow_up.work_id,
            second.follow_up("the grants to spread", due, Chain::default()).work_id
        );
        assert_eq!(follow_up.follows, 1);
        assert_eq!(
            follow_up.reason,
            Reason::FollowUp {
                waited_for: "the grants to spread".into(),
                due: datetime!(2026-01-31 12:01:02 UTC),
                chain: Chain::default(),
            }
        );
    }

    #[test]
    fn a_follow_up_of_the_last_second_of_the_calendar_is_due_then() {
        let last = datetime!(9999-12-31 23:59:59 UTC);
        let item = WorkItem::for_event(hub(), false, Some("a".into()), None);
        let due = item.follow_up("x", last, Chain::default()).due();
        assert!(due.is_some_and(|due| due >= last));
    }

    #[test]
    fn a_follow_up_that_came_early_is_followed_by_another_message() {
        let due = datetime!(2026-01-31 12:01:00 UTC);
        let mut item =
            WorkItem::for_event(hub(), false, Some("a".into()), None).follow_up("x", due, Chain::default());
        let mut seen = std::collections::BTreeSet::from([item.work_id]);
        for _ in 0..20 {
            item = item.follow_up("x", due, Chain::default());
            assert!(seen.insert(item.work_id), "an id came twice");
        }
    }

    #[test]
    fn items_survive_the_wire_and_strangers_are_refused() {
        let item = WorkItem::for_event(hub(), true, Some("a".into()), None);
        assert_eq!(WorkItem::parse(&serde_json::to_string(&item).unwrap()).unwrap(), item);
        for stranger in [
            "",
            "{}",
            "[]",
            r#"{"schema":"hubward/work/v2"}"#,
            r#"{"schema":"hubward/work/v1","role":"Owner"}"#,
        ] {
            assert!(WorkItem::parse(stranger).is_err(), "{stranger}");
        }
    }
}
