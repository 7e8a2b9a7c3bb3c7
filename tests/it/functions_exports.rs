//! Scheduled exports and bulk jobs behind the real router: ticks that fail, processes that start anew,
//! messages that come again.

use std::collections::{BTreeMap, BTreeSet};

use hubward::{
    local::azure::{Fault, FaultKind},
    model::job::{JobItem, JobPhase},
    schedule::stamp,
    work::{REMEMBERED, Reason, WorkItem},
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use uuid::Uuid;

use crate::{
    functions::{Functions, item},
    support::world::hub_id,
};

const NIGHTLY: &str = "
version: 1
guardrails:
  subscriptions: [ 0b1f6471-1bf0-4dda-aec3-cb9272f09590 ]
  targets: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data ]
profiles:
  - name: p
    identity: { system: on }
    exports:
      - name: nightly
        schedule: '0 0 11 * * *'
        container: /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive
        as: system
        keep: 3
      - { name: yearly, schedule: '0 0 0 1 7 *', container: /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive, as: system }
";

impl Functions {
    /// A tick, with the time of the tick before it.
    async fn tick(&self, last: OffsetDateTime) -> (u16, Value) {
        let last = last.format(&Rfc3339).unwrap();
        let timer = json!({"Schedule": {"AdjustForDST": true}, "IsPastDue": false,
            "ScheduleStatus": {"Last": last, "Next": last, "LastUpdated": last}});
        self.post("ScheduledExport", json!({"Data": {"timer": timer}, "Metadata": {}}).to_string()).await
    }
}

/// The blobs that were asked for.
fn blobs(sent: &[WorkItem]) -> Vec<String> {
    let blob = |item: &WorkItem| match &item.reason {
        Reason::Job { item, due: None } => item.request.job.blob_name().to_owned(),
        other => panic!("{other:#?}"),
    };
    sent.iter().map(blob).collect()
}

async fn two_hubs(document: &str) -> Functions {
    let functions = Functions::of(false, document);
    functions.cloud.new_hub("hub1").await;
    functions.cloud.new_hub("hub2").await;
    // Azure's time is known from its answers: a little after 12:00 on 31 January.
    functions.work(&item(hub_id("hub1"))).await;
    functions.sent();
    functions
}

#[tokio::test(start_paused = true)]
async fn an_export_that_is_due_is_one_message_whoever_sends_it_and_however_often_it_was_missed() {
    let mut functions = two_hubs(NIGHTLY).await;
    // The host was down for three nights: one export for each hub, not three.
    assert_eq!(functions.tick(datetime!(2026-01-28 23:59:00 UTC)).await.0, 200);
    let sent = functions.sent();
    let names = ["hub1/nightly-20260131T110000Z.txt", "hub2/nightly-20260131T110000Z.txt"];
    assert_eq!(blobs(&sent), names);
    let Reason::Job { item, .. } = &sent[0].reason else { panic!("{sent:#?}") };
    assert_eq!(item.request.requested_by, "schedule nightly");

    let calls = functions.cloud.count("armCalls");
    assert_eq!(functions.tick(datetime!(2026-01-31 11:59:00 UTC)).await.0, 200);
    assert!(functions.sent().is_empty(), "11:00 was seen to");
    assert_eq!(functions.cloud.count("armCalls"), calls, "nothing is due, nobody is asked");

    // Another process does not know, and comes to the same messages, which the broker drops.
    functions.restart();
    assert_eq!(functions.tick(datetime!(2026-01-31 11:59:00 UTC)).await.0, 200);
    let again: Vec<_> = functions.sent().iter().map(|item| item.work_id).collect();
    assert_eq!(again, sent.iter().map(|item| item.work_id).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_be_read_keeps_no_other_from_its_exports() {
    let document =
        NIGHTLY.replacen("subscriptions: [ ", "subscriptions: [ 1b1f6471-1bf0-4dda-aec3-cb9272f09590, ", 1);
    let functions = two_hubs(&document).await;
    for _ in 0..2 {
        let (status, answer) = functions.tick(datetime!(2026-01-31 11:59:00 UTC)).await;
        assert_eq!(status, 500, "the tick is not well: {answer}");
        assert_eq!(
            functions.sent().len(),
            2,
            "the hubs of the other one had theirs, and what is sent twice is dropped"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ticks_that_fail_for_hours_lose_no_export_and_make_none_twice() {
    let document = NIGHTLY.replace("0 0 11 * * *", "0 0 13 * * *");
    let mut functions = two_hubs(&document).await;
    functions.tick(datetime!(2026-01-31 11:59:00 UTC)).await;
    assert!(functions.sent().is_empty(), "13:00 is yet to come");
    let start = functions.cloud.clock.now();
    let mut sent: BTreeMap<(Uuid, String), Vec<OffsetDateTime>> = BTreeMap::new();
    let list = "/providers/Microsoft.Devices/IotHubs";
    functions.cloud.azure.inject(Fault::new(FaultKind::Deny).on("GET", list).times(0));
    let (mut failed, mut last) = (0, start);
    // Two days, a tick every ten minutes; for the first six hours no hub can be listed, and every process
    // is a new one.
    for tick in 1..=2 * 24 * 6 {
        let now = start + Duration::minutes(10 * tick);
        functions.cloud.clock.sleep_until(now).await;
        if tick == 36 {
            functions.cloud.sim("DELETE", "faults", json!({})).await;
        }
        functions.restart();
        // Azure's answer tells the time.
        functions.work(&item(hub_id("hub1"))).await;
        functions.sent();
        failed += u32::from(functions.tick(last).await.0 == 500);
        last = now;
        for (item, blob) in functions.sent().into_iter().map(|item| (item.work_id, blobs(&[item]).remove(0)))
        {
            sent.entry((item, blob)).or_default().push(now);
        }
    }
    assert!(failed > 25, "{failed}");
    let names: BTreeSet<String> = sent.keys().map(|(_, blob)| blob.clone()).collect();
    let days = [31, 32].map(|day| datetime!(2026-01-01 13:00:00 UTC) + Duration::days(day - 1));
    let expected =
        days.iter().flat_map(|day| ["hub1", "hub2"].map(|hub| format!("{hub}/nightly-{}.txt", stamp(*day))));
    assert_eq!(names, expected.collect(), "every occurrence, although the ticks at its time failed");
    assert_eq!(sent.len(), names.len(), "one id each");
    for ((_, blob), times) in &sent {
        let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!(*last - *first < REMEMBERED, "the broker still knows the first one: {blob} {first} {last}");
    }
}

/// A hub with its identity, whose nightly export has become due: the message that asks for it.
async fn due() -> (Functions, WorkItem) {
    let functions = Functions::of(false, NIGHTLY);
    let hub = functions.cloud.new_hub("hub1").await;
    functions.cloud.settle(&hub).await;
    functions.work(&item(hub)).await;
    functions.sent();
    functions.tick(datetime!(2026-01-31 00:00:00 UTC)).await;
    let next = functions.sent().remove(0);
    (functions, next)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_does_not_ask_again() {
    let (functions, mut next) = due().await;
    let is_intended = |item: &WorkItem| matches!(&item.reason, Reason::Job { item, .. } if matches!(item.phase, JobPhase::Intended(_)));
    while !is_intended(&next) {
        functions.work(&serde_json::to_string(&next).unwrap()).await;
        next = functions.sent().remove(0);
        functions.cloud.clock.sleep_until(next.due().unwrap()).await;
    }
    let asks = || functions.cloud.arm.reader().client().calls().get("POST job").copied();
    let text = serde_json::to_string(&next).unwrap();
    functions.deliver(&text, 2).await;
    assert_eq!(asks(), None, "it may have been asked for");
    let Reason::Job { item: again, .. } = functions.sent().remove(0).reason else { panic!() };
    let JobItem { phase: JobPhase::Intended(intent), .. } = &*again else { panic!("{again:#?}") };
    assert!(intent.asked);
    functions.deliver(&text, 1).await;
    assert_eq!(asks(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_bulk_job_goes_on_in_scheduled_messages_to_its_one_outcome() {
    let (functions, mut next) = due().await;
    let mut steps = 0;
    let answer = loop {
        let (status, answer) = functions.work(&serde_json::to_string(&next).unwrap()).await;
        assert_eq!(status, 200, "{answer}");
        let Some(following) = functions.sent().pop() else { break answer };
        assert_ne!(following.work_id, next.work_id);
        assert_eq!(following.session_id(), next.session_id(), "one hub, one worker");
        functions.cloud.clock.sleep_until(following.due().unwrap()).await;
        (next, steps) = (following, steps + 1);
        assert!(steps < 50, "never ends");
    };
    let outcome: Value = serde_json::from_str(answer["Outputs"]["outcomes"][0].as_str().unwrap()).unwrap();
    assert_eq!((&outcome["outcome"], &outcome["job"]["outcome"]), (&json!("Changed"), &json!("Completed")));
    assert!((2..20).contains(&steps), "{steps}");
}
