//! The local cloud as the stories with processes use it.

use std::sync::{Arc, Mutex};

use hubward::{
    local::{
        azure::{Settings, World},
        cloud::{LocalCloud, LocalOptions},
        functions_host::LogSink,
    },
    package,
};
use serde_json::{Value, json};

/// The reference world with these profiles and the real handler, staged in a folder; four minutes a second.
pub(crate) fn local(folder: &tempfile::TempDir, profiles: &str) -> LocalOptions {
    let (script_root, path) = (folder.path().join("dist"), folder.path().join("profiles.yaml"));
    package::stage(&script_root, env!("CARGO_BIN_EXE_hubward-handler").as_ref()).unwrap();
    std::fs::write(&path, profiles).unwrap();
    LocalOptions {
        script_root,
        profiles: path,
        azure: Settings::default(),
        world: World::reference(),
        speed: 240.0,
        log_filter: "info".into(),
        log: None,
        tls: None,
        resync: false,
        storage: None,
        record: None,
    }
}

/// A log that can be read.
pub(crate) fn kept(log: &Arc<Mutex<String>>) -> Option<LogSink> {
    let log = log.clone();
    Some(Arc::new(move |line| {
        let mut log = log.lock().unwrap();
        log.push_str(&line.text);
        log.push('\n');
    }))
}

/// Makes a hub with a tag for the profile, and waits until it is active.
pub(crate) async fn create_hub(cloud: &LocalCloud, name: &str, egress: &str) -> Value {
    let hub = json!({"resourceGroup": "rg-plant-01", "name": name, "location": "westus2",
        "tags": {"egress": egress}, "wait": true});
    cloud.sim("POST", "hubs", hub).await.unwrap()
}

/// What a command came to: its exit code, what it told, and what it remarked.
pub(crate) async fn ended(command: &mut tokio::process::Command) -> (Option<i32>, String, String) {
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
