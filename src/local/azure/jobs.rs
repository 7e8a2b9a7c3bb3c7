//! Exports and imports of devices: asked for, waiting, running, ended.
//!
//! What one does, it does when it ends: `job_files` holds that.
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-bulk-identity-mgmt>

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    answer::{http_date, iso},
    call::Call,
    faults::FaultKind,
    hub::job_access::{self, Denied},
    job_files,
    settings::{Settings, seconds},
    state::State,
};

/// How long a finished job is remembered.
const HISTORY: time::Duration = time::Duration::days(30);

/// An export or import.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: String,
    /// The hub's lower-cased id.
    pub(super) hub: String,
    pub(super) is_export: bool,
    /// As the data plane spells it.
    pub(super) request: Value,
    caller: String,
    through: &'static str,
    created: OffsetDateTime,
    runs: OffsetDateTime,
    ends: OffsetDateTime,
    /// Why it will fail, if a fault says so.
    fault: Option<String>,
    end: Option<End>,
    /// Its hub is gone, and a new one of that name knows nothing of it.
    orphan: bool,
}

#[derive(Debug, Clone)]
struct End {
    status: &'static str,
    reason: Option<String>,
    at: OffsetDateTime,
    progress: u8,
}

/// Why there is no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Another one is enqueued or running.
    Quota,
    /// A container's address is missing.
    NoAddress(&'static str),
    /// The hub does not have the identity.
    NoIdentity,
    /// The hub may not read the container that an import comes from.
    Input,
    /// The hub may not write to the container that something is put into.
    Output,
}

impl Job {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.request[name].as_str().filter(|text| !text.is_empty())
    }

    /// When it is over, if nothing comes in between.
    pub(super) fn ends(&self) -> OffsetDateTime {
        self.ends
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn status(&self, now: OffsetDateTime) -> (&'static str, u8) {
        match &self.end {
            Some(end) => (end.status, end.progress),
            None if now < self.runs => ("enqueued", 0),
            None => {
                let whole = (self.ends - self.runs).as_seconds_f64();
                let part = if whole > 0.0 { (now - self.runs).as_seconds_f64() / whole } else { 1.0 };
                ("running", (part * 100.0).clamp(0.0, 99.0) as u8)
            }
        }
    }

    fn kind(&self) -> &'static str {
        if self.is_export { "export" } else { "import" }
    }

    /// As the data plane shows it.
    pub(super) fn view(&self, now: OffsetDateTime, settings: &Settings) -> Value {
        const STORAGE: [&str; 4] =
            ["inputBlobContainerUri", "outputBlobContainerUri", "storageAuthenticationType", "identity"];
        const SHOWN: [&str; 4] =
            ["inputBlobName", "outputBlobName", "includeConfigurations", "configurationsBlobName"];
        let (status, progress) = self.status(now);
        let mut view = Map::new();
        let mut add = |name: &str, value: Value| view.insert(name.to_owned(), value);
        add("jobId", json!(self.id));
        add("startTimeUtc", json!(iso(self.created)));
        if let Some(end) = &self.end {
            add("endTimeUtc", json!(iso(end.at)));
        }
        add("type", json!(self.kind()));
        add("status", json!(status));
        add("progress", json!(progress));
        add("excludeKeysInExport", json!(self.request["excludeKeysInExport"] == true));
        add("failureReason", json!(self.end.as_ref().and_then(|end| end.reason.clone())));
        let echoed = STORAGE.iter().filter(|_| settings.jobs_echo_storage);
        for name in SHOWN.iter().chain(echoed) {
            if !self.request[*name].is_null() {
                add(name, self.request[*name].clone());
            }
        }
        Value::Object(view)
    }

    /// As Resource Manager shows it: fewer members, and other dates.
    pub(super) fn arm_view(&self, now: OffsetDateTime) -> Value {
        let mut view = json!({
            "jobId": self.id,
            "startTimeUtc": http_date(self.created),
            "type": self.kind(),
            "status": self.status(now).0,
        });
        if let Some(end) = &self.end {
            view["endTimeUtc"] = json!(http_date(end.at));
            view["failureReason"] = json!(end.reason);
        }
        view
    }
}

impl State {
    /// The jobs of a hub, oldest first, as far as it remembers them.
    pub(super) fn jobs_of(&self, hub: &str, now: OffsetDateTime) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(move |job| {
            job.hub == hub && !job.orphan && job.end.as_ref().is_none_or(|end| now - end.at < HISTORY)
        })
    }

    /// Makes a job of a request in the data plane's spelling, or says why not.
    pub(super) fn start_job(
        &mut self,
        call: &Call,
        hub: &str,
        request: Value,
        through: &'static str,
        settings: &Settings,
    ) -> Result<Job, Refused> {
        let is_export = request["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("export"));
        let now = call.now;
        if self.jobs_of(hub, now).any(|job| !job.is_over()) {
            return Err(Refused::Quota);
        }
        let mut job = Job {
            id: self.random.guid(),
            hub: hub.to_owned(),
            is_export,
            request,
            caller: call.caller.name.clone(),
            through,
            created: now,
            runs: now + seconds(settings.job_queue_seconds),
            ends: now,
            fault: None,
            end: None,
            orphan: false,
        };
        let (input, _) = self.containers(&job, now)?;
        let missing = input.as_ref().is_some_and(|input| self.blob(input, job_files::input(&job)).is_none());
        if missing && settings.check_input_blob {
            return Err(Refused::Input);
        }
        let devices = match &input {
            Some(input) => job_files::lines(self, input, job_files::input(&job)),
            None => self.registries.get(hub).map_or(0, |registry| registry.entries.len()),
        };
        let slow = call.hits.get(FaultKind::SlowJob).map_or(0.0, |fault| fault.seconds.unwrap_or(600.0));
        let thousands = devices as f64 / 1000.0;
        let long = settings.job_seconds + thousands * settings.job_seconds_per_thousand + slow;
        job.ends = job.runs + seconds(long);
        job.fault = call
            .hits
            .get(FaultKind::FailJob)
            .map(|fault| fault.message.clone().unwrap_or_else(|| "An internal error occurred.".to_owned()));
        self.jobs.push(job.clone());
        Ok(job)
    }

    /// The containers that a job reads (an import) and writes, if the hub gets at them now.
    pub(super) fn containers(
        &self,
        job: &Job,
        now: OffsetDateTime,
    ) -> Result<(Option<String>, String), Refused> {
        let Some(hub) = self.hubs.get(&job.hub) else { return Err(Refused::NoIdentity) };
        let enter = |name: &'static str, refused: Refused| {
            let address = job.text(name).ok_or(Refused::NoAddress(name))?;
            job_access::container(self, hub, address, &job.request, now).map_err(|denied| match denied {
                Denied::NoIdentity => Refused::NoIdentity,
                Denied::Container => refused,
            })
        };
        let input = match job.is_export {
            true => None,
            false => Some(enter("inputBlobContainerUri", Refused::Input)?),
        };
        Ok((input, enter("outputBlobContainerUri", Refused::Output)?))
    }

    /// Ends every job whose time has come, in order, and those whose hub is gone.
    pub(super) fn settle_jobs(&mut self, now: OffsetDateTime, settings: &Settings) {
        let soon = now + time::Duration::milliseconds(1);
        for at in 0..self.jobs.len() {
            if self.jobs[at].orphan {
                continue;
            }
            if !self.hubs.contains_key(&self.jobs[at].hub) {
                let job = &mut self.jobs[at];
                job.orphan = true;
                let reason = "The IoT hub was deleted.".to_owned();
                job.end.get_or_insert(End { status: "failed", reason: Some(reason), at: now, progress: 0 });
                continue;
            }
            if self.jobs[at].is_over() || self.jobs[at].ends > soon {
                continue;
            }
            let job = self.jobs[at].clone();
            let outcome = match &job.fault {
                Some(reason) => Err(reason.clone()),
                None => self.run_job(&job, settings),
            };
            let (status, progress) = if outcome.is_ok() { ("completed", 100) } else { ("failed", 0) };
            self.jobs[at].end = Some(End { status, reason: outcome.err(), at: job.ends, progress });
        }
        let gone: Vec<String> =
            self.registries.keys().filter(|hub| !self.hubs.contains_key(*hub)).cloned().collect();
        for registry in gone.iter().filter_map(|hub| self.registries.remove(hub)) {
            self.old_secrets.extend(registry.secrets());
        }
    }

    /// Cancels a job that is not over. Whether there was one.
    pub(super) fn cancel_job(&mut self, hub: &str, id: &str, now: OffsetDateTime) -> bool {
        let found = self.jobs.iter_mut().find(|job| {
            job.hub == hub && job.id.eq_ignore_ascii_case(id) && !job.orphan && job.end.is_none()
        });
        let Some(job) = found else { return false };
        let progress = job.status(now).1;
        job.end = Some(End { status: "cancelled", reason: None, at: now, progress });
        true
    }

    /// All jobs by hub, for `/_sim/state`.
    pub(super) fn jobs_view(&self, now: OffsetDateTime) -> Value {
        let mut all = Map::new();
        for job in &self.jobs {
            let known = self.hubs.get(&job.hub).map_or(job.hub.as_str(), |hub| hub.id.as_str());
            let (status, progress) = job.status(now);
            let view = json!({
                "jobId": job.id, "type": job.kind(), "status": status, "progress": progress,
                "caller": job.caller, "through": job.through, "started": iso(job.created),
                "inputBlobName": job.text("inputBlobName"), "outputBlobName": job.text("outputBlobName"),
                "ended": job.end.as_ref().map(|end| iso(end.at)),
                "failureReason": job.end.as_ref().and_then(|end| end.reason.clone()),
            });
            if let Value::Array(list) = all.entry(known).or_insert_with(|| json!([])) {
                list.push(view);
            }
        }
        Value::Object(all)
    }
}
