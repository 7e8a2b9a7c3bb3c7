//! A second owner of a hub is told from everything that only looks like one, is reported, and left alone;
//! and no hub is written more often than the guardrails allow.

use hubward::{
    local::azure::{Fault, FaultKind, Settings, World},
    plan::Blocked,
    reconcile::{Aim, Chain, NotFound, Outcome, Reconciler, Written},
};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, causes, hours, last, pass},
    portal::Portal,
    profiles::{alerts, one},
    world::hub_id,
};

fn is_second_owner(outcome: &Outcome) -> bool {
    let Outcome::Blocked { causes } = outcome else { return false };
    causes.iter().any(|cause| cause.contains("somebody has undone this 2 times"))
}

/// The sender, and the same for another source of messages.
fn two_wanted_states() -> [String; 2] {
    let first = one("eventHub", &alerts());
    let second = first.replace("DeviceMessages", "TwinChangeEvents");
    [first, second]
}

#[tokio::test(start_paused = true)]
async fn a_second_owner_that_undoes_us_twice_is_reported_and_left_alone() {
    let mut cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    cloud.settle(&hub).await;
    portal.undo().await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed, "once may be a mistake");
    portal.undo().await;
    cloud.reset_counters().await.unwrap();
    let report = cloud.look(&hub).await;
    assert!(is_second_owner(&report.outcome), "{report:#?}");
    assert_eq!(cloud.count("hubPuts"), 0, "no flapping");

    // A process that has just started knows it from Azure's own log, and who it is.
    pass(1200).await;
    cloud.restart();
    let report = cloud.look(&hub).await;
    assert!(is_second_owner(&report.outcome), "{report:#?}");
    let text = causes(&report.outcome);
    assert!(text.contains("2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77"), "the operator is named: {text}");
    assert_eq!(cloud.count("hubPuts"), 0);

    // Another wanted state is another matter: what was undone is not what is wanted now.
    let other = hubward::desired::sample().replace("- name: all", "- name: everything");
    cloud.want(&other);
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_second_owner_of_the_identity_is_known_from_the_activity_log_alone() {
    let mut cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    cloud.settle_ok(&hub, "onboarding").await;
    hours(2).await;
    for is_noticed in [false, true] {
        portal
            .change(|hub| {
                hub["identity"] = json!({"type": "None"});
                hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
                hub["properties"]["routing"]["routes"] = json!([]);
            })
            .await;
        // The log catches up, and the process that wrote is long gone.
        pass(25 * 60).await;
        cloud.restart();
        cloud.reset_counters().await.unwrap();
        let reports = cloud.settle(&hub).await;
        if is_noticed {
            assert!(is_second_owner(last(&reports)), "{reports:#?}");
            assert_eq!(cloud.count("hubPuts"), 0, "an identity that is off is no sign of a new hub");
            assert_eq!(cloud.hub(&hub)["identity"]["type"], "None");
        } else {
            assert_eq!(*last(&reports), Outcome::Changed, "once may be a mistake");
            assert_eq!(cloud.hub(&hub)["identity"]["type"], "SystemAssigned");
        }
        pass(25 * 60).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_later_the_hub_is_tried_again() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    for _ in 0..2 {
        cloud.settle(&hub).await;
        portal.undo().await;
    }
    assert!(is_second_owner(&cloud.look(&hub).await.outcome));
    hours(25).await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_goes_back_and_forth_is_no_second_owner() {
    let states = two_wanted_states();
    let mut cloud = Cloud::quick(&states[0]);
    let hub = cloud.new_hub("hub1").await;
    for turn in 0..6 {
        cloud.want(&states[turn % 2]);
        let reports = cloud.settle(&hub).await;
        assert_eq!(*last(&reports), Outcome::Changed, "turn {turn}");
        hours(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_a_hub_between_two_profiles_undoes_nothing() {
    let [first, second] = two_wanted_states();
    let named = |text: &str, name: &str| {
        text.replace(
            "  - name: p\n",
            &format!("  - name: {name}\n    match: {{ tags: {{ egress: {name} }} }}\n"),
        )
    };
    let second = named(second.split_once("profiles:\n").unwrap().1, "b");
    let mut cloud = Cloud::quick(&(named(&first, "a") + &second));
    cloud.create_hub("hub1", "none").await.unwrap();
    let hub = hub_id("hub1");
    let portal = Portal::new(&cloud, &hub).await;
    for turn in 0..6 {
        let name = ["a", "b"][turn % 2];
        portal.tag(json!({"egress": name})).await;
        let reports = cloud.settle(&hub).await;
        assert_eq!(*last(&reports), Outcome::Changed, "turn {turn}");
        hours(1).await;
        // All that is known of the turns before is what the log says.
        cloud.restart();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_deleted_and_made_anew_has_no_past() {
    let cloud = Cloud::quick(&one("eventHub", &alerts()));
    for turn in 0..4 {
        let hub = cloud.new_hub("hub1").await;
        // Long enough that it is not taken for new, and the log is asked.
        hours(2).await;
        let reports = cloud.settle(&hub).await;
        assert_eq!(*last(&reports), Outcome::Changed, "turn {turn}");
        Portal::new(&cloud, &hub).await.delete().await;
        hours(1).await;
        assert_eq!(cloud.hub(&hub), Value::Null);
    }
}

#[tokio::test(start_paused = true)]
async fn tag_writes_around_an_onboarding_and_one_drift_undo_nothing() {
    let mut cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    let first = cloud.look(&hub).await;
    assert!(matches!(first.outcome, Outcome::Waiting { .. }), "{first:#?}");
    portal.tag(json!({"owner": "x"})).await;
    cloud.settle_ok(&hub, "onboarding").await;
    portal.tag(json!({"owner": "y"})).await;
    hours(1).await;
    cloud.restart();
    portal.change(|hub| hub["properties"]["routing"]["routes"][0]["isEnabled"] = false.into()).await;
    hours(1).await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    let found = cloud.hub(&hub);
    assert_eq!(found["properties"]["routing"]["routes"][0]["isEnabled"], true);
    assert_eq!(found["tags"]["owner"], "y");
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_not_written_more_often_than_the_guardrails_allow() {
    let cloud = Cloud::with(
        Settings::default(),
        World::sample(),
        &hubward::desired::sample().replace("maxHubsChanged: 50", "maxWritesPerHub: 2"),
    );
    let hub = cloud.new_hub("hub1").await;
    let started = cloud.clock.now();
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    Portal::new(&cloud, &hub).await.undo().await;
    let reports = cloud.settle(&hub).await;
    let Outcome::Waiting { cause, .. } = &reports[0].outcome else { panic!("{reports:#?}") };
    assert!(cause.contains("written 2 times within an hour"), "{cause}");
    assert_eq!(*last(&reports), Outcome::Changed);
    assert!(cloud.clock.now() - started > time::Duration::HOUR);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_wrote_counts_before_azure_has_it_in_its_log() {
    let profile = one("eventHub", &alerts()).replace("allowRemovals: true", "maxWritesPerHub: 2");
    let cloud = Cloud::quick(&profile);
    let hub = cloud.new_hub("hub1").await;
    let reports = cloud.settle(&hub).await;
    assert_eq!(*last(&reports), Outcome::Changed);
    let at = cloud.clock.now();
    let written =
        reports.into_iter().fold(Written::default(), |before, report| report.written.after(before, at));
    Portal::new(&cloud, &hub).await.undo().await;

    // One that has no memory of its own, with and without what is kept with the hub's last outcome.
    let look = |written| {
        let other = Reconciler::new(cloud.arm.clone());
        let (state, hub) = (&cloud.state, &hub);
        let aim = Aim { written, ..Aim::profile(state) };
        async move { other.reconcile(aim, hub, NotFound::MayPass, &Chain::default()).await.outcome }
    };
    let Outcome::Waiting { cause, .. } = look(Some(&written)).await else { panic!("it was written") };
    assert!(cause.contains("written 2 times within an hour"), "{cause}");
    assert_eq!(look(None).await, Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn writes_that_fail_after_they_were_taken_on_count_for_the_budget() {
    let profile = one("eventHub", &alerts()).replace("allowRemovals: true", "maxWritesPerHub: 2");
    let cloud = Cloud::quick(&profile);
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "onboarding").await;
    hours(2).await;
    Portal::new(&cloud, &hub).await.undo().await;
    cloud.azure.inject(Fault::new(FaultKind::FailOperation).code("412001").times(0));
    cloud.reset_counters().await.unwrap();
    let started = cloud.clock.now();
    loop {
        let report = cloud.look(&hub).await;
        let Outcome::Waiting { cause, until, .. } = &report.outcome else { panic!("{report:#?}") };
        if cause.contains("written 2 times within an hour") {
            break;
        }
        cloud.clock.sleep_until(*until).await;
        assert!(cloud.clock.now() - started < time::Duration::minutes(50), "{cause}");
    }
    assert_eq!(cloud.count("hubPutsAccepted"), 2);
    cloud.clear_faults().await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    assert_eq!(cloud.count("hubPutsAccepted"), 3);
    assert!(cloud.clock.now() - started >= time::Duration::HOUR);
}

#[tokio::test(start_paused = true)]
async fn where_no_hub_may_be_changed_nothing_is_written_at_all() {
    let cloud = Cloud::quick(&one("eventHub", &alerts()).replace("allowRemovals: true", "maxHubsChanged: 0"));
    let hub = cloud.new_hub("hub1").await;
    let reports = cloud.settle(&hub).await;
    assert_eq!(
        causes(last(&reports)),
        "guardrails.maxHubsChanged is 0: nothing is changed; raise it to go on"
    );
    assert_eq!(cloud.count("hubPuts"), 0);
    assert!(cloud.grants().is_empty());
}

#[test]
fn a_second_owner_is_a_reason_of_its_own() {
    let text = Blocked::SecondOwner { times: 2, by: vec!["terraform".into()] }.to_string();
    assert!(text.contains("terraform") && text.contains("left alone"), "{text}");
}
