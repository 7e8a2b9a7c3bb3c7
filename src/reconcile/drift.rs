//! Whether what a look found is drift, and whether it may be repaired now.
//!
//! Drift: the hub was as it should be, under the very same wanted state, and is not any more. A new hub and
//! a changed profile are none.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Aim, Outcome};
use crate::{
    model::{
        desired::{DesiredHub, Guardrails},
        observed::ObservedHub,
    },
    plan::{HubPlan, missing_grants},
};

/// What is known of a hub's past, for a look that nobody in particular asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Past {
    /// It does not matter: somebody asks for the hub to be made right, or a repair is under way.
    #[default]
    NotAsked,
    /// Nothing is known. A hub that holds every grant that it needs is taken for one that was in order.
    Unknown,
    /// The hub has never been seen in order.
    Never,
    /// It was in order when this was wanted.
    InSync(Uuid),
}

impl Past {
    fn is_drift(self, desired: &DesiredHub, observed: &ObservedHub, guardrails: &Guardrails) -> bool {
        match self {
            Past::NotAsked | Past::Never => false,
            Past::InSync(fingerprint) => fingerprint == desired.fingerprint(),
            Past::Unknown => {
                desired.uses().next().is_some() && missing_grants(desired, observed, guardrails).is_empty()
            }
        }
    }
}

impl Aim<'_> {
    /// Why the hub is left as it is for now, if it is.
    pub(super) fn holds_back(
        self,
        desired: &DesiredHub,
        observed: &ObservedHub,
        plan: &HubPlan,
        now: OffsetDateTime,
    ) -> Option<Outcome> {
        if self.request.is_some() || !self.past.is_drift(desired, observed, self.state.guardrails()) {
            return None;
        }
        if self.state.reports_drift(&desired.profile) {
            return Some(Outcome::Planned {
                cause: "the hub was in order and differs now; its profile has drift: report, so nothing is \
                        written; send a Reconcile request to have it repaired"
                    .to_owned(),
                plan: plan.to_string().lines().map(str::to_owned).collect(),
            });
        }
        let until = self.state.quiet_hours(&desired.profile)?.end(now)?;
        let cause = format!("the quiet hours of profile {} to end", desired.profile);
        Some(Outcome::Waiting { cause, until, in_doubt: false })
    }
}
