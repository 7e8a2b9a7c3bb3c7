//! Campaigns: a profile brought to a fleet wave by wave.
//!
//! ```text
//! start ──► campaign.json, pages of hubs ──► step message on hub-work (session campaign~{id})
//!                 ▲                                  │
//!                 │ etag                             ▼
//!  pause, resume, rollback          one step: what each hub of the wave came to ─► pages
//!                                   new requests for hubs whose turn it is ──────► hub-work
//!                                   failure ─► paused; wave soaked ─► next; all ─► completed
//!                                                    │
//!                                                    └─► next step, as a scheduled message
//! ```
//!
//! Level-triggered like everything else: a step message says which campaign to look at, never what to do.
//! What the campaign is and how far each hub has come stand in blobs that are changed by version alone.
//! A campaign has no way of its own to change a hub: it sends operators' requests, which go through the
//! same door and are held to the same guardrails.
//!
//! [`campaign`] is what a campaign is, [`hubs`] how far one hub has come, [`waves`] how hubs are split,
//! [`orders`] what operators say, [`step`] the message, [`store`] the blobs, [`run`] the one step.
//!
//! The reference for operators is `docs/campaigns.md`.

pub mod campaign;
mod give_back;
pub mod hubs;
pub mod orders;
pub mod run;
pub mod step;
pub mod store;
pub mod waves;

use std::fmt;

/// Why an order is not taken: the field and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// The field, as the command line spells it.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub fix: String,
}

impl Refused {
    /// A refusal.
    pub fn new(field: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { field: field.to_owned(), message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; fix: {}", self.field, self.message, self.fix)
    }
}
