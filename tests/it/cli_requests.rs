//! The command line's requests, as processes against the local cloud: through the host's admin API, and what is
//! told when the app has other profiles than whoever asks.

use hubward::local::cloud::LocalCloud;
use serde_json::{Value, json};

use crate::{
    requests::{document, request},
    support::{
        local::{create_hub, ended, local},
        world::hub_id,
    },
};

struct Stage {
    cloud: LocalCloud,
    folder: tempfile::TempDir,
}

async fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let cloud = LocalCloud::start(local(&folder, &document(""))).await.unwrap();
    create_hub(&cloud, "hub1", "none").await;
    Stage { cloud, folder }
}

impl Stage {
    /// Sends a request; the exit code, what was told, and what was remarked.
    async fn send(
        &self,
        request: &Value,
        more: &[&str],
        settings: &[(&str, &str)],
    ) -> (Option<i32>, String, String) {
        let file = self.folder.path().join("request.json");
        std::fs::write(&file, request.to_string()).unwrap();
        let host = self.cloud.addresses.functions.clone();
        let mut more = more.to_vec();
        if !more.contains(&"--host-url") {
            more.extend(["--host-url", &host]);
        }
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_hubward"));
        command
            .args(["request", "send", file.to_str().unwrap(), "--to", "host", "--json"])
            .args(more)
            .env_clear()
            .envs(self.cloud.client_settings())
            .envs(settings.iter().copied());
        ended(&mut command).await
    }
}

const FOLLOW: [&str; 3] = ["--watch", "--timeout", "60"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_through_the_host_where_there_is_no_queue() {
    let stage = stage().await;
    let hub = hub_id("hub1");
    let key = stage.cloud.master_key.clone();
    let with_key = [("HUBWARD_HOST_KEY", key.as_str())];
    let ask = request("SetIdentity", "r-1", &hub, json!({"identity": {"system": "on"}}));
    let (code, text, errors) = stage.send(&ask, &FOLLOW, &with_key).await;
    assert_eq!(code, Some(0), "{text}{errors}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["outcome"], "Changed");

    // Without the key, and where no host is: what to do is said, and nothing is sent.
    let ask = request("Reconcile", "r-2", &hub, json!({}));
    let (code, _, errors) = stage.send(&ask, &FOLLOW, &[("HUBWARD_HOST_KEY", "wrong")]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("wants its master key; set HUBWARD_HOST_KEY"), "{errors}");
    let (code, _, errors) = stage.send(&ask, &["--host-url", "http://10.0.0.1:7071"], &with_key).await;
    assert_eq!(code, Some(2), "{errors}");
    let (code, _, errors) = stage.send(&ask, &["--host-url", "http://127.0.0.1:1"], &with_key).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("is it running?") && !errors.contains(&key), "{errors}");
    stage.cloud.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_is_told_that_the_app_has_refused_at_the_door() {
    let stage = stage().await;
    let newer = stage.folder.path().join("newer.yaml");
    std::fs::write(&newer, document("").replace("name: standard", "name: newer")).unwrap();
    let key = stage.cloud.master_key.clone();
    let settings = [("HUBWARD_HOST_KEY", key.as_str()), ("HUBWARD_PROFILES", newer.to_str().unwrap())];
    let ask = request("Onboard", "r-1", &hub_id("hub1"), json!({"profile": "newer"}));
    let (code, text, errors) = stage.send(&ask, &FOLLOW, &settings).await;
    assert_eq!(code, Some(3), "{text}{errors}");
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["outcome"], "Refused");
    assert!(record["causes"][0].as_str().unwrap().contains("there is no profile `newer`"), "{record}");
    stage.cloud.host.shutdown().await;
}
