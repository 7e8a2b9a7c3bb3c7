//! The desired-state document at random: documents without mistakes, which come back as they were and never
//! lead out of the guardrails, and texts that nobody meant well with, which get an answer.

use hubward::{
    desired::{Choice, DesiredState, HubFacts, reference, sample},
    model::{IotHubId, ResourceId, desired::Target},
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

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,20}"
}

/// The field and the id of a target, in the resource group that is allowed.
fn target() -> impl Strategy<Value = (&'static str, String)> {
    let word = "[a-z][a-z0-9-]{0,10}";
    let kinds = [
        ("eventHub", format!("Microsoft\\.EventHub/namespaces/{word}/eventhubs/{word}")),
        ("serviceBusQueue", format!("Microsoft\\.ServiceBus/namespaces/{word}/queues/{word}")),
        ("serviceBusTopic", format!("Microsoft\\.ServiceBus/namespaces/{word}/topics/{word}")),
        (
            "storageContainer",
            format!("Microsoft\\.Storage/storageAccounts/{word}/blobServices/default/containers/{word}"),
        ),
        (
            "cosmosDbContainer",
            format!("Microsoft\\.DocumentDB/databaseAccounts/{word}/sqlDatabases/{word}/containers/{word}"),
        ),
    ];
    select(kinds.to_vec()).prop_flat_map(|(field, rest)| {
        let id = format!(
            "/subscriptions/({SUB}|\\{{subscription\\}})/resourceGroups/rg-data/providers/{rest}(\\{{hub\\}}|\\{{location\\}}|\\{{resourceGroup\\}})?"
        );
        (Just(field), prop::string::string_regex(&id).expect("a regular expression"))
    })
}

/// An endpoint with every option of its kind.
fn endpoint() -> impl Strategy<Value = Value> {
    let sender = select(vec!["system", "id-a", "key"]);
    let encoding = select(vec!["Avro", "AvroDeflate", "JSON"]);
    (target(), sender, encoding, 60..=720u32, 10_485_760..=524_288_000u32).prop_map(
        |((field, id), sender, encoding, seconds, bytes)| {
            let mut endpoint = json!({ (field): id, "as": sender });
            match field {
                "storageContainer" => {
                    endpoint["encoding"] = json!(encoding);
                    endpoint["batchFrequencyInSeconds"] = json!(seconds);
                    endpoint["maxChunkSizeInBytes"] = json!(bytes);
                    endpoint["fileNameFormat"] = json!("{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}");
                }
                "cosmosDbContainer" => {
                    endpoint["partitionKeyName"] = json!("plant");
                    endpoint["partitionKeyTemplate"] = json!("{deviceid}-{YYYY}-{MM}");
                }
                _ if sender == "key" => endpoint["keyRule"] = json!("send"),
                _ => {}
            }
            endpoint
        },
    )
}

/// What a profile has besides identities, endpoints and routes, with every field written out.
fn rest() -> impl Strategy<Value = Value> {
    let seconds = |range: std::ops::RangeInclusive<u64>| {
        (range, any::<bool>()).prop_map(|(n, minutes)| {
            if minutes { format!("PT{}M{}S", n / 60, n % 60) } else { format!("PT{n}S") }
        })
    };
    let upload = (seconds(60..=86_400), seconds(5..=300), seconds(60..=172_800), 1..=100u32, any::<bool>());
    let upload = upload.prop_map(|(sas, lock, ttl, count, enabled)| {
        json!({
            "container": format!("/subscriptions/{{subscription}}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/files/blobServices/default/containers/{{hub}}"),
            "as": if enabled { "system" } else { "id-a" },
            "connection": if enabled { "identityOnly" } else { "accountKey" },
            "sasTtl": sas,
            "notifications": { "enabled": enabled, "lockDuration": lock, "ttl": ttl, "maxDeliveryCount": count },
        })
    });
    (
        upload,
        select(vec!["on", "off", "unmanaged"]),
        seconds(60..=172_800),
        1..=100u32,
        0..=10usize,
        "[A-Za-z0-9._-]{1,32}",
    )
        .prop_map(|(upload, fallback, ttl, count, many, prefix)| {
            let enrichment =
                |n| json!({"key": format!("K.{n}"), "value": "$iothubname", "endpoints": ["events"]});
            let export = |n| {
                json!({"name": format!("x{n}"), "schedule": format!("0 {n} 2 * * *"), "as": "system",
                    "container": format!("/subscriptions/{SUB}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/backups/blobServices/default/containers/{{hub}}"),
                    "excludeKeys": n == 1, "includeConfigurations": n == 2, "blobName": format!("{{hub}}/x{n}-{{time}}"), "keep": n + 1,
                    "through": if n == 0 { "dataPlane" } else { "resourceManager" }})
            };
            json!({
                "fallback": fallback,
                "enrichments": (0..many).map(enrichment).collect::<Vec<_>>(),
                "fileUpload": upload,
                "cloudToDevice": { "defaultTtl": ttl, "maxDeliveryCount": count },
                "exports": (0..many % 4).map(export).collect::<Vec<_>>(),
                "ownedPrefixes": [prefix],
                "outbound": { "allowTargets": many > 5 },
            })
        })
}

/// A document without mistakes, with every field written out.
fn valid_document() -> impl Strategy<Value = Value> {
    let endpoints = prop::collection::vec(endpoint(), 0..10);
    let routes = prop::collection::vec(
        (
            select(vec!["DeviceMessages", "TwinChangeEvents", "SomethingNewAndUnheardOf"]),
            "[ -~]{1,30}",
            any::<prop::sample::Index>(),
            any::<bool>(),
        ),
        0..20,
    );
    let tags = prop::collection::btree_map("[a-z]{1,8}", "[a-zA-Z0-9*?]{1,8}", 0..3);
    let profile = (name(), endpoints, routes, tags, rest());
    let profile = profile.prop_map(|(name, mut endpoints, routes, tags, rest)| {
        let identity = |name: &str| {
            format!("/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}")
        };
        for (n, endpoint) in endpoints.iter_mut().enumerate() {
            endpoint["name"] = json!(format!("e{n}"));
        }
        let routes: Vec<Value> = routes
            .into_iter()
            .enumerate()
            .map(|(n, (source, condition, endpoint, enabled))| {
                let nth = endpoint.index(endpoints.len() + 1);
                let endpoint = endpoints.get(nth).map_or(json!("events"), |endpoint| endpoint["name"].clone());
                json!({"name": format!("r{n}"), "source": source, "condition": condition, "endpoint": endpoint, "enabled": enabled})
            })
            .collect();
        let mut profile = json!({
            "name": name,
            "rollout": "automatic", "drift": "repair",
            "match": {"tags": tags, "locations": ["*"], "resourceGroups": [], "names": []},
            "identity": {
                "system": "on", "user": [identity("id-a")],
                "detach": [identity("id-b")], "detachOthers": endpoints.is_empty(),
            },
            "endpoints": endpoints,
            "routes": routes,
        });
        for (field, value) in rest.as_object().into_iter().flatten() {
            profile[field] = value.clone();
        }
        profile
    });
    let guardrails =
        (any::<bool>(), select(vec!["container", "account"]), 0..=1_000_000u32, 2..=100u32, 5..=120u32);
    (prop::collection::vec(profile, 0..4), guardrails).prop_map(
        |(mut profiles, (removals, grants, hubs, writes, minutes))| {
            for (n, profile) in profiles.iter_mut().enumerate() {
                profile["name"] = json!(format!("{}{n}", profile["name"].as_str().unwrap()));
            }
            json!({
                "version": 1,
                "guardrails": {
                    "subscriptions": [SUB],
                    "targets": [format!("/subscriptions/{SUB}/resourceGroups/rg-data")],
                    "identities": [format!("/subscriptions/{SUB}/resourceGroups/rg-data")],
                    "allowRemovals": removals,
                    "allowKeys": true,
                    "allowImports": ["hub-1"],
                    "storageGrants": grants,
                    "maxHubsChanged": hubs,
                    "maxWritesPerHub": writes,
                    "grantWindow": format!("PT{minutes}M"),
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
    let lines: Vec<&'static str> = sample().lines().chain(reference().lines()).collect();
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
    fn any_edit_of_the_reference_hub_gets_an_answer(at in any::<prop::sample::Index>(), len in 0..40usize, put in "[ -~\\n\\t]{0,6}") {
        let chars: Vec<char> = reference().chars().collect();
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
            for target in want.endpoints.iter().map(|endpoint| &endpoint.target).chain(want.file_upload.as_ref().map(|upload| &upload.container)) {
                prop_assert!(target.id().is_within(&scope));
                prop_assert!(target.grant_scope(state.guardrails().storage_grants).is_within(&scope));
                let (kind, parts) = match target {
                    Target::EventHub(_) => ("microsoft.eventhub/namespaces/eventhubs", 11),
                    Target::ServiceBusQueue(_) => ("microsoft.servicebus/namespaces/queues", 11),
                    Target::ServiceBusTopic(_) => ("microsoft.servicebus/namespaces/topics", 11),
                    Target::StorageContainer(_) => ("microsoft.storage/storageaccounts/blobservices/containers", 13),
                    Target::CosmosDbContainer(_) => ("microsoft.documentdb/databaseaccounts/sqldatabases/containers", 13),
                };
                prop_assert_eq!(target.id().resource_type().unwrap(), kind);
                prop_assert_eq!(target.id().as_str().split('/').count(), parts);
            }
        }
    }
}
