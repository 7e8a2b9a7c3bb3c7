//! Edits: from a document and a list of named changes to the body of one PUT.
//!
//! A PUT replaces the whole hub, so the body is the document that was read, minus the read-only
//! members that ARM's own clients leave out, plus the edit. Before a body leaves this module it is
//! compared with the document again: a difference outside the paths that the edit names is an
//! error, not a write.

mod file_upload;
mod identity;
mod routing;
mod secrets;
mod setting;

pub use file_upload::{ConnectionEdit, FileUploadEdit, StorageEdit, storage_connection};
pub use identity::IdentityEdit;
pub use routing::{AuthEdit, EndpointEdit, EnrichmentEdit, Part, Removal, RouteEdit};
pub use secrets::{KeyNeed, Secrets, Slot};
pub use setting::SettingEdit;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{HubDocument, json::changed_paths};

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
    /// Enrichments to create or to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enrichments: Vec<EnrichmentEdit>,
    /// The change to the file-upload setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_upload: Option<FileUploadEdit>,
    /// Single values to set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingEdit>,
    /// Endpoints, routes and enrichments to take away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removals: Vec<Removal>,
}

/// The body of a hub PUT, and the etag it is based on.
///
/// Not `Debug`: the body may hold connection strings.
#[derive(Clone)]
pub struct PutBody {
    /// The body.
    pub json: Value,
    /// The document's etag, for `If-Match`.
    pub etag: Option<String>,
    /// Where it differs from the document.
    named: BTreeSet<String>,
    gone: Vec<Removal>,
}

/// Why an edit did not become a PUT.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EditError {
    /// The document has something else where the edit needs an object or a list.
    #[error("the hub document has no usable `{0}`")]
    Shape(String),
    /// The edit needs a key that was not fetched.
    #[error("the key for {0} is not there")]
    NoKey(Slot),
    /// The edit would have changed something that it does not name.
    #[error("the edit would also change `{}`; nothing was written", .0.join("`, `"))]
    Collateral(Vec<String>),
}

/// A document before and after an edit, and the paths that the edit names.
struct Edited {
    /// Without what is to be removed, so that places in lists are the same in both.
    before: Map<String, Value>,
    after: Map<String, Value>,
    named: BTreeSet<String>,
}

impl HubEdit {
    /// Whether this edit changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { identity, endpoints, routes, enrichments, file_upload, settings, removals } = self;
        identity.is_none()
            && endpoints.is_empty()
            && routes.is_empty()
            && enrichments.is_empty()
            && file_upload.is_none()
            && settings.is_empty()
            && removals.is_empty()
    }

    /// Keys of targets that have to be fetched before this edit can be written.
    pub fn keys_needed(&self) -> Vec<KeyNeed> {
        let endpoints = self.endpoints.iter().filter_map(EndpointEdit::key_needed);
        endpoints.chain(self.file_upload.iter().filter_map(FileUploadEdit::key_needed)).collect()
    }

    /// The PUT body that makes this edit, and nothing else, to a document.
    pub fn put_body(&self, document: &HubDocument, secrets: &Secrets) -> Result<PutBody, EditError> {
        let Edited { before, after, named } = self.make(document, secrets)?;
        let etag = document.etag().map(str::to_owned);
        let named = PutBody::checked(&Value::Object(before), &after, named)?;
        Ok(PutBody { json: Value::Object(after), etag, named, gone: self.removals.clone() })
    }

    /// What is different after the edit besides what it names: somebody else wrote meanwhile, or the
    /// service did more than it was asked. Empty when nothing else moved.
    pub fn moved_besides(&self, before: &HubDocument, after: &HubDocument) -> Vec<String> {
        let Ok(expected) = self.make(before, &Secrets::placeholders(&self.keys_needed())) else {
            return Vec::new();
        };
        let found = strip_read_only(after.json());
        let service_owned = |path: &str| path == "/etag" || path.ends_with("/connectionString");
        changed_paths(&Value::Object(expected.after), &Value::Object(found))
            .into_iter()
            .filter(|path| !expected.named.iter().any(|name| path_is_within(path, name)))
            .filter(|path| !service_owned(path))
            .collect()
    }

    fn make(&self, document: &HubDocument, secrets: &Secrets) -> Result<Edited, EditError> {
        let Self { identity, endpoints, routes, enrichments, file_upload, settings, removals } = self;
        let mut before = strip_read_only(document.json());
        let mut after = before.clone();
        let mut named = BTreeSet::new();
        if let Some(identity) = identity {
            identity.make(&document.identity(), &mut after)?;
            named.insert("/identity".to_owned());
        }
        for endpoint in endpoints {
            named.insert(endpoint.make(secrets, &mut after)?);
        }
        for route in routes {
            named.insert(route.make(&mut after)?);
        }
        for enrichment in enrichments {
            named.insert(enrichment.make(&mut after)?);
        }
        if let Some(file_upload) = file_upload {
            named.insert(file_upload.make(secrets, &mut after)?);
        }
        for setting in settings {
            named.insert(setting.make(&mut after)?);
        }
        // Last, from the end of each list: the places above stay what they were until here. Names
        // that were added above stand behind whatever is taken away and move up with the rest.
        let mut last_first: Vec<&Removal> = removals.iter().collect();
        last_first.sort_by_key(|removal| std::cmp::Reverse(removal.index));
        for removal in last_first {
            removal.make(&mut before)?;
            removal.make(&mut after)?;
            named = named.into_iter().map(|path| removal.moved(&path)).collect();
        }
        Ok(Edited { before, after, named })
    }
}

impl PutBody {
    /// The named paths, if the edited body differs from the untouched one only within them.
    fn checked(
        untouched: &Value,
        edited: &Map<String, Value>,
        named: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, EditError> {
        let strayed: Vec<String> = changed_paths(untouched, &Value::Object(edited.clone()))
            .into_iter()
            .filter(|path| !named.iter().any(|name| path_is_within(path, name)))
            .collect();
        if strayed.is_empty() { Ok(named) } else { Err(EditError::Collateral(strayed)) }
    }

    /// Whether a document shows what this body changes. A "no" is only a suspicion: the service may
    /// write the same in other words.
    pub fn is_shown_by(&self, document: &HubDocument) -> bool {
        let stripped = Value::Object(strip_read_only(document.json()));
        let shown = |path: &String| match (self.json.pointer(path), stripped.pointer(path)) {
            (Some(sent), found) => is_within(sent, found.unwrap_or(&Value::Null)),
            (None, _) => true,
        };
        let is_there = |gone: &Removal| match gone.part {
            Part::Endpoint(kind) => {
                document.endpoints().iter().any(|have| have.kind == kind && have.is_named(&gone.name))
            }
            Part::Route => document.routes().iter().any(|have| have.is_named(&gone.name)),
            Part::Enrichment => document.enrichments().iter().any(|have| have.key == gone.name),
        };
        self.named.iter().all(shown) && !self.gone.iter().any(is_there)
    }
}

/// Whether what was sent is in what was found, which may hold more. Connection strings come back
/// masked, and words may come back in another case.
fn is_within(sent: &Value, found: &Value) -> bool {
    match (sent, found) {
        (Value::Object(sent), Value::Object(found)) => sent
            .iter()
            .filter(|(name, _)| *name != "connectionString")
            .all(|(name, sent)| is_within(sent, found.get(name).unwrap_or(&Value::Null))),
        (Value::Array(sent), Value::Array(found)) => {
            sent.len() == found.len() && sent.iter().zip(found).all(|(sent, found)| is_within(sent, found))
        }
        (Value::String(sent), Value::String(found)) => sent.eq_ignore_ascii_case(found),
        (sent, found) => sent == found,
    }
}

fn path_is_within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The document without the members that the service alone writes; the same ones that ARM's
/// published clients leave out of a PUT.
fn strip_read_only(document: &Map<String, Value>) -> Map<String, Value> {
    let mut body = document.clone();
    // The last two are in no published document, and the service says them of every hub.
    for name in ["id", "name", "type", "systemData", "subscriptionid", "resourcegroup"] {
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
        let checked = |edited: &Value| {
            PutBody::checked(&untouched, edited.as_object().unwrap(), named.clone()).map(|_| ())
        };

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
        assert!(PutBody::checked(&before, after.as_object().unwrap(), named).is_err());
    }
}
