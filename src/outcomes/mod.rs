//! How work ended: one record for each request, and for each event that led to work.
//!
//! A record is a message on the queue [`QUEUE`], for whoever wants to follow, and a blob, for whoever
//! asks later ([`store`]). It says what was done and why it ended so, and holds no secret: what hubs
//! answer to a write is never part of it. What did not end well is parked with all that it takes to send
//! it again ([`parked`]).

pub mod parked;
pub mod store;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    apply::StepOutcome,
    jobs::{JobOutcome, JobReport},
    model::{IotHubId, ResourceId},
    offboard::Swept,
    reconcile::{Outcome, Report, Written},
    work::{Origin, Reason, WorkItem},
};

/// The storage queue that outcomes are written to.
pub const QUEUE: &str = "hub-outcomes";
/// The storage queue for what did not end well.
pub const FAILED_QUEUE: &str = "hub-failed";
/// Namespace of the ids of outcomes, made once for this purpose.
const OUTCOMES: Uuid = Uuid::from_u128(0xe3b0_11f4_6c2d_4d0b_9f7a_58c1_d2aa_7c36);
/// Most characters of a record as a message: a queue takes 64 KiB, and Base64 makes four of three.
const MOST: usize = 45_000;
/// Most steps, warnings and lines of a plan in a record that is too large otherwise.
const SHORT: usize = 20;

/// How work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Word {
    /// Nothing had to be done.
    InSync,
    /// Something was changed, and the hub is as it should be.
    Changed,
    /// It was planned only: nothing more was asked for, or the profile is rolled out by campaigns.
    Planned,
    /// It goes on later; this is not the end.
    Waiting,
    /// Something stands in the way that only a person can move.
    Blocked,
    /// It is not allowed, or makes no sense.
    Refused,
    /// The service said no for good.
    Failed,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Word {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Word::InSync => "InSync",
            Word::Changed => "Changed",
            Word::Planned => "Planned",
            Word::Waiting => "Waiting",
            Word::Blocked => "Blocked",
            Word::Refused => "Refused",
            Word::Failed => "Failed",
        }
    }

    /// Whether it is to be parked.
    pub fn is_parked(self) -> bool {
        matches!(self, Word::Blocked | Word::Refused | Word::Failed)
    }
}

/// Whom a hub acts and has acted as. A hint where to look, no proof: what is ours is told by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Principals {
    /// The principal of the hub's own identity, when it was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Principals before that one, whose grants have not been looked for yet.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub former: BTreeSet<String>,
    /// Cosmos DB accounts that it was granted roles in.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cosmos_accounts: BTreeSet<ResourceId>,
    /// Whether everything of the former ones has just been looked for and taken away.
    #[serde(skip)]
    pub swept: bool,
}

impl Principals {
    /// What is known now, after what was known before. Tells of a principal that the hub has not any more.
    pub fn after(mut self, before: &Self) -> (Self, Option<String>) {
        self.cosmos_accounts.extend(before.cosmos_accounts.iter().cloned());
        if self.swept {
            return (self, None);
        }
        self.former.extend(before.former.iter().cloned());
        let gone = before.system.clone().filter(|system| self.system.as_ref() != Some(system));
        self.former.extend(gone.clone());
        if let Some(system) = &self.system {
            self.former.remove(system);
        }
        (self, gone)
    }
}

/// The record of how work ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `hubward/outcome/v1`
    pub schema: String,
    /// The same for the same work, however often it is told.
    pub outcome_id: Uuid,
    /// How it ended.
    pub outcome: Word,
    /// Why, where it did not end well; what is waited for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The hub's resource id, if it was readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// The profile, if one asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The fingerprint of what was wanted when the hub was last found as its profile wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync_as: Option<Uuid>,
    /// The campaign, if it is one's own end or pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// The request, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Origin>,
    /// What was done, step by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Value>,
    /// What would be done, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// How far the roles have come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Value>,
    /// What an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whom the hub acts and has acted as, so that what it leaves behind can be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<Principals>,
    /// When the hub was written lately, for `maxWritesPerHub`. Only in the last outcome of a hub.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    pub written: Written,
    /// What the hub says after a write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Value>,
    /// The bulk job's own record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Value>,
    /// When what led to this came in.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub received_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub ended_at: OffsetDateTime,
    /// From the one to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How many looks it took.
    pub looks: u32,
    /// The W3C trace id that spans all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Whether parts were left out, because the record is a message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

/// The id of a request's outcome.
pub fn id_of_request(id: &str, digest: Uuid) -> Uuid {
    Uuid::new_v5(&OUTCOMES, format!("request|{id}|{digest}").as_bytes())
}

/// The id of the outcome of anything else, from what it is derived from. Never that of a request,
/// whatever somebody sends.
pub fn id_of(text: &str) -> Uuid {
    Uuid::new_v5(&OUTCOMES, format!("other|{text}").as_bytes())
}

impl Record {
    /// An outcome with causes and nothing else.
    pub fn new(outcome_id: Uuid, outcome: Word, causes: Vec<String>, at: OffsetDateTime) -> Self {
        Self {
            schema: "hubward/outcome/v1".to_owned(),
            outcome_id,
            outcome,
            causes,
            hub: None,
            profile: None,
            in_sync_as: None,
            campaign: None,
            request: None,
            steps: Vec::new(),
            plan: Vec::new(),
            grants: Vec::new(),
            warnings: Vec::new(),
            principals: None,
            written: Written::default(),
            proof: None,
            job: None,
            received_at: None,
            ended_at: at,
            seconds: None,
            looks: 0,
            trace_id: None,
            shortened: false,
        }
    }

    /// The outcome of a work item.
    pub fn of(item: &WorkItem, outcome: Word, causes: Vec<String>, at: OffsetDateTime) -> Self {
        let outcome_id = match (&item.origin, &item.reason) {
            (Some(origin), _) => id_of_request(&origin.id, origin.digest),
            // Its messages differ from step to step.
            (None, Reason::Job { item, .. }) => id_of(&item.request.id.to_string()),
            (None, _) => id_of(&item.work_id.to_string()),
        };
        let trace_id = item.trace_parent.as_deref().and_then(|parent| parent.split('-').nth(1));
        Self {
            hub: Some(item.hub.as_str().to_owned()),
            request: item.origin.clone(),
            received_at: item.received_at,
            seconds: item.received_at.map(|received| (at - received).as_seconds_f64()),
            looks: item.follows.saturating_add(1),
            trace_id: trace_id.map(str::to_owned),
            ..Self::new(outcome_id, outcome, causes, at)
        }
    }

    /// As the outcome of the message alone: what it says of a request may not be so.
    #[must_use]
    pub fn of_message(self, item: &WorkItem) -> Self {
        Self { outcome_id: id_of(&item.work_id.to_string()), ..self }
    }

    /// With what a look at a hub came to.
    #[must_use]
    pub fn with_report(mut self, report: &Report) -> Self {
        let values = |list: Vec<serde_json::Result<Value>>| list.into_iter().flatten().collect::<Vec<_>>();
        self.profile.clone_from(&report.profile);
        if matches!(report.outcome, Outcome::InSync | Outcome::Changed) {
            self.in_sync_as = report.fingerprint;
        }
        if let Outcome::Planned { plan, .. } = &report.outcome {
            self.plan.clone_from(plan);
        }
        // What was done in looks before this one stands in the chain; what came of the last one, in both.
        let done_now = report.steps.iter().filter(|step| step.outcome == StepOutcome::Applied).count();
        let before = report.chain.done.len().saturating_sub(done_now);
        let before =
            report.chain.done.iter().take(before).map(|step| json!({"step": step, "outcome": "applied"}));
        self.steps = before.chain(values(report.steps.iter().map(serde_json::to_value).collect())).collect();
        self.principals = report.system_principal.clone().map(|system| Principals {
            system,
            cosmos_accounts: report.grants.iter().filter_map(|grant| grant.scope.cosmos_account()).collect(),
            ..Principals::default()
        });
        self.written.clone_from(&report.written);
        self.grants = values(report.grants.iter().map(serde_json::to_value).collect());
        self.warnings = report.warnings.iter().map(ToString::to_string).collect();
        let moved = report.moved_besides.iter().map(|path| format!("somebody else changed {path} meanwhile"));
        self.warnings.extend(moved);
        self.proof = report.proof.as_ref().and_then(|proof| serde_json::to_value(proof).ok());
        self
    }

    /// With what came of a look for what the hub has left behind. `done` are the steps of all looks for it.
    #[must_use]
    pub fn with_swept(mut self, swept: &Swept, done: &[String]) -> Self {
        let applied = done.iter().map(|step| json!({"step": step, "outcome": "applied"}));
        let failed = swept.steps.iter().filter(|step| step.outcome != StepOutcome::Applied);
        let failed = failed.filter_map(|step| serde_json::to_value(step).ok());
        self.steps = applied.chain(failed).collect();
        self.warnings.clone_from(&swept.warnings);
        self
    }

    /// Without what is kept for the hub and not for this outcome.
    #[must_use]
    pub fn of_its_own(&self) -> Self {
        Self { written: Written::default(), ..self.clone() }
    }

    /// The record as a message: shortened, if it is too large for one.
    pub fn as_message(&self) -> Self {
        let length = |record: &Self| serde_json::to_string(record).map_or(usize::MAX, |text| text.len());
        let mut record = self.of_its_own();
        if length(&record) <= MOST {
            return record;
        }
        record.shortened = true;
        record.steps.truncate(SHORT);
        record.plan.truncate(SHORT);
        record.warnings.truncate(SHORT);
        record.grants.truncate(SHORT);
        record.causes.truncate(SHORT);
        if length(&record) > MOST {
            for text in record.causes.iter_mut().chain(&mut record.plan).chain(&mut record.warnings) {
                *text = text.chars().take(400).collect();
            }
            (record.steps, record.grants, record.proof, record.job) = (Vec::new(), Vec::new(), None, None);
        }
        record
    }
}

/// What a look's outcome is called here, and why it ended so.
pub fn of_look(outcome: &Outcome) -> (Word, Vec<String>) {
    match outcome {
        Outcome::InSync => (Word::InSync, Vec::new()),
        Outcome::Changed => (Word::Changed, Vec::new()),
        Outcome::Waiting { cause, .. } => (Word::Waiting, vec![cause.clone()]),
        Outcome::Planned { cause, .. } => (Word::Planned, vec![cause.clone()]),
        Outcome::Blocked { causes } => (Word::Blocked, causes.clone()),
        Outcome::Refused { causes } => (Word::Refused, causes.clone()),
        Outcome::Failed { cause } => (Word::Failed, vec![cause.clone()]),
    }
}

/// What a bulk job's outcome is called here, and why it ended so. An import of which some lines were
/// refused is not a success.
pub fn of_job(report: &JobReport) -> (Word, Vec<String>) {
    let name = report.outcome.name();
    match &report.outcome {
        JobOutcome::Completed { left, .. } => (Word::Changed, left.iter().cloned().collect()),
        JobOutcome::CompletedWithErrors { failed, first, .. } => {
            let told = format!("{failed} lines were refused");
            (Word::Failed, std::iter::once(told).chain(first.iter().cloned()).collect())
        }
        JobOutcome::Failed { cause } => (Word::Failed, vec![cause.clone()]),
        JobOutcome::Refused { causes } => (Word::Refused, causes.clone()),
        JobOutcome::BadInput { count, .. } => {
            (Word::Refused, vec![format!("{count} lines of the input cannot be imported")])
        }
        JobOutcome::Cancelled => (Word::Failed, vec!["the job was cancelled".to_owned()]),
        JobOutcome::TimedOut { cancelled, .. } => {
            let end = if *cancelled { "was cancelled" } else { "could not be cancelled" };
            (Word::Failed, vec![format!("the job took longer than it may, and {end}")])
        }
        JobOutcome::HubGone => (Word::Refused, vec!["there is no such hub".to_owned()]),
        JobOutcome::IdentityGone { identity } => {
            (Word::Failed, vec![format!("{name}: the hub has no {identity}")])
        }
        JobOutcome::ContainerGone { container } => {
            (Word::Failed, vec![format!("{name}: {container} does not exist")])
        }
        JobOutcome::Lost { job_id } => {
            (Word::Failed, vec![format!("{name}: the hub does not know its job {job_id} any more")])
        }
    }
}

/// The name of a hub's blob: readable, and safe for a path.
fn path_of(hub: &IotHubId) -> String {
    let group = hub.resource_group().unwrap_or("-");
    format!("{}/{}/{}", hub.subscription(), group, hub.name()).to_lowercase()
}
