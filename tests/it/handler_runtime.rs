//! The runtime against functions that fail and requests that no host would send.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
};
use futures::stream;
use http::{Request, StatusCode};
use hubward::handler::{
    EventGridTrigger, FunctionOptions, HandlerError, HttpTrigger, Invocation, InvocationResponse,
    OutputMessage, QueueTrigger, Runtime, ServiceBusBatch, TimerTrigger, bind, serve,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::ServiceExt;
use tracing_subscriber::fmt::MakeWriter;

fn post(function: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(format!("/{function}")).header("x-azure-functions-invocationid", "call-1");
    request.body(body.into()).unwrap()
}

/// The status and the body, which is a JSON object whatever happened.
async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert!(value.is_object());
    (status, value)
}

fn queue_call(text: &str) -> String {
    let encoded = Value::from(text).to_string();
    json!({"Data": {"item": encoded}, "Metadata": {"DequeueCount": "1"}}).to_string()
}

/// A runtime whose functions end in each way there is, chosen by the message's text.
fn router() -> Router {
    Runtime::new()
        .deadline(Duration::from_secs(10))
        .function("Queue", |message: QueueTrigger, context| async move {
            match message.text.as_str() {
                "for good" => Err(HandlerError::permanent("the hub is not ours")),
                "for now" => Err(HandlerError::transient(io::Error::other("throttled"))),
                "panic" => panic!("on purpose"),
                "forever" => std::future::pending().await,
                "as long as allowed" => {
                    tokio::time::sleep(context.remaining() - Duration::from_millis(1)).await;
                    Ok(InvocationResponse::new())
                }
                text => {
                    let message = OutputMessage::text(text).map_err(HandlerError::permanent)?;
                    Ok(InvocationResponse::new().send("next", message).log("passed on"))
                }
            }
        })
        .function("Events", |delivery: EventGridTrigger, _| async move {
            Ok(InvocationResponse::new().log(delivery.events.len().to_string()))
        })
        .function("Batch", |batch: ServiceBusBatch, _| async move {
            Ok(InvocationResponse::new().log(batch.messages.len().to_string()))
        })
        .function("Tick", |_: TimerTrigger, _| async { Ok(InvocationResponse::new()) })
        .function("Http", |_: HttpTrigger, _| async { Err(HandlerError::permanent("no")) })
        .function_with(
            "Named",
            FunctionOptions::new().binding("second"),
            |message: QueueTrigger, _| async move { Ok(InvocationResponse::new().log(message.text)) },
        )
        .function("Raw", |invocation: Invocation, _| async move {
            Ok(InvocationResponse::new().log(invocation.head.function))
        })
        .into_router()
}

#[tokio::test]
async fn an_answer_carries_messages_and_lines() {
    let (status, answer) = send(&router(), post("Queue", queue_call("hello"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, json!({"Outputs": {"next": ["hello"]}, "Logs": ["passed on"], "ReturnValue": null}));
}

#[tokio::test]
async fn a_failure_for_good_is_acknowledged_and_one_for_now_is_not() {
    let (status, answer) = send(&router(), post("Queue", queue_call("for good"))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["Logs"], json!(["failed for good, not tried again: the hub is not ours"]));
    let (status, answer) = send(&router(), post("Queue", queue_call("for now"))).await;
    assert_eq!((status, answer), (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": "throttled"})));
}

#[tokio::test]
async fn an_http_client_never_gets_a_failure_as_a_success() {
    let call = json!({"Data": {"req": {"Method": "GET", "Url": "http://h/"}}}).to_string();
    let (status, _) = send(&router(), post("Http", call)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let (status, answer) = send(&router(), post("Http", json!({"Data": {"req": "x"}}).to_string())).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["error"], "binding `req` should be an HTTP request and is text");
}

#[tokio::test]
async fn a_panic_ends_one_call_and_nothing_else() {
    let router = router();
    for _ in 0..3 {
        let (status, answer) = send(&router, post("Queue", queue_call("panic"))).await;
        assert_eq!(
            (status, answer),
            (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": "the function panicked"}))
        );
    }
    assert_eq!(send(&router, post("Queue", queue_call("next"))).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_holds_whatever_a_function_does() {
    let (status, answer) = send(&router(), post("Queue", queue_call("forever"))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["error"], "the function did not finish within 10000 ms");
    assert_eq!(send(&router(), post("Queue", queue_call("as long as allowed"))).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_not_waited_for() {
    let body = Body::from_stream(stream::pending::<Result<Bytes, io::Error>>());
    let (status, _) = send(&router(), post("Queue", body)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test(start_paused = true)]
async fn a_function_may_have_a_deadline_of_its_own() {
    let options = FunctionOptions::new().deadline(Duration::from_secs(2));
    let router = Runtime::new()
        .deadline(Duration::MAX)
        .function_with("Slow", options, |_: TimerTrigger, _| std::future::pending())
        .function("Quick", |_: TimerTrigger, _| async { Ok(InvocationResponse::new()) })
        .into_router();
    let call = json!({"Data": {"timer": {}}}).to_string();
    let (_, answer) = send(&router, post("Slow", call.clone())).await;
    assert_eq!(answer["error"], "the function did not finish within 2000 ms");
    assert_eq!(send(&router, post("Quick", call)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_envelope_is_a_failure_of_the_call() {
    let junk = "x".repeat(5 * 1024 * 1024);
    let deep = format!("{{\"Data\":{{\"a\":{}1{}}}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        "",
        "null",
        "42",
        "[]",
        "{}",
        "{",
        "\u{0}",
        &junk,
        &deep,
        "{\"Data\":\"{}\"}",
        "{\"Data\":{\"a\":\"\\udfff\"}}",
        "{\"Data\":{},\"Metadata\":\"\"}",
        "{\"Data\":{\"a\":1}",
        "{\"Data\":{\"a\":1}}}",
    ] {
        for function in ["Queue", "Events", "Batch", "Tick", "Http", "Named", "Raw"] {
            let (status, answer) = send(&router(), post(function, body.to_owned())).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{function}");
            assert!(answer["error"].as_str().unwrap().len() < 200);
        }
    }
    let broken =
        stream::iter([Ok(Bytes::from_static(b"{\"Data\"")), Err(io::Error::other("connection reset"))]);
    let (status, answer) = send(&router(), post("Queue", Body::from_stream(broken))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer["error"].as_str().unwrap().starts_with("could not read the request's body"));
}

#[tokio::test]
async fn doubled_keys_and_large_messages_are_fine() {
    let twice = r#"{"Data":{"item":"\"one\"","item":"\"two\""},"Data":{"item":"\"three\""}}"#;
    assert_eq!(send(&router(), post("Queue", twice)).await.1["Outputs"]["next"], json!(["three"]));
    let large = "é".repeat(3 * 1024 * 1024);
    let (status, answer) = send(&router(), post("Queue", queue_call(&large))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["Outputs"]["next"][0].as_str().map(str::len), Some(large.len()));
}

#[tokio::test]
async fn data_of_the_wrong_shape_is_not_delivered_again() {
    for (function, data) in [
        ("Events", json!({"event": "\"plain\""})),
        ("Events", json!({"event": "null"})),
        ("Batch", json!({"messages": "{\"n\":1}"})),
        ("Tick", json!({"timer": "[]"})),
        ("Tick", json!({"timer": null})),
    ] {
        let (status, answer) = send(&router(), post(function, json!({"Data": data}).to_string())).await;
        assert_eq!(status, StatusCode::OK, "{function}");
        let line = answer["Logs"][0].as_str().unwrap();
        assert!(
            line.starts_with("failed for good") && line.contains("should be") && !line.contains("plain"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_wrong_binding_name_keeps_the_message() {
    let call = json!({"Data": {"first": "\"1\"", "second": "\"2\""}}).to_string();
    assert_eq!(send(&router(), post("Named", call.clone())).await.1["Logs"], json!(["2"]));
    let (status, answer) = send(&router(), post("Named", queue_call("x"))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["error"], "the host sent no binding `second`, but `item`");
    assert_eq!(send(&router(), post("Queue", call)).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn metadata_of_any_type_is_no_reason_to_fail() {
    for odd in [json!(null), json!(-1), json!(1e300), json!("\"x\""), json!([]), json!({}), json!("[[")] {
        let metadata = json!({
            "DequeueCount": odd, "Id": odd, "InsertionTime": odd, "RetryContext": odd, "MessageIdArray": odd,
            "SequenceNumberArray": odd, "ApplicationPropertiesArray": odd, "sys": odd,
        });
        for (function, data) in
            [("Queue", json!("\"x\"")), ("Batch", json!("[1,null,\"x\"]")), ("Tick", json!({}))]
        {
            let call = json!({"Data": {"item": data}, "Metadata": metadata}).to_string();
            assert_eq!(send(&router(), post(function, call)).await.0, StatusCode::OK, "{function} {odd}");
        }
    }
}

#[tokio::test]
async fn other_paths_and_methods() {
    let router = router();
    for (request, expected) in [
        (Request::get("/"), StatusCode::OK),
        (Request::post("/"), StatusCode::METHOD_NOT_ALLOWED),
        (Request::get("/Queue"), StatusCode::METHOD_NOT_ALLOWED),
        (Request::post("/queue"), StatusCode::INTERNAL_SERVER_ERROR),
        (Request::post("/Queue/"), StatusCode::INTERNAL_SERVER_ERROR),
        (Request::post("/api/%00/Queue?code=K"), StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let request = request.body(Body::from(queue_call("x"))).unwrap();
        let line = format!("{} {}", request.method(), request.uri());
        assert_eq!(send(&router, request).await.0, expected, "{line}");
    }
}

#[test]
#[should_panic(expected = "registered twice")]
fn a_name_belongs_to_one_function() {
    let run = |_: TimerTrigger, _| async { Ok(InvocationResponse::new()) };
    let _ = Runtime::new().function("Tick", run).function("Tick", run);
}

#[tokio::test]
async fn over_a_socket_with_chunks_and_with_a_length() {
    let listener = bind(0).await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(address.is_ipv4() && address.ip().is_loopback());
    let server = tokio::spawn(serve(listener, router()));
    let body = queue_call("hello");
    let (first, second) = body.split_at(9);
    let chunked = format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    for (header, body) in [
        ("Transfer-Encoding: chunked".to_owned(), chunked),
        (format!("Content-Length: {}", body.len()), body.clone()),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("POST /Queue HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(
            answer.ends_with(r#"{"Outputs":{"next":["hello"]},"Logs":["passed on"],"ReturnValue":null}"#),
            "{answer}"
        );
    }
    server.abort();
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_names_the_call_and_quotes_nothing_of_it() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let router = router();
    let secret = "s3cr3t";
    for text in ["for good", "for now", "panic", secret] {
        let request = Request::post("/Queue?code=s3cr3t")
            .header("x-functions-key", secret)
            .header("x-azure-functions-invocationid", "call-1")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        send(&router, request.body(Body::from(queue_call(text))).unwrap()).await;
    }
    send(&router, post("Queue", format!("{secret} {{"))).await;
    send(&router, post("Queue", json!({"Data": {"a": secret, "b": secret}}).to_string())).await;
    send(&router, post("api/s3cr3t/x?code=s3cr3t", secret)).await;
    send(&router, Request::get("/").body(Body::empty()).unwrap()).await;
    drop(guard);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains(secret), "{text}");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let closing: Vec<&Value> = events.iter().filter(|e| e["fields"]["duration_ms"].is_u64()).collect();
    let outcomes: Vec<_> = closing.iter().map(|e| e["fields"]["outcome"].as_str().unwrap()).collect();
    assert_eq!(
        outcomes,
        ["failed for good", "failed for now", "panicked", "succeeded", "unreadable", "failed"]
    );
    let span = &closing[0]["span"];
    assert_eq!(closing[0]["level"], "INFO");
    assert_eq!(span["function.name"], "Queue");
    assert_eq!(span["invocation.id"], "call-1");
    assert_eq!(span["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let levels: Vec<_> =
        events.iter().filter(|e| e["level"] != "INFO").map(|e| e["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["ERROR", "WARN", "ERROR", "ERROR", "ERROR", "WARN"]);
}
