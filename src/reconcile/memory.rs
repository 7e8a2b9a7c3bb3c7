//! What this process did to hubs lately. It stands in for Azure's activity log while that is behind,
//! and is allowed to forget: the log is the truth.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    model::{IotHubId, hub::HubDocument},
    plan::{HubWrite, Stage, Writer, mark},
};

/// How long anything is remembered.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most hubs that are remembered.
const MOST: usize = 50_000;

/// Writes of hubs by this process.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<BTreeMap<String, Past>>);

/// What was done to one hub.
#[derive(Debug, Default)]
struct Past {
    /// When the hub was made: one that was made anew has no past.
    made: Option<OffsetDateTime>,
    deeds: Vec<Deed>,
    /// A state that the hub took and did not keep: its etag, and what was wanted.
    not_kept: Option<(String, Uuid)>,
}

#[derive(Debug, Clone, Copy)]
struct Deed {
    at: Instant,
    azure_time: OffsetDateTime,
    mark: Uuid,
    /// Whether the look ended with the hub as it should be.
    brought_in_sync: bool,
}

impl Memory {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Past>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of just this hub, and not of one of the same name before it.
    fn with<T>(&self, hub: &HubDocument, read: impl FnOnce(&mut Past) -> T) -> T {
        let mut all = self.all();
        if all.len() >= MOST {
            all.clear();
        }
        let past = all.entry(hub.id().key().to_owned()).or_default();
        if past.made != hub.created_at() {
            *past = Past { made: hub.created_at(), ..Past::default() };
        }
        past.deeds.retain(|deed| deed.at.elapsed() < KEPT);
        read(past)
    }

    /// A hub was written, or may have been.
    pub(super) fn wrote(&self, hub: &HubDocument, mark: Uuid, azure_time: OffsetDateTime) {
        let deed = Deed { at: Instant::now(), azure_time, mark, brought_in_sync: false };
        self.with(hub, |past| past.deeds.push(deed));
    }

    /// The last write left the hub as it should be.
    pub(super) fn brought_in_sync(&self, hub: &HubDocument) {
        self.with(hub, |past| {
            if let Some(last) = past.deeds.last_mut() {
                last.brought_in_sync = true;
            }
        });
    }

    /// The hub took a write and shows something else.
    pub(super) fn did_not_keep(&self, hub: &HubDocument, fingerprint: Uuid) {
        let etag = hub.etag().map(str::to_owned);
        self.with(hub, |past| past.not_kept = etag.map(|etag| (etag, fingerprint)));
    }

    /// Whether the hub, as it is now, has been given just this already, and did not keep it.
    pub(super) fn keeps_not(&self, hub: &HubDocument, fingerprint: Uuid) -> bool {
        self.with(hub, |past| {
            past.not_kept
                .as_ref()
                .is_some_and(|(etag, wanted)| Some(etag.as_str()) == hub.etag() && *wanted == fingerprint)
        })
    }

    /// The hub is gone.
    pub(super) fn forget(&self, hub: &IotHubId) {
        self.all().remove(hub.key());
    }

    /// The writes of a hub.
    pub(super) fn writes(&self, hub: &HubDocument) -> Vec<HubWrite> {
        self.with(hub, |past| {
            let write = |deed: &Deed| HubWrite {
                at: deed.azure_time,
                by: Writer::Us(Some(deed.mark)),
                stage: Stage::Accepted,
            };
            past.deeds.iter().map(write).collect()
        })
    }

    /// How often in a row the hub was left as this wanted state wants it. If it has to be written
    /// once more for the same state, it was undone as often.
    pub(super) fn times_in_sync(&self, hub: &HubDocument, fingerprint: Uuid) -> usize {
        let of_this_state = [mark(fingerprint, true), mark(fingerprint, false)];
        self.with(hub, |past| {
            let lately = past.deeds.iter().rev().take_while(|deed| of_this_state.contains(&deed.mark));
            lately.filter(|deed| deed.brought_in_sync).count()
        })
    }
}
