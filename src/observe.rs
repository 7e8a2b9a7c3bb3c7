//! Reads what a plan needs to know about one hub, in as few calls as that takes.
//!
//! One [`Observer`] serves one look at one hub (an invocation, a command). What cannot have changed
//! since it was read a moment ago in the same look is not read again: targets stay, grants that we
//! made are added, and a principal that was born during the look cannot hold older grants.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    arm::{ArmError, ArmReader, Reaction},
    model::{
        IotHubId, ResourceId,
        desired::{DesiredHub, IdentityRef, Target},
        hub::HubDocument,
        observed::{Grant, ObservedHub, ObservedTarget},
    },
};

/// Looks at one hub, possibly several times.
pub struct Observer {
    arm: ArmReader,
    hub: IotHubId,
    document: Option<HubDocument>,
    targets: BTreeMap<ResourceId, ObservedTarget>,
    user_identities: BTreeMap<ResourceId, Option<String>>,
    grants: Vec<Grant>,
    /// Scope and principal pairs whose grants are known.
    listed: BTreeSet<(ResourceId, String)>,
    /// Whether the hub was seen without a system-assigned identity during this look.
    system_was_off: bool,
}

impl Observer {
    /// An observer that has seen nothing yet.
    pub fn new(arm: ArmReader, hub: IotHubId) -> Self {
        Self {
            arm,
            hub,
            document: None,
            targets: BTreeMap::new(),
            user_identities: BTreeMap::new(),
            grants: Vec::new(),
            listed: BTreeSet::new(),
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

    /// The hub may have changed: read it again next time.
    pub fn forget_hub(&mut self) {
        self.document = None;
    }

    /// A grant was made.
    pub fn learn_grant(&mut self, grant: Grant) {
        self.grants.push(grant);
    }

    /// A grant exists, but not under our name: list it next time.
    pub fn forget_grants(&mut self, scope: &ResourceId, principal: &str) {
        self.listed.remove(&(scope.clone(), principal.to_owned()));
        self.system_was_off = false;
    }

    /// Reads what the desired state names and is not known yet. `None` if there is no such hub.
    pub async fn observe(&mut self, desired: &DesiredHub) -> Result<Option<ObservedHub>, ArmError> {
        let Some(document) = self.document().await?.cloned() else { return Ok(None) };
        self.read_targets(desired).await?;
        self.read_user_identities(desired).await?;
        let mut observed = ObservedHub {
            hub: document,
            targets: self.targets.clone(),
            user_identities: self.user_identities.clone(),
            grants: Vec::new(),
        };
        self.read_grants(desired, &observed).await?;
        observed.grants.clone_from(&self.grants);
        Ok(Some(observed))
    }

    async fn read_targets(&mut self, desired: &DesiredHub) -> Result<(), ArmError> {
        for endpoint in &desired.endpoints {
            let id = endpoint.target.id();
            if self.targets.contains_key(id) {
                continue;
            }
            let target = match &endpoint.target {
                Target::EventHub(id) => self.arm.event_hub(id).await,
            };
            let target = match target {
                // Not allowed to look: that one target is blocked, not the whole look.
                Err(error) if error.reaction() == Reaction::Fail => {
                    ObservedTarget::Unreadable(error.to_string())
                }
                other => other?,
            };
            self.targets.insert(id.clone(), target);
        }
        Ok(())
    }

    async fn read_user_identities(&mut self, desired: &DesiredHub) -> Result<(), ArmError> {
        let attached =
            self.document.as_ref().map(|document| document.identity().user_assigned).unwrap_or_default();
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

    async fn read_grants(&mut self, desired: &DesiredHub, observed: &ObservedHub) -> Result<(), ArmError> {
        for endpoint in &desired.endpoints {
            let Some(principal) = observed.principal_of(&endpoint.identity) else { continue };
            if endpoint.identity == IdentityRef::System && self.system_was_off {
                continue;
            }
            let scope = endpoint.target.id();
            if !matches!(observed.targets.get(scope), Some(ObservedTarget::EventHub { .. })) {
                continue;
            }
            if self.listed.insert((scope.clone(), principal.clone())) {
                let found = self.arm.grants(scope, &principal).await?;
                self.grants.retain(|known| !found.contains(known));
                self.grants.extend(found);
            }
        }
        Ok(())
    }
}
