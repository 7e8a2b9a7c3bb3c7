//! Azure Resource Manager over HTTP: what we ask, and how refusals are understood.
//!
//! [`ArmClient`] makes one authenticated call; [`ArmReader`] and [`ArmWriter`] are the operations
//! on top. The transport is `azure_core`'s [`HttpClient`](azure_core::http::HttpClient), so tests
//! put a simulated Azure in its place, in the same process.

mod activity;
mod cache;
mod client;
mod clock;
mod error;
mod explain;
mod grants;
mod hubs;
mod jobs;
mod operation;
mod pace;
mod resource_graph;
mod resources;
mod rights;
mod targets;

pub use activity::LoggedWrite;
pub use client::{ArmClient, HUB_SCOPE};
pub use clock::AzureClock;
pub use error::{ArmError, Reaction, Refusal};
pub use grants::read_grant;
pub use hubs::{EndpointHealth, NotWritten};
pub use pace::Urgency;
pub use resource_graph::{GraphPages, ResourceGraph};
pub use resources::{ArmReader, ArmWriter, ListPages};
pub use rights::{OwnAssignment, Principal, RoleDefinition};

use uuid::Uuid;

use crate::model::{ResourceId, role::Role};

/// Namespace of our role assignment names, made once for this purpose.
const ASSIGNMENTS: Uuid = Uuid::from_u128(0x6d0d_9a52_6f0e_4b0c_9a6f_2f1c_6a4b_7e11);

/// The name of the role assignment for a scope, a role and a principal: a UUID v5 over the three,
/// lower-cased. The principal is part of it because a recreated identity must not meet its
/// predecessor's assignment.
pub fn assignment_name(scope: &ResourceId, role: Role, principal: &str) -> Uuid {
    let key = format!("{}|{}|{}", scope.key(), principal.to_ascii_lowercase(), role.guid());
    Uuid::new_v5(&ASSIGNMENTS, key.as_bytes())
}
