//! The last outcome of a hub, which several may write down.

use hubward::{
    blobs::BlobError,
    local::azure::{Fault, FaultKind},
    outcomes::store::OutcomeStore,
};
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use crate::{
    functions::store,
    requests::{ready, request},
};

#[tokio::test(start_paused = true)]
async fn what_somebody_else_tells_of_a_hub_meanwhile_is_not_written_over() {
    let (functions, hub) = ready("").await;
    let route = |id: &str| {
        let routes = json!({"routes": [{"name": id, "source": "DeviceMessages", "endpoint": "events"}]});
        request("EnsureRoutes", id, &hub, routes)
    };
    functions.ask(&route("r-1")).await;
    functions.ask_text(&route("r-2").to_string()).await;
    let item = serde_json::to_string(&functions.sent()[0]).unwrap();
    functions.cloud.azure.inject(Fault::new(FaultKind::SlowAnswer).on("PUT", "/iothubs/").seconds(20.0));
    let kept = store(&functions.cloud);
    // Sessions keep two from one hub, unless a lock is lost.
    let meanwhile = async {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        let last = kept.last_of_hub(&hub).await.unwrap();
        let mut record = last.record.clone().unwrap();
        let mut written = serde_json::to_value(&record.written).unwrap();
        let now = functions.cloud.clock.now().format(&Rfc3339).unwrap();
        written["at"].as_array_mut().unwrap().push(now.into());
        record.written = serde_json::from_value(written).unwrap();
        kept.tell_of_hub(&hub, &record, &last).await.unwrap();
        assert_eq!(kept.tell_of_hub(&hub, &record, &last).await, Err(BlobError::Moved));
    };
    let ((status, _), ()) = tokio::join!(functions.work(&item), meanwhile);
    assert_eq!((status, functions.cloud.count("hubPutsAccepted")), (200, 2));
    let written = kept.of_hub(&hub).await.unwrap().unwrap().written;
    let written = serde_json::to_value(&written).unwrap();
    assert_eq!(written["at"].as_array().unwrap().len(), 3, "{written}");
}
