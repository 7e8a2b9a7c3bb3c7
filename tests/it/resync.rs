//! The fleet is compared with its profiles: what that costs, what is looked at, and what is left alone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use hubward::{
    arm::{ArmClient, ArmError, ArmReader, AzureClock},
    desired::DesiredState,
    fleet::{self, FleetReport, Source, Standing, Survey},
    local::{
        azure::{Fault, FaultKind},
        in_process::InProcess,
    },
    outcomes::{Word, store::OutcomeStore},
    work::{Reason, WorkItem},
};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::{
    functions::{Functions, item, store},
    support::{
        cloud::{Cloud, START, SimCredential, pass},
        portal::Portal,
        world::hub_id,
    },
};

const ARM: &str = "127.0.0.1:4101";
const GRAPH: &str = "/providers/Microsoft.ResourceGraph/resources";

/// What goes wrong with one answer of Resource Graph.
#[derive(Clone, Copy)]
enum Twist {
    Throttled,
    LastOfQuota,
    Cut,
    Forbidden,
}

/// Resource Graph with just these rows, in pages, beside the simulated Resource Manager.
struct Graph {
    hubs: Vec<Value>,
    grants: Vec<Value>,
    twists: Mutex<VecDeque<Twist>>,
    asked: Mutex<u64>,
}

impl Graph {
    /// What Azure has now, with ids in another case.
    fn of(cloud: &Cloud) -> Self {
        let state = cloud.azure.state();
        let mut grants: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for grant in state["roleAssignments"].as_array().unwrap() {
            let own = &grant["properties"];
            let packed = json!({"id": grant["id"].as_str().unwrap().to_uppercase(), "scope": own["scope"],
                "role": own["roleDefinitionId"], "on": own["createdOn"], "is": own["condition"], "for": own["description"]});
            grants.entry(own["principalId"].as_str().unwrap().to_owned()).or_default().push(packed);
        }
        let grants = grants.into_iter().map(|(id, grants)| json!({"id": id, "grants": grants})).collect();
        let upper = |hub: &Value| {
            let mut hub = hub.clone();
            let id = hub["id"].as_str().unwrap();
            hub["id"] = id.replace("resourceGroups", "resourcegroups").replace("IotHubs", "IOTHUBS").into();
            hub.as_object_mut().unwrap().remove("etag");
            hub
        };
        let hubs = state["hubs"].as_array().unwrap().iter().map(upper).collect();
        Self { hubs, grants, twists: Mutex::default(), asked: Mutex::default() }
    }

    /// The one hub that there is, as often as this.
    fn times(mut self, count: usize) -> Self {
        let (hub, grants) = (self.hubs.remove(0), self.grants.remove(0));
        let (name, principal) = (hub["name"].as_str().unwrap(), grants["id"].as_str().unwrap());
        let (hub, grants) = (hub.to_string(), grants.to_string());
        for at in 0..count {
            let own = Uuid::from_u128(at as u128 + 1).to_string();
            let text = hub.replace(name, &format!("plant{at:05}")).replace(principal, &own);
            self.hubs.push(serde_json::from_str(&text).unwrap());
            self.grants.push(serde_json::from_str(&grants.replace(principal, &own)).unwrap());
        }
        self
    }

    fn twisted(self, twists: impl IntoIterator<Item = Twist>) -> Self {
        Self { twists: Mutex::new(twists.into_iter().collect()), ..self }
    }

    /// A client of it.
    fn reader(self: &Arc<Self>, cloud: &Cloud) -> ArmReader {
        let router = Router::new()
            .route(GRAPH, post(answer))
            .with_state(self.clone())
            .fallback_service(cloud.azure.arm_router());
        let transport = InProcess::new().with(ARM, router);
        ArmReader::new(ArmClient::new(
            format!("http://{ARM}").parse().unwrap(),
            "https://management.azure.com/.default".into(),
            Arc::new(SimCredential(cloud.azure.clone())),
            Arc::new(transport),
            AzureClock::starting_at(cloud.clock.now()),
        ))
    }
}

async fn answer(State(graph): State<Arc<Graph>>, Json(body): Json<Value>) -> axum::response::Response {
    *graph.asked.lock().unwrap() += 1;
    let twist = graph.twists.lock().unwrap().pop_front();
    let quota = |left: &'static str| {
        [("x-ms-user-quota-remaining", left), ("x-ms-user-quota-resets-after", "00:00:05")]
    };
    let query = body["query"].as_str().unwrap();
    assert!(query.contains("order by id"), "pages of an unordered query overlap: {query}");
    let rows = if query.starts_with("resources") { &graph.hubs } else { &graph.grants };
    let top = usize::try_from(body["options"]["$top"].as_u64().unwrap()).unwrap();
    let from: usize = body["options"]["$skipToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let page: Vec<&Value> = rows.iter().skip(from).take(top).collect();
    let next = from + page.len();
    let mut json =
        json!({"totalRecords": rows.len(), "count": page.len(), "resultTruncated": "false", "data": page});
    if next < rows.len() {
        json["$skipToken"] = next.to_string().into();
    }
    match twist {
        Some(Twist::Throttled) => (StatusCode::TOO_MANY_REQUESTS, quota("0")).into_response(),
        Some(Twist::Forbidden) => {
            let error = json!({"error": {"code": "AuthorizationFailed", "message": "no"}});
            (StatusCode::FORBIDDEN, Json(error)).into_response()
        }
        Some(Twist::Cut) => {
            json["resultTruncated"] = "true".into();
            json.as_object_mut().unwrap().remove("$skipToken");
            (quota("9"), Json(json)).into_response()
        }
        Some(Twist::LastOfQuota) => (quota("0"), Json(json)).into_response(),
        None => (quota("9"), Json(json)).into_response(),
    }
}

async fn one_hub_in_order() -> Cloud {
    let cloud = Cloud::quick(hubward::desired::sample());
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "onboarded").await;
    // Its grant is older than what a hub may take to notice it.
    pass(3600).await;
    cloud
}

async fn survey(cloud: &Cloud, reader: &ArmReader, source: Source) -> Result<Survey, ArmError> {
    fleet::survey(reader, &cloud.state, source, Uuid::from_u128(7)).await
}

fn in_sync(report: &FleetReport) -> usize {
    report.hubs.iter().filter(|row| row.standing == Standing::InSync).count()
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_is_in_order_costs_a_few_pages_and_no_look() {
    let cloud = one_hub_in_order().await;
    for (hubs, most) in [(1_000, 5), (10_000, 50)] {
        let graph = Arc::new(Graph::of(&cloud).times(hubs));
        let reader = graph.reader(&cloud);
        let Survey { mut report, left_behind } = survey(&cloud, &reader, Source::Graph).await.unwrap();
        assert_eq!((report.hubs.len(), in_sync(&report)), (hubs, hubs), "{:?}", report.hubs[0]);
        assert!(report.calls <= most, "{} calls for {hubs} hubs", report.calls);
        assert_eq!(report.calls, *graph.asked.lock().unwrap(), "every call is one of these");
        assert_eq!(report.calls, reader.client().calls().values().sum::<u64>());
        assert!(fleet::nominate(&mut report, None, &cloud.state).is_empty());
        assert!(report.stopped.is_none() && left_behind.is_empty() && report.unread.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_few_that_differ_among_many_are_found() {
    let cloud = one_hub_in_order().await;
    let mut graph = Graph::of(&cloud).times(300);
    graph.hubs[17]["properties"]["routing"]["routes"] = json!([]);
    graph.hubs[101]["identity"] = json!({"type": "None"});
    graph.grants.remove(202);
    let reader = Arc::new(graph).reader(&cloud);
    let Survey { mut report, .. } = survey(&cloud, &reader, Source::Graph).await.unwrap();
    let mut hubs = fleet::nominate(&mut report, None, &cloud.state);
    hubs.sort();
    let names: Vec<&str> = hubs.iter().map(|hub| hub.name()).collect();
    assert_eq!(names, ["plant00017", "plant00101", "plant00202"]);
    assert_eq!(in_sync(&report), 297);
}

#[tokio::test(start_paused = true)]
async fn resource_graph_is_asked_no_more_than_it_likes_and_believed_no_more_than_it_says() {
    let cloud = one_hub_in_order().await;
    let started = tokio::time::Instant::now();
    let graph = Arc::new(Graph::of(&cloud).twisted([Twist::LastOfQuota, Twist::Throttled]));
    let found = survey(&cloud, &graph.reader(&cloud), Source::Graph).await.unwrap();
    assert_eq!(in_sync(&found.report), 1);
    assert!(started.elapsed().as_secs() >= 10, "it asked for five seconds, twice");

    let graph = Arc::new(Graph::of(&cloud).twisted([Twist::Cut]));
    let error = survey(&cloud, &graph.reader(&cloud), Source::Graph).await.unwrap_err();
    assert!(error.to_string().contains("rows are missing"), "{error}");

    // Few subscriptions: lists stand in for it.
    let graph = Arc::new(Graph::of(&cloud).twisted([Twist::Forbidden]));
    let reader = graph.reader(&cloud);
    assert!(survey(&cloud, &reader, Source::Graph).await.is_err());
    let graph = Arc::new(Graph::of(&cloud).twisted([Twist::Forbidden]));
    let found = survey(&cloud, &graph.reader(&cloud), Source::Auto).await.unwrap();
    assert_eq!(in_sync(&found.report), 1);
}

#[tokio::test(start_paused = true)]
async fn what_resource_graph_shows_late_leads_to_a_look_and_to_no_write() {
    let cloud = one_hub_in_order().await;
    let hub = hub_id("hub1");
    let mut graph = Graph::of(&cloud);
    graph.hubs[0]["properties"]["routing"]["routes"] = json!([]);
    let reader = Arc::new(graph).reader(&cloud);
    let Survey { mut report, .. } = survey(&cloud, &reader, Source::Graph).await.unwrap();
    assert_eq!(fleet::nominate(&mut report, None, &cloud.state), std::slice::from_ref(&hub));
    let puts = cloud.count("hubPuts");
    assert_eq!(cloud.look(&hub).await.outcome.name(), "InSync");
    assert_eq!(cloud.count("hubPuts"), puts);

    // A hub that it does not show has gone nowhere: it is looked for, and its grants stay.
    let graph = Arc::new(Graph { hubs: Vec::new(), ..Graph::of(&cloud) });
    let found = survey(&cloud, &graph.reader(&cloud), Source::Graph).await.unwrap();
    assert_eq!(found.report.hubs.len(), 1, "a subscription without a hub is listed");
    assert!(found.left_behind.is_empty());
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
        let reader = Arc::new(Graph::of(&cloud)).reader(&cloud);
        let found = fleet::survey(&reader, &state, source, Uuid::from_u128(7)).await.unwrap();
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
    functions.cloud.azure.inject(Fault::new(FaultKind::ServerError).on("GET", "IotHubs"));
    assert_eq!(resync(&functions).await.0, 200);
    assert!(work_off(&functions).await.last().unwrap().ends_with(": Changed"));
}
