//! File upload and cloud-to-device messaging, wanted against found.

use serde_json::Value;

use super::{describe_auth, on_off};
use crate::model::{
    desired::{CloudToDevice, Connection, DesiredAuth, DesiredFileUpload, DesiredHub, Notifications},
    duration::IsoDuration,
    hub::{
        ConnectionEdit, EndpointAuth, FileUploadEdit, FileUploadView, HubDocument, SettingEdit, StorageEdit,
    },
    observed::ObservedHub,
};

/// The edit that makes the entry what it should be, if it is not.
pub(super) fn edit(want: &DesiredFileUpload, observed: &ObservedHub) -> Option<FileUploadEdit> {
    let have = observed.hub.file_upload();
    let mut differences = storage_differences(want, have.as_ref());
    let storage = if differences.is_empty() {
        None
    } else {
        let facts = observed.target(&want.container)?;
        let known = have.as_ref().filter(|have| is_for_account(have, want));
        let connection = match (known, needs_key(want)) {
            // The mask that a hub shows for a key is echoed only where the key is in use: who knows
            // what is behind it otherwise.
            (Some(have), true) if !have.has_key() => ConnectionEdit::WithKey,
            (Some(have), true) if want.auth.identity().is_none() && have.auth() != EndpointAuth::Key => {
                ConnectionEdit::WithKey
            }
            (Some(_), _) => ConnectionEdit::Keep,
            (None, false) => ConnectionEdit::WithoutKey,
            (None, true) => ConnectionEdit::WithKey,
        };
        Some(StorageEdit {
            target: want.container.clone(),
            endpoint_uri: facts.endpoint_uri.clone(),
            container: facts.entity.clone(),
            identity: want.auth.identity().cloned(),
            connection,
        })
    };
    let found_ttl = have.as_ref().and_then(|have| have.text("sasTtlAsIso8601"));
    let sas_ttl = want.sas_ttl.clone().filter(|ttl| !is_length(found_ttl, ttl));
    if let Some(ttl) = &sas_ttl {
        differences.push(format!("SAS TTL {} -> {ttl}", found_ttl.unwrap_or("none")));
    }
    (!differences.is_empty()).then(|| FileUploadEdit { storage, sas_ttl, summary: differences.join(", ") })
}

/// Whether files go where they should, with the identity they should.
pub(super) fn is_in_place(want: &DesiredFileUpload, hub: &HubDocument) -> bool {
    storage_differences(want, hub.file_upload().as_ref()).is_empty()
}

fn storage_differences(want: &DesiredFileUpload, have: Option<&FileUploadView<'_>>) -> Vec<String> {
    let Some(have) = have else { return vec!["create".to_owned()] };
    let mut differences = Vec::new();
    if !is_for_account(have, want) {
        let wanted = want.container.service_name();
        differences.push(format!("account {} -> {wanted}", have.account().unwrap_or("none")));
    }
    let (found, wanted) = (have.text("containerName").unwrap_or("none"), want.container.id().name());
    if !found.eq_ignore_ascii_case(wanted) {
        differences.push(format!("container {found} -> {wanted}"));
    }
    match (&want.auth, have.auth()) {
        (DesiredAuth::Identity(identity), auth) if auth != EndpointAuth::Identity(identity.clone()) => {
            differences.push(format!("{} -> {identity}", describe_auth(&auth)));
        }
        (DesiredAuth::Key { .. }, auth) if auth != EndpointAuth::Key => {
            differences.push(format!("{} -> key", describe_auth(&auth)));
        }
        _ => {}
    }
    if needs_key(want) && is_for_account(have, want) && !have.has_key() {
        differences.push("connection string without key -> with key".to_owned());
    }
    differences
}

/// Whether the connection string has to hold a key.
pub(in crate::plan) fn needs_key(want: &DesiredFileUpload) -> bool {
    want.auth.identity().is_none() || want.connection == Connection::AccountKey
}

fn is_for_account(have: &FileUploadView<'_>, want: &DesiredFileUpload) -> bool {
    have.account().is_some_and(|account| account.eq_ignore_ascii_case(&want.container.service_name()))
}

/// Values beside the entry that differ.
pub(super) fn settings(desired: &DesiredHub, hub: &HubDocument) -> Vec<SettingEdit> {
    let mut edits = Vec::new();
    let none = Notifications::default();
    let Notifications { enabled, lock_duration, ttl, max_delivery_count } =
        desired.file_upload.as_ref().map_or(&none, |upload| &upload.notifications);
    const ENABLED: &str = "/properties/enableFileUploadNotifications";
    let found = hub.value(ENABLED).and_then(Value::as_bool).unwrap_or(false);
    if let Some(wanted) = enabled.filter(|wanted| *wanted != found) {
        edits.push(SettingEdit {
            pointer: ENABLED.to_owned(),
            value: wanted.into(),
            summary: format!("file upload notifications: {} -> {}", on_off(found), on_off(wanted)),
        });
    }
    let queue = |name: &str| format!("/properties/messagingEndpoints/fileNotifications/{name}");
    edits.extend(duration(hub, queue("lockDurationAsIso8601"), "notification lock", lock_duration.as_ref()));
    edits.extend(duration(hub, queue("ttlAsIso8601"), "notification TTL", ttl.as_ref()));
    let what = "notification maximum delivery count";
    edits.extend(count(hub, queue("maxDeliveryCount"), what, *max_delivery_count));

    let CloudToDevice { default_ttl, max_delivery_count } = &desired.cloud_to_device;
    let queue = |name: &str| format!("/properties/cloudToDevice/{name}");
    edits.extend(duration(
        hub,
        queue("defaultTtlAsIso8601"),
        "cloud-to-device default TTL",
        default_ttl.as_ref(),
    ));
    let what = "cloud-to-device maximum delivery count";
    edits.extend(count(hub, queue("maxDeliveryCount"), what, *max_delivery_count));
    edits
}

fn duration(
    hub: &HubDocument,
    pointer: String,
    what: &str,
    wanted: Option<&IsoDuration>,
) -> Option<SettingEdit> {
    let found = hub.value(&pointer).and_then(Value::as_str);
    let wanted = wanted.filter(|wanted| !is_length(found, wanted))?;
    let summary = format!("{what}: {} -> {wanted}", found.unwrap_or("none"));
    Some(SettingEdit { pointer, value: wanted.as_str().into(), summary })
}

fn count(hub: &HubDocument, pointer: String, what: &str, wanted: Option<u32>) -> Option<SettingEdit> {
    let found = hub.value(&pointer).and_then(Value::as_u64);
    let wanted = wanted.filter(|wanted| found != Some((*wanted).into()))?;
    let summary = format!("{what}: {} -> {wanted}", found.map_or("none".to_owned(), |n| n.to_string()));
    Some(SettingEdit { pointer, value: wanted.into(), summary })
}

fn is_length(found: Option<&str>, wanted: &IsoDuration) -> bool {
    found.and_then(IsoDuration::parse).is_some_and(|found| found == *wanted)
}
