//! The fleet as a whole: where every hub stands, as the last resync found it.
//!
//! ```text
//! Resource Graph, or lists of Resource Manager
//!   grants, compactly ──┐
//!   hubs, page by page ─┴─► plan() ─► one row a hub ─► those that differ ─► hub-work
//! ```
//!
//! What a resync reads may be old or incomplete. So it only says which hubs to look at; the look reads
//! the hub itself and decides. A hub that is as it should be costs its share of a page, and nothing else.

mod compare;
mod grants;
mod nominate;
mod report;
mod resync;
mod source;

pub use compare::{compare, standing};
pub use grants::FleetGrants;
pub use nominate::{ask_for_leftovers, ask_for_looks, nominate, record_of_stop};
pub use report::{FleetReport, HubRow, Standing, StandingKind, Stopped};
pub use resync::{QUARTER, Survey, run_at, survey};
pub use source::Source;
