//! What one look came to.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    apply::StepOutcome,
    model::{IotHubId, hub::HubDocument, observed::Grant},
    plan::{GrantState, Warning},
    prove::Proof,
};

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The hub.
    pub hub: IotHubId,
    /// The profile that asks for it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The fingerprint of what its profile wants, for looks that are about the profile.
    #[serde(skip)]
    pub fingerprint: Option<Uuid>,
    /// How it ended.
    pub outcome: Outcome,
    /// The steps that were tried, in order.
    pub steps: Vec<ReportedStep>,
    /// How far each needed grant has come.
    pub grants: Vec<GrantState>,
    /// What an operator should know.
    pub warnings: Vec<Warning>,
    /// Paths of the hub that moved besides what was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moved_besides: Vec<String>,
    /// What the hub says after a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The principal of the hub's own identity, if it has one; `None` where the hub was not seen at the end.
    #[serde(skip)]
    pub system_principal: Option<Option<String>>,
    /// Whether it is sure that there is no such hub.
    #[serde(skip)]
    pub is_gone: bool,
    /// When this look wrote the hub, or may have.
    #[serde(skip)]
    pub written: Written,
    /// What the next look of the chain has to know.
    #[serde(skip)]
    pub chain: Chain,
}

impl Report {
    pub(super) fn of(hub: &IotHubId) -> Self {
        Self {
            hub: hub.clone(),
            profile: None,
            fingerprint: None,
            outcome: Outcome::InSync,
            steps: Vec::new(),
            grants: Vec::new(),
            warnings: Vec::new(),
            moved_besides: Vec::new(),
            proof: None,
            system_principal: None,
            is_gone: false,
            written: Written::default(),
            chain: Chain::default(),
        }
    }
}

/// When a hub was written within the last hour, by whichever process. It is kept with the hub's last outcome:
/// Azure's own log is minutes behind, and a process knows only of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// When the hub was made: one that was made anew has not been written.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    made: Option<OffsetDateTime>,
    /// The times, in order.
    at: BTreeSet<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct At(#[serde(with = "time::serde::rfc3339")] OffsetDateTime);

impl Written {
    /// The hub was written now, or may have been.
    pub(super) fn now(&mut self, hub: &HubDocument, now: OffsetDateTime) {
        let written = Self { made: hub.created_at(), at: [At(now)].into() };
        *self = written.after(std::mem::take(self), now);
    }

    /// When just this hub was written.
    pub(super) fn of(&self, hub: &HubDocument) -> impl Iterator<Item = OffsetDateTime> {
        let all = (self.made == hub.created_at()).then_some(&self.at);
        all.into_iter().flatten().map(|at| at.0)
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// With what was known before of the same hub, as far as it is no older than an hour.
    #[must_use]
    pub fn after(mut self, before: Self, now: OffsetDateTime) -> Self {
        if self.at.is_empty() || before.made == self.made {
            self.made = before.made;
            self.at.extend(before.at);
        }
        self.at.retain(|at| now - at.0 < Duration::HOUR);
        self
    }
}

/// What one look hands over to the next that goes on with it: it travels in the scheduled message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Chain {
    /// Grants that were made, with the times that Azure gave them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Grant>,
    /// What the looks before did, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<String>,
    /// Since when the chain has been waiting for what may never come.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub doubt_since: Option<OffsetDateTime>,
}

/// One step that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedStep {
    /// In words.
    pub step: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: StepOutcome,
}

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome")]
pub enum Outcome {
    /// Nothing had to be done.
    InSync,
    /// Something was changed, and a last look found the hub in sync.
    Changed,
    /// The work goes on later; nothing is wrong.
    Waiting {
        /// What for.
        cause: String,
        /// When to look again, in Azure's time.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
        /// Whether it may be a mistake to wait: not for ever, then.
        #[serde(skip)]
        in_doubt: bool,
    },
    /// It was planned only.
    Planned {
        /// Why no more than that.
        cause: String,
        /// What would be done, line by line.
        plan: Vec<String>,
    },
    /// Something stands in the way that only a person can move.
    Blocked {
        /// Each reason.
        causes: Vec<String>,
    },
    /// The guardrails do not allow it, or no profile asks for it.
    Refused {
        /// Each reason.
        causes: Vec<String>,
    },
    /// The service refused for good.
    Failed {
        /// In the service's words.
        cause: String,
    },
}

impl Outcome {
    /// The outcome's name, as it is reported and counted.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::InSync => "InSync",
            Outcome::Changed => "Changed",
            Outcome::Waiting { .. } => "Waiting",
            Outcome::Planned { .. } => "Planned",
            Outcome::Blocked { .. } => "Blocked",
            Outcome::Refused { .. } => "Refused",
            Outcome::Failed { .. } => "Failed",
        }
    }

    /// Whether somebody should look at it.
    pub fn needs_attention(&self) -> bool {
        matches!(self, Outcome::Blocked { .. } | Outcome::Failed { .. })
    }
}
