//! The functions behind the real router: what arrives, what is sent on, what is answered.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body};
use hubward::{
    arm::ArmClient,
    blobs::Container,
    bus::{SendError, WorkQueue},
    campaigns::step::CampaignStep,
    config::ProfilesSource,
    functions::{self, App},
    local::{
        azure::{Fault, FaultKind, OUTCOMES_CONTAINER, Settings, World},
        in_process::InProcess,
    },
    model::IotHubId,
    outcomes::{
        parked::{Parked, ParkedQueue},
        store::BlobStore,
    },
    profiles::Profiles,
    queue::QueueError,
    telemetry::Telemetry,
    work::{Reason, WorkItem},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{
    cloud::{Cloud, SimCredential},
    world::hub_id,
};

const OWN_CLIENT: &str = "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01";

/// A queue that keeps what it is given, or refuses.
#[derive(Default)]
struct Recorder {
    items: Mutex<Vec<WorkItem>>,
    steps: Mutex<Vec<CampaignStep>>,
    refuses: bool,
}

#[async_trait::async_trait]
impl WorkQueue for Recorder {
    async fn send(&self, item: &WorkItem) -> Result<(), SendError> {
        if self.refuses {
            return Err(SendError::new(item, "the namespace is away"));
        }
        self.items.lock().unwrap().push(item.clone());
        Ok(())
    }

    async fn send_step(&self, step: &CampaignStep) -> Result<(), SendError> {
        if self.refuses {
            return Err(SendError::of_step(step, "the namespace is away"));
        }
        self.steps.lock().unwrap().push(step.clone());
        Ok(())
    }
}

/// What is parked on the failed queue; `None` while the queue cannot be read.
pub(crate) struct ParkedWork(pub(crate) Mutex<Option<Vec<Parked>>>);

#[async_trait::async_trait]
impl ParkedQueue for ParkedWork {
    async fn oldest(&self) -> Result<Vec<Parked>, QueueError> {
        let parked = self.0.lock().unwrap().clone();
        parked.ok_or_else(|| QueueError::Address("the account is away".to_owned()))
    }
}

pub(crate) struct Functions {
    router: Router,
    queue: Arc<Recorder>,
    pub(crate) parked: Arc<ParkedWork>,
    pub(crate) cloud: Cloud,
    profiles: tempfile::NamedTempFile,
}

/// Where outcomes are kept.
pub(crate) fn store(cloud: &Cloud) -> BlobStore {
    let client = cloud.arm.reader().client();
    BlobStore::new(Container::new(OUTCOMES_CONTAINER, client.credential(), client.transport()).unwrap())
}

fn router(cloud: &Cloud, profiles: &Path, queue: Arc<Recorder>, parked: Arc<ParkedWork>) -> Router {
    let client: ArmClient = cloud.arm.reader().client().clone();
    let app = App {
        profiles: Profiles::new(
            ProfilesSource::File(profiles.into()),
            Arc::new(SimCredential(cloud.azure.clone())),
            Arc::new(InProcess::new()),
        )
        .reserving(Some(&OUTCOMES_CONTAINER.parse().unwrap())),
        reconciler: cloud.reconciler.clone(),
        arm: client,
        queue,
        store: Some(Arc::new(store(cloud))),
        parked: Some(parked),
        client_id: Some(OWN_CLIENT.parse().unwrap()),
        telemetry: Telemetry::default(),
        exports_seen_to: Mutex::default(),
        resync_source: hubward::fleet::Source::Graph,
    };
    functions::runtime(Arc::new(app)).into_router()
}

impl Functions {
    fn new(refuses: bool) -> Self {
        Self::of(refuses, hubward::desired::sample())
    }

    pub(crate) fn of(refuses: bool, document: &str) -> Self {
        let settings = Settings { hub_update_seconds: 0.5, ..Settings::default() };
        let cloud = Cloud::with(settings, World::reference().with_state_account(), document);
        let profiles = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&profiles, document).unwrap();
        let queue = Arc::new(Recorder { refuses, ..Recorder::default() });
        let parked = Arc::new(ParkedWork(Mutex::new(Some(Vec::new()))));
        let router = router(&cloud, profiles.path(), queue.clone(), parked.clone());
        Self { router, queue, parked, cloud, profiles }
    }

    /// Another process takes over, which knows nothing.
    pub(crate) fn restart(&mut self) {
        self.router = router(&self.cloud, self.profiles.path(), self.queue.clone(), self.parked.clone());
    }

    /// Another document, read by a process that has just started.
    pub(crate) fn rewrite(&mut self, document: &str) {
        std::fs::write(&self.profiles, document).unwrap();
        self.restart();
    }

    /// What the host calls.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn post(&self, function: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = http::Request::post(format!("/{function}"))
            .header("content-type", "application/json; charset=utf-8")
            .header("x-azure-functions-invocationid", "0d9c2a6e-6f0b-4c57-8a55-3b1f4a1f7e10")
            .body(body.into())
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (
            status,
            serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{function} answered no JSON: {body:?}")),
        )
    }

    async fn event(&self, event: Value) -> (u16, Value) {
        self.post("HubEvent", json!({"Data": {"event": event}, "Metadata": {}}).to_string()).await
    }

    pub(crate) async fn work(&self, text: &str) -> (u16, Value) {
        self.deliver(text, 1).await
    }

    /// A message that is delivered for the n-th time.
    pub(crate) async fn deliver(&self, text: &str, count: u32) -> (u16, Value) {
        let twice = serde_json::to_string(text).unwrap();
        let metadata = json!({"DeliveryCount": count.to_string()});
        self.post("Work", json!({"Data": {"work": twice}, "Metadata": metadata}).to_string()).await
    }

    /// A step of a campaign, in a session.
    pub(crate) async fn deliver_step(&self, step: &CampaignStep, session: &str, count: u32) -> (u16, Value) {
        let twice = serde_json::to_string(&serde_json::to_string(step).unwrap()).unwrap();
        let metadata = json!({"DeliveryCount": count.to_string(), "SessionId": format!("\"{session}\"")});
        self.post("Work", json!({"Data": {"work": twice}, "Metadata": metadata}).to_string()).await
    }

    pub(crate) fn queue(&self) -> &dyn WorkQueue {
        self.queue.as_ref()
    }

    pub(crate) fn steps_sent(&self) -> Vec<CampaignStep> {
        std::mem::take(&mut *self.queue.steps.lock().unwrap())
    }

    pub(crate) fn sent(&self) -> Vec<WorkItem> {
        std::mem::take(&mut *self.queue.items.lock().unwrap())
    }
}

pub(crate) fn written(hub: &str, id: &str, app: &str) -> Value {
    json!({"id": id, "subject": hub, "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-01-31T12:00:00Z", "dataVersion": "2", "metadataVersion": "1",
        "data": {"operationName": "Microsoft.Devices/IotHubs/write", "resourceUri": hub, "claims": {"appid": app}}})
}

pub(crate) fn item(hub: IotHubId) -> String {
    serde_json::to_string(&WorkItem::for_event(hub, false, Some("e1".into()), None)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_becomes_one_work_item_for_its_hub() {
    let functions = Functions::new(false);
    let hub = hub_id("Hub1");
    let (status, answer) = functions.event(written(hub.as_str(), "e1", "someone")).await;
    assert_eq!((status, answer["Logs"][0].as_str()), (200, Some("Hub1: to be looked at")));
    let sent = functions.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].session_id(), hub.key());
    assert_eq!(sent[0].reason, Reason::Written { event_id: Some("e1".into()) });

    // Delivered again: the same message id, so that the broker drops it.
    functions.event(written(hub.as_str(), "e1", "someone")).await;
    assert_eq!(functions.sent()[0].work_id, sent[0].work_id);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_us_is_acknowledged_and_nothing_is_sent() {
    let functions = Functions::new(false);
    let hub = hub_id("hub1");
    let elsewhere = hub.as_str().replace("0b1f6471", "deadbeef");
    let below = format!("{hub}/certificates/c");
    for event in [
        written(&elsewhere, "e1", "someone"),
        written(&below, "e2", "someone"),
        written(hub.as_str(), "e3", OWN_CLIENT),
        written("/subscriptions/../x", "e4", "someone"),
        json!({"id": "e5", "eventType": "Microsoft.Devices.DeviceConnected", "subject": "devices/d"}),
        json!({"nothing": "known"}),
    ] {
        let (status, _) = functions.event(event.clone()).await;
        assert_eq!(status, 200, "{event}");
        assert!(functions.sent().is_empty(), "{event}");
    }
    // Our own deletion is news all the same.
    let mut deleted = written(hub.as_str(), "e6", OWN_CLIENT);
    deleted["eventType"] = "Microsoft.Resources.ResourceDeleteSuccess".into();
    deleted["data"]["operationName"] = "Microsoft.Devices/IotHubs/delete".into();
    functions.event(deleted).await;
    assert_eq!(functions.sent()[0].reason, Reason::Deleted { event_id: Some("e6".into()) });
}

#[tokio::test(start_paused = true)]
async fn the_queue_takes_events_in_every_wrapping() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let functions = Functions::new(false);
    let event = written(hub_id("hub1").as_str(), "e1", "someone").to_string();
    for text in
        [event.clone(), STANDARD.encode(&event), format!("[{event}]"), serde_json::to_string(&event).unwrap()]
    {
        let twice = serde_json::to_string(&text).unwrap();
        let (status, _) =
            functions.post("HubEventQueue", json!({"Data": {"event": twice}}).to_string()).await;
        assert_eq!((status, functions.sent().len()), (200, 1), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_waits_becomes_a_scheduled_message_and_then_ends() {
    let functions = Functions::new(false);
    let hub = functions.cloud.new_hub("hub1").await;
    let (status, answer) = functions.work(&item(hub.clone())).await;
    assert_eq!((status, answer["Logs"][0].as_str()), (200, Some("hub1: Waiting")));
    let next = functions.sent().pop().unwrap();
    let due = next.due().unwrap();
    assert_eq!((&next.hub, next.follows), (&hub, 1));
    assert_eq!(functions.cloud.count("hubPuts"), 1);

    functions.cloud.clock.sleep_until(due).await;
    let (status, answer) = functions.work(&serde_json::to_string(&next).unwrap()).await;
    assert_eq!((status, answer["Logs"][0].as_str()), (200, Some("hub1: Changed")));
    assert!(functions.sent().is_empty());
    assert_eq!((functions.cloud.count("hubPuts"), functions.cloud.count("armCalls")), (2, 13));
}

#[tokio::test(start_paused = true)]
async fn work_that_cannot_be_made_durable_fails_so_that_it_is_delivered_again() {
    let functions = Functions::new(true);
    let hub = functions.cloud.new_hub("hub1").await;
    assert_eq!(functions.event(written(hub.as_str(), "e1", "someone")).await.0, 500);
    let (status, answer) = functions.work(&item(hub.clone())).await;
    assert_eq!(status, 500, "{answer}");
    // Again, as the broker would: what was done is found, nothing is done twice.
    assert_eq!(functions.work(&item(hub)).await.0, 500);
    assert_eq!(functions.cloud.count("hubPuts"), 1);
    assert_eq!(functions.cloud.azure.state()["roleAssignments"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_refuses_for_good_is_reported_and_not_repeated() {
    let functions = Functions::new(false);
    let hub = functions.cloud.new_hub("hub1").await;
    functions.cloud.azure.inject(Fault::new(FaultKind::Deny).on("PUT", "roleassignments").times(0));
    let (status, answer) = functions.work(&item(hub)).await;
    assert_eq!((status, answer["Logs"][0].as_str()), (200, Some("hub1: Failed")));
    assert!(functions.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_no_work_are_put_aside_at_once() {
    let functions = Functions::new(false);
    for text in [
        "",
        "null",
        "{}",
        "[]",
        "hub1",
        r#"{"schema":"hubward/work/v9"}"#,
        r#"{"hub":"/subscriptions/x","role":"Owner"}"#,
    ] {
        let (status, answer) = functions.work(text).await;
        assert_eq!(status, 200, "{text}");
        assert!(answer["Logs"][0].is_string(), "{text}: {answer}");
    }
    assert_eq!(functions.cloud.count("armCalls"), 0);
}

#[tokio::test(start_paused = true)]
async fn hostile_envelopes_get_an_answer_and_never_a_panic() {
    let functions = Functions::new(false);
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let big = format!(r#"{{"Data":{{"event":"{}"}},"Metadata":{{}}}}"#, "x".repeat(5_000_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"{".to_vec(),
        b"[1,2".to_vec(),
        b"{\"Data\":{\"event\":\"\\ud800\"}}".to_vec(),
        b"{\"Data\":{\"event\":\"\xff\xfe\"}}".to_vec(),
        b"{\"Data\":null,\"Metadata\":7}".to_vec(),
        b"{\"Data\":[],\"Metadata\":{}}".to_vec(),
        b"{\"Data\":{},\"Metadata\":{}}".to_vec(),
        b"{\"Data\":{\"event\":true,\"work\":1,\"x\":[]}}".to_vec(),
        b"{\"Data\":{\"event\":{\"data\":{\"claims\":{\"appid\":[[[]]]}}}}}".to_vec(),
        b"{\"Data\":{\"event\":\"\\\"\\\\\\\"\\\"\"}}".to_vec(),
        nested.into_bytes(),
        big.into_bytes(),
    ];
    for function in functions::NAMES {
        for body in &bodies {
            let (status, answer) = functions.post(function, body.clone()).await;
            assert!(status == 200 || status == 500, "{function} {status}");
            assert!(answer.is_object());
        }
    }
    assert!(functions.sent().is_empty());
}
