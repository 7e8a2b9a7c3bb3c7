//! Bulk export and import of devices, with the hub's identity, tracked to the truth.
//!
//! ```text
//! Wanted ──► role, quota, input seen to ──► Intended{jobs known} ──► asked ──► Running{job} ──► outcome
//!    ▲              not yet: later                │ answer lost: look for a new job first        │ later
//!    └────────────────────────────────────────────┘                     ▲────────────────────────┘
//! ```
//!
//! A request travels in messages and is nowhere else: each message does one thing and sends the next
//! before it is completed. The service's `create` is not idempotent, so the jobs that the hub has are
//! written down in a message *before* it is asked; whoever finds that message again looks for a job that
//! is not among them. One hub is worked on by one worker at a time, but the messages of several requests
//! take turns: a job that is there before we have asked is somebody else's, and is waited for.
//!
//! [`run::Jobs::advance`] is the one step, and `ask` the part of it that must not happen twice; [`input`] checks what is to be imported, [`log`] reads what came of it,
//! `files` is what lies in the container, [`retention`] what goes when a schedule's new export is there.

mod ask;
mod files;
pub mod input;
pub mod log;
pub mod retention;
pub mod run;

use serde::Serialize;
use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use crate::{
    jobs::input::BadLine,
    model::{IotHubId, job::JobItem},
};

/// Longest time a job may take. A hub of a million devices takes minutes; what takes a quarter of a day
/// hangs.
pub const TIME_LIMIT: Duration = Duration::hours(6);

/// What one step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// It goes on later.
    Later {
        /// From here.
        item: Box<JobItem>,
        /// What is waited for.
        waited_for: String,
        /// When.
        due: OffsetDateTime,
    },
    /// It has ended.
    Done(JobOutcome),
}

/// How a request ended. Each ends in exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all_fields = "camelCase", tag = "outcome")]
pub enum JobOutcome {
    /// All of it was done.
    Completed {
        /// The hub's id of the job.
        job_id: String,
        /// Older exports that went.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        removed: Vec<String>,
        /// What kept older exports from going, if anything did.
        #[serde(skip_serializing_if = "Option::is_none")]
        left: Option<String>,
    },
    /// An import whose job completed, and some of whose lines were refused.
    CompletedWithErrors {
        /// The hub's id of the job.
        job_id: String,
        /// How many lines.
        failed: u64,
        /// The first of them, in the service's words.
        first: Vec<String>,
    },
    /// The hub gave up.
    Failed {
        /// In the service's words.
        cause: String,
    },
    /// Somebody cancelled it.
    Cancelled,
    /// It took longer than [`TIME_LIMIT`].
    TimedOut {
        /// The hub's id of the job.
        job_id: String,
        /// Whether the hub took the cancellation.
        cancelled: bool,
    },
    /// The guardrails do not allow it, or the request does not fit.
    Refused {
        /// Each reason.
        causes: Vec<String>,
    },
    /// The input has lines that cannot be imported. Nothing was started.
    BadInput {
        /// How many.
        count: u64,
        /// The first of them.
        lines: Vec<BadLine>,
    },
    /// The hub is gone.
    HubGone,
    /// The hub has not (any more) the identity that the job is to use.
    IdentityGone {
        /// The identity, in words.
        identity: String,
    },
    /// The container is gone.
    ContainerGone {
        /// Its id.
        container: String,
    },
    /// The hub does not know the job any more.
    Lost {
        /// The hub's id of it.
        job_id: String,
    },
}

impl JobOutcome {
    /// The outcome's name.
    pub fn name(&self) -> &'static str {
        match self {
            JobOutcome::Completed { .. } => "Completed",
            JobOutcome::CompletedWithErrors { .. } => "CompletedWithErrors",
            JobOutcome::Failed { .. } => "Failed",
            JobOutcome::Cancelled => "Cancelled",
            JobOutcome::TimedOut { .. } => "TimedOut",
            JobOutcome::Refused { .. } => "Refused",
            JobOutcome::BadInput { .. } => "BadInput",
            JobOutcome::HubGone => "HubGone",
            JobOutcome::IdentityGone { .. } => "IdentityGone",
            JobOutcome::ContainerGone { .. } => "ContainerGone",
            JobOutcome::Lost { .. } => "Lost",
        }
    }
}

/// A request's end, with our own record of it: the service does not echo it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobReport {
    /// The hub.
    pub hub: IotHubId,
    /// What was asked, by whom and when.
    pub request: crate::model::job::JobRequest,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: JobOutcome,
}

/// One line a request, readable alone: who asked for what, when, where it went, how it ended.
pub fn tell(report: &JobReport) {
    let JobReport { hub, request, outcome } = report;
    let (name, kind, outcome_name) = (hub.name(), request.job.word(), outcome.name());
    let detail = serde_json::to_string(outcome).unwrap_or_default();
    let (by, at, container) = (&request.requested_by, request.requested_at, &request.container);
    if matches!(outcome, JobOutcome::Completed { left: None, .. }) {
        info!(hub.id = %hub, job.request = %request.id, outcome = outcome_name,
            "{name}: {kind} {outcome_name}, asked for by {by} at {at}, container {container}, {}: {detail}", request.identity);
    } else {
        warn!(hub.id = %hub, job.request = %request.id, outcome = outcome_name,
            "{name}: {kind} {outcome_name}, asked for by {by} at {at}, container {container}, {}: {detail}", request.identity);
    }
}
