//! Our own rights: what Hubward needs, what it holds, and what to do about the difference.
//!
//! ```text
//! profiles.yaml ─► Demand ─► needs() ─────────┐
//!                                             ├─► check() ─► Checkup ─► table, JSON, log
//! ARM: permissions and own role assignments ──┘
//! ```
//!
//! [`needs()`] is the one list of rights; `infra/README.md` shows the same one, and a test compares the two.
//! A check costs two reads for each scope, and nothing is written.
//!
//! What Azure answers has limits, and the check says so where they matter: a condition of a role
//! assignment is not part of the permissions, so a grant can be refused that looks allowed. Our own
//! role assignments show the conditions, and what they name is held against what we grant.

mod check;
mod checkup;
mod fix;
mod needs;
mod power;
mod render;
mod roles;
mod tell;

pub use check::check;
pub use checkup::{Checkup, HeldBelow, ScopeCheck, Verdict};
pub use fix::{Fix, fixes};
pub use needs::{Need, PERMISSIONS_READ, Weight, needs};
pub use power::Warning;
pub use roles::{BuiltIn, CustomRole, GivenBy};
pub use tell::at_start;
