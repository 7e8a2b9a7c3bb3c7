//! A hub's page: what one look for it finds, and what it costs.

use hubward::{
    local::azure::{Fault, FaultKind},
    model::IotHubId,
    outcomes::{
        Record, Word,
        store::{LastOfHub, OutcomeStore},
    },
};
use serde_json::{Value, json};

use crate::{
    functions::{Functions, item, store},
    resync::{onboarded, resync, work_off},
    status::{document, page, parked, text},
    support::{cloud::pass, portal::Portal, world::hub_id},
};

/// The sample profile with an export each night.
fn with_an_export() -> String {
    let container = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive";
    format!(
        "{}    exports:\n      - {{ name: nightly, schedule: '0 0 11 * * *', container: {container}, as: system }}\n",
        hubward::desired::sample()
    )
}

/// The end of the address of a hub's page.
fn below(hub: &IotHubId) -> String {
    format!("/{}/{}/{}", hub.subscription(), hub.resource_group().unwrap(), hub.name())
}

#[tokio::test(start_paused = true)]
async fn a_hub_in_order_is_shown_with_its_grants_their_age_its_health_and_its_last_outcome() {
    let functions = onboarded(&with_an_export(), &["hub1"]).await;
    resync(&functions).await;
    let hub = hub_id("hub1");
    let puts = functions.cloud.count("hubPuts");
    let shown = page(&functions, &below(&hub)).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    let words = text(&shown.body);
    for part in [
        "Standing nowin sync",
        "At the last resyncin sync",
        "Nothing: the hub is as its profile says.",
        "Azure Event Hubs Data Sender",
        "system-assigned identity",
        "(1 hour ago)",
        "telemetry",
        "nightly",
        "T11:00:00Z",
        "hub1/nightly-",
        "Changed",
        "None of the oldest is about this hub.",
    ] {
        assert!(words.contains(part), "{part} is missing in {words}");
    }
    let view = document(&functions, &below(&hub)).await.json();
    assert_eq!(
        (&view["standing"], &view["profile"], &view["location"]),
        (&json!("inSync"), &json!("standard"), &json!("westus2"))
    );
    assert_eq!(view["lastOutcome"]["outcome"], "Changed");
    assert_eq!((view["grants"].as_array().unwrap().len(), &view["notRead"]), (2, &json!([])), "{view:#}");
    assert!(view["grants"][0]["ageSeconds"].as_i64().unwrap() >= 3600, "{view:#}");
    assert_eq!(view["health"]["endpoints"][0]["name"], "telemetry");
    assert_eq!(view["nextExports"][0]["export"], "nightly");
    assert_eq!(functions.cloud.count("hubPuts"), puts, "nothing is written");
    assert!(functions.sent().is_empty(), "and nothing is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_drifted_is_shown_with_the_plan_that_the_next_look_carries_out() {
    let functions = onboarded(hubward::desired::sample(), &["hub1"]).await;
    resync(&functions).await;
    let hub = hub_id("hub1");
    Portal::new(&functions.cloud, &hub).await.undo().await;
    let shown = page(&functions, &below(&hub)).await;
    let words = text(&shown.body);
    for part in [
        "1 change",
        "At the last resyncin sync",
        "update the hub",
        "+ endpoint telemetry",
        "+ route all: DeviceMessages where true",
    ] {
        assert!(words.contains(part), "{part} is missing in {words}");
    }
    let view = document(&functions, &below(&hub)).await.json();
    assert_eq!((&view["standing"], &view["changes"]), (&json!("differs"), &json!(1)), "{view:#}");
    assert_eq!(view["plan"]["steps"][0]["changes"].as_array().unwrap().len(), 2, "{view:#}");

    functions.work(&item(hub.clone())).await;
    work_off(&functions).await;
    let view = document(&functions, &below(&hub)).await.json();
    assert_eq!((&view["standing"], &view["plan"]["steps"]), (&json!("inSync"), &json!([])), "{view:#}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_grants_spread_waits_since_they_were_made() {
    let functions = Functions::of(false, hubward::desired::sample());
    let hub = functions.cloud.new_hub("hub1").await;
    functions.work(&item(hub.clone())).await;
    pass(10).await;
    let view = document(&functions, &below(&hub)).await.json();
    assert_eq!(view["standing"], "waiting", "{view:#}");
    assert_eq!(
        (&view["grants"][0]["state"], &view["grants"][0]["createdOn"]),
        (&json!("readable"), &view["since"])
    );
    assert_eq!(view["lastOutcome"]["outcome"], "Waiting");
    let words = text(&page(&functions, &below(&hub)).await.body);
    assert!(
        words.contains("for grants to spread, since ") && words.contains("readable, not used yet"),
        "{words}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_is_said_and_a_hub_without_a_profile_has_no_plan() {
    let functions =
        Functions::of(false, &hubward::desired::sample().replace("telemetry-{location}", "nowhere"));
    let hub = functions.cloud.new_hub("hub1").await;
    functions.cloud.create_hub("hub2", "other").await.unwrap();
    let view = document(&functions, &below(&hub)).await.json();
    assert_eq!(
        (&view["standing"], &view["plan"]["blocked"]),
        (&json!("blocked"), &view["causes"]),
        "{view:#}"
    );
    let words = text(&page(&functions, &below(&hub)).await.body);
    assert!(
        words.contains("Nothing is written to the hub before this is mended")
            && words.contains("does not exist"),
        "{words}"
    );

    let view = document(&functions, &below(&hub_id("hub2"))).await.json();
    assert_eq!((&view["standing"], view.get("plan")), (&json!("noProfile"), None), "{view:#}");
    let words = text(&page(&functions, &below(&hub_id("hub2"))).await.body);
    assert!(words.contains("There is no plan for this hub."), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_gone_is_told_from_one_that_never_was() {
    let functions = Functions::of(false, hubward::desired::sample());
    let hub = hub_id("hub1");
    assert_eq!(page(&functions, &below(&hub)).await.status, 404);
    let at = functions.cloud.arm.reader().client().clock().now();
    let record = Record::new(uuid::Uuid::from_u128(9), Word::Failed, vec!["it was deleted".into()], at);
    store(&functions.cloud).tell_of_hub(&hub, &record, &LastOfHub::default()).await.unwrap();
    let shown = page(&functions, &below(&hub)).await;
    let words = text(&shown.body);
    assert_eq!(shown.status, 200);
    assert!(words.contains("there is no such hub") && words.contains("it was deleted"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_cannot_be_read_or_not_in_time_still_has_a_page() {
    let functions = onboarded(hubward::desired::sample(), &["hub1"]).await;
    resync(&functions).await;
    let hub = hub_id("hub1");
    let at = functions.cloud.arm.reader().client().clock().now();
    *functions.parked.0.lock().unwrap() = Some(vec![
        parked(Some(&hub.as_str().to_uppercase()), "its request", at),
        parked(None, "of nobody", at),
    ]);
    let denied = Fault::new(FaultKind::Deny).on("GET", "iothubs/hub1").times(1);
    let slow = Fault::new(FaultKind::SlowAnswer).on("GET", "iothubs/hub1").seconds(600.0).times(1);
    for (fault, cause) in [(denied, "AuthorizationFailed"), (slow, "it took too long")] {
        functions.cloud.azure.inject(fault);
        let started = tokio::time::Instant::now();
        let shown = page(&functions, &below(&hub)).await;
        assert_eq!(shown.status, 200);
        assert!(started.elapsed().as_secs() <= 25, "{:?}", started.elapsed());
        let words = text(&shown.body);
        for part in [
            "Standing nownot known",
            "At the last resyncin sync",
            "the hub: ",
            cause,
            "Changed",
            "its request",
        ] {
            assert!(words.contains(part), "{part} is missing in {words}");
        }
        assert!(!words.contains("of nobody"), "{words}");
        functions.cloud.clear_faults().await;
    }
    // Part of it: the plan is there, and the jobs are not.
    functions.cloud.azure.inject(Fault::new(FaultKind::Deny).on("GET", "iothubs/hub1/jobs").times(0));
    let view = document(&functions, &below(&hub)).await.json();
    let what: Vec<&Value> = view["notRead"].as_array().unwrap().iter().map(|one| &one["what"]).collect();
    assert_eq!((what, &view["standing"]), (vec![&json!("jobs")], &json!("inSync")), "{view:#}");
}
