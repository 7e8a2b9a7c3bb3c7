//! Operators' requests, from the queue to their one outcome.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::STANDARD};
use hubward::{
    local::azure::{Fault, FaultKind},
    model::IotHubId,
    outcomes::{Record, Word, parked::Parked, store::OutcomeStore},
    work::WorkItem,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    functions::{Functions, store},
    support::world::{SUBSCRIPTION, hub_id},
};

const DATA: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers";

fn alerts() -> String {
    format!("{DATA}/Microsoft.EventHub/namespaces/ns1/eventhubs/alerts")
}

pub(crate) fn document(guardrails: &str) -> String {
    format!(
        "version: 1\nguardrails:\n  subscriptions: [ {SUBSCRIPTION} ]\n  targets: [ /subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data ]\n{guardrails}profiles:\n  - name: standard\n    match: {{ tags: {{ egress: standard }} }}\n    identity: {{ system: on }}\n    endpoints: [ {{ name: telemetry, eventHub: '{DATA}/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-{{location}}', as: system }} ]\n    routes: [ {{ name: all, source: DeviceMessages, endpoint: telemetry }} ]\n"
    )
}

pub(crate) fn request(kind: &str, id: &str, hub: &IotHubId, rest: Value) -> Value {
    let mut request = json!({"schema": "hubward/v1", "kind": kind, "id": id, "hub": hub.as_str(),
        "requestedBy": "ada@contoso.example", "reason": "a story"});
    for (name, value) in rest.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// What a function answered: outcomes that it told, and what it parked.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) outcomes: Vec<Record>,
    pub(crate) parked: Vec<Parked>,
}

impl Told {
    pub(crate) fn add(&mut self, answer: &Value) {
        let texts = |name: &str| {
            let list = answer["Outputs"][name].as_array().cloned().unwrap_or_default();
            list.into_iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        self.outcomes.extend(texts("outcomes").iter().map(|text| serde_json::from_str(text).unwrap()));
        self.parked.extend(texts("failed").iter().map(|text| serde_json::from_str(text).unwrap()));
    }

    pub(crate) fn words(&self) -> Vec<Word> {
        self.outcomes.iter().map(|record| record.outcome).collect()
    }
}

impl Functions {
    /// A text on the storage queue.
    pub(crate) async fn ask_text(&self, text: &str) -> (u16, Value) {
        let twice = serde_json::to_string(text).unwrap();
        self.post("Request", json!({"Data": {"request": twice}, "Metadata": {}}).to_string()).await
    }

    /// Sends a request and plays the broker until nothing is left to do.
    pub(crate) async fn ask(&self, request: &Value) -> Told {
        let mut told = Told::default();
        let (status, answer) = self.ask_text(&request.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        told.add(&answer);
        self.play(&mut told).await;
        told
    }

    /// Delivers what was sent, in time, until nothing is left.
    pub(crate) async fn play(&self, told: &mut Told) {
        let mut waiting: Vec<WorkItem> = self.sent();
        while !waiting.is_empty() {
            waiting.sort_by_key(WorkItem::due);
            let item = waiting.remove(0);
            if let Some(due) = item.due() {
                self.cloud.clock.sleep_until(due).await;
            }
            let (status, answer) = self.work(&serde_json::to_string(&item).unwrap()).await;
            assert_eq!(status, 200, "{answer}");
            told.add(&answer);
            waiting.extend(self.sent());
        }
    }
}

pub(crate) async fn ready(guardrails: &str) -> (Functions, IotHubId) {
    let functions = Functions::of(false, &document(guardrails));
    functions.cloud.create_hub("hub1", "none").await.unwrap();
    functions.cloud.reset_counters().await.unwrap();
    (functions, hub_id("hub1"))
}

#[tokio::test(start_paused = true)]
async fn a_request_is_done_once_and_ends_in_one_outcome() {
    let (functions, hub) = ready("").await;
    let endpoint = json!({"endpoint": {"name": "alerts", "eventHub": alerts(), "as": "system"}});
    let ask = request("EnsureEndpoint", "r-1", &hub, endpoint);
    let told = functions.ask(&ask).await;
    assert_eq!(told.words(), [Word::Changed], "{told:#?}");
    assert!(told.parked.is_empty());
    let record = &told.outcomes[0];
    let origin = record.request.as_ref().unwrap();
    assert_eq!((origin.id.as_str(), origin.requested_by.as_str()), ("r-1", "ada@contoso.example"));
    assert!(record.seconds.unwrap() > 60.0 && record.looks == 2 && record.steps.len() == 3, "{record:#?}");
    let found = functions.cloud.hub(&hub);
    assert_eq!(
        found["properties"]["routing"]["endpoints"]["eventHubs"][0]["authenticationType"],
        "identityBased"
    );
    // Nothing but what was asked for: the hub has a profile's tag no more than before, and no route.
    assert_eq!(found["properties"]["routing"]["routes"], json!([]));

    let kept = store(&functions.cloud);
    assert_eq!(kept.ended(record.outcome_id).await.unwrap().as_ref(), Some(record));
    let of_hub = kept.of_hub(&hub).await.unwrap().unwrap();
    assert_eq!(of_hub.of_its_own(), *record);
    assert!(!of_hub.written.is_empty(), "writes are counted for all instances");
    assert_eq!(kept.waiting(record.outcome_id).await.unwrap(), None);

    functions.cloud.reset_counters().await.unwrap();
    let again = functions.ask(&ask).await;
    assert!(again.outcomes.is_empty() && again.parked.is_empty(), "{again:#?}");
    assert_eq!(functions.cloud.count("armCalls"), 0, "it has ended already");
}

#[tokio::test(start_paused = true)]
async fn what_a_request_waits_for_can_be_asked() {
    let (functions, hub) = ready("").await;
    let endpoint = json!({"endpoint": {"name": "alerts", "eventHub": alerts(), "as": "system"}});
    let ask = request("EnsureEndpoint", "r-1", &hub, endpoint);
    functions.ask_text(&ask.to_string()).await;
    let item = functions.sent().remove(0);
    functions.work(&serde_json::to_string(&item).unwrap()).await;
    let next = functions.sent().remove(0);
    assert_eq!(
        (next.origin.as_ref(), next.follows),
        (item.origin.as_ref(), 1),
        "the follow-up is the request's own"
    );
    let id = hubward::outcomes::id_of_request("r-1", item.origin.unwrap().digest);
    let record = store(&functions.cloud).waiting(id).await.unwrap().unwrap();
    assert_eq!(record.outcome, Word::Waiting);
    assert!(record.causes[0].starts_with("the grants to spread, until 2026-01-31"), "{record:#?}");
}

#[tokio::test(start_paused = true)]
async fn bodies_may_be_plain_or_base64_and_ids_of_any_case() {
    let (functions, hub) = ready("").await;
    let upper =
        IotHubId::parse(&hub.as_str().replace("rg-plant", "RG-Plant").replace("hub1", "HUB1")).unwrap();
    for (nth, hub) in [&hub, &upper].into_iter().enumerate() {
        let ask =
            request("Onboard", &format!("r-{nth}"), hub, json!({"profile": "standard", "dryRun": true}));
        let text = STANDARD.encode(ask.to_string());
        let (status, answer) = functions.ask_text(&text).await;
        assert_eq!(status, 200, "{answer}");
        let mut told = Told::default();
        functions.play(&mut told).await;
        assert_eq!(told.words(), [Word::Planned], "{told:#?}");
        assert!(told.outcomes[0].plan.iter().any(|line| line.contains("+ system-assigned identity")));
    }
    assert_eq!(functions.cloud.count("hubPuts"), 0, "a plan changes nothing");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_understood_is_parked_with_the_cause_and_not_tried_again() {
    let (functions, hub) = ready("").await;
    for (text, cause) in [
        ("not json", "this is not JSON that can be taken"),
        ("{}", "kind: a request says its kind"),
        (&request("Reconcile", "r", &hub, json!({"hubs": []})).to_string(), "hubs: unknown field"),
        (&request("Reconcile", "r", &hub, json!({"reason": "\"".repeat(40_000)})).to_string(), "reason: "),
    ] {
        let (status, answer) = functions.ask_text(text).await;
        assert_eq!(status, 200, "{answer}");
        let mut told = Told::default();
        told.add(&answer);
        assert_eq!(told.words(), [Word::Refused], "{text:.80}");
        let parked = &told.parked[0];
        assert!(parked.causes[0].starts_with(cause), "{parked:#?}");
        assert!(functions.sent().is_empty());
        let kept = match (&parked.text, &parked.blob) {
            (Some(text), None) => text.clone(),
            (None, Some(blob)) => store(&functions.cloud).kept(blob).await.unwrap().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kept, text, "nothing is lost");
        assert!(serde_json::to_string(parked).unwrap().len() < 48 * 1024, "it fits a message");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_for_one_request() {
    let (functions, hub) = ready("").await;
    let told = functions.ask(&request("Onboard", "r-1", &hub, json!({"profile": "standard"}))).await;
    assert_eq!(told.words(), [Word::Changed]);
    let told =
        functions.ask(&request("Onboard", "r-1", &hub, json!({"profile": "standard", "dryRun": true}))).await;
    assert_eq!(told.words(), [Word::Refused]);
    assert!(told.outcomes[0].causes[0].starts_with("the id `r-1` belongs to another request"), "{told:#?}");
    assert!(told.parked[0].request.is_some());
    let again = told.parked[0].again("ada", 1).unwrap();
    assert_eq!(again["id"], "r-1:again-1");
    assert_eq!(functions.ask(&again).await.words(), [Word::Planned]);
}

#[tokio::test(start_paused = true)]
async fn a_request_may_wait_for_its_time() {
    let (functions, hub) = ready("").await;
    let ask = request(
        "Onboard",
        "r-1",
        &hub,
        json!({"profile": "standard", "notBefore": "2026-01-31T18:00:00+01:00"}),
    );
    let told = functions.ask(&ask).await;
    assert_eq!(told.words(), [Word::Changed]);
    let ended = told.outcomes[0].ended_at;
    assert!(ended > time::macros::datetime!(2026-01-31 17:00:00 UTC), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn guardrails_are_read_again_when_the_work_is_done() {
    let (mut functions, hub) = ready("").await;
    let endpoint = json!({"endpoint": {"name": "alerts", "eventHub": alerts(), "as": "system"}});
    functions.ask_text(&request("EnsureEndpoint", "r-1", &hub, endpoint).to_string()).await;
    functions.rewrite(&document("").replace("targets: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data ]", "targets: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-elsewhere ]").split("profiles:").next().map(|text| format!("{text}profiles: []\n")).unwrap());
    let mut told = Told::default();
    functions.play(&mut told).await;
    assert_eq!(told.words(), [Word::Refused]);
    assert!(told.outcomes[0].causes[0].contains("outside `guardrails.targets`"), "{told:#?}");
    assert_eq!((functions.cloud.count("hubPuts"), told.parked.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_changes_its_authentication_and_goes_again() {
    let (functions, hub) = ready("  allowRemovals: true\n  allowKeys: true\n").await;
    let words = |told: Told| told.words();
    let endpoint = json!({"endpoint": {"name": "alerts", "eventHub": alerts(), "as": "key", "keyRule": "RootManageSharedAccessKey"}});
    assert_eq!(
        words(functions.ask(&request("EnsureEndpoint", "r-1", &hub, endpoint)).await),
        [Word::Changed]
    );
    let route = json!({"routes": [{"name": "hot", "source": "DeviceMessages", "endpoint": "alerts"}]});
    assert_eq!(words(functions.ask(&request("EnsureRoutes", "r-2", &hub, route)).await), [Word::Changed]);
    let auth = json!({"endpoint": "ALERTS", "as": "system"});
    assert_eq!(words(functions.ask(&request("SetEndpointAuth", "r-3", &hub, auth)).await), [Word::Changed]);
    let found = functions.cloud.hub(&hub)["properties"]["routing"]["endpoints"]["eventHubs"][0].clone();
    assert_eq!((&found["name"], &found["authenticationType"]), (&json!("alerts"), &json!("identityBased")));

    let told = functions.ask(&request("RemoveEndpoint", "r-4", &hub, json!({"endpoint": "alerts"}))).await;
    assert_eq!(told.words(), [Word::Blocked]);
    assert_eq!(told.outcomes[0].causes, ["endpoint alerts cannot be removed: named by route hot"]);
    functions.cloud.reset_counters().await.unwrap();
    let with_routes = json!({"endpoint": "alerts", "withRoutes": true});
    let told = functions.ask(&request("RemoveEndpoint", "r-5", &hub, with_routes)).await;
    assert_eq!((told.words(), functions.cloud.count("hubPuts")), (vec![Word::Changed], 1));
    let routing = functions.cloud.hub(&hub)["properties"]["routing"].clone();
    assert_eq!((&routing["routes"], &routing["endpoints"]["eventHubs"]), (&json!([]), &json!([])));
}

#[tokio::test(start_paused = true)]
async fn offboarding_takes_what_the_profile_made_and_leaves_what_is_of_others() {
    let (functions, hub) = ready("  allowRemovals: true\n").await;
    functions.cloud.sim("PATCH", "hubs/hub1", json!({"tags": {"egress": "standard"}, "wait": true})).await;
    assert_eq!(functions.ask(&request("Reconcile", "r-1", &hub, json!({}))).await.words(), [Word::Changed]);
    let theirs = json!({"endpoint": {"name": "theirs", "eventHub": alerts(), "as": "system"}});
    assert_eq!(functions.ask(&request("EnsureEndpoint", "r-2", &hub, theirs)).await.words(), [Word::Changed]);
    let grants =
        |functions: &Functions| functions.cloud.azure.state()["roleAssignments"].as_array().unwrap().len();
    assert_eq!(grants(&functions), 2);

    // As long as a profile matches, all would come back.
    let end = json!({"confirm": "hub1", "profile": "standard"});
    let told = functions.ask(&request("Offboard", "r-3a", &hub, end.clone())).await;
    assert_eq!(told.words(), [Word::Refused], "{told:#?}");
    assert!(told.outcomes[0].causes[0].contains("profile standard still matches the hub"), "{told:#?}");
    functions.cloud.sim("PATCH", "hubs/hub1", json!({"tags": {"egress": "none"}, "wait": true})).await;
    let told = functions.ask(&request("Offboard", "r-3", &hub, end)).await;
    assert_eq!(told.words(), [Word::Changed], "{told:#?}");
    let routing = functions.cloud.hub(&hub)["properties"]["routing"].clone();
    assert_eq!(routing["routes"], json!([]));
    assert_eq!(routing["endpoints"]["eventHubs"][0]["name"], "theirs");
    assert_eq!(grants(&functions), 1, "the role that the endpoint of others needs stays");
    // The identity cannot go while something uses it.
    let off = json!({"confirm": "hub1", "turnIdentityOff": true});
    let told = functions.ask(&request("Offboard", "r-4", &hub, off.clone())).await;
    assert_eq!(
        told.outcomes[0].causes,
        ["the system-assigned identity cannot be taken away: used by endpoint theirs"]
    );
    functions.ask(&request("RemoveEndpoint", "r-5", &hub, json!({"endpoint": "theirs"}))).await;
    assert_eq!(functions.ask(&request("Offboard", "r-6", &hub, off)).await.words(), [Word::Changed]);
    assert_eq!(functions.cloud.hub(&hub)["identity"]["type"], "None");
    assert_eq!(grants(&functions), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_ends_another_request_by_its_name() {
    let (functions, hub) = ready("").await;
    let ask = request("Onboard", "r-1", &hub, json!({"profile": "standard", "dryRun": true}));
    let digest = hubward::desired::digest_of(&ask);
    // The text from which the id of its outcome is made.
    for text in [format!("r-1|{digest}"), format!("request|r-1|{digest}")] {
        assert_eq!(functions.ask_text(&text).await.0, 200);
    }
    // A message that says it is that request, and holds another.
    functions.ask_text(&ask.to_string()).await;
    let item = functions.sent().remove(0);
    let mut forged = serde_json::to_value(&item).unwrap();
    forged["request"] = json!({"kind": "nonsense"});
    let (status, answer) = functions.work(&forged.to_string()).await;
    let mut told = Told::default();
    told.add(&answer);
    assert_eq!((status, told.words()), (200, vec![Word::Refused]));
    forged["workId"] = uuid::Uuid::from_u128(7).to_string().into();
    forged["request"] = request("Reconcile", "r-2", &hub, json!({}));
    let (_, answer) = functions.work(&forged.to_string()).await;
    assert!(answer.to_string().contains("names another request"), "{answer}");
    let told = functions.ask(&ask).await;
    assert_eq!(told.words(), [Word::Planned], "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_removal_takes_nothing_that_it_does_not_name() {
    let (functions, hub) = ready("  allowRemovals: true\n").await;
    let theirs = json!({"properties": {"routing": {
        "endpoints": {"cosmosDBSqlCollections": [{"name": "old", "authenticationType": "keyBased"}]},
        "routes": [{"name": "theirs", "source": "DeviceMessages", "condition": "true", "endpointNames": ["events"], "isEnabled": true}]}}, "wait": true});
    functions.cloud.sim("PATCH", "hubs/hub1", theirs).await;
    functions.cloud.reset_counters().await.unwrap();
    for (nth, (name, cause)) in
        [("events", "a name that the service keeps for itself"), ("old", "only other api-versions know")]
            .into_iter()
            .enumerate()
    {
        let ask = request(
            "RemoveEndpoint",
            &format!("r-{nth}"),
            &hub,
            json!({"endpoint": name, "withRoutes": true}),
        );
        let told = functions.ask(&ask).await;
        assert_eq!(told.words(), [Word::Refused], "{told:#?}");
        assert!(told.outcomes[0].causes[0].contains(cause), "{told:#?}");
    }
    assert_eq!(functions.cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_asked_for_like_anything_else() {
    let (functions, hub) = ready("  allowImports: [ hub1 ]\n  allowKeys: true\n").await;
    let identity = json!({"identity": {"system": "on"}});
    assert_eq!(functions.ask(&request("SetIdentity", "r-1", &hub, identity)).await.words(), [Word::Changed]);
    let container = format!(
        "{DATA}/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive"
    );
    let export =
        json!({"container": container, "as": "system", "blobName": "devices.txt", "excludeKeys": false});
    let told = functions.ask(&request("ExportDevices", "r-2", &hub, export)).await;
    assert_eq!(told.words(), [Word::Changed], "{told:#?}");
    assert_eq!(told.outcomes[0].request.as_ref().unwrap().id, "r-2");
    assert_eq!(told.outcomes[0].job.as_ref().unwrap()["outcome"], "Completed");
    let missing =
        json!({"container": container, "as": "system", "blobName": "nothing.txt", "confirm": "hub1"});
    let told = functions.ask(&request("ImportDevices", "r-3", &hub, missing)).await;
    assert_eq!(told.words(), [Word::Refused], "{told:#?}");
    assert!(told.parked[0].request.is_some(), "it can be sent again");
    let told = functions.ask(&request("CancelJob", "r-4", &hub, json!({"jobId": "nobody"}))).await;
    assert_eq!(told.outcomes[0].causes, ["the hub knows no job nobody"]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_not_there_is_refused_in_the_end() {
    let (functions, _) = ready("").await;
    let told = functions.ask(&request("Reconcile", "r-1", &hub_id("ghost"), json!({}))).await;
    assert_eq!(
        (told.words(), told.outcomes[0].causes[0].as_str()),
        (vec![Word::Refused], "there is no such hub")
    );
}

/// A run that may be killed after so many milliseconds.
async fn within<T>(kill: Option<u64>, run: impl Future<Output = T>) -> Option<T> {
    match kill {
        Some(after) => tokio::time::timeout(std::time::Duration::from_millis(after), run).await.ok(),
        None => Some(run.await),
    }
}

/// A thousand requests for fifty hubs, some of them twice or three times, out of order, with workers that
/// are killed at any moment: each ends in exactly one outcome.
#[tokio::test(start_paused = true)]
async fn a_thousand_requests_end_in_a_thousand_outcomes() {
    use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
    let mut random = StdRng::seed_from_u64(20_260_131);
    let functions = Functions::of(false, &document("  allowRemovals: true\n  maxWritesPerHub: 100\n"));
    let hubs: Vec<IotHubId> = (0..50).map(|nth| hub_id(&format!("hub{nth}"))).collect();
    for hub in &hubs {
        functions.cloud.create_hub(hub.name(), "standard").await.unwrap();
    }
    let kinds: [(&str, Value); 5] = [
        ("Reconcile", json!({})),
        ("Onboard", json!({"profile": "standard", "dryRun": true})),
        ("EnsureRoutes", json!({"fallback": "on"})),
        (
            "EnsureRoutes",
            json!({"routes": [{"name": "lost", "source": "DeviceMessages", "endpoint": "nowhere"}]}),
        ),
        ("SetIdentity", json!({"identity": {"system": "on"}})),
    ];
    let mut texts = Vec::new();
    for nth in 0..1000 {
        let (kind, rest) = &kinds[random.random_range(0..kinds.len())];
        let text = request(kind, &format!("r-{nth}"), &hubs[nth % 50], rest.clone()).to_string();
        texts.extend(std::iter::repeat_n(text, random.random_range(1..=3)));
    }
    texts.shuffle(&mut random);
    // Every call takes its time, so that there is a moment to be killed in.
    functions.cloud.azure.inject(Fault::new(FaultKind::SlowAnswer).seconds(0.5).times(0));
    functions.cloud.azure.inject(Fault::new(FaultKind::LoseAnswer).on("PUT", "iothubs").skip(7).times(20));
    functions.cloud.azure.inject(Fault::new(FaultKind::Throttle).on("GET", "iothubs").skip(31).times(25));

    // The broker: drops what it has seen, one item of a hub at a time, delivers again what was not ended.
    let mut told = Told::default();
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<(WorkItem, u32)> = Vec::new();
    let mut doors = texts;
    let mut killed = 0;
    while !doors.is_empty() || !waiting.is_empty() {
        let may_take: Vec<usize> = {
            let now = functions.cloud.clock.now();
            let due = |item: &WorkItem| item.due().is_none_or(|due| due <= now);
            (0..waiting.len()).filter(|at| due(&waiting[*at].0)).collect()
        };
        let at_the_door = !doors.is_empty() && (may_take.is_empty() || random.random_bool(0.4));
        let kill = random.random_bool(0.15).then(|| random.random_range(0..4_000));
        if at_the_door {
            let text = doors.pop().unwrap();
            let run = functions.ask_text(&text);
            match within(kill, run).await {
                Some((200, answer)) => told.add(&answer),
                _ => {
                    killed += 1;
                    doors.insert(0, text);
                }
            }
        } else if !may_take.is_empty() {
            let (item, count) = waiting.remove(may_take[random.random_range(0..may_take.len())]);
            let text = serde_json::to_string(&item).unwrap();
            match within(kill, functions.deliver(&text, count)).await {
                Some((200, answer)) => told.add(&answer),
                _ => {
                    killed += 1;
                    waiting.push((item, count + 1));
                }
            }
        } else {
            let next = waiting.iter().filter_map(|(item, _)| item.due()).min().unwrap();
            functions.cloud.clock.sleep_until(next).await;
        }
        waiting.extend(
            functions.sent().into_iter().filter(|item| seen.insert(item.work_id)).map(|item| (item, 1)),
        );
    }
    assert!(killed > 100, "{killed} were killed");
    let mut ends: BTreeMap<String, BTreeSet<(Word, OffsetDateTime)>> = BTreeMap::new();
    for record in told.outcomes {
        // A search for what a hub left behind has an outcome too, and is no request.
        let Some(origin) = record.request.as_ref() else { continue };
        ends.entry(origin.id.clone()).or_default().insert((record.outcome, record.ended_at));
    }
    assert_eq!(ends.len(), 1000, "every request has ended");
    let twice: Vec<_> = ends.iter().filter(|(_, ends)| ends.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
