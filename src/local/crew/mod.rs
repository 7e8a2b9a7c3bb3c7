//! Instances of the real functions and the brokers that feed them, in one process on tokio's time.
//!
//! What the Functions host does with `hub-work` and `hub-requests`, without sockets and without a host:
//! messages appear when they are due, those of one session one after the other, an instance takes as many
//! sessions as host.json allows and keeps each for a while after its last message. Every instance has its own
//! client, memory and pace, as processes have; they share nothing but Azure and the queues. The
//! [weather](Weather) says which of them die, and when.

mod bus;
mod instance;
mod requests;
mod weather;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

pub use weather::{Fair, Weather};

use self::{
    bus::{Broker, Message},
    instance::{Instance, Site},
    requests::{End, Request, Requests},
};
use super::{
    azure::{Azure, EventSink},
    clock::SimClock,
};
use crate::outcomes::Record;

/// How long an instance keeps a session after its last message: `sessionIdleTimeout` of host.json.
const IDLE: Duration = Duration::from_secs(5);
/// How long a session stays locked whose process has died.
const LOCK: Duration = Duration::from_secs(60);

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
    #[error("the profiles cannot be served: {0}")]
    Profiles(String),
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
    /// The process died over a function.
    #[error("{0}: its process died")]
    Died(&'static str),
}

/// The instances and their brokers.
pub struct Crew {
    broker: Arc<Broker>,
    requests: Arc<Requests>,
    instances: Vec<Arc<Instance>>,
    size: CrewSize,
    clock: SimClock,
    ended: Mutex<Vec<Record>>,
    next: Arc<Mutex<usize>>,
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
    /// The document cannot be served.
    pub fn new(azure: &Azure, clock: &SimClock, document: &str, size: CrewSize) -> Result<Self, CrewError> {
        Self::in_weather(azure, clock, document, size, Arc::new(Fair))
    }

    /// The same in this weather.
    ///
    /// # Errors
    /// As [`Crew::new`].
    pub fn in_weather(
        azure: &Azure,
        clock: &SimClock,
        document: &str,
        size: CrewSize,
        weather: Arc<dyn Weather>,
    ) -> Result<Self, CrewError> {
        let news = Arc::new(Notify::new());
        let broker = Arc::new(Broker::new(clock, weather.clone(), news.clone()));
        let site = Site { azure: azure.clone(), document: document.into(), queue: broker.clone(), weather };
        let instances = (0..size.instances).map(|_| Instance::start(site.clone()).map(Arc::new));
        Ok(Self {
            broker,
            requests: Arc::new(Requests::new(clock, news)),
            instances: instances.collect::<Result<_, _>>()?,
            size,
            clock: clock.clone(),
            ended: Mutex::default(),
            next: Arc::default(),
        })
    }

    /// Where Event Grid delivers: each event to the next instance.
    pub fn events(&self) -> Arc<dyn EventSink> {
        Arc::new(Door {
            instances: self.instances.iter().map(Arc::downgrade).collect(),
            next: self.next.clone(),
        })
    }

    /// Puts a text on the queue `hub-requests`.
    pub fn ask(&self, text: &str) {
        self.requests.put(text.to_owned());
    }

    /// Starts a timer's function on the first instance.
    ///
    /// # Errors
    /// It failed, or its process died.
    pub async fn tick(&self, function: &'static str) -> Result<(), CrewError> {
        let Some(instance) = self.instances.first() else { return Ok(()) };
        let timer = json!({"timer": {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false}});
        let answer = instance.invoke(function, &json!({"Data": timer, "Metadata": {}})).await;
        let (status, body) = answer.ok_or(CrewError::Died(function))?;
        self.hear(&body);
        if status != 200 {
            return Err(CrewError::Answer { function, status, body: body.to_string() });
        }
        Ok(())
    }

    /// Works until nothing is left on the queues, not even for later.
    pub async fn work(&self) -> Tally {
        let mut shift = Shift { free: vec![self.size.sessions; self.instances.len()], tasks: JoinSet::new() };
        loop {
            self.take(&mut shift);
            let work = self.broker.next_due().filter(|_| shift.instance().is_some());
            let due = work.into_iter().chain(self.requests.next_due()).min();
            if shift.tasks.is_empty() && due.is_none() {
                break;
            }
            let wake = due.map(|due| self.clock.instant(due));
            tokio::select! {
                biased;
                Some(event) = shift.tasks.join_next() => self.settle(event, &mut shift),
                () = sleep_until(wake) => {}
                () = self.broker.news.notified() => {}
            }
        }
        let dead = self.broker.dead().into_iter().chain(self.requests.poison()).collect();
        Tally { outcomes: std::mem::take(&mut *self.ended()), dead }
    }

    /// Gives what is due to whoever has room.
    fn take(&self, shift: &mut Shift) {
        while let Some(at) = shift.instance()
            && let Some(message) = self.broker.take()
        {
            shift.free[at] -= 1;
            let instance = self.instances[at].clone();
            shift.tasks.spawn(async move {
                let answer = instance.invoke("Work", &message.envelope()).await;
                Event::Answered { at, message, answer }
            });
        }
        while let Some(instance) = next(&self.instances, &self.next)
            && let Some(request) = self.requests.take()
        {
            shift.tasks.spawn(async move {
                let answer = instance.invoke("Request", &request.envelope()).await;
                Event::Asked { request, answer }
            });
        }
    }

    fn settle(&self, event: Result<Event, tokio::task::JoinError>, shift: &mut Shift) {
        match event {
            Ok(Event::Answered { at, message, answer: Some((status, answer)) }) => {
                self.broker.settle(message, status == 200);
                self.hear(&answer);
                shift.tasks.spawn(async move {
                    tokio::time::sleep(IDLE).await;
                    Event::Idle { at }
                });
            }
            Ok(Event::Answered { at, message, answer: None }) => {
                shift.free[at] += 1;
                shift.tasks.spawn(async move {
                    tokio::time::sleep(LOCK).await;
                    Event::LockLost { message }
                });
            }
            Ok(Event::LockLost { message }) => self.broker.settle(message, false),
            Ok(Event::Idle { at }) => shift.free[at] += 1,
            Ok(Event::Asked { request, answer: Some((status, answer)) }) => {
                self.requests.settle(request, if status == 200 { End::Done } else { End::Failed });
                self.hear(&answer);
            }
            Ok(Event::Asked { request, answer: None }) => self.requests.settle(request, End::Died),
            // The function has panicked: the runtime answers with 500 before that can be.
            Err(error) => self.broker.bury(error.to_string()),
        }
    }

    /// Takes the outcomes out of an answer, as the output binding does.
    fn hear(&self, answer: &Value) {
        let told = answer["Outputs"]["outcomes"].as_array().into_iter().flatten();
        let told = told.filter_map(Value::as_str).filter_map(|text| serde_json::from_str(text).ok());
        self.ended().extend(told);
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

/// The instance whose turn it is.
fn next<T: Clone>(instances: &[T], next: &Mutex<usize>) -> Option<T> {
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    *next = (*next + 1) % instances.len().max(1);
    instances.get(*next).cloned()
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

/// An answer of a function, if its process lived that long.
type Answer = Option<(u16, Value)>;

enum Event {
    Answered { at: usize, message: Message, answer: Answer },
    LockLost { message: Message },
    Idle { at: usize },
    Asked { request: Request, answer: Answer },
}

/// Hands events to the function that takes them, as long as the crew is there: Azure holds the door, and the
/// instances hold Azure.
struct Door {
    instances: Vec<Weak<Instance>>,
    next: Arc<Mutex<usize>>,
}

#[async_trait]
impl EventSink for Door {
    async fn deliver(&self, body: Value, _: BTreeMap<String, String>) -> u16 {
        let Some(instance) = next(&self.instances, &self.next).and_then(|one| one.upgrade()) else {
            return 503;
        };
        let events = match body {
            Value::Array(events) => events,
            one => vec![one],
        };
        for event in events {
            let envelope = json!({"Data": {"event": event}, "Metadata": {}});
            let status = instance.invoke("HubEvent", &envelope).await.map_or(503, |(status, _)| status);
            if status != 200 {
                return status;
            }
        }
        200
    }
}
