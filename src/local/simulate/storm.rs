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
    invariants::Grants,
    log::Log,
    story::{Outage, Story},
};
use crate::local::{azure::Azure, crew::Weather, in_process::InProcess};

/// Longest life of a process that dies over an invocation, in polls.
const LONGEST_LIFE: u32 = 120;

/// What the weather needs to know.
pub(super) struct Storm {
    log: Log,
    azure: Azure,
    grants: Arc<Grants>,
    began: Instant,
    outages: Vec<Outage>,
    state: Mutex<State>,
}

struct State {
    random: StdRng,
    deaths_left: u32,
    death: f64,
}

impl Storm {
    pub(super) fn new(story: &Story, azure: &Azure, log: &Log, grants: Arc<Grants>) -> Self {
        let random = StdRng::seed_from_u64(story.seed ^ 0x5707_7a11);
        let state = State { random, deaths_left: story.deaths, death: story.death };
        let began = Instant::now();
        let outages = story.outages.clone();
        Self { log: log.clone(), azure: azure.clone(), grants, began, outages, state: Mutex::new(state) }
    }

    /// From now on nobody dies.
    pub(super) fn calm(&self) {
        self.state().deaths_left = 0;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_out(&self, what: &str) -> bool {
        let now = self.began.elapsed().as_secs_f64();
        self.outages.iter().any(|outage| outage.what == what && (outage.from..outage.until).contains(&now))
    }
}

impl Weather for Storm {
    fn lifetime(&self, _: &'static str) -> Option<u32> {
        let mut state = self.state();
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
        let mut state = self.state();
        if state.random.random_bool(0.7) {
            return Duration::ZERO;
        }
        Duration::seconds(state.random.random_range(-7200..=7200))
    }

    fn chance(&self) -> Option<u64> {
        Some(self.state().random.next_u64())
    }

    fn network(&self, plain: InProcess) -> Arc<dyn HttpClient> {
        let (log, azure, grants) = (self.log.clone(), self.azure.clone(), self.grants.clone());
        Arc::new(Watched { plain, log, azure, grants })
    }

    fn sent(&self, message: &str) {
        self.log.output(message);
        let item: Value = serde_json::from_str(message).unwrap_or_default();
        let hub = item["hub"].as_str().and_then(|id| id.rsplit('/').next()).unwrap_or("?");
        self.log.say(format!("sent       {hub} {}", item["workId"].as_str().unwrap_or("?")));
    }

    fn answered(&self, function: &'static str, answer: Option<(u16, &Value)>) {
        let Some((status, body)) = answer else {
            return self.log.died(function);
        };
        self.log.output(&body.to_string());
        let told = body["Outputs"]["outcomes"].as_array().into_iter().flatten();
        let told = told.filter_map(Value::as_str).filter_map(|text| serde_json::from_str::<Value>(text).ok());
        let words: Vec<String> = told
            .map(|one| {
                let hub = one["hub"].as_str().and_then(|id| id.rsplit('/').next()).unwrap_or("?");
                let whose = one["request"]["id"].as_str().unwrap_or("event");
                let causes = one.get("causes").map(Value::to_string).unwrap_or_default();
                format!(" {hub} {whose} {} {causes}", one["outcome"].as_str().unwrap_or("?"))
            })
            .collect();
        self.log.say(format!("answered   {function} {status}{}", words.concat()));
    }
}

/// The network of a process, with somebody who looks at everything that goes out, and with a moment before and
/// after each call in which the process may die.
struct Watched {
    plain: InProcess,
    log: Log,
    azure: Azure,
    grants: Arc<Grants>,
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
        self.grants.learn(&self.azure.principals());
        if method == Method::Put && lower.contains("roleassignments/") {
            let body = match request.body() {
                Body::Bytes(bytes) => serde_json::from_slice(bytes).unwrap_or_default(),
                Body::SeekableStream(_) => Value::Null,
            };
            self.grants.asked(&self.log, &lower, &body);
        }
        let answer = self.plain.execute_request(request).await;
        let status = answer.as_ref().map_or(0, |answer| u16::from(answer.status()));
        let host = url.host_str().filter(|host| *host != "127.0.0.1").unwrap_or_default();
        self.log.say(format!("call       {} {host}{} {status}", method.as_ref(), short(&path)));
        if matches!(method, Method::Put | Method::Patch) && (200..300).contains(&status) {
            let hub = lower.split_once("/iothubs/").filter(|(_, name)| !name.contains('/'));
            if let Some((_, hub)) = hub.filter(|_| !lower.contains("roleassignments")) {
                self.log.wrote(hub.to_owned());
            }
        }
        tokio::task::yield_now().await;
        answer
    }
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
