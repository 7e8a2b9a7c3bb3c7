//! Offboarding: what a hub leaves behind is found and taken away.
//!
//! When a hub is deleted, Azure keeps the role assignments of its identity; when it is made again, or its identity is
//! turned off and on, it has another principal and the old one's stay as well. [`stale`] says which are left over, from
//! what the grants say and what is known of hubs. [`Sweeper`] does it for one hub,
//! [`orphans`](fn@orphans) looks through all grants.

mod orphans;
mod stale;
mod sweep;

pub use orphans::{Orphans, orphans};
pub use stale::{Kept, Known, Leftover, Stale, Standing, claim_of, ours, stale, stale_in_cosmos_db};
pub use sweep::{Certainty, Hints, Sweeper, Swept, kept_line, line, take_away};
