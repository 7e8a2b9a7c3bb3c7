//! One step of a request: look at the hub and at what it depends on, do one thing, say what is next.

use time::{Duration, OffsetDateTime};
use tracing::info;

use super::{
    Advance, JobOutcome, TIME_LIMIT,
    blobs::{BlobError, Container},
    retention,
};
use crate::{
    arm::{ArmError, ArmWriter, Reaction},
    model::{
        IotHubId,
        desired::{Guardrails, IdentityRef, Target},
        hub::HubDocument,
        job::{JobDoor, JobItem, JobPhase, JobSpec, JobStatus, ObservedJob},
        observed::{Grant, HeldRole, ObservedTarget, TargetFacts},
    },
    plan::SETTLE,
};

/// Pause before the hub is asked again whether its running job has ended.
const QUOTA_PAUSE: Duration = Duration::seconds(20);
/// Pause after a refusal that young grants explain, and when a service is in trouble.
const PAUSE: Duration = Duration::seconds(30);
/// Pauses between looks at a running job: soon at first, each minute later.
const LOOKS_AFTER: [Duration; 3] = [Duration::seconds(10), Duration::seconds(20), Duration::seconds(30)];
const LATER_LOOKS: Duration = Duration::minutes(1);
/// Longest wait for the hub to take a request at all.
const PATIENCE: Duration = Duration::hours(24);
/// Tries of a call whose answer is lost or cannot be used.
const TRIES: u32 = 5;
/// Looks in a row that do not find the hub, or the job, after which it is gone: both can be "not found"
/// for a while after a change.
const MISSING_LOOKS: u32 = 3;

/// What a step stands on.
pub struct Jobs<'a> {
    /// The client to write with.
    pub arm: &'a ArmWriter,
    /// What is allowed.
    pub guardrails: &'a Guardrails,
}

/// Why a step ends here: either way is an [`Advance`].
type Step<T> = Result<T, Advance>;

impl Jobs<'_> {
    /// Brings a request one step further.
    pub async fn advance(&self, hub: &IotHubId, item: &JobItem) -> Advance {
        self.step(hub, item).await.unwrap_or_else(|ended| ended)
    }

    async fn step(&self, hub: &IotHubId, item: &JobItem) -> Step<Advance> {
        self.allowed(hub, item)?;
        let document = match self.arm.reader().hub(hub).await {
            Ok(Some(document)) if !document.is_being_deleted() => document,
            Ok(Some(_)) => return Err(Advance::Done(JobOutcome::HubGone)),
            Ok(None) if item.missing + 1 >= MISSING_LOOKS => return Err(Advance::Done(JobOutcome::HubGone)),
            Ok(None) => return Err(self.later(item.missing(), "the hub to be readable", PAUSE)),
            Err(error) => return Err(self.passing(item, &error)),
        };
        let item = &item.found();
        match &item.phase {
            JobPhase::Wanted { refused } => self.wanted(&document, item, refused.as_deref()).await,
            JobPhase::Intended { known } => self.intended(&document, item, known).await,
            JobPhase::Running { job_id, since, .. } => self.running(&document, item, job_id, *since).await,
        }
    }

    /// The guardrails are asked at every step: they may have changed while the request waited. A running
    /// job is followed to its end all the same.
    fn allowed(&self, hub: &IotHubId, item: &JobItem) -> Step<()> {
        if matches!(item.phase, JobPhase::Running { .. }) {
            return Ok(());
        }
        let request = &item.request;
        let mut causes = request.problems();
        if !self.guardrails.allows_hub(hub) {
            causes.push(format!("subscription {} is not in guardrails.subscriptions", hub.subscription()));
        }
        if !self.guardrails.allows_target(&request.container) {
            causes.push(format!("{} is not within guardrails.targets", request.container));
        }
        if let JobSpec::Import { confirm, .. } = &request.job {
            if !self.guardrails.allows_import(hub) {
                causes.push(format!(
                    "guardrails.allowImports does not name {}: an import cannot be undone",
                    hub.name()
                ));
            }
            if !confirm.eq_ignore_ascii_case(hub.name()) {
                causes.push(format!("`confirm` is not `{}`, the hub's name", hub.name()));
            }
        }
        if causes.is_empty() { Ok(()) } else { Err(Advance::Done(JobOutcome::Refused { causes })) }
    }

    /// Role, input and quota are seen to. The hub is asked only in the next step, when what it has now is
    /// written down.
    async fn wanted(&self, hub: &HubDocument, item: &JobItem, refused: Option<&str>) -> Step<Advance> {
        let request = &item.request;
        if self.now() - request.requested_at > PATIENCE {
            let cause = format!(
                "waited {} hours: {}",
                PATIENCE.whole_hours(),
                refused.unwrap_or("no reason was kept")
            );
            return Err(Advance::Done(JobOutcome::Failed { cause }));
        }
        let (facts, principal) = (self.container(item).await?, self.principal(hub, item).await?);
        if item.steps == 0 {
            // Before anything is granted or waited for.
            self.check_input(item, &facts).await?;
        }
        let grant = self.granted(hub, item, &principal).await?;
        let age = grant.created_on.map_or(SETTLE, |at| self.now() - at);
        if age < SETTLE {
            return Err(self.later(item.clone(), "the grant to spread", SETTLE - age));
        }
        if let Some(cause) = refused
            && age > self.guardrails.grant_window.duration()
        {
            return Err(Advance::Done(JobOutcome::Failed { cause: cause.to_owned() }));
        }
        let jobs = self.jobs(hub, item).await?;
        if jobs.iter().any(|job| job.is_bulk() && job.status == JobStatus::Active) {
            return Err(self.later(item.clone(), "the hub's running job to end", QUOTA_PAUSE));
        }
        if item.steps > 0 {
            // It may have been written since.
            self.check_input(item, &facts).await?;
        }
        let known = jobs.into_iter().map(|job| job.id).collect();
        Ok(self.later(item.at(JobPhase::Intended { known }), "the hub to be asked", Duration::ZERO))
    }

    /// The hub is asked, unless it was already: the answer may have been lost.
    async fn intended(&self, hub: &HubDocument, item: &JobItem, known: &[String]) -> Step<Advance> {
        let request = &item.request;
        let is_ours = |job: &ObservedJob| {
            !known.contains(&job.id)
                && job.kind == request.job.word()
                && job.blob_name.as_deref().is_none_or(|name| name == request.job.blob_name())
        };
        if let Some(job) = self.jobs(hub, item).await?.into_iter().find(is_ours) {
            info!(hub.id = %hub.id(), job.id = %job.id, "the job was started already");
            return Ok(self.started(item, job, request.requested_at));
        }
        let facts = self.container(item).await?;
        let container = address(&facts);
        let error = match self.arm.create_job(hub, request, &container).await {
            Ok(job) => return Ok(self.started(item, job, self.now())),
            Err(error) => error,
        };
        let cause = error.explained();
        let wanted = |cause: String| item.at(JobPhase::Wanted { refused: Some(cause) });
        match error.reaction() {
            // Whether it was started is not known: the next step looks first.
            Reaction::Reread => Err(self.passing(item, &error)),
            Reaction::MaybeNotYet | Reaction::PrincipalYoung => {
                let waited_for = format!("the grant to spread ({cause})");
                Ok(self.later(wanted(cause), &waited_for, PAUSE))
            }
            Reaction::Wait(pause) => {
                let pause = Duration::try_from(pause).unwrap_or(PAUSE).max(QUOTA_PAUSE);
                let item = item.at(JobPhase::Wanted { refused: None });
                Ok(self.later(item, &format!("the hub to take a job ({cause})"), pause))
            }
            Reaction::AlreadyThere | Reaction::Fail if is_trouble(&error) => Err(self.passing(item, &error)),
            Reaction::AlreadyThere | Reaction::Fail => Ok(Advance::Done(JobOutcome::Failed { cause })),
        }
    }

    fn started(&self, item: &JobItem, job: ObservedJob, at: OffsetDateTime) -> Advance {
        let since = job.started.unwrap_or(at);
        let item = item.at(JobPhase::Running { job_id: job.id, since, progress: job.progress });
        self.later(item, "the job to end", LOOKS_AFTER[0])
    }

    async fn running(
        &self,
        hub: &HubDocument,
        item: &JobItem,
        id: &str,
        since: OffsetDateTime,
    ) -> Step<Advance> {
        let door = item.request.through;
        let job = match self.arm.reader().job(hub, door, id).await {
            Ok(job) => job,
            Err(error) => return Err(self.passing(item, &error)),
        };
        let Some(job) = job.filter(|job| job.status != JobStatus::Unknown) else {
            if item.looks >= MISSING_LOOKS {
                return Ok(Advance::Done(JobOutcome::Lost { job_id: id.to_owned() }));
            }
            return Ok(self.later(item.looked(), "the hub to know the job", PAUSE));
        };
        match job.status {
            JobStatus::Active | JobStatus::Unknown if self.now() - since > TIME_LIMIT => {
                self.time_out(hub, item, id).await
            }
            JobStatus::Active | JobStatus::Unknown => {
                let pause = LOOKS_AFTER.get(item.polls as usize).copied().unwrap_or(LATER_LOOKS);
                let next = item.progressed(job.progress);
                Ok(self.later(next, &format!("the job to end ({} %)", job.progress), pause))
            }
            JobStatus::Completed => self.completed(item, id, since).await,
            JobStatus::Cancelled => Ok(Advance::Done(JobOutcome::Cancelled)),
            JobStatus::Failed => {
                // The reason is often that something went meanwhile: then that is the outcome.
                self.arm.reader().forget_target(&Target::StorageContainer(item.request.container.clone()));
                self.container(item).await?;
                self.principal(hub, item).await?;
                let cause = job.failure_reason.unwrap_or_else(|| "the hub gives no reason".to_owned());
                Ok(Advance::Done(JobOutcome::Failed { cause }))
            }
        }
    }

    /// Resource Manager cannot cancel; the hub's own door is tried whichever was used to start.
    async fn time_out(&self, hub: &HubDocument, item: &JobItem, id: &str) -> Step<Advance> {
        let cancelled = match self.arm.cancel_job(hub, id).await {
            Ok(()) => true,
            Err(error) if item.request.through == JobDoor::DataPlane && item.looks < TRIES => {
                return Err(self.passing(item, &error));
            }
            Err(_) => false,
        };
        Ok(Advance::Done(JobOutcome::TimedOut { job_id: id.to_owned(), cancelled }))
    }

    async fn completed(&self, item: &JobItem, id: &str, since: OffsetDateTime) -> Step<Advance> {
        let request = &item.request;
        let job_id = id.to_owned();
        let done = |outcome| Ok(Advance::Done(outcome));
        let storage = match (&request.job, &request.keep) {
            (JobSpec::Export { .. }, None) => {
                return done(JobOutcome::Completed { job_id, removed: Vec::new(), left: None });
            }
            _ => self.storage(&self.container(item).await?)?,
        };
        match (&request.job, &request.keep) {
            (JobSpec::Export { .. }, Some(keep)) => {
                let (removed, left) = retention::apply(&storage, keep, request.job.blob_name()).await;
                done(JobOutcome::Completed { job_id, removed, left })
            }
            (JobSpec::Export { .. }, None) => {
                done(JobOutcome::Completed { job_id, removed: Vec::new(), left: None })
            }
            (JobSpec::Import { .. }, _) => match storage.import_failures(since).await {
                Ok(failures) if failures.count == 0 => {
                    done(JobOutcome::Completed { job_id, removed: Vec::new(), left: None })
                }
                Ok(failures) => done(JobOutcome::CompletedWithErrors {
                    job_id,
                    failed: failures.count,
                    first: failures.first,
                }),
                Err(error) => Err(self.unreadable(item, &error, |cause| JobOutcome::Failed {
                    cause: format!("the import ended, and which lines failed is not known: {cause}"),
                })),
            },
        }
    }

    async fn container(&self, item: &JobItem) -> Step<TargetFacts> {
        let target = Target::StorageContainer(item.request.container.clone());
        match self.arm.reader().target(&target).await {
            Ok(ObservedTarget::Found(facts)) => Ok(facts),
            Ok(ObservedTarget::Missing(id)) => {
                Err(Advance::Done(JobOutcome::ContainerGone { container: id.to_string() }))
            }
            Ok(ObservedTarget::Unreadable(cause)) => Err(Advance::Done(JobOutcome::Failed { cause })),
            Err(error) => Err(self.passing(item, &error)),
        }
    }

    async fn principal(&self, hub: &HubDocument, item: &JobItem) -> Step<String> {
        let wanted = &item.request.identity;
        let found = hub.identity();
        let gone = || Advance::Done(JobOutcome::IdentityGone { identity: wanted.to_string() });
        let principal = match wanted {
            IdentityRef::System if found.system_assigned => found.system_principal,
            IdentityRef::System => return Err(gone()),
            IdentityRef::User(id) => match found.user_assigned.get(id) {
                None => return Err(gone()),
                Some(Some(principal)) => Some(principal.clone()),
                Some(None) => match self.arm.reader().user_identity(id).await {
                    Ok(Some(principal)) => Some(principal),
                    Ok(None) => return Err(gone()),
                    Err(error) => return Err(self.passing(item, &error)),
                },
            },
        };
        principal.ok_or_else(|| self.later(item.looked(), "the identity's principal", PAUSE))
    }

    /// The least role on the container, found or made.
    async fn granted(&self, hub: &HubDocument, item: &JobItem, principal: &str) -> Step<Grant> {
        let target = Target::StorageContainer(item.request.container.clone());
        let (scope, role) = (target.grant_scope(self.guardrails.storage_grants), target.role());
        let found = self.arm.reader().grants(&scope, principal).await;
        let fits = |grant: &Grant| {
            grant.role == HeldRole::Ours(role) && !grant.is_conditional && scope.is_within(&grant.scope)
        };
        let found = found.map_err(|error| self.passing(item, &error))?;
        if let Some(grant) = found.into_iter().filter(fits).min_by_key(|grant| grant.created_on) {
            return Ok(grant);
        }
        let reason = format!("Hubward: hub {} (bulk jobs)", hub.id().name());
        self.arm.grant(&scope, role, principal, &reason).await.map_err(|error| match error.reaction() {
            Reaction::AlreadyThere | Reaction::PrincipalYoung => {
                self.later(item.looked(), "the identity to be known everywhere", PAUSE)
            }
            _ => self.passing(item, &error),
        })
    }

    /// Every line of an import's input. An export has none.
    async fn check_input(&self, item: &JobItem, facts: &TargetFacts) -> Step<()> {
        let JobSpec::Import { blob_name, .. } = &item.request.job else { return Ok(()) };
        let refused = |cause| JobOutcome::Refused { causes: vec![cause] };
        let checked = self.storage(facts)?.check_input(blob_name).await;
        let checked = checked.map_err(|error| self.unreadable(item, &error, refused))?;
        let (count, lines) = (checked.bad, checked.told);
        if count > 0 { Err(Advance::Done(JobOutcome::BadInput { count, lines })) } else { Ok(()) }
    }

    fn storage(&self, facts: &TargetFacts) -> Step<Container> {
        let client = self.arm.reader().client();
        Container::new(&address(facts), client.credential(), client.transport())
            .map_err(|error| Advance::Done(JobOutcome::Failed { cause: error.to_string() }))
    }

    async fn jobs(&self, hub: &HubDocument, item: &JobItem) -> Step<Vec<ObservedJob>> {
        let jobs = self.arm.reader().jobs(hub, item.request.through).await;
        jobs.map_err(|error| self.passing(item, &error))
    }

    /// A blob that could not be read: it may pass.
    fn unreadable(
        &self,
        item: &JobItem,
        error: &BlobError,
        failed: impl Fn(String) -> JobOutcome,
    ) -> Advance {
        match error {
            BlobError::NoContainer => {
                Advance::Done(JobOutcome::ContainerGone { container: item.request.container.to_string() })
            }
            BlobError::Other(_) if item.failures < TRIES => {
                self.later(item.failed(), &format!("the storage account ({error})"), PAUSE)
            }
            _ => Advance::Done(failed(error.to_string())),
        }
    }

    /// A call that came to nothing: again later, if that can help, and not for ever.
    fn passing(&self, item: &JobItem, error: &ArmError) -> Advance {
        let cause = error.explained();
        let pause = match error.reaction() {
            Reaction::Wait(pause) => Duration::try_from(pause).unwrap_or(PAUSE),
            Reaction::Fail if !is_trouble(error) => return Advance::Done(JobOutcome::Failed { cause }),
            _ if item.failures >= TRIES => return Advance::Done(JobOutcome::Failed { cause }),
            _ => return self.later(item.failed(), &cause, PAUSE),
        };
        // The service asks to wait: that is no failure, but a running job has its time limit and a wanted
        // one its patience, so this ends too.
        let asked = item.request.requested_at;
        if self.now() - asked > PATIENCE + TIME_LIMIT {
            return Advance::Done(JobOutcome::Failed { cause });
        }
        self.later(item.clone(), &cause, pause)
    }

    fn now(&self) -> OffsetDateTime {
        self.arm.reader().client().clock().now()
    }

    fn later(&self, item: JobItem, waited_for: &str, pause: Duration) -> Advance {
        Advance::Later {
            item: Box::new(item.stepped()),
            waited_for: waited_for.to_owned(),
            due: self.now() + pause,
        }
    }
}

/// An answer of a service that is in trouble: no word about the request.
fn is_trouble(error: &ArmError) -> bool {
    matches!(error, ArmError::Refused(refusal) if refusal.status >= 500)
        || matches!(error, ArmError::Unreadable { .. })
}

/// The container's address, without a signature.
fn address(facts: &TargetFacts) -> String {
    format!("{}/{}", facts.endpoint_uri.trim_end_matches('/'), facts.entity)
}
