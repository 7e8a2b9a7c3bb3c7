//! File upload and cloud-to-device messages as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::IsoText;
use crate::model::desired::Connection;

/// Where devices upload files to, and what the hub authenticates with there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::desired) struct FileUploadDoc {
    /// The id of the storage container, with placeholders as in an endpoint. Its account must be in the
    /// hub's subscription.
    pub(in crate::desired) container: String,
    /// What the hub authenticates with: `system`, one of `identity.user` (its id or its name), or `key`,
    /// the way back from an identity, if `guardrails.allowKeys` is `true`.
    #[serde(rename = "as")]
    pub(in crate::desired) identity: String,
    /// What a new connection string holds, which a hub wants even with an identity: `identityOnly` (no
    /// key), or `accountKey` for hubs that do not take one without a key.
    #[serde(default)]
    pub(in crate::desired) connection: ConnectionWord,
    /// How long the address that a device gets is good for: `PT1M` to `P1D`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IsoText")]
    pub(in crate::desired) sas_ttl: Option<IsoText>,
    /// Notifications about uploaded files.
    #[serde(default)]
    pub(in crate::desired) notifications: NotificationsDoc,
}

/// `identityOnly` or `accountKey`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::desired) enum ConnectionWord {
    #[default]
    IdentityOnly,
    AccountKey,
}

impl From<ConnectionWord> for Connection {
    fn from(word: ConnectionWord) -> Self {
        match word {
            ConnectionWord::IdentityOnly => Connection::IdentityOnly,
            ConnectionWord::AccountKey => Connection::AccountKey,
        }
    }
}

/// Notifications about uploaded files. What is left out stays as it is found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::desired) struct NotificationsDoc {
    /// Whether they are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub(in crate::desired) enabled: Option<bool>,
    /// How long a reader keeps one to itself: `PT5S` to `PT5M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IsoText")]
    pub(in crate::desired) lock_duration: Option<IsoText>,
    /// How long one is kept: `PT1M` to `P2D`. The portal calls it "Default TTL".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IsoText")]
    pub(in crate::desired) ttl: Option<IsoText>,
    /// How often one is delivered at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 100))]
    pub(in crate::desired) max_delivery_count: Option<u32>,
}

/// Cloud-to-device messages. What is left out stays as it is found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::desired) struct CloudToDeviceDoc {
    /// How long a message waits for its device: `PT1M` to `P2D`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "IsoText")]
    pub(in crate::desired) default_ttl: Option<IsoText>,
    /// How often one is delivered at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 100))]
    pub(in crate::desired) max_delivery_count: Option<u32>,
}
