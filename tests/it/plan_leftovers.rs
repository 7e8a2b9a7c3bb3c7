//! What is in a hub and not wanted: what may go, what others still use, and which roles go with it.

use hubward::{
    model::{
        ResourceId,
        desired::DesiredHub,
        observed::{Grant, HeldRole},
        role::Role,
    },
    plan::{Blocked, HubPlan, Step},
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use time::Duration;

use crate::support::{
    profiles::{GROUP, alerts, archive, data, id_egress, profile, telemetry},
    world::{PRINCIPAL, World, event_hub},
};

fn endpoint(name: &str, event_hub: &str, identity: Value) -> Value {
    let mut endpoint = World::at_rest().endpoint().clone();
    endpoint["name"] = name.into();
    endpoint["entityPath"] = event_hub.into();
    endpoint["identity"] = identity;
    endpoint
}

fn warnings(plan: &HubPlan) -> Vec<String> {
    plan.warnings
        .iter()
        .map(ToString::to_string)
        .filter(|text| !text.contains("does not send there"))
        .collect()
}

/// What a hub PUT of the plan takes away.
fn removed(plan: &HubPlan) -> Vec<String> {
    let edits = plan.steps.iter().filter_map(|step| match step {
        Step::EditHub { edit } => Some(&edit.removals),
        _ => None,
    });
    let mut names: Vec<String> = edits.flatten().map(|gone| gone.name.clone()).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_endpoint_that_is_no_longer_listed_goes_unless_something_that_stays_names_it() {
    let route = |name: &str, endpoint: &str| json!({"name": name, "source": "DeviceMessages", "endpointNames": [endpoint], "isEnabled": true});
    let enrichment =
        |key: &str, endpoint: &str| json!({"key": key, "value": "x", "endpointNames": [endpoint]});
    for (part, by, kept_by) in [
        ("routes", route("theirs", "HW-old"), Some("route theirs")),
        ("routes", route("theirs", "events"), None),
        // Ours, and on its way out too, or away from there.
        ("routes", route("hw-gone", "hw-old"), None),
        ("routes", route("All", "hw-old"), None),
        ("enrichments", enrichment("theirs", "HW-old"), Some("enrichment theirs")),
        ("enrichments", enrichment("theirs", "events"), None),
        ("enrichments", enrichment("hw-gone", "hw-old"), None),
        ("enrichments", enrichment("site", "hw-old"), None),
        // The service tells keys apart by case: this one is somebody else's.
        ("enrichments", enrichment("SITE", "hw-old"), Some("enrichment SITE")),
    ] {
        let mut world = World::at_rest();
        world.profiles = profile(
            "    identity: { system: on }\n    ownedPrefixes: [ hw- ]\n    routes: [ { name: all, source: DeviceMessages, endpoint: events } ]\n    enrichments: [ { key: site, value: x, endpoints: [ events ] } ]\n",
        );
        let routing = &mut world.hub["properties"]["routing"];
        routing["endpoints"]["eventHubs"] = json!([endpoint("hw-old", "alerts", Value::Null)]);
        // Others of ours go too, and that says nothing of the one in question.
        routing["routes"] = json!([route("hw-r", "events")]);
        routing["enrichments"] = json!([enrichment("hw-e", "events")]);
        routing[part].as_array_mut().unwrap().push(by.clone());
        let plan = world.plan();
        let expected: Vec<String> = kept_by
            .map(|kept_by| format!("endpoint hw-old is not wanted and stays: used by {kept_by}"))
            .into_iter()
            .collect();
        assert_eq!(warnings(&plan), expected, "{by}");
        let name = by["name"].as_str().or(by["key"].as_str()).unwrap();
        let mut gone = vec!["hw-e", "hw-r"];
        gone.extend(kept_by.is_none().then_some("hw-old"));
        gone.extend(Some(name).filter(|name| name.starts_with("hw-")));
        gone.sort_unstable();
        assert_eq!(removed(&plan), gone, "{by}");

        // A hub that has left the profile that lists it: then it stands in the way.
        let plan = world.plan_with(|desired| desired.own_what_it_lists(&listing("hw-old")));
        let in_use = plan.blocked.iter().any(|cause| matches!(cause, Blocked::EndpointInUse { .. }));
        assert_eq!(in_use, kept_by.is_some(), "{by}: {plan}");
    }
}

/// A state that lists one endpoint, and owns nothing else.
fn listing(name: &str) -> DesiredHub {
    let mut world = World::at_rest();
    world.profiles = profile(&format!(
        "    identity: {{ system: on }}\n    endpoints: [ {{ name: {name}, eventHub: {}, as: system }} ]\n",
        alerts()
    ));
    world.desired()
}

#[test]
fn what_is_named_to_go_and_may_not_is_told_by_name() {
    let world = World::at_rest();
    let plan = world.plan_with(|desired| {
        let listed = desired.clone();
        *desired = DesiredHub::leaving_all(listed.hub.clone(), listed.profile.clone());
        desired.own_what_it_lists(&listed);
    });
    let told = ["route all", "endpoint telemetry"];
    let blocked = told.map(|what| Blocked::RemovalNotAllowed { what: what.into() });
    assert_eq!(plan.blocked, blocked);
    assert_eq!(warnings(&plan), Vec::<String>::new(), "it is told once");
}

#[test]
fn an_identity_of_others_is_no_matter_of_ours_unless_the_profile_is_strict() {
    let used = |identity: &str, allow_removals: bool| {
        let mut world = World::at_rest();
        world.profiles = profile(&format!(
            "    identity: {{ system: on{identity} }}\n    endpoints: [ {{ name: telemetry, eventHub: {}, as: system }} ]\n",
            telemetry(),
        ))
        .replace("allowRemovals: true", &format!("allowRemovals: {allow_removals}"));
        world.hub["identity"]["type"] = "SystemAssigned, UserAssigned".into();
        world.hub["identity"]["userAssignedIdentities"] = json!({id_egress(): {"principalId": "x"}});
        let theirs = endpoint("theirs", "alerts", json!({"userAssignedIdentity": id_egress()}));
        let endpoints = &mut world.hub["properties"]["routing"]["endpoints"]["eventHubs"];
        endpoints.as_array_mut().unwrap().push(theirs);
        let plan = world.plan();
        let blocked: Vec<String> = plan.blocked.iter().map(ToString::to_string).collect();
        assert_eq!(plan.steps, [], "{plan}");
        (warnings(&plan), blocked)
    };
    let none = Vec::<String>::new;
    let detach = format!(", detach: [ {} ]", id_egress());
    assert_eq!(used("", true), (none(), none()));
    assert_eq!(used("", false), (none(), none()));
    let (warned, blocked) = used(", detachOthers: true", true);
    assert_eq!(
        (warned, blocked),
        (
            vec![
                "the user-assigned identity id-egress is not wanted and stays: used by endpoint theirs"
                    .into()
            ],
            none()
        )
    );
    let (warned, blocked) = used(", detachOthers: true", false);
    assert!(
        warned[0].starts_with("user-assigned identity id-egress is not wanted and stays, because"),
        "{warned:?}"
    );
    assert_eq!(blocked, none());
    let (warned, blocked) = used(&detach, true);
    assert_eq!(warned, none());
    assert_eq!(
        blocked,
        ["the user-assigned identity id-egress cannot be taken away: used by endpoint theirs"]
    );
    let (warned, blocked) = used(&detach, false);
    assert_eq!(warned, none());
    assert!(blocked[0].contains("user-assigned identity id-egress would be removed"), "{blocked:?}");
}

#[test]
fn an_identity_that_is_not_there_need_not_be_removed() {
    let mut world = World::at_rest();
    world.profiles =
        profile("    identity: { system: off }\n").replace("allowRemovals: true", "allowRemovals: false");
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
    let blocked = world.plan().blocked;
    assert!(matches!(blocked[..], [Blocked::RemovalNotAllowed { .. }]), "{blocked:?}");
    world.hub["identity"] = json!({"type": "None"});
    assert!(world.plan().is_in_sync(), "{}", world.rendered());
}

#[test]
fn a_hub_that_leaves_its_profile_keeps_the_roles_that_others_endpoints_work_with() {
    let mut world = World::at_rest();
    world.profiles = world.profiles.replace("allowRemovals: false", "allowRemovals: true");
    let mut theirs = world.endpoint().clone();
    theirs["name"] = "theirs".into();
    theirs["entityPath"] = "alerts".into();
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"].as_array_mut().unwrap().push(theirs);
    world.grant(event_hub("alerts"), PRINCIPAL, Duration::hours(3));
    let plan = world.plan_with(|desired| {
        let mut left = DesiredHub::leaving_all(desired.hub.clone(), desired.profile.clone());
        left.own_what_it_lists(desired);
        left.revoke_unneeded = true;
        *desired = left;
    });
    assert_snapshot!(plan, @"
    hub1 (profile standard)
      1. update the hub:
           - route all
           - endpoint telemetry
      2. take Azure Event Hubs Data Sender on telemetry-westus2 away from the system-assigned identity
    ");
}

/// The roles, by scope, that are left to the hub's own identity when it leaves its profile.
fn left(world: &World, grants: &[(&str, Role)]) -> Vec<usize> {
    let mut world = World { grants: Vec::new(), hub: world.hub.clone(), ..World::at_rest() };
    world.profiles = profile("    identity: { system: on }\n").replace(
        &format!("targets: [ {GROUP} ]"),
        &format!("targets: [ {} ]", GROUP.split("/resourceGroups").next().unwrap()),
    );
    for (nth, (scope, role)) in grants.iter().enumerate() {
        world.grants.push(Grant {
            id: nth.to_string(),
            scope: ResourceId::parse(scope).unwrap(),
            role: HeldRole::Ours(*role),
            principal: PRINCIPAL.into(),
            is_conditional: false,
            created_on: None,
            description: None,
        });
    }
    let plan = world.plan_with(|desired| {
        *desired = DesiredHub::leaving_all(desired.hub.clone(), desired.profile.clone());
        desired.revoke_unneeded = true;
    });
    let taken: Vec<String> = plan
        .steps
        .iter()
        .map(|step| match step {
            Step::Revoke(revoke) => revoke.id.clone(),
            other => panic!("{other}"),
        })
        .collect();
    (0..grants.len()).filter(|nth| !taken.contains(&nth.to_string())).collect()
}

#[test]
fn roles_that_an_endpoint_of_others_may_work_with_are_left() {
    let mut world = World::at_rest();
    let namespace = alerts().replace("/eventhubs/alerts", "");
    let other_hub = alerts().replace("alerts", "other");
    let other_namespace = alerts().replace("ns1", "ns2");
    let sender = Role::EventHubsDataSender;
    let grants = [
        (alerts(), sender),
        (namespace, sender),
        (GROUP.to_owned(), sender),
        (other_hub, sender),
        (other_namespace, sender),
        (alerts(), Role::ServiceBusDataSender),
        (GROUP.to_owned(), Role::BlobDataContributor),
    ];
    let grants: Vec<(&str, Role)> = grants.iter().map(|(scope, role)| (scope.as_str(), *role)).collect();
    let endpoints = |world: &mut World, list: Value| {
        world.hub["properties"]["routing"]["endpoints"] = list;
    };
    endpoints(&mut world, json!({"eventHubs": [endpoint("theirs", "alerts", Value::Null)]}));
    assert_eq!(left(&world, &grants), [0, 1, 2]);
    let by_user = endpoint("theirs", "alerts", json!({"userAssignedIdentity": id_egress()}));
    endpoints(&mut world, json!({"eventHubs": [by_user]}));
    assert_eq!(left(&world, &grants), [0; 0], "it sends as somebody else");
    // One of a kind that nobody knows may need anything.
    let unknown =
        |auth: &str| json!({"cosmosDBSqlCollections": [{"name": "old", "authenticationType": auth}]});
    endpoints(&mut world, unknown("keyBased"));
    assert_eq!(left(&world, &grants), [0; 0]);
    endpoints(&mut world, unknown("identityBased"));
    assert_eq!(left(&world, &grants), [0, 1, 2, 3, 4, 5, 6]);
    // So may one that shows no address.
    let mut lost = endpoint("theirs", "alerts", Value::Null);
    lost["endpointUri"] = Value::Null;
    endpoints(&mut world, json!({"eventHubs": [lost]}));
    assert_eq!(left(&world, &grants), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_role_for_what_is_wanted_is_no_role_too_many_before_the_hub_uses_it() {
    let mut world = World::at_rest();
    world.profiles = world.profiles.replace("allowRemovals: false", "allowRemovals: true");
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
    let plan = world.plan_with(|desired| desired.revoke_unneeded = true);
    let [Step::EditHub { .. }] = &plan.steps[..] else { panic!("{plan}") };
}

#[test]
fn roles_that_the_upload_of_files_works_with_are_left() {
    let mut world = World::at_rest();
    world.hub["properties"]["routing"]["endpoints"] = json!({});
    let account = archive().split("/blobServices").next().unwrap().to_owned();
    let blobs = Role::BlobDataContributor;
    let grants = [
        (archive(), blobs),
        (account, blobs),
        (archive().replace("/archive", "/other"), blobs),
        (archive().replace("egressdata", "egressdata2"), blobs),
        (archive(), Role::EventHubsDataSender),
        (data("Microsoft.Storage/storageAccounts/other"), blobs),
    ];
    let grants: Vec<(&str, Role)> = grants.iter().map(|(scope, role)| (scope.as_str(), *role)).collect();
    let mut entry = json!({
        "connectionString": "AccountName=EgressData", "containerName": "Archive", "authenticationType": "identityBased",
    });
    assert_eq!(left(&world, &grants), [0; 0], "no files are uploaded");
    world.hub["properties"]["storageEndpoints"]["$default"] = entry.clone();
    assert_eq!(left(&world, &grants), [0, 1]);
    entry["authenticationType"] = "keyBased".into();
    world.hub["properties"]["storageEndpoints"]["$default"] = entry;
    assert_eq!(left(&world, &grants), [0; 0], "they go with a key");
}

#[test]
fn a_role_that_does_more_than_it_has_to_is_told() {
    let mut world = World::at_rest();
    let told = |world: &World, grants: &[(&str, HeldRole)]| {
        let mut world = World {
            grants: world.grants.clone(),
            profiles: world.profiles.clone(),
            hub: world.hub.clone(),
            ..World::at_rest()
        };
        for (scope, role) in grants {
            world.grant(ResourceId::parse(scope).unwrap(), PRINCIPAL, Duration::hours(3));
            world.grants.last_mut().unwrap().role = *role;
        }
        let plan = world.plan();
        plan.warnings
            .iter()
            .map(|warning| warning.to_string().rsplit("; ").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let sender = HeldRole::Ours(Role::EventHubsDataSender);
    assert_eq!(told(&world, &[(&telemetry(), sender)]), Vec::<String>::new());
    assert_eq!(told(&world, &[(GROUP, sender)]), [format!("{} would do", telemetry())]);
    assert_eq!(told(&world, &[(&alerts(), sender)]), ["the hub does not send there"]);
    assert_eq!(
        told(&world, &[(&telemetry(), HeldRole::Ours(Role::ServiceBusDataSender))]),
        ["the hub does not send there"]
    );
    assert_eq!(told(&world, &[(&alerts(), HeldRole::Other)]), Vec::<String>::new());
    let elsewhere = alerts().replace("rg-data", "rg-other");
    assert_eq!(told(&world, &[(&elsewhere, sender)]), Vec::<String>::new(), "outside the guardrails");
    // Others have an endpoint there.
    let theirs = endpoint("theirs", "alerts", Value::Null);
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"].as_array_mut().unwrap().push(theirs);
    assert_eq!(told(&world, &[(&alerts(), sender)]), Vec::<String>::new());
    let upload = json!({
        "connectionString": "AccountName=egressdata", "containerName": "archive", "authenticationType": "identityBased",
    });
    let blobs = HeldRole::Ours(Role::BlobDataContributor);
    assert_eq!(told(&world, &[(&archive(), blobs)]), ["the hub does not send there"]);
    world.hub["properties"]["storageEndpoints"]["$default"] = upload;
    assert_eq!(told(&world, &[(&archive(), blobs)]), Vec::<String>::new());
}
