//! What the documentation says is so: commands exist, links lead somewhere, documents parse, causes are those of
//! the code.

use std::{collections::BTreeSet, fs, path::Path};

use clap::CommandFactory;
use hubward::{cli::Cli, desired::DesiredState, local::azure::Fault, package};

use crate::support::page::{blocks, code_spans, pages, prose, read, root};

#[test]
fn every_command_that_is_named_exists() {
    let mut checked = 0;
    for (path, page) in pages() {
        for code in code_spans(&page) {
            let Some(rest) = code.strip_prefix("hubward ") else { continue };
            let mut command = Cli::command();
            for word in rest.split_whitespace() {
                if !command.has_subcommands() || !word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                    break;
                }
                if word.starts_with('-') {
                    break;
                }
                let next = command.find_subcommand(word).cloned();
                command = next.unwrap_or_else(|| panic!("{path}: `{code}`: there is no `{word}`"));
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked}");
}

#[test]
fn every_link_to_a_file_of_the_repository_leads_to_one() {
    let mut checked = 0;
    for (path, page) in pages() {
        let prose = prose(&page);
        for (at, _) in prose.match_indices("](") {
            let target = prose[at + 2..].split(')').next().unwrap();
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = root().join(Path::new(&path).parent().unwrap()).join(file);
            assert!(file.exists(), "{path}: {target} leads nowhere");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let slugs: BTreeSet<String> = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(|line| slug(line.trim_start_matches('#').trim()))
                    .collect();
                assert!(slugs.contains(anchor), "{path}: {target}: no such heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked}");
}

/// How GitHub makes an anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_document_in_the_docs_is_one_that_the_program_takes() {
    let (mut profiles, mut requests, mut faults) = (0, 0, 0);
    for (path, page) in pages() {
        for block in blocks(&page) {
            let text = &block.text;
            match (path.as_str(), block.language.as_str()) {
                // Pictures, conditions, and what is printed.
                (_, "text") => {}
                // `docs_commands` runs these.
                (_, "sh") => {}
                // Guardrails and all.
                (_, "yaml") => {
                    DesiredState::parse(text)
                        .unwrap_or_else(|mistakes| panic!("{path}:\n{mistakes}\n{text}"));
                    profiles += 1;
                }
                // `requests_hostile` has them checked against profiles.
                ("docs/requests.md", "json") => requests += 1,
                ("src/local/azure/README.md", "json") => {
                    serde_json::from_str::<Fault>(text)
                        .unwrap_or_else(|error| panic!("{path}: {error}\n{text}"));
                    faults += 1;
                }
                (_, language) => {
                    panic!("{path}: a block of `{language}`: nothing says how it is checked\n{text}")
                }
            }
        }
    }
    assert!(profiles >= 5 && requests > 10 && faults == 1, "{profiles}, {requests}, {faults}");
}

#[test]
fn every_function_is_in_the_readme_and_the_other_way_round() {
    let readme = read("README.md");
    let (_, table) = readme.split_once("\n## Functions\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let written: BTreeSet<&str> =
        table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let shipped: BTreeSet<&str> =
        package::FILES.iter().filter_map(|(path, _)| path.strip_suffix("/function.json")).collect();
    assert_eq!(written, shipped);
}

/// The names of settings of ours in a text.
fn settings(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("HUBWARD_") && !word.ends_with('_')).collect()
}

#[test]
fn every_setting_in_the_docs_is_read_and_every_setting_that_is_read_is_in_the_readme() {
    let (code, deployment) = (read("src/config/mod.rs"), read("infra/main.parameters.json"));
    let read_by_us = settings(&code);
    assert!(read_by_us.len() > 8, "{read_by_us:?}");
    let known: BTreeSet<&str> = read_by_us.union(&settings(&deployment)).copied().collect();
    for (path, page) in pages() {
        let named = settings(&page);
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{path}: nobody reads {unknown:?}");
    }
    let readme = read("README.md");
    let (_, table) = readme.split_once("\n## Settings\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: BTreeSet<&str> =
        table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    for name in read_by_us {
        assert!(rows.contains(name), "README does not explain {name}");
    }
}

#[test]
fn the_runbook_knows_every_cause_of_blocked_in_the_words_of_the_code() {
    let code = read("src/plan/blocked.rs");
    let variants =
        code.split_once("pub enum Blocked {").unwrap().1.split_once("\n}").unwrap().0.lines().filter(
            |line| line.starts_with("    ") && line.as_bytes().get(4).is_some_and(u8::is_ascii_uppercase),
        );
    let variants = variants.count();
    // Texts are broken over lines with a backslash.
    let flat = code.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("");
    let runbook = read("docs/operations.md");
    let (_, table) = runbook.split_once("## Causes of Blocked").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .filter_map(|row| row.split(" | ").next())
        .collect();
    for row in &rows {
        let phrase = row.trim_start_matches("| ");
        assert!(flat.contains(phrase), "the code does not say: {phrase}");
    }
    // A missing target and a missing identity say the same.
    assert_eq!(rows.len() + 1, variants, "docs/operations.md and `Blocked` differ");
}

#[test]
fn every_alert_is_in_the_runbook_and_the_other_way_round() {
    let alerts = read("infra/app/alerts.bicep");
    let deployed: BTreeSet<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("name: 'hubward-"))
        .map(|rest| rest.split('\'').next().unwrap())
        .collect();
    let runbook = read("docs/operations.md");
    let written: BTreeSet<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("### hubward-")).collect();
    assert_eq!(deployed, written);
}
