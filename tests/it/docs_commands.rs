//! Every command of the docs is run, by `sh`, as it stands there, against the local cloud; or it is listed here with
//! the reason why not.

use std::collections::BTreeSet;

use clap::CommandFactory;
use hubward::cli::Cli;

use crate::{
    docs_stages::stage,
    support::page::{blocks, code_spans, commands, pages, read},
};

/// What is run for one section of a page, in this order.
pub(crate) struct Story {
    pub(crate) page: &'static str,
    pub(crate) section: &'static str,
    pub(crate) lines: &'static [Line],
}

/// A command, and what comes of it.
pub(crate) struct Line {
    /// Whether it stands in a block of the section; otherwise the docs name it and leave out what it is to be used on.
    is_typed: bool,
    text: &'static str,
    code: i32,
    says: Says,
}

enum Says {
    /// At once.
    Now(&'static str),
    /// Sooner or later, when it is asked again and again.
    InTheEnd(&'static str),
    /// It goes on until it is stopped, and what follows uses it.
    NothingYet,
}

use Says::{InTheEnd, NothingYet, Now};

const fn typed(text: &'static str, code: i32, says: Says) -> Line {
    Line { is_typed: true, text, code, says }
}

const fn named(text: &'static str, code: i32, says: Says) -> Line {
    Line { is_typed: false, text, code, says }
}

/// What the docs leave to the reader, or what is elsewhere in tests.
const STANDS_FOR: [(&str, &str); 3] = [
    // Our own handler, the one that was built for the tests, and few invocations: elsewhere peers are optional.
    ("bench handler", "bench handler --handler \"$HANDLER\" --no-peers --requests 20 --rounds 1"),
    // The same on a machine that does other things besides.
    ("fleet --hubs 1000", "fleet --hubs 30"),
    ("http://127.0.0.1:10001/devstoreaccount1", "\"$QUEUES\""),
];

const STORIES: &[Story] = &[
    Story {
        page: "README.md",
        section: "Hubward",
        lines: &[typed("cargo run --release --bin hubward -- demo", 0, Now("verified"))],
    },
    Story {
        page: "README.md",
        section: "Sixty seconds with the local cloud",
        lines: &[
            typed("cargo run --release --bin hubward -- local --speed 60", 0, NothingYet),
            typed(
                r#"curl -X POST "$HUBWARD_ARM_ENDPOINT/_sim/hubs" -H 'content-type: application/json' -d '{"resourceGroup":"rg-plant-01","name":"hub1","location":"westus2","tags":{"egress":"standard"},"wait":true}'"#,
                0,
                Now("\"hub1\""),
            ),
            typed(
                "cargo run --release --bin hubward -- plan",
                0,
                InTheEnd("hub1 (profile standard)\n  in sync"),
            ),
            typed(r#"curl "$HUBWARD_ARM_ENDPOINT/_sim/state""#, 0, Now("identityBased")),
            typed(
                "cargo run --release --bin hubward -- local --storage http://127.0.0.1:10001/devstoreaccount1",
                0,
                NothingYet,
            ),
            named("hubward failed list", 0, Now("nothing is parked")),
            named("hubward request send --to storage reconcile.json", 0, Now("sent")),
            named("hubward failed list --json", 0, InTheEnd("there is no such hub")),
            named(
                "hubward failed show \"$(hubward failed list | cut -c1-8)\"",
                0,
                Now("after the network change"),
            ),
            named("hubward failed replay \"$(hubward failed list | cut -c1-8)\"", 0, Now("sent again")),
            named("hubward failed list", 0, InTheEnd("there is no such hub")),
            named("hubward failed drop \"$(hubward failed list | cut -c1-8)\"", 0, Now("dropped")),
            named("hubward failed list", 0, Now("nothing is parked")),
        ],
    },
    Story {
        page: "docs/performance.md",
        section: "One hub",
        lines: &[typed("hubward bench onboard", 0, Now("hub PUTs"))],
    },
    Story {
        page: "docs/performance.md",
        section: "A cold fleet",
        lines: &[
            typed("hubward bench fleet --hubs 1000 --json", 0, Now("\"failed\":0")),
            typed("hubward bench fleet --hubs 1000 --identity shared --json", 0, Now("\"failed\":0")),
        ],
    },
    Story {
        page: "docs/performance.md",
        section: "The handler beside its peers",
        lines: &[typed("hubward bench handler", 0, Now("no-change reconcile, per second"))],
    },
    Story {
        page: "README.md",
        section: "Bulk jobs",
        lines: &[
            typed(
                r#"hubward jobs export --hub "$HUB_ID" --container "$CONTAINER_ID" --blob devices.txt"#,
                0,
                Now("export of hub1 is asked for"),
            ),
            named(
                "hubward jobs list --hub \"$HUB_ID\"",
                0,
                InTheEnd("export  Completed  100 %  devices.txt"),
            ),
            typed(
                r#"hubward jobs import --hub "$HUB_ID" --container "$CONTAINER_ID" --blob devices.txt --confirm hub1"#,
                0,
                Now("import of hub1 is asked for"),
            ),
            named("hubward jobs list --hub \"$HUB_ID\"", 0, InTheEnd("import  Completed  100 %")),
            named("hubward exports next", 0, Now("nightly")),
        ],
    },
    Story {
        page: "README.md",
        section: "Requests",
        lines: &[
            named("hubward request validate onboard.json", 0, Now("no mistakes")),
            typed("hubward request send onboard.json --watch", 0, Now("hub-plant-01: Planned")),
            named("hubward request watch 2026-01-31-hub-plant-01-b", 0, Now("hub-plant-01: Planned")),
            named(
                "hubward request send --to host --host-url \"$HOST\" identity.json --watch",
                0,
                Now("hub-plant-01: Changed"),
            ),
        ],
    },
    Story {
        page: "README.md",
        section: "Commands",
        lines: &[
            named("hubward schema request", 0, Now("hubward/v1")),
            named("hubward completions bash", 0, Now("complete -F")),
            named("hubward doctor", 0, Now("nothing that is required is missing")),
            named("hubward hubs", 0, Now("hub1")),
            named("hubward plan --hub \"$HUB_ID\"", 0, Now("+ system-assigned identity")),
            named("hubward apply --hub \"$LAB_ID\"", 0, Now("lab-1: Changed")),
            named("hubward resync --dry-run", 0, Now("hub1")),
            named("hubward resync", 0, Now("hub1")),
            named("hubward plan --hub \"$HUB_ID\"", 0, InTheEnd("in sync")),
            named("hubward grants audit", 0, Now("")),
            named("hubward grants audit --orphans", 0, Now("")),
            named(
                "hubward jobs export --hub \"$HUB_ID\" --container \"$CONTAINER_ID\"",
                0,
                Now("export of hub1"),
            ),
            named("hubward jobs list --hub \"$HUB_ID\"", 0, InTheEnd("Active")),
            named(
                "hubward jobs cancel --hub \"$HUB_ID\" --job \"$(hubward jobs list --hub \"$HUB_ID\" | cut -d' ' -f1)\"",
                0,
                Now("the hub has taken the cancellation"),
            ),
            named("hubward jobs list --hub \"$HUB_ID\"", 0, Now("Cancelled")),
            named("hubward bench onboard", 0, Now("hub PUTs")),
            named("hubward package --handler \"$HANDLER\"", 0, Now("dist.zip")),
        ],
    },
    Story {
        page: "docs/campaigns.md",
        section: "Campaigns",
        lines: &[
            typed(
                r#"hubward campaign start spring --profile egress --canary 1 --waves 10%,rest --requested-by ada@contoso.example --reason "no more keys" --dry-run"#,
                0,
                Now("wave 2, 1 hubs"),
            ),
            typed(
                r#"hubward campaign start spring --profile egress --canary 1 --waves 10%,rest --requested-by ada@contoso.example --reason "no more keys""#,
                0,
                Now("campaign spring: started"),
            ),
            typed("hubward campaign status spring --watch", 0, Now("completed")),
            typed("hubward campaign list", 0, Now("spring")),
            named(
                "hubward campaign start autumn --profile egress --requested-by ada@contoso.example --reason again",
                0,
                Now("campaign autumn: started"),
            ),
            named("hubward campaign pause autumn --requested-by ada@contoso.example", 0, Now("paused")),
            named("hubward campaign status autumn", 3, Now("paused by ada@contoso.example")),
            named("hubward campaign resume autumn --requested-by ada@contoso.example", 0, Now("running")),
            named(
                "hubward campaign rollback spring --wave 1 --requested-by ada@contoso.example",
                0,
                Now("wave 1 is rolled back"),
            ),
            named("hubward campaign status spring", 3, InTheEnd("endpoint telemetry was not there before")),
        ],
    },
    Story {
        page: "docs/migrating.md",
        section: "First look",
        lines: &[
            typed("export HUBWARD_PROFILES=profiles.yaml", 0, Now("")),
            typed("hubward plan", 3, Now("+ system-assigned identity")),
        ],
    },
    Story {
        page: "docs/profiles.md",
        section: "In an editor",
        lines: &[
            named("hubward schema profiles > profiles.schema.json", 0, Now("")),
            named("cat profiles.schema.json", 0, Now("draft-07")),
        ],
    },
    Story {
        page: "src/local/azure/README.md",
        section: "With az and the SDKs",
        lines: &[
            named(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem",
                0,
                Now(""),
            ),
            named("hubward local --tls-cert cert.pem --tls-key key.pem", 0, NothingYet),
            typed("export REQUESTS_CA_BUNDLE=cert.pem", 0, Now("")),
            named("curl --cacert cert.pem \"$HUBWARD_ARM_ENDPOINT/_sim/state\"", 0, Now("counters")),
        ],
    },
];

/// Commands of blocks that are not run here, and why.
const NOT_HERE: [(&str, &str); 15] = [
    ("cargo bench --bench planner", "measures for minutes; CI compiles it"),
    (
        r#"curl -H "x-functions-key: $KEY" "https://$APP.azurewebsites.net/api/hubs?standing=blocked""#,
        "asks the host in Azure; `browser` asks the stand-in in the same way",
    ),
    (
        "az functionapp keys set --name $APP --resource-group $GROUP --key-type functionKeys --key-name page",
        "makes a key in Azure",
    ),
    ("cargo test", "it is what runs this"),
    ("cargo test --test it real_clients::az", "it is a test beside this one"),
    (
        "npx --package azurite@3.37.0 azurite-queue --inMemoryPersistence",
        "support::azurite starts the same, on a free port",
    ),
    ("azd env new production", "makes an environment for a deployment to Azure"),
    ("azd env set HUBWARD_INPUT_TARGET_GROUPS /subscriptions/{id}/resourceGroups/{group}", "the same"),
    ("azd up", "deploys to Azure"),
    ("azd auth login && az login", "signs a person in to Azure"),
    ("rustup target add x86_64-unknown-linux-musl", "changes the toolchain; CI does it"),
    (
        "cargo run --release --bin hubward -- package --target x86_64-unknown-linux-musl",
        "builds for a quarter of an hour; CI does it",
    ),
    (
        r#"az cloud register -n local --endpoint-resource-manager "$HUBWARD_ARM_ENDPOINT""#,
        "changes the az of whoever runs the tests",
    ),
    ("az cloud set -n local", "the same"),
    ("az login --identity --client-id c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "the same"),
];

/// Commands that are named in the docs and run by another file of the tests, with these words.
const ELSEWHERE: [(&str, &str, &str); 5] = [
    ("demo fleet", "tests/it/end_to_end.rs", r#"&["demo", "fleet","#),
    ("demo --record FILE", "tests/it/real_traffic.rs", r#""--record"]"#),
    ("demo jobs", "tests/it/end_to_end.rs", r#"&["demo", "jobs","#),
    ("demo requests", "tests/it/end_to_end.rs", r#"&["demo", "requests","#),
    (
        "simulate --seeds --json --log --first",
        "tests/it/simulate.rs",
        r#"["simulate", "--seeds", seeds, "--json"]"#,
    ),
];

fn is_not_here(line: &str) -> bool {
    NOT_HERE.iter().any(|(listed, _)| *listed == line)
}

/// The commands in blocks: page, section, line.
fn written() -> Vec<(String, String, String)> {
    let mut written = Vec::new();
    for (path, page) in pages() {
        for block in blocks(&page).into_iter().filter(|block| block.language == "sh") {
            let lines = commands(&block.text).into_iter();
            written.extend(lines.map(|line| (path.clone(), block.section.clone(), line)));
        }
    }
    assert!(written.len() > 20, "{written:?}");
    written
}

#[test]
fn every_command_in_a_block_is_run_as_it_stands_or_is_listed_with_a_reason() {
    let mut told: BTreeSet<(&str, &str)> = STORIES.iter().map(|story| (story.page, story.section)).collect();
    assert_eq!(told.len(), STORIES.len(), "a section has two stories");
    let written = written();
    for (page, section, line) in &written {
        let has_story = told.contains(&(page.as_str(), section.as_str()));
        assert!(has_story || is_not_here(line), "{page}, {section}: nobody runs `{line}`");
    }
    for Story { page, section, lines } in STORIES {
        let to_run =
            written.iter().filter(|(at, of, line)| at == page && of == section && !is_not_here(line));
        let to_run: Vec<&str> = to_run.map(|(_, _, line)| line.as_str()).collect();
        let run: Vec<&str> = lines.iter().filter(|line| line.is_typed).map(|line| line.text).collect();
        assert_eq!(run, to_run, "{page}, {section}: what is run is not what is written");
        told.remove(&(page, section));
    }
    for (listed, _) in NOT_HERE {
        assert!(written.iter().any(|(_, _, line)| line == listed), "no page has `{listed}` any more");
    }
    for (from, _) in STANDS_FOR {
        assert!(written.iter().any(|(_, _, line)| line.contains(from)), "no page has {from} any more");
    }
    let ci = read(".github/workflows/ci.yml");
    assert!(
        ci.contains("cargo run --release --locked --bin hubward -- package --target ${{ matrix.target }}")
    );
}

/// A command as the program takes it apart: its name in words, and the options that are given.
fn taken_apart(command: &str) -> (Vec<String>, BTreeSet<String>) {
    let mut at = Cli::command();
    let (mut name, mut options) = (Vec::new(), BTreeSet::new());
    for word in command.split_whitespace().take_while(|word| !["|", ">", "&&"].contains(word)) {
        match at.find_subcommand(word).cloned() {
            Some(next) => {
                name.push(word.to_owned());
                at = next;
            }
            None if word.starts_with("--") => {
                options.insert(word.to_owned());
            }
            None => {}
        }
    }
    (name, options)
}

/// What is run, taken apart.
fn run_somewhere() -> Vec<(Vec<String>, BTreeSet<String>)> {
    let lines = STORIES.iter().flat_map(|story| story.lines).map(|line| line.text);
    let ours = |line: &'static str| {
        line.strip_prefix("cargo run --release --bin hubward -- ").or(line.strip_prefix("hubward "))
    };
    let elsewhere = ELSEWHERE.iter().map(|(command, file, words)| {
        assert!(read(file).contains(words), "{file} does not run `hubward {command}` any more");
        *command
    });
    lines.filter_map(ours).chain(elsewhere).map(taken_apart).collect()
}

#[test]
fn every_command_that_is_named_is_run_with_the_options_that_are_named() {
    let run = run_somewhere();
    let mut checked = 0;
    for (path, page) in pages() {
        for code in code_spans(&page) {
            let Some(command) = code.strip_prefix("hubward ") else { continue };
            let (name, options) = taken_apart(command);
            let is_run = run.iter().any(|(run, with)| run.starts_with(&name) && with.is_superset(&options));
            assert!(is_run, "{path}: nobody runs `{code}`");
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked}");
}

#[test]
fn every_command_that_there_is_is_run() {
    fn leaves(command: &clap::Command, name: &[String], found: &mut Vec<Vec<String>>) {
        let mut children = command.get_subcommands().filter(|child| child.get_name() != "help").peekable();
        if children.peek().is_none() || !command.is_subcommand_required_set() && !name.is_empty() {
            found.push(name.to_vec());
        }
        for child in children {
            leaves(child, &[name, &[child.get_name().to_owned()]].concat(), found);
        }
    }
    let mut all = Vec::new();
    leaves(&Cli::command(), &[], &mut all);
    assert!(all.len() > 25, "{all:?}");
    let run = run_somewhere();
    for command in all {
        assert!(run.iter().any(|(name, _)| *name == command), "nobody runs `hubward {}`", command.join(" "));
    }
}

impl Story {
    async fn tell(&self) {
        let Some(mut stage) = stage(self.page, self.section).await else {
            panic!("{}, {}: there is no stage for it", self.page, self.section)
        };
        for Line { text, code, says, .. } in self.lines {
            let line = STANDS_FOR.iter().fold((*text).to_owned(), |line, (from, to)| line.replace(from, to));
            if stage.lacks.iter().any(|lacking| line.contains(lacking)) {
                continue;
            }
            if let NothingYet = says {
                stage.shell.start(&line).await;
                continue;
            }
            let asked = std::time::Instant::now();
            loop {
                let (ended, said) = stage.shell.run(&line).await;
                assert_eq!(ended, Some(*code), "{}, {}: `{line}`\n{said}", self.page, self.section);
                let (wanted, again) = match says {
                    Now(wanted) => (wanted, false),
                    InTheEnd(wanted) => (wanted, asked.elapsed() < crate::support::shell::PATIENCE),
                    NothingYet => unreachable!("it was started"),
                };
                if said.contains(wanted) {
                    break;
                }
                assert!(again, "{}, {}: `{line}` does not say {wanted:?}\n{said}", self.page, self.section);
            }
        }
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_do_what_the_docs_say() {
    let mut stories = tokio::task::JoinSet::new();
    for story in STORIES {
        stories.spawn(story.tell());
    }
    let mut failures = 0;
    while let Some(told) = stories.join_next().await {
        // Whoever panics has said why.
        failures += usize::from(told.is_err());
    }
    assert_eq!(failures, 0);
}
