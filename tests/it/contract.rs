//! What stands in several places must say the same: folders, host.json, settings, code, and the
//! sentences of the architecture.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use hubward::{bus::WORK_QUEUE, functions, package};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

#[test]
fn every_function_folder_is_registered_and_packaged() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let registered: BTreeSet<String> = functions::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let packaged: BTreeSet<String> = package::FILES
        .iter()
        .filter_map(|(name, _)| name.strip_suffix("/function.json"))
        .map(str::to_owned)
        .collect();
    assert_eq!(folders, registered);
    assert_eq!(folders, packaged);
}

#[test]
fn the_handler_gives_up_before_the_host_kills_it() {
    let host = json("host.json");
    let text = host["functionTimeout"].as_str().unwrap();
    let parts: Vec<u64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    let timeout = Duration::from_secs(parts[0] * 3600 + parts[1] * 60 + parts[2]);
    assert!(functions::DEADLINE + Duration::from_secs(30) <= timeout);
    assert!(functions::LOOK_UNTIL < functions::DEADLINE);
    assert_eq!(host["extensions"]["serviceBus"]["maxAutoLockRenewalDuration"], host["functionTimeout"]);
    assert_eq!(host["customHandler"]["description"]["defaultExecutablePath"], package::HANDLER);
}

#[test]
fn triggers_name_the_queues_and_the_connection_that_the_code_and_the_sample_use() {
    let work = &json("functions/Work/function.json")["bindings"][0];
    assert_eq!(work["queueName"], WORK_QUEUE);
    assert_eq!(work["isSessionsEnabled"], true, "one hub, one worker");
    let sample = json("local.settings.sample.json");
    let connection = work["connection"].as_str().unwrap();
    assert!(sample["Values"].get(format!("{connection}__fullyQualifiedNamespace")).is_some());
    assert_eq!(sample["IsEncrypted"], false, "absent would mean encrypted");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for setting in sample["Values"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| name.starts_with("HUB") || name.starts_with("Hub"))
    {
        assert!(readme.contains(setting.as_str()), "README does not explain {setting}");
    }
}

/// Source files below a folder, with their text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn dependencies_run_one_way() {
    let rules: [(&str, &[&str]); 4] = [
        ("model", &["tokio", "axum", "azure_core", "crate::arm", "crate::plan", "crate::desired", "now_utc"]),
        ("plan", &["tokio", "axum", "azure_core", "crate::arm", "crate::desired", "now_utc"]),
        ("desired", &["tokio", "axum", "azure_core", "crate::arm", "crate::plan", "now_utc"]),
        (
            "local/azure",
            &["crate::arm", "crate::observe", "crate::apply", "crate::plan", "crate::handler", "crate::bus"],
        ),
    ];
    for (folder, forbidden) in rules {
        for (path, text) in sources(folder) {
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                for word in forbidden {
                    assert!(!line.contains(word), "{path} uses {word}: {line}");
                }
            }
        }
    }
}
