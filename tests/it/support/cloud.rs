//! The real client and the simulated Azure in one process, on paused time: the library's workbench,
//! with the shortcuts that stories need.

use std::ops::{Deref, DerefMut};

use hubward::{
    desired::DesiredState,
    local::{
        azure::{Settings, World},
        workbench::Workbench,
    },
    model::IotHubId,
    reconcile::Report,
};
use serde_json::Value;
use tower::ServiceExt;

use super::world::hub_id;

pub(crate) use hubward::local::workbench::{START, SimCredential};

pub(crate) struct Cloud(Workbench);

impl Deref for Cloud {
    type Target = Workbench;
    fn deref(&self) -> &Workbench {
        &self.0
    }
}

impl DerefMut for Cloud {
    fn deref_mut(&mut self) -> &mut Workbench {
        &mut self.0
    }
}

impl Cloud {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with(settings, World::sample(), hubward::desired::sample())
    }

    pub(crate) fn with(settings: Settings, world: World, profiles: &str) -> Self {
        Self(Workbench::new(settings, world, state(profiles)))
    }

    /// From now on, hubs should be this.
    pub(crate) fn want(&mut self, profiles: &str) {
        self.state = state(profiles);
    }

    pub(crate) async fn sim(&self, method: &str, path: &str, body: Value) -> Value {
        self.0.sim(method, path, body).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same with a body that is not JSON: the content of a blob.
    pub(crate) async fn sim_bytes(&self, method: &str, path: &str, body: String) {
        let request = http::Request::builder().method(method).uri(format!("/_sim/{path}"));
        let request = request.header("host", "127.0.0.1").body(axum::body::Body::from(body)).unwrap();
        let answer = self.azure.arm_router().oneshot(request).await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    }

    /// A hub for the sample profile, active, with the counters at zero.
    pub(crate) async fn new_hub(&self, name: &str) -> IotHubId {
        self.create_hub(name, "standard").await.unwrap();
        self.reset_counters().await.unwrap();
        hub_id(name)
    }

    pub(crate) async fn settle(&self, hub: &IotHubId) -> Vec<Report> {
        self.0.settle(hub).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn state(profiles: &str) -> DesiredState {
    DesiredState::parse(profiles).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}
