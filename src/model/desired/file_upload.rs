//! File upload and cloud-to-device messaging as they should be.

use serde::Serialize;

use super::{DesiredAuth, Target};
use crate::model::duration::IsoDuration;

/// Where devices upload files to, and what the hub authenticates with there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredFileUpload {
    /// A storage container.
    pub container: Target,
    /// What the hub authenticates with there.
    pub auth: DesiredAuth,
    /// What the connection string is made of when the hub has none for this account yet.
    pub connection: Connection,
    /// How long the address that a device gets is good for: one minute to a day.
    pub sas_ttl: Option<IsoDuration>,
    /// Notifications about uploaded files.
    pub notifications: Notifications,
}

/// What a new connection string holds. The hub wants one even when it uses an identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Connection {
    /// The account's name and address, and no key.
    #[default]
    IdentityOnly,
    /// A key of the account too, fetched when it is written and never kept. For hubs that do not
    /// take a connection string without one.
    AccountKey,
}

/// Notifications about uploaded files. What is `None` is left as it is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notifications {
    /// Whether they are on.
    pub enabled: Option<bool>,
    /// How long a reader keeps one to itself: 5 to 300 seconds.
    pub lock_duration: Option<IsoDuration>,
    /// How long one is kept: one minute to two days. The portal calls it "Default TTL".
    pub ttl: Option<IsoDuration>,
    /// How often one is delivered at most: 1 to 100.
    pub max_delivery_count: Option<u32>,
}

/// Cloud-to-device messages. What is `None` is left as it is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudToDevice {
    /// How long a message waits for its device: one minute to two days.
    pub default_ttl: Option<IsoDuration>,
    /// How often one is delivered at most: 1 to 100.
    pub max_delivery_count: Option<u32>,
}
