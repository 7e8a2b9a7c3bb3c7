//! Where a view's contents come from. Reads only.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    FailedWork, Filter, FleetView, GrantView, HubView, Mistake, PlanView,
    hub::{SeenBefore, next_exports},
    read::{Part, Reading},
};
use crate::{
    arm::{ArmClient, ArmError, ArmReader},
    desired::{Choice, DesiredState},
    fleet::{self, FleetReport, Standing},
    model::{
        IotHubId,
        desired::DesiredHub,
        hub::HubDocument,
        job::{JobDoor, ObservedJob},
    },
    observe::Observer,
    outcomes::{
        parked::{Parked, ParkedQueue},
        store::OutcomeStore,
    },
    plan::{grant_states, plan},
    prove::prove,
};

/// Longest time for all reads of one page: somebody is waiting for it.
const LOOK_FOR: Duration = Duration::from_secs(20);

/// What the views are made from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// What hubs should be, or why that cannot be read.
    pub state: Result<&'a DesiredState, &'a str>,
    /// Azure Resource Manager.
    pub arm: &'a ArmClient,
    /// Where outcomes are kept.
    pub store: Option<&'a dyn OutcomeStore>,
    /// Where failed work is parked.
    pub parked: Option<&'a dyn ParkedQueue>,
}

impl Sources<'_> {
    /// The fleet as the last resync found it. Asks Azure nothing.
    ///
    /// # Errors
    /// There is no such page.
    pub async fn fleet(&self, filter: Filter) -> Result<FleetView, Mistake> {
        let until = Instant::now() + LOOK_FOR;
        let mut reading = Reading::until(until);
        let (report, failed) = futures::join!(
            Reading::in_time(until, Part::Resync, self.last_resync()),
            Reading::in_time(until, Part::Failed, self.failed()),
        );
        let report = reading.keep(report).flatten();
        let failed = reading.keep(failed).unwrap_or_default();
        let state = reading.read(Part::Profiles, async { self.state }).await;
        let now = self.arm.clock().now();
        let mut view = FleetView::new(report, state, failed, filter, now)?;
        view.not_read = reading.end();
        Ok(view)
    }

    /// One hub, looked at now.
    ///
    /// # Errors
    /// There is no such hub in the guardrails' subscriptions.
    pub async fn hub(&self, id: IotHubId) -> Result<HubView, Mistake> {
        let state = self.state.map_err(Mistake::away)?;
        if !state.guardrails().allows_hub(&id) {
            let subscription = id.subscription();
            return Err(Mistake::no_such(format!(
                "subscription {subscription} is not in guardrails.subscriptions"
            )));
        }
        let until = Instant::now() + LOOK_FOR;
        let mut reading = Reading::until(until);
        let mut observer = Observer::new(ArmReader::new(self.arm.until(until)), id.clone(), &[]);
        let document = async { observer.document().await.map(|found| found.cloned()).map_err(explained) };
        let (document, report, record, failed) = futures::join!(
            Reading::in_time(until, Part::Hub, document),
            Reading::in_time(until, Part::Resync, self.last_resync()),
            Reading::in_time(until, Part::LastOutcome, self.last_outcome(&id)),
            Reading::in_time(until, Part::Failed, self.failed()),
        );
        let now = self.arm.clock().now();
        let mut view = HubView::new(id, now);
        view.at_last_resync =
            reading.keep(report).flatten().and_then(|report| seen_before(report, &view.hub));
        view.last_outcome = reading.keep(record).flatten().map(Into::into);
        view.failed = reading.keep(failed).unwrap_or_default();
        view.failed.retain(|failed| failed.hub_id().as_ref() == Some(&view.hub));
        match reading.keep(document) {
            Some(Some(document)) => {
                Box::pin(self.look(state, &document, &mut observer, &mut reading, &mut view)).await;
            }
            Some(None) if view.at_last_resync.is_none() && view.last_outcome.is_none() => {
                return Err(Mistake::no_such("there is no such hub"));
            }
            Some(None) => {
                view.standing = Some(Standing::Refused { causes: vec!["there is no such hub".to_owned()] });
            }
            None => {}
        }
        view.not_read = reading.end();
        Ok(view)
    }

    /// What can be said of a hub that is there.
    async fn look(
        &self,
        state: &DesiredState,
        document: &HubDocument,
        observer: &mut Observer,
        reading: &mut Reading,
        view: &mut HubView,
    ) {
        view.location = Some(document.location().to_owned());
        view.profile = state.profile_of(document).map(str::to_owned);
        if document.is_being_deleted() {
            view.standing = Some(Standing::Refused { causes: vec!["the hub is being deleted".to_owned()] });
            return;
        }
        let arm = ArmReader::new(self.arm.until(reading.limit()));
        let desired = match state.for_document(document) {
            Choice::Desired(desired) => desired,
            Choice::NoProfile => {
                view.standing = Some(Standing::NoProfile);
                view.jobs = read_jobs(&arm, None, document, reading).await;
                return;
            }
            other @ (Choice::OutOfScope | Choice::Refused(_)) => {
                view.standing = Some(Standing::Refused { causes: other.causes() });
                view.jobs = read_jobs(&arm, None, document, reading).await;
                return;
            }
        };
        view.next_exports = next_exports(&desired, view.at);
        let guardrails = state.guardrails();
        let observed = async { observer.observe(&desired, guardrails).await.map_err(explained) };
        if let Some(Some(observed)) = reading.read(Part::Plan, observed).await {
            let plan = plan(&desired, &observed, guardrails, view.at);
            let grants = grant_states(&desired, &observed, guardrails, &plan.pending());
            view.standing = Some(fleet::standing(&desired, &observed, &plan, guardrails, view.at));
            view.grants = grants.into_iter().map(|grant| GrantView::of(grant, view.at)).collect();
            view.plan = Some(PlanView::from(&plan));
        }
        let health = async { Ok::<_, String>(prove(&arm, &desired, document).await) };
        view.health = reading.read(Part::Health, health).await.unwrap_or_default();
        view.jobs = read_jobs(&arm, Some(&desired), document, reading).await;
    }

    async fn last_resync(&self) -> Result<Option<FleetReport>, String> {
        let Some(store) = self.store else {
            return Err("HUBWARD_OUTCOMES names no container: what a resync finds is not kept".to_owned());
        };
        store.of_fleet().await.map_err(|error| error.to_string())
    }

    async fn last_outcome(&self, hub: &IotHubId) -> Result<Option<crate::outcomes::Record>, String> {
        let Some(store) = self.store else {
            return Err("HUBWARD_OUTCOMES names no container: outcomes are not kept".to_owned());
        };
        store.of_hub(hub).await.map_err(|error| error.to_string())
    }

    async fn failed(&self) -> Result<Vec<FailedWork>, String> {
        let Some(parked) = self.parked else {
            return Err("HUBWARD_QUEUES names no queue service".to_owned());
        };
        let parked: Vec<Parked> = parked.oldest().await.map_err(|error| error.to_string())?;
        Ok(parked.into_iter().map(FailedWork::from).collect())
    }
}

fn explained(error: ArmError) -> String {
    error.explained()
}

fn seen_before(report: FleetReport, hub: &IotHubId) -> Option<SeenBefore> {
    let at = report.at;
    let row = report.hubs.into_iter().find(|row| row.hub == *hub)?;
    Some(SeenBefore::of(row, at))
}

/// The hub's exports and imports: through the door that its exports take, else through Resource Manager, which
/// reaches every hub.
async fn read_jobs(
    arm: &ArmReader,
    desired: Option<&DesiredHub>,
    document: &HubDocument,
    reading: &mut Reading,
) -> Vec<super::JobView> {
    let export = desired.and_then(|desired| desired.exports.first());
    let door = export.map_or(JobDoor::ResourceManager, |export| export.through);
    let jobs = async { arm.jobs(document, door).await.map_err(explained) };
    let jobs = reading.read(Part::Jobs, jobs).await.unwrap_or_default();
    jobs.into_iter().filter(ObservedJob::is_bulk).map(Into::into).collect()
}
