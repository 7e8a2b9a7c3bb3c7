//! Scheduled exports as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServiceName;
use crate::model::job::JobDoor;

/// An export of the hub's devices, again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::desired) struct ExportDoc {
    /// The export's name. Unique in the profile.
    pub(in crate::desired) name: ServiceName,
    /// When, in UTC: an NCRONTAB expression as the Functions host takes it, such as `0 30 2 * * *`.
    #[schemars(length(max = 200))]
    pub(in crate::desired) schedule: String,
    /// The id of the storage container, with placeholders as in an endpoint.
    pub(in crate::desired) container: String,
    /// What the hub authenticates with: `system`, or one of `identity.user` (its id or its name).
    #[serde(rename = "as")]
    pub(in crate::desired) identity: String,
    /// Whether the devices' keys are left out.
    #[serde(default = "yes")]
    pub(in crate::desired) exclude_keys: bool,
    /// Whether configurations and deployments are exported too, into a blob of the same name with
    /// `.configurations` behind it.
    #[serde(default)]
    pub(in crate::desired) include_configurations: bool,
    /// The blob's name, with `{hub}` and `{time}` once each: the hub's name, and the occurrence as
    /// `20260131T023000Z`. By default `{hub}/NAME-{time}.txt` with the export's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 900))]
    pub(in crate::desired) blob_name: Option<String>,
    /// How many exports of this schedule stay; older ones are deleted when a new one is done. Without it,
    /// all stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 10_000))]
    pub(in crate::desired) keep: Option<u32>,
    /// Which of the hub's doors the job goes through: `dataPlane`, the hub's own service API, or
    /// `resourceManager` for hubs whose own API cannot be reached from here.
    #[serde(default)]
    pub(in crate::desired) through: Through,
}

fn yes() -> bool {
    true
}

/// `dataPlane` or `resourceManager`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::desired) enum Through {
    #[default]
    DataPlane,
    ResourceManager,
}

impl From<Through> for JobDoor {
    fn from(word: Through) -> Self {
        match word {
            Through::DataPlane => JobDoor::DataPlane,
            Through::ResourceManager => JobDoor::ResourceManager,
        }
    }
}
