//! The worlds that come with the simulator, and what hubs of a world can send to.

use serde_json::Value;

use super::world::{
    CallerIdentity, CosmosAccount, CosmosDatabase, EventHubNamespace, ResourceGroup, ServiceBusNamespace,
    StorageAccount, Subscription, UserIdentity, World, westus2,
};

/// Name, client id and object id of whoever is not the handler: `/_sim` acts as them too.
pub(super) const OPERATOR: (&str, &str, &str) =
    ("operator", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77");

/// What a hub can send to, as the world has it.
pub(super) struct Target<'a> {
    pub(super) id: String,
    pub(super) location: &'a str,
    pub(super) properties: &'a Value,
    pub(super) network_rule_set: &'a Value,
}

/// The container in which the app keeps outcomes, in a world with its own storage account.
pub const OUTCOMES_CONTAINER: &str = "https://hubwardstate.blob.core.windows.net/outcomes";

impl World {
    /// The same world with the app's own storage account in it.
    #[must_use]
    pub fn with_state_account(mut self) -> Self {
        let subscription = self.subscriptions.first().map(|own| own.id.clone()).unwrap_or_default();
        self.storage_accounts.push(StorageAccount {
            id: format!(
                "/subscriptions/{subscription}/resourceGroups/rg-hubward/providers/Microsoft.Storage/storageAccounts/hubwardstate"
            ),
            location: westus2(),
            containers: vec!["outcomes".to_owned()],
            properties: Value::Null,
        });
        self
    }

    /// One subscription with two resource groups, a namespace with an event hub, and no IoT hub yet. The
    /// handler is the first caller; people and their tools are the second, as the handler passes over
    /// what it did itself.
    pub fn sample() -> Self {
        let sub = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
        let group = |name: &str| ResourceGroup { name: name.to_owned(), location: westus2() };
        Self {
            tenant: "54826b22-38d6-4fb2-bad9-b7b93a3e9c5a".to_owned(),
            subscriptions: vec![Subscription {
                id: sub.to_owned(),
                name: "Plant".to_owned(),
                resource_groups: vec![group("rg-plant-01"), group("rg-data")],
            }],
            event_hub_namespaces: vec![EventHubNamespace {
                id: format!(
                    "/subscriptions/{sub}/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1"
                ),
                location: westus2(),
                event_hubs: vec!["telemetry-westus2".to_owned()],
                properties: Value::Null,
                network_rule_set: Value::Null,
            }],
            callers: vec![
                CallerIdentity {
                    name: "hubward".to_owned(),
                    client_id: "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01".to_owned(),
                    object_id: "9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02".to_owned(),
                    permissions: None,
                },
                CallerIdentity {
                    name: OPERATOR.0.to_owned(),
                    client_id: OPERATOR.1.to_owned(),
                    object_id: OPERATOR.2.to_owned(),
                    permissions: None,
                },
            ],
            ..Self::default()
        }
    }

    /// One of everything that a hub can send to, in the sample's subscription and beside its callers:
    /// event hubs, a queue, a topic, two storage containers and a Cosmos DB container, and a
    /// user-assigned identity, all in `rg-data`.
    pub fn reference() -> Self {
        let sample = Self::sample();
        let group = sample.subscriptions.first().map(|sub| sub.id.clone()).unwrap_or_default();
        let group = format!("/subscriptions/{group}/resourceGroups/rg-data/providers");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Self {
            event_hub_namespaces: vec![EventHubNamespace {
                id: format!("{group}/Microsoft.EventHub/namespaces/ns1"),
                location: westus2(),
                event_hubs: names(&["telemetry-westus2", "alerts"]),
                properties: Value::Null,
                network_rule_set: Value::Null,
            }],
            service_bus_namespaces: vec![ServiceBusNamespace {
                id: format!("{group}/Microsoft.ServiceBus/namespaces/sb1"),
                location: westus2(),
                queues: names(&["commands"]),
                topics: names(&["changes"]),
                properties: Value::Null,
                network_rule_set: Value::Null,
            }],
            storage_accounts: vec![StorageAccount {
                id: format!("{group}/Microsoft.Storage/storageAccounts/egressdata"),
                location: westus2(),
                containers: names(&["archive", "uploads"]),
                properties: Value::Null,
            }],
            cosmos_accounts: vec![CosmosAccount {
                id: format!("{group}/Microsoft.DocumentDB/databaseAccounts/egressdocs"),
                location: westus2(),
                databases: vec![CosmosDatabase {
                    name: "fleet".to_owned(),
                    containers: names(&["telemetry"]),
                }],
                properties: Value::Null,
            }],
            user_assigned_identities: vec![UserIdentity {
                id: format!("{group}/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress"),
                location: westus2(),
                principal_id: None,
                client_id: None,
            }],
            ..sample
        }
    }

    /// Everything that hubs send to, parents first.
    pub(super) fn targets(&self) -> Vec<Target<'_>> {
        let mut all = Vec::new();
        let mut add = |id: String, location, properties, network_rule_set| {
            all.push(Target { id, location, properties, network_rule_set });
        };
        const NONE: &Value = &Value::Null;
        for namespace in &self.event_hub_namespaces {
            let EventHubNamespace { id, location, event_hubs, properties, network_rule_set } = namespace;
            add(id.clone(), location.as_str(), properties, network_rule_set);
            event_hubs.iter().for_each(|name| add(format!("{id}/eventhubs/{name}"), location, NONE, NONE));
        }
        for namespace in &self.service_bus_namespaces {
            let ServiceBusNamespace { id, location, queues, topics, properties, network_rule_set } =
                namespace;
            add(id.clone(), location, properties, network_rule_set);
            queues.iter().for_each(|name| add(format!("{id}/queues/{name}"), location, NONE, NONE));
            topics.iter().for_each(|name| add(format!("{id}/topics/{name}"), location, NONE, NONE));
        }
        for StorageAccount { id, location, containers, properties } in &self.storage_accounts {
            add(id.clone(), location, properties, NONE);
            let below = |name: &String| format!("{id}/blobServices/default/containers/{name}");
            containers.iter().for_each(|name| add(below(name), location, NONE, NONE));
        }
        for CosmosAccount { id, location, databases, properties } in &self.cosmos_accounts {
            add(id.clone(), location, properties, NONE);
            for CosmosDatabase { name, containers } in databases {
                let database = format!("{id}/sqlDatabases/{name}");
                add(database.clone(), location, NONE, NONE);
                let below = |name: &String| format!("{database}/containers/{name}");
                containers.iter().for_each(|name| add(below(name), location, NONE, NONE));
            }
        }
        all
    }
}
