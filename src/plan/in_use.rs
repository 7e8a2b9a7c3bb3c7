//! What shall go and is still used. What is only no longer listed stays then, with a warning, and the
//! rest of the plan goes on; what a profile says outright is to go stands in the plan's way.

use super::{blocked::Blocked, diff::Stale, warning::Warning};
use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, Switch, User},
    hub::{Part, Removal},
    observed::ObservedHub,
};

/// What can be removed of what is stale. What a route or an enrichment of somebody else names is not in
/// it, unless it is named outright: then it is in the way.
pub(super) fn removable(desired: &DesiredHub, observed: &ObservedHub, stale: &Stale) -> Stale {
    let is_free =
        |gone: &&Removal| gone.is_named_by(desired) || names_of(desired, observed, stale, gone).is_empty();
    Stale { parts: stale.parts.iter().filter(is_free).cloned().collect() }
}

/// Endpoints that are only no longer listed, and stay because something names them.
pub(super) fn kept_endpoints(desired: &DesiredHub, observed: &ObservedHub, stale: &Stale) -> Vec<Warning> {
    let unlisted = stale.parts.iter().filter(|gone| !gone.is_named_by(desired));
    let kept = unlisted.filter_map(|gone| {
        let used_by = names_of(desired, observed, stale, gone);
        (!used_by.is_empty()).then(|| Warning::InUse { what: format!("endpoint {}", gone.name), used_by })
    });
    kept.collect()
}

/// Parts that are named outright to go, and cannot.
pub(super) fn parts(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    stale: &Stale,
) -> Vec<Blocked> {
    let named = stale.parts.iter().filter(|gone| gone.is_named_by(desired));
    let blocked = named.filter_map(|gone| {
        if !guardrails.allow_removals {
            return Some(Blocked::RemovalNotAllowed { what: format!("{} {}", gone.part.word(), gone.name) });
        }
        let used_by = names_of(desired, observed, stale, gone);
        (!used_by.is_empty()).then(|| Blocked::EndpointInUse { endpoint: gone.name.clone(), used_by })
    });
    blocked.collect()
}

/// Routes and enrichments that name an endpoint and stay as they are. None for anything else.
fn names_of(desired: &DesiredHub, observed: &ObservedHub, stale: &Stale, gone: &Removal) -> Vec<String> {
    if !matches!(gone.part, Part::Endpoint(_)) {
        return Vec::new();
    }
    let hub = &observed.hub;
    let names_it = |names: Vec<&str>| names.iter().any(|name| name.eq_ignore_ascii_case(&gone.name));
    let routes = hub.routes().into_iter().filter(|route| {
        names_it(route.endpoints())
            && !stale.holds(|part| part == Part::Route, route.name)
            && !desired.routes.iter().any(|want| route.is_named(&want.name))
    });
    let routes = routes.map(|route| format!("route {}", route.name));
    let enrichments = hub.enrichments().into_iter().filter(|enrichment| {
        names_it(enrichment.endpoints())
            && !stale.holds(|part| part == Part::Enrichment, enrichment.key)
            && !desired.enrichments.iter().any(|want| want.key == enrichment.key)
    });
    let enrichments = enrichments.map(|enrichment| format!("enrichment {}", enrichment.key));
    routes.chain(enrichments).collect()
}

/// The identities that shall be detached and can be: nothing uses them after the plan.
pub(super) fn detachable(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    stale: &Stale,
    detach: Vec<ResourceId>,
) -> Vec<ResourceId> {
    let is_free = |id: &ResourceId| {
        guardrails.allow_removals
            && users_left(desired, observed, stale, &IdentityRef::User(id.clone())).is_empty()
    };
    detach.into_iter().filter(is_free).collect()
}

/// Identities that are only not listed, and stay because something uses them.
pub(super) fn kept_identities(desired: &DesiredHub, observed: &ObservedHub, stale: &Stale) -> Vec<Warning> {
    let unlisted = observed
        .hub
        .identity()
        .user_assigned
        .into_keys()
        .filter(|id| desired.identity.detaches(id) && !desired.identity.detach.contains(id));
    let kept = unlisted.filter_map(|id| {
        let identity = IdentityRef::User(id);
        let used_by = users_left(desired, observed, stale, &identity);
        (!used_by.is_empty()).then(|| Warning::InUse { what: format!("the {identity}"), used_by })
    });
    kept.collect()
}

/// Identities that a profile says outright are to go, and that cannot. The service refuses that for
/// endpoints and not for file upload, so both are checked here.
pub(super) fn identities(
    desired: &DesiredHub,
    observed: &ObservedHub,
    guardrails: &Guardrails,
    stale: &Stale,
) -> Vec<Blocked> {
    let have = observed.hub.identity();
    let system =
        (desired.identity.system == Switch::Off && have.system_assigned).then_some(IdentityRef::System);
    let named = have.user_assigned.into_keys().filter(|id| desired.identity.detach.contains(id));
    let going = system.into_iter().chain(named.map(IdentityRef::User));
    let blocked = going.filter_map(|identity| {
        if !guardrails.allow_removals {
            return Some(Blocked::RemovalNotAllowed { what: format!("the {identity}") });
        }
        let used_by = users_left(desired, observed, stale, &identity);
        (!used_by.is_empty()).then(|| Blocked::IdentityInUse { identity: identity.to_string(), used_by })
    });
    blocked.collect()
}

/// What uses an identity and will go on doing so: it is not removed, and the profile does not say
/// what it shall use.
fn users_left(
    desired: &DesiredHub,
    observed: &ObservedHub,
    stale: &Stale,
    identity: &IdentityRef,
) -> Vec<String> {
    let stays = |user: &User<'_>| match user {
        User::Endpoint(name) => {
            !desired.endpoints.iter().any(|want| want.name.eq_ignore_ascii_case(name))
                && !stale.holds(|part| matches!(part, Part::Endpoint(_)), name)
        }
        User::FileUpload => desired.file_upload.is_none(),
        // A hub's document knows nothing of exports.
        User::Export(_) => false,
    };
    let users = observed.hub.users_of(identity).into_iter().map(|(user, _)| user);
    users.filter(stays).map(|user| user.to_string()).collect()
}
