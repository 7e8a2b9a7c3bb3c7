//! The simulated Azure against recorded exchanges with the real one: status, header names, member
//! names and their types agree.

use std::collections::BTreeSet;

use hubward::local::azure::{Settings, World};
use serde_json::{Value, json};

use crate::azure_sim_support::{Answer, SUB, Sim, hub_path};

/// Members that the simulator shows in places where the recordings are silent, each on purpose.
pub(crate) const EXTRA: &[&str] = &[
    // Only newer answers have them.
    "properties.minTlsVersion",
    "properties.allowCrossTenantReplication",
    // So that a caller who logs the answer is found out, see the simulator's README.
    "properties.authorizationPolicies",
];

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/arm/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path}: {err}"));
    serde_json::from_str(&text).unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// The recorded request's body.
fn request(name: &str) -> Value {
    recorded(name)["requestBody"].clone()
}

fn members(value: &Value, at: &str, found: &mut BTreeSet<(String, &'static str)>) {
    let kind = match value {
        Value::Null => return,
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            items.iter().for_each(|item| members(item, &format!("{at}[]"), found));
            "list"
        }
        Value::Object(all) => {
            for (name, member) in all {
                // Ids of identities and tags are data, not members.
                let name = if name.starts_with("/subscriptions/") { "{id}" } else { name };
                if at == "tags" || at.ends_with(".tags") {
                    continue;
                }
                let below = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
                members(member, &below, found);
            }
            "object"
        }
    };
    found.insert((at.to_owned(), kind));
}

/// What an answer has otherwise than the recorded one, in words.
pub(crate) fn differences(
    answer: &Answer,
    recorded: &Value,
    missing: &[&str],
    extra: &[&str],
) -> Vec<String> {
    let mut found = Vec::new();
    if u64::from(answer.status) != recorded["status"].as_u64().unwrap() {
        found.push(format!("status {}: {}", answer.status, answer.body));
    }
    let headers = recorded["headerNames"].as_array().unwrap().iter().map(|header| header.as_str().unwrap());
    let absent = headers.filter(|header| !answer.headers.contains_key(*header));
    found.extend(absent.map(|header| format!("no header {header}")));
    let (mut real, mut ours) = (BTreeSet::new(), BTreeSet::new());
    members(&recorded["body"], "", &mut real);
    members(&answer.body, "", &mut ours);
    let lacking = real.difference(&ours).filter(|(at, _)| !missing.iter().any(|m| at.starts_with(m)));
    found.extend(lacking.map(|(at, kind)| format!("lacks {at}, a {kind}")));
    // An empty list says nothing about what is in it.
    let open =
        |at: &str| real.iter().any(|(known, kind)| *kind == "list" && at.starts_with(&format!("{known}[]")));
    let added = ours.difference(&real).filter(|(at, _)| !extra.iter().any(|e| at.contains(e)) && !open(at));
    found.extend(added.map(|(at, kind)| format!("adds {at}, a {kind}")));
    found
}

fn compare(answer: &Answer, name: &str, missing: &[&str]) {
    let found = differences(answer, &recorded(name), missing, EXTRA);
    assert!(found.is_empty(), "{name}: {found:#?}");
}

async fn settle() {
    tokio::time::sleep(std::time::Duration::from_secs(200)).await;
}

fn hub(preview: bool) -> String {
    let version = if preview { "2023-06-30-preview" } else { "2021-07-02" };
    format!("{}?api-version={version}", hub_path("h1"))
}

fn operation(answer: &Answer) -> String {
    answer.headers["azure-asyncoperation"].strip_prefix("http://127.0.0.1:7071").unwrap().to_owned()
}

/// The recorded document with the tag that the hub has now.
async fn put(sim: &Sim, name: &str, change: impl FnOnce(&mut Value)) -> Answer {
    let mut body = request(name);
    body.as_object_mut().unwrap().remove("etag");
    change(&mut body);
    sim.put(&hub(true), body).await
}

#[tokio::test(start_paused = true)]
async fn groups_and_names() {
    let sim = Sim::new(Settings::default());
    let group = format!("{SUB}/resourcegroups/rg-data");
    compare(&sim.get(&group).await, "group-get", &[]);
    compare(&sim.call("HEAD", &group, &[], Value::Null).await, "group-head", &[]);
    let names = format!("{SUB}/providers/Microsoft.Devices/checkNameAvailability");
    let ask = || sim.call("POST", &names, &[], json!({"name": "h1"}));
    compare(&ask().await, "name-free", &[]);
    sim.put(&hub(true), request("hub-create")).await;
    compare(&ask().await, "name-taken", &[]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_from_create_to_delete() {
    let sim = Sim::new(Settings { retry_after_seconds: Some(15.0), ..Settings::default() });
    let created = sim.put(&hub(true), request("hub-create")).await;
    compare(&created, "hub-create", &[]);
    compare(&sim.get(&hub(true)).await, "hub-get-activating", &[]);
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    compare(&sim.get(&operation(&created)).await, "operation-running", &[]);
    settle().await;
    compare(&sim.get(&operation(&created)).await, "operation-succeeded", &[]);
    compare(&sim.get(&hub(true)).await, "hub-get-active", &[]);

    let updated = put(&sim, "hub-update", |_| ()).await;
    compare(&updated, "hub-update", &[]);
    settle().await;
    compare(&put(&sim, "hub-update-file-upload", |_| ()).await, "hub-update-file-upload", &[]);
    settle().await;
    let group = format!("{SUB}/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs");
    compare(&sim.get(&format!("{group}?api-version=2023-06-30-preview")).await, "hub-list-group", &SAS);
    compare(&sim.get(&format!("{}/skus", hub_path("h1"))).await, "hub-skus", &[]);
    let keys = sim.call("POST", &format!("{}/listkeys", hub_path("h1")), &[], Value::Null).await;
    compare(&keys, "hub-listkeys", &[]);
    let one = format!("{}/IotHubKeys/iothubowner/listkeys", hub_path("h1"));
    compare(&sim.call("POST", &one, &[], Value::Null).await, "hub-listkeys-one", &[]);

    let gone = sim.call("DELETE", &hub(false), &[], Value::Null).await;
    compare(&gone, "hub-delete", &[]);
    compare(&sim.get(&hub(true)).await, "hub-get-deleting", &[]);
    settle().await;
    compare(&sim.get(&hub(false)).await, "hub-get-deleted", &[]);
}

/// Set on one recorded hub by an earlier write.
const SAS: [&str; 3] = [
    "value[].properties.disableLocalAuth",
    "value[].properties.disableModuleSAS",
    "value[].properties.disableDeviceSAS",
];

#[tokio::test(start_paused = true)]
async fn a_bare_update_falls_back_to_defaults() {
    let sim = Sim::new(Settings::default());
    let bare = json!({"location": "westus2", "name": "h1", "sku": {"capacity": 5, "name": "B1"}});
    sim.put(&hub(false), bare.clone()).await;
    settle().await;
    let answer = sim.put(&hub(false), bare).await;
    // The monitoring block is in every other recorded update, but not in this one.
    let mut trimmed = answer.body.clone();
    trimmed["properties"]["eventHubEndpoints"].as_object_mut().unwrap().remove("operationsMonitoringEvents");
    let trimmed = Answer { body: trimmed, ..answer };
    let grown = [
        "properties.eventHubEndpoints.events.partitionIds",
        "properties.eventHubEndpoints.events.path",
        "properties.eventHubEndpoints.events.endpoint",
    ];
    let mut without_etag = trimmed;
    without_etag.body.as_object_mut().unwrap().remove("etag");
    compare(&without_etag, "hub-update-bare", &grown);
    settle().await;
    let shown = sim.get(&hub(false)).await;
    compare(&shown, "hub-get-stable", &[]);
    assert_eq!(shown.body["properties"]["routing"]["fallbackRoute"]["isEnabled"], false);
}

#[tokio::test(start_paused = true)]
async fn endpoints_and_identities() {
    let world = json!({
        "subscriptions": [{"id": &SUB["/subscriptions/".len()..], "resourceGroups": [{"name": "rg-plant-01"}]}],
        "userAssignedIdentities": [{"id": format!("{SUB}/resourceGroups/rg-plant-01/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1")}],
    });
    let settings = Settings { principal_in_put_answer: true, ..Settings::default() };
    let sim = Sim::of(settings, World::parse(&world.to_string()).unwrap(), 1.0);
    sim.put(&hub(true), request("hub-create")).await;
    settle().await;
    // The recorded documents echo keys that were set before: set them first.
    let real = |body: &mut Value| {
        *body = serde_json::from_str(&body.to_string().replace("****", "realkey=")).unwrap();
    };
    // The recording of a year later has no times there.
    let times = ["properties.eventHubEndpoints.operationsMonitoringEvents"];
    compare(&put(&sim, "hub-update-endpoints", real).await, "hub-update-endpoints", &times);
    settle().await;
    compare(&sim.get(&hub(true)).await, "hub-get-endpoints", &[]);
    put(&sim, "hub-update-system-identity", real).await;
    settle().await;
    let again = put(&sim, "hub-update-system-identity", |_| ()).await;
    compare(&again, "hub-update-system-identity", &[]);
    settle().await;
    let user = format!(
        "{SUB}/resourceGroups/rg-plant-01/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
    );
    let both = |body: &mut Value| {
        body["identity"]["userAssignedIdentities"] = json!({&user: {}});
        body["properties"]["storageEndpoints"]["$default"]["identity"] = Value::Null;
    };
    let answer = put(&sim, "hub-update-both-identities", |body| {
        both(body);
        body["properties"]["storageEndpoints"]["$default"]["authenticationType"] = json!("keyBased");
    });
    compare(&answer.await, "hub-update-both-identities", &[]);
    settle().await;
    let file_upload = ["properties.storageEndpoints.$default.identity"];
    compare(&sim.get(&hub(true)).await, "hub-get-both-identities", &file_upload);
}

#[tokio::test(start_paused = true)]
async fn refusals() {
    let sim = Sim::new(Settings::default());
    compare(&sim.put(&hub(true), request("hub-refused-partitions")).await, "hub-refused-partitions", &[]);
    compare(&sim.put(&hub(true), request("hub-refused-tls")).await, "hub-refused-tls", &[]);
    sim.put(&hub(true), request("hub-create")).await;
    settle().await;
    let real = |body: &mut Value| {
        *body = serde_json::from_str(&body.to_string().replace("****", "realkey=")).unwrap();
    };
    let refused = put(&sim, "hub-refused-enrichment", real).await;
    compare(&refused, "hub-refused-enrichment", &[]);
    for name in ["code", "httpStatusCode"] {
        assert_eq!(refused.body[name], recorded("hub-refused-enrichment")["body"][name]);
    }
}

#[tokio::test(start_paused = true)]
async fn roles_and_identities() {
    let sim = Sim::new(Settings { principal_visible_seconds: 37.0, ..Settings::default() });
    let id =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1");
    let made = sim.put(&id, request("identity-put-new")).await;
    compare(&made, "identity-put-new", &[]);
    compare(&sim.put(&id, request("identity-put-same")).await, "identity-put-same", &[]);
    compare(&sim.get(&id).await, "identity-get", &[]);
    let elsewhere = id.replace("rg-data", "gone");
    compare(&sim.call("DELETE", &elsewhere, &[], Value::Null).await, "identity-delete-no-group", &[]);

    let path = format!(
        "{SUB}/resourceGroups/rg-data/providers/Microsoft.Authorization/roleAssignments/ed3c9f84-ae20-5aea-8602-58ed2eeffef1"
    );
    let mut body = request("role-assignment-put-new");
    body["properties"]["principalId"] = made.body["properties"]["principalId"].clone();
    compare(&sim.put(&path, body.clone()).await, "role-assignment-young-principal", &[]);
    tokio::time::sleep(std::time::Duration::from_secs(38)).await;
    compare(&sim.put(&path, body.clone()).await, "role-assignment-put-new", &[]);
    compare(&sim.get(&path).await, "role-assignment-get", &[]);
    body["properties"]["description"] = json!("Some updated description.");
    body["properties"]["condition"] = json!("@Resource[x] stringEquals 'foo'");
    body["properties"]["conditionVersion"] = json!("2.0");
    compare(&sim.put(&path, body).await, "role-assignment-update", &[]);
    let gone = sim.call("DELETE", &path, &[], Value::Null).await;
    let plain = json!({"description": null, "condition": null, "conditionVersion": null});
    let mut trimmed = gone.body.clone();
    trimmed["properties"].as_object_mut().unwrap().extend(plain.as_object().cloned().unwrap());
    compare(&Answer { body: trimmed, ..gone }, "role-assignment-delete", &[]);
    compare(&sim.get(&path).await, "role-assignment-missing", &[]);
    let filter = "$filter=roleName%20eq%20%27Storage%20Blob%20Data%20Contributor%27";
    let list =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.Authorization/roleDefinitions?{filter}");
    compare(&sim.get(&list).await, "role-definition-by-name", &[]);
}

#[tokio::test(start_paused = true)]
async fn what_hubs_send_to() {
    let sim = Sim::new(Settings::default());
    let group = format!("{SUB}/resourceGroups/rg-data/providers");
    let namespace = format!("{group}/Microsoft.EventHub/namespaces/ns1");
    compare(&sim.get(&namespace).await, "event-hub-namespace-get", &[]);
    compare(&sim.put(&format!("{namespace}/eventhubs/e2"), json!({})).await, "event-hub-put", &[]);
    let account = format!("{group}/Microsoft.Storage/storageAccounts/acct1");
    sim.put(&account, json!({"location": "westus2"})).await;
    compare(&sim.get(&account).await, "storage-account-get", &[]);
}
