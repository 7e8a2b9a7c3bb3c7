//! Looks for what one hub has left behind, and takes it away.
//!
//! Grants are listed before the hubs are: whatever a hub was granted since is not in the list, and whatever is in the
//! list is held against principals that are alive now.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};
use tracing::info;

use super::{Kept, Known, Leftover, Standing, claim_of, stale, stale_in_cosmos_db};
use crate::{
    apply::StepOutcome,
    arm::{ArmError, ArmReader, ArmWriter, Reaction},
    desired::DesiredState,
    model::{
        IotHubId, ResourceId,
        claim::Claim,
        desired::{Guardrails, IdentityRef},
        observed::Grant,
    },
    reconcile::{Outcome, ReportedStep},
};

/// Pause before a hub that may be unreadable, or is on its way out, is looked for again.
const PAUSE: Duration = Duration::seconds(30);
/// Pause after an answer that did not come.
const SHORT: Duration = Duration::seconds(15);

/// How sure it is that a hub which is not found is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Nothing but this look says so: look again.
    Unsure,
    /// Azure has told of the deletion. A hub that was made again meanwhile may not be readable yet, so grants that are
    /// young are looked at again.
    Told,
    /// It was not found several times over.
    Sure,
}

/// What earlier looks have written down about a hub. It only says where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// Principals that its own identity had.
    pub principals: BTreeSet<String>,
    /// Cosmos DB accounts that it sent to.
    pub accounts: BTreeSet<ResourceId>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// How it ended; what it says of the hub is about its leftovers alone.
    pub outcome: Outcome,
    /// Whether the hub is there; `None` where that was not found out.
    pub is_there: Option<bool>,
    /// What was taken away, or not.
    pub steps: Vec<ReportedStep>,
    /// What is left, and why.
    pub warnings: Vec<String>,
}

/// Takes away what hubs have left behind.
#[derive(Clone, Copy)]
pub struct Sweeper<'a> {
    /// Writes to Azure.
    pub arm: &'a ArmWriter,
    /// The profiles and the guardrails.
    pub state: &'a DesiredState,
}

/// What was found about one hub.
#[derive(Default)]
struct Found {
    leftovers: Vec<Leftover>,
    is_there: Option<bool>,
    warnings: Vec<String>,
}

impl Sweeper<'_> {
    /// Looks for what a hub has left behind and takes it away.
    pub async fn sweep(self, hub: &IotHubId, certainty: Certainty, hints: &Hints) -> Swept {
        let mut found = Found::default();
        let looked = self.look(hub, certainty, hints, &mut found).await;
        let Found { leftovers, is_there, warnings } = found;
        let mut swept = Swept { outcome: Outcome::InSync, is_there, steps: Vec::new(), warnings };
        if let Err(outcome) = looked {
            return Swept { outcome, ..swept };
        }
        if self.guardrails().max_hubs_changed == 0 && !leftovers.is_empty() {
            let cause = format!(
                "guardrails.maxHubsChanged is 0, so nothing is changed: {} left-over roles stay",
                leftovers.len()
            );
            return Swept { outcome: Outcome::Refused { causes: vec![cause] }, ..swept };
        }
        let (mut failed, mut locked) = (Vec::new(), Vec::new());
        for leftover in leftovers {
            let outcome = match take_away(self.arm, &leftover).await {
                Ok(()) => StepOutcome::Applied,
                Err(error) => match self.refused(&error) {
                    Outcome::Blocked { causes } => {
                        locked.extend(causes.iter().cloned());
                        StepOutcome::Failed { cause: causes.join("; ") }
                    }
                    Outcome::Failed { cause } => {
                        failed.push(cause.clone());
                        StepOutcome::Failed { cause }
                    }
                    waiting => {
                        swept.outcome = waiting;
                        return swept;
                    }
                },
            };
            swept.steps.push(ReportedStep { step: line(&leftover), outcome });
        }
        swept.outcome = match (failed.is_empty(), locked.is_empty(), swept.steps.is_empty()) {
            (false, ..) => {
                failed.extend(locked);
                Outcome::Failed { cause: failed.join("; ") }
            }
            (true, false, _) => Outcome::Blocked { causes: locked },
            (true, true, false) => Outcome::Changed,
            (true, true, true) => Outcome::InSync,
        };
        swept
    }

    fn guardrails(&self) -> &Guardrails {
        self.state.guardrails()
    }

    fn now(&self) -> OffsetDateTime {
        self.arm.reader().client().clock().now()
    }

    async fn look(
        &self,
        hub: &IotHubId,
        certainty: Certainty,
        hints: &Hints,
        found: &mut Found,
    ) -> Result<(), Outcome> {
        let (arm, guardrails) = (self.arm.reader(), self.guardrails());
        if !guardrails.allows_hub(hub) {
            let cause = format!("subscription {} is not in guardrails.subscriptions", hub.subscription());
            return Err(Outcome::Refused { causes: vec![cause] });
        }
        let mut grants = grants_within(arm, guardrails).await.map_err(|error| self.refused(&error))?;
        grants.retain(|grant| claim_of(grant, guardrails).is_some_and(|(_, claim)| claim.hub == *hub));

        let mut known = Known::default();
        let document = arm.hub(hub).await.map_err(|error| self.refused(&error))?;
        found.is_there = Some(document.is_some());
        match &document {
            Some(document) if document.is_being_deleted() => {
                return Err(self.wait("the hub to be gone: it is being deleted"));
            }
            Some(document) => known.learn(document),
            None if certainty == Certainty::Unsure => return Err(self.wait("the hub to be readable")),
            None => {
                known.hubs.insert(hub.clone(), Standing::Gone);
            }
        }
        if grants.is_empty() && hints.principals.is_empty() {
            self.tell_of_cosmos_db(document.is_some(), found);
            return Ok(());
        }
        for subscription in &guardrails.subscriptions {
            let hubs = arm.hubs(subscription).await.map_err(|error| self.refused(&error))?;
            hubs.iter().for_each(|other| known.learn(other));
        }
        learn_identities(arm, &grants, guardrails, &mut known, &mut found.warnings)
            .await
            .map_err(|error| self.refused(&error))?;

        let stale = stale(&grants, &known, guardrails);
        found.warnings.extend(stale.kept.iter().map(kept_line));
        found.leftovers = stale.leftovers;
        let window = guardrails.grant_window.duration();
        let is_young = |grant: &Grant| grant.created_on.is_some_and(|at| self.now() - at < window);
        if document.is_none()
            && certainty == Certainty::Told
            && found.leftovers.iter().any(|leftover| is_young(&leftover.grant))
        {
            return Err(self.wait("the hub to be readable"));
        }
        let mut dead: BTreeMap<String, (IotHubId, IdentityRef)> = BTreeMap::new();
        for principal in &hints.principals {
            dead.insert(principal.to_ascii_lowercase(), (hub.clone(), IdentityRef::System));
        }
        for leftover in &found.leftovers {
            let whose = (leftover.hub.clone(), leftover.identity.clone());
            dead.insert(leftover.grant.principal.to_ascii_lowercase(), whose);
        }
        let (mut accounts, is_all) = self.state.cosmos_accounts();
        accounts.extend(hints.accounts.iter().cloned());
        if !is_all {
            found.warnings.push(NOT_ALL_ACCOUNTS.to_owned());
        }
        let in_cosmos = in_accounts(arm, guardrails, &accounts, &mut found.warnings)
            .await
            .map_err(|error| self.refused(&error))?;
        found.leftovers.extend(stale_in_cosmos_db(&in_cosmos, &dead, &known, guardrails));
        Ok(())
    }

    /// Nothing tells whose principal to look for in Cosmos DB.
    fn tell_of_cosmos_db(&self, is_there: bool, found: &mut Found) {
        let (accounts, is_all) = self.state.cosmos_accounts();
        if !is_there && (!accounts.is_empty() || !is_all) {
            let text = "no principal of the hub is known, so its roles in Cosmos DB accounts, if it had any, are left";
            found.warnings.push(text.to_owned());
        }
    }

    fn wait(&self, cause: &str) -> Outcome {
        Outcome::Waiting { cause: cause.to_owned(), until: self.now() + PAUSE, in_doubt: false }
    }

    fn refused(&self, error: &ArmError) -> Outcome {
        let cause = error.explained();
        let (pause, in_doubt) = match error.reaction() {
            Reaction::Fail if error.is_locked() => return Outcome::Blocked { causes: vec![cause] },
            Reaction::Fail | Reaction::MaybeNotYet | Reaction::PrincipalYoung | Reaction::AlreadyThere => {
                return Outcome::Failed { cause };
            }
            Reaction::Reread => (SHORT.unsigned_abs(), false),
            Reaction::Wait(pause) => (pause, false),
            Reaction::Garbled(pause) => (pause, true),
        };
        Outcome::Waiting { cause, until: self.now() + pause, in_doubt }
    }
}

/// What is said where a profile names Cosmos DB accounts only with placeholders.
pub(super) const NOT_ALL_ACCOUNTS: &str = "profiles name Cosmos DB accounts with placeholders; roles in accounts that \
                                           neither guardrails.targets nor the hub's last outcome names are left";

/// Takes one left-over grant away. One that is not there counts as taken away.
///
/// # Errors
/// What Azure has against it.
pub async fn take_away(arm: &ArmWriter, leftover: &Leftover) -> Result<(), ArmError> {
    let answer = arm.revoke(&leftover.grant.id, leftover.role).await;
    let outcome = if answer.is_ok() { "taken away" } else { "not taken away" };
    info!(hub.id = %leftover.hub, role = %leftover.role, outcome, "a left-over role");
    answer
}

/// A left-over grant that goes, in words.
pub fn line(leftover: &Leftover) -> String {
    let Leftover { grant, role, hub, identity } = leftover;
    let (scope, principal) = (&grant.scope, &grant.principal);
    format!("take {role} on {scope} away from {principal}, once the {identity} of hub {}", hub.name())
}

/// A grant that is left, in words.
pub fn kept_line(kept: &Kept) -> String {
    let Kept { grant, role, hub, identity } = kept;
    format!(
        "the user-assigned identity {} keeps {role} on {}, made for hub {}: others may use it",
        identity.name(),
        grant.scope,
        hub.name()
    )
}

/// All grants within the guardrails' targets, each once.
pub(super) async fn grants_within(arm: &ArmReader, guardrails: &Guardrails) -> Result<Vec<Grant>, ArmError> {
    let mut grants: Vec<Grant> = Vec::new();
    let mut seen = BTreeSet::new();
    for scope in guardrails.outermost_targets() {
        for grant in arm.grants_of_all(scope).await? {
            if seen.insert(grant.id.to_ascii_lowercase()) {
                grants.push(grant);
            }
        }
    }
    Ok(grants)
}

/// Reads the user-assigned identities that grants were made for. One that may not be read is not known, so its
/// grants are left.
pub(super) async fn learn_identities(
    arm: &ArmReader,
    grants: &[Grant],
    guardrails: &Guardrails,
    known: &mut Known,
    warnings: &mut Vec<String>,
) -> Result<(), ArmError> {
    let named: BTreeSet<ResourceId> = grants
        .iter()
        .filter_map(|grant| match claim_of(grant, guardrails)? {
            (_, Claim { identity: IdentityRef::User(id), .. }) => Some(id),
            _ => None,
        })
        .collect();
    for id in named {
        match arm.user_identity(&id).await {
            Ok(principal) => {
                known.identities.insert(id, principal);
            }
            Err(error) if error.reaction() == Reaction::Fail => {
                warnings
                    .push(format!("{id} could not be read, so its roles are left: {}", error.explained()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All grants in these Cosmos DB accounts, as far as the guardrails reach.
pub(super) async fn in_accounts(
    arm: &ArmReader,
    guardrails: &Guardrails,
    accounts: &BTreeSet<ResourceId>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Grant>, ArmError> {
    let mut grants = Vec::new();
    for account in accounts {
        let is_ours =
            guardrails.targets.iter().any(|scope| scope.is_within(account) || account.is_within(scope));
        if !is_ours {
            continue;
        }
        match arm.cosmos_grants_of_all(account).await {
            Ok(found) => grants.extend(found),
            Err(error) if error.is_not_found() => {}
            Err(error) if error.reaction() == Reaction::Fail => {
                warnings.push(format!("roles in {account} could not be listed: {}", error.explained()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(grants)
}
