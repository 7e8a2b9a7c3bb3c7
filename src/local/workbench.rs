//! The real engine and the simulated Azure in one process: no sockets, no handler, no host.
//!
//! On tokio's paused time a hub's two minutes pass at once and every run with the same seed is the
//! same run. Benchmarks and tests stand on it.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{HttpClient, Url},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use tower::ServiceExt;

use super::{
    azure::{Azure, Settings, World},
    clock::SimClock,
    in_process::InProcess,
};
use crate::{
    arm::{ArmClient, ArmWriter, AzureClock},
    desired::DesiredState,
    jobs::{Advance, run::Jobs},
    model::{
        IotHubId,
        job::{JobItem, JobRequest},
    },
    reconcile::{Aim, Chain, NotFound, Outcome, Reconciler, Report},
};

/// When every workbench's time begins.
pub const START: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);
/// Where the simulated Resource Manager answers. Plain http is for loopback only.
const ARM: &str = "127.0.0.1:4101";
static ENDPOINT: LazyLock<Url> =
    LazyLock::new(|| Url::parse(&format!("http://{ARM}")).expect("an address of our own is a URL"));
/// Looks after which a hub that never settles is given up.
const PATIENCE: usize = 60;
/// What time of day the client believes: Azure's, from `Date`, which knows whole seconds and no less.
const DATE_STEP: time::Duration = time::Duration::SECOND;

/// Tokens straight from the simulator.
pub struct SimCredential(pub Azure);

impl fmt::Debug for SimCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimCredential")
    }
}

#[async_trait::async_trait]
impl TokenCredential for SimCredential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let nobody = || azure_core::Error::with_message(ErrorKind::Credential, "the world has no callers");
        let audience = scopes.first().copied().unwrap_or_default();
        let audience = audience.trim_end_matches(".default").trim_end_matches('/');
        let token = self.0.token_for(audience).ok_or_else(nobody)?;
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + time::Duration::hours(1)))
    }
}

/// An Azure, a client of it, and what brings its hubs to where they should be.
pub struct Workbench {
    /// The simulated Azure.
    pub azure: Azure,
    /// Its clock.
    pub clock: SimClock,
    /// The client.
    pub arm: ArmWriter,
    /// What brings hubs to where they should be.
    pub reconciler: Reconciler,
    /// What they should be.
    pub state: DesiredState,
}

/// Something that does not go as a workbench expects.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WorkbenchError(String);

impl Workbench {
    /// A workbench with its time at [`START`].
    pub fn new(settings: Settings, world: World, state: DesiredState) -> Self {
        Self::on(SimClock::start(START, 1.0), settings, world, state)
    }

    /// A workbench on another clock.
    pub fn on(clock: SimClock, settings: Settings, world: World, state: DesiredState) -> Self {
        let azure = Azure::new(settings, world, clock.clone());
        let arm = ArmWriter::new(client(&azure));
        Self { reconciler: Reconciler::new(arm.clone()), azure, clock, arm, state }
    }

    /// The same Azure, seen by a process that has just started and knows nothing.
    pub fn restart(&mut self) {
        self.arm = ArmWriter::new(client(&self.azure));
        self.reconciler = Reconciler::new(self.arm.clone());
    }

    /// A call to the simulator's own addresses.
    ///
    /// # Errors
    /// The status and the text of an answer that is not a success.
    pub async fn sim(&self, method: &str, path: &str, body: Value) -> Result<Value, WorkbenchError> {
        let error = |cause: String| WorkbenchError(format!("{method} {path}: {cause}"));
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/_sim/{path}"))
            .header("host", ARM)
            .body(axum::body::Body::from(body.to_string()))
            .map_err(|cause| error(cause.to_string()))?;
        let answer = self.azure.arm_router().oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
            .await
            .map_err(|cause| error(cause.to_string()))?;
        if !status.is_success() {
            return Err(error(format!("{status} {}", String::from_utf8_lossy(&body))));
        }
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// A hub that an operator has made, active, in `rg-plant-01`, with a tag `egress`.
    ///
    /// # Errors
    /// What the simulator has against it.
    pub async fn create_hub(&self, name: &str, egress: &str) -> Result<(), WorkbenchError> {
        let body = json!({"resourceGroup": "rg-plant-01", "name": name, "location": "westus2",
            "tags": {"egress": egress}, "wait": true});
        self.sim("POST", "hubs", body).await.map(|_| ())
    }

    /// Zeroes the counters.
    ///
    /// # Errors
    /// Never, in practice.
    pub async fn reset_counters(&self) -> Result<(), WorkbenchError> {
        self.sim("POST", "reset-counters", json!({})).await.map(|_| ())
    }

    /// Looks once.
    pub async fn look(&self, hub: &IotHubId) -> Report {
        self.look_again(hub, &Chain::default()).await
    }

    /// Looks once, with what the look before it handed over.
    pub async fn look_again(&self, hub: &IotHubId, chain: &Chain) -> Report {
        self.reconciler.reconcile(Aim::profile(&self.state), hub, NotFound::MayPass, chain).await
    }

    /// Looks, and looks again when it is time, as the scheduled messages do. Every report.
    ///
    /// # Errors
    /// The hub never settles.
    pub async fn settle(&self, hub: &IotHubId) -> Result<Vec<Report>, WorkbenchError> {
        let mut reports: Vec<Report> = Vec::new();
        for _ in 0..PATIENCE {
            let chain = reports.last().map(|report| report.chain.clone()).unwrap_or_default();
            let report = self.look_again(hub, &chain).await;
            let outcome = report.outcome.clone();
            reports.push(report);
            match outcome {
                Outcome::Waiting { until, .. } => self.clock.sleep_until(until + DATE_STEP).await,
                _ => return Ok(reports),
            }
        }
        Err(WorkbenchError(format!("{} never settled: {:#?}", hub.name(), reports.last())))
    }

    /// Takes a bulk job from its request to its end, as the scheduled messages do. Every step.
    ///
    /// # Errors
    /// It never ends.
    pub async fn job(&self, hub: &IotHubId, request: JobRequest) -> Result<Vec<Advance>, WorkbenchError> {
        let jobs = Jobs { arm: &self.arm, guardrails: self.state.guardrails() };
        let mut item = JobItem::new(request);
        let mut steps = Vec::new();
        for _ in 0..PATIENCE * 10 {
            let step = jobs.advance(hub, &item, false).await;
            steps.push(step.clone());
            match step {
                Advance::Later { item: next, due, .. } => {
                    item = *next;
                    self.clock.sleep_until(due).await;
                }
                Advance::Done(_) => return Ok(steps),
            }
        }
        Err(WorkbenchError(format!("a job of {} never ended: {:#?}", hub.name(), steps.last())))
    }

    /// A hub as the simulator has it; null if it has not.
    pub fn hub(&self, id: &IotHubId) -> Value {
        let state = self.azure.state();
        let hubs = state["hubs"].as_array().cloned().unwrap_or_default();
        let is_it =
            |hub: &Value| hub["id"].as_str().is_some_and(|text| text.eq_ignore_ascii_case(id.as_str()));
        hubs.into_iter().find(is_it).unwrap_or_default()
    }

    /// One of the simulator's counters, such as `armCalls`.
    pub fn count(&self, name: &str) -> u64 {
        self.azure.state()["counters"][name].as_u64().unwrap_or_default()
    }
}

/// A client of a simulated Azure, which knows nothing yet.
fn client(azure: &Azure) -> ArmClient {
    client_of(azure, Arc::new(SimCredential(azure.clone())), |plain| Arc::new(plain), azure.now())
}

/// The same with these tokens, over what `network` makes of the plain way, by a clock that shows `started`.
pub(super) fn client_of(
    azure: &Azure,
    credential: Arc<dyn TokenCredential>,
    network: impl FnOnce(InProcess) -> Arc<dyn HttpClient>,
    started: OffsetDateTime,
) -> ArmClient {
    let plain = InProcess::new().with(ARM, azure.arm_router()).elsewhere(azure.data_router());
    ArmClient::new(
        ENDPOINT.clone(),
        "https://management.azure.com/.default".into(),
        credential,
        network(plain),
        AzureClock::starting_at(started),
    )
}
