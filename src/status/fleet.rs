//! The fleet as its page shows it. Pure: everything was read before.

use std::collections::BTreeMap;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Filter, Mistake, NotRead, SCHEMA};
use crate::{
    desired::DesiredState,
    fleet::{FleetReport, HubRow, Standing, StandingKind, Stopped},
    model::IotHubId,
    outcomes::{Word, parked::Parked},
};

/// Rows of one page.
pub const PAGE: usize = 200;

/// The fleet, and one page of its hubs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetView {
    /// `hubward/status/v1`
    pub schema: &'static str,
    /// `fleet`
    pub kind: &'static str,
    /// When this was put together.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The last resync: `None` if there was none, or it cannot be read.
    pub resync: Option<Resync>,
    /// Hubs by where they stand.
    pub summary: Summary,
    /// The same by profile, in the order of names.
    pub profiles: Vec<ProfileSummary>,
    /// Which hubs were asked for.
    pub filter: Filter,
    /// The page, from 1.
    pub page: usize,
    /// Pages there are, at least 1.
    pub pages: usize,
    /// Hubs that were asked for, on all pages.
    pub matching: usize,
    /// The hubs of this page, in the order of ids.
    pub hubs: Vec<HubRow>,
    /// When the profiles' exports are made next, the soonest first.
    pub next_exports: Vec<NextExport>,
    /// The oldest that did not end well and is parked.
    pub failed: Vec<FailedWork>,
    /// What could not be read.
    pub not_read: Vec<NotRead>,
}

/// The last resync.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resync {
    /// The run.
    pub run: Uuid,
    /// When Azure was asked: as old is what the page says of hubs.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Calls to Resource Manager.
    pub calls: u64,
    /// Whether it was stopped by `guardrails.maxHubsChanged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Subscriptions that could not be read, and why.
    pub unread: BTreeMap<String, String>,
}

/// Hubs by where they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All of them.
    pub hubs: usize,
    /// Those that the last resync asked to be looked at.
    pub queued: usize,
    /// Each word with its number.
    pub standing: BTreeMap<StandingKind, usize>,
}

/// The hubs of one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileSummary {
    /// The profile.
    pub profile: String,
    /// Its hubs.
    pub hubs: usize,
    /// Those that are as it says.
    pub in_sync: usize,
}

/// One export of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextExport {
    /// The profile.
    pub profile: String,
    /// The export.
    pub export: String,
    /// When it is made, as the profile says.
    pub schedule: String,
    /// When it is made next; `None` for never.
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    /// Hubs that it is made for.
    pub hubs: usize,
}

/// One thing that is parked. What came in is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedWork {
    /// The id of its outcome: for `hubward failed show`.
    pub outcome_id: Uuid,
    /// How it ended.
    pub outcome: Word,
    /// Why.
    pub causes: Vec<String>,
    /// Where it came in.
    pub from: String,
    /// When it was parked.
    #[serde(with = "time::serde::rfc3339")]
    pub parked_at: OffsetDateTime,
    /// The hub, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
}

impl From<Parked> for FailedWork {
    fn from(parked: Parked) -> Self {
        let Parked { outcome_id, outcome, causes, from, parked_at, hub, .. } = parked;
        Self { outcome_id, outcome, causes, from, parked_at, hub }
    }
}

impl FailedWork {
    /// The hub, where what came in names one.
    pub fn hub_id(&self) -> Option<IotHubId> {
        IotHubId::parse(self.hub.as_deref()?).ok()
    }
}

impl FleetView {
    /// One page of what was read.
    ///
    /// # Errors
    /// There is no such page.
    pub(super) fn new(
        report: Option<FleetReport>,
        state: Option<&DesiredState>,
        failed: Vec<FailedWork>,
        filter: Filter,
        at: OffsetDateTime,
    ) -> Result<Self, Mistake> {
        let (resync, rows) = match report {
            Some(FleetReport { run, at, seconds, calls, hubs, unread, stopped, schema: _ }) => {
                (Some(Resync { run, at, seconds, calls, stopped, unread }), hubs)
            }
            None => (None, Vec::new()),
        };
        let (summary, profiles) = count(&rows);
        let next_exports = state.map(|state| next_exports(state, &profiles, at)).unwrap_or_default();
        let asked: Vec<HubRow> = rows.into_iter().filter(|row| filter.takes(row)).collect();
        let (matching, page) = (asked.len(), filter.page);
        let pages = matching.div_ceil(PAGE).max(1);
        if page > pages {
            return Err(Mistake::no_such(format!("there is no page {page}; the last one is {pages}")));
        }
        let hubs = asked.into_iter().skip((page - 1) * PAGE).take(PAGE).collect();
        Ok(Self {
            schema: SCHEMA,
            kind: "fleet",
            at,
            resync,
            summary,
            profiles,
            filter,
            page,
            pages,
            matching,
            hubs,
            next_exports,
            failed,
            not_read: Vec::new(),
        })
    }
}

fn count(rows: &[HubRow]) -> (Summary, Vec<ProfileSummary>) {
    let mut summary = Summary { hubs: rows.len(), ..Summary::default() };
    summary.standing.extend(StandingKind::ALL.map(|kind| (kind, 0)));
    let mut profiles = BTreeMap::<&str, ProfileSummary>::new();
    for row in rows {
        *summary.standing.entry(row.standing.kind()).or_default() += 1;
        summary.queued += usize::from(row.queued);
        let Some(profile) = row.profile.as_deref() else { continue };
        let of = profiles.entry(profile).or_insert_with(|| ProfileSummary {
            profile: profile.to_owned(),
            hubs: 0,
            in_sync: 0,
        });
        of.hubs += 1;
        of.in_sync += usize::from(row.standing == Standing::InSync);
    }
    (summary, profiles.into_values().collect())
}

fn next_exports(state: &DesiredState, profiles: &[ProfileSummary], now: OffsetDateTime) -> Vec<NextExport> {
    let hubs_of = |name: &str| profiles.iter().find(|one| one.profile == name).map_or(0, |one| one.hubs);
    let of = |(profile, export, schedule): (&str, &str, &crate::schedule::Ncrontab)| NextExport {
        profile: profile.to_owned(),
        export: export.to_owned(),
        schedule: schedule.to_string(),
        at: schedule.next_after(now),
        hubs: hubs_of(profile),
    };
    let mut next: Vec<NextExport> = state.exports().map(of).collect();
    // Those that are never made come last.
    next.sort_by(|a, b| (a.at.is_none(), a.at, &a.profile).cmp(&(b.at.is_none(), b.at, &b.profile)));
    next
}
