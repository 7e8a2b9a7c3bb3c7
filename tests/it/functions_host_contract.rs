//! Tables: event in, envelope out; answer in, effect out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hubward::local::functions_host::{DiagnosticCode, FunctionsHost, HostKeys, ScheduleStatus};
use hubward::local::servicebus::{Message, QueueOptions};
use serde_json::{Value, json};

use crate::functions_host_support::{Call, NOON, Reply, World, call, codes, merge, queue_trigger};

/// Matches anything: ids and tokens are made up anew.
const ANY: &str = "<any>";

fn fixture(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/host/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Where two values differ, as paths.
fn differences(at: &str, expected: &Value, found: &Value, into: &mut Vec<String>) {
    match (expected, found) {
        (Value::String(text), _) if text == ANY && !found.is_null() => {}
        (Value::Object(expected), Value::Object(found)) => {
            let extra = found.keys().filter(|name| !expected.contains_key(*name));
            into.extend(extra.map(|name| format!("{at}.{name}: unexpected {}", found[name])));
            for (name, expected) in expected {
                let found = found.get(name).unwrap_or(&Value::Null);
                differences(&format!("{at}.{name}"), expected, found, into);
            }
        }
        _ if expected == found => {}
        _ => into.push(format!("{at}: expected {expected}, found {found}")),
    }
}

/// Names in order, where the host's order is known.
fn names(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

#[tokio::test(start_paused = true)]
async fn every_event_arrives_in_the_hosts_envelope() {
    for case in fixture("envelopes.json") {
        let name = case["name"].as_str().unwrap();
        let found = envelope_of(&case).await;
        let mut wrong = Vec::new();
        differences("Data", &case["data"], &found["Data"], &mut wrong);
        differences("Metadata", &case["metadata"], &found["Metadata"], &mut wrong);
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
        assert_eq!(names(&found["Metadata"]), names(&case["metadata"]), "{name}");
    }
}

/// Sets the scene of one case, lets the event happen, and returns the envelope of the wanted attempt.
async fn envelope_of(case: &Value) -> Value {
    let function = case["function"].as_str().unwrap();
    let mut world = World::new()
        .function(function, case["functionJson"].clone())
        .setting("ServiceBus__fullyQualifiedNamespace", "contoso.servicebus.windows.net");
    for (name, value) in case["settings"].as_object().into_iter().flatten() {
        world = world.setting(name, value.as_str().unwrap());
    }
    world.queues.create("orders");
    world.bus.create_queue("orders", QueueOptions::default());
    if let Some(queue) = case["queue"].as_object() {
        let bytes = match queue.get("payloadBase64") {
            Some(base64) => STANDARD.decode(base64.as_str().unwrap()).unwrap(),
            None => queue["payload"].as_str().unwrap().as_bytes().to_vec(),
        };
        world.queues.put_base64("orders", bytes).unwrap();
    }
    let messages = case["bus"]["messages"].as_array().cloned().unwrap_or_default();
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        world.bus.send("orders", message_of(message)).unwrap();
    }
    let already = Duration::try_from(world.clock.now() - NOON).unwrap();
    let timer = function == "Sweep";
    if !timer {
        tokio::time::advance(Duration::from_nanos(5_123_456_700) - already).await;
    }

    let failures = case["failures"].as_u64().unwrap_or(0);
    let attempts = std::sync::atomic::AtomicU64::new(0);
    let handler = world.handler(move |_| {
        match attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < failures {
            true => Reply::status(500),
            false => Reply::ok(),
        }
    });
    let mut options = world.options(handler);
    options.keys = HostKeys {
        enforce: true,
        master: "M".to_owned(),
        function: "K".to_owned(),
        event_grid: "E".to_owned(),
    };
    if let Some(recorded) = case["recorded"].as_object() {
        let status: ScheduleStatus = serde_json::from_value(Value::Object(recorded.clone())).unwrap();
        options.timers.set(function, status);
    }
    let host = FunctionsHost::start(options).unwrap();
    if let Some(by_hand) = case["byHand"].as_object() {
        let body = Value::Object(by_hand.clone()).to_string();
        let path = format!("/admin/functions/{function}");
        let (status, ..) = call(&host, "POST", &path, &[("x-functions-key", "M")], &body).await;
        assert_eq!(status, 202);
    }
    if let Some(http) = case["http"].as_object() {
        let headers = http["headers"].as_object().unwrap().iter();
        let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let text = |name: &str| http[name].as_str().unwrap().to_owned();
        let answer = call(&host, &text("method"), &text("path"), &headers, &text("body")).await;
        // The fixture's own answer sets 201; here the handler says nothing.
        assert_eq!(
            answer.0,
            if case["status"] == 201 { 200 } else { case["status"].as_u64().unwrap() as u16 }
        );
    }
    let attempt = case["attempt"].as_u64().unwrap_or(1) as usize;
    while world.calls().len() < attempt {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    host.shutdown().await;
    world.calls()[attempt - 1].json()
}

fn message_of(value: &Value) -> Message {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Message {
        body: text("body").unwrap().into(),
        message_id: text("messageId"),
        content_type: text("contentType"),
        subject: text("subject"),
        correlation_id: text("correlationId"),
        application_properties: value["applicationProperties"].as_object().cloned().unwrap_or_default(),
        ..Message::default()
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_the_hosts_outcome() {
    for case in fixture("answers.json") {
        let world = World::new()
            .host_json(json!({ "extensions": { "queues": { "maxDequeueCount": 1 } } }))
            .triggered("Orders", queue_trigger());
        world.queues.create("orders");
        world.queues.put_base64("orders", "x").unwrap();
        let reply = Reply {
            status: case["status"].as_u64().unwrap() as u16,
            content_type: case["contentType"].as_str().map(str::to_owned),
            body: case["body"].as_str().unwrap().to_owned(),
            ..Reply::ok()
        };
        let host = world.start(move |_| reply.clone());
        host.wait_idle().await;
        let status = host.shutdown().await;
        let found = match (&codes(&status)[..], world.queues.list("orders-poison").len()) {
            ([DiagnosticCode::WouldHang], 1) => "hang",
            ([], 1) => "failure",
            ([], 0) => "success",
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!(found, case["outcome"], "{case}");
        let logs: Vec<Value> = case["logs"].as_array().cloned().unwrap_or_default();
        assert_eq!(json!(world.user_log()), json!(logs), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_output_value_becomes_the_hosts_messages() {
    for case in fixture("outputs.json") {
        let mut binding = json!({ "direction": "out" });
        if case["dataType"].is_string() {
            merge(&mut binding, json!({ "dataType": case["dataType"] }));
        }
        let output = |members: Value| {
            let mut output = binding.clone();
            merge(&mut output, members);
            output
        };
        let world = World::new().function(
            "Orders",
            json!({ "bindings": [
                { "name": "input", "type": "queueTrigger", "direction": "in", "queueName": "orders" },
                output(json!({ "name": "q", "type": "queue", "queueName": "Out" })),
                output(json!({ "name": "b", "type": "serviceBus", "queueName": "out" })),
                output(json!({ "name": "other", "type": "queue", "queueName": "never" })),
            ] }),
        );
        world.queues.create("orders");
        world.bus.create_queue("out", QueueOptions::default());
        world.queues.put_base64("orders", "x").unwrap();
        let value = case["value"].clone();
        let host = world.start(move |_| {
            Reply::json(json!({ "Outputs": { "q": value, "b": value, "OTHER": ["case matters"] } }))
        });
        host.wait_idle().await;
        assert_eq!(codes(&host.status()), [], "{case}");

        let wire: Vec<String> = world.queues.list("out").into_iter().map(|message| message.text).collect();
        let expected = case["queue"].as_array().unwrap().iter().map(|message| match message {
            Value::Object(bytes) => bytes["bytesBase64"].as_str().unwrap().to_owned(),
            text => STANDARD.encode(text.as_str().unwrap()),
        });
        assert_eq!(wire, expected.collect::<Vec<_>>(), "{case}");
        let sent = world.bus.try_receive("out", 10).unwrap();
        let types =
            sent.iter().filter(|delivery| delivery.message.content_type.as_deref() == Some("text/plain"));
        assert_eq!(types.count(), sent.len());
        let bodies = sent.iter().map(|delivery| String::from_utf8(delivery.message.body.to_vec()).unwrap());
        assert_eq!(json!(bodies.collect::<Vec<_>>()), case["serviceBus"], "{case}");
        assert!(!world.queues.exists("never"));
    }
}

#[tokio::test(start_paused = true)]
async fn return_value_goes_to_its_binding_or_into_the_outputs() {
    let function = |name: &str| {
        json!({ "bindings": [
            { "name": "input", "type": "queueTrigger", "direction": "in", "queueName": "orders" },
            { "name": name, "type": "queue", "direction": "out", "queueName": "done-{kind}" },
        ] })
    };
    for (binding, value) in [("$return", json!(["x"])), ("next", json!({ "next": ["x"] }))] {
        let world = World::new().function("Orders", function(binding));
        world.queues.create("orders");
        world.queues.put_base64("orders", r#"{"kind":"a"}"#).unwrap();
        let host = world.start(move |_: &Call| Reply::json(json!({ "returnvalue": value })));
        host.wait_idle().await;
        assert_eq!(world.queues.payloads("done-a"), ["x"]);
    }
}
