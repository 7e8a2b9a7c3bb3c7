//! The check at the start of the handler: once, in the background, into the log.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{check::check, checkup::Checkup, needs::Weight};
use crate::{
    arm::{ArmClient, ArmReader},
    profiles::Profiles,
};

/// Longest wait for a throttled answer. The check is in nobody's way, but should not go on for ever.
const PATIENCE: Duration = Duration::from_secs(2 * 60);

/// Checks our rights and logs what is missing. Nothing that goes wrong here is a failure of anything else.
pub async fn at_start(profiles: &Profiles, arm: &ArmClient) {
    let state = match profiles.current().await {
        Ok(state) => state,
        Err(error) => return warn!(%error, "our own rights are not checked: there are no profiles"),
    };
    let arm = ArmReader::new(arm.until(Instant::now() + PATIENCE));
    match check(&arm, &state).await {
        Ok(checkup) => log(&checkup),
        Err(error) => warn!(%error, "our own rights are not checked"),
    }
}

/// A line for each right that is missing, each scope that cannot be seen, and each warning.
fn log(checkup: &Checkup) {
    for need in checkup.missing() {
        let (scope, action, purpose) = (need.scope.as_str(), need.action, need.purpose);
        let fix = checkup.fix_of(need).map(|fix| fix.az.join("; ")).unwrap_or_default();
        match need.weight {
            Weight::Required => {
                warn!(
                    rights.scope = scope,
                    "we may not {action} on {scope}, which is required for {purpose}; fix: {fix}"
                );
            }
            Weight::Optional(without) => {
                warn!(
                    rights.scope = scope,
                    "we may not {action} on {scope}, for {purpose}; without it, {without}; fix: {fix}"
                );
            }
        }
    }
    for check in &checkup.scopes {
        if let Some(cause) = &check.unreadable {
            let scope = check.scope.as_str();
            warn!(rights.scope = scope, "what we may do on {scope} is unknown: {cause}");
        }
    }
    for warning in &checkup.warnings {
        warn!("our own rights: {warning}");
    }
    info!(rights.verdict = ?checkup.verdict, "our own rights: {}", checkup.summary());
}
