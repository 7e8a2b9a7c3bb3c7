//! IoT hubs: what one is, and how a GET shows it.
//!
//! `document` completes documents, `secrets` masks them and puts keys back, `validate` refuses them for
//! what is in them, `access` for what they send to, `write` carries out PUT, PATCH and DELETE as
//! operations that take time, `routes` tests routes, `device` sends through them, `job_access` lets
//! exports and imports to their containers, `read` answers everything else.
//! <https://learn.microsoft.com/rest/api/iothub/iot-hub-resource>

mod access;
mod copies;
pub(super) mod device;
mod document;
pub(super) mod job_access;
mod key_access;
mod operation;
mod query;
mod query_eval;
mod read;
mod routes;
mod secrets;
mod target;
mod validate;
mod write;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

pub(super) use operation::Operation;
pub(super) use routes::Health;

use super::{answer::iso, random::Random, state::State};
use crate::model::IotHubId;

/// The newest stable version of the hub's interface.
pub(super) const NEWEST_VERSION: &str = "2023-06-30";

/// The lists below `routing.endpoints`.
pub(super) const ENDPOINT_LISTS: [&str; 5] =
    ["serviceBusQueues", "serviceBusTopics", "eventHubs", "storageContainers", "cosmosDBSqlContainers"];

/// What a hub is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Activating,
    Active,
    Transitioning,
    Deleting,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Activating => "Activating",
            Phase::Active => "Active",
            Phase::Transitioning => "Transitioning",
            Phase::Deleting => "Deleting",
        }
    }
}

/// One hub, with its secrets.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    pub(super) id: IotHubId,
    location: String,
    tags: Value,
    sku: Value,
    /// Complete, with real keys; without what the service alone knows. Shared by copies, like the keys below.
    properties: Arc<Map<String, Value>>,
    /// Whether the system-assigned identity is on.
    system_on: bool,
    /// Its principal, once the operation that turned it on has finished.
    pub(super) system: Option<String>,
    /// User-assigned identities, by their ids as the service spells them.
    users: Vec<String>,
    /// `authorizationPolicies`, with keys.
    policies: Arc<Vec<Value>>,
    /// `eventHubEndpoints.operationsMonitoringEvents`, with keys. Only PUT answers show it.
    monitoring: Arc<Value>,
    /// Name of the built-in event hub, and the address of its namespace.
    path: String,
    namespace: String,
    etag: String,
    created: OffsetDateTime,
    pub(super) phase: Phase,
    provisioning: &'static str,
    /// GET answers 404 until then.
    hidden_until: Option<OffsetDateTime>,
}

impl Hub {
    /// A hub of this id with nothing set, as it is before its first document.
    fn blank(id: IotHubId, now: OffsetDateTime, random: &mut Random) -> Self {
        let name = id.name().to_ascii_lowercase();
        let short: String = name.chars().take(18).collect();
        let path = format!("{short}{}", random.letters(7));
        let host: String = name.chars().take(10).collect();
        let number = random.word() % 90_000_000 + 10_000_000;
        let namespace =
            format!("sb://iothub-ns-{host}-{number}-{}.servicebus.windows.net/", random.letters(10));
        let policies = secrets::default_policies(random);
        let monitoring = secrets::monitoring(&path, &namespace, random);
        Self {
            id,
            location: String::new(),
            tags: json!({}),
            sku: json!({}),
            properties: Arc::default(),
            system_on: false,
            system: None,
            users: Vec::new(),
            policies: Arc::new(policies),
            monitoring: Arc::new(monitoring),
            path,
            namespace,
            etag: String::new(),
            created: now,
            phase: Phase::Activating,
            provisioning: "Activating",
            hidden_until: None,
        }
    }

    /// Whether the directory of hubs answers 404 for it just now.
    pub(super) fn is_hidden(&self, now: OffsetDateTime) -> bool {
        self.hidden_until.is_some_and(|until| now < until)
    }

    /// Its region, as ids have it.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Whether its data plane answers yet.
    pub(super) fn is_born(&self) -> bool {
        self.phase != Phase::Activating
    }

    /// Every key in it.
    pub(super) fn secrets(&self) -> Vec<String> {
        let mut found = Vec::new();
        secrets::collect_keys(&Value::Array(self.policies.to_vec()), &mut found);
        secrets::collect_keys(&self.monitoring, &mut found);
        secrets::collect_keys(&Value::Object((*self.properties).clone()), &mut found);
        found
    }

    /// `id` to `etag`: the members that every answer begins with.
    fn head(&self, etag: Option<&str>) -> Map<String, Value> {
        let mut head = Map::new();
        for (name, value) in [
            ("id", json!(self.id.as_str())),
            ("name", json!(self.id.name())),
            ("type", json!("Microsoft.Devices/IotHubs")),
            ("location", json!(self.location)),
            ("tags", self.tags.clone()),
            ("subscriptionid", json!(self.id.subscription())),
            ("resourcegroup", json!(self.id.resource_group().unwrap_or_default())),
        ] {
            head.insert(name.to_owned(), value);
        }
        if let Some(etag) = etag {
            head.insert("etag".to_owned(), json!(etag));
        }
        head
    }

    /// As a GET shows it: complete, keys masked, no policies.
    pub(super) fn view(&self, state: &State, version: &str) -> Value {
        let mut body = self.head(Some(&self.etag));
        let mut shown = Map::new();
        let place = document::region_name(&self.location);
        let mut locations = vec![json!({"location": place, "role": "primary"})];
        if !document::stays(&self.properties) {
            let pair = document::paired_region(&place);
            locations.push(json!({"location": pair, "role": "secondary"}));
        }
        shown.insert("locations".to_owned(), json!(locations));
        shown.insert("state".to_owned(), json!(self.phase.word()));
        shown.insert("provisioningState".to_owned(), json!(self.provisioning));
        let born = self.phase != Phase::Activating;
        for (name, value) in self.properties.iter() {
            shown.insert(name.clone(), value.clone());
            if name == "ipFilterRules" && born {
                shown.insert("hostName".to_owned(), json!(format!("{}.azure-devices.net", self.id.name())));
            }
        }
        if born {
            let events = &mut shown["eventHubEndpoints"]["events"];
            let count = events["partitionCount"].as_u64().unwrap_or(4);
            events["partitionIds"] = (0..count).map(|at| at.to_string()).collect();
            events["path"] = json!(self.path);
            events["endpoint"] = json!(self.namespace);
        }
        let mut properties = Value::Object(shown);
        secrets::mask(&mut properties);
        document::as_of_version(&mut properties, version, &iso(self.created));
        body.insert("properties".to_owned(), properties);
        body.insert("sku".to_owned(), self.sku.clone());
        if !document::is_old(version) {
            body.insert("identity".to_owned(), self.identity(state, true));
            body.insert("systemData".to_owned(), json!({"createdAt": iso(self.created)}));
        }
        Value::Object(body)
    }

    /// The identity block: in full for a GET, with empty values and no principal for a PUT.
    fn identity(&self, state: &State, full: bool) -> Value {
        let mut block = Map::new();
        if self.system_on {
            block.insert("tenantId".to_owned(), json!(state.tenant));
        }
        let kind = match (self.system_on, self.users.is_empty()) {
            (false, true) => "None",
            (true, true) => "SystemAssigned",
            (false, false) => "UserAssigned",
            (true, false) => "SystemAssigned, UserAssigned",
        };
        block.insert("type".to_owned(), json!(kind));
        if !self.users.is_empty() {
            let mut map = Map::new();
            for id in &self.users {
                let known = state.identities.get(&id.to_ascii_lowercase()).filter(|_| full);
                let value = known.map_or_else(
                    || json!({}),
                    |known| json!({"clientId": known.client, "principalId": known.principal}),
                );
                map.insert(id.clone(), value);
            }
            block.insert("userAssignedIdentities".to_owned(), Value::Object(map));
        }
        if let Some(principal) = self.system.as_ref().filter(|_| full && self.system_on) {
            block.insert("principalId".to_owned(), json!(principal));
        }
        Value::Object(block)
    }
}

impl State {
    /// Adds a hub of the world: a partial document, completed, Active since long.
    pub(super) fn add_hub(&mut self, id: IotHubId, partial: &Value, now: OffsetDateTime) {
        let created = now - time::Duration::days(30);
        let mut hub = Hub::blank(id, created, &mut self.random);
        hub.location = partial["location"].as_str().unwrap_or("westus2").to_owned();
        hub.tags = partial.get("tags").cloned().unwrap_or_else(|| json!({}));
        hub.sku = document::sku(partial.get("sku").unwrap_or(&json!({"name": "S1", "capacity": 1})));
        let sent = document::sent(&partial["properties"]);
        let mut properties = document::complete(sent, None, hub.sku["name"] == "F1");
        document::give_ids(&mut properties, None, &hub.id, &mut self.random);
        hub.properties = Arc::new(properties);
        let identity = &partial["identity"];
        let kind = identity["type"].as_str().unwrap_or("None").to_ascii_lowercase();
        if kind.contains("systemassigned") {
            let principal = identity["principalId"].as_str().map(str::to_owned);
            let principal = principal.unwrap_or_else(|| self.random.guid());
            self.add_old_principal(&principal, now);
            hub.system_on = true;
            hub.system = Some(principal);
        }
        for (user, _) in identity["userAssignedIdentities"].as_object().into_iter().flatten() {
            let known = self.identities.get(&user.to_ascii_lowercase());
            hub.users.push(known.map_or_else(|| user.clone(), |known| known.id.clone()));
        }
        hub.etag = self.next_etag();
        hub.phase = Phase::Active;
        hub.provisioning = "Succeeded";
        self.hubs.found(hub.id.key().to_owned(), hub);
    }
}
