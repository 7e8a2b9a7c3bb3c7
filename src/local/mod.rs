//! The local cloud: a simulated Azure and a stand-in for the Functions host.
//!
//! Nothing here is used in production. The simulator is written from Azure's contracts alone and
//! does not share code with [`crate::arm`], so that the two check each other.

pub mod azure;
pub mod azurite;
pub mod clock;
pub mod cloud;
pub mod crew;
pub mod functions_host;
pub mod in_process;
pub mod recorder;
pub mod servicebus;
pub mod simulate;
pub mod storage_queue;
pub mod workbench;
