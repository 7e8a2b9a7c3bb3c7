//! The real client and the simulated Azure in one process, on paused time.

use std::sync::Arc;

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::Url,
};
use hubward::{
    arm::{ArmClient, ArmWriter, AzureClock},
    desired::DesiredState,
    local::{
        azure::{Azure, Settings, World},
        clock::SimClock,
        in_process::InProcess,
    },
    model::IotHubId,
    reconcile::{NotFound, Outcome, Report, reconcile},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use tower::ServiceExt;

use super::world::hub_id;

pub(crate) const START: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);
const ARM: &str = "127.0.0.1:4101";

/// Tokens straight from the simulator.
#[derive(Debug)]
pub(crate) struct SimCredential(pub(crate) DebugAzure);

pub(crate) struct DebugAzure(pub(crate) Azure);

impl std::fmt::Debug for DebugAzure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Azure")
    }
}

#[async_trait::async_trait]
impl TokenCredential for SimCredential {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let token = self.0.0.token().expect("a caller");
        Ok(AccessToken::new(token, OffsetDateTime::now_utc() + time::Duration::hours(1)))
    }
}

pub(crate) struct Cloud {
    pub(crate) azure: Azure,
    pub(crate) arm: ArmWriter,
    pub(crate) state: DesiredState,
    pub(crate) clock: SimClock,
}

impl Cloud {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with(settings, World::sample(), hubward::desired::sample())
    }

    pub(crate) fn with(settings: Settings, world: World, profiles: &str) -> Self {
        let clock = SimClock::start(START, 1.0);
        let azure = Azure::new(settings, world, clock.clone());
        let transport = InProcess::new().with(ARM, azure.arm_router());
        let client = ArmClient::new(
            Url::parse(&format!("http://{ARM}")).unwrap(),
            "https://management.azure.com/.default".into(),
            Arc::new(SimCredential(DebugAzure(azure.clone()))),
            Arc::new(transport),
            AzureClock::starting_at(START),
        );
        let state = DesiredState::parse(profiles).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        Self { azure, arm: ArmWriter::new(client), state, clock }
    }

    /// A call to the simulator's own addresses.
    pub(crate) async fn sim(&self, method: &str, path: &str, body: Value) -> Value {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/_sim/{path}"))
            .header("host", ARM)
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        let answer = self.azure.arm_router().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_default()
    }

    /// A hub that an operator has made, active, with the counters at zero.
    pub(crate) async fn new_hub(&self, name: &str) -> IotHubId {
        let body = json!({"resourceGroup": "rg-plant-01", "name": name, "location": "westus2",
            "tags": {"egress": "standard"}, "wait": true});
        self.sim("POST", "hubs", body).await;
        self.sim("POST", "reset-counters", json!({})).await;
        hub_id(name)
    }

    pub(crate) async fn look(&self, hub: &IotHubId) -> Report {
        reconcile(&self.arm, &self.state, hub, NotFound::MayPass).await
    }

    /// Looks, and looks again when it is time, as the scheduled messages do. Returns every report.
    pub(crate) async fn settle(&self, hub: &IotHubId) -> Vec<Report> {
        let mut reports = Vec::new();
        for _ in 0..60 {
            let report = self.look(hub).await;
            let outcome = report.outcome.clone();
            reports.push(report);
            match outcome {
                Outcome::Waiting { until, .. } => self.clock.sleep_until(until).await,
                _ => return reports,
            }
        }
        panic!("it never settled: {:#?}", reports.last());
    }

    /// The hub as the simulator has it.
    pub(crate) fn hub(&self, id: &IotHubId) -> Value {
        let state = self.azure.state();
        let hubs = state["hubs"].as_array().unwrap();
        hubs.iter()
            .find(|hub| hub["id"].as_str().unwrap().eq_ignore_ascii_case(id.as_str()))
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let state = self.azure.state();
        state["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {name} in {}", state["counters"]))
    }
}
