//! A simulated Azure: as much of Resource Manager, role-based access control, managed identity and
//! Event Grid as identity-based egress of IoT hubs needs.
//!
//! It is ordinary HTTP, written from Azure's published interfaces and from recorded traffic alone, and
//! takes Azure's time for everything, on a clock that may run faster. Faults come when they are asked
//! for by name. `README.md` beside this file lists what there is, what there is not, and where it
//! knowingly differs from Azure.
//!
//! ```no_run
//! use hubward::local::{azure::{Azure, Settings, World}, clock::SimClock};
//!
//! # async fn example() -> std::io::Result<()> {
//! let clock = SimClock::start(time::OffsetDateTime::now_utc(), 60.0);
//! let azure = Azure::new(Settings::default(), World::sample(), clock);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! axum::serve(listener, azure.arm_router().merge(azure.identity_router())).await
//! # }
//! ```

mod activity;
mod answer;
mod blob;
mod blob_service;
mod call;
mod changes;
mod cosmos;
mod cosmos_roles;
mod data_plane;
mod events;
mod faults;
mod graph;
mod hub;
mod hub_service;
mod identity;
mod job_files;
mod jobs;
mod keys;
mod network;
mod permissions;
mod random;
mod registry;
mod registry_import;
mod resource_graph;
mod resources;
mod role_definitions;
mod roles;
mod router;
mod samples;
mod settings;
mod sim;
mod sim_data;
mod state;
mod targets;
mod throttle;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::Router;
use serde_json::Value;
use time::OffsetDateTime;

pub use call::Scheme;
pub use events::{EventSink, HttpEventSink};
pub use faults::{Fault, FaultKind, Matching};
pub use samples::OUTCOMES_CONTAINER;
pub use settings::{
    EndpointValidation, EventSettings, FailureShape, RefusalCodes, ResourceGraphSettings, Settings,
    Throttling,
};
pub use world::{
    Assignment, AuthorizationRule, CallerIdentity, CallerPermission, CosmosAccount, CosmosDatabase,
    EventHubNamespace, ResourceGroup, ServiceBusNamespace, StorageAccount, Subscription, UserIdentity, World,
    WorldError,
};

use super::clock::SimClock;
use crate::model::{IotHubId, ResourceId};
use state::State;

/// The simulated Azure. Clones share everything.
#[derive(Clone)]
pub struct Azure {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    clock: SimClock,
    state: Mutex<State>,
    sink: Mutex<Option<Arc<dyn EventSink>>>,
}

impl Azure {
    /// The audience of tokens for the data plane of IoT hubs.
    pub const IOT_HUBS: &str = "https://iothubs.azure.net";
    /// The audience of tokens for storage accounts.
    pub const STORAGE: &str = "https://storage.azure.com";

    /// An Azure that holds `world`.
    pub fn new(settings: Settings, world: World, clock: SimClock) -> Self {
        let state = build(&settings, &world, clock.now());
        let inner = Inner { settings, clock, state: Mutex::new(state), sink: Mutex::new(None) };
        Self { inner: Arc::new(inner) }
    }

    /// Resource Manager, and the simulator's own `/_sim/…`.
    pub fn arm_router(&self) -> Router {
        router::router(self.clone())
    }

    /// The token endpoints of managed identities.
    pub fn identity_router(&self) -> Router {
        identity::router(self.clone())
    }

    /// The data planes, told apart by the `Host` header, so that one address serves every hub's
    /// `{name}.azure-devices.net` and every storage account's `{name}.blob.core.windows.net`; and the
    /// simulator's own `/_sim/…`.
    pub fn data_router(&self) -> Router {
        data_plane::router(self.clone())
    }

    /// Where events go from now on. Until there is a sink, they are only recorded.
    pub fn set_event_sink(&self, sink: Arc<dyn EventSink>) {
        *self.inner.sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    /// Its time of day.
    pub fn now(&self) -> OffsetDateTime {
        self.inner.clock.now()
    }

    /// What `GET /_sim/state` shows. Holds no secret.
    pub fn state(&self) -> Value {
        self.lock().view(self.inner.clock.now(), self.inner.clock.speed())
    }

    /// Every event so far, with what became of it: what `GET /_sim/events` shows.
    pub fn events(&self) -> Value {
        self.lock().events.view()
    }

    /// Every key and token that it holds or ever handed out, for tests that look for leaks.
    pub fn secrets(&self) -> Vec<String> {
        let state = self.lock();
        let mut all: Vec<String> = state.hubs.values().flat_map(hub::Hub::secrets).collect();
        all.extend(state.target_secrets());
        all.extend(state.registries.values().flat_map(registry::Registry::secrets));
        all.extend(state.old_secrets.iter().cloned());
        all.extend(state.tokens.keys().cloned());
        all.push(self.inner.settings.identity_header.clone());
        all.retain(|secret| !secret.is_empty());
        all.sort();
        all.dedup();
        all
    }

    /// Whom each principal belongs to that a hub or an identity has now: ids in lower case.
    pub fn principals(&self) -> BTreeMap<String, String> {
        let state = self.lock();
        let hubs = state.hubs.values().filter_map(|hub| Some((hub.system.clone()?, hub.id.key().to_owned())));
        let identities =
            state.identities.values().map(|one| (one.principal.clone(), one.id.to_ascii_lowercase()));
        hubs.chain(identities).map(|(principal, owner)| (principal.to_ascii_lowercase(), owner)).collect()
    }

    /// Lets nothing more go wrong than what has begun already.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// The client id of the world's first caller: who our own writes are by.
    pub fn client_id(&self) -> Option<String> {
        self.lock().callers.first().map(|caller| caller.client.clone())
    }

    /// A token for Resource Manager in the name of the world's first caller, as its token endpoint
    /// would give it. `None` in a world without callers.
    pub fn token(&self) -> Option<String> {
        self.token_for("https://management.azure.com")
    }

    /// The same for another audience, such as [`Azure::IOT_HUBS`] or [`Azure::STORAGE`].
    pub fn token_for(&self, audience: &str) -> Option<String> {
        let mut state = self.lock();
        let caller = state.callers.first().cloned()?;
        Some(state.token(&caller, audience, &self.inner.settings).0)
    }

    /// The state, with every operation ended whose time has come.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle(self.inner.clock.now(), &self.inner.settings);
        state.settle_cosmos(self.inner.clock.now(), &self.inner.settings);
        state.settle_jobs(self.inner.clock.now(), &self.inner.settings);
        state
    }

    /// Sees to it that an operation ends (and its event goes out) although nobody asks.
    fn wake_at(&self, when: OffsetDateTime) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (weak, clock) = (Arc::downgrade(&self.inner), self.inner.clock.clone());
        runtime.spawn(async move {
            clock.sleep_until(when).await;
            let Some(inner) = weak.upgrade() else { return };
            let azure = Azure { inner };
            drop(azure.lock());
            azure.deliver_waiting();
        });
    }

    /// The settings with what goes into headers in the caller's seconds.
    fn scaled(&self) -> Settings {
        let mut settings = self.inner.settings.clone();
        settings.retry_after_seconds = settings.retry_after_seconds.map(|wait| self.callers_seconds(wait));
        settings
    }

    /// Azure's seconds in the caller's, whole and at least 1: a client waits on its own clock.
    fn callers_seconds(&self, seconds: f64) -> f64 {
        (seconds / self.inner.clock.speed()).ceil().max(1.0)
    }
}

fn build(settings: &Settings, world: &World, now: OffsetDateTime) -> State {
    let mut state = State::new(settings, &world.tenant);
    for sub in &world.subscriptions {
        state.subscriptions.insert(sub.id.to_ascii_lowercase(), sub.name.clone());
        for group in &sub.resource_groups {
            state.add_group(&sub.id, &group.name, &group.location);
        }
    }
    // A file is checked when it is read; in a world that was made in code, what is no id is left out.
    let with_home = |state: &mut State, id: &str, location: &str| {
        let id = ResourceId::parse(id).ok()?;
        state.subscriptions.entry(id.subscription().to_owned()).or_default();
        if let Some(group) = id.resource_group() {
            state.add_group(id.subscription(), group, location);
        }
        Some(id)
    };
    for identity in &world.user_assigned_identities {
        let Some(id) = with_home(&mut state, &identity.id, &identity.location) else { continue };
        let ids = (identity.principal_id.clone(), identity.client_id.clone());
        let made = state.add_identity(&id, &identity.location, serde_json::json!({}), ids).principal.clone();
        state.add_old_principal(&made, now);
    }
    let old = now - time::Duration::days(30);
    for target in world.targets() {
        if let Some(id) = with_home(&mut state, &target.id, target.location) {
            state.add_target(&id, target.location, old);
            state.change_target(id.key(), target.properties, target.network_rule_set);
        }
    }
    for rule in &world.authorization_rules {
        let cut = rule.id.to_ascii_lowercase().find("/authorizationrules/");
        let Some((target, name)) = cut.and_then(|at| Some((&rule.id[..at], rule.id.rsplit('/').next()?)))
        else {
            continue;
        };
        let rights: Vec<&str> = rule.rights.iter().map(String::as_str).collect();
        state.add_rule(target, name, &rights);
    }
    for caller in &world.callers {
        state.add_old_principal(&caller.object_id, now);
        state.callers.push(call::Caller {
            name: caller.name.clone(),
            client: caller.client_id.clone(),
            object: caller.object_id.clone(),
        });
        if let Some(permissions) = &caller.permissions {
            state.limits.insert(caller.object_id.to_ascii_lowercase(), permissions.clone());
        }
    }
    for document in &world.iot_hubs {
        let text = document["id"].as_str().unwrap_or_default();
        let location = document["location"].as_str().unwrap_or("westus2");
        if let Some(id) = with_home(&mut state, text, location).and_then(|id| IotHubId::try_from(id).ok()) {
            let key = id.key().to_owned();
            state.add_hub(id, document, now);
            state.add_devices(&key, &document["devices"]);
        }
    }
    for grant in &world.role_assignments {
        let Some(role) = role_definitions::definition(&grant.role) else { continue };
        let name = grant.name.clone().unwrap_or_else(|| state.random.guid());
        let grant = roles::Assignment::of_old(grant, name, role, old);
        state.assignments.found(grant.id().to_ascii_lowercase(), grant);
    }
    state
}
