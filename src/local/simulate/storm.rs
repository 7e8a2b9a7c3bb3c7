//! The weather of a simulation: processes die at an await that the seed chose, tokens and the broker fail for a
//! while, and every call is watched on its way out.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request, request::Body};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use serde_json::Value;
use time::Duration;
use tokio::time::Instant;

use super::{
    actors::Others,
    invariants::Grants,
    log::Log,
    story::{Outage, Story, hub_name, hub_of_name},
};
use crate::local::{azure::Azure, crew::Weather, in_process::InProcess};

/// Longest life of a process that dies over an invocation, in polls.
const LONGEST_LIFE: u32 = 120;
/// How likely somebody comes between, when a hub is read.
const RACE: f64 = 0.1;
/// How long the hub's answer is on its way then, in seconds: until the other write is through, and no
/// longer than we wait for an answer.
const LONGER_THAN_A_WRITE: std::ops::Range<f64> = 32.0..55.0;

/// The weather. Clones share everything.
#[derive(Clone)]
pub(super) struct Storm(Arc<Inner>);

struct Inner {
    log: Log,
    azure: Azure,
    grants: Grants,
    /// Somebody who may be quicker than we are.
    others: Arc<tokio::sync::Mutex<Others>>,
    began: Instant,
    outages: Vec<Outage>,
    state: Mutex<State>,
}

struct State {
    random: StdRng,
    deaths_left: u32,
    death: f64,
    races_left: u32,
}

/// Somebody changes a hub that was just read.
struct Race {
    kind: usize,
    nth: usize,
    /// How long the answer is on its way meanwhile.
    pause: std::time::Duration,
}

impl Storm {
    pub(super) fn new(
        story: &Story,
        azure: &Azure,
        log: &Log,
        others: Arc<tokio::sync::Mutex<Others>>,
    ) -> Self {
        let grants = Grants::new(&story.document);
        grants.learn(&azure.principals());
        let state = State {
            random: StdRng::seed_from_u64(story.seed ^ 0x5707_7a11),
            deaths_left: story.deaths,
            death: story.death,
            races_left: story.races,
        };
        Self(Arc::new(Inner {
            log: log.clone(),
            azure: azure.clone(),
            grants,
            others,
            began: Instant::now(),
            outages: story.outages.clone(),
            state: Mutex::new(state),
        }))
    }

    /// From now on nobody dies, and nobody comes between.
    pub(super) fn calm(&self) {
        let mut state = self.0.state();
        (state.deaths_left, state.races_left) = (0, 0);
    }

    fn is_out(&self, what: &str) -> bool {
        let now = self.0.began.elapsed().as_secs_f64();
        self.0.outages.iter().any(|outage| outage.what == what && (outage.from..outage.until).contains(&now))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn race(&self) -> Option<Race> {
        let mut state = self.state();
        if state.races_left == 0 || !state.random.random_bool(RACE) {
            return None;
        }
        state.races_left -= 1;
        let nth = 10 + state.races_left as usize;
        let (kind, pause) = (state.random.random_range(0..4), state.random.random_range(LONGER_THAN_A_WRITE));
        Some(Race { kind, nth, pause: std::time::Duration::from_secs_f64(pause) })
    }
}

impl Weather for Storm {
    fn lifetime(&self, _: &'static str) -> Option<u32> {
        let mut state = self.0.state();
        let death = state.death;
        if state.deaths_left == 0 || !state.random.random_bool(death) {
            return None;
        }
        state.deaths_left -= 1;
        // As often early as late: half of all invocations are short.
        let most = state.random.random_range(1..=LONGEST_LIFE);
        Some(state.random.random_range(0..most))
    }

    fn gives_tokens(&self) -> bool {
        !self.is_out("tokens")
    }

    fn takes_messages(&self) -> bool {
        !self.is_out("broker")
    }

    fn clock_error(&self) -> Duration {
        let mut state = self.0.state();
        if state.random.random_bool(0.7) {
            return Duration::ZERO;
        }
        Duration::seconds(state.random.random_range(-7200..=7200))
    }

    fn chance(&self) -> Option<u64> {
        Some(self.0.state().random.next_u64())
    }

    fn network(&self, plain: InProcess) -> Arc<dyn HttpClient> {
        Arc::new(Watched { plain, around: self.0.clone() })
    }

    fn sent(&self, message: &str) {
        self.0.log.output(message);
        let item: Value = serde_json::from_str(message).unwrap_or_default();
        let hub = item["hub"].as_str().and_then(|id| id.rsplit('/').next()).unwrap_or("?");
        self.0.log.say(format!("sent       {hub} {}", item["workId"].as_str().unwrap_or("?")));
    }

    fn answered(&self, function: &'static str, answer: Option<(u16, &Value)>) {
        let Some((status, body)) = answer else {
            return self.0.log.died(function);
        };
        self.0.log.output(&body.to_string());
        let told = body["Outputs"]["outcomes"].as_array().into_iter().flatten();
        let told = told.filter_map(Value::as_str).filter_map(|text| serde_json::from_str::<Value>(text).ok());
        let is_out = self.is_out("tokens");
        let words: Vec<String> = told
            .map(|one| {
                if let Some(outcome) = one["outcomeId"].as_str().filter(|_| is_out) {
                    self.0.log.could_not_keep(outcome);
                }
                let hub = one["hub"].as_str().and_then(|id| id.rsplit('/').next()).unwrap_or("?");
                let whose = one["request"]["id"].as_str().unwrap_or("event");
                let causes = one.get("causes").map(Value::to_string).unwrap_or_default();
                format!(" {hub} {whose} {} {causes}", one["outcome"].as_str().unwrap_or("?"))
            })
            .collect();
        self.0.log.say(format!("answered   {function} {status}{}", words.concat()));
        if status != 200 {
            self.0.log.could_not_tell();
        }
    }
}

/// The network of a process, with somebody who looks at everything that goes out, and with a moment before and
/// after each call in which the process may die.
struct Watched {
    plain: InProcess,
    around: Arc<Inner>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[async_trait]
impl HttpClient for Watched {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        tokio::task::yield_now().await;
        let (method, url) = (request.method(), request.url());
        let path = url.path().to_owned();
        let lower = path.to_ascii_lowercase();
        let Inner { log, azure, grants, others, .. } = &*self.around;
        grants.learn(&azure.principals());
        if method == Method::Put && lower.contains("roleassignments/") {
            let body = match request.body() {
                Body::Bytes(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
                Body::SeekableStream(_) => Value::Null,
            };
            grants.asked(log, &lower, &body);
        }
        let answer = self.plain.execute_request(request).await;
        let status = answer.as_ref().map_or(0, |answer| u16::from(answer.status()));
        if status == 403
            && let Some(blob) = lower.strip_prefix("/outcomes/")
        {
            match blob.strip_prefix("requests%2f") {
                Some(outcome) => log.could_not_keep(outcome.trim_end_matches(".json")),
                None => log.could_not_tell(),
            }
        }
        let host = url.host_str().filter(|host| *host != "127.0.0.1").unwrap_or_default();
        log.say(format!("call       {} {host}{} {status}", method.as_ref(), short(&path)));
        if matches!(method, Method::Put | Method::Patch)
            && (200..300).contains(&status)
            && let Some(hub) = hub_of(&lower)
        {
            log.wrote(hub.to_owned());
        }
        if method == Method::Get
            && status == 200
            && let Some(hub) = hub_of(&lower).and_then(hub_of_name)
            && let Ok(mut others) = others.try_lock()
            && let Some(Race { kind, nth, pause }) = self.around.race()
        {
            log.say(format!("race       {} is changed (kind {kind}, {nth})", hub_name(hub)));
            let changed = others.try_to_change(hub, kind, nth).await;
            drop(others);
            match changed {
                Ok(_) => tokio::time::sleep(pause).await,
                Err(error) => log.say(format!("race       {error}")),
            }
        }
        tokio::task::yield_now().await;
        answer
    }
}

/// The name of a hub, if the path is a hub's and nothing below.
fn hub_of(path: &str) -> Option<&str> {
    let (_, name) = path.split_once("/iothubs/").filter(|(_, name)| !name.contains('/'))?;
    (!path.contains("roleassignments")).then_some(name)
}

/// The end of a path: the whole would be the same group again and again.
fn short(path: &str) -> String {
    let path = path.split_once("/providers/").map_or(path, |(_, rest)| rest);
    let end = path.char_indices().nth(140).map_or(path.len(), |(at, _)| at);
    format!("/{}", path[..end].trim_start_matches('/'))
}

/// How often each line comes, for the summary of a run.
pub(super) fn tally(lines: &[String]) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for word in lines.iter().filter_map(|line| line.split_whitespace().nth(1)) {
        *all.entry(word.to_owned()).or_default() += 1;
    }
    all
}
