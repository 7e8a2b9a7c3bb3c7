//! Calls flow as fast as Resource Manager lets them, and wait for their turn instead of being refused.

use std::sync::Arc;

use futures::future::join_all;
use hubward::{
    arm::{ArmClient, ArmReader, ArmWriter, AzureClock, Reaction},
    local::{
        azure::{Azure, Fault, FaultKind, Settings, Throttling, World},
        clock::SimClock,
        in_process::InProcess,
    },
    model::role::Role,
};
use tokio::time::Instant;

use crate::support::{
    cloud::{PRINCIPAL, START, SimCredential, pass},
    world::{event_hub, hub_id},
};

const ARM: &str = "127.0.0.1:4101";

fn azure(throttling: Throttling) -> Azure {
    let settings = Settings { throttling, ..Settings::default() };
    Azure::new(settings, World::reference(), SimClock::start(START, 1.0))
}

/// A process of its own: it knows nothing of what others do.
fn process(azure: &Azure) -> ArmClient {
    let transport = InProcess::new().with(ARM, azure.arm_router());
    ArmClient::new(
        format!("http://{ARM}").parse().unwrap(),
        "https://management.azure.com/.default".into(),
        Arc::new(SimCredential(azure.clone())),
        Arc::new(transport),
        AzureClock::starting_at(START),
    )
}

fn throttled(azure: &Azure) -> u64 {
    azure.state()["counters"]["throttled"].as_u64().unwrap()
}

/// A look for a hub that is not there: one read.
async fn read(client: &ArmClient) {
    assert!(ArmReader::new(client.clone()).hub(&hub_id("none")).await.unwrap().is_none());
}

/// The same grant once more: one write.
async fn write(client: &ArmClient) {
    let writer = ArmWriter::new(client.clone());
    writer.grant(&event_hub("alerts"), Role::EventHubsDataSender, PRINCIPAL, "why").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_calls_takes_as_long_as_the_bucket_needs_and_none_is_refused() {
    let azure = azure(Throttling::default());
    let client = process(&azure);
    let started = Instant::now();
    join_all((0..1000).map(|_| read(&client))).await;
    // 250 at once, and 25 a second.
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(throttled(&azure), 0);

    let started = Instant::now();
    join_all((0..500).map(|_| write(&client))).await;
    assert_eq!(
        (started.elapsed().as_secs(), throttled(&azure)),
        (30, 0),
        "writes have a bucket of their own"
    );
}

#[tokio::test(start_paused = true)]
async fn processes_that_do_not_know_of_each_other_share_what_there_is() {
    let azure = azure(Throttling::default());
    let processes: Vec<ArmClient> = (0..8).map(|_| process(&azure)).collect();
    let started = Instant::now();
    join_all(processes.iter().flat_map(|client| (0..200).map(|_| write(client)))).await;
    let (seconds, refused) = (started.elapsed().as_secs_f64(), throttled(&azure));
    let floor = (1600.0 - 200.0) / 10.0;
    assert!(seconds < floor * 1.25, "{seconds} s instead of {floor}");
    assert!(refused < 800, "{refused} refusals of 1,600 calls");
}

#[tokio::test(start_paused = true)]
async fn who_has_been_told_to_stay_away_does_and_says_until_when() {
    let azure = azure(Throttling::default());
    let client = process(&azure);
    azure.inject(Fault::new(FaultKind::Throttle).retry_after(300.0));
    let reader = ArmReader::new(client.clone());
    let refused = reader.hub(&hub_id("none")).await.err().unwrap();
    assert_eq!(refused.reaction(), Reaction::Wait(std::time::Duration::from_secs(300)));

    pass(100).await;
    let calls = |client: &ArmClient| client.calls().values().sum::<u64>();
    let before = calls(&client);
    let error = reader.hub(&hub_id("none")).await.err().unwrap();
    assert_eq!(error.reaction(), Reaction::Wait(std::time::Duration::from_secs(200)), "{error}");
    assert_eq!(calls(&client), before, "nothing was sent");
    pass(200).await;
    read(&client).await;
    write(&client).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_turn_comes_too_late_is_not_waited_for() {
    let azure = azure(Throttling::default());
    let client = process(&azure);
    let late = client.until(Instant::now() + std::time::Duration::from_secs(10));
    let (mut on_time, mut waits) = (0, Vec::new());
    let (reader, hub) = (ArmReader::new(late), hub_id("none"));
    for outcome in join_all((0..1000).map(|_| reader.hub(&hub))).await {
        match outcome {
            Ok(_) => on_time += 1,
            Err(error) => waits.push(error.reaction()),
        }
    }
    assert_eq!(on_time, 250 + 25 * 10 - 1, "as many as there is time for");
    assert!(
        waits.iter().all(|wait| matches!(wait, Reaction::Wait(pause) if pause.as_secs() >= 10)),
        "{waits:?}"
    );
    assert_eq!(throttled(&azure), 0);
}

#[tokio::test(start_paused = true)]
async fn a_larger_bucket_is_used_as_soon_as_answers_tell_of_it() {
    let azure = azure(Throttling { writes: 4000.0, writes_per_second: 600.0, ..Throttling::default() });
    let client = process(&azure);
    let started = Instant::now();
    join_all((0..2000).map(|_| write(&client))).await;
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    assert_eq!(throttled(&azure), 0);
}
