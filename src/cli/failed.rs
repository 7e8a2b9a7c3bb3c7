//! `hubward failed`: what did not end well, on the storage queue `hub-failed`: look, send again, drop.

use std::{collections::BTreeSet, time::Duration};

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;
use time::OffsetDateTime;

use super::{Ending, Usage, azure::Session, print};
use crate::{
    bus::REQUEST_QUEUE,
    outcomes::{FAILED_QUEUE, parked::Parked, store::OutcomeStore},
    queue::{MOST_AT_ONCE, StorageQueue, TakenMessage},
};

/// So long nobody else sees what is being looked through.
const TAKEN_FOR: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct FailedArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the oldest 32 that are parked.
    List {
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show one of them as it was parked, and what came in.
    Show(One),
    /// Send it again, under another key, and drop it.
    Replay(One),
    /// Drop it for good.
    Drop(One),
}

#[derive(Debug, Args)]
struct One {
    /// Its outcome's id, or the beginning of it.
    #[arg(value_name = "ID")]
    id: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: FailedArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    let queue = session.storage_queue(FAILED_QUEUE)?;
    match args.what {
        What::List { json: as_json } => list(&queue, as_json).await,
        What::Show(One { id, json }) => {
            let mut parked = find(&queue, &id).await?;
            // The whole of it, where the message had no room for that.
            if let Some(blob) = parked.blob.as_deref()
                && let Some(text) = session.outcomes()?.kept(blob).await?
            {
                parked.text = Some(text);
            }
            if json {
                print(&format!("{}\n", serde_json::to_string(&parked)?));
                return Ok(Ending::Fine);
            }
            let text = parked.text.take_if(|_| parked.blob.is_some());
            print(&format!("{}\n", serde_json::to_string_pretty(&parked)?));
            if let Some(text) = text {
                print(&format!("{text}\n"));
            }
            Ok(Ending::Fine)
        }
        What::Replay(One { id, json }) => {
            let (taken, parked) = take(&queue, &id).await?;
            let again = parked.again("hubward failed replay", OffsetDateTime::now_utc().unix_timestamp());
            let Some(again) = again else {
                give_back(&queue, &[taken]).await?;
                bail!(
                    "{id} was never understood: see it with `hubward failed show {id}`, correct it, and send it with `hubward request send`"
                );
            };
            let request = match session.state.request_again(again, OffsetDateTime::now_utc()) {
                Ok(request) => request,
                Err(mistakes) => {
                    give_back(&queue, &[taken]).await?;
                    return Err(Usage(format!("{id} still has mistakes:\n{mistakes}")).into());
                }
            };
            session.bus(REQUEST_QUEUE)?.send_request(&request).await?;
            queue.delete(&taken.message.id, &taken.pop_receipt).await?;
            if json {
                let told = json!({"sent": true, "id": request.id, "replayed": parked.outcome_id});
                print(&format!("{told}\n"));
            } else {
                print(&format!(
                    "{request}: sent again; follow it with: hubward request watch {}\n",
                    request.id
                ));
            }
            Ok(Ending::Fine)
        }
        What::Drop(One { id, json }) => {
            let (taken, parked) = take(&queue, &id).await?;
            queue.delete(&taken.message.id, &taken.pop_receipt).await?;
            if json {
                print(&format!("{}\n", json!({"dropped": parked.outcome_id, "causes": parked.causes})));
            } else {
                print(&format!("dropped {} ({})\n", parked.outcome_id, parked.causes.join("; ")));
            }
            Ok(Ending::Fine)
        }
    }
}

async fn list(queue: &StorageQueue, as_json: bool) -> anyhow::Result<Ending> {
    let messages = queue.peek(MOST_AT_ONCE).await?;
    let read = |text: &str| serde_json::from_str::<Parked>(text).ok();
    if as_json {
        let parked: Vec<_> = messages.iter().map(|message| json!(read(&message.text))).collect();
        print(&format!("{}\n", serde_json::to_string(&parked)?));
        return Ok(Ending::Fine);
    }
    for message in &messages {
        match read(&message.text) {
            Some(Parked { outcome_id, outcome, causes, hub, parked_at, .. }) => {
                let hub = hub.as_deref().and_then(|id| id.rsplit('/').next()).unwrap_or("-");
                let id = outcome_id.to_string();
                print(&format!("{}  {parked_at}  {hub}  {outcome}: {}\n", &id[..8], causes.join("; ")));
            }
            None => print(&format!("--------  {}  not a parked message\n", message.inserted_at)),
        }
    }
    if messages.is_empty() {
        print("nothing is parked\n");
    }
    Ok(Ending::Fine)
}

/// Fewest characters of an id that are taken for it: as many as the list shows.
const SHORTEST: usize = 8;

fn is_it(text: &str, id: &str) -> Option<Parked> {
    if id.len() < SHORTEST {
        return None;
    }
    let parked: Parked = serde_json::from_str(text).ok()?;
    parked.outcome_id.to_string().starts_with(&id.to_lowercase()).then_some(parked)
}

fn unknown(id: &str) -> Usage {
    Usage(format!("nothing that is parked has the id {id}; see `hubward failed list`"))
}

/// One of the oldest, without taking it.
async fn find(queue: &StorageQueue, id: &str) -> anyhow::Result<Parked> {
    let messages = queue.peek(MOST_AT_ONCE).await?;
    Ok(messages.iter().find_map(|message| is_it(&message.text, id)).ok_or_else(|| unknown(id))?)
}

/// One message, taken; the others that had to be looked through are given back.
async fn take(queue: &StorageQueue, id: &str) -> anyhow::Result<(TakenMessage, Parked)> {
    let mut others = Vec::new();
    let mut found = None;
    let mut seen = BTreeSet::new();
    while found.is_none() {
        let batch = queue.receive(MOST_AT_ONCE, TAKEN_FOR).await?;
        // One that comes again has been seen by now: this was all.
        if batch.is_empty() || batch.iter().any(|taken| seen.contains(&taken.message.id)) {
            others.extend(batch);
            break;
        }
        for taken in batch {
            seen.insert(taken.message.id.clone());
            match is_it(&taken.message.text, id).filter(|_| found.is_none()) {
                Some(parked) => found = Some((taken, parked)),
                None => others.push(taken),
            }
        }
    }
    give_back(queue, &others).await?;
    Ok(found.ok_or_else(|| unknown(id))?)
}

async fn give_back(queue: &StorageQueue, messages: &[TakenMessage]) -> anyhow::Result<()> {
    for taken in messages {
        queue.update(&taken.message.id, &taken.pop_receipt, Duration::ZERO).await?;
    }
    Ok(())
}
