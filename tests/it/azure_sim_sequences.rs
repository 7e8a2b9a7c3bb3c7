//! Whole recorded sessions with the real Azure, replayed call by call against the simulator: status, names of headers,
//! names and types of members, states and codes of refusals agree, all the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hubward::local::azure::{Settings, World};
use serde_json::{Value, json};

use crate::{
    azure_sim_recordings::{EXTRA, differences},
    azure_sim_support::{Answer, HANDLER, Sim},
    support::fixtures,
};

/// How long a caller asks again until an answer is the recorded one; a hub takes two minutes to be made.
const TRIES: usize = 60;
const BETWEEN: Duration = Duration::from_secs(5);
/// What recorders put in place of ids.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
/// Where strings differ from run to run, and later calls say them again.
const ECHOED: [&str; 4] =
    ["/etag", "/identity/principalId", "/properties/principalId", "/properties/clientId"];

/// What sessions' hubs send to; made before the recording begins.
const ACCOUNT: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/clitest.rg000001/providers/Microsoft.Storage/storageAccounts/clitest000002";
/// What the recorder put in place of its key.
const ACCOUNT_KEY: &str = "veryFakedStorageAccountKey==";
const NAMESPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/clitest.rg000001/providers/Microsoft.EventHub/namespaces/ehNamespaceiothubfortest1000005";
const EVENT_HUB: &str = "eventHubiothubfortest000006";
const RULE: &str = "eventHubPolicyiothubfortest";
/// What the recorder put in place of the rule's key, and the namespace's name where it overlooked it.
const RULE_KEY: &str = "SharedAccessKey=mock_key";
const OVERLOOKED: &str = "ehnamespaceiothubfortest1zz4sxpg";

/// Where the simulator answers otherwise, on purpose: session, call, and what is different. Each has its reason in the
/// simulator's README.
const DEFENDED: [(&str, &str, &str); 7] = [
    ("aso-iothub", BARE_UPDATE, "lacks properties.eventHubEndpoints.events."),
    ("aso-iothub", BARE_UPDATE, "adds etag"),
    ("aso-iothub", BARE_UPDATE, "adds properties.eventHubEndpoints.operationsMonitoringEvents"),
    ("az-file-upload", "PUT IotHubs", "lacks identity.principalId"),
    ("az-hub-wait", "DELETE IotHubs", "no header content-type"),
    ("az-iot-hub", "PUT IotHubs", TIMES_OF_INTERNAL),
    ("az-iot-hub", "PUT IotHubs", TIMES_OF_POLICIES),
];
const TIMES_OF_INTERNAL: &str =
    "lacks properties.eventHubEndpoints.operationsMonitoringEvents.internalAuthorizationPolicies[].";
const TIMES_OF_POLICIES: &str =
    "lacks properties.eventHubEndpoints.operationsMonitoringEvents.authorizationPolicies[].";
const BARE_UPDATE: &str = "PUT IotHubs";

struct Replay {
    sim: Sim,
    /// What was recorded, and what stands for it here.
    learned: BTreeMap<String, String>,
}

impl Replay {
    async fn new(session: &Value) -> Self {
        let exchanges = session["exchanges"].as_array().unwrap();
        // Who holds roles without having been made in the session.
        let principals =
            exchanges.iter().filter_map(|call| call["requestBody"]["properties"]["principalId"].as_str());
        let mut callers = vec![json!({"name": "caller", "clientId": HANDLER, "objectId": HANDLER})];
        callers.extend(principals.map(|id| json!({"name": "holder", "clientId": id, "objectId": id})));
        let groups = ["clitest.rg000001", "cli_role_assign000001"].map(|name| json!({"name": name}));
        let rule = format!("{NAMESPACE}/eventhubs/{EVENT_HUB}/authorizationRules/{RULE}");
        let world = json!({
            "subscriptions": [{"id": NOBODY, "resourceGroups": groups}],
            "storageAccounts": [{
                "id": ACCOUNT,
                "containers": ["iothubcontainer1000004", "iothubcontainer1000005", "iothubcontainer2000006"],
            }],
            "eventHubNamespaces": [{"id": NAMESPACE, "eventHubs": [EVENT_HUB]}],
            "authorizationRules": [{"id": &rule, "rights": ["Send"]}],
            "callers": callers,
        });
        let settings = Settings {
            retry_after_seconds: Some(15.0),
            principal_in_put_answer: true,
            principal_visible_seconds: 37.0,
            ..Settings::default()
        };
        let sim = Sim::of(settings, World::parse(&world.to_string()).unwrap(), 1.0);
        let keys = sim.call("POST", &format!("{ACCOUNT}/listKeys"), &[], Value::Null).await;
        let account_key = keys.body["keys"][0]["value"].as_str().unwrap();
        let keys = sim.call("POST", &format!("{rule}/listKeys"), &[], Value::Null).await;
        let rule_key = format!("SharedAccessKey={}", keys.body["primaryKey"].as_str().unwrap());
        let name = NAMESPACE.rsplit('/').next().unwrap().to_ascii_lowercase();
        let learned = [(ACCOUNT_KEY, account_key), (RULE_KEY, &rule_key), (OVERLOOKED, &name)];
        let learned = learned.map(|(recorded, ours)| (recorded.to_owned(), ours.to_owned()));
        Self { sim, learned: BTreeMap::from(learned) }
    }

    /// What was recorded, with what stands for it here.
    fn here(&self, text: &str) -> String {
        self.learned.iter().fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded, ours))
    }

    /// Makes a call until its answer has the recorded status and phase, as its caller waited for them.
    async fn play(&mut self, call: &Value) -> Answer {
        let text = |name: &str| call[name].as_str().unwrap();
        let uri = self.here(text("uri").trim_start_matches("https://management.azure.com"));
        let body = match &call["requestBody"] {
            Value::Null => Value::Null,
            body => serde_json::from_str(&self.here(&body.to_string())).unwrap(),
        };
        let mut answer = self.sim.call(text("method"), &uri, &[], body.clone()).await;
        for _ in 0..TRIES {
            let is_there = Some(u64::from(answer.status)) == call["status"].as_u64()
                && phase(&answer.body) == phase(&call["body"]);
            if is_there {
                break;
            }
            tokio::time::sleep(BETWEEN).await;
            answer = self.sim.call(text("method"), &uri, &[], body.clone()).await;
        }
        self.learn(call, &answer);
        answer
    }

    fn learn(&mut self, call: &Value, answer: &Answer) {
        for at in ECHOED {
            let (recorded, ours) = (call["body"].pointer(at), answer.body.pointer(at));
            if let (Some(Value::String(recorded)), Some(Value::String(ours))) = (recorded, ours)
                && recorded != NOBODY
            {
                self.learned.insert(recorded.clone(), ours.clone());
            }
        }
        for (header, recorded) in call["operations"].as_object().into_iter().flatten() {
            if let Some(ours) = answer.headers.get(header) {
                let ours = ours.strip_prefix("http://127.0.0.1:7071").unwrap_or(ours);
                self.learned.insert(recorded.as_str().unwrap().to_owned(), ours.to_owned());
            }
        }
    }
}

/// How far what is told of has come, or by which code it is refused.
fn phase(body: &Value) -> [&Value; 6] {
    let properties = &body["properties"];
    [
        &body["status"],
        &body["nameAvailable"],
        &body["code"],
        &body["error"]["code"],
        &properties["state"],
        &properties["provisioningState"],
    ]
}

/// Method and type: `PUT IotHubs`.
fn label(call: &Value) -> String {
    let uri = call["uri"].as_str().unwrap();
    let path = uri.split('?').next().unwrap();
    let parts = path.rsplit("/providers/").next().unwrap().split('/');
    format!("{} {}", call["method"].as_str().unwrap(), parts.skip(1).step_by(2).collect::<Vec<_>>().join("/"))
}

fn is_group(call: &Value) -> bool {
    call["uri"].as_str().is_some_and(|uri| !uri.contains("/providers/"))
}

#[tokio::test(start_paused = true)]
async fn recorded_sessions_go_the_same_way_here() {
    let sessions = fixtures("sequences");
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for (name, session) in &sessions {
        let mut replay = Replay::new(session).await;
        for (index, call) in session["exchanges"].as_array().unwrap().iter().enumerate() {
            // A session ends with its group, which the simulator does not delete.
            if is_group(call) && call["method"] == "DELETE" {
                break;
            }
            let answer = replay.play(call).await;
            let label = label(call);
            let mut found = differences(&answer, call, &[], EXTRA);
            if phase(&answer.body) != phase(&call["body"]) {
                found.push(format!("is {:?}", phase(&answer.body)));
            }
            for difference in found {
                let defended = DEFENDED.iter().position(|(session, call, what)| {
                    session == name && *call == label && difference.starts_with(what)
                });
                match defended {
                    Some(entry) => drop(used.insert(entry)),
                    None => wrong.push(format!("{name} {index} {label}: {difference}")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(used.len(), DEFENDED.len(), "no longer needed: all but {used:?}");
}
