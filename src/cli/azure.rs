//! What every command that talks to Azure starts with: settings, credential, profiles, hubs.

use std::sync::Arc;

use anyhow::Context;
use azure_core::{credentials::TokenCredential, http::HttpClient};
use clap::Args;
use time::OffsetDateTime;

use super::{Usage, remark};
use crate::{
    arm::ArmClient,
    bus::ServiceBusQueue,
    config::{self, AzureSettings, ProcessEnvironment},
    connect,
    desired::DesiredState,
    local::azurite,
    model::IotHubId,
    outcomes::store::BlobStore,
    profiles::Profiles,
    queue::{MessageEncoding, QueueService, StorageQueue},
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

impl Session {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let settings =
            AzureSettings::read(&ProcessEnvironment).map_err(|mistakes| Usage(mistakes.to_string()))?;
        let transport: Arc<dyn HttpClient> = Arc::new(connect::http_client()?);
        let credential = connect::credential(&settings, transport.clone())
            .context("no credential; sign in with az login")?;
        let profiles = Profiles::new(settings.profiles.clone(), credential.clone(), transport.clone());
        let state = profiles.load().await.map_err(|error| Usage(error.to_string()))?;
        let arm = connect::arm_client(&settings, credential.clone(), transport.clone());
        Ok(Self { arm, state, settings, credential, transport })
    }

    /// Where work goes.
    pub(super) fn queue(&self) -> anyhow::Result<ServiceBusQueue> {
        let endpoint =
            config::bus_endpoint(&ProcessEnvironment).map_err(|mistakes| Usage(mistakes.to_string()))?;
        Ok(ServiceBusQueue::new(endpoint, self.credential.clone(), self.transport.clone())?)
    }

    /// Where operators' requests go.
    pub(super) fn requests(&self) -> anyhow::Result<ServiceBusQueue> {
        let endpoint =
            config::bus_endpoint(&ProcessEnvironment).map_err(|mistakes| Usage(mistakes.to_string()))?;
        Ok(ServiceBusQueue::of_requests(endpoint, self.credential.clone(), self.transport.clone())?)
    }

    /// One of the app's storage queues.
    pub(super) fn storage_queue(&self, name: &str) -> anyhow::Result<StorageQueue> {
        let usage = |error: &dyn std::fmt::Display| Usage(format!("HUBWARD_QUEUES: {error}"));
        let address = config::queues(&ProcessEnvironment).map_err(|mistakes| Usage(mistakes.to_string()))?;
        let is_signed = address.query_pairs().any(|(name, _)| name == "sig");
        let service = if is_signed {
            QueueService::with_sas(address, self.transport.clone())
        } else if azurite::is_unsigned(&address) {
            let signed = azurite::signed(&address, OffsetDateTime::now_utc())?;
            QueueService::with_sas(signed, self.transport.clone())
        } else {
            QueueService::with_token(address, self.credential.clone(), self.transport.clone())
        };
        let queue = service.and_then(|service| service.queue(name, MessageEncoding::shipped()));
        Ok(queue.map_err(|error| usage(&error))?)
    }

    /// Where outcomes are kept.
    pub(super) fn outcomes(&self) -> anyhow::Result<BlobStore> {
        let address =
            config::outcomes(&ProcessEnvironment).map_err(|mistakes| Usage(mistakes.to_string()))?;
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
