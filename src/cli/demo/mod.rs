//! `hubward demo`: the main job, end to end, in the local cloud, verified from the outside.
//!
//! The job is the reference hub: two event hubs, a queue, a topic, a container, file upload, five
//! routes, all with the hub's own identity. Nothing the handler says is believed. What counts is what
//! the simulated Azure holds, and whether a device's message arrives with that identity.

pub(super) mod check;
mod fleet;
mod jobs;
mod requests;
mod stage;
mod table;

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Ending,
    local::{CloudArgs, Staged, start},
    print, remark,
};
use crate::{
    bus::WORK_QUEUE,
    desired,
    local::{azure::World, cloud::LocalCloud},
};

const SUBSCRIPTION: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
const GROUP: &str = "rg-plant-01";
const HUB: &str = "hub-plant-01";
const NEXT_HUB: &str = "hub-plant-02";
/// Longest time the story may take before it counts as failed: Azure's quarter of an hour at the
/// slowest speed, and the handler's start.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(subcommand)]
    story: Option<Story>,
    #[command(flatten)]
    cloud: CloudArgs,
    /// One line of JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Append the handler's and the host's log to this file, at trace level.
    #[arg(long, value_name = "FILE")]
    log_file: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Story {
    /// Play bulk jobs instead: a nightly export, one that waits for it, imports with bad lines, and a round
    /// trip of 10,000 devices.
    Jobs,
    /// Play operators' requests instead: a plan, an endpoint by request, the same request again, hostile ones,
    /// and the way back.
    Requests,
    /// Play a fleet of two hundred hubs instead, while much goes wrong: one is deleted, one made again, one fought
    /// over by somebody else.
    Fleet,
}

/// What the story came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    verified: bool,
    /// Every write, as the simulated Azure saw it.
    steps: Vec<StepSeen>,
    hub_puts: u64,
    arm_calls: u64,
    calls: Value,
    waits: u64,
    /// Seconds on Azure's clock, from the hub's event to the verified end.
    azure_seconds: f64,
    /// Seconds on this computer's clock, the same stretch.
    seconds: f64,
    speed: f64,
    deliveries: Value,
    second_event: SecondEvent,
    /// The same for another hub, whose targets the handler knows by now.
    next_hub: NextHub,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NextHub {
    hub_puts: u64,
    arm_calls: u64,
}

/// One write, as the simulated Azure saw it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepSeen {
    /// Azure's time.
    at: String,
    step: String,
    status: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecondEvent {
    arm_calls: u64,
    writes: u64,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<Ending> {
    match args.story {
        Some(Story::Jobs) => return jobs::run(&args.cloud, args.json).await,
        Some(Story::Fleet) => return fleet::run(&args.cloud, args.json).await,
        Some(Story::Requests) => return requests::run(&args.cloud, args.json).await,
        None => {}
    }
    let log = std::sync::Mutex::new(match &args.log_file {
        Some(path) => Some(
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => None,
    });
    let filter = if args.log_file.is_some() { "trace" } else { "info" };
    let staged =
        start(&args.cloud, World::reference(), Some(desired::reference()), None, None, filter, move |line| {
            use std::io::Write;
            if let Ok(mut file) = log.lock()
                && let Some(file) = file.as_mut()
            {
                let _ = writeln!(file, "{}", line.text);
            }
        })
        .await?;
    let stage = Stage { staged, quiet: args.json, progress: progress(args.json) };
    let told = tokio::time::timeout(PATIENCE, stage.tell()).await;
    stage.progress.finish_and_clear();
    let summary = match told {
        Ok(summary) => summary?,
        Err(_) => bail!("the hub was not ready after {} minutes", PATIENCE.as_secs() / 60),
    };
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&summary)?));
    } else {
        print(&table::table(&summary));
    }
    ensure!(summary.verified, "the end state is not what it should be");
    ensure!(summary.second_event.writes == 0, "the second event was answered with writes");
    Ok(Ending::Fine)
}

struct Stage {
    staged: Staged,
    quiet: bool,
    progress: ProgressBar,
}

impl Stage {
    fn cloud(&self) -> &LocalCloud {
        &self.staged.cloud
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            self.progress.suspend(|| print(&format!("{text}\n")));
        }
    }

    async fn sim(&self, method: &str, path: &str, body: Value) -> anyhow::Result<Value> {
        self.cloud().sim(method, path, body).await.map_err(anyhow::Error::msg)
    }

    /// The story.
    async fn tell(&self) -> anyhow::Result<Summary> {
        let cloud = self.cloud();
        self.progress.set_message("starting the handler");
        ensure!(cloud.host.wait_ready().await, "the handler did not start");
        self.say(&format!(
            "A simulated Azure at {} and the Functions host at {}; Azure's clock runs {} times as fast.\n",
            cloud.addresses.arm,
            cloud.addresses.functions,
            cloud.clock.speed()
        ));

        // The event is held back until the plan has been shown.
        cloud.deliver_events(false);
        self.progress.set_message(format!("an operator creates {HUB}"));
        self.create(HUB).await?;
        self.say(&format!(
            "An operator has created {HUB} (S1, westus2, tag egress=reference). hubward plan says:\n"
        ));
        self.say(&self.plan().await?);

        self.sim("POST", "reset-counters", json!({})).await?;
        let (started, azure_started) = (Instant::now(), cloud.clock.now());
        cloud.deliver_events(true);
        self.wait_for_work(1, |state| check::hub_is_ready(state, HUB).is_ok()).await?;
        let (seconds, azure_seconds) =
            (started.elapsed().as_secs_f64(), (cloud.clock.now() - azure_started).as_seconds_f64());

        let state = cloud.azure.state();
        let deliveries =
            self.sim("POST", &format!("hubs/{HUB}/messages"), json!({})).await?["deliveries"].take();
        let problem =
            check::hub_is_ready(&state, HUB).and_then(|principal| check::delivered(&deliveries, &principal));
        if let Err(problem) = &problem {
            remark(&format!("not verified: {problem}"));
        }
        let counters = &state["counters"];
        let waits =
            cloud.bus.snapshot()["queues"][WORK_QUEUE]["completed"].as_u64().unwrap_or(1).saturating_sub(1);

        self.say("hubward plan says now:\n");
        self.say(&self.plan().await?);
        let second_event = self.same_event_again().await?;
        Ok(Summary {
            verified: problem.is_ok(),
            steps: table::steps_seen(&state),
            hub_puts: counters["hubPuts"].as_u64().unwrap_or_default(),
            arm_calls: counters["armCalls"].as_u64().unwrap_or_default(),
            calls: counters["calls"].clone(),
            waits,
            azure_seconds,
            seconds,
            speed: cloud.clock.speed(),
            deliveries,
            second_event,
            next_hub: self.next_hub().await?,
        })
    }

    async fn create(&self, name: &str) -> anyhow::Result<()> {
        let hub = json!({"resourceGroup": GROUP, "name": name, "location": "westus2", "tags": {"egress": "reference"}, "wait": true});
        self.sim("POST", "hubs", hub).await.map(|_| ())
    }

    /// Another hub of the fleet.
    async fn next_hub(&self) -> anyhow::Result<NextHub> {
        let cloud = self.cloud();
        cloud.deliver_events(false);
        self.create(NEXT_HUB).await?;
        self.sim("POST", "reset-counters", json!({})).await?;
        let ran = cloud.host.status().functions.get("Work").map_or(0, |work| work.counts.succeeded);
        cloud.deliver_events(true);
        self.wait_for_work(ran + 1, |state| check::hub_is_ready(state, NEXT_HUB).is_ok()).await?;
        let counters = &cloud.azure.state()["counters"];
        let count = |name: &str| counters[name].as_u64().unwrap_or_default();
        Ok(NextHub { hub_puts: count("hubPuts"), arm_calls: count("armCalls") })
    }

    /// What `hubward plan` prints against this cloud: the same program, in a process of its own.
    async fn plan(&self) -> anyhow::Result<String> {
        let own = std::env::current_exe()?;
        let output = tokio::process::Command::new(own)
            .arg("plan")
            .envs(self.cloud().client_settings())
            .output()
            .await
            .context("cannot run hubward plan")?;
        ensure!(output.status.success(), "hubward plan failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until `Work` has run at least so often, nothing is left to do, and the state is as wanted.
    async fn wait_for_work(&self, runs: u64, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let cloud = self.cloud();
        loop {
            let mut changes = cloud.bus.changes();
            let ran = cloud.host.status().functions.get("Work").map_or(0, |work| work.counts.succeeded);
            let left = cloud.bus.outstanding(WORK_QUEUE);
            let state = cloud.azure.state();
            self.progress.set_message(describe(&state, cloud));
            if ran >= runs && left == 0 && wanted(&state) {
                return Ok(());
            }
            // Looked at again when a message moves, and often enough to show what goes on.
            let _ = tokio::time::timeout(Duration::from_millis(100), changes.changed()).await;
        }
    }

    /// The hub's event once more, under an id of its own so that the broker does not drop it.
    async fn same_event_again(&self) -> anyhow::Result<SecondEvent> {
        let cloud = self.cloud();
        self.sim("POST", "reset-counters", json!({})).await?;
        let before = cloud.azure.state()["hubs"].clone();
        let ran = cloud.host.status().functions.get("Work").map_or(0, |work| work.counts.succeeded);
        self.sim("POST", "events", json!({"hub": HUB, "verb": "write"})).await?;
        self.wait_for_work(ran + 1, |_| true).await?;
        let state = cloud.azure.state();
        ensure!(state["hubs"] == before, "the second event changed the hub");
        let calls = state["counters"]["calls"].as_object().cloned().unwrap_or_default();
        let writes = calls.iter().filter(|(name, _)| !name.starts_with("GET") && !name.starts_with("HEAD"));
        Ok(SecondEvent {
            arm_calls: state["counters"]["armCalls"].as_u64().unwrap_or_default(),
            writes: writes.filter_map(|(_, count)| count.as_u64()).sum(),
        })
    }
}

/// What goes on, in one line.
fn describe(state: &Value, cloud: &LocalCloud) -> String {
    let hub = &state["hubs"][0];
    let identity = hub["identity"]["principalId"].is_string();
    let granted =
        state["roleAssignments"].as_array().is_some_and(|grants| grants.len() == check::GRANTS.len());
    let busy = state["running"].as_object().is_some_and(|running| !running.is_empty());
    let next = cloud.bus.next_scheduled(WORK_QUEUE).map(|due| (due - cloud.clock.now()).whole_seconds());
    match (identity, granted, busy, next) {
        (_, _, true, _) => "the hub is taking a change".to_owned(),
        (_, true, _, Some(seconds)) if seconds > 0 => {
            format!("the grants spread; the hub is asked in {seconds} of Azure's seconds")
        }
        (true, false, ..) => "granting the least role on each target".to_owned(),
        (false, ..) => "the event reaches the handler".to_owned(),
        _ => "looking at the hub".to_owned(),
    }
}

fn progress(json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
