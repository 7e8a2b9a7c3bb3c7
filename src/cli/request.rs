//! `hubward request`: checks operators' requests, sends them, and follows them to their end.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Ending, Usage, azure::Session, print, remark};
use crate::{
    bus::REQUEST_QUEUE,
    desired::{DesiredState, Request},
    outcomes::{Record, Word, id_of_request, store::OutcomeStore},
};

/// Pause between looks at what has become of a request.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a request against the contract, the profiles and the guardrails.
    Validate(FileArgs),
    /// Send a request to the queue hub-requests.
    Send(SendArgs),
    /// Follow a request until it has ended.
    Watch(WatchArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The request: a file with one JSON object, or `-` for stdin.
    #[arg(value_name = "FILE")]
    file: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SendArgs {
    #[command(flatten)]
    request: FileArgs,
    /// Which of the two queues of that name.
    #[arg(long, value_enum, default_value_t = To::Bus)]
    to: To,
    /// Follow it until it has ended.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    /// That of the Service Bus namespace.
    Bus,
    /// That of the app's storage account (`HUBWARD_QUEUES`).
    Storage,
}

#[derive(Debug, Args)]
struct WatchArgs {
    /// The request's id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    patience: Patience,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Patience {
    /// Longest time to follow, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
}

pub(super) async fn run(args: RequestArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    match args.what {
        What::Validate(args) => {
            let request = read(&session.state, &args)?;
            if args.json {
                let digest = request.digest();
                let outcome = id_of_request(&request.id, digest);
                print(&format!("{}\n", json!({"valid": true, "id": request.id, "outcomeId": outcome})));
            } else {
                print(&format!("{request}: no mistakes\n"));
            }
            Ok(Ending::Fine)
        }
        What::Send(SendArgs { request: args, to, watch, patience }) => {
            let request = read(&session.state, &args)?;
            match to {
                To::Bus => session.bus(REQUEST_QUEUE)?.send_request(&request).await?,
                To::Storage => {
                    let queue = session.storage_queue(REQUEST_QUEUE)?;
                    queue.send(&request.json().to_string(), None).await?;
                }
            }
            if watch {
                return follow(&session, &request.id, Some(request.digest()), &patience, args.json).await;
            }
            if args.json {
                print(&format!("{}\n", json!({"sent": true, "id": request.id})));
            } else {
                print(&format!("{request}: sent; follow it with: hubward request watch {}\n", request.id));
            }
            Ok(Ending::Fine)
        }
        What::Watch(WatchArgs { id, patience, json }) => follow(&session, &id, None, &patience, json).await,
    }
}

fn read(state: &DesiredState, args: &FileArgs) -> anyhow::Result<Request> {
    let text = if args.file == "-" {
        std::io::read_to_string(std::io::stdin()).context("cannot read stdin")?
    } else {
        std::fs::read_to_string(&args.file).map_err(|error| Usage(format!("{}: {error}", args.file)))?
    };
    let checked = state.request(&text, OffsetDateTime::now_utc());
    Ok(checked.map_err(|mistakes| Usage(format!("{} has mistakes:\n{mistakes}", args.file)))?)
}

/// Follows a request by what is kept of it.
async fn follow(
    session: &Session,
    id: &str,
    digest: Option<Uuid>,
    patience: &Patience,
    as_json: bool,
) -> anyhow::Result<Ending> {
    let store = session.outcomes()?;
    let until = Instant::now() + Duration::from_secs(patience.timeout);
    let mut told = String::new();
    loop {
        // Without a digest, the request that holds the id is meant.
        let digest = match digest {
            Some(digest) => Some(digest),
            None => store.claimed(id).await?,
        };
        if let Some(digest) = digest {
            let outcome = id_of_request(id, digest);
            if let Some(record) = store.ended(outcome).await? {
                print(&shown(&record, as_json)?);
                return Ok(ending(record.outcome));
            }
            let waits =
                store.waiting(outcome).await?.map(|record| record.causes.join("; ")).unwrap_or_default();
            if waits != told {
                remark(&format!("{id}: waiting for {waits}"));
                told = waits;
            }
        }
        if Instant::now() + PAUSE > until {
            let known = if told.is_empty() { "nothing is known of it yet" } else { told.as_str() };
            remark(&format!(
                "{id} has not ended within {} s ({known}); follow it with: hubward request watch {id}",
                patience.timeout
            ));
            return Ok(Ending::TimedOut);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A record for people, or for machines.
pub(super) fn shown(record: &Record, as_json: bool) -> anyhow::Result<String> {
    if as_json {
        return Ok(format!("{}\n", serde_json::to_string(record)?));
    }
    let hub = record.hub.as_deref().and_then(|id| id.rsplit('/').next()).unwrap_or("-");
    let mut lines = vec![format!("{hub}: {}", record.outcome)];
    lines.extend(record.causes.iter().map(|cause| format!("  {cause}")));
    lines.extend(record.plan.iter().map(|line| format!("  {line}")));
    let steps = record.steps.iter().filter_map(|step| step["step"].as_str());
    lines.extend(steps.map(|step| format!("  done: {step}")));
    lines.extend(record.warnings.iter().map(|warning| format!("  note: {warning}")));
    Ok(lines.join("\n") + "\n")
}

/// The exit code that says how it ended.
pub(super) fn ending(word: Word) -> Ending {
    match word {
        Word::InSync | Word::Changed | Word::Planned => Ending::Fine,
        Word::Blocked | Word::Refused => Ending::Refused,
        Word::Failed => Ending::Failed,
        Word::Waiting => Ending::TimedOut,
    }
}
