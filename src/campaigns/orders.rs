//! What operators say to campaigns: start, pause, resume, roll back. Each is checked here, whoever brings it.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Refused,
    campaign::{Campaign, Phase, Rules, State, Wave},
    hubs::{AuthBefore, MOST_REASON, PAGE, Page, Row},
    step::CampaignStep,
    store::{CampaignBlobs, PageAt},
    waves::{Size, split},
};
use crate::{
    blobs::BlobError,
    bus::{SendError, WorkQueue},
    desired::DesiredState,
    model::{IotHubId, hub::HubDocument},
    outcomes::Word,
};

/// Most hubs that a campaign works on at once.
pub const MOST_AT_ONCE: u32 = 500;
/// Longest time to verify a hub, and to leave a wave alone.
const LONGEST_SECONDS: u64 = 30 * 24 * 60 * 60;
/// Tries to change a blob that others change too.
const TRIES: usize = 8;

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It makes no sense, or is not allowed.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The blobs cannot be reached.
    #[error("the campaign's blobs: {0}")]
    Blobs(#[from] BlobError),
    /// It is written down, and the message that it goes on with was not taken.
    #[error("{0}; it is written down: `hubward campaign resume` sends the message again")]
    Send(#[from] SendError),
}

/// A campaign as it is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name.
    pub id: String,
    /// The profile, in any case.
    pub profile: String,
    /// Hubs that go first.
    pub first: Vec<IotHubId>,
    /// How large the waves are, the canary first.
    pub sizes: Vec<Size>,
    /// What it is held to.
    pub rules: Rules,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: String,
}

/// Which hubs a campaign is for.
#[derive(Clone)]
pub enum Hubs {
    /// Those of all hubs that the profile is for.
    Matching(Vec<HubDocument>),
    /// These.
    Named(Vec<IotHubId>),
}

/// A campaign that could be started, with its pages, by wave.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The campaign.
    pub campaign: Campaign,
    /// Its hubs.
    pub pages: Vec<Vec<Page>>,
}

impl Plan {
    /// Splits the hubs into waves.
    ///
    /// # Errors
    /// The first thing that cannot be.
    pub fn over(self, state: &DesiredState, hubs: Hubs, now: OffsetDateTime) -> Result<Planned, Refused> {
        Campaign::check_id(&self.id)?;
        let known = |name: &&str| name.eq_ignore_ascii_case(&self.profile);
        let Some(profile) = state.profile_names().find(known).map(str::to_owned) else {
            let names: Vec<&str> = state.profile_names().collect();
            let message = format!("there is no profile `{}`", self.profile);
            return Err(Refused::new("--profile", message, format!("write one of {}", names.join(", "))));
        };
        if !state.is_by_campaign(&profile) {
            let message = format!(
                "profile {profile} is rolled out automatically: every event would go ahead of the waves"
            );
            return Err(Refused::new("--profile", message, "write `rollout: campaign` in the profile"));
        }
        self.check_rules()?;
        let by_match = matches!(hubs, Hubs::Matching(_));
        let hubs = self.in_order(state, &profile, hubs)?;
        let campaign = Campaign {
            schema: "hubward/campaign/v1".to_owned(),
            run: Uuid::new_v4(),
            profile,
            by_match,
            started_at: now,
            waves: Vec::new(),
            current: 0,
            state: State::Running,
            step: 1,
            next_due: Some(now),
            tales: Vec::new(),
            told: 0,
            id: self.id,
            requested_by: self.requested_by,
            reason: self.reason,
            rules: self.rules,
        };
        // Every request of the campaign is like this one: what would be refused at its door is told here.
        if let Some(first) = hubs.first() {
            let sample = Row::new(first.clone()).request(&campaign, 0);
            state.request_again(sample, now).map_err(|mistakes| {
                let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                Refused::new("request", told.join("; "), "correct it, and start again")
            })?;
        }
        let mut hubs = hubs.into_iter().map(Row::new);
        let mut pages = Vec::new();
        let mut waves = Vec::new();
        for size in split(hubs.len(), &self.sizes)? {
            let rows: Vec<Row> = hubs.by_ref().take(size).collect();
            let of_wave: Vec<Page> = rows.chunks(PAGE).map(|rows| Page { hubs: rows.to_vec() }).collect();
            waves.push(Wave::new(&of_wave.iter().map(|page| page.hubs.len()).collect::<Vec<_>>()));
            pages.push(of_wave);
        }
        Ok(Planned { campaign: Campaign { waves, ..campaign }, pages })
    }

    fn check_rules(&self) -> Result<(), Refused> {
        let Rules { soak_seconds, verify_seconds, at_once, .. } = self.rules;
        if self.reason.chars().count() > MOST_REASON {
            let message = format!("this has more than {MOST_REASON} characters");
            return Err(Refused::new("--reason", message, "say it in fewer words"));
        }
        if !(1..=MOST_AT_ONCE).contains(&at_once) {
            let fix = format!("write a number from 1 to {MOST_AT_ONCE}");
            return Err(Refused::new(
                "--at-once",
                format!("{at_once} hubs cannot be worked on at once"),
                fix,
            ));
        }
        for (field, seconds) in [("--soak", soak_seconds), ("--verify", verify_seconds)] {
            if seconds > LONGEST_SECONDS {
                return Err(Refused::new(field, "this is longer than 30 days", "write at most `P30D`"));
            }
        }
        Ok(())
    }

    /// The hubs, those first that are to be first, the others by name.
    fn in_order(&self, state: &DesiredState, profile: &str, hubs: Hubs) -> Result<Vec<IotHubId>, Refused> {
        let mut found: Vec<IotHubId> = match hubs {
            Hubs::Matching(all) => all
                .into_iter()
                .filter(|hub| state.profile_of(hub) == Some(profile) && !hub.is_being_deleted())
                .map(|hub| hub.id().clone())
                .collect(),
            Hubs::Named(named) => named,
        };
        found.sort();
        found.dedup();
        if found.is_empty() {
            let message = format!("no hub of the allowed subscriptions is for profile {profile}");
            return Err(Refused::new(
                "--profile",
                message,
                "look at the profile's `match`, or name hubs with --hub",
            ));
        }
        if let Some(outside) = found.iter().find(|hub| !state.guardrails().allows_hub(hub)) {
            let message = format!("the subscription of {} is not allowed", outside.name());
            return Err(Refused::new("--hub", message, "add it to `guardrails.subscriptions`"));
        }
        // Names are unique in Azure, and the ids of requests are made of them.
        let mut by_name: BTreeMap<String, &IotHubId> = BTreeMap::new();
        for hub in &found {
            if by_name.insert(hub.name().to_ascii_lowercase(), hub).is_some() {
                let message = format!("two hubs are called {}", hub.name());
                return Err(Refused::new("--hub", message, "leave the one out that does not exist"));
            }
        }
        let mut first = Vec::new();
        for hub in &self.first {
            match found.iter().position(|known| known == hub) {
                Some(at) => first.push(found.remove(at)),
                None if first.contains(hub) => {}
                None => {
                    let message = format!("{} is not among the campaign's hubs", hub.name());
                    return Err(Refused::new("--first", message, "name one that is"));
                }
            }
        }
        first.append(&mut found);
        Ok(first)
    }
}

/// Starts a campaign: writes it down and sends its first message.
///
/// # Errors
/// Its id is taken, or it cannot be written or sent.
pub async fn start(
    blobs: &CampaignBlobs,
    queue: &dyn WorkQueue,
    planned: &Planned,
    trace_parent: Option<String>,
) -> Result<(), OrderError> {
    let Planned { campaign, pages } = planned;
    if !blobs.begin(campaign, pages).await? {
        let message = format!("there is a campaign `{}` already", campaign.id);
        return Err(Refused::new("ID", message, "choose another id").into());
    }
    send_next(queue, campaign, trace_parent).await
}

/// What an operator says about a campaign that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Begin with no other hub.
    Pause,
    /// Go on.
    Resume {
        /// Leave hubs that failed as they are.
        leave_failed: bool,
        /// Convert hubs again that were rolled back.
        again: bool,
    },
    /// Bring the hubs of a wave, counted from 1, back to what they were. Pauses the campaign.
    Rollback {
        /// Which.
        wave: usize,
    },
}

/// Carries an order out: changes what is written down, and sends the message that brings it to work.
///
/// # Errors
/// There is no such campaign, the order makes no sense, or the blobs or the queue cannot be reached.
pub async fn obey(
    blobs: &CampaignBlobs,
    queue: &dyn WorkQueue,
    state: &DesiredState,
    id: &str,
    order: &Order,
    said: (&str, OffsetDateTime),
    trace_parent: Option<String>,
) -> Result<Campaign, OrderError> {
    Campaign::check_id(id)?;
    for _ in 0..TRIES {
        let Some((mut campaign, version)) = blobs.campaign(id).await? else {
            let message = format!("there is no campaign `{id}`");
            return Err(Refused::new("ID", message, "see `hubward campaign list`").into());
        };
        campaign.take(order, said)?;
        if let Order::Rollback { wave } = order {
            may_go_back(blobs, state, &campaign, wave - 1).await?;
        }
        if blobs.save(&campaign, &version).await? {
            send_next(queue, &campaign, trace_parent).await?;
            return Ok(campaign);
        }
    }
    Err(BlobError::Moved.into())
}

/// Whether the guardrails let the hubs of a wave go back.
async fn may_go_back(
    blobs: &CampaignBlobs,
    state: &DesiredState,
    campaign: &Campaign,
    wave: usize,
) -> Result<(), OrderError> {
    if state.guardrails().allow_keys {
        return Ok(());
    }
    let count = campaign.waves.get(wave).map_or(0, |wave| wave.pages.len());
    for page in 0..count {
        let (page, _) = blobs.page(&campaign.id, PageAt { run: campaign.run, wave, page }).await?;
        let had_key = |row: &&Row| {
            row.touched && row.before.iter().any(|before| matches!(before.auth, AuthBefore::Key { .. }))
        };
        if let Some(row) = page.hubs.iter().find(had_key) {
            let message =
                format!("{} had a key before, and the guardrails do not allow keys", row.hub.name());
            let fix = "write `allowKeys: true` under `guardrails` for as long as it takes";
            return Err(Refused::new("--wave", message, fix).into());
        }
    }
    Ok(())
}

async fn send_next(
    queue: &dyn WorkQueue,
    campaign: &Campaign,
    trace_parent: Option<String>,
) -> Result<(), OrderError> {
    if let Some(step) = CampaignStep::next(campaign, trace_parent) {
        queue.send_step(&step).await?;
    }
    Ok(())
}

impl Campaign {
    fn take(&mut self, order: &Order, (by, now): (&str, OffsetDateTime)) -> Result<(), Refused> {
        // Another number makes another message: the one that waits in the queue is not waited for.
        self.step += 1;
        self.next_due = Some(now);
        match order {
            Order::Pause => self.pause(by, now),
            Order::Resume { leave_failed, again } => self.resume(*leave_failed, *again),
            Order::Rollback { wave } => self.roll_back(*wave, by, now),
        }
    }

    fn pause(&mut self, by: &str, now: OffsetDateTime) -> Result<(), Refused> {
        if !self.is_running() {
            let message = format!("the campaign is {}", self.state);
            return Err(Refused::new("ID", message, "only one that is running can be paused"));
        }
        let cause = format!("paused by {by}");
        self.tell(Word::Blocked, vec![format!("campaign {}: {cause}", self.id)], now);
        self.state = State::Paused { cause };
        Ok(())
    }

    fn resume(&mut self, leave_failed: bool, again: bool) -> Result<(), Refused> {
        if self.state == State::Completed && !again {
            let fix = "start another campaign, or convert with --again what was rolled back";
            return Err(Refused::new("ID", "the campaign is completed", fix));
        }
        if self.is_running() && (leave_failed || again) {
            let message = "the campaign is running";
            return Err(Refused::new("ID", message, "pause it first, or resume it without that"));
        }
        if !self.is_running() {
            let mut first_again = None;
            for (at, wave) in self.waves.iter_mut().enumerate() {
                let tally = wave.tally();
                let was_rolled_back = wave.back > 0 || tally.rolled_back + tally.not_rolled_back > 0;
                if again && was_rolled_back {
                    wave.again = wave.turn;
                    wave.phase = Phase::Converting;
                    first_again.get_or_insert(at);
                } else if at != self.current && wave.back == 0 {
                    continue;
                }
                if leave_failed {
                    wave.left = wave.turn;
                }
                wave.turn += 1;
                wave.back = 0;
                wave.forget_tallies();
            }
            if again && first_again.is_none() {
                let message = "no hub of the campaign was rolled back";
                return Err(Refused::new("--again", message, "leave it out"));
            }
            self.current = first_again.unwrap_or(self.current).min(self.current);
        }
        self.state = State::Running;
        Ok(())
    }

    fn roll_back(&mut self, number: usize, by: &str, now: OffsetDateTime) -> Result<(), Refused> {
        let count = self.waves.len();
        let wave = number.checked_sub(1).and_then(|at| self.waves.get_mut(at));
        let Some(wave) = wave else {
            let message = format!("there is no wave {number}");
            return Err(Refused::new("--wave", message, format!("write a number from 1 to {count}")));
        };
        wave.turn += 1;
        wave.back = wave.turn;
        wave.forget_tallies();
        let cause = format!("wave {number} is rolled back for {by}");
        self.tell(Word::Blocked, vec![format!("campaign {}: {cause}", self.id)], now);
        self.state = State::Paused { cause };
        Ok(())
    }
}
