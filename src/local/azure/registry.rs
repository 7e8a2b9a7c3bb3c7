//! The devices of a hub, with their modules, and its configurations: as exports and imports know them.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry>

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{random::Random, state::State};

/// Id of a device and, for its modules, of the module; empty for the device itself.
pub(super) type EntryId = (String, String);

/// What a hub knows of its devices.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Devices, each followed by its modules.
    pub(super) entries: BTreeMap<EntryId, Entry>,
    /// By their ids.
    pub(super) configurations: BTreeMap<String, Value>,
}

/// A device or a module.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) generation: String,
    pub(super) etag: String,
    pub(super) twin_etag: u64,
    pub(super) enabled: bool,
    pub(super) reason: Option<String>,
    /// With keys.
    pub(super) authentication: Value,
    pub(super) capabilities: Value,
    pub(super) scope: Option<String>,
    pub(super) parents: Value,
    pub(super) managed_by: Option<String>,
    pub(super) tags: Value,
    pub(super) desired: Value,
    pub(super) reported: Value,
}

impl Entry {
    /// A device or module with these keys and nothing else.
    pub(super) fn new(authentication: Value, random: &mut Random) -> Self {
        let mut entry = Self {
            generation: format!("6389{:010}{:04}", random.word(), random.word() % 10_000),
            etag: String::new(),
            twin_etag: 1,
            enabled: true,
            reason: None,
            authentication,
            capabilities: json!({"iotEdge": false}),
            scope: None,
            parents: Value::Null,
            managed_by: None,
            tags: json!({}),
            desired: json!({}),
            reported: json!({}),
        };
        entry.touch(random);
        entry
    }

    /// Gives it another tag.
    pub(super) fn touch(&mut self, random: &mut Random) {
        self.etag = STANDARD.encode(random.word().to_string());
    }

    /// The twin's tag as it is shown.
    pub(super) fn shown_twin_etag(&self) -> String {
        STANDARD.encode(self.twin_etag.to_be_bytes())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        let keys = &self.authentication["symmetricKey"];
        let found = ["primaryKey", "secondaryKey"].map(|name| keys[name].as_str().map(str::to_owned));
        found.into_iter().flatten()
    }

    /// A line of an export.
    pub(super) fn line(&self, (device, module): &EntryId, without_keys: bool) -> Value {
        let mut line = Map::new();
        let mut add = |name: &str, value: Value| line.insert(name.to_owned(), value);
        add("id", json!(device));
        if !module.is_empty() {
            add("moduleId", json!(module));
        }
        add("eTag", json!(self.etag));
        add("status", json!(if self.enabled { "enabled" } else { "disabled" }));
        if let Some(reason) = &self.reason {
            add("statusReason", json!(reason));
        }
        let mut authentication = self.authentication.clone();
        if without_keys && authentication["symmetricKey"].is_object() {
            authentication["symmetricKey"] = json!({"primaryKey": null, "secondaryKey": null});
        }
        add("authentication", authentication);
        add("twinETag", json!(self.shown_twin_etag()));
        add("tags", self.tags.clone());
        add("properties", json!({"desired": self.desired, "reported": self.reported}));
        add("capabilities", self.capabilities.clone());
        if let Some(scope) = &self.scope {
            add("deviceScope", json!(scope));
        }
        if !self.parents.is_null() {
            add("parentScopes", self.parents.clone());
        }
        if let Some(manager) = &self.managed_by {
            add("managedBy", json!(manager));
        }
        Value::Object(line)
    }
}

/// Authentication with two keys, as an export shows it.
pub(super) fn sas(keys: &[String; 2]) -> Value {
    json!({
        "symmetricKey": {"primaryKey": keys[0], "secondaryKey": keys[1]},
        "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
        "type": "sas",
    })
}

impl Registry {
    /// How many devices there are, without modules.
    pub(super) fn devices(&self) -> usize {
        self.entries.keys().filter(|(_, module)| module.is_empty()).count()
    }

    /// Every key in it.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.entries.values().flat_map(Entry::keys).collect()
    }

    /// A digest of all that an import carries over: everything but tags, generations and times.
    pub(super) fn digest(&self) -> String {
        let mut text = String::new();
        let mut add = |mut value: Value, without: &[&str]| {
            if let Some(members) = value.as_object_mut() {
                without.iter().for_each(|name| {
                    members.shift_remove(*name);
                });
            }
            text.push_str(&sorted(&value).to_string());
            text.push('\n');
        };
        for (id, entry) in &self.entries {
            add(entry.line(id, false), &["eTag", "twinETag"]);
        }
        for configuration in self.configurations.values() {
            add(configuration.clone(), &["etag", "createdTimeUtc", "lastUpdatedTimeUtc", "systemMetrics"]);
        }
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()
    }
}

/// With the members of every object in order, so that equal documents have equal texts.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let ordered: BTreeMap<&String, Value> =
                members.iter().map(|(name, member)| (name, sorted(member))).collect();
            ordered.into_iter().map(|(name, member)| (name.clone(), member)).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// What is wrong with the `devices` of a hub in a world file.
pub(super) fn check_devices(devices: &Value) -> Result<(), String> {
    match devices {
        Value::Null => Ok(()),
        Value::Number(count) if count.as_u64().is_some() => Ok(()),
        Value::Array(items) => {
            let named = |item: &Value| ["id", "deviceId"].iter().any(|name| item[*name].is_string());
            match items.iter().position(|item| !named(item)) {
                Some(at) => Err(format!("[{at}] must have an `id`")),
                None => Ok(()),
            }
        }
        _ => Err("must be a number or a list".to_owned()),
    }
}

impl State {
    /// Adds so many devices, or those of a list.
    pub(super) fn add_devices(&mut self, hub: &str, devices: &Value) {
        if let Some(count) = devices.as_u64() {
            self.make_devices(hub, usize::try_from(count).unwrap_or_default(), "device-");
        }
        for device in devices.as_array().into_iter().flatten() {
            self.add_device(hub, device);
        }
    }

    /// Makes devices of some variety: every twentieth is disabled, every twenty-fifth an edge device
    /// with two modules. Their keys depend on the seed, the hub and the device alone.
    pub(super) fn make_devices(&mut self, hub: &str, count: usize, prefix: &str) {
        let seed = self.seed;
        let registry = self.registries.entry(hub.to_owned()).or_default();
        let named = |id: &str| id.starts_with(prefix);
        let before = registry.entries.keys().filter(|(id, module)| module.is_empty() && named(id)).count();
        for number in before + 1..=before.saturating_add(count) {
            let id = format!("{prefix}{number:06}");
            let mut random = Random::of(seed, &format!("{hub}/{id}"));
            let keys = [random.key(), random.key()];
            let mut entry = Entry::new(sas(&keys), &mut random);
            entry.tags = json!({"line": number % 4, "site": "plant-01"});
            entry.desired = json!({"interval": 30 + number % 5});
            entry.reported = json!({"firmware": format!("1.{}.0", number % 7)});
            if number % 20 == 0 {
                entry.enabled = false;
                entry.reason = Some("in maintenance".to_owned());
            }
            if number % 25 == 0 {
                entry.capabilities = json!({"iotEdge": true});
                entry.scope = Some(format!("ms-azure-iot-edge://{id}-{}", entry.generation));
                for module in ["$edgeAgent", "$edgeHub"] {
                    let keys = [random.key(), random.key()];
                    let mut part = Entry::new(sas(&keys), &mut random);
                    part.managed_by = Some("iotEdge".to_owned());
                    registry.entries.insert((id.clone(), module.to_owned()), part);
                }
            }
            registry.entries.insert((id, String::new()), entry);
        }
    }

    /// Adds one device as an import has it (or with `deviceId`), without a `status` too. Nothing
    /// happens when it is there, or makes no sense.
    pub(super) fn add_device(&mut self, hub: &str, device: &Value) {
        let mut line = device.clone();
        if line["id"].is_null() {
            line["id"] = line["deviceId"].clone();
        }
        if line["status"].is_null() {
            line["status"] = json!("enabled");
        }
        line["importMode"] = json!("create");
        // The only refusals are those that are documented above.
        let _ = self.import_line(hub, &line.to_string());
        for module in device["modules"].as_array().into_iter().flatten() {
            let mut module = module.clone();
            module["id"] = line["id"].clone();
            self.add_device(hub, &module);
        }
    }

    /// What `/_sim` shows of a hub's devices.
    pub(super) fn registry_view(&self, hub: &str) -> Value {
        let empty = Registry::default();
        let registry = self.registries.get(hub).unwrap_or(&empty);
        let ids: Vec<&String> =
            registry.entries.keys().filter(|(_, module)| module.is_empty()).map(|(id, _)| id).collect();
        json!({
            "count": ids.len(),
            "modules": registry.entries.len() - ids.len(),
            "configurations": registry.configurations.keys().collect::<Vec<_>>(),
            "digest": registry.digest(),
            "ids": ids,
        })
    }
}
