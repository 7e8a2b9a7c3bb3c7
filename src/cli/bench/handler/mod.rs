//! The handler as the Functions host knows it, beside the same handler in Node and in Python.
//!
//! Each is started as a process of its own and is sent the host's invocations over HTTP; Azure is simulated
//! in this process. Rounds are interleaved (ours, Node, Python, ours, …), so that what the machine does
//! besides falls on all. Every answer is checked, and so is what the simulated Azure saw of it: a handler
//! that does less work has no figures.

mod contender;
mod figures;
mod load;
mod process;
mod stand;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cli::{Ending, HandlerArgs, package, print, remark};
use contender::Contender;
use figures::{Figures, HandlerFigures, Run};
use load::{Kind, Load};
use process::Running;
use stand::Stand;

#[derive(Debug, Args)]
pub(super) struct HandlerBenchArgs {
    /// Invocations of each kind in a round: so many one after the other, and as many again at once.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    requests: u32,
    /// Invocations that are under way at the same time when throughput is measured.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: u16,
    /// How often each handler is started and measured.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Measure our own handler alone.
    #[arg(long)]
    no_peers: bool,
    /// The last line is JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    handler: HandlerArgs,
}

pub(super) async fn run(args: HandlerBenchArgs) -> anyhow::Result<Ending> {
    let ours = Contender::ours(handler(&args.handler).await?);
    let mut not_run = Vec::new();
    let mut contenders = vec![ours];
    if !args.no_peers {
        for peer in contender::PEERS {
            match peer.install().await {
                Ok(peer) => contenders.push(peer),
                Err(cause) => not_run.push((peer.name.to_owned(), format!("{cause:#}"))),
            }
        }
    }
    let stand = Stand::raise().await.context("the simulated Azure does not stand")?;
    let load = Load { requests: args.requests as usize, concurrency: usize::from(args.concurrency) };
    let mut runs: Vec<Vec<Run>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            remark(&format!("round {round} of {}: {}", args.rounds, contender.name));
            let run = measure(&stand, contender, load).await;
            runs.push(run.with_context(|| format!("{} cannot be measured", contender.name))?);
        }
    }
    let handlers = contenders
        .iter()
        .zip(runs)
        .map(|(contender, runs)| HandlerFigures::of(contender.name, runs, load.requests));
    let figures = Figures::new(load, args.rounds, handlers.collect(), not_run);
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&figures)?));
    } else {
        print(&figures.table());
    }
    Ok(Ending::Fine)
}

async fn handler(args: &HandlerArgs) -> anyhow::Result<PathBuf> {
    let path = package::handler(args).await?;
    path.canonicalize().with_context(|| format!("{} is not there", path.display()))
}

/// One life of a handler, from its start to its end.
async fn measure(stand: &Stand, contender: &Contender, load: Load) -> anyhow::Result<Run> {
    let bus = stand.open_bus().await?;
    let running = Running::start(contender, &stand.settings_for(&bus)).await?;
    let measured = async {
        let cold_start = running.cold_start;
        let first_message = load::first_message(stand, &bus, &running).await?;
        load::rest().await;
        let idle = running.memory().map(|memory| memory.resident);
        if contender.may_be_shown_disorder {
            load::sees_disorder(stand, &running).await?;
        }
        load.warm_up(stand, &running).await?;
        let mut costs = Vec::new();
        for kind in Kind::ALL {
            costs.push(load.measure(stand, &bus, &running, kind).await.with_context(|| format!("{kind:?}"))?);
        }
        let peak = running.memory().map(|memory| memory.peak);
        anyhow::Ok(Run { cold_start, first_message, idle, peak, costs })
    };
    let measured = measured.await;
    let last_words = running.stop().await;
    measured.context(last_words)
}
