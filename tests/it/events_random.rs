//! The event parser against anything at all: it never panics, and it never invents a hub.

use hubward::events::{Verdict, parse, parse_value};
use proptest::{prelude::*, sample::Index};
use serde_json::{Map, Value, json};

use crate::{events::fixture, events_hub::event};

const HUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/h";

/// Any JSON, with a liking for the words that the parser looks for.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "eventType",
        "type",
        "source",
        "subject",
        "data",
        "Data",
        "id",
        "topic",
        "operationName",
        "resourceUri",
        "resourceInfo",
        "claims",
        "authorization",
        "evidence",
        "appid",
        "principalId",
        "specversion",
        "time",
        "Microsoft.Resources.ResourceWriteSuccess",
        "Microsoft.Resources.ResourceDeleteSuccess",
        "Microsoft.ResourceNotifications.Resources.Deleted",
        "Microsoft.Devices/IotHubs/delete",
        HUB,
        "{}",
        "[",
        "\"",
    ]);
    let text = prop_oneof![word.clone().prop_map(str::to_owned), ".*"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner.clone()), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
            inner.prop_map(|value| json!(value.to_string())),
        ]
    })
}

/// Puts `other` at one of the leaves of a value.
fn replace(value: &mut Value, leaf: usize, other: Value) {
    if is_leaf(value) {
        *value = other;
        return;
    }
    let children: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    let mut leaf = leaf;
    for child in children {
        let below = leaves(child);
        if leaf < below {
            return replace(child, leaf, other);
        }
        leaf -= below;
    }
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => true,
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(list) if !list.is_empty() => list.iter().map(leaves).sum(),
        Value::Object(members) if !members.is_empty() => members.values().map(leaves).sum(),
        _ => 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in ".*") {
        let _ = parse(&text);
    }

    #[test]
    fn any_text_that_looks_encoded(text in "[A-Za-z0-9+/]{0,64}={0,2}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_value_as_value_and_as_text(value in any_json()) {
        let read = parse_value(&value);
        if let Value::Array(events) = &value {
            prop_assert_eq!(read.as_ref().map(Vec::len), Ok(events.len()));
        }
        // A bare string is an encoding by itself, so the two ways differ in what they allow.
        if !value.is_string() {
            prop_assert_eq!(parse(&value.to_string()), read);
        }
    }

    #[test]
    fn a_published_event_with_one_value_replaced(
        file in prop::sample::select(vec![
            "storage-write-captured.json", "storage-delete-captured.json", "vm-write-evidence-list.json",
            "cloud-notification-written.json", "notification-deleted.json", "device-connected.json",
            "dead-letter.json", "delete-fields-as-json-text.json",
        ]),
        place in any::<Index>(),
        other in any_json(),
    ) {
        let mut event: Value = serde_json::from_str(&fixture(file)).unwrap();
        let leaf = place.index(leaves(&event));
        replace(&mut event, leaf, other);
        let verdicts = parse_value(&event).unwrap();
        prop_assert_eq!(verdicts.len(), 1);
        let _ = parse(&event.to_string()).unwrap();
    }

    #[test]
    fn a_published_event_cut_or_with_bytes_replaced(
        file in prop::sample::select(vec!["storage-write-captured.json", "queue-text-group-write.txt"]),
        edits in prop::collection::vec((any::<Index>(), any::<char>()), 1..4),
        end in any::<Index>(),
    ) {
        let mut text: Vec<char> = fixture(file).chars().collect();
        for (at, other) in edits {
            let at = at.index(text.len());
            text[at] = other;
        }
        let _ = parse(&text.iter().collect::<String>());
        text.truncate(end.index(text.len()));
        let _ = parse(&text.iter().collect::<String>());
    }

    #[test]
    fn a_hub_event_with_one_value_replaced_names_the_same_hub_or_none(
        place in any::<Index>(),
        other in any_json(),
    ) {
        let mut event = event("DeleteSuccess", "Microsoft.Devices/IotHubs/delete", HUB);
        let leaf = place.index(leaves(&event));
        replace(&mut event, leaf, other);
        if let [Verdict::Hub(read)] = parse_value(&event).unwrap().as_slice() {
            prop_assert_eq!(read.hub.to_string(), HUB);
        }
    }
}
