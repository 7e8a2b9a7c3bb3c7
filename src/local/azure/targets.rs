//! What hubs send to, as the documents that a GET shows: namespaces and their event hubs, queues and
//! topics, storage accounts and containers, Cosmos DB accounts, databases and containers.
//!
//! A PUT makes one of the usual shape, at once, with the switches that it names. `/_sim/targets`
//! changes one afterwards.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    answer::iso,
    cosmos, keys, network,
    state::{State, is_within},
};
use crate::model::ResourceId;

/// The lower-cased types that are kept.
pub(super) const TYPES: [&str; 10] = [
    "microsoft.eventhub/namespaces",
    "microsoft.eventhub/namespaces/eventhubs",
    "microsoft.servicebus/namespaces",
    "microsoft.servicebus/namespaces/queues",
    "microsoft.servicebus/namespaces/topics",
    "microsoft.storage/storageaccounts",
    "microsoft.storage/storageaccounts/blobservices/containers",
    "microsoft.documentdb/databaseaccounts",
    "microsoft.documentdb/databaseaccounts/sqldatabases",
    "microsoft.documentdb/databaseaccounts/sqldatabases/containers",
];

/// The properties that a PUT of a target is heard about: who may come in, and with what.
const SWITCHES: [&str; 9] = [
    "publicNetworkAccess",
    "disableLocalAuth",
    "networkAcls",
    "allowSharedKeyAccess",
    "isVirtualNetworkFilterEnabled",
    "ipRules",
    "virtualNetworkRules",
    "networkAclBypass",
    "networkAclBypassResourceIds",
];

impl State {
    /// Adds a target, as a GET will show it. Nothing happens for a type that is not known.
    pub(super) fn add_target(
        &mut self,
        id: &ResourceId,
        location: &str,
        now: OffsetDateTime,
    ) -> Option<&Value> {
        let kind = id.resource_type()?;
        let (name, at) = (id.name(), iso(now));
        let (kind, body) = match kind.as_str() {
            "microsoft.eventhub/namespaces" => {
                ("Microsoft.EventHub/Namespaces", namespace(id, location, &at, true))
            }
            "microsoft.servicebus/namespaces" => {
                ("Microsoft.ServiceBus/Namespaces", namespace(id, location, &at, false))
            }
            "microsoft.eventhub/namespaces/eventhubs" => (
                "Microsoft.EventHub/namespaces/eventhubs",
                json!({"location": location, "properties": {
                    "retentionDescription": {"cleanupPolicy": "Delete", "retentionTimeInHours": 168},
                    "messageRetentionInDays": 7, "partitionCount": 4, "status": "Active",
                    "createdAt": at, "updatedAt": at, "partitionIds": ["0", "1", "2", "3"],
                }}),
            ),
            "microsoft.servicebus/namespaces/queues" => {
                let mut queue = entity(location, &at);
                merge(
                    &mut queue["properties"],
                    json!({
                        "lockDuration": "PT1M", "requiresSession": false, "maxDeliveryCount": 10,
                    }),
                );
                ("Microsoft.ServiceBus/namespaces/queues", queue)
            }
            "microsoft.servicebus/namespaces/topics" => {
                ("Microsoft.ServiceBus/namespaces/topics", entity(location, &at))
            }
            "microsoft.storage/storageaccounts" => {
                ("Microsoft.Storage/storageAccounts", account(name, location, &at))
            }
            "microsoft.storage/storageaccounts/blobservices/containers" => (
                "Microsoft.Storage/storageAccounts/blobServices/containers",
                json!({"etag": "\"0x8D592D74CC20EBA\"", "properties": {
                    "deleted": false, "publicAccess": "None", "leaseStatus": "Unlocked",
                    "leaseState": "Available", "lastModifiedTime": at, "hasImmutabilityPolicy": false,
                    "hasLegalHold": false,
                }}),
            ),
            kind => cosmos::shape(kind, id, location)?,
        };
        let mut document = Map::new();
        document.insert("id".to_owned(), json!(id.as_str()));
        document.insert("name".to_owned(), json!(name));
        document.insert("type".to_owned(), json!(kind));
        if let Value::Object(members) = body {
            document.extend(members);
        }
        let key = id.key().to_owned();
        self.targets.insert(key.clone(), Value::Object(document));
        if network::has_rule_set(&key) {
            self.rule_sets.insert(key.clone(), network::open());
            self.add_rule(id.as_str(), keys::ROOT, &["Listen", "Manage", "Send"]);
        }
        self.targets.get(&key)
    }

    /// Sets the switches that a PUT of a target names.
    pub(super) fn set_switches(&mut self, id: &ResourceId, sent: &Value) {
        let mut named = sent.as_object().cloned().unwrap_or_default();
        named.retain(|name, _| SWITCHES.contains(&name.as_str()));
        self.change_target(id.key(), &Value::Object(named), &Value::Null);
    }

    /// Merges (RFC 7396) into a target's properties and its network rule set. Whether there is such
    /// a target.
    pub(super) fn change_target(&mut self, key: &str, properties: &Value, rule_set: &Value) -> bool {
        let Some(target) = self.targets.get_mut(key) else { return false };
        if properties.is_object() {
            merge(&mut target["properties"], properties.clone());
        }
        let Some(rules) = self.rule_sets.get_mut(key) else { return true };
        // One switch, shown in two places: whoever writes last is right.
        if let Some(access) = properties.get("publicNetworkAccess") {
            rules["publicNetworkAccess"] = access.clone();
        }
        if rule_set.is_object() {
            merge(rules, rule_set.clone());
        }
        if key.contains("/microsoft.servicebus/") {
            // Shown with the rules alone.
            target["properties"].as_object_mut().map(|shown| shown.shift_remove("publicNetworkAccess"));
        } else {
            target["properties"]["publicNetworkAccess"] = rules["publicNetworkAccess"].clone();
        }
        true
    }

    /// Removes a target with everything below it. Whether it was there.
    pub(super) fn remove_target(&mut self, key: &str) -> bool {
        let was_there = self.targets.contains_key(key);
        self.targets.retain(|id, _| !is_within(id, key));
        self.blobs.retain(|id, _| !is_within(id, key));
        self.rules.retain(|id, _| !is_within(id, key));
        self.rule_sets.retain(|id, _| id != key);
        self.cosmos.retain(|grant| !is_within(&grant.account, key));
        was_there
    }
}

/// JSON merge patch, as of RFC 7396.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn namespace(id: &ResourceId, location: &str, at: &str, kafka: bool) -> Value {
    let name = id.name();
    let mut properties = json!({
        "disableLocalAuth": false,
        "zoneRedundant": false,
        "provisioningState": "Succeeded",
        "metricId": format!("{}:{}", id.subscription(), name.to_ascii_lowercase()),
        "createdAt": at,
        "updatedAt": at,
        "serviceBusEndpoint": format!("https://{name}.servicebus.windows.net:443/"),
        "status": "Active",
    });
    if kafka {
        properties["minimumTlsVersion"] = json!("1.2");
        properties["publicNetworkAccess"] = json!("Enabled");
        properties["isAutoInflateEnabled"] = json!(false);
        properties["maximumThroughputUnits"] = json!(0);
        properties["kafkaEnabled"] = json!(true);
    }
    json!({
        "sku": {"name": "Standard", "tier": "Standard", "capacity": 1},
        "location": location,
        "tags": {},
        "properties": properties,
    })
}

/// What queues and topics have in common.
fn entity(location: &str, at: &str) -> Value {
    json!({"location": location, "properties": {
        "maxSizeInMegabytes": 1024, "requiresDuplicateDetection": false,
        "defaultMessageTimeToLive": "P10675199DT2H48M5.4775807S", "enablePartitioning": false,
        "status": "Active", "sizeInBytes": 0, "createdAt": at, "updatedAt": at,
    }})
}

/// `publicNetworkAccess` and `allowSharedKeyAccess` are shown once somebody has set them, as recorded.
fn account(name: &str, location: &str, at: &str) -> Value {
    let url = |service: &str| format!("https://{name}.{service}.core.windows.net/");
    let encrypted = json!({"keyType": "Account", "enabled": true, "lastEnabledTime": at});
    json!({
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "kind": "StorageV2",
        "location": location,
        "tags": {},
        "properties": {
            "keyCreationTime": {"key1": at, "key2": at},
            "allowCrossTenantReplication": false,
            "privateEndpointConnections": [],
            "minimumTlsVersion": "TLS1_2",
            "allowBlobPublicAccess": false,
            "networkAcls": {
                "ipv6Rules": [], "bypass": "AzureServices", "virtualNetworkRules": [], "ipRules": [],
                "defaultAction": "Allow",
            },
            "supportsHttpsTrafficOnly": true,
            "encryption": {
                "services": {"file": encrypted, "blob": encrypted}, "keySource": "Microsoft.Storage",
            },
            "provisioningState": "Succeeded",
            "creationTime": at,
            "primaryEndpoints": {
                "blob": url("blob"), "queue": url("queue"), "table": url("table"), "file": url("file"),
            },
            "primaryLocation": location,
            "statusOfPrimary": "available",
        },
    })
}
