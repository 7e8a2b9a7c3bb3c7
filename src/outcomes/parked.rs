//! What did not end well, with all that it takes to send it again.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Word;
use crate::queue::{MOST_AT_ONCE, QueueError, StorageQueue};

/// Longest message: the queue takes 64 KiB in all, and Base64 makes four of three.
pub const MOST_PARKED: usize = 45_000;

/// One thing that was parked on `hub-failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parked {
    /// `hubward/parked/v1`
    pub schema: String,
    /// The id of its outcome.
    pub outcome_id: Uuid,
    /// How it ended.
    pub outcome: Word,
    /// Why.
    pub causes: Vec<String>,
    /// Where it came in: a queue, or `hub-work`.
    pub from: String,
    /// When it was parked.
    #[serde(with = "time::serde::rfc3339")]
    pub parked_at: OffsetDateTime,
    /// The hub, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The request, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// What came in, if it was not understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where the whole of what came in lies, if it is too long for a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

impl Parked {
    /// The request that does it again: the same under another key, or, for what was no request, that
    /// the hub be made what its profile says. `None` where it was never understood.
    pub fn again(&self, asked_by: &str, turn: i64) -> Option<Value> {
        let fresh = |id: &str| {
            let base = id.split_once(":again-").map_or(id, |(base, _)| base);
            let base: String = base.chars().take(100).collect();
            format!("{base}:again-{turn}")
        };
        if let Some(mut request) = self.request.clone() {
            let id = fresh(request.get("id")?.as_str()?);
            request["id"] = id.into();
            if let Some(members) = request.as_object_mut() {
                members.remove("notBefore");
            }
            return Some(request);
        }
        let hub = self.hub.as_deref().filter(|_| self.text.is_none())?;
        Some(serde_json::json!({
            "schema": "hubward/v1", "kind": "Reconcile", "id": fresh(&self.outcome_id.to_string()), "hub": hub,
            "requestedBy": asked_by, "reason": "replayed",
        }))
    }
}

/// The queue of what was parked, for whoever only looks.
#[async_trait]
pub trait ParkedQueue: Send + Sync {
    /// The oldest [`MOST_AT_ONCE`] without taking them. What was not parked by us is left out.
    async fn oldest(&self) -> Result<Vec<Parked>, QueueError>;
}

#[async_trait]
impl ParkedQueue for StorageQueue {
    async fn oldest(&self) -> Result<Vec<Parked>, QueueError> {
        let messages = self.peek(MOST_AT_ONCE).await?;
        Ok(messages.iter().filter_map(|message| serde_json::from_str(&message.text).ok()).collect())
    }
}
