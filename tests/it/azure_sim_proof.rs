//! What proves that egress works, in the simulated Azure: routes tested and used, the health of
//! endpoints, and the activity log.

use hubward::local::azure::{Settings, World};
use serde_json::{Value, json};

use crate::azure_sim_support::{SUB, Sim, hub_path, pass};

const SENDER: &str = "2b629674-e913-4c01-ae53-ef4638d8f975";

fn namespace() -> String {
    format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1")
}

async fn grant(sim: &Sim, principal: &Value) -> String {
    let path = format!(
        "{}/providers/Microsoft.Authorization/roleAssignments/5b8f7a1e-0000-4000-8000-000000000001",
        namespace()
    );
    let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{SENDER}");
    let properties =
        json!({"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"});
    assert_eq!(sim.put(&path, json!({"properties": properties})).await.status, 201);
    path
}

fn route(name: &str, condition: &str, endpoint: &str) -> Value {
    json!({
        "name": name, "source": "DeviceMessages", "condition": condition, "endpointNames": [endpoint],
        "isEnabled": true,
    })
}

/// A hub whose alarms go to the event hub `alerts` with its own identity.
async fn routed(sim: &Sim) -> String {
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let grant = grant(sim, &hub["identity"]["principalId"]).await;
    let change = json!({"wait": true, "properties": {"routing": {
        "endpoints": {"eventHubs": [{
            "name": "alarms", "authenticationType": "identityBased", "entityPath": "alerts",
            "endpointUri": "sb://ns1.servicebus.windows.net",
        }]},
        "routes": [route("alarms", "level = 'alarm' OR $body.temperature > 50", "alarms")],
    }}});
    let changed = sim.call("PATCH", "/_sim/hubs/h1", &[], change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    grant
}

async fn send(sim: &Sim, message: Value) -> Value {
    sim.call("POST", "/_sim/hubs/h1/messages", &[], message).await.body["deliveries"].take()
}

async fn health(sim: &Sim, at: usize) -> Value {
    sim.get(&format!("{}/routingEndpointsHealth", hub_path("h1"))).await.body["value"][at].take()
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_healthy_once_a_message_went_there() {
    let sim = Sim::of(Settings::immediate(), World::reference(), 1.0);
    let grant = routed(&sim).await;
    assert_eq!(health(&sim, 1).await["healthStatus"], "unknown");
    let quiet = send(&sim, json!({"appProperties": {"level": "info"}})).await;
    assert_eq!(quiet[0]["delivered"], false);
    assert_eq!((&quiet[1]["route"], &quiet[1]["endpoint"]), (&json!("$fallback"), &json!("events")));
    assert_eq!(health(&sim, 1).await["healthStatus"], "unknown", "nothing went there");
    assert_eq!(health(&sim, 0).await["healthStatus"], "healthy");

    pass(60).await;
    let alarm = send(&sim, json!({"appProperties": {"level": "alarm"}})).await;
    assert_eq!((&alarm[0]["delivered"], &alarm[0]["with"]), (&json!(true), &json!("identity")));
    let healthy = health(&sim, 1).await;
    assert_eq!(healthy["healthStatus"], "healthy");
    assert_eq!(healthy["lastSuccessfulSendAttemptTime"], "Sun, 01 Mar 2026 12:01:00 GMT");
    assert_eq!(healthy["lastSendAttemptTime"], healthy["lastSuccessfulSendAttemptTime"]);

    sim.call("DELETE", &grant, &[], Value::Null).await;
    pass(60).await;
    let hot = send(&sim, json!({"body": {"temperature": 51}})).await;
    assert_eq!(hot[0]["delivered"], false);
    let ill = health(&sim, 1).await;
    assert_eq!(ill["healthStatus"], "unhealthy");
    assert!(ill["lastKnownError"].as_str().unwrap().starts_with("Unauthorized"));
    assert_eq!(ill["lastKnownErrorTime"], "Sun, 01 Mar 2026 12:02:00 GMT");
    assert_eq!(ill["lastSuccessfulSendAttemptTime"], healthy["lastSendAttemptTime"]);
}

#[tokio::test(start_paused = true)]
async fn routes_are_tested_without_sending() {
    let sim = Sim::of(Settings::immediate(), World::reference(), 1.0);
    routed(&sim).await;
    let test = |word: &'static str, body: Value| {
        let (sim, path) = (&sim, format!("{}/routing/routes/{word}", hub_path("h1")));
        async move { sim.call("POST", &path, &[], body).await }
    };
    let message = json!({
        "body": "{\"temperature\": 60}",
        "systemProperties": {"contentType": "application/json", "contentEncoding": "utf-8"},
    });
    let all = test("$testall", json!({"routingSource": "devicemessages", "message": message})).await;
    assert_eq!(all.body["routes"][0]["properties"]["name"], "alarms");
    let plain = test("$testall", json!({"message": {"body": message["body"]}})).await;
    assert_eq!(plain.body["routes"], json!([]), "the body does not say that it is JSON");
    assert_eq!(health(&sim, 1).await["healthStatus"], "unknown", "nothing was sent");

    let new = |condition: &str| {
        test("$testnew", json!({"message": message, "route": route("r", condition, "alarms")}))
    };
    assert_eq!(new("true").await.body, json!({"result": "true"}));
    assert_eq!(new("$body.temperature < 0").await.body, json!({"result": "false"}));
    assert_eq!(new("nothing = 1").await.body, json!({"result": "undefined"}));
    let broken = new("level = ").await;
    assert_eq!((broken.status, &broken.body["result"]), (200, &json!("false")));
    let error = &broken.body["details"]["compilationErrors"][0];
    assert_eq!((&error["severity"], &error["location"]["start"]["line"]), (&json!("error"), &json!(1)));

    let mut body = sim.get(&hub_path("h1")).await.body;
    body["properties"]["routing"]["routes"][0]["condition"] = json!("level = ");
    let refused = sim.put(&hub_path("h1"), body).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[tokio::test(start_paused = true)]
async fn the_activity_log_tells_who_wrote_a_hub_and_how_it_ended() {
    let sim = Sim::of(Settings { page_size: 2, ..Settings::default() }, World::reference(), 1.0);
    sim.hub("h1", json!({})).await;
    let correlation = "1e121103-0ba6-4300-ac9d-952bb5d0c80f";
    let headers = [("x-ms-correlation-request-id", correlation)];
    let hub = sim.get(&hub_path("h1")).await.body;
    assert_eq!(sim.call("PUT", &hub_path("h1"), &headers, hub.clone()).await.status, 201);
    assert_eq!(sim.call("PUT", &hub_path("h1"), &headers, hub).await.status, 409);

    let read = |terms: String| {
        let filter = format!("eventTimestamp ge '2026-03-01T12:00:00Z'{terms}").replace(' ', "%20");
        let path = format!(
            "{SUB}/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter={filter}"
        );
        let sim = &sim;
        async move { sim.get(&path).await }
    };
    let mine = format!(" and correlationId eq '{correlation}'");
    assert_eq!(read(mine.clone()).await.body["value"], json!([]), "not yet");
    pass(400).await;
    let first = read(mine.clone()).await.body;
    let next = first["nextLink"].as_str().unwrap().strip_prefix("http://127.0.0.1:7071").unwrap();
    let second = sim.get(next).await.body;
    let third = sim
        .get(second["nextLink"].as_str().unwrap().strip_prefix("http://127.0.0.1:7071").unwrap())
        .await
        .body;
    let all: Vec<Value> = [&first, &second, &third]
        .iter()
        .flat_map(|page| page["value"].as_array().cloned().unwrap_or_default())
        .collect();
    let told: Vec<(&str, &str)> = all
        .iter()
        .map(|event| {
            (event["status"]["value"].as_str().unwrap(), event["subStatus"]["value"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("Succeeded", ""),
            ("Failed", "Conflict"),
            ("Started", ""),
            ("Accepted", "Created"),
            ("Started", "")
        ]
    );
    let event = &all[0];
    assert_eq!(event["caller"], "9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02");
    assert_eq!(event["claims"]["appid"], "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01");
    assert_eq!(event["operationName"]["value"], "Microsoft.Devices/IotHubs/write");
    assert_eq!(event["httpRequest"]["method"], "PUT");
    assert_eq!(event["resourceId"], hub_path("h1"));

    let uri = hub_path("h1").to_uppercase();
    let terms = format!(" AND eventTimestamp le '2026-03-01T12:01:00Z' and resourceUri eq {uri}");
    let made = read(terms + "&$select=caller,status").await.body;
    assert_eq!(made["value"][0].as_object().map(|event| event.len()), Some(2));
    assert_eq!(
        made["value"][0]["caller"], "2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77",
        "someone else made the hub"
    );
    assert_eq!(read(" and level eq 'Error'".to_owned()).await.status, 400);
    let endless =
        format!("{SUB}/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01");
    assert_eq!(sim.get(&endless).await.status, 400, "a start is needed");
}
