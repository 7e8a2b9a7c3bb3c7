//! The integration tests: one binary, a module per subject.

mod azure_sim;
mod azure_sim_recordings;
mod contract;
mod convergence;
mod events;
mod functions_host;
mod handler;
mod hub_document;
mod plan;
mod profiles;
mod servicebus;
mod support;
