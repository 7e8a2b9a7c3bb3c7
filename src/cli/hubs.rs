//! `hubward hubs`: the fleet, one line a hub.

use clap::Args;
use serde_json::json;

use super::{Ending, azure::Session, print};
use crate::{
    arm::ArmReader,
    desired::Choice,
    outcomes::{Record, store::OutcomeStore},
};

#[derive(Debug, Args)]
pub(super) struct HubsArgs {
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: HubsArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    // Without a container, the rest of the table is still of use.
    let store = session.outcomes().ok();
    let reader = ArmReader::new(session.arm.clone());
    let mut rows = Vec::new();
    for subscription in &session.state.guardrails().subscriptions {
        for hub in reader.hubs(subscription).await? {
            let last: Option<Record> = match &store {
                Some(store) => store.of_hub(hub.id()).await?,
                None => None,
            };
            let (profile, note) = match session.state.for_document(&hub) {
                Choice::Desired(desired) => (desired.profile, String::new()),
                other => ("-".to_owned(), other.causes().join("; ")),
            };
            let identity = hub.identity();
            let mut identities: Vec<String> = Vec::new();
            identities.extend(identity.system_assigned.then(|| "system".to_owned()));
            identities.extend(identity.user_assigned.keys().map(|id| id.name().to_owned()));
            rows.push((
                hub.id().clone(),
                hub.location().to_owned(),
                profile,
                identities.join("+"),
                last,
                note,
            ));
        }
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(hub, location, profile, identity, last, note)| {
                json!({"hub": hub, "location": location, "profile": profile, "identity": identity,
                    "lastOutcome": last, "note": note})
            })
            .collect();
        print(&format!("{}\n", serde_json::to_string(&rows)?));
        return Ok(Ending::Fine);
    }
    let mut table =
        vec![["HUB", "LOCATION", "PROFILE", "IDENTITY", "LAST OUTCOME"].map(str::to_owned).to_vec()];
    for (hub, location, profile, identity, last, note) in rows {
        let last = match last {
            Some(record) if record.causes.is_empty() => record.outcome.to_string(),
            Some(record) => format!("{}: {}", record.outcome, record.causes.join("; ")),
            None => note,
        };
        table.push(vec![hub.name().to_owned(), location, profile, identity, last]);
    }
    print(&columns(&table));
    Ok(Ending::Fine)
}

/// Columns as wide as their widest cell; the last is as long as it is.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..count)
        .map(|at| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
}
