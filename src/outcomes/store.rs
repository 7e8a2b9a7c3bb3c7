//! Outcomes as blobs: the last one of each hub, and the one of each request, written once.
//!
//! ```text
//! hubs/{subscription}/{group}/{hub}.json   the last record, also of one that waits
//! requests/{outcome id}.json               how a request ended: made once, never changed
//! waiting/{outcome id}.json                what a request waits for; goes when it has ended
//! keys/{id of its key}.json                the request that has an idempotency key
//! parked/{outcome id}.txt                  what came in and was too long for a message
//! fleet.json                               where every hub stood at the last resync
//! campaigns/{id}/…                         see `campaigns::store`
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Record, id_of, path_of};
use crate::{
    blobs::{BlobError, Container, Version},
    fleet::FleetReport,
    model::IotHubId,
};

/// Largest record that is read.
const MAX_RECORD: usize = 1024 * 1024;
/// What the last resync found.
const FLEET: &str = "fleet.json";
/// Largest fleet that is read: ten thousand hubs take some five MiB.
const MAX_FLEET: usize = 32 * 1024 * 1024;

/// Where outcomes are kept.
#[async_trait]
pub trait OutcomeStore: Send + Sync {
    /// How a request ended, if it has.
    async fn ended(&self, outcome: Uuid) -> Result<Option<Record>, BlobError>;

    /// What a request waits for, if it does.
    async fn waiting(&self, outcome: Uuid) -> Result<Option<Record>, BlobError>;

    /// Takes an idempotency key for a request; answers with the digest of the request that has it.
    async fn claim(&self, key: &str, digest: Uuid) -> Result<Uuid, BlobError>;

    /// The request that has an idempotency key.
    async fn claimed(&self, key: &str) -> Result<Option<Uuid>, BlobError>;

    /// Writes down how a request ended, or what it waits for. What has ended stays as it is: the answer
    /// is the record that holds.
    async fn tell(&self, record: &Record) -> Result<Record, BlobError>;

    /// Writes down the last outcome of a hub over the one that was read. If that is not the last any more, the
    /// answer is [`BlobError::Moved`].
    async fn tell_of_hub(&self, hub: &IotHubId, record: &Record, over: &LastOfHub) -> Result<(), BlobError>;

    /// The last outcome of a hub, to be written over.
    async fn last_of_hub(&self, hub: &IotHubId) -> Result<LastOfHub, BlobError>;

    /// The last outcome of a hub.
    async fn of_hub(&self, hub: &IotHubId) -> Result<Option<Record>, BlobError> {
        Ok(self.last_of_hub(hub).await?.record)
    }

    /// Keeps a text that is too long for a message; answers with where it lies.
    async fn keep(&self, outcome: Uuid, text: &str) -> Result<String, BlobError>;

    /// A text that was kept.
    async fn kept(&self, blob: &str) -> Result<Option<String>, BlobError>;

    /// Writes down what the last resync found.
    async fn tell_of_fleet(&self, report: &FleetReport) -> Result<(), BlobError>;

    /// The container, for what else is kept there.
    fn container(&self) -> Arc<Container>;

    /// What the last resync found.
    async fn of_fleet(&self) -> Result<Option<FleetReport>, BlobError>;
}

/// The last outcome of a hub, as it was read.
#[derive(Debug, Clone, Default)]
pub struct LastOfHub {
    /// The outcome, if there was one.
    pub record: Option<Record>,
    version: Option<Version>,
}

/// A container of a storage account.
pub struct BlobStore {
    container: Arc<Container>,
}

#[derive(Serialize, Deserialize)]
struct Claim {
    digest: Uuid,
}

impl BlobStore {
    /// Outcomes in a container.
    pub fn new(container: Container) -> Self {
        Self { container: Arc::new(container) }
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, BlobError> {
        let Some(text) = self.container.text(name, MAX_RECORD).await? else { return Ok(None) };
        parsed(name, &text).map(Some)
    }
}

/// Where the last outcome of a hub lies.
fn name_of(hub: &IotHubId) -> String {
    format!("hubs/{}.json", path_of(hub))
}

fn parsed<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, BlobError> {
    let unreadable = |error| BlobError::Other(format!("`{name}` is not a record: {error}"));
    serde_json::from_str(text).map_err(unreadable)
}

fn json(value: &impl Serialize) -> Result<String, BlobError> {
    serde_json::to_string(value).map_err(|error| BlobError::Other(error.to_string()))
}

#[async_trait]
impl OutcomeStore for BlobStore {
    async fn ended(&self, outcome: Uuid) -> Result<Option<Record>, BlobError> {
        self.read(&format!("requests/{outcome}.json")).await
    }

    async fn waiting(&self, outcome: Uuid) -> Result<Option<Record>, BlobError> {
        self.read(&format!("waiting/{outcome}.json")).await
    }

    async fn claim(&self, key: &str, digest: Uuid) -> Result<Uuid, BlobError> {
        let name = format!("keys/{}.json", id_of(key));
        if self.container.create(&name, json(&Claim { digest })?).await? {
            return Ok(digest);
        }
        Ok(self.claimed(key).await?.unwrap_or(digest))
    }

    async fn claimed(&self, key: &str) -> Result<Option<Uuid>, BlobError> {
        let claim: Option<Claim> = self.read(&format!("keys/{}.json", id_of(key))).await?;
        Ok(claim.map(|claim| claim.digest))
    }

    async fn tell(&self, record: &Record) -> Result<Record, BlobError> {
        let id = record.outcome_id;
        let waiting = format!("waiting/{id}.json");
        let text = json(&record.of_its_own())?;
        if record.outcome == super::Word::Waiting {
            self.container.write(&waiting, text).await?;
            return Ok(record.clone());
        }
        let is_first = self.container.create(&format!("requests/{id}.json"), text).await?;
        self.container.delete(&waiting).await?;
        let holds = if is_first { None } else { self.ended(id).await? };
        Ok(holds.unwrap_or_else(|| record.clone()))
    }

    async fn tell_of_hub(&self, hub: &IotHubId, record: &Record, over: &LastOfHub) -> Result<(), BlobError> {
        let (name, text) = (name_of(hub), json(record)?);
        let is_written = match &over.version {
            Some(version) => self.container.replace(&name, text, version).await?,
            None => self.container.create(&name, text).await?,
        };
        if is_written { Ok(()) } else { Err(BlobError::Moved) }
    }

    async fn last_of_hub(&self, hub: &IotHubId) -> Result<LastOfHub, BlobError> {
        let name = name_of(hub);
        let Some((text, version)) = self.container.versioned(&name, MAX_RECORD).await? else {
            return Ok(LastOfHub::default());
        };
        Ok(LastOfHub { record: Some(parsed(&name, &text)?), version: Some(version) })
    }

    async fn keep(&self, outcome: Uuid, text: &str) -> Result<String, BlobError> {
        let name = format!("parked/{outcome}.txt");
        self.container.write(&name, text.to_owned()).await?;
        Ok(name)
    }

    async fn kept(&self, blob: &str) -> Result<Option<String>, BlobError> {
        self.container.text(blob, MAX_RECORD).await
    }

    async fn tell_of_fleet(&self, report: &FleetReport) -> Result<(), BlobError> {
        self.container.write(FLEET, json(report)?).await
    }

    fn container(&self) -> Arc<Container> {
        self.container.clone()
    }

    async fn of_fleet(&self) -> Result<Option<FleetReport>, BlobError> {
        let Some(text) = self.container.text(FLEET, MAX_FLEET).await? else { return Ok(None) };
        let unreadable = |error| BlobError::Other(format!("`{FLEET}` cannot be read: {error}"));
        serde_json::from_str(&text).map(Some).map_err(unreadable)
    }
}
