//! One run over the fleet: reads grants, then hubs page by page, and keeps one row for each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    FleetGrants, FleetReport, HubRow, Source, compare,
    source::{FEW, HUBS, HubPages, grants_in_row, grants_query, listed, target_subscriptions},
};
use crate::{
    arm::{ArmError, ArmReader, Reaction, ResourceGraph, read_grant},
    desired::{Choice, DesiredState},
    model::{ResourceId, desired::Target, hub::HubDocument},
    offboard::{self, Known},
};

/// How long a run has the same id: whoever starts within it sends the same messages.
pub const QUARTER: Duration = Duration::minutes(15);
/// Namespace of the ids of runs, made once for this purpose.
const RUNS: Uuid = Uuid::from_u128(0x71d3_06b5_2e8c_4b19_a64f_90ce_13f7_5d28);
/// Subscriptions of which Resource Graph shows no hub that are listed in one run, to tell empty ones from
/// those that we may not read.
const CHECKED: usize = 24;

/// The id of the run that this moment belongs to.
pub fn run_at(now: OffsetDateTime) -> Uuid {
    let quarter = now.unix_timestamp().div_euclid(QUARTER.whole_seconds());
    Uuid::new_v5(&RUNS, quarter.to_string().as_bytes())
}

/// What a run found.
#[derive(Debug)]
pub struct Survey {
    /// A row for each hub. Nothing is queued yet.
    pub report: FleetReport,
    /// Hubs, in order, that grants of ours were made for, whose holders no hub has any more.
    pub left_behind: Vec<crate::model::IotHubId>,
}

/// Reads the whole fleet and compares it with the profiles. Reads only.
///
/// # Errors
/// Grants or hubs cannot be read at all. A subscription that alone cannot be read is told in the report.
pub async fn survey(
    arm: &ArmReader,
    state: &DesiredState,
    source: Source,
    run: Uuid,
) -> Result<Survey, ArmError> {
    let by_graph = source != Source::List;
    match Run::new(arm, state, run).survey(by_graph).await {
        Err(error)
            if source == Source::Auto
                && error.reaction() == Reaction::Fail
                && state.guardrails().subscriptions.len() <= FEW =>
        {
            warn!(%error, "Resource Graph cannot be asked: subscriptions are listed one by one");
            Run::new(arm, state, run).survey(false).await
        }
        other => other,
    }
}

struct Run<'a> {
    arm: &'a ArmReader,
    state: &'a DesiredState,
    run: Uuid,
    started: Instant,
    calls_before: u64,
    grants: FleetGrants,
    /// Cosmos DB accounts whose own grants were listed.
    accounts: BTreeSet<ResourceId>,
    known: Known,
    rows: Vec<HubRow>,
    seen: BTreeSet<String>,
    unread: BTreeMap<String, String>,
}

/// Calls that runs make; the labels are theirs alone.
fn calls(arm: &ArmReader) -> u64 {
    let is_ours = |label: &str| label.starts_with("GET fleet") || label == "POST Resource Graph";
    arm.client().calls().iter().filter(|(label, _)| is_ours(label)).map(|(_, count)| count).sum()
}

impl<'a> Run<'a> {
    fn new(arm: &'a ArmReader, state: &'a DesiredState, run: Uuid) -> Self {
        Self {
            arm,
            state,
            run,
            started: Instant::now(),
            calls_before: calls(arm),
            grants: FleetGrants::default(),
            accounts: BTreeSet::new(),
            known: Known::default(),
            rows: Vec::new(),
            seen: BTreeSet::new(),
            unread: BTreeMap::new(),
        }
    }

    async fn survey(mut self, by_graph: bool) -> Result<Survey, ArmError> {
        let state = self.state;
        let subscriptions = &state.guardrails().subscriptions;
        if by_graph {
            let mut graph = ResourceGraph::new(self.arm.clone());
            let (targets, query) = (target_subscriptions(state.guardrails()), grants_query());
            let mut pages = graph.query(&targets, &query);
            while !targets.is_empty()
                && let Some(page) = pages.next().await?
            {
                page.iter().flat_map(grants_in_row).for_each(|grant| self.grants.learn(grant));
            }
            let pages = HubPages::Graph(graph.query(subscriptions, HUBS));
            self.read_hubs(pages).await?;
            self.check_the_silent(subscriptions).await;
        } else {
            for scope in state.guardrails().outermost_targets() {
                let mut pages = self.arm.fleet_grants(scope);
                while let Some(page) = pages.next().await? {
                    page.iter().filter_map(read_grant).for_each(|grant| self.grants.learn(grant));
                }
            }
            for subscription in subscriptions {
                self.list(subscription).await;
            }
        }
        Ok(self.finish())
    }

    /// Resource Graph leaves out what we may not read without a word. Subscriptions without a hub are
    /// listed, some in each run, so that "none" is told from "not allowed".
    async fn check_the_silent(&mut self, subscriptions: &[String]) {
        let silent: Vec<&String> = subscriptions.iter().filter(|one| !self.seen.contains(*one)).collect();
        let first = match silent.len() {
            0 => return,
            count => usize::try_from(self.run.as_u128() % (count as u128)).unwrap_or_default(),
        };
        for subscription in silent.iter().cycle().skip(first).take(silent.len().min(CHECKED)) {
            self.list(subscription).await;
        }
    }

    /// Lists the hubs of one subscription. That it cannot be read is told; the others go on.
    async fn list(&mut self, subscription: &str) {
        if let Err(error) = self.read_hubs(listed(self.arm, subscription)).await {
            warn!(%error, "subscription {subscription} could not be read");
            self.unread.insert(subscription.to_owned(), error.explained());
        }
    }

    async fn read_hubs(&mut self, mut pages: HubPages<'_>) -> Result<(), ArmError> {
        while let Some(page) = pages.next().await? {
            for row in page {
                self.read_hub(row).await?;
            }
        }
        Ok(())
    }

    async fn read_hub(&mut self, row: Value) -> Result<(), ArmError> {
        let hub = match HubDocument::from_json(row) {
            Ok(hub) => hub,
            Err(error) => {
                warn!(%error, "a row is not a hub");
                return Ok(());
            }
        };
        if !self.state.guardrails().allows_hub(hub.id()) {
            return Ok(());
        }
        self.seen.insert(hub.id().subscription().to_owned());
        self.known.learn(&hub);
        self.list_cosmos_db(&hub).await?;
        let (id, location) = (hub.id().clone(), hub.location().to_owned());
        let now = self.arm.client().clock().now();
        let (profile, standing) = compare(self.state, hub, &self.grants, now);
        self.rows.push(HubRow { hub: id, location, profile, standing, queued: false });
        Ok(())
    }

    /// Grants that Cosmos DB keeps are not in any list of role assignments: one call for each account
    /// that a hub is to send to, once a run.
    async fn list_cosmos_db(&mut self, hub: &HubDocument) -> Result<(), ArmError> {
        let Choice::Desired(desired) = self.state.for_document(hub) else { return Ok(()) };
        let accounts = desired
            .uses()
            .filter(|used| matches!(used.target, Target::CosmosDbContainer(_)))
            .filter_map(|used| used.target.service());
        for account in accounts {
            if !self.state.guardrails().allows_target(&account) || !self.accounts.insert(account.clone()) {
                continue;
            }
            match self.arm.fleet_cosmos_grants(&account).await {
                Ok(grants) => grants.into_iter().for_each(|grant| self.grants.learn(grant)),
                // Its hubs seem to lack grants then, and the look says what is wrong.
                Err(error) => warn!(%error, "the grants of {account} could not be read"),
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Survey {
        self.rows.sort_by(|a, b| a.hub.cmp(&b.hub));
        self.rows.dedup_by(|a, b| a.hub == b.hub);
        let left_behind = self.left_behind();
        let report = FleetReport {
            schema: "hubward/fleet/v1".to_owned(),
            run: self.run,
            at: self.arm.client().clock().now(),
            seconds: self.started.elapsed().as_secs_f64(),
            calls: calls(self.arm).saturating_sub(self.calls_before),
            hubs: self.rows,
            unread: self.unread,
            stopped: None,
        };
        info!(
            hubs = report.hubs.len(),
            arm.calls = report.calls,
            seconds = report.seconds,
            principals = self.grants.principals(),
            "the fleet was compared"
        );
        Survey { report, left_behind }
    }

    /// Hubs that grants were made for whose holder no hub shows any more. Not seen proves nothing: it only
    /// says which hub to look for.
    fn left_behind(&self) -> Vec<crate::model::IotHubId> {
        let guardrails = self.state.guardrails();
        let orphans = self.grants.of_all(|principal| !self.known.in_use.contains(principal));
        let mut hubs: Vec<_> = orphans
            .iter()
            .filter_map(|grant| offboard::claim_of(grant, guardrails))
            .map(|(_, claim)| claim.hub)
            // A subscription that could not be read has hubs that were not seen.
            .filter(|hub| !self.unread.contains_key(hub.subscription()))
            .collect();
        hubs.sort();
        hubs.dedup();
        hubs
    }
}
