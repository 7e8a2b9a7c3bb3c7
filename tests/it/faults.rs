//! Each call in turn goes wrong once, some go wrong for ever, and others meddle in just the wrong moment: a
//! hub converges, or it is said in the end that it does not, and nothing is taken for success that is none.

use std::time::Duration;

use hubward::{
    apply::StepOutcome,
    local::azure::{Fault, FaultKind, Settings, World},
    model::IotHubId,
    reconcile::{Aim, Chain, NotFound, Outcome},
};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, causes, last, pass},
    portal::Portal,
    profiles::{alerts, one},
    world::hub_id,
};

async fn reference_hub() -> (Cloud, IotHubId) {
    let cloud = Cloud::quick(hubward::desired::reference());
    cloud.create_hub("hub1", "reference").await.unwrap();
    cloud.reset_counters().await.unwrap();
    (cloud, hub_id("hub1"))
}

/// Every call of an onboarding with five targets, each once.
async fn every_call_in_turn(kind: FaultKind) {
    let (cloud, hub) = reference_hub().await;
    cloud.settle(&hub).await;
    let calls = u32::try_from(cloud.count("armCalls")).unwrap();
    assert!(calls >= 13, "{calls}");
    for skip in 0..calls {
        let story = format!("{kind:?} at call {skip}");
        let (cloud, hub) = reference_hub().await;
        cloud.azure.inject(Fault::new(kind).skip(skip));
        let reports = cloud.settle_ok(&hub, &story).await;
        assert_eq!(cloud.azure.state()["faults"], json!([]), "{story}: it happened");
        assert_eq!(cloud.grants().len(), 5, "{story}");
        let puts = cloud.count("hubPutsAccepted");
        assert!(puts <= 2, "{story}: {puts} PUTs\n{reports:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_answer_may_be_lost() {
    every_call_in_turn(FaultKind::LoseAnswer).await;
}

#[tokio::test(start_paused = true)]
async fn any_call_may_be_throttled() {
    every_call_in_turn(FaultKind::Throttle).await;
}

#[tokio::test(start_paused = true)]
async fn any_call_may_meet_an_error_of_the_server() {
    every_call_in_turn(FaultKind::ServerError).await;
}

#[tokio::test(start_paused = true)]
async fn any_answer_may_be_unreadable() {
    every_call_in_turn(FaultKind::BadJson).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_hub_takes_and_does_not_keep_is_told_and_not_repeated() {
    // The first write turns the identity on, the second brings the endpoint.
    for kept in [0, 1] {
        let mut cloud = Cloud::quick(&one("eventHub", &alerts()));
        let hub = cloud.new_hub("hub1").await;
        cloud.azure.inject(Fault::new(FaultKind::DropChange).skip(kept).times(0));
        let text = causes(last(&cloud.settle(&hub).await));
        assert!(text.starts_with("the hub takes this and does not keep it: "), "{text}");
        let (puts, etag) = (cloud.count("hubPuts"), cloud.hub(&hub)["etag"].clone());
        assert!(cloud.count("hubPutsAccepted") <= 2, "{puts}");

        // Another look finds the hub as it was, and leaves it so.
        assert_eq!(causes(last(&cloud.settle(&hub).await)), text);
        assert_eq!((cloud.count("hubPuts"), &cloud.hub(&hub)["etag"]), (puts, &etag));

        // A process that does not know it tries once; with the hub another, it is tried again.
        cloud.restart();
        assert_eq!(causes(last(&cloud.settle(&hub).await)), text);
        assert_eq!(cloud.count("hubPuts"), puts + 1);
        cloud.clear_faults().await;
        Portal::new(&cloud, &hub).await.tag(json!({"theirs": "1"})).await;
        cloud.settle_ok(&hub, "kept").await;
        cloud.assert_delivers(&hub, "kept").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_answers_make_no_sense_is_not_asked_for_ever() {
    let unreadable = || Fault::new(FaultKind::BadJson).on("GET", "*/eventhubs/alerts");
    let cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(unreadable().times(3));
    cloud.settle_ok(&hub, "three times").await;
    assert_eq!(cloud.azure.state()["faults"], json!([]), "it was asked that often");

    let cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(unreadable().times(0));
    let started = cloud.clock.now();
    let text = causes(last(&cloud.settle(&hub).await));
    assert!(text.contains("cannot read the answer") && text.contains("no better for PT15M"), "{text}");
    let took = cloud.clock.now() - started;
    assert!((15..20).contains(&took.whole_minutes()), "{took}");
    assert_eq!(cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_while_somebody_elses_lands_is_not_taken_for_done() {
    // One failure that ends the look, and one after which it goes on by itself.
    for code in ["400117", "412001"] {
        let cloud = Cloud::with(Settings::default(), World::reference(), &one("eventHub", &alerts()));
        let hub = cloud.new_hub("hub1").await;
        let portal = Portal::new(&cloud, &hub).await;
        cloud.azure.inject(Fault::new(FaultKind::FailOperation).code(code));
        // Our write ends, badly, after thirty seconds. By the time we look, the hub has been written again:
        // it is at rest, well, and has a new etag.
        let them = async {
            tokio::time::sleep(Duration::from_millis(30_050)).await;
            portal.tag(json!({"theirs": "1"})).await;
        };
        let (report, ()) = tokio::join!(cloud.look(&hub), them);
        let cause = match &report.steps[0].outcome {
            StepOutcome::Failed { cause } | StepOutcome::Stale { cause } => cause,
            other => panic!("{code}: {other:?}"),
        };
        assert!(cause.contains("ARM failed PUT hub") && cause.contains(code), "{cause}");
        cloud.settle_ok(&hub, code).await;
        assert_eq!(cloud.hub(&hub)["tags"], json!({"theirs": "1"}), "{code}: and theirs is kept");
        cloud.assert_delivers(&hub, code).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_deleted_while_it_is_brought_in_is_gone_and_no_failure() {
    // As soon as the first write is through, and while the grant spreads.
    for after in [1, 10, 40, 62, 75] {
        let cloud = Cloud::with(Settings::default(), World::reference(), &one("eventHub", &alerts()));
        let hub = cloud.new_hub("hub1").await;
        let portal = Portal::new(&cloud, &hub).await;
        let them = async {
            pass(after).await;
            portal.delete().await;
        };
        let us = async {
            let mut chain = Chain::default();
            // A hub that is not found for long is gone.
            for look in 0.. {
                let not_found = if look < 5 { NotFound::MayPass } else { NotFound::Final };
                let report =
                    cloud.reconciler.reconcile(Aim::profile(&cloud.state), &hub, not_found, &chain).await;
                chain = report.chain;
                match report.outcome {
                    Outcome::Waiting { until, .. } => cloud.clock.sleep_until(until).await,
                    outcome => return outcome,
                }
            }
            unreachable!()
        };
        let (outcome, ()) = tokio::join!(us, them);
        pass(60).await;
        assert_eq!(cloud.hub(&hub), Value::Null, "after {after} s");
        assert!(matches!(outcome, Outcome::Refused { .. }), "after {after} s: {outcome:?}");
        let is_told =
            ["there is no such hub", "the hub is being deleted"].contains(&causes(&outcome).as_str());
        assert!(is_told, "after {after} s: {outcome:?}");
        let later = cloud
            .reconciler
            .reconcile(Aim::profile(&cloud.state), &hub, NotFound::Final, &Chain::default())
            .await;
        assert_eq!(causes(&later.outcome), "there is no such hub", "after {after} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_still_under_way_is_not_told_as_done() {
    let cloud = Cloud::with(Settings::default(), World::reference(), &one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "onboarding").await;
    Portal::new(&cloud, &hub).await.undo().await;
    // Nobody sees how the write goes; the look after it finds the hub as it is going to be. Then the write fails.
    cloud.azure.inject(Fault::new(FaultKind::FailOperation).on("PUT", "iothubs"));
    cloud.azure.inject(Fault::new(FaultKind::LoseAnswer).on("GET", "iothubs").skip(1).times(4));
    let report = cloud.look(&hub).await;
    let Outcome::Waiting { cause, .. } = &report.outcome else { panic!("{report:#?}") };
    assert!(cause.contains("the hub to be ready"), "{cause}");
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
}
