//! `hubward exports next`: which scheduled exports come next. Changes nothing.

use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Ending,
    azure::{HubArgs, Session},
    print,
};
use crate::{
    arm::ArmReader,
    desired::Choice,
    schedule::{self, Ncrontab},
};

#[derive(Debug, Args)]
pub(super) struct ExportsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show when each hub's exports are made next, in UTC, the soonest first.
    Next(NextArgs),
}

#[derive(Debug, Args)]
struct NextArgs {
    #[command(flatten)]
    hubs: HubArgs,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// The next run of one export.
struct Next {
    at: Option<OffsetDateTime>,
    hub: String,
    export: String,
    schedule: String,
    blob: String,
}

pub(super) async fn run(args: ExportsArgs) -> anyhow::Result<Ending> {
    let What::Next(args) = args.what;
    let session = Session::open().await?;
    let reader = ArmReader::new(session.arm.clone());
    let mut next = Vec::new();
    for hub in session.hubs(&args.hubs).await? {
        let Some(document) = reader.hub(&hub).await? else { anyhow::bail!("there is no hub {hub}") };
        let now = session.arm.clock().now();
        let Choice::Desired(desired) = session.state.for_document(&document) else { continue };
        for export in desired.exports {
            let at = export.schedule.parse::<Ncrontab>()?.next_after(now);
            let blob = at.map_or_else(String::new, |at| export.blob_name.at(at));
            let (hub, schedule) = (hub.name().to_owned(), export.schedule);
            next.push(Next { at, hub, export: export.name, schedule, blob });
        }
    }
    next.sort_by(|a, b| (a.at.is_none(), a.at, &a.hub).cmp(&(b.at.is_none(), b.at, &b.hub)));
    let time = |next: &Next| next.at.map_or_else(|| "never".to_owned(), schedule::stamp);
    if args.json {
        let list: Vec<_> = next
            .iter()
            .map(|next| {
                json!({"at": next.at.map(schedule::stamp), "hub": next.hub, "export": next.export,
                    "schedule": next.schedule, "blob": next.blob})
            })
            .collect();
        print(&format!("{}\n", serde_json::to_string(&list)?));
        return Ok(Ending::Fine);
    }
    for run in &next {
        print(&format!("{}  {}  {}  ({})  {}\n", time(run), run.hub, run.export, run.schedule, run.blob));
    }
    Ok(Ending::Fine)
}
