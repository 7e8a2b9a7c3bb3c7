//! `hubward resync`: what the function of this name does, from the command line.

use clap::Args;
use uuid::Uuid;

use super::{Ending, Usage, azure::Session, hubs::columns, print, remark};
use crate::{
    arm::ArmReader,
    bus::WORK_QUEUE,
    config::{self, ProcessEnvironment},
    fleet::{self, FleetReport, Standing, Survey},
    outcomes::store::OutcomeStore,
};

#[derive(Debug, Args)]
pub(super) struct ResyncArgs {
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Compare, and put nothing on the queue.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: ResyncArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    let source = config::resync_source(&ProcessEnvironment).map_err(|error| Usage(error.to_string()))?;
    // Found out before the fleet is read.
    let queue = if args.dry_run { None } else { Some(session.bus(WORK_QUEUE)?) };
    let reader = ArmReader::new(session.arm.clone());
    // Whoever asks wants looks now, whatever has been asked for in this quarter of an hour.
    let run = Uuid::new_v4();
    let Survey { mut report, left_behind } = fleet::survey(&reader, &session.state, source, run).await?;
    let store = session.outcomes().ok();
    let before = match &store {
        Some(store) => store.of_fleet().await?,
        None => None,
    };
    if let Some(queue) = &queue {
        let hubs = fleet::nominate(&mut report, before.as_ref(), &session.state);
        fleet::ask_for_looks(queue, hubs, run, report.at, None).await?;
        fleet::ask_for_leftovers(queue, left_behind, run).await?;
        if let Some(store) = &store {
            store.tell_of_fleet(&report).await?;
        }
    }
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&report)?));
    } else {
        print(&table(&report));
    }
    for (subscription, cause) in &report.unread {
        remark(&format!("subscription {subscription} could not be read: {cause}"));
    }
    if let Some(record) = fleet::record_of_stop(&report) {
        remark(&record.causes.join("\n"));
    }
    Ok(match () {
        () if report.stopped.is_some() => Ending::Refused,
        () if !report.unread.is_empty() => Ending::Unknown,
        () => Ending::Fine,
    })
}

fn table(report: &FleetReport) -> String {
    let mut rows = vec![["HUB", "LOCATION", "PROFILE", "STANDING", ""].map(str::to_owned).to_vec()];
    for row in &report.hubs {
        let note = match &row.standing {
            Standing::Differs { changes } => format!("{changes} steps or more"),
            Standing::Waiting { since } => format!("for grants to spread, since {since}"),
            other => other.causes().join("; "),
        };
        let standing = row.standing.kind().label();
        let note = if row.queued { format!("queued {note}") } else { note };
        let profile = row.profile.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [row.hub.name(), &row.location, &profile, standing, &note];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    let queued = report.hubs.iter().filter(|row| row.queued).count();
    format!(
        "{}{} hubs, {queued} queued, {} calls, {:.1} s\n",
        columns(&rows),
        report.hubs.len(),
        report.calls,
        report.seconds
    )
}
