//! The file-upload entry, `storageEndpoints.$default`.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    EditError, KeyNeed, Secrets, Slot,
    routing::{identity_json, set_members},
};
use crate::model::{
    desired::{IdentityRef, Target},
    duration::IsoDuration,
};

/// Where the entry stands.
pub(crate) const ENTRY: &str = "/properties/storageEndpoints/$default";

/// Changes to the file-upload setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileUploadEdit {
    /// Where files go and with which identity, if that changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageEdit>,
    /// How long a device's address is good for, if that changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sas_ttl: Option<IsoDuration>,
    /// What this changes, in words.
    pub summary: String,
}

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageEdit {
    /// The container.
    pub target: Target,
    /// The account's blob address as ARM gave it.
    pub endpoint_uri: String,
    /// The container's name, as ARM spells it.
    pub container: String,
    /// The identity that the hub authenticates with; `None` for the key in the connection string.
    pub identity: Option<IdentityRef>,
    /// What becomes of the connection string.
    pub connection: ConnectionEdit,
}

/// What becomes of the connection string, which the service wants even with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionEdit {
    /// It is for this account already: its mask is echoed, and the service keeps what it has.
    Keep,
    /// A new one without a key.
    WithoutKey,
    /// A new one with a key that is fetched for it.
    WithKey,
}

impl FileUploadEdit {
    pub(super) fn key_needed(&self) -> Option<KeyNeed> {
        let storage = self.storage.as_ref().filter(|edit| edit.connection == ConnectionEdit::WithKey)?;
        Some(KeyNeed {
            slot: Slot::FileUpload,
            target: storage.target.clone(),
            rule: None,
            endpoint_uri: storage.endpoint_uri.clone(),
        })
    }

    pub(super) fn make(&self, secrets: &Secrets, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let shape = || EditError::Shape(ENTRY.to_owned());
        let properties = body.get_mut("properties").and_then(Value::as_object_mut).ok_or_else(shape)?;
        let mut node = properties;
        for name in ["storageEndpoints", "$default"] {
            let below = node.entry(name).or_insert(Value::Null);
            if below.is_null() {
                *below = json!({});
            }
            node = below.as_object_mut().ok_or_else(shape)?;
        }
        if let Some(storage) = &self.storage {
            set_members(
                node,
                [
                    (
                        "authenticationType",
                        if storage.identity.is_some() { "identityBased" } else { "keyBased" }.into(),
                    ),
                    ("containerName", storage.container.as_str().into()),
                    ("identity", storage.identity.as_ref().map_or(Value::Null, identity_json)),
                ],
            );
            match storage.connection {
                ConnectionEdit::Keep => {}
                ConnectionEdit::WithoutKey => {
                    let text = storage_connection(&storage.target, &storage.endpoint_uri, None);
                    set_members(node, [("connectionString", text.into())]);
                }
                ConnectionEdit::WithKey => {
                    let members = secrets.get(&Slot::FileUpload);
                    node.extend(members.ok_or(EditError::NoKey(Slot::FileUpload))?.clone());
                }
            }
        }
        if let Some(ttl) = &self.sas_ttl {
            set_members(node, [("sasTtlAsIso8601", ttl.as_str().into())]);
        }
        Ok(ENTRY.to_owned())
    }
}

/// A storage connection string with the address that ARM gave, so that no host name is built.
/// <https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string>
pub fn storage_connection(container: &Target, blob_endpoint: &str, key: Option<&str>) -> String {
    let account = container.service_name();
    let mut text =
        format!("DefaultEndpointsProtocol=https;BlobEndpoint={blob_endpoint};AccountName={account}");
    if let Some(key) = key {
        text.push_str(";AccountKey=");
        text.push_str(key);
    }
    text
}
