//! What the documentation says is so: commands exist, links lead somewhere, documents parse, causes are those of
//! the code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use hubward::{cli::Cli, desired::DesiredState};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every page that users read.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = vec![PathBuf::from("README.md"), "CHANGELOG.md".into(), "infra/README.md".into()];
    pages.push("src/local/azure/README.md".into());
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = Path::new("docs").join(entry.unwrap().file_name());
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    assert!(pages.len() > 8);
    pages.into_iter().map(|path| (path.clone(), fs::read_to_string(root().join(path)).unwrap())).collect()
}

/// The fenced blocks of a page: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        let trimmed = line.trim_start();
        match (&mut open, trimmed.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// A page without its fenced blocks.
fn prose(page: &str) -> String {
    let mut inside = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Words of a command line, as a POSIX shell splits them; nothing of what a shell does besides.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (None, '#') if words.last().is_some_and(String::is_empty) => break,
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_in_a_block_is_one_that_the_program_takes() {
    let mut checked = 0;
    for (path, page) in pages() {
        for (language, text) in blocks(&page) {
            if language != "sh" {
                continue;
            }
            let text = text.replace("\\\n", " ");
            for line in text.lines().map(str::trim) {
                let Some(command) = line
                    .strip_prefix("cargo run --release --bin hubward -- ")
                    .or_else(|| line.strip_prefix("hubward "))
                else {
                    continue;
                };
                let command = command.split(['|', '>', '&', ';']).next().unwrap();
                let arguments = std::iter::once("hubward".to_owned()).chain(words(command));
                if let Err(error) = Cli::try_parse_from(arguments) {
                    panic!("{}: `{line}`: {error}", path.display());
                }
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "only {checked}");
}

#[test]
fn every_command_that_is_named_exists() {
    let mut checked = 0;
    for (path, page) in pages() {
        for code in prose(&page).split('`').skip(1).step_by(2) {
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
                command =
                    next.unwrap_or_else(|| panic!("{}: `{code}`: there is no `{word}`", path.display()));
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
            let file = root().join(path.parent().unwrap()).join(file);
            assert!(file.exists(), "{}: {target} leads nowhere", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let slugs: BTreeSet<String> = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(|line| slug(line.trim_start_matches('#').trim()))
                    .collect();
                assert!(slugs.contains(anchor), "{}: {target}: no such heading", path.display());
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
fn every_whole_document_in_the_docs_has_no_mistakes() {
    let mut checked = 0;
    for (path, page) in pages() {
        for (language, text) in blocks(&page) {
            if language == "yaml"
                && text.starts_with("version: 1\nguardrails:")
                && text.contains("\nprofiles:")
            {
                DesiredState::parse(&text)
                    .unwrap_or_else(|mistakes| panic!("{}:\n{mistakes}", path.display()));
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
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
