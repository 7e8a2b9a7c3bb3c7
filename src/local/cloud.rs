//! The local cloud, put together: simulated Azure, brokers, and the Functions host, each on a
//! loopback port of its own, with the real handler as a child process.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

use super::{
    azure::{Azure, EventSink, HttpEventSink, OUTCOMES_CONTAINER, Scheme, Settings, World},
    clock::SimClock,
    functions_host::{FunctionsHost, HostKeys, HostOptions, HostQueues, LogSink, StartError, Worker},
    recorder::Recorder,
    servicebus::{QueueOptions, ServiceBus},
    storage_queue::StorageQueues,
};
use crate::{
    bus::{REQUEST_QUEUE, WORK_QUEUE},
    outcomes,
    queue::{MessageEncoding, QueueError, QueueService},
    work::REMEMBERED,
};

/// The storage queue that `HubEventQueue` reads.
pub const EVENT_QUEUE: &str = "hub-events";

/// `Retry-After` of operations, in Azure's seconds, where real clients are served. Without one, az and
/// the Python SDK ask only every 30 **real** seconds, however fast the clock runs.
const RETRY_AFTER_SECONDS: f64 = 15.0;

/// How a local cloud shall be.
pub struct LocalOptions {
    /// The staged package, with the handler in it.
    pub script_root: PathBuf,
    /// The desired-state document.
    pub profiles: PathBuf,
    /// How the simulated Azure behaves.
    pub azure: Settings,
    /// What is in it.
    pub world: World,
    /// How many times faster than real time Azure's clock runs.
    pub speed: f64,
    /// The log filter of the handler.
    pub log_filter: String,
    /// Receives the host's and the handler's log.
    pub log: Option<LogSink>,
    /// Certificate and key, both PEM: Resource Manager is then also served over https, and its operations
    /// say when to ask again.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// A real queue service, in real time, for the storage queues, instead of the embedded one.
    pub storage: Option<QueueService>,
    /// Whether the fleet is compared at start and each quarter of an hour: beside it, calls cannot be counted.
    pub resync: bool,
    /// A file for all that is said to Resource Manager and by it, see [`Recorder`].
    pub record: Option<PathBuf>,
}

/// Why a local cloud did not start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A port could not be had, the certificate could not be read, or the recording not be written.
    #[error("the local cloud cannot listen")]
    Listen(#[from] io::Error),
    /// The staged package is not one.
    #[error("the Functions host does not start")]
    Host(#[from] StartError),
    /// The real queue service cannot be used.
    #[error("the storage queues cannot be used")]
    Storage(#[from] QueueError),
}

/// A running local cloud. Dropping it ends everything in it.
pub struct LocalCloud {
    /// The simulated Azure.
    pub azure: Azure,
    /// The Service Bus.
    pub bus: ServiceBus,
    /// The Functions host.
    pub host: FunctionsHost,
    /// Everybody's clock.
    pub clock: SimClock,
    /// Holds back events while it is false.
    deliver_events: watch::Sender<bool>,
    /// Where everything listens.
    pub addresses: Addresses,
    /// The app settings that the handler was given.
    pub settings: BTreeMap<String, String>,
    /// The key to the host's admin API.
    pub master_key: String,
    /// The client id of somebody who is not the handler, which passes over events of its own writes.
    operator: Option<String>,
    _servers: JoinSet<()>,
    _tls_server: Option<AbortOnDrop>,
}

/// The local cloud's addresses.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Resource Manager: https when there is a certificate.
    pub arm: String,
    /// Managed-identity tokens.
    pub identity: String,
    /// Service Bus.
    pub bus: String,
    /// The Functions host.
    pub functions: String,
    /// Hubs' own service APIs and storage accounts, told apart by `Host`.
    pub data: String,
}

impl Addresses {
    /// One JSON object, for machines.
    pub fn to_json(&self) -> Value {
        let Self { arm, identity, bus, functions, data } = self;
        json!({"arm": arm, "identity": identity, "bus": bus, "functions": functions, "data": data})
    }
}

struct AbortOnDrop(JoinHandle<io::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl LocalCloud {
    /// Starts everything. The handler may still be starting when this returns; invocations wait
    /// for it.
    pub async fn start(options: LocalOptions) -> Result<Self, LocalError> {
        let LocalOptions {
            script_root,
            profiles,
            mut azure,
            world,
            speed,
            log_filter,
            log,
            tls,
            storage,
            resync,
            record,
        } = options;
        let clock = SimClock::start(OffsetDateTime::now_utc(), speed);
        let seed = azure.seed;
        if tls.is_some() {
            azure.retry_after_seconds.get_or_insert(RETRY_AFTER_SECONDS);
        }
        // As in App Service: a secret of this run, known to the platform and the app.
        azure.identity_header = Uuid::new_v4().simple().to_string();
        let identity_header = azure.identity_header.clone();
        let client_id = |n: usize| world.callers.get(n).map(|caller| caller.client_id.clone());
        let (client_id, operator) = (client_id(0), client_id(1));
        let azure = Azure::new(azure, world.with_state_account(), clock.clone());

        let bus = ServiceBus::with_seed(clock.clone(), seed);
        bus.create_queue(
            WORK_QUEUE,
            QueueOptions {
                requires_session: true,
                duplicate_detection_window: Some(REMEMBERED),
                // Locks concern the handler, which lives in real time.
                lock_duration: Duration::from_secs(300).mul_f64(clock.speed()),
                max_delivery_count: 10,
                ..QueueOptions::default()
            },
        );
        bus.create_queue(
            REQUEST_QUEUE,
            QueueOptions {
                duplicate_detection_window: Some(REMEMBERED),
                lock_duration: Duration::from_secs(300).mul_f64(clock.speed()),
                max_delivery_count: 10,
                ..QueueOptions::default()
            },
        );
        let names = [EVENT_QUEUE, REQUEST_QUEUE, outcomes::QUEUE, outcomes::FAILED_QUEUE];
        let queues = match storage {
            Some(service) => {
                for name in names {
                    service.queue(name, MessageEncoding::shipped())?.create().await?;
                }
                HostQueues::from(service)
            }
            None => {
                let queues = StorageQueues::with_seed(clock.clone(), seed);
                names.into_iter().for_each(|name| queues.create(name));
                HostQueues::from(queues)
            }
        };

        let mut servers = JoinSet::new();
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (arm_listener, identity_listener, bus_listener, functions_listener) =
            (listen().await?, listen().await?, listen().await?, listen().await?);
        let data_listener = listen().await?;
        let plain_arm = http_address(&arm_listener)?;
        let mut addresses = Addresses {
            arm: plain_arm.clone(),
            identity: http_address(&identity_listener)?,
            bus: http_address(&bus_listener)?,
            functions: http_address(&functions_listener)?,
            data: http_address(&data_listener)?,
        };
        let arm_router = match record {
            Some(path) => Recorder::create(&path, azure.clone())?.at(azure.arm_router()),
            None => azure.arm_router(),
        };
        serve(&mut servers, data_listener, azure.data_router());
        serve(&mut servers, arm_listener, arm_router.clone());
        serve(&mut servers, identity_listener, azure.identity_router());
        serve(&mut servers, bus_listener, bus.router());
        let tls_server = match tls {
            Some((certificate, key)) => {
                let router = arm_router.layer(Extension(Scheme("https".to_owned())));
                let (address, server) = serve_tls(router, certificate, key).await?;
                addresses.arm = format!("https://{address}");
                Some(server)
            }
            None => None,
        };

        let mut settings = BTreeMap::from(
            [
                ("HUBWARD_PROFILES", profiles.display().to_string()),
                ("HUBWARD_ARM_ENDPOINT", plain_arm),
                ("HUBWARD_BUS_ENDPOINT", addresses.bus.clone()),
                ("HUBWARD_DATA_ENDPOINT", addresses.data.clone()),
                ("HUBWARD_OUTCOMES", OUTCOMES_CONTAINER.to_owned()),
                ("IDENTITY_ENDPOINT", format!("{}/msi/token", addresses.identity)),
                ("IDENTITY_HEADER", identity_header),
                // The host wants a setting for each trigger's connection.
                ("HubwardBus__fullyQualifiedNamespace", "local.servicebus.windows.net".to_owned()),
                ("AzureWebJobsStorage", "UseDevelopmentStorage=true".to_owned()),
                ("RUST_LOG", log_filter),
                // Calls are counted here, and the simulated callers may do everything.
                ("HUBWARD_CHECK_RIGHTS", "off".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        settings.extend(client_id.map(|id| ("AZURE_CLIENT_ID".to_owned(), id)));
        if !resync {
            settings.insert("AzureWebJobs.Resync.Disabled".to_owned(), "true".to_owned());
        }

        let keys = HostKeys {
            enforce: true,
            master: Uuid::new_v4().simple().to_string(),
            function: Uuid::new_v4().simple().to_string(),
            event_grid: Uuid::new_v4().simple().to_string(),
        };
        let master_key = keys.master.clone();
        let webhook = format!(
            "{}/runtime/webhooks/EventGrid?functionName=HubEvent&code={}",
            addresses.functions, keys.event_grid
        );
        let mut host = HostOptions::new(script_root, Worker::Process, bus.clone(), queues, clock.clone());
        host.settings = settings.clone();
        host.keys = keys;
        host.seed = seed;
        host.log = log;
        let host = FunctionsHost::start(host)?;
        serve(&mut servers, functions_listener, host.router());

        let (deliver_events, gate) = watch::channel(true);
        if let Ok(url) = url::Url::parse(&webhook) {
            azure.set_event_sink(Arc::new(Gate { gate, sink: HttpEventSink::new(url) }));
        }
        Ok(Self {
            azure,
            bus,
            host,
            clock,
            deliver_events,
            addresses,
            settings,
            master_key,
            operator,
            _servers: servers,
            _tls_server: tls_server,
        })
    }

    /// Holds events back, or lets them through again. Held events are late, not lost.
    pub fn deliver_events(&self, deliver: bool) {
        self.deliver_events.send_replace(deliver);
    }

    /// The settings with which other programs reach this cloud, the command line among them.
    pub fn client_settings(&self) -> BTreeMap<String, String> {
        let mut settings = self.settings.clone();
        for host_only in
            ["RUST_LOG", "AzureWebJobsStorage", "HubwardBus__fullyQualifiedNamespace", "HUBWARD_CHECK_RIGHTS"]
        {
            settings.remove(host_only);
        }
        settings.insert("HUBWARD_ARM_ENDPOINT".into(), self.addresses.arm.clone());
        settings.extend(self.operator.clone().map(|id| ("AZURE_CLIENT_ID".to_owned(), id)));
        settings
    }

    /// A call to the simulator's own addresses, in this process.
    pub async fn sim(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        use tower::ServiceExt;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/_sim/{path}"))
            .header("host", self.addresses.arm.trim_start_matches("http://").trim_start_matches("https://"))
            .body(axum::body::Body::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        let answer = self.azure.arm_router().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = answer.status();
        let body =
            axum::body::to_bytes(answer.into_body(), usize::MAX).await.map_err(|error| error.to_string())?;
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() { Ok(json) } else { Err(format!("{method} /_sim/{path}: {status} {json}")) }
    }
}

/// An event sink with a door in front of it.
struct Gate {
    gate: watch::Receiver<bool>,
    sink: HttpEventSink,
}

#[async_trait::async_trait]
impl EventSink for Gate {
    async fn deliver(&self, body: Value, headers: BTreeMap<String, String>) -> u16 {
        let mut gate = self.gate.clone();
        // An error means that the cloud is gone, and the event with it.
        let _ = gate.wait_for(|open| *open).await;
        self.sink.deliver(body, headers).await
    }
}

fn http_address(listener: &TcpListener) -> io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

fn serve(servers: &mut JoinSet<()>, listener: TcpListener, router: Router) {
    servers.spawn(async move {
        // `axum::serve` only returns when it is told to stop, which dropping the set does.
        let _ = axum::serve(listener, router).await;
    });
}

async fn serve_tls(
    router: Router,
    certificate: PathBuf,
    key: PathBuf,
) -> io::Result<(SocketAddr, AbortOnDrop)> {
    let tls = axum_server::tls_rustls::RustlsConfig::from_pem_file(certificate, key).await?;
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let server = axum_server::from_tcp_rustls(listener, tls)?;
    let task = tokio::spawn(async move { server.serve(router.into_make_service()).await });
    Ok((address, AbortOnDrop(task)))
}
