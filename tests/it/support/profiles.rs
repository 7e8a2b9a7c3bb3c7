//! Profiles that stories want of a hub, with what the reference world has in `rg-data`.

use super::world::SUBSCRIPTION;

pub(crate) const GROUP: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data";

pub(crate) fn data(below: &str) -> String {
    format!("{GROUP}/providers/{below}")
}

pub(crate) fn alerts() -> String {
    data("Microsoft.EventHub/namespaces/ns1/eventhubs/alerts")
}

pub(crate) fn telemetry() -> String {
    data("Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2")
}

pub(crate) fn archive() -> String {
    data("Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive")
}

pub(crate) fn cosmos() -> String {
    data("Microsoft.DocumentDB/databaseAccounts/egressdocs/sqlDatabases/fleet/containers/telemetry")
}

pub(crate) fn id_egress() -> String {
    data("Microsoft.ManagedIdentity/userAssignedIdentities/id-egress")
}

/// A document up to its profiles, in which everything may be removed, with more guardrails.
fn guard(more: &str) -> String {
    format!(
        "version: 1\nguardrails:\n  subscriptions: [ {SUBSCRIPTION} ]\n  targets: [ {GROUP} ]\n  allowRemovals: true\n{more}profiles:\n"
    )
}

/// A document with one profile, in which everything may be removed.
pub(crate) fn profile(rest: &str) -> String {
    format!("{}  - name: p\n{rest}", guard(""))
}

/// The same, and keys may be used.
pub(crate) fn profile_with_keys(rest: &str) -> String {
    format!("{}  - name: p\n{rest}", guard("  allowKeys: true\n"))
}

/// An endpoint `out` and a route to it. `more` is what else the endpoint says.
pub(crate) fn out(field: &str, target: &str, more: &str) -> String {
    format!(
        "    endpoints: [ {{ name: out, {field}: {target}, {more} }} ]\n    routes: [ {{ name: out, source: DeviceMessages, endpoint: out }} ]\n"
    )
}

/// One endpoint that sends as the hub.
pub(crate) fn one(field: &str, target: &str) -> String {
    profile(&format!("    identity: {{ system: on }}\n{}", out(field, target, "as: system")))
}

/// One endpoint that sends as the reference world's user-assigned identity.
pub(crate) fn one_by_user(field: &str, target: &str) -> String {
    profile(&format!(
        "    identity: {{ user: [ {} ] }}\n{}",
        id_egress(),
        out(field, target, "as: id-egress")
    ))
}

/// One endpoint, `hw-a`, that belongs to the profile by its name.
pub(crate) fn owned(identity: &str, send_as: &str) -> String {
    profile(&format!(
        "    identity: {identity}\n    ownedPrefixes: [ hw- ]\n    endpoints: [ {{ name: hw-a, eventHub: {}, as: {send_as} }} ]\n    routes: [ {{ name: hw-a, source: DeviceMessages, endpoint: hw-a }} ]\n",
        alerts()
    ))
}
