//! All that is said in a demo, held against Microsoft's OpenAPI documents by Microsoft's own validator, `oav`.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{local::ended, packages};

const SPECIFICATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/specs");

/// Where the traffic is not as the documents say, on purpose: operation, side, and what the validator says. Each has
/// its reason in the simulator's README.
const DEFENDED: [(&str, &str, &str); 11] = [
    ("IotHubResource_", "response", "Additional properties not allowed: subscriptionid"),
    ("IotHubResource_", "response", "Additional properties not allowed: resourcegroup"),
    (PUT, "response", "Additional properties not allowed: operationsMonitoringProperties"),
    (PUT, "response", "Additional properties not allowed: internalAuthorizationPolicies"),
    (PUT, "response", "Additional properties not allowed: authorizationPolicies"),
    ("StorageAccounts_GetProperties", "response", "Additional properties not allowed: ipv6Rules"),
    // The names of the sample world's namespaces.
    ("", "request", "String is too short (3 chars), minimum 6"),
    ("", "request", "String does not match pattern ^[a-zA-Z][a-zA-Z0-9-]{6,50}[a-zA-Z0-9]$: ns1"),
    // Documents that are not here.
    ("unknown", "", r#"for api-version "2024-01-01" and provider "microsoft.eventhub" in the cache"#),
    ("unknown", "", r#"for api-version "2021-11-01" and provider "microsoft.servicebus" in the cache"#),
    (
        "unknown",
        "",
        r#"api-version "2019-08-01-preview" for provider "microsoft.authorization" in the cache"#,
    ),
];
const PUT: &str = "IotHubResource_CreateOrUpdate";

/// What the validator makes of a recording: an entry for each exchange.
async fn validated(node: &Path, recording: &Path) -> Vec<Value> {
    let result = recording.with_extension("result.json");
    let mut command = Command::new("node");
    command.arg(node.join("validate.cjs")).args([recording, SPECIFICATION.as_ref(), &result]);
    // It writes a log of its own, too.
    let (code, said, complaint) = ended(command.env("HOME", recording.parent().unwrap())).await;
    assert_eq!(code, Some(0), "{said}\n{complaint}");
    serde_json::from_str(&std::fs::read_to_string(&result).unwrap()).unwrap()
}

/// The entry of [`DEFENDED`] that a problem falls under.
fn defended(operation: &str, problem: &Value) -> Option<usize> {
    let said = problem["message"].as_str().unwrap_or_default();
    let side = problem["side"].as_str().unwrap_or_default();
    DEFENDED.iter().position(|(of, on, what)| {
        operation.starts_with(of) && (on.is_empty() || *on == side) && said.contains(what)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn microsofts_validator_finds_no_fault_with_a_demo() {
    let tests = "with oav";
    let Some(node) = packages::node(tests, "real-node", "tests/real", &["validate.cjs"]).unwrap() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("demo.jsonl");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_hubward"));
    demo.args(["demo", "--speed", "200", "--handler", env!("CARGO_BIN_EXE_hubward-handler"), "--record"]);
    let (code, said, complaint) = ended(demo.arg(&recording)).await;
    assert_eq!(code, Some(0), "{said}\n{complaint}");

    let found = validated(&node, &recording).await;
    let mut used = BTreeSet::new();
    let mut operations = BTreeSet::new();
    for exchange in &found {
        let operation = exchange["operation"].as_str().unwrap();
        operations.insert(operation);
        for problem in exchange["problems"].as_array().unwrap() {
            used.insert(
                defended(operation, problem).unwrap_or_else(|| panic!("{problem:#}\nin {exchange:#}")),
            );
        }
    }
    let unused: Vec<_> =
        (0..DEFENDED.len()).filter(|index| !used.contains(index)).map(|at| DEFENDED[at]).collect();
    assert!(unused.is_empty(), "no longer needed: {unused:#?}");
    for operation in [PUT, "IotHubResource_Get", "RoleAssignments_Create", "IotHubResource_TestAllRoutes"] {
        assert!(operations.contains(operation), "{operation} is not among {operations:?}");
    }

    // It would have found something.
    let text = std::fs::read_to_string(&recording).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut put =
        lines.into_iter().find(|line| line["liveRequest"]["body"]["properties"]["routing"].is_object());
    let put = put.as_mut().expect("a hub was written");
    put["liveRequest"]["body"].as_object_mut().unwrap().remove("location");
    put["liveResponse"]["body"]["properties"]["routing"]["routes"] = json!("none");
    std::fs::write(&recording, put.to_string()).unwrap();
    let found = validated(&node, &recording).await;
    let sides: BTreeSet<&str> = found[0]["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|problem| defended(PUT, problem).is_none())
        .filter_map(|problem| problem["side"].as_str())
        .collect();
    assert_eq!(sides, BTreeSet::from(["request", "response"]), "{found:#?}");
}
