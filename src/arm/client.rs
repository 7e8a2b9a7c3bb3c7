//! One authenticated call to ARM: token, request, retries, errors, a span, a count.
//!
//! Retries live here rather than in `azure_core`'s policy because a wait that the service asks for
//! may be longer than an invocation should be held: short waits are waited out, long ones are
//! handed back as an error that says how long, and become a scheduled message.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::{
    credentials::{Secret, TokenCredential},
    http::{HttpClient, Method, Request, Url, headers::HeaderName},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{Instrument, debug, field::Empty, info_span};
use uuid::Uuid;

use super::{
    activity::ids_in_token,
    cache::Cache,
    clock::AzureClock,
    error::{ArmError, Refusal},
    pace::{Pace, Place, Urgency},
    targets::ServiceFacts,
};
use crate::{model::observed::AssignmentsLeft, telemetry::metrics};

/// Longest time that one call may take until its answer has been read.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Tries of one call, the first included.
const MAX_TRIES: u32 = 4;
/// Tries of one call that is refused because of the rate of calls: it has not been let in even once.
const MAX_TURNS: u32 = 20;
/// First pause between tries; doubles each time, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait inside an invocation that a service may ask for. More is waited as a message.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Longest wait that is believed at all. What asks for more is nonsense, and could not be added to a time.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);
/// How long targets, identities and limits are taken to be as they were read. Shorter than a grant's
/// window, so that within one a target that went is noticed.
const GOOD_FOR: Duration = Duration::from_secs(10 * 60);
/// Largest answer that is read: a list of role assignments at a busy scope stays far below.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// Calls ARM. Cheap to clone; clones share the connections, the clock and the counts.
#[derive(Clone)]
pub struct ArmClient {
    inner: Arc<Inner>,
    deadline: Option<Instant>,
    door: Door,
}

/// Where calls go, and which token they carry.
#[derive(Clone)]
struct Door {
    endpoint: Url,
    scope: String,
}

struct Inner {
    credential: Arc<dyn TokenCredential>,
    transport: Arc<dyn HttpClient>,
    clock: AzureClock,
    calls: Mutex<BTreeMap<String, u64>>,
    pace: Pace,
    services: Cache<ServiceFacts>,
    entities: Cache<String>,
    identities: Cache<String>,
    usage: Cache<AssignmentsLeft>,
    /// The token scope of hubs' own APIs.
    hub_scope: String,
    /// What spreads the pauses of processes that were refused at the same time.
    chance: Mutex<StdRng>,
}

/// The token scope of hubs' own APIs. The SDKs know no other one for other clouds.
pub const HUB_SCOPE: &str = "https://iothubs.azure.net/.default";

/// What an answer holds of interest.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) operation: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) request_id: Option<String>,
    /// `iothub-errorcode`: a hub's own API puts its code there.
    pub(super) error_code: Option<String>,
    /// What Resource Graph says about how often it may be asked.
    pub(super) quota: Quota,
    /// Calls of the same kind that are left for now.
    remaining: Option<u32>,
}

/// What Resource Graph says besides its answer.
/// <https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Quota {
    /// Queries that are left.
    pub(super) remaining: Option<u64>,
    /// When there are more.
    pub(super) resets_after: Option<Duration>,
    /// Whether subscriptions were left out because there are too many.
    pub(super) left_out: bool,
}

impl Answer {
    pub(super) fn json(&self, call: &str) -> Result<Value, ArmError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ArmError::Unreadable { call: call.to_owned(), cause: error.to_string() })
    }
}

/// Whether a call may be sent again when its fate is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Reads, and writes whose name makes them the same write.
    Safe,
    /// Only when the service says that it did nothing (429, 503).
    IfRefused,
    /// Only when it was not let in at all (429): a job that is started twice runs twice.
    IfThrottled,
}

/// One call: a label for people, and what to send.
pub(super) struct Call<'a> {
    /// Such as `GET hub`: no id, no query, so it is a metric's label too.
    pub(super) label: &'static str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) if_match: Option<&'a str>,
    /// Sent as `x-ms-correlation-request-id`, which Azure's activity log keeps.
    pub(super) correlation: Option<Uuid>,
    pub(super) body: Option<&'a Value>,
    pub(super) repeat: Repeat,
    /// Who goes first when calls have to queue.
    pub(super) urgency: Urgency,
}

impl ArmClient {
    /// A client for one ARM endpoint.
    ///
    /// `endpoint` must be https, except on loopback, where a local cloud is. `scope` is the token
    /// scope of the real cloud, such as `https://management.azure.com/.default`.
    pub fn new(
        endpoint: Url,
        scope: String,
        credential: Arc<dyn TokenCredential>,
        transport: Arc<dyn HttpClient>,
        clock: AzureClock,
    ) -> Self {
        let inner = Inner {
            credential,
            transport,
            clock,
            calls: Mutex::default(),
            pace: Pace::default(),
            services: Cache::new(GOOD_FOR),
            entities: Cache::new(GOOD_FOR),
            identities: Cache::new(GOOD_FOR),
            usage: Cache::new(GOOD_FOR),
            hub_scope: HUB_SCOPE.to_owned(),
            chance: Mutex::new(StdRng::from_rng(&mut rand::rng())),
        };
        Self { inner: Arc::new(inner), deadline: None, door: Door { endpoint, scope } }
    }

    /// The same client at another door: a hub's own service API. Connections, clock and counts are
    /// shared.
    pub(super) fn at_door(&self, endpoint: Url, scope: String) -> Self {
        Self { door: Door { endpoint, scope }, ..self.clone() }
    }

    /// The same client with pauses that are the same in every run with this seed.
    pub(crate) fn with_chance(self, seed: u64) -> Self {
        *self.inner.chance.lock().unwrap_or_else(PoisonError::into_inner) = StdRng::seed_from_u64(seed);
        self
    }

    /// The same client with another token scope for hubs' own APIs. Only before the first call.
    pub fn with_hub_scope(mut self, scope: String) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.hub_scope = scope;
        }
        self
    }

    pub(super) fn hub_scope(&self) -> &str {
        &self.inner.hub_scope
    }

    /// Who we are.
    pub fn credential(&self) -> Arc<dyn TokenCredential> {
        self.inner.credential.clone()
    }

    /// How calls travel.
    pub fn transport(&self) -> Arc<dyn HttpClient> {
        self.inner.transport.clone()
    }

    /// The same client, whose waits end at `deadline`.
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Azure's time of day.
    pub fn clock(&self) -> &AzureClock {
        &self.inner.clock
    }

    /// How many calls were sent, by label. Retries and polls count.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Namespaces and accounts, by id.
    pub(super) fn services(&self) -> &Cache<ServiceFacts> {
        &self.inner.services
    }

    /// Names of event hubs, queues, topics and containers that are there, by id.
    pub(super) fn entities(&self) -> &Cache<String> {
        &self.inner.entities
    }

    /// Principals of user-assigned identities, by id.
    pub(super) fn identities(&self) -> &Cache<String> {
        &self.inner.identities
    }

    /// Room for role assignments, by subscription.
    pub(super) fn usage(&self) -> &Cache<AssignmentsLeft> {
        &self.inner.usage
    }

    /// Something that our own token says. The token itself stays here.
    pub(super) async fn claims<T>(&self, read: fn(&str) -> T) -> Result<T, ArmError> {
        Ok(read(self.token().await?.secret()))
    }

    /// Our own client id and object id.
    pub(super) async fn own_ids(&self) -> Result<Vec<String>, ArmError> {
        self.claims(ids_in_token).await
    }

    /// Who we are, for a record: the object id and client id in our token.
    pub async fn who(&self) -> Result<String, ArmError> {
        Ok(self.own_ids().await?.join(" "))
    }

    async fn token(&self) -> Result<Secret, ArmError> {
        let scope = self.door.scope.as_str();
        let token = self.inner.credential.get_token(&[scope], None).await;
        token
            .map(|token| token.token)
            .map_err(|error| ArmError::NoToken { scope: scope.to_owned(), cause: error.to_string() })
    }

    /// The URL of a path below the endpoint, with an api-version.
    pub(super) fn url(&self, path: &str, api_version: &str) -> Url {
        let mut url = self.door.endpoint.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url.query_pairs_mut().append_pair("api-version", api_version);
        url
    }

    /// A URL that the service sent, if it leads to the configured endpoint. A token must not go
    /// anywhere else.
    pub(super) fn own_link(&self, call: &str, link: &str) -> Result<Url, ArmError> {
        let endpoint = &self.door.endpoint;
        let url = Url::parse(link).map_err(|error| ArmError::Unreadable {
            call: call.to_owned(),
            cause: format!("bad link: {error}"),
        })?;
        let same = url.scheme() == endpoint.scheme()
            && url.host_str() == endpoint.host_str()
            && url.port_or_known_default() == endpoint.port_or_known_default()
            && url.username().is_empty();
        if same {
            Ok(url)
        } else {
            let host = url.host_str().unwrap_or("nowhere").to_owned();
            Err(ArmError::ForeignLink { call: call.to_owned(), host })
        }
    }

    /// Waits, if the deadline allows it.
    pub(crate) async fn pause(&self, pause: Duration, waiting_for: &str) -> Result<(), ArmError> {
        if self.deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            return Err(ArmError::OutOfTime(waiting_for.to_owned()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Sends a call in its turn, trying again as far as that is safe, and returns the answer to a success.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, ArmError> {
        let mut pause = FIRST_PAUSE;
        let (mut tries, mut turns) = (0, 0);
        loop {
            let (pace, path) = (&self.inner.pace, call.url.path());
            let turn = pace.turn(call.method, path, call.urgency, self.deadline, LONGEST_PAUSE);
            let place =
                turn.await.map_err(|pause| ArmError::NoTurn { call: call.label.to_owned(), pause })?;
            let error = match self.attempt(&call, &place).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) => {
                    let mut refusal = Refusal::parse(call.label, answer.status, &answer.body);
                    refusal.retry_after = answer.retry_after;
                    refusal.request_id = answer.request_id;
                    if let Some(code) = answer.error_code {
                        refusal.code = code;
                    }
                    ArmError::Refused(Box::new(refusal))
                }
                Err(error) => error,
            };
            let jittered = pause.mul_f64(self.spread());
            let Some(asked) = may_try_again(&error, call.repeat) else { return Err(error) };
            let wait = asked.unwrap_or(jittered);
            let has_to_queue = place.is_counted() && error.is_throttled();
            if has_to_queue {
                turns += 1
            } else {
                tries += 1
            }
            if tries >= MAX_TRIES || turns >= MAX_TURNS || wait > LONGEST_PAUSE {
                return Err(error);
            }
            debug!(call = call.label, tries, turns, wait_ms = wait.as_millis() as u64, %error, "trying again");
            if has_to_queue {
                continue;
            }
            if self.pause(wait, call.label).await.is_err() {
                return Err(error);
            }
            pause *= 2;
        }
    }

    fn spread(&self) -> f64 {
        self.inner.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0.75..1.25)
    }

    async fn attempt(&self, call: &Call<'_>, place: &Place) -> Result<Answer, ArmError> {
        let span = info_span!(
            "arm.call",
            otel.kind = "client",
            arm.call = call.label,
            http.request.method = call.method.as_ref(),
            server.address = call.url.host_str().unwrap_or_default(),
            http.response.status_code = Empty,
            arm.client_request_id = Empty,
            arm.request_id = Empty,
        );
        *self
            .inner
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(call.label.to_owned())
            .or_default() += 1;
        let started = Instant::now();
        let answer = tokio::time::timeout(CALL_TIMEOUT, self.exchange(call, place)).instrument(span).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(self.no_answer(call, format!("nothing after {} s", CALL_TIMEOUT.as_secs())))
        });
        let status = answer.as_ref().ok().map(|answer| answer.status);
        if let Ok(answer) = &answer {
            place.learn(answer.status, answer.remaining, answer.retry_after);
        }
        let host = call.url.host_str().unwrap_or_default();
        metrics::called(call.label, call.method.as_ref(), host, status, started.elapsed());
        answer
    }

    async fn exchange(&self, call: &Call<'_>, place: &Place) -> Result<Answer, ArmError> {
        let span = tracing::Span::current();
        let token = self.token().await?;
        let request_id = Uuid::new_v4().to_string();
        span.record("arm.client_request_id", request_id.as_str());
        let mut request = Request::new(call.url.clone(), call.method);
        request.insert_header("authorization", format!("Bearer {}", token.secret()));
        request.insert_header("accept", "application/json");
        request.insert_header("x-ms-client-request-id", request_id);
        request.insert_header("user-agent", concat!("hubward/", env!("CARGO_PKG_VERSION")));
        if let Some(id) = call.correlation {
            request.insert_header("x-ms-correlation-request-id", id.to_string());
        }
        if let Some(etag) = call.if_match {
            request.insert_header("if-match", etag.to_owned());
        }
        if let Some(body) = call.body {
            request.insert_header("content-type", "application/json");
            request.set_body(body.to_string());
        }
        let response = self
            .inner
            .transport
            .execute_request(&request)
            .await
            .map_err(|error| self.no_answer(call, error.to_string()))?;

        let (status, headers, body) = response.deconstruct();
        let status: u16 = status.into();
        let header = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
        span.record("http.response.status_code", status);
        if let Some(id) = header("x-ms-request-id") {
            span.record("arm.request_id", id);
        }
        if let Some(date) = header("date") {
            self.inner.clock.observe(date);
        }
        let operation = header("azure-asyncoperation").or_else(|| header("location")).map(str::to_owned);
        let pause = |asked: Duration| asked.min(LONGEST_ASKED);
        let retry_after = header("retry-after").and_then(|text| text.parse().ok());
        let retry_after = retry_after.map(|seconds| pause(Duration::from_secs(seconds)));
        let quota = Quota {
            remaining: header("x-ms-user-quota-remaining").and_then(|text| text.parse().ok()),
            resets_after: header("x-ms-user-quota-resets-after").and_then(clock_time).map(pause),
            left_out: header("x-ms-tenant-subscription-limit-hit")
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
        };
        let retry_after = retry_after.or(quota.resets_after.filter(|_| status == 429));
        let request_id = header("x-ms-request-id").map(str::to_owned);
        let error_code = header("iothub-errorcode").map(str::to_owned);
        let remaining = place.header().and_then(header).and_then(|text| text.parse().ok());
        let body = body.collect().await.map_err(|error| self.no_answer(call, error.to_string()))?;
        if body.len() > MAX_BODY {
            return Err(ArmError::Unreadable {
                call: call.label.to_owned(),
                cause: "the answer is too large".into(),
            });
        }
        let body = body.to_vec();
        Ok(Answer { status, body, operation, retry_after, request_id, error_code, quota, remaining })
    }

    fn no_answer(&self, call: &Call<'_>, cause: String) -> ArmError {
        let host = call.url.host_str().unwrap_or_default().to_owned();
        ArmError::NoAnswer { call: call.label.to_owned(), host, cause }
    }
}

/// A time such as `00:00:05`.
fn clock_time(text: &str) -> Option<Duration> {
    let parts: Vec<u64> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
    Some(Duration::from_secs(minutes.checked_mul(60)?.checked_add(seconds)?))
}

/// Whether a call may be tried again, and after how long if the service says so.
fn may_try_again(error: &ArmError, repeat: Repeat) -> Option<Option<Duration>> {
    match error {
        ArmError::Refused(refusal) => match refusal.status {
            // A hub's own API says in words how long to stay away: ten seconds.
            429 if refusal.code.starts_with("Throttling") => {
                Some(refusal.retry_after.or(Some(Duration::from_secs(10))))
            }
            429 => Some(refusal.retry_after),
            503 if repeat != Repeat::IfThrottled => Some(refusal.retry_after),
            408 | 500 | 502 | 504 if repeat == Repeat::Safe => Some(refusal.retry_after),
            _ => None,
        },
        ArmError::NoAnswer { .. } if repeat == Repeat::Safe => Some(None),
        ArmError::NoToken { .. } => Some(None),
        _ => None,
    }
}
