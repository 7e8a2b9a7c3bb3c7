//! Hubward gives Azure IoT Hubs identity-based egress, with no keys, across a fleet.

pub mod events;
pub mod handler;
pub mod local;
pub mod model;
