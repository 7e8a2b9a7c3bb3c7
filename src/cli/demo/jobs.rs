//! `hubward demo jobs`: bulk jobs, end to end, in the local cloud, verified from the outside.
//!
//! Requests go through `hubward jobs`, a program of its own, and the functions do them. Whether a story is
//! true is looked up in the simulated Azure: its jobs, its blobs, its device registries. Only *reports* are
//! read from the functions' log, since that is where an operator reads them.

use std::{sync::PoisonError, time::Duration};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    Ending, SUBSCRIPTION,
    stage::{PATIENCE, Stage},
};
use crate::cli::{local::CloudArgs, print};

const FROM: &str = "hub-plant-01";
const TO: &str = "hub-plant-02";
const DEVICES: u64 = 10_000;
/// Plays the story.
pub(super) async fn run(args: &CloudArgs, json: bool) -> anyhow::Result<Ending> {
    // A few minutes from now, on a clock that starts now: tonight.
    let night = time::OffsetDateTime::now_utc() + time::Duration::minutes(10);
    let profiles = profiles(night);
    let stage = Stage::start(args, &profiles, json).await?;
    let summary = stage.play_jobs().await?;
    if json {
        print(&format!("{summary}\n"));
    } else {
        print(
            "\nAll of it is verified in the simulated Azure: its jobs, its blobs, its device registries.\n",
        );
    }
    Ok(Ending::Fine)
}

/// Both hubs with their own identity, the first exported each night with keys, so that the export brings
/// devices back as they were.
fn profiles(night: time::OffsetDateTime) -> String {
    let (minute, hour) = (night.minute(), night.hour());
    format!(
        "version: 1
guardrails:
  subscriptions: [ {SUBSCRIPTION} ]
  targets: [ /subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data ]
  allowImports: [ {TO} ]
profiles:
  - name: nightly
    match: {{ names: [ {FROM} ] }}
    identity: {{ system: on }}
    exports:
      - name: nightly
        schedule: \"0 {minute} {hour} * * *\"
        container: {container}
        as: system
        excludeKeys: false
        blobName: \"{{hub}}/nightly-{{time}}.txt\"
        keep: 7
  - name: others
    identity: {{ system: on }}
",
        container = container()
    )
}

fn container() -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive"
    )
}

fn hub_id(name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/{name}"
    )
}

impl Stage {
    async fn play_jobs(&self) -> anyhow::Result<Value> {
        let cloud = &self.staged.cloud;
        ensure!(cloud.host.wait_ready().await, "the handler did not start");
        for name in [FROM, TO] {
            let hub =
                json!({"resourceGroup": "rg-plant-01", "name": name, "location": "westus2", "wait": true});
            self.sim("POST", "hubs", hub).await?;
        }
        self.sim("POST", &format!("hubs/{FROM}/devices"), json!({"count": DEVICES})).await?;
        self.until("the identities to be on", |state| {
            let hubs = state["hubs"].as_array().map(Vec::as_slice).unwrap_or_default();
            hubs.iter().filter(|hub| hub["identity"]["principalId"].is_string()).count() == 2
        })
        .await?;
        self.say(&format!("{FROM} has {DEVICES} devices and exports them each night; {TO} has none.\n"));
        let next = self.hubward(&["exports", "next"]).await?;
        self.say(&format!("hubward exports next says:\n{next}"));

        // An operator asks while the nightly export runs: a hub takes one job at a time.
        self.until("the nightly export to run", |state| !jobs_of(state, FROM).is_empty()).await?;
        let nightly = text(&jobs_of(&cloud.azure.state(), FROM)[0]["jobId"]);
        let second = self.ask(&["export", "--blob", "by-hand.txt"], FROM).await?;
        self.outcome(&second, "Completed").await?;
        let state = cloud.azure.state();
        let jobs = jobs_of(&state, FROM);
        ensure!(
            jobs.len() == 2 && jobs.iter().all(|job| job["status"] == "completed"),
            "not two jobs: {jobs:?}"
        );
        let (first, then) = match &jobs[..] {
            [a, b] if text(&a["jobId"]) == nightly => (a, b),
            [a, b] => (b, a),
            _ => bail!("not two jobs"),
        };
        ensure!(time(&first["ended"])? <= time(&then["started"])?, "two jobs of one hub ran at once");
        self.say("The nightly export has run; the operator's export waited for it and has run after it.\n");

        let blob = self.blobs().await?.into_iter().find(|name| name.starts_with(&format!("{FROM}/nightly-")));
        let blob = blob.context("the nightly export wrote no blob")?;
        let bad = self.bad_lines().await?;
        self.say(&format!(
            "An import of 1,000 lines of which 3 are bad was not started; its report names lines {bad:?}.\n"
        ));

        let back = self.ask(&["import", "--blob", &blob, "--confirm", TO], TO).await?;
        self.outcome(&back, "Completed").await?;
        let (before, after) = (self.registry(FROM).await?, self.registry(TO).await?);
        ensure!(before["count"] == json!(DEVICES), "{FROM} has {} devices", before["count"]);
        ensure!(before["digest"] == after["digest"], "the registries differ");
        self.say(&format!(
            "{blob} was imported into {TO}: {DEVICES} devices, and the registries are equal.\n"
        ));

        let again = self.failed_lines().await?;
        self.say(&format!("An import of 1,000 lines of which 3 are there already: the hub calls it completed, the report says {again} failed.\n"));
        Ok(json!({
            "verified": true, "nightly": blob, "waited": true, "badLines": bad, "devices": DEVICES,
            "registriesEqual": true, "failedLines": again,
            "jobs": {FROM: jobs_of(&cloud.azure.state(), FROM).len(), TO: jobs_of(&cloud.azure.state(), TO).len()},
        }))
    }

    /// Three lines that cannot be imported, in a file of a thousand.
    async fn bad_lines(&self) -> anyhow::Result<Vec<u64>> {
        let mut lines = lines("bad");
        lines[41] = json!({"id": "no-status", "importMode": "create"}).to_string();
        lines[499] = json!({"id": "no-mode", "status": "enabled", "importMode": "upsert"}).to_string();
        lines[998] = "{\"id\": \"cut-off".to_owned();
        self.upload("bad.txt", &lines).await?;
        let request = self.ask(&["import", "--blob", "bad.txt", "--confirm", TO], TO).await?;
        let report = self.outcome(&request, "BadInput").await?;
        ensure!(jobs_of(&self.staged.cloud.azure.state(), TO).is_empty(), "a job was started");
        let told: Vec<u64> =
            [42, 500, 999].into_iter().filter(|line| tells(&report, "line", *line)).collect();
        ensure!(told.len() == 3 && tells(&report, "count", 3), "not exactly three lines are told: {report}");
        Ok(told)
    }

    /// Three lines that the hub refuses: their devices are there already.
    async fn failed_lines(&self) -> anyhow::Result<u64> {
        let mut lines = lines("new");
        let known = self.registry(TO).await?;
        let known: Vec<String> = known["ids"].as_array().into_iter().flatten().take(3).map(text).collect();
        for (line, id) in [7, 70, 700].into_iter().zip(&known) {
            lines[line] = json!({"id": id, "status": "enabled", "importMode": "create"}).to_string();
        }
        self.upload("more.txt", &lines).await?;
        let request = self.ask(&["import", "--blob", "more.txt", "--confirm", TO], TO).await?;
        let report = self.outcome(&request, "CompletedWithErrors").await?;
        ensure!(tells(&report, "failed", 3), "not exactly three lines failed: {report}");
        ensure!(known.iter().all(|id| report.contains(id.as_str())), "the devices are not named: {report}");
        let after = self.registry(TO).await?;
        ensure!(after["count"] == json!(DEVICES + 997), "{TO} has {} devices", after["count"]);
        Ok(3)
    }

    async fn registry(&self, hub: &str) -> anyhow::Result<Value> {
        self.sim("GET", &format!("hubs/{hub}/devices"), Value::Null).await
    }

    async fn blobs(&self) -> anyhow::Result<Vec<String>> {
        let list = self.sim("GET", "blobs/egressdata/archive", Value::Null).await?;
        let list = list.as_array().or(list["blobs"].as_array()).cloned().unwrap_or_default();
        Ok(list.iter().map(|blob| text(&blob["name"])).collect())
    }

    async fn upload(&self, name: &str, lines: &[String]) -> anyhow::Result<()> {
        let url = format!("{}/_sim/blobs/egressdata/archive/{name}", self.staged.cloud.addresses.data);
        let answer = crate::connect::http_client()?.put(url).body(lines.join("\n")).send().await?;
        answer.error_for_status().map(|_| ()).context("cannot upload")
    }

    /// Asks for a job; the request's id.
    async fn ask(&self, args: &[&str], hub: &str) -> anyhow::Result<String> {
        let (hub, container) = (hub_id(hub), container());
        let mut all = vec!["jobs"];
        all.extend(args);
        all.extend(["--hub", &hub, "--container", &container]);
        Ok(self.hubward(&all).await?.trim().to_owned())
    }

    /// Waits for a request's report. Any other outcome ends the story.
    async fn outcome(&self, request: &str, wanted: &str) -> anyhow::Result<String> {
        let report = tokio::time::timeout(PATIENCE, async {
            loop {
                let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let is_it = |line: &&String| line.contains(request) && line.contains("asked for by");
                if let Some(line) = lines.iter().find(is_it) {
                    return line.clone();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .with_context(|| format!("no report of {request}"))?;
        ensure!(report.contains(&format!(" {wanted},")), "not {wanted}: {report}");
        Ok(report)
    }
}

/// A thousand devices to create.
fn lines(prefix: &str) -> Vec<String> {
    let line =
        |n| json!({"id": format!("{prefix}-{n}"), "status": "enabled", "importMode": "create"}).to_string();
    (0..1000).map(line).collect()
}

/// Whether a report has a member with this number. In a line of JSON its quotes are escaped.
fn tells(report: &str, member: &str, number: u64) -> bool {
    [",", "}"].iter().any(|end| report.replace('\\', "").contains(&format!("\"{member}\":{number}{end}")))
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn time(json: &Value) -> anyhow::Result<time::OffsetDateTime> {
    time::OffsetDateTime::parse(&text(json), &Rfc3339).with_context(|| format!("not a time: {json}"))
}

/// The jobs that a hub ever had.
fn jobs_of(state: &Value, hub: &str) -> Vec<Value> {
    let all = state["jobs"].as_object().into_iter().flatten();
    let own = all.filter(|(id, _)| id.eq_ignore_ascii_case(&hub_id(hub)));
    own.filter_map(|(_, jobs)| jobs.as_array()).flatten().cloned().collect()
}
