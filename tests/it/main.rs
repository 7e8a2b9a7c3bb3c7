//! Integration tests: one binary, a module for each subject.

mod azure_sim;
mod azure_sim_recordings;
