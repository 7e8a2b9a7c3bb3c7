//! Steps of campaigns: the message is held against what is written down, the step is taken, and the next
//! message is sent.

use async_trait::async_trait;
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::{
    App,
    requests::{self, Known},
};
use crate::{
    arm::ArmReader,
    blobs::BlobError,
    campaigns::{
        campaign::Campaign,
        run::{Door, Runner, StepError},
        step::CampaignStep,
        store::CampaignBlobs,
    },
    desired::Request,
    handler::{HandlerError, InvocationResponse},
    telemetry,
    work::WorkItem,
};

/// Longest time a step begins with anything new, so that there is time left to write down what was done.
const STEP_UNTIL: Duration = Duration::from_secs(5 * 60);

impl App {
    /// Takes a step of a campaign. What the message says has no effect but that the campaign is looked at.
    pub(super) async fn campaign(
        &self,
        step: CampaignStep,
        session: Option<&str>,
    ) -> Result<InvocationResponse, HandlerError> {
        let refused = |cause: &str| {
            warn!(campaign.id = %step.campaign, "a step of a campaign is refused: {cause}");
            Ok(InvocationResponse::new().log(format!("a step of a campaign is refused: {cause}")))
        };
        if session.is_some_and(|session| session != step.session_id()) {
            return refused("it came in another session than the campaign's");
        }
        let Some(store) = &self.store else {
            return refused("campaigns are kept where outcomes are: set HUBWARD_OUTCOMES");
        };
        if Campaign::check_id(&step.campaign).is_err() {
            return refused("it names no campaign");
        }
        let blobs = CampaignBlobs::of(store.as_ref());
        let found = blobs.campaign(&step.campaign).await.map_err(HandlerError::transient)?;
        let Some((mut campaign, version)) = found.filter(|(campaign, _)| campaign.run == step.run) else {
            return refused("there is no such campaign");
        };
        if step.number > campaign.step {
            return refused("the campaign is not there yet");
        }
        if step.number == campaign.step {
            let state = self.profiles.current().await.map_err(HandlerError::transient)?;
            let arm = ArmReader::new(self.arm.until(Instant::now() + super::LOOK_UNTIL));
            let runner = Runner {
                arm: &arm,
                state: &state,
                blobs: &blobs,
                outcomes: store.as_ref(),
                door: self,
                until: Instant::now() + STEP_UNTIL,
            };
            match self.take_step(&runner, &mut campaign, &version).await {
                Ok(true) => {}
                // Somebody said something meanwhile: that has a message of its own.
                Ok(false) | Err(StepError::Blobs(BlobError::Moved)) => {
                    let found = blobs.campaign(&step.campaign).await.map_err(HandlerError::transient)?;
                    match found {
                        Some((last, _)) if last.step > step.number => campaign = last,
                        _ => return Err(HandlerError::transient(StepError::Blobs(BlobError::Moved))),
                    }
                }
                Err(error) => return Err(HandlerError::transient(error)),
            }
        }
        // Also by who comes late: whoever took the step may have been killed before this.
        if let Some(next) = CampaignStep::next(&campaign, telemetry::trace_parent()) {
            self.queue.send_step(&next).await.map_err(HandlerError::transient)?;
        }
        self.tell_of_campaign(&campaign, step.number).await
    }

    /// Takes the step and writes down what it came to; `false` if somebody else was quicker.
    async fn take_step(
        &self,
        runner: &Runner<'_>,
        campaign: &mut Campaign,
        version: &crate::blobs::Version,
    ) -> Result<bool, StepError> {
        runner.advance(campaign, version).await?;
        campaign.told = campaign.tales.last().map_or(0, |tale| tale.nth);
        campaign.step += 1;
        let before = campaign.clone();
        if runner.blobs.save(campaign, version).await? {
            return Ok(true);
        }
        // An answer that was lost looks like somebody else.
        Ok(runner.blobs.campaign(&campaign.id).await?.is_some_and(|(there, _)| there == before))
    }

    async fn tell_of_campaign(
        &self,
        campaign: &Campaign,
        number: u64,
    ) -> Result<InvocationResponse, HandlerError> {
        let mut response = InvocationResponse::new();
        for record in campaign.tales_of(number) {
            let record = self.hold(&record).await.map_err(HandlerError::transient)?;
            info!(campaign.id = %campaign.id, outcome.id = %record.outcome_id, "{}", record.causes.join("; "));
            response = response.send(requests::OUTCOMES, requests::message(&record.as_message())?);
        }
        let wave = campaign.current + 1;
        let line =
            format!("campaign {}: wave {wave} of {}: {}", campaign.id, campaign.waves.len(), campaign.state);
        Ok(response.log(line))
    }
}

#[async_trait]
impl Door for App {
    async fn take_in(&self, request: &Request) -> Result<Option<String>, StepError> {
        let unreachable = |error: HandlerError| StepError::Door(error.to_string());
        match self.known(request).await.map_err(|error| StepError::Door(error.to_string()))? {
            Known::Ended(_) => return Ok(None),
            Known::KeyTaken(cause) => return Ok(Some(cause)),
            Known::New => {}
        }
        let item = WorkItem::for_request(request, self.arm.clock().now(), telemetry::trace_parent());
        self.send(&item).await.map_err(unreachable)?;
        info!(hub.id = %request.hub, request.id = %request.id, "{request}: taken in");
        Ok(None)
    }
}
