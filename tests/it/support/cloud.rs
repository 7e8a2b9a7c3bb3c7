//! The real client and the simulated Azure in one process, on paused time: the library's workbench,
//! with the shortcuts that stories need.

use std::ops::{Deref, DerefMut};

use hubward::{
    desired::DesiredState,
    local::{
        azure::{Azure, Settings, World},
        workbench::Workbench,
    },
    model::IotHubId,
    reconcile::{Outcome, Report, plan_hub},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::world::hub_id;

pub(crate) use hubward::local::workbench::{START, SimCredential};

/// Whom a hub acts as that is there already with an identity.
pub(crate) const PRINCIPAL: &str = "7b1c0f55-0000-4000-8000-0000000000aa";

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

    /// The reference world, in which one poll sees the end of each write.
    pub(crate) fn quick(profiles: &str) -> Self {
        Self::quick_with(World::reference(), profiles)
    }

    /// Another world at that pace.
    pub(crate) fn quick_with(world: World, profiles: &str) -> Self {
        Self::with(Settings { hub_update_seconds: 0.5, ..Settings::default() }, world, profiles)
    }

    /// The same with a hub that is there already and is this, besides what is usual.
    pub(crate) fn quick_around(mut hub: Value, profiles: &str) -> (Self, IotHubId) {
        let id = hub_id("hub1");
        hub["id"] = id.as_str().into();
        hub["location"] = "westus2".into();
        let world = World { iot_hubs: vec![hub], ..World::reference() };
        (Self::quick_with(world, profiles), id)
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

    /// Settles as it should: in sync when it is planned again, with no secret in anything that is told.
    pub(crate) async fn settle_ok(&self, hub: &IotHubId, story: &str) -> Vec<Report> {
        let reports = self.settle(hub).await;
        let outcome = last(&reports);
        assert!(matches!(outcome, Outcome::Changed | Outcome::InSync), "{story}: {reports:#?}");
        for report in &reports {
            self.assert_no_secret(&serde_json::to_string(report).unwrap(), story);
        }
        let plan = plan_hub(self.arm.reader(), &self.state, hub).await.unwrap();
        assert!(plan.is_in_sync(), "{story}: {plan}");
        self.assert_no_secret(&serde_json::to_string(&plan).unwrap(), story);
        reports
    }

    pub(crate) fn assert_no_secret(&self, text: &str, story: &str) {
        let is_told = self.azure.secrets().iter().any(|secret| text.contains(secret.as_str()));
        assert!(!is_told, "{story}: a secret in {text}");
    }

    /// A call of our own to Resource Manager, besides what the client does.
    pub(crate) async fn call(&self, method: &str, id: &str, version: &str, body: &Value) -> (u16, Value) {
        let path = format!("{id}?api-version={version}");
        request(&self.azure, &self.azure.token().unwrap(), method, &path, None, body).await
    }

    /// A device's message; it has to arrive where the first route that takes it leads to.
    pub(crate) async fn assert_delivers(&self, hub: &IotHubId, story: &str) {
        let sent = self.sim("POST", &format!("hubs/{}/messages", hub.name()), json!({})).await;
        assert_eq!(sent["deliveries"][0]["delivered"], true, "{story}: {sent}");
    }

    /// No fault waits any longer.
    pub(crate) async fn clear_faults(&self) {
        self.sim("DELETE", "faults", Value::Null).await;
    }

    pub(crate) fn grants(&self) -> Vec<Value> {
        self.azure.state()["roleAssignments"].as_array().cloned().unwrap_or_default()
    }
}

/// One request to Resource Manager, in the name of whoever has the token.
pub(crate) async fn request(
    azure: &Azure,
    token: &str,
    method: &str,
    path: &str,
    etag: Option<&str>,
    body: &Value,
) -> (u16, Value) {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:4101")
        .header("authorization", format!("Bearer {token}"));
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    let request = request.body(axum::body::Body::from(body.to_string())).unwrap();
    let answer = azure.arm_router().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

pub(crate) fn last(reports: &[Report]) -> &Outcome {
    &reports.last().unwrap().outcome
}

/// What stands in the way, in words.
pub(crate) fn causes(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Blocked { causes } | Outcome::Refused { causes } => causes.join("; "),
        Outcome::Failed { cause } => cause.clone(),
        other => panic!("{other:?}"),
    }
}

/// The warnings of the last look, in words.
pub(crate) fn told(reports: &[Report]) -> Vec<String> {
    reports.last().unwrap().warnings.iter().map(ToString::to_string).collect()
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
}

pub(crate) async fn hours(hours: u64) {
    pass(3600 * hours).await;
}

fn state(profiles: &str) -> DesiredState {
    DesiredState::parse(profiles).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}
