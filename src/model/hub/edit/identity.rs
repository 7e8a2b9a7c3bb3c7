//! The identity block: what is left out of it on a PUT is gone, so it is always written whole.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::EditError;
use crate::model::{ResourceId, hub::HubIdentity};

/// Changes to a hub's identities. Those attached that are not named stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityEdit {
    /// Turn the system-assigned identity on or off; `None` leaves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// User-assigned identities to attach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attach: Vec<ResourceId>,
    /// User-assigned identities to detach. The identities themselves are not touched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detach: Vec<ResourceId>,
}

impl IdentityEdit {
    /// The edit, if it changes anything.
    pub fn if_any(self) -> Option<Self> {
        let Self { system, attach, detach } = &self;
        (system.is_some() || !attach.is_empty() || !detach.is_empty()).then_some(self)
    }

    pub(super) fn make(&self, found: &HubIdentity, body: &mut Map<String, Value>) -> Result<(), EditError> {
        let block = body.entry("identity").or_insert_with(|| json!({}));
        if block.is_null() {
            *block = json!({});
        }
        let block = block.as_object_mut().ok_or_else(|| EditError::Shape("identity".into()))?;
        let mut users = match block.remove("userAssignedIdentities") {
            Some(Value::Object(users)) => users,
            _ => Map::new(),
        };
        users.retain(|id, _| !ResourceId::parse(id).is_ok_and(|id| self.detach.contains(&id)));
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
