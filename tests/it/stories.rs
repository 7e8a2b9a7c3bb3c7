//! What a profile can say about a hub, and what stands in its way, against the simulated Azure.

use hubward::{
    audit::audit,
    desired::{Choice, HubFacts},
    local::azure::{Fault, FaultKind, Settings, World},
    plan::{Spread, Warning},
    prove::RouteTest,
    reconcile::{Outcome, plan_hub},
};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, PRINCIPAL, causes, last},
    profiles::{GROUP, alerts, archive, cosmos, data, id_egress, one, one_by_user, profile},
    world::hub_id,
};

async fn change_target(cloud: &Cloud, id: &str, change: Value) {
    let mut body = json!({"id": id});
    body.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
    cloud.sim("PATCH", "targets", body).await;
}

/// What blocks a hub before any write, after something about a target has changed.
async fn blocked_by(profiles: &str, target: &str, change: Value) -> String {
    let cloud = Cloud::quick(profiles);
    let hub = cloud.new_hub("hub1").await;
    change_target(&cloud, target, change).await;
    let report = cloud.look(&hub).await;
    assert!(matches!(report.outcome, Outcome::Blocked { .. }), "{report:#?}");
    assert_eq!(cloud.count("hubPuts"), 0, "nothing is half-done");
    let grants = cloud.azure.state()["roleAssignments"].as_array().unwrap().len();
    assert_eq!(grants, 0, "nothing is half-done");
    causes(&report.outcome)
}

#[tokio::test(start_paused = true)]
async fn a_firewall_that_lets_no_hub_pass_is_found_before_anything_is_written() {
    let namespace = data("Microsoft.EventHub/namespaces/ns1");
    let closed = json!({"networkRuleSet": {"defaultAction": "Deny"}});
    let text = blocked_by(&one("eventHub", &alerts()), &namespace, closed).await;
    assert!(text.contains("endpoint out: the firewall of ns1 lets no hub pass"), "{text}");
    let account = data("Microsoft.Storage/storageAccounts/egressdata");
    let closed = json!({"properties": {"networkAcls": {"defaultAction": "Deny", "bypass": "None"}}});
    let text = blocked_by(&one("storageContainer", &archive()), &account, closed).await;
    assert!(text.contains("the firewall of egressdata"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_firewall_that_lets_trusted_services_pass_needs_the_system_identity() {
    let namespace = data("Microsoft.EventHub/namespaces/ns1");
    let trusted = json!({"networkRuleSet": {"defaultAction": "Deny", "trustedServiceAccessEnabled": true}});
    let by_user = one_by_user("eventHub", &alerts());
    let text = blocked_by(&by_user, &namespace, trusted.clone()).await;
    assert!(
        text.contains("needs the system-assigned identity and not a user-assigned identity id-egress"),
        "{text}"
    );

    let cloud = Cloud::quick(&one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    change_target(&cloud, &namespace, trusted).await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    let sent = cloud.sim("POST", "hubs/hub1/messages", json!({})).await;
    assert_eq!(sent["deliveries"][0]["delivered"], true, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_asked_of_a_target_that_takes_none() {
    let namespace = data("Microsoft.ServiceBus/namespaces/sb1");
    let by_key = one("serviceBusQueue", &data("Microsoft.ServiceBus/namespaces/sb1/queues/commands"))
        .replace("as: system", "as: key, keyRule: RootManageSharedAccessKey")
        .replace("allowRemovals: true", "allowKeys: true");
    let text = blocked_by(&by_key, &namespace, json!({"properties": {"disableLocalAuth": true}})).await;
    assert!(text.contains("sb1 does not take keys"), "{text}");
    let upload = profile(&format!(
        "    identity: {{ system: on }}\n    fileUpload: {{ container: {}, as: system, connection: accountKey }}\n",
        archive()
    ));
    let upload = upload.replace("allowRemovals: true", "allowKeys: true");
    let account = data("Microsoft.Storage/storageAccounts/egressdata");
    let text = blocked_by(&upload, &account, json!({"properties": {"allowSharedKeyAccess": false}})).await;
    assert!(text.contains("file upload: egressdata does not take keys"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_restricts_outbound_access_needs_the_target_on_its_list() {
    let profiles = one("eventHub", &alerts());
    let mut cloud = Cloud::quick(&profiles);
    let hub = cloud.new_hub("hub1").await;
    let restricted = json!({"properties": {"restrictOutboundNetworkAccess": true, "allowedFqdnList": ["theirs.example.net"]}, "wait": true});
    cloud.sim("PATCH", "hubs/hub1", restricted).await;
    let text = causes(&cloud.look(&hub).await.outcome);
    assert!(text.contains("ns1.servicebus.windows.net is not in its allowedFqdnList"), "{text}");
    cloud.want(&format!("{profiles}    outbound: {{ allowTargets: true }}\n"));
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    let list = cloud.hub(&hub)["properties"]["allowedFqdnList"].clone();
    assert_eq!(list, json!(["theirs.example.net", "ns1.servicebus.windows.net"]));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_full_of_role_assignments_is_found_before_anything_is_written() {
    let settings = Settings { role_assignment_limit: 4, ..Settings::default() };
    let cloud = Cloud::with(settings, World::reference(), hubward::desired::reference());
    cloud.create_hub("hub1", "reference").await.unwrap();
    let report = cloud.look(&hub_id("hub1")).await;
    assert!(causes(&report.outcome).contains("has room for 4 more role assignments of 4, and 5 are needed"));
    assert!(
        report.warnings.iter().any(|warning| matches!(warning, Warning::FewAssignmentsLeft { left: 4, .. }))
    );
    assert_eq!(cloud.count("hubPuts"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_to_attach_an_identity_is_explained() {
    let by_user = one_by_user("eventHub", &alerts());
    let cloud = Cloud::quick(&by_user);
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::DenyIdentity).times(0));
    let text = causes(last(&cloud.settle(&hub).await));
    assert!(text.contains("LinkedAuthorizationFailed"), "{text}");
    assert!(text.contains("grant it Managed Identity Operator on /subscriptions/"), "{text}");
    assert!(text.to_lowercase().ends_with("id-egress"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn file_upload_on_a_hub_that_wants_a_key_is_told_and_then_works_with_one() {
    let upload = |connection: &str| {
        profile(&format!(
            "    identity: {{ system: on }}\n    fileUpload: {{ container: {}, as: system, connection: {connection}, sasTtl: PT2H, notifications: {{ enabled: true, lockDuration: PT30S, ttl: P1D, maxDeliveryCount: 7 }} }}\n    cloudToDevice: {{ defaultTtl: PT12H, maxDeliveryCount: 3 }}\n",
            archive()
        ))
    };
    let settings = Settings { file_upload_needs_key: true, ..Settings::default() };
    let mut cloud = Cloud::with(settings, World::reference(), &upload("identityOnly"));
    let hub = cloud.new_hub("hub1").await;
    let text = causes(last(&cloud.settle(&hub).await));
    assert!(text.contains("set fileUpload.connection: accountKey"), "{text}");
    cloud.want(&upload("accountKey").replace("allowRemovals: true", "allowKeys: true"));
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    let properties = &cloud.hub(&hub)["properties"];
    let entry = &properties["storageEndpoints"]["$default"];
    assert_eq!(entry["authenticationType"], "identityBased");
    assert_eq!(entry["sasTtlAsIso8601"], "PT2H");
    assert_eq!(properties["enableFileUploadNotifications"], true);
    let queue = &properties["messagingEndpoints"]["fileNotifications"];
    assert_eq!(
        *queue,
        json!({"lockDurationAsIso8601": "PT30S", "ttlAsIso8601": "P1D", "maxDeliveryCount": 7})
    );
    assert_eq!(properties["cloudToDevice"]["defaultTtlAsIso8601"], "PT12H");
    assert_eq!(properties["cloudToDevice"]["maxDeliveryCount"], 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_ours_goes_with_the_document_and_what_is_not_stays() {
    let full = profile(&format!(
        "    identity: {{ system: on }}\n    ownedPrefixes: [ hw- ]\n    endpoints: [ {{ name: hw-a, eventHub: {a}, as: system }}, {{ name: hw-b, storageContainer: {b}, as: system }} ]\n    routes: [ {{ name: hw-a, source: DeviceMessages, endpoint: hw-a }}, {{ name: hw-b, source: TwinChangeEvents, endpoint: hw-b }} ]\n    enrichments: [ {{ key: hw-hub, value: $iothubname, endpoints: [ hw-a, hw-b ] }} ]\n    fallback: off\n",
        a = alerts(),
        b = archive()
    ));
    let mut cloud = Cloud::quick(&full);
    let hub = cloud.new_hub("hub1").await;
    let theirs = json!({"properties": {"routing": {
        "routes": [{"name": "RouteToEventGrid", "source": "DeviceConnectionStateEvents", "condition": "true", "endpointNames": ["events"], "isEnabled": true}],
        "enrichments": [{"key": "theirs", "value": "x", "endpointNames": ["events"]}]}}, "wait": true});
    cloud.sim("PATCH", "hubs/hub1", theirs).await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    assert_eq!(cloud.hub(&hub)["properties"]["routing"]["fallbackRoute"]["isEnabled"], false);

    // Nothing is removed without leave; the plan says what would be.
    let less = profile(&format!(
        "    identity: {{ system: on }}\n    ownedPrefixes: [ hw- ]\n    endpoints: [ {{ name: hw-a, eventHub: {}, as: system }} ]\n    routes: [ {{ name: hw-a, source: DeviceMessages, endpoint: hw-a }} ]\n    fallback: on\n",
        alerts()
    ));
    cloud.want(
        &less.replace("allowRemovals: true", "allowRemovals: false").replace("fallback: on", "fallback: off"),
    );
    let report = cloud.look(&hub).await;
    assert_eq!(report.outcome, Outcome::InSync);
    let told: Vec<String> = report
        .warnings
        .iter()
        .filter_map(|warning| match warning {
            Warning::WouldRemove { what } => Some(what.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["endpoint hw-b", "enrichment hw-hub", "route hw-b"]);

    cloud.want(&less);
    cloud.reset_counters().await.unwrap();
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    assert_eq!(cloud.count("hubPuts"), 1, "what refers to an endpoint goes with it");
    let routing = cloud.hub(&hub)["properties"]["routing"].clone();
    let names = |list: &Value, member: &str| {
        list.as_array()
            .into_iter()
            .flatten()
            .map(|one| one[member].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&routing["routes"], "name"), ["RouteToEventGrid", "hw-a"]);
    assert_eq!(names(&routing["enrichments"], "key"), ["theirs"]);
    assert_eq!(routing["endpoints"]["storageContainers"], json!([]));
    assert_eq!(routing["fallbackRoute"]["isEnabled"], true);

    // One that somebody else's route still leads to stays, that is told, and the rest goes on.
    cloud.sim("PATCH", "hubs/hub1", json!({"properties": {"routing": {"routes": [
        {"name": "theirs", "source": "DeviceMessages", "condition": "true", "endpointNames": ["hw-a"], "isEnabled": true}]}}, "wait": true})).await;
    cloud.want(&profile("    ownedPrefixes: [ hw- ]\n    cloudToDevice: { maxDeliveryCount: 3 }\n"));
    let reports = cloud.settle(&hub).await;
    assert_eq!(*last(&reports), Outcome::Changed);
    let told: Vec<String> = reports.last().unwrap().warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["endpoint hw-a is not wanted and stays: used by route theirs"]);
    assert_eq!(cloud.hub(&hub)["properties"]["cloudToDevice"]["maxDeliveryCount"], 3);
}

#[tokio::test(start_paused = true)]
async fn an_encoding_cannot_be_changed_and_an_identity_in_use_cannot_be_detached() {
    let storage = one("storageContainer", &archive());
    let mut cloud = Cloud::quick(&storage.replace("as: system }", "as: system, encoding: JSON }"));
    let hub = cloud.new_hub("hub1").await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    cloud.want(&storage.replace("as: system }", "as: system, encoding: Avro }"));
    let text = causes(&cloud.look(&hub).await.outcome);
    assert!(text.contains("its encoding is JSON and cannot become Avro"), "{text}");

    let by_user = one_by_user("eventHub", &alerts());
    cloud.want(&by_user.replace("name: out", "name: by-user").replace("endpoint: out", "endpoint: by-user"));
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    cloud.want(&profile(&format!("    identity: {{ detach: [ {} ] }}\n", id_egress())));
    let text = causes(&cloud.look(&hub).await.outcome);
    assert_eq!(text, "the user-assigned identity id-egress cannot be taken away: used by endpoint by-user");
}

#[tokio::test(start_paused = true)]
async fn a_grant_on_the_account_is_made_where_the_guardrails_say_so() {
    let profiles =
        one("storageContainer", &archive()).replace("allowRemovals: true", "storageGrants: account");
    let cloud = Cloud::quick(&profiles);
    let hub = cloud.new_hub("hub1").await;
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
    let state = cloud.azure.state();
    let scope = state["roleAssignments"][0]["properties"]["scope"].as_str().unwrap().to_owned();
    assert!(scope.ends_with("/storageAccounts/egressdata"), "{scope}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_granted_then_readable_then_effective() {
    let cloud = Cloud::with(Settings::default(), World::reference(), &one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(200.0));
    let reports = cloud.settle(&hub).await;
    let states: Vec<Spread> = reports.iter().map(|report| report.grants[0].state).collect();
    assert_eq!(states.first(), Some(&Spread::Granted), "{states:?}");
    assert_eq!(states.last(), Some(&Spread::Effective), "{states:?}");
    assert!(states.contains(&Spread::Readable), "after a refusal it is looked for again: {states:?}");
    assert!(reports[0].grants[0].created_on.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_grant_of_cosmos_db_is_waited_for_though_nobody_says_how_old_it_is() {
    let profiles = one("cosmosDbContainer", &cosmos());
    let mut cloud = Cloud::with(Settings::default(), World::reference(), &profiles);
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(300.0).times(0));
    let first = cloud.look(&hub).await;
    let Outcome::Waiting { until, .. } = first.outcome else { panic!("{first:#?}") };
    cloud.clock.sleep_until(until).await;
    // The message that knew is lost, with everything that the process knew: one from an event comes.
    cloud.restart();
    let reports = cloud.settle(&hub).await;
    assert_eq!(*last(&reports), Outcome::Changed, "{reports:#?}");

    // And one that never works ends, in the service's words.
    let cloud = Cloud::with(Settings::default(), World::reference(), &profiles);
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(86_400.0).times(0));
    let started = cloud.clock.now();
    let text = causes(last(&cloud.settle(&hub).await));
    assert!(text.contains("out"), "{text}");
    let took = cloud.clock.now() - started;
    assert!((15..25).contains(&took.whole_minutes()), "{took}");
}

#[tokio::test(start_paused = true)]
async fn the_window_for_a_grant_is_a_setting() {
    let profiles = one("eventHub", &alerts()).replace("allowRemovals: true", "grantWindow: PT30M");
    let cloud = Cloud::with(Settings::default(), World::reference(), &profiles);
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(25.0 * 60.0));
    assert_eq!(*last(&cloud.settle(&hub).await), Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn after_a_write_the_hub_is_asked_what_it_makes_of_it() {
    let cloud = Cloud::quick(hubward::desired::reference());
    cloud.create_hub("hub1", "reference").await.unwrap();
    let hub = hub_id("hub1");
    let reports = cloud.settle(&hub).await;
    let proof = reports.last().unwrap().proof.clone().expect("a proof");
    assert!(proof.doubts().is_empty());
    assert!(proof.endpoints.iter().all(|endpoint| endpoint.health == "unknown"), "nothing was sent yet");
    let test = |name: &str| proof.routes.iter().find(|route| route.name == name).unwrap().test;
    assert_eq!(test("telemetry"), RouteTest::Takes);
    assert_eq!(test("alerts"), RouteTest::Unknown, "it depends on the message");
    assert_eq!(test("changes"), RouteTest::Unknown, "it is for another source");

    // When the proof cannot be read, that is said, and the write is still a success.
    let cloud = Cloud::with(Settings::default(), World::reference(), &one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    cloud.azure.inject(Fault::new(FaultKind::Deny).on("GET", "routingendpointshealth").times(0));
    cloud.azure.inject(Fault::new(FaultKind::Deny).on("POST", "$testall").times(0));
    let reports = cloud.settle(&hub).await;
    assert_eq!(*last(&reports), Outcome::Changed);
    let proof = reports.last().unwrap().proof.clone().unwrap();
    assert_eq!(proof.endpoints[0].health, "unknown");
    assert!(proof.endpoints[0].detail.as_ref().unwrap().contains("AuthorizationFailed"));
    assert_eq!(proof.routes[0].test, RouteTest::Unknown);
}

#[tokio::test(start_paused = true)]
async fn roles_that_are_too_much_are_found_with_what_would_do() {
    let mut world = World::reference();
    let assignment = |scope: String, role: &str| {
        serde_json::from_value(json!({"scope": scope, "role": role, "principalId": PRINCIPAL})).unwrap()
    };
    world.role_assignments = vec![
        assignment(data("Microsoft.EventHub/namespaces/ns1"), "Azure Event Hubs Data Sender"),
        assignment(GROUP.to_owned(), "Contributor"),
        assignment(archive(), "Storage Blob Data Contributor"),
    ];
    world.iot_hubs = vec![json!({"id": hub_id("hub1").as_str(), "location": "westus2",
        "identity": {"type": "SystemAssigned", "principalId": PRINCIPAL}})];
    let cloud = Cloud::with(Settings::default(), world, &one("eventHub", &alerts()));
    let hub = hub_id("hub1");
    let reports = cloud.settle(&hub).await;
    assert_eq!(*last(&reports), Outcome::Changed);
    let grants = cloud.azure.state()["roleAssignments"].as_array().unwrap().len();
    assert_eq!(grants, 3, "the namespace's grant is good enough to send with");

    let document = cloud.arm.reader().hub(&hub).await.unwrap().unwrap();
    let Choice::Desired(desired) = cloud.state.for_hub(&HubFacts::new(&hub, "westus2", [])) else { panic!() };
    let findings =
        audit(cloud.arm.reader(), &document, Some(&desired), cloud.state.guardrails()).await.unwrap();
    let mut told: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} on {}: {}", finding.role, finding.scope.name(), finding.excess))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            format!("Azure Event Hubs Data Sender on ns1: {} would do", alerts()),
            "Contributor on rg-data: more than a hub needs".to_owned(),
            "Storage Blob Data Contributor on archive: the hub does not send there".to_owned(),
        ]
    );
    let plan = plan_hub(cloud.arm.reader(), &cloud.state, &hub).await.unwrap();
    assert_eq!(plan.warnings.len(), 3, "{plan}");
    assert!(plan.is_in_sync());
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_shares_an_identity_that_is_granted_costs_one_put() {
    let by_user = one_by_user("eventHub", &alerts());
    let cloud = Cloud::quick(&by_user);
    let first = cloud.new_hub("hub1").await;
    cloud.settle(&first).await;
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    let second = cloud.new_hub("hub2").await;
    let reports = cloud.settle(&second).await;
    assert_eq!(reports.len(), 1, "nothing has to be waited for");
    assert_eq!(*last(&reports), Outcome::Changed);
    assert_eq!(cloud.count("hubPuts"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_vanishes_while_the_grant_spreads_is_told_as_missing() {
    let cloud = Cloud::with(Settings::default(), World::reference(), &one("eventHub", &alerts()));
    let hub = cloud.new_hub("hub1").await;
    let first = cloud.look(&hub).await;
    let Outcome::Waiting { until, .. } = first.outcome else { panic!("{first:#?}") };
    cloud.clock.sleep_until(until).await;
    let (status, answer) = cloud.call("DELETE", &alerts(), "2024-01-01", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let reports = cloud.settle(&hub).await;
    let text = causes(last(&reports));
    assert!(text.contains("alerts"), "{text}");
    assert!(reports.len() <= 3, "it is not asked for a quarter of an hour: {reports:#?}");
}
