//! `hubward campaign`: brings a profile to a fleet wave by wave.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tokio::time::Instant;

use super::{Ending, Usage, azure::Session, hubs::columns, print, remark};
use crate::{
    arm::ArmReader,
    bus::WORK_QUEUE,
    campaigns::{
        Refused,
        campaign::{Campaign, Rules, State, Unknown},
        hubs::{Page, Row, Standing, Tally},
        orders::{Hubs, Order, OrderError, Plan, Planned, obey, start},
        store::{CampaignBlobs, PageAt},
        waves::Size,
    },
    model::{IotHubId, duration::IsoDuration},
};

/// Pause between looks at a campaign that is followed.
const PAUSE: Duration = Duration::from_secs(5);
/// Most hubs that are named in a text.
const MOST_NAMED: usize = 50;

#[derive(Debug, Args)]
pub(super) struct CampaignArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start a campaign, or show its waves with --dry-run.
    Start(Box<StartArgs>),
    /// Show how far a campaign is, and which hubs failed.
    Status(StatusArgs),
    /// Begin with no other hub until it is resumed.
    Pause(SaidArgs),
    /// Go on with a campaign that is paused; hubs that failed are tried again.
    Resume(ResumeArgs),
    /// Bring the hubs of a wave back to what their endpoints authenticated with before.
    Rollback(RollbackArgs),
    /// List the campaigns.
    List {
        /// One JSON document instead of a table.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct StartArgs {
    /// The campaign's id: 1 to 32 letters, digits, `.`, `_` or `-`.
    #[arg(value_name = "ID")]
    id: String,
    /// The profile that hubs are brought to. It has to say `rollout: campaign`.
    #[arg(long, value_name = "NAME")]
    profile: String,
    /// Only these hubs, by resource id; without it, all hubs that the profile is for.
    #[arg(long = "hub", value_name = "ID")]
    hubs: Vec<String>,
    /// Hubs that go first, by resource id.
    #[arg(long, value_name = "ID")]
    first: Vec<String>,
    /// How many hubs the first wave has.
    #[arg(long, value_name = "SIZE", default_value = "1")]
    canary: String,
    /// The waves after it: numbers, percentages of all hubs, `rest`. The last size comes again until no hub
    /// is left.
    #[arg(long, value_name = "SIZES", default_value = "10%,rest")]
    waves: String,
    /// How long a wave is left alone before it is looked at once more.
    #[arg(long, value_name = "DURATION", default_value = "PT30M")]
    soak: String,
    /// How many hubs of a wave may fail.
    #[arg(long, value_name = "HUBS", default_value_t = 0)]
    tolerate: u32,
    /// How long a hub's endpoints may take to become healthy.
    #[arg(long, value_name = "DURATION", default_value = "PT10M")]
    verify: String,
    /// What is made of endpoints whose health is still unknown then.
    #[arg(long, value_enum, default_value_t = UnknownWord::Accept)]
    unknown: UnknownWord,
    /// How many hubs are worked on at once.
    #[arg(long, value_name = "HUBS", default_value_t = 50)]
    at_once: u32,
    /// Who asks.
    #[arg(long, value_name = "WHO")]
    requested_by: String,
    /// Why.
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Only show the waves.
    #[arg(long)]
    dry_run: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnknownWord {
    /// No message went there; that is fine.
    Accept,
    /// The hub has failed.
    Fail,
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The campaign's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Follow it until it is paused or completed.
    #[arg(long)]
    watch: bool,
    /// Longest time to follow, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
    /// One JSON document instead of text, with every hub.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SaidArgs {
    /// The campaign's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Who asks.
    #[arg(long, value_name = "WHO")]
    requested_by: String,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    #[command(flatten)]
    said: SaidArgs,
    /// Leave hubs that failed as they are, instead of trying them again.
    #[arg(long)]
    leave_failed: bool,
    /// Convert hubs again that were rolled back.
    #[arg(long)]
    again: bool,
}

#[derive(Debug, Args)]
struct RollbackArgs {
    #[command(flatten)]
    said: SaidArgs,
    /// The wave, counted from 1.
    #[arg(long, value_name = "NUMBER")]
    wave: usize,
}

pub(super) async fn run(args: CampaignArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    let blobs = CampaignBlobs::of(&session.outcomes()?);
    match args.what {
        What::Start(args) => begin(&session, &blobs, *args).await,
        What::Status(args) => status(&blobs, args).await,
        What::Pause(said) => say(&session, &blobs, &said, &Order::Pause).await,
        What::Resume(ResumeArgs { said, leave_failed, again }) => {
            say(&session, &blobs, &said, &Order::Resume { leave_failed, again }).await
        }
        What::Rollback(RollbackArgs { said, wave }) => {
            say(&session, &blobs, &said, &Order::Rollback { wave }).await
        }
        What::List { json } => list(&blobs, json).await,
    }
}

async fn begin(session: &Session, blobs: &CampaignBlobs, args: StartArgs) -> anyhow::Result<Ending> {
    let (dry_run, as_json) = (args.dry_run, args.json);
    let planned = plan(session, args).await?;
    if !dry_run {
        let queue = session.bus(WORK_QUEUE)?;
        start(blobs, &queue, &planned, None).await.map_err(usage)?;
    }
    let id = &planned.campaign.id;
    if as_json {
        let waves: Vec<Vec<&IotHubId>> = planned.pages.iter().map(|pages| hubs_of(pages)).collect();
        print(&format!("{}\n", json!({"started": !dry_run, "id": id, "waves": waves})));
        return Ok(Ending::Fine);
    }
    for (number, pages) in planned.pages.iter().enumerate() {
        let hubs = hubs_of(pages);
        let named: Vec<&str> = hubs.iter().take(MOST_NAMED).map(|hub| hub.name()).collect();
        let more = hubs.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        print(&format!("wave {}, {} hubs: {}{more}\n", number + 1, hubs.len(), named.join(", ")));
    }
    if dry_run {
        print("nothing is started\n");
    } else {
        print(&format!("campaign {id}: started; follow it with: hubward campaign status {id} --watch\n"));
    }
    Ok(Ending::Fine)
}

fn hubs_of(pages: &[Page]) -> Vec<&IotHubId> {
    pages.iter().flat_map(|page| &page.hubs).map(|row| &row.hub).collect()
}

async fn plan(session: &Session, args: StartArgs) -> anyhow::Result<Planned> {
    let reader = ArmReader::new(session.arm.clone());
    let mut sizes = Size::list("--canary", &args.canary).map_err(told)?;
    sizes.extend(Size::list("--waves", &args.waves).map_err(told)?);
    let plan = Plan {
        id: args.id,
        profile: args.profile,
        first: ids("--first", &args.first)?,
        sizes,
        rules: Rules {
            soak_seconds: seconds("--soak", &args.soak)?,
            tolerate: args.tolerate,
            verify_seconds: seconds("--verify", &args.verify)?,
            unknown: match args.unknown {
                UnknownWord::Accept => Unknown::Accept,
                UnknownWord::Fail => Unknown::Fail,
            },
            at_once: args.at_once,
        },
        requested_by: args.requested_by,
        reason: args.reason,
    };
    let mut hubs = Hubs::Named(ids("--hub", &args.hubs)?);
    match &hubs {
        Hubs::Named(named) if !named.is_empty() => {
            for hub in named {
                if session.state.guardrails().allows_hub(hub) && reader.hub(hub).await?.is_none() {
                    return Err(Usage(format!("--hub: there is no hub {hub}; fix: leave it out")).into());
                }
            }
        }
        _ => {
            let mut all = Vec::new();
            for subscription in &session.state.guardrails().subscriptions {
                all.extend(reader.hubs(subscription).await?);
            }
            hubs = Hubs::Matching(all);
        }
    }
    Ok(plan.over(&session.state, hubs, session.arm.clock().now()).map_err(told)?)
}

fn ids(field: &str, texts: &[String]) -> Result<Vec<IotHubId>, Usage> {
    let parse = |text: &String| {
        IotHubId::parse(text)
            .map_err(|error| Usage(format!("{field} {text}: {error}; fix: write a hub's resource id")))
    };
    texts.iter().map(parse).collect()
}

fn seconds(field: &str, text: &str) -> Result<u64, Usage> {
    let parsed = IsoDuration::parse(text).map(|duration| duration.seconds());
    parsed.ok_or_else(|| Usage(format!("{field}: `{text}` is no duration; fix: write such as `PT30M`")))
}

fn told(refused: Refused) -> Usage {
    Usage(refused.to_string())
}

fn usage(error: OrderError) -> anyhow::Error {
    match error {
        OrderError::Refused(refused) => told(refused).into(),
        other => other.into(),
    }
}

async fn say(
    session: &Session,
    blobs: &CampaignBlobs,
    said: &SaidArgs,
    order: &Order,
) -> anyhow::Result<Ending> {
    let queue = session.bus(WORK_QUEUE)?;
    let by = (said.requested_by.as_str(), session.arm.clock().now());
    let campaign = obey(blobs, &queue, &session.state, &said.id, order, by, None).await.map_err(usage)?;
    if said.json {
        print(&format!("{}\n", json!({"id": campaign.id, "state": campaign.state})));
    } else {
        print(&format!("campaign {}: {}\n", campaign.id, campaign.state));
    }
    Ok(Ending::Fine)
}

async fn known(blobs: &CampaignBlobs, id: &str) -> anyhow::Result<Campaign> {
    Campaign::check_id(id).map_err(told)?;
    let found = blobs.campaign(id).await?;
    let unknown = || Usage(format!("ID: there is no campaign `{id}`; fix: see `hubward campaign list`"));
    Ok(found.map(|(campaign, _)| campaign).ok_or_else(unknown)?)
}

async fn status(blobs: &CampaignBlobs, args: StatusArgs) -> anyhow::Result<Ending> {
    let until = Instant::now() + Duration::from_secs(args.timeout);
    let mut last = String::new();
    let campaign = loop {
        let campaign = known(blobs, &args.id).await?;
        // Whatever goes on after a pause (hubs that were begun with, a rollback) is followed too.
        if !args.watch || campaign.next_due.is_none() {
            break campaign;
        }
        let line = heading(&campaign);
        if line != last {
            remark(&line);
            last = line;
        }
        if Instant::now() + PAUSE > until {
            remark(&format!("campaign {} goes on", args.id));
            return Ok(Ending::TimedOut);
        }
        tokio::time::sleep(PAUSE).await;
    };
    let mut rows: Vec<(usize, Row)> = Vec::new();
    let mut tallies = Vec::new();
    for (number, wave) in campaign.waves.iter().enumerate() {
        let mut tally = Tally::default();
        for page in 0..wave.pages.len() {
            let at = PageAt { run: campaign.run, wave: number, page };
            let (page, _) = blobs.page(&campaign.id, at).await?;
            tally = tally.plus(Tally::of(&page.hubs, wave));
            rows.extend(page.hubs.into_iter().map(|row| (number + 1, row)));
        }
        tallies.push(tally);
    }
    if args.json {
        let hubs: Vec<_> = rows.iter().map(|(wave, row)| json!({"wave": wave, "hub": row})).collect();
        print(&format!("{}\n", json!({"campaign": campaign, "tallies": tallies, "hubs": hubs})));
    } else {
        print(&shown(&campaign, &tallies, &rows));
    }
    let failed = tallies.iter().any(|tally| tally.failed + tally.left + tally.not_rolled_back > 0);
    Ok(match campaign.state {
        State::Running => Ending::Fine,
        State::Paused { .. } => Ending::Refused,
        State::Completed if failed => Ending::Failed,
        State::Completed => Ending::Fine,
    })
}

fn heading(campaign: &Campaign) -> String {
    let Campaign { id, profile, state, current, waves, .. } = campaign;
    let phase = waves.get(*current).map(|wave| format!(" ({})", wave.phase)).unwrap_or_default();
    format!("campaign {id}, profile {profile}, wave {} of {}{phase}: {state}", current + 1, waves.len())
}

fn shown(campaign: &Campaign, tallies: &[Tally], rows: &[(usize, Row)]) -> String {
    let head = ["WAVE", "HUBS", "WAITING", "UNDER WAY", "VERIFIED", "DONE", "FAILED", "ROLLED BACK", "PHASE"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (number, (wave, tally)) in campaign.waves.iter().zip(tallies).enumerate() {
        let numbers = [
            number + 1,
            wave.hubs,
            tally.waiting,
            tally.under_way + tally.to_go_back,
            tally.verified,
            tally.done,
            tally.failed + tally.left + tally.not_rolled_back,
            tally.rolled_back,
        ];
        let mut line: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        line.push(wave.phase.to_string());
        table.push(line);
    }
    let is_told =
        |row: &Row| row.cause.is_some() || matches!(row.standing, Standing::Failed | Standing::NotRolledBack);
    let mut lines = vec![heading(campaign), columns(&table).trim_end().to_owned()];
    let told: Vec<&(usize, Row)> = rows.iter().filter(|(_, row)| is_told(row)).collect();
    for (wave, row) in told.iter().take(MOST_NAMED) {
        let cause = row.cause.as_deref().unwrap_or("no cause is known");
        lines.push(format!("wave {wave}, {}: {}: {cause}", row.hub.name(), row.standing));
    }
    if told.len() > MOST_NAMED {
        lines.push(format!("and {} more: see --json", told.len() - MOST_NAMED));
    }
    lines.join("\n") + "\n"
}

async fn list(blobs: &CampaignBlobs, as_json: bool) -> anyhow::Result<Ending> {
    let mut campaigns = Vec::new();
    for id in blobs.ids().await? {
        campaigns.extend(blobs.campaign(&id).await?.map(|(campaign, _)| campaign));
    }
    campaigns.sort_by_key(|campaign| campaign.started_at);
    if as_json {
        print(&format!("{}\n", serde_json::to_string(&campaigns)?));
        return Ok(Ending::Fine);
    }
    for campaign in &campaigns {
        print(&format!("{}\n", heading(campaign)));
    }
    if campaigns.is_empty() {
        print("there are no campaigns\n");
    }
    Ok(Ending::Fine)
}
