//! `hubward bench handler`: every handler is measured that can be, and only one that does the work.

use std::{collections::BTreeSet, io::Write, process::Command};

use serde_json::Value;

fn bench(arguments: &[&str], handler: &str) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hubward"))
        .args(["bench", "handler", "--json", "--requests", "20", "--concurrency", "4", "--rounds", "1"])
        .args(["--handler", handler])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn ours_and_every_peer_that_can_be_installed_do_the_same_work_and_have_all_figures() {
    let (code, said, complaints) = bench(&[], env!("CARGO_BIN_EXE_hubward-handler"));
    assert_eq!(code, Some(0), "{complaints}");
    let figures: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let handlers = figures["handlers"].as_array().unwrap();
    let mut names: BTreeSet<&str> =
        handlers.iter().map(|handler| handler["name"].as_str().unwrap()).collect();
    assert!(names.contains("hubward"));
    for (peer, cause) in figures["notRun"].as_object().unwrap() {
        // Not `eprintln`, which nobody sees while tests pass.
        let text = format!("the bench beside {peer} did NOT run: {cause}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
        names.insert(peer);
    }
    assert_eq!(names, BTreeSet::from(["hubward", "node", "python"]), "nobody is left out without a word");
    for handler in handlers {
        let positive = |path: &str| {
            let value = handler.pointer(path).and_then(Value::as_f64);
            assert!(value.is_some_and(|value| value > 0.0), "{path}: {handler:#}");
        };
        ["/coldStartMs", "/firstMessageMs"].into_iter().for_each(positive);
        for kind in ["noOp", "event", "reconcile"] {
            for figure in ["p50Ms", "p99Ms", "perSecond"] {
                positive(&format!("/{kind}/{figure}"));
            }
        }
        if cfg!(target_os = "linux") {
            ["/idleMib", "/peakMib"].into_iter().for_each(positive);
        }
    }
}

#[test]
fn what_is_no_handler_has_no_figures() {
    let (code, said, complaints) = bench(&["--no-peers"], env!("CARGO_BIN_EXE_hubward"));
    assert_eq!((code, said.as_str()), (Some(1), ""), "{complaints}");
    assert!(complaints.contains("it ended before it answered"), "{complaints}");
}
