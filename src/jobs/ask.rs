//! The one call that must not be made twice: the hub is asked for a job.
//!
//! The jobs that the hub has are written down in a message first ([`Intent`]). Only the first delivery of
//! that message asks, right after a look that showed no other job. Whoever takes it again looks, and hands
//! what it found to a message of its own: the broker drops that if the first one had sent its own already,
//! so no two workers go on from one ask.
//!
//! What the hub shows of its jobs decides which one is ours. Through Resource Manager it shows neither
//! blobs nor containers: there, after a crash in this step, a job of the same kind that somebody else
//! started within the seconds since our look cannot be told from ours, and counts as ours.

use time::{Duration, OffsetDateTime};
use tracing::info;

use super::{
    Advance, JobOutcome,
    run::{Jobs, LOOKS_AFTER, PAUSE, QUOTA_PAUSE, Step, TRIES, address},
};
use crate::{
    arm::{ArmError, Reaction},
    model::{
        hub::HubDocument,
        job::{Intent, JobItem, JobPhase, ObservedJob},
    },
};

impl Jobs<'_> {
    /// Looks for the job, if the hub may have been asked for it; asks, if there is none.
    pub(super) async fn intended(
        &self,
        hub: &HubDocument,
        item: &JobItem,
        intent: &Intent,
        again: bool,
    ) -> Step<Advance> {
        let container = address(&self.container(item).await?);
        let (jobs, seen) = (self.jobs(hub, item).await?, self.now());
        if intent.asked
            && let Some(job) = intent.ours(&jobs, &item.request, &container)
        {
            info!(hub.id = %hub.id(), job.id = %job.id, "the job was started already");
            return Ok(self.started(item, job, seen));
        }
        if again {
            return Ok(self.look_again(item, intent.clone(), "the worker before gave no answer", PAUSE));
        }
        if jobs.iter().any(ObservedJob::is_in_the_way) {
            let wanted = item.at(JobPhase::Wanted { refused: None });
            return Ok(self.later(wanted, "the hub's running job to end", QUOTA_PAUSE));
        }
        let error = match self.arm.create_job(hub, &item.request, &container).await {
            Ok(job) => return Ok(self.started(item, &job, seen)),
            Err(error) => error,
        };
        // What this look showed is not ours either, but an earlier ask may still come true.
        let since = if intent.asked { intent.since } else { seen };
        let asked = Intent { asked: true, since, ..Intent::after(&jobs, seen) };
        if (intent.asked || error.fate_unknown())
            && let Ok(jobs) = self.arm.reader().jobs(hub, item.request.through).await
            && let Some(job) = asked.ours(&jobs, &item.request, &container)
        {
            info!(hub.id = %hub.id(), job.id = %job.id, "the job was started, and the answer lost");
            return Ok(self.started(item, job, seen));
        }
        Ok(self.not_started(item, asked, &error))
    }

    /// What comes after an ask that gave no job.
    fn not_started(&self, item: &JobItem, asked: Intent, error: &ArmError) -> Advance {
        let cause = error.explained();
        let pause = match error.reaction() {
            Reaction::Wait(pause) => Duration::try_from(pause).unwrap_or(PAUSE),
            _ => PAUSE,
        };
        let wanted = |refused| item.at(JobPhase::Wanted { refused });
        if error.fate_unknown() {
            return self.look_again(&item.failed(), asked, &cause, pause.max(PAUSE));
        }
        match error.reaction() {
            Reaction::MaybeNotYet | Reaction::PrincipalYoung => {
                let waited_for = format!("the grant to spread ({cause})");
                self.later(wanted(Some(cause)), &waited_for, PAUSE)
            }
            Reaction::Wait(_) | Reaction::Reread => {
                self.later(wanted(None), &format!("the hub to take a job ({cause})"), pause.max(QUOTA_PAUSE))
            }
            Reaction::AlreadyThere | Reaction::Garbled(_) | Reaction::Fail => {
                Advance::Done(JobOutcome::Failed { cause })
            }
        }
    }

    /// Whether there is a job of ours is not known: it is looked for once more before another ask.
    fn look_again(&self, item: &JobItem, asked: Intent, cause: &str, pause: Duration) -> Advance {
        if item.failures >= TRIES {
            let cause = format!("whether the job was started is not known: {cause}");
            return Advance::Done(JobOutcome::Failed { cause });
        }
        let next = JobItem { phase: JobPhase::Intended(asked), ..item.clone() };
        self.later(next, &format!("the hub to show the job ({cause})"), pause)
    }

    fn started(&self, item: &JobItem, job: &ObservedJob, at: OffsetDateTime) -> Advance {
        let since = job.started.unwrap_or(at);
        let item = item.at(JobPhase::Running { job_id: job.id.clone(), since, progress: job.progress });
        self.later(item, "the job to end", LOOKS_AFTER[0])
    }
}
