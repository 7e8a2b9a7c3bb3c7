//! Plan and apply converge, with the fewest calls, and under faults that are asked for by name.

use hubward::{
    local::azure::{EndpointValidation, Fault, FaultKind, Settings},
    reconcile::{Aim, Chain, NotFound, Outcome, plan_hub},
};
use serde_json::json;

use crate::support::{cloud::Cloud, world::hub_id};

fn ended(outcome: &Outcome) -> &'static str {
    outcome.name()
}

/// What a hub in sync must look like, read from the simulator.
fn assert_sends_with_its_own_identity(cloud: &Cloud, hub: &hubward::model::IotHubId) {
    let found = cloud.hub(hub);
    let principal = found["identity"]["principalId"].as_str().expect("a principal");
    let endpoint = &found["properties"]["routing"]["endpoints"]["eventHubs"][0];
    assert_eq!(endpoint["authenticationType"], "identityBased");
    assert_eq!(endpoint["endpointUri"], "sb://ns1.servicebus.windows.net");
    assert_eq!(endpoint["entityPath"], "telemetry-westus2");
    let route = &found["properties"]["routing"]["routes"][0];
    assert_eq!((route["name"].as_str(), &route["endpointNames"]), (Some("all"), &json!(["telemetry"])));
    let state = cloud.azure.state();
    let grants = state["roleAssignments"].as_array().unwrap();
    assert_eq!(grants.len(), 1, "{grants:#?}");
    assert!(grants[0].to_string().contains(principal));
    assert!(grants[0].to_string().contains("2b629674-e913-4c01-ae53-ef4638d8f975"));
}

#[tokio::test(start_paused = true)]
async fn a_cold_hub_costs_two_puts_and_thirteen_calls() {
    // Fast enough that one poll sees the end of each write, as at the demo's speed.
    let cloud = Cloud::new(Settings { hub_update_seconds: 0.5, ..Settings::default() });
    let hub = cloud.new_hub("hub1").await;
    let reports = cloud.settle(&hub).await;
    assert_eq!(
        reports.iter().map(|report| ended(&report.outcome)).collect::<Vec<_>>(),
        ["Waiting", "Changed"]
    );
    assert_sends_with_its_own_identity(&cloud, &hub);
    assert_eq!(cloud.count("hubPuts"), 2);
    assert_eq!(cloud.count("armCalls"), 13, "{:#}", cloud.azure.state()["counters"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_look_reads_two_things_and_writes_nothing() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    cloud.settle(&hub).await;
    let before = cloud.hub(&hub);
    cloud.sim("POST", "reset-counters", json!({})).await;
    assert_eq!(cloud.look(&hub).await.outcome, Outcome::InSync);
    assert_eq!((cloud.count("armCalls"), cloud.count("hubPuts")), (2, 0));
    assert_eq!(cloud.hub(&hub), before);
    assert!(plan_hub(cloud.arm.reader(), &cloud.state, &hub).await.unwrap().is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn at_azures_own_pace_it_still_costs_two_puts() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let reports = cloud.settle(&hub).await;
    assert_eq!(ended(&reports.last().unwrap().outcome), "Changed");
    assert_eq!(cloud.count("hubPuts"), 2);
    // The floor, and two more polls for each of the two writes.
    assert_eq!(cloud.count("armCalls"), 13 + 4, "{:#}", cloud.azure.state()["counters"]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_takes_ten_minutes_is_waited_for() {
    for validation in [EndpointValidation::Sync, EndpointValidation::Async] {
        let cloud = Cloud::new(Settings { endpoint_validation: validation, ..Settings::default() });
        let hub = cloud.new_hub("hub1").await;
        cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(600.0));
        let reports = cloud.settle(&hub).await;
        assert_eq!(ended(&reports.last().unwrap().outcome), "Changed", "{reports:#?}");
        assert_sends_with_its_own_identity(&cloud, &hub);
        assert!(cloud.count("hubPuts") <= 11, "{}", cloud.count("hubPuts"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_never_works_ends_in_the_services_words() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(86_400.0));
    let reports = cloud.settle(&hub).await;
    let Outcome::Failed { cause } = &reports.last().unwrap().outcome else { panic!("{reports:#?}") };
    assert!(cause.contains("telemetry"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn every_named_fault_passes_without_a_second_grant_or_a_lost_change() {
    let put_hub = |kind| Fault::new(kind).on("PUT", "iothubs");
    let put_grant = |kind| Fault::new(kind).on("PUT", "roleassignments");
    let stories: Vec<(&str, Vec<Fault>)> = vec![
        ("throttled briefly", vec![put_hub(FaultKind::Throttle).retry_after(2.0)]),
        ("throttled for long", vec![put_hub(FaultKind::Throttle).retry_after(120.0)]),
        ("throttled without a word", vec![Fault::new(FaultKind::Throttle).on("GET", "iothubs").times(6)]),
        ("server errors on reads", vec![Fault::new(FaultKind::ServerError).on("GET", "eventhubs").times(3)]),
        ("server error on a write", vec![put_hub(FaultKind::ServerError)]),
        ("connection lost before", vec![put_hub(FaultKind::ResetBefore)]),
        ("answer lost", vec![put_hub(FaultKind::LoseAnswer).times(2)]),
        ("grant's answer lost", vec![put_grant(FaultKind::LoseAnswer)]),
        ("busy", vec![put_hub(FaultKind::Conflict409).times(2)]),
        ("changed by another", vec![put_hub(FaultKind::PreconditionFailed).times(2)]),
        ("unreadable after a write", vec![Fault::new(FaultKind::NotFoundWindow).seconds(90.0)]),
        ("slow", vec![Fault::new(FaultKind::SlowOperation).seconds(300.0)]),
        ("fails later with 412", vec![Fault::new(FaultKind::FailOperation)]),
        ("principal unknown", vec![Fault::new(FaultKind::PrincipalNotFound).times(9)]),
        ("not JSON", vec![Fault::new(FaultKind::BadJson).on("GET", "iothubs")]),
    ];
    for (story, faults) in stories {
        let cloud = Cloud::new(Settings::default());
        let hub = cloud.new_hub("hub1").await;
        faults.into_iter().for_each(|fault| cloud.azure.inject(fault));
        let reports = cloud.settle(&hub).await;
        let last = &reports.last().unwrap().outcome;
        assert!(matches!(last, Outcome::Changed | Outcome::InSync), "{story}: {last:?}");
        assert_sends_with_its_own_identity(&cloud, &hub);
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_write_meanwhile_is_kept() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let first = cloud.look(&hub).await;
    let Outcome::Waiting { until, .. } = first.outcome else { panic!("{first:?}") };
    let theirs = json!({"properties": {"routing": {"routes": [{"name": "RouteToEventGrid",
        "source": "DeviceConnectionStateEvents", "condition": "true", "endpointNames": ["events"], "isEnabled": true}]}},
        "tags": {"egress": "standard", "owner": "plant"}, "wait": true});
    cloud.sim("PATCH", "hubs/hub1", theirs).await;
    cloud.clock.sleep_until(until).await;
    cloud.settle(&hub).await;
    let found = cloud.hub(&hub);
    assert_eq!(found["tags"]["owner"], "plant");
    let routes: Vec<_> = found["properties"]["routing"]["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["name"].clone())
        .collect();
    assert_eq!(routes, ["RouteToEventGrid", "all"]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_somebody_else_made_is_adopted() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    cloud.settle(&hub).await;
    let principal = cloud.hub(&hub)["identity"]["principalId"].as_str().unwrap().to_owned();
    let grants = cloud
        .arm
        .reader()
        .grants(&crate::support::world::event_hub("telemetry-westus2"), &principal)
        .await
        .unwrap();
    assert_eq!(grants.len(), 1);
    // Under our name it is the same write: Azure answers with the assignment that is there.
    let again = cloud
        .arm
        .grant(&grants[0].scope, hubward::model::role::Role::EventHubsDataSender, &principal, "again")
        .await
        .unwrap();
    assert_eq!(again.created_on, grants[0].created_on);
}

#[tokio::test(start_paused = true)]
async fn hubs_that_are_not_ours_are_left_alone() {
    let cloud = Cloud::new(Settings::default());
    let body = json!({"resourceGroup": "rg-plant-01", "name": "other", "location": "westus2", "wait": true});
    cloud.sim("POST", "hubs", body).await;
    cloud.sim("POST", "reset-counters", json!({})).await;
    let report = cloud.look(&hub_id("other")).await;
    assert_eq!(report.outcome, Outcome::Refused { causes: vec!["no profile matches the hub".into()] });
    let stranger = hubward::model::IotHubId::parse(
        "/subscriptions/00000000-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/x",
    )
    .unwrap();
    assert_eq!(
        ended(
            &cloud
                .reconciler
                .reconcile(Aim::profile(&cloud.state), &stranger, NotFound::Final, &Chain::default())
                .await
                .outcome
        ),
        "Refused"
    );
    assert_eq!(cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_target_and_a_missing_right_are_told_in_plain_words() {
    let cloud = Cloud::with(
        Settings::default(),
        hubward::local::azure::World::sample(),
        &hubward::desired::sample().replace("telemetry-{location}", "nowhere"),
    );
    let hub = cloud.new_hub("hub1").await;
    let report = cloud.look(&hub).await;
    let Outcome::Blocked { causes } = &report.outcome else { panic!("{report:?}") };
    assert!(causes[0].contains("nowhere does not exist"), "{causes:?}");
    assert_eq!(cloud.count("hubPuts"), 0, "nothing is half-done");

    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::Deny).on("PUT", "roleassignments").times(0));
    let reports = cloud.settle(&hub).await;
    let Outcome::Failed { cause } = &reports.last().unwrap().outcome else { panic!("{reports:?}") };
    assert!(cause.contains("AuthorizationFailed"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_not_found_is_given_time_before_it_is_gone() {
    let cloud = Cloud::new(Settings::default());
    assert_eq!(ended(&cloud.look(&hub_id("ghost")).await.outcome), "Waiting");
    let report = cloud
        .reconciler
        .reconcile(Aim::profile(&cloud.state), &hub_id("ghost"), NotFound::Final, &Chain::default())
        .await;
    assert_eq!(ended(&report.outcome), "Refused");
}
