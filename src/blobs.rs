//! Blobs of one container, with our own identity.

use std::sync::Arc;

use azure_core::{
    credentials::TokenCredential,
    error::ErrorKind,
    http::{ClientOptions, Etag, HttpClient, RequestContent, StatusCode, Transport, Url},
};
use azure_storage_blob::{
    BlobContainerClient, BlobContainerClientOptions,
    models::{BlobClientDeleteOptions, BlobClientUploadOptions, BlobContainerClientListBlobsOptions},
};
use bytes::Bytes;
use futures::TryStreamExt;
use time::OffsetDateTime;

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
    /// A blob that was to be made is there.
    #[error("the blob is there already")]
    Exists,
    /// A blob that was to be changed is another one by now.
    #[error("somebody else changed the blob meanwhile")]
    Moved,
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

    /// A blob's bytes, as they come; `None` if there is no such blob.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn open(&self, name: &str) -> Result<Option<Opened>, BlobError> {
        match self.client.blob_client(name).download(None).await.map_err(|error| understood(name, &error)) {
            Ok(found) => Ok(Some(Opened {
                last_modified: found.properties.last_modified,
                version: found.properties.etag.map(Version),
                name: name.to_owned(),
                body: found.body,
            })),
            Err(BlobError::NoBlob(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A blob's text; `None` if there is no such blob.
    ///
    /// # Errors
    /// It cannot be read, or is no text of at most `most` bytes.
    pub async fn text(&self, name: &str, most: usize) -> Result<Option<String>, BlobError> {
        let Some(blob) = self.open(name).await? else { return Ok(None) };
        blob.into_text(most).await.map(Some)
    }

    /// Writes a blob, over one that is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn write(&self, name: &str, text: String) -> Result<(), BlobError> {
        self.upload(name, text, BlobClientUploadOptions::default()).await
    }

    /// Writes a blob, unless one is there: then the answer is `false`.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn create(&self, name: &str, text: String) -> Result<bool, BlobError> {
        match self.upload(name, text, BlobClientUploadOptions::default().if_not_exists()).await {
            Ok(()) => Ok(true),
            Err(BlobError::Exists) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A blob's text and its version; `None` if there is no such blob.
    ///
    /// # Errors
    /// It cannot be read, or is no text of at most `most` bytes.
    pub async fn versioned(&self, name: &str, most: usize) -> Result<Option<(String, Version)>, BlobError> {
        let Some(blob) = self.open(name).await? else { return Ok(None) };
        let version = blob.version.clone();
        let version = version.ok_or_else(|| BlobError::Other(format!("`{name}` came without a version")))?;
        Ok(Some((blob.into_text(most).await?, version)))
    }

    /// Writes a blob over the version that was read. If another one is there by now, nothing is written and
    /// the answer is `false`; so it is when the answer to a write of ours was lost.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn replace(&self, name: &str, text: String, version: &Version) -> Result<bool, BlobError> {
        let if_match = Some(version.0.clone());
        let options = BlobClientUploadOptions { if_match, ..BlobClientUploadOptions::default() };
        match self.upload(name, text, options).await {
            Ok(()) => Ok(true),
            Err(BlobError::Moved | BlobError::NoBlob(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn upload(
        &self,
        name: &str,
        text: String,
        options: BlobClientUploadOptions<'_>,
    ) -> Result<(), BlobError> {
        let blob = self.client.blob_client(name);
        let sent = blob.upload(RequestContent::from(text.into_bytes()), Some(options));
        sent.await.map(|_| ()).map_err(|error| understood(name, &error))
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

/// Which version of a blob was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(Etag);

/// A blob that is being read.
pub struct Opened {
    /// When it was written, in whole seconds.
    pub last_modified: Option<OffsetDateTime>,
    version: Option<Version>,
    name: String,
    body: azure_core::http::AsyncResponseBody,
}

impl Opened {
    async fn into_text(mut self, most: usize) -> Result<String, BlobError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                return Err(BlobError::Other(format!("`{}` has more than {most} bytes", self.name)));
            }
        }
        String::from_utf8(bytes).map_err(|_| BlobError::Other(format!("`{}` is not a text", self.name)))
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// It cannot be read on.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        self.body.try_next().await.map_err(|error| understood(&self.name, &error))
    }
}

fn understood(name: &str, error: &azure_core::Error) -> BlobError {
    let code = match error.kind() {
        ErrorKind::HttpResponse { error_code, .. } => error_code.clone().unwrap_or_default(),
        _ => String::new(),
    };
    match (error.http_status(), code.as_str()) {
        (_, "ContainerNotFound" | "ContainerBeingDeleted") => BlobError::NoContainer,
        (_, "BlobAlreadyExists") => BlobError::Exists,
        (_, "ConditionNotMet") | (Some(StatusCode::PreconditionFailed), _) => BlobError::Moved,
        (Some(StatusCode::NotFound), _) => BlobError::NoBlob(name.to_owned()),
        (Some(StatusCode::Forbidden | StatusCode::Unauthorized), _) => BlobError::Denied(code),
        _ => BlobError::Other(error.to_string()),
    }
}
