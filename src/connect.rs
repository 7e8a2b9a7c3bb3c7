//! From settings to connections: one HTTP client, one credential, the clients on top.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    credentials::TokenCredential,
    http::{AsyncRawResponse, ClientOptions, HttpClient, Request, Transport, Url},
};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};

use crate::{
    arm::{ArmClient, AzureClock},
    blobs::{BlobError, Container},
    config::{AzureSettings, is_loopback},
    queue::{QueueError, QueueService},
};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server in the middle of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The HTTP client that everything shares: connections are reused, redirects are not followed (a
/// token must not travel).
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Who we are: the managed identity where the platform offers one, a developer's sign-in elsewhere.
/// Tokens are cached by the credential, for each scope.
pub fn credential(
    settings: &AzureSettings,
    transport: Arc<dyn HttpClient>,
) -> azure_core::Result<Arc<dyn TokenCredential>> {
    if !settings.has_managed_identity {
        return Ok(DeveloperToolsCredential::new(None)?);
    }
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: settings.client_id.map(|id| UserAssignedId::ClientId(id.to_string())),
        client_options: ClientOptions {
            transport: Some(Transport::new(transport)),
            ..ClientOptions::default()
        },
    };
    Ok(ManagedIdentityCredential::new(Some(options))?)
}

/// What reaches hubs and storage accounts: directly, or where a local cloud stands in for them.
fn data_transport(settings: &AzureSettings, transport: Arc<dyn HttpClient>) -> Arc<dyn HttpClient> {
    match &settings.data_endpoint {
        Some(endpoint) => Arc::new(LocalData { endpoint: endpoint.clone(), transport }),
        None => transport,
    }
}

/// A storage container, by its address.
///
/// # Errors
/// The address is not https.
pub fn container(
    settings: &AzureSettings,
    address: &Url,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
) -> Result<Container, BlobError> {
    Container::new(address.as_str().trim_end_matches('/'), credential, data_transport(settings, transport))
}

/// The queue service of a storage account: with the signature in its address, if there is one, else with our
/// identity.
///
/// # Errors
/// The address is not https.
pub fn queue_service(
    address: Url,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
) -> Result<QueueService, QueueError> {
    if address.query_pairs().any(|(name, _)| name == "sig") {
        QueueService::with_sas(address, transport)
    } else {
        QueueService::with_token(address, credential, transport)
    }
}

/// A client for the configured ARM endpoint.
pub fn arm_client(
    settings: &AzureSettings,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
) -> ArmClient {
    ArmClient::new(
        settings.arm_endpoint.clone(),
        settings.cloud.arm_scope(),
        credential,
        data_transport(settings, transport),
        AzureClock::local(),
    )
    .with_hub_scope(settings.hub_scope.clone())
}

/// In a local cloud, one loopback address answers for all hubs and storage accounts, which are told apart
/// by `Host`. What goes to loopback anyway (Resource Manager) passes as it is.
#[derive(Debug)]
struct LocalData {
    endpoint: Url,
    transport: Arc<dyn HttpClient>,
}

#[async_trait]
impl HttpClient for LocalData {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = request.url();
        if is_loopback(url) {
            return self.transport.execute_request(request).await;
        }
        let mut local = self.endpoint.clone();
        local.set_path(url.path());
        local.set_query(url.query());
        let mut call = Request::new(local, request.method());
        for (name, value) in request.headers().iter() {
            call.insert_header(name.clone(), value.clone());
        }
        call.insert_header("host", url.authority().to_owned());
        call.set_body(request.body().clone());
        self.transport.execute_request(&call).await
    }
}
