//! Keys of targets on their way into a PUT: fetched for it, and gone with it.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::desired::Target;

/// What a key is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Slot {
    /// The endpoint of this name.
    Endpoint(String),
    /// File upload.
    FileUpload,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Endpoint(name) => write!(f, "endpoint {name}"),
            Slot::FileUpload => f.write_str("file upload"),
        }
    }
}

/// A key that an edit needs, and where to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNeed {
    /// What it is for.
    pub slot: Slot,
    /// Whose key it is.
    pub target: Target,
    /// The authorization rule, where keys belong to rules.
    pub rule: Option<String>,
    /// The target's address as ARM gave it, which becomes part of the connection string.
    pub endpoint_uri: String,
}

/// Members of endpoints that hold keys. Never printed, never serialised.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<Slot, Map<String, Value>>);

impl Secrets {
    /// Adds the members for one slot, such as `connectionString`.
    pub fn add(&mut self, slot: Slot, members: impl IntoIterator<Item = (&'static str, String)>) {
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        self.0.insert(slot, members.collect());
    }

    pub(super) fn get(&self, slot: &Slot) -> Option<&Map<String, Value>> {
        self.0.get(slot)
    }

    /// Stand-ins, for comparing documents in which keys do not matter.
    pub(super) fn placeholders(needs: &[KeyNeed]) -> Self {
        Self(needs.iter().map(|need| (need.slot.clone(), Map::new())).collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} slots)", self.0.len())
    }
}
