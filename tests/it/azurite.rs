//! The request path on a real queue service: Azurite, the stand-in host, the real handler.
//!
//! The Service Bus that the handler sends to is the local one, behind a door that can be shut.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, response::IntoResponse};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use hubward::{
    bus::WORK_QUEUE,
    connect,
    local::{
        azure::{Azure, Settings, World},
        azurite::{is_unsigned, signed},
        clock::SimClock,
        cloud::{EVENT_QUEUE, LocalCloud, LocalOptions},
        functions_host::{DiagnosticCode, FunctionsHost, HostOptions, HostStatus, Worker},
        servicebus::{QueueOptions, ServiceBus},
    },
    package,
    queue::{MessageEncoding, QueueService, StorageQueue},
    work::WorkItem,
};
use serde_json::json;
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tower::ServiceExt;

use crate::{
    functions::written,
    functions_host_support::{self as scripted, Reply, codes, counts},
    support::{azurite::azurite, local::local, world::hub_id},
};

/// A limit for things that go wrong, not a measure.
const LIMIT: Duration = Duration::from_secs(60);
const FUNCTION: &str = "HubEventQueue";
const IDENTITY_HEADER: &str = "the platform's secret";

/// What the namespace does with what is sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// An answer that the handler does not try again.
    Refuses,
    /// No answer at all.
    Hangs,
}

struct Stage {
    host: FunctionsHost,
    bus: ServiceBus,
    door: watch::Sender<Door>,
    knocks: watch::Receiver<u32>,
    queue: StorageQueue,
    poison: StorageQueue,
    log: Arc<Mutex<String>>,
    _servers: JoinSet<()>,
    _folder: tempfile::TempDir,
}

/// A host with the real handler and without the functions behind `hub-work`, on an account of its own.
async fn stage(queues: QueueService, overrides: &[(&str, &str)]) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let (script_root, profiles) = (folder.path().join("dist"), folder.path().join("profiles.yaml"));
    package::stage(&script_root, env!("CARGO_BIN_EXE_hubward-handler").as_ref()).unwrap();
    std::fs::write(&profiles, hubward::desired::sample()).unwrap();

    let clock = SimClock::start(OffsetDateTime::now_utc(), 60.0);
    let bus = ServiceBus::new(clock.clone());
    bus.create_queue(WORK_QUEUE, QueueOptions::default());
    let settings = Settings { identity_header: IDENTITY_HEADER.into(), ..Settings::default() };
    let azure = Azure::new(settings, World::sample(), clock.clone());
    let (door, mut servers) = (watch::Sender::new(Door::Open), JoinSet::new());
    let (knock, knocks) = watch::channel(0);
    let (shut, namespace) = (door.subscribe(), bus.router());
    let namespace = Router::new().fallback(move |request: Request| {
        let (door, namespace) = (*shut.borrow(), namespace.clone());
        knock.send_modify(|count| *count += 1);
        async move {
            match door {
                Door::Open => namespace.oneshot(request).await.unwrap(),
                Door::Refuses => StatusCode::NOT_FOUND.into_response(),
                Door::Hangs => std::future::pending().await,
            }
        }
    });
    let bus_address = serve(&mut servers, namespace).await;
    let identity = format!("{}/msi/token", serve(&mut servers, azure.identity_router()).await);

    let raw = |name: &str| queues.queue(name, MessageEncoding::Plain).unwrap();
    let (queue, poison) = (raw(EVENT_QUEUE), raw("hub-events-poison"));
    queue.create().await.unwrap();
    let mut options = HostOptions::new(script_root, Worker::Process, bus.clone(), queues.clone(), clock);
    let profiles = profiles.display().to_string();
    let own = [
        ("HUBWARD_PROFILES", profiles.as_str()),
        // Nobody is there: events alone need no Resource Manager.
        ("HUBWARD_ARM_ENDPOINT", "http://127.0.0.1:9"),
        ("HUBWARD_BUS_ENDPOINT", &bus_address),
        ("IDENTITY_ENDPOINT", &identity),
        ("IDENTITY_HEADER", IDENTITY_HEADER),
        ("HubwardBus__fullyQualifiedNamespace", "local.servicebus.windows.net"),
        ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
        ("AzureWebJobs.Work.Disabled", "1"),
        ("AzureWebJobs.ScheduledExport.Disabled", "1"),
        ("AzureWebJobs.Resync.Disabled", "1"),
        ("AzureWebJobs.Request.Disabled", "1"),
        ("AzureWebJobs.RequestBus.Disabled", "1"),
        ("AzureFunctionsJobHost__extensions__queues__maxPollingInterval", "00:00:00.1"),
    ];
    let settings = own.iter().chain(overrides);
    options.settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let log = Arc::new(Mutex::new(String::new()));
    let sink = log.clone();
    options.log = Some(Arc::new(move |line| {
        let mut log = sink.lock().unwrap();
        log.push_str(&line.text);
        log.push('\n');
    }));
    let host = FunctionsHost::start(options).unwrap();
    Stage { host, bus, door, knocks, queue, poison, log, _servers: servers, _folder: folder }
}

async fn serve(servers: &mut JoinSet<()>, router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

impl Stage {
    async fn until(&self, wanted: impl Fn(&HostStatus) -> bool) -> HostStatus {
        until(&self.host, wanted, &self.log).await
    }

    /// The names of the next `n` hubs that work was asked for.
    async fn work(&self, n: usize) -> Vec<String> {
        let mut hubs = Vec::new();
        while hubs.len() < n {
            let next = tokio::time::timeout(LIMIT, self.bus.receive(WORK_QUEUE, 1)).await;
            let Ok(next) = next else { panic!("{hubs:?}\n{}", self.log.lock().unwrap()) };
            let message = next.unwrap().remove(0);
            self.bus.complete(WORK_QUEUE, message.lock_token).unwrap();
            let item = WorkItem::parse(std::str::from_utf8(&message.message.body).unwrap()).unwrap();
            hubs.push(item.hub.name().to_owned());
        }
        hubs.sort();
        hubs
    }
}

async fn until(
    host: &FunctionsHost,
    wanted: impl Fn(&HostStatus) -> bool,
    log: &Mutex<String>,
) -> HostStatus {
    if tokio::time::timeout(LIMIT, host.wait_until(wanted)).await.is_err() {
        panic!("{:#?}\n{}", host.status(), log.lock().unwrap());
    }
    host.status()
}

/// Ended so often, well or badly, and nothing is running.
fn ended(count: u64) -> impl Fn(&HostStatus) -> bool {
    move |status| {
        let counts = status.functions[FUNCTION].counts;
        counts.running == 0 && counts.succeeded + counts.failed == count
    }
}

/// The event that tells of a write of a hub.
fn event(hub: &str) -> String {
    written(&hub_id(hub).to_string(), hub, "somebody else").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_base64_becomes_work_and_one_that_is_not_is_poison() {
    let Some(azurite) = azurite() else { return };
    let encoded = [("AzureFunctionsJobHost__extensions__queues__messageEncoding", "base64")];
    let stage = stage(azurite.queues("base64"), &encoded).await;
    stage.queue.send(&STANDARD.encode(event("hub1")), None).await.unwrap();
    assert_eq!(stage.work(1).await, ["hub1"]);
    let status = stage.until(ended(1)).await;
    assert_eq!((counts(&status, FUNCTION), status.diagnostics), ((1, 0), vec![]));
    assert_eq!(stage.queue.peek(32).await.unwrap(), []);

    // The host expects base64: what is none never reaches the function.
    stage.queue.send(&event("hub2"), None).await.unwrap();
    let status = stage.until(|status| !status.diagnostics.is_empty() && ended(1)(status)).await;
    assert_eq!(codes(&status), [DiagnosticCode::Undecodable]);
    let poison = stage.poison.peek(32).await.unwrap();
    assert_eq!(poison.iter().map(|message| message.text.clone()).collect::<Vec<_>>(), [event("hub2")]);
    assert_eq!(stage.bus.outstanding(WORK_QUEUE), 0);
    stage.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_expects_plain_messages_makes_work_of_both_encodings() {
    let Some(azurite) = azurite() else { return };
    let plain = ("AzureFunctionsJobHost__extensions__queues__messageEncoding", "none");
    let stage = stage(azurite.queues("plain"), &[plain]).await;
    stage.queue.send(&event("hub1"), None).await.unwrap();
    // Event Grid puts base64 whatever the host expects; the handler takes it off.
    stage.queue.send(&STANDARD.encode(event("hub2")), None).await.unwrap();
    assert_eq!(stage.work(2).await, ["hub1", "hub2"]);
    let status = stage.until(ended(2)).await;
    assert_eq!((counts(&status, FUNCTION), status.diagnostics), ((2, 0), vec![]));
    stage.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_fails_five_times_is_poison() {
    let Some(azurite) = azurite() else { return };
    let at_once = ("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:00");
    let stage = stage(azurite.queues("poison"), &[at_once]).await;
    stage.door.send_replace(Door::Refuses);
    let text = STANDARD.encode(event("hub1"));
    stage.queue.send(&text, None).await.unwrap();
    let status = stage.until(ended(5)).await;
    assert_eq!((counts(&status, FUNCTION), status.diagnostics), ((0, 5), vec![]));
    assert_eq!(*stage.knocks.borrow(), 5);

    let poison = stage.poison.peek(32).await.unwrap();
    assert_eq!(poison.iter().map(|message| &message.text).collect::<Vec<_>>(), [&text]);
    assert_eq!(stage.queue.peek(32).await.unwrap(), []);

    // What was wrong is put right, and the message is put back: that is all a replay is.
    stage.door.send_replace(Door::Open);
    let taken = stage.poison.receive(1, LIMIT).await.unwrap().remove(0);
    stage.queue.send(&taken.message.text, None).await.unwrap();
    stage.poison.delete(&taken.message.id, &taken.pop_receipt).await.unwrap();
    assert_eq!(stage.work(1).await, ["hub1"]);
    stage.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_of_a_crashed_handler_comes_back_after_its_visibility() {
    let Some(azurite) = azurite() else { return };
    let in_a_second = ("AzureFunctionsJobHost__extensions__queues__visibilityTimeout", "00:00:01");
    let stage = stage(azurite.queues("crash"), &[in_a_second]).await;
    stage.door.send_replace(Door::Hangs);
    stage.queue.send(&STANDARD.encode(event("hub1")), None).await.unwrap();
    let mut knocks = stage.knocks.clone();
    let knocked = tokio::time::timeout(LIMIT, knocks.wait_for(|count| *count == 1)).await.is_ok();
    assert!(knocked, "{}", stage.log.lock().unwrap());
    assert_eq!(stage.queue.peek(32).await.unwrap(), [], "it is being handled");

    stage.door.send_replace(Door::Open);
    let crashed = Instant::now();
    stage.host.kill_worker();
    assert_eq!(stage.work(1).await, ["hub1"]);
    assert!(crashed.elapsed() >= Duration::from_secs(1), "{:?}", crashed.elapsed());
    let status = stage.until(ended(2)).await;
    assert_eq!((counts(&status, FUNCTION), status.worker.restarts), ((1, 1), 1));
    assert_eq!(codes(&status), [DiagnosticCode::WorkerCrashed]);
    assert_eq!(stage.poison.peek(1).await.unwrap_err().code(), Some("QueueNotFound"));
    stage.host.shutdown().await;
}

#[tokio::test]
async fn a_vanished_readers_message_comes_back_and_an_output_makes_its_own_queue() {
    let Some(azurite) = azurite() else { return };
    let queues = azurite.queues("lost");
    let queue = |name: &str| queues.queue(name, MessageEncoding::Base64).unwrap();
    let (orders, results) = (queue("orders"), queue("results"));
    orders.create().await.unwrap();
    orders.send("one <&> \"two\"", None).await.unwrap();
    let vanished = orders.receive(1, Duration::from_secs(1)).await.unwrap().remove(0);
    assert_eq!(vanished.message.dequeue_count, 1);

    let world = scripted::World::new()
        .host_json(json!({ "extensions": { "queues": { "maxPollingInterval": "00:00:00.1" } } }))
        .function(
            "Late",
            json!({ "bindings": [
            { "name": "input", "direction": "in", "type": "queueTrigger", "queueName": "late" },
        ] }),
        )
        .function(
            "Orders",
            json!({ "bindings": [
            { "name": "input", "direction": "in", "type": "queueTrigger", "queueName": "orders" },
            { "name": "result", "direction": "out", "type": "queue", "queueName": "results" },
        ] }),
        );
    let worker = world.handler(|call| Reply::json(json!({ "Outputs": { "result": [call.text()] } })));
    let mut options = world.options(worker);
    options.queues = queues.clone().into();
    let host = FunctionsHost::start(options).unwrap();
    let log = Mutex::new(String::new());
    let done = |name: &'static str| move |status: &HostStatus| status.functions[name].counts.succeeded == 1;
    let status = until(&host, done("Orders"), &log).await;
    assert_eq!(codes(&status), [DiagnosticCode::MissingEntity], "{:?}", status.diagnostics);
    let result = results.receive(1, LIMIT).await.unwrap().remove(0);
    assert_eq!((result.message.text.as_str(), result.message.dequeue_count), ("one <&> \"two\"", 1));

    // A trigger does not create its queue, and finds it once it is there.
    let late = queue("late");
    late.create().await.unwrap();
    late.send("three", None).await.unwrap();
    until(&host, done("Late"), &log).await;
    let seen: Vec<_> =
        world.calls().iter().map(|call| (call.text(), call.metadata("DequeueCount"))).collect();
    assert_eq!(seen, [("one <&> \"two\"".to_owned(), json!("2")), ("three".to_owned(), json!("1"))]);
    host.shutdown().await;
}

#[tokio::test]
async fn a_message_goes_in_is_looked_at_taken_given_back_and_deleted() {
    let Some(azurite) = azurite() else { return };
    let own = azurite.own_account();
    assert!(is_unsigned(&own) && !is_unsigned(&signed(&own, OffsetDateTime::now_utc()).unwrap()));
    let queues = azurite.queues("devstoreaccount1");
    for (name, encoding) in
        [("round-base64", MessageEncoding::Base64), ("Round-Plain", MessageEncoding::Plain)]
    {
        let queue = queues.queue(name, encoding).unwrap();
        let missing = queue.send("x", None).await.unwrap_err();
        assert!(missing.is_missing_queue() && missing.to_string().ends_with("check its name"), "{missing}");
        queue.create().await.unwrap();
        queue.create().await.unwrap();

        let text = "{\"a\": \"<&>\\n\", \"ä\": 1}";
        let id = queue.send(text, None).await.unwrap();
        let later = queue.send("later", Some(Duration::from_secs(3600))).await.unwrap();
        assert_ne!(id, later);
        let peeked = queue.peek(100).await.unwrap();
        assert_eq!(
            peeked.iter().map(|message| (&*message.text, &message.id)).collect::<Vec<_>>(),
            [(text, &id)]
        );

        let first = queue.receive(100, LIMIT).await.unwrap().remove(0);
        assert_eq!((first.message.dequeue_count, first.message.text.as_str()), (1, text));
        assert!(first.next_visible_at > first.message.inserted_at);
        assert_eq!(queue.receive(1, LIMIT).await.unwrap(), []);
        let renewed = queue.update(&id, &first.pop_receipt, Duration::ZERO).await.unwrap();
        assert_ne!(renewed, first.pop_receipt);
        let second = queue.receive(1, LIMIT).await.unwrap().remove(0);
        assert_eq!((second.message.dequeue_count, &second.message.id), (2, &id));
        let late = queue.delete(&id, &first.pop_receipt).await.unwrap_err();
        assert_eq!(late.code(), Some("PopReceiptMismatch"), "{late}");
        queue.delete(&id, &second.pop_receipt).await.unwrap();
        let gone = queue.delete(&id, &second.pop_receipt).await.unwrap_err();
        assert_eq!(gone.code(), Some("MessageNotFound"), "{gone}");
        let long = queue.send(&"x".repeat(64 * 1024 + 1), None).await.unwrap_err();
        assert!(long.to_string().contains("64 KiB"), "{long}");
    }

    let mut forged = signed(&own, OffsetDateTime::now_utc()).unwrap();
    forged.set_query(Some(&forged.query().unwrap().replace("sp=rwdlacup", "sp=rwdlacupt")));
    let forged = QueueService::with_sas(forged, Arc::new(connect::http_client().unwrap())).unwrap();
    let no = forged.queue("round-plain", MessageEncoding::Plain).unwrap().peek(1).await.unwrap_err();
    assert!(no.to_string().contains("check its signature") && !no.to_string().contains("sig="), "{no}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_cloud_takes_its_events_from_azurite() {
    let Some(azurite) = azurite() else { return };
    let queues = azurite.queues("local");
    let folder = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        world: World::sample(),
        speed: 60.0,
        storage: Some(queues.clone()),
        ..local(&folder, hubward::desired::sample())
    };
    let cloud = LocalCloud::start(options).await.unwrap();
    // Nothing but the queue tells of the hub.
    cloud.deliver_events(false);
    let hub = json!({"resourceGroup": "rg-plant-01", "name": "hub1", "location": "westus2",
        "tags": {"egress": "standard"}, "wait": true});
    cloud.sim("POST", "hubs", hub).await.unwrap();
    queues.queue(EVENT_QUEUE, MessageEncoding::shipped()).unwrap().send(&event("hub1"), None).await.unwrap();
    let looked = |status: &HostStatus| status.functions["Work"].counts.succeeded > 0;
    let status = until(&cloud.host, looked, &Mutex::default()).await;
    assert_eq!(counts(&status, FUNCTION), (1, 0));
    cloud.host.shutdown().await;
}
