//! Exports and imports with the hub's identity: from a request to one true outcome.

use hubward::{
    jobs::{Advance, JobOutcome, run::Jobs},
    local::azure::{Fault, FaultKind, Settings, World},
    model::{
        IotHubId, ResourceId,
        desired::IdentityRef,
        job::{JobDoor, JobId, JobItem, JobPhase, JobRequest, JobSpec},
    },
};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::{
    azure_sim_blobs::Data,
    support::{
        cloud::{Cloud, START},
        world::{SUBSCRIPTION, hub_id},
    },
};

const GROUP: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data";

fn account() -> String {
    format!("{GROUP}/providers/Microsoft.Storage/storageAccounts/egressdata")
}

pub(crate) fn container() -> ResourceId {
    ResourceId::parse(&format!("{}/blobServices/default/containers/archive", account())).unwrap()
}

pub(crate) fn user() -> ResourceId {
    let id = format!("{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress");
    ResourceId::parse(&id).unwrap()
}

pub(crate) fn request(job: JobSpec) -> JobRequest {
    JobRequest {
        id: Uuid::from_u128(7),
        job,
        container: container(),
        identity: IdentityRef::System,
        through: JobDoor::DataPlane,
        requested_by: "an operator".into(),
        requested_at: START,
        keep: None,
    }
}

pub(crate) fn export_to(name: &str) -> JobRequest {
    request(JobSpec::Export { blob_name: name.into(), exclude_keys: false, configurations_blob_name: None })
}

pub(crate) fn import(confirm: &str) -> JobRequest {
    request(JobSpec::Import { blob_name: "devices.txt".into(), confirm: confirm.into() })
}

pub(crate) fn cloud(settings: Settings) -> Cloud {
    Cloud::with(settings, World::reference(), &profiles())
}

pub(crate) fn profiles() -> String {
    format!(
        "version: 1\nguardrails:\n  subscriptions: [ {SUBSCRIPTION} ]\n  targets: [ {GROUP} ]\n  allowImports: [ hub1, hub2 ]\nprofiles: []\n"
    )
}

/// A hub with its own identity, and devices.
pub(crate) async fn hub(cloud: &Cloud, name: &str, devices: u32) -> IotHubId {
    let body = json!({"resourceGroup": "rg-plant-01", "name": name, "location": "westus2", "wait": true,
        "identity": {"type": "SystemAssigned"}});
    cloud.sim("POST", "hubs", body).await;
    cloud.sim("POST", &format!("hubs/{name}/devices"), json!({"count": devices})).await;
    hub_id(name)
}

async fn registry(cloud: &Cloud, name: &str) -> Value {
    cloud.sim("GET", &format!("hubs/{name}/devices"), json!({})).await
}

pub(crate) async fn blobs(cloud: &Cloud) -> Vec<String> {
    let list = cloud.sim("GET", "blobs/egressdata/archive", json!({})).await;
    let list = list.as_array().or(list["blobs"].as_array()).cloned().unwrap_or_else(|| panic!("{list}"));
    list.iter().map(|blob| blob["name"].as_str().unwrap_or_else(|| panic!("{blob}")).to_owned()).collect()
}

async fn upload(cloud: &Cloud, lines: &[String]) {
    let text = lines.join("\n");
    cloud.sim_bytes("PUT", "blobs/egressdata/archive/devices.txt", text).await;
}

pub(crate) async fn outcome(cloud: &Cloud, hub: &IotHubId, request: JobRequest) -> JobOutcome {
    let steps = cloud.job(hub, request).await.unwrap_or_else(|error| panic!("{error}"));
    let Some(Advance::Done(outcome)) = steps.last() else { panic!("{steps:#?}") };
    outcome.clone()
}

/// The jobs that a hub ever had.
pub(crate) fn jobs_of(cloud: &Cloud, hub: &IotHubId) -> Vec<Value> {
    let state = cloud.azure.state();
    let all = state["jobs"].as_object().unwrap();
    let found = all.iter().find(|(id, _)| id.eq_ignore_ascii_case(hub.as_str()));
    found.and_then(|(_, jobs)| jobs.as_array().cloned()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_devices_go_out_of_one_hub_and_into_another_and_are_equal() {
    for door in [JobDoor::DataPlane, JobDoor::ResourceManager] {
        let cloud = cloud(Settings::default());
        let (from, to) = (hub(&cloud, "hub1", 10_000).await, hub(&cloud, "hub2", 0).await);
        let out = outcome(&cloud, &from, JobRequest { through: door, ..export_to("devices.txt") }).await;
        assert!(matches!(out, JobOutcome::Completed { .. }), "{out:?}");
        let back = outcome(&cloud, &to, JobRequest { through: door, ..import("hub2") }).await;
        assert!(matches!(back, JobOutcome::Completed { .. }), "{back:?}");
        let (before, after) = (registry(&cloud, "hub1").await, registry(&cloud, "hub2").await);
        assert_eq!((&before["count"], &before["digest"]), (&after["count"], &after["digest"]));
        assert_eq!(before["count"], 10_000);
        let through = if door == JobDoor::DataPlane { "dataPlane" } else { "arm" };
        assert_eq!(jobs_of(&cloud, &from)[0]["through"], through);
        assert_eq!(jobs_of(&cloud, &from).len(), 1);
        let shown = cloud.azure.state().to_string();
        assert!(!shown.contains("sig="), "no signature anywhere");
    }
}

#[tokio::test(start_paused = true)]
async fn the_role_is_granted_first_and_the_least_on_the_container_alone() {
    let cloud = cloud(Settings::default());
    let hub = hub(&cloud, "hub1", 3).await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(200.0));
    let out = outcome(&cloud, &hub, export_to("devices.txt")).await;
    assert!(matches!(out, JobOutcome::Completed { .. }), "a young grant explains the refusal: {out:?}");
    let state = cloud.azure.state();
    let grants = state["roleAssignments"].as_array().unwrap();
    assert_eq!(grants.len(), 1, "{grants:#?}");
    let text = grants[0].to_string();
    assert!(
        text.contains("ba92f5b4-2d11-453d-a403-e96b0029c9fe") && text.contains("containers/archive"),
        "{text}"
    );
    // The second one finds the grant and does not wait.
    let began = cloud.clock.now();
    outcome(&cloud, &hub, export_to("again.txt")).await;
    assert!(cloud.clock.now() - began < Duration::minutes(1), "{}", cloud.clock.now() - began);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_never_works_ends_in_the_services_words() {
    let cloud = cloud(Settings::default());
    let hub = hub(&cloud, "hub1", 3).await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(86_400.0));
    let JobOutcome::Failed { cause } = outcome(&cloud, &hub, export_to("devices.txt")).await else {
        panic!()
    };
    assert!(cause.contains("Unauthorized to write to output blob container"), "{cause}");
    assert!(cloud.clock.now() - START < Duration::minutes(25));
}

#[tokio::test(start_paused = true)]
async fn how_long_a_grant_may_take_is_what_the_guardrails_say() {
    for (window, granted) in [("PT5M", false), ("PT1H", true)] {
        let mut cloud = cloud(Settings::default());
        let line = format!("  grantWindow: {window}\nprofiles");
        cloud.want(&profiles().replace("profiles", &line));
        let hub = hub(&cloud, "hub1", 3).await;
        let asked = cloud.clock.now();
        cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(1200.0));
        let out = outcome(&cloud, &hub, export_to("devices.txt")).await;
        assert_eq!(matches!(out, JobOutcome::Completed { .. }), granted, "{window}: {out:?}");
        let took = cloud.clock.now() - asked;
        assert!(granted || took < Duration::minutes(6), "not longer than it may: {took}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_request_waits_for_the_first() {
    let cloud = cloud(Settings { job_seconds: 300.0, ..Settings::default() });
    let hub = hub(&cloud, "hub1", 3).await;
    let second = JobRequest { id: Uuid::from_u128(8), ..export_to("second.txt") };
    let (first, second) =
        tokio::join!(outcome(&cloud, &hub, export_to("first.txt")), outcome(&cloud, &hub, second));
    assert!(matches!(first, JobOutcome::Completed { .. }), "{first:?}");
    assert!(matches!(second, JobOutcome::Completed { .. }), "{second:?}");
    assert_eq!(jobs_of(&cloud, &hub).len(), 2);
    assert_eq!(blobs(&cloud).await, ["first.txt", "second.txt"]);
}

fn lines(count: usize) -> Vec<String> {
    let line = |n| json!({"id": format!("d{n}"), "status": "enabled", "importMode": "create"}).to_string();
    (0..count).map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn three_bad_lines_of_a_thousand_are_told_before_anything_is_started() {
    let cloud = cloud(Settings::default());
    let hub = hub(&cloud, "hub1", 0).await;
    let mut lines = lines(1000);
    lines[9] = json!({"id": "d9", "importMode": "create"}).to_string();
    lines[99] = json!({"id": "d99", "status": "enabled", "importMode": "upsert"}).to_string();
    lines[999] = "{\"id\":".to_owned();
    upload(&cloud, &lines).await;
    let out = outcome(&cloud, &hub, import("hub1")).await;
    let JobOutcome::BadInput { count, lines } = out else { panic!("{out:?}") };
    assert_eq!((count, lines.iter().map(|bad| bad.line).collect::<Vec<_>>()), (3, vec![10, 100, 1000]));
    assert_eq!(jobs_of(&cloud, &hub), Vec::<Value>::new(), "nothing was started");
    assert_eq!(cloud.azure.state()["roleAssignments"], json!([]), "nothing was granted");
}

#[tokio::test(start_paused = true)]
async fn an_import_that_completed_with_failed_lines_is_no_success() {
    let cloud = cloud(Settings::default());
    let hub = hub(&cloud, "hub1", 0).await;
    let there: Vec<Value> = ["d1", "d2", "d3"].iter().map(|id| json!({"deviceId": id})).collect();
    cloud.sim("POST", "hubs/hub1/devices", json!({"devices": there})).await;
    upload(&cloud, &lines(1000)).await;
    let out = outcome(&cloud, &hub, import("hub1")).await;
    let JobOutcome::CompletedWithErrors { failed, first, .. } = out else { panic!("{out:?}") };
    assert_eq!(failed, 3, "exactly those that are there already");
    assert!(first.iter().zip(["d1", "d2", "d3"]).all(|(told, id)| told.starts_with(id)), "{first:?}");
    assert_eq!(registry(&cloud, "hub1").await["count"], 1000);

    // The next import has no failed line: the old log is not taken for its own.
    let cloud_log = "an import that fails nothing";
    let fresh: Vec<String> = lines(1010).split_off(1000);
    upload(&cloud, &fresh).await;
    let out = outcome(&cloud, &hub, JobRequest { id: Uuid::from_u128(9), ..import("hub1") }).await;
    assert!(matches!(out, JobOutcome::Completed { .. }), "{cloud_log}: {out:?}");
}

#[tokio::test(start_paused = true)]
async fn an_old_log_is_not_taken_for_the_new_imports() {
    let cloud = cloud(Settings { empty_import_log: false, ..Settings::default() });
    let hub = hub(&cloud, "hub1", 0).await;
    let old = r#"{"deviceId":"x","errorCode":409001,"errorStatus":"DeviceAlreadyExists"}"#;
    cloud.sim_bytes("PUT", "blobs/egressdata/archive/importErrors.log", old.to_owned()).await;
    upload(&cloud, &lines(3)).await;
    cloud.clock.sleep_until(START + Duration::minutes(1)).await;
    let out = outcome(&cloud, &hub, import("hub1")).await;
    assert!(matches!(out, JobOutcome::Completed { .. }), "{out:?}");
}

#[tokio::test(start_paused = true)]
async fn an_import_needs_the_guardrails_and_the_hubs_name() {
    let cloud = cloud(Settings::immediate());
    let (one, three) = (hub(&cloud, "hub1", 0).await, hub(&cloud, "hub3", 0).await);
    let refused = async |hub: &IotHubId, request: JobRequest| {
        let out = outcome(&cloud, hub, request).await;
        let JobOutcome::Refused { causes } = out else { panic!("{out:?}") };
        causes.join("; ")
    };
    assert!(refused(&three, import("hub3")).await.contains("guardrails.allowImports does not name hub3"));
    assert!(refused(&one, import("hub2")).await.contains("`confirm` is not `hub1`"));
    let elsewhere = ResourceId::parse(&container().as_str().replace("rg-data", "rg-other")).unwrap();
    let text = refused(&one, JobRequest { container: elsewhere, ..export_to("x") }).await;
    assert!(text.contains("is not within guardrails.targets"), "{text}");
    let text = refused(&one, JobRequest { container: user(), ..export_to("") }).await;
    assert!(text.contains("`container` is not the resource id") && text.contains("`blobName`"), "{text}");
    assert_eq!(cloud.azure.state()["roleAssignments"], json!([]), "nothing was granted");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_has_a_name() {
    let cloud = cloud(Settings::immediate());
    let hub = hub(&cloud, "hub1", 2).await;
    assert_eq!(outcome(&cloud, &hub_id("nowhere"), export_to("x")).await, JobOutcome::HubGone);
    let by_user = JobRequest { identity: IdentityRef::User(user()), ..export_to("x") };
    let out = outcome(&cloud, &hub, by_user).await;
    assert_eq!(out, JobOutcome::IdentityGone { identity: "user-assigned identity id-egress".into() });
    let nowhere = ResourceId::parse(&container().as_str().replace("archive", "nowhere")).unwrap();
    let out = outcome(&cloud, &hub, JobRequest { container: nowhere.clone(), ..export_to("x") }).await;
    assert_eq!(out, JobOutcome::ContainerGone { container: nowhere.to_string() });
}

/// Takes a request to its running job, lets something happen, and goes on to the end.
async fn meanwhile(happens: impl AsyncFnOnce(&Cloud, &IotHubId)) -> JobOutcome {
    let cloud = cloud(Settings { job_seconds: 600.0, ..Settings::default() });
    let hub = hub(&cloud, "hub1", 2).await;
    let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
    let mut item = JobItem::new(export_to("devices.txt"));
    let mut happens = Some(happens);
    for _ in 0..200 {
        match jobs.advance(&hub, &item, false).await {
            Advance::Done(outcome) => return outcome,
            Advance::Later { item: next, due, .. } => {
                item = *next;
                cloud.clock.sleep_until(due).await;
            }
        }
        if matches!(item.phase, JobPhase::Running { .. })
            && let Some(happens) = happens.take()
        {
            happens(&cloud, &hub).await;
        }
    }
    panic!("never ended: {item:#?}")
}

#[tokio::test(start_paused = true)]
async fn what_goes_while_a_job_runs_has_a_name_too() {
    let out = meanwhile(async |cloud, hub| {
        cloud.sim("DELETE", &format!("hubs/{}", hub.name()), json!({})).await;
    });
    assert_eq!(out.await, JobOutcome::HubGone);
    let out = meanwhile(async |cloud, _| {
        let path = "egressdata.blob.core.windows.net/archive?restype=container";
        assert_eq!(Data::of(&cloud.azure).call("DELETE", path, &[], String::new()).await.status, 202);
    });
    assert_eq!(out.await, JobOutcome::ContainerGone { container: container().to_string() });
    let out = meanwhile(async |cloud, hub| {
        let job = jobs_of(cloud, hub)[0]["jobId"].as_str().unwrap().to_owned();
        let job = JobId::try_from(job).unwrap();
        let document = cloud.arm.reader().hub(hub).await.unwrap().unwrap();
        cloud.arm.cancel_job(&document, &job).await.unwrap();
    });
    assert_eq!(out.await, JobOutcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_hangs_is_cancelled_after_six_hours() {
    let cloud = cloud(Settings { job_seconds: 1e6, ..Settings::default() });
    let hub = hub(&cloud, "hub1", 2).await;
    // Not at the first try: a cancellation that fails is tried again.
    cloud.azure.inject(Fault::new(FaultKind::Deny).on("DELETE", "/jobs/").times(3));
    let out = outcome(&cloud, &hub, export_to("devices.txt")).await;
    assert!(matches!(out, JobOutcome::TimedOut { cancelled: true, .. }), "{out:?}");
    assert_eq!(jobs_of(&cloud, &hub)[0]["status"], "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_hangs_and_cannot_be_cancelled_has_an_end_too() {
    for fault in [FaultKind::Deny, FaultKind::ServerError, FaultKind::ResetBefore] {
        let cloud = cloud(Settings { job_seconds: 1e6, ..Settings::default() });
        let hub = hub(&cloud, "hub1", 2).await;
        cloud.azure.inject(Fault::new(fault).on("DELETE", "/jobs/").times(0));
        let out = outcome(&cloud, &hub, export_to("devices.txt")).await;
        assert!(matches!(out, JobOutcome::TimedOut { cancelled: false, .. }), "{fault:?}: {out:?}");
        let took = cloud.clock.now() - START;
        assert!(took > Duration::hours(6) && took < Duration::hours(6) + Duration::minutes(20), "{took}");
        assert_eq!(jobs_of(&cloud, &hub)[0]["status"], "running");
    }
}
