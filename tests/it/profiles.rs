//! The desired-state document as an operator meets it: the report of mistakes, the sample, the
//! reference, and texts that nobody meant well with.

use std::collections::BTreeSet;

use hubward::{
    desired::{Choice, DesiredState, HubFacts, json_schema, reference, sample},
    model::IotHubId,
};
use serde_json::Value;

const SUB: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";

fn hub(group: &str, name: &str) -> IotHubId {
    IotHubId::parse(&format!(
        "/subscriptions/{SUB}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}"
    ))
    .unwrap()
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = include_str!("../fixtures/profiles/many-mistakes.yaml");
    let mistakes = DesiredState::parse(text).unwrap_err();
    insta::assert_snapshot!(mistakes, @r#"
    line 2, version: this must be 1, not `2`; fix: write 1

    line 4, guardrails.subscriptions[0]: `0b1f6471` is not allowed here; fix: write the GUID of a subscription, such as 0b1f6471-1bf0-4dda-aec3-cb9272f09590

    line 7, guardrails.maxHubsChanged: this should be a whole number and is `many`; fix: write a whole number, without quotes

    line 8, guardrails.allowRemoval: unknown field; fix: write `allowRemovals`

    line 11, profiles[0].match.tags.egress: this should be a text and is `1`; fix: quote it: "1"

    line 11, profiles[0].match.locations[0]: `west[` is not a glob: unclosed character class; missing ']'; fix: write `*`, `?`, `[a-z]` and `{one,two}`, with `\` before a character that is meant as it stands

    line 13, profiles[0].identity.system: `true` is not one of `on`, `off`, `unmanaged`; fix: write `on`

    line 15, profiles[0].identity.user[0]: this is not the id of a user-assigned identity; fix: write /subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>

    line 17, profiles[0].endpoints[0].name: `Events` is a name that the service keeps for itself; fix: choose another name

    line 18, profiles[0].endpoints[0].eventHub: there is no placeholder `{locaton}`; fix: write `{location}`

    line 19, profiles[0].endpoints[0].as: `sytem` is neither `system` nor in the profile's `identity.user`; fix: write `system`

    line 20, profiles[0].endpoints[0].role: there is no field `role`: what an endpoint sends to implies the role and the scope; fix: drop the line

    line 22, profiles[0].endpoints[1].eventHub: this is outside `guardrails.targets`; fix: add `/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-other` to `guardrails.targets`, or point elsewhere

    line 24, profiles[0].endpoints[2]: `as` is missing; fix: add `as: …` (What it authenticates with: `system`, one of `identity.user` (its id or its name), or `key`, the way back from an identity, if `guardrails.allowKeys` is `true`)

    line 24, profiles[0].endpoints[2].name: another endpoint is named `TELEMETRY` (names are compared without case), see profiles[0].endpoints[1].name; fix: choose another name

    line 25, profiles[0].endpoints[2].eventHub: this is not the id of an event hub; fix: write /subscriptions/{subscription}/resourceGroups/<group>/providers/Microsoft.EventHub/namespaces/<namespace>/eventhubs/<name>

    line 26, profiles[0].endpoints[2].connectionString: there is no field `connectionString`: no key stands in this document; `as: key` fetches one when it is written; fix: drop the line

    line 29, profiles[0].routes[0].source: there is no source `DeviceMessage`; fix: write `DeviceMessages`

    line 30, profiles[0].routes[0].condition: this should be a text and is `true`; fix: quote it: "true"

    line 31, profiles[0].routes[0].endpoint: the profile has no endpoint `telemtry`; fix: write `telemetry`

    line 32, profiles[0].routes[1].nmae: unknown field; fix: write `name`

    line 33, profiles[0].routes[1].source: `Invalid` is no source that a route can have; fix: write a message source, such as `DeviceMessages`

    line 35, profiles[0].routes[1].condition: `condition` is written twice, first on line 34; fix: keep one of the two

    line 37, profiles[1].name: another profile is named `standard` (names are compared without case), see profiles[0].name; fix: choose another name

    line 39, profiles[1].endpoints[0].name: `a b` is not allowed here; fix: write 1 to 64 letters, digits, `.`, `_` or `-`

    line 39, profiles[1].endpoints[0].as: this sends with the system-assigned identity, and the profile's `identity.system` is `unmanaged`; fix: write `system: on` under the profile's `identity`

    line 39, profiles[1].endpoints[0].eventHub: `{hub}` cannot stand for a subscription; fix: write the subscription's GUID, or `{subscription}` alone

    line 40, profiles[1].routes: this is empty and should be a list; fix: write a value, or leave the field out
    "#);
}

#[test]
fn mistakes_about_every_kind_of_target_and_file_upload_are_told_too() {
    let text = include_str!("../fixtures/profiles/more-mistakes.yaml");
    let mistakes = DesiredState::parse(text).unwrap_err();
    insta::assert_snapshot!(mistakes, @r#"
    line 5, guardrails.grantWindow: `15m` is not a duration in ISO 8601; fix: write a duration from PT5M to PT2H, such as `PT5M`

    line 6, guardrails.storageGrants: `blob` is not one of `container`, `account`; fix: write one of `container`, `account`

    line 7, guardrails.maxWritesPerHub: `0` is too small; fix: write 2 or more

    line 14, profiles[0].identity.detach[0]: this identity is in `identity.user` too; fix: keep one of the two

    line 15, profiles[0].identity.detach[1]: a resource id begins with `/subscriptions/<guid>`; fix: write /subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>

    line 17, profiles[0].endpoints[0]: `keyRule` is missing: keys of event hubs, queues and topics belong to authorization rules; fix: add `keyRule: …`, the name of a rule that may send

    line 19, profiles[0].endpoints[0].as: this authenticates with a key, and the guardrails do not allow keys; fix: send with an identity, or write `allowKeys: true` under `guardrails`

    line 23, profiles[0].endpoints[1].keyRule: this is for `as: key` alone; fix: drop the line

    line 24, profiles[0].endpoints[1].encoding: `encoding` is for `storageContainer` alone, and this is a `serviceBusTopic`; fix: drop the line

    line 26, profiles[0].endpoints[2].storageContainer: this is not the id of a storage container; fix: write /subscriptions/{subscription}/resourceGroups/<group>/providers/Microsoft.Storage/storageAccounts/<account>/blobServices/default/containers/<name>

    line 28, profiles[0].endpoints[2].encoding: `json` is not one of `Avro`, `AvroDeflate`, `JSON`; fix: write `JSON`

    line 29, profiles[0].endpoints[2].batchFrequencyInSeconds: `59` is too small; fix: write 60 or more

    line 30, profiles[0].endpoints[2].maxChunkSizeInBytes: `1` is too small; fix: write 10485760 or more

    line 31, profiles[0].endpoints[2].fileNameFormat: `{mm}` is missing; fix: write all seven, in any order

    line 32, profiles[0].endpoints[2].partitionKeyName: `partitionKeyName` is for `cosmosDbContainer` alone, and this is a `storageContainer`; fix: drop the line

    line 36, profiles[0].endpoints[3].fileNameFormat: there is no placeholder `{hh}` here; fix: write `{HH}`

    line 40, profiles[0].endpoints[4].partitionKeyTemplate: this needs `partitionKeyName`; fix: add `partitionKeyName: …`

    line 40, profiles[0].endpoints[4].partitionKeyTemplate: `{deviceid}` is there more than once; fix: keep one

    line 41, profiles[0].endpoints[5]: only one of `eventHub`, `serviceBusQueue`, `serviceBusTopic`, `storageContainer`, `cosmosDbContainer` can be given; fix: keep one of them

    line 45, profiles[0].endpoints[6]: one of `eventHub`, `serviceBusQueue`, `serviceBusTopic`, `storageContainer`, `cosmosDbContainer` is missing; fix: add one of them

    line 47, profiles[0].fallback: `true` is not one of `on`, `off`, `unmanaged`; fix: write `on`

    line 49, profiles[0].enrichments[0].key: `hub name` is not allowed here; fix: write 1 to 128 letters, digits, `.`, `_` or `-`

    line 49, profiles[0].enrichments[0].endpoints: there are 0 entries, and at least 1 is needed; fix: add one

    line 50, profiles[0].enrichments[1].endpoints[1]: the profile has no endpoint `COLD`; fix: write `cold`

    line 50, profiles[0].enrichments[1].endpoints[1]: this endpoint is listed already; fix: drop the line

    line 50, profiles[0].enrichments[1].endpoints[2]: this endpoint is listed already; fix: drop the line

    line 50, profiles[0].enrichments[1].endpoints[3]: the profile has no endpoint `nowhere`; fix: write the name of one of the profile's endpoints, or `events`

    line 51, profiles[0].enrichments[2].key: another enrichment has the key `hub`; fix: choose another key

    line 51, profiles[0].enrichments[2].value: this text is empty; fix: write something, or leave the field out

    line 53, profiles[0].fileUpload.container: this is outside `guardrails.targets`; fix: add `/subscriptions/1b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data` to `guardrails.targets`, or point elsewhere

    line 53, profiles[0].fileUpload.container: the account is in a subscription without hubs, and file upload needs one in the hub's own; fix: choose an account in the hubs' subscription, such as `/subscriptions/{subscription}/…`

    line 54, profiles[0].fileUpload.as: `id-c` is neither `system` nor in the profile's `identity.user`; fix: write `id-a`

    line 55, profiles[0].fileUpload.connection: `key` is not one of `identityOnly`, `accountKey`; fix: write one of `identityOnly`, `accountKey`

    line 56, profiles[0].fileUpload.sasTtl: `P2D` is out of range; fix: write a duration from PT1M to P1D, such as `PT1M`

    line 57, profiles[0].fileUpload.notifications.enabled: this should be `true` or `false` and is `yes`; fix: write `true` or `false`, without quotes

    line 57, profiles[0].fileUpload.notifications.lockDuration: `PT1S` is out of range; fix: write a duration from PT5S to PT5M, such as `PT5S`

    line 57, profiles[0].fileUpload.notifications.ttl: `1h` is not a duration in ISO 8601; fix: write a duration from PT1M to P2D, such as `PT1M`

    line 57, profiles[0].fileUpload.notifications.maxDeliveryCount: `101` is too large; fix: write 100 or less

    line 58, profiles[0].cloudToDevice.defaultTtl: `PT30S` is out of range; fix: write a duration from PT1M to P2D, such as `PT1M`

    line 58, profiles[0].cloudToDevice.maxDeliveryCount: `0` is too small; fix: write 1 or more

    line 59, profiles[0].ownedPrefixes[1]: another prefix is named `HW-` (names are compared without case), see profiles[0].ownedPrefixes[0]; fix: choose another name

    line 59, profiles[0].ownedPrefixes[2]: `` is not allowed here; fix: write 1 to 32 letters, digits, `.`, `_` or `-`

    line 60, profiles[0].outbound.allowTarget: unknown field; fix: write `allowTargets`
    "#);
}

#[test]
fn the_reference_is_for_hubs_with_its_tag() {
    let state = DesiredState::parse(reference()).unwrap();
    let id = hub("rg-iot", "hub1");
    let Choice::Desired(want) = state.for_hub(&HubFacts::new(&id, "West US 2", [("egress", "reference")]))
    else {
        panic!("the reference's tag matches")
    };
    assert_eq!((want.endpoints.len(), want.routes.len(), want.enrichments.len()), (5, 5, 1));
    let scopes: BTreeSet<_> = want.uses().map(|used| used.target.id().clone()).collect();
    assert_eq!(scopes.len(), 5, "the archive and file upload share a grant");
}

#[test]
fn file_upload_to_another_subscription_and_a_grant_outside_are_refused_hub_by_hub() {
    let other = "1b1f6471-1bf0-4dda-aec3-cb9272f09590";
    let container = "resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/acct/blobServices/default/containers/c";
    let document = |targets: &str, grants: &str, subscription: &str| {
        format!(
            "version: 1\nguardrails:\n  subscriptions: [{SUB}, {other}]\n  targets: [{targets}]\n  storageGrants: {grants}\n\
             profiles:\n  - name: p\n    identity: {{ system: on }}\n    fileUpload: {{ container: '/subscriptions/{subscription}/{container}', as: system }}\n"
        )
    };
    let id = hub("rg", "h");
    let refusal = |text: &str| match DesiredState::parse(text).unwrap().for_hub(&HubFacts::new(&id, "x", []))
    {
        Choice::Refused(refusals) => refusals[0].to_string(),
        other => panic!("{other:?}"),
    };
    let group = format!("/subscriptions/{other}/resourceGroups/rg-data");
    let text = refusal(&document(&group, "container", other));
    assert!(text.contains("the hub's own subscription"), "{text}");
    // The container is allowed and its account is not.
    let just_the_container = format!("/subscriptions/{SUB}/{container}");
    let text = document(&just_the_container, "account", SUB);
    let mistake = DesiredState::parse(&text).unwrap_err().to_string();
    assert!(mistake.contains("outside `guardrails.targets`"), "{mistake}");
    assert!(DesiredState::parse(&document(&just_the_container, "container", SUB)).is_ok());
}

#[test]
fn the_sample_is_for_hubs_with_its_tag() {
    let state = DesiredState::parse(sample()).unwrap();
    let id = hub("rg-iot", "hub1");
    let Choice::Desired(want) = state.for_hub(&HubFacts::new(&id, "West US 2", [("Egress", "Standard")]))
    else {
        panic!("the sample's tag matches")
    };
    assert_eq!(want.endpoints[0].target.id().name(), "telemetry-westus2");
    assert_eq!(state.for_hub(&HubFacts::new(&id, "West US 2", [])), Choice::NoProfile);
}

/// Each field of the schema has its row in the reference, with the schema's own name.
#[test]
fn every_field_is_in_the_reference() {
    fn fields(schema: &Value, found: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            found.push(name.clone());
            fields(field, found);
            fields(&field["items"], found);
        }
    }
    let mut found = Vec::new();
    fields(&json_schema(), &mut found);
    assert!(found.len() > 20, "{found:?}");
    for name in found {
        assert!(include_str!("../../docs/profiles.md").contains(&format!("| `{name}` |")), "{name}");
    }
}

/// Texts at the limit of what is read, each made of one thing that costs a careless reader dearly.
#[test]
fn large_texts_are_answered() {
    for part in [
        "[", "{", "- ", "? ", "a: ", "&a ", "*a ", "!!a ", "\"", "'", "|\n", ">\n ", "\t", "\n", " ", "#",
        "%", "---\n", "...\n", "a: [", "[a, ", "{a: ", "a,", "\\", "\u{feff}", "é", "\0", "- a\n", "a: b\n",
        ": ", "{a: b}, ",
    ] {
        for frame in
            ["", "version: 1\nprofiles: [", "version: 1\nguardrails:\n  targets: [", "x: \"", "x: |\n  "]
        {
            let mut text = frame.to_owned();
            text.push_str(&part.repeat((1024 * 1024 - frame.len()) / part.len()));
            assert!(DesiredState::parse(&text).is_err(), "{part:?}");
        }
    }
}

#[test]
fn exports_are_checked_where_they_are_written() {
    let document = |export: &str| {
        let head = format!(
            "version: 1\nguardrails:\n  subscriptions: [ {SUB} ]\n  targets: [ /subscriptions/{SUB}/resourceGroups/rg-data ]\n"
        );
        let container = format!(
            "/subscriptions/{SUB}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/backups/blobServices/default/containers/devices"
        );
        format!(
            "{head}profiles:\n  - name: p\n    identity: {{ system: on }}\n    exports:\n      - {{ container: {container}, {export} }}\n"
        )
    };
    let mistakes = |export: &str| DesiredState::parse(&document(export)).unwrap_err().to_string();
    assert!(DesiredState::parse(&document("name: n, as: system, schedule: '0 30 2 * * *'")).is_ok());
    let text = mistakes("name: n, as: system, schedule: '0 30 2 * * 7'");
    assert!(text.contains("exports[0].schedule") && text.contains("02:30 UTC"), "{text}");
    let text = mistakes("name: n, as: key, schedule: '0 30 2 * * *'");
    assert!(text.contains("never with a key"), "{text}");
    let text = mistakes("name: n, as: system, schedule: '0 30 2 * * *', blobName: 'devices.txt'");
    assert!(text.contains("exports[0].blobName") && text.contains("overwrite"), "{text}");
    let text = mistakes("name: n, as: system, schedule: '0 30 2 * * *', keep: 0");
    assert!(text.contains("exports[0].keep"), "{text}");
}

#[test]
fn no_two_exports_of_a_profile_make_the_same_blobs() {
    let parse = |exports: [&str; 2]| {
        let list = exports.map(|export| {
            format!("      - {{ as: system, schedule: '0 30 2 * * *', {export} }}\n").replace(
                "container: ",
                &format!("container: /subscriptions/{SUB}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/backups/blobServices/default/containers/"),
            )
        });
        let head = format!(
            "version: 1\nguardrails:\n  subscriptions: [ {SUB} ]\n  targets: [ /subscriptions/{SUB}/resourceGroups/rg-data ]\n"
        );
        let document = format!(
            "{head}profiles:\n  - name: p\n    identity: {{ system: on }}\n    exports:\n{}",
            list.concat()
        );
        DesiredState::parse(&document).map(|_| ()).map_err(|mistakes| mistakes.to_string())
    };
    let apart = [
        // By name, by container, or by what is written.
        ["name: a, container: one", "name: b, container: one"],
        [
            "name: a, container: one, blobName: '{hub}/{time}'",
            "name: b, container: two, blobName: '{hub}/{time}'",
        ],
        [
            "name: a, container: one, blobName: '{hub}/a/{time}'",
            "name: b, container: one, blobName: '{hub}/b/{time}'",
        ],
    ];
    for exports in apart {
        assert_eq!(parse(exports), Ok(()), "{exports:?}");
    }
    let together = [
        [
            "name: a, container: one, blobName: '{hub}/{time}'",
            "name: b, container: ONE, blobName: '{hub}/{time}'",
        ],
        // The name that the first one has without being told.
        ["name: a, container: one", "name: b, container: one, blobName: '{hub}/a-{time}.txt'"],
        ["name: a, container: one, blobName: '{hub}/b-{time}.txt'", "name: b, container: one"],
        // The blob of its configurations.
        [
            "name: a, container: one, includeConfigurations: true",
            "name: b, container: one, blobName: '{hub}/a-{time}.txt.configurations'",
        ],
    ];
    for exports in together {
        let text = parse(exports).unwrap_err();
        assert!(text.contains("exports[1]") && text.contains("are made in this container by"), "{text}");
    }
}
