//! The narrowest roles that give what is needed.
//!
//! Built-in roles: <https://learn.microsoft.com/azure/role-based-access-control/built-in-roles>. Where each
//! of them would give much more, a role of one's own has just the actions.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::role::Role;

/// What gives a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum GivenBy {
    /// A role that every tenant has.
    BuiltIn(BuiltIn),
    /// A role that has to be made.
    Custom(CustomRole),
}

/// A built-in role that is worth assigning to Hubward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuiltIn {
    /// Grants roles; only ever with a condition.
    RbacAdministrator,
    /// Attaches a user-assigned identity.
    ManagedIdentityOperator,
    /// A hub's own service API.
    IotHubDataContributor,
    /// Reads blobs.
    BlobDataReader,
    /// Reads, writes and deletes blobs.
    BlobDataContributor,
}

/// A role with nothing in it but what Hubward needs for one purpose, so that each can be assigned
/// where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CustomRole {
    /// On the hubs' subscriptions.
    Hubs,
    /// On the targets.
    Targets,
    /// On the targets' subscriptions. Apart from the others because its one action is in no published list:
    /// should Azure refuse the role, nothing else goes with it.
    Usage,
    /// On Cosmos DB accounts.
    CosmosGrants,
    /// On the targets, for those who want keys.
    Keys,
}

impl BuiltIn {
    /// The role's name as the portal shows it.
    pub fn name(self) -> &'static str {
        match self {
            BuiltIn::RbacAdministrator => "Role Based Access Control Administrator",
            BuiltIn::ManagedIdentityOperator => "Managed Identity Operator",
            BuiltIn::IotHubDataContributor => "IoT Hub Data Contributor",
            BuiltIn::BlobDataReader => "Storage Blob Data Reader",
            BuiltIn::BlobDataContributor => Role::BlobDataContributor.display_name(),
        }
    }

    /// The GUID of the role definition, the same in every tenant and cloud.
    pub fn guid(self) -> &'static str {
        match self {
            BuiltIn::RbacAdministrator => "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
            BuiltIn::ManagedIdentityOperator => "f1a07417-d97a-45cb-824c-7a7467783830",
            BuiltIn::IotHubDataContributor => "4fc6c259-987e-4a07-842e-c321cc9d413f",
            BuiltIn::BlobDataReader => "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
            BuiltIn::BlobDataContributor => Role::BlobDataContributor.guid(),
        }
    }

    /// The condition that it is to be assigned with.
    pub fn condition(self) -> Option<String> {
        (self == BuiltIn::RbacAdministrator).then(delegation_condition)
    }
}

impl CustomRole {
    /// Its name. Names of roles are unique in a tenant.
    pub fn name(self) -> &'static str {
        match self {
            CustomRole::Hubs => "Hubward Hubs",
            CustomRole::Targets => "Hubward Targets",
            CustomRole::Usage => "Hubward Role Assignment Usage",
            CustomRole::CosmosGrants => "Hubward Cosmos DB Grants",
            CustomRole::Keys => "Hubward Target Keys",
        }
    }

    /// What it is for, for whoever finds it in the portal.
    pub fn description(self) -> &'static str {
        match self {
            CustomRole::Hubs => "Hubward reads and writes IoT hubs",
            CustomRole::Targets => "Hubward reads what IoT hubs send to",
            CustomRole::Usage => "Hubward sees how much room there is for role assignments",
            CustomRole::CosmosGrants => "Hubward grants IoT hubs access to Cosmos DB",
            CustomRole::Keys => "Hubward fetches keys of what IoT hubs send to",
        }
    }
}

impl GivenBy {
    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            GivenBy::BuiltIn(role) => role.name(),
            GivenBy::Custom(role) => role.name(),
        }
    }
}

impl fmt::Display for GivenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for BuiltIn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for CustomRole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Lets its holder grant, and take back, the roles that Hubward grants, to identities of services, and
/// nothing else.
/// <https://learn.microsoft.com/azure/role-based-access-control/delegate-role-assignments-examples>
pub(super) fn delegation_condition() -> String {
    let guids: Vec<&str> =
        Role::ALL.iter().filter(|role| !role.is_of_cosmos_db()).map(|role| role.guid()).collect();
    let guids = guids.join(", ");
    let part = |action: &str, attribute: &str| {
        format!(
            "((!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{action}'}})) OR \
             (@{attribute}[Microsoft.Authorization/roleAssignments:RoleDefinitionId] \
             ForAnyOfAnyValues:GuidEquals {{{guids}}} AND \
             @{attribute}[Microsoft.Authorization/roleAssignments:PrincipalType] \
             ForAnyOfAnyValues:StringEqualsIgnoreCase {{'ServicePrincipal'}}))"
        )
    };
    format!("{} AND {}", part("write", "Request"), part("delete", "Resource"))
}
