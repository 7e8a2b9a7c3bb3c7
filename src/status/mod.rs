//! What a person wants to know of the fleet, on a page that needs nothing but a browser.
//!
//! ```text
//! fleet.json (the last resync) ──────┐
//! hub-failed (peeked) ───────────────┼─► FleetView ─┐
//! profiles: schedules of exports ────┘              ├─► JSON, or HTML
//! one look at a hub, its last outcome ─► HubView ───┘
//! ```
//!
//! A view is a plain value: JSON is its serialization, and HTML is made from it and from nothing else, so the
//! two say the same. The fleet's page asks Azure nothing but what is parked. A hub's page looks at the hub,
//! for a limited time, and reads only. What cannot be read is said on the page, and the rest is shown.
//!
//! Of a hub's document, ids, names and the lines of a plan are shown; of a parked message, why it is there.

mod ask;
mod fleet;
mod html;
mod hub;
mod read;
mod sources;

pub use ask::{Ask, Filter, Mistake};
pub use fleet::{FailedWork, FleetView, NextExport, PAGE, ProfileSummary, Resync, Summary};
pub use html::{Links, content_security_policy, fleet_page, hub_page, mistake_page};
pub use hub::{GrantView, HubExport, HubView, JobView, OutcomeView, PlanStep, PlanView};
pub use read::{NotRead, Part};
pub use sources::Sources;

/// The name of the documents' form.
pub const SCHEMA: &str = "hubward/status/v1";
