//! Cosmos DB accounts in the simulated Azure: role assignments of their own, keys, endpoints.

use hubward::local::azure::{Fault, FaultKind, Settings, World};
use serde_json::{Value, json};

use crate::azure_sim_support::{Answer, SUB, Sim, hub_path, pass};

const NAME: &str = "3f1e65b0-0000-4000-8000-000000000001";
const WRITER: &str = "00000000-0000-0000-0000-000000000002";

fn account() -> String {
    format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.DocumentDB/databaseAccounts/egressdocs")
}

fn assignment() -> String {
    format!("{}/sqlRoleAssignments/{NAME}", account())
}

fn body(scope: &str, principal: &Value) -> Value {
    json!({"properties": {
        "roleDefinitionId": format!("{}/sqlRoleDefinitions/{WRITER}", account()),
        "scope": format!("{}{scope}", account()),
        "principalId": principal,
    }})
}

fn endpoint() -> Value {
    json!({
        "name": "docs", "authenticationType": "identityBased",
        "endpointUri": "https://egressdocs.documents.azure.com:443/",
        "databaseName": "fleet", "containerName": "telemetry",
    })
}

async fn with(sim: &Sim, endpoint: Value) -> Answer {
    let mut body = sim.get(&hub_path("h1")).await.body;
    body["properties"]["routing"]["endpoints"]["cosmosDBSqlContainers"] = json!([endpoint]);
    sim.put(&hub_path("h1"), body).await
}

fn own(link: &str) -> &str {
    link.strip_prefix("http://127.0.0.1:7071").expect("our own host")
}

#[tokio::test(start_paused = true)]
async fn a_role_inside_the_account_takes_its_time_and_then_some() {
    let sim = Sim::of(Settings::default(), World::reference(), 1.0);
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    pass(10).await;
    let principal = &hub["identity"]["principalId"];
    assert_eq!(with(&sim, endpoint()).await.body["code"], 400_117);

    let accepted = sim.put(&assignment(), body("/dbs/fleet", principal)).await;
    assert_eq!((accepted.status, &accepted.body), (202, &json!({"status": "Enqueued"})));
    let (status, result) =
        (own(&accepted.headers["azure-asyncoperation"]), own(&accepted.headers["location"]));
    assert_eq!(sim.get(&assignment()).await.status, 404, "not yet");
    assert_eq!(sim.get(status).await.body["status"], "Enqueued");
    pass(8).await;
    assert_eq!(sim.get(status).await.body["status"], "Dequeued");
    assert_eq!(sim.get(result).await.status, 202);
    pass(8).await;
    assert_eq!(sim.get(status).await.body, json!({"status": "Succeeded"}));
    let shown = sim.get(&assignment()).await.body;
    assert_eq!(sim.get(result).await.body, shown);
    assert_eq!(shown["properties"].as_object().unwrap().len(), 3, "no times: {shown}");
    let all = sim.get(&format!("{}/sqlRoleAssignments", account())).await.body;
    assert_eq!(all["value"], json!([shown]));

    assert_eq!(sim.azure.state()["cosmosRoleAssignments"][0]["propagated"], false);
    assert_eq!(with(&sim, endpoint()).await.status, 400, "there, but not effective");
    pass(46).await;
    assert_eq!(sim.azure.state()["cosmosRoleAssignments"][0]["propagated"], true);
    assert_eq!(with(&sim, endpoint()).await.status, 201);
    pass(31).await;
    let mut elsewhere = endpoint();
    elsewhere["databaseName"] = json!("nowhere");
    assert_eq!(with(&sim, elsewhere).await.body["code"], 400_142);

    let gone = sim.call("DELETE", &assignment(), &[], Value::Null).await;
    assert_eq!(gone.status, 202);
    assert_eq!(sim.get(&assignment()).await.status, 200, "until it is done");
    pass(16).await;
    assert_eq!(sim.get(&assignment()).await.status, 404);
    assert_eq!(sim.get(own(&gone.headers["location"])).await.status, 204);
    assert_eq!(sim.call("DELETE", &assignment(), &[], Value::Null).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_role_assignment_is_refused() {
    let sim = Sim::of(Settings::immediate(), World::reference(), 1.0);
    let principal = json!("9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02");
    let named = assignment().replace(NAME, "mine");
    assert_eq!(sim.put(&named, body("", &principal)).await.status, 400, "a name is a GUID");
    let mut other = body("", &principal);
    other["properties"]["scope"] = json!(format!("{}x/dbs/fleet", account()));
    assert_eq!(sim.put(&assignment(), other).await.status, 400, "another account");
    assert_eq!(sim.put(&assignment(), body("/sqlDatabases/fleet", &principal)).await.status, 400);
    let mut role = body("", &principal);
    role["properties"]["roleDefinitionId"] = json!(WRITER);
    assert_eq!(sim.put(&assignment(), role).await.status, 400);
    let unknown = json!("9c2a7d44-0000-4b1e-8f0e-3d5a5b7e9c02");
    let refused = sim.put(&assignment(), body("", &unknown)).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("BadRequest")));
    assert!(refused.body["message"].as_str().unwrap().contains(unknown.as_str().unwrap()));

    assert_eq!(sim.put(&assignment(), body("/", &principal)).await.status, 202);
    assert_eq!(sim.get(&assignment()).await.body["properties"]["scope"], account());
    assert_eq!(sim.put(&assignment(), body("/dbs/fleet", &principal)).await.status, 400, "a scope stays");
    assert_eq!(sim.put(&assignment(), body("", &principal)).await.status, 202, "the same again");

    sim.azure.inject(Fault::new(FaultKind::FailOperation).code("Conflict"));
    let failing = sim.call("DELETE", &assignment(), &[], Value::Null).await;
    let status = sim.get(own(&failing.headers["azure-asyncoperation"])).await.body;
    assert_eq!((&status["status"], &status["error"]["code"]), (&json!("Failed"), &json!("Conflict")));
    assert_eq!(sim.get(&assignment()).await.status, 200);
    let gone = assignment().replace("egressdocs", "nowhere");
    assert_eq!(sim.get(&gone).await.body["error"]["code"], "ResourceNotFound");
    sim.azure.inject(Fault::new(FaultKind::Deny).on("PUT", "sqlRoleAssignments"));
    assert_eq!(sim.put(&assignment(), body("", &principal)).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_cosmos_key_opens_the_account_until_local_authentication_is_off() {
    let sim = Sim::of(Settings::immediate(), World::reference(), 1.0);
    sim.hub("h1", json!({})).await;
    let keys = sim.call("POST", &format!("{}/listKeys", account()), &[], Value::Null).await.body;
    for name in
        ["primaryMasterKey", "secondaryMasterKey", "primaryReadonlyMasterKey", "secondaryReadonlyMasterKey"]
    {
        assert!(sim.azure.secrets().iter().any(|secret| keys[name] == *secret), "{name}");
    }
    let keyed = |key: &Value| {
        let mut endpoint = endpoint();
        endpoint["authenticationType"] = json!("keyBased");
        endpoint["primaryKey"] = key.clone();
        endpoint["secondaryKey"] = key.clone();
        endpoint
    };
    assert_eq!(with(&sim, keyed(&keys["primaryReadonlyMasterKey"])).await.body["code"], 400_119);
    assert_eq!(with(&sim, keyed(&keys["primaryMasterKey"])).await.status, 201);
    let shown = sim.get(&hub_path("h1")).await.body;
    assert_eq!(shown["properties"]["routing"]["endpoints"]["cosmosDBSqlContainers"][0]["primaryKey"], "****");
    assert_eq!(sim.put(&hub_path("h1"), shown).await.status, 201, "the mask is put back");
    let change = json!({"id": account(), "properties": {"disableLocalAuth": true}});
    assert_eq!(sim.call("PATCH", "/_sim/targets", &[], change).await.status, 200);
    assert_eq!(with(&sim, keyed(&keys["secondaryMasterKey"])).await.body["code"], 400_119);
    let definition = sim.get(&format!("{}/sqlRoleDefinitions/{WRITER}", account())).await.body;
    assert_eq!(definition["properties"]["roleName"], "Cosmos DB Built-in Data Contributor");
    let missing = sim.get(&format!("{}/sqlDatabases/more", account())).await;
    assert_eq!((missing.status, &missing.body["code"]), (404, &json!("NotFound")), "without ARM's envelope");
    let made = sim.put(&format!("{}/sqlDatabases/more", account()), json!({})).await;
    assert_eq!(made.status, 200);
    let all = sim.get(&format!("{}/sqlDatabases", account())).await.body;
    assert_eq!(all["value"].as_array().map(Vec::len), Some(2));
}
