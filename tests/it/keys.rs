//! Where keys are allowed: fetched when they are written, never without leave, and never told.

use hubward::{
    local::azure::{Fault, FaultKind, World},
    reconcile::Outcome,
};
use serde_json::json;

use crate::support::{
    cloud::{Cloud, causes, last},
    profiles::{alerts, archive, cosmos, data, one, out, profile, profile_with_keys, telemetry},
};

/// File upload, by the hub's identity or with a key.
fn upload(container: &str, how: &str) -> String {
    profile_with_keys(&format!(
        "    identity: {{ system: on }}\n    fileUpload: {{ container: {container}, {how} }}\n"
    ))
}

/// How often the keys of a target were asked for.
fn keys_fetched(cloud: &Cloud) -> usize {
    let log = cloud.azure.state()["log"].clone();
    let is_keys = |call: &&serde_json::Value| call.to_string().to_lowercase().contains("listkeys");
    log.as_array().into_iter().flatten().filter(is_keys).count()
}

#[tokio::test(start_paused = true)]
async fn the_way_back_to_a_key_fetches_one() {
    let mut cloud = Cloud::quick(&upload(&archive(), "as: key"));
    let hub = cloud.new_hub("hub1").await;
    for how in ["as: key", "as: system", "as: key"] {
        cloud.want(&upload(&archive(), how));
        cloud.reset_counters().await.unwrap();
        let before = keys_fetched(&cloud);
        cloud.settle_ok(&hub, how).await;
        let fetched = keys_fetched(&cloud) - before;
        assert_eq!(fetched, usize::from(how == "as: key"), "{how}");
        let entry = &cloud.hub(&hub)["properties"]["storageEndpoints"]["$default"];
        let word = if how == "as: key" { "keyBased" } else { "identityBased" };
        assert_eq!(entry["authenticationType"], word, "{how}");
    }
}

#[test]
fn an_account_key_beside_an_identity_is_a_key_and_needs_leave() {
    let text = upload(&archive(), "as: system, connection: accountKey").replace("  allowKeys: true\n", "");
    let mistakes = hubward::desired::DesiredState::parse(&text).unwrap_err().to_string();
    assert!(mistakes.contains("fileUpload.connection: this writes a key into the hub"), "{mistakes}");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_cosmos_db_outlives_edits_that_have_nothing_to_do_with_it() {
    let endpoint = out("cosmosDbContainer", &cosmos(), "as: key");
    let by_key = profile_with_keys(&endpoint);
    let mut cloud = Cloud::quick(&by_key);
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "by key").await;
    let option = "as: key, partitionKeyName: pk, partitionKeyTemplate: '{deviceid}'";
    for (story, wanted) in [
        ("something else", by_key.clone() + "    cloudToDevice: { maxDeliveryCount: 3 }\n"),
        ("an option of its own", by_key.replace("as: key", option)),
    ] {
        cloud.want(&wanted);
        assert_eq!(*last(&cloud.settle_ok(&hub, story).await), Outcome::Changed, "{story}");
        cloud.assert_delivers(&hub, story).await;
    }
    let endpoint = &cloud.hub(&hub)["properties"]["routing"]["endpoints"]["cosmosDBSqlContainers"][0];
    assert_eq!((&endpoint["partitionKeyName"], &endpoint["primaryKey"]), (&json!("pk"), &json!("****")));
}

#[tokio::test(start_paused = true)]
async fn file_upload_moves_to_another_account_whatever_it_authenticates_with() {
    let mut world = World::reference();
    let other = data("Microsoft.Storage/storageAccounts/otheracct");
    let account = json!({"id": other, "containers": ["archive"]});
    world.storage_accounts.push(serde_json::from_value(account).unwrap());
    let container = format!("{other}/blobServices/default/containers/archive");
    for (to, word, has_key) in [
        ("as: key", "keyBased", true),
        ("as: system", "identityBased", false),
        ("as: system, connection: accountKey", "identityBased", true),
    ] {
        let mut cloud = Cloud::quick_with(world.clone(), &upload(&archive(), "as: key"));
        let hub = cloud.new_hub("hub1").await;
        cloud.settle_ok(&hub, "before").await;
        cloud.want(&upload(&container, to));
        assert_eq!(*last(&cloud.settle_ok(&hub, to).await), Outcome::Changed, "{to}");
        let entry = &cloud.hub(&hub)["properties"]["storageEndpoints"]["$default"];
        assert_eq!(entry["authenticationType"], word, "{to}");
        let connection = entry["connectionString"].as_str().unwrap();
        assert!(connection.contains("AccountName=otheracct"), "{to}: {connection}");
        assert_eq!(connection.contains("AccountKey="), has_key, "{to}: {connection}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_a_key_moves_to_another_target_with_that_ones_key() {
    let by_key = |target: &str| {
        profile_with_keys(&out("eventHub", target, "as: key, keyRule: RootManageSharedAccessKey"))
    };
    let mut cloud = Cloud::quick(&by_key(&alerts()));
    let hub = cloud.new_hub("hub1").await;
    for (target, name) in [(alerts(), "alerts"), (telemetry(), "telemetry-westus2")] {
        cloud.want(&by_key(&target));
        assert_eq!(*last(&cloud.settle_ok(&hub, name).await), Outcome::Changed, "{name}");
        let endpoint = &cloud.hub(&hub)["properties"]["routing"]["endpoints"]["eventHubs"][0];
        let connection = endpoint["connectionString"].as_str().unwrap();
        assert!(connection.contains(&format!("EntityPath={name}")), "{connection}");
        cloud.assert_delivers(&hub, name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn keys_in_the_words_of_an_error_are_not_passed_on() {
    let cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    let mut fault =
        Fault::new(FaultKind::ServerError).on("PUT", "iothubs").status(400).code("BadRequest").times(0);
    fault.message = Some(
        r#"Could not deserialize {"name":"out","primaryKey":"c2VjcmV0LWtleQ==","secondaryKey": "dG9wLXNlY3JldA=="} SharedAccessKey: bm90LXlvdXJz"#
            .into(),
    );
    cloud.azure.inject(fault);
    let text = causes(last(&cloud.settle(&hub).await));
    assert!(text.contains("Could not deserialize") && text.contains("****"), "{text}");
    for secret in ["c2VjcmV0", "dG9w", "bm90"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_needs_no_key_asks_for_none() {
    let both = profile(&format!(
        "    identity: {{ system: on }}\n    fileUpload: {{ container: {}, as: system }}\n{}",
        archive(),
        out("cosmosDbContainer", &cosmos(), "as: system")
    ));
    let cloud = Cloud::quick(&both);
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "both").await;
    assert_eq!(keys_fetched(&cloud), 0);
}
