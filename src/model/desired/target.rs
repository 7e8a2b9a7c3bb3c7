//! What a hub sends to. The kind implies the role and the scope of the grant.

use serde::Serialize;

use crate::model::{ResourceId, hub::EndpointKind, role::Role};

/// A resource that a hub sends to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// An event hub: `…/Microsoft.EventHub/namespaces/{namespace}/eventhubs/{name}`.
    EventHub(ResourceId),
    /// A queue: `…/Microsoft.ServiceBus/namespaces/{namespace}/queues/{name}`.
    ServiceBusQueue(ResourceId),
    /// A topic: `…/Microsoft.ServiceBus/namespaces/{namespace}/topics/{name}`.
    ServiceBusTopic(ResourceId),
    /// A blob container:
    /// `…/Microsoft.Storage/storageAccounts/{account}/blobServices/default/containers/{name}`.
    StorageContainer(ResourceId),
    /// A container of Cosmos DB for NoSQL:
    /// `…/Microsoft.DocumentDB/databaseAccounts/{account}/sqlDatabases/{database}/containers/{name}`.
    CosmosDbContainer(ResourceId),
}

/// How far up the grant on a storage container is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StorageScope {
    /// On the container: the least.
    #[default]
    Container,
    /// On the account, for hubs that do not accept a grant on the container.
    Account,
}

impl Target {
    /// The target's own id.
    pub fn id(&self) -> &ResourceId {
        match self {
            Target::EventHub(id)
            | Target::ServiceBusQueue(id)
            | Target::ServiceBusTopic(id)
            | Target::StorageContainer(id)
            | Target::CosmosDbContainer(id) => id,
        }
    }

    /// The least role that lets a hub send there.
    pub fn role(&self) -> Role {
        match self {
            Target::EventHub(_) => Role::EventHubsDataSender,
            Target::ServiceBusQueue(_) | Target::ServiceBusTopic(_) => Role::ServiceBusDataSender,
            Target::StorageContainer(_) => Role::BlobDataContributor,
            Target::CosmosDbContainer(_) => Role::CosmosDataContributor,
        }
    }

    /// The list of the hub document that endpoints to it stand in.
    pub fn kind(&self) -> EndpointKind {
        match self {
            Target::EventHub(_) => EndpointKind::EventHub,
            Target::ServiceBusQueue(_) => EndpointKind::ServiceBusQueue,
            Target::ServiceBusTopic(_) => EndpointKind::ServiceBusTopic,
            Target::StorageContainer(_) => EndpointKind::StorageContainer,
            Target::CosmosDbContainer(_) => EndpointKind::CosmosDbContainer,
        }
    }

    /// The namespace or account that it belongs to: whose address it has, and whose firewall.
    pub fn service(&self) -> Option<ResourceId> {
        let id = self.id();
        match self {
            Target::EventHub(_) | Target::ServiceBusQueue(_) | Target::ServiceBusTopic(_) => id.parent(),
            Target::StorageContainer(_) | Target::CosmosDbContainer(_) => id.parent()?.parent(),
        }
    }

    /// The name of that namespace or account.
    pub fn service_name(&self) -> String {
        self.service().as_ref().map_or(self.id().name(), ResourceId::name).to_owned()
    }

    /// The database of a Cosmos DB container, by name.
    pub fn database(&self) -> Option<String> {
        match self {
            Target::CosmosDbContainer(id) => Some(id.parent()?.name().to_owned()),
            _ => None,
        }
    }

    /// Where the role is granted: on the target itself, unless the guardrails say otherwise for storage.
    pub fn grant_scope(&self, storage: StorageScope) -> ResourceId {
        match (self, storage) {
            (Target::StorageContainer(id), StorageScope::Account) => {
                self.service().unwrap_or_else(|| id.clone())
            }
            _ => self.id().clone(),
        }
    }
}
