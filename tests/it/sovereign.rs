//! A cloud whose addresses end otherwise: nothing of the public cloud's is taken for granted.

use std::collections::HashMap;

use hubward::{config::AzureSettings, local::azure::World};
use serde_json::{Value, json};

use crate::support::{cloud::Cloud, world::hub_id};

/// The reference world in Azure Government.
fn government() -> World {
    let mut world = World::reference();
    for namespace in &mut world.event_hub_namespaces {
        namespace.properties = json!({"serviceBusEndpoint": "https://ns1.servicebus.usgovcloudapi.net:443/"});
    }
    for namespace in &mut world.service_bus_namespaces {
        namespace.properties = json!({"serviceBusEndpoint": "https://sb1.servicebus.usgovcloudapi.net:443/"});
    }
    for account in &mut world.storage_accounts {
        account.properties =
            json!({"primaryEndpoints": {"blob": "https://egressdata.blob.core.usgovcloudapi.net/"}});
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_led_to_where_its_targets_say_that_they_are() {
    let cloud = Cloud::quick_with(government(), hubward::desired::reference());
    cloud.create_hub("hub1", "reference").await.unwrap();
    let hub = hub_id("hub1");
    cloud.settle_ok(&hub, "in another cloud").await;
    let found = cloud.hub(&hub);
    let lists = found["properties"]["routing"]["endpoints"].as_object().unwrap();
    let addresses: Vec<&str> = lists
        .values()
        .filter_map(Value::as_array)
        .flatten()
        .map(|endpoint| endpoint["endpointUri"].as_str().unwrap())
        .collect();
    assert_eq!(addresses.len(), 5);
    assert!(addresses.iter().all(|address| address.contains(".usgovcloudapi.net")), "{addresses:?}");
    let upload = found["properties"]["storageEndpoints"]["$default"]["connectionString"].as_str().unwrap();
    assert!(!upload.contains("windows.net"), "{upload}");
}

#[test]
fn one_setting_chooses_the_cloud() {
    for (word, endpoint) in [
        ("public", "https://management.azure.com/"),
        ("usgov", "https://management.usgovcloudapi.net/"),
        ("china", "https://management.chinacloudapi.cn/"),
    ] {
        let environment = HashMap::from([("HUBWARD_CLOUD", word), ("HUBWARD_PROFILES", "profiles.yaml")]);
        let settings = AzureSettings::read(&environment).unwrap();
        assert_eq!(settings.arm_endpoint.as_str(), endpoint);
        assert_eq!(settings.cloud.arm_scope(), format!("{endpoint}.default"), "tokens are of the same cloud");
    }
}
