//! The operators' command line and local cloud.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    hubward::cli::main().await
}
