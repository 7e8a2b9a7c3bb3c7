//! A cold fleet: hubs that were all made at once, brought to their profile by several instances.
//!
//! Resource Manager takes so many writes and no more, so there is a time that nobody can beat. The figure
//! is how far above it we are, and that no hub fails on the way. docs/performance.md has the formula.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use clap::{Args, ValueEnum};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    cli::{Ending, bench::memory::Memory, demo::check, print},
    desired::DesiredState,
    local::{
        azure::{EventSink, Settings, World},
        crew::{Crew, CrewSize},
        workbench::Workbench,
    },
    outcomes::Word,
};

/// Two profiles with three targets: `own` and `shared` identities.
pub(in crate::cli) const PROFILES: &str = include_str!("fleet.profiles.yaml");
/// Endpoints, and so targets, of a hub of either profile.
pub(in crate::cli) const TARGETS: usize = 3;
/// Instances of a Flex Consumption app, unless somebody asks for more.
/// <https://learn.microsoft.com/azure/azure-functions/flex-consumption-plan#scale>
const MOST_INSTANCES: usize = 100;
/// What host.json says of it.
const SESSIONS: u16 = 512;
/// Hubs that an operator makes at the same time.
const AT_ONCE: usize = 2000;

#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    /// Hubs of the fleet.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    hubs: u32,
    /// Whose identity they send with.
    #[arg(long, value_enum, default_value_t)]
    identity: Identity,
    /// Instances of the function app. Left out: as many as it is scaled out to, one for each so many sessions
    /// that wait, and at most a hundred.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    instances: Option<u16>,
    /// Sessions that an instance takes at the same time: `maxConcurrentSessions` of host.json.
    #[arg(long, default_value_t = SESSIONS, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    sessions: u16,
    /// The last line is JSON.
    #[arg(long)]
    json: bool,
    /// Seed of everything random in the simulated Azure.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Identity {
    /// Each hub with its own, system-assigned one.
    #[default]
    Own,
    /// All with one user-assigned identity: the cheap way.
    Shared,
}

impl Identity {
    fn tag(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
        }
    }

    /// Hub PUTs of a hub, role assignments of a hub, and those of the whole fleet: the fewest there can be. Each
    /// hub's routes are tested besides, by a POST, which counts as a write.
    fn writes(self) -> (u64, u64, u64) {
        match self {
            Self::Own => (2, TARGETS as u64, 0),
            Self::Shared => (1, 0, TARGETS as u64),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    hubs: u32,
    /// On Azure's clock, from the first event to the last outcome.
    seconds: f64,
    floor_seconds: f64,
    over_floor: f64,
    /// To Resource Manager, each try and each poll counted.
    calls: u64,
    hub_puts: u64,
    /// Calls that Resource Manager refused because of the rate.
    throttled: u64,
    /// Hubs that did not end in their profile.
    failed: u64,
    /// What comparing the finished fleet costs.
    resync_calls: u64,
    resync_writes: u64,
    /// Real seconds that it takes.
    resync_real_seconds: f64,
    /// Most memory of the whole process, the simulated Azure included; absent where the system does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "peakMiB")]
    peak_mi_b: Option<u64>,
}

pub(super) async fn run(args: FleetArgs) -> anyhow::Result<Ending> {
    let settings = Settings { seed: args.seed, ..Settings::default() };
    let (_, each, all) = args.identity.writes();
    let grants = u64::from(args.hubs) * each + all;
    ensure!(
        grants <= settings.role_assignment_limit as u64,
        "--hubs {}: that takes {grants} role assignments, and a subscription has room for {}; \
         take fewer hubs, or `--identity shared`",
        args.hubs,
        settings.role_assignment_limit
    );
    let floor = floor(args.hubs, args.identity, &settings);
    let state = DesiredState::parse(PROFILES)?;
    let event_delay = settings.events.delay_seconds;
    let bench = Workbench::new(settings, World::reference().with_state_account(), state);
    let sessions = usize::from(args.sessions);
    let scaled_out = (args.hubs as usize).div_ceil(sessions).min(MOST_INSTANCES);
    let size = CrewSize { instances: args.instances.map_or(scaled_out, usize::from), sessions };
    let crew = Crew::new(&bench.azure, &bench.clock, PROFILES, size)?;

    let first_event =
        Arc::new(FirstEvent { crew: crew.events(), clock: bench.clock.clone(), at: Mutex::default() });
    bench.azure.set_event_sink(first_event.clone());
    create(&bench, args.hubs, args.identity).await?;
    bench.reset_counters().await?;
    tokio::time::sleep(Duration::from_secs_f64(event_delay + 1.0)).await;
    let tally = crew.work().await;
    let ended =
        tally.outcomes.iter().map(|record| record.ended_at).max().context("nothing came of any hub")?;
    let started = first_event.at.lock().unwrap_or_else(PoisonError::into_inner).context("no event came")?;
    let seconds = (ended - started).as_seconds_f64();
    let (calls, hub_puts, throttled) =
        (bench.count("armCalls"), bench.count("hubPuts"), bench.count("throttled"));
    let failed = unfinished(&bench.azure.state(), args.hubs, args.identity) as u64;
    for record in
        tally.outcomes.iter().filter(|record| !matches!(record.outcome, Word::Changed | Word::InSync))
    {
        tracing::warn!(outcome = ?record.outcome, causes = ?record.causes, "a hub did not end well");
    }
    ensure!(tally.dead.is_empty(), "{} messages were given up", tally.dead.len());

    bench.reset_counters().await?;
    let real = std::time::Instant::now();
    crew.tick("Resync").await?;
    let resync_real_seconds = real.elapsed().as_secs_f64();
    let looked = crew.work().await.outcomes.len();
    ensure!(failed > 0 || looked == 0, "a resync of the finished fleet looked at {looked} hubs");
    let (resync_calls, resync_writes) = (bench.count("armCalls"), writes(&bench.azure.state()));
    let figures = Figures {
        hubs: args.hubs,
        seconds: rounded(seconds),
        floor_seconds: rounded(floor),
        over_floor: rounded(seconds / floor),
        calls,
        hub_puts,
        throttled,
        failed,
        resync_calls,
        resync_writes,
        resync_real_seconds: rounded(resync_real_seconds),
        peak_mi_b: Memory::of(std::process::id()).map(|memory| memory.peak / (1024 * 1024)),
    };
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&figures)?));
    } else {
        print(&table(&figures));
    }
    Ok(if failed == 0 { Ending::Fine } else { Ending::Failed })
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The seconds below which nobody can be. The bucket of writes has to let everything through, and what
/// follows the last write of each stage takes its time.
fn floor(hubs: u32, identity: Identity, settings: &Settings) -> f64 {
    let (puts, each, all) = identity.writes();
    let limits = &settings.throttling;
    let through = |writes: u64| ((writes as f64 - limits.writes) / limits.writes_per_second).max(0.0);
    let (hubs, put) = (u64::from(hubs), settings.hub_update_seconds);
    let spread = settings.propagation_min_seconds;
    let grants = hubs * each + all;
    // Of one hub, with nothing in its way.
    let alone = put * puts as f64 + spread;
    let before_last_put = through(hubs * (puts - 1) + grants) + spread + put;
    let before_test = through(hubs * puts + grants) + put;
    let everything = through(hubs * (puts + 1) + grants);
    everything.max(before_test).max(before_last_put).max(alone)
}

/// Hubs that an operator has made, all active at about the same time.
async fn create(bench: &Workbench, hubs: u32, identity: Identity) -> anyhow::Result<()> {
    let made = (0..hubs).map(|at| async move { bench.create_hub(&name(at), identity.tag()).await });
    stream::iter(made).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(())
}

fn name(at: u32) -> String {
    format!("plant{at:05}")
}

/// Hubs without all of their endpoints, with an identity. Read from the simulated Azure.
fn unfinished(state: &Value, hubs: u32, identity: Identity) -> usize {
    let found = state["hubs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_finished = |hub: &&Value| {
        let with_identity = check::all_endpoints(&hub["properties"]["routing"]).filter(|endpoint| {
            endpoint["authenticationType"] == "identityBased"
                && endpoint["identity"].is_object() == (identity == Identity::Shared)
        });
        hub["properties"]["state"] == "Active" && with_identity.count() == TARGETS
    };
    hubs as usize - found.iter().filter(is_finished).count()
}

/// Writes that the simulated Azure has counted.
fn writes(state: &Value) -> u64 {
    let calls = state["counters"]["calls"].as_object();
    // A query of Resource Graph is posted, and reads.
    let is_write = |name: &str| !name.starts_with("GET ") && name != "POST resources";
    let written = calls.into_iter().flatten().filter(|(name, _)| is_write(name));
    written.filter_map(|(_, count)| count.as_u64()).sum()
}

/// Passes events on, and keeps when the first one came.
struct FirstEvent {
    crew: Arc<dyn EventSink>,
    clock: crate::local::clock::SimClock,
    at: Mutex<Option<OffsetDateTime>>,
}

#[async_trait]
impl EventSink for FirstEvent {
    async fn deliver(&self, body: Value, headers: BTreeMap<String, String>) -> u16 {
        let now = self.clock.now();
        self.at.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
        self.crew.deliver(body, headers).await
    }
}

fn table(figures: &Figures) -> String {
    let figures = json!(figures);
    let mut text = String::from("A cold fleet, as the simulated Azure counted it\n\n");
    let rows = [
        ("hubs", "hubs", ""),
        ("time on Azure's clock", "seconds", " s"),
        ("the least that the buckets allow", "floorSeconds", " s"),
        ("times the least", "overFloor", ""),
        ("calls to Resource Manager", "calls", ""),
        ("hub PUTs", "hubPuts", ""),
        ("calls refused because of the rate", "throttled", ""),
        ("hubs that did not end in their profile", "failed", ""),
        ("comparing the finished fleet: calls", "resyncCalls", ""),
        ("comparing the finished fleet: writes", "resyncWrites", ""),
        ("comparing the finished fleet: real time", "resyncRealSeconds", " s"),
        ("peak memory, the simulated Azure included", "peakMiB", " MiB"),
    ];
    for (name, key, unit) in rows {
        if let Some(value) = figures.get(key) {
            text.push_str(&format!("  {name:<44}{value}{unit}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bench_takes_as_many_sessions_as_the_host() {
        let host: Value = serde_json::from_str(include_str!("../../../host.json")).unwrap();
        assert_eq!(host["extensions"]["serviceBus"]["maxConcurrentSessions"], SESSIONS);
    }

    #[test]
    fn the_floor_is_what_the_documentation_says() {
        let settings = Settings::default();
        assert_eq!(floor(1000, Identity::Own, &settings), 580.0);
        assert_eq!(floor(1, Identity::Own, &settings), 75.0);
        assert_eq!(floor(1000, Identity::Shared, &settings), 180.3);
    }
}
