//! One step of a request: look at the hub and at what it depends on, do one thing, say what is next.

use time::{Duration, OffsetDateTime};
use tracing::warn;

use super::{Advance, JobOutcome, TIME_LIMIT, files, retention};
use crate::{
    arm::{ArmError, ArmWriter, Reaction},
    blobs::{BlobError, Container},
    model::{
        IotHubId,
        claim::Claim,
        desired::{Guardrails, IdentityRef, Target},
        hub::HubDocument,
        job::{Intent, JobDoor, JobId, JobItem, JobPhase, JobSpec, JobStatus, ObservedJob},
        observed::{Grant, HeldRole, ObservedTarget, TargetFacts},
    },
    plan::SETTLE,
};

/// Pause before the hub is asked again whether its running job has ended.
pub(super) const QUOTA_PAUSE: Duration = Duration::seconds(20);
/// Pause after a refusal that young grants explain, and when a service is in trouble.
pub(super) const PAUSE: Duration = Duration::seconds(30);
/// Pauses between looks at a running job: soon at first, each minute later.
pub(super) const LOOKS_AFTER: [Duration; 3] =
    [Duration::seconds(10), Duration::seconds(20), Duration::seconds(30)];
const LATER_LOOKS: Duration = Duration::minutes(1);
/// Longest wait for the hub to take a request at all.
const PATIENCE: Duration = Duration::hours(24);
/// Tries of a call whose answer is lost or cannot be used.
pub(super) const TRIES: u32 = 5;
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
pub(super) type Step<T> = Result<T, Advance>;

impl Jobs<'_> {
    /// Brings a request one step further. `again` is whether this step may have been begun before: its
    /// message was delivered already, and whoever took it did not finish.
    pub async fn advance(&self, hub: &IotHubId, item: &JobItem, again: bool) -> Advance {
        self.step(hub, item, again).await.unwrap_or_else(|ended| ended)
    }

    async fn step(&self, hub: &IotHubId, item: &JobItem, again: bool) -> Step<Advance> {
        self.allowed(hub, item)?;
        let item = &if again { item.maybe_asked() } else { item.clone() };
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
            JobPhase::Intended(intent) => self.intended(&document, item, intent, again).await,
            JobPhase::Running { job_id, since, .. } => self.running(&document, item, job_id, *since).await,
        }
    }

    /// The guardrails are asked at every step: they may have changed while the request waited. A running
    /// job is followed to its end all the same, and [`Jobs::owned`] is asked before anything is done to it.
    fn allowed(&self, hub: &IotHubId, item: &JobItem) -> Step<()> {
        if matches!(item.phase, JobPhase::Running { .. }) {
            return Ok(());
        }
        let mut causes = self.out_of_bounds(hub, item);
        if let JobSpec::Import { confirm, .. } = &item.request.job {
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

    /// What keeps a request, at whatever phase, from being worked on.
    fn out_of_bounds(&self, hub: &IotHubId, item: &JobItem) -> Vec<String> {
        let request = &item.request;
        let mut causes = request.problems();
        if !self.guardrails.allows_hub(hub) {
            causes.push(format!("subscription {} is not in guardrails.subscriptions", hub.subscription()));
        }
        let target = Target::StorageContainer(request.container.clone());
        for scope in [request.container.clone(), target.grant_scope(self.guardrails.storage_grants)] {
            if self.guardrails.is_reserved(&scope) {
                causes.push(format!("Hubward keeps its own outcomes in {scope}"));
            } else if !self.guardrails.allows_target(&scope) {
                causes.push(format!("{scope} is not within guardrails.targets"));
            }
        }
        causes.dedup();
        if let Some(keep) = &request.keep {
            let name = hub.name().to_ascii_lowercase();
            if ![&keep.before, &keep.after].iter().any(|part| part.to_ascii_lowercase().contains(&name)) {
                causes.push(format!(
                    "neither `keep.before` nor `keep.after` holds `{}`: other hubs' exports would go",
                    hub.name()
                ));
            }
        }
        causes
    }

    /// The container of a job that is ours to cancel, and to clear up after. A message may say anything:
    /// what it says is held against the guardrails and against the hub's own record of the job.
    async fn owned(
        &self,
        hub: &HubDocument,
        item: &JobItem,
        job: &ObservedJob,
    ) -> Step<Result<TargetFacts, String>> {
        let causes = self.out_of_bounds(hub.id(), item);
        if !causes.is_empty() {
            return Ok(Err(causes.join("; ")));
        }
        let facts = self.container(item).await?;
        let fits = item.request.fits(job, &address(&facts));
        Ok(if fits { Ok(facts) } else { Err(format!("the hub's job {} is another one", job.id)) })
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
        // A grant whose age nobody knows is as old as the request, and has settled.
        let made = grant.created_on.unwrap_or(request.requested_at);
        // Never in the future: that would be waited for.
        let age = (self.now() - made).max(Duration::ZERO);
        if age < SETTLE && grant.created_on.is_some() {
            return Err(self.later(item.clone(), "the grant to spread", SETTLE - age));
        }
        if let Some(cause) = refused
            && age > self.guardrails.grant_window.duration()
        {
            return Err(Advance::Done(JobOutcome::Failed { cause: cause.to_owned() }));
        }
        let (jobs, seen) = (self.jobs(hub, item).await?, self.now());
        if jobs.iter().any(ObservedJob::is_in_the_way) {
            return Err(self.later(item.clone(), "the hub's running job to end", QUOTA_PAUSE));
        }
        if item.steps > 0 {
            // It may have been written since.
            self.check_input(item, &facts).await?;
        }
        let intended = JobPhase::Intended(Intent::after(&jobs, seen));
        Ok(self.later(item.at(intended), "the hub to be asked", Duration::ZERO))
    }

    async fn running(
        &self,
        hub: &HubDocument,
        item: &JobItem,
        id: &JobId,
        since: OffsetDateTime,
    ) -> Step<Advance> {
        let door = item.request.through;
        let job = match self.arm.reader().job(hub, door, id).await {
            Ok(job) => job,
            Err(error) => return Err(self.passing(item, &error)),
        };
        let Some(job) = job.filter(|job| job.status != JobStatus::Unknown) else {
            if item.looks >= MISSING_LOOKS {
                return Ok(Advance::Done(JobOutcome::Lost { job_id: id.to_string() }));
            }
            return Ok(self.later(item.looked(), "the hub to know the job", PAUSE));
        };
        match job.status {
            // By the hub's own record, if it has one.
            JobStatus::Active | JobStatus::Unknown
                if self.now() - job.started.unwrap_or(since) > TIME_LIMIT =>
            {
                self.time_out(hub, item, &job).await
            }
            JobStatus::Active | JobStatus::Unknown => {
                let pause = LOOKS_AFTER.get(item.polls as usize).copied().unwrap_or(LATER_LOOKS);
                let next = item.progressed(job.progress);
                Ok(self.later(next, &format!("the job to end ({} %)", job.progress), pause))
            }
            JobStatus::Completed => self.completed(hub, item, &job, since).await,
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

    /// Resource Manager cannot cancel; the hub's own door is tried whichever was used to start. A look at
    /// the job is no try; only a cancellation that fails is.
    async fn time_out(&self, hub: &HubDocument, item: &JobItem, job: &ObservedJob) -> Step<Advance> {
        let timed_out =
            |cancelled| Ok(Advance::Done(JobOutcome::TimedOut { job_id: job.id.to_string(), cancelled }));
        if let Err(cause) = self.owned(hub, item, job).await? {
            warn!(hub.id = %hub.id(), job.id = %job.id, "not cancelled: {cause}");
            return timed_out(false);
        }
        match self.arm.cancel_job(hub, &job.id).await {
            Ok(()) => timed_out(true),
            Err(error) if item.request.through == JobDoor::DataPlane && item.failures < TRIES => {
                Ok(self.later(item.failed(), &error.explained(), PAUSE))
            }
            Err(_) => timed_out(false),
        }
    }

    async fn completed(
        &self,
        hub: &HubDocument,
        item: &JobItem,
        job: &ObservedJob,
        since: OffsetDateTime,
    ) -> Step<Advance> {
        let request = &item.request;
        let job_id = job.id.to_string();
        let completed = |removed, left| JobOutcome::Completed { job_id: job_id.clone(), removed, left };
        let unread = |cause: String| JobOutcome::Failed {
            cause: format!("the import ended, and which lines failed is not known: {cause}"),
        };
        let outcome = match (&request.job, &request.keep) {
            (JobSpec::Export { .. }, None) => completed(Vec::new(), None),
            (JobSpec::Export { .. }, Some(keep)) => match self.owned(hub, item, job).await? {
                Ok(facts) => {
                    let storage = self.storage(&facts)?;
                    let (removed, left) = retention::apply(&storage, keep, request.job.blob_name()).await;
                    completed(removed, left)
                }
                Err(cause) => completed(Vec::new(), Some(cause)),
            },
            (JobSpec::Import { .. }, _) => match self.owned(hub, item, job).await? {
                Ok(facts) => match files::import_failures(&self.storage(&facts)?, since).await {
                    Ok(failures) if failures.count == 0 => completed(Vec::new(), None),
                    Ok(failures) => JobOutcome::CompletedWithErrors {
                        job_id: job_id.clone(),
                        failed: failures.count,
                        first: failures.first,
                    },
                    Err(error) => return Err(self.unreadable(item, &error, unread)),
                },
                Err(cause) => unread(cause),
            },
        };
        Ok(Advance::Done(outcome))
    }

    pub(super) async fn container(&self, item: &JobItem) -> Step<TargetFacts> {
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
        let claim = Claim { hub: hub.id().clone(), identity: item.request.identity.clone() };
        let reason = claim.describe("bulk jobs");
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
        let checked = files::check_input(&self.storage(facts)?, blob_name).await;
        let checked = checked.map_err(|error| self.unreadable(item, &error, refused))?;
        let (count, lines) = (checked.bad, checked.told);
        if count > 0 { Err(Advance::Done(JobOutcome::BadInput { count, lines })) } else { Ok(()) }
    }

    fn storage(&self, facts: &TargetFacts) -> Step<Container> {
        let client = self.arm.reader().client();
        Container::new(&address(facts), client.credential(), client.transport())
            .map_err(|error| Advance::Done(JobOutcome::Failed { cause: error.to_string() }))
    }

    /// The hub's jobs, of all kinds.
    pub(super) async fn jobs(&self, hub: &HubDocument, item: &JobItem) -> Step<Vec<ObservedJob>> {
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
            BlobError::Other(_) | BlobError::Exists if item.failures < TRIES => {
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

    pub(super) fn now(&self) -> OffsetDateTime {
        self.arm.reader().client().clock().now()
    }

    pub(super) fn later(&self, item: JobItem, waited_for: &str, pause: Duration) -> Advance {
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
}

/// The container's address, without a signature.
pub(super) fn address(facts: &TargetFacts) -> String {
    format!("{}/{}", facts.endpoint_uri.trim_end_matches('/'), facts.entity)
}
