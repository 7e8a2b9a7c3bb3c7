//! The simulated Azure that all handlers are measured against: a fleet in order, tokens, a Service Bus.

use std::{collections::BTreeMap, net::Ipv4Addr, path::Path};

use anyhow::{Context, ensure};
use axum::Router;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use tokio::{net::TcpListener, task::JoinSet};
use uuid::Uuid;

use crate::{
    bus::WORK_QUEUE,
    desired::{self, DesiredState},
    local::{
        azure::{Settings, World},
        clock::SimClock,
        servicebus::{QueueOptions, ServiceBus},
        workbench::Workbench,
    },
    model::IotHubId,
    reconcile::Outcome,
};

/// How many times faster than real time Azure's clock runs: a minute that a hub waits for takes a second.
const SPEED: f64 = 60.0;
/// Hubs in order.
const HUBS: usize = 100;
/// The hub that all are copies of.
const FIRST: &str = "hub-first";

/// An Azure with a fleet that is as the sample profile wants it.
pub(super) struct Stand {
    azure: Workbench,
    /// Hubs that are as they should be.
    pub(super) hubs: Vec<IotHubId>,
    /// Hubs that are not, each in another way.
    pub(super) spoiled: Vec<IotHubId>,
    arm: String,
    identity: String,
    identity_header: String,
    profiles: NamedTempFile,
    _servers: JoinSet<()>,
}

/// A Service Bus of one handler's life, so that none meets what another has left there.
pub(super) struct Bus {
    pub(super) bus: ServiceBus,
    address: String,
    _server: JoinSet<()>,
}

impl Stand {
    /// Makes it.
    pub(super) async fn raise() -> anyhow::Result<Self> {
        let identity_header = Uuid::new_v4().simple().to_string();
        let settings = Settings { identity_header: identity_header.clone(), ..Settings::immediate() };
        let clock = SimClock::start(OffsetDateTime::now_utc(), SPEED);
        let azure = Workbench::on(clock, settings, World::sample(), DesiredState::parse(desired::sample())?);
        azure.create_hub(FIRST, "standard").await?;
        let first = hub_named(&azure, FIRST)?;
        let reports = azure.settle(&first).await?;
        let last = &reports.last().context("no report")?.outcome;
        ensure!(*last == Outcome::Changed, "{FIRST} was not onboarded: {last:?}");
        let copies = json!({"count": HUBS + 2, "prefix": "plant"});
        azure.sim("POST", &format!("hubs/{FIRST}/copies"), copies).await?;
        azure.create_hub("hub-bare", "standard").await?;
        let mut hubs: Vec<IotHubId> = ids(&azure)?.filter(|id| id.name().starts_with("plant")).collect();
        ensure!(hubs.len() == HUBS + 2, "{} hubs instead of {}", hubs.len(), HUBS + 2);
        let mut spoiled = hubs.split_off(HUBS);
        let spoil = [
            json!({"properties": {"routing": {"routes": []}}, "wait": true}),
            json!({"properties": {"routing": {"routes": [], "endpoints": {"eventHubs": []}}}, "wait": true}),
        ];
        for (hub, change) in spoiled.iter().zip(spoil) {
            azure.sim("PATCH", &format!("hubs/{}", hub.name()), change).await?;
        }
        spoiled.push(hub_named(&azure, "hub-bare")?);
        let profiles = NamedTempFile::with_suffix(".yaml")?;
        std::fs::write(profiles.path(), desired::sample())?;
        let mut servers = JoinSet::new();
        let arm = serve(&mut servers, azure.azure.arm_router()).await?;
        let identity = serve(&mut servers, azure.azure.identity_router()).await?;
        Ok(Self { azure, hubs, spoiled, arm, identity, identity_header, profiles, _servers: servers })
    }

    /// An empty Service Bus. It does not look for duplicates, which would cost it more with each message.
    pub(super) async fn open_bus(&self) -> anyhow::Result<Bus> {
        let bus = ServiceBus::new(self.azure.clock.clone());
        bus.create_queue(WORK_QUEUE, QueueOptions { requires_session: true, ..QueueOptions::default() });
        let mut server = JoinSet::new();
        let address = serve(&mut server, bus.router()).await?;
        Ok(Bus { bus, address, _server: server })
    }

    /// What the platform gives a handler.
    pub(super) fn settings_for(&self, bus: &Bus) -> BTreeMap<String, String> {
        let profiles: &Path = self.profiles.path();
        let settings = [
            ("HUBWARD_PROFILES", profiles.display().to_string()),
            ("HUBWARD_ARM_ENDPOINT", self.arm.clone()),
            ("HUBWARD_BUS_ENDPOINT", bus.address.clone()),
            ("IDENTITY_ENDPOINT", format!("{}/msi/token", self.identity)),
            ("IDENTITY_HEADER", self.identity_header.clone()),
            ("AZURE_CLIENT_ID", self.azure.azure.client_id().unwrap_or_default()),
        ];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Azure's time of day.
    pub(super) fn now(&self) -> OffsetDateTime {
        self.azure.clock.now()
    }

    /// Calls that reached Resource Manager so far, and hub PUTs.
    pub(super) fn calls(&self) -> (u64, u64) {
        (self.azure.count("armCalls"), self.azure.count("hubPuts"))
    }
}

impl Bus {
    /// Messages on `hub-work`.
    pub(super) fn messages(&self) -> usize {
        self.bus.outstanding(WORK_QUEUE)
    }
}

fn ids(azure: &Workbench) -> anyhow::Result<impl Iterator<Item = IotHubId>> {
    let state = azure.azure.state();
    let hubs = state["hubs"].as_array().context("the simulated Azure has no list of hubs")?;
    let id = |hub: &Value| IotHubId::parse(hub["id"].as_str().unwrap_or_default());
    let ids: Result<Vec<_>, _> = hubs.iter().map(id).collect();
    Ok(ids?.into_iter())
}

fn hub_named(azure: &Workbench, name: &str) -> anyhow::Result<IotHubId> {
    ids(azure)?.find(|id| id.name() == name).with_context(|| format!("there is no hub {name}"))
}

/// Serves on a loopback port of its own; its address.
async fn serve(servers: &mut JoinSet<()>, router: Router) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    servers.spawn(async move {
        // Only returns when it is told to stop, which dropping the set does.
        let _ = axum::serve(listener, router).await;
    });
    Ok(address)
}
