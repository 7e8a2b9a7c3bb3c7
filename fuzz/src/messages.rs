//! What comes in: calls by the Functions host, events, the messages of our own queues and our own records.

use std::fmt::Debug;

use hubward::{
    campaigns::{campaign::Campaign, step::WorkMessage},
    events::{self, Verdict},
    fleet::FleetReport,
    handler::{
        EventGridTrigger, FromInvocation, HttpTrigger, Invocation, InvocationHead, QueueTrigger,
        ServiceBusBatch, ServiceBusTrigger, TimerTrigger,
    },
    outcomes::{Record, parked::Parked},
    reconcile::Chain,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use time::macros::datetime;

use super::text;

/// The longest name of a binding and eight of them, quoted, with the sentence around them.
const LONGEST_ERROR: usize = 4096;

/// A call's body, decoded as every trigger. Errors are short, and a call prints without its data.
pub fn invocations(data: &[u8]) {
    let call = match Invocation::parse(InvocationHead::default(), data) {
        Ok(call) => call,
        Err(error) => return assert!(error.to_string().len() < LONGEST_ERROR),
    };
    for binding in [None, Some("message"), Some("req")] {
        decoded::<EventGridTrigger>(&call, binding);
        decoded::<QueueTrigger>(&call, binding);
        decoded::<ServiceBusTrigger>(&call, binding);
        decoded::<ServiceBusBatch>(&call, binding);
        decoded::<TimerTrigger>(&call, binding);
        decoded::<HttpTrigger>(&call, binding);
    }
}

fn decoded<T: FromInvocation + Debug>(call: &Invocation, binding: Option<&str>) {
    match T::from_invocation(call, binding) {
        Ok(trigger) => drop(format!("{trigger:?}")),
        Err(error) => assert!(error.to_string().len() < LONGEST_ERROR),
    }
}

/// A message of a queue of events. Text and value give the same verdicts, and a hub that is named stands in it.
pub fn events(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let verdicts = events::parse(text);
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        assert_eq!(events::parse_value(&value), events::parse(&value.to_string()));
    }
    let Ok(verdicts) = verdicts else { return };
    let newest = events::newest_per_hub(&verdicts);
    for verdict in &verdicts {
        let Verdict::Hub(event) = verdict else { continue };
        let kept = newest.iter().filter(|kept| kept.hub == event.hub).collect::<Vec<_>>();
        assert_eq!(kept.len(), 1, "one for each hub");
        assert!(kept[0].event_time.is_none() || kept[0].event_time >= event.event_time);
        assert_eq!(event.subscription(), event.hub.subscription());
        event.is_from_elsewhere();
    }
}

/// A message of the queue of work. It is read again as the same, has a session that the broker takes, and what
/// follows it is another message.
pub fn work(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let message = match WorkMessage::parse(text) {
        Ok(message) => message,
        Err(error) => return drop(error.to_string()),
    };
    let (json, session) = match &message {
        WorkMessage::Hub(item) => (serde_json::to_string(item), item.session_id()),
        WorkMessage::Campaign(step) => (serde_json::to_string(step), step.session_id()),
    };
    // Times of years that RFC 3339 has no digits for are read from no message.
    let json = json.expect("what was read can be written");
    assert_eq!(WorkMessage::parse(&json).ok().as_ref(), Some(&message));
    let WorkMessage::Hub(item) = message else { return };
    assert!(session.chars().count() <= 128, "{session}");
    item.is_true();
    let due = item.due().unwrap_or(datetime!(2026-01-31 12:00 UTC));
    let next = item.follow_up("a grant", due, Chain::default());
    assert_ne!(next.work_id, item.work_id);
    assert_eq!(next.session_id(), session);
    assert_ne!(item.leftovers_again(due, Chain::default()).work_id, item.work_id);
}

/// Records of ours: each that is read is written down as it was.
pub fn records(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(parked) = again::<Parked>(text)
        && let Some(request) = parked.again("somebody", 1)
    {
        assert!(request["id"].as_str().is_some_and(|id| id.ends_with(":again-1")));
        assert_eq!(request.get("notBefore"), None);
    }
    if let Some(record) = again::<Record>(text) {
        let message = record.as_message();
        assert_eq!((message.outcome_id, message.outcome), (record.outcome_id, record.outcome));
    }
    again::<Campaign>(text);
    again::<FleetReport>(text);
}

/// Reads, writes and reads again.
fn again<T: Serialize + DeserializeOwned>(text: &str) -> Option<T> {
    let read: T = serde_json::from_str(text).ok()?;
    let written = serde_json::to_string(&read).expect("what was read can be written");
    let reread: T = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&reread).ok().as_deref(), Some(written.as_str()));
    Some(read)
}
