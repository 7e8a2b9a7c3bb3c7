//! The hub document: "no change" gives exactly what was read, and a change touches only its own paths.

use hubward::model::{
    ResourceId,
    desired::{DesiredEnrichment, DesiredRoute, EndpointOptions, IdentityRef, Target},
    hub::{
        AuthEdit, EndpointEdit, EnrichmentEdit, HubDocument, HubEdit, IdentityEdit, Part, Removal, RouteEdit,
        Secrets, SettingEdit, changed_paths,
    },
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::{
    fixtures,
    world::{World, event_hub, hub_id, id},
};

/// What the service alone writes, spelt out a second time: the paths that a PUT leaves out.
const READ_ONLY: [&str; 16] = [
    "/id",
    "/name",
    "/type",
    "/systemData",
    "/subscriptionid",
    "/resourcegroup",
    "/properties/state",
    "/properties/provisioningState",
    "/properties/hostName",
    "/properties/locations",
    "/properties/eventHubEndpoints/events/partitionIds",
    "/properties/eventHubEndpoints/events/path",
    "/properties/eventHubEndpoints/events/endpoint",
    "/sku/tier",
    "/identity/principalId",
    "/identity/tenantId",
];

fn is_read_only(path: &str) -> bool {
    READ_ONLY.iter().any(|known| path == *known || path.starts_with(&format!("{known}/")))
        || path.starts_with("/identity/userAssignedIdentities/")
}

fn no_change_is_exactly_the_document(name: &str, hub: &Value) {
    let document = HubDocument::from_json(hub.clone()).unwrap();
    let body = HubEdit::default().put_body(&document, &Secrets::default()).unwrap();
    for path in changed_paths(hub, &body.json) {
        assert!(is_read_only(&path), "{name}: {path} did not survive");
    }
    for path in READ_ONLY {
        assert_eq!(body.json.pointer(path), None, "{name}: {path} was sent back");
    }
    // Not only equal: in the same order, so that what is sent reads like what was received.
    let kept = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected: Vec<_> = kept(hub).into_iter().filter(|key| body.json.get(key).is_some()).collect();
    assert_eq!(kept(&body.json), expected, "{name}");
    assert_eq!(body.etag.as_deref(), hub["etag"].as_str());
}

fn all_changes(document: &HubDocument, index_of_existing: Option<usize>) -> HubEdit {
    HubEdit {
        identity: Some(IdentityEdit {
            system: Some(true),
            attach: vec![id(
                "/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/added",
            )],
            detach: Vec::new(),
        }),
        endpoints: vec![EndpointEdit {
            name: "hubward-test".into(),
            index: index_of_existing,
            target: Target::EventHub(event_hub("telemetry")),
            endpoint_uri: "sb://ns1.servicebus.windows.net".into(),
            entity: "telemetry".into(),
            auth: AuthEdit::Identity(IdentityRef::System),
            options: EndpointOptions::None,
            summary: String::new(),
        }],
        routes: vec![RouteEdit {
            route: DesiredRoute {
                name: "hubward-test".into(),
                source: "DeviceMessages".into(),
                condition: "true".into(),
                endpoint: "hubward-test".into(),
                enabled: true,
            },
            index: (!document.routes().is_empty()).then_some(0),
            summary: String::new(),
        }],
        enrichments: vec![EnrichmentEdit {
            enrichment: DesiredEnrichment {
                key: "hubward-test".into(),
                value: "x".into(),
                endpoints: vec!["events".into()],
            },
            index: None,
            summary: String::new(),
        }],
        settings: vec![SettingEdit {
            pointer: "/properties/routing/fallbackRoute/isEnabled".into(),
            value: false.into(),
            summary: String::new(),
        }],
        ..HubEdit::default()
    }
}

fn a_change_touches_only_its_own_paths(name: &str, hub: &Value) {
    let document = HubDocument::from_json(hub.clone()).unwrap();
    let before = HubEdit::default().put_body(&document, &Secrets::default()).unwrap().json;
    let event_hubs = before.pointer("/properties/routing/endpoints/eventHubs").and_then(Value::as_array);
    let existing = event_hubs.is_some_and(|list| list.first().is_some_and(Value::is_object)).then_some(0);
    let edit = all_changes(&document, existing);
    let after = edit.put_body(&document, &Secrets::default()).unwrap().json;
    let endpoint = existing.unwrap_or(event_hubs.map_or(0, Vec::len));
    let route = if document.routes().is_empty() {
        before.pointer("/properties/routing/routes").and_then(Value::as_array).map_or(0, Vec::len)
    } else {
        0
    };
    let enrichment =
        before.pointer("/properties/routing/enrichments").and_then(Value::as_array).map_or(0, Vec::len);
    let own = [
        "/identity".to_owned(),
        format!("/properties/routing/endpoints/eventHubs/{endpoint}"),
        format!("/properties/routing/routes/{route}"),
        format!("/properties/routing/enrichments/{enrichment}"),
        "/properties/routing/fallbackRoute/isEnabled".to_owned(),
    ];
    for path in changed_paths(&before, &after) {
        assert!(own.iter().any(|own| path.starts_with(own.as_str())), "{name}: {path} changed as well");
    }
    assert_eq!(after["identity"]["type"], json!("SystemAssigned, UserAssigned"), "{name}");
}

#[test]
fn recorded_hubs_survive() {
    for (name, hub) in fixtures("hubs") {
        no_change_is_exactly_the_document(&name, &hub);
        a_change_touches_only_its_own_paths(&name, &hub);
    }
}

/// All hubs of the wider collection of recordings, where a checkout has it beside the repository.
#[test]
#[expect(clippy::print_stdout, reason = "says that it was skipped")]
fn every_recording_at_hand_survives() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no collection of recordings beside this checkout");
        return;
    };
    let mut seen = 0;
    for path in entries.map(|entry| entry.unwrap().path()) {
        let Ok(record) = serde_json::from_str::<Value>(&std::fs::read_to_string(&path).unwrap()) else {
            continue;
        };
        if record["method"] != "GET" || record["status"] != 200 {
            continue;
        }
        let body: Value = record["responseBody"]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let hubs = body["value"].as_array().cloned().unwrap_or_else(|| vec![body]);
        for hub in hubs.iter().filter(|hub| HubDocument::from_json((*hub).clone()).is_ok()) {
            let name = path.file_name().unwrap().to_string_lossy();
            no_change_is_exactly_the_document(&name, hub);
            a_change_touches_only_its_own_paths(&name, hub);
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} hubs were read");
}

#[test]
fn masks_foreign_endpoints_and_routes_are_sent_back_as_they_came() {
    let mut world = World::new_hub();
    let foreign_route = json!({"name": "RouteToEventGrid", "source": "DeviceConnectionStateEvents", "condition": "true", "endpointNames": ["eventgrid"], "isEnabled": true, "new": [1, {"x": null}]});
    let foreign_endpoint = json!({"name": "theirs", "connectionString": "Endpoint=sb://x;SharedAccessKey=****;EntityPath=e", "id": "1", "unknown": {"a": 1}});
    world.hub["properties"]["routing"]["routes"] = json!([foreign_route]);
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([foreign_endpoint]);
    world.hub["properties"]["cosmosDBSqlCollectionsOfTomorrow"] = json!([{"k": "v"}]);
    let document = world.document();
    let mut edit = all_changes(&document, None);
    edit.routes[0].index = None;
    let body = edit.put_body(&document, &Secrets::default()).unwrap().json;
    let routing = &body["properties"]["routing"];
    assert_eq!(routing["routes"][0], foreign_route);
    assert_eq!(routing["endpoints"]["eventHubs"][0], foreign_endpoint);
    assert_eq!(routing["routes"].as_array().unwrap().len(), 2);
    assert_eq!(body["properties"]["cosmosDBSqlCollectionsOfTomorrow"], json!([{"k": "v"}]));
}

#[test]
fn a_key_endpoint_that_gets_an_identity_loses_its_string_and_keeps_its_id() {
    let mut world = World::new_hub();
    world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([{"name": "telemetry", "id": "keep", "connectionString": "Endpoint=sb://x;SharedAccessKey=****"}]);
    let document = world.document();
    let body = all_changes(&document, Some(0)).put_body(&document, &Secrets::default()).unwrap().json;
    let endpoint = &body["properties"]["routing"]["endpoints"]["eventHubs"][0];
    assert_eq!(endpoint["connectionString"], Value::Null);
    assert!(endpoint.as_object().unwrap().contains_key("connectionString"), "null, not absent");
    assert_eq!((endpoint["id"].as_str(), endpoint["name"].as_str()), (Some("keep"), Some("telemetry")));
    assert_eq!(endpoint["authenticationType"], "identityBased");
}

#[test]
fn user_assigned_identities_are_sent_back_under_the_key_they_came_with() {
    let mut world = World::new_hub();
    let key = format!(
        "/subscriptions/{}/resourcegroups/RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1",
        crate::support::world::SUBSCRIPTION
    );
    let mut users = Map::new();
    users.insert(key.clone(), json!({"principalId": "p", "clientId": "c"}));
    world.hub["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": users});
    let edit = IdentityEdit {
        attach: vec![ResourceId::parse(&key.to_lowercase()).unwrap()],
        ..IdentityEdit::default()
    };
    let edit = HubEdit { identity: Some(edit), ..HubEdit::default() };
    let body = edit.put_body(&world.document(), &Secrets::default()).unwrap().json;
    assert_eq!(body["identity"], json!({"type": "UserAssigned", "userAssignedIdentities": {key: {}}}));
}

#[test]
fn what_is_taken_away_is_just_what_was_meant() {
    let mut world = World::new_hub();
    let routes: Vec<Value> =
        ["a", "b", "c", "d"].iter().map(|name| json!({"name": name, "endpointNames": ["events"]})).collect();
    world.hub["properties"]["routing"]["routes"] = routes.clone().into();
    let document = world.document();
    let gone = |name: &str, index: usize| Removal { part: Part::Route, name: name.into(), index };
    let mut edit = all_changes(&document, None);
    edit.routes[0].index = Some(3);
    edit.removals = vec![gone("a", 0), gone("c", 2)];
    let body = edit.put_body(&document, &Secrets::default()).unwrap().json;
    let left = &body["properties"]["routing"]["routes"];
    assert_eq!(left.as_array().unwrap().len(), 2);
    assert_eq!(left[0], routes[1]);
    assert_eq!((&left[1]["name"], &left[1]["endpointNames"]), (&json!("d"), &json!(["hubward-test"])));
    assert!(edit.moved_besides(&document, &HubDocument::from_json(found(&world, &body)).unwrap()).is_empty());
    // A list that is not as it was when the edit was made is not touched.
    edit.removals = vec![gone("b", 0)];
    assert!(edit.put_body(&document, &Secrets::default()).is_err());
}

#[test]
fn what_moved_besides_an_edit_is_noticed() {
    let world = World::new_hub();
    let document = world.document();
    let edit = all_changes(&document, None);
    let mut after = found(&world, &edit.put_body(&document, &Secrets::default()).unwrap().json);
    after["etag"] = "another".into();
    let moved =
        |after: &Value| edit.moved_besides(&document, &HubDocument::from_json(after.clone()).unwrap());
    assert!(moved(&after).is_empty(), "{:?}", moved(&after));
    after["tags"]["owner"] = "plant".into();
    after["properties"]["minTlsVersion"] = "1.2".into();
    assert_eq!(moved(&after), ["/tags/owner", "/properties/minTlsVersion"]);
}

/// A PUT's body as a GET shows it afterwards.
fn found(world: &World, body: &Value) -> Value {
    let mut found = body.clone();
    for name in ["id", "name", "type"] {
        found[name] = world.hub[name].clone();
    }
    found
}

#[test]
fn a_document_that_does_not_fit_an_edit_is_refused_and_not_repaired() {
    let mut world = World::new_hub();
    world.hub["properties"]["routing"] = json!("surprise");
    let document = world.document();
    assert!(all_changes(&document, None).put_body(&document, &Secrets::default()).is_err());
    assert!(HubDocument::from_json(json!([])).is_err());
    assert!(HubDocument::from_json(json!({"id": hub_id("h").as_str()})).is_err());
}

/// Any JSON, shallow enough to be quick.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z$/~A-Z]{1,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn generated_hubs_survive(
        properties in proptest::collection::btree_map("[a-z]{1,8}", any_json(), 0..5),
        tags in any_json(),
        top in proptest::collection::btree_map("x[a-z]{1,8}", any_json(), 0..4),
        foreign in proptest::collection::vec(any_json(), 0..3),
    ) {
        let mut hub = World::new_hub().hub;
        for (name, value) in properties {
            hub["properties"][format!("p{name}")] = value;
        }
        for (name, value) in top {
            hub[name] = value;
        }
        hub["tags"] = tags;
        hub["properties"]["routing"]["endpoints"]["serviceBusQueues"] = foreign.clone().into();
        hub["properties"]["routing"]["endpoints"]["kindOfTomorrow"] = foreign.into();
        no_change_is_exactly_the_document("generated", &hub);
        a_change_touches_only_its_own_paths("generated", &hub);
    }
}
