//! Timers of the stand-in host: on schedule, past due, at the start, and repeated.

use std::sync::atomic::{AtomicU64, Ordering};

use hubward::local::functions_host::{FunctionsHost, ScheduleStatus};
use serde_json::{Value, json};
use time::macros::datetime;

use crate::functions_host_support::{MINUTE, Reply, World, counts, timer, times};

#[tokio::test(start_paused = true)]
async fn a_timer_fires_on_its_schedule_and_remembers_it() {
    let world = World::new().triggered("Sweep", timer("0 */5 * * * *"));
    let options = world.options(world.handler(|_| Reply::ok()));
    let timers = options.timers.clone();
    let host = FunctionsHost::start(options).unwrap();
    host.wait_idle().await;
    tokio::time::sleep(11 * MINUTE).await;
    assert_eq!(times(&world), [300, 600]);
    let status = timers.get("Sweep").unwrap();
    assert_eq!(status.next, datetime!(2026-01-31 12:15 UTC));
    assert_eq!(counts(&host.status(), "Sweep"), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_missed_run_is_caught_up_once() {
    let world = World::new().triggered("Sweep", timer("0 */5 * * * *"));
    let mut options = world.options(world.handler(|_| Reply::ok()));
    let last = datetime!(2026-01-31 11:00 UTC);
    let next = datetime!(2026-01-31 11:05 UTC);
    options.timers.set("Sweep", ScheduleStatus { last, next, last_updated: last });
    options.clock = world.clock.clone();
    let host = FunctionsHost::start(options).unwrap();
    host.wait_idle().await;
    tokio::time::sleep(6 * MINUTE).await;
    let past_due: Vec<Value> =
        world.calls().iter().map(|call| call.json()["Data"]["input"]["IsPastDue"].clone()).collect();
    assert_eq!((times(&world), past_due), (vec![0, 300], vec![json!(true), json!(false)]));
    drop(host);
}

#[tokio::test(start_paused = true)]
async fn run_on_startup_runs_once_and_a_long_run_is_followed_by_one() {
    let trigger = json!({ "type": "timerTrigger", "schedule": "0 */5 * * * *", "runOnStartup": true });
    let world = World::new().triggered("Sweep", trigger);
    let long = AtomicU64::new(1);
    let host = world.start(move |_| match long.swap(0, Ordering::Relaxed) {
        1 => Reply::ok().after(17 * MINUTE),
        _ => Reply::ok(),
    });
    host.wait_idle().await;
    tokio::time::sleep(4 * MINUTE).await;
    assert_eq!(times(&world), [0, 1020, 1200], "at once after the long run, then on schedule");
}

#[tokio::test(start_paused = true)]
async fn a_retry_policy_repeats_a_timer_with_the_same_invocation_id() {
    let world = World::new().function(
        "Sweep",
        json!({
            "bindings": [{ "name": "input", "type": "timerTrigger", "schedule": "0 0 * * * *" }],
            "retry": { "strategy": "exponentialBackoff", "maxRetryCount": 3,
                       "minimumInterval": "00:00:05", "maximumInterval": "00:00:08" },
        }),
    );
    let host = world.start(|_| Reply::status(500));
    tokio::time::sleep(61 * MINUTE).await;
    host.wait_idle().await;
    assert_eq!(times(&world), [3600, 3605, 3613, 3621]);
    let ids = world.calls().into_iter().map(|call| call.headers["x-azure-functions-invocationid"].clone());
    assert_eq!(ids.collect::<std::collections::BTreeSet<_>>().len(), 1);
    let retries: Vec<Value> =
        world.calls().iter().map(|call| call.metadata("RetryContext")["RetryCount"].clone()).collect();
    assert_eq!(retries, [0, 1, 2, 3]);
    assert_eq!(counts(&host.status(), "Sweep"), (0, 1), "retries count once");
}
