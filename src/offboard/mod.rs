//! Offboarding: what a hub leaves behind is found and taken away.
//!
//! When a hub is deleted, Azure keeps the role assignments of its identity. [`stale`] says which of them are left
//! over, from what the grants say and what is known of hubs.

mod stale;

pub use stale::{Kept, Known, Leftover, Stale, Standing, claim_of, ours, stale, stale_in_cosmos_db};
