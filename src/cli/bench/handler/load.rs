//! What the host sends, how long it takes, and whether the work was done.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    process::Running,
    stand::{Bus, Stand},
};
use crate::{
    bus::WORK_QUEUE,
    local::{
        functions_host::{DataType, TriggerInput},
        servicebus::{Delivery, Message},
    },
    model::IotHubId,
    work::WorkItem,
};

/// Invocations of each kind before anything is measured: Node compiles what is hot, connections open.
const WARM_UP: usize = 300;
/// For so long nothing happens before memory at rest is read.
const REST: Duration = Duration::from_secs(1);

/// An invocation that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// An event that is not about a hub: read and dropped.
    NoOp,
    /// An event about a hub: a message on `hub-work`.
    Event,
    /// A look at a hub that is as it should be: two reads, and an outcome.
    Reconcile,
}

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) requests: usize,
    pub(super) concurrency: usize,
}

/// What one kind cost in one life of a handler.
#[derive(Debug)]
pub(super) struct Cost {
    /// One after the other: how long each took.
    pub(super) alone: Vec<Duration>,
    /// Several at once: how long all took.
    pub(super) together: Duration,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::NoOp, Kind::Event, Kind::Reconcile];

    fn function(self) -> &'static str {
        match self {
            Kind::NoOp | Kind::Event => "HubEvent",
            Kind::Reconcile => "Work",
        }
    }

    /// An invocation of its own: no two have the same event or work.
    fn invocation(self, stand: &Stand, hub: &IotHubId) -> Bytes {
        let other = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers\
                     /Microsoft.Storage/storageAccounts/plain";
        let id = Uuid::new_v4();
        match self {
            Kind::NoOp => event(stand, other, "Microsoft.Storage/storageAccounts/write", id),
            Kind::Event => event(stand, hub.as_str(), "Microsoft.Devices/IotHubs/write", id),
            Kind::Reconcile => work(stand, hub, id),
        }
    }

    /// Whether an answer says that it was done.
    fn check(self, answer: &[u8]) -> anyhow::Result<()> {
        let answer: Value = serde_json::from_slice(answer).context("the answer is not JSON")?;
        match self {
            Kind::NoOp | Kind::Event => ensure!(answer["Outputs"] == json!({}), "the answer is {answer}"),
            Kind::Reconcile => {
                let outcome = outcome(&answer)?;
                ensure!(outcome == "InSync", "the hub is in order, and the answer says {outcome}");
            }
        }
        Ok(())
    }
}

impl Load {
    /// Lets a handler do everything a few times.
    pub(super) async fn warm_up(self, stand: &Stand, running: &Running) -> anyhow::Result<()> {
        for kind in Kind::ALL {
            let warm_up = Load { requests: WARM_UP.min(self.requests), ..self };
            warm_up.together(running, kind, warm_up.invocations(stand, kind)).await?;
        }
        Ok(())
    }

    /// Sends one kind, first one after the other and then several at once.
    pub(super) async fn measure(
        self,
        stand: &Stand,
        bus: &Bus,
        running: &Running,
        kind: Kind,
    ) -> anyhow::Result<Cost> {
        let before = (stand.calls(), bus.messages());
        let mut alone = Vec::with_capacity(self.requests);
        for body in self.invocations(stand, kind) {
            let began = Instant::now();
            let answer = running.invoke(kind.function(), body).await?;
            alone.push(began.elapsed());
            kind.check(&answer)?;
        }
        let together = self.together(running, kind, self.invocations(stand, kind)).await?;
        let ((calls, puts), messages) = (stand.calls(), bus.messages());
        let sent = self.requests * 2;
        let wanted = match kind {
            Kind::NoOp => (0, 0),
            Kind::Event => (0, sent),
            Kind::Reconcile => (2 * sent as u64, 0),
        };
        let ((calls_before, puts_before), messages_before) = before;
        let seen = (calls - calls_before, messages - messages_before);
        ensure!(seen == wanted, "{sent} invocations made {seen:?} calls and messages instead of {wanted:?}");
        ensure!(puts == puts_before, "a hub was written");
        Ok(Cost { alone, together })
    }

    fn invocations(self, stand: &Stand, kind: Kind) -> Vec<Bytes> {
        let hubs = stand.hubs.iter().cycle();
        hubs.take(self.requests).map(|hub| kind.invocation(stand, hub)).collect()
    }

    /// How long it takes to have all answered.
    async fn together(self, running: &Running, kind: Kind, bodies: Vec<Bytes>) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let answers: Vec<Bytes> = stream::iter(bodies)
            .map(|body| running.invoke(kind.function(), body))
            .buffer_unordered(self.concurrency)
            .try_collect()
            .await?;
        let took = began.elapsed();
        answers.iter().try_for_each(|answer| kind.check(answer))?;
        Ok(took)
    }
}

/// Has one event turned into a message; when that was done, measured from the start of the process.
pub(super) async fn first_message(stand: &Stand, bus: &Bus, running: &Running) -> anyhow::Result<Duration> {
    let hub = stand.hubs.first().context("there is no hub")?;
    let id = Uuid::new_v4();
    let body = event(stand, hub.as_str(), "Microsoft.Devices/IotHubs/write", id);
    Kind::Event.check(&running.invoke("HubEvent", body).await?)?;
    let took = running.started.elapsed();
    ensure!(bus.messages() == 1, "{} messages instead of one", bus.messages());
    let session = bus.bus.accept_session(WORK_QUEUE).await?;
    let found = bus.bus.receive_in_session(WORK_QUEUE, &session, 1).await?;
    let found = found.first().context("the message is gone")?;
    let item = WorkItem::parse(std::str::from_utf8(&found.message.body)?)?;
    let mut wanted = WorkItem::for_event(hub.clone(), false, Some(id.to_string()), item.trace_parent.clone());
    wanted.received_at = item.received_at;
    ensure!(item.received_at.is_some() && item == wanted, "another message: {item:?}");
    ensure!(found.message.message_id == Some(wanted.work_id.to_string()), "another message id");
    ensure!(session.session_id == wanted.session_id(), "another session");
    bus.bus.complete(WORK_QUEUE, found.lock_token)?;
    Ok(took)
}

/// Whether hubs that are not in order are told from those that are.
pub(super) async fn sees_disorder(stand: &Stand, running: &Running) -> anyhow::Result<()> {
    for hub in &stand.spoiled {
        let answer = running.invoke("Work", work(stand, hub, Uuid::new_v4())).await?;
        let outcome = outcome(&serde_json::from_slice(&answer)?)?;
        ensure!(outcome == "Differs", "{} is not in order, and the answer says {outcome}", hub.name());
    }
    Ok(())
}

/// Lets it rest, so that what its start took is given back.
pub(super) async fn rest() {
    tokio::time::sleep(REST).await;
}

/// The one outcome of an answer.
fn outcome(answer: &Value) -> anyhow::Result<String> {
    let texts = answer["Outputs"]["outcomes"].as_array().context("the answer has no outcomes")?;
    let [text] = texts.as_slice() else { anyhow::bail!("{} outcomes instead of one", texts.len()) };
    let record: Value = serde_json::from_str(text.as_str().context("an outcome is not text")?)?;
    Ok(record["outcome"].as_str().context("an outcome without a word")?.to_owned())
}

fn event(stand: &Stand, resource: &str, operation: &str, id: Uuid) -> Bytes {
    let subscription = resource.split('/').take(3).collect::<Vec<_>>().join("/");
    let event = json!({
        "id": id, "topic": subscription, "subject": resource,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-01-31T12:00:00.1234567Z", "dataVersion": "2", "metadataVersion": "1",
        "data": {
            "authorization": {"scope": resource, "action": operation, "evidence": {"role": "Contributor"}},
            "claims": {"aud": "https://management.azure.com/", "appid": "11111111-2222-4333-8444-555555555555"},
            "correlationId": id, "httpRequest": "", "resourceProvider": operation.split('/').next(),
            "resourceUri": resource, "operationName": operation, "status": "Succeeded",
            "subscriptionId": subscription.rsplit('/').next(), "tenantId": "00000000-0000-0000-0000-000000000000",
        },
    });
    envelope(stand, &TriggerInput::event(&event), "HubEvent", "event")
}

fn work(stand: &Stand, hub: &IotHubId, id: Uuid) -> Bytes {
    let now = stand.now();
    let item = WorkItem::for_event(hub.clone(), false, Some(id.to_string()), None).received(now);
    let text = serde_json::to_string(&item).unwrap_or_default();
    let message = Message::new(text).with_id(item.work_id.to_string()).in_session(item.session_id());
    let delivery = Delivery {
        message: Message { content_type: Some("application/json".into()), ..message },
        sequence_number: 1,
        delivery_count: 1,
        enqueued_at: now,
        expires_at: now + time::Duration::days(14),
        lock_token: id,
    };
    let client = json!({"FullyQualifiedNamespace": "local.servicebus.windows.net", "IsClosed": false});
    envelope(stand, &TriggerInput::bus_one(&delivery, DataType::Unset, &client), "Work", "work")
}

fn envelope(stand: &Stand, input: &TriggerInput, function: &str, parameter: &str) -> Bytes {
    input.envelope(function, parameter, stand.now(), Uuid::new_v4(), None).body.to_string().into()
}
