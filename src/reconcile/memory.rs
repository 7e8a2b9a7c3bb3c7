//! What this process did to hubs lately. It stands in for Azure's activity log while that is behind,
//! and is allowed to forget: the log is the truth.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    model::IotHubId,
    plan::{HubWrite, Writer},
};

/// How long anything is remembered.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Most hubs that are remembered.
const MOST: usize = 50_000;

/// Writes of hubs by this process.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<BTreeMap<String, Vec<Deed>>>);

#[derive(Debug, Clone, Copy)]
struct Deed {
    at: Instant,
    azure_time: OffsetDateTime,
    mark: Uuid,
    /// Whether the look ended with the hub as it should be.
    brought_in_sync: bool,
}

impl Memory {
    /// A hub was written.
    pub(super) fn wrote(&self, hub: &IotHubId, mark: Uuid, azure_time: OffsetDateTime) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        let deeds = all.entry(hub.key().to_owned()).or_default();
        deeds.retain(|deed| deed.at.elapsed() < KEPT);
        deeds.push(Deed { at: Instant::now(), azure_time, mark, brought_in_sync: false });
    }

    /// The last write left the hub as it should be.
    pub(super) fn brought_in_sync(&self, hub: &IotHubId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = all.get_mut(hub.key()).and_then(|deeds| deeds.last_mut()) {
            last.brought_in_sync = true;
        }
    }

    /// The writes of a hub.
    pub(super) fn writes(&self, hub: &IotHubId) -> Vec<HubWrite> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let deeds = all.get(hub.key()).into_iter().flatten();
        deeds.map(|deed| HubWrite { at: deed.azure_time, by: Writer::Us(Some(deed.mark)) }).collect()
    }

    /// How often the hub was left as this wanted state wants it. If it has to be written once more
    /// for the same state, it was undone as often.
    pub(super) fn times_in_sync(&self, hub: &IotHubId, mark: Uuid) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let deeds = all.get(hub.key()).into_iter().flatten();
        deeds.filter(|deed| deed.at.elapsed() < KEPT && deed.mark == mark && deed.brought_in_sync).count()
    }
}
