//! The fleet is compared with its profiles: what that costs, what is looked at, and what is left alone.

use std::collections::BTreeSet;

use hubward::{
    arm::ArmError,
    desired::DesiredState,
    fleet::{self, FleetReport, Source, Standing, Survey},
    local::azure::{Fault, FaultKind, ResourceGraphSettings, Settings, World},
    outcomes::{Word, store::OutcomeStore},
    work::{Reason, WorkItem},
};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::{
    functions::{Functions, item, store},
    support::{
        cloud::{Cloud, START, pass},
        portal::Portal,
        world::hub_id,
    },
};

const GRAPH: &str = "/providers/Microsoft.ResourceGraph/resources";

async fn one_hub_in_order() -> Cloud {
    one_hub_with(ResourceGraphSettings::default()).await
}

/// One hub, onboarded for long, and a Resource Graph like this.
async fn one_hub_with(resource_graph: ResourceGraphSettings) -> Cloud {
    let settings = Settings { hub_update_seconds: 0.5, resource_graph, ..Settings::default() };
    let cloud = Cloud::with(settings, World::reference(), hubward::desired::sample());
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "onboarded").await;
    // Its grant is older than what a hub may take to notice it.
    pass(3600).await;
    cloud
}

/// The fleet is to have so many hubs: all others are as the one that was onboarded.
async fn grow(cloud: &Cloud, hubs: usize) {
    cloud.sim("POST", "hubs/hub1/copies", json!({"count": hubs - 1, "prefix": "plant"})).await;
}

async fn survey(cloud: &Cloud, source: Source) -> Result<Survey, ArmError> {
    fleet::survey(cloud.arm.reader(), &cloud.state, source, Uuid::from_u128(7)).await
}

fn in_sync(report: &FleetReport) -> usize {
    report.hubs.iter().filter(|row| row.standing == Standing::InSync).count()
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_is_in_order_costs_a_few_pages_and_no_look() {
    let mut cloud = one_hub_in_order().await;
    for (hubs, most) in [(1_000, 5), (10_000, 50)] {
        grow(&cloud, hubs).await;
        cloud.restart();
        let Survey { mut report, left_behind } = survey(&cloud, Source::Graph).await.unwrap();
        assert_eq!((report.hubs.len(), in_sync(&report)), (hubs, hubs), "{:?}", report.hubs[0]);
        assert!(report.calls <= most, "{} calls for {hubs} hubs", report.calls);
        let calls = cloud.arm.reader().client().calls();
        let (labels, counts): (Vec<_>, Vec<u64>) = calls.into_iter().unzip();
        assert_eq!((labels.len(), counts), (1, vec![report.calls]), "a query, and nothing else: {labels:?}");
        assert!(fleet::nominate(&mut report, None, &cloud.state).is_empty());
        assert!(report.stopped.is_none() && left_behind.is_empty() && report.unread.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_few_that_differ_among_many_are_found() {
    let cloud = one_hub_in_order().await;
    grow(&cloud, 300).await;
    let none = json!({"routes": [], "endpoints": {"eventHubs": []}});
    let changes = [
        ("plant00017", json!({"properties": {"routing": {"routes": []}}, "wait": true})),
        ("plant00101", json!({"identity": {"type": "None"}, "properties": {"routing": none}, "wait": true})),
    ];
    for (name, change) in changes {
        cloud.sim("PATCH", &format!("hubs/{name}"), change).await;
    }
    let grants = cloud.grants();
    let is_of = |grant: &&Value| {
        grant["properties"]["description"].as_str().is_some_and(|text| text.contains("/plant00202 "))
    };
    let grant = grants.iter().find(is_of).expect("a copy's grant names the copy");
    let (status, _) = cloud.call("DELETE", grant["id"].as_str().unwrap(), "2022-04-01", &Value::Null).await;
    assert_eq!(status, 200);

    let Survey { mut report, .. } = survey(&cloud, Source::Graph).await.unwrap();
    let hubs: BTreeSet<_> = fleet::nominate(&mut report, None, &cloud.state).into_iter().collect();
    let names: Vec<&str> = hubs.iter().map(|hub| hub.name()).collect();
    assert_eq!(names, ["plant00017", "plant00101", "plant00202"]);
    assert_eq!(in_sync(&report), 297);
}

#[tokio::test(start_paused = true)]
async fn resource_graph_is_asked_no_more_than_it_likes_and_believed_no_more_than_it_says() {
    // One query in five seconds: somebody else has had it, so both of ours wait.
    let cloud = one_hub_with(ResourceGraphSettings { queries: 1, ..Default::default() }).await;
    let query = json!({"query": "resources | count"});
    assert_eq!(cloud.call("POST", GRAPH, "2022-10-01", &query).await.0, 200);
    assert_eq!(cloud.call("POST", GRAPH, "2022-10-01", &query).await.0, 429);
    let started = tokio::time::Instant::now();
    let found = survey(&cloud, Source::Graph).await.unwrap();
    assert_eq!(in_sync(&found.report), 1);
    assert!(started.elapsed().as_secs() >= 10, "it asked for five seconds, twice");

    let cloud = one_hub_in_order().await;
    let graph = |kind| Fault::new(kind).on("POST", "Microsoft.ResourceGraph");
    cloud.azure.inject(graph(FaultKind::TruncateResult));
    let error = survey(&cloud, Source::Graph).await.unwrap_err();
    assert!(error.to_string().contains("rows are missing"), "{error}");

    // Few subscriptions: lists stand in for it.
    cloud.azure.inject(graph(FaultKind::Deny).times(2));
    assert!(survey(&cloud, Source::Graph).await.is_err());
    let found = survey(&cloud, Source::Auto).await.unwrap();
    assert_eq!(in_sync(&found.report), 1);
}

#[tokio::test(start_paused = true)]
async fn what_resource_graph_shows_late_leads_to_a_look_and_to_no_write() {
    let late = ResourceGraphSettings { resources_lag_seconds: 240.0, ..Default::default() };
    let cloud = one_hub_with(late).await;
    let hub = hub_id("hub1");
    Portal::new(&cloud, &hub).await.undo().await;
    pass(140).await;
    cloud.settle_ok(&hub, "repaired meanwhile").await;
    pass(90).await;
    let Survey { mut report, .. } = survey(&cloud, Source::Graph).await.unwrap();
    assert_eq!(fleet::nominate(&mut report, None, &cloud.state), std::slice::from_ref(&hub));
    let puts = cloud.count("hubPuts");
    assert_eq!(cloud.look(&hub).await.outcome.name(), "InSync");
    assert_eq!(cloud.count("hubPuts"), puts);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_resource_graph_does_not_show_yet_has_gone_nowhere() {
    let late = ResourceGraphSettings { resources_lag_seconds: 86_400.0, ..Default::default() };
    let cloud = one_hub_with(late).await;
    let found = survey(&cloud, Source::Graph).await.unwrap();
    assert_eq!(found.report.hubs.len(), 1, "a subscription without a hub is listed");
    assert!(found.left_behind.is_empty(), "its grants are shown, and stay");
    assert_eq!(cloud.grants().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_read_is_told_and_the_others_go_on() {
    let cloud = one_hub_in_order().await;
    let (own, strange) = ("0b1f6471-1bf0-4dda-aec3-cb9272f09590", "11111111-1111-4111-8111-111111111111");
    let document = hubward::desired::sample()
        .replace(&format!("    - {own}\n"), &format!("    - {own}\n    - {strange}\n"));
    let state = DesiredState::parse(&document).unwrap();
    for source in [Source::List, Source::Graph] {
        let found = fleet::survey(cloud.arm.reader(), &state, source, Uuid::from_u128(7)).await.unwrap();
        assert_eq!(in_sync(&found.report), 1, "{source:?}");
        assert_eq!(found.report.unread.keys().collect::<Vec<_>>(), [strange], "{source:?}");
    }
}

/// A tick of the timer.
pub(crate) async fn resync(functions: &Functions) -> (u16, Value) {
    let timer =
        json!({"Schedule": {"AdjustForDST": true}, "IsPastDue": false, "ScheduleStatus": Value::Null});
    functions.post("Resync", json!({"Data": {"timer": timer}, "Metadata": {}}).to_string()).await
}

/// Does all the work that there is, and says how each piece ended.
pub(crate) async fn work_off(functions: &Functions) -> Vec<String> {
    let mut ends = Vec::new();
    loop {
        let sent = functions.sent();
        if sent.is_empty() {
            return ends;
        }
        for next in sent {
            if let Some(due) = next.due() {
                functions.cloud.clock.sleep_until(due).await;
            }
            let (status, answer) = functions.work(&serde_json::to_string(&next).unwrap()).await;
            assert_eq!(status, 200, "{answer}");
            ends.push(answer["Logs"][0].as_str().unwrap_or_default().to_owned());
        }
    }
}

pub(crate) async fn onboarded(document: &str, names: &[&str]) -> Functions {
    let functions = Functions::of(false, document);
    for name in names {
        let hub = functions.cloud.new_hub(name).await;
        functions.work(&item(hub)).await;
        assert_eq!(work_off(&functions).await.last().unwrap(), &format!("{name}: Changed"));
    }
    pass(3600).await;
    functions
}

#[tokio::test(start_paused = true)]
async fn drift_that_no_event_told_of_is_found_and_repaired() {
    let functions = onboarded(hubward::desired::sample(), &["hub1", "hub2"]).await;
    assert_eq!(resync(&functions).await.0, 200);
    assert!(functions.sent().is_empty(), "all is well");

    let hub = hub_id("hub2");
    Portal::new(&functions.cloud, &hub).await.undo().await;
    assert_eq!(resync(&functions).await.0, 200);
    let sent = functions.sent();
    assert!(matches!(sent[..], [WorkItem { reason: Reason::Resync { .. }, .. }]), "{sent:?}");
    // Another instance starts in the same quarter of an hour: the queue drops its message.
    assert_eq!(resync(&functions).await.0, 200);
    assert_eq!(functions.sent()[0].work_id, sent[0].work_id);

    functions.work(&serde_json::to_string(&sent[0]).unwrap()).await;
    work_off(&functions).await;
    let fleet = store(&functions.cloud).of_fleet().await.unwrap().unwrap();
    assert_eq!(fleet.hubs.iter().filter(|row| row.queued).count(), 1);
    assert_eq!(store(&functions.cloud).of_hub(&hub).await.unwrap().unwrap().outcome, Word::Changed);
    pass(900).await;
    resync(&functions).await;
    assert!(functions.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_changes_no_more_hubs_than_it_may_says_so_and_starves_nobody() {
    let document = hubward::desired::sample().replace("maxHubsChanged: 50", "maxHubsChanged: 2");
    let names = ["hub1", "hub2", "hub3", "hub4", "hub5"];
    let functions = onboarded(&document, &names).await;
    for name in names {
        Portal::new(&functions.cloud, &hub_id(name)).await.undo().await;
    }
    let (status, answer) = resync(&functions).await;
    assert_eq!((status, functions.sent().len()), (200, 2));
    let told: Value = serde_json::from_str(answer["Outputs"]["outcomes"][0].as_str().unwrap()).unwrap();
    assert_eq!(told["outcome"], "Blocked");
    let cause = told["causes"][0].as_str().unwrap();
    assert!(cause.contains("5 hubs differ") && cause.contains("allows 2"), "{cause}");
    assert!(answer["Outputs"]["failed"][0].as_str().unwrap().contains("maxHubsChanged"));
    let fleet = store(&functions.cloud).of_fleet().await.unwrap().unwrap();
    let stopped = fleet.stopped.unwrap();
    assert_eq!((stopped.wanted, stopped.allowed), (5, 2));

    // Nothing is done to them; still each has its turn.
    let mut turns = std::collections::BTreeSet::new();
    for _ in 0..12 {
        pass(900).await;
        resync(&functions).await;
        turns.extend(functions.sent().into_iter().map(|item| item.hub));
    }
    assert_eq!(turns.len(), 5);

    functions.cloud.reset_counters().await.unwrap();
    let mut none = functions;
    none.rewrite(&document.replace("maxHubsChanged: 2", "maxHubsChanged: 0"));
    resync(&none).await;
    assert!(none.sent().is_empty() && none.cloud.count("hubPuts") == 0);
}

#[tokio::test(start_paused = true)]
async fn with_drift_report_drift_is_told_and_nothing_is_written() {
    let document =
        hubward::desired::sample().replace("- name: standard\n", "- name: standard\n    drift: report\n");
    let mut functions = onboarded(&document, &["hub1"]).await;
    let hub = hub_id("hub1");
    Portal::new(&functions.cloud, &hub).await.undo().await;
    functions.cloud.reset_counters().await.unwrap();
    resync(&functions).await;
    assert_eq!(work_off(&functions).await, ["hub1: Planned"]);
    let record = store(&functions.cloud).of_hub(&hub).await.unwrap().unwrap();
    assert!(record.causes[0].contains("drift: report") && !record.plan.is_empty(), "{record:?}");
    assert_eq!(functions.cloud.count("hubPuts"), 0);
    // It is told once, and an event changes nothing.
    pass(900).await;
    resync(&functions).await;
    assert!(functions.sent().is_empty());
    functions.work(&item(hub.clone())).await;
    assert_eq!(functions.cloud.count("hubPuts"), 0);

    // Another wanted state is no drift.
    functions.rewrite(&document.replace("condition: \"true\"", "condition: \"level = 1\""));
    functions.work(&item(hub)).await;
    work_off(&functions).await;
    assert_eq!(functions.cloud.count("hubPutsAccepted"), 1);
}

#[tokio::test(start_paused = true)]
async fn in_quiet_hours_drift_waits_and_new_hubs_do_not() {
    // Azure's day begins at noon here.
    let document = hubward::desired::sample().replace(
        "- name: standard\n",
        "- name: standard\n    quietHours: { from: \"12:00\", to: \"20:00\" }\n",
    );
    let functions = onboarded(&document, &["hub1"]).await;
    let hub = hub_id("hub1");
    Portal::new(&functions.cloud, &hub).await.undo().await;
    functions.cloud.reset_counters().await.unwrap();
    resync(&functions).await;
    let sent = functions.sent().remove(0);
    functions.work(&serde_json::to_string(&sent).unwrap()).await;
    let waits = functions.sent().remove(0);
    let end = (START + Duration::hours(8)).unix_timestamp();
    assert!((end..=end + 2).contains(&waits.due().unwrap().unix_timestamp()), "{waits:?}");
    assert_eq!(functions.cloud.count("hubPuts"), 0);
    functions.cloud.clock.sleep_until(waits.due().unwrap()).await;
    functions.work(&serde_json::to_string(&waits).unwrap()).await;
    work_off(&functions).await;
    assert_eq!(functions.cloud.count("hubPutsAccepted"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_a_server_error_as_it_takes_any() {
    let functions = onboarded(hubward::desired::sample(), &["hub1"]).await;
    Portal::new(&functions.cloud, &hub_id("hub1")).await.undo().await;
    functions.cloud.azure.inject(Fault::new(FaultKind::ServerError).on("POST", "Microsoft.ResourceGraph"));
    functions.cloud.azure.inject(Fault::new(FaultKind::ServerError).on("GET", "IotHubs"));
    assert_eq!(resync(&functions).await.0, 200);
    assert!(work_off(&functions).await.last().unwrap().ends_with(": Changed"));
}
