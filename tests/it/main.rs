//! The integration tests: one binary, a module per subject.

mod azure_sim;
mod azure_sim_recordings;
mod contract;
mod convergence;
mod events;
mod events_hub;
mod events_random;
mod handler_invocations;
mod handler_random;
mod handler_runtime;
mod hub_document;
mod plan;
mod profiles;
mod support;
