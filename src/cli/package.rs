//! `hubward package`: stages and zips what is deployed. Also finds or builds the handler for the
//! local cloud.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::{Ending, HandlerArgs, print, remark};
use crate::{
    config::{self, ProcessEnvironment},
    package,
};

#[derive(Debug, Args)]
pub(super) struct PackageArgs {
    /// Where to stage.
    #[arg(long, default_value = "dist", value_name = "FOLDER")]
    out: PathBuf,
    /// The target to build for, such as x86_64-unknown-linux-musl (static: runs on every plan).
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    #[command(flatten)]
    handler: HandlerArgs,
}

pub(super) async fn run(args: PackageArgs) -> anyhow::Result<Ending> {
    let handler = match args.handler.handler {
        Some(given) => given,
        None => build(Profile::Dist, args.target.as_deref()).await?,
    };
    package::stage(&args.out, &handler).with_context(|| format!("cannot stage {}", args.out.display()))?;
    let zip = package::zip(&args.out).context("cannot write the zip")?;
    print(&format!("{}\n{}\n", args.out.display(), zip.display()));
    remark("try it: func start --script-root dist · deploy it: az functionapp deployment source config-zip");
    Ok(Ending::Fine)
}

/// The handler for the local cloud: the one given, one built from this checkout when cargo runs us
/// (so that it is never older than we are), or the one that was installed beside us.
pub(super) async fn handler(args: &HandlerArgs) -> anyhow::Result<PathBuf> {
    if let Some(given) = &args.handler {
        return Ok(given.clone());
    }
    if config::cargo(&ProcessEnvironment).is_some() {
        return build(Profile::AsOurselves, None).await;
    }
    let beside = std::env::current_exe()?.with_file_name(package::HANDLER);
    if !beside.exists() {
        bail!("{} is not there; install it beside hubward or give --handler", beside.display());
    }
    Ok(beside)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// The small and slow-to-build one that is shipped.
    Dist,
    /// The one this program was built with.
    AsOurselves,
}

async fn build(profile: Profile, target: Option<&str>) -> anyhow::Result<PathBuf> {
    let cargo = config::cargo(&ProcessEnvironment).unwrap_or_else(|| "cargo".into());
    let own = std::env::current_exe()?;
    let folder = own.parent().context("this program lies nowhere")?;
    let target_dir = folder.parent().context("this program lies at the root")?;
    let (name, folder_name) = match (profile, folder.file_name().and_then(|name| name.to_str())) {
        (Profile::Dist, _) => ("dist", "dist"),
        (Profile::AsOurselves, Some("debug") | None) => ("dev", "debug"),
        (Profile::AsOurselves, Some(name)) => (name, name),
    };
    remark(&format!("building {} (profile {name})", package::HANDLER));
    let mut command = tokio::process::Command::new(cargo);
    command.args(["build", "--quiet", "--bin", package::HANDLER, "--profile", name, "--manifest-path"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    command.arg("--target-dir").arg(target_dir);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    let status =
        command.status().await.context("cannot run cargo; give the handler's binary with --handler")?;
    if !status.success() {
        bail!("the handler could not be built");
    }
    Ok(target_dir.join(target.unwrap_or_default()).join(folder_name).join(package::HANDLER))
}
