//! The in-memory Service Bus, through its REST face and its receivers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hubward::local::clock::SimClock;
use hubward::local::servicebus::{BusError, DEAD_LETTER_SUFFIX, Message, QueueOptions, ServiceBus};
use serde_json::{Value, json};
use time::macros::datetime;
use tower::ServiceExt;

const NOON: time::OffsetDateTime = datetime!(2026-01-31 12:00 UTC);
const MINUTE: Duration = Duration::from_secs(60);

fn bus(options: QueueOptions) -> ServiceBus {
    let bus = ServiceBus::new(SimClock::start(NOON, 1.0));
    bus.create_queue("orders", options);
    bus
}

fn token(audience: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("Bearer {}.{}.c2ln", part(json!({ "alg": "none" })), part(json!({ "aud": audience })))
}

async fn post(
    bus: &ServiceBus,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> (u16, BTreeMap<String, String>, String) {
    let mut request = http::Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = bus.router().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_message_sent_over_rest_keeps_its_properties() {
    let bus = bus(QueueOptions::default());
    let broker = json!({
        "MessageId": "m-1", "Label": "created", "CorrelationId": "c-1", "TimeToLive": 90,
        "To": "x", "ReplyTo": "y", "SequenceNumber": 7,
    });
    let headers = [
        ("authorization", &*token("https://servicebus.azure.net/")),
        ("content-type", "application/json"),
        ("brokerproperties", &broker.to_string()),
        ("tenant", "\"t1\""),
        ("attempt", "2"),
        ("urgent", "true"),
    ];
    let (status, headers, body) = post(&bus, "/Orders/messages?timeout=60", &headers, "{}").await;
    assert_eq!((status, body.as_str(), headers["date"].as_str()), (201, "", "Sat, 31 Jan 2026 12:00:00 GMT"));
    let delivery = bus.try_receive("orders", 1).unwrap().remove(0);
    let message = Message {
        content_type: Some("application/json".to_owned()),
        subject: Some("created".to_owned()),
        correlation_id: Some("c-1".to_owned()),
        to: Some("x".to_owned()),
        reply_to: Some("y".to_owned()),
        time_to_live: Some(Duration::from_secs(90)),
        application_properties: serde_json::from_value(
            json!({ "tenant": "t1", "attempt": 2, "urgent": true }),
        )
        .unwrap(),
        ..Message::new("{}").with_id("m-1")
    };
    assert_eq!(delivery.message, message);
    assert_eq!(delivery.expires_at, NOON + Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_may_be_written_in_either_form() {
    let bus = bus(QueueOptions::default());
    for (text, at) in [
        ("Sat, 31 Jan 2026 12:10:00 GMT", NOON + 10 * MINUTE),
        ("2026-01-31T12:20:00Z", NOON + 20 * MINUTE),
        ("2026-01-31T12:30:00.000", NOON + 30 * MINUTE),
    ] {
        let broker = json!({ "ScheduledEnqueueTimeUtc": text }).to_string();
        let headers = [
            ("authorization", &*token("https://servicebus.azure.net")),
            ("brokerproperties", broker.as_str()),
        ];
        assert_eq!(post(&bus, "/orders/messages", &headers, "x").await.0, 201);
        assert_eq!((bus.available("orders"), bus.next_scheduled("orders")), (0, Some(at)));
        bus.clock().sleep_until(at).await;
        let delivery = bus.receive("orders", 1).await.unwrap().remove(0);
        assert_eq!(delivery.enqueued_at, at);
        bus.complete("orders", delivery.lock_token).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_service_refuses_is_refused() {
    let bus = bus(QueueOptions { requires_session: true, ..QueueOptions::default() });
    let good = token("https://servicebus.azure.net");
    let session = ("brokerproperties", r#"{"SessionId":"s"}"#);
    for (path, authorization, broker, body, status, detail) in [
        ("/orders/messages", "", session, "x".to_owned(), 401, "MissingToken"),
        ("/orders/messages", "Bearer abc", session, "x".to_owned(), 401, "InvalidToken"),
        ("/orders/messages", &token("https://vault.azure.net"), session, "x".into(), 401, "InvalidAudience"),
        ("/nope/messages", &good, session, "x".to_owned(), 404, "'nope' could not be found"),
        ("/orders/messages", &good, ("x-a", "b"), "x".to_owned(), 400, "InvalidOperation"),
        ("/orders/messages", &good, ("brokerproperties", "{"), "x".to_owned(), 400, "BrokerProperties"),
        ("/orders/messages", &good, session, "x".repeat(256 * 1024 + 1), 413, "262145 bytes"),
        ("/orders/messages", &good, session, "x".repeat(256 * 1024), 201, ""),
    ] {
        let headers = [("authorization", authorization), broker];
        let (found, _, text) = post(&bus, path, &headers, body).await;
        assert_eq!(found, status, "{path} {detail}: {text}");
        assert!(text.contains(detail), "{text}");
        let shape = text.starts_with(&format!("<Error><Code>{status}</Code><Detail>"));
        assert!(status == 201 || (shape && text.ends_with("</Detail></Error>")), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_dropped_inside_the_window_scheduled_ones_too() {
    let window = Some(10 * MINUTE);
    let bus = bus(QueueOptions { duplicate_detection_window: window, ..QueueOptions::default() });
    let scheduled = Message::new("x").with_id("m-1").scheduled_at(NOON + 5 * MINUTE);
    assert!(bus.send("orders", scheduled).unwrap().is_some());
    assert_eq!(bus.send("orders", Message::new("x").with_id("m-1")).unwrap(), None);
    tokio::time::advance(11 * MINUTE).await;
    assert!(bus.send("orders", Message::new("x").with_id("m-1")).unwrap().is_some());
    let queue = &bus.snapshot()["queues"]["orders"];
    assert_eq!((&queue["active"], &queue["deduplicated"]), (&json!(2), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_ends_redelivers_and_the_last_delivery_is_buried() {
    let bus = bus(QueueOptions { max_delivery_count: 2, ..QueueOptions::default() });
    bus.send("orders", Message::new("x")).unwrap();
    let first = bus.receive("orders", 1).await.unwrap().remove(0);
    let second = bus.receive("orders", 1).await.unwrap().remove(0);
    assert_eq!(bus.clock().now(), NOON + MINUTE, "the second receiver waited for the lock to end");
    assert_eq!((first.delivery_count, second.delivery_count), (1, 2));
    assert_eq!(bus.complete("orders", first.lock_token), Err(BusError::LockLost));
    tokio::time::advance(MINUTE).await;
    assert_eq!(bus.available("orders"), 0);
    let dead = bus.try_receive(&format!("ORDERS{DEAD_LETTER_SUFFIX}"), 1).unwrap().remove(0);
    assert_eq!(dead.message.application_properties["DeadLetterReason"], "MaxDeliveryCountExceeded");
}

#[tokio::test(start_paused = true)]
async fn a_session_has_one_receiver_and_keeps_its_order() {
    let bus = bus(QueueOptions { requires_session: true, ..QueueOptions::default() });
    for body in ["a1", "a2"] {
        bus.send("orders", Message::new(body).in_session("a")).unwrap();
    }
    assert!(matches!(bus.try_receive("orders", 1), Err(BusError::SessionMismatch(_))));
    let session = bus.accept_session("orders").await.unwrap();
    let first = bus.receive_in_session("orders", &session, 1).await.unwrap().remove(0);
    bus.abandon("orders", first.lock_token).unwrap();
    let again = bus.receive_in_session("orders", &session, 2).await.unwrap();
    let bodies: Vec<_> =
        again.iter().map(|delivery| (&delivery.message.body[..], delivery.delivery_count)).collect();
    assert_eq!(bodies, [(&b"a1"[..], 2), (&b"a2"[..], 1)]);

    let other = tokio::time::timeout(MINUTE / 2, bus.accept_session("orders")).await;
    assert!(other.is_err(), "the session is taken");
    bus.renew_session("orders", &session).unwrap();
    let next = bus.accept_session("orders").await.unwrap();
    assert_eq!((next.session_id.as_str(), bus.clock().now()), ("a", NOON + MINUTE / 2 + MINUTE));
    assert_eq!(bus.renew_session("orders", &session), Err(BusError::LockLost));
}
