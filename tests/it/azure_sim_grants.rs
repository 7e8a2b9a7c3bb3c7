//! Identities and role assignments in the simulated Azure: who is known, and when a grant counts.

use hubward::local::azure::{Settings, World};
use serde_json::{Value, json};

use crate::azure_sim_support::{EVENT_HUB, GRANT, SENDER, SUB, Sim, endpoint, hub_path, pass};

#[tokio::test(start_paused = true)]
async fn an_identity_endpoint_is_refused_until_the_grant_has_spread() {
    let sim = Sim::new(Settings::default());
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let principal = hub["identity"]["principalId"].as_str().expect("a principal").to_owned();
    let mut wanted = hub.clone();
    wanted["properties"]["routing"]["endpoints"]["eventHubs"] = json!([endpoint()]);

    let refused = sim.put(&hub_path("h1"), wanted.clone()).await;
    assert_eq!((refused.status, refused.body["code"].as_u64()), (400, Some(400_117)));
    assert!(refused.body["message"].as_str().unwrap().contains("endpointName:eh"));

    assert_eq!(sim.grant(&principal).await.status, 201);
    pass(10).await;
    assert_eq!(sim.put(&hub_path("h1"), wanted.clone()).await.status, 400, "granted, but not yet effective");
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], false);
    pass(40).await;
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], true);
    let accepted = sim.put(&hub_path("h1"), wanted.clone()).await;
    assert_eq!(accepted.status, 201, "{}", accepted.body);
    assert_eq!(accepted.body["identity"]["principalId"], Value::Null);

    pass(31).await;
    let missing = sim.get(&hub_path("h1")).await.body;
    let mut elsewhere = missing.clone();
    elsewhere["properties"]["routing"]["endpoints"]["eventHubs"][0]["entityPath"] = json!("nowhere");
    let refused = sim.put(&hub_path("h1"), elsewhere).await;
    assert_eq!(refused.body["code"], 400_121, "a target that is not there is told apart");

    let mut off = missing.clone();
    off["identity"] = json!({"type": "None"});
    assert_eq!(sim.put(&hub_path("h1"), off).await.body["code"], 400_118, "an endpoint uses the identity");
}

#[tokio::test(start_paused = true)]
async fn a_young_principal_is_not_found_without_its_type() {
    let sim = Sim::new(Settings { principal_visible_seconds: 40.0, ..Settings::default() });
    let id =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1");
    let made = sim.put(&id, json!({"location": "westus2"})).await;
    assert_eq!(made.status, 201);
    assert!(made.body["id"].as_str().unwrap().contains("/resourcegroups/"));
    let principal = made.body["properties"]["principalId"].as_str().unwrap().to_owned();
    let path = format!("{SUB}{EVENT_HUB}/providers/Microsoft.Authorization/roleAssignments/{GRANT}");
    let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{SENDER}");
    let body = json!({"properties": {"roleDefinitionId": role, "principalId": principal}});
    let refused = sim.put(&path, body.clone()).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!("PrincipalNotFound")));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains(&principal.replace('-', "")));
    pass(41).await;
    assert_eq!(sim.put(&path, body.clone()).await.status, 201);
    assert_eq!(sim.put(&path, body.clone()).await.status, 200, "the same again");
    let other = path.replace(GRANT, "5b8f7a1e-0000-4000-8000-000000000002");
    let exists = sim.put(&other, body.clone()).await;
    assert_eq!((exists.status, &exists.body["error"]["code"]), (409, &json!("RoleAssignmentExists")));
    let mut wider = body;
    wider["properties"]["principalId"] = json!("9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02");
    let update = sim.put(&path, wider).await;
    assert_eq!(update.body["error"]["code"], "RoleAssignmentUpdateNotPermitted");
    let list = |filter: String| {
        let (sim, all) =
            (&sim, format!("{SUB}/providers/Microsoft.Authorization/roleAssignments?$filter={filter}"));
        async move { sim.get(&all).await.body["value"].as_array().map(Vec::len) }
    };
    assert_eq!(list(format!("principalId%20eq%20'{principal}'")).await, Some(1), "above the assignment");
    assert_eq!(list("atScope()".to_owned()).await, Some(0));
    let call = |method: &'static str| sim.call(method, &path, &[], Value::Null);
    assert_eq!(
        (call("DELETE").await.status, call("DELETE").await.status, call("GET").await.status),
        (200, 204, 404)
    );
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_turned_off_and_on_is_another() {
    let world = r#"{"subscriptions": [{"id": "0b1f6471-1bf0-4dda-aec3-cb9272f09590"}],
        "userAssignedIdentities": [{"id": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-plant-01/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"}],
        "iotHubs": [{"id": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/h1", "identity": {"type": "SystemAssigned"}}]}"#;
    let sim = Sim::of(Settings::immediate(), World::parse(world).unwrap(), 1.0);
    let path = hub_path("h1");
    let mut hub = sim.get(&path).await.body;
    let first = hub["identity"]["principalId"].clone();
    assert!(first.is_string());
    let user = format!(
        "{SUB}/resourceGroups/RG-PLANT-01/providers/microsoft.managedidentity/userAssignedIdentities/U1"
    );
    hub["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {&user: {}}});
    let answer = sim.put(&path, hub).await;
    assert_eq!(answer.status, 201);
    let spelled = format!(
        "{SUB}/resourcegroups/rg-plant-01/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
    );
    assert_eq!(
        answer.body["identity"],
        json!({"type": "UserAssigned", "userAssignedIdentities": {&spelled: {}}})
    );
    let mut hub = sim.get(&path).await.body;
    assert!(hub["identity"]["userAssignedIdentities"][&spelled]["principalId"].is_string());
    // az sends back what only the service knows.
    hub["identity"]["type"] = json!("SystemAssigned,UserAssigned");
    hub["identity"]["principalId"] = first.clone();
    hub["identity"]["tenantId"] = json!("x");
    assert_eq!(sim.put(&path, hub).await.status, 201);
    let hub = sim.get(&path).await.body;
    assert_eq!(hub["identity"]["type"], "SystemAssigned, UserAssigned");
    assert_ne!(hub["identity"]["principalId"], first);
    let asked = sim.get(&format!("{path}/providers/Microsoft.ManagedIdentity/identities/default")).await;
    assert_eq!(asked.body["properties"]["principalId"], hub["identity"]["principalId"]);
    let mut none = hub.clone();
    none["identity"] =
        json!({"type": "UserAssigned", "userAssignedIdentities": {user.replace("U1", "u2"): {}}});
    assert_eq!(sim.put(&path, none).await.body["error"]["code"], "FailedIdentityOperation");
}

#[tokio::test(start_paused = true)]
async fn a_grant_on_the_parent_counts_for_queues_topics_and_containers() {
    let data = format!("{SUB}/resourceGroups/rg-data");
    let (hub, user) =
        (hub_path("h1"), format!("{data}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"));
    let account = format!("{data}/providers/Microsoft.Storage/storageAccounts/acct1");
    let bus = format!("{data}/providers/Microsoft.ServiceBus/namespaces/bus1");
    let principal = "7c0f0d3e-58a2-4d0e-9a64-0a4f3d3b6c11";
    let grant = |scope: &str, role: &str| json!({"scope": scope, "role": role, "principalId": principal});
    let world = |grants: Value| {
        let world = json!({
            "userAssignedIdentities": [{"id": user, "principalId": principal}],
            "serviceBusNamespaces": [{"id": bus, "queues": ["q"], "topics": ["t"]}],
            "storageAccounts": [{"id": account, "containers": ["c"]}],
            "roleAssignments": grants,
            "iotHubs": [{"id": hub, "identity": {"type": "UserAssigned", "userAssignedIdentities": {&user: {}}}}],
        });
        World::parse(&world.to_string()).unwrap()
    };
    let uses = |name: &str, uri: &str, more: Value| {
        let mut endpoint = json!({
            "name": name, "endpointUri": uri, "authenticationType": "identityBased",
            "identity": {"userAssignedIdentity": user.replace("resourceGroups", "resourcegroups")},
        });
        endpoint.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        endpoint
    };
    let uri = "sb://bus1.servicebus.windows.net";
    let container =
        |name: &str| uses("c", "https://acct1.blob.core.windows.net", json!({"containerName": name}));
    let lists = |container: Value| {
        json!({
            "serviceBusQueues": [uses("q", uri, json!({"entityPath": "q"}))],
            "serviceBusTopics": [uses("t", uri, json!({"entityPath": "t"}))],
            "storageContainers": [container],
        })
    };
    let grants = json!([
        grant(&bus, "Azure Service Bus Data Sender"),
        grant(&account, "Storage Blob Data Contributor")
    ]);

    let sim = Sim::of(Settings::immediate(), world(grants.clone()), 1.0);
    let mut body = sim.get(&hub).await.body;
    body["properties"]["routing"]["endpoints"] = lists(container("nowhere"));
    assert_eq!(sim.put(&hub, body.clone()).await.body["code"], 400_123);
    body["properties"]["routing"]["endpoints"] = lists(container("c"));
    let accepted = sim.put(&hub, body.clone()).await;
    assert_eq!(accepted.status, 201, "{}", accepted.body);
    let again = sim.get(&hub).await.body;
    assert_eq!(sim.put(&hub, again.clone()).await.status, 201, "a GET can be sent back");

    let mut upload = sim.get(&hub).await.body;
    upload["properties"]["storageEndpoints"]["$default"] = json!({
        "containerName": "c", "authenticationType": "identityBased",
        "connectionString": "DefaultEndpointsProtocol=https;AccountName=acct1;AccountKey=uploadkey=",
    });
    assert_eq!(sim.put(&hub, upload.clone()).await.body["code"], 400_118, "there is no system identity");
    upload["properties"]["storageEndpoints"]["$default"]["identity"] = json!({"userAssignedIdentity": user});
    assert_eq!(sim.put(&hub, upload).await.status, 201);

    let sim = Sim::of(Settings::immediate(), world(json!([grants[0]])), 1.0);
    body.as_object_mut().unwrap().remove("etag");
    assert_eq!(sim.put(&hub, body).await.body["code"], 400_117, "nothing was granted on the account");
}
