//! What a job leaves or takes in its container: the input of an import, its error log.

use time::{Duration, OffsetDateTime};

use super::{
    input::Checker,
    log::{self, Failures},
};
use crate::blobs::{BlobError, Container};

/// Largest error log that is read.
const MAX_LOG: usize = 16 * 1024 * 1024;

/// Checks an input line by line, as it comes.
///
/// # Errors
/// The blob cannot be read.
pub(super) async fn check_input(container: &Container, name: &str) -> Result<Checker, BlobError> {
    let mut checker = Checker::default();
    let found = container.open(name).await?;
    let mut blob = found.ok_or_else(|| BlobError::NoBlob(name.to_owned()))?;
    while let Some(piece) = blob.next().await? {
        checker.take(&piece);
    }
    checker.finish();
    Ok(checker)
}

/// What failed in the import that started then. No log means that nothing did, and so does one that is
/// older: each import writes its own over it.
///
/// # Errors
/// The log is there and cannot be read.
pub(super) async fn import_failures(
    container: &Container,
    since: OffsetDateTime,
) -> Result<Failures, BlobError> {
    let mut blob = match container.open(log::NAME).await? {
        // The service tells whole seconds.
        Some(blob) if blob.last_modified.is_none_or(|at| at >= since - Duration::SECOND) => blob,
        _ => return Ok(Failures::default()),
    };
    let mut text = Vec::new();
    while let Some(piece) = blob.next().await? {
        if text.len() < MAX_LOG {
            text.extend_from_slice(&piece);
        }
    }
    Ok(log::read(&String::from_utf8_lossy(&text)))
}
