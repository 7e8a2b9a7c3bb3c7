//! The integration tests: one binary, a module per subject.

mod azure_sim;
mod azure_sim_recordings;
mod contract;
mod convergence;
mod hub_document;
mod plan;
mod profiles;
mod support;
