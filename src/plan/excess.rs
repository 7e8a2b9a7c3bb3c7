//! Roles that are more than what is sent with them needs: too far up, too broad, or of no use.

use std::fmt;

use serde::Serialize;

use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, Target},
    hub::{EndpointAuth, HubDocument},
    observed::{Grant, HeldRole},
    role::Role,
};

/// What is too much about a role assignment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "is")]
pub enum Excess {
    /// A data role further up than needed.
    TooWide {
        /// Where it would do.
        instead: Vec<ResourceId>,
    },
    /// A role that is more than a hub needs.
    TooBroad,
    /// A data role of the hub's own identity on something that the hub does not send to.
    Unused,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::TooWide { instead } => {
                let scopes: Vec<&str> = instead.iter().map(ResourceId::as_str).collect();
                write!(f, "{} would do", scopes.join(", "))
            }
            Excess::TooBroad => f.write_str("more than a hub needs"),
            Excess::Unused => f.write_str("the hub does not send there"),
        }
    }
}

/// What one identity of a hub has to be able to write to: because it is wanted, or because others
/// have put it into the hub.
pub fn needed(
    hub: &HubDocument,
    desired: Option<&DesiredHub>,
    guardrails: &Guardrails,
    identity: &IdentityRef,
) -> Vec<(ResourceId, Role)> {
    let scope = |target: &Target| (target.grant_scope(guardrails.storage_grants), target.role());
    let wanted = desired.into_iter().flat_map(DesiredHub::uses).filter(|used| used.identity == identity);
    let mut needed: Vec<_> = wanted.map(|used| scope(used.target)).collect();
    let auth = EndpointAuth::Identity(identity.clone());
    let found = hub.endpoints().into_iter().filter(|endpoint| endpoint.auth() == auth);
    needed.extend(found.filter_map(|endpoint| Some(scope(&endpoint.target(hub.id())?))));
    needed.sort();
    needed.dedup();
    needed
}

/// Whether something that stays in the hub may work with a role, as far as the hub tells. Groups and
/// subscriptions are left out of account, since a hub need not name them; what cannot be told is taken to
/// need the role.
pub(super) fn may_serve(
    hub: &HubDocument,
    desired: &DesiredHub,
    identity: &IdentityRef,
    scope: &ResourceId,
    role: Role,
    stays: impl Fn(&str) -> bool,
) -> bool {
    let auth = EndpointAuth::Identity(identity.clone());
    if hub.other_endpoints().iter().any(|other| other.auth() == auth) {
        return true;
    }
    let wanted =
        desired.uses().filter(|used| used.identity == identity).map(|used| Some(used.target.clone()));
    let endpoints = hub.endpoints();
    let found = endpoints.iter().filter(|endpoint| endpoint.auth() == auth && stays(endpoint.name));
    let found = found.map(|endpoint| endpoint.target(hub.id()));
    let serves = |target: Option<Target>| {
        let Some(target) = target else { return true };
        let (service, entity) = (target.service_name(), target.id().name().to_owned());
        let mut parts = scope.key().split('/');
        let below_service = parts.any(|part| part.eq_ignore_ascii_case(&service));
        target.role() == role
            && match below_service {
                true => {
                    scope.name().eq_ignore_ascii_case(&service) || scope.name().eq_ignore_ascii_case(&entity)
                }
                // A group or a subscription, or another service.
                false => scope.resource_type().is_none(),
            }
    };
    wanted.chain(found).any(serves) || is_for_upload(hub, identity, scope, role)
}

/// Whether a role is what the hub's file upload works with. The hub names the account and the container,
/// and not the account's resource group.
fn is_for_upload(hub: &HubDocument, identity: &IdentityRef, scope: &ResourceId, role: Role) -> bool {
    let Some(upload) = hub.file_upload() else { return false };
    let within = format!("/storageaccounts/{}", upload.account().unwrap_or_default().to_ascii_lowercase());
    let container = upload.text("containerName").unwrap_or_default();
    let (account, below) = match scope.key().split_once("/blobservices/") {
        Some((account, _)) => (account, Some(scope.name())),
        None => (scope.key(), None),
    };
    role == Role::BlobDataContributor
        && upload.auth() == EndpointAuth::Identity(identity.clone())
        && account.ends_with(&within)
        && below.is_none_or(|name| name.eq_ignore_ascii_case(container))
}

/// What is too much about an assignment, and the role's name.
pub fn excess(
    hub: &HubDocument,
    grant: &Grant,
    identity: &IdentityRef,
    needed: &[(ResourceId, Role)],
    guardrails: &Guardrails,
) -> Option<(String, Excess)> {
    let role = match grant.role {
        HeldRole::Other => return None,
        HeldRole::Broad(role) => return Some((role.to_string(), Excess::TooBroad)),
        HeldRole::Ours(role) => role,
    };
    let instead: Vec<ResourceId> = needed
        .iter()
        .filter(|(scope, needed)| *needed == role && scope.is_within(&grant.scope))
        .map(|(scope, _)| scope.clone())
        .collect();
    if instead.contains(&grant.scope) {
        return None;
    }
    if !instead.is_empty() {
        return Some((role.to_string(), Excess::TooWide { instead }));
    }
    if is_for_upload(hub, identity, &grant.scope, role) {
        return None;
    }
    // A user-assigned identity may serve other hubs, and what is outside the guardrails is not ours.
    let is_ours = *identity == IdentityRef::System && guardrails.allows_target(&grant.scope);
    is_ours.then(|| (role.to_string(), Excess::Unused))
}
