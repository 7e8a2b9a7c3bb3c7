//! What endpoints can send to, and ids with placeholders.
//!
//! This is the one place for kinds of targets. A new kind is a variant of [`TargetKind`] here, a
//! field of `EndpointDoc` of the same name, and a variant of [`Target`]; the compiler and the test
//! below ask for the rest.

use std::fmt;

use schemars::Schema;
use serde_json::{Value, json};

use super::{
    profiles::EndpointDoc,
    strict::{nearest, shown},
};
use crate::model::{
    ResourceId,
    desired::{StorageScope, Target},
    hub::EndpointKind,
};

/// What is wrong with a value, and the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) fix: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, fix: impl Into<String>) -> Fault {
        Fault { message: message.into(), fix: fix.into() }
    }
}

/// A kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetKind {
    /// An event hub.
    EventHub,
    /// A Service Bus queue.
    ServiceBusQueue,
    /// A Service Bus topic.
    ServiceBusTopic,
    /// A storage container.
    StorageContainer,
    /// A Cosmos DB container.
    CosmosDbContainer,
}

impl TargetKind {
    /// All kinds.
    pub(super) const ALL: [TargetKind; 5] = [
        TargetKind::EventHub,
        TargetKind::ServiceBusQueue,
        TargetKind::ServiceBusTopic,
        TargetKind::StorageContainer,
        TargetKind::CosmosDbContainer,
    ];

    /// The field of an endpoint that holds the id.
    pub(super) fn field(self) -> &'static str {
        match self {
            TargetKind::EventHub => "eventHub",
            TargetKind::ServiceBusQueue => "serviceBusQueue",
            TargetKind::ServiceBusTopic => "serviceBusTopic",
            TargetKind::StorageContainer => "storageContainer",
            TargetKind::CosmosDbContainer => "cosmosDbContainer",
        }
    }

    /// The kind in words.
    fn words(self) -> &'static str {
        match self {
            TargetKind::EventHub => "an event hub",
            TargetKind::ServiceBusQueue => "a Service Bus queue",
            TargetKind::ServiceBusTopic => "a Service Bus topic",
            TargetKind::StorageContainer => "a storage container",
            TargetKind::CosmosDbContainer => "a Cosmos DB container",
        }
    }

    /// The type as [`ResourceId::resource_type`] gives it.
    fn resource_type(self) -> &'static str {
        match self {
            TargetKind::EventHub => "microsoft.eventhub/namespaces/eventhubs",
            TargetKind::ServiceBusQueue => "microsoft.servicebus/namespaces/queues",
            TargetKind::ServiceBusTopic => "microsoft.servicebus/namespaces/topics",
            TargetKind::StorageContainer => "microsoft.storage/storageaccounts/blobservices/containers",
            TargetKind::CosmosDbContainer => "microsoft.documentdb/databaseaccounts/sqldatabases/containers",
        }
    }

    /// What an id of this kind looks like.
    fn example(self) -> String {
        let below = match self {
            TargetKind::EventHub => "Microsoft.EventHub/namespaces/<namespace>/eventhubs/<name>",
            TargetKind::ServiceBusQueue => "Microsoft.ServiceBus/namespaces/<namespace>/queues/<name>",
            TargetKind::ServiceBusTopic => "Microsoft.ServiceBus/namespaces/<namespace>/topics/<name>",
            TargetKind::StorageContainer => {
                "Microsoft.Storage/storageAccounts/<account>/blobServices/default/containers/<name>"
            }
            TargetKind::CosmosDbContainer => {
                "Microsoft.DocumentDB/databaseAccounts/<account>/sqlDatabases/<database>/containers/<name>"
            }
        };
        format!("/subscriptions/{{subscription}}/resourceGroups/<group>/providers/{below}")
    }

    /// The kind of a target.
    pub(super) fn of_target(target: &Target) -> Self {
        match target {
            Target::EventHub(_) => TargetKind::EventHub,
            Target::ServiceBusQueue(_) => TargetKind::ServiceBusQueue,
            Target::ServiceBusTopic(_) => TargetKind::ServiceBusTopic,
            Target::StorageContainer(_) => TargetKind::StorageContainer,
            Target::CosmosDbContainer(_) => TargetKind::CosmosDbContainer,
        }
    }

    /// A target of this kind.
    pub(super) fn target(self, id: ResourceId) -> Target {
        match self {
            TargetKind::EventHub => Target::EventHub(id),
            TargetKind::ServiceBusQueue => Target::ServiceBusQueue(id),
            TargetKind::ServiceBusTopic => Target::ServiceBusTopic(id),
            TargetKind::StorageContainer => Target::StorageContainer(id),
            TargetKind::CosmosDbContainer => Target::CosmosDbContainer(id),
        }
    }

    /// The list of a hub's document that endpoints to it stand in.
    pub(super) fn endpoint_kind(self) -> EndpointKind {
        match self {
            TargetKind::EventHub => EndpointKind::EventHub,
            TargetKind::ServiceBusQueue => EndpointKind::ServiceBusQueue,
            TargetKind::ServiceBusTopic => EndpointKind::ServiceBusTopic,
            TargetKind::StorageContainer => EndpointKind::StorageContainer,
            TargetKind::CosmosDbContainer => EndpointKind::CosmosDbContainer,
        }
    }

    /// Whether keys of such targets belong to authorization rules.
    pub(super) fn has_key_rules(self) -> bool {
        match self {
            TargetKind::EventHub | TargetKind::ServiceBusQueue | TargetKind::ServiceBusTopic => true,
            TargetKind::StorageContainer | TargetKind::CosmosDbContainer => false,
        }
    }

    /// Fields of an endpoint that only this kind has.
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            TargetKind::EventHub | TargetKind::ServiceBusQueue | TargetKind::ServiceBusTopic => &[],
            TargetKind::StorageContainer => {
                &["encoding", "batchFrequencyInSeconds", "maxChunkSizeInBytes", "fileNameFormat"]
            }
            TargetKind::CosmosDbContainer => &["partitionKeyName", "partitionKeyTemplate"],
        }
    }

    /// What an endpoint says it sends to. The schema has made sure that there is exactly one.
    pub(super) fn of(endpoint: &EndpointDoc) -> Option<(TargetKind, &str)> {
        let given = |kind: TargetKind| match kind {
            TargetKind::EventHub => endpoint.event_hub.as_deref(),
            TargetKind::ServiceBusQueue => endpoint.service_bus_queue.as_deref(),
            TargetKind::ServiceBusTopic => endpoint.service_bus_topic.as_deref(),
            TargetKind::StorageContainer => endpoint.storage_container.as_deref(),
            TargetKind::CosmosDbContainer => endpoint.cosmos_db_container.as_deref(),
        };
        TargetKind::ALL.into_iter().find_map(|kind| Some((kind, given(kind)?)))
    }
}

/// Adds to the schema of an endpoint that it has exactly one target.
pub(super) fn exactly_one(schema: &mut Schema) {
    let branches: Vec<Value> =
        TargetKind::ALL.iter().map(|kind| json!({"required": [kind.field()]})).collect();
    schema.insert("oneOf".to_owned(), Value::Array(branches));
}

/// A word in braces that each hub fills in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Hub,
    Location,
    ResourceGroup,
    Subscription,
}

impl Placeholder {
    const ALL: [Placeholder; 4] =
        [Placeholder::Hub, Placeholder::Location, Placeholder::ResourceGroup, Placeholder::Subscription];

    fn word(self) -> &'static str {
        match self {
            Placeholder::Hub => "hub",
            Placeholder::Location => "location",
            Placeholder::ResourceGroup => "resourceGroup",
            Placeholder::Subscription => "subscription",
        }
    }
}

/// What a hub fills the placeholders with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) hub: &'a str,
    /// Normalised: lower case, no spaces.
    pub(super) location: &'a str,
    pub(super) resource_group: &'a str,
    pub(super) subscription: &'a str,
}

impl Values<'_> {
    /// Stands in for a hub when a template is checked without one.
    const SAMPLE: Values<'static> = Values {
        hub: "hub",
        location: "region",
        resource_group: "group",
        subscription: "00000000-0000-0000-0000-000000000000",
    };

    fn get(&self, placeholder: Placeholder) -> &str {
        match placeholder {
            Placeholder::Hub => self.hub,
            Placeholder::Location => self.location,
            Placeholder::ResourceGroup => self.resource_group,
            Placeholder::Subscription => self.subscription,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Hole(Placeholder),
}

/// A target's id with placeholders. Holes stand in names only, so that no value can change what kind
/// of resource it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    kind: TargetKind,
    text: String,
    segments: Vec<Vec<Piece>>,
}

impl Template {
    /// Parses a template and checks its shape.
    pub(super) fn parse(kind: TargetKind, text: &str) -> Result<Template, Fault> {
        let pieces = text.split('/').map(pieces).collect::<Result<Vec<_>, _>>()?;
        let template = Template { kind, text: text.to_owned(), segments: pieces };
        // An id is `/`, then pairs of a word and a name: names have even places from 2 on, except that
        // the word `providers` is followed by a namespace, which is a word too.
        for (nth, segment) in template.segments.iter().enumerate() {
            let Some(hole) = segment.iter().find_map(Piece::hole) else { continue };
            let after_providers = template.segments[nth.saturating_sub(1)].first().is_some_and(
                |piece| matches!(piece, Piece::Literal(word) if word.eq_ignore_ascii_case("providers")),
            );
            if nth < 2 || nth % 2 == 1 || after_providers {
                return Err(Fault::new(
                    format!("`{hole}` stands where a type belongs"),
                    "use placeholders in names only, and write types such as `eventhubs` out",
                ));
            }
            if nth == 2 && segment.as_slice() != [Piece::Hole(Placeholder::Subscription)] {
                return Err(Fault::new(
                    format!("`{hole}` cannot stand for a subscription"),
                    "write the subscription's GUID, or `{subscription}` alone",
                ));
            }
        }
        template.fill(&Values::SAMPLE)?;
        Ok(template)
    }

    /// The kind of target that it names.
    pub(super) fn kind(&self) -> TargetKind {
        self.kind
    }

    /// The template as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The id for one hub, checked as if it had been written by hand.
    pub(super) fn fill(&self, values: &Values<'_>) -> Result<ResourceId, Fault> {
        let mut id = String::with_capacity(self.text.len() + 64);
        for (nth, segment) in self.segments.iter().enumerate() {
            if nth > 0 {
                id.push('/');
            }
            for piece in segment {
                match piece {
                    Piece::Literal(text) => id.push_str(text),
                    Piece::Hole(hole) => id.push_str(checked(*hole, values.get(*hole))?),
                }
            }
        }
        let expected = || {
            Fault::new(
                format!("this is not the id of {}", self.kind.words()),
                format!("write {}", self.kind.example()),
            )
        };
        let id =
            ResourceId::parse(&id).map_err(|error| Fault { message: error.to_string(), ..expected() })?;
        let depth = id.as_str().split('/').count();
        if id.resource_type().as_deref() != Some(self.kind.resource_type())
            || id.resource_group().is_none()
            || depth != self.segments.len()
            || depth != 7 + 2 * self.kind.resource_type().matches('/').count()
        {
            return Err(expected());
        }
        if self.kind == TargetKind::StorageContainer
            && id.parent().is_none_or(|service| !service.name().eq_ignore_ascii_case("default"))
        {
            return Err(expected());
        }
        // Stricter than ids in general, which may also hold the parentheses of resource groups.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match id.as_str().split('/').skip(7).find_map(|name| name.chars().find(|c| !plain(*c))) {
            Some(c) => Err(Fault::new(
                format!("the names of {} cannot hold `{c}`", self.kind.words()),
                "write names of letters, digits, `.`, `_` and `-`",
            )),
            None => Ok(id),
        }
    }

    /// Whether some hub's id could be within `scope`. What is written out must fit; what is filled in
    /// later is checked again for each hub.
    pub(super) fn could_be_within(&self, scope: &ResourceId, storage: StorageScope) -> bool {
        let scope: Vec<&str> = scope.key().split('/').collect();
        // The account of a container is two names up.
        let up = match (self.kind, storage) {
            (TargetKind::StorageContainer, StorageScope::Account) => 4,
            _ => 0,
        };
        scope.len() + up <= self.segments.len()
            && scope.iter().zip(&self.segments).all(|(name, pieces)| could_be(pieces, name))
    }

    /// The subscription, if it is written out.
    pub(super) fn subscription(&self) -> Option<String> {
        match self.segments.get(2)?.as_slice() {
            [Piece::Literal(guid)] => Some(guid.to_ascii_lowercase()),
            _ => None,
        }
    }

    /// The resource group that the template names, or what comes nearest to it: a scope to suggest.
    pub(super) fn scope(&self) -> String {
        self.text.split('/').take(5).collect::<Vec<_>>().join("/")
    }
}

impl Piece {
    fn hole(&self) -> Option<Placeholder> {
        match self {
            Piece::Literal(_) => None,
            Piece::Hole(hole) => Some(*hole),
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.word())
    }
}

/// Splits one segment into literals and holes.
fn pieces(segment: &str) -> Result<Vec<Piece>, Fault> {
    let unbalanced =
        || Fault::new("a `{` or `}` has no partner", "write placeholders as `{location}`, with both braces");
    let mut pieces = Vec::new();
    let mut rest = segment;
    while let Some(start) = rest.find(['{', '}']) {
        if rest[start..].starts_with('}') {
            return Err(unbalanced());
        }
        let inner = &rest[start + 1..];
        let end =
            inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}')).ok_or_else(unbalanced)?;
        if start > 0 {
            pieces.push(Piece::Literal(rest[..start].to_owned()));
        }
        pieces.push(Piece::Hole(placeholder(&inner[..end])?));
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

fn placeholder(word: &str) -> Result<Placeholder, Fault> {
    let known = Placeholder::ALL.into_iter().find(|known| known.word() == word);
    known.ok_or_else(|| {
        let words = Placeholder::ALL.map(Placeholder::word);
        let fix = match nearest(word, words) {
            Some(near) => format!("write `{{{near}}}`"),
            None => format!("use one of {}", words.map(|word| format!("`{{{word}}}`")).join(", ")),
        };
        Fault::new(format!("there is no placeholder `{{{}}}`", shown(word)), fix)
    })
}

/// A hub's value, if it can only ever be (a part of) one name.
fn checked(hole: Placeholder, value: &str) -> Result<&str, Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let fits = match hole {
        Placeholder::Hub | Placeholder::Location => value.chars().all(plain),
        Placeholder::Subscription => value.len() == 36 && value.chars().all(plain),
        Placeholder::ResourceGroup => value.chars().all(|c| plain(c) || "._()".contains(c)),
    };
    if fits && !value.is_empty() {
        Ok(value)
    } else {
        Err(Fault::new(
            format!("`{hole}` is `{}` for this hub, which cannot be part of a name", shown(value)),
            format!("write the name without `{hole}`, in a profile of its own"),
        ))
    }
}

/// Whether a segment could be `name` (which is in lower case).
fn could_be(pieces: &[Piece], name: &str) -> bool {
    let literals: Vec<String> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text.to_ascii_lowercase()),
            Piece::Hole(_) => None,
        })
        .collect();
    if literals.len() == pieces.len() {
        return literals.concat() == name;
    }
    let prefix = if pieces.first().and_then(Piece::hole).is_none() { literals[0].as_str() } else { "" };
    let suffix = if pieces.last().and_then(Piece::hole).is_none() {
        literals.last().map_or("", String::as_str)
    } else {
        ""
    };
    name.len() > prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
}

#[cfg(test)]
mod tests;
