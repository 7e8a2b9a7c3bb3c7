//! Storage queues, seen from outside, without a service: what is sent, and what becomes of a no.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::Request, response::IntoResponse};
use azure_core::http::Url;
use http::StatusCode;
use hubward::{
    connect,
    local::{azure::Settings, in_process::InProcess},
    queue::{MessageEncoding, QueueError, QueueService, StorageQueue},
};

use crate::support::cloud::{Cloud, SimCredential};

const ACCOUNT: &str = "https://acct1.queue.core.windows.net";
const SECRET: &str = "c2VjcmV0";

type Seen = Arc<Mutex<Vec<(http::request::Parts, String)>>>;

/// An account that answers everything with this.
fn account(status: u16, code: &'static str, body: &'static str) -> (Seen, Arc<InProcess>) {
    let seen = Seen::default();
    let keep = seen.clone();
    let router = Router::new().fallback(move |request: Request| {
        let keep = keep.clone();
        async move {
            let (parts, sent) = request.into_parts();
            let sent = axum::body::to_bytes(sent, usize::MAX).await.unwrap();
            keep.lock().unwrap().push((parts, String::from_utf8(sent.to_vec()).unwrap()));
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("x-ms-error-code", code), ("content-type", "application/xml")], body).into_response()
        }
    });
    (seen, Arc::new(InProcess::new().elsewhere(router)))
}

fn with_token(transport: Arc<InProcess>) -> StorageQueue {
    let credential = SimCredential(Cloud::new(Settings::immediate()).azure.clone());
    let service = QueueService::with_token(Url::parse(ACCOUNT).unwrap(), Arc::new(credential), transport);
    service.unwrap().queue("hub-events", MessageEncoding::Base64).unwrap()
}

fn with_sas(transport: Arc<InProcess>) -> StorageQueue {
    let url = Url::parse(&format!("{ACCOUNT}/?sv=2021-12-02&sig={SECRET}")).unwrap();
    let service = QueueService::with_sas(url, transport).unwrap();
    assert!(!format!("{service:?}").contains(SECRET));
    service.queue("hub-events", MessageEncoding::Plain).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_sent_in_base64_with_an_entra_token() {
    let sent = "<?xml version=\"1.0\"?><QueueMessagesList><QueueMessage><MessageId>5a1b</MessageId>\
                </QueueMessage></QueueMessagesList>";
    let (seen, transport) = account(201, "", sent);
    let delay = Some(std::time::Duration::from_millis(1500));
    assert_eq!(with_token(transport).send("{\"a\":1}", delay).await.unwrap(), "5a1b");
    let (parts, body) = seen.lock().unwrap().remove(0);
    assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/hub-events/messages"));
    assert_eq!(parts.uri.query(), Some("visibilitytimeout=2"));
    assert!(parts.headers["authorization"].to_str().unwrap().starts_with("Bearer "));
    assert!(body.contains("<MessageText>eyJhIjoxfQ==</MessageText>"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_no_names_the_role_that_is_missing() {
    let (_, transport) = account(403, "AuthorizationPermissionMismatch", "");
    let queue = with_token(transport);
    let place = "queue hub-events of https://acct1.queue.core.windows.net";
    assert_eq!(
        queue.send("x", None).await.unwrap_err().to_string(),
        format!(
            "could not put a message on {place}: the service answered 403 AuthorizationPermissionMismatch; our \
             identity needs Storage Queue Data Message Sender on {place}; a new grant takes up to ten minutes"
        )
    );
    for (error, role) in [
        (queue.peek(1).await.unwrap_err(), "needs Storage Queue Data Reader on"),
        (queue.delete("i", "r").await.unwrap_err(), "needs Storage Queue Data Message Processor on"),
        (queue.create().await.unwrap_err(), "needs Storage Queue Data Contributor on"),
    ] {
        assert!(error.to_string().contains(role), "{error}");
    }
    let (_, transport) = account(403, "AuthorizationFailure", "");
    let error = with_token(transport).send("x", None).await.unwrap_err();
    assert!(error.to_string().contains("network rules"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_is_told_without_the_signature() {
    let (seen, transport) = account(403, "AuthenticationFailed", "");
    let error = with_sas(transport).peek(1).await.unwrap_err();
    assert!(
        error.to_string().contains("check its signature") && !error.to_string().contains(SECRET),
        "{error}"
    );
    assert!(seen.lock().unwrap()[0].0.uri.query().unwrap().contains(SECRET), "the service has to see it");

    let (_, transport) = account(200, "", "<html>a proxy's greeting</html>");
    let error = with_sas(transport).send("x", None).await.unwrap_err();
    assert!(matches!(error, QueueError::Unreadable { .. } | QueueError::Refused { .. }), "{error}");

    let (_, transport) = account(503, "ServerBusy", "");
    let error = with_sas(transport).peek(1).await.unwrap_err();
    assert_eq!(error.code(), Some("ServerBusy"));
}

#[tokio::test]
async fn nobody_there_is_told_without_the_signature() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = Url::parse(&format!("http://127.0.0.1:{port}/devstoreaccount1?sig={SECRET}")).unwrap();
    let service = QueueService::with_sas(url, Arc::new(connect::http_client().unwrap())).unwrap();
    let error = service.queue("q", MessageEncoding::Plain).unwrap().peek(1).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, QueueError::NoAnswer { .. }) && !text.contains(SECRET), "{text}");
    assert!(text.contains(&format!("http://127.0.0.1:{port}/devstoreaccount1: no answer")), "{text}");
}

#[test]
fn addresses_that_would_give_something_away_are_not_used() {
    let transport = || Arc::new(InProcess::new());
    for (url, why) in [
        (format!("http://acct1.queue.core.windows.net/?sig={SECRET}"), "http is only taken on loopback"),
        ("https://acct1.queue.core.windows.net/".to_owned(), "has no `sig`"),
        ("http://127.0.0.1:10001/devstoreaccount1?sig=".to_owned(), "has no `sig`"),
    ] {
        let error = QueueService::with_sas(Url::parse(&url).unwrap(), transport()).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains(SECRET), "{error}");
    }
    let credential = Arc::new(SimCredential(Cloud::new(Settings::immediate()).azure.clone()));
    let plain = Url::parse("http://127.0.0.1:10001/devstoreaccount1").unwrap();
    let error = QueueService::with_token(plain, credential, transport()).unwrap_err().to_string();
    assert!(error.contains("must be https"), "{error}");
}

#[test]
fn the_command_line_names_the_option_and_not_the_signature() {
    for (url, why) in [
        (
            format!("http://acct1.queue.core.windows.net/?sig={SECRET}"),
            "--storage: the URL of the queue service must",
        ),
        (format!("127.0.0.1:10001/devstoreaccount1?sig={SECRET}"), "--storage: not a URL"),
        ("http://127.0.0.1:10001/other".to_owned(), "--storage: the URL of the queue service has no `sig`"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hubward"));
        let output = command.args(["local", "--storage", &url]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(why) && !text.contains(SECRET), "{text}");
    }
}
