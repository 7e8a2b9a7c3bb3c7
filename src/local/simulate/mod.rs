//! Deterministic simulation: the real functions, their queues and timers, and the simulated Azure, in one process
//! on paused time, with everything that is random drawn from one seed.
//!
//! A run is a story: a fleet, profiles, requests, other people, and faults. When the faults have ended
//! and nothing is left to do, the invariants are looked at. The same seed gives the same run, to
//! the last call: its log has the same digest.

mod actors;
mod invariants;
mod log;
mod profiles;
mod storm;
mod story;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt};

use self::{
    actors::Others,
    invariants::{CONVERGED, Ending},
    log::Log,
    storm::Storm,
    story::{Story, What},
};
use super::{
    azure::{Azure, World},
    clock::SimClock,
    crew::{Crew, CrewSize},
    workbench::{START, Workbench},
};
use crate::{desired::DesiredState, outcomes::Record};

/// Sessions that each instance takes at the same time.
const SESSIONS: usize = 4;
/// How often the timer of exports fires in a run. host.json says each minute; a story is long.
const EXPORTS_EACH: f64 = 300.0;
/// How often the timer of the resync fires.
const RESYNC_EACH: f64 = 900.0;
/// Longest that a run may take of Azure's time. Faults end after an hour and a half.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// How often an idle crew looks at its queues.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// Longest that an event can be late, and what is behind in Resource Graph with it.
const SETTLED: Duration = Duration::from_secs(20 * 60);

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Broken {
    /// Which.
    pub invariant: &'static str,
    /// What was found instead.
    pub how: String,
}

/// A run that could not be played: a mistake in the simulation, and none of the program.
#[derive(Debug, thiserror::Error)]
#[error("the story cannot be played: {0}")]
pub struct SimulationError(String);

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Invariants that did not hold.
    pub broken: Vec<Broken>,
    /// What was drawn, line by line.
    pub story: Vec<String>,
    /// What happened, line by line.
    pub log: Vec<String>,
    /// SHA-256 of the log.
    pub digest: String,
    /// How often what happened.
    pub counts: BTreeMap<String, usize>,
    /// Azure's seconds that it took.
    pub seconds: f64,
}

/// Plays the run of a seed. It has a thread's time for itself, paused.
///
/// # Errors
/// The story cannot be played.
pub fn run(seed: u64) -> Result<Run, SimulationError> {
    let error = |error: std::io::Error| SimulationError(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(error)?.block_on(async {
        let clock = SimClock::start(START, 1.0);
        let log = Log::new(&clock);
        // What the program logs is output as well, with all that it may say.
        let lines = fmt::layer().with_ansi(false).without_time().with_writer(log.clone());
        let subscriber = tracing_subscriber::registry().with(EnvFilter::new("hubward=debug")).with(lines);
        let _logs = tracing::subscriber::set_default(subscriber);
        play(Story::draw(seed), &clock, &log).await
    })
}

async fn play(story: Story, clock: &SimClock, log: &Log) -> Result<Run, SimulationError> {
    let failed = |error: &dyn std::fmt::Display| SimulationError(error.to_string());
    let document = story.document.text();
    let state = DesiredState::parse(&document).map_err(|mistakes| failed(&mistakes))?;
    let bench = Workbench::new(story.settings.clone(), World::reference().with_state_account(), state);
    let others = Arc::new(Mutex::new(Others::new(&bench.azure, log).await?));
    let storm = Storm::new(&story, &bench.azure, log, others.clone());
    let size = CrewSize { instances: story.instances, sessions: SESSIONS };
    let crew = Crew::in_weather(&bench.azure, clock, &document, size, Arc::new(storm.clone()));
    let crew = crew.map_err(|error| failed(&error))?;
    bench.azure.set_event_sink(crew.events());

    let mut scene = Scene {
        others: &others,
        azure: &bench.azure,
        crew: &crew,
        log,
        present: BTreeSet::new(),
        asked: BTreeSet::new(),
    };
    let mut heard = Heard::default();
    let is_over = Cell::new(false);
    let began = Instant::now();
    let whole = async {
        let acts = async {
            let played = scene.over(&story, began).await;
            storm.calm();
            bench.azure.clear_faults();
            is_over.set(true);
            played
        };
        let (played, ()) = tokio::join!(acts, work_on(&crew, &mut heard, &is_over));
        played?;
        log.say("the faults are over");
        heard.take(crew.work().await);
        tokio::time::sleep(SETTLED).await;
        heard.take(crew.work().await);
        scene.tick("Resync").await;
        heard.take(crew.work().await);
        Ok::<(), SimulationError>(())
    };
    match tokio::time::timeout(LONGEST, whole).await {
        Ok(played) => played?,
        Err(_) => log.broke(CONVERGED, "the work never ends".into()),
    }

    let watcher = others.lock().await;
    watcher.compare_all().await;
    let blobs = watcher.outcomes().await?;
    let Scene { present, asked, .. } = scene;
    let Heard { outcomes, dead } = heard;
    Ending {
        story: &story,
        azure: &bench.azure,
        log,
        outcomes: &outcomes,
        dead: &dead,
        asked: &asked,
        present: &present,
        blobs: &blobs,
    }
    .check();
    let lines = log.lines();
    Ok(Run {
        seed: story.seed,
        broken: log.broken(),
        story: story.tell(),
        counts: storm::tally(&lines),
        log: lines,
        digest: log.digest(),
        seconds: (clock.now() - START).as_seconds_f64(),
    })
}

/// Works off what comes, until nothing more does.
async fn work_on(crew: &Crew, heard: &mut Heard, is_over: &Cell<bool>) {
    while !is_over.get() {
        heard.take(crew.work().await);
        tokio::time::sleep(LOOK_EACH).await;
    }
}

/// What the crew has told so far.
#[derive(Default)]
struct Heard {
    outcomes: Vec<Record>,
    dead: Vec<String>,
}

impl Heard {
    fn take(&mut self, tally: super::crew::Tally) {
        self.outcomes.extend(tally.outcomes);
        self.dead.extend(tally.dead);
    }
}

/// Where a story plays.
struct Scene<'a> {
    others: &'a Mutex<Others>,
    azure: &'a Azure,
    crew: &'a Crew,
    log: &'a Log,
    present: BTreeSet<usize>,
    asked: BTreeSet<String>,
}

impl Scene<'_> {
    /// Plays every act and every timer, until the faults end.
    async fn over(&mut self, story: &Story, began: Instant) -> Result<(), SimulationError> {
        let mut timers: Vec<(f64, &'static str)> = Vec::new();
        for (each, function) in [(EXPORTS_EACH, "ScheduledExport"), (RESYNC_EACH, "Resync")] {
            let times = (0..).map(|nth| f64::from(nth) * each).take_while(|at| *at < story.calm);
            timers.extend(times.map(|at| (at, function)));
        }
        timers.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut timers = timers.into_iter().peekable();
        for act in &story.acts {
            while let Some((at, function)) = timers.next_if(|(at, _)| *at <= act.at) {
                tokio::time::sleep_until(began + Duration::from_secs_f64(at)).await;
                self.tick(function).await;
            }
            tokio::time::sleep_until(began + Duration::from_secs_f64(act.at)).await;
            self.act(story, &act.what).await?;
        }
        for (at, function) in timers {
            tokio::time::sleep_until(began + Duration::from_secs_f64(at)).await;
            self.tick(function).await;
        }
        tokio::time::sleep_until(began + Duration::from_secs_f64(story.calm)).await;
        Ok(())
    }

    /// A timer that fails comes again at its next time.
    async fn tick(&self, function: &'static str) {
        if let Err(error) = self.crew.tick(function).await {
            self.log.say(format!("timer      {error}"));
        }
    }

    async fn act(&mut self, story: &Story, what: &What) -> Result<(), SimulationError> {
        self.log.say(format!("story      {}", what.words()));
        match what {
            What::Create { hub } => {
                let profile = &story.document.profiles[story.hubs[*hub]].name;
                // One of this name may still be on its way out.
                while self.others.lock().await.is_there(*hub).await {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                self.others.lock().await.create(*hub, profile).await?;
                self.present.insert(*hub);
            }
            What::Delete { hub } => {
                self.others.lock().await.delete(*hub).await?;
                self.present.remove(hub);
            }
            What::Foreign { hub, kind, nth } => self.others.lock().await.change(*hub, *kind, *nth).await?,
            What::Revoke { hub, nth } => self.others.lock().await.revoke(*hub, *nth).await?,
            What::Lay { container, blob, devices } => {
                self.others.lock().await.lay(container, blob, devices).await?;
            }
            What::Ask { text } => {
                self.asked.insert(text.clone());
                self.crew.ask(text);
            }
            What::Fault(fault) => {
                let mut fault = (**fault).clone();
                fault.matching.caller = self.azure.client_id();
                self.azure.inject(fault);
            }
            What::Event { hub } => self.others.lock().await.event(*hub).await?,
            What::Jump { seconds } => tokio::time::advance(Duration::from_secs(*seconds)).await,
        }
        Ok(())
    }
}
