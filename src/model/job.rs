//! Bulk export and import of devices: what is asked for, and the record of it that we keep, since the
//! service does not echo it.
//!
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-bulk-identity-mgmt>

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ResourceId, desired::IdentityRef};

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
        problems
    }
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
    /// The hub is about to be asked, or was, and the answer was lost. Jobs that are not among the known
    /// ones are ours.
    Intended {
        /// Jobs that the hub had before it was asked.
        known: Vec<String>,
    },
    /// The hub works on it.
    Running {
        /// The hub's id of it.
        job_id: String,
        /// Since when.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// How far the hub says it is, in percent.
        progress: u32,
    },
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
    pub id: String,
    /// `export`, `import`, or another kind of job that is none of ours.
    pub kind: String,
    /// How far it is.
    pub status: JobStatus,
    /// In percent, where the hub says.
    pub progress: u32,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// The blob that it writes or reads, where the hub says.
    pub blob_name: Option<String>,
    /// When it started, where the hub says.
    pub started: Option<OffsetDateTime>,
}

impl ObservedJob {
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
