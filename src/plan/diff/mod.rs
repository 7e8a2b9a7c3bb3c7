//! Wanted against found, field by field: only what differs becomes part of an edit.
//!
//! Values are compared the way the service means them (addresses without port and slash, names and
//! ids without case, durations by length), so that a difference in spelling is never a write.

mod endpoint;
mod file_upload;
mod removal;

pub(super) use file_upload::needs_key;
pub(super) use removal::{Stale, stale};

use serde_json::{Value, json};

use crate::model::{
    IotHubId,
    desired::{DesiredEnrichment, DesiredHub, DesiredIdentity, DesiredRoute, Target},
    hub::{
        EndpointAuth, EndpointView, EnrichmentEdit, EnrichmentView, FileUploadEdit, HubDocument, HubIdentity,
        IdentityEdit, RouteEdit, RouteView, SettingEdit,
    },
    observed::ObservedHub,
};

/// The change to the identity block, if one is needed.
pub(super) fn identity(want: &DesiredIdentity, have: &HubIdentity) -> Option<IdentityEdit> {
    let attach = want.user.iter().filter(|id| !have.user_assigned.contains_key(id)).cloned().collect();
    let detach = have.user_assigned.keys().filter(|id| want.detaches(id)).cloned().collect();
    IdentityEdit { system: want.system.change(have.system_assigned), attach, detach }.if_any()
}

/// The endpoints to create or to change. One whose target had to be read and was not found is left
/// out; it blocks the plan anyway.
pub(super) fn endpoints(
    desired: &DesiredHub,
    observed: &ObservedHub,
) -> Vec<crate::model::hub::EndpointEdit> {
    let found = observed.hub.endpoints();
    let edits = desired.endpoints.iter().filter_map(|want| {
        let have = found.iter().find(|have| have.is_named(&want.name) && have.kind == want.target.kind());
        endpoint::edit(want, have, observed)
    });
    edits.collect()
}

/// The change to file upload, if one is needed.
pub(super) fn file_upload(desired: &DesiredHub, observed: &ObservedHub) -> Option<FileUploadEdit> {
    file_upload::edit(desired.file_upload.as_ref()?, observed)
}

/// The targets that have to be read before a plan can be made: those that the hub does not send to
/// yet, or not in just the way it should.
pub(super) fn targets_to_read<'a>(desired: &'a DesiredHub, hub: &HubDocument) -> Vec<&'a Target> {
    let found = hub.endpoints();
    let mut targets: Vec<&Target> = Vec::new();
    for want in &desired.endpoints {
        let have = found.iter().find(|have| have.is_named(&want.name));
        if have.is_none_or(|have| !endpoint::differences(want, have, None, hub.id()).is_empty()) {
            targets.push(&want.target);
        }
    }
    if let Some(want) = &desired.file_upload
        && !file_upload::is_in_place(want, hub)
    {
        targets.push(&want.container);
    }
    targets.sort();
    targets.dedup();
    targets
}

/// The routes to create or to change.
pub(super) fn routes(desired: &DesiredHub, observed: &ObservedHub) -> Vec<RouteEdit> {
    let found = observed.hub.routes();
    let edits = desired.routes.iter().filter_map(|want| {
        let have = found.iter().find(|have| have.is_named(&want.name));
        let differences = match have {
            None => vec!["create".to_owned()],
            Some(have) => route_differences(want, have),
        };
        (!differences.is_empty()).then(|| RouteEdit {
            // The name is kept as the hub has it.
            route: DesiredRoute {
                name: have.map_or(want.name.as_str(), |have| have.name).to_owned(),
                ..want.clone()
            },
            index: have.map(|have| have.index),
            summary: differences.join(", "),
        })
    });
    edits.collect()
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
        differences.push(format!("{} -> {}", on_off(have.is_enabled()), on_off(*enabled)));
    }
    differences
}

/// The enrichments to create or to change.
pub(super) fn enrichments(desired: &DesiredHub, observed: &ObservedHub) -> Vec<EnrichmentEdit> {
    let found = observed.hub.enrichments();
    let edits = desired.enrichments.iter().filter_map(|want| {
        let have = found.iter().find(|have| have.key == want.key);
        let differences = match have {
            None => vec!["create".to_owned()],
            Some(have) => enrichment_differences(want, have),
        };
        (!differences.is_empty()).then(|| EnrichmentEdit {
            enrichment: want.clone(),
            index: have.map(|have| have.index),
            summary: differences.join(", "),
        })
    });
    edits.collect()
}

fn enrichment_differences(want: &DesiredEnrichment, have: &EnrichmentView<'_>) -> Vec<String> {
    let DesiredEnrichment { key: _, value, endpoints } = want;
    let mut differences = Vec::new();
    if have.value() != value {
        differences.push(format!("value {:?} -> {value:?}", have.value()));
    }
    let sorted = |names: Vec<String>| {
        let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort();
        names
    };
    let found = have.endpoints().into_iter().map(str::to_owned).collect();
    if sorted(found) != sorted(endpoints.clone()) {
        differences.push(format!("endpoints {} -> {}", have.endpoints().join("+"), endpoints.join("+")));
    }
    differences
}

/// Single values that differ: the fallback route, notifications, cloud-to-device messages, and the
/// hosts that a hub with restricted outbound access may send to.
pub(super) fn settings(
    desired: &DesiredHub,
    observed: &ObservedHub,
    written: &[&Target],
) -> Vec<SettingEdit> {
    let hub = &observed.hub;
    let mut edits: Vec<SettingEdit> = fallback(desired, hub).into_iter().collect();
    edits.extend(file_upload::settings(desired, hub));
    edits.extend(allowed_hosts(desired, observed, written));
    edits
}

fn fallback(desired: &DesiredHub, hub: &HubDocument) -> Option<SettingEdit> {
    const BLOCK: &str = "/properties/routing/fallbackRoute";
    let found = hub.fallback();
    let wanted = desired.fallback.change(found.unwrap_or(false))?;
    let (pointer, value) = match found {
        Some(_) => (format!("{BLOCK}/isEnabled"), Value::from(wanted)),
        None => (
            BLOCK.to_owned(),
            json!({"name": "$fallback", "source": "DeviceMessages", "condition": "true",
                   "endpointNames": ["events"], "isEnabled": wanted}),
        ),
    };
    let summary = format!("fallback route: {} -> {}", on_off(!wanted), on_off(wanted));
    Some(SettingEdit { pointer, value, summary })
}

fn allowed_hosts(desired: &DesiredHub, observed: &ObservedHub, written: &[&Target]) -> Option<SettingEdit> {
    let hub = &observed.hub;
    if !desired.allow_target_hosts || !hub.restricts_outbound() {
        return None;
    }
    let mut hosts = hub.allowed_hosts();
    let known = hosts.len();
    for host in written.iter().filter_map(|target| Some(observed.target(target)?.host())) {
        if !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
            hosts.push(host);
        }
    }
    (hosts.len() > known).then(|| SettingEdit {
        pointer: "/properties/allowedFqdnList".to_owned(),
        value: json!(hosts),
        summary: format!("allowed outbound hosts: + {}", hosts[known..].join(", ")),
    })
}

/// Differences in the subscription and the resource group of the target. Absent means the hub's own.
fn place_differences(have: &EndpointView<'_>, target: &Target, hub: &IotHubId) -> Vec<String> {
    let id = target.id();
    let mut differences = Vec::new();
    let subscription = have.text("subscriptionId").unwrap_or(hub.subscription());
    if !subscription.eq_ignore_ascii_case(id.subscription()) {
        differences.push(format!("subscriptionId {subscription:?} -> {:?}", id.subscription()));
    }
    let group = have.text("resourceGroup").or(hub.resource_group()).unwrap_or_default();
    let wanted = id.resource_group().unwrap_or_default();
    if !group.eq_ignore_ascii_case(wanted) {
        differences.push(format!("resourceGroup {group:?} -> {wanted:?}"));
    }
    differences
}

fn describe_auth(auth: &EndpointAuth) -> String {
    match auth {
        EndpointAuth::Key => "key".to_owned(),
        EndpointAuth::Identity(identity) => identity.to_string(),
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

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
