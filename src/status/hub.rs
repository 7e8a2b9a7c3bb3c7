//! One hub as its page shows it.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{FailedWork, NotRead, SCHEMA};
use crate::{
    desired::RequestKind,
    fleet::{HubRow, Standing},
    model::{
        IotHubId,
        desired::DesiredHub,
        job::{JobStatus, ObservedJob},
    },
    outcomes::{Record, Word},
    plan::{GrantState, HubPlan, Step, edit_lines},
    prove::Proof,
    schedule::Ncrontab,
};

/// One hub: where it stands now, and what came of work at it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubView {
    /// `hubward/status/v1`
    pub schema: &'static str,
    /// `hub`
    pub kind: &'static str,
    /// When this was put together.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The hub.
    pub hub: IotHubId,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The profile that is for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Where it stands now; absent if it could not be read.
    #[serde(flatten)]
    pub standing: Option<Standing>,
    /// What the last resync said of it, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_last_resync: Option<SeenBefore>,
    /// What would be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanView>,
    /// The grants that its profile needs and that are there.
    pub grants: Vec<GrantView>,
    /// What the hub says of the endpoints and routes that its profile lists.
    pub health: Proof,
    /// Its exports and imports, as far as the hub remembers.
    pub jobs: Vec<JobView>,
    /// Its next exports, the soonest first.
    pub next_exports: Vec<HubExport>,
    /// How work at it ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<OutcomeView>,
    /// What of the parked work is about it.
    pub failed: Vec<FailedWork>,
    /// What could not be read.
    pub not_read: Vec<NotRead>,
}

/// A hub at the last resync.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenBefore {
    /// When that was.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Where it stood.
    #[serde(flatten)]
    pub standing: Standing,
    /// Whether it was to be looked at.
    pub queued: bool,
}

/// What would be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// In order.
    pub steps: Vec<PlanStep>,
    /// What stands in the way.
    pub blocked: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// In words.
    pub step: String,
    /// The changes of one write, a line for each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// A grant and its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// How far it has come.
    #[serde(flatten)]
    pub grant: GrantState,
    /// For how long it has been there, in seconds, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<i64>,
}

/// An export or import that the hub remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// The hub's id of it.
    pub id: String,
    /// `export` or `import`.
    pub job: String,
    /// How far it is.
    pub status: &'static str,
    /// In percent.
    pub progress: u32,
    /// The blob, where the hub says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// When it started, where the hub says.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub started: Option<OffsetDateTime>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// One export of the hub's profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubExport {
    /// Its name.
    pub export: String,
    /// When it is made, as the profile says.
    pub schedule: String,
    /// When it is made next; `None` for never.
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    /// The blob that it will write then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
}

/// How work ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeView {
    /// Its id.
    pub outcome_id: Uuid,
    /// How.
    pub outcome: Word,
    /// Why.
    pub causes: Vec<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub ended_at: OffsetDateTime,
    /// How many looks it took.
    pub looks: u32,
    /// What the request asked for, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestKind>,
    /// The request's idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was done, and what became of each step.
    pub steps: Vec<String>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

impl HubView {
    /// Nothing is known yet.
    pub(super) fn new(hub: IotHubId, at: OffsetDateTime) -> Self {
        Self {
            schema: SCHEMA,
            kind: "hub",
            at,
            hub,
            location: None,
            profile: None,
            standing: None,
            at_last_resync: None,
            plan: None,
            grants: Vec::new(),
            health: Proof::default(),
            jobs: Vec::new(),
            next_exports: Vec::new(),
            last_outcome: None,
            failed: Vec::new(),
            not_read: Vec::new(),
        }
    }
}

impl SeenBefore {
    pub(super) fn of(row: HubRow, at: OffsetDateTime) -> Self {
        Self { at, standing: row.standing, queued: row.queued }
    }
}

impl From<&HubPlan> for PlanView {
    fn from(plan: &HubPlan) -> Self {
        let step = |step: &Step| match step {
            Step::EditHub { edit } => {
                PlanStep { step: "update the hub".to_owned(), changes: edit_lines(edit) }
            }
            other => PlanStep { step: other.to_string(), changes: Vec::new() },
        };
        Self {
            steps: plan.steps.iter().map(step).collect(),
            blocked: plan.blocked.iter().map(ToString::to_string).collect(),
            warnings: plan.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

impl GrantView {
    pub(super) fn of(grant: GrantState, now: OffsetDateTime) -> Self {
        let age_seconds = grant.created_on.map(|made| (now - made).whole_seconds().max(0));
        Self { grant, age_seconds }
    }
}

impl From<ObservedJob> for JobView {
    fn from(job: ObservedJob) -> Self {
        let status = match job.status {
            JobStatus::Active => "active",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Unknown => "unknown",
        };
        Self {
            id: job.id.to_string(),
            job: job.kind,
            status,
            progress: job.progress,
            blob: job.shown.blob_name,
            started: job.started,
            failure: job.failure_reason,
        }
    }
}

/// When the exports of a hub are made next, the soonest first.
pub(super) fn next_exports(desired: &DesiredHub, now: OffsetDateTime) -> Vec<HubExport> {
    let mut next: Vec<HubExport> = desired
        .exports
        .iter()
        .map(|export| {
            let schedule = export.schedule.parse::<Ncrontab>().ok();
            let at = schedule.and_then(|schedule| schedule.next_after(now));
            HubExport {
                export: export.name.clone(),
                schedule: export.schedule.clone(),
                at,
                blob: at.map(|at| export.blob_name.at(at)),
            }
        })
        .collect();
    next.sort_by(|a, b| (a.at.is_none(), a.at, &a.export).cmp(&(b.at.is_none(), b.at, &b.export)));
    next
}

impl From<Record> for OutcomeView {
    fn from(record: Record) -> Self {
        let text = |step: &Value, name: &str| step.get(name).and_then(Value::as_str).map(str::to_owned);
        let step = |step: &Value| {
            let words = text(step, "step")?;
            Some(match text(step, "outcome") {
                Some(outcome) => format!("{words}: {outcome}"),
                None => words,
            })
        };
        Self {
            outcome_id: record.outcome_id,
            outcome: record.outcome,
            causes: record.causes,
            ended_at: record.ended_at,
            looks: record.looks,
            request: record.request.as_ref().map(|origin| origin.kind),
            request_id: record.request.map(|origin| origin.id),
            steps: record.steps.iter().filter_map(step).collect(),
            warnings: record.warnings,
        }
    }
}
