//! The grants of a whole fleet, small enough to be held at once.

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::model::{
    ResourceId,
    observed::{Grant, HeldRole},
    role::Role,
};

/// Grants of our roles, by who holds them. Scopes, which many share, are kept once.
#[derive(Debug, Default)]
pub struct FleetGrants {
    scopes: Vec<ResourceId>,
    places: HashMap<ResourceId, u32>,
    held: HashMap<Box<str>, Vec<Held>>,
}

/// One grant, some hundred bytes.
#[derive(Debug)]
struct Held {
    role: Role,
    scope: u32,
    is_conditional: bool,
    created_on: Option<OffsetDateTime>,
    id: Box<str>,
    description: Option<Box<str>>,
}

impl FleetGrants {
    /// Takes a grant in, if it is of a role that Hubward grants. One that came before is kept once.
    pub fn learn(&mut self, grant: Grant) {
        let HeldRole::Ours(role) = grant.role else { return };
        let scope = match self.places.get(&grant.scope) {
            Some(place) => *place,
            None => {
                let Ok(place) = u32::try_from(self.scopes.len()) else { return };
                self.scopes.push(grant.scope.clone());
                self.places.insert(grant.scope.clone(), place);
                place
            }
        };
        let held = self.held.entry(grant.principal.to_ascii_lowercase().into()).or_default();
        // Its name says which it is; the scope before it is kept already.
        let id: Box<str> = grant.id.rsplit('/').next().unwrap_or_default().into();
        if held.iter().any(|known| known.scope == scope && known.id.eq_ignore_ascii_case(&id)) {
            return;
        }
        held.push(Held {
            role,
            scope,
            is_conditional: grant.is_conditional,
            created_on: grant.created_on,
            id,
            description: grant.description.map(String::into_boxed_str),
        });
    }

    /// What a principal holds.
    pub fn of(&self, principal: &str) -> Vec<Grant> {
        let key = principal.to_ascii_lowercase();
        let held = self.held.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
        held.iter().filter_map(|held| self.grant(&key, held)).collect()
    }

    /// Every grant whose holder passes.
    pub fn of_all(&self, mut passes: impl FnMut(&str) -> bool) -> Vec<Grant> {
        let of = self.held.iter().filter(|(principal, _)| passes(principal));
        of.flat_map(|(principal, held)| held.iter().filter_map(|held| self.grant(principal, held))).collect()
    }

    /// How many principals hold something.
    pub fn principals(&self) -> usize {
        self.held.len()
    }

    fn grant(&self, principal: &str, held: &Held) -> Option<Grant> {
        let scope = self.scopes.get(usize::try_from(held.scope).ok()?)?.clone();
        Some(Grant {
            id: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{}", held.id),
            scope,
            role: HeldRole::Ours(held.role),
            principal: principal.to_owned(),
            is_conditional: held.is_conditional,
            created_on: held.created_on,
            description: held.description.as_deref().map(str::to_owned),
        })
    }
}
