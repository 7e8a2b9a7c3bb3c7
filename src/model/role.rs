//! The roles Hubward grants, each the least that does its job.
//!
//! Nobody writes a role by hand: the kind of a target implies its role, see
//! [`Target::role`](super::desired::Target::role).

use std::fmt;

use serde::Serialize;

/// A built-in role that may be granted to a hub's identity. There is no other.
///
/// Ids: <https://learn.microsoft.com/azure/role-based-access-control/built-in-roles>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Azure Event Hubs Data Sender: send to one event hub.
    EventHubsDataSender,
}

impl Role {
    /// All roles, for guardrails and infrastructure checks.
    pub const ALL: [Role; 1] = [Role::EventHubsDataSender];

    /// The role's name as the portal shows it.
    pub fn display_name(self) -> &'static str {
        match self {
            Role::EventHubsDataSender => "Azure Event Hubs Data Sender",
        }
    }

    /// The GUID of the role definition, the same in every tenant and cloud.
    pub fn guid(self) -> &'static str {
        match self {
            Role::EventHubsDataSender => "2b629674-e913-4c01-ae53-ef4638d8f975",
        }
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
