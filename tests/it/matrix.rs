//! Every transition of identity and authentication, on every kind of target and on file upload, carried
//! out against the simulated Azure: from nothing, a key, the system-assigned identity or a user-assigned
//! one to any of the three. Each ends in just what was wanted, with an empty plan, for two hub PUTs at the
//! most, and a device's message arrives.

use hubward::{
    model::{IotHubId, ResourceId},
    reconcile::Outcome,
};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, last},
    profiles::{data, id_egress, profile_with_keys},
};

/// What something authenticates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Auth {
    Key,
    System,
    User,
}

const AUTHS: [Auth; 3] = [Auth::Key, Auth::System, Auth::User];

/// Field of the profile, target, list in the hub document.
const KINDS: [(&str, &str, &str); 5] = [
    ("eventHub", "Microsoft.EventHub/namespaces/ns1/eventhubs/alerts", "eventHubs"),
    ("serviceBusQueue", "Microsoft.ServiceBus/namespaces/sb1/queues/commands", "serviceBusQueues"),
    ("serviceBusTopic", "Microsoft.ServiceBus/namespaces/sb1/topics/changes", "serviceBusTopics"),
    (
        "storageContainer",
        "Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive",
        "storageContainers",
    ),
    (
        "cosmosDbContainer",
        "Microsoft.DocumentDB/databaseAccounts/egressdocs/sqlDatabases/fleet/containers/telemetry",
        "cosmosDBSqlContainers",
    ),
];

fn identity(auth: Auth) -> String {
    let user = id_egress();
    match auth {
        Auth::Key => "{ system: off, detachOthers: true }".to_owned(),
        Auth::System => "{ system: on, detachOthers: true }".to_owned(),
        Auth::User => format!("{{ system: off, user: [ {user} ] }}"),
    }
}

fn profile(auth: Auth, rest: &str) -> String {
    profile_with_keys(&format!("    identity: {}\n{rest}", identity(auth)))
}

fn with_endpoint((field, target, _): (&str, &str, &str), auth: Auth) -> String {
    let rule = matches!(field, "eventHub" | "serviceBusQueue" | "serviceBusTopic");
    let send_as = match auth {
        Auth::Key if rule => "key\n        keyRule: RootManageSharedAccessKey",
        Auth::Key => "key",
        Auth::System => "system",
        Auth::User => "id-egress",
    };
    let rest = format!(
        "    endpoints:\n      - name: out\n        {field}: {}\n        as: {send_as}\n    routes:\n      - {{ name: out, source: DeviceMessages, endpoint: out }}\n",
        data(target)
    );
    profile(auth, &rest)
}

fn with_file_upload(auth: Auth) -> String {
    let send_as = match auth {
        Auth::Key => "key",
        Auth::System => "system",
        Auth::User => "id-egress",
    };
    let container = data(KINDS[3].1);
    profile(auth, &format!("    fileUpload: {{ container: {container}, as: {send_as} }}\n"))
}

/// Converges, within two hub PUTs, to an empty plan.
async fn become_as_wanted(cloud: &mut Cloud, hub: &IotHubId, profile: &str, story: &str) -> Value {
    cloud.want(profile);
    cloud.reset_counters().await.unwrap();
    let reports = cloud.settle_ok(hub, story).await;
    assert!(matches!(last(&reports), Outcome::Changed), "{story}: {reports:#?}");
    let refused = cloud.count("hubPuts") - cloud.count("hubPutsAccepted");
    assert!(cloud.count("hubPutsAccepted") <= 2, "{story}: {} PUTs", cloud.count("hubPutsAccepted"));
    // A grant may need longer than a minute to spread; then the hub is asked more than once.
    assert!(refused <= 8, "{story}: refused {refused} times");
    cloud.hub(hub)
}

fn assert_identities(found: &Value, auth: Auth, story: &str) {
    let expected = match auth {
        Auth::Key => "None",
        Auth::System => "SystemAssigned",
        Auth::User => "UserAssigned",
    };
    assert_eq!(found["identity"]["type"], expected, "{story}");
}

/// No role of a system-assigned identity that is gone stays behind. (The user-assigned one keeps what it
/// has: it may serve other hubs.)
async fn assert_no_orphans(cloud: &Cloud, found: &Value, story: &str) {
    let state = cloud.azure.state();
    let own = found["identity"]["principalId"].as_str().unwrap_or("none");
    let user = ResourceId::parse(&id_egress()).unwrap();
    let shared = cloud.arm.reader().user_identity(&user).await.unwrap().unwrap();
    for list in ["roleAssignments", "cosmosRoleAssignments"] {
        for grant in state[list].as_array().into_iter().flatten() {
            let holder = grant["properties"]["principalId"].as_str().unwrap_or_default();
            assert!(holder == own || holder == shared, "{story}: {grant} is an orphan");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_endpoint_goes_from_anything_to_anything() {
    for kind in KINDS {
        for from in [None, Some(Auth::Key), Some(Auth::System), Some(Auth::User)] {
            for to in AUTHS.into_iter().filter(|to| Some(*to) != from) {
                let story = format!("{} {from:?} -> {to:?}", kind.0);
                let mut cloud = Cloud::quick(&with_endpoint(kind, to));
                let hub = cloud.new_hub("hub1").await;
                if let Some(from) = from {
                    become_as_wanted(&mut cloud, &hub, &with_endpoint(kind, from), &story).await;
                }
                let found = become_as_wanted(&mut cloud, &hub, &with_endpoint(kind, to), &story).await;
                assert_identities(&found, to, &story);
                assert_no_orphans(&cloud, &found, &story).await;
                let endpoint = &found["properties"]["routing"]["endpoints"][kind.2][0];
                assert_endpoint(endpoint, kind.2, to, &story);
                let sent = cloud.sim("POST", "hubs/hub1/messages", json!({})).await;
                let with = if to == Auth::Key { "key" } else { "identity" };
                let delivery = &sent["deliveries"][0];
                assert_eq!(
                    (&delivery["delivered"], &delivery["with"]),
                    (&json!(true), &json!(with)),
                    "{story}: {sent}"
                );
            }
        }
    }
}

fn assert_endpoint(endpoint: &Value, list: &str, auth: Auth, story: &str) {
    let is_set = |name: &str| endpoint[name].as_str().is_some_and(|text| !text.is_empty());
    if auth == Auth::Key {
        assert_eq!(endpoint["authenticationType"], "keyBased", "{story}");
        assert!(endpoint["identity"].is_null(), "{story}: {endpoint}");
        if list == "cosmosDBSqlContainers" {
            assert!(is_set("primaryKey") && is_set("endpointUri"), "{story}");
        } else {
            // The address stands in the connection string alone.
            assert!(
                is_set("connectionString") && !is_set("endpointUri") && !is_set("entityPath"),
                "{story}: {endpoint}"
            );
        }
        return;
    }
    assert_eq!(endpoint["authenticationType"], "identityBased", "{story}");
    assert!(is_set("endpointUri"), "{story}");
    for gone in ["connectionString", "primaryKey", "secondaryKey"] {
        assert!(!is_set(gone), "{story}: {gone} is still there");
    }
    let user =
        endpoint["identity"]["userAssignedIdentity"].as_str().is_some_and(|id| id.ends_with("id-egress"));
    assert_eq!(user, auth == Auth::User, "{story}: {endpoint}");
}

#[tokio::test(start_paused = true)]
async fn file_upload_goes_from_anything_to_anything() {
    for from in [None, Some(Auth::Key), Some(Auth::System), Some(Auth::User)] {
        for to in AUTHS.into_iter().filter(|to| Some(*to) != from) {
            let story = format!("file upload {from:?} -> {to:?}");
            let mut cloud = Cloud::quick(&with_file_upload(to));
            let hub = cloud.new_hub("hub1").await;
            if let Some(from) = from {
                become_as_wanted(&mut cloud, &hub, &with_file_upload(from), &story).await;
            }
            let found = become_as_wanted(&mut cloud, &hub, &with_file_upload(to), &story).await;
            assert_identities(&found, to, &story);
            let entry = &found["properties"]["storageEndpoints"]["$default"];
            let word = if to == Auth::Key { "keyBased" } else { "identityBased" };
            assert_eq!(entry["authenticationType"], word, "{story}");
            assert_eq!(entry["containerName"], "archive", "{story}");
            let has_key = entry["connectionString"].as_str().unwrap().contains("AccountKey=****");
            // A key that was there stays, masked; where an identity came first there never was one.
            assert_eq!(has_key, to == Auth::Key || from == Some(Auth::Key), "{story}: {entry}");
        }
    }
}
