//! The container of outcomes. It cannot be reached for hours: nothing is lost, nothing is given up, nothing is
//! done twice, and in the end each request has the outcome that is true. And no hub gets near it.

use std::collections::BTreeMap;

use hubward::{
    local::azure::{Fault, FaultKind},
    outcomes::{Word, store::OutcomeStore},
    work::WorkItem,
};
use serde_json::json;

use crate::{
    functions::{Functions, store},
    requests::{Told, document, ready, request},
    support::cloud::START,
};

const AWAY: time::Duration = time::Duration::hours(6);
const CONTAINER: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive";

/// Every call to the container comes to nothing.
fn away(kind: FaultKind) -> Fault {
    let mut fault = Fault::new(kind).times(0);
    fault.matching.path = Some("hubwardstate.blob.core.windows.net/outcomes".to_owned());
    fault
}

/// Plays the broker; the container comes back when its time has come. Answers with the number of deliveries.
async fn play_until_back(functions: &Functions, told: &mut Told) -> usize {
    let mut waiting: Vec<WorkItem> = functions.sent();
    let (mut deliveries, mut is_back) = (0, false);
    while !waiting.is_empty() {
        waiting.sort_by_key(WorkItem::due);
        let item = waiting.remove(0);
        if let Some(due) = item.due() {
            functions.cloud.clock.sleep_until(due).await;
        }
        if !is_back && functions.cloud.clock.now() > START + AWAY {
            functions.cloud.clear_faults().await;
            is_back = true;
        }
        let (status, answer) = functions.work(&serde_json::to_string(&item).unwrap()).await;
        assert_eq!(status, 200, "the message is not given up: {answer}");
        told.add(&answer);
        assert!(is_back || told.outcomes.is_empty(), "nothing is told that is not kept: {told:#?}");
        waiting.extend(functions.sent());
        deliveries += 1;
    }
    assert!(is_back);
    deliveries
}

#[tokio::test(start_paused = true)]
async fn hours_without_the_container_cost_no_outcome() {
    for kind in [FaultKind::Deny, FaultKind::ServerError, FaultKind::ResetBefore] {
        let (functions, hub) = ready("  allowRemovals: true\n").await;
        let on = json!({"identity": {"system": "on"}});
        functions.ask(&request("SetIdentity", "r-0", &hub, on)).await;
        functions.cloud.reset_counters().await.unwrap();
        functions.cloud.azure.inject(away(kind));
        let export =
            json!({"container": CONTAINER, "as": "system", "blobName": "d.txt", "excludeKeys": true});
        let asked = [
            request("Onboard", "r-1", &hub, json!({"profile": "standard"})),
            request("Onboard", "r-2", &hub, json!({"profile": "standard", "dryRun": true})),
            request("ExportDevices", "r-3", &hub, export),
            request(
                "EnsureRoutes",
                "r-4",
                &hub,
                json!({"routes": [{"name": "lost", "source": "DeviceMessages", "endpoint": "nowhere"}]}),
            ),
            request("CancelJob", "r-5", &hub, json!({"jobId": "nobody"})),
        ];
        let mut told = Told::default();
        for ask in &asked {
            let (status, answer) = functions.ask_text(&ask.to_string()).await;
            assert_eq!(status, 200, "a request is taken in: {answer}");
            told.add(&answer);
        }
        // One that nobody can read has no message of its own to wait in: it is told and parked at once.
        let (status, answer) = functions.ask_text("not json").await;
        assert_eq!(status, 200);
        let mut unread = Told::default();
        unread.add(&answer);
        assert_eq!((unread.words(), unread.parked.len()), (vec![Word::Refused], 1));

        let deliveries = play_until_back(&functions, &mut told).await;
        assert!(deliveries < 5 * 60, "{deliveries} deliveries: the pauses do not grow");
        let mut ends = BTreeMap::new();
        for record in &told.outcomes {
            let id = record.request.as_ref().unwrap().id.clone();
            assert!(ends.insert(id, record.outcome).is_none(), "told twice: {record:#?}");
            assert_eq!(
                store(&functions.cloud).ended(record.outcome_id).await.unwrap().as_ref(),
                Some(record)
            );
        }
        let words: Vec<Word> = ends.into_values().collect();
        // What the first look did is in the outcome, although a later one tells it.
        assert_eq!(
            words,
            [Word::Changed, Word::Planned, Word::Changed, Word::Refused, Word::Refused],
            "{kind:?}"
        );
        let first = told.outcomes.iter().find(|record| record.request.as_ref().unwrap().id == "r-1").unwrap();
        assert_eq!(first.steps.len(), 2, "{first:#?}");
        assert_eq!(functions.cloud.count("hubPuts"), 1, "nothing was done twice");
        let jobs = functions.cloud.azure.state()["hubs"].to_string().matches("\"export\"").count();
        assert!(jobs <= 1, "the export was started {jobs} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_taken_meanwhile_is_noticed_when_the_container_is_back() {
    let (functions, hub) = ready("").await;
    let first = request("Onboard", "r-1", &hub, json!({"profile": "standard", "dryRun": true}));
    let second = request("Reconcile", "r-1", &hub, json!({}));
    functions.cloud.azure.inject(away(FaultKind::Deny));
    let mut told = Told::default();
    for ask in [&first, &second] {
        assert_eq!(functions.ask_text(&ask.to_string()).await.0, 200);
    }
    play_until_back(&functions, &mut told).await;
    let mut words = told.words();
    words.sort();
    assert_eq!(words, [Word::Planned, Word::Refused], "{told:#?}");
    let refused = told.outcomes.iter().find(|record| record.outcome == Word::Refused).unwrap();
    assert!(refused.causes[0].starts_with("the id `r-1` belongs to another request"), "{refused:#?}");
    assert_eq!(functions.cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn no_hub_is_let_near_the_container() {
    let group = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-hubward";
    let own = format!(
        "{group}/providers/Microsoft.Storage/storageAccounts/HubwardState/blobServices/default/containers/outcomes"
    );
    let within = "  allowImports: [ hub1 ]\n  storageGrants: account\n";
    for guardrails in ["  allowImports: [ hub1 ]\n", within] {
        let (mut functions, hub) = ready(guardrails).await;
        // The guardrails hold the account: only the setting of the app keeps hubs out.
        functions.rewrite(&document(guardrails).replace("targets: [ ", &format!("targets: [ {group}, ")));
        let account_level = guardrails == within;
        let other = own.replace("containers/outcomes", "containers/other");
        let containers = if account_level { vec![&own, &other] } else { vec![&own] };
        for (nth, container) in containers.into_iter().enumerate() {
            let blob = |name: &str| json!({"container": container, "as": "system", "blobName": name});
            let mut import = blob("devices.txt");
            import["confirm"] = "hub1".into();
            let asked = [
                (
                    "EnsureEndpoint",
                    json!({"endpoint": {"name": "e", "storageContainer": container, "as": "system"}}),
                ),
                ("ConfigureFileUpload", json!({"fileUpload": {"container": container, "as": "system"}})),
                ("ExportDevices", blob("hubs/x.json")),
                ("ImportDevices", import),
            ];
            for (kind, rest) in asked {
                let told = functions.ask(&request(kind, &format!("{kind}-{nth}"), &hub, rest)).await;
                assert_eq!(told.words(), [Word::Refused], "{kind}: {told:#?}");
                assert!(
                    told.outcomes[0].causes[0].contains("Hubward keeps its own outcomes"),
                    "{kind}: {told:#?}"
                );
            }
        }
        assert_eq!((functions.cloud.count("hubPuts"), functions.cloud.grants().len()), (0, 0));
    }
}
