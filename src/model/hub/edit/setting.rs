//! Single values somewhere in the document.

use serde::Serialize;
use serde_json::{Map, Value};

use super::EditError;

/// One value to set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingEdit {
    /// Where: a JSON pointer of object members, created on the way.
    pub pointer: String,
    /// What.
    pub value: Value,
    /// What this changes, in words: `fallback route: on -> off`.
    pub summary: String,
}

impl SettingEdit {
    pub(super) fn make(&self, body: &mut Map<String, Value>) -> Result<String, EditError> {
        let shape = || EditError::Shape(self.pointer.clone());
        let mut parts: Vec<&str> = self.pointer.split('/').skip(1).collect();
        let last = parts.pop().ok_or_else(shape)?;
        let mut node = body;
        for part in parts {
            let below = node.entry(part).or_insert(Value::Null);
            if below.is_null() {
                *below = Value::Object(Map::new());
            }
            node = below.as_object_mut().ok_or_else(shape)?;
        }
        node.insert(last.to_owned(), self.value.clone());
        Ok(self.pointer.clone())
    }
}
