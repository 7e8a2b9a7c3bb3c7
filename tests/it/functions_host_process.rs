//! The stand-in host with a worker in a process of its own, in real time.
//!
//! The worker is a shell script; where it must speak HTTP the script starts this test binary again,
//! with one ignored test that serves.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use hubward::local::functions_host::{
    Diagnostic, DiagnosticCode, Framing, FunctionsHost, HostState, HostStatus, LogLevel, Worker, WorkerState,
};
use serde_json::{Value, json};

use crate::functions_host_support::{World, call, codes, counts, queue_trigger};

/// Well above what any of this takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Serves as the body of the worker process. Not a test.
#[test]
#[ignore = "started as a worker by the tests below"]
#[expect(clippy::disallowed_methods, reason = "a worker is told its port by the environment, and may crash")]
fn worker() {
    let port: u16 = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT").unwrap().parse().unwrap();
    async fn answer(request: Request) -> Response {
        if request.method() == "GET" {
            return StatusCode::NOT_FOUND.into_response();
        }
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let text = body["Data"]["input"].as_str().unwrap_or_default().to_owned();
        match text.as_str() {
            r#""crash""# if body["Metadata"]["DequeueCount"] == "1" => std::process::exit(3),
            r#""sleep""# => tokio::time::sleep(LIMIT).await,
            _ => {}
        }
        let framing = |headers: &HeaderMap| match headers.get(header::TRANSFER_ENCODING) {
            Some(_) => "chunked",
            None if headers.contains_key(header::CONTENT_LENGTH) => "length",
            None => "none",
        };
        let log = json!({ "Logs": [format!("{} {}", parts.uri, framing(&parts.headers))] });
        ([(header::CONTENT_TYPE, "application/json")], log.to_string()).into_response()
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
    });
}

/// A world whose `handler` is this shell script, with one queue function.
fn world(script: &str) -> World {
    let world = World::new().triggered("Orders", queue_trigger());
    let handler = world.path().join("handler");
    std::fs::write(&handler, format!("#!/bin/bash\n{script}\n")).unwrap();
    std::fs::set_permissions(&handler, std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = std::env::current_exe().unwrap().display().to_string();
    world.queues.create("orders");
    world.setting("TEST_BINARY", &binary)
}

const SERVE: &str = r#"exec "$TEST_BINARY" functions_host_process::worker --exact --ignored --nocapture"#;

async fn until(host: &FunctionsHost, wanted: impl Fn(&HostStatus) -> bool) -> HostStatus {
    let waited = tokio::time::timeout(LIMIT, host.wait_until(wanted)).await;
    assert!(waited.is_ok(), "{:#?}", host.status());
    host.status()
}

async fn idle(host: &FunctionsHost) {
    assert!(tokio::time::timeout(LIMIT, host.wait_idle()).await.is_ok(), "{:#?}", host.status());
}

#[tokio::test]
async fn a_worker_process_is_started_invoked_and_killed() {
    for (framing, word) in [(Framing::Chunked, "chunked"), (Framing::ContentLength, "length")] {
        let world = world(SERVE);
        let mut options = world.options(Worker::Process);
        options.framing = framing;
        let host = FunctionsHost::start(options).unwrap();
        world.queues.put_base64("orders", "x").unwrap();
        idle(&host).await;
        let status = host.status();
        assert_eq!(counts(&status, "Orders"), (1, 0), "{status:#?}");
        assert_eq!(world.user_log(), [format!("/Orders {word}")]);
        let pid = status.worker.pid.unwrap();
        let (state, ..) = call(&host, "GET", "/admin/host/status", &[], "").await;
        assert_eq!((status.state, state), (HostState::Running, 200));
        host.shutdown().await;
        assert!(!std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists());
    }
}

#[tokio::test]
async fn the_message_of_a_crashed_worker_comes_back_to_its_successor() {
    let world = world(SERVE);
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    world.queues.put_base64("orders", "crash").unwrap();
    idle(&host).await;
    let status = host.status();
    assert_eq!(counts(&status, "Orders"), (1, 1));
    assert_eq!((status.worker.restarts, status.worker.strikes), (1, 1));
    assert_eq!(codes(&status), [DiagnosticCode::WorkerCrashed]);
    host.shutdown().await;
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_is_replaced() {
    let world = world(SERVE);
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    world.queues.put_base64("orders", "sleep").unwrap();
    let before = until(&host, |status| {
        status.worker.state == WorkerState::Ready && status.functions["Orders"].counts.running == 1
    });
    let before = before.await;
    host.kill_worker();
    let after =
        until(&host, |status| status.worker.state == WorkerState::Ready && status.worker.restarts == 1);
    let after = after.await;
    assert_ne!(before.worker.pid, after.worker.pid);
    assert_eq!(after.worker.strikes, 1);
}

#[tokio::test]
async fn three_failures_stop_the_host_and_leave_the_message_alone() {
    let world = world("echo starting; echo 'one warning' >&2; echo 'no such profile' >&2; exit 3");
    world.queues.put_base64("orders", "x").unwrap();
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    let status = until(&host, |status| status.state == HostState::Error).await;
    let crashed = DiagnosticCode::WorkerCrashed;
    assert_eq!(codes(&status), [crashed, crashed, crashed, DiagnosticCode::HostStopped]);
    let words = "the worker exited with code 3; its last words: one warning | no such profile";
    assert_eq!(status.diagnostics.iter().filter(|diagnostic| diagnostic.message == words).count(), 3);
    assert_eq!(status.worker.state, WorkerState::Stopped);
    host.shutdown().await;
    let log = world.log.lock().unwrap();
    let level = |text: &str| log.iter().find(|line| line.text == text).map(|line| line.level);
    assert_eq!(level("starting"), Some(LogLevel::Information));
    assert_eq!(level("one warning"), Some(LogLevel::Warning));
    assert_eq!(level("no such profile"), Some(LogLevel::Error));
}

#[tokio::test]
async fn exit_code_200_restarts_for_free() {
    // Five times 200, then it stays.
    let script = format!("echo x >> tries; [ $(wc -l < tries) -gt 5 ] && {SERVE}; exit 200");
    let world = world(&script);
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    let status = until(&host, |status| status.worker.state == WorkerState::Ready).await;
    assert_eq!((status.worker.restarts, status.worker.strikes, codes(&status)), (5, 0, vec![]));
}

#[tokio::test]
async fn exit_code_0_leaves_a_host_whose_functions_all_fail() {
    let script = format!("{} & pid=$!; sleep 1; kill -9 $pid; exit 0", SERVE.trim_start_matches("exec "));
    let world = world(&script);
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    let status = until(&host, |status| status.worker.state == WorkerState::ExitedZero).await;
    assert_eq!((codes(&status), status.state), (vec![DiagnosticCode::WorkerExitedZero], HostState::Running));
    world.queues.put_base64("orders", "x").unwrap();
    idle(&host).await;
    assert_eq!(counts(&host.status(), "Orders"), (0, 5));
    assert_eq!(world.queues.payloads("orders-poison"), ["x"]);
    assert_eq!(host.status().worker.restarts, 0);
}

#[tokio::test]
async fn a_worker_that_never_listens_is_given_up() {
    let world = world("exec sleep 60").host_json(json!({
        "customHandler": { "initializationTimeout": "00:00:00.2" },
    }));
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    let status = until(&host, |status| status.state == HostState::Error).await;
    let said = |diagnostic: &Diagnostic| diagnostic.message.contains("did not answer GET /");
    assert_eq!(status.diagnostics.iter().filter(|diagnostic| said(diagnostic)).count(), 3, "{status:#?}");
}

#[tokio::test]
async fn the_environment_holds_settings_and_the_hosts_own_variables() {
    let script = r#"env; echo "args: $*"; pwd; exec sleep 60"#;
    let world = world(script).setting("MY_SETTING", "a b").host_json(json!({
        "customHandler": { "description": {
            "arguments": ["--port", "%FUNCTIONS_CUSTOMHANDLER_PORT%", "%MY_SETTING%", "%NOTHING%."],
            "workingDirectory": "Orders",
        } },
    }));
    let log = Arc::clone(&world.log);
    let host = FunctionsHost::start(world.options(Worker::Process)).unwrap();
    let lines = || log.lock().unwrap().iter().map(|line| line.text.clone()).collect::<Vec<_>>();
    let waited = async {
        while !lines().iter().any(|line| line.ends_with("/Orders")) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, waited).await.unwrap();
    let lines = lines();
    let value = |name: &str| {
        let prefix = format!("{name}=");
        lines.iter().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    };
    let port = host.status().worker.port.unwrap().to_string();
    assert_eq!(value("FUNCTIONS_CUSTOMHANDLER_PORT"), Some(port.clone()));
    assert_eq!(value("FUNCTIONS_HTTPWORKER_PORT"), Some(port.clone()));
    assert_eq!(value("FUNCTIONS_CUSTOMHANDLER_WORKER_ID"), value("FUNCTIONS_HTTPWORKER_ID"));
    assert_eq!(value("FUNCTIONS_APP_ROOT_PATH"), Some(world.path().display().to_string()));
    assert_eq!(value("MY_SETTING"), Some("a b".to_owned()));
    assert!(value("PATH").is_some());
    assert!(lines.contains(&format!("args: --port {port} a b .")), "{lines:#?}");
}
