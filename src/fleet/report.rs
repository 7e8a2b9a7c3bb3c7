//! What a resync found: one row for each hub, small enough for ten thousand of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::IotHubId;

/// What one resync found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetReport {
    /// `hubward/fleet/v1`
    pub schema: String,
    /// The run.
    pub run: Uuid,
    /// When Azure was asked.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Calls to Resource Manager, those to Resource Graph included.
    pub calls: u64,
    /// Every hub in the subscriptions of the guardrails, in the order of ids.
    pub hubs: Vec<HubRow>,
    /// Subscriptions that could not be read, and why. Their hubs are missing above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<String, String>,
    /// The run was stopped by `guardrails.maxHubsChanged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// How far a run that was stopped has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// Hubs that would have to be changed.
    pub wanted: u64,
    /// Hubs that a run may change.
    pub allowed: u64,
}

/// Where one hub stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HubRow {
    /// The hub.
    pub hub: IotHubId,
    /// Its region.
    pub location: String,
    /// The profile that matches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Whether it was put on the queue to be looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub queued: bool,
}

/// How a hub compares with its profile, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StandingKind {
    /// It is as it should be.
    InSync,
    /// It differs.
    Differs,
    /// Grants have to spread.
    Waiting,
    /// A person has to act.
    Blocked,
    /// No profile matches.
    NoProfile,
    /// Its profile cannot be used for it.
    Refused,
}

impl StandingKind {
    /// Every word there is.
    pub const ALL: [Self; 6] =
        [Self::InSync, Self::Differs, Self::Waiting, Self::Blocked, Self::NoProfile, Self::Refused];

    /// As it stands in documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::InSync => "inSync",
            Self::Differs => "differs",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::NoProfile => "noProfile",
            Self::Refused => "refused",
        }
    }

    /// As people read it.
    pub fn label(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::NoProfile => "no profile",
            other => other.word(),
        }
    }
}

/// How a hub compares with its profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "standing")]
pub enum Standing {
    /// It is as it should be.
    InSync,
    /// It differs.
    #[serde(rename_all = "camelCase")]
    Differs {
        /// How many steps it takes.
        changes: u64,
    },
    /// Grants have been made and have to spread.
    #[serde(rename_all = "camelCase")]
    Waiting {
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
    },
    /// Something stands in the way that only a person can move.
    #[serde(rename_all = "camelCase")]
    Blocked {
        /// What.
        causes: Vec<String>,
    },
    /// No profile matches.
    NoProfile,
    /// A profile matches and cannot be used for this hub.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// Why.
        causes: Vec<String>,
    },
}

impl Standing {
    /// In one word.
    pub fn kind(&self) -> StandingKind {
        match self {
            Self::InSync => StandingKind::InSync,
            Self::Differs { .. } => StandingKind::Differs,
            Self::Waiting { .. } => StandingKind::Waiting,
            Self::Blocked { .. } => StandingKind::Blocked,
            Self::NoProfile => StandingKind::NoProfile,
            Self::Refused { .. } => StandingKind::Refused,
        }
    }

    /// What stands in the way, or why its profile cannot be used.
    pub fn causes(&self) -> &[String] {
        match self {
            Self::Blocked { causes } | Self::Refused { causes } => causes,
            _ => &[],
        }
    }
}
