//! The stand-in host on storage queues and on Service Bus: order, locks, sessions, schedules, and what
//! becomes of a message that fails.

use hubward::local::clock::SimClock;
use hubward::local::functions_host::DiagnosticCode;
use hubward::local::servicebus::{DEAD_LETTER_SUFFIX, Message, QueueOptions, ServiceBus};
use serde_json::{Value, json};

use crate::functions_host_support::{
    Call, MINUTE, NOON, Reply, SECOND, World, bus_trigger, codes, counts, failing, queue_trigger, timer,
    times,
};

fn sessions() -> QueueOptions {
    QueueOptions { requires_session: true, ..QueueOptions::default() }
}

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
