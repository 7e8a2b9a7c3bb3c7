//! What is asked again, how often and after how long; and what is followed to its end.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use hubward::{
    arm::{ArmClient, ArmError, ArmReader, ArmWriter, AzureClock, Reaction, ResourceGraph, Urgency},
    local::{azure::Settings, in_process::InProcess},
    model::{
        ResourceId,
        desired::IdentityRef,
        hub::Secrets,
        job::{JobDoor, JobId, JobRequest, JobSpec},
        role::Role,
    },
};
use serde_json::json;
use time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    arm_client::{ARM, MARK, Script, edit, hub_at, reply},
    support::{
        cloud::{Cloud, START, SimCredential},
        profiles::archive,
        world::{NOW, World, event_hub, hub_id},
    },
};

/// How often a hub is asked for that is answered with this, and how long it takes until that is told.
async fn read(status: u16, headers: &[(&str, &str)], times: usize) -> (usize, f64) {
    let script = Script::new((0..times).map(|_| reply(status, headers, json!({}))).collect());
    let started = Instant::now();
    ArmReader::new(script.client()).hub(&hub_id("hub1")).await.err().unwrap();
    (script.asked().len(), started.elapsed().as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_is_tried_four_times_with_growing_pauses_that_are_no_ones_else() {
    let (tries, took) = read(502, &[], 50).await;
    assert_eq!(tries, 4);
    assert!((2.6..4.4).contains(&took), "{took}");
    assert_ne!(took, read(502, &[], 50).await.1, "many start at once");
    assert_eq!(read(503, &[("retry-after", "20")], 50).await, (4, 60.0));
    assert_eq!(read(503, &[("retry-after", "21")], 50).await, (1, 0.0));
    assert_eq!(read(429, &[], 50).await.0, 20, "it has not been let in even once");
    assert_eq!(read(400, &[], 50).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_any_usual_size_is_read_and_one_that_has_no_end_is_not() {
    for (mebibytes, is_read) in [(2, true), (17, false)] {
        let hub = move |hub: &mut serde_json::Value| hub["tags"] = json!({"x": "x".repeat(mebibytes << 20)});
        let script = Script::new((0..4).map(|_| hub_at(hub)).collect());
        let read = ArmReader::new(script.client()).hub(&hub_id("hub1")).await;
        match read {
            Ok(_) => assert!(is_read, "{mebibytes} MiB"),
            Err(error) => assert!(!is_read && matches!(error, ArmError::Unreadable { .. }), "{error}"),
        }
    }
}

/// Nobody is signed in.
#[derive(Debug)]
struct NoToken;

#[async_trait::async_trait]
impl TokenCredential for NoToken {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, "not now"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_without_an_answer_and_one_without_a_token_are_tried_again_too() {
    let signed_in = SimCredential(Cloud::new(Settings::immediate()).azure.clone());
    let credentials: [Arc<dyn TokenCredential>; 2] = [Arc::new(signed_in), Arc::new(NoToken)];
    for credential in credentials {
        let told = format!("{credential:?}");
        let client = ArmClient::new(
            "https://nobody.test".parse().unwrap(),
            "https://management.azure.com/.default".into(),
            credential,
            Arc::new(InProcess::new()),
            AzureClock::starting_at(START),
        );
        let error = ArmReader::new(client.clone()).hub(&hub_id("hub1")).await.err().unwrap();
        let is_told = match error {
            ArmError::NoAnswer { .. } => told == "SimCredential",
            ArmError::NoToken { .. } => told == "NoToken",
            _ => false,
        };
        assert!(is_told, "{told}: {error}");
        assert_eq!(client.calls()["GET hub"], 4, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_asked_too_often_is_left_alone_for_as_long_as_its_words_say() {
    for (code, pause) in [("ThrottlingException", 10), ("Other", 0)] {
        let refused = reply(429, &[("iothub-errorcode", code)], json!({}));
        let jobs = json!([{"jobId": "1", "type": "export", "status": "running"}]);
        let script = Script::new(vec![refused, reply(200, &[], jobs)]);
        let started = Instant::now();
        let hub = World::new_hub().document();
        let jobs = ArmReader::new(script.client()).jobs(&hub, JobDoor::DataPlane).await.unwrap();
        assert_eq!((jobs.len(), started.elapsed().as_secs()), (1, pause), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_started_once_and_one_that_cannot_be_read_is_not_one_that_is_gone() {
    let request = JobRequest {
        id: Uuid::nil(),
        job: JobSpec::Export {
            blob_name: "devices.txt".into(),
            exclude_keys: true,
            configurations_blob_name: None,
        },
        container: ResourceId::parse(&archive()).unwrap(),
        identity: IdentityRef::System,
        through: JobDoor::DataPlane,
        requested_by: "somebody".into(),
        requested_at: NOW,
        keep: None,
    };
    let hub = World::new_hub().document();
    for (status, tries) in [(500, 1), (503, 1), (429, 2)] {
        let script = Script::new(vec![
            reply(status, &[], json!({})),
            reply(200, &[], json!({"jobId": "1", "status": "running"})),
        ]);
        let started = ArmWriter::new(script.client()).create_job(&hub, &request, "https://a/c").await;
        assert_eq!((started.is_ok(), script.asked().len()), (tries == 2, tries), "{status}");
    }
    let id = JobId::try_from("1".to_owned()).unwrap();
    for (status, is_gone) in [(404, true), (403, false)] {
        let script = Script::new(vec![reply(status, &[], json!({}))]);
        let found = ArmReader::new(script.client()).job(&hub, JobDoor::DataPlane, &id).await;
        assert_eq!(found.is_ok_and(|job| job.is_none()), is_gone, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn resource_graph_is_asked_no_more_often_than_it_says_and_no_row_is_missed_in_silence() {
    let page = |more: serde_json::Value| {
        let mut page = json!({"data": [{"id": "x"}]});
        page.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        page
    };
    let left = |left: &'static str| {
        [("x-ms-user-quota-remaining", left), ("x-ms-user-quota-resets-after", "00:01:05")]
    };
    let subscriptions = ["s".to_owned()];
    for (quota, pause) in [("0", 65), ("1", 0)] {
        let script = Script::new(vec![
            reply(200, &left(quota), page(json!({"$skipToken": "t"}))),
            reply(200, &[], page(json!({"resultTruncated": false}))),
        ]);
        let mut graph = ResourceGraph::new(ArmReader::new(script.client()));
        let started = Instant::now();
        let mut pages = graph.query(&subscriptions, "q");
        let mut rows = 0;
        while let Some(page) = pages.next().await.unwrap() {
            rows += page.len();
        }
        assert_eq!((rows, started.elapsed().as_secs()), (2, pause), "{quota} left");
    }
    let turned_away = [("x-ms-user-quota-remaining", "0"), ("x-ms-user-quota-resets-after", "00:00:07")];
    let script = Script::new(vec![reply(429, &turned_away, json!({})), reply(200, &[], page(json!({})))]);
    let mut graph = ResourceGraph::new(ArmReader::new(script.client()));
    let started = Instant::now();
    graph.query(&subscriptions, "q").next().await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 7, "it says when, and has no `Retry-After`");
    for cut in [json!({"resultTruncated": true}), json!({"resultTruncated": "true"})] {
        let script = Script::new(vec![reply(200, &[], page(cut))]);
        let mut graph = ResourceGraph::new(ArmReader::new(script.client()));
        assert!(graph.query(&subscriptions, "q").next().await.is_err());
    }
    let same = || reply(200, &[], page(json!({"$skipToken": "t"})));
    let script = Script::new(vec![same(), same()]);
    let mut graph = ResourceGraph::new(ArmReader::new(script.client()));
    let mut pages = graph.query(&subscriptions, "q");
    assert!(pages.next().await.is_ok() && pages.next().await.is_err(), "the same page for ever");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_taken_on_and_fails_later_has_failed() {
    let link = format!("https://{ARM}/o");
    let made = json!({"id": "/roleAssignments/x", "properties": {"scope": event_hub("e").as_str(), "principalId": "p",
        "roleDefinitionId": "x", "createdOn": "2026-01-31T12:00:00Z"}});
    let failed = json!({"status": "Failed", "error": {"code": "PrincipalNotFound", "message": "m"}});
    let script = Script::new(vec![
        reply(201, &[("azure-asyncoperation", &link)], made),
        reply(200, &[], json!({"status": "Running"})),
        reply(200, &[], failed),
    ]);
    let granted =
        ArmWriter::new(script.client()).grant(&event_hub("e"), Role::EventHubsDataSender, "p", "why").await;
    assert_eq!(granted.unwrap_err().reaction(), Reaction::PrincipalYoung);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_long_is_left_to_a_later_look() {
    let link = format!("https://{ARM}/o");
    let mut answers = vec![reply(201, &[("azure-asyncoperation", &link)], json!({}))];
    answers.extend((0..200).map(|_| hub_at(|hub| hub["properties"]["state"] = "Transitioning".into())));
    let script = Script::new(answers);
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let started = Instant::now();
    let put = ArmWriter::new(script.client()).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await;
    assert!(matches!(put.err().unwrap().error, ArmError::OutOfTime(_)));
    let took = Duration::try_from(started.elapsed()).unwrap();
    assert!((150..=180).contains(&took.whole_seconds()), "{took}");
}

#[tokio::test(start_paused = true)]
async fn room_for_roles_is_asked_once_for_all_hubs_of_a_subscription() {
    let usage = json!({"roleAssignmentsLimit": 4000, "roleAssignmentsRemainingCount": 7});
    let script = Script::new(vec![reply(200, &[], usage)]);
    let reader = ArmReader::new(script.client());
    for _ in 0..3 {
        assert_eq!(reader.assignments_left("s").await.unwrap().map(|room| room.left), Some(7));
    }
    assert_eq!(script.asked().len(), 1);
    for (status, is_unknown) in [(403, true), (502, false)] {
        let script = Script::new((0..4).map(|_| reply(status, &[], json!({}))).collect());
        let room = ArmReader::new(script.client()).assignments_left("s").await;
        assert_eq!(room.is_ok_and(|room| room.is_none()), is_unknown, "{status}");
    }
    let own = reader.client().who().await.unwrap();
    assert!(own.contains("6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01"), "{own}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_shows_the_write_under_its_old_etag_is_read_again() {
    let link = format!("https://{ARM}/o");
    let written = |etag: &'static str| {
        hub_at(move |hub| {
            hub["identity"] = json!({"type": "SystemAssigned", "principalId": "p"});
            hub["etag"] = etag.into();
        })
    };
    let script = Script::new(vec![
        reply(201, &[("azure-asyncoperation", &link)], json!({})),
        written("AAAAAAAAAAE="),
        reply(200, &[], json!({"status": "Succeeded"})),
        written("new"),
    ]);
    let body = edit().put_body(&World::new_hub().document(), &Secrets::default()).unwrap();
    let put = ArmWriter::new(script.client()).put_hub(&hub_id("hub1"), &body, MARK, Urgency::Usual).await;
    assert_eq!(put.unwrap().etag(), Some("new"), "the next write needs it");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_not_there_is_taken_away_and_an_end_without_words_is_a_good_one() {
    let id = "/roleAssignments/x";
    for (status, is_gone) in [(404, true), (403, false)] {
        let script = Script::new(vec![reply(status, &[], json!({}))]);
        let revoked = ArmWriter::new(script.client()).revoke(id, Role::EventHubsDataSender).await;
        assert_eq!(revoked.is_ok(), is_gone, "{status}");
    }
    let link = format!("https://{ARM}/o");
    for status in [200, 204] {
        let end = Response::builder().status(status).body(Body::empty()).unwrap();
        let script = Script::new(vec![reply(202, &[("location", &link)], json!({})), end]);
        ArmWriter::new(script.client()).revoke(id, Role::EventHubsDataSender).await.unwrap();
        assert_eq!(script.asked().len(), 2, "{status}");
    }
}
