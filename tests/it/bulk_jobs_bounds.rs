//! What a message says is not believed: jobs are cancelled, and blobs deleted, within bounds only.

use hubward::{
    jobs::{Advance, JobOutcome, run::Jobs},
    local::azure::Settings,
    model::{
        IotHubId, ResourceId,
        desired::Guardrails,
        job::{JobId, JobItem, JobPhase, JobRequest, Keep},
    },
    schedule,
    work::WorkItem,
};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    bulk_jobs::{blobs, cloud, container, export_to, hub, import, jobs_of, outcome, profiles},
    support::cloud::{Cloud, START},
};

fn keep(count: u32) -> Keep {
    Keep { count, before: "hub1/nightly-".into(), after: ".txt".into(), besides: None }
}

fn nightly(day: i64, keep: Keep) -> JobRequest {
    let name = format!("hub1/nightly-{}.txt", schedule::stamp(START + Duration::days(day)));
    let id = Uuid::from_u128(100 + u128::from(day.unsigned_abs()));
    JobRequest { id, keep: Some(keep), ..export_to(&name) }
}

#[tokio::test(start_paused = true)]
async fn older_exports_of_a_schedule_go_and_others_stay() {
    let cloud = cloud(Settings::immediate());
    let hub = hub(&cloud, "hub1", 2).await;
    cloud.sim_bytes("PUT", "blobs/egressdata/archive/hub1/nightly-by-hand.txt", "x".into()).await;
    for day in 0..4 {
        let out = outcome(&cloud, &hub, nightly(day, keep(2))).await;
        assert!(matches!(out, JobOutcome::Completed { left: None, .. }), "{out:?}");
    }
    let names = [
        "hub1/nightly-20260202T120000Z.txt",
        "hub1/nightly-20260203T120000Z.txt",
        "hub1/nightly-by-hand.txt",
    ];
    assert_eq!(blobs(&cloud).await, names);

    // One that was missed and is made up for late does not take the newer ones with it.
    let out = outcome(&cloud, &hub, nightly(1, keep(1))).await;
    let JobOutcome::Completed { removed, left: None, .. } = out else { panic!("{out:?}") };
    assert_eq!(removed, Vec::<String>::new());
    assert_eq!(blobs(&cloud).await.len(), names.len() + 1);
}

#[test]
fn what_is_to_be_kept_must_fit_the_exports_own_blob() {
    let problems =
        |keep: Keep| JobRequest { keep: Some(keep), ..nightly(0, self::keep(1)) }.problems().join("; ");
    assert_eq!(problems(keep(2)), "");
    let with = |before: &str, after: &str| Keep { before: before.into(), after: after.into(), ..keep(2) };
    for other in
        [with("", ""), with("hub1/", ".txt"), with("hub2/nightly-", ".txt"), with("hub1/nightly-", "")]
    {
        assert!(problems(other.clone()).contains("`keep.before`"), "{other:?}");
    }
    let besides = |besides: &str| Keep { besides: Some(besides.into()), ..keep(2) };
    assert!(problems(besides("/../x")).contains("`keep.besides` is not `.configurations`"));
    assert!(problems(besides(".configurations")).contains("does not lead to `configurationsBlobName`"));
    assert!(problems(keep(0)).contains("`keep.count`"));
    let of_import = JobRequest { keep: Some(keep(1)), ..import("hub1") };
    assert!(of_import.problems().join("; ").contains("`keep` is for exports"));
}

#[test]
fn an_id_that_leads_elsewhere_is_no_message() {
    let item = |id: &str| {
        json!({"schema": "hubward/work/v1", "workId": Uuid::from_u128(1), "hub": crate::support::world::hub_id("hub1"),
            "reason": {"kind": "job", "item": {"request": export_to("a.txt"), "phase":
                {"phase": "running", "jobId": id, "since": "2026-01-31T12:00:00Z", "progress": 0}}}})
        .to_string()
    };
    assert!(WorkItem::parse(&item("3b9f6a4e-x_1")).is_ok());
    for id in ["../devices/d1", "", "a/b", "a?b", "..", "a%2fb"] {
        let error = WorkItem::parse(&item(id)).unwrap_err().to_string();
        assert!(error.contains("the id of a job"), "{id}: {error}");
    }
}

/// One step of a message that somebody else wrote: this job runs, since then.
async fn forged(
    cloud: &Cloud,
    guardrails: &Guardrails,
    hub: &IotHubId,
    request: JobRequest,
    since: OffsetDateTime,
) -> Advance {
    let id = jobs_of(cloud, hub)[0]["jobId"].as_str().unwrap().to_owned();
    let phase = JobPhase::Running { job_id: JobId::try_from(id).unwrap(), since, progress: 0 };
    let item = JobItem { phase, ..JobItem::new(request) };
    Jobs { arm: &cloud.arm, guardrails }.advance(hub, &item, false).await
}

fn elsewhere() -> ResourceId {
    ResourceId::parse(&container().as_str().replace("rg-data", "rg-other")).unwrap()
}

/// A document that allows another subscription only.
fn others() -> String {
    profiles().replacen("subscriptions: [ 0b1f6471", "subscriptions: [ 1b1f6471", 1)
}

#[tokio::test(start_paused = true)]
async fn a_forged_message_cancels_nobodys_job() {
    let mut cloud = cloud(Settings { job_seconds: 1e6, ..Settings::default() });
    let hub = hub(&cloud, "hub1", 2).await;
    let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
    let mut item = JobItem::new(export_to("theirs.txt"));
    while !matches!(item.phase, JobPhase::Running { .. }) {
        let Advance::Later { item: next, due, .. } = jobs.advance(&hub, &item, false).await else { panic!() };
        item = *next;
        cloud.clock.sleep_until(due).await;
    }
    let here = cloud.state.guardrails().clone();
    // The job's age is what the hub says, not what the message says.
    let step = forged(&cloud, &here, &hub, export_to("theirs.txt"), START - Duration::days(1)).await;
    assert!(matches!(step, Advance::Later { .. }), "{step:?}");

    cloud.clock.sleep_until(START + Duration::hours(7)).await;
    let requests = [
        ("another container", JobRequest { container: elsewhere(), ..export_to("theirs.txt") }),
        ("another blob", export_to("mine.txt")),
        ("another kind", import("hub1")),
        ("no request", export_to("")),
    ];
    let timed_out =
        |step: &Advance| matches!(step, Advance::Done(JobOutcome::TimedOut { cancelled: false, .. }));
    for (why, request) in requests {
        let step = forged(&cloud, &here, &hub, request, START).await;
        assert!(timed_out(&step), "{why}: {step:?}");
        assert_eq!(jobs_of(&cloud, &hub)[0]["status"], "running", "{why}");
    }
    cloud.want(&others());
    let step = forged(&cloud, cloud.state.guardrails(), &hub, export_to("theirs.txt"), START).await;
    assert!(timed_out(&step), "another hub: {step:?}");
    assert_eq!(jobs_of(&cloud, &hub)[0]["status"], "running");
    let step = forged(&cloud, &here, &hub, export_to("theirs.txt"), START).await;
    assert!(matches!(step, Advance::Done(JobOutcome::TimedOut { cancelled: true, .. })), "{step:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forged_message_deletes_nobodys_blobs_and_reads_nobodys_log() {
    let cloud = cloud(Settings::immediate());
    let hub = hub(&cloud, "hub1", 2).await;
    outcome(&cloud, &hub, nightly(3, keep(9))).await;
    for name in ["20260101T000000Z", "hub2/nightly-20260101T000000Z.txt", "hub1/nightly-20260101T000000Z.txt"]
    {
        cloud.sim_bytes("PUT", &format!("blobs/egressdata/archive/{name}"), "x".into()).await;
    }
    let (before, here) = (blobs(&cloud).await, cloud.state.guardrails().clone());
    let other = |before: &str, after: &str| {
        let name = format!("{before}20260203T120000Z{after}");
        let keep = Keep { before: before.into(), after: after.into(), ..keep(1) };
        JobRequest { keep: Some(keep), ..export_to(&name) }
    };
    let wide = Keep { before: String::new(), after: String::new(), ..keep(1) };
    let requests = [
        ("another container", JobRequest { container: elsewhere(), ..nightly(3, keep(1)) }),
        ("names that are not its own", nightly(3, wide)),
        ("no hub in the name", other("", "")),
        ("another hub's", other("hub2/nightly-", ".txt")),
        ("another job's", other("hub1/weekly-", ".txt")),
    ];
    for (why, request) in requests {
        let step = forged(&cloud, &here, &hub, request, START).await;
        let Advance::Done(JobOutcome::Completed { removed, left: Some(left), .. }) = &step else {
            panic!("{why}: {step:?}")
        };
        assert!(removed.is_empty(), "{why}: {left}");
        assert_eq!(blobs(&cloud).await, before, "{why}: {left}");
    }
    let import = JobRequest { container: elsewhere(), ..import("hub1") };
    let step = forged(&cloud, &here, &hub, import, START).await;
    let Advance::Done(JobOutcome::Failed { cause }) = &step else { panic!("{step:?}") };
    assert!(cause.contains("is not within guardrails.targets"), "{cause}");
    let step = forged(&cloud, &here, &hub, nightly(3, keep(1)), START).await;
    let Advance::Done(JobOutcome::Completed { removed, left: None, .. }) = step else { panic!("{step:?}") };
    assert_eq!(removed, ["hub1/nightly-20260101T000000Z.txt"]);
}
