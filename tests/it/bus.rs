//! What the Service Bus is sent, and what becomes of its refusals.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, routing::post};
use azure_core::http::Url;
use http::{HeaderMap, StatusCode};
use hubward::{
    bus::{ServiceBusQueue, WORK_QUEUE, WorkQueue},
    local::{azure::Settings, in_process::InProcess},
    work::WorkItem,
};
use serde_json::Value;
use time::macros::datetime;

use crate::support::{
    cloud::{Cloud, SimCredential},
    world::hub_id,
};

#[derive(Clone, Default)]
struct Namespace {
    seen: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<Vec<StatusCode>>>,
}

/// A namespace that gives these answers, and then takes everything.
fn namespace(answers: &[StatusCode]) -> (Namespace, ServiceBusQueue) {
    async fn take(State(namespace): State<Namespace>, headers: HeaderMap, body: String) -> StatusCode {
        namespace.seen.lock().unwrap().push((headers, body));
        namespace.answers.lock().unwrap().pop().unwrap_or(StatusCode::CREATED)
    }
    let namespace = Namespace::default();
    namespace.answers.lock().unwrap().extend(answers.iter().rev());
    let router = Router::new().route("/hub-work/messages", post(take)).with_state(namespace.clone());
    let queue = ServiceBusQueue::new(
        WORK_QUEUE,
        Url::parse("https://ns1.servicebus.usgovcloudapi.net").unwrap(),
        Arc::new(SimCredential(Cloud::new(Settings::immediate()).azure.clone())),
        Arc::new(InProcess::new().with("ns1.servicebus.usgovcloudapi.net", router)),
    );
    (namespace, queue.unwrap())
}

fn item() -> WorkItem {
    WorkItem::for_event(hub_id("Hub1"), false, Some("e1".into()), None)
}

#[tokio::test(start_paused = true)]
async fn a_message_carries_session_id_and_time_and_an_entra_token() {
    let (namespace, queue) = namespace(&[]);
    let now = item();
    queue.send(&now).await.unwrap();
    let later = now.follow_up(
        "the grants to spread",
        datetime!(2026-01-31 12:01:00 UTC),
        hubward::reconcile::Chain::default(),
    );
    queue.send(&later).await.unwrap();

    let seen = namespace.seen.lock().unwrap();
    let properties =
        |n: usize| serde_json::from_str::<Value>(seen[n].0["brokerproperties"].to_str().unwrap()).unwrap();
    assert_eq!(properties(0)["SessionId"], now.hub.key());
    assert_eq!(properties(0)["MessageId"], now.work_id.to_string());
    assert_eq!(properties(0).get("ScheduledEnqueueTimeUtc"), None);
    assert_eq!(properties(1)["ScheduledEnqueueTimeUtc"], "Sat, 31 Jan 2026 12:01:01 GMT");
    for (headers, body) in seen.iter() {
        assert_eq!(headers.get_all("authorization").iter().count(), 1);
        assert!(
            headers["authorization"].to_str().unwrap().starts_with("Bearer ey"),
            "no shared access signature"
        );
        assert!(WorkItem::parse(body).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_trouble_is_waited_out_with_the_same_message() {
    let (namespace, queue) = namespace(&[StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS]);
    queue.send(&item()).await.unwrap();
    let seen = namespace.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|(headers, _)| headers["brokerproperties"] == seen[0].0["brokerproperties"]));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_what_to_do() {
    for (status, hint) in
        [(StatusCode::NOT_FOUND, "no such queue"), (StatusCode::FORBIDDEN, "Azure Service Bus Data Sender")]
    {
        let (namespace, queue) = namespace(&[status]);
        let error = queue.send(&item()).await.unwrap_err().to_string();
        assert!(error.contains("hub-work") && error.contains(hint), "{error}");
        assert_eq!(namespace.seen.lock().unwrap().len(), 1, "not tried again");
    }
}
