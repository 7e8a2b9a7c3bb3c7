//! Keys of what hubs send to: shared access rules of namespaces, event hubs, queues and topics, and
//! the keys of storage accounts.
//!
//! <https://learn.microsoft.com/rest/api/eventhub/authorization-rules-event-hubs/list-keys>,
//! <https://learn.microsoft.com/rest/api/servicebus/queues-authorization-rules/list-keys>,
//! <https://learn.microsoft.com/rest/api/storagerp/storage-accounts/list-keys>
//!
//! A key depends on the seed and on whose key it is, so it is the same in every run.

use serde_json::{Value, json};

use super::{
    Azure,
    answer::{Answer, Reply},
    call::Call,
    random::Random,
    resources::{no_route, not_there, page},
    state::State,
};
use crate::model::ResourceId;

/// The rule that every namespace is made with.
pub(super) const ROOT: &str = "RootManageSharedAccessKey";

/// A shared access rule of a namespace or of something in it.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Id of what the rule is on, as it was written.
    target: String,
    name: String,
    rights: Vec<String>,
}

impl Rule {
    fn view(&self) -> Value {
        let provider = if self.target.to_ascii_lowercase().contains("/microsoft.eventhub/") {
            "EventHub"
        } else {
            "ServiceBus"
        };
        let kind = self.target.rsplit('/').nth(1).filter(|word| !word.eq_ignore_ascii_case("namespaces"));
        let kind = kind.map(|word| format!("/{word}")).unwrap_or_default();
        json!({
            "id": format!("{}/authorizationRules/{}", self.target, self.name),
            "name": self.name,
            "type": format!("Microsoft.{provider}/Namespaces{kind}/AuthorizationRules"),
            "properties": {"rights": self.rights},
        })
    }

    /// Whether whoever holds the rule's key may send.
    pub(super) fn sends(&self) -> bool {
        self.rights.iter().any(|right| right == "Send" || right == "Manage")
    }
}

/// `[primary, secondary]` of a rule, by its lower-cased id.
fn rule_keys(seed: u64, rule: &str) -> [String; 2] {
    ["primary", "secondary"].map(|which| Random::of(seed, &format!("{rule}#{which}")).key())
}

/// A storage account's two keys, by its lower-cased id.
pub(super) fn account_keys(seed: u64, account: &str) -> [String; 2] {
    ["key1", "key2"].map(|which| Random::of(seed, &format!("{account}#{which}")).long_key())
}

impl State {
    /// Adds or replaces a rule. Its keys stay what they are.
    pub(super) fn add_rule(&mut self, target: &str, name: &str, rights: &[&str]) {
        let rule = Rule {
            target: target.to_owned(),
            name: name.to_owned(),
            rights: rights.iter().map(|right| (*right).to_owned()).collect(),
        };
        self.rules.insert(rule_id(target, name), rule);
    }

    /// The rule of this name on an entity or on the namespace above it, with its keys.
    pub(super) fn rule_for(&self, namespace: &str, entity: &str, name: &str) -> Option<(&Rule, [String; 2])> {
        [entity, namespace].iter().find_map(|target| {
            let id = rule_id(target, name);
            self.rules.get(&id).map(|rule| (rule, rule_keys(self.seed, &id)))
        })
    }

    /// Every key of every target.
    pub(super) fn target_secrets(&self) -> Vec<String> {
        let mut all: Vec<String> = self.rules.keys().flat_map(|rule| rule_keys(self.seed, rule)).collect();
        for id in self.targets.keys() {
            if is_type(id, "microsoft.storage/storageaccounts") {
                all.extend(account_keys(self.seed, id));
            } else if is_type(id, "microsoft.documentdb/databaseaccounts") {
                all.extend(super::cosmos::account_keys(self.seed, id));
            }
        }
        all
    }

    /// Host and entity path of what a rule is on.
    fn address(&self, target: &str) -> Option<(String, Option<String>)> {
        let (namespace, entity) = match target.to_ascii_lowercase().rsplit_once("/namespaces/") {
            Some((_, rest)) if rest.contains('/') => {
                let entity = target.rsplit('/').next().unwrap_or_default().to_owned();
                (target.rsplitn(3, '/').nth(2)?.to_owned(), Some(entity))
            }
            _ => (target.to_owned(), None),
        };
        let shown = self.targets.get(&namespace.to_ascii_lowercase())?;
        let host = shown["properties"]["serviceBusEndpoint"].as_str()?;
        let host = host.trim_start_matches("https://").trim_end_matches('/').trim_end_matches(":443");
        Some((host.to_owned(), entity))
    }

    /// The answer to `listKeys` of a rule.
    fn listed(&self, id: &str) -> Option<Value> {
        let rule = self.rules.get(id)?;
        let (host, entity) = self.address(&rule.target)?;
        let tail = entity.map(|entity| format!(";EntityPath={entity}")).unwrap_or_default();
        let [primary, secondary] = rule_keys(self.seed, id);
        let text = |key: &str| {
            format!("Endpoint=sb://{host}/;SharedAccessKeyName={};SharedAccessKey={key}{tail}", rule.name)
        };
        Some(json!({
            "primaryConnectionString": text(&primary),
            "secondaryConnectionString": text(&secondary),
            "primaryKey": primary,
            "secondaryKey": secondary,
            "keyName": rule.name,
        }))
    }
}

fn rule_id(target: &str, name: &str) -> String {
    format!("{target}/authorizationRules/{name}").to_ascii_lowercase()
}

fn is_type(id: &str, kind: &str) -> bool {
    ResourceId::parse(id).ok().and_then(|id| id.resource_type()).as_deref() == Some(kind)
}

/// The error of Event Hubs and Service Bus for a rule that is not there.
fn no_rule(name: &str) -> Reply {
    let message = format!("The requested resource 'authorizationRules/{name}' does not exist.");
    Reply::arm(404, "ResourceNotFound", message)
}

impl Azure {
    /// Calls below a namespace, an entity or a storage account that are about keys; `None` for others.
    pub(super) fn target_keys(&self, call: &Call) -> Option<Answer> {
        let parts = call.segments();
        let at = parts.iter().position(|part| part.eq_ignore_ascii_case("authorizationRules"));
        if let Some(at) = at {
            let target = format!("/{}", parts[..at].join("/"));
            return Some(self.rule(call, &target, &parts[at + 1..]));
        }
        let (last, account) = parts.split_last()?;
        let id = ResourceId::parse(&format!("/{}", account.join("/"))).ok()?;
        let is_account = id.resource_type().as_deref() == Some("microsoft.storage/storageaccounts");
        (is_account && last.eq_ignore_ascii_case("listKeys") && call.method == "POST").then(|| {
            let state = self.lock();
            state.check_scope(&call.path)?;
            if !state.targets.contains_key(id.key()) {
                return Err(not_there(&id));
            }
            let keys = account_keys(state.seed, id.key());
            let view =
                |(name, key): (&str, String)| json!({"keyName": name, "value": key, "permissions": "FULL"});
            let keys: Vec<Value> = ["key1", "key2"].into_iter().zip(keys).map(view).collect();
            Ok(Reply::json(200, json!({"keys": keys})))
        })
    }

    fn rule(&self, call: &Call, target: &str, rest: &[&str]) -> Answer {
        let mut state = self.lock();
        state.check_scope(&call.path)?;
        let id = ResourceId::parse(target).map_err(|_| no_route(call))?;
        if !state.targets.contains_key(id.key()) {
            return Err(not_there(&id));
        }
        let name = rest.first().copied().unwrap_or_default();
        let key = rule_id(target, name);
        let more = rest.get(1).map(|word| word.to_ascii_lowercase());
        match (call.method.as_str(), rest.len(), more.as_deref()) {
            ("GET", 0, _) => {
                let below = rule_id(target, "");
                let found = state.rules.iter().filter(|(id, _)| id.starts_with(&below));
                let found = found.map(|(_, rule)| rule.view()).collect();
                Ok(page(call, found, self.inner.settings.page_size))
            }
            ("GET", 1, _) => {
                Ok(Reply::json(200, state.rules.get(&key).map(Rule::view).ok_or_else(|| no_rule(name))?))
            }
            ("POST", 2, Some("listkeys")) => {
                Ok(Reply::json(200, state.listed(&key).ok_or_else(|| no_rule(name))?))
            }
            ("PUT", 1, _) => {
                let body = call.json()?;
                let rights = rights(&body["properties"]["rights"])?;
                let rights: Vec<&str> = rights.iter().map(String::as_str).collect();
                state.add_rule(id.as_str(), name, &rights);
                Ok(Reply::json(200, state.rules.get(&key).map(Rule::view).unwrap_or_default()))
            }
            ("DELETE", 1, _) => Ok(Reply::empty(if state.rules.remove(&key).is_some() { 200 } else { 204 })),
            _ => Err(no_route(call)),
        }
    }
}

/// Rights as sent: some of three, and whoever manages also listens and sends.
fn rights(sent: &Value) -> Result<Vec<String>, Reply> {
    let bad = |why: &str| Reply::arm(400, "BadRequest", format!("The rights are not valid: {why}."));
    let mut rights = Vec::new();
    for right in sent.as_array().into_iter().flatten() {
        let known = ["Listen", "Send", "Manage"].into_iter().find(|known| right == known);
        rights.push(known.ok_or_else(|| bad("only Listen, Send and Manage are known"))?.to_owned());
    }
    let has = |name: &str| rights.iter().any(|right| right == name);
    if rights.is_empty() {
        return Err(bad("there are none"));
    }
    if has("Manage") && !(has("Listen") && has("Send")) {
        return Err(bad("Manage needs Listen and Send"));
    }
    Ok(rights)
}
