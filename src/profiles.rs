//! Loads the desired-state document and keeps it fresh.
//!
//! The document is read again once it is older than a minute. A newer version that cannot be read
//! or has mistakes is reported, and the last good one stays in force: a typing mistake must not
//! stop a fleet.

use std::sync::{Arc, PoisonError, RwLock};

use azure_core::{
    credentials::TokenCredential,
    http::{HttpClient, Method, Request, Url},
};
use tokio::{sync::Mutex, time::Instant};
use tracing::{error, info};

use crate::{
    config::ProfilesSource,
    desired::{DesiredState, Mistakes},
    model::desired::ReservedContainer,
};

/// How long a document is used before it is read again.
const FRESH: std::time::Duration = std::time::Duration::from_secs(60);
/// Longest time that reading it may take: Event Grid gives a function thirty seconds in all.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// Largest document that is taken; the parser has the same limit.
const MAX_BYTES: usize = 1024 * 1024;
/// Token scope of Azure Storage, for a document in a blob.
const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";
/// A version of the storage protocol that takes Entra tokens.
const STORAGE_VERSION: &str = "2021-12-02";

/// Why there is no desired state.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("cannot read {from}: {cause}")]
    NotRead {
        /// The file or the address.
        from: String,
        /// What went wrong.
        cause: String,
    },
    /// It has mistakes.
    #[error("{from} has mistakes:\n{mistakes}")]
    Mistakes {
        /// The file or the address.
        from: String,
        /// All of them.
        mistakes: Mistakes,
    },
}

/// The desired state, read when it is first needed and again from time to time.
pub struct Profiles {
    source: ProfilesSource,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
    reserved: Option<ReservedContainer>,
    loaded: RwLock<Option<Loaded>>,
    /// Held by the one caller who reads the document.
    loading: Mutex<()>,
}

#[derive(Clone)]
struct Loaded {
    state: Arc<DesiredState>,
    at: Instant,
}

impl Profiles {
    /// Profiles from a source; nothing is read yet.
    pub fn new(
        source: ProfilesSource,
        credential: Arc<dyn TokenCredential>,
        transport: Arc<dyn HttpClient>,
    ) -> Self {
        let (loaded, loading) = (RwLock::new(None), Mutex::new(()));
        Self { source, credential, transport, reserved: None, loaded, loading }
    }

    /// The same, where outcomes are kept in the container at this address: no hub may write there.
    #[must_use]
    pub fn reserving(mut self, outcomes: Option<&Url>) -> Self {
        let container = |address: &Url| ReservedContainer::of_address(address.host_str()?, address.path());
        self.reserved = outcomes.and_then(container);
        self
    }

    /// The desired state in force. While one caller reads a newer version, the others go on with
    /// the one they have.
    ///
    /// # Errors
    /// Only when no good version has ever been read.
    pub async fn current(&self) -> Result<Arc<DesiredState>, LoadError> {
        let _reading = match self.loaded() {
            Some(loaded) if loaded.at.elapsed() < FRESH => return Ok(loaded.state),
            Some(loaded) => match self.loading.try_lock() {
                Ok(reading) => reading,
                Err(_) => return Ok(loaded.state),
            },
            None => self.loading.lock().await,
        };
        let last = self.loaded();
        if let Some(loaded) = last.as_ref().filter(|loaded| loaded.at.elapsed() < FRESH) {
            // Somebody else was quicker.
            return Ok(loaded.state.clone());
        }
        let state = match (self.load().await, last) {
            (Ok(state), _) => {
                info!(source = ?self.source, profiles = state.profile_names().count(), "profiles read");
                Arc::new(state)
            }
            (Err(problem), Some(last)) => {
                error!(source = ?self.source, error = %problem, "the last good profiles stay in force");
                last.state
            }
            (Err(problem), None) => return Err(problem),
        };
        let loaded = Loaded { state: state.clone(), at: Instant::now() };
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
        Ok(state)
    }

    fn loaded(&self) -> Option<Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads and parses the document once.
    ///
    /// # Errors
    /// When it cannot be read, or with every mistake in it.
    pub async fn load(&self) -> Result<DesiredState, LoadError> {
        let from = format!("{:?}", self.source);
        let read = tokio::time::timeout(PATIENCE, self.read()).await;
        let read = read.unwrap_or_else(|_| Err(format!("nothing came in {} s", PATIENCE.as_secs())));
        let text = read.map_err(|cause| LoadError::NotRead { from: from.clone(), cause })?;
        let state = DesiredState::parse(&text).map_err(|mistakes| LoadError::Mistakes { from, mistakes })?;
        Ok(state.reserving(self.reserved.clone()))
    }

    async fn read(&self) -> Result<String, String> {
        let bytes = match &self.source {
            ProfilesSource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?
            }
            ProfilesSource::Url(url) => self.fetch(url).await?,
        };
        if bytes.len() > MAX_BYTES {
            return Err(format!("it has {} bytes; at most {MAX_BYTES} are taken", bytes.len()));
        }
        String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
    }

    async fn fetch(&self, url: &Url) -> Result<Vec<u8>, String> {
        let mut request = Request::new(url.clone(), Method::Get);
        // Only a storage account may see our storage token, and only over https.
        let is_blob = url.scheme() == "https"
            && url.host_str().is_some_and(|host| {
                ["windows.net", "usgovcloudapi.net", "chinacloudapi.cn"]
                    .iter()
                    .any(|cloud| host.ends_with(&format!(".blob.core.{cloud}")))
            });
        if is_blob && !url.query_pairs().any(|(name, _)| name == "sig") {
            let token =
                self.credential.get_token(&[STORAGE_SCOPE], None).await.map_err(|error| error.to_string())?;
            request.insert_header("authorization", format!("Bearer {}", token.token.secret()));
            request.insert_header("x-ms-version", STORAGE_VERSION);
        }
        let answer = self.transport.execute_request(&request).await.map_err(|error| error.to_string())?;
        let status: u16 = answer.status().into();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        match status {
            200 => Ok(body.to_vec()),
            _ => Err(format!("the server answered {status}")),
        }
    }
}
