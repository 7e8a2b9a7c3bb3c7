//! The whole of it: the real handler as a child process, driven by the stand-in host, against the
//! simulated Azure over real HTTP.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use hubward::{
    bus::WORK_QUEUE,
    local::{
        azure::{Settings, World},
        cloud::{LocalCloud, LocalOptions},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::local::{kept, local};

/// Fast enough to be quick, slow enough that the handler's own seconds do not count for much.
const SPEED: f64 = 60.0;
/// A limit for things that go wrong, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

fn handler() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hubward-handler"))
}

struct Stage {
    cloud: LocalCloud,
    log: Arc<Mutex<String>>,
    _folder: TempDir,
}

async fn stage(azure: Settings) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::<Mutex<String>>::default();
    let options = LocalOptions {
        azure,
        world: World::sample(),
        speed: SPEED,
        log_filter: "trace".into(),
        log: kept(&log),
        ..local(&folder, hubward::desired::sample())
    };
    let cloud = LocalCloud::start(options).await.unwrap();
    assert!(cloud.host.wait_ready().await, "{}", log.lock().unwrap());
    Stage { cloud, log, _folder: folder }
}

impl Stage {
    async fn create_hub(&self, name: &str) {
        let hub = json!({"resourceGroup": "rg-plant-01", "name": name, "location": "westus2",
            "tags": {"egress": "standard"}, "wait": true});
        self.cloud.sim("POST", "hubs", hub).await.unwrap();
    }

    /// Waits for a condition on the simulated Azure and the host; every change is looked at.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let wait = async {
            let mut bus = self.cloud.bus.changes();
            let mut host = self.cloud.host.changes();
            while !wanted(&self.cloud.azure.state()) {
                // Azure itself does not tell when it changes; its calls are what changes it.
                let _ = tokio::time::timeout(Duration::from_millis(20), async {
                    tokio::select! { _ = bus.changed() => {}, _ = host.changed() => {} }
                })
                .await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("never: {what}\n{:#}\n{}", self.cloud.azure.state(), self.log.lock().unwrap());
        }
    }

    fn work_is_done(&self) -> bool {
        let status = self.cloud.host.status();
        status.functions["Work"].counts.succeeded > 0 && self.cloud.bus.outstanding(WORK_QUEUE) == 0
    }

    async fn until_done(&self, hub: &str) {
        self.until("the hub is in sync", |state| is_in_sync(state, hub) && self.work_is_done()).await;
    }

    async fn message(&self, hub: &str) -> Value {
        self.cloud.sim("POST", &format!("hubs/{hub}/messages"), json!({})).await.unwrap()
    }
}

fn find<'a>(state: &'a Value, hub: &str) -> Option<&'a Value> {
    state["hubs"].as_array()?.iter().find(|found| found["name"] == hub)
}

fn is_in_sync(state: &Value, hub: &str) -> bool {
    find(state, hub).is_some_and(|hub| {
        hub["properties"]["routing"]["endpoints"]["eventHubs"][0]["authenticationType"] == "identityBased"
            && hub["properties"]["routing"]["routes"][0]["name"] == "all"
            && hub["properties"]["state"] == "Active"
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_created_hub_sends_with_its_own_identity_and_no_log_holds_a_secret() {
    let stage = stage(Settings::default()).await;
    stage.create_hub("hub1").await;
    stage.until_done("hub1").await;

    let delivery = &stage.message("hub1").await["deliveries"][0];
    assert_eq!((&delivery["delivered"], &delivery["with"]), (&json!(true), &json!("identity")), "{delivery}");
    let state = stage.cloud.azure.state();
    assert_eq!(state["counters"]["hubPuts"], 2);
    assert_eq!(state["roleAssignments"].as_array().unwrap().len(), 1);
    let status = stage.cloud.host.status();
    assert!(status.diagnostics.is_empty(), "{:?}", status.diagnostics);

    // Everything the handler and the host have logged, at trace level.
    let secrets = stage.cloud.azure.secrets();
    assert!(secrets.len() > 5, "keys, tokens and the identity header were handed out");
    let log = stage.log.lock().unwrap().clone();
    assert!(log.contains("hub1: Changed"), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds a secret: {}…", &secret[..8.min(secret.len())]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_killed_in_the_middle_leaves_nothing_half_done_and_nothing_twice() {
    // Three times: while the identity is turned on, after the grant, and while the endpoint is written.
    type Reached = fn(&Value) -> bool;
    let moments: [(&str, Reached); 3] = [
        ("identity", |state| state["running"].as_object().is_some_and(|running| !running.is_empty())),
        ("grant", |state| state["roleAssignments"].as_array().is_some_and(|grants| grants.len() == 1)),
        ("endpoint", |state| {
            state["counters"]["hubPuts"].as_u64() >= Some(2)
                && state["running"].as_object().is_some_and(|running| !running.is_empty())
        }),
    ];
    for (moment, reached) in moments {
        let stage = stage(Settings::default()).await;
        stage.create_hub("hub1").await;
        stage.until(moment, reached).await;
        let before = stage.cloud.host.status().worker.restarts;
        stage.cloud.host.kill_worker();
        stage
            .until("the handler is started again", |_| stage.cloud.host.status().worker.restarts > before)
            .await;
        stage.until_done("hub1").await;
        let state = stage.cloud.azure.state();
        assert_eq!(state["roleAssignments"].as_array().unwrap().len(), 1, "{moment}: a grant was made twice");
        let routing = &find(&state, "hub1").unwrap()["properties"]["routing"];
        assert_eq!(routing["endpoints"]["eventHubs"].as_array().unwrap().len(), 1, "{moment}");
        assert_eq!(routing["routes"].as_array().unwrap().len(), 1, "{moment}");
        assert_eq!(stage.message("hub1").await["deliveries"][0]["delivered"], true, "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_event_again_and_the_queue_path_change_nothing() {
    let stage = stage(Settings::default()).await;
    stage.create_hub("hub1").await;
    stage.until_done("hub1").await;
    let puts = |state: &Value| state["counters"]["hubPuts"].as_u64();
    let before = stage.cloud.azure.state();

    let ran = stage.cloud.host.status().functions["Work"].counts.succeeded;
    stage.cloud.sim("POST", "events", json!({"hub": "hub1", "verb": "write"})).await.unwrap();
    stage
        .until("the event is worked on", |_| {
            stage.cloud.host.status().functions["Work"].counts.succeeded > ran
        })
        .await;
    let after = stage.cloud.azure.state();
    assert_eq!((find(&after, "hub1"), puts(&after)), (find(&before, "hub1"), puts(&before)));

    // The same event through the storage queue, started by hand as an operator would.
    let events = stage.cloud.azure.events();
    let event = events.as_array().unwrap().last().unwrap();
    let event = event.get("event").unwrap_or(event);
    let ran = stage.cloud.host.status().functions["HubEventQueue"].counts.succeeded;
    let answer = reqwest::Client::new()
        .post(format!("{}/admin/functions/HubEventQueue", stage.cloud.addresses.functions))
        .header("x-functions-key", &stage.cloud.master_key)
        .json(&json!({"input": event.to_string()}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    stage
        .until("the queue's function has run", |_| {
            stage.cloud.host.status().functions["HubEventQueue"].counts.succeeded > ran
        })
        .await;
    assert_eq!(puts(&stage.cloud.azure.state()), puts(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_hubs_at_once_are_all_brought_in_sync() {
    let stage = stage(Settings::default()).await;
    let names: Vec<String> = (1..=20).map(|n| format!("hub{n}")).collect();
    futures::future::join_all(names.iter().map(|name| stage.create_hub(name))).await;
    for name in &names {
        stage.until_done(name).await;
    }
    let state = stage.cloud.azure.state();
    assert_eq!(state["counters"]["hubPuts"], 40);
    assert_eq!(state["roleAssignments"].as_array().unwrap().len(), 20);
}

fn hubward(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hubward"));
    command.args(arguments).env_clear();
    command
}

#[test]
fn the_demo_of_requests_verifies_itself() {
    let output = hubward(&["demo", "requests", "--json", "--handler"]).arg(handler()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["verified"], &summary["refused"]), (&json!(true), &json!(8)), "{summary}");
}

#[test]
fn the_demo_of_a_fleet_verifies_itself() {
    let output = hubward(&["demo", "fleet", "--json", "--handler"]).arg(handler()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["verified"], &summary["hubs"]), (&json!(true), &json!(200)), "{summary}");
}

#[test]
fn the_demo_verifies_itself_at_the_floor() {
    let output = hubward(&["demo", "--json", "--handler"]).arg(handler()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verified"], true);
    assert_eq!(summary["hubPuts"], 2);
    assert_eq!(summary["steps"].as_array().unwrap().len(), 7, "two hub PUTs and five grants");
    // The first hub of a process reads each target once; the next is what a fleet costs.
    assert!(summary["armCalls"].as_u64().unwrap() <= 24, "{summary:#}");
    assert_eq!(summary["nextHub"], json!({"hubPuts": 2, "armCalls": 13}), "{summary:#}");
    assert_eq!(summary["secondEvent"]["writes"], 0);
}

#[test]
fn the_demo_of_bulk_jobs_verifies_itself() {
    let output = hubward(&["demo", "jobs", "--json", "--handler"]).arg(handler()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["badLines"], json!([42, 500, 999]));
    assert_eq!((&summary["devices"], &summary["registriesEqual"]), (&json!(10_000), &json!(true)));
    assert_eq!(summary["failedLines"], 3);
    assert_eq!(summary["jobs"], json!({"hub-plant-01": 2, "hub-plant-02": 2}), "each request is one job");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_shows_what_is_missing_and_then_that_nothing_is() {
    let stage = stage(Settings::default()).await;
    stage.cloud.deliver_events(false);
    stage.create_hub("hub1").await;
    let settings = stage.cloud.client_settings();
    let plan = |arguments: &[&str]| {
        let output = hubward(arguments).envs(&settings).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, before) = plan(&["plan"]);
    assert_eq!(code, Some(0));
    assert!(before.contains("+ system-assigned identity") && before.contains("+ route all"), "{before}");
    stage.cloud.deliver_events(true);
    stage.until_done("hub1").await;
    let (_, after) = plan(&["plan"]);
    assert_eq!(after, "hub1 (profile standard)\n  in sync\n");
    let (_, json) = plan(&["plan", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["steps"], &json[0]["blocked"]), (&json!([]), &json!([])));
    let (code, _) = plan(&["plan", "--hub", "/subscriptions/x"]);
    assert_eq!(code, Some(2), "bad input is usage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_are_audited_from_the_command_line() {
    let stage = stage(Settings::default()).await;
    stage.create_hub("hub1").await;
    stage.until_done("hub1").await;
    let settings = stage.cloud.client_settings();
    let audit = || {
        let output = hubward(&["grants", "audit", "--json"]).envs(&settings).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(audit(), json!([]));
    // Somebody gives the hub's identity the whole namespace as well.
    let state = stage.cloud.azure.state();
    let principal = find(&state, "hub1").unwrap()["identity"]["principalId"].clone();
    let namespace = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1";
    let role = "/providers/Microsoft.Authorization/roleDefinitions/2b629674-e913-4c01-ae53-ef4638d8f975";
    let answer = reqwest::Client::new()
        .put(format!(
            "{}{namespace}/providers/Microsoft.Authorization/roleAssignments/7b1c0f55-0000-4000-8000-0000000000aa?api-version=2022-04-01",
            stage.cloud.addresses.arm
        ))
        .bearer_auth(stage.cloud.azure.token().unwrap())
        .json(&json!({"properties": {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let findings = audit();
    assert_eq!(findings[0]["scope"], namespace);
    assert_eq!(findings[0]["excess"]["is"], "tooWide");
    assert_eq!(findings[0]["excess"]["instead"][0], format!("{namespace}/eventhubs/telemetry-westus2"));
}

#[test]
fn onboarding_the_reference_hub_stays_at_the_floor() {
    let output = hubward(&["bench", "onboard", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(figures["hubPuts"], 2);
    assert!(figures["armCalls"].as_u64().unwrap() <= 13, "{figures:#}");
    assert_eq!(figures["resyncWrites"], 0);
    for reads in ["resyncReads", "resyncReadsAfterRestart"] {
        assert!(figures[reads].as_u64().unwrap() <= 2, "{figures:#}");
    }
}

#[test]
fn settings_that_cannot_work_are_named_all_at_once() {
    let output = Command::new(handler())
        .env_clear()
        .env("HUBWARD_CLOUD", "moon")
        .env("HUBWARD_ARM_ENDPOINT", "http://example.com")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "never 0: the host would not start it again");
    let log = String::from_utf8_lossy(&output.stdout);
    for name in [
        "HUBWARD_CLOUD",
        "HUBWARD_ARM_ENDPOINT",
        "HUBWARD_PROFILES",
        "HUBWARD_BUS_ENDPOINT",
        "FUNCTIONS_CUSTOMHANDLER_PORT",
    ] {
        assert!(log.contains(name), "{name} is not named in {log}");
    }
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not a JSON line: {line}");
    }
    let output = hubward(&["plan"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("HUBWARD_PROFILES"));
}

#[test]
fn the_schema_is_printed_and_the_package_has_the_hosts_layout() {
    let output = hubward(&["schema", "profiles"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), hubward::desired::json_schema());

    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().join("dist");
    let package = |out: &Path| {
        hubward(&["package", "--out"]).arg(out).arg("--handler").arg(handler()).output().unwrap()
    };
    assert!(package(&dist).status.success());
    assert!(package(&dist).status.success(), "a package is replaced by the next");
    let zip = std::fs::File::open(dist.with_extension("zip")).unwrap();
    let mut zip = zip::ZipArchive::new(zip).unwrap();
    let mut names: Vec<String> = zip.file_names().map(str::to_owned).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "HubEvent/function.json",
            "HubEventQueue/function.json",
            "Hubs/function.json",
            "Request/function.json",
            "RequestBus/function.json",
            "Resync/function.json",
            "ScheduledExport/function.json",
            "Status/function.json",
            "Work/function.json",
            "host.json",
            "hubward-handler"
        ]
    );
    assert_eq!(zip.by_name("hubward-handler").unwrap().unix_mode().map(|mode| mode & 0o777), Some(0o755));

    let precious = folder.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("data"), "x").unwrap();
    assert_eq!(package(&precious).status.code(), Some(1));
    assert!(precious.join("data").exists(), "a folder that is not ours is not replaced");
}
