//! Looks through all grants of ours for those that no hub can use any more: what events were lost for, what was left
//! behind before Hubward took grants away, what could not be taken away at the time.
//!
//! Everything is read from Resource Manager itself. A hub counts as gone when the list of its subscription does not
//! have it and it is not found by its id either.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Kept, Known, Leftover, Standing, claim_of, stale, stale_in_cosmos_db,
    sweep::{NOT_ALL_ACCOUNTS, grants_within, in_accounts, learn_identities},
};
use crate::{
    arm::{ArmError, ArmReader},
    desired::DesiredState,
    model::IotHubId,
};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Grants that nobody can use.
    pub leftovers: Vec<Leftover>,
    /// Grants of identities that are still there.
    pub kept: Vec<Kept>,
    /// Subscriptions whose hubs could not be read, and why. Grants of their hubs are left.
    pub unread: Vec<String>,
    /// What else could not be found out.
    pub warnings: Vec<String>,
}

/// Looks through all grants within the guardrails.
///
/// # Errors
/// What Azure has against a read without which nothing can be told.
pub async fn orphans(arm: &ArmReader, state: &DesiredState) -> Result<Orphans, ArmError> {
    let guardrails = state.guardrails();
    let mut found = Orphans::default();
    let mut grants = grants_within(arm, guardrails).await?;
    let mut known = Known::default();
    let mut unread = BTreeSet::new();
    for subscription in &guardrails.subscriptions {
        match arm.hubs(subscription).await {
            Ok(hubs) => hubs.iter().for_each(|hub| known.learn(hub)),
            Err(error) => {
                let cause = error.explained();
                found
                    .unread
                    .push(format!("the hubs of subscription {subscription} could not be read: {cause}"));
                unread.insert(subscription.clone());
            }
        }
    }
    grants.retain(|grant| {
        claim_of(grant, guardrails).is_some_and(|(_, claim)| !unread.contains(claim.hub.subscription()))
    });
    let claimed: BTreeSet<IotHubId> =
        grants.iter().filter_map(|grant| Some(claim_of(grant, guardrails)?.1.hub)).collect();
    for hub in claimed {
        if known.hubs.contains_key(&hub) {
            continue;
        }
        match arm.hub(&hub).await? {
            Some(document) => known.learn(&document),
            None => {
                known.hubs.insert(hub, Standing::Gone);
            }
        }
    }
    learn_identities(arm, &grants, guardrails, &mut known, &mut found.warnings).await?;
    let stale = stale(&grants, &known, guardrails);
    (found.leftovers, found.kept) = (stale.leftovers, stale.kept);

    // A hub that was just made may not be found yet.
    let (now, window) = (arm.client().clock().now(), guardrails.grant_window.duration());
    let mut young = Vec::new();
    found.leftovers.retain(|leftover| {
        let is_young = leftover.grant.created_on.is_some_and(|at| now - at < window)
            && known.hubs.get(&leftover.hub) == Some(&Standing::Gone);
        if is_young {
            young.push(format!(
                "{} was made less than {} ago, for a hub that is not found; look again later",
                leftover.grant.id, guardrails.grant_window
            ));
        }
        !is_young
    });
    found.warnings.extend(young);

    let whose = |leftover: &Leftover| {
        (leftover.grant.principal.to_ascii_lowercase(), (leftover.hub.clone(), leftover.identity.clone()))
    };
    let dead: BTreeMap<_, _> = found.leftovers.iter().map(whose).collect();
    let (accounts, is_all) = state.cosmos_accounts();
    if !is_all {
        found.warnings.push(NOT_ALL_ACCOUNTS.to_owned());
    }
    let in_cosmos = in_accounts(arm, guardrails, &accounts, &mut found.warnings).await?;
    found.leftovers.extend(stale_in_cosmos_db(&in_cosmos, &dead, &known, guardrails));
    Ok(found)
}

impl Leftover {
    /// What takes it away by hand.
    pub fn command(&self) -> String {
        let id = &self.grant.id;
        if !self.role.is_of_cosmos_db() {
            return format!("az role assignment delete --ids {id}");
        }
        let part = |word: &str| {
            let mut parts = id.split('/');
            parts.find(|part| part.eq_ignore_ascii_case(word));
            parts.next().unwrap_or_default()
        };
        format!(
            "az cosmosdb sql role assignment delete --subscription {} --resource-group {} --account-name {} \
             --role-assignment-id {} --yes",
            part("subscriptions"),
            part("resourceGroups"),
            part("databaseAccounts"),
            part("sqlRoleAssignments"),
        )
    }
}
