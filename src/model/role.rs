//! The roles Hubward grants, each the least that does its job.
//!
//! Nobody writes a role by hand: the kind of a target implies its role, see
//! [`Target::role`](super::desired::Target::role).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A built-in role that may be granted to a hub's identity. There is no other.
///
/// Ids: <https://learn.microsoft.com/azure/role-based-access-control/built-in-roles>, and for Cosmos DB
/// <https://learn.microsoft.com/azure/cosmos-db/nosql/reference-data-plane-security>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Azure Event Hubs Data Sender: send to one event hub.
    EventHubsDataSender,
    /// Azure Service Bus Data Sender: send to one queue or topic.
    ServiceBusDataSender,
    /// Storage Blob Data Contributor: read and write blobs of one container.
    BlobDataContributor,
    /// Cosmos DB Built-in Data Contributor: read and write items of one container. Not a role of
    /// Azure RBAC: Cosmos DB keeps its assignments itself.
    CosmosDataContributor,
}

impl Role {
    /// All roles, for guardrails and infrastructure checks.
    pub const ALL: [Role; 4] = [
        Role::EventHubsDataSender,
        Role::ServiceBusDataSender,
        Role::BlobDataContributor,
        Role::CosmosDataContributor,
    ];

    /// The role's name as the portal shows it.
    pub fn display_name(self) -> &'static str {
        match self {
            Role::EventHubsDataSender => "Azure Event Hubs Data Sender",
            Role::ServiceBusDataSender => "Azure Service Bus Data Sender",
            Role::BlobDataContributor => "Storage Blob Data Contributor",
            Role::CosmosDataContributor => "Cosmos DB Built-in Data Contributor",
        }
    }

    /// The GUID of the role definition, the same in every tenant and cloud.
    pub fn guid(self) -> &'static str {
        match self {
            Role::EventHubsDataSender => "2b629674-e913-4c01-ae53-ef4638d8f975",
            Role::ServiceBusDataSender => "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
            Role::BlobDataContributor => "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
            Role::CosmosDataContributor => "00000000-0000-0000-0000-000000000002",
        }
    }

    /// Whether Cosmos DB keeps the assignments of this role, and not Azure RBAC.
    pub fn is_of_cosmos_db(self) -> bool {
        self == Role::CosmosDataContributor
    }

    /// The role of a definition id. Tenant-level ids have no subscription prefix, so only the last
    /// segment counts.
    pub fn from_definition_id(id: &str) -> Option<Role> {
        let guid = id.rsplit('/').next()?;
        Role::ALL.into_iter().find(|role| role.guid().eq_ignore_ascii_case(guid))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.display_name())
    }
}

/// A built-in role that is more than a hub's identity needs, and still not what it needs: it manages
/// the resource and does not send to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BroadRole {
    /// Owner.
    Owner,
    /// Contributor.
    Contributor,
    /// Storage Account Contributor.
    StorageAccountContributor,
    /// DocumentDB Account Contributor.
    DocumentDbAccountContributor,
    /// User Access Administrator.
    UserAccessAdministrator,
    /// Azure Event Hubs Data Owner: sends, and much more.
    EventHubsDataOwner,
    /// Azure Service Bus Data Owner: sends, and much more.
    ServiceBusDataOwner,
    /// Storage Blob Data Owner: writes, and much more.
    BlobDataOwner,
}

impl BroadRole {
    const TABLE: [(BroadRole, &'static str, &'static str); 8] = [
        (Self::Owner, "Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"),
        (Self::Contributor, "Contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c"),
        (
            Self::StorageAccountContributor,
            "Storage Account Contributor",
            "17d1049b-9a84-46fb-8f53-869881c3d3ab",
        ),
        (
            Self::DocumentDbAccountContributor,
            "DocumentDB Account Contributor",
            "5bd9cd88-fe45-4216-938b-f97437e15450",
        ),
        (Self::UserAccessAdministrator, "User Access Administrator", "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"),
        (Self::EventHubsDataOwner, "Azure Event Hubs Data Owner", "f526a384-b230-433a-b45c-95f59c4a2dec"),
        (Self::ServiceBusDataOwner, "Azure Service Bus Data Owner", "090c5cfd-751d-490a-894a-3ce6f1109419"),
        (Self::BlobDataOwner, "Storage Blob Data Owner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
    ];

    /// The role of a definition id, if it is one of these.
    pub fn from_definition_id(id: &str) -> Option<Self> {
        let guid = id.rsplit('/').next()?;
        Self::TABLE.iter().find(|(_, _, known)| known.eq_ignore_ascii_case(guid)).map(|(role, ..)| *role)
    }

    /// The role's name as the portal shows it.
    pub fn display_name(self) -> &'static str {
        Self::TABLE.iter().find(|(role, ..)| *role == self).map_or("?", |(_, name, _)| name)
    }
}

impl fmt::Display for BroadRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.display_name())
    }
}
