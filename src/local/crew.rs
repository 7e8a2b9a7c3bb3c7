//! Instances of the real functions and the broker that feeds them, in one process on tokio's time.
//!
//! What the Functions host does with `hub-work`, without sockets and without a host: messages appear when
//! they are due, those of one session one after the other, an instance takes as many sessions as host.json
//! allows and keeps each for a while after its last message. Every instance has its own client, memory and
//! pace, as processes have; they share nothing but Azure and the queue.

use std::{
    collections::{BTreeMap, HashSet},
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tower::ServiceExt;
use uuid::Uuid;

use super::{
    azure::{Azure, EventSink, OUTCOMES_CONTAINER},
    clock::SimClock,
    in_process::InProcess,
    workbench::{SimCredential, client},
};
use crate::{
    arm::ArmWriter,
    blobs::Container,
    bus::{SendError, WorkQueue},
    campaigns::step::CampaignStep,
    config::ProfilesSource,
    fleet::Source,
    functions::{self, App},
    outcomes::{Record, store::BlobStore},
    profiles::Profiles,
    reconcile::Reconciler,
    telemetry::Telemetry,
    work::WorkItem,
};

/// Deliveries after which a message goes to the dead letters.
const MAX_DELIVERIES: u32 = 10;
/// How long an instance keeps a session after its last message: `sessionIdleTimeout` of host.json.
const IDLE: Duration = Duration::from_secs(5);

/// How large a crew is.
#[derive(Debug, Clone, Copy)]
pub struct CrewSize {
    /// Instances of the function app.
    pub instances: usize,
    /// Sessions of each at the same time: `maxConcurrentSessions` of host.json.
    pub sessions: usize,
}

/// Why a crew could not be set up, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// The desired-state document could not be put where the functions read it.
    #[error("the profiles cannot be written")]
    Profiles(#[from] std::io::Error),
    /// The address of the outcomes is not one.
    #[error("outcomes cannot be kept: {0}")]
    Outcomes(String),
    /// A function gave an answer that the host would not understand.
    #[error("{function} answered {status}: {body}")]
    Answer {
        /// The function.
        function: &'static str,
        /// The HTTP status.
        status: u16,
        /// The text.
        body: String,
    },
}

/// The instances and their broker.
pub struct Crew {
    broker: Arc<Broker>,
    instances: Vec<Router>,
    size: CrewSize,
    clock: SimClock,
    ended: Mutex<Vec<Record>>,
    _profiles: tempfile::NamedTempFile,
}

/// What a crew has done.
#[derive(Debug, Default)]
pub struct Tally {
    /// Every outcome that was told.
    pub outcomes: Vec<Record>,
    /// Messages that were given up.
    pub dead: Vec<String>,
}

impl Crew {
    /// A crew for an Azure, which reads its profiles from a document.
    ///
    /// # Errors
    /// The document cannot be written down.
    pub fn new(azure: &Azure, clock: &SimClock, document: &str, size: CrewSize) -> Result<Self, CrewError> {
        let mut profiles = tempfile::NamedTempFile::new()?;
        profiles.write_all(document.as_bytes())?;
        let broker = Arc::new(Broker { clock: clock.clone(), state: Mutex::default(), news: Notify::new() });
        let instances = (0..size.instances).map(|_| instance(azure, profiles.path(), broker.clone()));
        let instances = instances.collect::<Result<_, _>>()?;
        let (clock, ended) = (clock.clone(), Mutex::default());
        Ok(Self { broker, instances, size, clock, ended, _profiles: profiles })
    }

    /// Where Event Grid delivers: each event to the next instance.
    pub fn events(&self) -> Arc<dyn EventSink> {
        Arc::new(Door { instances: self.instances.clone(), next: Mutex::default() })
    }

    /// Starts a timer's function on the first instance.
    ///
    /// # Errors
    /// It failed.
    pub async fn tick(&self, function: &'static str) -> Result<(), CrewError> {
        let Some(instance) = self.instances.first() else { return Ok(()) };
        let timer = json!({"timer": {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false}});
        let (status, body) = invoke(instance, function, &json!({"Data": timer, "Metadata": {}})).await;
        if status != 200 {
            return Err(CrewError::Answer { function, status, body: body.to_string() });
        }
        Ok(())
    }

    /// Works until nothing is left on the queue, not even for later.
    pub async fn work(&self) -> Tally {
        let mut shift = Shift { free: vec![self.size.sessions; self.instances.len()], tasks: JoinSet::new() };
        loop {
            while let Some(at) = shift.instance()
                && let Some(message) = self.broker.take()
            {
                shift.free[at] -= 1;
                let instance = self.instances[at].clone();
                shift.tasks.spawn(async move {
                    let (status, answer) = invoke(&instance, "Work", &message.envelope()).await;
                    Event::Answered { at, message, status, answer }
                });
            }
            let due = self.broker.next_due().filter(|_| shift.instance().is_some());
            if shift.tasks.is_empty() && due.is_none() {
                break;
            }
            let wake = due.map(|due| self.clock.instant(due));
            tokio::select! {
                Some(event) = shift.tasks.join_next() => self.settle(event, &mut shift),
                () = sleep_until(wake) => {}
                () = self.broker.news.notified() => {}
            }
        }
        let mut state = self.broker.state();
        Tally { outcomes: std::mem::take(&mut *self.ended()), dead: std::mem::take(&mut state.dead) }
    }

    fn settle(&self, event: Result<Event, tokio::task::JoinError>, shift: &mut Shift) {
        match event {
            Ok(Event::Answered { at, message, status, answer }) => {
                self.broker.settle(message, status == 200);
                let told = answer["Outputs"]["outcomes"].as_array().into_iter().flatten();
                let told = told.filter_map(Value::as_str).filter_map(|text| serde_json::from_str(text).ok());
                self.ended().extend(told);
                shift.tasks.spawn(async move {
                    tokio::time::sleep(IDLE).await;
                    Event::Idle { at }
                });
            }
            Ok(Event::Idle { at }) => shift.free[at] += 1,
            // The function has panicked: the runtime answers with 500 before that can be.
            Err(error) => self.broker.state().dead.push(error.to_string()),
        }
    }

    fn ended(&self) -> MutexGuard<'_, Vec<Record>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

fn instance(azure: &Azure, profiles: &std::path::Path, queue: Arc<Broker>) -> Result<Router, CrewError> {
    let arm = client(azure);
    let container = Container::new(OUTCOMES_CONTAINER, arm.credential(), arm.transport());
    let container = container.map_err(|error| CrewError::Outcomes(error.to_string()))?;
    let source = ProfilesSource::File(profiles.into());
    let address = OUTCOMES_CONTAINER.parse().ok();
    let profiles = Profiles::new(source, Arc::new(SimCredential(azure.clone())), Arc::new(InProcess::new()));
    let app = App {
        profiles: profiles.reserving(address.as_ref()),
        reconciler: Reconciler::new(ArmWriter::new(arm.clone())),
        client_id: azure.client_id().and_then(|id| id.parse().ok()),
        arm,
        queue,
        store: Some(Arc::new(BlobStore::new(container))),
        telemetry: Telemetry::default(),
        exports_seen_to: Mutex::default(),
        resync_source: Source::Graph,
        parked: None,
    };
    Ok(functions::runtime(Arc::new(app)).into_router())
}

/// One invocation, as the host makes it.
async fn invoke(instance: &Router, function: &str, envelope: &Value) -> (u16, Value) {
    let request = http::Request::post(format!("/{function}"))
        .header("content-type", "application/json; charset=utf-8")
        .header("x-azure-functions-invocationid", Uuid::new_v4().to_string())
        .body(Body::from(envelope.to_string()));
    let Ok(request) = request else { return (0, Value::Null) };
    let answer = instance.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// What is going on, and where there is room.
struct Shift {
    /// Sessions that each instance can still take.
    free: Vec<usize>,
    tasks: JoinSet<Event>,
}

impl Shift {
    /// The instance with the most room.
    fn instance(&self) -> Option<usize> {
        let (at, free) = self.free.iter().enumerate().max_by_key(|(_, free)| **free)?;
        (*free > 0).then_some(at)
    }
}

enum Event {
    Answered { at: usize, message: Message, status: u16, answer: Value },
    Idle { at: usize },
}

/// Hands events to the function that takes them.
struct Door {
    instances: Vec<Router>,
    next: Mutex<usize>,
}

#[async_trait]
impl EventSink for Door {
    async fn deliver(&self, body: Value, _: BTreeMap<String, String>) -> u16 {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next = (*next + 1) % self.instances.len().max(1);
            *next
        };
        let Some(instance) = self.instances.get(at) else { return 503 };
        let events = match body {
            Value::Array(events) => events,
            one => vec![one],
        };
        for event in events {
            let envelope = json!({"Data": {"event": event}, "Metadata": {}});
            let (status, _) = invoke(instance, "HubEvent", &envelope).await;
            if status != 200 {
                return status;
            }
        }
        200
    }
}

/// The queue `hub-work`, with sessions, scheduled messages and duplicate detection.
struct Broker {
    clock: SimClock,
    state: Mutex<Queued>,
    news: Notify,
}

#[derive(Default)]
struct Queued {
    /// By when they are due, and then in the order in which they came.
    waiting: BTreeMap<(OffsetDateTime, u64), Message>,
    came: u64,
    seen: HashSet<Uuid>,
    /// Sessions that somebody is at.
    locked: HashSet<String>,
    dead: Vec<String>,
}

struct Message {
    key: (OffsetDateTime, u64),
    session: String,
    text: String,
    deliveries: u32,
}

impl Message {
    fn envelope(&self) -> Value {
        // Trigger data and metadata are JSON texts inside the JSON.
        let text = Value::from(self.text.as_str()).to_string();
        let session = Value::from(self.session.as_str()).to_string();
        let metadata = json!({"DeliveryCount": self.deliveries.to_string(), "SessionId": session});
        json!({"Data": {"work": text}, "Metadata": metadata})
    }
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, Queued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, id: Uuid, session: String, due: Option<OffsetDateTime>, text: String) {
        let mut state = self.state();
        if !state.seen.insert(id) {
            return;
        }
        state.came += 1;
        let key = (due.unwrap_or_else(|| self.clock.now()), state.came);
        state.waiting.insert(key, Message { key, session, text, deliveries: 0 });
        drop(state);
        self.news.notify_one();
    }

    /// The first message that is due and whose session is free.
    fn take(&self) -> Option<Message> {
        let (mut state, now) = (self.state(), self.clock.now());
        let due = state.waiting.iter().take_while(|(key, _)| key.0 <= now);
        let key = due.into_iter().find(|(_, message)| !state.locked.contains(&message.session))?.0.to_owned();
        let mut message = state.waiting.remove(&key)?;
        message.deliveries += 1;
        state.locked.insert(message.session.clone());
        Some(message)
    }

    /// When there is a message to take next, if nobody comes back before.
    fn next_due(&self) -> Option<OffsetDateTime> {
        let state = self.state();
        let free = state.waiting.iter().find(|(_, message)| !state.locked.contains(&message.session));
        free.map(|(key, _)| key.0)
    }

    /// Ends a delivery: the message is done with, or comes back.
    fn settle(&self, message: Message, is_done: bool) {
        let mut state = self.state();
        state.locked.remove(&message.session);
        if is_done {
            return;
        }
        if message.deliveries < MAX_DELIVERIES {
            state.waiting.insert(message.key, message);
        } else {
            state.dead.push(message.text);
        }
    }
}

#[async_trait]
impl WorkQueue for Broker {
    async fn send(&self, item: &WorkItem) -> Result<(), SendError> {
        let text = serde_json::to_string(item).map_err(|error| SendError::new(item, error.to_string()))?;
        self.put(item.work_id, item.session_id(), item.due(), text);
        Ok(())
    }

    async fn send_step(&self, step: &CampaignStep) -> Result<(), SendError> {
        let text =
            serde_json::to_string(step).map_err(|error| SendError::of_step(step, error.to_string()))?;
        self.put(step.step_id, step.session_id(), Some(step.due), text);
        Ok(())
    }
}
