//! The message that a campaign goes on with: it says which campaign to look at, and no more.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::campaign::Campaign;
use crate::work::{WorkItem, WorkItemError};

/// Namespace of message ids, made once for this purpose.
const STEPS: Uuid = Uuid::from_u128(0x6a0e_9c41_3f6b_4d07_b2d8_91c5_7e0a_4f18);

/// The next step of a campaign. It travels on the queue of work items, in a session of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CampaignStep {
    schema: Schema,
    /// Also the broker's MessageId: the same step is one message, whoever sends it.
    pub step_id: Uuid,
    /// The campaign.
    pub campaign: String,
    /// Which campaign of that name, should there have been another.
    pub run: Uuid,
    /// Its number.
    pub number: u64,
    /// When it is to appear.
    #[serde(with = "time::serde::rfc3339")]
    pub due: OffsetDateTime,
    /// W3C trace context of what led to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Schema {
    #[serde(rename = "hubward/campaign-step/v1")]
    V1,
}

impl CampaignStep {
    /// The step that a campaign goes on with; `None` if it does not go on.
    pub fn next(campaign: &Campaign, trace_parent: Option<String>) -> Option<Self> {
        let due = campaign.next_due?;
        let key = format!("{}|{}", campaign.run, campaign.step);
        Some(Self {
            schema: Schema::V1,
            step_id: Uuid::new_v5(&STEPS, key.as_bytes()),
            campaign: campaign.id.clone(),
            run: campaign.run,
            number: campaign.step,
            due: due.replace_nanosecond(0).unwrap_or(due),
            trace_parent,
        })
    }

    /// The session: one worker at a time for each campaign.
    pub fn session_id(&self) -> String {
        format!("campaign~{}", self.campaign)
    }
}

/// What travels on the queue of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkMessage {
    /// Work at a hub.
    Hub(Box<WorkItem>),
    /// A step of a campaign.
    Campaign(CampaignStep),
}

impl WorkMessage {
    /// Reads a message's text. The error names what is wrong and never quotes the message.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, WorkItemError> {
        match serde_json::from_str(text) {
            Ok(step) => Ok(WorkMessage::Campaign(step)),
            // Whatever is not a step without a fault is held against the work item, and refused as one.
            Err(_) => WorkItem::parse(text).map(|item| WorkMessage::Hub(Box::new(item))),
        }
    }

    /// The trace that it belongs to.
    pub fn trace_parent(&self) -> Option<String> {
        match self {
            WorkMessage::Hub(item) => item.trace_parent.clone(),
            WorkMessage::Campaign(step) => step.trace_parent.clone(),
        }
    }
}
