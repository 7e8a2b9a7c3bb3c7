//! What a profile no longer wants goes, all of it in one write, and what somebody else still uses stays.

use hubward::{
    local::azure::World,
    model::IotHubId,
    reconcile::{Outcome, Report},
};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, PRINCIPAL, causes, last, told},
    portal::Portal,
    profiles::{alerts, data, id_egress, one, out, owned, profile, telemetry},
};

/// Another wanted state, reached.
async fn become_as_wanted(cloud: &mut Cloud, hub: &IotHubId, profile: &str, story: &str) -> Vec<Report> {
    cloud.want(profile);
    cloud.reset_counters().await.unwrap();
    let reports = cloud.settle_ok(hub, story).await;
    assert_eq!(*last(&reports), Outcome::Changed, "{story}");
    reports
}

fn names(list: &Value, member: &str) -> Vec<String> {
    let mut names: Vec<String> =
        list.as_array().into_iter().flatten().map(|one| one[member].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_and_the_identity_it_sends_with_go_together() {
    let user = format!("{{ user: [ {} ] }}", id_egress());
    for (has, send_as, wants_no_longer) in
        [("{ system: on }", "system", "{ system: off }"), (&user, "id-egress", "{ detachOthers: true }")]
    {
        let mut cloud = Cloud::quick(&owned(has, send_as));
        let hub = cloud.new_hub("hub1").await;
        cloud.settle_ok(&hub, send_as).await;
        assert_eq!(cloud.grants().len(), 1);
        let nothing = profile(&format!("    identity: {wants_no_longer}\n    ownedPrefixes: [ hw- ]\n"));
        become_as_wanted(&mut cloud, &hub, &nothing, send_as).await;
        assert_eq!(cloud.count("hubPuts"), if send_as == "system" { 2 } else { 1 }, "{send_as}");
        let found = cloud.hub(&hub);
        assert_eq!(found["identity"]["type"], "None", "{send_as}");
        let routing = &found["properties"]["routing"];
        assert_eq!((&routing["endpoints"]["eventHubs"], &routing["routes"]), (&json!([]), &json!([])));
        // A system-assigned identity's role goes with it; other hubs may use the user-assigned one's.
        let left = usize::from(send_as != "system");
        assert_eq!(cloud.grants().len(), left, "{send_as}: {:#?}", cloud.grants());
    }
}

#[tokio::test(start_paused = true)]
async fn one_user_assigned_identity_takes_the_place_of_another() {
    let mut world = World::reference();
    let second = data("Microsoft.ManagedIdentity/userAssignedIdentities/id-two");
    world.user_assigned_identities.push(serde_json::from_value(json!({"id": second})).unwrap());
    let with = |id: &str, name: &str, more: &str| {
        let endpoint = out("eventHub", &alerts(), &format!("as: {name}"));
        profile(&format!("    identity: {{ user: [ {id} ], {more} }}\n{endpoint}"))
    };
    let mut cloud = Cloud::quick_with(world, &with(&id_egress(), "id-egress", "system: on"));
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "the first").await;
    let other = with(&second, "id-two", "system: off, detachOthers: true");
    become_as_wanted(&mut cloud, &hub, &other, "the second").await;
    assert!(cloud.count("hubPutsAccepted") <= 2);
    let identity = &cloud.hub(&hub)["identity"];
    assert_eq!(identity["type"], "UserAssigned");
    let attached: Vec<&String> = identity["userAssignedIdentities"].as_object().unwrap().keys().collect();
    assert!(attached.len() == 1 && attached[0].ends_with("/id-two"), "{attached:?}");
    cloud.assert_delivers(&hub, "the second").await;
}

#[tokio::test(start_paused = true)]
async fn removals_and_additions_of_one_write_hit_what_they_mean() {
    let targets = [alerts(), telemetry(), alerts()];
    let name = |n: &usize| ["hw-a", "hw-b", "hw-c"][*n];
    let wanted = |which: &[usize], source: &str| {
        let list = |item: &dyn Fn(&usize) -> String| which.iter().map(item).collect::<Vec<_>>().join(", ");
        let endpoint = |n: &usize| format!("{{ name: {}, eventHub: {}, as: system }}", name(n), targets[*n]);
        let route = |n: &usize| format!("{{ name: {0}, source: {source}, endpoint: {0} }}", name(n));
        let enrichment = |n: &usize| format!("{{ key: {0}, value: x{source}, endpoints: [ {0} ] }}", name(n));
        profile(&format!(
            "    identity: {{ system: on }}\n    ownedPrefixes: [ hw- ]\n    endpoints: [ {} ]\n    routes: [ {} ]\n    enrichments: [ {} ]\n",
            list(&endpoint),
            list(&route),
            list(&enrichment)
        ))
    };
    for from in [vec![0, 1], vec![1, 0], vec![0, 1, 2], vec![2, 1, 0], vec![0]] {
        for to in [vec![1, 2], vec![2], vec![2, 0], vec![1], vec![]] {
            let story = format!("{from:?} -> {to:?}");
            let mut cloud = Cloud::quick(&wanted(&from, "DeviceMessages"));
            let hub = cloud.new_hub("hub1").await;
            cloud.settle_ok(&hub, &story).await;
            Portal::new(&cloud, &hub).await.tag(json!({"theirs": "1"})).await;
            become_as_wanted(&mut cloud, &hub, &wanted(&to, "TwinChangeEvents"), &story).await;
            assert_eq!(cloud.count("hubPutsAccepted"), 1, "{story}");
            let found = cloud.hub(&hub);
            let mut left: Vec<&str> = to.iter().map(name).collect();
            left.sort_unstable();
            let routing = &found["properties"]["routing"];
            assert_eq!(names(&routing["endpoints"]["eventHubs"], "name"), left, "{story}");
            assert_eq!(names(&routing["routes"], "name"), left, "{story}");
            assert_eq!(names(&routing["enrichments"], "key"), left, "{story}");
            assert_eq!(found["tags"]["theirs"], "1", "{story}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_go_yet_holds_nothing_else_up() {
    let mut cloud = Cloud::quick(&owned("{ system: on }", "system"));
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "all").await;
    let portal = Portal::new(&cloud, &hub).await;
    let theirs = json!([{"key": "theirs", "value": "x", "endpointNames": ["hw-a"]}]);
    portal.change(|hub| hub["properties"]["routing"]["enrichments"] = theirs.clone()).await;
    let less = "    identity: { system: on }\n    ownedPrefixes: [ hw- ]\n    cloudToDevice: { maxDeliveryCount: 3 }\n";
    let reports = become_as_wanted(&mut cloud, &hub, &profile(less), "less").await;
    assert!(
        told(&reports).contains(&"endpoint hw-a is not wanted and stays: used by enrichment theirs".into())
    );
    let properties = &cloud.hub(&hub)["properties"];
    assert_eq!(properties["cloudToDevice"]["maxDeliveryCount"], 3);
    assert_eq!(names(&properties["routing"]["endpoints"]["eventHubs"], "name"), ["hw-a"]);
    assert_eq!(properties["routing"]["routes"], json!([]), "the route to it is free to go");

    portal.change(|hub| hub["properties"]["routing"]["enrichments"] = json!([])).await;
    become_as_wanted(&mut cloud, &hub, &profile(less), "let go").await;
    assert_eq!(cloud.hub(&hub)["properties"]["routing"]["endpoints"]["eventHubs"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_an_unknown_kind_of_endpoint_uses_is_not_taken_away() {
    let (cloud, hub) = Cloud::quick_around(
        json!({
            "identity": {"type": "SystemAssigned", "principalId": PRINCIPAL},
            "properties": {"routing": {"endpoints": {"cosmosDBSqlCollections": [{
                "name": "old", "authenticationType": "identityBased", "endpointUri": "https://x.documents.azure.com:443/",
                "databaseName": "d", "collectionName": "c",
            }]}}},
        }),
        &profile("    identity: { system: off }\n"),
    );
    let text = causes(last(&cloud.settle(&hub).await));
    assert_eq!(text, "the system-assigned identity cannot be taken away: used by endpoint old");
    assert_eq!(cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_somebody_elses_endpoint_uses_stays_with_a_warning_unless_it_is_named() {
    let user = id_egress();
    let (mut cloud, hub) = Cloud::quick_around(
        json!({
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {&user: {}}},
            "properties": {"routing": {"endpoints": {"eventHubs": [{
                "name": "theirs", "authenticationType": "identityBased", "identity": {"userAssignedIdentity": &user},
                "endpointUri": "sb://ns1.servicebus.windows.net", "entityPath": "telemetry-westus2",
            }]}}},
        }),
        &one("eventHub", &alerts()).replace("system: on", "system: on, detachOthers: true"),
    );
    let reports = cloud.settle_ok(&hub, "detachOthers").await;
    let kept = "the user-assigned identity id-egress is not wanted and stays: used by endpoint theirs";
    assert_eq!(told(&reports), [kept]);
    let found = cloud.hub(&hub);
    assert_eq!(found["identity"]["type"], "SystemAssigned, UserAssigned", "the rest is done");
    let endpoints = &found["properties"]["routing"]["endpoints"]["eventHubs"];
    assert_eq!(names(endpoints, "name"), ["out", "theirs"]);
    cloud.assert_delivers(&hub, "detachOthers").await;

    // Said outright, it cannot be done, and nothing is.
    let outright =
        one("eventHub", &telemetry()).replace("system: on", &format!("system: on, detach: [ {user} ]"));
    cloud.want(&outright);
    cloud.reset_counters().await.unwrap();
    let text = causes(last(&cloud.settle(&hub).await));
    assert_eq!(text, "the user-assigned identity id-egress cannot be taken away: used by endpoint theirs");
    assert_eq!(cloud.count("hubPuts"), 0);

    // When their endpoint is gone, so is the identity.
    let portal = Portal::new(&cloud, &hub).await;
    portal.undo().await;
    become_as_wanted(&mut cloud, &hub, &outright, "free").await;
    assert_eq!(cloud.hub(&hub)["identity"]["type"], "SystemAssigned");
}
