//! The desired-state document as an operator meets it: the report of mistakes, the sample, the
//! reference, and texts that nobody meant well with.

use hubward::{
    desired::{Choice, DesiredState, HubFacts, json_schema, sample},
    model::{IotHubId, ResourceId},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

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

    line 24, profiles[0].endpoints[2]: `as` is missing; fix: add `as: …` (The identity that it sends with: `system`, or one of `identity.user` (its id or its name))

    line 24, profiles[0].endpoints[2].name: another endpoint is named `TELEMETRY` (names are compared without case), see profiles[0].endpoints[1].name; fix: choose another name

    line 25, profiles[0].endpoints[2].eventHub: this is not the id of an event hub; fix: write /subscriptions/{subscription}/resourceGroups/<group>/providers/Microsoft.EventHub/namespaces/<namespace>/eventhubs/<name>

    line 26, profiles[0].endpoints[2].connectionString: there is no field `connectionString`: endpoints send with an identity and never with a key; fix: drop the line

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

#[test]
fn every_yaml_block_of_the_reference_parses() {
    let reference = include_str!("../../docs/profiles.md");
    let blocks: Vec<&str> = reference
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        if let Err(mistakes) = DesiredState::parse(block) {
            panic!("{block}\n{mistakes}");
        }
    }
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

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,20}"
}

/// A document without mistakes, with every field written out.
fn valid_document() -> impl Strategy<Value = Value> {
    let target = format!(
        "/subscriptions/({SUB}|\\{{subscription\\}})/resourceGroups/rg-data/providers/Microsoft\\.EventHub/namespaces/[a-z][a-z0-9-]{{0,10}}/eventhubs/[a-z][a-z0-9-]{{0,5}}(\\{{hub\\}}|\\{{location\\}}|\\{{resourceGroup\\}})?"
    );
    let endpoints = prop::collection::vec(
        (prop::string::string_regex(&target).expect("a regular expression"), any::<bool>()),
        0..10,
    );
    let routes = prop::collection::vec(
        (
            select(vec!["DeviceMessages", "TwinChangeEvents", "SomethingNewAndUnheardOf"]),
            "[ -~]{1,30}",
            any::<prop::sample::Index>(),
            any::<bool>(),
        ),
        0..20,
    );
    let profile =
        (name(), endpoints, routes, prop::collection::btree_map("[a-z]{1,8}", "[a-zA-Z0-9*?]{1,8}", 0..3));
    let profile = profile.prop_map(|(name, endpoints, routes, tags)| {
        let identity =
            format!("/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-a");
        let endpoints: Vec<Value> = endpoints
            .into_iter()
            .enumerate()
            .map(|(n, (id, user))| json!({"name": format!("e{n}"), "eventHub": id, "as": if user { "id-a" } else { "system" }}))
            .collect();
        let routes: Vec<Value> = routes
            .into_iter()
            .enumerate()
            .map(|(n, (source, condition, endpoint, enabled))| {
                let nth = endpoint.index(endpoints.len() + 1);
                let endpoint = endpoints.get(nth).map_or(json!("events"), |endpoint| endpoint["name"].clone());
                json!({"name": format!("r{n}"), "source": source, "condition": condition, "endpoint": endpoint, "enabled": enabled})
            })
            .collect();
        json!({
            "name": name,
            "match": {"tags": tags, "locations": ["*"], "resourceGroups": [], "names": []},
            "identity": {"system": "on", "user": [identity]},
            "endpoints": endpoints,
            "routes": routes,
        })
    });
    (prop::collection::vec(profile, 0..4), any::<bool>(), 0..1_000_000u32).prop_map(
        |(mut profiles, removals, max)| {
            for (n, profile) in profiles.iter_mut().enumerate() {
                profile["name"] = json!(format!("{}{n}", profile["name"].as_str().unwrap()));
            }
            json!({
                "version": 1,
                "guardrails": {
                    "subscriptions": [SUB],
                    "targets": [format!("/subscriptions/{SUB}/resourceGroups/rg-data")],
                    "allowRemovals": removals,
                    "maxHubsChanged": max,
                },
                "profiles": profiles,
            })
        },
    )
}

/// Block style, as people write it. Every text is quoted, as JSON quotes it.
fn block_style(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                out.push_str(&format!("\n{pad}{name}:"));
                block_style(field, indent + 2, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}-"));
                block_style(item, indent + 2, out);
            }
        }
        other => out.push_str(&format!(" {other}")),
    }
}

/// Pieces of documents, to be put together in any order.
fn debris() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = sample().lines().collect();
    let bits = vec![
        "\n",
        "  ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "!!str ",
        "\"",
        "'",
        "|",
        ">",
        "#",
        "\t",
        "---\n",
        "on",
        "null",
        "~",
        "{hub}",
        "..",
        "%2f",
        "<<: ",
        "? ",
        "profiles:",
        "routes:",
        "as",
        "é",
        "\u{202e}",
        "0x",
        "1e999",
        ".nan",
    ];
    let piece = prop_oneof![
        3 => select(lines).prop_map(|line| format!("{line}\n")),
        3 => select(bits).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn answers(text: &str) {
    if let Err(mistakes) = DesiredState::parse(text) {
        assert!(!mistakes.is_empty());
        let lines = text.split('\n').count();
        for mistake in &mistakes {
            assert!(!mistake.message.is_empty() && !mistake.fix.is_empty());
            assert!(!mistake.to_string().contains('\n'), "{mistake:?}");
            assert!(mistake.at.is_none_or(|at| (1..=lines + 1).contains(&at.line)), "{mistake:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_an_answer(text in any::<String>()) {
        answers(&text);
    }

    #[test]
    fn any_debris_gets_an_answer(text in debris()) {
        answers(&text);
    }

    #[test]
    fn any_edit_of_the_sample_gets_an_answer(at in any::<prop::sample::Index>(), len in 0..40usize, put in "[ -~\\n\\t]{0,6}") {
        let chars: Vec<char> = sample().chars().collect();
        let at = at.index(chars.len());
        let text: String = chars[..at].iter().copied().chain(put.chars()).chain(chars[at..].iter().copied().skip(len)).collect();
        answers(&text);
    }

    #[test]
    fn a_valid_document_comes_back_as_it_was(document in valid_document()) {
        let mut block = String::new();
        block_style(&document, 0, &mut block);
        for text in [document.to_string(), block] {
            let state = DesiredState::parse(&text).map_err(|mistakes| TestCaseError::fail(format!("{text}\n{mistakes}")))?;
            prop_assert_eq!(serde_json::to_value(&state).unwrap(), document.clone());
        }
    }

    #[test]
    fn whatever_a_hub_says_its_targets_stay_inside(document in valid_document(), location in any::<String>(), group in "[a-zA-Z0-9._()-]{0,8}[a-z]", name in "[A-Za-z0-9-]{1,20}") {
        let state = DesiredState::parse(&document.to_string()).unwrap();
        let scope = ResourceId::parse(&format!("/subscriptions/{SUB}/resourceGroups/rg-data")).unwrap();
        let id = hub(&group, &name);
        if let Choice::Desired(want) = state.for_hub(&HubFacts::new(&id, &location, [("a", "b")])) {
            for endpoint in want.endpoints {
                let id = endpoint.target.id();
                prop_assert!(id.is_within(&scope));
                prop_assert_eq!(id.resource_type().unwrap(), "microsoft.eventhub/namespaces/eventhubs");
                prop_assert_eq!(id.as_str().split('/').count(), 11);
            }
        }
    }
}
