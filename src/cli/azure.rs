//! What every command that talks to Azure starts with: settings, credential, profiles, hubs.

use std::sync::Arc;

use anyhow::Context;
use azure_core::{credentials::TokenCredential, http::HttpClient};
use clap::Args;

use super::{Usage, remark};
use crate::{
    arm::ArmClient,
    bus::ServiceBusQueue,
    config::{self, AzureSettings, Mistakes, ProcessEnvironment},
    connect,
    desired::DesiredState,
    local::azurite,
    model::IotHubId,
    outcomes::store::BlobStore,
    profiles::Profiles,
    queue::{MessageEncoding, StorageQueue},
};

/// A connection to Azure and what hubs should be.
pub(super) struct Session {
    pub(super) arm: ArmClient,
    pub(super) state: DesiredState,
    settings: AzureSettings,
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
}

/// Which hubs a command is about.
#[derive(Debug, Args)]
pub(super) struct HubArgs {
    /// Only these hubs, by resource id; without it, all hubs of the guardrails' subscriptions.
    #[arg(long = "hub", value_name = "ID")]
    pub(super) hubs: Vec<String>,
}

/// Settings that cannot work are a mistake of usage.
fn setting<T>(read: Result<T, Mistakes>) -> Result<T, Usage> {
    read.map_err(|mistakes| Usage(mistakes.to_string()))
}

impl Session {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let settings = setting(AzureSettings::read(&ProcessEnvironment))?;
        let transport: Arc<dyn HttpClient> = Arc::new(connect::http_client()?);
        let credential = connect::credential(&settings, transport.clone())
            .context("no credential; sign in with az login")?;
        let profiles = Profiles::new(settings.profiles.clone(), credential.clone(), transport.clone())
            .reserving(config::outcomes(&ProcessEnvironment).ok().as_ref());
        let state = profiles.load().await.map_err(|error| Usage(error.to_string()))?;
        let arm = connect::arm_client(&settings, credential.clone(), transport.clone());
        Ok(Self { arm, state, settings, credential, transport })
    }

    /// How calls travel.
    pub(super) fn transport(&self) -> &dyn HttpClient {
        self.transport.as_ref()
    }

    /// One of the Service Bus queues.
    pub(super) fn bus(&self, name: &'static str) -> anyhow::Result<ServiceBusQueue> {
        let endpoint = setting(config::bus_endpoint(&ProcessEnvironment))?;
        Ok(ServiceBusQueue::new(name, endpoint, self.credential.clone(), self.transport.clone())?)
    }

    /// One of the app's storage queues.
    pub(super) fn storage_queue(&self, name: &str) -> anyhow::Result<StorageQueue> {
        let address = setting(config::queues(&ProcessEnvironment))?;
        let service = if azurite::is_unsigned(&address) {
            azurite::open(address, self.transport.clone())?
        } else {
            connect::queue_service(address, self.credential.clone(), self.transport.clone())
        };
        let queue = service.and_then(|service| service.queue(name, MessageEncoding::shipped()));
        Ok(queue.map_err(|error| Usage(format!("HUBWARD_QUEUES: {error}")))?)
    }

    /// Where outcomes are kept.
    pub(super) fn outcomes(&self) -> anyhow::Result<BlobStore> {
        let address = setting(config::outcomes(&ProcessEnvironment))?;
        let (credential, transport) = (self.credential.clone(), self.transport.clone());
        Ok(BlobStore::new(connect::container(&self.settings, &address, credential, transport)?))
    }

    /// The hubs that were named, or all of the guardrails' subscriptions, sorted.
    pub(super) async fn hubs(&self, args: &HubArgs) -> anyhow::Result<Vec<IotHubId>> {
        if !args.hubs.is_empty() {
            let parsed = args
                .hubs
                .iter()
                .map(|text| IotHubId::parse(text).map_err(|error| Usage(format!("--hub {text}: {error}"))));
            return Ok(parsed.collect::<Result<_, _>>()?);
        }
        let reader = crate::arm::ArmReader::new(self.arm.clone());
        let mut found = Vec::new();
        for subscription in &self.state.guardrails().subscriptions {
            found.extend(reader.hubs(subscription).await?.into_iter().map(|hub| hub.id().clone()));
        }
        found.sort();
        if found.is_empty() {
            remark("no hubs in the subscriptions of the guardrails");
        }
        Ok(found)
    }
}
