//! Where campaigns are kept: blobs of the container of outcomes.
//!
//! ```text
//! campaigns/{id}/campaign.json             what it is and how far it has come
//! campaigns/{id}/{run}/{wave}-{page}.json  how far each hub of a wave has come
//! ```
//!
//! Both are written over the version that was read, and never over another one.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{campaign::Campaign, hubs::Page};
use crate::{
    blobs::{BlobError, Container, Version},
    outcomes::store::OutcomeStore,
};

/// Largest blob of a campaign that is read: pages have a bounded number of hubs.
const MOST: usize = 8 * 1024 * 1024;
/// Where all of it is.
const FOLDER: &str = "campaigns/";
/// The name of a campaign's own blob.
const OWN: &str = "/campaign.json";

/// A container with campaigns.
#[derive(Clone)]
pub struct CampaignBlobs {
    container: Arc<Container>,
}

/// A page of a campaign, by wave and number, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageAt {
    /// The run of the campaign.
    pub run: Uuid,
    /// The wave.
    pub wave: usize,
    /// The page of the wave.
    pub page: usize,
}

impl CampaignBlobs {
    /// Beside the outcomes.
    pub fn of(store: &dyn OutcomeStore) -> Self {
        Self { container: store.container() }
    }

    /// A campaign, if there is one of that name.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn campaign(&self, id: &str) -> Result<Option<(Campaign, Version)>, BlobError> {
        self.read(&format!("{FOLDER}{id}{OWN}")).await
    }

    /// Writes a campaign that is new. `false` if there is one of that name: then nothing is changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn begin(&self, campaign: &Campaign, pages: &[Vec<Page>]) -> Result<bool, BlobError> {
        if self.campaign(&campaign.id).await?.is_some() {
            return Ok(false);
        }
        // The pages of a run are nobody else's: they may be there before it is decided whose name it is.
        let mut written = Vec::new();
        for (wave, pages) in pages.iter().enumerate() {
            for (number, page) in pages.iter().enumerate() {
                let name = name_of(&campaign.id, PageAt { run: campaign.run, wave, page: number });
                self.container.write(&name, json(page)?).await?;
                written.push(name);
            }
        }
        let own = format!("{FOLDER}{}{OWN}", campaign.id);
        if self.container.create(&own, json(campaign)?).await? {
            return Ok(true);
        }
        // An answer that was lost looks like somebody else.
        let holder = self.campaign(&campaign.id).await?;
        if holder.is_some_and(|(holder, _)| holder.run == campaign.run) {
            return Ok(true);
        }
        for name in written {
            self.container.delete(&name).await?;
        }
        Ok(false)
    }

    /// Writes a campaign over the version that was read. `false` if that is not the last one.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn save(&self, campaign: &Campaign, version: &Version) -> Result<bool, BlobError> {
        self.container.replace(&format!("{FOLDER}{}{OWN}", campaign.id), json(campaign)?, version).await
    }

    /// A page. There is one wherever the campaign says so.
    ///
    /// # Errors
    /// It cannot be read, or is gone.
    pub async fn page(&self, id: &str, at: PageAt) -> Result<(Page, Version), BlobError> {
        let name = name_of(id, at);
        self.read(&name).await?.ok_or(BlobError::NoBlob(name))
    }

    /// Writes a page over the version that was read, and answers with the new version.
    ///
    /// # Errors
    /// It cannot be written, or somebody else has written it: two workers at one campaign.
    pub async fn save_page(
        &self,
        id: &str,
        at: PageAt,
        page: &Page,
        version: &Version,
    ) -> Result<Version, BlobError> {
        let name = name_of(id, at);
        let was_written = self.container.replace(&name, json(page)?, version).await?;
        let (there, version) = self.page(id, at).await?;
        // An answer that was lost looks like somebody else.
        if was_written || there == *page { Ok(version) } else { Err(BlobError::Moved) }
    }

    /// The ids of all campaigns.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn ids(&self) -> Result<Vec<String>, BlobError> {
        let names = self.container.names(FOLDER).await?;
        let id = |name: &String| Some(name.strip_prefix(FOLDER)?.strip_suffix(OWN)?.to_owned());
        Ok(names.iter().filter_map(id).collect())
    }

    async fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<(T, Version)>, BlobError> {
        let Some((text, version)) = self.container.versioned(name, MOST).await? else { return Ok(None) };
        let unreadable = |error| BlobError::Other(format!("`{name}` cannot be read: {error}"));
        serde_json::from_str(&text).map(|value| Some((value, version))).map_err(unreadable)
    }
}

fn name_of(id: &str, at: PageAt) -> String {
    format!("{FOLDER}{id}/{}/{:03}-{:04}.json", at.run, at.wave + 1, at.page)
}

fn json(value: &impl Serialize) -> Result<String, BlobError> {
    serde_json::to_string(value).map_err(|error| BlobError::Other(error.to_string()))
}
