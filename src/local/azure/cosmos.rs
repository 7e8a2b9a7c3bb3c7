//! Cosmos DB: how accounts, databases and containers look, their keys, and their own role definitions.
//!
//! <https://learn.microsoft.com/rest/api/cosmos-db-resource-provider/database-accounts>,
//! <https://learn.microsoft.com/azure/cosmos-db/nosql/reference-data-plane-security>

use serde_json::{Value, json};

use super::{
    Azure,
    answer::{Answer, Reply},
    call::Call,
    random::Random,
    resources::{no_route, not_there},
    state::State,
};
use crate::model::ResourceId;

/// Cosmos DB Built-in Data Reader.
const READER: &str = "00000000-0000-0000-0000-000000000001";
/// Cosmos DB Built-in Data Contributor: what a hub's identity needs.
pub(super) const CONTRIBUTOR: &str = "00000000-0000-0000-0000-000000000002";

/// Type and body of an account, a database or a container; `None` for any other type.
pub(super) fn shape(kind: &str, id: &ResourceId, location: &str) -> Option<(&'static str, Value)> {
    let name = id.name();
    match kind {
        "microsoft.documentdb/databaseaccounts" => {
            Some(("Microsoft.DocumentDB/databaseAccounts", account(name, location)))
        }
        "microsoft.documentdb/databaseaccounts/sqldatabases" => Some((
            "Microsoft.DocumentDB/databaseAccounts/sqlDatabases",
            json!({"properties": {"resource": {"id": name, "_colls": "colls/", "_users": "users/"}}}),
        )),
        "microsoft.documentdb/databaseaccounts/sqldatabases/containers" => Some((
            "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers",
            json!({"properties": {"resource": {
                "id": name,
                "indexingPolicy": {"indexingMode": "consistent", "automatic": true},
                "partitionKey": {"paths": ["/id"], "kind": "Hash"},
            }}}),
        )),
        _ => None,
    }
}

fn account(name: &str, location: &str) -> Value {
    let endpoint = format!("https://{name}.documents.azure.com:443/");
    let place = json!([{
        "id": format!("{name}-{location}"), "locationName": location, "documentEndpoint": endpoint,
        "provisioningState": "Succeeded", "failoverPriority": 0, "isZoneRedundant": false,
    }]);
    json!({
        "location": location,
        "tags": {},
        "kind": "GlobalDocumentDB",
        "properties": {
            "provisioningState": "Succeeded",
            "documentEndpoint": endpoint,
            "publicNetworkAccess": "Enabled",
            "enableAutomaticFailover": false,
            "enableMultipleWriteLocations": false,
            "isVirtualNetworkFilterEnabled": false,
            "virtualNetworkRules": [],
            "ipRules": [],
            "networkAclBypass": "None",
            "networkAclBypassResourceIds": [],
            "disableLocalAuth": false,
            "disableKeyBasedMetadataWriteAccess": false,
            "databaseAccountOfferType": "Standard",
            "consistencyPolicy": {
                "defaultConsistencyLevel": "Session", "maxIntervalInSeconds": 5, "maxStalenessPrefix": 100,
            },
            "writeLocations": place,
            "readLocations": place,
            "locations": place,
            "capabilities": [],
        },
    })
}

/// `[primary, secondary, primary read-only, secondary read-only]` of an account, by its lower-cased id.
pub(super) fn account_keys(seed: u64, account: &str) -> [String; 4] {
    ["primary", "secondary", "primaryReadonly", "secondaryReadonly"]
        .map(|which| Random::of(seed, &format!("{account}#{which}")).long_key())
}

/// An error as the provider itself writes it: without ARM's envelope.
pub(super) fn refuse(status: u16, code: &str, message: impl Into<String>) -> Reply {
    Reply::json(status, json!({"code": code, "message": message.into()}))
}

/// The lower-cased GUID of a role definition of this account, if it names one that is known.
pub(super) fn role_of(account: &ResourceId, definition: &str) -> Option<String> {
    let definition = definition.to_ascii_lowercase();
    let guid = definition.strip_prefix(&format!("{}/sqlroledefinitions/", account.key()))?;
    [READER, CONTRIBUTOR].contains(&guid).then(|| guid.to_owned())
}

fn definition(account: &ResourceId, guid: &str) -> Option<Value> {
    let (name, actions): (_, &[&str]) = match guid {
        READER => (
            "Cosmos DB Built-in Data Reader",
            &[
                "Microsoft.DocumentDB/databaseAccounts/readMetadata",
                "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/read",
                "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/executeQuery",
                "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/readChangeFeed",
            ],
        ),
        CONTRIBUTOR => (
            "Cosmos DB Built-in Data Contributor",
            &[
                "Microsoft.DocumentDB/databaseAccounts/readMetadata",
                "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/*",
                "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/*",
            ],
        ),
        _ => return None,
    };
    Some(json!({
        "id": format!("{}/sqlRoleDefinitions/{guid}", account.as_str()),
        "name": guid,
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "assignableScopes": [account.as_str()],
            "permissions": [{"dataActions": actions, "notDataActions": []}],
        },
        "type": "Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions",
    }))
}

impl State {
    /// The account of a call, which must be there.
    fn account(&self, parts: &[&str]) -> Result<ResourceId, Reply> {
        let text = format!("/{}", parts.join("/"));
        let id = ResourceId::parse(&text)
            .map_err(|_| refuse(400, "BadRequest", format!("'{text}' is not the id of an account.")))?;
        if self.targets.contains_key(id.key()) { Ok(id) } else { Err(not_there(&id)) }
    }
}

impl Azure {
    /// Calls to `Microsoft.DocumentDB`.
    pub(super) fn documents(&self, call: &Call) -> Answer {
        let parts = call.segments();
        let lower: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        let words: Vec<&str> = lower.iter().map(String::as_str).collect();
        if let ["subscriptions", _, "providers", _, "locations", _, "operationsstatus", id] = words.as_slice()
        {
            return self.lock().cosmos_status(call, id, &self.scaled());
        }
        let Some(at) = words.iter().position(|word| *word == "databaseaccounts").map(|at| at + 2) else {
            return self.resource(call);
        };
        let below = words.get(at..).unwrap_or_default();
        if !matches!(below.first(), Some(&("listkeys" | "sqlroledefinitions" | "sqlroleassignments"))) {
            // Below an account that is there, the provider itself says what is not.
            if call.method == "GET" && below.len() > 1 && below.len() % 2 == 0 {
                let (state, whole) = (self.lock(), call.path.to_ascii_lowercase());
                if state.account(&parts[..at]).is_ok() && !state.targets.contains_key(&whole) {
                    let message = "Message: {\"Errors\":[\"Resource Not Found.\"]}";
                    return Err(refuse(404, "NotFound", message));
                }
            }
            return self.resource(call);
        }
        let mut state = self.lock();
        state.check_scope(&call.path)?;
        let account = state.account(&parts[..at])?;
        match (call.method.as_str(), below) {
            ("POST", ["listkeys"]) => {
                let [primary, secondary, primary_read, secondary_read] =
                    account_keys(state.seed, account.key());
                Ok(Reply::json(
                    200,
                    json!({
                        "primaryMasterKey": primary, "secondaryMasterKey": secondary,
                        "primaryReadonlyMasterKey": primary_read,
                        "secondaryReadonlyMasterKey": secondary_read,
                    }),
                ))
            }
            ("GET", ["sqlroledefinitions"]) => {
                let all: Vec<Value> =
                    [READER, CONTRIBUTOR].iter().filter_map(|guid| definition(&account, guid)).collect();
                Ok(Reply::json(200, json!({"value": all})))
            }
            ("GET", ["sqlroledefinitions", guid]) => {
                let found = definition(&account, guid);
                let missing = || {
                    refuse(404, "NotFound", format!("The Role Definition with Id [{guid}] does not exist."))
                };
                Ok(Reply::json(200, found.ok_or_else(missing)?))
            }
            (_, ["sqlroleassignments", rest @ ..]) => {
                // Names come back as they were sent.
                let name = parts.get(at + 1).copied().filter(|_| !rest.is_empty());
                self.cosmos_assignment(&mut state, call, &account, name, rest.get(1..).unwrap_or_default())
            }
            _ => Err(no_route(call)),
        }
    }
}
