//! Edits: from a document and a list of named changes to the body of one PUT.
//!
//! A PUT replaces the whole hub, so the body is the document that was read, minus the read-only
//! members that ARM's own clients leave out, plus the edit. Before a body leaves this module it is
//! compared with the document again: a difference outside the paths that the edit names is an
//! error, not a write.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    HubDocument, HubIdentity,
    endpoint::{EndpointKind, RouteView},
    json::{array_at, changed_paths},
};
use crate::model::{
    ResourceId,
    desired::{DesiredRoute, IdentityRef},
};

/// Changes to one hub, made in one PUT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HubEdit {
    /// Changes to the identity block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityEdit>,
    /// Endpoints to create or to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointEdit>,
    /// Routes to create or to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteEdit>,
}

/// The identities a hub shall have after the edit. Those attached that are not named stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityEdit {
    /// Turn the system-assigned identity on or off; `None` leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// User-assigned identities to attach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attach: Vec<ResourceId>,
}

/// An identity-authenticated endpoint as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointEdit {
    /// Its name.
    pub name: String,
    /// Its place in the list if it is there already.
    #[serde(skip)]
    pub index: Option<usize>,
    /// The list it belongs to.
    #[serde(skip)]
    pub kind: EndpointKind,
    /// The target's own id, for subscription and resource group.
    pub target: ResourceId,
    /// The target's address as ARM gave it: `sb://ns1.servicebus.windows.net`.
    pub endpoint_uri: String,
    /// The event hub's name.
    pub entity_path: String,
    /// The identity to authenticate with.
    pub identity: IdentityRef,
    /// What this changes, in words: `create`, or `key -> system-assigned identity`.
    pub summary: String,
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

/// The body of a hub PUT, and the etag it is based on.
///
/// Not `Debug`: the body may echo masked connection strings.
#[derive(Clone)]
pub struct PutBody {
    /// The body.
    pub json: Value,
    /// The document's etag, for `If-Match`.
    pub etag: Option<String>,
}

/// Why an edit did not become a PUT.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EditError {
    /// The document has something else where the edit needs an object or a list.
    #[error("the hub document has no usable `{0}`")]
    Shape(String),
    /// The edit would have changed something that it does not name.
    #[error("the edit would also change `{}`; nothing was written", .0.join("`, `"))]
    Collateral(Vec<String>),
}

impl HubEdit {
    /// Whether this edit changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { identity, endpoints, routes } = self;
        identity.is_none() && endpoints.is_empty() && routes.is_empty()
    }

    /// The PUT body that makes this edit, and nothing else, to a document.
    pub fn put_body(&self, document: &HubDocument) -> Result<PutBody, EditError> {
        let untouched = strip_read_only(document.json());
        let mut edited = untouched.clone();
        let mut named = BTreeSet::new();
        if let Some(identity) = &self.identity {
            identity.make(&document.identity(), &mut edited)?;
            named.insert("/identity".to_owned());
        }
        for endpoint in &self.endpoints {
            named.insert(endpoint.make(&mut edited)?);
        }
        for route in &self.routes {
            named.insert(route.make(&mut edited)?);
        }
        let etag = document.etag().map(str::to_owned);
        PutBody::checked(&Value::Object(untouched), Value::Object(edited), &named, etag)
    }
}

impl PutBody {
    /// The edited body, if it differs from the untouched one only within the named paths.
    fn checked(
        untouched: &Value,
        edited: Value,
        named: &BTreeSet<String>,
        etag: Option<String>,
    ) -> Result<Self, EditError> {
        let strayed: Vec<String> = changed_paths(untouched, &edited)
            .into_iter()
            .filter(|path| !named.iter().any(|name| path_is_within(path, name)))
            .collect();
        if strayed.is_empty() { Ok(Self { json: edited, etag }) } else { Err(EditError::Collateral(strayed)) }
    }
}

fn path_is_within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl IdentityEdit {
    fn make(&self, found: &HubIdentity, body: &mut Map<String, Value>) -> Result<(), EditError> {
        let block = body.entry("identity").or_insert_with(|| json!({}));
        if block.is_null() {
            *block = json!({});
        }
        let block = block.as_object_mut().ok_or_else(|| EditError::Shape("identity".into()))?;
        let mut users = match block.remove("userAssignedIdentities") {
            Some(Value::Object(users)) => users,
            _ => Map::new(),
        };
        for id in &self.attach {
            if !found.user_assigned.contains_key(id) {
                users.insert(id.as_str().to_owned(), json!({}));
            }
        }
        let system = self.system.unwrap_or(found.system_assigned);
        block.insert("type".into(), HubIdentity::arm_type(system, !users.is_empty()).into());
        // With no user-assigned identity left the map is omitted: the word and the map must agree.
        if !users.is_empty() {
            block.insert("userAssignedIdentities".into(), Value::Object(users));
        }
        Ok(())
    }
}

impl EndpointEdit {
    /// Makes the edit and returns the path it named.
    fn make(&self, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let identity = match &self.identity {
            IdentityRef::System => Value::Null,
            IdentityRef::User(id) => json!({"userAssignedIdentity": id.as_str()}),
        };
        let wanted = [
            ("subscriptionId", Value::from(self.target.subscription())),
            ("resourceGroup", self.target.resource_group().unwrap_or_default().into()),
            ("authenticationType", "identityBased".into()),
            ("endpointUri", self.endpoint_uri.as_str().into()),
            ("entityPath", self.entity_path.as_str().into()),
            // The service wants what no longer applies to be null, not absent.
            ("connectionString", Value::Null),
            ("identity", identity),
        ];
        put_in_list(body, &self.kind.pointer(), self.index, &self.name, wanted)
    }
}

impl RouteEdit {
    fn make(&self, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let DesiredRoute { name, source, condition, endpoint, enabled } = &self.route;
        let wanted = [
            ("source", Value::from(source.as_str())),
            ("condition", condition.as_str().into()),
            ("endpointNames", json!([endpoint])),
            ("isEnabled", (*enabled).into()),
        ];
        put_in_list(body, RouteView::LIST, self.index, name, wanted)
    }
}

/// Changes the members of the list's element, or appends one. Nulls are only written over
/// something: a new element does not need them.
fn put_in_list<const N: usize>(
    body: &mut Map<String, Value>,
    list: &str,
    index: Option<usize>,
    name: &str,
    wanted: [(&str, Value); N],
) -> Result<String, EditError> {
    let elements = array_at(body, list).ok_or_else(|| EditError::Shape(list.to_owned()))?;
    let index = match index {
        Some(index) => index,
        None => {
            elements.push(json!({"name": name}));
            elements.len() - 1
        }
    };
    let element = elements
        .get_mut(index)
        .and_then(Value::as_object_mut)
        .ok_or_else(|| EditError::Shape(format!("{list}/{index}")))?;
    for (member, value) in wanted {
        if !value.is_null() || element.contains_key(member) {
            element.insert(member.to_owned(), value);
        }
    }
    Ok(format!("{list}/{index}"))
}

/// The document without the members that the service alone writes; the same ones that ARM's
/// published clients leave out of a PUT.
fn strip_read_only(document: &Map<String, Value>) -> Map<String, Value> {
    let mut body = document.clone();
    for name in ["id", "name", "type", "systemData"] {
        body.shift_remove(name);
    }
    let below = |body: &mut Map<String, Value>, path: &[&str], names: &[&str]| {
        let mut node = Some(body);
        for part in path {
            node = node.and_then(|node| node.get_mut(*part)).and_then(Value::as_object_mut);
        }
        for name in names {
            if let Some(node) = node.as_deref_mut() {
                node.shift_remove(*name);
            }
        }
    };
    below(&mut body, &["properties"], &["state", "provisioningState", "hostName", "locations"]);
    below(&mut body, &["properties", "eventHubEndpoints", "events"], &["partitionIds", "path", "endpoint"]);
    below(&mut body, &["sku"], &["tier"]);
    below(&mut body, &["identity"], &["principalId", "tenantId"]);
    if let Some(users) = body
        .get_mut("identity")
        .and_then(|block| block.get_mut("userAssignedIdentities"))
        .and_then(Value::as_object_mut)
    {
        users.values_mut().for_each(|facts| *facts = json!({}));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_outside_the_named_paths_is_never_sent() {
        let untouched = json!({"properties": {"routing": {"routes": [{"name": "theirs"}, {"name": "ours"}]}}, "tags": {}});
        let named = BTreeSet::from(["/properties/routing/routes/1".to_owned()]);
        let checked = |edited: &Value| PutBody::checked(&untouched, edited.clone(), &named, None).map(|_| ());

        let mut edited = untouched.clone();
        edited["properties"]["routing"]["routes"][1]["isEnabled"] = true.into();
        assert_eq!(checked(&edited), Ok(()));

        edited["properties"]["routing"]["routes"][0]["name"] = "gone".into();
        edited["tags"]["x"] = 1.into();
        let strayed = ["/properties/routing/routes/0/name", "/tags/x"].map(str::to_owned).to_vec();
        assert_eq!(checked(&edited), Err(EditError::Collateral(strayed)));

        // Not by prefix of text: route 1 named does not allow route 10.
        let named = BTreeSet::from(["/a/1".to_owned()]);
        let (before, after) = (json!({"a": vec![0; 11]}), json!({"a": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]}));
        assert!(PutBody::checked(&before, after, &named, None).is_err());
    }
}
