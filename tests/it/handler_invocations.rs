//! Calls as the Functions host makes them, one file per shape, and the triggers they decode to.

use std::{
    fmt::Debug,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use hubward::handler::{
    EventGridTrigger, FromInvocation, HttpTrigger, InvocationContext, InvocationResponse, QueueTrigger,
    RetryContext, Runtime, ScheduleStatus, ServiceBusBatch, ServiceBusTrigger, TimerTrigger,
};
use serde_json::{Value, json};
use time::macros::datetime;
use tower::ServiceExt;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/invocations")
}

/// A recorded request: its line, its headers and its body, which is JSON except for one.
struct Recorded {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Recorded {
    fn read(file: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{file}.json"))).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let (method, path) = value["line"].as_str().unwrap().split_once(' ').unwrap();
        let headers = value["headers"].as_object().unwrap();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
            body: value["body"].clone(),
        }
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = match &self.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            object => object.to_string(),
        };
        request.body(Body::from(body)).unwrap()
    }
}

/// Sends a recorded request to a function that takes a `T`, and gives what arrived there.
async fn received<T: FromInvocation + Send + 'static>(file: &str) -> (T, InvocationContext) {
    let recorded = Recorded::read(file);
    let name = recorded.path.trim_start_matches('/').to_owned();
    let slot = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&slot);
    let router = Runtime::new()
        .function(&name, move |trigger: T, context| {
            *inner.lock().unwrap() = Some((trigger, context));
            async { Ok(InvocationResponse::new()) }
        })
        .into_router();
    let response = router.oneshot(recorded.request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{file}");
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(body, r#"{"Outputs":{},"Logs":[],"ReturnValue":null}"#);
    slot.lock().unwrap().take().unwrap()
}

async fn check<T: FromInvocation + Debug + PartialEq + Send + 'static>(file: &str, expected: T) {
    assert_eq!(received::<T>(file).await.0, expected, "{file}");
}

#[tokio::test]
async fn the_probe_is_answered_without_any_function() {
    let router = Runtime::new().into_router();
    let response = router.oneshot(Recorded::read("probe").request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_headers_arrive_in_the_context() {
    let (_, context) = received::<EventGridTrigger>("event-grid-cloud-event").await;
    assert_eq!(context.function, "OnEvent");
    assert_eq!(context.invocation_id.as_deref(), Some("0d9c2a6e-6f0b-4c57-8a55-3b1f4a1f7e10"));
    assert_eq!(context.host_version.as_deref(), Some("4.1037.0.0"));
    let parent = context.traceparent.unwrap();
    assert_eq!(parent.as_str(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!((context.tracestate, context.retry), (None, None));
    let (_, context) = received::<QueueTrigger>("queue-text").await;
    assert_eq!(context.traceparent, None);
}

/// The message of all queue fixtures but for its text and its count.
fn queue(text: &str, dequeue_count: u32) -> QueueTrigger {
    QueueTrigger {
        text: text.to_owned(),
        id: "c4e5f2a0-0b0e-4c4d-8a3e-2f4d4a6f1b11".parse().ok(),
        dequeue_count: Some(dequeue_count),
        insertion_time: Some(datetime!(2026-01-31 12:00 UTC)),
        expiration_time: Some(datetime!(2026-02-07 12:00 UTC)),
        next_visible_time: Some(datetime!(2026-01-31 12:10:05 UTC)),
    }
}

#[tokio::test]
async fn queue_messages() {
    let order = r#"{"orderId":"o-17","quantity":3,"urgent":true,"placedAt":"2026-01-31T11:59:00Z","customer":{"id":"c-9","name":"Ada"},"lines":[{"sku":"x"}],"note":null}"#;
    check("queue-object", queue(order, 1)).await;
    check("queue-fourth-delivery", queue(order, 4)).await;
    check("queue-fifth-delivery", queue(order, 5)).await;
    check("queue-text", queue("hello world", 1)).await;
    check("queue-list", queue(r#"[{"a":1},{"a":2}]"#, 1)).await;
    check("queue-number", queue("42", 1)).await;
    check("queue-bytes", queue("AP8QIA==", 1)).await;
    let (bytes, _) = received::<QueueTrigger>("queue-bytes").await;
    assert_eq!(bytes.bytes().unwrap(), [0x00, 0xff, 0x10, 0x20]);
}

#[tokio::test]
async fn a_payload_that_overwrites_the_metadata_is_not_believed() {
    let text = r#"{"id":"payload-id","dequeueCount":99,"sys":{"spoofed":true}}"#;
    check(
        "queue-payload-overwrites-metadata",
        QueueTrigger { id: None, dequeue_count: None, ..queue(text, 0) },
    )
    .await;
}

#[tokio::test]
async fn a_function_started_by_hand_has_no_message_behind_it() {
    let expected = QueueTrigger {
        text: r#"{"orderId":"o-17"}"#.to_owned(),
        id: None,
        dequeue_count: Some(0),
        insertion_time: Some(datetime!(2026-01-31 12:00:05 UTC)),
        expiration_time: Some(datetime!(9999-12-31 23:59:59 UTC)),
        next_visible_time: Some(datetime!(9999-12-31 23:59:59 UTC)),
    };
    check("queue-started-by-hand", expected).await;
}

/// A message of which only what all fixtures share is set.
fn bus(body: &str, message_id: &str, delivery_count: u32, sequence_number: i64) -> ServiceBusTrigger {
    ServiceBusTrigger {
        body: body.to_owned(),
        message_id: Some(message_id.to_owned()),
        session_id: None,
        delivery_count: Some(delivery_count),
        enqueued_time: Some(datetime!(2026-01-31 12:00 UTC)),
        expires_at: Some(datetime!(2026-02-14 12:00 UTC)),
        sequence_number: Some(sequence_number),
        correlation_id: None,
        subject: None,
        content_type: None,
        to: None,
        reply_to: None,
        partition_key: None,
        dead_letter_source: None,
        application_properties: Default::default(),
    }
}

#[tokio::test]
async fn service_bus_messages() {
    let text = |text: &str| Some(text.to_owned());
    let id = "f2d0c6f1c5a94b6c8a5f0f6f1f6f0a11";
    let expected = ServiceBusTrigger {
        correlation_id: text("corr-1"),
        subject: text("order.created"),
        content_type: text("application/json"),
        application_properties: json!({"tenant": "t1", "attempt": 2}).as_object().cloned().unwrap(),
        ..bus(r#"{"orderId":"o-17","quantity":3}"#, id, 1, 1)
    };
    check("service-bus-object", expected).await;
    check("service-bus-tenth-delivery", bus("ping", id, 10, 1)).await;
}

#[tokio::test]
async fn service_bus_batches() {
    let second = ServiceBusTrigger {
        enqueued_time: Some(datetime!(2026-01-31 12:00:01 UTC)),
        expires_at: Some(datetime!(2026-02-14 12:00:01 UTC)),
        ..bus(r#"{"n":2}"#, "m-2", 1, 2)
    };
    let batch = ServiceBusBatch { messages: vec![bus(r#"{"n":1}"#, "m-1", 1, 1), second] };
    check("service-bus-batch-of-texts", batch.clone()).await;
    check("service-bus-batch-of-objects", batch).await;
}

fn blob_created(id: &str) -> Value {
    let topic = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/sa";
    json!({
        "id": id,
        "topic": topic,
        "subject": "/blobServices/default/containers/in/blobs/a.csv",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-31T12:00:00.1234567Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {"api": "PutBlob", "contentLength": 524, "url": "https://sa.blob.core.windows.net/in/a.csv"},
    })
}

#[tokio::test]
async fn event_grid_events() {
    let first = blob_created("831e1650-001e-001b-66ab-eeb76e069631");
    let second = blob_created("831e1650-001e-001b-66ab-eeb76e069632");
    check("event-grid-own-schema", EventGridTrigger { events: vec![first.clone()] }).await;
    check("event-grid-delivery-to-fail", EventGridTrigger { events: vec![first.clone()] }).await;
    check("event-grid-two-events", EventGridTrigger { events: vec![first, second] }).await;
    let cloud = |data: Value| EventGridTrigger {
        events: vec![json!({
            "specversion": "1.0",
            "id": "a1b2",
            "source": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/sa",
            "type": "Microsoft.Storage.BlobCreated",
            "subject": "/blobServices/default/containers/in/blobs/a.csv",
            "time": "2026-01-31T12:00:00.1234567Z",
            "datacontenttype": "application/json",
            "data": data,
        })],
    };
    check("event-grid-cloud-event", cloud(json!({"api": "PutBlob", "contentLength": 524}))).await;
    check("event-grid-data-is-text", cloud(json!("plain text"))).await;
}

#[tokio::test]
async fn timers() {
    let tick = |last, next, last_updated| TimerTrigger {
        schedule_status: Some(ScheduleStatus { last, next, last_updated }),
        is_past_due: false,
        adjust_for_dst: true,
        retry: None,
    };
    let due = Some(datetime!(2026-01-31 12:05 UTC));
    let precisely = Some(datetime!(2026-01-31 12:00:00.0131415 UTC));
    check("timer-on-time", tick(precisely, due, precisely)).await;
    check("timer-first-run", tick(None, due, None)).await;
    let eleven = Some(datetime!(2026-01-31 11:00 UTC));
    let late = tick(eleven, Some(datetime!(2026-01-31 11:05 UTC)), eleven);
    check("timer-past-due", TimerTrigger { is_past_due: true, ..late }).await;
    check("timer-without-state", TimerTrigger { adjust_for_dst: true, ..TimerTrigger::default() }).await;
    let noon = Some(datetime!(2026-01-31 12:00 UTC));
    let retry = Some(RetryContext { retry_count: 1, max_retry_count: Some(2) });
    check("timer-second-attempt", TimerTrigger { retry, ..tick(noon, due, noon) }).await;
    assert_eq!(received::<TimerTrigger>("timer-second-attempt").await.1.retry, retry);
}

#[tokio::test]
async fn a_wrapped_http_request() {
    let (request, _) = received::<HttpTrigger>("http-wrapped").await;
    assert_eq!(request.method, http::Method::POST);
    assert_eq!(request.url, "http://localhost:7071/api/orders/o-17?dry=1");
    let pairs: Vec<_> = request.headers.names().map(|n| (n, request.headers.get(n).unwrap())).collect();
    assert_eq!(
        pairs,
        [
            ("accept", "*/*"),
            ("content-length", "14"),
            ("content-type", "application/json"),
            ("host", "localhost:7071"),
            ("user-agent", "curl/8.5.0"),
            ("x-functions-key", "K"),
        ]
    );
    assert_eq!(request.query, [("dry".to_owned(), "1".to_owned())].into());
    assert_eq!(request.params, [("id".to_owned(), json!("o-17"))].into());
    assert_eq!(request.body.as_deref(), Some(r#"{"quantity":3}"#));
    assert_eq!(request.body_bytes().unwrap(), br#"{"quantity":3}"#);
    assert_eq!(request.auth_level(), Some("Function"));
    let [identity] = request.identities.as_slice() else { panic!("one identity") };
    assert_eq!(identity.authentication_type.as_deref(), Some("WebJobsAuthLevel"));
    assert!(identity.is_authenticated);
    let debug = format!("{request:?}");
    assert!(
        debug.contains("x-functions-key") && !debug.contains("\"K\"") && !debug.contains("quantity"),
        "{debug}"
    );
}

#[tokio::test]
async fn forwarded_requests_are_not_calls() {
    let router = Runtime::new()
        .function("HttpOrders", |_: HttpTrigger, _| async { Ok(InvocationResponse::new()) })
        .into_router();
    let response = router.oneshot(Recorded::read("http-forwarded").request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn every_fixture_is_used_here() {
    let source = include_str!("handler_invocations.rs");
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(source.contains(&format!("\"{name}\"")), "{name} is tested nowhere");
    }
}
