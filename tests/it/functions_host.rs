//! Stories about the stand-in for the Functions host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hubward::local::clock::SimClock;
use hubward::local::functions_host::{
    DiagnosticCode, FunctionsHost, HostKeys, HostState, ScheduleStatus, StartError, WorkerState,
};
use hubward::local::servicebus::{DEAD_LETTER_SUFFIX, Message, QueueOptions, ServiceBus};
use serde_json::{Value, json};
use time::macros::datetime;

use crate::functions_host_support::{
    Call, NOON, Reply, World, bus_trigger, call, codes, counts, queue_trigger, timer,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Fails the first `failures` calls.
fn failing(failures: u64) -> impl Fn(&Call) -> Reply + Send + Sync + 'static {
    let calls = AtomicU64::new(0);
    move |_| match calls.fetch_add(1, Ordering::Relaxed) < failures {
        true => Reply::status(500),
        false => Reply::ok(),
    }
}

/// Seconds after noon, for each call.
fn times(world: &World) -> Vec<i64> {
    world.calls().iter().map(|call| (call.at - NOON).whole_seconds()).collect()
}

fn sessions() -> QueueOptions {
    QueueOptions { requires_session: true, ..QueueOptions::default() }
}

// --- storage queues ---

#[tokio::test(start_paused = true)]
async fn a_message_that_always_fails_lands_in_the_poison_queue() {
    let world = World::new().triggered("Orders", queue_trigger());
    world.queues.create("orders");
    world.queues.put_base64("orders", "x").unwrap();
    let host = world.start(|_| Reply::status(500));
    host.wait_idle().await;

    let counted: Vec<Value> = world.calls().iter().map(|call| call.metadata("DequeueCount")).collect();
    assert_eq!(counted, ["1", "2", "3", "4", "5"]);
    assert_eq!(world.queues.payloads("orders-poison"), ["x"]);
    assert_eq!(world.queues.list("orders"), []);
    assert_eq!(counts(&host.status(), "Orders"), (0, 5));
    let ids = world.calls().into_iter().map(|call| call.headers["x-azure-functions-invocationid"].clone());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 5, "a new id for each delivery");
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_waits_for_the_visibility_timeout() {
    let world = World::new()
        .host_json(json!({ "extensions": { "queues": { "visibilityTimeout": "00:00:30" } } }))
        .triggered("Orders", queue_trigger());
    world.queues.create("orders");
    world.queues.put_base64("orders", "x").unwrap();
    let host = world.start(failing(1));
    host.wait_until(|status| status.functions["Orders"].counts.succeeded == 1).await;
    let second = times(&world)[1];
    assert!((30..=90).contains(&second), "{second}: visible after 30 s, found by the next poll");
}

#[tokio::test(start_paused = true)]
async fn a_message_stays_invisible_while_its_function_runs() {
    let world = World::new().triggered("Orders", queue_trigger());
    world.queues.create("orders");
    world.queues.put_base64("orders", "x").unwrap();
    let host = world.start(|_| Reply::ok().after(25 * MINUTE));
    host.wait_idle().await;
    assert_eq!((world.calls().len(), world.queues.list("orders").len()), (1, 0));
    assert_eq!(codes(&host.status()), []);
}

#[tokio::test(start_paused = true)]
async fn a_queue_function_runs_batch_size_plus_threshold_at_a_time() {
    let world = World::new()
        .host_json(json!({ "extensions": { "queues": { "batchSize": 4, "newBatchThreshold": 2 } } }))
        .triggered("Orders", queue_trigger());
    world.queues.create("orders");
    let put = |count: usize| {
        for _ in 0..count {
            world.queues.put_base64("orders", "x").unwrap();
        }
    };
    put(2);
    let host = world.start(|_| Reply::ok().after(MINUTE));
    host.wait_until(|status| status.functions["Orders"].counts.running == 2).await;
    put(10);
    tokio::time::sleep(SECOND).await;
    assert_eq!(host.status().functions["Orders"].counts.running, 6);
    host.wait_idle().await;
    assert_eq!(counts(&host.status(), "Orders"), (12, 0));
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_base64_never_reaches_the_function() {
    let world = World::new().triggered("Orders", queue_trigger());
    world.queues.create("orders");
    world.queues.put("orders", "{not base64}").unwrap();
    let host = world.start(|_| Reply::ok());
    host.wait_idle().await;
    assert_eq!((world.calls().len(), world.queues.list("orders-poison").len()), (0, 1));
    assert_eq!(codes(&host.status()), [DiagnosticCode::Undecodable]);
}

// --- Service Bus ---

#[tokio::test(start_paused = true)]
async fn a_sessions_messages_run_in_order_and_one_at_a_time_while_sessions_run_in_parallel() {
    let world = World::new().triggered("Orders", bus_trigger(true));
    world.bus.create_queue("orders", sessions());
    for text in ["a1", "b1", "a2", "b2", "a3"] {
        world.bus.send("orders", Message::new(text).in_session(&text[..1])).unwrap();
    }
    let host = world.start(|_| Reply::ok().after(10 * SECOND));
    host.wait_idle().await;
    let runs: Vec<(String, i64)> = world.calls().iter().map(Call::text).zip(times(&world)).collect();
    let expected = [("a1", 0), ("b1", 0), ("a2", 10), ("b2", 10), ("a3", 20)];
    let mut runs: Vec<(&str, i64)> = runs.iter().map(|(text, at)| (text.as_str(), *at)).collect();
    runs.sort_by_key(|(text, at)| (*at, *text));
    assert_eq!(runs, expected);
    assert_eq!(world.bus.snapshot()["queues"]["orders"]["completed"], 5);
}

#[tokio::test(start_paused = true)]
async fn a_failure_in_a_session_is_repeated_before_the_next_message() {
    let world = World::new().triggered("Orders", bus_trigger(true));
    world.bus.create_queue("orders", sessions());
    for text in ["a1", "a2"] {
        world.bus.send("orders", Message::new(text).in_session("a")).unwrap();
    }
    let host = world.start(failing(2));
    host.wait_idle().await;
    let texts: Vec<String> = world.calls().iter().map(Call::text).collect();
    assert_eq!(texts, ["a1", "a1", "a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_are_given_up_for_others() {
    let world = World::new()
        .host_json(json!({ "extensions": { "serviceBus": { "maxConcurrentSessions": 1 } } }))
        .triggered("Orders", bus_trigger(true));
    world.bus.create_queue("orders", sessions());
    for text in ["a", "b"] {
        world.bus.send("orders", Message::new(text).in_session(text)).unwrap();
    }
    let host = world.start(|_| Reply::ok());
    host.wait_idle().await;
    assert_eq!(times(&world), [0, 60], "the second session starts when the first has been idle for a minute");
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_message_appears_when_due_and_not_before() {
    let world = World::new().triggered("Orders", bus_trigger(false));
    world.bus.create_queue("orders", QueueOptions::default());
    world.bus.send("orders", Message::new("later").scheduled_at(NOON + 10 * MINUTE)).unwrap();
    world.bus.send("orders", Message::new("now")).unwrap();
    let host = world.start(|_| Reply::ok());
    host.wait_idle().await;
    assert_eq!((times(&world), world.bus.next_scheduled("orders")), (vec![0], Some(NOON + 10 * MINUTE)));

    tokio::time::sleep(11 * MINUTE).await;
    host.wait_idle().await;
    assert_eq!(times(&world), [0, 600]);
    assert_eq!(world.calls()[1].metadata("EnqueuedTime"), "2026-01-31T12:10:00+00:00");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_message_id_is_dropped_and_a_tenth_failure_is_dead_lettered() {
    let world = World::new().triggered("Orders", bus_trigger(false));
    let window = Some(10 * MINUTE);
    let options = QueueOptions { duplicate_detection_window: window, ..QueueOptions::default() };
    world.bus.create_queue("orders", options);
    for _ in 0..3 {
        world.bus.send("orders", Message::new("x").with_id("m-1")).unwrap();
    }
    let host = world.start(|_| Reply::status(500));
    host.wait_idle().await;
    assert_eq!(times(&world), [0; 10], "abandoned messages come back at once");
    let queue = &world.bus.snapshot()["queues"]["orders"];
    assert_eq!((&queue["deduplicated"], &queue["deadLettered"]), (&json!(2), &json!(1)));
    let dead = world.bus.try_receive(&format!("orders{DEAD_LETTER_SUFFIX}"), 1).unwrap().remove(0);
    assert_eq!(dead.message.application_properties["DeadLetterReason"], "MaxDeliveryCountExceeded");
}

#[tokio::test(start_paused = true)]
async fn locks_are_renewed_while_a_function_runs_but_not_for_ever() {
    let world = World::new().triggered("Orders", bus_trigger(false));
    world.bus.create_queue("orders", QueueOptions { max_delivery_count: 1, ..QueueOptions::default() });
    world.bus.send("orders", Message::new("x")).unwrap();
    let host = world.start(|_| Reply::ok().after(5 * MINUTE));
    host.wait_idle().await;
    assert_eq!((world.calls().len(), codes(&host.status())), (1, vec![]));
    drop(host);

    world.bus.send("orders", Message::new("y")).unwrap();
    let host = world.start(|_| Reply::ok().after(7 * MINUTE));
    host.wait_idle().await;
    assert_eq!(codes(&host.status()), [DiagnosticCode::LockLost]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_a_message_that_is_not_json_never_reaches_the_function() {
    let trigger = json!({ "type": "serviceBusTrigger", "queueName": "orders", "cardinality": "many" });
    let world = World::new().triggered("Orders", trigger);
    world.bus.create_queue("orders", QueueOptions { max_delivery_count: 1, ..QueueOptions::default() });
    world.bus.send("orders", Message::new("{}")).unwrap();
    world.bus.send("orders", Message::new("plain")).unwrap();
    let host = world.start(|_| Reply::ok());
    host.wait_idle().await;
    assert_eq!(world.calls().len(), 0);
    assert_eq!(counts(&host.status(), "Orders"), (0, 1));
    assert_eq!(world.bus.snapshot()["queues"]["orders"]["deadLettered"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_trigger_waits_for_its_queue_to_be_created() {
    let world = World::new().triggered("Orders", bus_trigger(false));
    let host = world.start(|_| Reply::ok());
    host.wait_until(|status| codes(status) == [DiagnosticCode::MissingEntity]).await;
    world.bus.create_queue("orders", QueueOptions::default());
    world.bus.send("orders", Message::new("x")).unwrap();
    host.wait_idle().await;
    assert_eq!(world.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_disagrees_with_its_queue_about_sessions_says_so() {
    let world = World::new().triggered("Orders", bus_trigger(false));
    world.bus.create_queue("orders", sessions());
    world.bus.send("orders", Message::new("x").in_session("a")).unwrap();
    let host = world.start(|_| Reply::ok());
    host.wait_until(|status| codes(status) == [DiagnosticCode::MissingEntity]).await;
    host.wait_idle().await;
    assert_eq!(world.calls().len(), 0);
}

/// In real time on several threads, with a clock that runs 600 times as fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_clock_brings_schedules_forward() {
    let mut world =
        World::new().triggered("Orders", bus_trigger(true)).triggered("Sweep", timer("0 */5 * * * *"));
    world.clock = SimClock::start(NOON, 600.0);
    world.bus = ServiceBus::new(world.clock.clone());
    world.bus.create_queue("orders", sessions());
    for at in 1..=3 {
        let message = Message::new(at.to_string()).in_session("a").scheduled_at(NOON + at * 2 * MINUTE);
        world.bus.send("orders", message).unwrap();
    }
    let host = world.start(|_| Reply::ok());
    let done = host.wait_until(|status| {
        let functions = &status.functions;
        functions["Orders"].counts.succeeded == 3 && functions["Sweep"].counts.succeeded >= 2
    });
    tokio::time::timeout(MINUTE, done).await.unwrap();
    host.wait_idle().await;
    let orders = world.calls().into_iter().filter(|call| call.path == "/Orders");
    assert_eq!(orders.map(|call| call.text()).collect::<Vec<_>>(), ["1", "2", "3"]);
    host.shutdown().await;
}

// --- the worker ---

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

// --- finding functions ---

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

// --- timers ---

#[tokio::test(start_paused = true)]
async fn a_timer_fires_on_its_schedule_and_remembers_it() {
    let world = World::new().triggered("Sweep", timer("0 */5 * * * *"));
    let options = world.options(world.handler(|_| Reply::ok()));
    let timers = options.timers.clone();
    let host = FunctionsHost::start(options).unwrap();
    host.wait_idle().await;
    tokio::time::sleep(11 * MINUTE).await;
    assert_eq!(times(&world), [300, 600]);
    let status = timers.get("Sweep").unwrap();
    assert_eq!(status.next, datetime!(2026-01-31 12:15 UTC));
    assert_eq!(counts(&host.status(), "Sweep"), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_missed_run_is_caught_up_once() {
    let world = World::new().triggered("Sweep", timer("0 */5 * * * *"));
    let mut options = world.options(world.handler(|_| Reply::ok()));
    let last = datetime!(2026-01-31 11:00 UTC);
    let next = datetime!(2026-01-31 11:05 UTC);
    options.timers.set("Sweep", ScheduleStatus { last, next, last_updated: last });
    options.clock = world.clock.clone();
    let host = FunctionsHost::start(options).unwrap();
    host.wait_idle().await;
    tokio::time::sleep(6 * MINUTE).await;
    let past_due: Vec<Value> =
        world.calls().iter().map(|call| call.json()["Data"]["input"]["IsPastDue"].clone()).collect();
    assert_eq!((times(&world), past_due), (vec![0, 300], vec![json!(true), json!(false)]));
    drop(host);
}

#[tokio::test(start_paused = true)]
async fn run_on_startup_runs_once_and_a_long_run_is_followed_by_one() {
    let trigger = json!({ "type": "timerTrigger", "schedule": "0 */5 * * * *", "runOnStartup": true });
    let world = World::new().triggered("Sweep", trigger);
    let long = AtomicU64::new(1);
    let host = world.start(move |_| match long.swap(0, Ordering::Relaxed) {
        1 => Reply::ok().after(17 * MINUTE),
        _ => Reply::ok(),
    });
    host.wait_idle().await;
    tokio::time::sleep(4 * MINUTE).await;
    assert_eq!(times(&world), [0, 1020, 1200], "at once after the long run, then on schedule");
}

#[tokio::test(start_paused = true)]
async fn a_retry_policy_repeats_a_timer_with_the_same_invocation_id() {
    let world = World::new().function(
        "Sweep",
        json!({
            "bindings": [{ "name": "input", "type": "timerTrigger", "schedule": "0 0 * * * *" }],
            "retry": { "strategy": "exponentialBackoff", "maxRetryCount": 3,
                       "minimumInterval": "00:00:05", "maximumInterval": "00:00:08" },
        }),
    );
    let host = world.start(|_| Reply::status(500));
    tokio::time::sleep(61 * MINUTE).await;
    host.wait_idle().await;
    assert_eq!(times(&world), [3600, 3605, 3613, 3621]);
    let ids = world.calls().into_iter().map(|call| call.headers["x-azure-functions-invocationid"].clone());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 1);
    let retries: Vec<Value> =
        world.calls().iter().map(|call| call.metadata("RetryContext")["RetryCount"].clone()).collect();
    assert_eq!(retries, [0, 1, 2, 3]);
    assert_eq!(counts(&host.status(), "Sweep"), (0, 1), "retries count once");
}

// --- Event Grid ---

fn with_keys(world: &World, reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> FunctionsHost {
    let mut options = world.options(world.handler(reply));
    let key = str::to_owned;
    options.keys = HostKeys { enforce: true, master: key("M"), function: key("K"), event_grid: key("E") };
    FunctionsHost::start(options).unwrap()
}

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

// --- HTTP ---

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

// --- the admin API ---

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
