//! What is decided in which situation, read the way an operator reads it.

use hubward::{
    model::{
        desired::{DesiredHub, ReservedContainer, Switch},
        observed::ObservedTarget,
        role::Role,
    },
    plan::{Blocked, SETTLE, Spread, Step, ask_again, grant_states, grants_used, plan},
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use time::{Duration, macros::datetime};

use crate::support::{
    profiles::{alerts, archive, id_egress, out, profile, profile_with_keys, telemetry},
    world::{NOW, PRINCIPAL, World, event_hub, id},
};

#[test]
fn a_new_hub_gets_identity_grant_endpoint_and_route_in_this_order() {
    assert_snapshot!(World::new_hub().rendered(), @"
    hub1 (profile standard)
      1. update the hub:
           + system-assigned identity
      2. grant Azure Event Hubs Data Sender on telemetry-westus2 to the system-assigned identity (its principal is known when the identity is there)
      3. wait until the grants have spread
      4. update the hub:
           + endpoint telemetry -> event hub ns1/telemetry-westus2 as system-assigned identity
           + route all: DeviceMessages where true -> telemetry
    ");
}

#[test]
fn a_hub_at_rest_needs_nothing() {
    assert_snapshot!(World::at_rest().rendered(), @"
    hub1 (profile standard)
      in sync
    ");
    assert!(World::at_rest().plan().is_in_sync());
}

#[test]
fn each_step_leads_to_the_next_and_the_last_to_an_empty_plan() {
    let mut world = World::new_hub();
    let mut puts = 0;
    for _ in 0..10 {
        let Some(first) = world.plan().steps.first().cloned() else { break };
        puts += usize::from(matches!(first, Step::EditHub { .. }));
        world.carry_out_first_step();
    }
    assert!(world.plan().is_in_sync(), "{}", world.rendered());
    assert_eq!(puts, 2, "a cold hub costs two PUTs");
}

#[test]
fn a_key_based_endpoint_is_changed_in_place() {
    let mut world = World::at_rest();
    *world.endpoint() =
        json!({"name": "telemetry", "id": "x", "connectionString": "Endpoint=sb://ns1;SharedAccessKey=****"});
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      1. update the hub:
           ~ endpoint telemetry: key -> system-assigned identity
    ");
}

#[test]
fn a_young_grant_is_waited_for_until_it_has_settled() {
    let mut world = World::at_rest();
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
    world.grants.clear();
    world.grant(event_hub("telemetry-westus2"), PRINCIPAL, Duration::seconds(20));
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      1. wait until the grants have spread (ask the hub at 12:00:40 UTC)
      2. update the hub:
           + endpoint telemetry -> event hub ns1/telemetry-westus2 as system-assigned identity
    ");
    world.grants.clear();
    world.grant(event_hub("telemetry-westus2"), PRINCIPAL, SETTLE);
    assert_eq!(world.plan().steps.len(), 1, "now the hub is asked");
}

#[test]
fn a_route_that_was_changed_by_hand_is_put_back_alone() {
    let mut world = World::at_rest();
    let route = &mut world.hub["properties"]["routing"]["routes"][0];
    route["condition"] = "temperature > 50".into();
    route["isEnabled"] = false.into();
    assert_snapshot!(world.rendered(), @r#"
    hub1 (profile standard)
      1. update the hub:
           ~ route all: condition "temperature > 50" -> "true", off -> on
    "#);
}

#[test]
fn a_lost_grant_is_made_again_without_a_hub_write() {
    let mut world = World::at_rest();
    world.grants.clear();
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      1. grant Azure Event Hubs Data Sender on telemetry-westus2 to the system-assigned identity
    ");
}

#[test]
fn a_grant_above_the_target_counts_and_one_with_a_condition_does_not() {
    let mut world = World::at_rest();
    world.grants.clear();
    world.grant(id("/resourceGroups/rg-data"), PRINCIPAL, Duration::hours(1));
    assert!(world.plan().is_in_sync());
    world.grants[0].is_conditional = true;
    assert!(!world.plan().is_in_sync());
    world.grants[0].is_conditional = false;
    world.grants[0].scope =
        id("/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/other");
    assert!(!world.plan().is_in_sync(), "a neighbour's grant is not ours");
}

#[test]
fn spelling_is_not_a_difference() {
    let mut world = World::at_rest();
    let endpoint = world.endpoint();
    endpoint["name"] = "TELEMETRY".into();
    endpoint["endpointUri"] = "sb://NS1.servicebus.windows.net:443/".into();
    endpoint["entityPath"] = "Telemetry-WestUS2".into();
    endpoint["resourceGroup"] = "RG-DATA".into();
    endpoint["authenticationType"] = "IdentityBased".into();
    endpoint["identity"] = json!({"userAssignedIdentity": null});
    assert!(world.plan().is_in_sync(), "{}", world.rendered());
}

#[test]
fn what_stands_in_the_way_is_told_all_at_once_and_nothing_is_planned() {
    let mut world = World::new_hub();
    world.targets.clear();
    world
        .targets
        .insert(event_hub("telemetry-westus2"), ObservedTarget::Missing(event_hub("telemetry-westus2")));
    world.hub["properties"]["routing"]["endpoints"]["serviceBusQueues"] = json!([{"name": "Telemetry"}]);
    world.hub["properties"]["routing"]["routes"] =
        (0..100).map(|n| json!({"name": format!("r{n}")})).collect::<Vec<_>>().into();
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      blocked: endpoint telemetry: /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2 does not exist; create it or correct the profile
      blocked: endpoint telemetry: the name belongs to a Service Bus queue endpoint of this hub; choose another
      blocked: the hub would have 101 routes; its tier allows 100
    ");
    assert!(world.plan().steps.is_empty());
}

#[test]
fn what_would_be_changed_is_shown_though_changes_are_off() {
    let mut world = World::new_hub();
    let steps = world.plan().steps;
    world.profiles = world.profiles.replace("maxHubsChanged: 50", "maxHubsChanged: 0");
    let plan = world.plan();
    assert_eq!((&plan.blocked, &plan.steps), (&vec![Blocked::ChangesOff], &steps));
    assert!(!steps.is_empty());
    // Anything else in the way makes the steps guesswork.
    world.targets.clear();
    assert!(world.plan().steps.is_empty());
}

#[test]
fn the_free_tier_has_room_for_one_endpoint() {
    let mut world = World::new_hub();
    world.hub["sku"]["name"] = "F1".into();
    assert!(world.plan().blocked.is_empty());
    world.hub["properties"]["routing"]["endpoints"]["serviceBusQueues"] = json!([{"name": "q"}]);
    assert_eq!(world.plan().blocked, [Blocked::TooMany { what: "endpoints", count: 2, limit: 1 }]);
}

#[test]
fn an_identity_in_use_is_not_turned_off() {
    let mut world = World::at_rest();
    let end = world.profiles.find("    endpoints:").unwrap();
    world.profiles.truncate(end);
    world.profiles = world
        .profiles
        .replace("system: on", "system: off")
        .replace("allowRemovals: false", "allowRemovals: true");
    world.hub["properties"]["storageEndpoints"] =
        json!({"$default": {"authenticationType": "identityBased"}});
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      blocked: the system-assigned identity cannot be taken away: used by endpoint telemetry, file upload
    ");
    world.endpoint()["authenticationType"] = "keyBased".into();
    world.hub["properties"]["storageEndpoints"] = json!({});
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      1. take Azure Event Hubs Data Sender on telemetry-westus2 away from the system-assigned identity
      2. update the hub:
           - system-assigned identity
    ");
}

#[test]
fn a_user_assigned_identity_needs_one_put() {
    let mut world = World::new_hub();
    let identity =
        id("/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress");
    world.profiles = world
        .profiles
        .replace("system: on", &format!("user: [ {identity} ]"))
        .replace("as: system", "as: id-egress");
    world.user_identities.insert(identity, Some(PRINCIPAL.into()));
    assert_snapshot!(world.rendered(), @"
    hub1 (profile standard)
      1. grant Azure Event Hubs Data Sender on telemetry-westus2 to the user-assigned identity id-egress
      2. wait until the grants have spread
      3. update the hub:
           + user-assigned identity id-egress
           + endpoint telemetry -> event hub ns1/telemetry-westus2 as user-assigned identity id-egress
           + route all: DeviceMessages where true -> telemetry
    ");
    world.grant(event_hub("telemetry-westus2"), PRINCIPAL, Duration::hours(1));
    assert_eq!(world.plan().steps.len(), 1, "with the grant in place, one PUT does it");
}

#[test]
fn a_refused_hub_is_asked_again_ever_more_slowly_and_not_forever() {
    let mut world = World::at_rest();
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
    let plan = world.plan();
    let Some(Step::EditHub { edit }) = plan.steps.last() else { panic!("{plan}") };
    let mut moments = Vec::new();
    for age in [61, 95, 250, 500, 899, 900, 5000] {
        world.grants.clear();
        world.grant(event_hub("telemetry-westus2"), PRINCIPAL, Duration::seconds(age));
        let again = ask_again(edit, &world.observed(), world.state().guardrails(), NOW);
        moments.push(again.map(|due| (due - NOW).whole_seconds() + age));
    }
    assert_eq!(moments, [Some(90), Some(120), Some(300), Some(540), Some(900), None, None]);
    let observed = world.observed();
    let used = grants_used(edit, &observed, world.state().guardrails());
    assert_eq!(
        used,
        [(Role::EventHubsDataSender, &observed.grants[0])],
        "it may be measured how long that took"
    );
}

#[test]
fn a_grant_of_the_future_is_one_of_this_moment() {
    let mut world = World::at_rest();
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
    world.grants.clear();
    world.grant(event_hub("telemetry-westus2"), PRINCIPAL, Duration::ZERO);
    let plan = world.plan();
    let Some(Step::EditHub { edit }) = plan.steps.last() else { panic!("{plan}") };
    let again = |world: &World| ask_again(edit, &world.observed(), world.state().guardrails(), NOW);
    let (at_once, rendered) = (again(&world), world.rendered());
    assert!(at_once.is_some_and(|due| due > NOW));
    world.grants.clear();
    world.grant(event_hub("telemetry-westus2"), PRINCIPAL, NOW - datetime!(9999-12-31 23:59:59 UTC));
    assert_eq!((again(&world), world.rendered()), (at_once, rendered));
}

/// The principal of the reference world's user-assigned identity.
const USER: &str = "58cc0000-0000-4000-8000-000000000002";

fn user_identity() -> hubward::model::ResourceId {
    id("/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress")
}

/// The hub sends as the user-assigned identity.
fn sends_as_user(world: &mut World) {
    world.hub["identity"] =
        json!({"type": "UserAssigned", "userAssignedIdentities": {id_egress(): {"principalId": USER}}});
    world.endpoint()["identity"] = json!({"userAssignedIdentity": id_egress()});
    world.grants.clear();
}

#[test]
fn a_lost_grant_of_one_endpoint_does_not_hold_up_another() {
    let mut world = World::at_rest();
    world.profiles = profile(&format!(
        "    identity: {{ system: on }}\n    endpoints: [ {{ name: telemetry, eventHub: {}, as: system }}, {{ name: alerts, eventHub: {}, as: system }} ]\n",
        telemetry(),
        alerts(),
    ));
    world.add_target(&event_hub("alerts"), "sb://ns1.servicebus.windows.net");
    world.grants.clear();
    world.grant(event_hub("alerts"), PRINCIPAL, Duration::hours(3));
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. grant Azure Event Hubs Data Sender on telemetry-westus2 to the system-assigned identity
      2. update the hub:
           + endpoint alerts -> event hub ns1/alerts as system-assigned identity
    ");
}

#[test]
fn an_identity_that_another_takes_the_place_of_goes_with_the_move() {
    let mut world = World::at_rest();
    sends_as_user(&mut world);
    world.profiles = profile(&format!(
        "    identity: {{ system: on, detachOthers: true }}\n    endpoints: [ {{ name: telemetry, eventHub: {}, as: system }} ]\n",
        telemetry(),
    ));
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. update the hub:
           + system-assigned identity
      2. grant Azure Event Hubs Data Sender on telemetry-westus2 to the system-assigned identity (its principal is known when the identity is there)
      3. wait until the grants have spread
      4. update the hub:
           - user-assigned identity id-egress
           ~ endpoint telemetry: user-assigned identity id-egress -> system-assigned identity
    ");
}

#[test]
fn the_hubs_own_identity_goes_last_and_its_roles_before_it() {
    let mut world = World::at_rest();
    world.user_identities.insert(user_identity(), Some(USER.into()));
    world.profiles = profile(&format!(
        "    identity: {{ system: off, user: [ {} ] }}\n    endpoints: [ {{ name: telemetry, eventHub: {}, as: id-egress }} ]\n",
        id_egress(),
        telemetry(),
    ));
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. grant Azure Event Hubs Data Sender on telemetry-westus2 to the user-assigned identity id-egress
      2. wait until the grants have spread
      3. update the hub:
           + user-assigned identity id-egress
           ~ endpoint telemetry: system-assigned identity -> user-assigned identity id-egress
      4. take Azure Event Hubs Data Sender on telemetry-westus2 away from the system-assigned identity
      5. update the hub:
           - system-assigned identity
    ");
}

#[test]
fn an_identity_that_nothing_uses_goes_in_the_write_that_is_due_anyway() {
    let mut world = World::at_rest();
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
    world.profiles = profile("    identity: { system: off }\n    fallback: off\n");
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. take Azure Event Hubs Data Sender on telemetry-westus2 away from the system-assigned identity
      2. update the hub:
           - system-assigned identity
           ~ fallback route: on -> off
    ");
}

#[test]
fn an_identity_that_the_hub_has_not_and_is_not_given_is_told() {
    // A request names what is on the hub, and by the time it is planned that may be gone.
    let unmanaged = |desired: &mut DesiredHub| desired.identity.system = Switch::Unmanaged;
    assert_snapshot!(World::new_hub().plan_with(unmanaged), @"
    hub1 (profile standard)
      blocked: endpoint telemetry: the hub has no system-assigned identity and the profile does not give it one; set it under identity
    ");
    assert!(World::at_rest().plan_with(unmanaged).is_in_sync());

    let mut world = World::at_rest();
    world.profiles = world
        .profiles
        .replace("system: on", &format!("user: [ {} ]", id_egress()))
        .replace("as: system", "as: id-egress");
    world.user_identities.insert(user_identity(), Some(USER.into()));
    let is_blocked = |world: &World, change: fn(&mut DesiredHub)| {
        let blocked = world.plan_with(change).blocked;
        blocked.iter().any(|cause| matches!(cause, Blocked::IdentityNotOnHub { .. }))
    };
    assert!(!is_blocked(&world, |_| {}), "it is given");
    let not_given = |desired: &mut DesiredHub| desired.identity.user.clear();
    assert!(is_blocked(&world, not_given));
    sends_as_user(&mut world);
    assert!(!is_blocked(&world, not_given), "it is there");
    assert!(
        is_blocked(&world, |desired| desired.identity.detach = std::mem::take(&mut desired.identity.user))
    );
}

#[test]
fn the_container_of_our_own_outcomes_is_no_target_whatever_is_used_to_write_there() {
    for (how, scope) in [("as: key", "container"), ("as: system", "container"), ("as: system", "account")] {
        let mut world = World::at_rest();
        world.profiles = profile_with_keys(&format!(
            "    identity: {{ system: on }}\n{}",
            out("storageContainer", &archive(), how)
        ))
        .replace("  allowKeys: true\n", &format!("  allowKeys: true\n  storageGrants: {scope}\n"));
        let mut guardrails = world.state().guardrails().clone();
        let own = if scope == "account" { "/outcomes" } else { "/archive" };
        guardrails.reserved = ReservedContainer::of_address("egressdata.blob.core.windows.net", own);
        let blocked = plan(&world.desired(), &world.observed(), &guardrails, NOW).blocked;
        assert!(matches!(blocked[0], Blocked::TargetReserved { .. }), "{how} {scope}: {blocked:?}");
    }
}

#[test]
fn a_condition_elsewhere_does_not_stand_in_the_way_of_a_grant() {
    let mut world = World::at_rest();
    world.grants.clear();
    world.grant(event_hub("alerts"), PRINCIPAL, Duration::hours(3));
    world.grants[0].is_conditional = true;
    assert_eq!(world.plan().blocked, []);
    world.grants[0].scope = event_hub("telemetry-westus2");
    assert!(matches!(world.plan().blocked[..], [Blocked::GrantConditional { .. }]));
}

#[test]
fn what_goes_makes_room_for_what_comes_and_a_full_hub_takes_no_more() {
    let names = |count: usize| (0..count).map(|n| format!("k{n}"));
    let fill = |world: &mut World, stale: &str| {
        let routing = &mut world.hub["properties"]["routing"];
        for (list, member, count) in
            [("endpoints", "name", 9), ("routes", "name", 100), ("enrichments", "key", 10)]
        {
            let mut full: Vec<Value> = names(count).map(|name| json!({ member: name })).collect();
            if list == stale {
                full[0][member] = "old-x".into();
            }
            match list {
                "endpoints" => routing["endpoints"]["eventHubs"] = full.into(),
                list => routing[list] = full.into(),
            }
        }
        // One of a kind that is not known counts too.
        routing["endpoints"]["cosmosDBSqlCollections"] = json!([{"name": "theirs"}]);
    };
    let wants = format!(
        "    identity: {{ system: on }}\n    ownedPrefixes: [ old- ]\n{}    enrichments: [ {{ key: new, value: x, endpoints: [ out ] }} ]\n",
        out("eventHub", &telemetry(), "as: system")
    );
    let mut world = World::at_rest();
    world.profiles = profile(&wants);
    let too_many = [("endpoints", 11, 10), ("routes", 101, 100), ("enrichments", 11, 10)]
        .map(|(what, count, limit)| Blocked::TooMany { what, count, limit });
    for (nth, stale) in ["endpoints", "routes", "enrichments"].into_iter().enumerate() {
        fill(&mut world, stale);
        let mut others = too_many.to_vec();
        others.remove(nth);
        assert_eq!(world.plan().blocked, others, "there is room for one of the {stale}");
    }
    world.profiles = world.profiles.replace("allowRemovals: true", "allowRemovals: false");
    assert_eq!(world.plan().blocked, too_many, "nothing may go");

    // What is full already is not judged if nothing is added.
    world.profiles = profile("    identity: { system: on }\n    cloudToDevice: { maxDeliveryCount: 3 }\n");
    let routes = world.hub["properties"]["routing"]["routes"].as_array_mut().unwrap();
    routes.push(json!({"name": "one more than there may be"}));
    assert_eq!((world.plan().blocked.len(), world.plan().hub_edits()), (0, 1));
}

#[test]
fn how_far_a_grant_has_come_is_told_for_each_by_itself() {
    let mut world = World::at_rest();
    world.hub["identity"] = json!({"type": "SystemAssigned, UserAssigned", "principalId": PRINCIPAL,
        "userAssignedIdentities": {id_egress(): {"principalId": USER}}});
    world.profiles = profile(&format!(
        "    identity: {{ system: on, user: [ {} ] }}\n    endpoints: [ {{ name: telemetry, eventHub: {t}, as: system }}, {{ name: two, eventHub: {t}, as: id-egress }}, {{ name: alerts, eventHub: {}, as: system }} ]\n",
        id_egress(),
        alerts(),
        t = telemetry(),
    ));
    world.add_target(&event_hub("alerts"), "sb://ns1.servicebus.windows.net");
    world.grant(event_hub("telemetry-westus2"), USER, Duration::minutes(1));
    world.grant(event_hub("alerts"), PRINCIPAL, Duration::minutes(1));
    let mut observed = world.observed();
    observed.readable.insert(world.grants[1].id.clone());
    let states =
        grant_states(&world.desired(), &observed, world.state().guardrails(), &world.plan().pending());
    let told: Vec<_> = states.iter().map(|state| (state.scope.name(), state.state)).collect();
    let telemetry = "telemetry-westus2";
    assert_eq!(
        told,
        [(telemetry, Spread::Effective), (telemetry, Spread::Readable), ("alerts", Spread::Granted)],
        "the hub uses the first, and waits with the other endpoints"
    );
}
