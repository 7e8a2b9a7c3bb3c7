//! What things are: ids, roles, hub documents, desired and observed state. No I/O, no clock.

pub mod claim;
pub mod desired;
pub mod duration;
pub mod hub;
pub mod id;
pub mod job;
pub mod observed;
pub mod permission;
pub mod role;

pub use id::{IotHubId, ResourceId, ResourceIdError};
