//! The integration tests: one binary, a module per subject.

mod functions_host;
mod functions_host_contract;
mod functions_host_process;
mod functions_host_support;
mod servicebus;
