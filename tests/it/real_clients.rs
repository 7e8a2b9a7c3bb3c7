//! Microsoft's own clients against the local cloud: what they make of it, and whether that is what our own client
//! makes of it. The programs that drive them are in `tests/real/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use azure_core::http::Url;
use hubward::{
    arm::{ArmClient, ArmReader, AzureClock},
    connect,
    desired::DesiredState,
    local::cloud::{LocalCloud, LocalOptions},
    model::hub::HubDocument,
    reconcile::plan_hub,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::process::Command;

use crate::support::{
    cloud::SimCredential,
    local::{ended, local},
    packages,
    world::{SUBSCRIPTION, event_hub, hub_id},
};

const GROUP: &str = "rg-plant-01";
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real");
/// What hubs say of themselves that no published model knows.
const UNPUBLISHED: [&str; 2] = ["/resourcegroup", "/subscriptionid"];

/// A local cloud with https, in which nothing happens but what the clients do, and what it recorded.
struct Stage {
    cloud: LocalCloud,
    settings: BTreeMap<String, String>,
    recording: PathBuf,
    folder: tempfile::TempDir,
}

impl Stage {
    /// `python` has what makes certificates.
    async fn new(python: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key, recording] =
            ["certificate.pem", "key.pem", "recording.jsonl"].map(|name| folder.path().join(name));
        let mut make = Command::new(python.join("python"));
        make.arg(format!("{PROGRAMS}/certificate.py")).args([&certificate, &key]);
        let (code, _, complaint) = ended(&mut make).await;
        assert_eq!(code, Some(0), "{complaint}");
        let options = LocalOptions {
            tls: Some((certificate.clone(), key)),
            record: Some(recording.clone()),
            ..local(&folder, hubward::desired::reference())
        };
        let cloud = LocalCloud::start(options).await.unwrap();
        // The handler would add its calls to theirs.
        cloud.deliver_events(false);
        let mut settings = cloud.client_settings();
        let certificate = certificate.display().to_string();
        for name in ["REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
            settings.insert(name.to_owned(), certificate.clone());
        }
        Self { cloud, settings, recording, folder }
    }

    /// Runs a program to its good end: what it said.
    async fn ran(&self, command: &mut Command) -> String {
        let (code, said, complaint) = ended(command.envs(&self.settings).kill_on_drop(true)).await;
        assert_eq!(code, Some(0), "{said}\n{complaint}");
        said
    }

    /// Runs a program that prints one JSON object.
    async fn told(&self, command: &mut Command) -> Value {
        let said = self.ran(command).await;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// The client that the handler has.
    fn ours(&self) -> ArmReader {
        let endpoint = Url::parse(&self.cloud.settings["HUBWARD_ARM_ENDPOINT"]).unwrap();
        ArmReader::new(ArmClient::new(
            endpoint,
            "https://management.azure.com/.default".into(),
            Arc::new(SimCredential(self.cloud.azure.clone())),
            Arc::new(connect::http_client().unwrap()),
            AzureClock::local(),
        ))
    }

    async fn hub(&self, name: &str) -> HubDocument {
        self.ours().hub(&hub_id(name)).await.unwrap().expect("the hub is there")
    }

    /// Lets Azure's time pass until a hub's grants are effective.
    async fn grants_work(&self) {
        for _ in 0..200 {
            let state = self.cloud.azure.state();
            let grants = state["roleAssignments"].as_array().unwrap();
            if !grants.is_empty() && grants.iter().all(|grant| grant["propagated"] == true) {
                return;
            }
            self.cloud.clock.sleep(std::time::Duration::from_secs(10)).await;
        }
        panic!("the grants never work");
    }

    /// Nothing that opens anything is in the recording, which is returned.
    fn recorded(&self) -> String {
        let text = std::fs::read_to_string(&self.recording).unwrap();
        for secret in self.cloud.azure.secrets() {
            assert!(!text.contains(&secret), "a secret was recorded");
        }
        text
    }

    async fn end(self) {
        self.cloud.host.shutdown().await;
        drop(self.folder);
    }
}

/// That a client has read what is there, as far as it has read it. What it has no model for is returned.
fn agrees(theirs: &Value, ours: &HubDocument) -> BTreeSet<String> {
    let mut left_out = BTreeSet::new();
    compare(theirs, &Value::Object(ours.json().clone()), "", &mut left_out);
    left_out
}

fn compare(theirs: &Value, ours: &Value, at: &str, left_out: &mut BTreeSet<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let unknown = ours.keys().filter(|name| !theirs.contains_key(*name));
            left_out.extend(unknown.map(|name| format!("{at}/{name}")));
            for (name, member) in theirs {
                compare(member, ours.get(name).unwrap_or(&Value::Null), &format!("{at}/{name}"), left_out);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                compare(theirs, ours, &format!("{at}/{index}"), left_out);
            }
        }
        // JavaScript has milliseconds.
        (Value::String(theirs), Value::String(ours)) if theirs != ours => {
            let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339);
            let apart = time(theirs).ok().zip(time(ours).ok()).map(|(theirs, ours)| (ours - theirs).abs());
            assert!(apart.is_some_and(|apart| apart < Duration::MILLISECOND), "{at}: {theirs} is {ours}");
        }
        (theirs, ours) => assert_eq!(theirs, ours, "{at}"),
    }
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn left(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_for_python_tell_a_hubs_story_and_read_what_we_read() {
    let tests = "with clients for Python";
    let Some(python) = packages::python(tests, "real-python", "tests/real/requirements.txt").unwrap() else {
        return;
    };
    let stage = Stage::new(&python).await;
    let story = async |chapter: &str| {
        let mut command = Command::new(python.join("python"));
        command.arg(format!("{PROGRAMS}/story.py")).args([chapter, SUBSCRIPTION, GROUP, "hub-python"]);
        // Hubs' own addresses, over plain http.
        command.env("http_proxy", &stage.cloud.addresses.data).env("no_proxy", "127.0.0.1");
        stage.told(&mut command).await
    };

    let told = story("make").await;
    assert_eq!(told["available"], true);
    assert_eq!(agrees(&told["made"], &stage.hub("hub-python").await), left(&UNPUBLISHED));
    assert_eq!(told["tooEarly"], json!({"status": 400, "code": 400_117}));
    assert_eq!(told["role"], "Azure Event Hubs Data Sender");
    let principal = told["made"]["identity"]["principalId"].as_str().unwrap().to_owned();
    let grants = stage.ours().grants(&event_hub("alerts"), &principal).await.unwrap();
    let ids: Vec<&str> = grants.iter().map(|grant| grant.id.as_str()).collect();
    assert_eq!(ids, [told["assignment"].as_str().unwrap()]);
    assert_eq!(names(&told["held"]), ids);

    stage.grants_work().await;
    stage.cloud.sim("POST", "hubs/hub-python/devices", json!({"count": 3, "prefix": "d"})).await.unwrap();
    let told = story("change").await;
    let hub = stage.hub("hub-python").await;
    assert_eq!(agrees(&told["hub"], &hub), left(&UNPUBLISHED));
    assert_eq!(hub.endpoints().len(), 1);
    assert_eq!(hub.routes().len(), 1);
    let tags = BTreeMap::from([("by", "python"), ("shift", "late")]);
    assert_eq!(told["tagged"], json!(tags));
    assert_eq!(json!(hub.tags()), json!(tags));
    assert_eq!(told["staleRefused"], json!({"status": 412, "code": 412_001}));
    assert_eq!(names(&told["inGroup"]), ["hub-python"]);
    assert_eq!(names(&told["inSubscription"]), ["hub-python"]);
    assert!(names(&told["keys"]).contains(&"iothubowner"), "{told}");
    let health = stage.ours().endpoint_health(hub.id()).await.unwrap();
    let ids: Vec<&str> = health.iter().map(|endpoint| endpoint.endpoint_id.as_str()).collect();
    assert_eq!(names(&told["health"]), ids);
    assert_eq!(names(&told["identities"]), ["id-python"]);
    assert_eq!(told["identityGone"], json!({"status": 404, "code": "ResourceNotFound"}));
    assert_eq!((&told["devices"], &told["jobs"]), (&json!(3), &json!([])));

    let told = story("delete").await;
    assert_eq!(told, json!({"gone": {"status": 404, "code": 404_002}, "inGroup": [], "held": []}));
    assert!(stage.ours().hub(&hub_id("hub-python")).await.unwrap().is_none());
    assert_eq!(stage.ours().grants(&event_hub("alerts"), &principal).await.unwrap(), []);

    let recorded = stage.recorded();
    assert!(
        recorded.contains("/listkeys?") && recorded.contains(r#""primaryKey":"****""#),
        "keys were shown"
    );
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_for_javascript_tells_a_hubs_story_and_reads_what_we_read() {
    let tests = "with the client for JavaScript";
    let Some(python) = packages::python(tests, "real-python", "tests/real/requirements.txt").unwrap() else {
        return;
    };
    let Some(node) = packages::node(tests, "real-node", "tests/real", &["story.mjs"]).unwrap() else {
        return;
    };
    let stage = Stage::new(&python).await;
    let story = async |chapter: &str| {
        let mut command = Command::new("node");
        command.arg(node.join("story.mjs")).args([chapter, SUBSCRIPTION, GROUP, "hub-javascript"]);
        stage.told(&mut command).await
    };

    let told = story("make").await;
    assert_eq!(told["nameAvailable"], true);
    let hub = stage.hub("hub-javascript").await;
    // What it has no model for, it passes on as it is.
    assert_eq!(agrees(&told["hub"], &hub), left(&[]));
    assert_eq!(hub.value("/properties/cloudToDevice/maxDeliveryCount"), Some(&json!(7)));
    assert_eq!(told["tagged"], json!({"by": "javascript", "shift": "late"}));
    assert_eq!(told["staleRefused"], json!({"status": 412, "code": 412_001}));
    assert_eq!(names(&told["inGroup"]), ["hub-javascript"]);
    assert_eq!(names(&told["inSubscription"]), ["hub-javascript"]);

    let told = story("delete").await;
    assert_eq!(told, json!({"gone": {"status": 404, "code": 404_002}, "left": []}));
    assert!(stage.ours().hub(&hub_id("hub-javascript")).await.unwrap().is_none());
    stage.recorded();
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn az_does_the_reference_onboarding_and_we_find_nothing_to_do() {
    let tests = "with the az CLI";
    let Some(python) = packages::python(tests, "real-python", "tests/real/requirements.txt").unwrap() else {
        return;
    };
    let Some(az) = packages::python(tests, "real-az", "tests/real/requirements-az.txt").unwrap() else {
        return;
    };
    let mut stage = Stage::new(&python).await;
    let hub = json!({"resourceGroup": GROUP, "name": "hub-az", "location": "westus2",
        "tags": {"egress": "reference"}, "wait": true});
    stage.cloud.sim("POST", "hubs", hub).await.unwrap();
    let config = stage.folder.path().join("az");
    stage.settings.extend(
        [
            ("AZURE_CONFIG_DIR", config.display().to_string()),
            ("AZURE_CORE_COLLECT_TELEMETRY", "no".to_owned()),
            ("AZ", az.join("az").display().to_string()),
            ("SUBSCRIPTION", SUBSCRIPTION.to_owned()),
            ("HUB", "hub-az".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    stage.ran(Command::new("sh").arg(format!("{PROGRAMS}/signin.sh"))).await;

    stage.cloud.sim("POST", "reset-counters", Value::Null).await.unwrap();
    stage.ran(Command::new("sh").args([&format!("{PROGRAMS}/onboard.sh"), "grants"])).await;
    stage.grants_work().await;
    let told = stage.told(Command::new("sh").args([&format!("{PROGRAMS}/onboard.sh"), "routes"])).await;
    let counters = stage.cloud.azure.state()["counters"].clone();

    let document = stage.hub("hub-az").await;
    assert_eq!(told["identity"]["principalId"], document.json()["identity"]["principalId"]);
    assert_eq!(told["properties"]["routing"]["routes"], document.json()["properties"]["routing"]["routes"]);
    let state = DesiredState::parse(hubward::desired::reference()).unwrap();
    let plan = plan_hub(&stage.ours(), &state, &hub_id("hub-az")).await.unwrap();
    assert!(plan.is_in_sync(), "{plan}");

    // The table in docs/performance.md. How often az asks for the end of a write depends on the machine.
    let calls = |kind: &str| counters["calls"][kind].as_u64().unwrap_or_default();
    assert_eq!((&counters["hubPuts"], &counters["hubPutsAccepted"]), (&json!(13), &json!(13)), "{counters}");
    assert_eq!(calls("PUT roleAssignments"), 5, "{counters}");
    let all = counters["armCalls"].as_u64().unwrap();
    assert_eq!(all - calls("GET operationResults"), 81, "{counters}");
    stage.recorded();
    stage.end().await;
}
