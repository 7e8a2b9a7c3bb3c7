//! What a document says about hubs, and each rule on its own.

use super::*;

const SUB: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";

fn hub(group: &str, name: &str) -> IotHubId {
    let id =
        format!("/subscriptions/{SUB}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}");
    IotHubId::parse(&id).unwrap()
}

fn event_hub(name: &str) -> String {
    format!(
        "/subscriptions/{SUB}/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/{name}"
    )
}

fn user(name: &str) -> String {
    user_in("rg-id", name)
}

fn user_in(group: &str, name: &str) -> String {
    format!(
        "/subscriptions/{SUB}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )
}

/// A document with these profiles, in flow style.
fn document(profiles: &str) -> String {
    format!(
        "version: 1\nguardrails:\n  subscriptions: [{SUB}]\n  targets: [/subscriptions/{SUB}/resourceGroups/rg-data]\nprofiles: [\n  {profiles}\n  ]\n"
    )
}

fn state(profiles: &str) -> DesiredState {
    DesiredState::parse(&document(profiles)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The mistakes without the line, to keep the rule in view.
fn told(profiles: &str) -> String {
    let mistakes = DesiredState::parse(&document(profiles)).expect_err("a mistake");
    let without_line = |mut mistake: Mistake| {
        mistake.at = None;
        mistake.to_string()
    };
    mistakes.into_iter().map(without_line).collect::<Vec<_>>().join("\n")
}

fn chosen(state: &DesiredState, facts: &HubFacts<'_>) -> Option<String> {
    match state.for_hub(facts) {
        Choice::Desired(want) => Some(want.profile),
        Choice::NoProfile => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_schema_takes_the_sample_and_compiles() {
    DesiredState::parse(sample()).unwrap();
    assert_eq!(json_schema()["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(json_schema()["required"], serde_json::json!(["version", "guardrails", "profiles"]));
}

#[test]
fn defaults_are_the_careful_ones() {
    let state = state("{ name: plain }");
    let Guardrails {
        subscriptions,
        targets,
        identities,
        allow_removals,
        allow_keys,
        allow_imports,
        storage_grants,
        max_hubs_changed,
        max_writes_per_hub,
        grant_window,
        reserved,
    } = state.guardrails();
    assert!(identities.is_empty());
    assert_eq!((subscriptions.len(), targets.len(), *allow_removals, *allow_keys), (1, 1, false, false));
    assert!(allow_imports.is_empty());
    assert_eq!(*storage_grants, crate::model::desired::StorageScope::Container);
    assert_eq!(*reserved, None, "a setting of the app");
    assert_eq!((*max_hubs_changed, *max_writes_per_hub, grant_window.seconds()), (50, 12, 900));
    insta::assert_snapshot!(serde_json::to_string(&state).unwrap(), @r#"{"version":1,"guardrails":{"subscriptions":["0b1f6471-1bf0-4dda-aec3-cb9272f09590"],"targets":["/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data"],"identities":[],"allowRemovals":false,"allowKeys":false,"allowImports":[],"storageGrants":"container","maxHubsChanged":50,"maxWritesPerHub":12,"grantWindow":"PT15M"},"profiles":[{"name":"plain","rollout":"automatic","drift":"repair","match":{"tags":{},"locations":[],"resourceGroups":[],"names":[]},"identity":{"system":"unmanaged","user":[],"detach":[],"detachOthers":false},"endpoints":[],"routes":[],"fallback":"unmanaged","enrichments":[],"cloudToDevice":{},"exports":[],"ownedPrefixes":[],"outbound":{"allowTargets":false}}]}"#);
}

#[test]
fn the_first_profile_that_matches_wins() {
    let state = state(
        r#"{ name: tagged, match: { tags: { Egress: "sta*", tier: "?" } } },
           { name: west, match: { locations: ["West US*", northeurope] } },
           { name: named, match: { names: ["Hub-{a,b}*"], resourceGroups: ["RG-*"] } }"#,
    );
    let h = hub("rg-iot", "hub-b7");
    let with = |location, tags: &[(&'static str, &'static str)]| {
        chosen(&state, &HubFacts::new(&h, location, tags.iter().copied()))
    };
    assert_eq!(with("westus2", &[("EGRESS", "Standard"), ("tier", "1")]).unwrap(), "tagged");
    assert_eq!(with("westus2", &[("EGRESS", "Standard"), ("tier", "12")]).unwrap(), "west");
    assert_eq!(with("West US 2", &[]).unwrap(), "west");
    assert_eq!(with("North Europe", &[]).unwrap(), "west");
    assert_eq!(with("eastus", &[("egress", "standard")]).unwrap(), "named");
    let other = hub("iot", "hub-b7");
    assert_eq!(chosen(&state, &HubFacts::new(&other, "eastus", [])), None);
    let other = hub("rg-iot", "hub-c");
    assert_eq!(chosen(&state, &HubFacts::new(&other, "eastus", [])), None);
}

#[test]
fn hubs_of_other_subscriptions_are_out_of_scope() {
    let id = hub("rg", "h").to_string().replace("0b1f6471", "0b1f6472");
    let id = IotHubId::parse(&id).unwrap();
    assert_eq!(state("{ name: all }").for_hub(&HubFacts::new(&id, "westus2", [])), Choice::OutOfScope);
}

#[test]
fn a_profile_becomes_what_one_hub_should_be() {
    let state = state(&format!(
        "{{ name: p, identity: {{ system: 'on', user: [{}] }},
           endpoints: [{{ name: a, as: ID-A, eventHub: \"{}\" }}, {{ name: b, as: system, eventHub: \"{}\" }}],
           routes: [{{ name: r, source: FutureEvents, endpoint: a, enabled: false }}, {{ name: e, source: DeviceMessages, endpoint: events }}] }}",
        user("id-a"),
        event_hub("t-{hub}"),
        event_hub("t-{location}"),
    ));
    let h = hub("rg", "H1");
    let Choice::Desired(want) = state.for_hub(&HubFacts::new(&h, "West US 2", [])) else { panic!() };
    insta::assert_snapshot!(serde_json::to_string_pretty(&want).unwrap(), @r#"
    {
      "hub": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/H1",
      "profile": "p",
      "identity": {
        "system": "on",
        "user": [
          "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-id/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-a"
        ],
        "detach": [],
        "detachOthers": false
      },
      "endpoints": [
        {
          "name": "a",
          "target": {
            "eventHub": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/t-H1"
          },
          "auth": {
            "identity": {
              "user": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-id/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-a"
            }
          },
          "options": "none"
        },
        {
          "name": "b",
          "target": {
            "eventHub": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/t-westus2"
          },
          "auth": {
            "identity": "system"
          },
          "options": "none"
        }
      ],
      "routes": [
        {
          "name": "r",
          "source": "FutureEvents",
          "condition": "true",
          "endpoint": "a",
          "enabled": false
        },
        {
          "name": "e",
          "source": "DeviceMessages",
          "condition": "true",
          "endpoint": "events",
          "enabled": true
        }
      ],
      "fallback": "unmanaged",
      "enrichments": [],
      "fileUpload": null,
      "cloudToDevice": {
        "defaultTtl": null,
        "maxDeliveryCount": null
      },
      "exports": [],
      "ownedPrefixes": [],
      "allowTargetHosts": false
    }
    "#);
}

#[test]
fn a_hub_whose_values_lead_out_of_the_guardrails_is_refused() {
    let text = document(&format!(
        "{{ name: p, identity: {{ system: on }}, endpoints: [{{ name: a, as: system, eventHub: \"{}\" }}, {{ name: b, as: system, eventHub: \"{}\" }}] }}",
        event_hub("t").replace("rg-data", "{resourceGroup}"),
        event_hub("t-{location}"),
    ));
    let state = DesiredState::parse(&text).unwrap();
    assert!(matches!(state.for_hub(&HubFacts::new(&hub("rg-data", "h"), "westus2", [])), Choice::Desired(_)));
    let h = hub("rg-iot", "h");
    let Choice::Refused(refusals) = state.for_hub(&HubFacts::new(&h, "west/../x", [])) else { panic!() };
    let told = refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(told, @r"
    profile p, profiles[0].endpoints[0].eventHub: `/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-iot/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/t`: this is outside the guardrail `guardrails.targets`; fix: add `/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-iot/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/t` or a scope above it to `guardrails.targets`, or point elsewhere
    profile p, profiles[0].endpoints[1].eventHub: `/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/t-{location}`: `{location}` is `west/../x` for this hub, which cannot be part of a name; fix: write the name without `{location}`, in a profile of its own
    ");
}

#[test]
fn identities_are_named_by_id_or_by_name() {
    let profile = |system: &str, users: &[String], auth: &str| {
        format!(
            "{{ name: p, identity: {{ {system} user: [{}] }}, endpoints: [{{ name: a, as: \"{auth}\", eventHub: \"{}\" }}] }}",
            users.join(", "),
            event_hub("t")
        )
    };
    let two = [user("id-a"), user_in("rg-other", "ID-A")];
    state(&profile("", &[user("id-a")], "id-a"));
    state(&profile("", &two, &two[1].to_uppercase().replace("/SUBSCRIPTIONS", "/subscriptions")));
    insta::assert_snapshot!(
        [
            told(&profile("", &two, "id-a")),
            told(&profile("", &two[..1], "id-b")),
            told(&profile("", &two[..1], &user("other"))),
            told(&profile("system: off,", &[], "system")),
            told(&profile("system: false,", &[], "system")),
            told(&profile("system: On,", &[], "System")),
            told(&profile("", &[user("id-a"), user("ID-A")], "id-a")),
            told(&profile("", &[event_hub("t")], "id-a")),
        ]
        .join("\n"),
        @r"
    profiles[0].endpoints[0].as: several identities in `identity.user` are named `id-a`; fix: write the full id
    profiles[0].endpoints[0].as: `id-b` is neither `system` nor in the profile's `identity.user`; fix: write `id-a`
    profiles[0].endpoints[0].as: `/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-id/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other` is neither `system` nor in the profile's `identity.user`; fix: write `system`, or add the identity's id to `identity.user`
    profiles[0].endpoints[0].as: this sends with the system-assigned identity, and the profile's `identity.system` is `off`; fix: write `system: on` under the profile's `identity`
    profiles[0].identity.system: `false` is not one of `on`, `off`, `unmanaged`; fix: write `off`
    profiles[0].identity.system: `On` is not one of `on`, `off`, `unmanaged`; fix: write `on`
    profiles[0].endpoints[0].as: `System` is neither `system` nor in the profile's `identity.user`; fix: write `system`
    profiles[0].identity.user[1]: this identity is listed already; fix: drop the line
    profiles[0].identity.user[0]: this is not the id of a user-assigned identity; fix: write /subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>
    "
    );
}

#[test]
fn names_and_their_limits() {
    let endpoint = |name: &str| format!("{{ name: \"{name}\", as: i, eventHub: \"{}\" }}", event_hub("t"));
    let with = |endpoints: &[String]| {
        format!("{{ name: p, identity: {{ user: [{}] }}, endpoints: [{}] }}", user("i"), endpoints.join(", "))
    };
    for reserved in ["EVENTS", "filenotifications", "operationsMonitoringEvents", "$default", "", "a/b", "é"]
    {
        told(&with(&[endpoint(reserved)]));
    }
    told(&with(&[endpoint(&"x".repeat(65))]));
    state(&with(&[endpoint(&"x".repeat(64)), endpoint("-._")]));
    let many: Vec<String> = (0..11).map(|n| endpoint(&format!("e{n}"))).collect();
    state(&with(&many[..10]));
    insta::assert_snapshot!(told(&with(&many)), @"profiles[0].endpoints: there are 11 entries, and at most 10 are allowed; fix: remove some");
    let route = |n: usize| format!("{{ name: r{n}, source: DeviceMessages, endpoint: events }}");
    let routes = |count: usize| {
        format!("{{ name: p, routes: [{}] }}", (0..count).map(route).collect::<Vec<_>>().join(", "))
    };
    state(&routes(100));
    insta::assert_snapshot!(told(&routes(101)), @"profiles[0].routes: there are 101 entries, and at most 100 are allowed; fix: remove some");
    insta::assert_snapshot!(told("{ name: -a }, { name: B }, { name: b }"), @r"
    profiles[0].name: `-a` is not allowed here; fix: write 1 to 64 letters, digits, `.`, `_` or `-`, with a letter or digit first
    profiles[2].name: another profile is named `b` (names are compared without case), see profiles[1].name; fix: choose another name
    ");
}

#[test]
fn routes_lead_to_endpoints_from_known_sources() {
    insta::assert_snapshot!(
        told(
            r#"{ name: p, routes: [
                { name: a, source: devicemessages, endpoint: Events },
                { name: A, source: INVALID, endpoint: nowhere, condition: "" },
                { name: b, source: "a b", endpoint: events, condition: True, enabled: "no" },
            ] }"#
        ),
        @r#"
    profiles[0].routes[0].source: there is no source `devicemessages`; fix: write `DeviceMessages`
    profiles[0].routes[0].endpoint: the profile has no endpoint `Events`; fix: write `events`
    profiles[0].routes[1].name: another route is named `A` (names are compared without case), see profiles[0].routes[0].name; fix: choose another name
    profiles[0].routes[1].source: `INVALID` is no source that a route can have; fix: write a message source, such as `DeviceMessages`
    profiles[0].routes[1].endpoint: the profile has no endpoint `nowhere`; fix: write the name of one of the profile's endpoints, or `events`
    profiles[0].routes[1].condition: this text is empty; fix: write something, or leave the field out
    profiles[0].routes[2].source: `a b` is not allowed here; fix: write the name of a message source, such as `DeviceMessages`
    profiles[0].routes[2].condition: this should be a text and is `True`; fix: quote it: "True"
    profiles[0].routes[2].enabled: this should be `true` or `false` and is `no`; fix: write `true` or `false`, without quotes
    "#
    );
}

#[test]
fn conditions_are_globs_that_can_match() {
    insta::assert_snapshot!(
        told(
            r#"{ name: p, match: { tags: { a: "[", A: "" }, names: ["hub\u0430*"], locations: ["{a"], resourceGroups: rg } }"#
        ),
        @r"
    profiles[0].match.tags.a: `[` is not a glob: unclosed character class; missing ']'; fix: write `*`, `?`, `[a-z]` and `{one,two}`, with `\` before a character that is meant as it stands
    profiles[0].match.tags.A: this text is empty; fix: write something, or leave the field out
    profiles[0].match.tags.A: tag names are compared without case, and `a` is here already; fix: keep one of the two
    profiles[0].match.names[0]: `а` (U+0430) is never part of such a name; fix: type the name again; some letters of other scripts look alike
    profiles[0].match.locations[0]: `{a` is not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); fix: write `*`, `?`, `[a-z]` and `{one,two}`, with `\` before a character that is meant as it stands
    profiles[0].match.resourceGroups: this should be a list and is `rg`; fix: write a list: `[one, two]`, or a `- ` line for each entry
    "
    );
}

#[test]
fn guardrails_are_checked_too() {
    let text = "version: 1\nguardrails:\n  subscriptions: []\n  targets: [rg-data, '/subscriptions/x/..']\n  maxHubsChanged: 9999999\nprofiles: {}\n";
    insta::assert_snapshot!(DesiredState::parse(text).unwrap_err(), @r"
    line 3, guardrails.subscriptions: there are 0 entries, and at least 1 is needed; fix: add one

    line 4, guardrails.targets[0]: a resource id begins with `/subscriptions/<guid>`; fix: write the id of a subscription, a resource group or a resource, without placeholders

    line 4, guardrails.targets[1]: a resource id begins with `/subscriptions/<guid>`; fix: write the id of a subscription, a resource group or a resource, without placeholders

    line 5, guardrails.maxHubsChanged: `9999999` is too large; fix: write 1000000 or less

    line 6, profiles: this should be a list and is a mapping; fix: write a list: `[one, two]`, or a `- ` line for each entry
    ");
    insta::assert_snapshot!(DesiredState::parse("version: '1'").unwrap_err(), @r"
    line 1: `guardrails` is missing; fix: add `guardrails: …` (What keeps a run small and in its place)

    line 1: `profiles` is missing; fix: add `profiles: …` (What hubs should be)

    line 1, version: this must be 1, not the text `1`; fix: write 1, without quotes
    ");
    insta::assert_snapshot!(DesiredState::parse("[]").unwrap_err(), @"line 1: this should be a mapping and is a list; fix: write `field: value` lines, indented below this one");
}

#[test]
fn costly_globs_are_answered() {
    let nested = "{a,".repeat(64) + &"}".repeat(64);
    let value = "b".repeat(256);
    let h = hub("rg", "h");
    for glob in ["[!a]".repeat(64), nested, "*?".repeat(128), "[é-ü]".repeat(36), "{*,*}".repeat(51)] {
        let state = state(&format!("{{ name: p, match: {{ tags: {{ t: \"{glob}\" }} }} }}"));
        state.for_hub(&HubFacts::new(&h, "westus2", [("t", value.as_str())]));
    }
    let profile =
        |n: usize| format!("{{ name: p{n}, match: {{ names: [{}], locations: [a] }} }}", "a, ".repeat(50));
    let profiles = |count| (0..count).map(profile).collect::<Vec<_>>().join(", ");
    state(&profiles(39));
    insta::assert_snapshot!(told(&profiles(100)), @"profiles[39].match: the document has more than 2000 conditions up to here; fix: use globs that stand for several names");
}
