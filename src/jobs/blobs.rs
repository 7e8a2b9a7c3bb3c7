//! The storage account, with our own identity: the input of an import, its error log, older exports.

use std::sync::Arc;

use azure_core::{
    credentials::TokenCredential,
    error::ErrorKind,
    http::{ClientOptions, HttpClient, StatusCode, Transport, Url},
};
use azure_storage_blob::{
    BlobContainerClient, BlobContainerClientOptions,
    models::{BlobClientDeleteOptions, BlobContainerClientListBlobsOptions},
};
use futures::TryStreamExt;
use time::{Duration, OffsetDateTime};

use super::{
    input::Checker,
    log::{self, Failures},
};

/// Largest error log that is read.
const MAX_LOG: usize = 16 * 1024 * 1024;

/// One container.
pub struct Container {
    client: BlobContainerClient,
}

/// What a blob did not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("there is no blob `{0}`")]
    NoBlob(String),
    /// There is no such container.
    #[error("the container is gone")]
    NoContainer,
    /// We may not.
    #[error("Hubward may not read or change blobs there: grant it Storage Blob Data Contributor ({0})")]
    Denied(String),
    /// Anything else; it may pass.
    #[error("{0}")]
    Other(String),
}

impl Container {
    /// A container by its address, without a signature.
    ///
    /// # Errors
    /// The address is not https.
    pub fn new(
        address: &str,
        credential: Arc<dyn TokenCredential>,
        transport: Arc<dyn HttpClient>,
    ) -> Result<Self, BlobError> {
        let other = |error: String| BlobError::Other(error);
        let url = Url::parse(address).map_err(|error| other(error.to_string()))?;
        let options = BlobContainerClientOptions {
            client_options: ClientOptions {
                transport: Some(Transport::new(transport)),
                ..ClientOptions::default()
            },
            ..BlobContainerClientOptions::default()
        };
        let client = BlobContainerClient::new(url, Some(credential), Some(options))
            .map_err(|error| other(error.to_string()))?;
        Ok(Self { client })
    }

    /// Checks an input line by line, as it comes.
    ///
    /// # Errors
    /// The blob cannot be read.
    pub async fn check_input(&self, name: &str) -> Result<Checker, BlobError> {
        let mut checker = Checker::default();
        let found = self.client.blob_client(name).download(None).await;
        let mut body = found.map_err(|error| understood(name, &error))?.body;
        while let Some(piece) = body.try_next().await.map_err(|error| understood(name, &error))? {
            checker.take(&piece);
        }
        checker.finish();
        Ok(checker)
    }

    /// What failed in the import that started then. No log means that nothing did, and so does one that
    /// is older: each import writes its own over it.
    ///
    /// # Errors
    /// The log is there and cannot be read.
    pub async fn import_failures(&self, since: OffsetDateTime) -> Result<Failures, BlobError> {
        let found = self.client.blob_client(log::NAME).download(None).await;
        let mut body = match found.map_err(|error| understood(log::NAME, &error)) {
            // The service tells whole seconds.
            Ok(found) if found.properties.last_modified.is_some_and(|at| at < since - Duration::SECOND) => {
                return Ok(Failures::default());
            }
            Ok(found) => found.body,
            Err(BlobError::NoBlob(_)) => return Ok(Failures::default()),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        while let Some(piece) = body.try_next().await.map_err(|error| understood(log::NAME, &error))? {
            if text.len() < MAX_LOG {
                text.extend_from_slice(&piece);
            }
        }
        Ok(log::read(&String::from_utf8_lossy(&text)))
    }

    /// Names of the blobs that begin with a prefix.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(prefix.to_owned()),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let pages = self.client.list_blobs(Some(options)).map_err(|error| understood(prefix, &error))?;
        let items: Vec<_> = pages.try_collect().await.map_err(|error| understood(prefix, &error))?;
        Ok(items.into_iter().filter_map(|item| item.name).collect())
    }

    /// Deletes a blob. What is not there counts as deleted.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub async fn delete(&self, name: &str) -> Result<(), BlobError> {
        let deleted = self.client.blob_client(name).delete(None::<BlobClientDeleteOptions<'_>>).await;
        match deleted.map_err(|error| understood(name, &error)) {
            Ok(_) | Err(BlobError::NoBlob(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn understood(name: &str, error: &azure_core::Error) -> BlobError {
    let code = match error.kind() {
        ErrorKind::HttpResponse { error_code, .. } => error_code.clone().unwrap_or_default(),
        _ => String::new(),
    };
    match (error.http_status(), code.as_str()) {
        (_, "ContainerNotFound" | "ContainerBeingDeleted") => BlobError::NoContainer,
        (Some(StatusCode::NotFound), _) => BlobError::NoBlob(name.to_owned()),
        (Some(StatusCode::Forbidden | StatusCode::Unauthorized), _) => BlobError::Denied(code),
        _ => BlobError::Other(error.to_string()),
    }
}
