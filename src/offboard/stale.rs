//! Which grants are left over: a pure question about grants and what is known of hubs and identities.
//!
//! A grant is a leftover when it is ours by name (the name is computed again from scope, role and principal), says
//! for which hub and identity it was made, and that hub or identity no longer has that principal. One rule for a
//! hub that was deleted, one that was made again under its name, and one whose identity was turned off and on.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::{
    arm::assignment_name,
    model::{
        IotHubId, ResourceId,
        claim::Claim,
        desired::{Guardrails, IdentityRef},
        hub::HubDocument,
        observed::{Grant, HeldRole},
        role::Role,
    },
};

/// What is known about a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there, and its own identity has this principal, if it has one.
    There {
        /// The principal of its own identity.
        system: Option<String>,
        /// The user-assigned identities that it has.
        user: BTreeSet<ResourceId>,
    },
    /// It was looked for, and Azure said for sure that there is no such hub.
    Gone,
}

impl Standing {
    /// Of a hub that was read.
    pub fn of(hub: &HubDocument) -> Self {
        let identity = hub.identity();
        Self::There { system: identity.system_principal, user: identity.user_assigned.into_keys().collect() }
    }
}

/// What is known about whose principals are alive. What is not known is left alone.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Hubs.
    pub hubs: BTreeMap<IotHubId, Standing>,
    /// Principals, lower-cased, that some hub has now, under whatever id: a hub that was moved to another group
    /// keeps its principal.
    pub in_use: BTreeSet<String>,
    /// Principals of user-assigned identities; `None` where there is no such identity.
    pub identities: BTreeMap<ResourceId, Option<String>>,
}

impl Known {
    /// A hub is there.
    pub fn learn(&mut self, hub: &HubDocument) {
        let identity = hub.identity();
        let users = identity.user_assigned.values().flatten();
        self.in_use.extend(
            identity.system_principal.iter().chain(users).map(|principal| principal.to_ascii_lowercase()),
        );
        self.hubs.insert(hub.id().clone(), Standing::of(hub));
    }

    fn is_in_use(&self, principal: &str) -> bool {
        self.in_use.contains(&principal.to_ascii_lowercase())
    }
}

/// A grant that nobody can use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The grant.
    pub grant: Grant,
    /// Its role.
    pub role: Role,
    /// The hub that it was made for.
    pub hub: IotHubId,
    /// The identity that it was made for.
    pub identity: IdentityRef,
}

/// A grant of a user-assigned identity that is still there, though the hub that it was made for does not have it:
/// others may use it, so it is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The grant.
    pub grant: Grant,
    /// Its role.
    pub role: Role,
    /// The hub that it was made for.
    pub hub: IotHubId,
    /// The identity.
    pub identity: ResourceId,
}

/// What became of the grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// Those that go.
    pub leftovers: Vec<Leftover>,
    /// Those that are left, and could go if nobody else used the identity.
    pub kept: Vec<Kept>,
}

/// The role of a grant that is ours by name, within the guardrails, and without a condition that somebody has put
/// on it.
pub fn ours(grant: &Grant, guardrails: &Guardrails) -> Option<Role> {
    let HeldRole::Ours(role) = grant.role else { return None };
    let name = grant.id.rsplit('/').next().and_then(|name| Uuid::try_parse(name).ok())?;
    let is_ours = name == assignment_name(&grant.scope, role, &grant.principal)
        && !grant.is_conditional
        && guardrails.allows_target(&grant.scope);
    is_ours.then_some(role)
}

/// The hub and the identity that a grant of ours was made for, where that is told.
pub fn claim_of(grant: &Grant, guardrails: &Guardrails) -> Option<(Role, Claim)> {
    let role = ours(grant, guardrails)?;
    let claim = Claim::read(grant.description.as_deref()?)?;
    guardrails.allows_hub(&claim.hub).then_some((role, claim))
}

/// The leftovers among grants that Azure RBAC keeps.
pub fn stale(grants: &[Grant], known: &Known, guardrails: &Guardrails) -> Stale {
    let mut stale = Stale::default();
    for grant in grants {
        let Some((role, Claim { hub, identity })) = claim_of(grant, guardrails) else { continue };
        let Some(standing) = known.hubs.get(&hub) else { continue };
        if known.is_in_use(&grant.principal) {
            continue;
        }
        let grant = grant.clone();
        match &identity {
            IdentityRef::System => {
                let has_it = match standing {
                    Standing::There { system, .. } => {
                        system.as_ref().is_some_and(|principal| grant.is_of(principal))
                    }
                    Standing::Gone => false,
                };
                if !has_it {
                    stale.leftovers.push(Leftover { grant, role, hub, identity });
                }
            }
            IdentityRef::User(id) => match known.identities.get(id) {
                None => {}
                Some(Some(principal)) if grant.is_of(principal) => {
                    let has_it = matches!(standing, Standing::There { user, .. } if user.contains(id));
                    if !has_it {
                        stale.kept.push(Kept { grant, role, hub, identity: id.clone() });
                    }
                }
                Some(_) => stale.leftovers.push(Leftover { grant, role, hub, identity }),
            },
        }
    }
    stale
}

/// The leftovers among grants that Cosmos DB keeps. They say nothing of a hub: they go with a principal that is
/// known to be dead, and is of this hub and identity.
pub fn stale_in_cosmos_db(
    grants: &[Grant],
    dead: &BTreeMap<String, (IotHubId, IdentityRef)>,
    known: &Known,
    guardrails: &Guardrails,
) -> Vec<Leftover> {
    let leftover = |grant: &Grant| {
        let role = ours(grant, guardrails).filter(|role| role.is_of_cosmos_db())?;
        let (hub, identity) = dead.get(&grant.principal.to_ascii_lowercase())?.clone();
        (!known.is_in_use(&grant.principal)).then(|| Leftover { grant: grant.clone(), role, hub, identity })
    };
    grants.iter().filter_map(leftover).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::DesiredState;

    const SUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";
    const OLD: &str = "58cc0000-0000-4000-8000-000000000001";
    const NEW: &str = "58cc0000-0000-4000-8000-000000000002";

    fn id(rest: &str) -> ResourceId {
        ResourceId::parse(&format!("{SUB}{rest}")).unwrap()
    }

    fn hub(name: &str) -> IotHubId {
        IotHubId::try_from(id(&format!("/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/{name}")))
            .unwrap()
    }

    fn guardrails() -> Guardrails {
        DesiredState::parse(crate::desired::sample()).unwrap().guardrails().clone()
    }

    fn scope() -> ResourceId {
        id("/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2")
    }

    fn grant(scope: ResourceId, principal: &str, description: &str) -> Grant {
        let role = Role::EventHubsDataSender;
        let name = assignment_name(&scope, role, principal);
        Grant {
            id: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"),
            scope,
            role: HeldRole::Ours(role),
            principal: principal.to_owned(),
            is_conditional: false,
            created_on: None,
            description: Some(description.to_owned()),
        }
    }

    fn of(name: &str, principal: &str) -> Grant {
        let claim = Claim { hub: hub(name), identity: IdentityRef::System };
        grant(scope(), principal, &claim.describe("profile p"))
    }

    fn known(standing: Standing) -> Known {
        Known { hubs: BTreeMap::from([(hub("h1"), standing)]), ..Known::default() }
    }

    fn there(principal: Option<&str>) -> Standing {
        Standing::There { system: principal.map(str::to_owned), user: BTreeSet::new() }
    }

    fn count(grant: &Grant, known: &Known) -> usize {
        stale(std::slice::from_ref(grant), known, &guardrails()).leftovers.len()
    }

    #[test]
    fn one_rule_for_a_hub_that_is_gone_made_again_or_without_its_identity() {
        let grant = of("h1", OLD);
        assert_eq!(count(&grant, &known(Standing::Gone)), 1);
        assert_eq!(count(&grant, &known(there(Some(NEW)))), 1);
        assert_eq!(count(&grant, &known(there(None))), 1);
        assert_eq!(count(&grant, &known(there(Some(&OLD.to_uppercase())))), 0, "it is in use");
        assert_eq!(count(&grant, &Known::default()), 0, "nothing is known");
    }

    #[test]
    fn a_hub_that_was_moved_keeps_its_grants() {
        let mut moved = known(Standing::Gone);
        moved.in_use.insert(OLD.to_owned());
        assert_eq!(count(&of("h1", OLD), &moved), 0);
    }

    #[test]
    fn what_is_not_ours_in_every_point_stays() {
        let gone = known(Standing::Gone);
        let sound = of("h1", OLD);
        assert_eq!(count(&sound, &gone), 1);
        let elsewhere = sound.description.as_deref().unwrap().replace("0b1f6471", "deadbeef");
        let outside = id("/resourceGroups/rg-other/providers/Microsoft.EventHub/namespaces/n/eventhubs/e");
        for (why, grant) in [
            (
                "another name",
                Grant { id: sound.id.replace("roleAssignments/", "roleAssignments/1"), ..sound.clone() },
            ),
            ("of another principal", Grant { principal: NEW.to_owned(), ..sound.clone() }),
            ("a condition", Grant { is_conditional: true, ..sound.clone() }),
            ("another role", Grant { role: HeldRole::Other, ..sound.clone() }),
            ("no description", Grant { description: None, ..sound.clone() }),
            (
                "a name only",
                Grant { description: Some("Hubward: hub h1 (profile p)".to_owned()), ..sound.clone() },
            ),
            ("of another deployment", Grant { description: Some(elsewhere), ..sound.clone() }),
            ("of another hub", of("h2", OLD)),
            ("outside the targets", grant(outside, OLD, sound.description.as_deref().unwrap())),
        ] {
            assert_eq!(count(&grant, &gone), 0, "{why}");
        }
    }

    #[test]
    fn grants_of_a_shared_identity_stay_as_long_as_it_lives() {
        let user = id("/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1");
        let claim = Claim { hub: hub("h1"), identity: IdentityRef::User(user.clone()) };
        let grant = grant(scope(), OLD, &claim.describe("profile p"));
        let mut gone = known(Standing::Gone);
        assert_eq!(count(&grant, &gone), 0, "nothing is known of the identity");
        gone.identities.insert(user.clone(), Some(OLD.to_owned()));
        let left = stale(std::slice::from_ref(&grant), &gone, &guardrails());
        assert_eq!((left.leftovers.len(), left.kept.len()), (0, 1));
        for principal in [None, Some(NEW.to_owned())] {
            gone.identities.insert(user.clone(), principal);
            assert_eq!(count(&grant, &gone), 1);
        }
    }
}
