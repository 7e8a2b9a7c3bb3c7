//! Whom a target lets in from the network: the network rule sets of namespaces, the switches of
//! storage and Cosmos DB accounts, and what follows from them for a hub.
//!
//! A hub comes from outside, as one of Azure's trusted services. A target whose door is shut may still
//! let these in, but only with the hub's own (system-assigned) identity.
//! <https://learn.microsoft.com/azure/iot-hub/virtual-network-support#egress-connectivity-from-iot-hub-to-other-azure-resources>,
//! <https://learn.microsoft.com/rest/api/eventhub/network-rule-sets>

use serde_json::{Value, json};

use super::{
    Azure,
    answer::{Answer, Reply},
    call::Call,
    resources::{no_route, not_there},
    state::State,
};
use crate::model::ResourceId;

/// Who gets through to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody.
    Open,
    /// Trusted services, with an identity of their own.
    Trusted,
    /// Nobody from outside.
    Closed,
}

/// Whether a target of this lower-cased id has a network rule set: namespaces have.
pub(super) fn has_rule_set(id: &str) -> bool {
    (id.contains("/microsoft.eventhub/") || id.contains("/microsoft.servicebus/"))
        && id.rsplit('/').nth(1) == Some("namespaces")
}

/// The rule set of a namespace that nobody touched.
pub(super) fn open() -> Value {
    json!({
        "publicNetworkAccess": "Enabled",
        "defaultAction": "Allow",
        "virtualNetworkRules": [],
        "ipRules": [],
        "trustedServiceAccessEnabled": false,
    })
}

fn says(value: &Value, text: &str) -> bool {
    value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(text))
}

/// Whether a switch of public access is off. Left out, it is on.
fn is_off(value: &Value) -> bool {
    value.as_str().is_some_and(|value| !value.eq_ignore_ascii_case("Enabled"))
}

impl State {
    /// Who gets through to a target, by its lower-cased id or that of anything in it.
    pub(super) fn reach(&self, id: &str) -> Reach {
        let holder = self.targets.keys().filter(|key| super::state::is_within(id, key));
        let Some(key) = holder.min_by_key(|key| key.len()) else { return Reach::Open };
        let properties = &self.targets[key]["properties"];
        let off = is_off(&properties["publicNetworkAccess"]);
        let (shut, bypass) = if let Some(rules) = self.rule_sets.get(key) {
            let shut = off || is_off(&rules["publicNetworkAccess"]) || says(&rules["defaultAction"], "Deny");
            (shut, rules["trustedServiceAccessEnabled"] == true)
        } else if key.contains("/microsoft.documentdb/") {
            let filtered = properties["isVirtualNetworkFilterEnabled"] == true
                || properties["ipRules"].as_array().is_some_and(|rules| !rules.is_empty());
            (off || filtered, says(&properties["networkAclBypass"], "AzureServices"))
        } else {
            let lists = &properties["networkAcls"];
            let bypass = lists["bypass"].as_str().unwrap_or_default();
            let bypass = bypass.split(',').any(|word| word.trim().eq_ignore_ascii_case("AzureServices"));
            (off || says(&lists["defaultAction"], "Deny"), bypass)
        };
        match (shut, bypass) {
            (false, _) => Reach::Open,
            (true, true) => Reach::Trusted,
            (true, false) => Reach::Closed,
        }
    }

    fn rule_set_view(&self, id: &ResourceId) -> Value {
        let provider = if id.key().contains("/microsoft.eventhub/") { "EventHub" } else { "ServiceBus" };
        json!({
            "id": format!("{}/networkRuleSets/default", id.as_str()),
            "name": "default",
            "type": format!("Microsoft.{provider}/Namespaces/NetworkRuleSets"),
            "location": self.targets.get(id.key()).map(|target| target["location"].clone()),
            "properties": self.rule_sets.get(id.key()),
        })
    }
}

impl Azure {
    /// Calls about a namespace's network rule set; `None` for others. The word is spelled
    /// `networkRuleSets` by some clients and `networkrulesets` by others.
    pub(super) fn network(&self, call: &Call) -> Option<Answer> {
        let parts = call.segments();
        let at = parts.iter().position(|part| part.eq_ignore_ascii_case("networkRuleSets"))?;
        Some(self.rule_set(call, &format!("/{}", parts[..at].join("/")), &parts[at + 1..]))
    }

    fn rule_set(&self, call: &Call, namespace: &str, rest: &[&str]) -> Answer {
        let mut state = self.lock();
        state.check_scope(&call.path)?;
        let id = ResourceId::parse(namespace).map_err(|_| no_route(call))?;
        if !state.rule_sets.contains_key(id.key()) {
            return Err(not_there(&id));
        }
        let named = rest.first().is_some_and(|name| name.eq_ignore_ascii_case("default"));
        match (call.method.as_str(), rest.len()) {
            ("GET", 0) => Ok(Reply::json(200, json!({"value": [state.rule_set_view(&id)]}))),
            ("GET", 1) if named => Ok(Reply::json(200, state.rule_set_view(&id))),
            ("PUT", 1) if named => {
                let body = call.json()?;
                // A PUT replaces: what is left out falls to its default.
                let mut wanted = open();
                super::targets::merge(&mut wanted, body["properties"].clone());
                if !wanted.is_object() {
                    wanted = open();
                }
                state.change_target(id.key(), &Value::Null, &wanted);
                Ok(Reply::json(200, state.rule_set_view(&id)))
            }
            _ => Err(no_route(call)),
        }
    }
}
