//! Where the desired state comes from: a file or an address, read again, and never half.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, routing::get};
use azure_core::http::Url;
use hubward::{
    config::ProfilesSource,
    local::{azure::Settings, in_process::InProcess},
    profiles::{LoadError, Profiles},
};
use tokio::time::{Duration, advance};

use crate::support::cloud::{Cloud, SimCredential};

fn profiles(source: ProfilesSource, transport: InProcess) -> Profiles {
    let credential = SimCredential(Cloud::new(Settings::immediate()).azure.clone());
    Profiles::new(source, Arc::new(credential), Arc::new(transport))
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_with_mistakes_does_not_stop_the_fleet() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, hubward::desired::sample()).unwrap();
    let profiles = profiles(ProfilesSource::File(file.path().into()), InProcess::new());
    let names =
        async || profiles.current().await.unwrap().profile_names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names().await, ["standard"]);

    std::fs::write(&file, "version: 2\n").unwrap();
    advance(Duration::from_secs(61)).await;
    assert_eq!(names().await, ["standard"], "the last good one stays in force");

    std::fs::write(&file, hubward::desired::sample().replace("name: standard", "name: newer")).unwrap();
    assert_eq!(names().await, ["standard"], "not read again before its time");
    advance(Duration::from_secs(61)).await;
    assert_eq!(names().await, ["newer"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_version_with_mistakes_is_told_in_full() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "version: 2\nguardrail: {}\n").unwrap();
    let profiles = profiles(ProfilesSource::File(file.path().into()), InProcess::new());
    let error = profiles.current().await.unwrap_err();
    assert!(matches!(error, LoadError::Mistakes { .. }));
    assert!(error.to_string().contains("line 1") && error.to_string().contains("guardrails"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_caller_reads_while_the_others_go_on() {
    let reads = Arc::new(AtomicUsize::new(0));
    let count = reads.clone();
    let server = Router::new().route(
        "/profiles.yaml",
        get(move || {
            let reads = count.fetch_add(1, Ordering::Relaxed);
            async move {
                if reads > 0 {
                    tokio::time::sleep(Duration::from_secs(10)).await;
                }
                hubward::desired::sample()
            }
        }),
    );
    let url = Url::parse("http://127.0.0.1:9/profiles.yaml").unwrap();
    let profiles = profiles(ProfilesSource::Url(url), InProcess::new().with("127.0.0.1:9", server));
    profiles.current().await.unwrap();
    advance(Duration::from_secs(61)).await;
    let started = tokio::time::Instant::now();
    let slow = profiles.current();
    let quick = async {
        tokio::task::yield_now().await;
        profiles.current().await.unwrap();
        started.elapsed()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert!(slow.is_ok());
    assert!(quick < Duration::from_secs(1), "{quick:?}");
    assert_eq!(reads.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let server = Router::new().route("/p", get(|| async { std::future::pending::<String>().await }));
    let url = Url::parse("http://127.0.0.1:9/p").unwrap();
    let profiles = profiles(ProfilesSource::Url(url), InProcess::new().with("127.0.0.1:9", server));
    assert!(profiles.current().await.unwrap_err().to_string().contains("nothing came in 15 s"));
}
