//! What things are: ids, roles, hub documents, desired and observed state. No I/O, no clock.

pub mod id;

pub use id::{IotHubId, ResourceId, ResourceIdError};
