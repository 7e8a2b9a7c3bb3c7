//! Finds what stands in the way of a plan, before any write.

use super::{
    GrantStep,
    blocked::Blocked,
    diff::{self, Stale},
    in_use, preflight,
};
use crate::model::{
    desired::{DesiredHub, EndpointOptions, Guardrails, IdentityRef, Switch, Target},
    hub::{EndpointView, HubEdit, Part},
    observed::{HeldRole, ObservedHub, ObservedTarget},
};

/// Custom endpoints that a hub may have: paid tiers, and Free.
/// <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>
const MAX_ENDPOINTS: (usize, usize) = (10, 1);
/// Routes that a hub may have: paid tiers, and Free.
const MAX_ROUTES: (usize, usize) = (100, 5);
/// Enrichments that a hub may have: paid tiers, and Free.
const MAX_ENRICHMENTS: (usize, usize) = (10, 2);

/// Everything that stands in the way, in the order of the desired state.
pub(super) fn check(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    edit: &HubEdit,
    grants: &[GrantStep],
    stale: &Stale,
) -> Vec<Blocked> {
    let mut blocked = Vec::new();
    if !guardrails.allows_hub(observed.id()) {
        blocked.push(Blocked::HubOutOfScope);
    }
    if guardrails.max_hubs_changed == 0 {
        blocked.push(Blocked::ChangesOff);
    }
    for (id, principal) in &observed.user_identities {
        if principal.is_none() {
            blocked.push(Blocked::IdentityMissing { identity: id.clone() });
        }
    }
    for used in desired.uses() {
        if !will_have(used.identity, desired, observed) {
            let identity = used.identity.to_string();
            blocked.push(Blocked::IdentityNotOnHub { by: used.by.to_string(), identity });
        }
    }
    targets(desired, observed, guardrails, &mut blocked);
    endpoints(desired, observed, guardrails, &mut blocked);
    blocked.extend(preflight::check(desired, observed, edit));
    blocked.extend(preflight::assignments(observed, grants));
    blocked.extend(limits(desired, observed, guardrails, stale));
    blocked.extend(in_use::parts(desired, observed, guardrails, stale));
    blocked.extend(in_use::identities(desired, observed, guardrails, stale));
    blocked.extend(conditional(observed, grants));
    blocked
}

/// Whether the hub has an identity, or will have it after this plan.
fn will_have(identity: &IdentityRef, desired: &DesiredHub, observed: &ObservedHub) -> bool {
    let have = observed.hub.identity();
    match identity {
        IdentityRef::System => match desired.identity.system {
            Switch::On => true,
            Switch::Off => false,
            Switch::Unmanaged => have.system_assigned,
        },
        IdentityRef::User(id) => {
            desired.identity.user.contains(id)
                || (have.user_assigned.contains_key(id) && !desired.identity.detaches(id))
        }
    }
}

fn targets(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    blocked: &mut Vec<Blocked>,
) {
    let endpoints = desired
        .endpoints
        .iter()
        .map(|want| (format!("endpoint {}", want.name), &want.target, want.auth.identity().is_some()));
    let upload = desired
        .file_upload
        .iter()
        .map(|want| ("file upload".to_owned(), &want.container, want.auth.identity().is_some()));
    for (by, target, by_identity) in endpoints.chain(upload) {
        let scope = target.grant_scope(guardrails.storage_grants);
        if guardrails.is_reserved(target.id()) || (by_identity && guardrails.is_reserved(&scope)) {
            blocked.push(Blocked::TargetReserved { by, target: target.id().clone() });
            continue;
        }
        if !guardrails.allows_target(target.id()) {
            blocked.push(Blocked::TargetOutOfScope { by, target: target.id().clone() });
            continue;
        }
        if by_identity && !guardrails.allows_target(&scope) {
            blocked.push(Blocked::TargetOutOfScope { by, target: scope });
            continue;
        }
        match observed.targets.get(target.id()) {
            // Not read: the hub sends there already.
            Some(ObservedTarget::Found(_)) | None => {}
            Some(ObservedTarget::Missing(missing)) => {
                blocked.push(Blocked::TargetMissing { by, missing: missing.clone() });
            }
            Some(ObservedTarget::Unreadable(cause)) => {
                blocked.push(Blocked::TargetNotRead { by, cause: cause.clone() });
            }
        }
    }
    for target in diff::targets_to_read(desired, &observed.hub) {
        if !observed.targets.contains_key(target.id()) && guardrails.allows_target(target.id()) {
            let (by, cause) = (target.id().name().to_owned(), "not read".to_owned());
            blocked.push(Blocked::TargetNotRead { by, cause });
        }
    }
}

fn endpoints(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    blocked: &mut Vec<Blocked>,
) {
    let upload_by_key = desired.file_upload.as_ref().is_some_and(diff::needs_key);
    if upload_by_key && !guardrails.allow_keys {
        blocked.push(Blocked::KeysNotAllowed { by: "file upload".to_owned() });
    }
    let (found, others) = (observed.hub.endpoints(), observed.hub.other_endpoints());
    for want in &desired.endpoints {
        let endpoint = want.name.clone();
        if want.auth.identity().is_none() && !guardrails.allow_keys {
            blocked.push(Blocked::KeysNotAllowed { by: format!("endpoint {endpoint}") });
        }
        if let Some(have) = others.iter().find(|have| have.name.eq_ignore_ascii_case(&want.name)) {
            blocked.push(Blocked::NameTaken { endpoint, by: have.list.to_owned() });
            continue;
        }
        let Some(have) = found.iter().find(|have| have.is_named(&want.name)) else { continue };
        if have.kind != want.target.kind() {
            blocked.push(Blocked::NameTaken { endpoint, by: have.kind.to_string() });
            continue;
        }
        if let Some((found, wanted)) = encoding_change(&want.options, have) {
            blocked.push(Blocked::EncodingFixed { endpoint, found, wanted });
        }
    }
}

/// An endpoint that shows no encoding has the service's default.
fn encoding_change(wanted: &EndpointOptions, have: &EndpointView<'_>) -> Option<(String, String)> {
    let EndpointOptions::Storage(options) = wanted else { return None };
    let wanted = options.encoding.as_deref()?;
    let found = have.text("encoding").unwrap_or("avro");
    (!found.eq_ignore_ascii_case(wanted)).then(|| (found.to_owned(), wanted.to_owned()))
}

/// A role that is held under a condition cannot be granted a second time, and proves nothing.
fn conditional(observed: &ObservedHub, grants: &[GrantStep]) -> Vec<Blocked> {
    let held = grants.iter().filter_map(|step| {
        let grant = observed.grants.iter().find(|grant| {
            grant.is_conditional
                && grant.scope == step.scope
                && grant.role == HeldRole::Ours(step.role)
                && step.principal.as_deref().is_some_and(|principal| grant.is_of(principal))
        })?;
        let (identity, role) = (step.identity.to_string(), step.role.to_string());
        Some(Blocked::GrantConditional { identity, role, scope: step.scope.clone(), id: grant.id.clone() })
    });
    held.collect()
}

fn limits(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    stale: &Stale,
) -> Vec<Blocked> {
    let hub = &observed.hub;
    let of_tier = |(paid, free): (usize, usize)| if hub.is_free() { free } else { paid };
    let gone = |is_part: fn(Part) -> bool| {
        let count = stale.parts.iter().filter(|gone| is_part(gone.part)).count();
        if guardrails.allow_removals { count } else { 0 }
    };
    let (endpoints, routes, enrichments) = (hub.endpoints(), hub.routes(), hub.enrichments());
    let new_endpoints = desired
        .endpoints
        .iter()
        .filter(|want| !endpoints.iter().any(|have| have.is_named(&want.name)))
        .count();
    let new_routes =
        desired.routes.iter().filter(|want| !routes.iter().any(|have| have.is_named(&want.name))).count();
    let new_enrichments = desired
        .enrichments
        .iter()
        .filter(|want| !enrichments.iter().any(|have| have.key == want.key))
        .count();
    [
        (
            "endpoints",
            endpoints.len() + hub.other_endpoints().len() - gone(|part| matches!(part, Part::Endpoint(_))),
            new_endpoints,
            of_tier(MAX_ENDPOINTS),
        ),
        ("routes", routes.len() - gone(|part| part == Part::Route), new_routes, of_tier(MAX_ROUTES)),
        (
            "enrichments",
            enrichments.len() - gone(|part| part == Part::Enrichment),
            new_enrichments,
            of_tier(MAX_ENRICHMENTS),
        ),
    ]
    .into_iter()
    // A hub that is over the limit already is not ours to judge, as long as we add nothing.
    .filter(|(_, have, new, limit)| *new > 0 && have + new > *limit)
    .map(|(what, have, new, limit)| Blocked::TooMany { what, count: have + new, limit })
    .collect()
}

/// The targets that an edit writes into the hub.
pub(super) fn written_targets(edit: &HubEdit) -> Vec<&Target> {
    let endpoints = edit.endpoints.iter().map(|endpoint| &endpoint.target);
    let upload = edit.file_upload.iter().filter_map(|upload| Some(&upload.storage.as_ref()?.target));
    endpoints.chain(upload).collect()
}
