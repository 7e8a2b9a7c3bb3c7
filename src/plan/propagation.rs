//! When a grant can be relied on.
//!
//! Azure tells nowhere that a role assignment has spread; a hub simply refuses an endpoint until it
//! has. The state is derived from two facts that Azure keeps: the assignment's `createdOn`, and the
//! hub's answer to the PUT. Nothing is remembered, so a crash loses nothing, and several messages
//! about one hub come to the same next moment.
//!
//! Azure's documentation speaks of up to ten minutes:
//! <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>.

use time::{Duration, OffsetDateTime};

use crate::model::{desired::Target, hub::EndpointEdit, observed::ObservedHub, role::Role};

/// Age of a grant at which the hub is asked for the first time. Most grants have spread by then;
/// asking earlier costs a hub PUT that is refused.
pub const SETTLE: Duration = Duration::seconds(60);

/// Age of a grant after which a refusal is no longer "not yet" but a failure.
pub const WINDOW: Duration = Duration::minutes(15);

/// Ages of the youngest grant, in seconds, at which the hub is asked (again): denser while success
/// is likely, sparser later, the last one at the end of [`WINDOW`].
const ASK_AT: [i64; 11] = [60, 90, 120, 180, 240, 300, 420, 540, 660, 780, 900];

/// How far the grants that some endpoints need have spread.
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
    /// The state of the grants that these endpoint edits need. Grants that are not there yet do
    /// not count here: the plan has steps for them.
    pub fn of(endpoints: &[EndpointEdit], observed: &ObservedHub, now: OffsetDateTime) -> Self {
        match youngest_grant(endpoints, observed) {
            Some(created_on) if now - created_on < SETTLE => Self::Settling { until: created_on + SETTLE },
            _ => Self::Settled,
        }
    }
}

/// When the hub, having refused these endpoints, should be asked again: `None` when the grants are
/// so old that waiting no longer explains the refusal.
pub fn ask_again(
    endpoints: &[EndpointEdit],
    observed: &ObservedHub,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let created_on = youngest_grant(endpoints, observed)?;
    ASK_AT.iter().map(|age| created_on + Duration::seconds(*age)).find(|due| *due > now)
}

fn youngest_grant(endpoints: &[EndpointEdit], observed: &ObservedHub) -> Option<OffsetDateTime> {
    endpoints
        .iter()
        .filter_map(|endpoint| {
            let principal = observed.principal_of(&endpoint.identity)?;
            Some(observed.grant_for(&endpoint.target, role_of(endpoint), &principal)?.created_on)
        })
        .max()
}

fn role_of(endpoint: &EndpointEdit) -> Role {
    Target::EventHub(endpoint.target.clone()).role()
}
