//! Bulk export and import of devices: what is asked for, and the record of it that we keep, since the
//! service does not echo it.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-bulk-identity-mgmt>

use std::fmt;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{ResourceId, desired::IdentityRef};
use crate::schedule;

/// What stands behind a blob's name in that of its configurations, where a schedule names both.
pub const CONFIGURATIONS: &str = ".configurations";
/// How far the clock of the hub may be behind the one that Azure's answers tell us.
const SKEW: Duration = Duration::minutes(1);

/// A hub's id of a job. It becomes part of an address, so it is letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct JobId(String);

/// A text that no hub gives as a job's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of a job has 1 to 128 letters, digits, `-` or `_`")]
pub struct JobIdError;

impl TryFrom<String> for JobId {
    type Error = JobIdError;

    fn try_from(text: String) -> Result<Self, JobIdError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=128).contains(&text.len()) && text.chars().all(fits) {
            Ok(Self(text))
        } else {
            Err(JobIdError)
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobRequest {
    /// Idempotency key: the same request is one job.
    pub id: Uuid,
    /// What is to be done.
    pub job: JobSpec,
    /// The storage container's resource id: that of the output, and for an import of the input too.
    pub container: ResourceId,
    /// The identity that the hub reaches it with.
    #[serde(rename = "as")]
    pub identity: IdentityRef,
    /// Which of the hub's two doors it goes through.
    #[serde(default)]
    pub through: JobDoor,
    /// Who asked: a person, or `schedule {name}`.
    pub requested_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
    /// Older exports that go when this one is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields, tag = "kind")]
pub enum JobSpec {
    /// Writes all devices of the hub into a blob.
    Export {
        /// The blob.
        blob_name: String,
        /// Whether the devices' keys are left out.
        exclude_keys: bool,
        /// The blob for configurations and deployments, if they are wanted too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        configurations_blob_name: Option<String>,
    },
    /// Creates, changes and deletes devices as a blob says. Cannot be undone.
    Import {
        /// The blob with one device a line.
        blob_name: String,
        /// The hub's name once more: whoever asks has looked.
        confirm: String,
    },
}

impl JobRequest {
    /// What is wrong with it, whatever the hub: each names the field.
    pub fn problems(&self) -> Vec<String> {
        const CONTAINERS: &str = "Microsoft.Storage/storageAccounts/blobServices/containers";
        let mut problems = Vec::new();
        if !self.container.resource_type().is_some_and(|kind| kind.eq_ignore_ascii_case(CONTAINERS)) {
            problems
                .push(format!("`container` is not the resource id of a storage container ({CONTAINERS})"));
        }
        let configurations = match &self.job {
            JobSpec::Export { configurations_blob_name, .. } => configurations_blob_name.as_deref(),
            JobSpec::Import { .. } => None,
        };
        let blob = ("blobName", self.job.blob_name());
        for (field, name) in
            [Some(blob), configurations.map(|name| ("configurationsBlobName", name))].into_iter().flatten()
        {
            if name.is_empty() || name.len() > 1024 || name.chars().any(char::is_control) {
                problems.push(format!("`{field}` is not 1 to 1024 printable characters"));
            }
        }
        if configurations == Some(self.job.blob_name()) {
            problems.push("`configurationsBlobName` is `blobName`: one would overwrite the other".to_owned());
        }
        if let Some(keep) = &self.keep {
            problems.extend(keep.problems(&self.job));
        }
        problems
    }

    /// Whether a job may be what this request started, by all that the hub shows of it. `container` is
    /// the address of ours.
    ///
    /// Hubs were seen that show neither containers nor identities, and Resource Manager shows no blobs:
    /// what is not shown speaks neither for nor against it.
    pub fn fits(&self, job: &ObservedJob, container: &str) -> bool {
        let Shown { blob_name, container: shown, exclude_keys, by_identity, user } = &job.shown;
        let same = |shown: &str| address(shown).eq_ignore_ascii_case(address(container));
        let keys = match &self.job {
            JobSpec::Export { exclude_keys, .. } => Some(*exclude_keys),
            JobSpec::Import { .. } => None,
        };
        job.kind == self.job.word()
            && blob_name.as_deref().is_none_or(|name| name == self.job.blob_name())
            && shown.as_deref().is_none_or(same)
            && exclude_keys.is_none_or(|shown| keys.is_none_or(|keys| keys == shown))
            && by_identity.is_none_or(|by_identity| by_identity)
            && user.as_deref().is_none_or(|id| {
                matches!(&self.identity, IdentityRef::User(own) if own.as_str().eq_ignore_ascii_case(id))
            })
    }
}

/// A container's address without what may differ: a signature, a slash at the end.
fn address(uri: &str) -> &str {
    uri.split('?').next().unwrap_or_default().trim_end_matches('/')
}

impl JobSpec {
    /// In words.
    pub fn word(&self) -> &'static str {
        match self {
            JobSpec::Export { .. } => "export",
            JobSpec::Import { .. } => "import",
        }
    }

    /// The blob that it writes or reads.
    pub fn blob_name(&self) -> &str {
        match self {
            JobSpec::Export { blob_name, .. } | JobSpec::Import { blob_name, .. } => blob_name,
        }
    }
}

/// Which of a hub's two doors a job goes through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobDoor {
    /// The hub's own service API. Can be cancelled there.
    #[default]
    DataPlane,
    /// Azure Resource Manager, for hubs whose own API cannot be reached. Cannot be cancelled.
    ResourceManager,
}

/// Which older exports go: all but the newest so many with this beginning and this end, and a time
/// between the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keep {
    /// How many stay, the new one included.
    pub count: u32,
    /// What stands before the time in their names.
    pub before: String,
    /// What stands behind it.
    pub after: String,
    /// What stands behind all of it in the name of a second blob, which goes with the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub besides: Option<String>,
}

impl Keep {
    /// The time in a blob's name, if it is of this schedule.
    pub fn time_in(&self, name: &str) -> Option<OffsetDateTime> {
        schedule::time_of(name.strip_prefix(&self.before)?.strip_suffix(&self.after)?)
    }

    /// What is wrong with it, for a job: it must not reach further than the schedule that the job's own
    /// blob belongs to.
    fn problems(&self, job: &JobSpec) -> Vec<String> {
        let JobSpec::Export { blob_name, configurations_blob_name, .. } = job else {
            return vec!["`keep` is for exports: an import makes no blobs to keep".to_owned()];
        };
        let mut problems = Vec::new();
        if self.count == 0 {
            problems.push("`keep.count` is 0: the new export is one of those that stay".to_owned());
        }
        if self.time_in(blob_name).is_none() {
            problems.push(
                "`keep.before`, a time such as `20260131T023000Z` and `keep.after` do not make `blobName`"
                    .to_owned(),
            );
        }
        if self.besides.as_deref().is_some_and(|besides| besides != CONFIGURATIONS) {
            problems.push(format!("`keep.besides` is not `{CONFIGURATIONS}`"));
        }
        let second = self.besides.as_ref().map(|besides| format!("{blob_name}{besides}"));
        if second.is_some() && second != *configurations_blob_name {
            problems.push("`keep.besides` does not lead to `configurationsBlobName`".to_owned());
        }
        problems
    }
}

/// A request on its way, as it travels in messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobItem {
    /// What was asked.
    pub request: JobRequest,
    /// How far it has come.
    pub phase: JobPhase,
    /// How many steps came before, in all phases: what tells one message of a request from another.
    #[serde(default)]
    pub steps: u32,
    /// How many looks of this phase found nothing to go on with.
    #[serde(default)]
    pub looks: u32,
    /// How often a running job was seen.
    #[serde(default)]
    pub polls: u32,
    /// How many calls in this phase failed.
    #[serde(default)]
    pub failures: u32,
    /// How many looks in a row did not find the hub.
    #[serde(default)]
    pub missing: u32,
}

/// How far a request has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields, tag = "phase")]
pub enum JobPhase {
    /// Nothing has been started yet: the identity's role, the quota and the input are seen to.
    Wanted {
        /// Why the hub refused, the last time it was asked. A young grant explains it, an old one does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// The hub is about to be asked, or was, and the answer was lost.
    Intended(Intent),
    /// The hub works on it.
    Running {
        /// The hub's id of it.
        job_id: JobId,
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// How far the hub says it is, in percent.
        progress: u32,
    },
}

/// What is written down before a hub is asked, so that a job whose answer is lost is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// Jobs that are not ours: the hub had them before it was asked.
    pub known: Vec<JobId>,
    /// When they were looked at. A job of ours did not start before.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Whether the hub may have been asked already. If not, a job that is not known is somebody else's.
    #[serde(default)]
    pub asked: bool,
}

impl Intent {
    /// An intent after a look at the hub's jobs.
    pub fn after(jobs: &[ObservedJob], since: OffsetDateTime) -> Self {
        Self { known: jobs.iter().map(|job| job.id.clone()).collect(), since, asked: false }
    }

    /// Our job among the hub's, if it has been asked: not there before, started since, and like the request
    /// in all that the hub shows. A hub has one job at a time and is asked only when it has none, so of
    /// several the first one is ours.
    pub fn ours<'a>(
        &self,
        jobs: &'a [ObservedJob],
        request: &JobRequest,
        container: &str,
    ) -> Option<&'a ObservedJob> {
        let is_new = |job: &&ObservedJob| {
            !self.known.contains(&job.id) && job.started.is_none_or(|at| at + SKEW >= self.since)
        };
        let ours = jobs.iter().filter(is_new).filter(|job| request.fits(job, container));
        ours.min_by_key(|job| (job.started.is_none(), job.started))
    }
}

impl JobItem {
    /// A request that has just come.
    pub fn new(request: JobRequest) -> Self {
        let phase = JobPhase::Wanted { refused: None };
        Self { request, phase, steps: 0, looks: 0, polls: 0, failures: 0, missing: 0 }
    }

    /// The same request, in another phase.
    pub fn at(&self, phase: JobPhase) -> Self {
        Self { phase, looks: 0, polls: 0, failures: 0, ..self.clone() }
    }

    /// The same as another step: for when its end could not be written down.
    pub fn taken_up_again(&self) -> Self {
        Self { steps: self.steps.saturating_add(1), ..self.maybe_asked() }
    }

    /// The same, taken up again after somebody began with it and did not finish.
    pub fn maybe_asked(&self) -> Self {
        let mut next = self.clone();
        if let JobPhase::Intended(intent) = &mut next.phase {
            intent.asked = true;
            next.failures = next.failures.saturating_add(1);
        }
        next
    }

    /// One message later.
    pub fn stepped(self) -> Self {
        Self { steps: self.steps.saturating_add(1), ..self }
    }

    /// A look that found nothing to go on with.
    pub fn looked(&self) -> Self {
        Self { looks: self.looks.saturating_add(1), ..self.clone() }
    }

    /// A call that failed.
    pub fn failed(&self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self.clone() }
    }

    /// A look that did not find the hub.
    pub fn missing(&self) -> Self {
        Self { missing: self.missing.saturating_add(1), ..self.clone() }
    }

    /// A look that found it.
    pub fn found(&self) -> Self {
        Self { missing: 0, ..self.clone() }
    }

    /// The job runs, and is so far.
    pub fn progressed(&self, percent: u32) -> Self {
        let mut next = Self { looks: 0, failures: 0, polls: self.polls.saturating_add(1), ..self.clone() };
        if let JobPhase::Running { progress, .. } = &mut next.phase {
            *progress = percent;
        }
        next
    }
}

/// A job as the hub shows it, whichever door was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedJob {
    /// The hub's id of it.
    pub id: JobId,
    /// `export`, `import`, or another kind of job that is none of ours.
    pub kind: String,
    /// How far it is.
    pub status: JobStatus,
    /// In percent, where the hub says.
    pub progress: u32,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What it shows of the request.
    pub shown: Shown,
    /// When it started, where the hub says.
    pub started: Option<OffsetDateTime>,
}

/// What a hub shows of the request for a job; `None` for what it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The blob that it writes, or reads for an import.
    pub blob_name: Option<String>,
    /// The address of the container that it writes to, or reads from for an import.
    pub container: Option<String>,
    /// Whether keys are left out of an export.
    pub exclude_keys: Option<bool>,
    /// Whether it reaches the container with an identity.
    pub by_identity: Option<bool>,
    /// The user-assigned identity.
    pub user: Option<String>,
}

impl ObservedJob {
    /// Whether it takes the hub's one place for a bulk job.
    pub fn is_in_the_way(&self) -> bool {
        self.is_bulk() && self.status == JobStatus::Active
    }

    /// Whether it counts for the hub's one bulk job at a time.
    pub fn is_bulk(&self) -> bool {
        matches!(self.kind.as_str(), "export" | "import")
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Waiting or working.
    Active,
    /// Done. For an import that says nothing about its lines.
    Completed,
    /// Given up.
    Failed,
    /// Cancelled.
    Cancelled,
    /// A word that is not known, or `unknown`.
    Unknown,
}

impl JobStatus {
    /// Reads either door's word.
    pub fn parse(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "enqueued" | "running" | "scheduled" | "queued" => Self::Active,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" | "canceled" => Self::Cancelled,
            _ => Self::Unknown,
        }
    }
}
