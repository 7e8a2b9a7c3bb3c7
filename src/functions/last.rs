//! The last outcome of each hub: read when a look begins, and written over when it has ended.
//!
//! What is written over is what was read. If somebody else was quicker, a look whose session was lost among them,
//! theirs is read, and nothing that it tells is lost.

use time::OffsetDateTime;
use tracing::warn;

use super::{App, leftovers::is_aside};
use crate::{
    blobs::BlobError,
    handler::HandlerError,
    model::IotHubId,
    offboard::Hints,
    outcomes::{Principals, Record, Word, store::LastOfHub},
    work::WorkItem,
};

/// How often it is written where others are quicker.
const TRIES: usize = 3;

impl App {
    /// The last outcome of a hub; `None` if it cannot be read, or none are kept.
    pub(super) async fn last_of(&self, hub: &IotHubId) -> Option<LastOfHub> {
        let last = self.store.as_ref()?.last_of_hub(hub).await;
        last.inspect_err(
            |error| warn!(hub.id = %hub, %error, "{}: its last outcome cannot be read", hub.name()),
        )
        .ok()
    }

    /// What earlier looks have written down about a hub.
    pub(super) async fn hints(&self, item: &WorkItem) -> Hints {
        let last = self.last_of(&item.hub).await.and_then(|last| last.record);
        let known = last.and_then(|record| record.principals).unwrap_or_default();
        Hints {
            principals: known.former.into_iter().chain(known.system).collect(),
            accounts: known.cosmos_accounts,
        }
    }

    /// Writes down the last outcome of a hub, and whom it acts as; `seen` is the one before, if it was read. One that
    /// acts as another than before has left grants behind: a message to look for them is sent before what tells
    /// of it is overwritten.
    pub(super) async fn write_down(
        &self,
        item: &WorkItem,
        record: &Record,
        seen: Option<LastOfHub>,
    ) -> Result<(), HandlerError> {
        if is_aside(item) && record.outcome == Word::Waiting {
            return Ok(());
        }
        let now = self.arm.clock().now();
        Box::pin(self.write_over(item, seen, |last| Some(after(record.clone(), last, now)))).await
    }

    /// Nothing of the hub's former principals is left. How the hub itself stands is written down already, and stays.
    pub(super) async fn former_are_done(&self, item: &WorkItem) -> Result<(), HandlerError> {
        self.write_over(item, None, |last| {
            let mut record = last?.clone();
            record.principals.as_mut()?.former.clear();
            Some((record, None))
        })
        .await
    }

    /// Writes over the hub's last outcome what `change` makes of it, and again if somebody else was quicker. A principal
    /// beside it is none of the hub's any more.
    async fn write_over(
        &self,
        item: &WorkItem,
        mut seen: Option<LastOfHub>,
        change: impl Fn(Option<&Record>) -> Option<(Record, Option<String>)>,
    ) -> Result<(), HandlerError> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut written = Err(BlobError::Moved);
        for _ in 0..TRIES {
            let last = match seen.take() {
                Some(last) => Ok(last),
                None => store.last_of_hub(&item.hub).await,
            };
            written = match last {
                Ok(last) => {
                    let Some((record, former)) = change(last.record.as_ref()) else { return Ok(()) };
                    if let Some(principal) = former {
                        let mut next = WorkItem::for_former_principal(item.hub.clone(), &principal);
                        next.trace_parent.clone_from(&item.trace_parent);
                        self.send(&next.received(self.arm.clock().now())).await?;
                    }
                    store.tell_of_hub(&item.hub, &record, &last).await
                }
                Err(error) => Err(error),
            };
            if written != Err(BlobError::Moved) {
                break;
            }
        }
        if let Err(error) = written {
            warn!(hub.id = %item.hub, %error, "{}: its last outcome could not be written down", item.hub.name());
        }
        Ok(())
    }
}

/// A record with what the one before knew and this one does not, and the principal that is none of the hub's any more.
fn after(mut record: Record, last: Option<&Record>, now: OffsetDateTime) -> (Record, Option<String>) {
    let Some(last) = last else {
        record.written = record.written.after(Default::default(), now);
        return (record, None);
    };
    // What was wanted when it was last in order.
    record.in_sync_as = record.in_sync_as.or(last.in_sync_as);
    record.written = record.written.after(last.written.clone(), now);
    let Some(before) = &last.principals else { return (record, None) };
    let Some(principals) = record.principals.take() else {
        record.principals = Some(before.clone());
        return (record, None);
    };
    let (principals, former): (Principals, _) = principals.after(before);
    // An identity that we turn off has its grants taken away before it goes.
    let by_us = record.outcome == Word::Changed && principals.system.is_none();
    record.principals = Some(principals);
    (record, former.filter(|_| !by_us))
}
