//! `hubward jobs`: asks for exports and imports, and cancels them.
//!
//! A request goes to the queue like any other work; the functions do it and tell its outcome in their log,
//! under the id that is printed here.

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::{Ending, Usage, azure::Session, print};
use crate::{
    arm::{ArmReader, ArmWriter},
    bus::{WORK_QUEUE, WorkQueue},
    model::{
        IotHubId, ResourceId,
        desired::IdentityRef,
        job::{JobDoor, JobId, JobRequest, JobSpec},
    },
    work::WorkItem,
};

#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Export a hub's devices into a storage container.
    Export(ExportArgs),
    /// Create, change and delete a hub's devices as a file says. Cannot be undone.
    Import(ImportArgs),
    /// Show the exports and imports that a hub knows.
    List(OfHub),
    /// Cancel a hub's running job, through the hub's own service API.
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
struct OfHub {
    /// The hub, by resource id.
    #[arg(long, value_name = "ID")]
    hub: String,
    /// Which of the hub's doors to go through.
    #[arg(long, value_enum, default_value_t = Through::DataPlane)]
    through: Through,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Through {
    /// The hub's own service API.
    DataPlane,
    /// Azure Resource Manager, for hubs whose own API cannot be reached.
    ResourceManager,
}

impl From<Through> for JobDoor {
    fn from(word: Through) -> Self {
        match word {
            Through::DataPlane => JobDoor::DataPlane,
            Through::ResourceManager => JobDoor::ResourceManager,
        }
    }
}

#[derive(Debug, Args)]
struct Storage {
    #[command(flatten)]
    hub: OfHub,
    /// The storage container, by resource id.
    #[arg(long, value_name = "ID")]
    container: String,
    /// What the hub authenticates with: `system`, or the resource id of a user-assigned identity.
    #[arg(long = "as", value_name = "IDENTITY", default_value = "system")]
    identity: String,
    /// The blob to write, or to read.
    #[arg(long, value_name = "NAME", default_value = "devices.txt")]
    blob: String,
}

#[derive(Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    storage: Storage,
    /// Export the devices' keys too. Without them, an export does not bring devices back as they were.
    #[arg(long)]
    include_keys: bool,
    /// Export configurations and deployments too, into this blob.
    #[arg(long, value_name = "NAME")]
    configurations_blob: Option<String>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    #[command(flatten)]
    storage: Storage,
    /// The hub's name once more. `guardrails.allowImports` has to name it too.
    #[arg(long, value_name = "HUB")]
    confirm: String,
}

#[derive(Debug, Args)]
struct CancelArgs {
    #[command(flatten)]
    hub: OfHub,
    /// The hub's id of the job, as `hubward jobs list` shows it.
    #[arg(long, value_name = "ID")]
    job: String,
}

pub(super) async fn run(args: JobsArgs) -> anyhow::Result<Ending> {
    match args.what {
        What::Export(ExportArgs { storage, include_keys, configurations_blob }) => {
            let job = JobSpec::Export {
                blob_name: storage.blob.clone(),
                exclude_keys: !include_keys,
                configurations_blob_name: configurations_blob,
            };
            ask(storage, job).await
        }
        What::Import(ImportArgs { storage, confirm }) => {
            let job = JobSpec::Import { blob_name: storage.blob.clone(), confirm };
            ask(storage, job).await
        }
        What::List(args) => list(args).await,
        What::Cancel(args) => cancel(args).await,
    }
}

fn hub_id(text: &str) -> Result<IotHubId, Usage> {
    IotHubId::parse(text).map_err(|error| Usage(format!("--hub {text}: {error}")))
}

async fn ask(storage: Storage, job: JobSpec) -> anyhow::Result<Ending> {
    let Storage { hub: OfHub { hub, through }, container, identity, blob: _ } = storage;
    let resource = |name: &str, text: &str| {
        ResourceId::parse(text).map_err(|error| Usage(format!("{name} {text}: {error}")))
    };
    let identity = match identity.as_str() {
        "system" => IdentityRef::System,
        id => IdentityRef::User(resource("--as", id)?),
    };
    let (hub, container) = (hub_id(&hub)?, resource("--container", &container)?);
    let session = Session::open().await?;
    if ArmReader::new(session.arm.clone()).hub(&hub).await?.is_none() {
        return Err(Usage(format!("--hub {hub}: there is no such hub")).into());
    }
    let request = JobRequest {
        id: Uuid::new_v4(),
        job,
        container,
        identity,
        through: through.into(),
        requested_by: session.arm.who().await?,
        requested_at: session.arm.clock().now(),
        keep: None,
    };
    let problems = request.problems();
    if !problems.is_empty() {
        return Err(Usage(problems.join("\n")).into());
    }
    let (id, word) = (request.id, request.job.word());
    session.bus(WORK_QUEUE)?.send(&WorkItem::for_job(hub.clone(), request, None)).await?;
    print(&format!("{id}\n"));
    super::remark(&format!("{word} of {} is asked for; its outcome is logged under this id", hub.name()));
    Ok(Ending::Fine)
}

async fn list(args: OfHub) -> anyhow::Result<Ending> {
    let hub = hub_id(&args.hub)?;
    let reader = ArmReader::new(Session::open().await?.arm);
    let document = reader.hub(&hub).await?.ok_or_else(|| anyhow::anyhow!("there is no hub {hub}"))?;
    for job in reader.jobs(&document, args.through.into()).await?.iter().filter(|job| job.is_bulk()) {
        let reason = job.failure_reason.as_deref().unwrap_or_default();
        let blob = job.shown.blob_name.as_deref().unwrap_or("-");
        print(&format!(
            "{}  {:6}  {:?}  {} %  {blob}  {reason}\n",
            job.id, job.kind, job.status, job.progress
        ));
    }
    Ok(Ending::Fine)
}

async fn cancel(args: CancelArgs) -> anyhow::Result<Ending> {
    let hub = hub_id(&args.hub.hub)?;
    let job = JobId::try_from(args.job).map_err(|error| Usage(format!("--job: {error}")))?;
    let writer = ArmWriter::new(Session::open().await?.arm);
    let document =
        writer.reader().hub(&hub).await?.ok_or_else(|| anyhow::anyhow!("there is no hub {hub}"))?;
    writer.cancel_job(&document, &job).await?;
    super::remark("the hub has taken the cancellation");
    Ok(Ending::Fine)
}
