//! A profile that goes to a fleet wave by wave: thirty hubs on keys become hubs on identities.

use std::collections::{BTreeMap, BTreeSet};

use hubward::{
    campaigns::{
        campaign::State,
        hubs::Standing,
        orders::{Hubs, Order, Plan, start},
        step::CampaignStep,
    },
    desired::DesiredState,
    outcomes::{Record, Word},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use time::Duration;
use uuid::Uuid;

use crate::{
    campaign_fleet::{BY, Fleet, GUARDRAILS, Message, plan, profiles, state},
    functions::item,
    requests::{document, request},
    support::{cloud::START, world::hub_id},
};

#[tokio::test(start_paused = true)]
async fn a_fleet_is_converted_wave_by_wave_and_messages_keep_flowing() {
    let mut fleet = Fleet::on_keys(30).await;
    fleet.assert_egress("before").await;
    assert!(fleet.on_identities().is_empty());
    let mut with_first = plan("c1", "1,5,rest");
    with_first.first = vec![fleet.hubs[7].clone()];
    fleet.start(with_first).await;

    let mut sizes = BTreeSet::new();
    while fleet.deliver_next().await {
        sizes.insert(fleet.on_identities().len());
        fleet.assert_egress("on the way").await;
        let campaign = fleet.campaign().await;
        let before: usize = campaign.waves.iter().take(campaign.current + 1).map(|wave| wave.hubs).sum();
        assert!(fleet.on_identities().len() <= before, "no wave goes ahead of its turn");
        if campaign.current == 0 && !fleet.on_identities().is_empty() {
            assert_eq!(fleet.on_identities(), ["hub07"], "the canary is the one that was named");
        }
    }
    assert!(sizes.is_superset(&BTreeSet::from([0, 1, 6, 30])), "{sizes:?}");
    let campaign = fleet.campaign().await;
    assert_eq!((&campaign.state, campaign.next_due), (&State::Completed, None));
    let rows = fleet.rows().await;
    assert!(rows.iter().all(|(_, row)| row.standing == Standing::Done && row.changed), "{rows:#?}");
    let told = fleet.of_campaign();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0].outcome, Word::Changed);
    assert_eq!(told[0].causes, ["campaign c1 is completed: 30 of 30 hubs"]);
    // Three waves soaked for half an hour.
    assert!(campaign.tales[0].at - START > Duration::minutes(90));
    // Each hub got one request, with one outcome.
    let ends: Vec<&Record> = fleet.told.outcomes.iter().filter(|record| record.request.is_some()).collect();
    let ids: BTreeSet<&str> =
        ends.iter().map(|record| record.request.as_ref().unwrap().id.as_str()).collect();
    assert_eq!((ends.len(), ids.len()), (30, 30));
    fleet.assert_no_secret().await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_pauses_the_campaign_and_no_other_hub_is_touched() {
    let mut fleet = Fleet::on_keys(6).await;
    let canary = fleet.hubs[0].clone();
    fleet.start(plan("c1", "1,rest")).await;
    fleet.play_until(&canary, Standing::Verifying).await;
    fleet.take_roles_from(&canary).await;
    assert!(!fleet.message(&canary).await);
    fleet.play().await;
    let campaign = fleet.campaign().await;
    let State::Paused { cause } = &campaign.state else { panic!("{campaign:#?}") };
    assert!(cause.starts_with("wave 1: hub00: endpoint telemetry is unhealthy: Unauthorized"), "{cause}");
    assert_eq!(fleet.on_identities(), ["hub00"]);
    assert!(fleet.rows().await.iter().skip(1).all(|(_, row)| row.standing == Standing::Waiting));
    let told = fleet.of_campaign();
    assert_eq!((told.len(), told[0].outcome), (1, Word::Blocked));
    assert!(told[0].causes[0].starts_with("campaign c1 is paused: 1 hubs of wave 1 failed"), "{told:#?}");

    // After the fix: the role is granted again by a request, and messages flow.
    let before = fleet.told.outcomes.len();
    fleet.say(Order::Resume { leave_failed: false, again: false }).await.unwrap();
    fleet.play_until(&canary, Standing::Verifying).await;
    let mended = request("Onboard", "mend", &canary, json!({"profile": "standard"}));
    let told = fleet.functions.ask(&mended).await;
    assert!(matches!(told.outcomes[0].outcome, Word::Changed | Word::InSync), "{told:#?}");
    fleet.functions.cloud.clock.sleep_until(fleet.functions.cloud.clock.now() + Duration::minutes(5)).await;
    assert!(fleet.message(&canary).await, "the role is back");
    fleet.play().await;
    assert_eq!(fleet.campaign().await.state, State::Completed);
    assert_eq!(fleet.on_identities().len(), 6);
    assert!(fleet.told.outcomes.len() > before);
    fleet.assert_egress("after").await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_falls_ill_while_its_wave_is_left_alone_pauses_the_campaign() {
    let mut fleet = Fleet::on_keys(4).await;
    let canary = fleet.hubs[0].clone();
    fleet.start(plan("c1", "1,rest")).await;
    fleet.play_until(&canary, Standing::Verified).await;
    fleet.functions.cloud.clock.sleep_until(fleet.functions.cloud.clock.now() + Duration::minutes(5)).await;
    fleet.take_roles_from(&canary).await;
    fleet.functions.cloud.clock.sleep_until(fleet.functions.cloud.clock.now() + Duration::minutes(10)).await;
    assert!(!fleet.message(&canary).await);
    fleet.play().await;
    let campaign = fleet.campaign().await;
    assert!(
        campaign.state.to_string().contains("after the wave had soaked: endpoint telemetry"),
        "{campaign:#?}"
    );
    assert_eq!(fleet.on_identities(), ["hub00"]);

    // It may be left as it is.
    fleet.say(Order::Resume { leave_failed: true, again: false }).await.unwrap();
    fleet.play().await;
    let campaign = fleet.campaign().await;
    assert_eq!(campaign.state, State::Completed);
    let last = fleet.of_campaign().into_iter().last().unwrap();
    assert_eq!(last.outcome, Word::Failed, "not all of it was done");
    assert_eq!(last.causes[0], "campaign c1 is completed: 3 of 4 hubs");
}

#[tokio::test(start_paused = true)]
async fn a_wave_goes_back_to_its_keys_and_is_converted_again_only_when_asked() {
    let mut fleet = Fleet::on_keys(5).await;
    fleet.start(plan("c1", "2,rest")).await;
    let first = fleet.hubs[0].clone();
    fleet.play_until(&first, Standing::Verified).await;
    let now = fleet.say(Order::Rollback { wave: 1 }).await.unwrap();
    assert_eq!(now.state.to_string(), format!("paused: wave 1 is rolled back for {BY}"));
    fleet.play().await;
    assert!(fleet.on_identities().is_empty());
    fleet.assert_egress("back on keys").await;
    let standings: Vec<Standing> = fleet.rows().await.iter().map(|(_, row)| row.standing).collect();
    assert_eq!(standings[..2], [Standing::RolledBack; 2]);
    assert_eq!(standings[2..], [Standing::Waiting; 3]);
    let words: Vec<Word> = fleet.of_campaign().iter().map(|record| record.outcome).collect();
    assert_eq!(words, [Word::Blocked, Word::Changed]);
    assert_eq!(fleet.of_campaign()[1].causes, ["campaign c1: wave 1 is rolled back: 2 hubs"]);

    // Resumed, it goes on with the others.
    fleet.say(Order::Resume { leave_failed: false, again: false }).await.unwrap();
    fleet.play().await;
    assert_eq!(fleet.on_identities(), ["hub02", "hub03", "hub04"]);
    assert_eq!(fleet.campaign().await.state, State::Completed);
    assert_eq!(fleet.of_campaign().last().unwrap().outcome, Word::Failed);
    // Nothing is converted again by its completed self, only when asked.
    let refused = fleet.say(Order::Resume { leave_failed: false, again: false }).await.unwrap_err();
    assert!(refused.to_string().contains("the campaign is completed"), "{refused}");
    fleet.say(Order::Resume { leave_failed: false, again: true }).await.unwrap();
    fleet.play().await;
    assert_eq!(fleet.on_identities().len(), 5);
    assert_eq!(fleet.campaign().await.state, State::Completed);
    assert_eq!(fleet.of_campaign().last().unwrap().outcome, Word::Changed);
    fleet.assert_egress("at last").await;
    fleet.assert_no_secret().await;
}

#[tokio::test(start_paused = true)]
async fn going_back_to_keys_needs_leave_and_says_how_to_get_it() {
    let mut fleet = Fleet::on_keys(2).await;
    fleet.start(plan("c1", "1,rest")).await;
    let first = fleet.hubs[0].clone();
    fleet.play_until(&first, Standing::Verified).await;
    fleet.document = profiles("  maxWritesPerHub: 100\n");
    let before = fleet.campaign().await;
    let refused = fleet.say(Order::Rollback { wave: 1 }).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "--wave: hub00 had a key before, and the guardrails do not allow keys; fix: write `allowKeys: true` under `guardrails` for as long as it takes"
    );
    assert_eq!(fleet.campaign().await, before, "nothing is written");
    // The handler's own guardrails hold as well, whatever the operator's document says.
    fleet.document = profiles(GUARDRAILS);
    let strict = profiles("  maxWritesPerHub: 100\n");
    fleet.functions.rewrite(&strict);
    fleet.say(Order::Rollback { wave: 1 }).await.unwrap();
    fleet.play().await;
    let row = fleet.row(&first).await;
    assert_eq!(row.standing, Standing::NotRolledBack);
    assert!(row.cause.unwrap().contains("allowKeys"));
    assert_eq!(fleet.on_identities(), ["hub00"]);
    assert_eq!(fleet.of_campaign().last().unwrap().outcome, Word::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_pause_takes_hold_and_what_was_begun_is_seen_to_its_end() {
    let mut fleet = Fleet::on_keys(12).await;
    let mut slow = plan("c1", "rest");
    slow.rules.at_once = 3;
    fleet.start(slow).await;
    let third = fleet.hubs[2].clone();
    fleet.play_until(&third, Standing::Sent).await;
    fleet.say(Order::Pause).await.unwrap();
    fleet.play().await;
    assert_eq!(fleet.on_identities(), ["hub00", "hub01", "hub02"]);
    let rows = fleet.rows().await;
    let verified = rows.iter().filter(|(_, row)| row.standing == Standing::Verified).count();
    let waiting = rows.iter().filter(|(_, row)| row.standing == Standing::Waiting).count();
    assert_eq!((verified, waiting), (3, 9), "{rows:#?}");
    let told = fleet.of_campaign();
    assert_eq!((told.len(), told[0].outcome), (1, Word::Blocked));
    assert_eq!(told[0].causes, [format!("campaign c1: paused by {BY}")]);
    let refused = fleet.say(Order::Pause).await.unwrap_err().to_string();
    assert!(refused.contains("only one that is running can be paused"), "{refused}");
    fleet.say(Order::Resume { leave_failed: false, again: false }).await.unwrap();
    fleet.play().await;
    assert_eq!((fleet.on_identities().len(), fleet.campaign().await.state), (12, State::Completed));
}

#[tokio::test(start_paused = true)]
async fn looks_from_events_only_plan_for_such_a_profile() {
    let mut fleet = Fleet::on_keys(1).await;
    let hub = fleet.hubs[0].clone();
    fleet.functions.cloud.reset_counters().await.unwrap();
    let (status, answer) = fleet.functions.work(&item(hub.clone())).await;
    assert_eq!(status, 200);
    fleet.told.add(&answer);
    let record = &fleet.told.outcomes[0];
    assert_eq!((record.outcome, record.profile.as_deref()), (Word::Planned, Some("standard")));
    assert_eq!(record.causes, ["the profile is rolled out by campaigns"]);
    assert!(record.plan.iter().any(|line| line.contains("system-assigned identity")), "{record:#?}");
    assert!(fleet.told.parked.is_empty() && fleet.functions.sent().is_empty());
    assert_eq!(fleet.functions.cloud.count("hubPuts"), 0);
    assert!(fleet.functions.cloud.grants().is_empty());
    // An operator may go ahead.
    let told = fleet.functions.ask(&request("Reconcile", "r-1", &hub, json!({}))).await;
    assert_eq!(told.outcomes[0].outcome, Word::Changed);
    let (_, answer) = fleet.functions.work(&item(hub.clone())).await;
    fleet.told.add(&answer);
    assert_eq!(fleet.told.outcomes[1].outcome, Word::InSync, "there is nothing to plan");
}

#[tokio::test(start_paused = true)]
async fn forged_steps_have_no_effect() {
    let mut fleet = Fleet::on_keys(2).await;
    fleet.start(plan("c1", "1,rest")).await;
    let Some((Message::Step(step), _)) = fleet.waiting.pop() else { panic!("a step") };
    fleet.functions.cloud.reset_counters().await.unwrap();
    let before = fleet.campaign().await;
    let forged = |change: fn(&mut CampaignStep)| {
        let mut step = step.clone();
        change(&mut step);
        step
    };
    for (step, session, cause) in [
        (step.clone(), "campaign~other", "another session"),
        (step.clone(), fleet.hubs[0].key(), "another session"),
        (forged(|step| step.campaign = "other".into()), "campaign~other", "no such campaign"),
        (forged(|step| step.campaign = "../c1".into()), "campaign~../c1", "names no campaign"),
        (forged(|step| step.run = Uuid::from_u128(7)), "campaign~c1", "no such campaign"),
        (forged(|step| step.number = 9), "campaign~c1", "not there yet"),
    ] {
        let (status, answer) = fleet.functions.deliver_step(&step, session, 1).await;
        assert_eq!(status, 200);
        assert!(answer["Logs"][0].as_str().unwrap().contains(cause), "{cause}: {answer}");
        assert!(fleet.functions.sent().is_empty() && fleet.functions.steps_sent().is_empty(), "{cause}");
    }
    let mut with_more = serde_json::to_value(&step).unwrap();
    with_more["hub"] = fleet.hubs[0].as_str().into();
    let (status, _) = fleet.functions.work(&with_more.to_string()).await;
    assert_eq!(status, 200);
    assert!(fleet.functions.sent().is_empty() && fleet.functions.steps_sent().is_empty());
    assert_eq!(fleet.campaign().await, before);
    assert_eq!(fleet.functions.cloud.count("armCalls"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_at_the_door() {
    let fleet = Fleet::on_keys(2).await;
    let own = state(&fleet.document);
    let hubs = || Hubs::Named(fleet.hubs.clone());
    let refused = |plan: Plan, state: &DesiredState, hubs: Hubs| {
        plan.over(state, hubs, START).map(|_| ()).unwrap_err().to_string()
    };
    let with = |change: fn(&mut Plan)| {
        let mut plan = plan("c1", "1,rest");
        change(&mut plan);
        plan
    };
    let automatic = state(&document(GUARDRAILS));
    for (plan, state, hubs, cause) in [
        (with(|plan| plan.id = "../x".into()), &own, hubs(), "ID: this is no id of a campaign"),
        (
            with(|plan| plan.profile = "standrad".into()),
            &own,
            hubs(),
            "--profile: there is no profile `standrad`",
        ),
        (with(|_| ()), &automatic, hubs(), "write `rollout: campaign` in the profile"),
        (with(|_| ()), &own, Hubs::Matching(Vec::new()), "--profile: no hub of the allowed subscriptions"),
        (with(|plan| plan.rules.at_once = 0), &own, hubs(), "--at-once: 0 hubs"),
        (with(|plan| plan.rules.soak_seconds = u64::MAX), &own, hubs(), "--soak: this is longer"),
        (with(|plan| plan.reason = "why ".repeat(60)), &own, hubs(), "--reason: this has more than"),
        (with(|plan| plan.requested_by = "a\nb".into()), &own, hubs(), "requestedBy"),
        (with(|plan| plan.first = vec![hub_id("ghost")]), &own, hubs(), "--first: ghost is not among"),
    ] {
        let told = refused(plan, state, hubs);
        assert!(told.contains(cause) && told.contains("fix: "), "{cause}: {told}");
    }
    // An id is taken once.
    let planned = fleet.planned(plan("c1", "1,rest")).await;
    start(&fleet.blobs, fleet.functions.queue(), &planned, None).await.unwrap();
    let other = fleet.planned(plan("c1", "rest")).await;
    let error = start(&fleet.blobs, fleet.functions.queue(), &other, None).await.unwrap_err();
    assert_eq!(error.to_string(), "ID: there is a campaign `c1` already; fix: choose another id");
    assert_eq!(fleet.campaign().await.run, planned.campaign.run);
    assert_eq!(fleet.blobs.ids().await.unwrap(), ["c1"]);
}

/// Workers that are killed at any moment, messages that come twice or late, calls that take their time:
/// each hub gets one request, which has one outcome, and the campaign ends once.
#[tokio::test(start_paused = true)]
async fn crashes_and_redeliveries_convert_each_hub_once() {
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(20_260_131 + seed);
        let mut fleet = Fleet::on_keys(14).await;
        let mut quick = plan("c1", "1,5,rest");
        quick.rules.at_once = 4;
        fleet.start(quick).await;
        let slow = hubward::local::azure::Fault::new(hubward::local::azure::FaultKind::SlowAnswer);
        fleet.functions.cloud.azure.inject(slow.seconds(0.2).times(0));
        let (mut killed, mut turns) = (0, 0);
        while !fleet.waiting.is_empty() {
            turns += 1;
            assert!(turns < 20_000, "it never ends");
            fleet.waiting.sort_by_key(|(message, _)| message.due());
            let (message, count) = fleet.waiting.remove(0);
            if let Some(due) = message.due() {
                fleet.functions.cloud.clock.sleep_until(due).await;
            }
            if random.random_bool(0.2) {
                let limit = std::time::Duration::from_millis(random.random_range(0..3_000));
                let run = fleet.deliver(&message, count);
                if let Ok((200, answer)) = tokio::time::timeout(limit, run).await {
                    fleet.told.add(&answer);
                } else {
                    killed += 1;
                    fleet.waiting.push((message, count + 1));
                }
            } else {
                let (status, answer) = fleet.deliver(&message, count).await;
                assert_eq!(status, 200, "{answer}");
                fleet.told.add(&answer);
                if random.random_bool(0.1) {
                    // The broker lost our completion: it comes again.
                    fleet.waiting.push((message, count + 1));
                }
            }
            fleet.collect();
        }
        assert!(killed > 5, "{killed} were killed");
        assert_eq!(fleet.campaign().await.state, State::Completed);
        assert_eq!(fleet.on_identities().len(), 14);
        let mut ends: BTreeMap<String, BTreeSet<Uuid>> = BTreeMap::new();
        for record in &fleet.told.outcomes {
            if let Some(request) = &record.request {
                let hub = record.hub.clone().unwrap();
                assert!(
                    request.id.ends_with(&format!(":1:{}", hub.rsplit('/').next().unwrap())),
                    "{request:?}"
                );
                ends.entry(hub).or_default().insert(record.outcome_id);
            }
        }
        assert_eq!(ends.len(), 14);
        assert!(ends.values().all(|ids| ids.len() == 1), "{ends:#?}");
        let told: BTreeSet<(Uuid, Word)> =
            fleet.of_campaign().iter().map(|record| (record.outcome_id, record.outcome)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told.iter().next().unwrap().1, Word::Changed);
        fleet.assert_egress("after all").await;
    }
}
