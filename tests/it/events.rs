//! Events as Azure publishes them, none of which is a change of a hub.
//!
//! Carried over from Microsoft's documentation and SDKs and from issue threads: both schemas, resource
//! notifications, device events, failures, dead letters, and the oddities seen in them.

use std::{fs, path::PathBuf};

use hubward::events::{Irrelevant, Irrelevant::*, ParseError, Verdict, parse};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events")
}

pub(crate) fn fixture(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap()
}

/// Each file, and a verdict for each of its events.
const EXPECTED: &[(&str, &[Irrelevant])] = &[
    ("action-failure-fields-as-junk.json", &[Action]),
    ("action-with-write-operation.json", &[Action]),
    ("child-resource-write.json", &[OtherResource]),
    ("cloud-dead-letter.json", &[OtherType]),
    ("cloud-device-created.json", &[DeviceEvent]),
    ("cloud-keys-listed.json", &[Action]),
    ("cloud-notification-deleted.json", &[OtherResource]),
    ("cloud-notification-health.json", &[OtherType]),
    ("cloud-notification-written.json", &[OtherResource]),
    ("cloud-storage-delete.json", &[OtherResource]),
    ("cloud-storage-write-group-source.json", &[OtherResource]),
    ("cloud-write-without-subject.json", &[OtherResource]),
    ("data-boolean.json", &[OtherType]),
    ("data-list.json", &[OtherType]),
    ("data-text.json", &[OtherType]),
    ("dead-letter.json", &[OtherType]),
    ("delete-fields-as-json-text.json", &[OtherResource]),
    ("device-connected.json", &[DeviceEvent]),
    ("device-created.json", &[DeviceEvent]),
    ("device-disconnected.json", &[DeviceEvent]),
    ("device-telemetry.json", &[DeviceEvent]),
    ("group-write-minimal.json", &[OtherResource]),
    ("keys-listed.json", &[Action]),
    ("notification-annotation.json", &[OtherType]),
    ("notification-deleted.json", &[OtherResource]),
    ("notification-written.json", &[OtherResource]),
    ("odd-case-inside.json", &[OtherType]),
    ("old-write-fields-as-text.json", &[OtherResource]),
    ("queue-text-group-write.txt", &[OtherResource]),
    ("storage-delete-captured.json", &[OtherResource]),
    ("storage-delete.json", &[OtherResource]),
    ("storage-write-captured.json", &[OtherResource]),
    ("storage-write-group-topic.json", &[OtherResource]),
    ("storage-write-half-cloud-event.json", &[OtherResource]),
    ("storage-write.json", &[OtherResource]),
    ("subscription-deleted.json", &[SubscriptionDeleted]),
    ("subscription-validation.json", &[SubscriptionValidation]),
    ("three-blobs-one-twice.json", &[OtherType, OtherType, Duplicate]),
    ("vm-write-evidence-list.json", &[OtherResource]),
    ("vm-write-minimal.json", &[OtherResource]),
    ("write-failure-status-succeeded.json", &[NotCompleted]),
    ("write-fields-as-objects.json", &[OtherResource]),
];

#[test]
fn no_published_event_is_taken_for_a_change_of_a_hub() {
    for (file, expected) in EXPECTED {
        let verdicts = parse(&fixture(file)).unwrap_or_else(|err| panic!("{file}: {err}"));
        let expected: Vec<_> = expected.iter().map(|&reason| Verdict::Irrelevant { reason }).collect();
        assert_eq!(verdicts, expected, "{file}");
    }
}

#[test]
fn a_broken_message_is_refused_as_a_whole() {
    assert_eq!(parse(&fixture("queue-text-broken.txt")), Err(ParseError::NotJson));
}

#[test]
fn every_fixture_is_in_the_table() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file != "queue-text-broken.txt")
        .collect();
    files.sort();
    assert_eq!(files, EXPECTED.iter().map(|(file, _)| file.to_string()).collect::<Vec<_>>());
}
