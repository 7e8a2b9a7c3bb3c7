//! What hubs send to: whether it is there, at which address, who may reach it, and its keys.
//!
//! Addresses come from ARM and are never built. What is found is good for ten minutes, so that a
//! fleet that shares its targets reads each of them once; what is not found is asked again.

use serde_json::{Value, json};

use super::{
    error::{ArmError, Reaction},
    resources::{ArmReader, ArmWriter, COSMOS_DB, EVENT_HUBS, MANAGED_IDENTITY, SERVICE_BUS, STORAGE, text},
};
use crate::model::{
    ResourceId,
    desired::Target,
    hub::{KeyNeed, storage_connection},
    observed::{Network, ObservedTarget, TargetFacts},
};

/// What all targets in one namespace or account have in common.
#[derive(Debug, Clone)]
pub(super) struct ServiceFacts {
    endpoint_uri: String,
    network: Network,
    takes_keys: bool,
}

impl ArmReader {
    /// Reads a target and the namespace or account that it belongs to.
    pub async fn target(&self, target: &Target) -> Result<ObservedTarget, ArmError> {
        let Some(service) = target.service() else {
            return Ok(ObservedTarget::Unreadable(format!("{} has no namespace or account", target.id())));
        };
        let Some(facts) = self.service(target, &service).await? else {
            return Ok(ObservedTarget::Missing(service));
        };
        let Some(entity) = self.entity(target).await? else {
            return Ok(ObservedTarget::Missing(target.id().clone()));
        };
        let ServiceFacts { endpoint_uri, network, takes_keys } = facts;
        Ok(ObservedTarget::Found(TargetFacts { endpoint_uri, entity, network, takes_keys }))
    }

    /// Read this target anew next time: the hub has just refused it.
    pub fn forget_target(&self, target: &Target) {
        self.client.entities().forget(target.id().key());
        if let Some(service) = target.service() {
            self.client.services().forget(service.key());
        }
    }

    /// The target's name as ARM spells it, if it is there.
    async fn entity(&self, target: &Target) -> Result<Option<String>, ArmError> {
        let id = target.id();
        let (label, version) = match target {
            Target::EventHub(_) => ("GET event hub", EVENT_HUBS),
            Target::ServiceBusQueue(_) => ("GET queue", SERVICE_BUS),
            Target::ServiceBusTopic(_) => ("GET topic", SERVICE_BUS),
            Target::StorageContainer(_) => ("GET container", STORAGE),
            Target::CosmosDbContainer(_) => ("GET Cosmos DB container", COSMOS_DB),
        };
        let read = async {
            let json = self.find(label, id.as_str(), version).await?;
            Ok(json.map(|json| text(&json, "/name").unwrap_or(id.name()).to_owned()))
        };
        self.client.entities().or_read(id.key(), read).await
    }

    async fn service(&self, target: &Target, id: &ResourceId) -> Result<Option<ServiceFacts>, ArmError> {
        self.client.services().or_read(id.key(), self.read_service(target, id)).await
    }

    async fn read_service(&self, target: &Target, id: &ResourceId) -> Result<Option<ServiceFacts>, ArmError> {
        let (label, version) = match target {
            Target::EventHub(_) => ("GET namespace", EVENT_HUBS),
            Target::ServiceBusQueue(_) | Target::ServiceBusTopic(_) => ("GET namespace", SERVICE_BUS),
            Target::StorageContainer(_) => ("GET storage account", STORAGE),
            Target::CosmosDbContainer(_) => ("GET Cosmos DB account", COSMOS_DB),
        };
        let Some(json) = self.find(label, id.as_str(), version).await? else { return Ok(None) };
        let facts = match target {
            Target::EventHub(_) | Target::ServiceBusQueue(_) | Target::ServiceBusTopic(_) => {
                let rules = self.network_rules(id, version, &json).await?;
                namespace(&json, rules.as_ref())
            }
            Target::StorageContainer(_) => storage_account(&json),
            Target::CosmosDbContainer(_) => cosmos_account(&json),
        };
        let facts = facts.ok_or_else(|| ArmError::Unreadable {
            call: label.into(),
            cause: format!("{} shows no address", id.name()),
        })?;
        Ok(Some(facts))
    }

    /// The firewall of a namespace, which stands beside it. The Basic tier has none. `None` if we may
    /// not read it.
    async fn network_rules(
        &self,
        namespace: &ResourceId,
        version: &str,
        json: &Value,
    ) -> Result<Option<Value>, ArmError> {
        if text(json, "/sku/name").is_some_and(|sku| sku.eq_ignore_ascii_case("Basic")) {
            return Ok(Some(Value::Null));
        }
        let path = format!("{namespace}/networkRuleSets/default");
        match self.get("GET network rules", &path, version).await {
            Ok(rules) => Ok(Some(rules)),
            Err(error) if error.reaction() == Reaction::Fail => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The principal of a user-assigned identity; `None` if there is no such identity.
    pub async fn user_identity(&self, id: &ResourceId) -> Result<Option<String>, ArmError> {
        let read = async {
            let json = self.find("GET identity", id.as_str(), MANAGED_IDENTITY).await?;
            Ok(json.and_then(|json| text(&json, "/properties/principalId").map(str::to_owned)))
        };
        self.client.identities().or_read(id.key(), read).await
    }
}

impl ArmWriter {
    /// Fetches a target's key and makes of it the members that an endpoint needs, such as
    /// `connectionString`. The caller writes them at once and keeps nothing.
    pub async fn target_key(&self, need: &KeyNeed) -> Result<Vec<(&'static str, String)>, ArmError> {
        const LABEL: &str = "POST list keys";
        let service = need.target.service().unwrap_or_else(|| need.target.id().clone());
        let unreadable =
            |what: &str| ArmError::Unreadable { call: LABEL.into(), cause: format!("it shows no {what}") };
        match &need.target {
            Target::EventHub(id) | Target::ServiceBusQueue(id) | Target::ServiceBusTopic(id) => {
                let version =
                    if matches!(need.target, Target::EventHub(_)) { EVENT_HUBS } else { SERVICE_BUS };
                let rule = need.rule.as_deref().unwrap_or("RootManageSharedAccessKey");
                let path = |at: &ResourceId| format!("{at}/authorizationRules/{rule}/listKeys");
                let keys = match self.list_keys(LABEL, &path(id), version).await {
                    // Rules of the namespace are good for everything in it.
                    Err(error) if error.is_not_found() => {
                        self.list_keys(LABEL, &path(&service), version).await?
                    }
                    other => other?,
                };
                let found = text(&keys, "/primaryConnectionString")
                    .ok_or_else(|| unreadable("primaryConnectionString"))?;
                let whole = if found.contains("EntityPath=") {
                    found.to_owned()
                } else {
                    format!("{};EntityPath={}", found.trim_end_matches(';'), id.name())
                };
                Ok(vec![("connectionString", whole)])
            }
            Target::StorageContainer(_) => {
                let keys = self.list_keys(LABEL, &format!("{service}/listKeys"), STORAGE).await?;
                let key = text(&keys, "/keys/0/value").ok_or_else(|| unreadable("key"))?;
                let whole = storage_connection(&need.target, &need.endpoint_uri, Some(key));
                Ok(vec![("connectionString", whole)])
            }
            Target::CosmosDbContainer(_) => {
                let keys = self.list_keys(LABEL, &format!("{service}/listKeys"), COSMOS_DB).await?;
                let key = |name: &str| {
                    text(&keys, name).map(str::to_owned).ok_or_else(|| unreadable("master keys"))
                };
                Ok(vec![
                    ("primaryKey", key("/primaryMasterKey")?),
                    ("secondaryKey", key("/secondaryMasterKey")?),
                ])
            }
        }
    }

    async fn list_keys(&self, label: &'static str, path: &str, version: &str) -> Result<Value, ArmError> {
        self.reader().ask(label, path, version, &json!({})).await
    }
}

/// `sb://{host}` from `serviceBusEndpoint` (`https://{host}:443/`), and what the rules allow.
fn namespace(json: &Value, rules: Option<&Value>) -> Option<ServiceFacts> {
    let address = azure_core::http::Url::parse(text(json, "/properties/serviceBusEndpoint")?).ok()?;
    let is = |json: &Value, pointer: &str, words: &[&str]| {
        text(json, pointer).is_some_and(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    const OFF: [&str; 2] = ["Disabled", "SecuredByPerimeter"];
    let network = match rules {
        None => Network::Unknown,
        Some(rules) => {
            let closed = is(json, "/properties/publicNetworkAccess", &OFF)
                || is(rules, "/properties/publicNetworkAccess", &OFF)
                || is(rules, "/properties/defaultAction", &["Deny"]);
            let trusted =
                rules.pointer("/properties/trustedServiceAccessEnabled") == Some(&Value::Bool(true));
            network(closed, trusted)
        }
    };
    Some(ServiceFacts {
        endpoint_uri: format!("sb://{}", address.host_str()?),
        network,
        takes_keys: json.pointer("/properties/disableLocalAuth") != Some(&Value::Bool(true)),
    })
}

fn storage_account(json: &Value) -> Option<ServiceFacts> {
    let word = |pointer: &str| text(json, pointer).unwrap_or_default().to_ascii_lowercase();
    let closed = word("/properties/networkAcls/defaultAction") == "deny"
        || ["disabled", "securedbyperimeter"].contains(&word("/properties/publicNetworkAccess").as_str());
    // A list in one text, such as `Logging, AzureServices`.
    let trusted =
        word("/properties/networkAcls/bypass").split(',').any(|part| part.trim() == "azureservices");
    Some(ServiceFacts {
        endpoint_uri: text(json, "/properties/primaryEndpoints/blob")?.to_owned(),
        network: network(closed, trusted),
        // Absent means yes.
        takes_keys: json.pointer("/properties/allowSharedKeyAccess") != Some(&Value::Bool(false)),
    })
}

fn cosmos_account(json: &Value) -> Option<ServiceFacts> {
    let word = |pointer: &str| text(json, pointer).unwrap_or_default().to_ascii_lowercase();
    let rules = json.pointer("/properties/ipRules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    // This one address stands for everything within Azure.
    let all_of_azure =
        rules.iter().any(|rule| text(rule, "/ipAddressOrRange").is_some_and(|ip| ip == "0.0.0.0"));
    let filtered = json.pointer("/properties/isVirtualNetworkFilterEnabled") == Some(&Value::Bool(true))
        || !rules.is_empty();
    let closed = (filtered && !all_of_azure)
        || ["disabled", "securedbyperimeter"].contains(&word("/properties/publicNetworkAccess").as_str());
    Some(ServiceFacts {
        endpoint_uri: text(json, "/properties/documentEndpoint")?.to_owned(),
        network: network(closed, word("/properties/networkAclBypass") == "azureservices"),
        takes_keys: json.pointer("/properties/disableLocalAuth") != Some(&Value::Bool(true)),
    })
}

fn network(closed: bool, trusted: bool) -> Network {
    match (closed, trusted) {
        (false, _) => Network::Open,
        (true, true) => Network::TrustedServices,
        (true, false) => Network::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_namespace_lets_in() {
        let json = |public: &str, local: Value| {
            json!({"properties": {"serviceBusEndpoint": "https://ns1.servicebus.windows.net:443/",
                   "publicNetworkAccess": public, "disableLocalAuth": local}})
        };
        let open = json!({"properties": {"defaultAction": "Allow", "publicNetworkAccess": "Enabled"}});
        let deny = |trusted: bool| json!({"properties": {"defaultAction": "deny", "trustedServiceAccessEnabled": trusted}});
        let off = json!({"properties": {"defaultAction": "Allow", "publicNetworkAccess": "Disabled"}});
        for (public, rules, expected) in [
            ("Enabled", None, Network::Unknown),
            ("Enabled", Some(&Value::Null), Network::Open),
            ("Enabled", Some(&open), Network::Open),
            ("disabled", Some(&open), Network::Closed),
            ("SecuredByPerimeter", Some(&open), Network::Closed),
            ("Enabled", Some(&off), Network::Closed),
            ("Enabled", Some(&deny(false)), Network::Closed),
            ("Enabled", Some(&deny(true)), Network::TrustedServices),
        ] {
            let facts = namespace(&json(public, Value::Null), rules).unwrap();
            assert_eq!(facts.network, expected, "{public} {rules:?}");
            assert_eq!(facts.endpoint_uri, "sb://ns1.servicebus.windows.net");
        }
        for (local, takes_keys) in [(Value::Null, true), (json!(false), true), (json!(true), false)] {
            assert_eq!(namespace(&json("Enabled", local), None).unwrap().takes_keys, takes_keys);
        }
        assert!(namespace(&json!({"properties": {"serviceBusEndpoint": "nonsense"}}), None).is_none());
    }

    #[test]
    fn whom_a_storage_account_lets_in() {
        let facts = |acls: Value, public: &str, keys: Value| {
            let json = json!({"properties": {"primaryEndpoints": {"blob": "https://a.blob.core.windows.net/"},
                "networkAcls": acls, "publicNetworkAccess": public, "allowSharedKeyAccess": keys}});
            storage_account(&json).unwrap()
        };
        let acls = |action: &str, bypass: &str| json!({"defaultAction": action, "bypass": bypass});
        for (acls, public, expected) in [
            (Value::Null, "", Network::Open),
            (acls("Allow", "None"), "Enabled", Network::Open),
            (acls("Deny", "None"), "Enabled", Network::Closed),
            (acls("Deny", "Logging, Metrics"), "Enabled", Network::Closed),
            (acls("Deny", "Logging, AzureServices"), "Enabled", Network::TrustedServices),
            (acls("Allow", "None"), "Disabled", Network::Closed),
            (acls("Allow", "None"), "SecuredByPerimeter", Network::Closed),
        ] {
            assert_eq!(facts(acls.clone(), public, Value::Null).network, expected, "{acls} {public}");
        }
        for (keys, takes_keys) in [(Value::Null, true), (json!(true), true), (json!(false), false)] {
            assert_eq!(facts(Value::Null, "", keys).takes_keys, takes_keys);
        }
    }

    #[test]
    fn whom_a_cosmos_db_account_lets_in() {
        let facts = |more: Value| {
            let mut json = json!({"properties": {"documentEndpoint": "https://a.documents.azure.com:443/"}});
            for (name, value) in more.as_object().unwrap() {
                json["properties"][name] = value.clone();
            }
            cosmos_account(&json).unwrap()
        };
        let (mine, azure) = (json!({"ipAddressOrRange": "1.2.3.4"}), json!({"ipAddressOrRange": "0.0.0.0"}));
        for (more, expected) in [
            (json!({}), Network::Open),
            (json!({"ipRules": [], "isVirtualNetworkFilterEnabled": false}), Network::Open),
            (json!({"ipRules": [mine]}), Network::Closed),
            (json!({"ipRules": [mine], "networkAclBypass": "AzureServices"}), Network::TrustedServices),
            (json!({"ipRules": [mine, azure]}), Network::Open),
            (json!({"isVirtualNetworkFilterEnabled": true}), Network::Closed),
            (json!({"isVirtualNetworkFilterEnabled": true, "ipRules": [azure]}), Network::Open),
            (json!({"publicNetworkAccess": "Disabled"}), Network::Closed),
            (json!({"publicNetworkAccess": "Disabled", "ipRules": [azure]}), Network::Closed),
        ] {
            assert_eq!(facts(more.clone()).network, expected, "{more}");
        }
        assert!(facts(json!({})).takes_keys);
        assert!(!facts(json!({"disableLocalAuth": true})).takes_keys);
    }
}
