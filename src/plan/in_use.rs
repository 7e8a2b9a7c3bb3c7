//! What shall go and is still used. What is only no longer listed stays then, with a warning, and the
//! rest of the plan goes on; what a profile says outright is to go stands in the plan's way.

use super::{blocked::Blocked, diff::Stale, warning::Warning};
use crate::model::{
    ResourceId,
    desired::{DesiredHub, Guardrails, IdentityRef, Switch, User},
    hub::Part,
    observed::ObservedHub,
};

/// What can be removed of what is stale, and a warning for each endpoint that a route or an
/// enrichment of somebody else names.
pub(super) fn removable(desired: &DesiredHub, observed: &ObservedHub, stale: Stale) -> (Stale, Vec<Warning>) {
    let mut kept = Vec::new();
    let mut parts = stale.parts.clone();
    parts.retain(|gone| {
        let is_endpoint = matches!(gone.part, Part::Endpoint(_));
        let used_by = if is_endpoint { names_of(desired, observed, &stale, &gone.name) } else { Vec::new() };
        let is_free = used_by.is_empty();
        if !is_free {
            kept.push(Warning::InUse { what: format!("endpoint {}", gone.name), used_by });
        }
        is_free
    });
    (Stale { parts }, kept)
}

/// Routes and enrichments that name an endpoint and stay as they are.
fn names_of(desired: &DesiredHub, observed: &ObservedHub, stale: &Stale, endpoint: &str) -> Vec<String> {
    let hub = &observed.hub;
    let names_it = |names: Vec<&str>| names.iter().any(|name| name.eq_ignore_ascii_case(endpoint));
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
