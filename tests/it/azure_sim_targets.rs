//! Keys and networks of what hubs send to, in the simulated Azure.

use hubward::local::azure::{Settings, World};
use serde_json::{Value, json};

use crate::azure_sim_support::{Answer, SUB, Sim, hub_path};

const SENDER: &str = "2b629674-e913-4c01-ae53-ef4638d8f975";
const BLOB: &str = "ba92f5b4-2d11-453d-a403-e96b0029c9fe";

fn data(path: &str) -> String {
    format!("{SUB}/resourceGroups/rg-data/providers/{path}")
}

fn sim() -> Sim {
    Sim::of(Settings::immediate(), World::reference(), 1.0)
}

/// The hub with this one endpoint more.
async fn with(sim: &Sim, list: &str, endpoint: Value) -> Answer {
    let mut body = sim.get(&hub_path("h1")).await.body;
    body["properties"]["routing"]["endpoints"][list] = json!([endpoint]);
    sim.put(&hub_path("h1"), body).await
}

fn code(answer: &Answer) -> u64 {
    if answer.status == 201 { 201 } else { answer.body["code"].as_u64().unwrap_or_default() }
}

async fn change(sim: &Sim, id: &str, more: Value) {
    let mut body = json!({"id": id});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let changed = sim.call("PATCH", "/_sim/targets", &[], body).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
}

async fn grant(sim: &Sim, scope: &str, role: &str, principal: &Value) {
    let name = uuid::Uuid::new_v4();
    let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
    let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{role}");
    let properties =
        json!({"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"});
    assert_eq!(sim.put(&path, json!({"properties": properties})).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_listed_opens_its_target_and_no_other() {
    let sim = sim();
    sim.hub("h1", json!({})).await;
    let namespace = data("Microsoft.EventHub/namespaces/ns1");
    let root = format!("{namespace}/authorizationRules/RootManageSharedAccessKey");
    let post = |path: String| {
        let sim = &sim;
        async move { sim.call("POST", &path, &[], Value::Null).await }
    };
    let keys = post(format!("{root}/listKeys")).await;
    assert_eq!(keys.body["keyName"], "RootManageSharedAccessKey");
    let whole = keys.body["primaryConnectionString"].as_str().unwrap().to_owned();
    assert!(
        whole.starts_with("Endpoint=sb://ns1.servicebus.windows.net/;SharedAccessKeyName=Root"),
        "{whole}"
    );
    assert_eq!(post(format!("{root}/listkeys")).await.body, keys.body, "keys are stable");

    let rule = format!("{namespace}/eventhubs/alerts/authorizationRules/hub");
    let missing = post(format!("{rule}/listKeys")).await;
    assert_eq!((missing.status, missing.body["error"]["code"].is_string()), (404, true));
    assert_eq!(sim.put(&rule, json!({"properties": {"rights": ["Manage"]}})).await.status, 400);
    assert_eq!(sim.put(&rule, json!({"properties": {"rights": ["Send"]}})).await.status, 200);
    assert_eq!(sim.get(&rule).await.body["properties"]["rights"], json!(["Send"]));
    let all = sim.get(rule.trim_end_matches("/hub")).await.body;
    assert_eq!(all["value"].as_array().unwrap().len(), 1, "an entity has no rule of its own at first");
    let own = post(format!("{rule}/listKeys")).await.body;
    let own = own["secondaryConnectionString"].as_str().unwrap();
    assert!(own.ends_with(";EntityPath=alerts"));

    let keyed = |text: &str| json!({"name": "k", "connectionString": text});
    let queue = |text: &str| json!({"name": "q", "connectionString": text});
    assert_eq!(code(&with(&sim, "eventHubs", keyed(own)).await), 201);
    let root_of = |entity: &str| keyed(&format!("{whole};EntityPath={entity}"));
    assert_eq!(code(&with(&sim, "eventHubs", root_of("telemetry-westus2")).await), 201);
    assert_eq!(code(&with(&sim, "eventHubs", root_of("nowhere")).await), 400_121);
    assert_eq!(
        code(&with(&sim, "eventHubs", keyed(&own.replace("alerts", "telemetry-westus2"))).await),
        400_119
    );
    let wrong = "Endpoint=sb://ns1.servicebus.windows.net/;SharedAccessKeyName=hub;SharedAccessKey=abc=;EntityPath=alerts";
    assert_eq!(code(&with(&sim, "eventHubs", keyed(wrong)).await), 400_119);
    assert_eq!(code(&with(&sim, "serviceBusQueues", queue(own)).await), 400_121, "another kind of namespace");
    assert_eq!(code(&with(&sim, "serviceBusQueues", queue(&wrong.replace("ns1", "elsewhere"))).await), 201);

    change(&sim, &namespace, json!({"properties": {"disableLocalAuth": true}})).await;
    assert_eq!(sim.get(&namespace).await.body["properties"]["disableLocalAuth"], true);
    assert_eq!(code(&with(&sim, "eventHubs", keyed(own)).await), 400_119, "no key is taken any more");
    let secrets = sim.azure.secrets();
    for key in [&keys.body["primaryKey"], &keys.body["secondaryKey"]] {
        assert!(secrets.iter().any(|secret| key == secret), "a key is a secret");
    }
    let state = sim.azure.state().to_string();
    assert!(secrets.iter().all(|secret| !state.contains(secret.as_str())));
}

#[tokio::test(start_paused = true)]
async fn a_storage_key_opens_containers_until_the_account_takes_none() {
    let sim = sim();
    sim.hub("h1", json!({})).await;
    let account = data("Microsoft.Storage/storageAccounts/egressdata");
    let keys = sim.call("POST", &format!("{account}/listKeys"), &[], Value::Null).await.body;
    assert_eq!(
        (&keys["keys"][0]["keyName"], &keys["keys"][1]["permissions"]),
        (&json!("key1"), &json!("FULL"))
    );
    let text = |key: &str| format!("DefaultEndpointsProtocol=https;AccountName=egressdata;AccountKey={key}");
    let key = keys["keys"][1]["value"].as_str().unwrap();
    let endpoint = |container: &str, key: &str| json!({"name": "s", "connectionString": text(key), "containerName": container});
    assert_eq!(code(&with(&sim, "storageContainers", endpoint("archive", key)).await), 201);
    assert_eq!(code(&with(&sim, "storageContainers", endpoint("nowhere", key)).await), 400_123);
    assert_eq!(code(&with(&sim, "storageContainers", endpoint("archive", "abc=")).await), 400_119);

    let upload = |key: &str| {
        let (sim, entry) = (&sim, json!({"connectionString": text(key), "containerName": "uploads"}));
        async move {
            let mut body = sim.get(&hub_path("h1")).await.body;
            body["properties"]["storageEndpoints"]["$default"] = entry;
            sim.put(&hub_path("h1"), body).await
        }
    };
    assert_eq!(code(&upload("abc=").await), 400_119);
    change(&sim, &account, json!({"properties": {"allowSharedKeyAccess": false}})).await;
    assert_eq!(code(&upload(key).await), 400_119, "the account takes no keys");
    change(&sim, &account, json!({"properties": {"allowSharedKeyAccess": null}})).await;
    assert_eq!(code(&upload(key).await), 201);

    let mut moved = sim.get(&hub_path("h1")).await.body;
    assert_eq!(code(&sim.put(&hub_path("h1"), moved.clone()).await), 201, "the mask is put back");
    let entry = &mut moved["properties"]["storageEndpoints"]["$default"]["connectionString"];
    *entry = json!(entry.as_str().unwrap().replace("egressdata", "another"));
    moved.as_object_mut().unwrap().remove("etag");
    assert_eq!(code(&sim.put(&hub_path("h1"), moved).await), 400_116, "a mask stays with its account");
}

#[tokio::test(start_paused = true)]
async fn a_firewall_lets_in_the_hub_itself_and_nobody_with_a_key_or_another_identity() {
    let sim = sim();
    let user = data("Microsoft.ManagedIdentity/userAssignedIdentities/id-egress");
    let other = sim.get(&user).await.body["properties"]["principalId"].clone();
    let identity =
        json!({"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {user.clone(): {}}});
    let hub = sim.hub("h1", json!({"identity": identity})).await;
    let namespace = data("Microsoft.EventHub/namespaces/ns1");
    for principal in [&hub["identity"]["principalId"], &other] {
        grant(&sim, &namespace, SENDER, principal).await;
    }
    let rules = sim.get(&format!("{namespace}/networkRuleSets/default")).await.body;
    assert_eq!(rules["properties"]["defaultAction"], "Allow");
    let put = sim
        .put(
            &format!("{namespace}/networkrulesets/default"),
            json!({"properties": {"defaultAction": "Deny", "ipRules": [{"ipMask": "10.0.0.1", "action": "Allow"}]}}),
        )
        .await;
    assert_eq!((put.status, &put.body["properties"]["trustedServiceAccessEnabled"]), (200, &json!(false)));

    let own = json!({
        "name": "e", "authenticationType": "identityBased", "entityPath": "alerts",
        "endpointUri": "sb://ns1.servicebus.windows.net",
    });
    let mut users = own.clone();
    users["identity"] = json!({"userAssignedIdentity": user});
    let keys = format!("{namespace}/authorizationRules/RootManageSharedAccessKey/listKeys");
    let text = sim.call("POST", &keys, &[], Value::Null).await.body["primaryConnectionString"].clone();
    let keyed =
        json!({"name": "e", "connectionString": format!("{};EntityPath=alerts", text.as_str().unwrap())});
    let try_all = |sim: &Sim| {
        let sim = sim.clone();
        let all = [own.clone(), users.clone(), keyed.clone()];
        async move {
            let mut codes = Vec::new();
            for endpoint in all {
                codes.push(code(&with(&sim, "eventHubs", endpoint).await));
            }
            codes
        }
    };
    assert_eq!(try_all(&sim).await, [400_117; 3]);
    change(&sim, &namespace, json!({"networkRuleSet": {"trustedServiceAccessEnabled": true}})).await;
    assert_eq!(try_all(&sim).await, [201, 400_117, 400_117]);

    // What is in place stays, and stops working when the door is shut.
    change(&sim, &namespace, json!({"networkRuleSet": {"trustedServiceAccessEnabled": false}})).await;
    let route = json!([{
        "name": "r", "source": "DeviceMessages", "condition": "true", "endpointNames": ["e"], "isEnabled": true,
    }]);
    let patch = json!({"properties": {"routing": {"routes": route}}, "wait": true});
    assert_eq!(sim.call("PATCH", "/_sim/hubs/h1", &[], patch).await.status, 200);
    let send = || async {
        sim.call("POST", "/_sim/hubs/h1/messages", &[], json!({})).await.body["deliveries"][0].take()
    };
    let kept_out = send().await;
    assert_eq!(kept_out["delivered"], false);
    assert!(kept_out["reason"].as_str().unwrap().contains("network"), "{kept_out}");
    change(&sim, &namespace, json!({"networkRuleSet": {"defaultAction": "Allow"}})).await;
    assert_eq!(send().await["delivered"], true);
    change(&sim, &namespace, json!({"properties": {"publicNetworkAccess": "Disabled"}})).await;
    let rules = sim.get(&format!("{namespace}/networkRuleSets/default")).await.body;
    assert_eq!(rules["properties"]["publicNetworkAccess"], "Disabled", "one switch in two places");
    assert_eq!(send().await["delivered"], false);
}

#[tokio::test(start_paused = true)]
async fn a_world_may_begin_with_closed_targets() {
    let mut world = World::reference();
    world.storage_accounts[0].properties =
        json!({"networkAcls": {"defaultAction": "Deny", "bypass": "Logging, AzureServices"}});
    world.service_bus_namespaces[0].network_rule_set = json!({"publicNetworkAccess": "Disabled"});
    let sim = Sim::of(Settings::immediate(), world, 1.0);
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let principal = &hub["identity"]["principalId"];
    let account = data("Microsoft.Storage/storageAccounts/egressdata");
    grant(&sim, &account, BLOB, principal).await;
    let blob = json!({
        "name": "s", "authenticationType": "identityBased", "containerName": "archive",
        "endpointUri": "https://egressdata.blob.core.windows.net/",
    });
    assert_eq!(code(&with(&sim, "storageContainers", blob).await), 201, "as a trusted service");
    let bus = data("Microsoft.ServiceBus/namespaces/sb1");
    grant(&sim, &bus, "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39", principal).await;
    let queue = json!({
        "name": "q", "authenticationType": "identityBased", "entityPath": "commands",
        "endpointUri": "sb://sb1.servicebus.windows.net",
    });
    assert_eq!(code(&with(&sim, "serviceBusQueues", queue).await), 400_117);
    let rules = sim.get(&format!("{bus}/networkRuleSets/default")).await.body;
    assert_eq!(rules["properties"]["publicNetworkAccess"], "Disabled");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_restricts_its_way_out_reaches_what_it_lists() {
    let sim = sim();
    let properties = json!({"restrictOutboundNetworkAccess": true, "allowedFqdnList": []});
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}, "properties": properties})).await;
    grant(&sim, &data("Microsoft.EventHub/namespaces/ns1"), SENDER, &hub["identity"]["principalId"]).await;
    let endpoint = json!({
        "name": "e", "authenticationType": "identityBased", "entityPath": "alerts",
        "endpointUri": "sb://ns1.servicebus.windows.net",
    });
    assert_eq!(code(&with(&sim, "eventHubs", endpoint.clone()).await), 400_122);
    let list = json!({"properties": {"allowedFqdnList": ["NS1.servicebus.windows.net"]}, "wait": true});
    assert_eq!(sim.call("PATCH", "/_sim/hubs/h1", &[], list).await.status, 200);
    assert_eq!(code(&with(&sim, "eventHubs", endpoint).await), 201);
}

#[tokio::test(start_paused = true)]
async fn file_upload_by_identity_may_need_a_key_all_the_same() {
    for (needs, expected) in [(false, 201), (true, 400_116)] {
        let settings = Settings { file_upload_needs_key: needs, ..Settings::immediate() };
        let sim = Sim::of(settings, World::reference(), 1.0);
        let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
        let account = data("Microsoft.Storage/storageAccounts/egressdata");
        grant(&sim, &account, BLOB, &hub["identity"]["principalId"]).await;
        let mut body = sim.get(&hub_path("h1")).await.body;
        body["properties"]["storageEndpoints"]["$default"] = json!({
            "authenticationType": "identityBased", "containerName": "uploads",
            "connectionString": "DefaultEndpointsProtocol=https;EndpointSuffix=core.windows.net;AccountName=egressdata",
        });
        assert_eq!(code(&sim.put(&hub_path("h1"), body).await), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn role_assignments_of_a_subscription_run_out() {
    let sim =
        Sim::of(Settings { role_assignment_limit: 1, ..Settings::immediate() }, World::reference(), 1.0);
    let usage = format!(
        "{SUB}/providers/Microsoft.Authorization/roleAssignmentsUsageMetrics?api-version=2019-08-01-preview"
    );
    let before = sim.get(&usage).await.body;
    assert_eq!(before["roleAssignmentsRemainingCount"], 1);
    let principal = json!("9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02");
    let namespace = data("Microsoft.EventHub/namespaces/ns1");
    grant(&sim, &namespace, SENDER, &principal).await;
    let after = sim.get(&usage).await.body;
    assert_eq!(
        (&after["roleAssignmentsCurrentCount"], &after["roleAssignmentsLimit"]),
        (&json!(1), &json!(1))
    );
    let path = format!("{SUB}/providers/Microsoft.Authorization/roleAssignments/{}", uuid::Uuid::new_v4());
    let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{BLOB}");
    let full = sim
        .put(
            &path,
            json!({"properties": {"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"}}),
        )
        .await;
    assert_eq!((full.status, &full.body["error"]["code"]), (400, &json!("RoleAssignmentLimitExceeded")));
}
