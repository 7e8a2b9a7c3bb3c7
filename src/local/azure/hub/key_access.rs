//! Endpoints with keys: what a connection string opens.
//!
//! A string for a namespace or an account that is not known here opens everything: recordings and
//! tests that are not about keys use such.

use serde_json::Value;

use super::{
    secrets::connection_part,
    target::{Refusal, account, cosmos_container, entity, holder, host, namespace},
};
use crate::local::azure::{cosmos, keys, network::Reach, state::State};

/// What an endpoint's key opens; `None` when its target is not known here.
pub(super) fn enter(state: &State, list: &str, endpoint: &Value) -> Result<Option<String>, Refusal> {
    let text = |field: &str| endpoint[field].as_str().unwrap_or_default();
    match list {
        "storageContainers" => blob(state, text("connectionString"), text("containerName")),
        "cosmosDBSqlContainers" => documents(state, endpoint),
        _ => messages(state, list, text("connectionString"), text("entityPath")),
    }
}

/// The address that an endpoint with a key goes to.
pub(super) fn address(list: &str, endpoint: &Value) -> String {
    let text = endpoint["connectionString"].as_str().unwrap_or_default();
    match list {
        "storageContainers" => blob_host(text),
        "cosmosDBSqlContainers" => host(endpoint["endpointUri"].as_str().unwrap_or_default()),
        _ => connection_part(text, "Endpoint").map(host).unwrap_or_default(),
    }
}

/// The host of the blob service that a connection string leads to.
pub(super) fn blob_host(connection: &str) -> String {
    if let Some(address) = connection_part(connection, "BlobEndpoint") {
        return host(address);
    }
    let name = connection_part(connection, "AccountName").unwrap_or_default().to_ascii_lowercase();
    let suffix = connection_part(connection, "EndpointSuffix").unwrap_or("core.windows.net");
    format!("{name}.blob.{suffix}")
}

fn is_true(value: &Value) -> bool {
    value == true
}

fn messages(state: &State, list: &str, text: &str, path: &str) -> Result<Option<String>, Refusal> {
    let at = connection_part(text, "Endpoint").map(host).unwrap_or_default();
    let Some(namespace) = namespace(state, list, &at) else {
        // Known, but as the other kind of namespace.
        let other = holder(state, "serviceBusEndpoint", "", &at);
        return if other.is_some() { Err(Refusal::Missing) } else { Ok(None) };
    };
    let name = connection_part(text, "EntityPath").unwrap_or(path);
    let target = entity(&namespace, list, name);
    if !state.targets.contains_key(&target) {
        return Err(Refusal::Missing);
    }
    if is_true(&state.targets[&namespace]["properties"]["disableLocalAuth"]) {
        return Err(Refusal::Key);
    }
    let rule = connection_part(text, "SharedAccessKeyName").unwrap_or_default();
    let key = connection_part(text, "SharedAccessKey").unwrap_or_default();
    let (rule, keys) = state.rule_for(&namespace, &target, rule).ok_or(Refusal::Key)?;
    if !rule.sends() || !keys.iter().any(|known| known == key) {
        return Err(Refusal::Key);
    }
    through(state, target)
}

/// A key lets nobody past a firewall, trusted or not.
fn through(state: &State, target: String) -> Result<Option<String>, Refusal> {
    if state.reach(&target) == Reach::Open { Ok(Some(target)) } else { Err(Refusal::Network) }
}

/// What a storage connection string opens.
pub(super) fn blob(state: &State, text: &str, container: &str) -> Result<Option<String>, Refusal> {
    let Some(account) = account(state, text) else { return Ok(None) };
    let target = format!("{account}/blobservices/default/containers/{}", container.to_ascii_lowercase());
    if !state.targets.contains_key(&target) {
        return Err(Refusal::Missing);
    }
    let key = connection_part(text, "AccountKey").unwrap_or_default();
    let known = keys::account_keys(state.seed, &account).iter().any(|known| known == key);
    if !known || !takes_keys(state, &account) {
        return Err(Refusal::Key);
    }
    through(state, target)
}

/// Whether a storage account takes account keys at all.
pub(super) fn takes_keys(state: &State, account: &str) -> bool {
    state.targets.get(account).is_none_or(|shown| shown["properties"]["allowSharedKeyAccess"] != false)
}

fn documents(state: &State, endpoint: &Value) -> Result<Option<String>, Refusal> {
    let text = |field: &str| endpoint[field].as_str().unwrap_or_default();
    let Some(account) = holder(state, "documentEndpoint", "", &host(text("endpointUri"))) else {
        return Ok(None);
    };
    let target = cosmos_container(&account, text("databaseName"), text("containerName"));
    if !state.targets.contains_key(&target) {
        return Err(Refusal::Missing);
    }
    let [primary, secondary, ..] = cosmos::account_keys(state.seed, &account);
    let local_auth_off = is_true(&state.targets[&account]["properties"]["disableLocalAuth"]);
    if local_auth_off || ![primary, secondary].iter().any(|key| key == text("primaryKey")) {
        return Err(Refusal::Key);
    }
    through(state, target)
}
