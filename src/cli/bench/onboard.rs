//! The reference hub: system-assigned identity, two event hubs, a queue, a topic, a container, five
//! grants, five routes, an enrichment, file upload.
//!
//! Two hubs are onboarded by one process. The first finds nothing known: each target, and the firewall
//! of each namespace, is read once. The second is every other hub of a fleet: what its targets are is
//! known for ten minutes. Both are reported; the figures at the top are the second's.

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;

use crate::{
    cli::{Ending, demo::check, print},
    desired::{self, DesiredState},
    local::{
        azure::{Settings, World},
        workbench::Workbench,
    },
    model::IotHubId,
    reconcile::Outcome,
};

const GROUP: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-plant-01";

#[derive(Debug, Args)]
pub(super) struct OnboardArgs {
    /// The last line is JSON.
    #[arg(long)]
    json: bool,
    /// Seed of everything random in the simulated Azure.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// All figures. Those at the top are the second hub's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    #[serde(flatten)]
    cost: Cost,
    /// Calls that a look at the finished hub costs.
    resync_reads: u64,
    /// Writes of that look.
    resync_writes: u64,
    /// The same look by a process that has just started.
    resync_reads_after_restart: u64,
    /// The same for the first hub of a process, which reads each target once.
    first_hub: Cost,
    /// Seconds on Azure's clock, the waits for the grants included.
    azure_seconds: f64,
}

/// What onboarding one hub cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    /// PUTs of the hub.
    hub_puts: u64,
    /// Calls to Resource Manager, without the polls beyond the first of each hub PUT.
    arm_calls: u64,
    /// Polls beyond the first of each hub PUT.
    extra_polls: u64,
    /// Every call, in order.
    calls: Vec<String>,
}

pub(super) async fn run(args: OnboardArgs) -> anyhow::Result<Ending> {
    let settings = Settings { seed: args.seed, ..Settings::default() };
    let state = DesiredState::parse(desired::reference())?;
    let mut bench = Workbench::new(settings, World::reference(), state);
    let (first_hub, _) = onboard(&bench, "hub-plant-01").await?;
    let (cost, azure_seconds) = onboard(&bench, "hub-plant-02").await?;
    let (resync_reads, resync_writes) = look_again(&bench, "hub-plant-02").await?;
    bench.restart();
    let (resync_reads_after_restart, more_writes) = look_again(&bench, "hub-plant-02").await?;
    let resync_writes = resync_writes + more_writes;
    let figures =
        Figures { cost, resync_reads, resync_writes, resync_reads_after_restart, first_hub, azure_seconds };
    if !args.json {
        print(&table(&figures));
    } else {
        print(&format!("{}\n", serde_json::to_string(&figures)?));
    }
    Ok(Ending::Fine)
}

/// Onboards one hub: what it cost, and the seconds on Azure's clock.
async fn onboard(bench: &Workbench, name: &str) -> anyhow::Result<(Cost, f64)> {
    bench.create_hub(name, "reference").await?;
    bench.reset_counters().await?;
    let polls_before = polls(bench);
    let started = bench.clock.now();
    let hub = IotHubId::parse(&format!("{GROUP}/providers/Microsoft.Devices/IotHubs/{name}"))?;
    let reports = bench.settle(&hub).await?;
    let last = &reports.last().context("no report")?.outcome;
    ensure!(*last == Outcome::Changed, "{name} was not onboarded: {last:?}");
    check::hub_is_ready(&bench.azure.state(), name)?;
    let (hub_puts, calls) = (bench.count("hubPuts"), calls(bench));
    let extra_polls = (polls(bench) - polls_before).saturating_sub(hub_puts);
    let arm_calls = calls.len() as u64 - extra_polls;
    let cost = Cost { hub_puts, arm_calls, extra_polls, calls };
    Ok((cost, (bench.clock.now() - started).as_seconds_f64()))
}

/// Looks at a finished hub: reads and writes.
async fn look_again(bench: &Workbench, name: &str) -> anyhow::Result<(u64, u64)> {
    bench.reset_counters().await?;
    let hub = IotHubId::parse(&format!("{GROUP}/providers/Microsoft.Devices/IotHubs/{name}"))?;
    let outcome = bench.look(&hub).await.outcome;
    ensure!(outcome == Outcome::InSync, "{name} is not in sync: {outcome:?}");
    let calls = calls(bench);
    let reads = calls.iter().filter(|call| call.starts_with("GET ")).count() as u64;
    Ok((reads, calls.len() as u64 - reads))
}

/// Polls of hub writes that the client has sent so far.
fn polls(bench: &Workbench) -> u64 {
    bench.arm.reader().client().calls().get("GET hub (poll)").copied().unwrap_or_default()
}

/// Every call that reached the simulated Resource Manager since the counters were zeroed.
fn calls(bench: &Workbench) -> Vec<String> {
    let state = bench.azure.state();
    let log = state["log"].as_array().cloned().unwrap_or_default();
    let named = log.iter().map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        let path = text("path");
        let below = path.rsplit_once("/providers/").map_or(path, |(_, below)| below);
        format!("{} {below}", text("method"))
    });
    named.collect()
}

fn table(figures: &Figures) -> String {
    let mut text = String::from("Onboarding the reference hub, as the simulated Azure counted it\n\n");
    for call in &figures.cost.calls {
        text.push_str(&format!("  {call}\n"));
    }
    text.push('\n');
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<44}{value}\n"));
    row("hub PUTs", figures.cost.hub_puts.to_string());
    row("calls to Resource Manager", figures.cost.arm_calls.to_string());
    row("polls beyond the first of each PUT", figures.cost.extra_polls.to_string());
    row("the first hub of a process: calls", figures.first_hub.arm_calls.to_string());
    row("looking again: reads", figures.resync_reads.to_string());
    row("looking again after a restart: reads", figures.resync_reads_after_restart.to_string());
    row("looking again: writes", figures.resync_writes.to_string());
    row("time on Azure's clock", format!("{:.0} s", figures.azure_seconds));
    text
}
