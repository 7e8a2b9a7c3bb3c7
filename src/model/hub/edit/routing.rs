//! Endpoints, routes and enrichments: elements of lists, found by their place.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{EditError, KeyNeed, Secrets, Slot};
use crate::model::{
    desired::{DesiredEnrichment, DesiredRoute, EndpointOptions, IdentityRef, Target},
    hub::{
        endpoint::{EndpointKind, EnrichmentView, RouteView},
        json::array_at,
    },
};

/// An endpoint as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointEdit {
    /// Its name.
    pub name: String,
    /// Its place in the list if it is there already.
    #[serde(skip)]
    pub index: Option<usize>,
    /// Where it sends to.
    pub target: Target,
    /// The target's address as ARM gave it.
    pub endpoint_uri: String,
    /// The name of the event hub, queue, topic or container, as ARM spells it.
    pub entity: String,
    /// What it authenticates with.
    pub auth: AuthEdit,
    /// What only endpoints of its kind have.
    #[serde(skip_serializing_if = "EndpointOptions::is_none")]
    pub options: EndpointOptions,
    /// What this changes, in words: `create`, or `key -> system-assigned identity`.
    pub summary: String,
}

/// What an endpoint shall authenticate with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthEdit {
    /// An identity of the hub.
    Identity(IdentityRef),
    /// A key of the target, fetched for this one write.
    Key {
        /// The authorization rule, where keys belong to rules.
        rule: Option<String>,
    },
    /// A key, and the one that the hub has stays: its mask is echoed.
    KeepKey,
}

impl AuthEdit {
    /// The identity, if it is one.
    pub fn identity(&self) -> Option<&IdentityRef> {
        match self {
            AuthEdit::Identity(identity) => Some(identity),
            AuthEdit::Key { .. } | AuthEdit::KeepKey => None,
        }
    }
}

impl EndpointEdit {
    pub(super) fn key_needed(&self) -> Option<KeyNeed> {
        match &self.auth {
            AuthEdit::Identity(_) | AuthEdit::KeepKey => None,
            AuthEdit::Key { rule } => Some(KeyNeed {
                slot: Slot::Endpoint(self.name.clone()),
                target: self.target.clone(),
                rule: rule.clone(),
                endpoint_uri: self.endpoint_uri.clone(),
            }),
        }
    }

    /// Makes the edit and returns the path it named.
    pub(super) fn make(&self, secrets: &Secrets, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let target = self.target.id();
        let mut wanted = vec![
            ("subscriptionId", Value::from(target.subscription())),
            ("resourceGroup", target.resource_group().unwrap_or_default().into()),
        ];
        wanted.extend(self.address());
        match &self.auth {
            AuthEdit::KeepKey => {}
            AuthEdit::Identity(identity) => {
                wanted.push(("authenticationType", "identityBased".into()));
                // The service wants what no longer applies to be null, not absent.
                wanted.extend(
                    ["connectionString", "primaryKey", "secondaryKey"].map(|name| (name, Value::Null)),
                );
                wanted.push(("identity", identity_json(identity)));
            }
            AuthEdit::Key { .. } => {
                wanted.push(("authenticationType", "keyBased".into()));
                wanted.push(("identity", Value::Null));
            }
        }
        wanted.extend(self.options.members());
        let kind = self.target.kind();
        let (path, element) = element(body, &kind.pointer(), self.index, ("name", &self.name))?;
        set_members(element, wanted);
        if matches!(self.auth, AuthEdit::Key { .. }) {
            let slot = Slot::Endpoint(self.name.clone());
            let members = secrets.get(&slot).ok_or(EditError::NoKey(slot))?;
            element.extend(members.clone());
        }
        Ok(path)
    }

    /// The members that say where it sends to. With a key, the address of a namespace or a storage
    /// account stands in the connection string and nowhere else.
    fn address(&self) -> Vec<(&'static str, Value)> {
        let by_key = self.auth.identity().is_none();
        let unless_by_key = |text: &str| if by_key { Value::Null } else { Value::from(text) };
        match &self.target {
            Target::EventHub(_) | Target::ServiceBusQueue(_) | Target::ServiceBusTopic(_) => vec![
                ("endpointUri", unless_by_key(&self.endpoint_uri)),
                ("entityPath", unless_by_key(&self.entity)),
            ],
            Target::StorageContainer(_) => vec![
                ("endpointUri", unless_by_key(&self.endpoint_uri)),
                ("containerName", self.entity.as_str().into()),
            ],
            Target::CosmosDbContainer(_) => vec![
                ("endpointUri", self.endpoint_uri.as_str().into()),
                ("databaseName", self.target.database().unwrap_or_default().into()),
                ("containerName", self.entity.as_str().into()),
            ],
        }
    }
}

impl EndpointOptions {
    fn is_none(&self) -> bool {
        self.members().is_empty()
    }
}

/// A route as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteEdit {
    /// The wanted route.
    #[serde(flatten)]
    pub route: DesiredRoute,
    /// Its place in the list if it is there already.
    #[serde(skip)]
    pub index: Option<usize>,
    /// What this changes, in words.
    pub summary: String,
}

impl RouteEdit {
    pub(super) fn make(&self, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let DesiredRoute { name, source, condition, endpoint, enabled } = &self.route;
        let (path, element) = element(body, RouteView::LIST, self.index, ("name", name))?;
        set_members(
            element,
            [
                ("source", Value::from(source.as_str())),
                ("condition", condition.as_str().into()),
                ("endpointNames", json!([endpoint])),
                ("isEnabled", (*enabled).into()),
            ],
        );
        Ok(path)
    }
}

/// An enrichment as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrichmentEdit {
    /// The wanted enrichment.
    #[serde(flatten)]
    pub enrichment: DesiredEnrichment,
    /// Its place in the list if it is there already.
    #[serde(skip)]
    pub index: Option<usize>,
    /// What this changes, in words.
    pub summary: String,
}

impl EnrichmentEdit {
    pub(super) fn make(&self, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let DesiredEnrichment { key, value, endpoints } = &self.enrichment;
        let (path, element) = element(body, EnrichmentView::LIST, self.index, ("key", key))?;
        set_members(element, [("value", Value::from(value.as_str())), ("endpointNames", json!(endpoints))]);
        Ok(path)
    }
}

/// A part of a hub's routing that can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// An endpoint of a kind.
    Endpoint(EndpointKind),
    /// A route.
    Route,
    /// An enrichment.
    Enrichment,
}

impl Part {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Part::Endpoint(_) => "endpoint",
            Part::Route => "route",
            Part::Enrichment => "enrichment",
        }
    }
}

/// Something to take away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// What it is.
    pub part: Part,
    /// Its name; an enrichment's key.
    pub name: String,
    /// Its place in the list.
    #[serde(skip)]
    pub index: usize,
}

impl Removal {
    fn list(&self) -> String {
        match self.part {
            Part::Endpoint(kind) => kind.pointer(),
            Part::Route => RouteView::LIST.to_owned(),
            Part::Enrichment => EnrichmentView::LIST.to_owned(),
        }
    }

    /// Takes the element away, if it is the one that was meant.
    pub(super) fn make(&self, body: &mut Map<String, Value>) -> Result<(), EditError> {
        let list = self.list();
        let shape = || EditError::Shape(format!("{list}/{}", self.index));
        let elements = array_at(body, &list).ok_or_else(shape)?;
        let member = if self.part == Part::Enrichment { "key" } else { "name" };
        let is_meant =
            elements.get(self.index).and_then(|element| element[member].as_str()) == Some(self.name.as_str());
        if !is_meant {
            return Err(shape());
        }
        elements.remove(self.index);
        Ok(())
    }

    /// A path after the removal: elements behind the one that went have moved up.
    pub(super) fn moved(&self, path: &str) -> String {
        let list = self.list();
        let index = path.strip_prefix(&format!("{list}/")).and_then(|rest| rest.parse::<usize>().ok());
        match index {
            Some(index) if index > self.index => format!("{list}/{}", index - 1),
            _ => path.to_owned(),
        }
    }
}

/// The `identity` member of an endpoint: null means the system-assigned one.
pub(super) fn identity_json(identity: &IdentityRef) -> Value {
    match identity {
        IdentityRef::System => Value::Null,
        IdentityRef::User(id) => json!({"userAssignedIdentity": id.as_str()}),
    }
}

/// Sets members. Nulls are only written over something: where nothing is, none is needed.
pub(super) fn set_members(
    element: &mut Map<String, Value>,
    wanted: impl IntoIterator<Item = (&'static str, Value)>,
) {
    for (member, value) in wanted {
        if !value.is_null() || element.contains_key(member) {
            element.insert(member.to_owned(), value);
        }
    }
}

/// The list's element, or a new one at its end that has just its name; and its path.
fn element<'a>(
    body: &'a mut Map<String, Value>,
    list: &str,
    index: Option<usize>,
    (member, name): (&str, &str),
) -> Result<(String, &'a mut Map<String, Value>), EditError> {
    let elements = array_at(body, list).ok_or_else(|| EditError::Shape(list.to_owned()))?;
    let index = match index {
        Some(index) => index,
        None => {
            elements.push(json!({member: name}));
            elements.len() - 1
        }
    };
    let path = format!("{list}/{index}");
    match elements.get_mut(index).and_then(Value::as_object_mut) {
        Some(element) => Ok((path, element)),
        None => Err(EditError::Shape(path)),
    }
}
