//! What is said in the log.

use std::time::Duration;

use tracing::{info, warn};

use crate::{
    prove::Proof,
    reconcile::{Outcome, Report},
};

/// One line a look, readable alone.
pub(super) fn look(report: &Report, elapsed: Duration) {
    let Report {
        hub,
        profile,
        outcome,
        steps,
        grants,
        warnings,
        moved_besides,
        proof,
        chain: _,
        fingerprint: _,
    } = report;
    let (name, outcome_name, duration_ms) = (hub.name(), outcome.name(), elapsed.as_millis() as u64);
    let detail = match outcome {
        Outcome::InSync | Outcome::Changed => String::new(),
        Outcome::Waiting { cause, until, .. } => format!(" for {cause}, until {until}"),
        Outcome::Blocked { causes } | Outcome::Refused { causes } => format!(": {}", causes.join("; ")),
        Outcome::Failed { cause } | Outcome::Planned { cause, .. } => format!(": {cause}"),
    };
    let profile = profile.as_deref().unwrap_or("-");
    let (steps, grants) = (steps.len(), grants.len());
    if outcome.needs_attention() {
        warn!(hub.id = %hub, outcome = outcome_name, profile, steps, grants, duration_ms, "{name}: {outcome_name}{detail}");
    } else {
        info!(hub.id = %hub, outcome = outcome_name, profile, steps, grants, duration_ms, "{name}: {outcome_name}{detail}");
    }
    for warning in warnings {
        warn!(hub.id = %hub, "{name}: {warning}");
    }
    if !moved_besides.is_empty() {
        warn!(hub.id = %hub, "{name}: somebody else changed {} meanwhile", moved_besides.join(", "));
    }
    for doubt in proof.iter().flat_map(Proof::doubts) {
        warn!(hub.id = %hub, "{name}: {doubt}");
    }
}
