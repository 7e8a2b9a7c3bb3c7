//! `hubward request`: checks operators' requests, sends them, and follows them to their end.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Ending, Usage, azure::Session, host, print, remark};
use crate::{
    bus::REQUEST_QUEUE,
    desired::{DesiredState, Request},
    outcomes::{Record, Word, id_of, id_of_request, store::OutcomeStore},
};

/// Pause between looks at what has become of a request.
const PAUSE: Duration = Duration::from_secs(2);
/// By how much the app's clock may be behind ours.
const SKEW: time::Duration = time::Duration::minutes(1);
/// After so long, an earlier refusal of the same text is taken for this one's: it is kept once.
const OLD_REFUSAL: Duration = Duration::from_secs(60);

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
    /// Where to.
    #[arg(long, value_enum, default_value_t = To::Bus)]
    to: To,
    /// The Functions host, for `--to host`. Its master key, if it wants one: HUBWARD_HOST_KEY.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7071")]
    host_url: String,
    /// Follow it until it has ended.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum To {
    /// The queue hub-requests of the Service Bus namespace.
    Bus,
    /// The queue hub-requests of the app's storage account (`HUBWARD_QUEUES`).
    Storage,
    /// The function itself, through the admin API of the Functions host: for local use. Nothing keeps the
    /// request until it has been taken in.
    Host,
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
        What::Send(SendArgs { request: args, to, host_url, watch, patience }) => {
            let request = read(&session.state, &args)?;
            let sent = Sent {
                digest: request.digest(),
                text: request.json().to_string(),
                at: OffsetDateTime::now_utc(),
            };
            match to {
                To::Bus => session.bus(REQUEST_QUEUE)?.send_request(&request).await?,
                To::Storage => {
                    session.storage_queue(REQUEST_QUEUE)?.send(&sent.text, None).await?;
                }
                To::Host => host::start(session.transport(), &host_url, &sent.text).await?,
            }
            if watch {
                return follow(&session, &request.id, Some(&sent), &patience, args.json).await;
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

/// What was sent, and when.
struct Sent {
    digest: Uuid,
    text: String,
    at: OffsetDateTime,
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
    sent: Option<&Sent>,
    patience: &Patience,
    as_json: bool,
) -> anyhow::Result<Ending> {
    let started = Instant::now();
    let store = session.outcomes()?;
    let until = Instant::now() + Duration::from_secs(patience.timeout);
    let mut told = String::new();
    loop {
        // Without a digest, the request that holds the id is meant.
        let claimed = store.claimed(id).await?;
        let digest = sent.map(|sent| sent.digest).or(claimed);
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
        // Refused at the door, where its id counted for nothing: the app may have other profiles than we have.
        if let Some(sent) = sent.filter(|sent| claimed != Some(sent.digest))
            && let Some(record) = store.ended(id_of(&sent.text)).await?
            && (record.ended_at + SKEW >= sent.at || started.elapsed() > OLD_REFUSAL)
        {
            print(&shown(&record, as_json)?);
            return Ok(ending(record.outcome));
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
