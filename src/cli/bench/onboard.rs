//! The reference hub: system-assigned identity, two event hubs, a queue, a topic, a container, five
//! grants, five routes, an enrichment, file upload.
//!
//! Two hubs are onboarded by one process. The first finds nothing known: each target, and the firewall
//! of each namespace, is read once. The second is every other hub of a fleet: what its targets are is
//! known for ten minutes. Both are reported; the figures at the top are the second's.

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::super::{Ending, print};
use crate::{
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

/// What onboarding cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    /// PUTs of the hub.
    hub_puts: u64,
    /// Calls to Resource Manager, without the polls beyond the first of each hub PUT.
    arm_calls: u64,
    /// Polls beyond the first of each hub PUT.
    extra_polls: u64,
    /// Calls that a look at the finished hub costs.
    resync_reads: u64,
    /// Writes of that look.
    resync_writes: u64,
    /// The same look by a process that has just started.
    resync_reads_after_restart: u64,
    /// Every call, in order.
    calls: Vec<String>,
    /// The same for the first hub of a process, which reads each target once.
    first_hub: FirstHub,
    /// Seconds on Azure's clock, the waits for the grants included.
    azure_seconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FirstHub {
    hub_puts: u64,
    arm_calls: u64,
    extra_polls: u64,
    calls: Vec<String>,
}

/// One onboarding.
struct Onboarded {
    hub_puts: u64,
    calls: Vec<String>,
    extra_polls: u64,
    azure_seconds: f64,
}

pub(super) async fn run(args: OnboardArgs) -> anyhow::Result<Ending> {
    let settings = Settings { seed: args.seed, ..Settings::default() };
    let state = DesiredState::parse(desired::reference())?;
    let mut bench = Workbench::new(settings, World::reference(), state);
    let first = onboard(&bench, "hub-plant-01").await?;
    let next = onboard(&bench, "hub-plant-02").await?;
    let (resync_reads, resync_writes) = look_again(&bench, "hub-plant-02").await?;
    bench.restart();
    let (resync_reads_after_restart, more_writes) = look_again(&bench, "hub-plant-02").await?;
    let figures = Figures {
        hub_puts: next.hub_puts,
        arm_calls: next.calls.len() as u64 - next.extra_polls,
        extra_polls: next.extra_polls,
        resync_reads,
        resync_writes: resync_writes + more_writes,
        resync_reads_after_restart,
        calls: next.calls,
        azure_seconds: next.azure_seconds,
        first_hub: FirstHub {
            hub_puts: first.hub_puts,
            arm_calls: first.calls.len() as u64 - first.extra_polls,
            extra_polls: first.extra_polls,
            calls: first.calls,
        },
    };
    if !args.json {
        print(&table(&figures));
    } else {
        print(&format!("{}\n", serde_json::to_string(&figures)?));
    }
    Ok(Ending::Fine)
}

async fn onboard(bench: &Workbench, name: &str) -> anyhow::Result<Onboarded> {
    bench.create_hub(name, "reference").await?;
    bench.reset_counters().await?;
    let polls_before = polls(bench);
    let started = bench.clock.now();
    let hub = IotHubId::parse(&format!("{GROUP}/providers/Microsoft.Devices/IotHubs/{name}"))?;
    let reports = bench.settle(&hub).await?;
    let last = &reports.last().context("no report")?.outcome;
    ensure!(*last == Outcome::Changed, "{name} was not onboarded: {last:?}");
    verify(bench, &hub)?;
    let hub_puts = bench.count("hubPuts");
    Ok(Onboarded {
        hub_puts,
        calls: calls(bench),
        extra_polls: (polls(bench) - polls_before).saturating_sub(hub_puts),
        azure_seconds: (bench.clock.now() - started).as_seconds_f64(),
    })
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

/// Reads the simulated Azure: is the hub what the reference says?
fn verify(bench: &Workbench, hub: &IotHubId) -> anyhow::Result<()> {
    let found = bench.hub(hub);
    let principal = found["identity"]["principalId"].as_str().context("the hub has no identity")?;
    let properties = &found["properties"];
    let endpoints = properties["routing"]["endpoints"].as_object().context("no endpoints")?;
    let by_identity = |endpoint: &&Value| endpoint["authenticationType"] == "identityBased";
    let count = endpoints.values().filter_map(Value::as_array).flatten().filter(by_identity).count();
    ensure!(count == 5, "{count} endpoints use the identity instead of 5");
    let routes = properties["routing"]["routes"].as_array().map_or(0, Vec::len);
    ensure!(routes == 5, "{routes} routes instead of 5");
    let upload = &properties["storageEndpoints"]["$default"];
    ensure!(upload["authenticationType"] == "identityBased", "file upload does not use the identity");
    let state = bench.azure.state();
    let grants = state["roleAssignments"].as_array().context("no grants")?;
    let own = grants.iter().filter(|grant| grant["properties"]["principalId"] == principal).count();
    ensure!(own == 5, "{own} grants instead of 5");
    Ok(())
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
    for call in &figures.calls {
        text.push_str(&format!("  {call}\n"));
    }
    text.push('\n');
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<44}{value}\n"));
    row("hub PUTs", figures.hub_puts.to_string());
    row("calls to Resource Manager", figures.arm_calls.to_string());
    row("polls beyond the first of each PUT", figures.extra_polls.to_string());
    row("the first hub of a process: calls", figures.first_hub.arm_calls.to_string());
    row("looking again: reads", figures.resync_reads.to_string());
    row("looking again after a restart: reads", figures.resync_reads_after_restart.to_string());
    row("looking again: writes", figures.resync_writes.to_string());
    row("time on Azure's clock", format!("{:.0} s", figures.azure_seconds));
    text
}
