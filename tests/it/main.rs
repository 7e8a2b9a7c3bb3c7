//! The integration tests: one binary, a module per subject.

mod arm_client;
mod azure_sim;
mod azure_sim_recordings;
mod bus;
mod contract;
mod convergence;
mod end_to_end;
mod events;
mod events_hub;
mod events_random;
mod functions;
mod functions_host;
mod functions_host_contract;
mod functions_host_process;
mod functions_host_support;
mod handler_invocations;
mod handler_random;
mod handler_runtime;
mod hub_document;
mod plan;
mod profiles;
mod profiles_source;
mod servicebus;
mod support;
