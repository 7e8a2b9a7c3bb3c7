//! The custom handler: what the Functions host starts.
//!
//! Never ends with exit code 0: the host would not start it again.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
};

use azure_core::http::HttpClient;
use hubward::{
    arm::ArmWriter,
    bus::{ServiceBusQueue, WORK_QUEUE},
    config::{HandlerSettings, ProcessEnvironment, ProfilesSource, SignedUrl},
    connect,
    functions::{self, App},
    handler::{bind, serve},
    outcomes::{
        FAILED_QUEUE,
        parked::ParkedQueue,
        store::{BlobStore, OutcomeStore},
    },
    profiles::Profiles,
    queue::MessageEncoding,
    reconcile::Reconciler,
    rights, telemetry,
};
use tracing::{error, info, warn};

#[tokio::main]
async fn main() -> ExitCode {
    let telemetry = telemetry::start(&ProcessEnvironment);
    let settings = match HandlerSettings::read(&ProcessEnvironment) {
        Ok(settings) => settings,
        Err(mistakes) => {
            mistakes.0.iter().for_each(|mistake| error!("setting: {mistake}"));
            return ExitCode::FAILURE;
        }
    };
    if let Err(cause) = run(settings, telemetry).await {
        error!("{cause:#}");
    }
    ExitCode::FAILURE
}

async fn run(settings: HandlerSettings, telemetry: telemetry::Telemetry) -> anyhow::Result<()> {
    // First of all: the host is waiting for the port.
    let listener = bind(settings.port).await?;
    let azure = &settings.azure;
    let transport: Arc<dyn HttpClient> = Arc::new(connect::http_client()?);
    let credential = connect::credential(azure, transport.clone())?;
    let queue = ServiceBusQueue::new(
        WORK_QUEUE,
        settings.bus_endpoint.clone(),
        credential.clone(),
        transport.clone(),
    )?;
    let profiles = Profiles::new(azure.profiles.clone(), credential.clone(), transport.clone())
        .reserving(settings.outcomes.as_ref());
    if let ProfilesSource::File(_) = azure.profiles {
        // A packaged document with mistakes will not mend itself: say so now, not at the first event.
        profiles.current().await?;
    }
    let store = settings.outcomes.as_ref().map(|address| {
        connect::container(azure, address, credential.clone(), transport.clone()).map(BlobStore::new)
    });
    let store: Option<Arc<dyn OutcomeStore>> = match store.transpose()? {
        Some(store) => Some(Arc::new(store)),
        None => {
            warn!(
                "HUBWARD_OUTCOMES is not set: outcomes are told and not kept, and a request that is sent again is done again"
            );
            None
        }
    };
    let parked = settings.queues.clone().map(|SignedUrl(address)| {
        connect::queue_service(address, credential.clone(), transport.clone())?
            .queue(FAILED_QUEUE, MessageEncoding::shipped())
    });
    let parked: Option<Arc<dyn ParkedQueue>> = match parked.transpose()? {
        Some(queue) => Some(Arc::new(queue)),
        None => None,
    };
    let arm = connect::arm_client(azure, credential, transport);
    let app = App {
        profiles,
        reconciler: Reconciler::new(ArmWriter::new(arm.clone())),
        arm,
        queue: Arc::new(queue),
        store,
        parked,
        client_id: azure.client_id,
        telemetry,
        exports_seen_to: Mutex::default(),
        resync_source: settings.resync,
    };
    let app = Arc::new(app);
    if settings.check_rights {
        let app = app.clone();
        // Beside everything else: nothing waits for it.
        tokio::spawn(async move { rights::at_start(&app.profiles, &app.arm).await });
    }
    info!(
        port = settings.port,
        arm = %azure.arm_endpoint,
        bus = %settings.bus_endpoint,
        profiles = ?azure.profiles,
        version = env!("CARGO_PKG_VERSION"),
        "hubward-handler is ready"
    );
    serve(listener, functions::runtime(app).into_router()).await?;
    anyhow::bail!("the server ended")
}
