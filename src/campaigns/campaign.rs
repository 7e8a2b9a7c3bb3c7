//! What a campaign is and how far it has come. All of it is in one blob.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Refused, hubs::Tally};
use crate::outcomes::{Record, Word, id_of};

/// Longest id: it is part of the session and of the ids of requests.
pub const MOST_ID: usize = 32;
/// Most events of a campaign that are kept.
const MOST_TALES: usize = 50;
/// Most causes of one event.
pub const MOST_CAUSES: usize = 20;

/// A campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Campaign {
    /// `hubward/campaign/v1`
    pub schema: String,
    /// Its name, chosen by whoever started it.
    pub id: String,
    /// Made when it was started: another campaign of the same name is another run.
    pub run: Uuid,
    /// The profile that the hubs are brought to.
    pub profile: String,
    /// Whether the hubs were found by the profile's match: then one that is for another profile by now is
    /// not changed.
    pub by_match: bool,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: String,
    /// When it was started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// What it is held to.
    pub rules: Rules,
    /// The waves, in order.
    pub waves: Vec<Wave>,
    /// The wave that it is at, counted from 0.
    pub current: usize,
    /// Whether it goes on.
    pub state: State,
    /// The number of the step that comes next.
    pub step: u64,
    /// When that is due; nothing if nothing is left to do.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next_due: Option<OffsetDateTime>,
    /// The last of what happened and is told.
    #[serde(default)]
    pub tales: Vec<Tale>,
    /// The number of the last one that was told.
    #[serde(default)]
    pub told: u32,
}

/// What a campaign is held to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// Seconds from the last hub of a wave to the last look at the wave.
    pub soak_seconds: u64,
    /// Failed hubs that a wave may have.
    pub tolerate: u32,
    /// Seconds in which a hub's endpoints have to become healthy.
    pub verify_seconds: u64,
    /// What is made of endpoints whose health is still unknown then.
    pub unknown: Unknown,
    /// Hubs that are worked on at once.
    pub at_once: u32,
}

/// What is made of an endpoint whose health is unknown when the time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Unknown {
    /// No message went there; that is fine.
    Accept,
    /// The hub has failed.
    Fail,
}

/// Whether a campaign goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub enum State {
    /// It does.
    Running,
    /// Until somebody resumes it.
    #[serde(rename_all = "camelCase")]
    Paused {
        /// Why.
        cause: String,
    },
    /// All waves are done.
    Completed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Running => f.write_str("running"),
            State::Paused { cause } => write!(f, "paused: {cause}"),
            State::Completed => f.write_str("completed"),
        }
    }
}

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Its hubs.
    pub hubs: usize,
    /// What each of its pages came to when it was last written; nothing if it has to be read.
    pub pages: Vec<Option<Tally>>,
    /// How far it is.
    pub phase: Phase,
    /// Counts what operators said about this wave: hubs of an earlier turn may be taken up again.
    pub turn: u32,
    /// Hubs that failed up to this turn are left.
    #[serde(default)]
    pub left: u32,
    /// Hubs that were rolled back up to this turn are converted again.
    #[serde(default)]
    pub again: u32,
    /// Hubs that were changed before this turn go back; 0 if none do.
    #[serde(default)]
    pub back: u32,
    /// The turn whose rollback has ended and was told.
    #[serde(default)]
    pub back_told: u32,
}

/// How far a wave is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub enum Phase {
    /// Its hubs are changed and verified.
    Converting,
    /// All are; they are left alone for a while.
    Soaking {
        /// Until then.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// Their endpoints are looked at once more.
    Checking,
    /// Nothing is left to do.
    Done,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Converting => f.write_str("converting"),
            Phase::Soaking { until } => write!(f, "soaking until {until}"),
            Phase::Checking => f.write_str("checking"),
            Phase::Done => f.write_str("done"),
        }
    }
}

impl Wave {
    /// A wave that has not begun.
    pub fn new(pages: &[usize]) -> Self {
        Self {
            hubs: pages.iter().sum(),
            pages: pages.iter().map(|hubs| Some(Tally { waiting: *hubs, ..Tally::default() })).collect(),
            phase: Phase::Converting,
            turn: 1,
            left: 0,
            again: 0,
            back: 0,
            back_told: 0,
        }
    }

    /// From now on, all pages have to be read again.
    pub(super) fn forget_tallies(&mut self) {
        self.pages.fill(None);
    }

    /// What all pages came to, as far as is known.
    pub fn tally(&self) -> Tally {
        self.pages.iter().flatten().fold(Tally::default(), |sum, page| sum.plus(*page))
    }
}

/// Something that happened and is told: once, however often a step is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tale {
    /// Its number.
    pub nth: u32,
    /// The step that tells it.
    pub step: u64,
    /// What it is called as an outcome.
    pub outcome: Word,
    /// In words.
    pub causes: Vec<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Campaign {
    /// Checks an id.
    ///
    /// # Errors
    /// It is none.
    pub fn check_id(id: &str) -> Result<(), Refused> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let starts = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts && id.len() <= MOST_ID && id.bytes().all(is_word) {
            return Ok(());
        }
        let message = "this is no id of a campaign";
        let fix =
            format!("write 1 to {MOST_ID} letters, digits, `.`, `_` or `-`, with a letter or digit first");
        Err(Refused::new("ID", message, fix))
    }

    /// Whether it is running.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Writes down what is to be told by the step that comes next.
    pub(super) fn tell(&mut self, outcome: Word, mut causes: Vec<String>, at: OffsetDateTime) {
        let more = causes.len().saturating_sub(MOST_CAUSES);
        causes.truncate(MOST_CAUSES);
        if more > 0 {
            causes.push(format!("and {more} more"));
        }
        let nth = self.tales.last().map_or(0, |tale| tale.nth) + 1;
        self.tales.push(Tale { nth, step: self.step, outcome, causes, at });
        let surplus = self.tales.len().saturating_sub(MOST_TALES);
        self.tales.drain(..surplus);
    }

    /// What a step tells: what is new, and, should it be taken again, what it told before.
    pub fn tales_of(&self, step: u64) -> Vec<Record> {
        let is_due = |tale: &&Tale| tale.step == step || (tale.nth > self.told && tale.step < step);
        self.tales.iter().filter(is_due).map(|tale| self.record(tale)).collect()
    }

    fn record(&self, tale: &Tale) -> Record {
        let id = id_of(&format!("campaign|{}|{}", self.run, tale.nth));
        Record {
            campaign: Some(self.id.clone()),
            profile: Some(self.profile.clone()),
            received_at: Some(self.started_at),
            seconds: Some((tale.at - self.started_at).as_seconds_f64()),
            ..Record::new(id, tale.outcome, tale.causes.clone(), tale.at)
        }
    }
}
