//! Reads what a plan needs to know about one hub, in as few calls as that takes.
//!
//! One [`Observer`] serves one look at one hub (an invocation, a command). What cannot have changed
//! since it was read a moment ago in the same look is not read again: targets stay, grants that we
//! made are added, and a principal that was born during the look cannot hold older grants.
//!
//! A hub that is as it should be costs two reads: the hub, and the grants of its identity (one list
//! for each of the guardrails' scopes that its targets lie in, and one for each Cosmos DB account).

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use crate::{
    arm::{ArmError, ArmReader, Reaction},
    model::{
        IotHubId, ResourceId,
        desired::{DesiredHub, Guardrails, IdentityRef, Switch, Target},
        hub::{EndpointAuth, EndpointKind, HubDocument},
        observed::{AssignmentsLeft, Grant, HeldRole, ObservedHub, ObservedTarget},
    },
    plan::{missing_grants, targets_to_read},
};

/// Looks at one hub, possibly several times.
pub struct Observer {
    arm: ArmReader,
    hub: IotHubId,
    document: Option<HubDocument>,
    targets: BTreeMap<ResourceId, ObservedTarget>,
    user_identities: BTreeMap<ResourceId, Option<String>>,
    grants: Vec<Grant>,
    /// Ids of grants that were read back, and not only made.
    readable: BTreeSet<String>,
    /// Grants made in this chain of looks: Azure has said when, and that need not be asked again.
    made: Vec<Grant>,
    /// Scope and principal pairs whose grants are known.
    listed: BTreeSet<(ResourceId, String)>,
    assignments_left: BTreeMap<String, AssignmentsLeft>,
    /// Whether the hub was seen without a system-assigned identity during this look.
    system_was_off: bool,
}

impl Observer {
    /// An observer that has seen nothing but the grants that earlier looks of the same chain made.
    pub fn new(arm: ArmReader, hub: IotHubId, made: &[Grant]) -> Self {
        Self {
            arm,
            hub,
            document: None,
            targets: BTreeMap::new(),
            user_identities: BTreeMap::new(),
            // Where a list tells no times, ours are kept; whether the grant is still there is asked.
            grants: made.iter().filter(|grant| !is_undatable(grant)).cloned().collect(),
            readable: BTreeSet::new(),
            made: made.to_vec(),
            listed: BTreeSet::new(),
            assignments_left: BTreeMap::new(),
            system_was_off: false,
        }
    }

    /// The hub that is looked at.
    pub fn hub(&self) -> &IotHubId {
        &self.hub
    }

    /// The hub's document, read when it is not known. `None` if there is no such hub.
    pub async fn document(&mut self) -> Result<Option<&HubDocument>, ArmError> {
        if self.document.is_none() {
            self.document = self.arm.hub(&self.hub).await?;
            self.system_was_off |=
                self.document.as_ref().is_some_and(|document| !document.identity().system_assigned);
        }
        Ok(self.document.as_ref())
    }

    /// The hub's document, as it was last seen in this look.
    pub fn seen(&self) -> Option<&HubDocument> {
        self.document.as_ref()
    }

    /// Whether the hub was looked for and is not there, or on its way out.
    pub fn is_without_hub(&self) -> bool {
        self.document.as_ref().is_none_or(HubDocument::is_being_deleted)
    }

    /// The hub was written, and is this now.
    pub fn learn_hub(&mut self, document: HubDocument) {
        self.document = Some(document);
    }

    /// The hub may have changed: read it again next time.
    pub fn forget_hub(&mut self) {
        self.document = None;
    }

    /// A grant was made.
    pub fn learn_grant(&mut self, grant: Grant) {
        self.made.retain(|known| !known.is_same(&grant));
        self.made.push(grant.clone());
        self.merge(vec![grant]);
    }

    /// A grant was taken away.
    pub fn forget_grant(&mut self, id: &str) {
        self.grants.retain(|grant| !grant.id.eq_ignore_ascii_case(id));
        self.made.retain(|grant| !grant.id.eq_ignore_ascii_case(id));
    }

    /// A grant exists, but not under our name: list those of this principal next time.
    pub fn list_again(&mut self, principal: &str) {
        self.listed.retain(|(_, listed)| !listed.eq_ignore_ascii_case(principal));
        self.system_was_off = false;
    }

    /// The hub refused what needs these grants: read next time whether they and the targets are still
    /// there, and count their age from now on if nobody knows it.
    pub fn doubt(&mut self, undated: &[Grant], targets: &[&Target], now: OffsetDateTime) {
        self.made.retain(is_undatable);
        for grant in undated {
            self.learn_grant(Grant { created_on: Some(now), ..grant.clone() });
        }
        for target in targets {
            self.arm.forget_target(target);
        }
    }

    /// The grants made in this chain of looks, for the message that goes on with it.
    pub fn made(&self) -> &[Grant] {
        &self.made
    }

    /// What the grants of the hub's own identity within the guardrails say of themselves.
    ///
    /// # Errors
    /// They could not be listed.
    pub async fn descriptions(&mut self, guardrails: &Guardrails) -> Result<Vec<String>, ArmError> {
        let Some(principal) = self.document().await?.and_then(|hub| hub.identity().system_principal) else {
            return Ok(Vec::new());
        };
        self.list_all(guardrails, &principal).await?;
        let own = self.grants.iter().filter(|grant| grant.is_of(&principal));
        Ok(own.filter_map(|grant| grant.description.clone()).collect())
    }

    /// Reads what the desired state names and is not known yet. `None` if there is no such hub.
    pub async fn observe(
        &mut self,
        desired: &DesiredHub,
        guardrails: &Guardrails,
    ) -> Result<Option<ObservedHub>, ArmError> {
        let Some(document) = self.document().await?.cloned() else { return Ok(None) };
        for target in targets_to_read(desired, &document) {
            self.read_target(target).await?;
        }
        self.read_user_identities(desired, &document).await?;
        let mut observed = ObservedHub {
            hub: document,
            targets: self.targets.clone(),
            user_identities: self.user_identities.clone(),
            grants: Vec::new(),
            readable: BTreeSet::new(),
            assignments_left: BTreeMap::new(),
        };
        self.read_grants(desired, &observed, guardrails).await?;
        if desired.identity.system == Switch::Off || desired.revoke_unneeded {
            self.read_all_grants_of_system(desired, &observed, guardrails).await?;
        }
        observed.grants.clone_from(&self.grants);
        observed.readable.clone_from(&self.readable);

        let missing = missing_grants(desired, &observed, guardrails);
        for step in &missing {
            // "Not found" must not be mistaken for "not yet": whoever is granted on is read first.
            let granted_on = desired.uses().map(|used| used.target);
            let targets: Vec<&Target> = granted_on
                .filter(|target| target.grant_scope(guardrails.storage_grants) == step.scope)
                .collect();
            for target in targets {
                self.read_target(target).await?;
            }
            if !step.role.is_of_cosmos_db() {
                self.read_room(step.scope.subscription()).await?;
            }
        }
        observed.targets.clone_from(&self.targets);
        observed.assignments_left.clone_from(&self.assignments_left);
        Ok(Some(observed))
    }

    async fn read_target(&mut self, target: &Target) -> Result<(), ArmError> {
        if self.targets.contains_key(target.id()) {
            return Ok(());
        }
        let found = match self.arm.target(target).await {
            // Not allowed to look: that one target is blocked, not the whole look.
            Err(error) if error.reaction() == Reaction::Fail => ObservedTarget::Unreadable(error.explained()),
            other => other?,
        };
        self.targets.insert(target.id().clone(), found);
        Ok(())
    }

    async fn read_user_identities(
        &mut self,
        desired: &DesiredHub,
        document: &HubDocument,
    ) -> Result<(), ArmError> {
        let attached = document.identity().user_assigned;
        for id in &desired.identity.user {
            if self.user_identities.contains_key(id) {
                continue;
            }
            // An attached identity's principal stands in the hub's document.
            let principal = match attached.get(id) {
                Some(Some(principal)) => Some(principal.clone()),
                _ => self.arm.user_identity(id).await?,
            };
            self.user_identities.insert(id.clone(), principal);
        }
        Ok(())
    }

    async fn read_grants(
        &mut self,
        desired: &DesiredHub,
        observed: &ObservedHub,
        guardrails: &Guardrails,
    ) -> Result<(), ArmError> {
        for used in desired.uses() {
            let Some(principal) = observed.principal_of(used.identity) else { continue };
            let is_newborn = *used.identity == IdentityRef::System && self.system_was_off;
            let is_gone = matches!(
                observed.targets.get(used.target.id()),
                Some(ObservedTarget::Missing(_) | ObservedTarget::Unreadable(_))
            );
            let scope = used.target.grant_scope(guardrails.storage_grants);
            let role = used.target.role();
            let is_it = |grant: &&Grant| {
                grant.is_of(&principal) && grant.scope == scope && grant.role == HeldRole::Ours(role)
            };
            let is_known = self
                .made
                .iter()
                .filter(is_it)
                .any(|made| self.grants.iter().any(|known| known.id == made.id));
            if is_newborn || is_gone || is_known || !guardrails.allows_target(&scope) {
                continue;
            }
            match used.target {
                Target::CosmosDbContainer(_) => {
                    if let Some(account) = used.target.service() {
                        self.list_cosmos(&account, &principal).await?;
                    }
                }
                _ => {
                    let wide = guardrails.scope_of(&scope).unwrap_or(&scope).clone();
                    self.list(&wide, &scope, &principal).await?;
                }
            }
        }
        Ok(())
    }

    /// Before the system-assigned identity goes: everything it holds within the guardrails.
    async fn read_all_grants_of_system(
        &mut self,
        desired: &DesiredHub,
        observed: &ObservedHub,
        guardrails: &Guardrails,
    ) -> Result<(), ArmError> {
        let Some(principal) = observed.principal_of(&IdentityRef::System) else { return Ok(()) };
        self.list_all(guardrails, &principal).await?;
        for account in cosmos_accounts(desired, observed) {
            if guardrails.allows_target(&account) {
                self.list_cosmos(&account, &principal).await?;
            }
        }
        Ok(())
    }

    /// Everything that a principal holds within the guardrails.
    async fn list_all(&mut self, guardrails: &Guardrails, principal: &str) -> Result<(), ArmError> {
        for scope in guardrails.outermost_targets() {
            self.list(scope, scope, principal).await?;
        }
        Ok(())
    }

    /// Lists at a wide scope, and where we may not, at the narrow one.
    async fn list(
        &mut self,
        wide: &ResourceId,
        narrow: &ResourceId,
        principal: &str,
    ) -> Result<(), ArmError> {
        if !self.listed.insert((wide.clone(), principal.to_owned())) {
            return Ok(());
        }
        let found = match self.arm.grants(wide, principal).await {
            Err(error) if error.reaction() == Reaction::Fail && wide != narrow => {
                self.listed.remove(&(wide.clone(), principal.to_owned()));
                if !self.listed.insert((narrow.clone(), principal.to_owned())) {
                    return Ok(());
                }
                self.arm.grants(narrow, principal).await
            }
            other => other,
        };
        self.read_back(found?);
        Ok(())
    }

    async fn list_cosmos(&mut self, account: &ResourceId, principal: &str) -> Result<(), ArmError> {
        if self.listed.insert((account.clone(), principal.to_owned())) {
            let found = self.arm.cosmos_grants(account, principal).await?;
            self.read_back(found);
        }
        Ok(())
    }

    fn read_back(&mut self, found: Vec<Grant>) {
        self.readable.extend(found.iter().map(|grant| grant.id.clone()));
        self.merge(found);
    }

    /// What Azure says replaces what we knew, except that a time it does not say stays.
    fn merge(&mut self, found: Vec<Grant>) {
        for mut grant in found {
            let is_it = |known: &Grant| known.is_same(&grant) && known.is_conditional == grant.is_conditional;
            if let Some(at) = self.grants.iter().position(is_it) {
                let known = self.grants.remove(at);
                grant.created_on = grant.created_on.or(known.created_on);
            } else if let Some(made) = self.made.iter().find(|made| is_it(made)) {
                grant.created_on = grant.created_on.or(made.created_on);
            }
            self.grants.push(grant);
        }
    }

    async fn read_room(&mut self, subscription: &str) -> Result<(), ArmError> {
        if !self.assignments_left.contains_key(subscription)
            && let Some(room) = self.arm.assignments_left(subscription).await?
        {
            self.assignments_left.insert(subscription.to_owned(), room);
        }
        Ok(())
    }
}

/// Whether nobody but us knows when a grant was made.
fn is_undatable(grant: &Grant) -> bool {
    matches!(grant.role, HeldRole::Ours(role) if role.is_of_cosmos_db())
}

/// The Cosmos DB accounts that the hub sends to or shall send to.
fn cosmos_accounts(desired: &DesiredHub, observed: &ObservedHub) -> BTreeSet<ResourceId> {
    let wanted = desired.uses().filter(|used| matches!(used.target, Target::CosmosDbContainer(_)));
    let mut accounts: BTreeSet<ResourceId> = wanted.filter_map(|used| used.target.service()).collect();
    let by_system = EndpointAuth::Identity(IdentityRef::System);
    let found =
        observed.hub.endpoints().into_iter().filter(|endpoint| {
            endpoint.kind == EndpointKind::CosmosDbContainer && endpoint.auth() == by_system
        });
    accounts.extend(found.filter_map(|endpoint| endpoint.target(observed.id())?.service()));
    accounts
}
