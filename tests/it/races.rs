//! Beside other writers: nobody's change is lost.

use hubward::{local::azure::Settings, reconcile::Outcome};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::support::{
    cloud::{Cloud, last, pass},
    portal::Portal,
};

/// One of the things that people change, the `n`-th.
async fn change_something(portal: &Portal, kind: usize, n: usize) {
    let key = format!("theirs-{n}");
    portal.change(|hub| {
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
                change_something(&portal, *kind, n).await;
            }
        };
        let (reports, ()) = tokio::join!(cloud.settle(&hub), them);
        let outcome = last(&reports);
        assert!(matches!(outcome, Outcome::Changed | Outcome::InSync), "{story}: {outcome:?}");
        // Their last write may still be going on.
        pass(120).await;
        cloud.settle_ok(&hub, &story).await;
        let found = cloud.hub(&hub);
        assert_kept(&found, &changes, &story);
        let endpoint = &found["properties"]["routing"]["endpoints"]["eventHubs"][0];
        assert_eq!(endpoint["authenticationType"], "identityBased", "{story}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_moved_besides_our_write_is_told() {
    let cloud = Cloud::new(Settings::default());
    let hub = cloud.new_hub("hub1").await;
    let portal = Portal::new(&cloud, &hub).await;
    // Right after our first PUT is through, before we have read the hub again.
    let them = async {
        tokio::time::sleep(std::time::Duration::from_millis(30_100)).await;
        change_something(&portal, 0, 0).await;
    };
    let (report, ()) = tokio::join!(cloud.look(&hub), them);
    assert_eq!(report.moved_besides, ["/tags/theirs-0"], "{report:#?}");
    let Outcome::Waiting { .. } = report.outcome else { panic!("{report:#?}") };
}
