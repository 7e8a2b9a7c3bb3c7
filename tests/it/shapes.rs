//! Hubs and profiles in shapes that are unusual and allowed: lists that are missing or null, names in
//! another case, the free tier, an enrichment that is there twice.

use hubward::desired::DesiredState;
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, PRINCIPAL, causes, last},
    profiles::{alerts, archive, id_egress, one, profile},
    world::SUBSCRIPTION,
};

const KEYED: &str =
    "Endpoint=sb://old.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0;EntityPath=q";

#[tokio::test(start_paused = true)]
async fn lists_that_are_missing_or_null_are_empty_lists() {
    for routing in [
        json!(null),
        json!({}),
        json!({"endpoints": null, "routes": null}),
        json!({"endpoints": {"eventHubs": null}}),
    ] {
        let story = routing.to_string();
        let hub = json!({"properties": {"routing": routing}});
        let (cloud, hub) = Cloud::quick_around(hub, &one("eventHub", &alerts()));
        cloud.settle_ok(&hub, &story).await;
        cloud.assert_delivers(&hub, &story).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_in_another_case_is_the_same_target() {
    let other = archive().replace(SUBSCRIPTION, &SUBSCRIPTION.to_uppercase()).replace("rg-data", "RG-Data");
    let mut cloud = Cloud::quick(&one("storageContainer", &other));
    let hub = cloud.new_hub("hub1").await;
    cloud.settle_ok(&hub, "in another case").await;
    assert_eq!(cloud.count("hubPutsAccepted"), 2);
    assert_eq!(cloud.grants().len(), 1);
    cloud.want(&one("storageContainer", &archive()));
    cloud.reset_counters().await.unwrap();
    cloud.settle_ok(&hub, "as Azure has it").await;
    assert_eq!((cloud.count("hubPuts"), cloud.grants().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn names_in_another_case_are_the_same_names() {
    let wanted = profile(&format!(
        "    identity: {{ system: on }}\n    ownedPrefixes: [ HW- ]\n    endpoints: [ {{ name: hw-Out, eventHub: {}, as: system }} ]\n    routes: [ {{ name: hw-Out, source: DeviceMessages, endpoint: hw-Out }} ]\n    enrichments: [ {{ key: hw-x, value: a, endpoints: [ hw-Out ] }} ]\n",
        alerts()
    ));
    let attached = id_egress().replace("resourceGroups", "resourcegroups");
    let route = |name: &str, to: &str| json!({"name": name, "source": "devicemessages", "condition": "true", "endpointNames": [to], "isEnabled": true});
    let (cloud, hub) = Cloud::quick_around(
        json!({
            "identity": {
                "type": "SystemAssigned,UserAssigned", "principalId": PRINCIPAL,
                "userAssignedIdentities": {attached: {}},
            },
            "properties": {"routing": {
                "endpoints": {"eventHubs": [
                    {"name": "theirs", "connectionString": KEYED}, {"name": "HW-OUT", "connectionString": KEYED},
                ]},
                "routes": [route("HW-out", "HW-OUT"), route("hw-old", "hw-out")],
            }},
        }),
        &wanted,
    );
    cloud.settle_ok(&hub, "case").await;
    assert_eq!(cloud.count("hubPutsAccepted"), 1, "the identity is there, and all else is one write");
    let found = cloud.hub(&hub);
    assert_eq!(found["identity"]["type"], "SystemAssigned, UserAssigned", "nothing else was asked for");
    let routing = &found["properties"]["routing"];
    let names = |list: &Value| {
        let names = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_lowercase());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&routing["endpoints"]["eventHubs"]), ["theirs", "hw-out"]);
    assert_eq!(routing["endpoints"]["eventHubs"][1]["authenticationType"], "identityBased");
    assert_eq!(names(&routing["routes"]), ["hw-out"], "hw-old is ours and is not wanted");
    cloud.assert_delivers(&hub, "case").await;
}

#[tokio::test(start_paused = true)]
async fn an_enrichment_of_the_key_that_is_there_already_is_not_written_twice() {
    let text = one("eventHub", &alerts())
        + "    enrichments: [ { key: hub, value: $iothubname, endpoints: [ out ] } ]\n";
    let cloud = Cloud::quick(&text);
    let hub = cloud.new_hub("hub1").await;
    let theirs = json!([{"key": "hub", "value": "theirs", "endpointNames": ["events"]}]);
    let body = json!({"properties": {"routing": {"enrichments": theirs}}, "wait": true});
    cloud.sim("PATCH", "hubs/hub1", body).await;
    cloud.settle_ok(&hub, "the same key").await;
    let wanted = json!([{"key": "hub", "value": "$iothubname", "endpointNames": ["out"]}]);
    assert_eq!(cloud.hub(&hub)["properties"]["routing"]["enrichments"], wanted);
}

#[test]
fn an_endpoint_that_an_enrichment_names_twice_is_a_mistake() {
    let text =
        one("eventHub", &alerts()) + "    enrichments: [ { key: k, value: v, endpoints: [ out, OUT ] } ]\n";
    let mistakes = DesiredState::parse(&text).unwrap_err().to_string();
    assert!(mistakes.contains("this endpoint is listed already"), "{mistakes}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_of_the_free_tier_has_room_for_one_endpoint() {
    let free = json!({"sku": {"name": "F1", "tier": "Free", "capacity": 1}});
    let (mut cloud, hub) = Cloud::quick_around(free, &one("eventHub", &alerts()));
    cloud.settle_ok(&hub, "free").await;
    cloud.assert_delivers(&hub, "free").await;
    let two = format!("{{ name: more, eventHub: {}, as: system }}, {{ name: out", alerts());
    cloud.want(&one("eventHub", &alerts()).replacen("{ name: out", &two, 1));
    cloud.reset_counters().await.unwrap();
    let text = causes(last(&cloud.settle(&hub).await));
    assert_eq!(text, "the hub would have 2 endpoints; its tier allows 1");
    assert_eq!(cloud.count("hubPuts"), 0);
}
