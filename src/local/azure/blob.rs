//! What the containers of storage accounts hold: block blobs, and blocks that wait to be put together.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{answer::iso, network::Reach, state::State};

/// A container's blobs.
#[derive(Debug, Default)]
pub(super) struct Container {
    /// By name, in the order of a list.
    pub(super) blobs: BTreeMap<String, Blob>,
    /// Blocks that are in no blob yet, by the blob's name and their own.
    pub(super) blocks: BTreeMap<(String, String), Bytes>,
}

/// A block blob.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) data: Bytes,
    /// As lists show it, such as `0x8DC3F1A2B3C4D5E`; headers have it in quotes.
    pub(super) etag: String,
    pub(super) created: OffsetDateTime,
    pub(super) modified: OffsetDateTime,
    pub(super) content_type: String,
    /// The headers `x-ms-meta-…`, without that beginning.
    pub(super) metadata: Vec<(String, String)>,
    /// What it was put together from, if it was.
    pub(super) blocks: Vec<(String, Bytes)>,
}

/// What a new blob is made of, besides its name.
pub(super) struct Content {
    pub(super) data: Bytes,
    pub(super) content_type: String,
    pub(super) metadata: Vec<(String, String)>,
    pub(super) blocks: Vec<(String, Bytes)>,
}

impl Content {
    /// Bytes and nothing else.
    pub(super) fn plain(data: impl Into<Bytes>) -> Self {
        Self {
            data: data.into(),
            content_type: "application/octet-stream".to_owned(),
            metadata: Vec::new(),
            blocks: Vec::new(),
        }
    }
}

impl State {
    /// The lower-cased id of the storage account with this name.
    pub(super) fn storage_account(&self, name: &str) -> Option<String> {
        let end = format!("/microsoft.storage/storageaccounts/{}", name.to_ascii_lowercase());
        self.targets.keys().find(|id| id.ends_with(&end)).cloned()
    }

    /// The id of a container of an account, if it is there.
    pub(super) fn storage_container(&self, account: &str, name: &str) -> Option<String> {
        let id = format!("{account}/blobservices/default/containers/{}", name.to_ascii_lowercase());
        self.targets.contains_key(&id).then_some(id)
    }

    /// Whether anybody may come to an account from outside.
    pub(super) fn is_open(&self, account: &str) -> bool {
        self.reach(account) == Reach::Open
    }

    pub(super) fn blob(&self, container: &str, name: &str) -> Option<&Blob> {
        self.blobs.get(container)?.blobs.get(name)
    }

    /// Writes a blob over whatever was there.
    pub(super) fn put_blob(&mut self, container: &str, name: &str, content: Content, now: OffsetDateTime) {
        let etag = format!("0x8D{:X}{:05X}", now.unix_timestamp(), self.random.word() & 0xF_FFFF);
        let Content { data, content_type, metadata, blocks } = content;
        let held = self.blobs.entry(container.to_owned()).or_default();
        let created = held.blobs.get(name).map_or(now, |before| before.created);
        let blob = Blob { data, etag, created, modified: now, content_type, metadata, blocks };
        held.blobs.insert(name.to_owned(), blob);
        held.blocks.retain(|(of, _), _| of != name);
    }

    /// Whether the blob was there.
    pub(super) fn remove_blob(&mut self, container: &str, name: &str) -> bool {
        self.blobs.get_mut(container).is_some_and(|held| held.blobs.remove(name).is_some())
    }

    /// Names and sizes, for `/_sim`.
    pub(super) fn blob_names(&self, container: &str) -> Vec<Value> {
        let held = self.blobs.get(container).map(|held| &held.blobs);
        let view = |(name, blob): (&String, &Blob)| json!({"name": name, "size": blob.data.len(), "modified": iso(blob.modified)});
        held.into_iter().flatten().map(view).collect()
    }
}
