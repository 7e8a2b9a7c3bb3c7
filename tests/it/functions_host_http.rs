//! The front door of the stand-in host: the Event Grid webhook, HTTP functions and the admin API.

use serde_json::{Value, json};

use crate::functions_host_support::{
    MINUTE, Reply, World, call, counts, queue_trigger, timer, times, with_keys,
};

#[tokio::test(start_paused = true)]
async fn the_event_grid_webhook_shakes_hands_and_guards_its_door() {
    let world = World::new()
        .triggered("OnEvent", json!({ "type": "eventGridTrigger" }))
        .triggered("Orders", queue_trigger());
    let host = with_keys(&world, |_| Reply::ok());
    let url = "/runtime/webhooks/EventGrid?functionName=OnEvent";
    let kind = |kind: &'static str| [("aeg-event-type", kind)];

    let code = json!([{ "id": "1", "data": { "validationCode": "abc" } }]).to_string();
    let (status, _, body) =
        call(&host, "POST", &format!("{url}&code=E"), &kind("SubscriptionValidation"), &code).await;
    assert_eq!((status, body.as_str()), (200, r#"{"validationResponse":"abc"}"#));
    let double = json!({ "id": "1", "data": r#"{"validationCode":"abc"}"# }).to_string();
    let (_, _, body) =
        call(&host, "POST", &format!("{url}&code=M"), &kind("SubscriptionValidation"), &double).await;
    assert_eq!(body, r#"{"validationResponse":"abc"}"#);
    let origin = [("WebHook-Request-Origin", "eventgrid.azure.net"), ("x-functions-key", "E")];
    let (status, headers, _) = call(&host, "OPTIONS", url, &origin, "").await;
    assert_eq!((status, headers["webhook-allowed-origin"].as_str()), (200, "eventgrid.azure.net"));

    for (path, kind_of, expected) in [
        (format!("{url}&code=K"), "Notification", 401),
        (url.to_owned(), "Notification", 401),
        (format!("{url}&code=E"), "Unsubscribe", 202),
        (format!("{url}&code=E"), "Other", 400),
        ("/runtime/webhooks/EventGrid?functionName=Orders&code=E".to_owned(), "Notification", 404),
    ] {
        let found = call(&host, "POST", &path, &[("aeg-event-type", kind_of)], "[]").await.0;
        assert_eq!(found, expected, "{path} {kind_of}");
    }
    assert_eq!(world.calls().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_delivery_run_in_parallel_and_one_failure_fails_the_delivery() {
    let world = World::new().triggered("OnEvent", json!({ "type": "eventGridTrigger" }));
    let host = world.start(|call| match call.json()["Data"]["input"]["id"].as_str() {
        Some("2") => Reply::status(500).after(MINUTE),
        _ => Reply::ok().after(MINUTE),
    });
    let url = "/runtime/webhooks/EventGrid?functionName=OnEvent";
    let headers = [("aeg-event-type", "Notification"), ("traceparent", "00-0af7-b7ad-01")];
    let events = json!([{ "id": "1" }, { "id": "2" }, { "id": "3" }]).to_string();
    let (status, _, body) = call(&host, "POST", url, &headers, &events).await;
    assert_eq!((status, body.as_str()), (500, "Exception while executing function: Functions.OnEvent"));
    assert_eq!((times(&world), counts(&host.status(), "OnEvent")), (vec![0, 0, 0], (2, 1)));
    assert!(world.calls()[0].headers["traceparent"].starts_with("00-0af7-"));

    let (status, _, body) = call(&host, "POST", url, &headers, r#"{"id":"4"}"#).await;
    assert_eq!((status, body.as_str()), (202, ""));
}

fn http_function(world: World, name: &str, trigger: Value) -> World {
    let mut binding = json!({ "name": "req", "type": "httpTrigger", "direction": "in" });
    crate::functions_host_support::merge(&mut binding, trigger);
    let output = json!({ "name": "res", "type": "http", "direction": "out" });
    world.function(name, json!({ "bindings": [binding, output] }))
}

#[tokio::test(start_paused = true)]
async fn an_http_function_answers_through_its_output() {
    let world = http_function(World::new(), "Get", json!({ "route": "orders/{id:int}", "methods": ["get"] }));
    let world = http_function(world, "All", json!({ "route": "{*rest}", "authLevel": "anonymous" }));
    let host = with_keys(&world, |call| {
        let path = call.json()["Data"]["req"]["Params"].clone();
        match (call.path.as_str(), path["rest"].as_str()) {
            ("/Get", _) => Reply::json(json!({ "Outputs": { "res": {
                "statusCode": "201", "status": 418, "headers": { "x-a": "b" }, "body": { "id": path["id"] },
            } } })),
            (_, Some("none")) => Reply::json(json!({})),
            (_, Some("empty")) => Reply::json(json!({ "Outputs": {} })),
            (_, Some("status")) => Reply::json(json!({ "Outputs": { "res": { "status": 404 } } })),
            _ => Reply::status(404),
        }
    });
    let (status, headers, body) = call(&host, "GET", "/api/orders/17?code=K", &[], "").await;
    assert_eq!((status, body.as_str()), (201, "{\n  \"id\": 17\n}"));
    assert_eq!(
        (headers["x-a"].as_str(), headers["content-type"].as_str()),
        ("b", "text/plain; charset=utf-8")
    );
    assert_eq!(call(&host, "GET", "/api/orders/17", &[], "").await.0, 401);
    assert_eq!(call(&host, "GET", "/orders/17", &[], "").await.0, 404);

    for (path, status, body) in
        [("none", 200, ""), ("empty", 200, "{}"), ("status", 200, ""), ("orders/x", 500, "")]
    {
        let found = call(&host, "GET", &format!("/api/{path}"), &[], "").await;
        assert_eq!((found.0, found.2.as_str()), (status, body), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_request_arrives_as_it_was_and_any_answer_goes_back() {
    let world = World::new().host_json(json!({ "customHandler": { "enableForwardingHttpRequest": true } }));
    let world = http_function(world, "Orders", json!({ "route": "orders/{id}" }));
    let host = world.start(|_| Reply {
        body: "no such order".to_owned(),
        content_type: Some("text/plain".to_owned()),
        ..Reply::status(404)
    });
    let headers = [("user-agent", "curl/8.5.0"), ("content-length", "2"), ("content-language", "de")];
    let (status, _, body) = call(&host, "PUT", "/api/orders/o-17?dry=1", &headers, "{}").await;
    assert_eq!((status, body.as_str()), (404, "no such order"));
    let seen = world.calls().remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), seen.body.as_str()),
        ("PUT", "/api/orders/o-17?dry=1", "{}")
    );
    assert_eq!(seen.headers["user-agent"], "curl/8.5.0 Azure-Functions-Host/4.1037.0.0");
    assert!(seen.headers.contains_key("x-azure-functions-invocationid"));
    assert!(!seen.headers.contains_key("content-language"));
    assert_eq!(counts(&host.status(), "Orders"), (1, 0));

    call(&host, "PUT", "/api/orders/o-17", &[], "lost").await;
    assert_eq!(world.calls()[1].body, "", "a body of unknown length is not passed on");
}

#[tokio::test(start_paused = true)]
async fn a_function_is_started_by_hand_in_the_background() {
    let world = http_function(World::new(), "Http", json!({})).triggered("Sweep", timer("0 0 * * * *"));
    let host = with_keys(&world, |_| Reply::ok().after(MINUTE));
    let master = [("x-functions-key", "M")];
    let post = async |path: &str, body: &str| call(&host, "POST", path, &master, body).await.0;
    assert_eq!(post("/admin/functions/sweep", r#"{"input":""}"#).await, 202);
    assert_eq!(host.status().functions["Sweep"].counts.running, 1);
    host.wait_idle().await;
    assert_eq!(counts(&host.status(), "Sweep"), (1, 0));
    assert_eq!(world.calls()[0].metadata("input"), r#""""#);

    assert_eq!(post("/admin/functions/Sweep", "").await, 400);
    assert_eq!(post("/admin/functions/Http", "{}").await, 400);
    assert_eq!(post("/admin/functions/Nope", "{}").await, 404);
    assert_eq!(call(&host, "POST", "/admin/functions/Sweep", &[], "{}").await.0, 401);
    assert_eq!(call(&host, "GET", "/admin/host/ping", &[], "").await.0, 200);
    let (_, _, body) = call(&host, "GET", "/admin/host/status?code=M", &[], "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&body["state"], &body["version"]), (&json!("Running"), &json!("4.1037.0.0")));
}
