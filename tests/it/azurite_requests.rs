//! Operators' requests on a real queue service: Azurite, the stand-in host, the real handler, the command
//! line.

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
    outcomes::{self, Record, Word, parked::Parked},
    queue::{MessageEncoding, QueueService},
};
use serde_json::{Value, json};

use crate::{
    requests::{document, request},
    support::{
        azurite::{azurite, drain},
        local::{create_hub, ended, kept, local},
        world::hub_id,
    },
};

const LIMIT: Duration = Duration::from_secs(120);
const HUBS: usize = 5;
const REQUESTS: usize = 60;

async fn start(queues: QueueService, folder: &tempfile::TempDir, log: &Arc<Mutex<String>>) -> LocalCloud {
    let options = LocalOptions { log: kept(log), storage: Some(queues), ..local(folder, &document("")) };
    let cloud = LocalCloud::start(options).await.unwrap();
    for nth in 0..HUBS {
        create_hub(&cloud, &format!("hub{nth}"), "none").await;
    }
    cloud
}

async fn until(cloud: &LocalCloud, log: &Mutex<String>, wanted: impl Fn(&HostStatus) -> bool) {
    if tokio::time::timeout(LIMIT, cloud.host.wait_until(wanted)).await.is_err() {
        panic!("{:#?}\n{}", cloud.host.status(), log.lock().unwrap());
    }
}

async fn hubward(cloud: &LocalCloud, queues: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hubward"));
    ended(command.args(arguments).env_clear().envs(cloud.client_settings()).env("HUBWARD_QUEUES", queues))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_end_in_one_outcome_each_and_what_failed_can_be_sent_again() {
    let Some(azurite) = azurite() else { return };
    let (folder, log) = (tempfile::tempdir().unwrap(), Arc::<Mutex<String>>::default());
    let own = azurite.own_account();
    let queues = azurite.queues(own.path().trim_matches('/'));
    let cloud = start(queues.clone(), &folder, &log).await;
    let queue = |name: &str| queues.queue(name, MessageEncoding::Plain).unwrap();
    let asked = queue("hub-requests");

    asked.send("neither JSON nor base64!", None).await.unwrap();
    // Each twice: once plain, once in base64.
    for nth in 0..REQUESTS {
        let hub = hub_id(&format!("hub{}", nth % HUBS));
        let (kind, rest) = match nth % 3 {
            0 => ("SetIdentity", json!({"identity": {"system": "on"}})),
            1 => ("Onboard", json!({"profile": "standard", "dryRun": true})),
            _ => (
                "EnsureRoutes",
                json!({"routes": [{"name": "r", "source": "DeviceMessages", "endpoint": "nowhere"}]}),
            ),
        };
        let text = request(kind, &format!("r-{nth}"), &hub, rest).to_string();
        asked.send(&text, None).await.unwrap();
        asked.send(&STANDARD.encode(&text), None).await.unwrap();
    }
    let taken_in = 2 * REQUESTS as u64 + 1;
    let done = |status: &HostStatus| {
        let counts = |name: &str| status.functions[name].counts;
        let asked = counts("Request");
        asked.succeeded + asked.failed >= taken_in
            && asked.running == 0
            && counts("Work").running == 0
            && counts("Work").succeeded >= REQUESTS as u64
    };
    until(&cloud, &log, done).await;
    let kept = |cloud: &LocalCloud| {
        let state = cloud.azure.state();
        state["counters"]["hubPutsAccepted"].as_u64().unwrap()
    };
    assert!(kept(&cloud) >= HUBS as u64);

    let mut ends: BTreeMap<String, BTreeSet<(Word, time::OffsetDateTime)>> = BTreeMap::new();
    loop {
        let worked = cloud.host.status().functions["Work"].counts.succeeded;
        for text in drain(&queue(outcomes::QUEUE)).await {
            let record: Record = serde_json::from_str(&text).unwrap();
            if let Some(origin) = &record.request {
                ends.entry(origin.id.clone()).or_default().insert((record.outcome, record.ended_at));
            }
        }
        if ends.len() == REQUESTS {
            break;
        }
        // Some hub was busy, and is looked at again.
        until(&cloud, &log, |status| status.functions["Work"].counts.succeeded > worked).await;
    }
    assert_eq!(ends.len(), REQUESTS, "every request has ended\n{}", log.lock().unwrap());
    assert!(ends.values().all(|ends| ends.len() == 1), "{ends:#?}");

    // A third leads nowhere, and one was never understood.
    let own = own.as_str();
    let (code, listed, errors) = hubward(&cloud, own, &["failed", "list", "--json"]).await;
    assert_eq!(code, Some(0), "{errors}");
    let parked: Vec<Option<Parked>> = serde_json::from_str(&listed).unwrap();
    let parked: Vec<Parked> = parked.into_iter().flatten().collect();
    let never = parked.iter().find(|parked| parked.text.is_some()).unwrap();
    let astray = parked.iter().find(|parked| parked.request.is_some()).unwrap();
    assert!(astray.causes[0].contains("the hub has no such endpoint"), "{astray:#?}");

    let (never, astray) = (never.outcome_id.to_string(), astray.outcome_id.to_string());
    let (code, _, errors) = hubward(&cloud, own, &["failed", "replay", &never]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("was never understood"), "{errors}");
    let (code, text, errors) = hubward(&cloud, own, &["failed", "replay", &astray[..8], "--json"]).await;
    assert_eq!(code, Some(0), "{errors}");
    let replayed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(replayed["replayed"], astray.as_str());
    let id = replayed["id"].as_str().unwrap().to_owned();
    let (code, text, errors) =
        hubward(&cloud, own, &["request", "watch", &id, "--json", "--timeout", "60"]).await;
    assert_eq!(code, Some(3), "refused again: {text}{errors}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["outcome"], "Refused");
    let (code, shown, errors) = hubward(&cloud, own, &["failed", "show", &never]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(shown.contains("neither JSON nor base64!"), "{shown}");
    let (_, shown, _) = hubward(&cloud, own, &["failed", "show", &never, "--json"]).await;
    let shown: Parked = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown.text.as_deref(), Some("neither JSON nor base64!"));
    let (code, dropped, _) = hubward(&cloud, own, &["failed", "drop", &never, "--json"]).await;
    assert_eq!(
        (code, serde_json::from_str::<Value>(&dropped).unwrap()["dropped"].as_str()),
        (Some(0), Some(never.as_str()))
    );
    assert_eq!(hubward(&cloud, own, &["failed", "show", &never]).await.0, Some(2), "it is gone");
    let (code, table, errors) = hubward(&cloud, own, &["hubs"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(table.starts_with("HUB ") && table.contains("hub4"), "{table}");
    cloud.host.shutdown().await;
}
