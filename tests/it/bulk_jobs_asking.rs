//! A hub is asked for a job once: lost answers, killed handlers, and requests that take turns.

use std::collections::{BTreeMap, BTreeSet};

use hubward::{
    jobs::{Advance, JobOutcome, run::Jobs},
    local::azure::{Fault, FaultKind, Settings},
    model::{
        IotHubId,
        job::{Intent, JobDoor, JobId, JobItem, JobPhase, JobRequest, JobStatus, ObservedJob, Shown},
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    bulk_jobs::{blobs, cloud, export_to, hub, import, jobs_of, outcome},
    support::cloud::{Cloud, START},
};

const DOORS: [(JobDoor, &str); 2] =
    [(JobDoor::DataPlane, "jobs/create"), (JobDoor::ResourceManager, "exportdevices")];

fn asks(cloud: &Cloud) -> u64 {
    cloud.arm.reader().client().calls().get("POST job").copied().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_looked_for_and_never_asked_for_again() {
    let lost = |status| Fault::new(FaultKind::LoseAnswer).status(status);
    let faults = [
        Fault::new(FaultKind::LoseAnswer),
        lost(408),
        lost(500),
        lost(502),
        lost(503),
        lost(503).retry_after(1.0),
        lost(504),
        Fault::new(FaultKind::BadJson),
        Fault::new(FaultKind::SlowAnswer).seconds(90.0),
    ];
    for (fault, (door, path)) in faults.iter().flat_map(|fault| DOORS.map(|door| (fault, door))) {
        let cloud = cloud(Settings::default());
        let hub = hub(&cloud, "hub1", 3).await;
        cloud.azure.inject(fault.clone().on("POST", path));
        let steps = cloud.job(&hub, JobRequest { through: door, ..export_to("a.txt") }).await.unwrap();
        let Some(Advance::Done(JobOutcome::Completed { .. })) = steps.last() else {
            panic!("{fault:?} {door:?}: {steps:#?}")
        };
        assert_eq!((asks(&cloud), jobs_of(&cloud, &hub).len()), (1, 1), "{fault:?} {door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_to_nothing_is_asked_for_again_and_not_for_ever() {
    let status = |status| Fault::new(FaultKind::ServerError).status(status);
    for (fault, (door, path)) in [status(500), status(503), Fault::new(FaultKind::ResetBefore)]
        .iter()
        .flat_map(|fault| DOORS.map(|door| (fault, door)))
    {
        let cloud = cloud(Settings::default());
        let hub = hub(&cloud, "hub1", 3).await;
        let request = JobRequest { through: door, ..export_to("a.txt") };
        cloud.azure.inject(fault.clone().on("POST", path));
        let out = outcome(&cloud, &hub, request.clone()).await;
        assert!(matches!(out, JobOutcome::Completed { .. }), "{fault:?}: {out:?}");
        assert_eq!((asks(&cloud), jobs_of(&cloud, &hub).len()), (2, 1), "{fault:?} {door:?}");

        cloud.azure.inject(fault.clone().on("POST", path).times(0));
        let out = outcome(&cloud, &hub, JobRequest { id: Uuid::from_u128(8), ..request }).await;
        let JobOutcome::Failed { cause } = out else { panic!("{fault:?}: {out:?}") };
        assert!(cause.contains("whether the job was started is not known"), "{cause}");
        assert_eq!((asks(&cloud), jobs_of(&cloud, &hub).len()), (2 + 5, 1), "{fault:?} {door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_throttled_ask_is_sent_again_at_once() {
    let cloud = cloud(Settings::default());
    let hub = hub(&cloud, "hub1", 3).await;
    cloud.azure.inject(Fault::new(FaultKind::Throttle).on("POST", "jobs/create").times(2));
    let steps = cloud.job(&hub, export_to("a.txt")).await.unwrap();
    let intended = |step: &&Advance| matches!(step, Advance::Later { item, .. } if matches!(item.phase, JobPhase::Intended(_)));
    assert_eq!(steps.iter().filter(intended).count(), 1, "{steps:#?}");
    assert_eq!((asks(&cloud), jobs_of(&cloud, &hub).len()), (3, 1));
}

/// Takes a request as far as its intent.
async fn intend(cloud: &Cloud, hub: &IotHubId, request: JobRequest) -> JobItem {
    let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
    let mut item = JobItem::new(request);
    while !matches!(item.phase, JobPhase::Intended(_)) {
        let Advance::Later { item: next, due, .. } = jobs.advance(hub, &item, false).await else { panic!() };
        item = *next;
        cloud.clock.sleep_until(due).await;
    }
    item
}

async fn to_its_end(cloud: &Cloud, hub: &IotHubId, mut item: JobItem) -> JobOutcome {
    let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
    for _ in 0..100 {
        match jobs.advance(hub, &item, false).await {
            Advance::Done(outcome) => return outcome,
            Advance::Later { item: next, due, .. } => {
                item = *next;
                cloud.clock.sleep_until(due).await;
            }
        }
    }
    panic!("never ends: {item:#?}")
}

fn job_id(outcome: &JobOutcome) -> &str {
    let JobOutcome::Completed { job_id, .. } = outcome else { panic!("{outcome:?}") };
    job_id
}

#[tokio::test(start_paused = true)]
async fn two_requests_that_take_turns_are_two_jobs() {
    for (door, _) in DOORS {
        let cloud = cloud(Settings { job_seconds: 30.0, ..Settings::default() });
        let hub = hub(&cloud, "hub1", 3).await;
        let of = |id, name| JobRequest { id: Uuid::from_u128(id), through: door, ..export_to(name) };
        let (first, second) =
            (intend(&cloud, &hub, of(1, "a.txt")).await, intend(&cloud, &hub, of(2, "b.txt")).await);
        let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
        let Advance::Later { item: first, .. } = jobs.advance(&hub, &first, false).await else { panic!() };
        assert!(matches!(first.phase, JobPhase::Running { .. }), "{first:#?}");
        let Advance::Later { item: second, .. } = jobs.advance(&hub, &second, false).await else { panic!() };
        assert!(matches!(second.phase, JobPhase::Wanted { .. }), "the job is not its own: {second:#?}");
        let (first, second) =
            (to_its_end(&cloud, &hub, *first).await, to_its_end(&cloud, &hub, *second).await);
        assert_ne!(job_id(&first), job_id(&second));
        assert_eq!(blobs(&cloud).await, ["a.txt", "b.txt"]);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_another_requests_job_is_told_from_ours() {
    let cloud = cloud(Settings { job_seconds: 30.0, ..Settings::default() });
    let hub = hub(&cloud, "hub1", 3).await;
    let of = |id, name| JobRequest { id: Uuid::from_u128(id), ..export_to(name) };
    let (first, second) =
        (intend(&cloud, &hub, of(1, "a.txt")).await, intend(&cloud, &hub, of(2, "b.txt")).await);
    let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
    let Advance::Later { item: first, .. } = jobs.advance(&hub, &first, false).await else { panic!() };
    // Whoever took this message before may have asked.
    let Advance::Later { item: second, .. } = jobs.advance(&hub, &second, true).await else { panic!() };
    assert!(matches!(&second.phase, JobPhase::Intended(intent) if intent.asked), "{second:#?}");
    assert_eq!(asks(&cloud), 1, "a message that comes again does not ask");
    let (first, second) = (to_its_end(&cloud, &hub, *first).await, to_its_end(&cloud, &hub, *second).await);
    assert_ne!(job_id(&first), job_id(&second));
    assert_eq!(blobs(&cloud).await, ["a.txt", "b.txt"]);
}

#[test]
fn a_job_is_ours_by_all_that_the_hub_shows() {
    let id = |text: &str| JobId::try_from(text.to_owned()).unwrap();
    let at = |seconds| Some(START + Duration::seconds(seconds));
    let shown = |blob: &str| Shown { blob_name: Some(blob.to_owned()), ..Shown::default() };
    let job = |name: &str, shown: Shown, started: Option<OffsetDateTime>| ObservedJob {
        id: id(name),
        kind: "export".into(),
        status: JobStatus::Active,
        progress: 0,
        failure_reason: None,
        shown,
        started,
    };
    let intent = Intent { known: vec![id("known")], since: START, asked: true };
    let request = export_to("a.txt");
    let is_ours = |job: ObservedJob| {
        intent.ours(&[job], &request, "https://egressdata.blob.core.windows.net/archive").is_some()
    };
    let container = |uri: &str| Shown { container: Some(uri.to_owned()), ..shown("a.txt") };
    assert!(is_ours(job("new", Shown::default(), None)), "nothing is shown");
    assert!(is_ours(job("new", shown("a.txt"), at(1))));
    assert!(is_ours(job("new", shown("a.txt"), at(-30))), "clocks differ a little");
    assert!(is_ours(job("new", container("https://EgressData.blob.core.windows.net/archive/?sv=1"), at(1))));
    let not = [
        ("known before", job("known", shown("a.txt"), at(1))),
        ("started before", job("new", shown("a.txt"), at(-61))),
        ("another blob", job("new", shown("b.txt"), at(1))),
        ("another container", job("new", container("https://other.blob.core.windows.net/archive"), at(1))),
        ("without keys", job("new", Shown { exclude_keys: Some(true), ..shown("a.txt") }, at(1))),
        ("with a key", job("new", Shown { by_identity: Some(false), ..shown("a.txt") }, at(1))),
        ("another identity", job("new", Shown { user: Some("/x".into()), ..shown("a.txt") }, at(1))),
        ("an import", ObservedJob { kind: "import".into(), ..job("new", Shown::default(), at(1)) }),
    ];
    for (why, job) in not {
        assert!(!is_ours(job), "{why}");
    }
    // An import shows `false` for keys that it has nothing to do with.
    let shown = Shown { exclude_keys: Some(false), ..shown("devices.txt") };
    let read = ObservedJob { kind: "import".into(), ..job("new", shown, at(1)) };
    assert!(intent.ours(&[read], &import("hub1"), "https://x/y").is_some());
    let several = [job("later", Shown::default(), at(9)), job("first", Shown::default(), at(2))];
    assert_eq!(
        intent.ours(&several, &request, "https://x/y").map(|job| job.id.to_string()).as_deref(),
        Some("first")
    );
}

/// A message of a queue that delivers at least once.
struct Message {
    item: JobItem,
    due: OffsetDateTime,
    deliveries: u32,
}

/// The queue of one hub, with the broker's memory of ids.
#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    seen: BTreeSet<(Uuid, u32)>,
}

impl Queue {
    fn send(&mut self, item: JobItem, due: OffsetDateTime) {
        if self.seen.insert((item.request.id, item.steps)) {
            self.messages.push(Message { item, due, deliveries: 0 });
        }
    }

    /// The message that comes next, which stays until it is completed.
    fn next(&mut self) -> Option<usize> {
        (0..self.messages.len()).min_by_key(|at| self.messages[*at].due)
    }
}

/// Lost answers on every ask, a handler that is killed before and after it hands over, two requests that
/// take turns: one request is never two jobs, and each ends in an outcome.
#[tokio::test(start_paused = true)]
async fn over_a_hundred_seeds_no_request_ever_becomes_two_jobs() {
    let (mut killed_after_ask, mut lost, mut turns) = (0, 0, 0);
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let cloud = cloud(Settings { seed, ..Settings::default() });
        let hub = hub(&cloud, "hub1", 5).await;
        let (door, path) = DOORS[random.random_range(0..2)];
        let statuses = [408, 500, 502, 503, 504];
        for _ in 0..random.random_range(0..4) {
            let kinds =
                [FaultKind::LoseAnswer, FaultKind::ResetBefore, FaultKind::ServerError, FaultKind::BadJson];
            let mut fault = Fault::new(kinds[random.random_range(0..4)]).skip(random.random_range(0..2));
            if fault.fault != FaultKind::BadJson && random.random_bool(0.6) {
                fault = fault.status(statuses[random.random_range(0..5)]);
            }
            cloud.azure.inject(fault.on("POST", path));
            lost += 1;
        }
        // Through Resource Manager, a hub shows nothing that tells two exports apart.
        let requests = if door == JobDoor::DataPlane { 2 } else { 1 };
        let mut queue = Queue::default();
        for n in 0..requests {
            let request =
                JobRequest { id: Uuid::from_u128(n + 1), through: door, ..export_to(&format!("{n}.txt")) };
            queue.send(JobItem::new(request), cloud.clock.now());
        }
        let jobs = Jobs { arm: &cloud.arm, guardrails: cloud.state.guardrails() };
        let mut ends: BTreeMap<Uuid, BTreeSet<String>> = BTreeMap::new();
        let mut deliveries = 0;
        while let Some(at) = queue.next() {
            deliveries += 1;
            assert!(deliveries < 600, "seed {seed} never ends: {:#?}", queue.messages[at].item);
            cloud.clock.sleep_until(queue.messages[at].due).await;
            queue.messages[at].deliveries += 1;
            let (item, again) = (queue.messages[at].item.clone(), queue.messages[at].deliveries > 1);
            let asked = asks(&cloud);
            let step = jobs.advance(&hub, &item, again).await;
            // Killed before it handed over, or after that and before the message was completed.
            let (handed_over, completed) = match random.random_range(0..10) {
                0..2 => (false, false),
                2 => (true, false),
                _ => (true, true),
            };
            killed_after_ask += u32::from(!completed && asks(&cloud) > asked);
            if completed {
                queue.messages.remove(at);
            }
            match step {
                _ if !handed_over => {}
                Advance::Later { item: next, due, .. } => {
                    let gave_way = matches!(
                        (&item.phase, &next.phase),
                        (JobPhase::Intended(_), JobPhase::Wanted { .. })
                    );
                    turns += u32::from(gave_way);
                    queue.send(*next, due);
                }
                Advance::Done(outcome) => {
                    ends.entry(item.request.id).or_default().insert(format!("{outcome:?}"));
                    assert!(matches!(outcome, JobOutcome::Completed { .. }), "seed {seed}: {outcome:?}");
                }
            }
        }
        let ids: BTreeSet<_> = ends.values().flatten().collect();
        let counts = (ends.len() as u128, ids.len() as u128, jobs_of(&cloud, &hub).len() as u128);
        assert_eq!(counts, (requests, requests, requests), "seed {seed}: {ends:#?}");
        assert_eq!(blobs(&cloud).await.len() as u128, requests, "seed {seed}");
    }
    assert!(killed_after_ask > 20 && lost > 100 && turns > 5, "{killed_after_ask}, {lost}, {turns}");
}
