//! When a grant can be relied on.
//!
//! Azure tells nowhere that a role assignment has spread; a hub simply refuses an endpoint until it
//! has. The state is derived from two facts that Azure keeps: the assignment's `createdOn`, and the
//! hub's answer to the PUT. Nothing is remembered, so a crash loses nothing, and several messages
//! about one hub come to the same next moment. (Cosmos DB does not say when an assignment was made:
//! there the time of our own write stands in, and travels in the message.)
//!
//! Azure's documentation speaks of up to ten minutes:
//! <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>.

use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, Target},
    hub::HubEdit,
    observed::{Grant, ObservedHub},
    role::Role,
};

/// Age of a grant at which the hub is asked for the first time. Most grants have spread by then;
/// asking earlier costs a hub PUT that is refused.
pub const SETTLE: Duration = Duration::seconds(60);

/// Ages of the youngest grant, in seconds, at which the hub is asked (again): denser while success
/// is likely, sparser later. After them every [`LATER`], until the window ends.
const ASK_AT: [i64; 7] = [60, 90, 120, 180, 240, 300, 420];
const LATER: i64 = 120;

/// How far the grants that an edit needs have spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Old enough to ask the hub.
    Settled,
    /// Too young to ask.
    Settling {
        /// When to ask.
        until: OffsetDateTime,
    },
}

impl Propagation {
    /// The state of the grants that this edit needs. Grants that are not there yet do not count
    /// here: the plan has steps for them.
    pub fn of(edit: &HubEdit, observed: &ObservedHub, guardrails: &Guardrails, now: OffsetDateTime) -> Self {
        match youngest_grant(edit, observed, guardrails, now) {
            Some(created_on) if now - created_on < SETTLE => Self::Settling { until: created_on + SETTLE },
            _ => Self::Settled,
        }
    }
}

/// When the hub, having refused this edit, should be asked again: `None` when the grants are so old
/// that waiting no longer explains the refusal.
pub fn ask_again(
    edit: &HubEdit,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let created_on = youngest_grant(edit, observed, guardrails, now)?;
    let window = i64::try_from(guardrails.grant_window.seconds()).unwrap_or(i64::MAX);
    let last = ASK_AT[ASK_AT.len() - 1];
    let later = (1..).map(|turn| last + turn * LATER);
    ASK_AT
        .into_iter()
        .chain(later)
        .map(|age| age.min(window))
        .scan(0, |before, age| {
            let more = age > *before;
            *before = age;
            more.then_some(age)
        })
        .map(|age| created_on + Duration::seconds(age))
        .find(|due| *due > now)
}

/// The grants that an edit needs and whose age nobody knows: those of Cosmos DB that were not made
/// within this chain of looks.
pub fn grants_of_unknown_age(edit: &HubEdit, observed: &ObservedHub, guardrails: &Guardrails) -> Vec<Grant> {
    let mut found: Vec<Grant> = needs(edit)
        .filter_map(|(target, identity)| grant(target, identity, observed, guardrails))
        .filter(|grant| grant.created_on.is_none())
        .cloned()
        .collect();
    found.dedup();
    found
}

/// The grants that an edit needs and that are there, each with its role.
pub fn grants_used<'a>(
    edit: &HubEdit,
    observed: &'a ObservedHub,
    guardrails: &Guardrails,
) -> Vec<(Role, &'a Grant)> {
    let mut used: Vec<(Role, &Grant)> = needs(edit)
        .filter_map(|(target, identity)| {
            Some((target.role(), grant(target, identity, observed, guardrails)?))
        })
        .collect();
    used.dedup();
    used
}

/// When the youngest grant was made that an edit needs: no later than now, whatever a message says.
fn youngest_grant(
    edit: &HubEdit,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let made = needs(edit)
        .filter_map(|(target, identity)| grant(target, identity, observed, guardrails)?.created_on);
    made.max().map(|created_on| created_on.min(now))
}

fn grant<'a>(
    target: &Target,
    identity: &IdentityRef,
    observed: &'a ObservedHub,
    guardrails: &Guardrails,
) -> Option<&'a Grant> {
    let principal = observed.principal_of(identity)?;
    observed.grant_for(&target.grant_scope(guardrails.storage_grants), target.role(), &principal)
}

/// What an edit will send with an identity.
pub(super) fn needs(edit: &HubEdit) -> impl Iterator<Item = (&Target, &IdentityRef)> {
    let endpoints =
        edit.endpoints.iter().filter_map(|endpoint| Some((&endpoint.target, endpoint.auth.identity()?)));
    let storage = edit.file_upload.iter().filter_map(|upload| upload.storage.as_ref());
    endpoints.chain(storage.filter_map(|storage| Some((&storage.target, storage.identity.as_ref()?))))
}

/// How far one grant has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Spread {
    /// It was made, and not read back yet.
    Granted,
    /// Azure shows it; whether it works is not known.
    Readable,
    /// The hub uses it: what needs it was taken by the hub.
    Effective,
}

/// One grant that the desired state needs, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantState {
    /// Where it applies.
    pub scope: ResourceId,
    /// The role.
    pub role: Role,
    /// Who holds it.
    pub identity: IdentityRef,
    /// How far it has come.
    pub state: Spread,
    /// When Azure made it, if that is known.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub created_on: Option<OffsetDateTime>,
}

/// The grants that are there for what is wanted. `pending` is what the hub has not taken yet.
pub fn grant_states(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    pending: &HubEdit,
) -> Vec<GrantState> {
    let mut states: Vec<GrantState> = Vec::new();
    for used in desired.uses() {
        let Some(grant) = grant(used.target, used.identity, observed, guardrails) else { continue };
        let waits =
            needs(pending).any(|(target, identity)| target == used.target && identity == used.identity);
        let state = match (waits, observed.readable.contains(&grant.id)) {
            (false, _) => Spread::Effective,
            (true, true) => Spread::Readable,
            (true, false) => Spread::Granted,
        };
        let state = GrantState {
            scope: grant.scope.clone(),
            role: used.target.role(),
            identity: used.identity.clone(),
            state,
            created_on: grant.created_on,
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    states
}
