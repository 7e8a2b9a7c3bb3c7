//! What goes wrong in the simulated Azure when it is asked for, how long it takes, and that it is the same
//! every time.

use std::time::Duration;

use hubward::local::azure::{Fault, FaultKind, Settings, World};
use serde_json::{Value, json};

use crate::azure_sim_support::{Answer, SUB, Sim, hub_path, pass};

#[tokio::test(start_paused = true)]
async fn calls_are_throttled_by_bucket_and_by_fault() {
    let mut settings = Settings::default();
    settings.throttling.reads = 3.0;
    let sim = Sim::new(settings);
    let path = format!("{SUB}/resourceGroups/rg-data");
    for left in ["2", "1", "0"] {
        let answer = sim.get(&path).await;
        assert_eq!(answer.headers["x-ms-ratelimit-remaining-subscription-reads"], left);
    }
    let refused = sim.get(&path).await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (429, "1"));
    pass(1).await;
    assert_eq!(sim.get(&path).await.status, 200);
    let fault = json!({"fault": "throttle", "match": {"method": "GET", "path": "*/rg-data"}, "times": 2, "retryAfter": 5});
    assert_eq!(sim.call("POST", "/_sim/faults", &[], fault).await.status, 201);
    pass(1).await;
    for expected in [(429, Some("5")), (429, Some("5")), (200, None)] {
        let answer = sim.get(&path).await;
        assert_eq!((answer.status, answer.headers.get("retry-after").map(String::as_str)), expected);
    }
    assert_eq!(sim.azure.state()["counters"]["throttled"], 3);
    let wrong = sim.call("POST", "/_sim/faults", &[], json!({"fault": "thunder"})).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body["error"].as_str().unwrap().contains("thunder"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_took_effect_and_a_reset_did_not() {
    let sim = Sim::new(Settings::immediate());
    let hub = sim.hub("h1", json!({})).await;
    let mut tagged = hub.clone();
    tagged["tags"] = json!({"a": "b"});
    sim.azure.inject(Fault::new(FaultKind::ResetBefore));
    assert_eq!(sim.put(&hub_path("h1"), tagged.clone()).await.body, "connection lost");
    assert_eq!(sim.get(&hub_path("h1")).await.body["tags"], json!({}));
    sim.azure.inject(Fault::new(FaultKind::LoseAnswer).status(503));
    assert_eq!(sim.put(&hub_path("h1"), tagged.clone()).await.status, 503);
    assert_eq!(sim.get(&hub_path("h1")).await.body["tags"], json!({"a": "b"}));
    sim.azure.inject(Fault::new(FaultKind::BadJson));
    assert_eq!(sim.get(&hub_path("h1")).await.body, Value::Null);
    sim.azure.inject(Fault::new(FaultKind::NotFoundWindow).seconds(60.0));
    tagged.as_object_mut().unwrap().remove("etag");
    assert_eq!(sim.put(&hub_path("h1"), tagged).await.status, 201);
    let hidden = sim.get(&hub_path("h1")).await;
    assert_eq!((hidden.status, hidden.body["code"].as_u64()), (404, Some(404_002)));
    pass(61).await;
    assert_eq!(sim.get(&hub_path("h1")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn operations_fail_drag_on_and_are_denied_when_asked_to() {
    let sim = Sim::new(Settings::default());
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let principal = hub["identity"]["principalId"].as_str().unwrap().to_owned();
    let path = hub_path("h1");
    let poll = |answer: &Answer| {
        let link =
            answer.headers["azure-asyncoperation"].strip_prefix("http://127.0.0.1:7071").unwrap().to_owned();
        let sim = &sim;
        async move { sim.get(&link).await }
    };
    let mut body = hub.clone();
    body.as_object_mut().unwrap().remove("etag");
    body["tags"] = json!({"a": "b"});
    sim.azure.inject(Fault::new(FaultKind::FailOperation).code(409_002));
    let failing = sim.put(&path, body.clone()).await;
    pass(31).await;
    assert_eq!(poll(&failing).await.body["error"]["details"][0]["code"], "409002");
    let after = sim.get(&path).await.body;
    assert_eq!((&after["tags"], &after["identity"]), (&json!({}), &hub["identity"]), "undone");

    sim.azure.inject(Fault::new(FaultKind::SlowOperation).seconds(100.0));
    let slow = sim.put(&path, body.clone()).await;
    pass(120).await;
    assert_eq!(poll(&slow).await.body["status"], "Running");
    pass(20).await;
    assert_eq!(poll(&slow).await.body["status"], "Succeeded");
    let cut = slow.headers["azure-asyncoperation"].split("&t=").next().unwrap().to_owned();
    let cut = cut.strip_prefix("http://127.0.0.1:7071").unwrap();
    assert_eq!(sim.get(cut).await.status, 403, "the address is to be used as it is");

    sim.azure.inject(Fault::new(FaultKind::Conflict409));
    assert_eq!(sim.put(&path, body.clone()).await.status, 409);
    sim.azure.inject(Fault::new(FaultKind::PreconditionFailed));
    assert_eq!(sim.put(&path, body.clone()).await.status, 412);
    sim.azure.inject(Fault::new(FaultKind::PrincipalNotFound).times(2));
    assert_eq!((sim.grant(&principal).await.status, sim.grant(&principal).await.status), (400, 400));
    sim.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(300.0));
    assert_eq!(sim.grant(&principal).await.status, 201);
    pass(290).await;
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], false);
    pass(11).await;
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], true);

    let user =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1");
    sim.put(&user, json!({"location": "westus2"})).await;
    body["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {&user: {}}});
    sim.azure.inject(Fault::new(FaultKind::DenyIdentity));
    let denied = sim.put(&path, body.clone()).await;
    assert_eq!((denied.status, &denied.body["error"]["code"]), (403, &json!("LinkedAuthorizationFailed")));
    assert_eq!(sim.azure.state()["faults"], json!([]), "all of them are used up");
}

#[tokio::test(start_paused = true)]
async fn a_fast_clock_shortens_every_wait() {
    let sim =
        Sim::of(Settings { retry_after_seconds: Some(90.0), ..Settings::default() }, World::sample(), 60.0);
    sim.hub("h1", json!({})).await;
    let deleted = sim.call("DELETE", &hub_path("h1"), &[], Value::Null).await;
    assert_eq!((deleted.status, deleted.headers["retry-after"].as_str()), (202, "2"));
    let location = deleted.headers["location"].strip_prefix("http://127.0.0.1:7071").unwrap().to_owned();
    assert_eq!(sim.get(&location).await.status, 202);
    assert_eq!(sim.get(&hub_path("h1")).await.body["properties"]["state"], "Deleting");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(sim.get(&location).await.status, 200);
    let gone = sim.get(&hub_path("h1")).await;
    assert_eq!((gone.status, gone.body["code"].as_u64()), (404, Some(404_002)));
    assert_eq!(sim.call("DELETE", &hub_path("h1"), &[], Value::Null).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_azure() {
    async fn story() -> Value {
        let sim = Sim::new(Settings::default());
        let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
        sim.grant(hub["identity"]["principalId"].as_str().unwrap()).await;
        sim.azure.state()
    }
    assert_eq!(story().await, story().await);
}
