//! Views on the routing endpoints and routes of a hub document.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::model::{
    IotHubId, ResourceId,
    desired::{IdentityRef, Target},
};

/// The five kinds of routing endpoints, each with its own list in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointKind {
    /// `eventHubs`
    EventHub,
    /// `serviceBusQueues`
    ServiceBusQueue,
    /// `serviceBusTopics`
    ServiceBusTopic,
    /// `storageContainers`
    StorageContainer,
    /// `cosmosDBSqlContainers`
    CosmosDbContainer,
}

impl EndpointKind {
    /// All kinds. Names are unique over all of them.
    pub const ALL: [EndpointKind; 5] = [
        EndpointKind::EventHub,
        EndpointKind::ServiceBusQueue,
        EndpointKind::ServiceBusTopic,
        EndpointKind::StorageContainer,
        EndpointKind::CosmosDbContainer,
    ];

    /// The JSON pointer of this kind's list.
    pub fn pointer(self) -> String {
        format!("/properties/routing/endpoints/{}", self.list_name())
    }

    /// The name of this kind's list under `properties.routing.endpoints`.
    pub fn list_name(self) -> &'static str {
        match self {
            EndpointKind::EventHub => "eventHubs",
            EndpointKind::ServiceBusQueue => "serviceBusQueues",
            EndpointKind::ServiceBusTopic => "serviceBusTopics",
            EndpointKind::StorageContainer => "storageContainers",
            EndpointKind::CosmosDbContainer => "cosmosDBSqlContainers",
        }
    }
}

impl fmt::Display for EndpointKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndpointKind::EventHub => "event hub",
            EndpointKind::ServiceBusQueue => "Service Bus queue",
            EndpointKind::ServiceBusTopic => "Service Bus topic",
            EndpointKind::StorageContainer => "storage container",
            EndpointKind::CosmosDbContainer => "Cosmos DB container",
        })
    }
}

/// How an existing endpoint authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointAuth {
    /// With a connection string. Absent `authenticationType` means this.
    Key,
    /// With an identity of the hub.
    Identity(IdentityRef),
    /// With an identity whose id cannot be read.
    Unreadable(String),
}

/// One endpoint of a hub document.
#[derive(Clone, Copy)]
pub struct EndpointView<'a> {
    /// The list it stands in.
    pub kind: EndpointKind,
    /// Its place in that list.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    json: &'a Value,
}

impl<'a> EndpointView<'a> {
    pub(super) fn new(kind: EndpointKind, index: usize, json: &'a Value) -> Option<Self> {
        let name = json.get("name")?.as_str()?;
        Some(Self { kind, index, name, json })
    }

    /// A text member, if it is there and not empty.
    pub fn text(&self, member: &str) -> Option<&'a str> {
        self.json.get(member)?.as_str().filter(|text| !text.is_empty())
    }

    /// A member, if it is there and not null.
    pub fn member(&self, name: &str) -> Option<&'a Value> {
        self.json.get(name).filter(|value| !value.is_null())
    }

    /// A part of the connection string that is not secret, such as `Endpoint` or `AccountName`.
    pub fn connection_part(&self, name: &str) -> Option<&'a str> {
        connection_part(self.text("connectionString")?, name)
    }

    /// How it authenticates.
    pub fn auth(&self) -> EndpointAuth {
        auth_of(self.json)
    }

    /// What it sends to, judged by what stands in the hub alone: the first label of the host is the
    /// name of the namespace or account, in every cloud. `None` if that cannot be told.
    pub fn target(&self, hub: &IotHubId) -> Option<Target> {
        let by_key = self.auth() == EndpointAuth::Key;
        let host = |uri: &'a str| uri.split_once("://")?.1.split(['.', '/', ':']).next();
        let bus = |provider: &str, word: &str| {
            let (uri, entity) = if by_key {
                (self.connection_part("Endpoint")?, self.connection_part("EntityPath")?)
            } else {
                (self.text("endpointUri")?, self.text("entityPath")?)
            };
            self.resource(hub, &format!("{provider}/namespaces/{}/{word}/{entity}", host(uri)?))
        };
        let container = self.text("containerName");
        match self.kind {
            EndpointKind::EventHub => bus("Microsoft.EventHub", "eventhubs").map(Target::EventHub),
            EndpointKind::ServiceBusQueue => {
                bus("Microsoft.ServiceBus", "queues").map(Target::ServiceBusQueue)
            }
            EndpointKind::ServiceBusTopic => {
                bus("Microsoft.ServiceBus", "topics").map(Target::ServiceBusTopic)
            }
            EndpointKind::StorageContainer => {
                let account = match self.connection_part("AccountName").filter(|_| by_key) {
                    Some(account) => account,
                    None => host(self.text("endpointUri")?)?,
                };
                let below = format!(
                    "Microsoft.Storage/storageAccounts/{account}/blobServices/default/containers/{}",
                    container?
                );
                self.resource(hub, &below).map(Target::StorageContainer)
            }
            EndpointKind::CosmosDbContainer => {
                let below = format!(
                    "Microsoft.DocumentDB/databaseAccounts/{}/sqlDatabases/{}/containers/{}",
                    host(self.text("endpointUri")?)?,
                    self.text("databaseName")?,
                    container?
                );
                self.resource(hub, &below).map(Target::CosmosDbContainer)
            }
        }
    }

    /// A resource in the target's subscription and group; absent means the hub's own.
    fn resource(&self, hub: &IotHubId, below: &str) -> Option<ResourceId> {
        let subscription = self.text("subscriptionId").unwrap_or(hub.subscription());
        let group = self.text("resourceGroup").or(hub.resource_group())?;
        ResourceId::parse(&format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{below}"))
            .ok()
    }

    /// Whether this endpoint carries that name: the service compares names without case.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// An endpoint in a list that we do not know: enough of it to leave it and what it uses alone.
#[derive(Clone, Copy)]
pub struct OtherEndpoint<'a> {
    /// The list it stands in.
    pub list: &'a str,
    /// Its name.
    pub name: &'a str,
    json: &'a Value,
}

impl<'a> OtherEndpoint<'a> {
    pub(super) fn new(list: &'a str, json: &'a Value) -> Option<Self> {
        Some(Self { list, name: json.get("name")?.as_str()?, json })
    }

    /// How it authenticates.
    pub fn auth(&self) -> EndpointAuth {
        auth_of(self.json)
    }
}

/// How an endpoint or the file-upload entry authenticates.
fn auth_of(json: &Value) -> EndpointAuth {
    let text = |member: &str| json.get(member)?.as_str().filter(|text| !text.is_empty());
    if !text("authenticationType").is_some_and(|word| word.eq_ignore_ascii_case("identityBased")) {
        return EndpointAuth::Key;
    }
    match json.pointer("/identity/userAssignedIdentity").and_then(Value::as_str) {
        None | Some("") => EndpointAuth::Identity(IdentityRef::System),
        Some(id) => match ResourceId::parse(id) {
            Ok(id) => EndpointAuth::Identity(IdentityRef::User(id)),
            Err(_) => EndpointAuth::Unreadable(id.to_owned()),
        },
    }
}

/// One part of a connection string, by name without case. Never asked for a key.
fn connection_part<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(';')
        .filter_map(|part| part.split_once('='))
        .find(|(part, value)| part.trim().eq_ignore_ascii_case(name) && !value.is_empty())
        .map(|(_, value)| value)
}

/// The file-upload entry of a hub document.
#[derive(Clone, Copy)]
pub struct FileUploadView<'a> {
    json: &'a Value,
}

impl<'a> FileUploadView<'a> {
    /// A hub that was never set up has an entry without a connection string: that is none.
    pub(super) fn new(json: &'a Value) -> Option<Self> {
        let view = Self { json };
        let is_set = view.text("connectionString").or(view.text("containerName")).is_some();
        (is_set || view.auth() != EndpointAuth::Key).then_some(view)
    }

    /// A text member, if it is there and not empty.
    pub fn text(&self, member: &str) -> Option<&'a str> {
        self.json.get(member)?.as_str().filter(|text| !text.is_empty())
    }

    /// The name of the storage account that the connection string is for.
    pub fn account(&self) -> Option<&'a str> {
        connection_part(self.text("connectionString")?, "AccountName")
    }

    /// Whether the connection string holds a key (which a GET masks).
    pub fn has_key(&self) -> bool {
        self.text("connectionString").is_some_and(|text| connection_part(text, "AccountKey").is_some())
    }

    /// How the hub reaches the account.
    pub fn auth(&self) -> EndpointAuth {
        auth_of(self.json)
    }
}

/// One enrichment of a hub document.
#[derive(Clone, Copy)]
pub struct EnrichmentView<'a> {
    /// Its place in the list.
    pub index: usize,
    /// Its key. The service tells keys apart by case.
    pub key: &'a str,
    json: &'a Value,
}

impl<'a> EnrichmentView<'a> {
    /// The JSON pointer of the list of enrichments.
    pub const LIST: &'static str = "/properties/routing/enrichments";

    pub(super) fn new(index: usize, json: &'a Value) -> Option<Self> {
        let key = json.get("key")?.as_str()?;
        Some(Self { index, key, json })
    }

    /// Its value.
    pub fn value(&self) -> &'a str {
        self.json.get("value").and_then(Value::as_str).unwrap_or_default()
    }

    /// The endpoints on whose way it is added.
    pub fn endpoints(&self) -> Vec<&'a str> {
        names(self.json)
    }
}

/// The `endpointNames` of a route or an enrichment.
fn names(json: &Value) -> Vec<&str> {
    let list = json.get("endpointNames").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// One route of a hub document.
#[derive(Clone, Copy)]
pub struct RouteView<'a> {
    /// Its place in the list.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    json: &'a Value,
}

impl<'a> RouteView<'a> {
    /// The JSON pointer of the list of routes.
    pub const LIST: &'static str = "/properties/routing/routes";

    pub(super) fn new(index: usize, json: &'a Value) -> Option<Self> {
        let name = json.get("name")?.as_str()?;
        Some(Self { index, name, json })
    }

    /// The message source.
    pub fn source(&self) -> &'a str {
        self.json.get("source").and_then(Value::as_str).unwrap_or_default()
    }

    /// The routing query. Absent means `true`.
    pub fn condition(&self) -> &'a str {
        self.json.get("condition").and_then(Value::as_str).unwrap_or("true")
    }

    /// The endpoints it leads to: exactly one in practice.
    pub fn endpoints(&self) -> Vec<&'a str> {
        names(self.json)
    }

    /// Whether it is on.
    pub fn is_enabled(&self) -> bool {
        self.json.get("isEnabled").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether this route carries that name.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}
