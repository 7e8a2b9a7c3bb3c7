//! `hubward simulate`: runs of the whole program by seed, with everything that can go wrong, and what has to hold.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use serde::Serialize;

use super::{Ending, print};
use crate::local::simulate::{self, Run, SimulationError};

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Seeds: `7`, or `0..1000` without its end.
    #[arg(long, value_name = "A..B", default_value = "0..100", value_parser = seeds)]
    seeds: Range<u64>,
    /// The last line is JSON.
    #[arg(long)]
    json: bool,
    /// Print what happened in every run, not only in those that broke something.
    #[arg(long)]
    log: bool,
    /// Stop at the first seed that breaks something.
    #[arg(long)]
    first: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?.saturating_add(1)),
    };
    if from < to { Ok(from..to) } else { Err("there is no seed in it".to_owned()) }
}

/// What came of all runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    from: u64,
    to: u64,
    runs: u64,
    /// Seeds that broke something, and which invariants.
    broken: BTreeMap<u64, Vec<&'static str>>,
    /// How often what happened, over all runs.
    counts: BTreeMap<String, usize>,
    /// Azure's hours.
    simulated_hours: f64,
    seconds: f64,
}

pub(super) async fn run(args: SimulateArgs) -> anyhow::Result<Ending> {
    tokio::task::spawn_blocking(move || all(&args)).await?
}

fn all(args: &SimulateArgs) -> anyhow::Result<Ending> {
    let began = Instant::now();
    let (next, threads) = (AtomicU64::new(args.seeds.start), std::thread::available_parallelism()?.get());
    let mut summary = Summary {
        from: args.seeds.start,
        to: args.seeds.end,
        runs: 0,
        broken: BTreeMap::new(),
        counts: BTreeMap::new(),
        simulated_hours: 0.0,
        seconds: 0.0,
    };
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let (sender, runs) = std::sync::mpsc::sync_channel::<Result<Run, (u64, SimulationError)>>(threads);
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seeds.end {
                        return;
                    }
                    let run = simulate::run(seed).map_err(|error| (seed, error));
                    // Nobody listens any more: it is enough.
                    if sender.send(run).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for run in runs {
            let run = run.map_err(|(seed, error)| anyhow!("seed {seed}: {error}"))?;
            summary.add(&run);
            if args.log || !run.broken.is_empty() {
                print(&told(&run));
            }
            if args.first && !run.broken.is_empty() {
                break;
            }
        }
        Ok(())
    })?;
    ensure!(summary.runs > 0, "nothing was run");
    summary.seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    summary.simulated_hours = summary.simulated_hours.round();
    let text = if args.json {
        serde_json::to_string(&summary).context("the summary")?
    } else {
        format!(
            "{} runs, {} broke something, {} simulated hours in {} s",
            summary.runs,
            summary.broken.len(),
            summary.simulated_hours,
            summary.seconds
        )
    };
    print(&format!("{text}\n"));
    Ok(if summary.broken.is_empty() { Ending::Fine } else { Ending::Failed })
}

impl Summary {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.simulated_hours += run.seconds / 3600.0;
        for (word, count) in &run.counts {
            *self.counts.entry(word.clone()).or_default() += count;
        }
        if !run.broken.is_empty() {
            let mut names: Vec<_> = run.broken.iter().map(|broken| broken.invariant).collect();
            names.dedup();
            self.broken.insert(run.seed, names);
        }
    }
}

/// A run as it is printed: what was drawn, what happened, what broke, and how to see it again.
fn told(run: &Run) -> String {
    let mut text = String::new();
    for line in run.story.iter().chain([&String::new()]).chain(&run.log) {
        text.push_str(line);
        text.push('\n');
    }
    for broken in &run.broken {
        text.push_str(&format!("seed {}: {}: {}\n", run.seed, broken.invariant, broken.how));
    }
    text.push_str(&format!("digest {}; again with: hubward simulate --seeds {}\n\n", run.digest, run.seed));
    text
}
