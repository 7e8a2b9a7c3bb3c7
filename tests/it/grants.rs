//! What can be the matter with a grant: held under a condition, taken away meanwhile, for a principal that
//! nobody ever knows, on the account or on the container.

use hubward::{
    local::azure::{Fault, FaultKind},
    model::IotHubId,
    reconcile::{Chain, Outcome},
};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, PRINCIPAL, causes, last, told},
    profiles::{alerts, archive, cosmos, one},
    world::SUBSCRIPTION,
};

/// Goes on with a chain of looks to its end, which has to come within an hour.
async fn go_on(cloud: &Cloud, hub: &IotHubId, mut chain: Chain) -> Outcome {
    let started = cloud.clock.now();
    loop {
        let report = cloud.look_again(hub, &chain).await;
        chain = report.chain;
        let Outcome::Waiting { cause, until, .. } = report.outcome else { return report.outcome };
        cloud.clock.sleep_until(until).await;
        assert!(cloud.clock.now() - started < time::Duration::HOUR, "still waiting for {cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_held_under_a_condition_blocks_before_anything_is_written() {
    let identity = json!({"identity": {"type": "SystemAssigned", "principalId": PRINCIPAL}});
    let (cloud, hub) = Cloud::quick_around(identity, &one("eventHub", &alerts()));
    let role = "roleDefinitions/2b629674-e913-4c01-ae53-ef4638d8f975";
    let theirs = format!(
        "{}/providers/Microsoft.Authorization/roleAssignments/11111111-2222-4333-8444-555555555555",
        alerts()
    );
    let body = json!({"properties": {
        "roleDefinitionId": format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/{role}"),
        "principalId": PRINCIPAL, "principalType": "ServicePrincipal",
        "condition": "@Resource[Microsoft.Storage/x:name] StringEquals 'y'", "conditionVersion": "2.0",
    }});
    let (status, answer) = cloud.call("PUT", &theirs, "2022-04-01", &body).await;
    assert_eq!(status, 201, "{answer}");
    cloud.reset_counters().await.unwrap();
    let text = causes(last(&cloud.settle(&hub).await));
    assert!(text.contains("holds Azure Event Hubs Data Sender on"), "{text}");
    assert!(text.contains("under a condition only") && text.contains(&theirs), "{text}");
    assert_eq!(cloud.count("hubPuts"), 0);
    assert!(
        cloud.count("armCalls") <= 8,
        "it is known from what is read anyway: {}",
        cloud.count("armCalls")
    );
    assert_eq!(cloud.grants().len(), 1, "Azure takes no second one");

    let (status, answer) = cloud.call("DELETE", &theirs, "2022-04-01", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    cloud.settle_ok(&hub, "without the condition").await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_taken_away_while_it_is_waited_for_is_made_again() {
    for (field, target, list, version) in [
        ("eventHub", alerts(), "roleAssignments", "2022-04-01"),
        ("cosmosDbContainer", cosmos(), "cosmosRoleAssignments", "2024-11-15"),
    ] {
        let cloud = Cloud::quick(&one(field, &target));
        let hub = cloud.new_hub("hub1").await;
        let first = cloud.look(&hub).await;
        let Outcome::Waiting { until, .. } = first.outcome else { panic!("{field}: {first:#?}") };
        let id = cloud.azure.state()[list][0]["id"].as_str().unwrap().to_owned();
        let (status, answer) = cloud.call("DELETE", &id, version, &Value::Null).await;
        assert!(status < 300, "{field}: {status} {answer}");
        // The chain of looks goes on with what it knew: that there is a grant.
        cloud.clock.sleep_until(until).await;
        assert_eq!(cloud.azure.state()[list], json!([]), "{field}: it is gone");
        let outcome = go_on(&cloud, &hub, first.chain).await;
        assert_eq!(outcome, Outcome::Changed, "{field}");
        assert_eq!(cloud.azure.state()[list].as_array().unwrap().len(), 1, "{field}");
        cloud.assert_delivers(&hub, field).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_principal_that_nobody_ever_knows_is_not_waited_for_without_end() {
    let cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::PrincipalNotFound).times(0));
    let started = cloud.clock.now();
    let outcome = go_on(&cloud, &hub, Chain::default()).await;
    let Outcome::Failed { cause } = outcome else { panic!("{outcome:?}") };
    assert!(cause.contains("PrincipalNotFound") && cause.contains("no better for PT15M"), "{cause}");
    let took = cloud.clock.now() - started;
    assert!((15..20).contains(&took.whole_minutes()), "{took}");

    // The next event about the hub begins anew, and by then the principal is known.
    cloud.clear_faults().await;
    cloud.settle_ok(&hub, "known").await;
}

#[tokio::test(start_paused = true)]
async fn grants_on_accounts_can_be_switched_on_and_off_without_touching_a_hub() {
    let on_container = one("storageContainer", &archive());
    let on_account =
        on_container.replace("allowRemovals: true", "allowRemovals: true\n  storageGrants: account");
    let scopes = |cloud: &Cloud| {
        let scope = |grant: &Value| {
            grant["properties"]["scope"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
        };
        let mut scopes: Vec<String> = cloud.grants().iter().map(scope).collect();
        scopes.sort();
        scopes
    };
    let mut cloud = Cloud::quick(&on_container);
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "container").await;
    assert_eq!(scopes(&cloud), ["archive"]);
    cloud.reset_counters().await.unwrap();
    cloud.want(&on_account);
    cloud.settle_ok(&hub, "account").await;
    cloud.want(&on_container);
    let reports = cloud.settle_ok(&hub, "and back").await;
    assert_eq!(*last(&reports), Outcome::InSync);
    assert_eq!(cloud.count("hubPuts"), 0);
    // What is too much now is told, and not taken away: it may serve others.
    assert_eq!(scopes(&cloud), ["archive", "egressdata"]);
    let [warning] = &told(&reports)[..] else { panic!("{:?}", told(&reports)) };
    assert!(
        warning.contains("egressdata; ") && warning.ends_with(&format!("{} would do", archive())),
        "{warning}"
    );
}
