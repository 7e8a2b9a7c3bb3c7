//! What exists before the first call: a JSON file, or [`World::sample`].
//!
//! ```json
//! {
//!   "tenant": "54826b22-38d6-4fb2-bad9-b7b93a3e9c5a",
//!   "subscriptions": [{"id": "0b1f6471-1bf0-4dda-aec3-cb9272f09590", "name": "Plant",
//!     "resourceGroups": [{"name": "rg-data", "location": "westus2"}]}],
//!   "eventHubNamespaces": [{"id": "/subscriptions/…/namespaces/ns1", "location": "westus2", "eventHubs": ["telemetry"]}],
//!   "iotHubs": [{"id": "/subscriptions/…/IotHubs/h1", "location": "westus2", "identity": {"type": "SystemAssigned"}}]
//! }
//! ```
//!
//! Groups that a resource id names need not be listed. What a partial hub document leaves out gets
//! the service's defaults.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::model::{IotHubId, ResourceId};

/// Everything that exists at the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct World {
    /// The directory's GUID.
    pub tenant: String,
    /// Subscriptions with their resource groups.
    pub subscriptions: Vec<Subscription>,
    /// User-assigned identities.
    pub user_assigned_identities: Vec<UserIdentity>,
    /// Event Hubs namespaces.
    pub event_hub_namespaces: Vec<EventHubNamespace>,
    /// Service Bus namespaces.
    pub service_bus_namespaces: Vec<ServiceBusNamespace>,
    /// Storage accounts.
    pub storage_accounts: Vec<StorageAccount>,
    /// Cosmos DB accounts.
    pub cosmos_accounts: Vec<CosmosAccount>,
    /// Shared access rules of namespaces, event hubs, queues and topics, besides the one that every
    /// namespace has.
    pub authorization_rules: Vec<AuthorizationRule>,
    /// Role assignments; old enough to be effective.
    pub role_assignments: Vec<Assignment>,
    /// IoT hubs: partial documents, each at least with `id`. `devices` is how many there are, or a list
    /// of them as an import has it.
    pub iot_hubs: Vec<Value>,
    /// Who may get tokens. The first is whoever asks without a client id.
    pub callers: Vec<CallerIdentity>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// Its GUID.
    pub id: String,
    /// Its display name.
    #[serde(default)]
    pub name: String,
    /// Its resource groups.
    #[serde(default)]
    pub resource_groups: Vec<ResourceGroup>,
}

/// A resource group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceGroup {
    /// Its name.
    pub name: String,
    /// Its region.
    #[serde(default = "westus2")]
    pub location: String,
}

/// A user-assigned identity. Ids that are left out are made up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserIdentity {
    /// Its resource id.
    pub id: String,
    /// Its region.
    #[serde(default = "westus2")]
    pub location: String,
    /// Its object id in the directory.
    pub principal_id: Option<String>,
    /// Its client id.
    pub client_id: Option<String>,
}

/// An Event Hubs namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventHubNamespace {
    /// Its resource id.
    pub id: String,
    /// Its region.
    #[serde(default = "westus2")]
    pub location: String,
    /// Names of its event hubs.
    #[serde(default)]
    pub event_hubs: Vec<String>,
    /// What differs from the usual properties, such as `disableLocalAuth`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub properties: Value,
    /// What differs from an open network rule set, such as `defaultAction`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub network_rule_set: Value,
}

/// A Service Bus namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceBusNamespace {
    /// Its resource id.
    pub id: String,
    /// Its region.
    #[serde(default = "westus2")]
    pub location: String,
    /// Names of its queues.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Names of its topics.
    #[serde(default)]
    pub topics: Vec<String>,
    /// What differs from the usual properties, such as `disableLocalAuth`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub properties: Value,
    /// What differs from an open network rule set, such as `defaultAction`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub network_rule_set: Value,
}

/// A storage account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageAccount {
    /// Its resource id.
    pub id: String,
    /// Its region.
    #[serde(default = "westus2")]
    pub location: String,
    /// Names of its blob containers.
    #[serde(default)]
    pub containers: Vec<String>,
    /// What differs from the usual properties, such as `disableLocalAuth`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub properties: Value,
}

/// A Cosmos DB account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CosmosAccount {
    /// Its resource id.
    pub id: String,
    /// Its region.
    #[serde(default = "westus2")]
    pub location: String,
    /// Its databases.
    #[serde(default)]
    pub databases: Vec<CosmosDatabase>,
    /// What differs from the usual properties, such as `disableLocalAuth`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub properties: Value,
}

/// A database of a Cosmos DB account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CosmosDatabase {
    /// Its name.
    pub name: String,
    /// Names of its containers.
    #[serde(default)]
    pub containers: Vec<String>,
}

/// A shared access rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationRule {
    /// `{namespace or entity}/authorizationRules/{name}`.
    pub id: String,
    /// Some of `Listen`, `Send` and `Manage`.
    pub rights: Vec<String>,
}

/// A role assignment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// Resource id of the scope.
    pub scope: String,
    /// The role's name or GUID.
    pub role: String,
    /// Whom it is given to.
    pub principal_id: String,
    /// The assignment's own GUID; made up when left out.
    pub name: Option<String>,
    /// Its condition. Shown, and never looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// An identity that may get tokens and call ARM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerIdentity {
    /// A name for logs.
    pub name: String,
    /// Its client id (`appid`).
    pub client_id: String,
    /// Its object id (`oid`).
    pub object_id: String,
    /// What it may do, besides what role assignments let it do. Left out: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<CallerPermission>>,
}

/// What a caller may do somewhere, as a role of its own would let it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CallerPermission {
    /// The id of the scope that it is good for; left out: everywhere.
    pub scope: String,
    /// Patterns of actions.
    pub actions: Vec<String>,
    /// Patterns of what is taken out of them.
    pub not_actions: Vec<String>,
    /// The same for the data planes, which only show them.
    pub data_actions: Vec<String>,
    /// The same for the data planes, which only show them.
    pub not_data_actions: Vec<String>,
}

pub(super) fn westus2() -> String {
    "westus2".to_owned()
}

/// What is wrong with a world file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("world file, {field}: {problem}")]
pub struct WorldError {
    /// The field, such as `eventHubNamespaces[0].id`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl World {
    /// Reads a world file.
    ///
    /// # Errors
    ///
    /// The first field that is missing, unknown or wrong, by name.
    pub fn parse(text: &str) -> Result<Self, WorldError> {
        let file: Value = serde_json::from_str(text).map_err(|err| problem("the file", err))?;
        let Value::Object(members) = file else {
            return Err(problem("the file", "must be a JSON object"));
        };
        let mut world = World { tenant: World::sample().tenant, ..World::default() };
        for (name, value) in members {
            match name.as_str() {
                "tenant" => world.tenant = one(&name, value)?,
                "subscriptions" => world.subscriptions = list(&name, value)?,
                "userAssignedIdentities" => world.user_assigned_identities = list(&name, value)?,
                "eventHubNamespaces" => world.event_hub_namespaces = list(&name, value)?,
                "serviceBusNamespaces" => world.service_bus_namespaces = list(&name, value)?,
                "storageAccounts" => world.storage_accounts = list(&name, value)?,
                "cosmosAccounts" => world.cosmos_accounts = list(&name, value)?,
                "authorizationRules" => world.authorization_rules = list(&name, value)?,
                "roleAssignments" => world.role_assignments = list(&name, value)?,
                "iotHubs" => world.iot_hubs = list(&name, value)?,
                "callers" => world.callers = list(&name, value)?,
                _ => return Err(problem(&name, "is not a known field")),
            }
        }
        if world.callers.is_empty() {
            world.callers = World::sample().callers;
        }
        world.check()?;
        Ok(world)
    }

    fn check(&self) -> Result<(), WorldError> {
        guid("tenant", &self.tenant)?;
        for (at, sub) in self.subscriptions.iter().enumerate() {
            guid(&format!("subscriptions[{at}].id"), &sub.id)?;
        }
        let typed = [
            ids(
                "userAssignedIdentities",
                "microsoft.managedidentity/userassignedidentities",
                self.user_assigned_identities.iter().map(|i| &i.id),
            ),
            ids(
                "eventHubNamespaces",
                "microsoft.eventhub/namespaces",
                self.event_hub_namespaces.iter().map(|n| &n.id),
            ),
            ids(
                "serviceBusNamespaces",
                "microsoft.servicebus/namespaces",
                self.service_bus_namespaces.iter().map(|n| &n.id),
            ),
            ids(
                "storageAccounts",
                "microsoft.storage/storageaccounts",
                self.storage_accounts.iter().map(|a| &a.id),
            ),
            ids(
                "cosmosAccounts",
                "microsoft.documentdb/databaseaccounts",
                self.cosmos_accounts.iter().map(|a| &a.id),
            ),
        ];
        for (field, kind, id) in typed.into_iter().flatten() {
            let parsed = ResourceId::parse(&id).map_err(|err| problem(&field, err))?;
            if parsed.resource_type().as_deref() != Some(kind) || parsed.resource_group().is_none() {
                return Err(problem(&field, format!("must be the id of a {kind}")));
            }
        }
        for (at, identity) in self.user_assigned_identities.iter().enumerate() {
            for (name, value) in [("principalId", &identity.principal_id), ("clientId", &identity.client_id)]
            {
                if let Some(value) = value {
                    guid(&format!("userAssignedIdentities[{at}].{name}"), value)?;
                }
            }
        }
        for (at, rule) in self.authorization_rules.iter().enumerate() {
            let field = format!("authorizationRules[{at}].id");
            let id = ResourceId::parse(&rule.id).map_err(|err| problem(&field, err))?;
            if !id.resource_type().unwrap_or_default().ends_with("/authorizationrules") {
                return Err(problem(&field, "must end in /authorizationRules/{name}"));
            }
        }
        for (at, grant) in self.role_assignments.iter().enumerate() {
            guid(&format!("roleAssignments[{at}].principalId"), &grant.principal_id)?;
            let field = format!("roleAssignments[{at}].scope");
            ResourceId::parse(&grant.scope).map_err(|err| problem(&field, err))?;
            if super::role_definitions::definition(&grant.role).is_none() {
                return Err(problem(
                    &format!("roleAssignments[{at}].role"),
                    "is not a role that is known here",
                ));
            }
        }
        for (at, hub) in self.iot_hubs.iter().enumerate() {
            let field = format!("iotHubs[{at}].id");
            let id = hub.get("id").and_then(Value::as_str).ok_or_else(|| problem(&field, "is missing"))?;
            IotHubId::parse(id).map_err(|err| problem(&field, err))?;
            let devices = hub.get("devices").unwrap_or(&Value::Null);
            super::registry::check_devices(devices)
                .map_err(|err| problem(&format!("iotHubs[{at}].devices"), err))?;
        }
        for (at, caller) in self.callers.iter().enumerate() {
            guid(&format!("callers[{at}].clientId"), &caller.client_id)?;
            guid(&format!("callers[{at}].objectId"), &caller.object_id)?;
            for (nth, permission) in caller.permissions.iter().flatten().enumerate() {
                let field = format!("callers[{at}].permissions[{nth}].scope");
                if !permission.scope.is_empty() {
                    ResourceId::parse(&permission.scope).map_err(|err| problem(&field, err))?;
                }
            }
        }
        Ok(())
    }
}

fn ids<'a>(
    list: &'static str,
    kind: &'static str,
    ids: impl Iterator<Item = &'a String>,
) -> Vec<(String, &'static str, String)> {
    ids.enumerate().map(|(at, id)| (format!("{list}[{at}].id"), kind, id.clone())).collect()
}

fn one<T: DeserializeOwned>(field: &str, value: Value) -> Result<T, WorldError> {
    serde_json::from_value(value).map_err(|err| problem(field, err))
}

/// One element at a time, so that a mistake can be told by its place.
fn list<T: DeserializeOwned>(field: &str, value: Value) -> Result<Vec<T>, WorldError> {
    let Value::Array(items) = value else { return Err(problem(field, "must be a list")) };
    items.into_iter().enumerate().map(|(at, item)| one(&format!("{field}[{at}]"), item)).collect()
}

fn guid(field: &str, text: &str) -> Result<(), WorldError> {
    if text.len() == 36 && uuid::Uuid::try_parse(text).is_ok() {
        return Ok(());
    }
    Err(problem(field, json!(text).to_string() + " is not a GUID"))
}

fn problem(field: &str, problem: impl ToString) -> WorldError {
    WorldError { field: field.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_world_reads_back() {
        for world in [World::sample(), World::reference()] {
            let text = serde_json::to_string(&world).unwrap();
            assert_eq!(World::parse(&text).unwrap(), world);
        }
    }

    #[test]
    fn mistakes_are_told_by_field() {
        for (text, field) in [
            (r#"{"hubs": []}"#, "hubs"),
            (r#"{"tenant": "x"}"#, "tenant"),
            (r#"{"subscriptions": [{"name": "a"}]}"#, "subscriptions[0]"),
            (r#"{"eventHubNamespaces": [{"id": "/x"}]}"#, "eventHubNamespaces[0].id"),
            (r#"{"iotHubs": [{}]}"#, "iotHubs[0].id"),
            (r#"{"callers": 3}"#, "callers"),
            (
                r#"{"callers": [{"name": "a", "clientId": "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01",
                    "objectId": "9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02", "permissions": [{"scope": "/x"}]}]}"#,
                "callers[0].permissions[0].scope",
            ),
            ("[]", "the file"),
        ] {
            assert_eq!(World::parse(text).unwrap_err().field, field, "{text}");
        }
    }
}
