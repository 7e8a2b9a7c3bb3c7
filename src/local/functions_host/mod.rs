//! A stand-in for the Azure Functions host.
pub(crate) mod dotnet;
pub mod ncrontab;
