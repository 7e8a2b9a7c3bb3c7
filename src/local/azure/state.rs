//! What the simulator knows, behind one lock that is never held over a wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    activity::Activity,
    answer::iso,
    blob::Container,
    call::Caller,
    changes::Tracked,
    cosmos_roles::{CosmosGrant, CosmosOperation},
    events::Events,
    faults::Faults,
    hub::{Health, Hub, Operation},
    identity::Token,
    jobs::Job,
    keys::Rule,
    random::Random,
    registry::Registry,
    resource_graph::Quotas,
    resources::{Group, Identity},
    roles::Assignment,
    settings::{Settings, seconds},
    throttle::Buckets,
    world::CallerPermission,
};

/// How many calls the log keeps.
const LOG_LENGTH: usize = 2000;

pub(super) struct State {
    pub(super) random: Random,
    pub(super) seed: u64,
    etag: u64,
    pub(super) tenant: String,
    /// By lower-cased GUID: the display name.
    pub(super) subscriptions: BTreeMap<String, String>,
    /// By lower-cased subscription and name.
    pub(super) groups: BTreeMap<(String, String), Group>,
    /// By lower-cased id, as everything below that has one.
    pub(super) hubs: Tracked<Hub>,
    /// Hubs that were there: the provider answers for them, not ARM.
    pub(super) deleted_hubs: BTreeSet<String>,
    /// By the hub's id and the endpoint's.
    pub(super) health: BTreeMap<(String, String), Health>,
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) principals: BTreeMap<String, Principal>,
    pub(super) identities: BTreeMap<String, Identity>,
    /// What hubs send to, as a GET shows it.
    pub(super) targets: BTreeMap<String, Value>,
    /// What containers hold, by the container's id.
    pub(super) blobs: BTreeMap<String, Container>,
    /// The devices of hubs, by the hub's id.
    pub(super) registries: BTreeMap<String, Registry>,
    /// Exports and imports, oldest first.
    pub(super) jobs: Vec<Job>,
    /// Shared access rules of namespaces, event hubs, queues and topics.
    pub(super) rules: BTreeMap<String, Rule>,
    /// The properties of each namespace's network rule set, by the namespace's id.
    pub(super) rule_sets: BTreeMap<String, Value>,
    /// Role assignments inside Cosmos DB accounts, and the operations on them.
    pub(super) cosmos: Vec<CosmosGrant>,
    pub(super) cosmos_operations: BTreeMap<String, CosmosOperation>,
    pub(super) assignments: Tracked<Assignment>,
    pub(super) callers: Vec<Caller>,
    /// What callers may do who may not do everything, by object id.
    pub(super) limits: BTreeMap<String, Vec<CallerPermission>>,
    pub(super) tokens: BTreeMap<String, Token>,
    pub(super) faults: Faults,
    pub(super) buckets: Buckets,
    pub(super) graph_quotas: Quotas,
    pub(super) counters: Counters,
    pub(super) log: VecDeque<Value>,
    pub(super) events: Events,
    pub(super) activity: Activity,
    /// Secrets that are no longer, or not only, in a hub: replaced keys and every connection
    /// string that was ever sent.
    pub(super) old_secrets: BTreeSet<String>,
}

/// A principal as the directory and role-based access control know it.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    /// When assignments without `principalType` begin to work.
    pub(super) visible: OffsetDateTime,
    /// How many assignments are still refused in any case.
    pub(super) refusals: u32,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) arm_calls: u64,
    pub(super) data_calls: u64,
    pub(super) hub_puts: u64,
    pub(super) hub_puts_accepted: u64,
    pub(super) throttled: u64,
    pub(super) calls: BTreeMap<String, u64>,
}

impl State {
    pub(super) fn new(settings: &Settings, tenant: &str) -> Self {
        let mut random = Random::new(settings.seed);
        let etag = 0x000C_0000_0000 + u64::from(random.word() >> 4);
        Self {
            random,
            seed: settings.seed,
            etag,
            tenant: tenant.to_owned(),
            subscriptions: BTreeMap::new(),
            groups: BTreeMap::new(),
            hubs: Tracked::new(seconds(settings.resource_graph.resources_lag_seconds)),
            deleted_hubs: BTreeSet::new(),
            health: BTreeMap::new(),
            operations: BTreeMap::new(),
            principals: BTreeMap::new(),
            identities: BTreeMap::new(),
            targets: BTreeMap::new(),
            blobs: BTreeMap::new(),
            registries: BTreeMap::new(),
            jobs: Vec::new(),
            rules: BTreeMap::new(),
            rule_sets: BTreeMap::new(),
            cosmos: Vec::new(),
            cosmos_operations: BTreeMap::new(),
            assignments: Tracked::new(seconds(settings.resource_graph.authorization_lag_seconds)),
            callers: Vec::new(),
            limits: BTreeMap::new(),
            tokens: BTreeMap::new(),
            faults: Faults::default(),
            buckets: Buckets::default(),
            graph_quotas: Quotas::default(),
            counters: Counters::default(),
            log: VecDeque::new(),
            events: Events::default(),
            activity: Activity::default(),
            old_secrets: BTreeSet::new(),
        }
    }

    /// A tag that no hub has had: eight bytes in base64, such as `AAAADGg/ebM=`.
    pub(super) fn next_etag(&mut self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        self.etag += self.random.step();
        STANDARD.encode(self.etag.to_be_bytes())
    }

    /// Makes a principal that becomes visible some time from now.
    pub(super) fn add_principal(&mut self, id: &str, now: OffsetDateTime, settings: &Settings) {
        let visible = now + seconds(settings.principal_visible_seconds);
        let principal = Principal { visible, refusals: settings.principal_not_found_runs };
        self.principals.insert(id.to_ascii_lowercase(), principal);
    }

    /// Makes a principal that has been there for long.
    pub(super) fn add_old_principal(&mut self, id: &str, now: OffsetDateTime) {
        self.principals.insert(id.to_ascii_lowercase(), Principal { visible: now, refusals: 0 });
    }

    /// Whether a role on a target is effective for a principal.
    pub(super) fn is_granted(&self, principal: &str, role: &str, target: &str, now: OffsetDateTime) -> bool {
        self.assignments.values().any(|grant| {
            grant.principal.eq_ignore_ascii_case(principal)
                && grant.role == role
                && grant.effective <= now
                && is_within(&target.to_ascii_lowercase(), &grant.scope.to_ascii_lowercase())
        })
    }

    pub(super) fn log_call(&mut self, entry: Value) {
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back(entry);
    }

    /// All that `GET /_sim/state` shows. Holds no secret.
    pub(super) fn view(&self, now: OffsetDateTime, speed: f64) -> Value {
        let Counters { arm_calls, data_calls, hub_puts, hub_puts_accepted, throttled, calls } =
            &self.counters;
        let hubs: Vec<Value> =
            self.hubs.values().map(|hub| hub.view(self, super::hub::NEWEST_VERSION)).collect();
        let assignments: Vec<Value> = self
            .assignments
            .values()
            .map(|grant| {
                let mut view = grant.view(false);
                view["propagated"] = json!(grant.effective <= now);
                view["effectiveOn"] = json!(iso(grant.effective));
                view
            })
            .collect();
        let cosmos: Vec<Value> = self
            .cosmos
            .iter()
            .map(|grant| {
                let mut view = grant.view();
                view["propagated"] = json!(grant.effective <= now);
                view["effectiveOn"] = json!(iso(grant.effective));
                view
            })
            .collect();
        let operations: Map<String, Value> = self
            .operations
            .values()
            .filter(|op| op.result.is_none())
            .map(|op| (op.hub.clone(), json!({"kind": op.kind.word(), "finishes": iso(op.finishes)})))
            .collect();
        json!({
            "clock": {"now": iso(now), "speed": speed},
            "hubs": hubs,
            "roleAssignments": assignments,
            "cosmosRoleAssignments": cosmos,
            "running": operations,
            "jobs": self.jobs_view(now),
            "counters": {
                "armCalls": arm_calls,
                "dataCalls": data_calls,
                "hubPuts": hub_puts,
                "hubPutsAccepted": hub_puts_accepted,
                "throttled": throttled,
                "calls": calls,
                "events": self.events.emitted(),
                "eventsDelivered": self.events.delivered(),
            },
            "faults": self.faults.waiting(),
            "log": self.log,
        })
    }
}

/// Whether an id is a scope or lies below it, by whole segments. Both lower-cased.
pub(super) fn is_within(id: &str, scope: &str) -> bool {
    let scope = scope.trim_end_matches('/');
    id.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
