//! Requests that mean harm, or make no sense: each is refused with a reason, and nothing is written.

use hubward::outcomes::{Record, Word, parked::Parked};
use serde_json::{Value, json};

use crate::{
    functions::Functions,
    requests::{document, request},
    support::world::{SUBSCRIPTION, hub_id},
};

const DATA: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers";

fn endpoint(target: &str) -> Value {
    json!({"endpoint": {"name": "e", "eventHub": target, "as": "system"}})
}

fn with(mut value: Value, field: &str, content: Value) -> Value {
    let mut place = &mut value;
    for part in field.split('.') {
        place = &mut place[part];
    }
    *place = content;
    value
}

/// What is sent, and what the reason has to say.
fn corpus() -> Vec<(String, &'static str)> {
    let hub = hub_id("hub1");
    let alerts = format!("{DATA}/Microsoft.EventHub/namespaces/ns1/eventhubs/alerts");
    let good = request("EnsureEndpoint", "h", &hub, endpoint(&alerts));
    let upload = |account: &str| {
        let container = format!("{account}/blobServices/default/containers/uploads");
        request(
            "ConfigureFileUpload",
            "h",
            &hub,
            json!({"fileUpload": {"container": container, "as": "system"}}),
        )
    };
    let export = |rest: Value| {
        let container = format!(
            "{DATA}/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive"
        );
        let mut all = json!({"container": container, "as": "system", "blobName": "d.txt"});
        for (name, value) in rest.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    let set = |field: &str, content: Value| with(good.clone(), field, content).to_string();
    let hub_text = hub.as_str();
    let mut all: Vec<(String, &'static str)> = vec![
        // Hubs and targets outside the guardrails.
        (set("hub", json!(hub_text.replace(SUBSCRIPTION, "11111111-1111-4111-8111-111111111111"))), "is not allowed"),
        (set("endpoint.eventHub", json!(alerts.replace("rg-data", "rg-theirs"))), "outside `guardrails.targets`"),
        (set("endpoint.eventHub", json!(alerts.replace("rg-data", "rg-data-2"))), "outside `guardrails.targets`"),
        (set("endpoint.eventHub", json!(alerts.replace(SUBSCRIPTION, "11111111-1111-4111-8111-111111111111"))), "outside `guardrails.targets`"),
        (upload(&format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-theirs/providers/Microsoft.Storage/storageAccounts/theirs")).to_string(), "outside `guardrails.targets`"),
        (request("ExportDevices", "h", &hub, with(export(json!({})), "container", json!(format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-theirs/providers/Microsoft.Storage/storageAccounts/theirs/blobServices/default/containers/loot")))).to_string(), "outside `guardrails.targets`"),
        // Things of another kind, and wholes instead of parts.
        (set("endpoint.eventHub", json!(format!("{DATA}/Microsoft.EventHub/namespaces/ns1"))), "endpoint.eventHub"),
        (set("endpoint.eventHub", json!(format!("{DATA}/Microsoft.KeyVault/vaults/kv1"))), "endpoint.eventHub"),
        (set("hub", json!(format!("{DATA}/Microsoft.Storage/storageAccounts/egressdata"))), "hub: "),
        (set("hub", json!(format!("{hub_text}/certificates/c"))), "hub: "),
        (set("hub", json!("*")), "hub: "),
        // Principals and identities of nobody's hub.
        (set("endpoint.as", json!(format!("{DATA}/Microsoft.ManagedIdentity/userAssignedIdentities/id-evil"))), "in no profile and outside `guardrails.identities`"),
        (set("endpoint.as", json!("00000000-0000-0000-0000-000000000000")), "endpoint.as: "),
        (set("endpoint.principalId", json!("00000000-0000-0000-0000-000000000000")), "endpoint.principalId: unknown field"),
        (request("SetIdentity", "h", &hub, json!({"identity": {"user": [format!("{DATA}/Microsoft.ManagedIdentity/userAssignedIdentities/id-evil")]}})).to_string(), "in no profile and outside `guardrails.identities`"),
        (request("SetEndpointAuth", "h", &hub, json!({"endpoint": "e", "as": format!("{DATA}/Microsoft.ManagedIdentity/userAssignedIdentities/id-evil")})).to_string(), "in no profile and outside `guardrails.identities`"),
        // Roles and scopes are implied and never named.
        (set("endpoint.role", json!("Owner")), "implies the role and the scope"),
        (set("endpoint.roleDefinitionId", json!("8e3af657-a8ff-443c-a75c-2fe8c4bcb635")), "implies the role and the scope"),
        (set("endpoint.scope", json!(format!("/subscriptions/{SUBSCRIPTION}"))), "implies the role and the scope"),
        (set("role", json!("Owner")), "role: unknown field"),
        (set("guardrails", json!({"allowKeys": true})), "guardrails: unknown field"),
        // Keys.
        (set("endpoint.as", json!("key")), "the guardrails do not allow keys"),
        (set("endpoint.connectionString", json!("Endpoint=sb://x;SharedAccessKey=c2VjcmV0")), "no key stands in this document"),
        (request("ExportDevices", "h", &hub, export(json!({"excludeKeys": false}))).to_string(), "the guardrails do not allow keys"),
        (request("Offboard", "h", &hub, json!({"confirm": "hub1"})).to_string(), "offboarding removes"),
        (request("RemoveEndpoint", "h", &hub, json!({"endpoint": "events", "withRoutes": true})).to_string(), "keeps for itself"),
        // Ids that lead elsewhere.
        (set("hub", json!(format!("{hub_text}/../../IotHubs/hub2"))), "hub: "),
        (set("hub", json!(hub_text.replace("hub1", "hub1%2f..%2fhub2"))), "hub: "),
        (set("hub", json!(format!("{hub_text}?api-version=1"))), "hub: "),
        (set("hub", json!(format!("{hub_text}#x"))), "hub: "),
        (set("hub", json!(hub_text.replace("/providers", "//providers"))), "hub: "),
        (set("endpoint.eventHub", json!(format!("{alerts}/../../../../../rg-theirs"))), "endpoint.eventHub"),
        (set("endpoint.eventHub", json!(alerts.replace("alerts", "..%2f..%2falerts"))), "endpoint.eventHub"),
        (set("endpoint.eventHub", json!(alerts.replace("alerts", "a\u{0}b"))), "endpoint.eventHub"),
        (set("endpoint.eventHub", json!(format!(" {alerts}"))), "endpoint.eventHub"),
        (request("CancelJob", "h", &hub, json!({"jobId": "../devices/d1"})).to_string(), "jobId: "),
        (request("ExportDevices", "h", &hub, export(json!({"blobName": "a\nb"}))).to_string(), "blobName: "),
        // Letters that look like others.
        (set("hub", json!(hub_text.replace("hub1", "hub\u{0661}"))), "hub: "),
        (set("hub", json!(hub_text.replace("IotHubs", "IotHub\u{0455}"))), "hub: "),
        (set("endpoint.eventHub", json!(alerts.replace("rg-data", "rg-d\u{0430}ta"))), "endpoint.eventHub"),
        (set("endpoint.name", json!("al\u{0435}rts")), "endpoint.name: "),
        (set("endpoint.name", json!("alerts\u{200b}")), "endpoint.name: "),
        (set("requestedBy", json!("ada\u{202e}moc.elpmaxe")), "requestedBy: "),
        (set("reason", json!("one\ntwo")), "reason: "),
        (set("kind", json!("Ensur\u{0435}Endpoint")), "kind: "),
        // Placeholders that would become more than a name.
        (set("endpoint.eventHub", json!(alerts.replace("alerts", "{hub}/../x"))), "endpoint.eventHub"),
        (set("endpoint.eventHub", json!(alerts.replace("alerts", "{secret}"))), "endpoint.eventHub"),
        (set("endpoint.eventHub", json!(alerts.replace("alerts", "{{hub}}"))), "endpoint.eventHub"),
        (set("endpoint.name", json!("{hub}")), "endpoint.name: "),
        // Too much.
        (request("EnsureRoutes", "h", &hub, json!({"routes": vec![json!({"name": "r", "source": "DeviceMessages", "endpoint": "events"}); 101]})).to_string(), "routes: "),
        (request("SetIdentity", "h", &hub, json!({"identity": {"user": vec!["x"; 51]}})).to_string(), "identity.user: "),
        (set("reason", json!("x".repeat(257))), "reason: "),
        (set("id", json!("x".repeat(129))), "id: "),
        (set("reason", json!("x".repeat(200_000))), "a request has at most 131072"),
        (format!("{}{}", "[".repeat(60_000), "]".repeat(60_000)), "not JSON that can be taken"),
        (set("endpoint", serde_json::from_str(&format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60))).unwrap()), "levels deep"),
        (format!("[{}]", vec!["{}"; 40_000].join(",")), "kind: a request says its kind"),
        // Numbers that are none.
        (set("endpoint.batchFrequencyInSeconds", json!(1e300)), "endpoint.batchFrequencyInSeconds"),
        (good.to_string().replace("\"as\":\"system\"", "\"as\":\"system\",\"maxChunkSizeInBytes\":1e999"), "not JSON that can be taken"),
        (request("ConfigureFileUpload", "h", &hub, json!({"fileUpload": {"container": format!("{DATA}/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/uploads"), "as": "system"}, "cloudToDevice": {"maxDeliveryCount": -1}})).to_string(), "cloudToDevice.maxDeliveryCount"),
        // Said twice.
        (good.to_string().replace("\"kind\":", "\"kind\":\"Reconcile\",\"kind\":"), "`kind` comes twice"),
        (good.to_string().replace("\"eventHub\":", "\"eventHub\":\"x\",\"eventHub\":"), "`eventHub` comes twice"),
        // What cannot be undone is said twice on purpose.
        (request("Offboard", "h", &hub, json!({})).to_string(), "`confirm` is missing"),
        (request("Offboard", "h", &hub, json!({"confirm": "hub2"})).to_string(), "is not the hub's name"),
        (request("ImportDevices", "h", &hub, export(json!({"confirm": "hub1"}))).to_string(), "`guardrails.allowImports` does not name hub1"),
        // Not in this version, not of this shape.
        (set("schema", json!("hubward/v2")), "schema: "),
        (set("kind", json!("GrantRole")), "there is no request of the kind `GrantRole`"),
        (set("kind", json!(["Reconcile"])), "kind: "),
        (set("notBefore", json!("2099-01-01T00:00:00Z")), "days ahead"),
        (set("notBefore", json!(0)), "notBefore: "),
        (set("dryRun", json!("yes")), "dryRun: "),
        ("null".into(), "kind: a request says its kind"),
        ("\"Reconcile\"".into(), "kind: a request says its kind"),
        ("".into(), "not JSON that can be taken"),
        ("<xml/>".into(), "not JSON that can be taken"),
        (good.to_string() + "{}", "not JSON that can be taken"),
        ("__proto__".into(), "not JSON that can be taken"),
    ];
    all.push((with(good, "__proto__", json!({"dryRun": false})).to_string(), "__proto__: unknown field"));
    all
}

#[tokio::test(start_paused = true)]
async fn every_hostile_request_is_refused_with_a_reason_and_nothing_is_written() {
    let functions = Functions::of(false, &document(""));
    functions.cloud.create_hub("hub1", "none").await.unwrap();
    functions.cloud.reset_counters().await.unwrap();
    let corpus = corpus();
    let mut missed = Vec::new();
    for (text, reason) in &corpus {
        let (status, answer) = functions.ask_text(text).await;
        assert_eq!(status, 200, "{text:.200}");
        let told = |name: &str| answer["Outputs"][name][0].as_str().unwrap_or("null").to_owned();
        let record: Option<Record> = serde_json::from_str(&told("outcomes")).unwrap();
        let parked: Option<Parked> = serde_json::from_str(&told("failed")).unwrap();
        let is_refused = record.as_ref().is_some_and(|record| {
            record.outcome == Word::Refused && record.causes.iter().any(|cause| cause.contains(reason))
        });
        if !is_refused || parked.is_none() || !functions.sent().is_empty() {
            missed.push(format!(
                "{text:.300}\n  wanted: {reason}\n  got: {:?}",
                record.map(|record| record.causes)
            ));
        }
    }
    assert!(missed.is_empty(), "{} of {} went wrong:\n{}", missed.len(), corpus.len(), missed.join("\n\n"));
    assert!(corpus.len() > 70, "{}", corpus.len());
    assert_eq!(functions.cloud.count("armCalls"), 0, "nobody was even asked");
}

/// What only the hub itself can tell is refused when the work is done.
#[tokio::test(start_paused = true)]
async fn a_placeholder_that_leads_out_of_bounds_is_refused_at_the_hub() {
    let functions = Functions::of(false, &document(""));
    functions.cloud.create_hub("hub1", "none").await.unwrap();
    functions.cloud.reset_counters().await.unwrap();
    let target = format!("{DATA}/Microsoft.EventHub/namespaces/ns1/eventhubs/alerts");
    let target = target.replace("rg-data", "{resourceGroup}");
    let told = functions.ask(&request("EnsureEndpoint", "h", &hub_id("hub1"), endpoint(&target))).await;
    assert_eq!(told.outcomes[0].outcome, Word::Refused, "{told:#?}");
    assert!(told.outcomes[0].causes[0].contains("outside the guardrail"), "{told:#?}");
    assert_eq!((functions.cloud.count("hubPuts"), told.parked.len()), (0, 1));
}

#[test]
fn every_example_of_the_reference_is_a_request() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/requests.md")).unwrap();
    let state = hubward::desired::DesiredState::parse(
        &hubward::desired::reference()
            .replace("  targets:", "  allowImports: [ hub-plant-01 ]\n  allowRemovals: true\n  targets:"),
    )
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let now = time::macros::datetime!(2026-01-31 12:00:00 UTC);
    let mut kinds = std::collections::BTreeSet::new();
    for block in text.split("```json").skip(1) {
        let block = block.split("```").next().unwrap();
        let request = state.request(block, now).unwrap_or_else(|mistakes| panic!("{mistakes}\n{block}"));
        kinds.insert(request.kind.word());
    }
    let all = hubward::desired::RequestKind::ALL.iter().map(|kind| kind.word()).collect();
    assert_eq!(kinds, all, "every kind has an example");
    let schema = hubward::desired::request_schema();
    assert_eq!(schema["oneOf"].as_array().unwrap().len(), kinds.len());
}
