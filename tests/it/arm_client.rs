//! One call to ARM: what is sent, what is tried again, and where a token never goes.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
};
use azure_core::http::Url;
use hubward::{
    arm::{ArmClient, ArmError, ArmReader, ArmWriter, AzureClock, Reaction, Urgency},
    local::{azure::Settings, in_process::InProcess},
    model::{
        desired::Target,
        hub::{HubEdit, IdentityEdit, KeyNeed, Secrets, Slot},
        observed::{HeldRole, Network, ObservedTarget},
        role::Role,
    },
};
use serde_json::{Value, json};
use time::Duration;
use tokio::time::Instant;

use crate::support::{
    cloud::{Cloud, START, SimCredential},
    world::{World, event_hub, hub_id},
};

pub(crate) const ARM: &str = "arm.test";

/// A server that answers from a list, and keeps what it was asked.
#[derive(Clone, Default)]
pub(crate) struct Script {
    answers: Arc<Mutex<Vec<Response>>>,
    asked: Arc<Mutex<Vec<(http::request::Parts, Value)>>>,
}

impl Script {
    pub(crate) fn new(answers: Vec<Response>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().rev().collect())), asked: Arc::default() }
    }

    pub(crate) fn client(&self) -> ArmClient {
        async fn answer(State(script): State<Script>, request: Request) -> Response {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            script.asked.lock().unwrap().push((parts, serde_json::from_slice(&body).unwrap_or_default()));
            script.answers.lock().unwrap().pop().unwrap_or_else(|| reply(500, &[], json!({})))
        }
        let server = Router::new().fallback(answer).with_state(self.clone());
        let elsewhere = self.clone();
        let stranger = Router::new().fallback(answer).with_state(elsewhere);
        ArmClient::new(
            Url::parse(&format!("https://{ARM}")).unwrap(),
            "https://management.azure.com/.default".into(),
            Arc::new(SimCredential(Cloud::new(Settings::immediate()).azure.clone())),
            Arc::new(
                InProcess::new()
                    .with(ARM, server.clone())
                    .with("hub1.azure-devices.net", server)
                    .with("evil.test", stranger),
            ),
            AzureClock::starting_at(START),
        )
    }

    pub(crate) fn asked(&self) -> Vec<(http::request::Parts, Value)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: Value) -> Response {
    let mut answer = Response::builder().status(status).header("content-type", "application/json");
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Body::from(body.to_string())).unwrap()
}

/// The hub, with a change.
pub(crate) fn hub_at(change: impl Fn(&mut Value)) -> Response {
    let mut hub = World::new_hub().hub;
    change(&mut hub);
    reply(200, &[], hub)
}

pub(crate) const MARK: uuid::Uuid = uuid::Uuid::from_u128(0x00aa_bbcc);

pub(crate) fn edit() -> HubEdit {
    HubEdit {
        identity: Some(IdentityEdit { system: Some(true), ..IdentityEdit::default() }),
        ..HubEdit::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_carries_the_etag_twice_and_its_answer_is_dropped_unread() {
    let operation =
        format!("https://{ARM}/subscriptions/s/operationResults/o?api-version=2023-06-30&asyncinfo");
    let script = Script::new(vec![
        // Not JSON at all: nobody looks at it.
        Response::builder()
            .status(201)
            .header("azure-asyncoperation", &operation)
            .body(Body::from("PrimaryKey=secret"))
            .unwrap(),
        hub_at(|hub| hub["properties"]["state"] = "Transitioning".into()),
        hub_at(|_| {}),
        reply(200, &[], json!({"status": "Running"})),
        hub_at(|hub| {
            hub["etag"] = "AAAAAAAAAAI=".into();
            hub["identity"] = json!({"type": "SystemAssigned", "principalId": "p"});
        }),
    ]);
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let hub =
        ArmWriter::new(script.client()).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await.unwrap();
    assert_eq!(hub.etag(), Some("AAAAAAAAAAI="), "the hub as it is after the write");
    let asked = script.asked();
    let (put, sent) = &asked[0];
    assert_eq!(put.headers["if-match"], "AAAAAAAAAAE=");
    assert_eq!(sent["etag"], "AAAAAAAAAAE=");
    assert_eq!(put.uri.query(), Some("api-version=2023-06-30"));
    assert!(put.headers["authorization"].to_str().unwrap().starts_with("Bearer "));
    assert!(uuid::Uuid::try_parse(put.headers["x-ms-client-request-id"].to_str().unwrap()).is_ok());
    assert_eq!(put.headers["x-ms-correlation-request-id"], MARK.to_string().as_str());
    assert_eq!(asked.len(), 5);
    // The hub itself is asked, and its operation only where the hub leaves it open; the signed address
    // is used as it came.
    assert_eq!(asked[3].0.uri.query(), Some("api-version=2023-06-30&asyncinfo"));
}

#[tokio::test(start_paused = true)]
async fn a_new_etag_is_not_taken_for_our_write_if_the_hub_does_not_show_it() {
    let operation = format!("https://{ARM}/subscriptions/s/operationResults/o?api-version=2023-06-30");
    let failed = json!({"status": "Failed", "error": {"code": "ResourceOperationFailure", "message": "m",
        "details": [{"code": "412001", "message": "Either bad ETag was supplied"}]}});
    let script = Script::new(vec![
        reply(201, &[("azure-asyncoperation", &operation)], json!({})),
        hub_at(|hub| hub["etag"] = "theirs".into()),
        reply(200, &[], failed),
    ]);
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let error = ArmWriter::new(script.client())
        .put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual)
        .await
        .err()
        .unwrap();
    assert_eq!(error.error.reaction(), Reaction::Reread, "{error}");
    assert!(error.may_have_been_taken_on);
}

#[tokio::test(start_paused = true)]
async fn a_link_to_another_host_gets_no_token() {
    for link in [
        "https://evil.test/o",
        "http://arm.test/o",
        "https://arm.test:8443/o",
        "https://arm.test@evil.test/o",
        "https://me@arm.test/o",
        "nonsense",
    ] {
        let script =
            Script::new(vec![reply(201, &[("azure-asyncoperation", link)], json!({})), hub_at(|_| {})]);
        let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
        let error = ArmWriter::new(script.client())
            .put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual)
            .await
            .err()
            .unwrap();
        assert!(
            matches!(error.error, ArmError::ForeignLink { .. } | ArmError::Unreadable { .. }),
            "{link}: {error}"
        );
        let asked = script.asked();
        let hosts: Vec<_> = asked
            .iter()
            .map(|(parts, _)| {
                parts.uri.host().or(parts.headers.get("host").and_then(|host| host.to_str().ok()))
            })
            .collect();
        assert_eq!(hosts, [Some(ARM); 2], "{link}: somebody was asked");
    }
    let page = json!({"value": [], "nextLink": "https://evil.test/next"});
    let script = Script::new(vec![reply(200, &[], page)]);
    let error = ArmReader::new(script.client()).grants(&event_hub("e"), "p").await.unwrap_err();
    assert!(matches!(error, ArmError::ForeignLink { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_to_the_last_page() {
    let next = format!("https://{ARM}/next?page=2");
    let grant = |name: &str| {
        json!({"name": name, "id": format!("/roleAssignments/{name}"), "properties": {"scope": event_hub("e").as_str(), "principalId": "p",
            "roleDefinitionId": format!("/providers/Microsoft.Authorization/roleDefinitions/{}", Role::EventHubsDataSender.guid()),
            "createdOn": "2026-01-31T12:00:00.1234567Z"}})
    };
    let script = Script::new(vec![
        reply(200, &[], json!({"value": [grant("a")], "nextLink": next})),
        reply(200, &[], json!({"value": [grant("b"), {"properties": {}}]})),
    ]);
    let grants = ArmReader::new(script.client()).grants(&event_hub("e"), "p").await.unwrap();
    assert_eq!(grants.len(), 2);
    assert_eq!(
        grants[0].role,
        HeldRole::Ours(Role::EventHubsDataSender),
        "a tenant-level id is the same role"
    );
    let asked = script.asked();
    assert!(
        asked[0].0.uri.query().unwrap().contains("%24filter=principalId+eq+%27p%27"),
        "{}",
        asked[0].0.uri
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_is_waited_out_and_a_long_one_is_handed_back() {
    let hub = World::new_hub().hub;
    let script = Script::new(vec![reply(429, &[("retry-after", "7")], json!({})), reply(200, &[], hub)]);
    let started = Instant::now();
    assert!(ArmReader::new(script.client()).hub(&hub_id("hub1")).await.unwrap().is_some());
    assert_eq!(started.elapsed().as_secs(), 7);

    let script = Script::new(vec![reply(429, &[("retry-after", "300")], json!({}))]);
    let started = Instant::now();
    let error = ArmReader::new(script.client()).hub(&hub_id("hub1")).await.err().unwrap();
    assert_eq!(error.reaction(), Reaction::Wait(std::time::Duration::from_secs(300)));
    assert_eq!((started.elapsed().as_secs(), script.asked().len()), (0, 1), "nobody slept");
}

#[tokio::test(start_paused = true)]
async fn a_hub_write_is_repeated_only_when_nothing_has_happened() {
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    for (status, tries) in [(429, 2), (503, 2), (500, 1), (502, 1), (412, 1)] {
        let script = Script::new(vec![reply(status, &[], json!({})), reply(200, &[], json!({}))]);
        let _ = ArmWriter::new(script.client()).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await;
        let puts = script.asked().into_iter().filter(|(parts, _)| parts.method == "PUT").count();
        assert_eq!(puts, tries, "{status}");
    }
    // A grant's name makes it the same write: it may be repeated whatever happened.
    let made = json!({"id": "/roleAssignments/x", "properties": {"scope": event_hub("e").as_str(), "principalId": "p", "roleDefinitionId": "x", "createdOn": "2026-01-31T12:00:00Z"}});
    let script = Script::new(vec![reply(500, &[], json!({})), reply(201, &[], made)]);
    ArmWriter::new(script.client())
        .grant(&event_hub("e"), Role::EventHubsDataSender, "p", "why")
        .await
        .unwrap();
    let asked = script.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].0.uri, asked[1].0.uri);
    assert_eq!(asked[0].1["properties"]["principalType"], "ServicePrincipal");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_taken_on_counts_whatever_keeps_us_from_seeing_it() {
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let link = format!("https://{ARM}/o");
    let accepted = || reply(201, &[("azure-asyncoperation", &link)], json!({}));
    let refused_later = |status| vec![accepted(), reply(status, &[("retry-after", "300")], json!({}))];
    let refused = |status| vec![reply(status, &[("retry-after", "300")], json!({}))];
    for (answers, counts) in [
        (refused(400), false),
        (refused(412), false),
        (refused(429), false),
        (refused(503), false),
        (refused(500), true),
        (refused_later(403), true),
        (refused_later(429), true),
        (refused_later(503), true),
    ] {
        let told = format!("{answers:?}");
        let script = Script::new(answers);
        let put = ArmWriter::new(script.client()).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await;
        assert_eq!(put.err().unwrap().may_have_been_taken_on, counts, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_hub_write_that_is_no_json_says_nothing_of_the_write() {
    let page = Response::builder().status(200).body(Body::from("<html>Sign in</html>")).unwrap();
    let script = Script::new(vec![page]);
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let put = ArmWriter::new(script.client()).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await;
    let error = put.err().unwrap();
    assert!(matches!(error.error.reaction(), Reaction::Garbled(_)), "{error}");
    assert!(error.may_have_been_taken_on && !error.to_string().contains("Sign in"), "{error}");
    assert_eq!(script.asked().len(), 1, "it is not sent again");
}

#[tokio::test(start_paused = true)]
async fn waits_end_before_the_invocation_does() {
    let operation = format!("https://{ARM}/o");
    let running = || hub_at(|hub| hub["properties"]["state"] = "Transitioning".into());
    let mut answers = vec![reply(201, &[("azure-asyncoperation", &operation)], json!({}))];
    answers.extend((0..50).map(|_| running()));
    let script = Script::new(answers);
    let started = Instant::now();
    let client = script.client().until(started + std::time::Duration::from_secs(20));
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let error =
        ArmWriter::new(client).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await.err().unwrap();
    assert!(matches!(error.error, ArmError::OutOfTime(_)), "{error}");
    assert!(error.may_have_been_taken_on);
    assert!(started.elapsed().as_secs() < 20);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_fails_tells_its_inner_cause() {
    let operation = format!("https://{ARM}/o");
    let failed = json!({"status": "Failed", "error": {"code": "ResourceOperationFailure", "message": "outer",
        "details": [{"code": "409002", "message": "not currently in Active state"}]}});
    let script = Script::new(vec![
        reply(201, &[("azure-asyncoperation", &operation)], json!({})),
        hub_at(|hub| hub["properties"]["provisioningState"] = "Failed".into()),
        reply(200, &[("x-ms-request-id", "r-1")], failed),
    ]);
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let error = ArmWriter::new(script.client())
        .put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual)
        .await
        .err()
        .unwrap();
    assert!(matches!(error.error.reaction(), Reaction::Wait(_)));
    let text = error.to_string();
    assert!(
        text.contains("not currently in Active state") && text.contains("r-1") && text.contains("409002"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn azures_clock_is_the_one_in_its_answers() {
    let script =
        Script::new(vec![reply(200, &[("date", "Sat, 31 Jan 2026 13:00:00 GMT")], World::new_hub().hub)]);
    let client = script.client();
    let before = client.clock().now();
    ArmReader::new(client.clone()).hub(&hub_id("hub1")).await.unwrap();
    assert_eq!(client.clock().now() - before, Duration::hours(1));
    assert_eq!(client.calls().get("GET hub"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn no_answer_makes_us_wait_for_ever() {
    let for_ever = u64::MAX.to_string();
    for header in
        [("retry-after", for_ever.as_str()), ("x-ms-user-quota-resets-after", "5124095576030431:00:15")]
    {
        for status in [409, 429, 503] {
            let body = || reply(status, &[header], json!({"error": {"code": "Busy", "message": "m"}}));
            let script = Script::new((0..40).map(|_| body()).collect());
            let error = ArmReader::new(script.client()).hub(&hub_id("hub1")).await.err().unwrap();
            let Reaction::Wait(pause) = error.reaction() else { panic!("{error}") };
            assert!(pause.as_secs() <= 24 * 60 * 60, "{header:?} {status}: {pause:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_firewall_that_may_not_be_read_is_unknown_and_one_that_cannot_be_read_now_is_asked_again() {
    let namespace =
        || reply(200, &[], json!({"properties": {"serviceBusEndpoint": "https://ns1.test:443/"}}));
    let target = Target::EventHub(event_hub("e"));
    let script =
        Script::new(vec![namespace(), reply(403, &[], json!({})), reply(200, &[], json!({"name": "E"}))]);
    let found = ArmReader::new(script.client()).target(&target).await.unwrap();
    let ObservedTarget::Found(facts) = found else { panic!("{found:?}") };
    assert_eq!((facts.network, facts.entity.as_str()), (Network::Unknown, "E"));

    let script = Script::new(vec![namespace(), reply(429, &[("retry-after", "300")], json!({}))]);
    let error = ArmReader::new(script.client()).target(&target).await.unwrap_err();
    assert_eq!(error.reaction(), Reaction::Wait(std::time::Duration::from_secs(300)));

    let away = (0..4).map(|_| reply(502, &[], json!({})));
    let answers = [namespace()].into_iter().chain(away).chain([reply(200, &[], json!({"name": "E"}))]);
    let script = Script::new(answers.collect());
    ArmReader::new(script.client()).target(&target).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_namespace_is_fetched_only_where_the_target_has_no_such_rule() {
    let need = KeyNeed {
        slot: Slot::Endpoint("out".into()),
        target: Target::EventHub(event_hub("e")),
        rule: Some("send".into()),
        endpoint_uri: "sb://ns1.test".into(),
    };
    for (first, path, connection) in [
        (
            reply(404, &[], json!({})),
            "/namespaces/ns1/authorizationRules/send/listKeys",
            "Endpoint=x;EntityPath=e",
        ),
        (
            reply(200, &[], json!({"primaryConnectionString": "Endpoint=x;EntityPath=E"})),
            "/eventhubs/e/authorizationRules/send/listKeys",
            "Endpoint=x;EntityPath=E",
        ),
    ] {
        let of_namespace = reply(200, &[], json!({"primaryConnectionString": "Endpoint=x;"}));
        let script = Script::new(vec![first, of_namespace]);
        let members = ArmWriter::new(script.client()).target_key(&need).await.unwrap();
        assert_eq!(members, [("connectionString", connection.to_owned())]);
        let asked = script.asked();
        let (parts, body) = asked.last().unwrap();
        assert!(parts.uri.path().ends_with(path), "{asked:?}");
        assert_eq!(*body, json!({}), "without a body, it is no request at all");
    }
    let script = Script::new(vec![reply(403, &[], json!({}))]);
    ArmWriter::new(script.client()).target_key(&need).await.unwrap_err();
    assert_eq!(script.asked().len(), 1, "a key with more rights is no way around a refusal");
}
