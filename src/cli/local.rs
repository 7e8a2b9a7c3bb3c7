//! `hubward local`: the local cloud, until it is stopped.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use azure_core::{credentials::Secret, http::Url};
use clap::Args;
use tempfile::TempDir;

use super::{Ending, HandlerArgs, Usage, package, print, remark};
use crate::{
    connect, desired,
    local::{
        azure::{Settings, World},
        azurite,
        cloud::{EVENT_QUEUE, LocalCloud, LocalOptions},
        functions_host::LogLine,
    },
    package as layout,
    queue::QueueService,
};

/// How the local cloud shall be; the same for `local` and `demo`.
#[derive(Debug, Args)]
pub(super) struct CloudArgs {
    /// How many times faster than real time Azure's clock runs, 1 to 200.
    #[arg(long, global = true, default_value_t = 60.0, value_name = "N", value_parser = speed)]
    speed: f64,
    /// Seed of everything random in the simulated Azure.
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The desired state, instead of the sample.
    #[arg(long, value_name = "FILE")]
    profiles: Option<PathBuf>,
    /// Write all that is said to Resource Manager and by it to this file, without secrets: a line of JSON for
    /// each exchange, as Microsoft's validator oav takes it.
    #[arg(long, global = true, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    handler: HandlerArgs,
}

#[derive(Debug, Args)]
pub(super) struct LocalArgs {
    #[command(flatten)]
    cloud: CloudArgs,
    /// One line of JSON with the addresses, instead of text.
    #[arg(long)]
    json: bool,
    /// The resources to start with (JSON), instead of a small sample.
    #[arg(long, value_name = "FILE")]
    world: Option<PathBuf>,
    /// Serve Resource Manager over https too, with this certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A real queue service for the storage queues, instead of the embedded one: its URL with an account
    /// SAS. Azurite's own account, such as http://127.0.0.1:10001/devstoreaccount1, needs no SAS. Queues
    /// then run in real time, whatever --speed says.
    #[arg(long, value_name = "URL", value_parser = secret)]
    storage: Option<Secret>,
    /// The handler's log filter.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
}

/// Above this, the waits of the handler, which lives in real time, decide instead of Azure's.
const FASTEST: f64 = 200.0;

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (1.0..=FASTEST).contains(&speed) => Ok(speed),
        _ => Err(format!("write a number from 1 to {FASTEST}")),
    }
}

/// Takes anything, so that no complaint about an argument quotes a signature.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

/// The queue service that `--storage` names.
fn storage(url: &Secret) -> anyhow::Result<QueueService> {
    let wrong = |cause: &dyn std::fmt::Display| Usage(format!("--storage: {cause}"));
    let url = Url::parse(url.secret()).map_err(|error| wrong(&format!("not a URL ({error})")))?;
    let opened = azurite::open(url, Arc::new(connect::http_client()?))?;
    Ok(opened.map_err(|error| wrong(&error))?)
}

/// A local cloud in a folder of its own, which goes when it goes.
pub(super) struct Staged {
    pub(super) cloud: LocalCloud,
    _folder: TempDir,
}

pub(super) async fn start(
    args: &CloudArgs,
    world: World,
    profiles: Option<&str>,
    tls: Option<(PathBuf, PathBuf)>,
    storage: Option<QueueService>,
    log_filter: &str,
    log: impl Fn(&LogLine) + Send + Sync + 'static,
) -> anyhow::Result<Staged> {
    let handler = package::handler(&args.handler).await?;
    let folder = tempfile::tempdir().context("no folder for temporary files")?;
    let script_root = folder.path().join("dist");
    layout::stage(&script_root, &handler).context("cannot stage the functions")?;
    // Demos, which bring their profiles along, count calls.
    let resync = profiles.is_none();
    let profiles = match &args.profiles {
        Some(given) => std::path::absolute(given)?,
        None => {
            let sample = folder.path().join("profiles.yaml");
            std::fs::write(&sample, profiles.unwrap_or(desired::sample()))?;
            sample
        }
    };
    let options = LocalOptions {
        script_root,
        profiles,
        azure: Settings { seed: args.seed, ..Settings::default() },
        world,
        speed: args.speed,
        log_filter: log_filter.to_owned(),
        log: Some(Arc::new(log)),
        tls,
        storage,
        resync,
        record: args.record.clone(),
    };
    Ok(Staged { cloud: LocalCloud::start(options).await?, _folder: folder })
}

pub(super) async fn run(args: LocalArgs) -> anyhow::Result<Ending> {
    let world = match &args.world {
        None => World::sample(),
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            World::parse(&text).map_err(|error| Usage(format!("{}: {error}", path.display())))?
        }
    };
    let tls = args.tls_cert.zip(args.tls_key);
    let storage = args.storage.as_ref().map(storage).transpose()?;
    let queues = storage.as_ref().map(|service| service.address().to_owned());
    let staged = start(&args.cloud, world, None, tls, storage, &args.log, |line| remark(&line.text)).await?;
    if !staged.cloud.host.wait_ready().await {
        anyhow::bail!("the handler did not start; its log is above");
    }
    if args.json {
        print(&format!("{}\n", staged.cloud.addresses.to_json()));
    } else {
        print(&announcement(&staged.cloud, queues.as_deref()));
    }
    stopped().await?;
    staged.cloud.host.shutdown().await;
    Ok(Ending::Fine)
}

/// Waits for Ctrl-C, or for being asked to end: the handler must not outlive us.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

fn announcement(cloud: &LocalCloud, queues: Option<&str>) -> String {
    let addresses = &cloud.addresses;
    let queues =
        queues.map(|address| format!("Storage queues    {address} (the trigger's: {EVENT_QUEUE})\n"));
    let mut text = format!(
        "Resource Manager  {}\nIdentity          {}\nService Bus       {}\nFunctions host    {}\nHubs and storage  {}\n{}\n\
         The state of the simulated Azure: {}/_sim/state\n\nFor other programs:\n",
        addresses.arm,
        addresses.identity,
        addresses.bus,
        addresses.functions,
        addresses.data,
        queues.unwrap_or_default(),
        addresses.arm
    );
    for (name, value) in cloud.client_settings() {
        text.push_str(&format!("export {name}='{value}'\n"));
    }
    text.push_str("\nCtrl-C ends it.\n");
    text
}
