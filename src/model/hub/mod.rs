//! The hub resource as ARM gave it: opaque JSON, with typed views on the parts we know.
//!
//! A hub document holds more than any model of it: newer properties, other people's endpoints,
//! masked secrets. [`HubDocument`] therefore never parses the document into types and prints it
//! again. It keeps the JSON, reads through small views, and [`HubEdit`] changes only the paths it
//! names. Shape: <https://learn.microsoft.com/rest/api/iothub/iot-hub-resource/get>.

mod edit;
mod endpoint;
mod json;

pub use edit::{
    AuthEdit, ConnectionEdit, EditError, EndpointEdit, EnrichmentEdit, FileUploadEdit, HubEdit, IdentityEdit,
    KeyNeed, Part, PutBody, Removal, RouteEdit, Secrets, SettingEdit, Slot, StorageEdit, storage_connection,
};
pub use endpoint::{
    EndpointAuth, EndpointKind, EndpointView, EnrichmentView, FileUploadView, OtherEndpoint, RouteView,
};
pub use json::changed_paths;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    IotHubId, ResourceId, ResourceIdError,
    desired::{IdentityRef, User},
};

/// One hub as a GET returned it.
///
/// `Debug` and `Display` are deliberately absent: although a GET masks keys, a document never
/// belongs in a log.
#[derive(Clone, PartialEq)]
pub struct HubDocument {
    json: Map<String, Value>,
    id: IotHubId,
}

/// Why a GET's body is not a hub.
#[derive(Debug, thiserror::Error)]
pub enum HubDocumentError {
    /// The body is not a JSON object.
    #[error("the answer is not a JSON object")]
    NotAnObject,
    /// A member that every hub has is absent or of another type.
    #[error("the hub has no `{0}`")]
    Missing(&'static str),
    /// The hub's own id cannot be read.
    #[error("the hub's `id` cannot be read")]
    Id(#[source] ResourceIdError),
}

/// Whether a hub is at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Its last write went well.
    Good,
    /// Its last write failed or was cancelled.
    Bad,
    /// It is taking a change.
    Busy,
}

/// The identities a hub has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubIdentity {
    /// Whether the system-assigned identity is on.
    pub system_assigned: bool,
    /// The system-assigned identity's principal, once the service shows it.
    pub system_principal: Option<String>,
    /// Attached user-assigned identities and their principals.
    pub user_assigned: BTreeMap<ResourceId, Option<String>>,
}

impl HubIdentity {
    /// The `identity.type` word for these facts, spelled as the service spells it (with a comma
    /// *and* a space).
    pub fn arm_type(system: bool, user: bool) -> &'static str {
        match (system, user) {
            (false, false) => "None",
            (true, false) => "SystemAssigned",
            (false, true) => "UserAssigned",
            (true, true) => "SystemAssigned, UserAssigned",
        }
    }
}

impl HubDocument {
    /// Takes the body of a GET. Checks only what every edit relies on.
    pub fn from_json(json: Value) -> Result<Self, HubDocumentError> {
        let Value::Object(json) = json else {
            return Err(HubDocumentError::NotAnObject);
        };
        let id = json.get("id").and_then(Value::as_str).ok_or(HubDocumentError::Missing("id"))?;
        let id = IotHubId::parse(id).map_err(HubDocumentError::Id)?;
        for member in ["location", "properties", "sku"] {
            if !json.contains_key(member) {
                return Err(HubDocumentError::Missing(member));
            }
        }
        Ok(Self { json, id })
    }

    /// The hub's id, in the service's spelling.
    pub fn id(&self) -> &IotHubId {
        &self.id
    }

    /// The document itself.
    pub fn json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// The etag to send back with a PUT.
    pub fn etag(&self) -> Option<&str> {
        self.json.get("etag").and_then(Value::as_str)
    }

    /// The region, as the hub spells it.
    pub fn location(&self) -> &str {
        self.json.get("location").and_then(Value::as_str).unwrap_or_default()
    }

    /// The hub's tags. Values that are not text are left out.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let tags = self.json.get("tags").and_then(Value::as_object);
        tags.into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// The host of the hub's own API.
    pub fn host_name(&self) -> Option<&str> {
        self.property("hostName").and_then(Value::as_str)
    }

    /// `properties.state`: `Active` when the hub may be written.
    pub fn state(&self) -> Option<&str> {
        self.property("state").and_then(Value::as_str)
    }

    /// `properties.provisioningState`: `Succeeded` when the last write is through.
    pub fn provisioning_state(&self) -> Option<&str> {
        self.property("provisioningState").and_then(Value::as_str)
    }

    /// Whether the hub is at rest. A hub can change by itself (private endpoints), so both states
    /// count; one that a hub does not show counts as good.
    pub fn rest(&self) -> Rest {
        let is_one_of =
            |state: &str, words: &[&str]| words.iter().any(|word| state.eq_ignore_ascii_case(word));
        let active = self.state().is_none_or(|state| is_one_of(state, &["Active"]));
        let provisioning = self.provisioning_state();
        match active {
            true if provisioning.is_none_or(|state| is_one_of(state, &["Succeeded"])) => Rest::Good,
            true if provisioning.is_some_and(|state| is_one_of(state, &["Failed", "Canceled"])) => Rest::Bad,
            _ => Rest::Busy,
        }
    }

    /// Whether a write may start. A hub whose last write ended badly can be written again: that is
    /// how it is repaired.
    pub fn is_ready(&self) -> bool {
        self.rest() != Rest::Busy
    }

    /// When the hub was made, if the service says so.
    pub fn created_at(&self) -> Option<OffsetDateTime> {
        let text = self.at("/systemData/createdAt")?.as_str()?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    }

    /// Whether the hub is on its way out.
    pub fn is_being_deleted(&self) -> bool {
        [self.state(), self.provisioning_state()].into_iter().flatten().any(|state| {
            ["Deleting", "Deleted", "Terminating", "Terminated"]
                .iter()
                .any(|word| state.eq_ignore_ascii_case(word))
        })
    }

    /// Settings that only api-versions newer than the one we write with know. A PUT might drop
    /// them, so a hub that has any is reported.
    pub fn preview_settings(&self) -> Vec<String> {
        const NEWER: [&str; 6] = [
            "deviceStreams",
            "encryption",
            "ipVersion",
            "rootCertificate",
            "deviceRegistry",
            "adrProperties",
        ];
        let is_set = |name: &&str| self.property(name).is_some_and(|value| !value.is_null());
        let mut names: Vec<String> = NEWER.into_iter().filter(is_set).map(str::to_owned).collect();
        names.extend(self.other_endpoints().iter().map(|other| format!("routing.endpoints.{}", other.list)));
        names.dedup();
        names
    }

    /// The identities the hub has.
    pub fn identity(&self) -> HubIdentity {
        let Some(block) = self.json.get("identity").and_then(Value::as_object) else {
            return HubIdentity::default();
        };
        let text = |name: &str| block.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let word = text("type").unwrap_or_default();
        let system_assigned = word.split(',').any(|part| part.trim().eq_ignore_ascii_case("SystemAssigned"));
        let users = block.get("userAssignedIdentities").and_then(Value::as_object);
        HubIdentity {
            system_assigned,
            system_principal: text("principalId").filter(|_| system_assigned).map(str::to_owned),
            user_assigned: users
                .into_iter()
                .flatten()
                .filter_map(|(id, facts)| {
                    let principal = facts.get("principalId").and_then(Value::as_str).map(str::to_owned);
                    Some((ResourceId::parse(id).ok()?, principal))
                })
                .collect(),
        }
    }

    /// All routing endpoints, of all kinds.
    pub fn endpoints(&self) -> Vec<EndpointView<'_>> {
        let of = |kind: EndpointKind| {
            let elements = self.elements(&kind.pointer());
            elements.filter_map(move |(index, json)| EndpointView::new(kind, index, json))
        };
        EndpointKind::ALL.into_iter().flat_map(of).collect()
    }

    /// Endpoints in lists that only other api-versions know, such as `cosmosDBSqlCollections`.
    pub fn other_endpoints(&self) -> Vec<OtherEndpoint<'_>> {
        let lists = self.at("/properties/routing/endpoints").and_then(Value::as_object);
        let unknown = lists
            .into_iter()
            .flatten()
            .filter(|(list, _)| EndpointKind::ALL.iter().all(|kind| kind.list_name() != *list));
        unknown
            .flat_map(|(list, elements)| {
                let elements = elements.as_array().into_iter().flatten();
                elements.filter_map(move |json| OtherEndpoint::new(list, json))
            })
            .collect()
    }

    /// All routes.
    pub fn routes(&self) -> Vec<RouteView<'_>> {
        self.elements(RouteView::LIST).filter_map(|(index, json)| RouteView::new(index, json)).collect()
    }

    /// All enrichments.
    pub fn enrichments(&self) -> Vec<EnrichmentView<'_>> {
        let elements = self.elements(EnrichmentView::LIST);
        elements.filter_map(|(index, json)| EnrichmentView::new(index, json)).collect()
    }

    /// The file-upload setting, if the hub has one.
    pub fn file_upload(&self) -> Option<FileUploadView<'_>> {
        self.at("/properties/storageEndpoints/$default").and_then(FileUploadView::new)
    }

    /// Whether messages that no route takes go to the built-in endpoint. `None` if the hub has no
    /// such block, which means that they do not.
    pub fn fallback(&self) -> Option<bool> {
        let block = self.at("/properties/routing/fallbackRoute")?.as_object()?;
        Some(block.get("isEnabled").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Whether the hub may only send to hosts on its list.
    pub fn restricts_outbound(&self) -> bool {
        self.property("restrictOutboundNetworkAccess").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The hosts that a hub with restricted outbound access may send to.
    pub fn allowed_hosts(&self) -> Vec<&str> {
        let list = self.property("allowedFqdnList").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Whether the hub is of the Free tier, with its lower limits.
    pub fn is_free(&self) -> bool {
        let name = self.json.get("sku").and_then(|sku| sku.get("name")).and_then(Value::as_str);
        name.is_some_and(|name| name.eq_ignore_ascii_case("F1"))
    }

    /// Everything in the hub that uses one of its identities, in words.
    pub fn users_of(&self, identity: &IdentityRef) -> Vec<(User<'_>, EndpointAuth)> {
        let endpoints = self.endpoints().into_iter().map(|view| (User::Endpoint(view.name), view.auth()));
        let upload = self.file_upload().into_iter().map(|view| (User::FileUpload, view.auth()));
        let others =
            self.other_endpoints().into_iter().map(|other| (User::Endpoint(other.name), other.auth()));
        endpoints
            .chain(others)
            .chain(upload)
            .filter(|(_, auth)| *auth == EndpointAuth::Identity(identity.clone()))
            .collect()
    }

    /// A value by JSON pointer.
    pub fn value(&self, pointer: &str) -> Option<&Value> {
        self.at(pointer)
    }

    fn property(&self, name: &str) -> Option<&Value> {
        self.json.get("properties")?.get(name)
    }

    /// The elements of a list, with their places.
    fn elements(&self, pointer: &str) -> impl Iterator<Item = (usize, &Value)> + use<'_> {
        self.at(pointer).and_then(Value::as_array).into_iter().flatten().enumerate()
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        json::lookup(&self.json, pointer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hub(extra: Value) -> HubDocument {
        let mut json = json!({
            "id": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/h",
            "location": "westus2", "properties": {}, "sku": {"name": "S1"}
        });
        for (name, value) in extra.as_object().unwrap() {
            json[name] = value.clone();
        }
        HubDocument::from_json(json).unwrap()
    }

    #[test]
    fn identity_words_are_read_in_every_spelling() {
        for (word, system) in [
            ("SystemAssigned", true),
            ("SystemAssigned, UserAssigned", true),
            ("systemassigned,userassigned", true),
            ("UserAssigned", false),
            ("None", false),
        ] {
            assert_eq!(hub(json!({"identity": {"type": word}})).identity().system_assigned, system, "{word}");
        }
        assert_eq!(hub(json!({})).identity(), HubIdentity::default());
    }

    #[test]
    fn a_hub_is_ready_when_both_states_are_good() {
        let with = |state: &str, provisioning: &str| {
            hub(json!({"properties": {"state": state, "provisioningState": provisioning}}))
        };
        assert!(with("Active", "Succeeded").is_ready());
        assert!(!with("Transitioning", "Succeeded").is_ready());
        assert!(!with("Active", "Accepted").is_ready());
        assert!(with("Active", "Failed").is_ready());
        assert!(with("Deleting", "Succeeded").is_being_deleted());
    }
}
