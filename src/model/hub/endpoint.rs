//! Views on the routing endpoints and routes of a hub document.

use std::fmt;

use serde_json::Value;

use crate::model::{ResourceId, desired::IdentityRef};

/// The five kinds of routing endpoints, each with its own list in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// How it authenticates.
    pub fn auth(&self) -> EndpointAuth {
        let by_identity =
            self.text("authenticationType").is_some_and(|word| word.eq_ignore_ascii_case("identityBased"));
        if !by_identity {
            return EndpointAuth::Key;
        }
        match self.json.pointer("/identity/userAssignedIdentity").and_then(Value::as_str) {
            None | Some("") => EndpointAuth::Identity(IdentityRef::System),
            Some(id) => match ResourceId::parse(id) {
                Ok(id) => EndpointAuth::Identity(IdentityRef::User(id)),
                Err(_) => EndpointAuth::Unreadable(id.to_owned()),
            },
        }
    }

    /// Whether this endpoint carries that name: the service compares names without case.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
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
        let list = self.json.get("endpointNames").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
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
