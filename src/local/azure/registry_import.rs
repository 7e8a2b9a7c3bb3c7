//! One line of an import: what it asks for, and what becomes of it.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-bulk-identity-mgmt#import-devices>

use serde_json::{Value, json};

use super::{
    random::Random,
    registry::{Entry, EntryId, Registry, sas},
    state::State,
};

/// A line that failed, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineError {
    device: Option<String>,
    code: u32,
    status: String,
}

impl LineError {
    /// For a line that is no device.
    fn unreadable(line: &str, why: &str) -> Self {
        Self { device: None, code: 400_012, status: format!("Invalid device format in line: {line}. {why}") }
    }

    fn of(id: &EntryId, code: u32) -> Self {
        Self { device: Some(id.0.clone()), code, status: id.0.clone() }
    }

    /// For a file that begins with the warning of an export without keys.
    pub(super) fn warning() -> Self {
        Self {
            device: None,
            code: 400_009,
            status: "The file begins with the warning of an export without keys.".to_owned(),
        }
    }

    pub(super) fn view(&self) -> Value {
        let mut view = json!({"errorCode": self.code, "errorStatus": self.status});
        if let Some(device) = &self.device {
            view = json!({"deviceId": device, "errorCode": self.code, "errorStatus": self.status});
        }
        view
    }
}

/// What a line wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
    CreateOrUpdate,
    Delete,
    UpdateTwin,
}

/// The mode, and whether tags must fit. Names are compared without case.
fn mode(line: &Value) -> Option<(Mode, bool)> {
    let name = match &line["importMode"] {
        Value::Null => return Some((Mode::CreateOrUpdate, false)),
        name => name.as_str()?.to_ascii_lowercase(),
    };
    let (word, matching) = match name.strip_suffix("ifmatchetag") {
        Some(word) => (word, true),
        None => (name.as_str(), false),
    };
    let mode = match word {
        "create" if !matching => Mode::Create,
        "update" => Mode::Update,
        "createorupdate" => Mode::CreateOrUpdate,
        "delete" => Mode::Delete,
        "updatetwin" => Mode::UpdateTwin,
        _ => return None,
    };
    Some((mode, matching))
}

impl State {
    /// Carries out one line.
    pub(super) fn import_line(&mut self, hub: &str, text: &str) -> Result<(), LineError> {
        let line: Value =
            serde_json::from_str(text).map_err(|err| LineError::unreadable(text, &err.to_string()))?;
        let unreadable = |why: &str| LineError::unreadable(text, why);
        let name = |field: &str| line[field].as_str().filter(|name| !name.is_empty());
        let device = name("id").ok_or_else(|| unreadable("Required property 'id' not found in JSON."))?;
        let id = (device.to_owned(), name("moduleId").unwrap_or_default().to_owned());
        let enabled = match name("status").map(str::to_ascii_lowercase).as_deref() {
            Some("enabled") => true,
            Some("disabled") => false,
            _ => return Err(unreadable("Required property 'status' not found in JSON.")),
        };
        let (mode, matching) = mode(&line).ok_or_else(|| unreadable("The importMode is not known."))?;
        let kind = line["authentication"]["type"].as_str().unwrap_or("sas").to_ascii_lowercase();
        if !["sas", "selfsigned", "certificateauthority", "none"].contains(&kind.as_str()) {
            return Err(unreadable("The type of authentication is not known."));
        }

        let registry = self.registries.entry(hub.to_owned()).or_default();
        let before = registry.entries.get(&id).cloned();
        let is_module = !id.1.is_empty();
        if is_module && !registry.entries.contains_key(&(id.0.clone(), String::new())) {
            return Err(LineError::of(&id, 404_001));
        }
        if before.is_none() && !matches!(mode, Mode::Create | Mode::CreateOrUpdate) {
            return Err(LineError::of(&id, if is_module { 404_010 } else { 404_001 }));
        }
        if before.is_some() && mode == Mode::Create {
            return Err(LineError::of(&id, if is_module { 409_301 } else { 409_001 }));
        }
        if let Some(before) = before.as_ref().filter(|_| matching) {
            let (sent, known) = match mode {
                Mode::UpdateTwin => (&line["twinETag"], before.shown_twin_etag()),
                _ => (&line["eTag"], before.etag.clone()),
            };
            if *sent != "*" && *sent != known.as_str() {
                return Err(LineError::of(&id, 412_001));
            }
        }

        if let Some(before) = before.as_ref().filter(|_| mode != Mode::UpdateTwin) {
            self.old_secrets.extend(before.keys());
        }
        let Some(registry) = self.registries.get_mut(hub) else { return Ok(()) };
        if mode == Mode::Delete {
            if is_module {
                registry.entries.remove(&id);
            } else {
                let gone: Vec<String> = of_device(registry, device).flat_map(Entry::keys).collect();
                self.old_secrets.extend(gone);
                registry.entries.retain(|(known, _), _| known != device);
            }
            return Ok(());
        }
        let random = &mut self.random;
        let mut entry = before.unwrap_or_else(|| Entry::new(Value::Null, random));
        write_twin(&mut entry, &line, mode == Mode::UpdateTwin);
        if mode != Mode::UpdateTwin {
            entry.touch(random);
            entry.enabled = enabled;
            entry.reason = line["statusReason"].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            entry.authentication = authentication(&line["authentication"], &kind, random);
            if line["capabilities"].is_object() {
                entry.capabilities = line["capabilities"].clone();
            }
            entry.scope = line["deviceScope"].as_str().map(str::to_owned).or(entry.scope);
            entry.managed_by = line["managedBy"].as_str().map(str::to_owned).or(entry.managed_by);
            if line["parentScopes"].is_array() {
                entry.parents = line["parentScopes"].clone();
            }
        }
        registry.entries.insert(id, entry);
        Ok(())
    }

    /// Carries out one line of a file of configurations: each is made or replaced.
    pub(super) fn import_configuration(&mut self, hub: &str, text: &str) -> Result<(), LineError> {
        let mut line: Value =
            serde_json::from_str(text).map_err(|err| LineError::unreadable(text, &err.to_string()))?;
        let Some(id) = line["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned) else {
            return Err(LineError::unreadable(text, "Required property 'id' not found in JSON."));
        };
        if let Some(members) = line.as_object_mut() {
            members.shift_remove("importMode");
            members.insert("etag".to_owned(), json!(self.random.letters(12)));
        }
        self.registries.entry(hub.to_owned()).or_default().configurations.insert(id, line);
        Ok(())
    }
}

/// A device and its modules.
fn of_device<'a>(registry: &'a Registry, device: &str) -> impl Iterator<Item = &'a Entry> {
    let first = (device.to_owned(), String::new());
    let device = device.to_owned();
    registry
        .entries
        .range(first..)
        .take_while(move |((known, _), _)| *known == device)
        .map(|(_, entry)| entry)
}

/// Keys as sent; what is missing is made up, also where an update left it out.
fn authentication(sent: &Value, kind: &str, random: &mut Random) -> Value {
    let key = |name: &str| sent["symmetricKey"][name].as_str().filter(|key| !key.is_empty());
    if kind == "sas" {
        let keys =
            ["primaryKey", "secondaryKey"].map(|name| key(name).map_or_else(|| random.key(), str::to_owned));
        return sas(&keys);
    }
    let print = |name: &str| sent["x509Thumbprint"][name].clone();
    json!({
        "symmetricKey": {"primaryKey": null, "secondaryKey": null},
        "x509Thumbprint": {
            "primaryThumbprint": print("primaryThumbprint"), "secondaryThumbprint": print("secondaryThumbprint"),
        },
        "type": sent["type"],
    })
}

/// A twin that a line carries replaces what there is.
fn write_twin(entry: &mut Entry, line: &Value, always: bool) {
    let parts = [
        (&line["tags"], &mut entry.tags),
        (&line["properties"]["desired"], &mut entry.desired),
        (&line["properties"]["reported"], &mut entry.reported),
    ];
    let mut changed = always;
    for (sent, kept) in parts {
        if sent.is_object() && sent != &*kept {
            *kept = sent.clone();
            changed = true;
        }
    }
    if changed {
        entry.twin_etag += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_without_case() {
        let of = |name: &str| mode(&json!({"importMode": name}));
        assert_eq!(of("CreateOrUpdateIfMatchETag"), Some((Mode::CreateOrUpdate, true)));
        assert_eq!(of("deleteIfMatchETag"), Some((Mode::Delete, true)));
        assert_eq!(of("updateTwin"), Some((Mode::UpdateTwin, false)));
        assert_eq!(of("createIfMatchETag"), None);
        assert_eq!(mode(&json!({})), Some((Mode::CreateOrUpdate, false)));
    }
}
