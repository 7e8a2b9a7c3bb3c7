//! What counts as a difference between what a hub is and what it should be, and what is changed then.

use hubward::{
    model::{
        ResourceId,
        desired::Target,
        hub::{AuthEdit, ConnectionEdit, HubEdit},
        observed::{AssignmentsLeft, HeldRole, ObservedTarget},
        role::Role,
    },
    plan::{Blocked, Step, plan, targets_to_read},
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use time::Duration;

use crate::support::{
    profiles::{GROUP, alerts, archive, cosmos, out, profile, profile_with_keys, telemetry},
    world::{NOW, PRINCIPAL, SUBSCRIPTION, World, event_hub},
};

fn parse(id: &str) -> ResourceId {
    ResourceId::parse(id).unwrap()
}

/// The one PUT of a plan that has no other step.
fn only_edit(world: &World) -> HubEdit {
    let plan = world.plan();
    let [Step::EditHub { edit }] = &plan.steps[..] else { panic!("{plan}") };
    (**edit).clone()
}

/// A hub that uploads files as it should: the entry, and what the profile says of it.
fn uploads(entry: Value, how: &str) -> World {
    let mut world = World::at_rest();
    world.profiles = profile_with_keys(&format!(
        "    identity: {{ system: on }}\n    fileUpload: {{ container: {}, {how} }}\n",
        archive()
    ));
    world.hub["properties"]["storageEndpoints"]["$default"] = entry;
    world.grant(parse(&archive()), PRINCIPAL, Duration::hours(3));
    world.grants.last_mut().unwrap().role = HeldRole::Ours(Role::BlobDataContributor);
    world.add_target(&parse(&archive()), "https://egressdata.blob.core.windows.net/");
    world
}

const CONNECTION: &str =
    "DefaultEndpointsProtocol=https;EndpointSuffix=core.windows.net;AccountName=EgressData";

fn by_identity(container: &str) -> Value {
    json!({"connectionString": CONNECTION, "containerName": container, "authenticationType": "identityBased",
           "sasTtlAsIso8601": "PT1H"})
}

fn with_key(container: &str, word: &str) -> Value {
    json!({"connectionString": format!("{CONNECTION};AccountKey=****"), "containerName": container,
           "authenticationType": word, "sasTtlAsIso8601": "PT1H"})
}

#[test]
fn what_is_in_place_needs_no_look_at_its_target() {
    let mut world = World::at_rest();
    world.profiles += "    enrichments: [ { key: k, value: v, endpoints: [ events, telemetry ] } ]\n    cloudToDevice: { defaultTtl: PT60M, maxDeliveryCount: 3 }\n";
    let properties = &mut world.hub["properties"];
    properties["cloudToDevice"] = json!({"defaultTtlAsIso8601": "PT1H", "maxDeliveryCount": 3});
    properties["routing"]["enrichments"] =
        json!([{"key": "k", "value": "v", "endpointNames": ["Telemetry", "events"]}]);
    world.targets.clear();
    assert!(targets_to_read(&world.desired(), &world.document()).is_empty());
    assert!(world.plan().is_in_sync(), "{}", world.rendered());

    let notifications =
        "notifications: { enabled: true, lockDuration: PT60S, ttl: P1D, maxDeliveryCount: 7 }";
    let mut world = uploads(by_identity("Archive"), &format!("as: system, sasTtl: PT60M, {notifications}"));
    let properties = &mut world.hub["properties"];
    properties["enableFileUploadNotifications"] = true.into();
    properties["messagingEndpoints"]["fileNotifications"] =
        json!({"lockDurationAsIso8601": "PT1M", "ttlAsIso8601": "PT24H", "maxDeliveryCount": 7});
    world.targets.clear();
    assert!(targets_to_read(&world.desired(), &world.document()).is_empty());
    assert!(world.plan().is_in_sync(), "{}", world.rendered());

    let mut world = uploads(with_key("archive", "keyBased"), "as: key");
    world.targets.clear();
    assert!(world.plan().is_in_sync(), "{}", world.rendered());
}

#[test]
fn file_upload_is_told_by_what_changes() {
    let world = uploads(Value::Null, "as: system, sasTtl: PT2H");
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. update the hub:
           + file upload -> container egressdata/archive as system-assigned identity
    ");
    let world = uploads(by_identity("uploads"), "as: system");
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. update the hub:
           ~ file upload: container uploads -> archive
    ");
    let mut world = uploads(by_identity("archive"), "as: system, sasTtl: PT2H");
    world.targets.clear();
    assert_snapshot!(world.rendered(), @"
    hub1 (profile p)
      1. update the hub:
           ~ file upload: SAS TTL PT1H -> PT2H
    ");
}

#[test]
fn a_key_for_file_upload_is_fetched_where_the_hub_has_none_that_is_in_use() {
    let elsewhere =
        json!({"connectionString": "AccountName=other;AccountKey=****", "containerName": "archive"});
    for (story, entry, how, expected) in [
        ("nothing there", Value::Null, "as: system", ConnectionEdit::WithoutKey),
        ("nothing there", Value::Null, "as: key", ConnectionEdit::WithKey),
        ("another account", elsewhere.clone(), "as: system", ConnectionEdit::WithoutKey),
        ("another account", elsewhere, "as: key", ConnectionEdit::WithKey),
        ("another container", with_key("x", "keyBased"), "as: key", ConnectionEdit::Keep),
        ("another container", by_identity("x"), "as: system", ConnectionEdit::Keep),
        (
            "another container",
            with_key("x", "identityBased"),
            "as: system, connection: accountKey",
            ConnectionEdit::Keep,
        ),
        ("a key is wanted", by_identity("archive"), "as: key", ConnectionEdit::WithKey),
        (
            "a key is wanted beside the identity",
            by_identity("archive"),
            "as: system, connection: accountKey",
            ConnectionEdit::WithKey,
        ),
        (
            "a key that is not in use",
            with_key("archive", "identityBased"),
            "as: key",
            ConnectionEdit::WithKey,
        ),
        ("no key any more", with_key("archive", "keyBased"), "as: system", ConnectionEdit::Keep),
    ] {
        let edit = only_edit(&uploads(entry, how));
        let storage = edit.file_upload.and_then(|upload| upload.storage);
        assert_eq!(storage.map(|storage| storage.connection), Some(expected), "{story}, {how}");
    }
}

#[test]
fn an_endpoint_that_leads_elsewhere_is_led_back() {
    let lines = [
        ("endpointUri", "sb://ns2.servicebus.windows.net"),
        ("entityPath", "other"),
        ("resourceGroup", "rg-other"),
        ("subscriptionId", "1b1f6471-1bf0-4dda-aec3-cb9272f09590"),
    ]
    .map(|(member, elsewhere)| {
        let mut world = World::at_rest();
        world.endpoint()[member] = elsewhere.into();
        let read = targets_to_read(&world.desired(), &world.document()).len();
        assert_eq!(read, 1, "{member}: its address is asked for");
        only_edit(&world).endpoints.remove(0).summary
    });
    assert_snapshot!(lines.join("\n"), @r#"
    endpointUri "sb://ns2.servicebus.windows.net" -> "sb://ns1.servicebus.windows.net"
    entityPath "other" -> "telemetry-westus2"
    resourceGroup "rg-other" -> "rg-data"
    subscriptionId "1b1f6471-1bf0-4dda-aec3-cb9272f09590" -> "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
    "#);
}

#[test]
fn a_key_is_kept_where_it_is_for_this_target_and_this_rule() {
    let connection = |entity: &str, rule: &str| {
        json!({"name": "out", "connectionString": format!(
            "Endpoint=sb://ns1.servicebus.windows.net:5671/;SharedAccessKeyName={rule};SharedAccessKey=****;EntityPath={entity}"
        ), "subscriptionId": SUBSCRIPTION, "resourceGroup": "rg-data"})
    };
    let with = |endpoint: Value, how: &str| {
        let mut world = World::at_rest();
        world.profiles = profile_with_keys(&out("eventHub", &telemetry(), how));
        world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([endpoint]);
        world.hub["properties"]["routing"]["routes"][0] =
            json!({"name": "out", "source": "DeviceMessages", "endpointNames": ["out"], "isEnabled": true});
        world
    };
    let here = |rule: &str| connection("telemetry-westus2", rule);
    let as_send = "as: key, keyRule: send";
    assert!(with(here("SEND"), as_send).plan().is_in_sync());
    let mut identity = World::at_rest().endpoint().clone();
    identity["name"] = "out".into();
    for (story, endpoint, summary) in [
        ("another rule", here("listen"), "key -> key of the wanted target and rule"),
        ("another target", connection("alerts", "send"), "key -> key of the wanted target and rule"),
        ("an identity", identity, "system-assigned identity -> key"),
    ] {
        let edit = only_edit(&with(endpoint, as_send));
        assert_eq!(edit.endpoints[0].summary, summary, "{story}");
        assert_eq!(edit.keys_needed().len(), 1, "{story}");
    }
}

#[test]
fn options_are_written_if_they_change_and_a_key_stays_then() {
    let with = |auth: &str, how: &str| {
        let mut world = World::at_rest();
        world.profiles = profile_with_keys(&format!(
            "    identity: {{ system: on }}\n{}",
            out("storageContainer", &archive(), how)
        ));
        world.hub["properties"]["routing"]["endpoints"] = json!({"storageContainers": [{
            "name": "out", "authenticationType": auth, "containerName": "archive", "encoding": "avro",
            "batchFrequencyInSeconds": 300, "subscriptionId": SUBSCRIPTION, "resourceGroup": "rg-data",
            "endpointUri": "https://egressdata.blob.core.windows.net/",
            "connectionString": if auth == "keyBased" { CONNECTION } else { "" },
        }]});
        world.hub["properties"]["routing"]["routes"][0] =
            json!({"name": "out", "source": "DeviceMessages", "endpointNames": ["out"], "isEnabled": true});
        world.grant(parse(&archive()), PRINCIPAL, Duration::hours(3));
        world.grants.last_mut().unwrap().role = HeldRole::Ours(Role::BlobDataContributor);
        world.add_target(&parse(&archive()), "https://egressdata.blob.core.windows.net/");
        world
    };
    // The hub tells encodings in another case than it takes them.
    let options = "encoding: Avro, batchFrequencyInSeconds: 300";
    assert!(with("keyBased", &format!("as: key, {options}")).plan().is_in_sync());
    let edit = only_edit(&with("keyBased", &format!("as: system, {options}"))).endpoints.remove(0);
    assert!(edit.options.members().is_empty(), "{edit:?}");
    let edit = only_edit(&with("keyBased", "as: key, encoding: Avro, batchFrequencyInSeconds: 100"));
    assert_eq!(edit.endpoints[0].summary, "batchFrequencyInSeconds 300 -> 100");
    assert_eq!(edit.endpoints[0].auth, AuthEdit::KeepKey);
    let written = [("encoding", json!("Avro")), ("batchFrequencyInSeconds", json!(100))];
    assert_eq!(edit.endpoints[0].options.members(), written);
    assert!(matches!(
        with("keyBased", "as: key, encoding: JSON").plan().blocked[..],
        [Blocked::EncodingFixed { .. }]
    ));
}

#[test]
fn a_route_that_leads_elsewhere_is_led_back_under_its_own_name() {
    for (endpoints, summary) in [
        (json!(["events"]), "endpoint events -> telemetry"),
        (json!(["telemetry", "events"]), "endpoint telemetry+events -> telemetry"),
        (json!([]), "endpoint  -> telemetry"),
    ] {
        let mut world = World::at_rest();
        let route = &mut world.hub["properties"]["routing"]["routes"][0];
        route["name"] = "ALL".into();
        route["endpointNames"] = endpoints;
        let edit = only_edit(&world).routes.remove(0);
        assert_eq!((edit.route.name.as_str(), edit.summary.as_str()), ("ALL", summary));
    }
}

#[test]
fn keys_of_enrichments_differ_by_case_and_their_endpoints_do_not() {
    let mut world = World::at_rest();
    world.profiles += "    enrichments: [ { key: site, value: x, endpoints: [ telemetry ] } ]\n";
    let enrichment =
        |key: &str, value: &str| json!([{"key": key, "value": value, "endpointNames": ["Telemetry"]}]);
    for (found, line) in [
        (enrichment("site", "x"), None),
        (enrichment("site", "y"), Some("~ enrichment site: value \"y\" -> \"x\"")),
        (enrichment("Site", "x"), Some("+ enrichment site = x for telemetry")),
    ] {
        world.hub["properties"]["routing"]["enrichments"] = found;
        let lines = world.plan().steps.first().map(|step| step.to_string());
        assert_eq!(lines.as_deref().and_then(|text| text.lines().nth(1)).map(str::trim), line);
    }
}

#[test]
fn a_host_is_added_to_the_list_of_a_hub_that_has_one_and_only_if_it_is_missing() {
    let added = |restricts: bool, allowed: &str, allows: bool| {
        let mut world = World::at_rest();
        world.endpoint()["entityPath"] = "other".into();
        world.profiles += &format!("    outbound: {{ allowTargets: {allows} }}\n");
        world.hub["properties"]["restrictOutboundNetworkAccess"] = restricts.into();
        world.hub["properties"]["allowedFqdnList"] = json!([allowed]);
        let plan = world.plan();
        (
            plan.blocked.len(),
            plan.steps.first().is_some_and(|step| step.to_string().contains("allowed outbound")),
        )
    };
    assert_eq!(added(true, "x.net", true), (0, true));
    assert_eq!(added(true, "NS1.servicebus.windows.net", true), (0, false));
    assert_eq!(added(true, "NS1.servicebus.windows.net", false), (0, false));
    assert_eq!(added(true, "x.net", false), (1, false));
    assert_eq!(added(false, "x.net", true), (0, false));
    assert_eq!(added(false, "x.net", false), (0, false));
}

#[test]
fn an_account_that_takes_no_keys_is_in_the_way_of_keys_alone() {
    let keyless = |mut world: World| {
        for target in world.targets.values_mut() {
            let ObservedTarget::Found(facts) = target else { panic!("it is there") };
            facts.takes_keys = false;
        }
        world.plan().blocked
    };
    assert_eq!(keyless(uploads(by_identity("x"), "as: system")), []);
    assert_eq!(keyless(uploads(with_key("x", "keyBased"), "as: key")), [], "its mask is echoed");
    let by = "file upload".to_owned();
    assert_eq!(
        keyless(uploads(Value::Null, "as: key")),
        [Blocked::KeysOff { by, service: "egressdata".into() }]
    );
    let mut world = World::at_rest();
    world.profiles = profile_with_keys(&out("eventHub", &telemetry(), "as: key, keyRule: send"));
    assert_eq!(keyless(world), [Blocked::KeysOff { by: "endpoint out".into(), service: "ns1".into() }]);
}

#[test]
fn there_may_be_just_enough_room_for_the_roles() {
    let room = |left: u64| {
        let mut world = World::new_hub();
        world.profiles = profile(&format!(
            "    identity: {{ system: on }}\n    endpoints: [ {{ name: a, eventHub: {}, as: system }}, {{ name: b, eventHub: {}, as: system }}, {{ name: c, cosmosDbContainer: {}, as: system }} ]\n",
            telemetry(),
            alerts(),
            cosmos(),
        ));
        world.add_target(&event_hub("alerts"), "sb://ns1.servicebus.windows.net");
        world.add_target(&parse(&cosmos()), "https://egressdocs.documents.azure.com:443/");
        let mut observed = world.observed();
        observed.assignments_left.insert(SUBSCRIPTION.to_owned(), AssignmentsLeft { limit: 4000, left });
        let plan = plan(&world.desired(), &observed, world.state().guardrails(), NOW);
        let warned = plan.warnings.iter().any(|warning| warning.to_string().contains("has room for"));
        (plan.blocked, warned)
    };
    // Cosmos DB keeps its own.
    let short =
        Blocked::AssignmentLimit { subscription: SUBSCRIPTION.into(), needed: 2, left: 1, limit: 4000 };
    assert_eq!(room(1), (vec![short], true));
    assert_eq!(room(2), (vec![], true));
    assert_eq!(room(199), (vec![], true));
    assert_eq!(room(200), (vec![], false));
    assert_eq!(room(201), (vec![], false));
}

#[test]
fn files_of_a_hub_stay_in_its_own_subscription() {
    let world = uploads(by_identity("archive"), "as: system");
    let elsewhere = GROUP.replace(SUBSCRIPTION, "1b1f6471-1bf0-4dda-aec3-cb9272f09590");
    let plan = world.plan_with(|desired| {
        let id = archive().replace(GROUP, &elsewhere);
        let container = Target::StorageContainer(parse(&id));
        desired.file_upload.as_mut().unwrap().container = container;
    });
    let is_elsewhere = |cause: &Blocked| matches!(cause, Blocked::UploadElsewhere { .. });
    assert!(plan.blocked.iter().any(is_elsewhere), "{plan}");
}
