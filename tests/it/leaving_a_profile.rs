//! A hub matches its profile no more: what that brought goes where removals are allowed, and nothing else does.

use hubward::{
    model::IotHubId,
    outcomes::{Word, store::OutcomeStore},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    functions::{Functions, item, store},
    offboarding::{assign, deliver, grants, list, ready, record, three},
    resync::{onboarded, resync, work_off},
    support::{
        cloud::{PRINCIPAL, pass},
        portal::Portal,
        world::hub_id,
    },
};

/// The hub's tag now says that its profile is not for it, and somebody has put an endpoint of their own in.
async fn leaves_its_profile(functions: &Functions, hub: &IotHubId) {
    Portal::new(&functions.cloud, hub)
        .await
        .change(|hub| {
            hub["tags"]["egress"] = "none".into();
            hub["properties"]["routing"]["routes"].as_array_mut().unwrap().push(
                json!({"name": "theirs", "source": "DeviceMessages", "condition": "true", "endpointNames": ["events"], "isEnabled": true}),
            );
        })
        .await;
    functions.cloud.reset_counters().await.unwrap();
}

/// That was said of the hub, and nothing was written.
async fn assert_has_no_profile(functions: &Functions, hub: &IotHubId) {
    let told = record(functions, hub).await;
    assert_eq!(
        (told.outcome, &told.causes[..]),
        (Word::Refused, &["no profile matches the hub".to_owned()][..])
    );
    assert_eq!(functions.cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_leaves_its_profile_loses_what_that_brought_and_nothing_else() {
    let (functions, hub) = ready(&three()).await;
    assert_eq!(grants(&functions), (2, 1));
    let theirs = assign(&functions, &Uuid::from_u128(5).to_string(), PRINCIPAL, "theirs").await;
    leaves_its_profile(&functions, &hub).await;

    deliver(&functions, &item(hub.clone())).await;
    let found = functions.cloud.hub(&hub);
    let routing = &found["properties"]["routing"];
    let count =
        routing["endpoints"].as_object().unwrap().values().filter_map(Value::as_array).flatten().count();
    assert_eq!(count, 0, "{routing:#}");
    let routes: Vec<_> = routing["routes"].as_array().unwrap().iter().map(|route| &route["name"]).collect();
    assert_eq!(routes, ["theirs"]);
    assert_eq!(grants(&functions), (1, 0), "theirs is left");
    assert!(list(&functions, "roleAssignments").iter().any(|grant| grant["id"] == theirs.as_str()));
    assert_eq!(found["identity"]["type"], "SystemAssigned", "others may use it by now");
    let told = record(&functions, &hub).await;
    assert_eq!((told.outcome, told.profile.as_deref()), (Word::Changed, Some("p")), "{told:#?}");

    functions.cloud.reset_counters().await.unwrap();
    deliver(&functions, &item(hub.clone())).await;
    assert_has_no_profile(&functions, &hub).await;
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_leaves_its_profile_keeps_everything_where_nothing_may_be_removed() {
    let kept = three().replace("allowRemovals: true", "allowRemovals: false");
    let (functions, hub) = ready(&kept).await;
    leaves_its_profile(&functions, &hub).await;
    deliver(&functions, &item(hub.clone())).await;
    assert_has_no_profile(&functions, &hub).await;
    assert_eq!(grants(&functions), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_never_had_a_profile_is_left_alone_whatever_is_in_it() {
    let (functions, _) = ready(&three()).await;
    functions.cloud.create_hub("hub2", "none").await.unwrap();
    let other = hub_id("hub2");
    // It has an identity, and a route by the name of the profile's.
    let route = json!({"name": "hw-a", "source": "DeviceMessages", "condition": "true", "endpointNames": ["events"], "isEnabled": true});
    let change = |hub: &mut Value| {
        hub["identity"] = json!({"type": "SystemAssigned"});
        hub["properties"]["routing"]["routes"] = json!([route]);
    };
    Portal::new(&functions.cloud, &other).await.change(change).await;
    functions.cloud.reset_counters().await.unwrap();
    deliver(&functions, &item(other.clone())).await;
    assert_has_no_profile(&functions, &other).await;
    assert_eq!(functions.cloud.hub(&other)["properties"]["routing"]["routes"][0]["name"], "hw-a");
}

#[tokio::test(start_paused = true)]
async fn a_match_that_loses_the_fleet_by_mistake_stops_at_the_breaker() {
    let document = three().replace("allowRemovals: true", "allowRemovals: true\n  maxHubsChanged: 1");
    let mut functions = onboarded(&document, &["hub1", "hub2", "hub3"]).await;
    pass(3600).await;
    resync(&functions).await;
    assert!(functions.sent().is_empty(), "all are in order");

    functions.rewrite(&document.replace("egress: standard", "egress: standrad"));
    functions.cloud.reset_counters().await.unwrap();
    let (status, answer) = resync(&functions).await;
    assert_eq!(status, 200);
    let told: Value = serde_json::from_str(answer["Outputs"]["outcomes"][0].as_str().unwrap()).unwrap();
    let cause = told["causes"][0].as_str().unwrap();
    assert!(cause.contains("3 hubs differ") && cause.contains("allows 1"), "{cause}");
    let fleet = store(&functions.cloud).of_fleet().await.unwrap().unwrap();
    assert_eq!(fleet.stopped.map(|stopped| (stopped.wanted, stopped.allowed)), Some((3, 1)));
    assert_eq!(work_off(&functions).await.len(), 1);
    assert_eq!(grants(&functions), (4, 2), "two hubs are as they were");
}
