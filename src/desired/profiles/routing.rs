//! Endpoints, routes and enrichments as they are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{EnrichmentKey, RuleName, ServiceName, Source};
use crate::desired::targets;

/// A routing endpoint. What it sends to implies the role that its identity gets and the scope of the
/// grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-not-fields" = not_endpoint_fields()), transform = targets::exactly_one)]
pub(in crate::desired) struct EndpointDoc {
    /// The endpoint's name in the hub. Unique in the profile, compared without case.
    pub(in crate::desired) name: ServiceName,
    /// The id of the event hub that it sends to. Names in it may hold `{hub}`, `{location}`,
    /// `{resourceGroup}` and `{subscription}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(in crate::desired) event_hub: Option<String>,
    /// The id of the Service Bus queue that it sends to, with the same placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(in crate::desired) service_bus_queue: Option<String>,
    /// The id of the Service Bus topic that it sends to, with the same placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(in crate::desired) service_bus_topic: Option<String>,
    /// The id of the storage container that it writes to, with the same placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(in crate::desired) storage_container: Option<String>,
    /// The id of the Cosmos DB container that it writes to, with the same placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(in crate::desired) cosmos_db_container: Option<String>,
    /// What it authenticates with: `system`, one of `identity.user` (its id or its name), or `key`, the
    /// way back from an identity, if `guardrails.allowKeys` is `true`.
    #[serde(rename = "as")]
    pub(in crate::desired) identity: String,
    /// With `as: key`: the authorization rule whose key it is, of the event hub, queue or topic, or of
    /// its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RuleName")]
    pub(in crate::desired) key_rule: Option<RuleName>,
    /// Storage containers: how messages are written. Cannot be changed once the endpoint is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "EncodingWord")]
    pub(in crate::desired) encoding: Option<EncodingWord>,
    /// Storage containers: how often blobs are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 60, max = 720))]
    pub(in crate::desired) batch_frequency_in_seconds: Option<u32>,
    /// Storage containers: how large blobs may become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 10_485_760, max = 524_288_000))]
    pub(in crate::desired) max_chunk_size_in_bytes: Option<u32>,
    /// Storage containers: names of blobs, such as `{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}`. All
    /// seven have to be there, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 512))]
    pub(in crate::desired) file_name_format: Option<String>,
    /// Cosmos DB containers: the partition key that the hub fills in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    pub(in crate::desired) partition_key_name: Option<String>,
    /// Cosmos DB containers: what the partition key is filled with, of `{iothub}`, `{deviceid}`, `{YYYY}`,
    /// `{MM}` and `{DD}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 256))]
    pub(in crate::desired) partition_key_template: Option<String>,
}

/// How messages are written to blobs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(in crate::desired) enum EncodingWord {
    Avro,
    AvroDeflate,
    #[serde(rename = "JSON")]
    Json,
}

impl EncodingWord {
    pub(in crate::desired) fn word(self) -> &'static str {
        match self {
            EncodingWord::Avro => "Avro",
            EncodingWord::AvroDeflate => "AvroDeflate",
            EncodingWord::Json => "JSON",
        }
    }
}

/// One message route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::desired) struct RouteDoc {
    /// The route's name in the hub. Unique in the profile, compared without case.
    pub(in crate::desired) name: ServiceName,
    /// The message source, such as `DeviceMessages`.
    pub(in crate::desired) source: Source,
    /// The routing query. `"true"`, in quotes, takes every message.
    #[serde(default = "always")]
    #[schemars(length(min = 1))]
    pub(in crate::desired) condition: String,
    /// The name of the endpoint it leads to: one of this profile's, or the built-in `events`.
    pub(in crate::desired) endpoint: String,
    /// Whether it is on.
    #[serde(default = "enabled")]
    pub(in crate::desired) enabled: bool,
}

fn always() -> String {
    "true".to_owned()
}

fn enabled() -> bool {
    true
}

/// Something added to each message on its way to some endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::desired) struct EnrichmentDoc {
    /// The application property's name. Unique in the profile.
    pub(in crate::desired) key: EnrichmentKey,
    /// Its value: a text, `$iothubname`, or a path into the device twin such as `$twin.tags.plant`.
    #[schemars(length(min = 1, max = 1024))]
    pub(in crate::desired) value: String,
    /// Names of endpoints: of this profile's, or the built-in `events`.
    #[schemars(length(min = 1, max = 11))]
    pub(in crate::desired) endpoints: Vec<String>,
}

/// What people look for in an endpoint, and why it is not there.
fn not_endpoint_fields() -> Value {
    let role = "what an endpoint sends to implies the role and the scope";
    let keys = "no key stands in this document; `as: key` fetches one when it is written";
    json!({
        "role": role, "roles": role, "scope": role, "roleDefinitionId": role,
        "connectionString": keys, "key": keys, "primaryKey": keys, "sharedAccessKey": keys,
        "authenticationType": "`as` says what an endpoint authenticates with",
    })
}
