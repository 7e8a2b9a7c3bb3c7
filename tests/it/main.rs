//! The integration tests, in one binary: a module per subject.

mod events;
mod events_hub;
mod events_random;
mod handler_invocations;
mod handler_random;
mod handler_runtime;
