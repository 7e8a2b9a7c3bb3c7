//! Which hubs are looked at after a run, how many of them, and what is told when it was stopped.

use futures::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{FleetReport, HubRow, Standing, Stopped};
use crate::{
    bus::{SendError, WorkQueue},
    desired::DesiredState,
    model::IotHubId,
    outcomes::{Record, Word, id_of},
    work::WorkItem,
};

/// Messages that are on their way at the same time.
const AT_ONCE: usize = 16;
/// Hubs that are named when a run was stopped.
const NAMED: usize = 5;

/// Chooses the hubs to look at, marks them as queued, and says in the report if there were too many.
///
/// A hub that differs takes a place of the `guardrails.maxHubsChanged` ones; the order is another one in each run, so hubs
/// that always differ keep nobody waiting for ever. A blocked hub is looked at when it is newly blocked:
/// a look only reads it, and tells why.
pub fn nominate(
    report: &mut FleetReport,
    before: Option<&FleetReport>,
    state: &DesiredState,
) -> Vec<IotHubId> {
    let (run, allowed) = (report.run, state.guardrails().max_hubs_changed);
    let only_told = |profile: &str| state.reports_drift(profile) || state.is_by_campaign(profile);
    let mut differs: Vec<usize> = Vec::new();
    let mut chosen: Vec<usize> = Vec::new();
    for (at, row) in report.hubs.iter().enumerate() {
        // What differs and is only told takes no place, and is told once; so is what is blocked.
        let is_told = row.profile.as_deref().is_some_and(only_told);
        let is_new = || allowed > 0 && !was_so(before, row);
        match &row.standing {
            Standing::Differs { .. } if !is_told => differs.push(at),
            Standing::Differs { .. } | Standing::Blocked { .. } if is_new() => chosen.push(at),
            _ => {}
        }
    }
    let place = |at: &usize| Uuid::new_v5(&run, report.hubs[*at].hub.key().as_bytes());
    differs.sort_by_cached_key(place);
    let (wanted, most) = (differs.len() as u64, u64::from(allowed));
    if wanted > most {
        differs.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
        report.stopped = Some(Stopped { wanted, allowed: most });
    }
    chosen.extend(differs);
    chosen
        .into_iter()
        .map(|at| {
            let row = &mut report.hubs[at];
            row.queued = true;
            row.hub.clone()
        })
        .collect()
}

/// Whether the run before found the same hub in the same way.
fn was_so(before: Option<&FleetReport>, row: &HubRow) -> bool {
    let Some(before) = before else { return false };
    let found = before.hubs.binary_search_by(|known| known.hub.cmp(&row.hub));
    found.is_ok_and(|at| before.hubs[at].standing == row.standing)
}

/// Puts hubs on the queue. Two instances in the same run send the same messages.
///
/// # Errors
/// A message was not taken; those before it were.
pub async fn ask_for_looks(
    queue: &dyn WorkQueue,
    hubs: Vec<IotHubId>,
    run: Uuid,
    at: OffsetDateTime,
    trace_parent: Option<String>,
) -> Result<(), SendError> {
    let items = hubs.into_iter().map(|hub| WorkItem::for_resync(hub, run, at, trace_parent.clone()));
    let sends = items.map(|item| async move { queue.send(&item).await });
    stream::iter(sends).buffer_unordered(AT_ONCE).try_collect().await
}

/// Asks for looks for what hubs have left behind. Whether a hub is gone, the look finds out.
///
/// # Errors
/// A message was not taken; those before it were.
pub async fn ask_for_leftovers(
    queue: &dyn WorkQueue,
    hubs: Vec<IotHubId>,
    run: Uuid,
) -> Result<(), SendError> {
    let sends =
        hubs.into_iter().map(|hub| async move { queue.send(&WorkItem::for_leftovers(hub, run)).await });
    stream::iter(sends).buffer_unordered(AT_ONCE).try_collect().await
}

/// What is told of a run that was stopped: the same record whoever tells it.
pub fn record_of_stop(report: &FleetReport) -> Option<Record> {
    let Stopped { wanted, allowed } = report.stopped?;
    let left =
        report.hubs.iter().filter(|row| matches!(row.standing, Standing::Differs { .. }) && !row.queued);
    let names: Vec<&str> = left.take(NAMED).map(|row| row.hub.name()).collect();
    let causes = vec![
        format!(
            "{wanted} hubs differ from their profiles, and guardrails.maxHubsChanged allows {allowed} in one run; \
             {allowed} were queued"
        ),
        format!("not queued: {}{}", names.join(", "), if wanted - allowed > names.len() as u64 { ", …" } else { "" }),
        "see with `hubward resync --dry-run` whether so many changes are meant; if they are, raise maxHubsChanged \
         or let the next runs go on; if not, take the change of the document back"
            .to_owned(),
    ];
    let outcome_id = id_of(&format!("resync stopped|{}", report.run));
    Some(Record::new(outcome_id, Word::Blocked, causes, report.at))
}
