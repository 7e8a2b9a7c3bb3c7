//! `hubward demo`: the main job, end to end, in the local cloud, verified from the outside.
//!
//! Nothing the handler says is believed. What counts is what the simulated Azure holds, and whether
//! a device's message reaches the event hub with the hub's own identity.

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
    local::{azure::World, cloud::LocalCloud},
    model::{IotHubId, role::Role},
};

const SUBSCRIPTION: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
const GROUP: &str = "rg-plant-01";
const HUB: &str = "hub-plant-01";
const EVENT_HUB: &str = "telemetry-westus2";
/// Longest time the story may take before it counts as failed: Azure's quarter of an hour at the
/// slowest speed, and the handler's start.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    cloud: CloudArgs,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Append the handler's and the host's log to this file, at trace level.
    #[arg(long, value_name = "FILE")]
    log_file: Option<std::path::PathBuf>,
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
}

/// One write, as the simulated Azure saw it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepSeen {
    /// Azure's time.
    at: String,
    step: &'static str,
    status: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecondEvent {
    arm_calls: u64,
    writes: u64,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<Ending> {
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
    let staged = start(&args.cloud, World::sample(), None, filter, move |line| {
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
        print(&table(&summary));
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
        let hub = json!({"resourceGroup": GROUP, "name": HUB, "location": "westus2", "tags": {"egress": "standard"}, "wait": true});
        self.sim("POST", "hubs", hub).await?;
        self.say(&format!(
            "An operator has created {HUB} (S1, westus2, tag egress=standard). hubward plan says:\n"
        ));
        self.say(&self.plan().await?);

        self.sim("POST", "reset-counters", json!({})).await?;
        let (started, azure_started) = (Instant::now(), cloud.clock.now());
        cloud.deliver_events(true);
        self.wait_for_work(1, |state| verify(state).is_ok()).await?;
        let (seconds, azure_seconds) =
            (started.elapsed().as_secs_f64(), (cloud.clock.now() - azure_started).as_seconds_f64());

        let state = cloud.azure.state();
        let deliveries =
            self.sim("POST", &format!("hubs/{HUB}/messages"), json!({})).await?["deliveries"].take();
        let problem = verify(&state).and_then(|principal| delivered(&deliveries, &principal));
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
            steps: steps_seen(&state),
            hub_puts: counters["hubPuts"].as_u64().unwrap_or_default(),
            arm_calls: counters["armCalls"].as_u64().unwrap_or_default(),
            calls: counters["calls"].clone(),
            waits,
            azure_seconds,
            seconds,
            speed: cloud.clock.speed(),
            deliveries,
            second_event,
        })
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

fn hub_id() -> anyhow::Result<IotHubId> {
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Devices/IotHubs/{HUB}"
    );
    Ok(IotHubId::parse(&id)?)
}

/// Checks the simulated Azure: identity, exactly one grant, one endpoint, one route. Gives the
/// identity's principal.
fn verify(state: &Value) -> anyhow::Result<String> {
    let id = hub_id()?;
    let hubs = state["hubs"].as_array().context("no hubs")?;
    let hub = hubs
        .iter()
        .find(|hub| hub["id"].as_str().is_some_and(|text| text.eq_ignore_ascii_case(id.as_str())))
        .context("the hub is not there")?;
    ensure!(hub["identity"]["type"] == "SystemAssigned", "the system-assigned identity is off");
    let principal =
        hub["identity"]["principalId"].as_str().context("the identity has no principal")?.to_owned();
    let grants = state["roleAssignments"].as_array().context("no grants")?;
    ensure!(grants.len() == 1, "there are {} grants instead of one", grants.len());
    let grant = &grants[0]["properties"];
    let text = |name: &str| grant[name].as_str().unwrap_or_default().to_ascii_lowercase();
    ensure!(text("principalId") == principal.to_ascii_lowercase(), "the grant is not the hub's");
    ensure!(
        text("roleDefinitionId").ends_with(Role::EventHubsDataSender.guid()),
        "the grant is for another role"
    );
    ensure!(
        text("scope").ends_with(&format!("/namespaces/ns1/eventhubs/{EVENT_HUB}")),
        "the grant is elsewhere"
    );
    let routing = &hub["properties"]["routing"];
    let endpoints = routing["endpoints"]["eventHubs"].as_array().context("no endpoints")?;
    ensure!(endpoints.len() == 1, "there are {} endpoints instead of one", endpoints.len());
    ensure!(endpoints[0]["authenticationType"] == "identityBased", "the endpoint does not use an identity");
    ensure!(
        endpoints[0].get("connectionString").is_none_or(Value::is_null),
        "the endpoint has a connection string"
    );
    let routes = routing["routes"].as_array().context("no routes")?;
    ensure!(
        routes.len() == 1 && routes[0]["endpointNames"] == json!(["telemetry"]),
        "the route is not there"
    );
    ensure!(hub["properties"]["state"] == "Active", "the hub is not active");
    Ok(principal)
}

/// Checks that the device's message arrived, and with which identity.
fn delivered(deliveries: &Value, principal: &str) -> anyhow::Result<()> {
    let list = deliveries.as_array().context("nothing was routed")?;
    ensure!(
        list.len() == 1 && list[0]["delivered"] == true && list[0]["with"] == "identity",
        "the device's message did not arrive: {deliveries}"
    );
    ensure!(list[0]["principal"] == principal, "another identity delivered it");
    Ok(())
}

/// What goes on, in one line.
fn describe(state: &Value, cloud: &LocalCloud) -> String {
    let hub = &state["hubs"][0];
    let identity = hub["identity"]["principalId"].is_string();
    let granted = state["roleAssignments"].as_array().is_some_and(|grants| !grants.is_empty());
    let busy = state["running"].as_object().is_some_and(|running| !running.is_empty());
    let next = cloud.bus.next_scheduled(WORK_QUEUE).map(|due| (due - cloud.clock.now()).whole_seconds());
    match (identity, granted, busy, next) {
        (_, _, true, _) => "the hub is taking a change".to_owned(),
        (_, true, _, Some(seconds)) if seconds > 0 => {
            format!("the grant spreads; the hub is asked in {seconds} of Azure's seconds")
        }
        (true, false, ..) => "granting Azure Event Hubs Data Sender".to_owned(),
        (false, ..) => "the event reaches the handler".to_owned(),
        _ => "looking at the hub".to_owned(),
    }
}

/// The writes in the simulator's log, named by what they are for.
fn steps_seen(state: &Value) -> Vec<StepSeen> {
    let log = state["log"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut hub_puts = 0;
    let mut steps = Vec::new();
    for entry in log {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        if text("method") != "PUT" {
            continue;
        }
        let step = if text("path").to_ascii_lowercase().contains("/roleassignments/") {
            "grant Azure Event Hubs Data Sender on the event hub"
        } else {
            hub_puts += 1;
            if hub_puts == 1 { "turn the system-assigned identity on" } else { "write endpoint and route" }
        };
        let at = text("time").to_owned();
        steps.push(StepSeen { at, step, status: entry["status"].as_u64().unwrap_or_default() });
    }
    steps
}

fn table(summary: &Summary) -> String {
    let delivery = &summary.deliveries[0];
    let mut text = format!(
        "{HUB} sends to event hub {EVENT_HUB} with its own identity ({}).\n\n",
        delivery["principal"].as_str().unwrap_or("?")
    );
    for (number, StepSeen { at, step, status }) in summary.steps.iter().enumerate() {
        let time = at.get(11..19).unwrap_or(at);
        text.push_str(&format!("  {}. {time} UTC  {step} ({status})\n", number + 1));
    }
    text.push('\n');
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<28}{value}\n"));
    row("verified in Azure", if summary.verified { "yes" } else { "NO" }.to_owned());
    row("calls to Resource Manager", summary.arm_calls.to_string());
    row("hub PUTs", summary.hub_puts.to_string());
    row("waits (scheduled messages)", summary.waits.to_string());
    row("time on Azure's clock", format!("{:.0} s", summary.azure_seconds));
    row("time on this computer", format!("{:.1} s at speed {}", summary.seconds, summary.speed));
    row(
        "the same event again",
        format!("{} reads, {} writes", summary.second_event.arm_calls, summary.second_event.writes),
    );
    text.push_str("\n  calls by kind\n");
    for (kind, count) in summary.calls.as_object().into_iter().flatten() {
        text.push_str(&format!("    {count:>3}  {kind}\n"));
    }
    text
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
