//! Routing as it should be: endpoints, routes, enrichments.

use serde::Serialize;
use serde_json::Value;

use super::{IdentityRef, Target};

/// One routing endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredEndpoint {
    /// The endpoint's name in the hub.
    pub name: String,
    /// Where it sends to.
    pub target: Target,
    /// What it authenticates with.
    pub auth: DesiredAuth,
    /// What only endpoints of its kind have.
    pub options: EndpointOptions,
}

/// What an endpoint should authenticate with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DesiredAuth {
    /// One of the hub's identities.
    Identity(IdentityRef),
    /// A key of the target, fetched when it is written and never kept. The way back from an
    /// identity; `guardrails.allowKeys` has to allow it.
    Key {
        /// The authorization rule whose key it is, of the event hub, queue or topic, or else of its
        /// namespace. `None` for storage and Cosmos DB, which have keys without rules.
        rule: Option<String>,
    },
}

impl DesiredAuth {
    /// The identity, if it is one.
    pub fn identity(&self) -> Option<&IdentityRef> {
        match self {
            DesiredAuth::Identity(identity) => Some(identity),
            DesiredAuth::Key { .. } => None,
        }
    }
}

/// Members of an endpoint that only its kind has. What is `None` is left as it is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointOptions {
    /// Event hubs, queues and topics have none.
    #[default]
    None,
    /// Of a storage container.
    Storage(StorageOptions),
    /// Of a Cosmos DB container.
    Cosmos(CosmosOptions),
}

/// How messages become blobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageOptions {
    /// `Avro`, `AvroDeflate` or `JSON`. Cannot be changed once the endpoint is there.
    pub encoding: Option<String>,
    /// 60 to 720 seconds.
    pub batch_frequency_in_seconds: Option<u32>,
    /// 10,485,760 to 524,288,000 bytes.
    pub max_chunk_size_in_bytes: Option<u32>,
    /// Holds all of `{iothub}`, `{partition}`, `{YYYY}`, `{MM}`, `{DD}`, `{HH}` and `{mm}`.
    pub file_name_format: Option<String>,
}

/// How messages become items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CosmosOptions {
    /// The name of the partition key, if the hub is to fill it in.
    pub partition_key_name: Option<String>,
    /// What it is filled with, such as `{deviceid}-{YYYY}-{MM}`.
    pub partition_key_template: Option<String>,
}

impl EndpointOptions {
    /// The wanted members, as the hub document has them.
    pub fn members(&self) -> Vec<(&'static str, Value)> {
        let wanted = match self {
            EndpointOptions::None => Vec::new(),
            EndpointOptions::Storage(options) => {
                let StorageOptions {
                    encoding,
                    batch_frequency_in_seconds,
                    max_chunk_size_in_bytes,
                    file_name_format,
                } = options;
                vec![
                    ("encoding", encoding.clone().map(Value::from)),
                    ("batchFrequencyInSeconds", batch_frequency_in_seconds.map(Value::from)),
                    ("maxChunkSizeInBytes", max_chunk_size_in_bytes.map(Value::from)),
                    ("fileNameFormat", file_name_format.clone().map(Value::from)),
                ]
            }
            EndpointOptions::Cosmos(CosmosOptions { partition_key_name, partition_key_template }) => vec![
                ("partitionKeyName", partition_key_name.clone().map(Value::from)),
                ("partitionKeyTemplate", partition_key_template.clone().map(Value::from)),
            ],
        };
        wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// One message route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredRoute {
    /// The route's name in the hub.
    pub name: String,
    /// The message source, such as `DeviceMessages`. An open set: the service adds to it.
    pub source: String,
    /// The routing query; `true` takes everything.
    pub condition: String,
    /// The one endpoint it leads to.
    pub endpoint: String,
    /// Whether it is on.
    pub enabled: bool,
}

/// Something added to every message on its way to some endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredEnrichment {
    /// The application property's name.
    pub key: String,
    /// Its value: a text, `$iothubname`, or a path into the twin such as `$twin.tags.plant`.
    pub value: String,
    /// Endpoints, one or more; `events` is the built-in one.
    pub endpoints: Vec<String>,
}
