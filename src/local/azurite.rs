//! [Azurite](https://github.com/Azure/Azurite), Microsoft's emulator of Azure Storage: how to be let in.
//!
//! Its account and the account's key are the same everywhere and printed in its documentation, so they are
//! no secret. Only tests and the command line use them; the handler has no key.
//!
//! Facts: <https://learn.microsoft.com/azure/storage/common/storage-connect-azurite>,
//! <https://learn.microsoft.com/rest/api/storageservices/create-account-sas>.

use std::sync::Arc;

use azure_core::{
    credentials::Secret,
    hmac::hmac_sha256,
    http::{HttpClient, Url},
};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::queue::{QueueError, QueueService};

/// The account that every Azurite has.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The version that the signature is made by.
const VERSION: &str = "2021-12-02";
/// Queues.
const SERVICES: &str = "q";
/// The service, queues, messages.
const RESOURCES: &str = "sco";
/// Read, write, delete, list, add, create, update, process.
const PERMISSIONS: &str = "rwdlacup";
const PROTOCOLS: &str = "https,http";
/// How long a signature is good.
const LIFE: Duration = Duration::days(30);

/// Whether an address is that of [`ACCOUNT`]'s queues, without a signature.
pub fn is_unsigned(endpoint: &Url) -> bool {
    account(endpoint) == ACCOUNT && endpoint.query().is_none()
}

/// An address of queues, such as `http://127.0.0.1:10001/devstoreaccount1`, with an account SAS made with
/// [`KEY`], good for all that can be done with queues.
///
/// # Errors
///
/// The time cannot be written; only far from now.
pub fn signed(endpoint: &Url, now: OffsetDateTime) -> Result<Url, azure_core::Error> {
    use azure_core::error::ErrorKind;
    let end = (now + LIFE).replace_nanosecond(0).unwrap_or(now).format(&Rfc3339);
    let end = end.map_err(|error| azure_core::Error::new(ErrorKind::DataConversion, error))?;
    let account = account(endpoint);
    // Empty lines: start, addresses, encryption scope.
    let to_sign =
        format!("{account}\n{PERMISSIONS}\n{SERVICES}\n{RESOURCES}\n\n{end}\n\n{PROTOCOLS}\n{VERSION}\n\n");
    let signature = hmac_sha256(&to_sign, &Secret::new(KEY))?;
    let mut url = endpoint.clone();
    url.query_pairs_mut().clear().extend_pairs([
        ("sv", VERSION),
        ("ss", SERVICES),
        ("srt", RESOURCES),
        ("sp", PERMISSIONS),
        ("se", &end),
        ("spr", PROTOCOLS),
        ("sig", &signature),
    ]);
    Ok(url)
}

/// The queues behind a URL with a signature, or behind that of [`ACCOUNT`]'s queues without one.
///
/// # Errors
///
/// The outer one: a signature cannot be made. The inner one: the URL is no such address.
pub fn open(
    url: Url,
    transport: Arc<dyn HttpClient>,
) -> Result<Result<QueueService, QueueError>, azure_core::Error> {
    let url = if is_unsigned(&url) { signed(&url, OffsetDateTime::now_utc())? } else { url };
    Ok(QueueService::with_sas(url, transport))
}

/// The first segment of the path.
fn account(endpoint: &Url) -> &str {
    endpoint.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default()
}
