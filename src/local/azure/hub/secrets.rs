//! Keys in hub documents: shown as a mask by GET, in the clear by PUT, and put back when the mask is
//! echoed.

use serde_json::{Map, Value, json};

use super::{ENDPOINT_LISTS, document, target::host};
use crate::local::azure::random::Random;

/// What a key looks like in a GET.
const MASK: &str = "****";
/// The parts of a connection string that are secret.
const KEY_PARTS: [&str; 2] = ["SharedAccessKey", "AccountKey"];
/// Members that are secret wherever they stand.
const KEY_MEMBERS: [&str; 4] = ["primaryKey", "secondaryKey", "PrimaryKey", "SecondaryKey"];

/// Puts stored keys back where the caller echoed the mask, matched by the endpoint's list and name.
/// Returns the name of the first endpoint with a mask that matches nothing.
pub(super) fn restore(sent: &mut Map<String, Value>, old: Option<&Map<String, Value>>) -> Result<(), String> {
    for list in ENDPOINT_LISTS {
        let Some(endpoints) = document::endpoints_mut(sent, list) else { continue };
        for endpoint in endpoints {
            let name = endpoint["name"].as_str().unwrap_or_default().to_owned();
            let stored = old.and_then(|old| document::find_endpoint(old, list, &name));
            restore_members(endpoint, stored).map_err(|()| name)?;
        }
    }
    if let Some(entries) = sent.get_mut("storageEndpoints").and_then(Value::as_object_mut) {
        for (name, entry) in entries {
            let stored = old.and_then(|old| old.get("storageEndpoints")).and_then(|all| all.get(name));
            restore_members(entry, stored).map_err(|()| name.clone())?;
        }
    }
    Ok(())
}

fn restore_members(entry: &mut Value, stored: Option<&Value>) -> Result<(), ()> {
    for name in ["connectionString", "primaryKey", "secondaryKey"] {
        let Some(text) = entry[name].as_str() else { continue };
        if !text.contains(MASK) {
            continue;
        }
        let known = stored.and_then(|stored| stored[name].as_str()).unwrap_or_default();
        // A mask stands for the key of the place it was shown with, and of no other.
        let moved = ["AccountName", "Endpoint"].iter().any(|part| {
            let of = |text: &str| connection_part(text, part).map(host);
            of(text).is_some_and(|place| of(known).is_some_and(|before| before != place))
        });
        if moved {
            return Err(());
        }
        let whole = match KEY_PARTS.iter().find_map(|part| connection_part(known, part)) {
            Some(key) => text.replace(MASK, key),
            None if name != "connectionString" && !known.is_empty() => known.to_owned(),
            None => return Err(()),
        };
        entry[name] = json!(whole);
    }
    Ok(())
}

/// One part of a connection string.
pub(super) fn connection_part<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';').filter_map(|part| part.split_once('=')).find_map(|(part, value)| {
        (part.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then_some(value)
    })
}

/// Masks every key, as a GET does.
pub(super) fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "connectionString" => *text = mask_text(text),
                    Value::String(text) if KEY_MEMBERS.contains(&name.as_str()) => *text = MASK.to_owned(),
                    _ => mask(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

fn mask_text(text: &str) -> String {
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if KEY_PARTS.iter().any(|key| key.eq_ignore_ascii_case(name.trim())) => {
            format!("{name}={MASK}")
        }
        _ => part.to_owned(),
    };
    text.split(';').map(part).collect::<Vec<_>>().join(";")
}

/// Every key in a document.
pub(super) fn collect_keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "connectionString" => {
                        let keys = KEY_PARTS.iter().filter_map(|part| connection_part(text, part));
                        found.extend(keys.filter(|key| *key != MASK).map(str::to_owned));
                    }
                    Value::String(text) if KEY_MEMBERS.contains(&name.as_str()) && text != MASK => {
                        found.push(text.clone());
                    }
                    _ => collect_keys(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, found)),
        _ => {}
    }
}

/// The five policies that every hub is made with.
pub(super) fn default_policies(random: &mut Random) -> Vec<Value> {
    [
        ("iothubowner", "RegistryWrite, ServiceConnect, DeviceConnect"),
        ("service", "ServiceConnect"),
        ("device", "DeviceConnect"),
        ("registryRead", "RegistryRead"),
        ("registryReadWrite", "RegistryWrite"),
    ]
    .map(|(name, rights)| {
        json!({"keyName": name, "primaryKey": random.key(), "secondaryKey": random.key(), "rights": rights})
    })
    .to_vec()
}

/// Policies as sent, with made-up keys where none were.
pub(super) fn policies(sent: &Value, random: &mut Random) -> Option<Vec<Value>> {
    let mut policies = sent.as_array()?.clone();
    for policy in policies.iter_mut().filter_map(Value::as_object_mut) {
        for name in ["primaryKey", "secondaryKey"] {
            if !policy.get(name).is_some_and(Value::is_string) {
                policy.insert(name.to_owned(), json!(random.key()));
            }
        }
    }
    Some(policies)
}

/// The internal event hub that only PUT answers show, with its keys.
pub(super) fn monitoring(path: &str, namespace: &str, random: &mut Random) -> Value {
    let mut policy = |name: &str, rights: &[&str]| {
        json!({
            "ClaimType": "SharedAccessKey", "ClaimValue": "None", "KeyName": name,
            "primaryKey": random.key(), "secondaryKey": random.key(), "Rights": rights,
        })
    };
    let internal =
        [policy("scaleunitsend-iothub", &["Send"]), policy("owner-iothub", &["Listen", "Manage", "Send"])];
    let public = [policy("iothubowner", &["Listen"]), policy("service", &["Listen"])];
    json!({
        "retentionTimeInDays": 1,
        "partitionCount": 4,
        "partitionIds": ["0", "1", "2", "3"],
        "path": format!("{path}-operationmonitoring"),
        "endpoint": namespace,
        "internalAuthorizationPolicies": internal,
        "authorizationPolicies": public,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_is_masked() {
        let text = "Endpoint=sb://n.servicebus.windows.net:5671/;SharedAccessKeyName=p;SharedAccessKey=abc=;EntityPath=e";
        assert_eq!(
            mask_text(text),
            "Endpoint=sb://n.servicebus.windows.net:5671/;SharedAccessKeyName=p;SharedAccessKey=****;EntityPath=e"
        );
    }

    #[test]
    fn a_mask_is_replaced_by_the_stored_key_of_the_same_endpoint_only() {
        let doc = |name: &str, text: &str| {
            let body =
                json!({"routing": {"endpoints": {"eventHubs": [{"name": name, "connectionString": text}]}}});
            body.as_object().cloned().unwrap()
        };
        let old = doc("a", "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=secret=;EntityPath=e");
        let mut same = doc("A", "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=****;EntityPath=e");
        restore(&mut same, Some(&old)).unwrap();
        assert_eq!(
            document::endpoints(&same, "eventHubs")[0]["connectionString"],
            document::endpoints(&old, "eventHubs")[0]["connectionString"]
        );
        let mut with_port = doc("a", "Endpoint=sb://x:5671/;SharedAccessKeyName=p;SharedAccessKey=****");
        assert_eq!(restore(&mut with_port, Some(&old)), Ok(()));
        let mut moved = doc("a", "Endpoint=sb://y/;SharedAccessKeyName=p;SharedAccessKey=****");
        assert_eq!(restore(&mut moved, Some(&old)), Err("a".to_owned()));
        let mut renamed = doc("b", "SharedAccessKey=****");
        assert_eq!(restore(&mut renamed, Some(&old)), Err("b".to_owned()));
    }
}
