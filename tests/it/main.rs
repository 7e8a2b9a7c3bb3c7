//! The integration tests: one binary, a module per subject.

mod convergence;
mod hub_document;
mod plan;
mod profiles;
mod support;
