//! A thousand requests through a real queue service, with handlers that are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hubward::{
    local::{
        cloud::{LocalCloud, LocalOptions},
        functions_host::HostStatus,
    },
    outcomes::{self, Record, Word},
    queue::{MessageEncoding, QueueService, StorageQueue},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    requests::{document, request},
    support::{
        azurite::{azurite, drain},
        local::{create_hub, local},
        world::hub_id,
    },
};

/// Well above what the whole takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);
const HUBS: usize = 50;
const REQUESTS: usize = 1000;
/// The host stops itself at the third crash within half an hour.
const KILLS: usize = 2;

/// The local cloud on a real queue service. A message whose handler was killed is back after a second.
async fn start(queues: QueueService, folder: &tempfile::TempDir) -> LocalCloud {
    let profiles = document("  allowRemovals: true\n  maxWritesPerHub: 100\n");
    let options =
        LocalOptions { log_filter: "warn".into(), storage: Some(queues), ..local(folder, &profiles) };
    let host = options.script_root.join("host.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&host).unwrap()).unwrap();
    settings["extensions"]["queues"]["visibilityTimeout"] = "00:00:01".into();
    settings["extensions"]["queues"]["maxPollingInterval"] = "00:00:01".into();
    std::fs::write(&host, settings.to_string()).unwrap();
    let cloud = LocalCloud::start(options).await.unwrap();
    let names: Vec<String> = (0..HUBS).map(|nth| format!("hub{nth}")).collect();
    futures::future::join_all(names.iter().map(|name| create_hub(&cloud, name, "standard"))).await;
    cloud
}

async fn until(cloud: &LocalCloud, wanted: impl Fn(&HostStatus) -> bool) {
    let waited = tokio::time::timeout(LIMIT, cloud.host.wait_until(wanted)).await;
    assert!(waited.is_ok(), "{:#?}", cloud.host.status());
}

/// Each request, half of them twice, in any order and in either encoding.
fn texts(random: &mut StdRng) -> Vec<String> {
    let lost = json!({"routes": [{"name": "lost", "source": "DeviceMessages", "endpoint": "nowhere"}]});
    let kinds: [(&str, Value); 5] = [
        ("Reconcile", json!({})),
        ("Onboard", json!({"profile": "standard", "dryRun": true})),
        ("EnsureRoutes", json!({"fallback": "on"})),
        ("EnsureRoutes", lost),
        ("SetIdentity", json!({"identity": {"system": "on"}})),
    ];
    let mut texts = Vec::new();
    for nth in 0..REQUESTS {
        let (kind, rest) = &kinds[random.random_range(0..kinds.len())];
        let text = request(kind, &format!("r-{nth}"), &hub_id(&format!("hub{}", nth % HUBS)), rest.clone())
            .to_string();
        for _ in 0..random.random_range(1..=2) {
            texts.push(if random.random_bool(0.5) { STANDARD.encode(&text) } else { text.clone() });
        }
    }
    texts.shuffle(random);
    texts
}

/// What was told so far, taken off the queue.
async fn told(queue: &StorageQueue, ends: &mut BTreeMap<String, BTreeSet<(Word, OffsetDateTime)>>) {
    for text in drain(queue).await {
        let record: Record = serde_json::from_str(&text).unwrap();
        // Hubs that were made led to work too.
        if let Some(origin) = record.request {
            ends.entry(origin.id).or_default().insert((record.outcome, record.ended_at));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_end_once_each_though_handlers_are_killed() {
    let Some(azurite) = azurite() else { return };
    let folder = tempfile::tempdir().unwrap();
    let queues = azurite.queues("thousand");
    let queue = |name: &str| queues.queue(name, MessageEncoding::Plain).unwrap();
    let cloud = start(queues.clone(), &folder).await;
    let mut random = StdRng::seed_from_u64(20_260_131);
    let texts = texts(&mut random);
    let sent = texts.len() as u64;
    let asked = Arc::new(queue("hub-requests"));

    // Eight who ask at once, while the handler is at it.
    let waiting = Arc::new(Mutex::new(texts));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (asked, waiting) = (asked.clone(), waiting.clone());
            tokio::spawn(async move {
                loop {
                    let Some(text) = waiting.lock().unwrap().pop() else { return };
                    asked.send(&text, None).await.unwrap();
                }
            })
        })
        .collect();
    let taken_in = |status: &HostStatus| status.functions["Request"].counts.succeeded;
    for kill in 1..=KILLS {
        // In the middle of both: some are being taken in, and some are worked on.
        until(&cloud, |status| {
            taken_in(status) >= sent * kill as u64 / (KILLS as u64 + 1)
                && status.functions["Request"].counts.running > 0
                && status.functions["Work"].counts.running > 0
        })
        .await;
        cloud.host.kill_worker();
        until(&cloud, |status| status.worker.restarts == kill as u32).await;
    }
    for one in asking {
        one.await.unwrap();
    }
    until(&cloud, |status| taken_in(status) >= sent).await;

    let outcomes = queue(outcomes::QUEUE);
    let mut ends = BTreeMap::new();
    loop {
        let worked = cloud.host.status().functions["Work"].counts.succeeded;
        told(&outcomes, &mut ends).await;
        if ends.len() == REQUESTS {
            break;
        }
        until(&cloud, |status| status.functions["Work"].counts.succeeded > worked).await;
    }
    // Nothing comes after: whoever was killed has told again by now.
    let at_rest = |status: &HostStatus| {
        status.functions["Work"].counts.running == 0 && status.functions["Request"].counts.running == 0
    };
    until(&cloud, at_rest).await;
    told(&outcomes, &mut ends).await;
    let twice: Vec<_> = ends.iter().filter(|(_, ends)| ends.len() != 1).collect();
    assert!(twice.is_empty() && ends.len() == REQUESTS, "{twice:#?}");

    let status = cloud.host.status();
    let failed = status.functions["Request"].counts.failed + status.functions["Work"].counts.failed;
    assert!(failed >= KILLS as u64 && status.worker.restarts == KILLS as u32, "nobody was hit: {status:#?}");
    let queues_of_work = cloud.bus.snapshot()["queues"].clone();
    assert!(
        queues_of_work.as_object().unwrap().values().all(|queue| queue["deadLettered"] == 0),
        "{queues_of_work}"
    );
    let poison = queue("hub-requests-poison");
    poison.create().await.unwrap();
    assert!(poison.peek(1).await.unwrap().is_empty(), "a request was given up");
    cloud.host.shutdown().await;
}
