//! One process of the function app: it knows nothing when it starts, and may die at any await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use axum::{Router, body::Body};
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
};
use serde_json::Value;
use tokio::sync::Notify;
use tower::ServiceExt;
use url::Url;
use uuid::Uuid;

use super::{
    CrewError,
    bus::Broker,
    weather::{Mortal, Weather},
};
use crate::{
    arm::ArmWriter,
    blobs::Container,
    config::ProfilesSource,
    fleet::Source,
    functions::{self, App},
    local::{
        azure::{Azure, OUTCOMES_CONTAINER},
        in_process::InProcess,
        workbench::{SimCredential, client_of},
    },
    outcomes::store::BlobStore,
    profiles::Profiles,
    reconcile::Reconciler,
    telemetry::Telemetry,
};

/// Where the desired-state document is, in a network of its own.
const PROFILES_HOST: &str = "profiles.invalid";

/// What a process is made of: the same again after each death.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) azure: Azure,
    pub(super) document: Arc<str>,
    pub(super) queue: Arc<Broker>,
    pub(super) weather: Arc<dyn Weather>,
}

/// A place for one process.
pub(super) struct Instance {
    site: Site,
    life: Mutex<Life>,
}

struct Life {
    router: Router,
    /// Tells everything that runs in the process that it dies, in the order in which it began: a channel that
    /// is dropped would tell at random.
    death: Arc<Notify>,
}

impl Instance {
    pub(super) fn start(site: Site) -> Result<Self, CrewError> {
        let life = Mutex::new(site.life()?);
        Ok(Self { site, life })
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One invocation, as the host makes it. `None`: the process died over it.
    pub(super) async fn invoke(&self, function: &'static str, envelope: &Value) -> Option<(u16, Value)> {
        let (router, death) = {
            let life = self.life();
            (life.router.clone(), life.death.clone())
        };
        let death = death.notified();
        let polls = self.site.weather.lifetime(function);
        let run = Mortal { inner: Box::pin(call(router, function, envelope)), polls };
        let answer = tokio::select! {
            biased;
            () = death => None,
            answer = run => {
                if answer.is_none() {
                    self.restart();
                }
                answer
            }
        };
        self.site.weather.answered(function, answer.as_ref().map(|(status, body)| (*status, body)));
        answer
    }

    /// The process dies with everything in it, and another one takes its place.
    fn restart(&self) {
        // The same parts have made a process before.
        if let Ok(life) = self.site.life() {
            let before = std::mem::replace(&mut *self.life(), life);
            before.death.notify_waiters();
        }
    }
}

impl Site {
    fn life(&self) -> Result<Life, CrewError> {
        let credential =
            Arc::new(Tokens { inner: SimCredential(self.azure.clone()), weather: self.weather.clone() });
        let started = self.azure.now() + self.weather.clock_error();
        let network = |plain| self.weather.network(plain);
        let mut arm = client_of(&self.azure, credential.clone(), network, started);
        if let Some(seed) = self.weather.chance() {
            arm = arm.with_chance(seed);
        }
        let container = Container::new(OUTCOMES_CONTAINER, arm.credential(), arm.transport());
        let container = container.map_err(|error| CrewError::Outcomes(error.to_string()))?;
        let document = self.document.clone();
        let serve = move || std::future::ready(document.to_string());
        let network = InProcess::new().with(PROFILES_HOST, Router::new().fallback(axum::routing::get(serve)));
        let address = format!("https://{PROFILES_HOST}/profiles.yaml");
        let address = Url::parse(&address).map_err(|error| CrewError::Profiles(error.to_string()))?;
        let profiles = Profiles::new(ProfilesSource::Url(address), credential, Arc::new(network));
        let app = App {
            profiles: profiles.reserving(OUTCOMES_CONTAINER.parse().ok().as_ref()),
            reconciler: Reconciler::new(ArmWriter::new(arm.clone())),
            client_id: self.azure.client_id().and_then(|id| id.parse().ok()),
            arm,
            queue: self.queue.clone(),
            store: Some(Arc::new(BlobStore::new(container))),
            telemetry: Telemetry::default(),
            exports_seen_to: Mutex::default(),
            resync_source: Source::Graph,
            parked: None,
        };
        let router = functions::runtime(Arc::new(app)).into_router();
        Ok(Life { router, death: Arc::default() })
    }
}

async fn call(router: Router, function: &str, envelope: &Value) -> (u16, Value) {
    let request = http::Request::post(format!("/{function}"))
        .header("content-type", "application/json; charset=utf-8")
        .header("x-azure-functions-invocationid", Uuid::new_v4().to_string())
        .body(Body::from(envelope.to_string()));
    let Ok(request) = request else { return (0, Value::Null) };
    let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// The simulator's tokens, as long as the weather allows.
struct Tokens {
    inner: SimCredential,
    weather: Arc<dyn Weather>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

#[async_trait]
impl TokenCredential for Tokens {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if !self.weather.gives_tokens() {
            return Err(azure_core::Error::with_message(
                ErrorKind::Credential,
                "the token endpoint does not answer",
            ));
        }
        self.inner.get_token(scopes, options).await
    }
}
