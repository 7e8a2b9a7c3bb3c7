//! The program as a whole, by seed: whatever happens, what has to hold does, and every run can be seen again.

use std::{fs, path::Path, process::Command};

use hubward::local::simulate::{self, Run};
use serde_json::{Value, json};

#[test]
fn whatever_happens_what_has_to_hold_does() {
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || {
                for seed in (first..40).step_by(4) {
                    let run = simulate::run(seed).unwrap();
                    assert!(run.broken.is_empty(), "seed {seed}: {:#?}", run.broken);
                    assert!(
                        run.counts.get("call").is_some_and(|calls| *calls > 0),
                        "seed {seed} did nothing"
                    );
                }
            });
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run_to_the_last_call() {
    // A process that dies takes all its invocations with it, and they hear of it in the order in which they began.
    let several_die_at_once = |run: &Run| {
        let deaths: Vec<&str> =
            run.log.iter().filter(|line| line.contains("  died  ")).map(|line| &line[..9]).collect();
        deaths.windows(2).any(|two| two[0] == two[1])
    };
    let crash = (0..100).map(|seed| simulate::run(seed).unwrap()).find(several_die_at_once).unwrap();
    let (one, other) = (simulate::run(100).unwrap(), simulate::run(101).unwrap());
    assert_ne!(one.digest, other.digest, "another seed is another run");
    for (run, times) in [(crash, 5), (one, 1), (other, 1)] {
        for _ in 0..times {
            let again = simulate::run(run.seed).unwrap();
            let parted = run.log.iter().zip(&again.log).find(|(one, other)| one != other);
            assert_eq!(parted, None, "seed {}", run.seed);
            assert_eq!((&run.digest, &run.story), (&again.digest, &again.story), "seed {}", run.seed);
        }
    }
}

/// The program itself: its exit code and the last line that it prints.
fn simulated(seeds: &str) -> (Option<i32>, Value) {
    let run =
        Command::new(env!("CARGO_BIN_EXE_hubward")).args(["simulate", "--seeds", seeds, "--json"]).output();
    let run = run.unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    (run.status.code(), serde_json::from_str(said.lines().last().unwrap_or("null")).unwrap_or_default())
}

#[test]
fn the_last_line_is_a_summary_and_the_exit_code_tells_whether_all_held() {
    let (code, summary) = simulated("40..44");
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!((&summary["runs"], &summary["broken"]), (&json!(4), &json!({})));
    assert!(summary["counts"]["call"].as_u64() > Some(40), "{summary}");
    let (code, _) = simulated("7..7");
    assert_eq!(code, Some(2), "a range without a seed proves nothing");
}

/// A deliberate mistake that cannot be made any more would count as caught by nobody, and nobody would know.
#[test]
fn every_deliberate_mistake_fits_the_source_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = fs::read_dir(root.join("tests/teeth")).unwrap().map(|entry| entry.unwrap().path());
    let patches: Vec<_> = folder.filter(|path| path.extension().is_some_and(|end| end == "patch")).collect();
    assert!(patches.len() >= 12, "{patches:?}");
    for patch in patches {
        let text = fs::read_to_string(&patch).unwrap();
        let mistake = patch.file_stem().unwrap().to_str().unwrap();
        assert!(text.contains(&format!("bites(\"{mistake}\")")), "{mistake} is switched on by another name");
        let mut source = String::new();
        for hunk in text.split("\n@@").skip(1) {
            if let Some(file) = text[..text.find(hunk).unwrap()].rsplit("\n--- a/").next() {
                source = fs::read_to_string(root.join(file.lines().next().unwrap())).unwrap();
            }
            let body =
                hunk.split_once("@@\n").unwrap().1.lines().take_while(|line| !line.starts_with("--- "));
            let before: Vec<&str> =
                body.filter(|line| !line.starts_with('+')).map(|line| &line[1..]).collect();
            assert!(
                source.contains(&before.join("\n")),
                "{mistake}: not there any more:\n{}",
                before.join("\n")
            );
        }
    }
}
