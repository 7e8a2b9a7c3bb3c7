//! Beside other writers: nobody's change is lost, and nobody fights.

use axum::body::Body;
use hubward::{
    local::azure::{Azure, Settings},
    model::IotHubId,
    plan::Blocked,
    reconcile::{Outcome, plan_hub},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::cloud::Cloud;

/// Somebody at the portal: reads a hub, changes one thing, writes it with the etag, and does it again
/// when the hub was busy or has changed meanwhile.
struct Portal {
    azure: Azure,
    hub: IotHubId,
    token: String,
}

impl Portal {
    async fn new(cloud: &Cloud, hub: &IotHubId) -> Self {
        // The world's second caller, who is not the handler.
        let request = http::Request::get(
            "/msi/token?api-version=2019-08-01&resource=https://management.azure.com/&client_id=c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
        )
        .header("x-identity-header", Settings::default().identity_header)
        .body(Body::empty())
        .unwrap();
        let answer = cloud.azure.identity_router().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let token = body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
        Self { azure: cloud.azure.clone(), hub: hub.clone(), token }
    }

    async fn call(&self, method: &str, etag: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}?api-version=2023-06-30", self.hub))
            .header("host", "127.0.0.1:4101")
            .header("authorization", format!("Bearer {}", self.token));
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let answer = self.azure.arm_router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Makes one change, however often that has to be tried.
    async fn change(&self, change: impl Fn(&mut Value)) {
        for _ in 0..500 {
            let (status, mut hub) = self.call("GET", None, &Value::Null).await;
            if status == 200 {
                change(&mut hub);
                let etag = hub["etag"].as_str().unwrap().to_owned();
                let (status, answer) = self.call("PUT", Some(&etag), &hub).await;
                match status {
                    201 => return,
                    409 | 412 => {}
                    _ => panic!("the portal was refused: {status} {answer}"),
                }
            }
            tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        }
        panic!("the portal never got through");
    }

    /// One of the things that people change, the `n`-th.
    async fn change_something(&self, kind: usize, n: usize) {
        let key = format!("theirs-{n}");
        self.change(|hub| {
            let properties = &mut hub["properties"];
            let list = |routing: &mut Value, name: &str, item: Value| {
                let list = if name == "routes" { &mut routing["routes"] } else { &mut routing["endpoints"][name] };
                list.as_array_mut().unwrap().push(item);
            };
            match kind {
                0 => hub["tags"][&key] = "yes".into(),
                1 => list(
                    &mut properties["routing"],
                    "routes",
                    json!({"name": key, "source": "TwinChangeEvents", "condition": "true", "endpointNames": ["events"], "isEnabled": true}),
                ),
                2 => list(
                    &mut properties["routing"],
                    "serviceBusQueues",
                    json!({"name": key, "connectionString": format!("Endpoint=sb://theirs.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0{n};EntityPath=q")}),
                ),
                3 => properties["cloudToDevice"]["maxDeliveryCount"] = json!(20 + n),
                _ => {
                    properties["storageEndpoints"] = json!({"$default": {
                        "connectionString": format!("DefaultEndpointsProtocol=https;AccountName=theirs{n};AccountKey=c2VjcmV0"),
                        "containerName": key, "sasTtlAsIso8601": "PT1H",
                    }});
                }
            }
        })
        .await;
    }
}

/// What somebody changed is there.
fn assert_kept(found: &Value, changes: &[usize], story: &str) {
    for (n, kind) in changes.iter().enumerate() {
        let key = format!("theirs-{n}");
        let properties = &found["properties"];
        let named =
            |list: &Value| list.as_array().into_iter().flatten().any(|one| one["name"] == key.as_str());
        // Values that were overwritten by a later change of the same kind are not lost.
        let is_last = !changes[n + 1..].contains(kind);
        let kept = match kind {
            0 => found["tags"][&key] == "yes",
            1 => named(&properties["routing"]["routes"]),
            2 => named(&properties["routing"]["endpoints"]["serviceBusQueues"]),
            3 => !is_last || properties["cloudToDevice"]["maxDeliveryCount"] == json!(20 + n),
            _ => !is_last || properties["storageEndpoints"]["$default"]["containerName"] == key.as_str(),
        };
        assert!(kept, "{story}: change {n} of kind {kind} was lost: {found:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_writers_racing_lose_nothing() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let settings = Settings { seed, ..Settings::default() };
        let cloud = Cloud::new(settings);
        let hub = cloud.new_hub("hub1").await;
        let portal = Portal::new(&cloud, &hub).await;
        let changes: Vec<usize> = (0..random.random_range(2..5)).map(|_| random.random_range(0..5)).collect();
        let pauses: Vec<f64> = changes.iter().map(|_| random.random_range(0.0..60.0)).collect();
        let story = format!("seed {seed}, changes {changes:?}");
        let them = async {
            for (n, (kind, pause)) in changes.iter().zip(&pauses).enumerate() {
                tokio::time::sleep(std::time::Duration::from_secs_f64(*pause)).await;
                portal.change_something(*kind, n).await;
            }
        };
        let (reports, ()) = tokio::join!(cloud.settle(&hub), them);
        let last = &reports.last().unwrap().outcome;
        assert!(matches!(last, Outcome::Changed | Outcome::InSync), "{story}: {last:?}");
        // Their last write may still be going on.
        tokio::time::sleep(std::time::Duration::from_secs(120)).await;
        let reports = cloud.settle(&hub).await;
        let last = &reports.last().unwrap().outcome;
        assert!(matches!(last, Outcome::Changed | Outcome::InSync), "{story}: {last:?}");
        let plan = plan_hub(cloud.arm.reader(), &cloud.state, &hub).await.unwrap();
        assert!(plan.is_in_sync(), "{story}: {plan}");
        let found = cloud.hub(&hub);
        assert_kept(&found, &changes, &story);
        let endpoint = &found["properties"]["routing"]["endpoints"]["eventHubs"][0];
        assert_eq!(endpoint["authenticationType"], "identityBased", "{story}");
    }
}

/// Takes out what we put in, as a template that does not know it does.
async fn undo(portal: &Portal) {
    portal
        .change(|hub| {
            hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
            hub["properties"]["routing"]["routes"] = json!([]);
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
}

fn is_second_owner(outcome: &Outcome) -> bool {
    let Outcome::Blocked { causes } = outcome else { return false };
    causes.iter().any(|cause| cause.contains("somebody has undone this 2 times"))
}

#[tokio::test(start_paused = true)]
async fn a_second_owner_that_undoes_us_twice_is_reported_and_left_alone() {
    let mut cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    cloud.settle(&hub).await;
    undo(&portal).await;
    assert_eq!(cloud.settle(&hub).await.last().unwrap().outcome, Outcome::Changed, "once may be a mistake");
    undo(&portal).await;
    cloud.reset_counters().await.unwrap();
    let report = cloud.look(&hub).await;
    assert!(is_second_owner(&report.outcome), "{report:#?}");
    assert_eq!(cloud.count("hubPuts"), 0, "no flapping");

    // A process that has just started knows it from Azure's own log, and who it is.
    tokio::time::sleep(std::time::Duration::from_secs(1200)).await;
    cloud.restart();
    let report = cloud.look(&hub).await;
    assert!(is_second_owner(&report.outcome), "{report:#?}");
    let Outcome::Blocked { causes } = &report.outcome else { unreachable!() };
    assert!(causes[0].contains("2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77"), "the operator is named: {causes:?}");
    assert_eq!(cloud.count("hubPuts"), 0);

    // Another wanted state is another matter: what was undone is not what is wanted now.
    let other = hubward::desired::sample().replace("- name: all", "- name: everything");
    cloud.want(&other);
    assert_eq!(cloud.settle(&hub).await.last().unwrap().outcome, Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_day_later_the_hub_is_tried_again() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    for _ in 0..2 {
        cloud.settle(&hub).await;
        undo(&portal).await;
    }
    assert!(is_second_owner(&cloud.look(&hub).await.outcome));
    tokio::time::sleep(std::time::Duration::from_secs(25 * 3600)).await;
    assert_eq!(cloud.settle(&hub).await.last().unwrap().outcome, Outcome::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_not_written_more_often_than_the_guardrails_allow() {
    let cloud = Cloud::with(
        Settings::default(),
        hubward::local::azure::World::sample(),
        &hubward::desired::sample().replace("maxHubsChanged: 50", "maxWritesPerHub: 2"),
    );
    let hub = cloud.new_hub("hub1").await;
    let started = cloud.clock.now();
    assert_eq!(cloud.settle(&hub).await.last().unwrap().outcome, Outcome::Changed);
    let portal = Portal::new(&cloud, &hub).await;
    undo(&portal).await;
    let reports = cloud.settle(&hub).await;
    let Outcome::Waiting { cause, .. } = &reports[0].outcome else { panic!("{reports:#?}") };
    assert!(cause.contains("written 2 times within an hour"), "{cause}");
    assert_eq!(reports.last().unwrap().outcome, Outcome::Changed);
    assert!(cloud.clock.now() - started > time::Duration::HOUR);
}

#[tokio::test(start_paused = true)]
async fn what_moved_besides_our_write_is_told() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    // Right after our first PUT is through, before we have read the hub again.
    let them = async {
        tokio::time::sleep(std::time::Duration::from_millis(30_100)).await;
        portal.change_something(0, 0).await;
    };
    let (report, ()) = tokio::join!(cloud.look(&hub), them);
    assert_eq!(report.moved_besides, ["/tags/theirs-0"], "{report:#?}");
    let Outcome::Waiting { .. } = report.outcome else { panic!("{report:#?}") };
}

#[test]
fn a_second_owner_is_a_reason_of_its_own() {
    let text = Blocked::SecondOwner { times: 2, by: vec!["terraform".into()] }.to_string();
    assert!(text.contains("terraform") && text.contains("left alone"), "{text}");
}
