//! `hubward doctor`: what we may do, what is missing, and what grants it. Changes nothing.

use clap::Args;

use super::{Ending, azure::Session, print};
use crate::{
    arm::ArmReader,
    rights::{Verdict, check},
};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DoctorArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    let checkup = check(&ArmReader::new(session.arm), &session.state).await?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&checkup)?));
    } else {
        print(&checkup.to_string());
    }
    Ok(match checkup.verdict {
        Verdict::Fine => Ending::Fine,
        Verdict::Missing => Ending::Refused,
        Verdict::Unknown => Ending::Unknown,
    })
}
