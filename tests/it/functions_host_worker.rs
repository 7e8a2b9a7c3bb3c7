//! The stand-in host and its worker: crashes, hangs, time limits, and the functions that it finds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hubward::local::functions_host::{DiagnosticCode, FunctionsHost, HostState, StartError, WorkerState};
use serde_json::{Value, json};

use crate::functions_host_support::{
    MINUTE, Reply, SECOND, World, call, codes, counts, queue_trigger, timer, times,
};

#[tokio::test(start_paused = true)]
async fn a_killed_workers_message_comes_back() {
    let world = World::new().triggered("Orders", queue_trigger());
    world.queues.create("orders");
    world.queues.put_base64("orders", "x").unwrap();
    let slow = AtomicU64::new(1);
    let host = world.start(move |_| match slow.swap(0, Ordering::Relaxed) {
        1 => Reply::ok().after(MINUTE),
        _ => Reply::ok(),
    });
    host.wait_until(|status| status.functions["Orders"].counts.running == 1).await;
    tokio::time::sleep(SECOND).await;
    host.kill_worker();
    host.wait_until(|status| status.worker.restarts == 1).await;
    host.wait_idle().await;
    assert_eq!(counts(&host.status(), "Orders"), (1, 1));
    let last = world.calls().pop().unwrap();
    assert_eq!(last.metadata("DequeueCount"), "2");
    let status = host.status();
    assert_eq!((status.worker.state, status.worker.strikes), (WorkerState::Ready, 1));
    assert_eq!(codes(&status), [DiagnosticCode::WorkerCrashed]);
}

#[tokio::test(start_paused = true)]
async fn three_strikes_stop_the_host_unless_half_an_hour_lies_between() {
    let world = World::new().triggered("Orders", queue_trigger());
    let host = world.start(|_| Reply::ok());
    for (kill, pause) in [(1, MINUTE), (2, 31 * MINUTE), (3, MINUTE), (4, MINUTE)] {
        assert!(host.wait_ready().await);
        host.kill_worker();
        host.wait_until(|status| status.worker.restarts == kill).await;
        tokio::time::sleep(pause).await;
    }
    assert_eq!((host.status().state, host.status().worker.strikes), (HostState::Running, 2));
    host.kill_worker();
    host.wait_until(|status| status.state == HostState::Error).await;
    assert!(!host.wait_ready().await);
    let (_, _, body) = call(&host, "GET", "/admin/host/status", &[], "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["state"], "Error");
    assert_eq!(
        body["errors"],
        json!(["Exceeded http worker restart retry count. Shutting down Functions Host"])
    );
    host.wait_idle().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_hangs_until_the_timeout_and_takes_the_others_along() {
    let world = World::new()
        .host_json(json!({ "functionTimeout": "00:05:00" }))
        .triggered("Empty", json!({ "type": "queueTrigger", "queueName": "empty" }))
        .triggered("Slow", json!({ "type": "queueTrigger", "queueName": "slow" }));
    for queue in ["empty", "slow"] {
        world.queues.create(queue);
    }
    world.queues.put_base64("empty", "x").unwrap();
    let empty = Arc::new(AtomicU64::new(1));
    let first = Arc::clone(&empty);
    let mut options = world.options(world.handler(move |call| match call.path.as_str() {
        "/Empty" if first.swap(0, Ordering::Relaxed) == 1 => Reply { body: String::new(), ..Reply::ok() },
        "/Slow" => Reply::ok().after(MINUTE),
        _ => Reply::ok(),
    }));
    options.hang_fails_at_once = false;
    let host = FunctionsHost::start(options).unwrap();
    tokio::time::sleep(5 * MINUTE - 10 * SECOND).await;
    assert_eq!(codes(&host.status()), [DiagnosticCode::WouldHang]);
    world.queues.put_base64("slow", "x").unwrap();
    host.wait_idle().await;
    let status = host.status();
    assert_eq!(codes(&status), [DiagnosticCode::WouldHang, DiagnosticCode::TimedOut]);
    assert_eq!((counts(&status, "Empty"), counts(&status, "Slow")), ((1, 1), (1, 1)));
    assert_eq!((status.worker.restarts, status.worker.strikes), (1, 0));
    assert_eq!(times(&world), [0, 290, 302, 302]);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed() {
    let world = World::new().triggered("Orders", queue_trigger());
    world.queues.create("orders");
    world.queues.put_base64("orders", "x").unwrap();
    let host = world.start(|call| match call.path.as_str() {
        "/Orders" => Reply { headers: vec![("Location".into(), "/other?a=1".into())], ..Reply::status(302) },
        _ => Reply::ok(),
    });
    host.wait_idle().await;
    let seen: Vec<_> = world.calls().into_iter().map(|call| (call.method, call.path)).collect();
    assert_eq!(seen, [("POST".into(), "/Orders".into()), ("GET".into(), "/other?a=1".into())]);
    assert_eq!(counts(&host.status(), "Orders"), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_running_invocations_finish_for_ten_seconds() {
    for (takes, expected) in [(9, (1, 0)), (11, (0, 1))] {
        let world = World::new().triggered("Orders", queue_trigger());
        world.queues.create("orders");
        world.queues.put_base64("orders", "x").unwrap();
        let host = world.start(move |_| Reply::ok().after(takes * SECOND));
        host.wait_until(|status| status.functions["Orders"].counts.running == 1).await;
        let status = host.shutdown().await;
        assert_eq!((status.state, status.worker.state), (HostState::Stopped, WorkerState::Stopped));
        assert_eq!(counts(&status, "Orders"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn headers_say_who_calls_and_how_the_body_is_framed() {
    use hubward::local::functions_host::Framing::{Chunked, ContentLength};
    for (framing, traceparent) in [(Chunked, true), (ContentLength, false)] {
        let world = World::new().triggered("Orders", queue_trigger());
        world.queues.create("orders");
        world.queues.put_base64("orders", "x").unwrap();
        let mut options = world.options(world.handler(|_| Reply::ok()));
        (options.framing, options.traceparent) = (framing, traceparent);
        let host = FunctionsHost::start(options).unwrap();
        host.wait_idle().await;
        let call = world.calls().remove(0);
        assert_eq!(call.headers["x-azure-functions-hostversion"], "4.1037.0.0");
        assert_eq!(call.headers["user-agent"], "Azure-Functions-Host/4.1037.0.0");
        assert_eq!(call.headers["content-type"], "application/json; charset=utf-8");
        assert_eq!(call.headers.contains_key("transfer-encoding"), framing == Chunked);
        assert_eq!(call.headers.contains_key("content-length"), framing == ContentLength);
        assert_eq!(call.headers.contains_key("traceparent"), traceparent);
    }
}

#[tokio::test(start_paused = true)]
async fn functions_in_a_sub_folder_are_not_found_and_the_host_says_so() {
    let world = World::new();
    let world = world.triggered("functions/Orders", queue_trigger());
    let host = world.start(|_| Reply::ok());
    let status = host.status();
    assert_eq!(status.functions.len(), 0);
    assert_eq!(status.worker.state, WorkerState::NotStarted);
    let found: Vec<_> = status.diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(found, [DiagnosticCode::Layout, DiagnosticCode::NoFunctions]);
    let message = &status.diagnostics[0].message;
    assert!(message.contains("stage `functions/*` beside host.json"), "{message}");
    assert!(!host.wait_ready().await);
    host.wait_idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_function_is_reported_and_the_others_run() {
    let world = World::new()
        .triggered("Orders", queue_trigger())
        .triggered("Off", queue_trigger())
        .triggered("Schedule", timer("%Missing%"))
        .triggered("Sunday", timer("0 0 0 * * 7"))
        .triggered("1st", queue_trigger())
        .triggered("AdminSweep", json!({ "type": "httpTrigger" }))
        .function("None", json!({ "bindings": [] }))
        .function(
            "Under",
            json!({ "bindings": [{ "name": "my_item", "type": "queueTrigger", "queueName": "q" }] }),
        )
        .function("Out", json!({ "bindings": [{ "name": "o", "type": "queue", "queueName": "q" }] }))
        .setting("AzureWebJobs_Off_Disabled", "true");
    world.queues.create("orders");
    world.queues.put_base64("orders", "x").unwrap();
    let host = world.start(|_| Reply::ok());
    host.wait_idle().await;
    let status = host.status();
    assert_eq!(counts(&status, "Orders"), (1, 0));
    assert!(status.functions["Off"].disabled);
    let errors = |name: &str| status.functions[name].errors.join();
    for (name, part) in [
        ("Schedule", "'%Missing%' does not resolve"),
        ("Sunday", "`7` is not a valid day-of-week"),
        ("1st", "not a valid function name"),
        ("AdminSweep", "conflicts with one or more built in routes"),
        ("None", "At least one binding"),
        ("Under", "binding name my_item is invalid"),
        ("Out", "No trigger binding"),
    ] {
        assert!(errors(name).contains(part), "{name}: {}", errors(name));
    }
    let (_, _, body) = call(&host, "GET", "/admin/functions/Sunday/status", &[], "").await;
    assert!(body.contains("day-of-week"), "{body}");
    let (_, _, body) = call(&host, "GET", "/admin/functions", &[], "").await;
    let listed: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(listed.iter().map(|entry| &entry["name"]).collect::<Vec<_>>(), ["Off", "Orders"]);
    assert_eq!(call(&host, "GET", "/admin/functions/Nope", &[], "").await.0, 404);
}

trait Join {
    fn join(&self) -> String;
}

impl Join for Vec<String> {
    fn join(&self) -> String {
        self[..].join("; ")
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_usable_host_json_does_not_start() {
    let start = |world: World| FunctionsHost::start(world.options(world.handler(|_| Reply::ok())));
    let wrong = [
        json!({ "version": "1.0" }),
        json!({ "customHandler": null }),
        json!({ "functionTimeout": "5m" }),
        json!({ "extensions": { "queues": { "batchSize": 33 } } }),
    ];
    for members in wrong {
        let result = start(World::new().host_json(members.clone()));
        assert!(matches!(result, Err(StartError::HostJson { .. })), "{members}");
    }
    let world = World::new();
    std::fs::remove_file(world.path().join("host.json")).unwrap();
    assert!(matches!(start(world), Err(StartError::Read { .. })));

    let rescued = World::new()
        .host_json(json!({ "customHandler": null }))
        .setting("AzureFunctionsJobHost__customHandler__description__defaultExecutablePath", "handler");
    assert!(start(rescued).is_ok());
}
