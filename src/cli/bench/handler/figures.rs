//! The figures of all handlers, and how they stand to each other.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::load::{Cost, Kind, Load};

/// One life of a handler.
pub(super) struct Run {
    pub(super) cold_start: Duration,
    pub(super) first_message: Duration,
    pub(super) idle: Option<u64>,
    pub(super) peak: Option<u64>,
    /// In the order of [`Kind::ALL`].
    pub(super) costs: Vec<Cost>,
}

/// All figures.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    system: String,
    cores: usize,
    /// Whether this program was built without optimisation: then no figure is worth anything.
    debug_build: bool,
    requests: usize,
    concurrency: usize,
    rounds: u16,
    /// Ours first.
    handlers: Vec<HandlerFigures>,
    /// How many times as good as each peer ours is.
    ratios: BTreeMap<&'static str, Ratios>,
    /// Peers that did not run, and why.
    not_run: BTreeMap<String, String>,
}

/// The figures of one handler: medians of its rounds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HandlerFigures {
    name: &'static str,
    /// From the start of the process to the first 200.
    cold_start_ms: f64,
    /// From there to the first message on the bus, tokens and profiles included.
    first_message_ms: f64,
    /// Resident after the first message, at rest.
    idle_mib: Option<f64>,
    /// The most that was resident under load.
    peak_mib: Option<f64>,
    no_op: KindFigures,
    event: KindFigures,
    reconcile: KindFigures,
}

/// The figures of one kind of invocation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KindFigures {
    /// One after the other, over all rounds.
    p50_ms: f64,
    p99_ms: f64,
    /// Several at once: the median of the rounds.
    per_second: f64,
}

/// Above 1, ours is better.
type Ratios = Vec<(&'static str, f64)>;

impl HandlerFigures {
    /// Of all rounds.
    pub(super) fn of(name: &'static str, runs: Vec<Run>, requests: usize) -> Self {
        let ms = |of: fn(&Run) -> Duration| median(runs.iter().map(|run| millis(of(run))).collect());
        let mib = |of: fn(&Run) -> Option<u64>| {
            let all: Option<Vec<f64>> =
                runs.iter().map(|run| of(run).map(|bytes| bytes as f64 / MIB)).collect();
            all.map(median)
        };
        let kind = |kind: Kind| {
            let at = Kind::ALL.iter().position(|known| *known == kind).unwrap_or_default();
            let costs: Vec<&Cost> = runs.iter().filter_map(|run| run.costs.get(at)).collect();
            let mut alone: Vec<f64> =
                costs.iter().flat_map(|cost| &cost.alone).map(|took| millis(*took)).collect();
            alone.sort_by(f64::total_cmp);
            let rates = costs.iter().map(|cost| requests as f64 / cost.together.as_secs_f64());
            KindFigures {
                p50_ms: percentile(&alone, 50),
                p99_ms: percentile(&alone, 99),
                per_second: median(rates.collect()),
            }
        };
        Self {
            name,
            cold_start_ms: ms(|run| run.cold_start),
            first_message_ms: ms(|run| run.first_message),
            idle_mib: mib(|run| run.idle),
            peak_mib: mib(|run| run.peak),
            no_op: kind(Kind::NoOp),
            event: kind(Kind::Event),
            reconcile: kind(Kind::Reconcile),
        }
    }

    /// Every figure with its name, and whether less of it is better.
    fn rows(&self) -> Vec<(&'static str, Option<f64>, bool)> {
        let Self { no_op, event, reconcile, .. } = self;
        vec![
            ("cold start, ms", Some(self.cold_start_ms), true),
            ("first message, ms", Some(self.first_message_ms), true),
            ("memory at rest, MiB", self.idle_mib, true),
            ("memory under load, MiB", self.peak_mib, true),
            ("no-op, p50 ms", Some(no_op.p50_ms), true),
            ("no-op, p99 ms", Some(no_op.p99_ms), true),
            ("no-op, per second", Some(no_op.per_second), false),
            ("event, p50 ms", Some(event.p50_ms), true),
            ("event, p99 ms", Some(event.p99_ms), true),
            ("event, per second", Some(event.per_second), false),
            ("no-change reconcile, p50 ms", Some(reconcile.p50_ms), true),
            ("no-change reconcile, p99 ms", Some(reconcile.p99_ms), true),
            ("no-change reconcile, per second", Some(reconcile.per_second), false),
        ]
    }

    /// How many times as good as a peer's our figures are.
    fn against(&self, peer: &Self) -> Ratios {
        let pairs = self.rows().into_iter().zip(peer.rows());
        pairs
            .filter_map(|((name, ours, less), (_, theirs, _))| {
                let (ours, theirs) = (ours?, theirs?);
                Some((name, if less { theirs / ours } else { ours / theirs }))
            })
            .collect()
    }
}

impl Figures {
    /// Puts together what was measured.
    pub(super) fn new(
        load: Load,
        rounds: u16,
        handlers: Vec<HandlerFigures>,
        not_run: Vec<(String, String)>,
    ) -> Self {
        let ratios = match handlers.split_first() {
            Some((ours, peers)) => peers.iter().map(|peer| (peer.name, ours.against(peer))).collect(),
            None => BTreeMap::new(),
        };
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            debug_build: cfg!(debug_assertions),
            requests: load.requests,
            concurrency: load.concurrency,
            rounds,
            handlers,
            ratios,
            not_run: not_run.into_iter().collect(),
        }
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let Self { system, cores, requests, concurrency, rounds, .. } = self;
        let mut text = format!(
            "The handler beside its peers: {system}, {cores} cores; {rounds} rounds of {requests} invocations of each kind\n\
             one after the other (p50, p99) and {requests} more, {concurrency} at once (per second)\n\n"
        );
        if self.debug_build {
            text.push_str("THIS IS A DEBUG BUILD: its figures say nothing\n\n");
        }
        let peers = self.handlers.get(1..).unwrap_or_default();
        text.push_str(&format!("  {:<34}", ""));
        self.handlers.iter().for_each(|handler| text.push_str(&format!("{:>10}", handler.name)));
        peers.iter().for_each(|peer| text.push_str(&format!("{:>16}", format!("against {}", peer.name))));
        text.push('\n');
        let rows: Vec<_> = self.handlers.iter().map(HandlerFigures::rows).collect();
        for (at, (name, ..)) in rows.first().into_iter().flatten().enumerate() {
            text.push_str(&format!("  {name:<34}"));
            for rows in &rows {
                let value = rows.get(at).and_then(|(_, value, _)| *value);
                text.push_str(&format!("{:>10}", value.map_or("-".to_owned(), short)));
            }
            for peer in peers {
                let ratios = self.ratios.get(peer.name).into_iter().flatten();
                let ratio = ratios.into_iter().find(|(known, _)| known == name);
                text.push_str(&format!(
                    "{:>16}",
                    ratio.map_or("-".to_owned(), |(_, ratio)| format!("{ratio:.2} x"))
                ));
            }
            text.push('\n');
        }
        if !peers.is_empty() {
            text.push_str("\n  Above 1 x, ours is better.\n");
        }
        for (name, cause) in &self.not_run {
            text.push_str(&format!("\n  {name} did NOT run: {cause}\n"));
        }
        text
    }
}

const MIB: f64 = 1024.0 * 1024.0;

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    let decimals = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Of a sorted list, by nearest rank; 0 of an empty one.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(per_request: u64, idle: Option<u64>) -> Run {
        let cost = || Cost {
            alone: (1..=100).map(|n| Duration::from_millis(n * per_request)).collect(),
            together: Duration::from_millis(100 * per_request),
        };
        Run {
            cold_start: Duration::from_millis(10 * per_request),
            first_message: Duration::from_millis(20 * per_request),
            idle,
            peak: idle,
            costs: Kind::ALL.iter().map(|_| cost()).collect(),
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank_and_medians_of_the_rounds() {
        let figures = HandlerFigures::of("ours", vec![run(1, None), run(3, None), run(1, None)], 100);
        assert_eq!((figures.cold_start_ms, figures.event.per_second), (10.0, 1000.0));
        let one = HandlerFigures::of("ours", vec![run(1, None)], 100);
        assert_eq!((one.no_op.p50_ms, one.no_op.p99_ms), (50.0, 99.0));
    }

    #[test]
    fn a_ratio_above_one_says_that_ours_is_better_whichever_way_the_figure_goes() {
        let ours = HandlerFigures::of("ours", vec![run(1, Some(1 << 20))], 100);
        let slow = HandlerFigures::of("slow", vec![run(2, None)], 100);
        let ratios = ours.against(&slow);
        assert!(ratios.iter().all(|(_, ratio)| (*ratio - 2.0).abs() < 1e-9), "{ratios:?}");
        assert!(!ratios.iter().any(|(name, _)| name.contains("memory")), "nothing is compared with nothing");
        let load = Load { requests: 100, concurrency: 1 };
        let cause = "there is no `x` on PATH".to_owned();
        let table = Figures::new(load, 1, vec![ours, slow], vec![("other".into(), cause)]).table();
        assert!(table.contains("2.00 x") && table.contains("other did NOT run: there is no `x`"), "{table}");
    }
}
