//! The kept inputs of the fuzzer, and what it once broke, through the same functions.

use std::{fs, path::PathBuf};

#[expect(unreachable_pub, reason = "a crate of its own there, where the fuzzer's binaries use it")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names_in(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_parser_keeps_its_promises_with_every_input_that_was_kept() {
    for (name, target) in targets::TARGETS {
        let corpus = folder("corpus").join(name);
        let inputs = names_in(corpus.clone());
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let data = fs::read(corpus.join(&input)).unwrap();
            let kept = std::panic::catch_unwind(|| target(&data));
            assert!(kept.is_ok(), "fuzz/corpus/{name}/{input} breaks a promise");
        }
    }
}

#[test]
fn every_parser_has_a_binary_for_the_fuzzer_and_a_corpus() {
    let mut names: Vec<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(names_in(folder("corpus")), names);
    let files: Vec<String> = names.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names_in(folder("fuzz_targets")), files);
}
