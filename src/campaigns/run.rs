//! One step of a campaign: what its hubs came to, whose turn it is, and what follows from that.

mod begin;
mod end;

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::future::try_join_all;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

use super::{
    campaign::{Campaign, Phase, State, Unknown, Wave},
    hubs::{Page, Row, Standing, Tally},
    store::{CampaignBlobs, PageAt},
};
use crate::{
    arm::{ArmReader, Reaction},
    blobs::{BlobError, Version},
    desired::{Choice, DesiredState, Request, Wanted, digest_of},
    model::{desired::DesiredHub, hub::HubDocument},
    outcomes::{Record, Word, id_of_request, store::OutcomeStore},
    prove::{EndpointProof, prove},
};
use begin::Turn;

/// Pause between two looks at hubs that are under way.
const PACE: Duration = Duration::seconds(30);
/// Pause before what did not fit into a step.
const AT_ONCE: Duration = Duration::seconds(1);
/// Longest time that a request may take before its hub is given up.
const LONGEST: Duration = Duration::hours(6);
/// Hubs that are asked about side by side.
const SIDE_BY_SIDE: usize = 8;
/// Most hubs of a wave that are looked at once more in one step.
const MOST_CHECKS: usize = 500;

/// Why a step could not be taken. It is taken again.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The blobs cannot be reached, or another worker is at the campaign.
    #[error("the campaign's blobs: {0}")]
    Blobs(#[from] BlobError),
    /// A request could not be handed over.
    #[error("a request of the campaign: {0}")]
    Door(String),
}

/// The door that operators' requests come in at.
#[async_trait]
pub trait Door: Send + Sync {
    /// Takes a request in. The same request is taken in once. The answer is why it was refused, if it was.
    async fn take_in(&self, request: &Request) -> Result<Option<String>, StepError>;
}

/// What a step works with.
pub struct Runner<'a> {
    /// Looks at hubs.
    pub arm: &'a ArmReader,
    /// The profiles and the guardrails, as they are now.
    pub state: &'a DesiredState,
    /// The campaign's own blobs.
    pub blobs: &'a CampaignBlobs,
    /// How requests ended.
    pub outcomes: &'a dyn OutcomeStore,
    /// Where requests are taken in.
    pub door: &'a dyn Door,
    /// Until when the step may go on.
    pub until: Instant,
}

/// What is made of the rows of a page: which, and for what.
#[derive(Clone, Copy)]
struct At<'a> {
    campaign: &'a Campaign,
    number: usize,
    /// Whether other hubs of the wave may be begun with.
    goes_on: bool,
}

impl At<'_> {
    fn wave(&self) -> &Wave {
        &self.campaign.waves[self.number]
    }
}

/// What a walk over a wave has seen.
#[derive(Default)]
struct Seen {
    /// Why hubs failed.
    failed: BTreeSet<String>,
    /// Why hubs did not come back.
    not_back: BTreeSet<String>,
    /// Endpoints of hubs under way that are not well.
    sick: BTreeSet<String>,
    /// Some pages were not looked at for want of time.
    is_cut_short: bool,
}

impl Runner<'_> {
    /// Takes the step: changes pages, sends requests, and changes the campaign, which the caller writes down.
    ///
    /// # Errors
    /// Something could not be made durable. Whatever was done is found when the step is taken again.
    pub async fn advance(&self, campaign: &mut Campaign, version: &Version) -> Result<(), StepError> {
        let mut due: Option<OffsetDateTime> = None;
        for number in 0..campaign.waves.len() {
            if number != campaign.current && campaign.waves[number].back == 0 {
                continue;
            }
            if let Some(at) = self.wave(campaign, number, version).await? {
                due = Some(due.map_or(at, |due| due.min(at)));
            }
        }
        campaign.next_due = due;
        Ok(())
    }

    fn now(&self) -> OffsetDateTime {
        self.arm.client().clock().now()
    }

    /// Sees to one wave; answers with when to see to it again, if ever.
    async fn wave(
        &self,
        campaign: &mut Campaign,
        number: usize,
        version: &Version,
    ) -> Result<Option<OffsetDateTime>, StepError> {
        let now = self.now();
        let is_current = number == campaign.current;
        if let Phase::Soaking { until } = campaign.waves[number].phase
            && now >= until
            && campaign.is_running()
        {
            campaign.waves[number].phase = Phase::Checking;
        }
        let mut seen = Seen::default();
        self.observe(campaign, number, &mut seen).await?;
        let tally = campaign.waves[number].tally();
        let wave = &mut campaign.waves[number];
        if tally.waiting > 0 && wave.phase != Phase::Converting && campaign.state == State::Running {
            wave.phase = Phase::Converting;
        }
        if tally.to_go_back > 0 {
            self.begin(campaign, number, Turn::GoBack, version, &mut seen).await?;
        }
        let mut pause = None;
        if is_current && campaign.is_running() {
            if tally.failed > campaign.rules.tolerate as usize {
                self.pause(campaign, number, &seen);
            } else {
                if seen.sick.is_empty() && campaign.waves[number].phase == Phase::Converting {
                    self.begin(campaign, number, Turn::Convert, version, &mut seen).await?;
                }
                pause = self.end_of(campaign, number, &seen);
            }
        }
        self.end_of_rollback(campaign, number, &seen);
        let tally = campaign.waves[number].tally();
        let is_known = campaign.waves[number].pages.iter().all(Option::is_some);
        if seen.is_cut_short || !is_known || pause == Some(AT_ONCE) {
            pause = Some(AT_ONCE);
        } else if tally.under_way + tally.to_go_back > 0 {
            pause = Some(PACE);
        }
        let soaks = match campaign.waves[number].phase {
            Phase::Soaking { until } if is_current && campaign.is_running() => Some(until),
            _ => None,
        };
        Ok(pause.map(|pause| now + pause).or(soaks))
    }

    /// Reads the pages on which something is under way, or may be, and writes down what came of it.
    async fn observe(
        &self,
        campaign: &mut Campaign,
        number: usize,
        seen: &mut Seen,
    ) -> Result<(), StepError> {
        let is_running = campaign.is_running() && number == campaign.current;
        let checks = is_running && campaign.waves[number].phase == Phase::Checking;
        let mut checked = 0;
        for page in 0..campaign.waves[number].pages.len() {
            let known = campaign.waves[number].pages[page];
            if known.is_some_and(|tally| tally.under_way == 0 && !(checks && tally.verified > 0)) {
                continue;
            }
            if Instant::now() > self.until || checked >= MOST_CHECKS {
                seen.is_cut_short = true;
                return Ok(());
            }
            checked += if checks { known.map_or(0, |tally| tally.verified) } else { 0 };
            let at = PageAt { run: campaign.run, wave: number, page };
            let (before, version) = self.blobs.page(&campaign.id, at).await?;
            let mut after = before.clone();
            let place = At { campaign, number, goes_on: is_running };
            for rows in after.hubs.chunks_mut(SIDE_BY_SIDE) {
                try_join_all(rows.iter_mut().map(|row| self.look(place, row, checks))).await?;
            }
            if after != before {
                self.blobs.save_page(&campaign.id, at, &after, &version).await?;
            }
            self.note(campaign, number, page, &after, seen);
        }
        Ok(())
    }

    /// Writes down what a page came to.
    fn note(&self, campaign: &mut Campaign, number: usize, page: usize, rows: &Page, seen: &mut Seen) {
        let wave = &mut campaign.waves[number];
        wave.pages[page] = Some(Tally::of(&rows.hubs, wave));
        for row in &rows.hubs {
            let told = || format!("{}: {}", row.hub.name(), row.cause.as_deref().unwrap_or("no cause"));
            if row.has_failed(wave) {
                seen.failed.insert(told());
            } else if row.standing == Standing::NotRolledBack {
                seen.not_back.insert(told());
            } else if row.standing == Standing::Verifying && row.cause.is_some() {
                seen.sick.insert(told());
            }
        }
    }

    /// Looks at one hub, and moves it on as far as it has come.
    async fn look(&self, at: At<'_>, row: &mut Row, checks: bool) -> Result<(), StepError> {
        let (wave, now) = (at.wave(), self.now());
        match row.standing {
            Standing::Recorded => self.make_sure(at, row).await?,
            Standing::Sent => {
                let request = row.request(at.campaign, at.number);
                match self.ended(&request).await? {
                    Some(record) if matches!(record.outcome, Word::Changed | Word::InSync) => {
                        row.changed |= record.outcome == Word::Changed;
                        // What was sent before it was changed tells nothing of it.
                        row.to(Standing::Verifying, record.ended_at, None);
                        self.verify(at, row).await;
                    }
                    Some(record) => fail(row, wave, now, in_words(&record)),
                    None if is_over(row, LONGEST, now) => {
                        let cause = "its request has no outcome after six hours: look for it on the dead-letter queue of hub-work";
                        fail(row, wave, now, cause.to_owned());
                    }
                    None => {}
                }
            }
            Standing::Verifying => self.verify(at, row).await,
            Standing::Verified if checks => self.check(at, row).await,
            Standing::Failed if at.goes_on && row.turn < wave.turn && row.turn > wave.left => {
                let cause = row.cause.take();
                row.to(Standing::Waiting, now, cause);
            }
            Standing::RolledBack | Standing::NotRolledBack
                if at.goes_on && wave.again > 0 && row.back_turn <= wave.again =>
            {
                row.to(Standing::Waiting, now, None);
            }
            Standing::BackRecorded => self.take_back(at, row).await?,
            Standing::GoingBack => self.came_back(at, row).await?,
            _ => {}
        }
        Ok(())
    }

    /// A request that may have been sent by somebody who was killed then.
    async fn make_sure(&self, at: At<'_>, row: &mut Row) -> Result<(), StepError> {
        let request = row.request(at.campaign, at.number);
        let id = request["id"].as_str().unwrap_or_default();
        if at.goes_on || self.outcomes.claimed(id).await?.is_some() {
            return self.send(at, row).await;
        }
        row.to(Standing::Waiting, self.now(), None);
        Ok(())
    }

    /// Sends the request that converts a hub.
    async fn send(&self, at: At<'_>, row: &mut Row) -> Result<(), StepError> {
        let request = self.state.request_again(row.request(at.campaign, at.number), self.now());
        match request {
            Ok(request) => {
                let refused = self.door.take_in(&request).await?;
                row.touched = true;
                match refused {
                    Some(cause) => fail(row, at.wave(), self.now(), cause),
                    None => row.to(Standing::Sent, self.now(), None),
                }
            }
            Err(mistakes) => fail(row, at.wave(), self.now(), one_line(&mistakes)),
        }
        Ok(())
    }

    /// How a request of the campaign has ended, if it has.
    async fn ended(&self, request: &serde_json::Value) -> Result<Option<Record>, StepError> {
        let id = request["id"].as_str().unwrap_or_default();
        Ok(self.outcomes.ended(id_of_request(id, digest_of(request))).await?)
    }

    /// The hub, and what the profile makes of it; or why not.
    async fn wanted(&self, at: At<'_>, row: &Row) -> Result<(HubDocument, DesiredHub), Unready> {
        let request = self.state.request_again(row.request(at.campaign, at.number), self.now());
        let request = request.map_err(|mistakes| Unready::Never(one_line(&mistakes)))?;
        let hub = self.arm.hub(&row.hub).await.map_err(|error| match error.reaction() {
            Reaction::Fail => Unready::Never(error.explained()),
            _ => Unready::NotNow,
        })?;
        let Some(hub) = hub.filter(|hub| !hub.is_being_deleted()) else {
            return Err(Unready::Never("there is no such hub".to_owned()));
        };
        match self.state.for_request(&request, &hub, self.now()) {
            Wanted::State(Choice::Desired(mut desired)) => {
                desired.routes.clear();
                Ok((hub, desired))
            }
            Wanted::State(choice) => Err(Unready::Never(choice.causes().join("; "))),
            Wanted::Job(_) | Wanted::CancelJob(_) => Err(Unready::NotNow),
        }
    }

    /// Looks at the endpoints of a hub that was converted.
    async fn verify(&self, at: At<'_>, row: &mut Row) {
        let (now, rules) = (self.now(), &at.campaign.rules);
        let (hub, desired) = match self.wanted(at, row).await {
            Ok(found) => found,
            Err(Unready::Never(cause)) => return fail(row, at.wave(), now, cause),
            Err(Unready::NotNow) => return,
        };
        let proof = prove(self.arm, &desired, &hub).await;
        let since = row.since.unwrap_or(now);
        let (mut doubts, mut unknown) = (Vec::new(), Vec::new());
        for endpoint in &proof.endpoints {
            match endpoint.doubt().filter(|_| endpoint.is_since(since)) {
                Some(doubt) => doubts.push(doubt),
                None if endpoint.is_healthy() && endpoint.is_since(since) => {}
                None => unknown.push(endpoint.name.as_str()),
            }
        }
        let allowed = Duration::seconds(i64::try_from(rules.verify_seconds).unwrap_or(i64::MAX));
        if doubts.is_empty() && unknown.is_empty() {
            row.to(Standing::Verified, now, None);
        } else if !is_over(row, allowed, now) {
            row.cause = Some(doubts.join("; ")).filter(|text| !text.is_empty());
        } else if !doubts.is_empty() {
            fail(row, at.wave(), now, doubts.join("; "));
        } else if rules.unknown == Unknown::Fail {
            let cause = format!("since the hub was changed, nothing was sent to {}", unknown.join(", "));
            fail(row, at.wave(), now, cause);
        } else {
            row.to(Standing::Verified, now, None);
        }
    }

    /// Looks once more at a hub whose wave was left alone for a while.
    async fn check(&self, at: At<'_>, row: &mut Row) {
        let now = self.now();
        match self.wanted(at, row).await {
            Ok((hub, desired)) => {
                let since = row.since.unwrap_or(now);
                let proof = prove(self.arm, &desired, &hub).await;
                let sent = proof.endpoints.iter().filter(|endpoint| endpoint.is_since(since));
                let doubts: Vec<String> = sent.filter_map(EndpointProof::doubt).collect();
                if doubts.is_empty() {
                    row.to(Standing::Done, now, None);
                } else {
                    fail(row, at.wave(), now, format!("after the wave had soaked: {}", doubts.join("; ")));
                }
            }
            Err(Unready::Never(cause)) => fail(row, at.wave(), now, cause),
            Err(Unready::NotNow) => {}
        }
    }

    /// Sends the requests that bring a hub back.
    async fn take_back(&self, at: At<'_>, row: &mut Row) -> Result<(), StepError> {
        let now = self.now();
        let mut requests = Vec::new();
        for json in row.requests_back(at.campaign, at.number) {
            match self.state.request_again(json, now) {
                Ok(request) => requests.push(request),
                Err(mistakes) => {
                    row.to(Standing::NotRolledBack, now, Some(one_line(&mistakes)));
                    return Ok(());
                }
            }
        }
        for request in &requests {
            if let Some(cause) = self.door.take_in(request).await? {
                row.to(Standing::NotRolledBack, now, Some(cause));
                return Ok(());
            }
        }
        let left = row.cause.take();
        row.to(Standing::GoingBack, now, left);
        Ok(())
    }

    /// Looks whether a hub has come back.
    async fn came_back(&self, at: At<'_>, row: &mut Row) -> Result<(), StepError> {
        let now = self.now();
        let mut bad = Vec::new();
        for request in row.requests_back(at.campaign, at.number) {
            match self.ended(&request).await? {
                Some(record) if matches!(record.outcome, Word::Changed | Word::InSync) => {}
                Some(record) => bad.push(in_words(&record)),
                None if is_over(row, LONGEST, now) => {
                    bad.push("a request has no outcome after six hours".to_owned());
                }
                None => return Ok(()),
            }
        }
        if bad.is_empty() {
            let left = row.cause.take();
            row.to(Standing::RolledBack, now, left);
        } else {
            row.to(Standing::NotRolledBack, now, Some(bad.join("; ")));
        }
        Ok(())
    }
}

/// Why a hub cannot be looked at.
enum Unready {
    /// For now.
    NotNow,
    /// For good.
    Never(String),
}

fn fail(row: &mut Row, wave: &Wave, now: OffsetDateTime, cause: String) {
    row.turn = wave.turn;
    row.to(Standing::Failed, now, Some(cause));
}

fn is_over(row: &Row, allowed: Duration, now: OffsetDateTime) -> bool {
    row.since.is_none_or(|since| now - since >= allowed)
}

fn in_words(record: &Record) -> String {
    format!("{}: {}", record.outcome, record.causes.join("; "))
}

fn one_line(mistakes: &crate::desired::Mistakes) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
