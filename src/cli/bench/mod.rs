//! `hubward bench`: what the work costs, counted in the simulated Azure on paused time; and what the handler
//! costs, in real time, beside others.
//!
//! The counts are the simulator's, not ours: every call that reached it. Nothing is skipped: the real
//! engine plans and writes, and the end state is read from the simulator before a figure is printed.

mod fleet;
mod handler;
mod memory;
mod onboard;

use clap::{Args, Subcommand};

use super::Ending;

pub(super) use fleet::{PROFILES as FLEET_PROFILES, TARGETS as FLEET_TARGETS};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Onboard the reference hub: calls, hub PUTs, polls, and what looking again costs.
    Onboard(onboard::OnboardArgs),
    /// Onboard a whole fleet at once: how far above the time that Azure's limits allow, and what a resync costs.
    Fleet(fleet::FleetArgs),
    /// Measure the handler beside the same handler in Node and in Python: start, memory, latency, throughput.
    Handler(handler::HandlerBenchArgs),
}

pub(super) async fn run(args: BenchArgs) -> anyhow::Result<Ending> {
    match args.which {
        Which::Onboard(args) => on_paused_time(move || onboard::run(args)).await,
        Which::Handler(args) => handler::run(args).await,
        Which::Fleet(args) => on_paused_time(move || fleet::run(args)).await,
    }
}

/// Runs something on a thread of its own whose time is paused: a wait of ten minutes takes none.
async fn on_paused_time<F>(work: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<Ending>
where
    F: Future<Output = anyhow::Result<Ending>>,
{
    let thread = move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        runtime.block_on(work())
    };
    tokio::task::spawn_blocking(thread).await?
}
