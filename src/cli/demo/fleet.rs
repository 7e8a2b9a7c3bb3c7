//! `hubward demo fleet`: two hundred hubs at once in an Azure where much goes wrong, in the local cloud, verified
//! from the outside.
//!
//! One hub is deleted, one is made again under its name, and one is fought over by somebody who keeps taking its
//! routes away. Whether a story is true is looked up in the simulated Azure.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::{Ending, GROUP, check::all_endpoints, stage::Stage};
use crate::{
    bus::WORK_QUEUE,
    cli::{
        bench::{FLEET_PROFILES, FLEET_TARGETS as TARGETS},
        local::CloudArgs,
        print,
    },
};

const HUBS: usize = 200;
/// Hubs that an operator makes at the same time.
const AT_ONCE: usize = 50;
/// Changes of somebody else that are undone before the hub is left to them.
const ROUNDS: usize = 6;
const DELETED: &str = "plant007";
const MADE_AGAIN: &str = "plant042";
const FOUGHT_OVER: &str = "plant099";

/// Plays the story.
pub(super) async fn run(args: &CloudArgs, json: bool) -> anyhow::Result<Ending> {
    let stage = Stage::start(args, FLEET_PROFILES, json).await?;
    let summary = stage.play_fleet().await?;
    if json {
        print(&format!("{summary}\n"));
    } else {
        print("\nAll of it is verified in the simulated Azure: every hub, every grant, every write.\n");
    }
    Ok(Ending::Fine)
}

fn name(at: usize) -> String {
    format!("plant{at:03}")
}

/// A hub of the state, by its name.
fn hub<'a>(state: &'a Value, name: &str) -> Option<&'a Value> {
    let hubs = state["hubs"].as_array()?;
    hubs.iter().find(|hub| hub["name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name)))
}

fn principal(state: &Value, name: &str) -> Option<String> {
    hub(state, name)?["identity"]["principalId"].as_str().map(str::to_owned)
}

/// How many grants each principal holds.
fn grants(state: &Value) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for grant in state["roleAssignments"].as_array().into_iter().flatten() {
        let holder = grant["properties"]["principalId"].as_str().unwrap_or_default().to_owned();
        *held.entry(holder).or_default() += 1;
    }
    held
}

/// Whether a hub sends to its targets as itself, and may.
fn is_ready(hub: &Value, grants: &BTreeMap<String, usize>) -> bool {
    let endpoints = all_endpoints(&hub["properties"]["routing"]);
    let as_itself = endpoints.filter(|endpoint| endpoint["authenticationType"] == "identityBased").count();
    let holder = hub["identity"]["principalId"].as_str().unwrap_or_default();
    hub["properties"]["state"] == "Active" && as_itself == TARGETS && grants.get(holder) == Some(&TARGETS)
}

fn count(state: &Value, name: &str) -> u64 {
    state["counters"][name].as_u64().unwrap_or_default()
}

/// What goes wrong on the way. The simulated Azure lets each happen so many times.
fn faults() -> Value {
    json!([
        {"fault": "throttle", "times": 40, "skip": 50, "retryAfter": 5},
        {"fault": "throttle", "times": 40, "skip": 900},
        {"fault": "serverError", "times": 30, "skip": 200},
        {"fault": "serverError", "times": 20, "skip": 600, "status": 503},
        {"fault": "loseAnswer", "times": 20, "skip": 300},
        {"fault": "loseAnswer", "times": 20, "skip": 1200},
    ])
}

impl Stage {
    async fn play_fleet(&self) -> anyhow::Result<Value> {
        let cloud = &self.staged.cloud;
        ensure!(cloud.host.wait_ready().await, "the handler did not start");
        let onboarded = self.onboard_fleet().await?;
        let gone = self.delete_one().await?;
        self.make_one_again().await?;
        let undone = self.fight_over_one().await?;
        let compared = self.compare().await?;
        let mut summary = json!({"verified": true, "hubs": HUBS, "deleted": gone, "undone": undone});
        for part in [onboarded, compared] {
            for (name, value) in part.as_object().into_iter().flatten() {
                summary[name] = value.clone();
            }
        }
        Ok(summary)
    }

    async fn onboard_fleet(&self) -> anyhow::Result<Value> {
        let cloud = &self.staged.cloud;
        cloud.deliver_events(false);
        let made = (0..HUBS).map(|at| self.make(name(at)));
        stream::iter(made).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.sim("POST", "reset-counters", json!({})).await?;
        self.sim("POST", "faults", faults()).await?;
        let started = Instant::now();
        cloud.deliver_events(true);
        let all_are_ready = |state: &Value| {
            let grants = grants(state);
            let hubs = state["hubs"].as_array().map(Vec::as_slice).unwrap_or_default();
            hubs.iter().filter(|hub| is_ready(hub, &grants)).count() == HUBS
        };
        self.until("the fleet to be onboarded", all_are_ready).await?;
        self.until_idle().await?;
        let seconds = started.elapsed().as_secs();
        let state = cloud.azure.state();
        ensure!(state["faults"] == json!([]), "not everything went wrong that should: {}", state["faults"]);
        let (puts, accepted) = (count(&state, "hubPuts"), count(&state, "hubPutsAccepted"));
        ensure!(accepted <= 2 * HUBS as u64 + 40, "{accepted} hub PUTs for {HUBS} hubs");
        self.say(&format!(
            "{HUBS} hubs were made at once, while Azure refused, failed or lost 170 calls: all send to their {TARGETS} targets with identities of their own after {seconds} s, with {accepted} hub PUTs. (Waits run {} times as fast as in Azure, the pace of calls does not.)\n",
            cloud.clock.speed()
        ));
        Ok(json!({"hubPuts": puts, "hubPutsAccepted": accepted, "throttled": count(&state, "throttled"),
            "armCalls": count(&state, "armCalls"), "seconds": seconds}))
    }

    async fn make(&self, name: String) -> anyhow::Result<()> {
        let hub = json!({"resourceGroup": GROUP, "name": name, "location": "westus2", "tags": {"egress": "own"}, "wait": true});
        self.sim("POST", "hubs", hub).await.map(|_| ())
    }

    /// Somebody deletes a hub; what it held, and that it holds it no more.
    async fn delete_one(&self) -> anyhow::Result<usize> {
        let held = principal(&self.staged.cloud.azure.state(), DELETED).context("it has no identity")?;
        self.sim("DELETE", &format!("hubs/{DELETED}?wait=true"), json!({})).await?;
        self.until("the deleted hub's grants to go", |state| !grants(state).contains_key(&held)).await?;
        self.say(&format!("{DELETED} was deleted: its {TARGETS} grants went with it.\n"));
        Ok(TARGETS)
    }

    async fn make_one_again(&self) -> anyhow::Result<()> {
        let before = principal(&self.staged.cloud.azure.state(), MADE_AGAIN).context("it has no identity")?;
        self.sim("DELETE", &format!("hubs/{MADE_AGAIN}?wait=true"), json!({})).await?;
        self.make(MADE_AGAIN.to_owned()).await?;
        let is_made_again = |state: &Value| {
            let grants = grants(state);
            hub(state, MADE_AGAIN).is_some_and(|hub| is_ready(hub, &grants)) && !grants.contains_key(&before)
        };
        self.until("the hub that was made again", is_made_again).await?;
        let now = principal(&self.staged.cloud.azure.state(), MADE_AGAIN);
        ensure!(now.is_some_and(|now| now != before), "a hub that is made again has another principal");
        self.say(&format!(
            "{MADE_AGAIN} was deleted and made again: another principal, granted anew; the old one's grants are gone.\n"
        ));
        Ok(())
    }

    /// Somebody keeps taking a hub's routes away; how often that was undone before the hub was left to them.
    async fn fight_over_one(&self) -> anyhow::Result<usize> {
        self.until_idle().await?;
        for round in 0..ROUNDS {
            let told = self.told(FOUGHT_OVER).await?;
            if told.contains("Blocked") {
                ensure!(round >= 2, "the hub was given up after {round} rounds: {told}");
                let state = self.staged.cloud.azure.state();
                let routes =
                    hub(&state, FOUGHT_OVER).context("it is there")?["properties"]["routing"]["routes"]
                        .clone();
                ensure!(routes == json!([]), "the hub is left as the other owner wants it: {routes}");
                self.say(&format!(
                    "{FOUGHT_OVER} has a second owner, who took its routes away {round} times. Hubward gave way and says so:\n  {}\n",
                    told.trim()
                ));
                return Ok(round - 1);
            }
            let theirs = json!({"properties": {"routing": {"routes": []}}, "wait": true});
            self.sim("PATCH", &format!("hubs/{FOUGHT_OVER}"), theirs).await?;
            self.until_idle().await?;
        }
        anyhow::bail!("{FOUGHT_OVER} is fought over without an end: {}", self.told(FOUGHT_OVER).await?)
    }

    /// What `hubward hubs` tells of a hub.
    async fn told(&self, name: &str) -> anyhow::Result<String> {
        let table = self.hubward(&["hubs"]).await?;
        let line = table.lines().find(|line| line.starts_with(name));
        Ok(line.with_context(|| format!("{name} is not among the hubs"))?.to_owned())
    }

    /// The timer compares the fleet.
    async fn compare(&self) -> anyhow::Result<Value> {
        let cloud = &self.staged.cloud;
        self.sim("POST", "reset-counters", json!({})).await?;
        let table = self.hubward(&["resync", "--dry-run"]).await?;
        let state = cloud.azure.state();
        let calls = count(&state, "armCalls");
        let in_sync = table.lines().filter(|line| line.contains("in sync")).count();
        self.say(&format!(
            "A resync of the fleet: {calls} calls, no write. {}\n",
            table.lines().last().unwrap_or_default()
        ));
        ensure!(in_sync >= HUBS - 2, "{in_sync} hubs in sync:\n{table}");
        ensure!(count(&state, "hubPuts") == 0, "a resync wrote");
        Ok(json!({"resyncCalls": calls, "inSync": in_sync}))
    }

    /// Nothing is under way any more, and no event either.
    async fn until_idle(&self) -> anyhow::Result<()> {
        let cloud = &self.staged.cloud;
        let events_are_delivered = || {
            let events = cloud.azure.events();
            let all = events.as_array().map(Vec::as_slice).unwrap_or_default();
            let is_waiting = |event: &&Value| {
                event["passesFilter"] == true && event["attempts"].as_array().is_none_or(Vec::is_empty)
            };
            !all.iter().any(|event| is_waiting(&event))
        };
        self.until("the work to end", |_| events_are_delivered() && cloud.bus.outstanding(WORK_QUEUE) == 0)
            .await
    }
}
