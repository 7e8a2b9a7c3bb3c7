//! Hubward gives Azure IoT Hubs identity-based egress, with no keys, across a fleet.

pub mod apply;
pub mod arm;
pub mod bus;
pub mod cli;
pub mod config;
pub mod connect;
pub mod desired;
pub mod events;
pub mod functions;
pub mod handler;
pub mod local;
pub mod model;
pub mod observe;
pub mod package;
pub mod plan;
pub mod profiles;
pub mod reconcile;
pub mod telemetry;
pub mod work;
