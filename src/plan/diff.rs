//! Wanted against found, field by field: only what differs becomes part of an edit.
//!
//! Values are compared the way the service means them (addresses without port and slash, names and
//! ids without case), so that a difference in spelling is never a write.

use crate::model::{
    desired::{
        DesiredEndpoint, DesiredHub, DesiredIdentity, DesiredRoute, IdentityRef, SystemIdentity, Target,
    },
    hub::{
        EndpointAuth, EndpointEdit, EndpointKind, EndpointView, HubIdentity, IdentityEdit, RouteEdit,
        RouteView,
    },
    observed::{ObservedHub, ObservedTarget},
};

/// The change to the identity block, if one is needed.
pub(super) fn identity(want: &DesiredIdentity, have: &HubIdentity) -> Option<IdentityEdit> {
    let system = match want.system {
        SystemIdentity::On if !have.system_assigned => Some(true),
        SystemIdentity::Off if have.system_assigned => Some(false),
        SystemIdentity::On | SystemIdentity::Off | SystemIdentity::Unmanaged => None,
    };
    let attach: Vec<_> =
        want.user.iter().filter(|id| !have.user_assigned.contains_key(id)).cloned().collect();
    (system.is_some() || !attach.is_empty()).then_some(IdentityEdit { system, attach })
}

/// The endpoints to create or to change.
pub(super) fn endpoints(desired: &DesiredHub, observed: &ObservedHub) -> Vec<EndpointEdit> {
    let found = observed.hub.endpoints();
    desired
        .endpoints
        .iter()
        .filter_map(|want| {
            let have = found.iter().find(|have| have.is_named(&want.name));
            let (endpoint_uri, entity_path) = match observed.targets.get(want.target.id())? {
                ObservedTarget::EventHub { endpoint_uri, entity_path } => (endpoint_uri, entity_path),
                ObservedTarget::Missing(_) | ObservedTarget::Unreadable(_) => return None,
            };
            let differences = match have {
                None => vec!["create".to_owned()],
                Some(have) => endpoint_differences(want, endpoint_uri, entity_path, have, observed),
            };
            (!differences.is_empty()).then(|| EndpointEdit {
                name: have.map_or(want.name.as_str(), |have| have.name).to_owned(),
                index: have.map(|have| have.index),
                kind: kind_of(&want.target),
                target: want.target.id().clone(),
                endpoint_uri: endpoint_uri.clone(),
                entity_path: entity_path.clone(),
                identity: want.identity.clone(),
                summary: differences.join(", "),
            })
        })
        .collect()
}

/// The list of the hub document that a target's endpoints stand in.
pub(super) fn kind_of(target: &Target) -> EndpointKind {
    match target {
        Target::EventHub(_) => EndpointKind::EventHub,
    }
}

fn endpoint_differences(
    want: &DesiredEndpoint,
    endpoint_uri: &str,
    entity_path: &str,
    have: &EndpointView<'_>,
    observed: &ObservedHub,
) -> Vec<String> {
    let mut differences = Vec::new();
    let auth = have.auth();
    if auth != EndpointAuth::Identity(want.identity.clone()) {
        differences.push(format!("{} -> {}", describe_auth(&auth), want.identity));
    }
    if auth == EndpointAuth::Key {
        // A key-based endpoint has its address inside the (masked) connection string.
        return differences;
    }
    let uri = have.text("endpointUri").unwrap_or_default();
    if normal_uri(uri) != normal_uri(endpoint_uri) {
        differences.push(format!("endpointUri {uri:?} -> {endpoint_uri:?}"));
    }
    let path = have.text("entityPath").unwrap_or_default();
    if !path.eq_ignore_ascii_case(entity_path) {
        differences.push(format!("entityPath {path:?} -> {entity_path:?}"));
    }
    // Absent means the hub's own subscription and group.
    let target = want.target.id();
    let subscription = have.text("subscriptionId").unwrap_or(observed.id().subscription());
    let group = have.text("resourceGroup").or(observed.id().resource_group()).unwrap_or_default();
    let wanted_group = target.resource_group().unwrap_or_default();
    if !subscription.eq_ignore_ascii_case(target.subscription()) {
        differences.push(format!("subscriptionId {subscription} -> {}", target.subscription()));
    }
    if !group.eq_ignore_ascii_case(wanted_group) {
        differences.push(format!("resourceGroup {group:?} -> {wanted_group:?}"));
    }
    differences
}

fn describe_auth(auth: &EndpointAuth) -> String {
    match auth {
        EndpointAuth::Key => "key".to_owned(),
        EndpointAuth::Identity(identity @ (IdentityRef::System | IdentityRef::User(_))) => {
            identity.to_string()
        }
        EndpointAuth::Unreadable(id) => format!("unreadable identity {id:?}"),
    }
}

/// An address as the service means it: lower case, no port, no slash at the end.
fn normal_uri(uri: &str) -> String {
    let lower = uri.to_ascii_lowercase();
    let trimmed = lower.trim_end_matches('/');
    let without_port = [":443", ":5671"].iter().find_map(|port| trimmed.strip_suffix(port));
    without_port.unwrap_or(trimmed).to_owned()
}

/// The routes to create or to change.
pub(super) fn routes(desired: &DesiredHub, observed: &ObservedHub) -> Vec<RouteEdit> {
    let found = observed.hub.routes();
    desired
        .routes
        .iter()
        .filter_map(|want| {
            let have = found.iter().find(|have| have.is_named(&want.name));
            let differences = match have {
                None => vec!["create".to_owned()],
                Some(have) => route_differences(want, have),
            };
            (!differences.is_empty()).then(|| RouteEdit {
                route: want.clone(),
                index: have.map(|have| have.index),
                summary: differences.join(", "),
            })
        })
        .collect()
}

fn route_differences(want: &DesiredRoute, have: &RouteView<'_>) -> Vec<String> {
    // The name is how the route was found.
    let DesiredRoute { name: _, source, condition, endpoint, enabled } = want;
    let mut differences = Vec::new();
    if !have.source().eq_ignore_ascii_case(source) {
        differences.push(format!("source {} -> {source}", have.source()));
    }
    if have.condition() != condition {
        differences.push(format!("condition {:?} -> {condition:?}", have.condition()));
    }
    let leads_to = have.endpoints();
    if leads_to.len() != 1 || !leads_to[0].eq_ignore_ascii_case(endpoint) {
        differences.push(format!("endpoint {} -> {endpoint}", leads_to.join("+")));
    }
    if have.is_enabled() != *enabled {
        let word = |on: bool| if on { "on" } else { "off" };
        differences.push(format!("{} -> {}", word(have.is_enabled()), word(*enabled)));
    }
    differences
}
