//! The built-in roles that are known, and what they allow.
//!
//! <https://learn.microsoft.com/azure/role-based-access-control/built-in-roles>,
//! <https://learn.microsoft.com/rest/api/authorization/role-definitions>

use serde_json::{Value, json};

use super::{answer::Reply, call::Call};

/// A built-in role: name, GUID, and what it allows as far as anybody here asks.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) guid: &'static str,
    pub(super) actions: &'static [&'static str],
    pub(super) not_actions: &'static [&'static str],
    pub(super) data_actions: &'static [&'static str],
}

/// The roles that are known.
const ROLES: [Role; 11] = [
    Role {
        name: "Azure Event Hubs Data Sender",
        guid: EVENT_HUBS_DATA_SENDER,
        actions: &["Microsoft.EventHub/*/eventhubs/read"],
        not_actions: &[],
        data_actions: &["Microsoft.EventHub/*/send/action"],
    },
    Role {
        name: "Azure Service Bus Data Sender",
        guid: SERVICE_BUS_DATA_SENDER,
        actions: &["Microsoft.ServiceBus/*/queues/read", "Microsoft.ServiceBus/*/topics/read"],
        not_actions: &[],
        data_actions: &["Microsoft.ServiceBus/*/send/action"],
    },
    Role {
        name: "Storage Blob Data Contributor",
        guid: BLOB_DATA_CONTRIBUTOR,
        actions: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/write",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
        not_actions: &[],
        data_actions: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/move/action",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
        ],
    },
    Role {
        name: "Storage Blob Data Reader",
        guid: "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        actions: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        ],
        not_actions: &[],
        data_actions: &["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"],
    },
    Role {
        name: "IoT Hub Data Contributor",
        guid: "4fc6c259-987e-4a07-842e-c321cc9d413f",
        actions: &[],
        not_actions: &[],
        data_actions: &["Microsoft.Devices/IotHubs/*"],
    },
    Role {
        name: "Contributor",
        guid: "b24988ac-6180-42a0-ab88-20f7382dd24c",
        actions: &["*"],
        not_actions: &[
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
        ],
        data_actions: &[],
    },
    Role {
        name: "Owner",
        guid: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
        actions: &["*"],
        not_actions: &[],
        data_actions: &[],
    },
    Role {
        name: "User Access Administrator",
        guid: "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        actions: &["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
        not_actions: &[],
        data_actions: &[],
    },
    Role {
        name: "Reader",
        guid: "acdd72a7-3385-48ef-bd42-f606fba81ae7",
        actions: &["*/read"],
        not_actions: &[],
        data_actions: &[],
    },
    Role {
        name: "Role Based Access Control Administrator",
        guid: "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        actions: &[
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
        ],
        not_actions: &[],
        data_actions: &[],
    },
    Role {
        name: "Managed Identity Operator",
        guid: "f1a07417-d97a-45cb-824c-7a7467783830",
        actions: &[
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
            "Microsoft.Authorization/*/read",
        ],
        not_actions: &[],
        data_actions: &[],
    },
];

/// What a hub's identity needs on an event hub.
pub(super) const EVENT_HUBS_DATA_SENDER: &str = "2b629674-e913-4c01-ae53-ef4638d8f975";
/// What a hub's identity needs on a queue or topic.
pub(super) const SERVICE_BUS_DATA_SENDER: &str = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39";
/// What a hub's identity needs on a container.
pub(super) const BLOB_DATA_CONTRIBUTOR: &str = "ba92f5b4-2d11-453d-a403-e96b0029c9fe";

/// The role with this name or GUID.
pub(super) fn definition(name: &str) -> Option<&'static Role> {
    ROLES.iter().find(|role| role.name.eq_ignore_ascii_case(name) || role.guid.eq_ignore_ascii_case(name))
}

impl Role {
    pub(super) fn view(&self, subscription: &str) -> Value {
        let prefix =
            if subscription.is_empty() { String::new() } else { format!("/subscriptions/{subscription}") };
        json!({
            "properties": {
                "roleName": self.name,
                "type": "BuiltInRole",
                "description": self.name,
                "assignableScopes": ["/"],
                "permissions": [{
                    "actions": self.actions, "notActions": self.not_actions,
                    "dataActions": self.data_actions, "notDataActions": [],
                }],
                "createdOn": "2019-05-10T06:26:12.4567384Z",
                "updatedOn": "2021-11-11T20:13:54.9397456Z",
                "createdBy": null,
                "updatedBy": null,
            },
            "id": format!("{prefix}/providers/Microsoft.Authorization/roleDefinitions/{}", self.guid),
            "type": "Microsoft.Authorization/roleDefinitions",
            "name": self.guid,
        })
    }
}

pub(super) fn list(call: &Call, scope: &str) -> Reply {
    let filter = call.query.get("$filter").map(String::as_str).unwrap_or_default();
    let wanted =
        filter.to_ascii_lowercase().contains("rolename eq").then(|| filter.split('\'').nth(1)).flatten();
    let subscription = scope.split('/').nth(2).unwrap_or_default();
    let found: Vec<Value> = ROLES
        .iter()
        .filter(|role| wanted.is_none_or(|name| role.name.eq_ignore_ascii_case(name)))
        .map(|role| role.view(subscription))
        .collect();
    Reply::json(200, json!({"value": found}))
}
