//! Decoding against anything at all: an error perhaps, a panic never, and no value shown in either.

use hubward::handler::{
    EventGridTrigger, FromInvocation, HttpTrigger, Invocation, InvocationHead, QueueTrigger, ServiceBusBatch,
    ServiceBusTrigger, TimerTrigger,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::events_random::any_json;

/// What the host would call things, with anything for values.
fn any_members(names: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let member = (prop::sample::select(names), any_json()).prop_map(|(name, value)| (name.to_owned(), value));
    prop::collection::vec(member, 0..8).prop_map(|members| members.into_iter().collect())
}

const METADATA: &[&str] = &[
    "DequeueCount",
    "Id",
    "InsertionTime",
    "RetryContext",
    "MessageId",
    "EnqueuedTime",
    "SequenceNumber",
    "SessionId",
    "ApplicationProperties",
    "MessageIdArray",
    "EnqueuedTimeUtcArray",
    "ApplicationPropertiesArray",
    "sys",
];
const REQUEST: &[&str] = &[
    "Method",
    "Url",
    "Headers",
    "Query",
    "Params",
    "Body",
    "Identities",
    "Schedule",
    "ScheduleStatus",
    "IsPastDue",
];

/// Decodes as everything and shows what came out.
fn decode_all(call: &Invocation) -> String {
    fn one<T: FromInvocation + std::fmt::Debug>(call: &Invocation) -> String {
        match T::from_invocation(call, None) {
            Ok(trigger) => format!("{trigger:?}"),
            Err(err) => err.to_string(),
        }
    }
    [
        one::<EventGridTrigger>(call),
        one::<QueueTrigger>(call),
        one::<ServiceBusTrigger>(call),
        one::<ServiceBusBatch>(call),
        one::<TimerTrigger>(call),
        one::<HttpTrigger>(call),
        one::<Invocation>(call),
    ]
    .join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Invocation::parse(InvocationHead::default(), &bytes);
    }

    #[test]
    fn any_data_and_metadata(
        value in prop_oneof![any_json(), any_members(REQUEST).prop_map(Value::Object)],
        metadata in any_members(METADATA),
    ) {
        let body = json!({"Data": {"binding": value}, "Metadata": metadata}).to_string();
        let call = Invocation::parse(InvocationHead::default(), body.as_bytes()).unwrap();
        decode_all(&call);
    }

    #[test]
    fn a_body_is_never_shown(secret in "secret-[a-z]{8}") {
        for value in [json!(secret), json!({"Method": "GET", "Body": secret, "Headers": {"x-functions-key": [secret]}}),
            json!(json!([secret, {"type": secret}]).to_string()), json!(json!(secret).to_string())] {
            let body = json!({"Data": {"binding": value}, "Metadata": {"code": secret}}).to_string();
            let call = Invocation::parse(InvocationHead::default(), body.as_bytes()).unwrap();
            let shown = decode_all(&call);
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }
    }
}
