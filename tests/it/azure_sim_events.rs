//! Events of writes in the simulated Azure: once or twice, late or never, to whoever listens.

use std::sync::Arc;

use axum::Router;
use hubward::local::azure::{Fault, FaultKind, Settings};
use serde_json::{Value, json};

use crate::azure_sim_support::{Inbox, SUB, Sim, hub_path, pass};

#[tokio::test(start_paused = true)]
async fn events_arrive_after_each_write_and_are_retried() {
    let sim = Sim::new(Settings::default());
    let inbox = Arc::new(Inbox::default());
    sim.azure.set_event_sink(inbox.clone());
    inbox.answers.lock().unwrap().push(503);
    let hub = sim.hub("h1", json!({})).await;
    assert_eq!(inbox.count(), 0, "not at once");
    pass(3).await;
    assert_eq!(inbox.count(), 1);
    pass(11).await;
    assert_eq!(inbox.count(), 2, "again after 10 s");
    {
        let got = inbox.got.lock().unwrap();
        let (body, headers) = &got[1];
        assert_eq!(body[0]["subject"], hub["id"]);
        assert_eq!(body[0]["eventType"], "Microsoft.Resources.ResourceWriteSuccess");
        assert_eq!(body[0]["data"]["operationName"], "Microsoft.Devices/IotHubs/write");
        assert_eq!(body[0]["data"]["httpRequest"], Value::Null, "only changes and deletes have it");
        assert_eq!(
            (headers["aeg-event-type"].as_str(), headers["aeg-delivery-count"].as_str()),
            ("Notification", "1")
        );
        assert_eq!(got[0].0[0]["id"], got[1].0[0]["id"]);
    }
    sim.azure.inject(Fault::new(FaultKind::DuplicateEvent));
    assert_eq!(sim.put(&hub_path("h1"), hub).await.status, 201);
    pass(40).await;
    assert_eq!(inbox.count(), 4, "once more than once");
    let body = inbox.got.lock().unwrap()[3].0[0].clone();
    assert_eq!(body["data"]["httpRequest"]["method"], "PUT");
    let claims = &body["data"]["claims"];
    assert_eq!(claims["appid"], "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01");
    assert_eq!(body["data"]["authorization"]["evidence"]["principalId"], "9c2a7d4451c84b1e8f0e3d5a5b7e9c02");
    let again = sim.call("POST", "/_sim/events", &[], json!({"id": body["id"]})).await;
    assert_eq!(again.status, 202);
    assert_eq!(sim.call("DELETE", &hub_path("h1"), &[], Value::Null).await.status, 202);
    pass(40).await;
    assert_eq!(inbox.got.lock().unwrap()[5].0[0]["eventType"], "Microsoft.Resources.ResourceDeleteSuccess");
    assert_eq!(sim.azure.state()["counters"]["eventsDelivered"], 4);
}

#[tokio::test(start_paused = true)]
async fn an_event_may_be_a_cloud_event_come_late_or_get_lost() {
    let mut settings = Settings::default();
    settings.events.cloud_events = true;
    let sim = Sim::new(settings);
    let inbox = Arc::new(Inbox::default());
    sim.azure.set_event_sink(inbox.clone());
    let hub = sim.hub("h1", json!({})).await;
    pass(3).await;
    {
        let got = inbox.got.lock().unwrap();
        let (body, headers) = &got[0];
        assert_eq!(body["specversion"], "1.0");
        assert_eq!((&body["subject"], &body["source"]), (&hub["id"], &json!(SUB)));
        assert_eq!(headers["content-type"], "application/cloudevents+json; charset=utf-8");
    }
    let path = hub_path("h1");
    sim.azure.inject(Fault::new(FaultKind::LoseEvent));
    assert_eq!(sim.call("PATCH", &path, &[], json!({"tags": {}})).await.status, 200);
    pass(60).await;
    assert_eq!(inbox.count(), 1);
    sim.azure.inject(Fault::new(FaultKind::LateEvent).seconds(500.0));
    assert_eq!(sim.call("PATCH", &path, &[], json!({"tags": {}})).await.status, 200);
    pass(400).await;
    assert_eq!(inbox.count(), 1);
    pass(200).await;
    assert_eq!(inbox.count(), 2);
    let told = sim.call("POST", "/_sim/events", &[], json!({"hub": "h1", "verb": "delete"})).await;
    assert_eq!(told.body["eventType"], "Microsoft.Resources.ResourceDeleteSuccess");
    pass(3).await;
    assert_eq!(inbox.count(), 3);
}

/// Over a real socket, on real time.
#[tokio::test]
async fn a_lost_connection_is_one_for_a_real_client_and_a_webhook_gets_the_events() {
    let sim = Sim::new(Settings::immediate());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let webhook = axum::routing::post(move |axum::Json(body): axum::Json<Value>| async move {
        sender.send(body).unwrap();
    });
    let app = sim.azure.arm_router();
    let app = Router::new().route("/hook", webhook).fallback_service(app);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let hook = format!("http://{address}/hook").parse().unwrap();
    sim.azure.set_event_sink(Arc::new(hubward::local::azure::HttpEventSink::new(hook)));

    let client = reqwest::Client::new();
    let url = format!("http://{address}{}?api-version=2023-06-30", hub_path("h1"));
    let put = || {
        let body = json!({"location": "westus2", "sku": {"name": "S1", "capacity": 1}});
        client.put(&url).bearer_auth(sim.azure.token().unwrap()).body(body.to_string()).send()
    };
    sim.azure.inject(Fault::new(FaultKind::LoseAnswer));
    assert!(put().await.is_err(), "no answer at all, not even a status");
    let answer = put().await.unwrap();
    assert_eq!(answer.status(), 201);
    let poll = answer.headers()["azure-asyncoperation"].to_str().unwrap().to_owned();
    assert!(poll.starts_with(&format!("http://{address}/subscriptions/")));
    assert_eq!(client.get(&poll).bearer_auth(sim.azure.token().unwrap()).send().await.unwrap().status(), 200);
    for _ in 0..2 {
        let event = inbox.recv().await.unwrap();
        assert_eq!(event[0]["subject"], hub_path("h1"));
    }
}
