//! `hubward grants audit`: which roles are too much, and what would do instead. Changes nothing.

use clap::{Args, Subcommand};

use super::{
    Ending,
    azure::{HubArgs, Session},
    print,
};
use crate::{
    arm::ArmReader,
    audit::{Finding, audit},
    desired::Choice,
};

#[derive(Debug, Args)]
pub(super) struct GrantsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show roles that are too wide, too broad or unused, and what would do instead.
    Audit(AuditArgs),
}

#[derive(Debug, Args)]
struct AuditArgs {
    #[command(flatten)]
    hubs: HubArgs,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: GrantsArgs) -> anyhow::Result<Ending> {
    let What::Audit(args) = args.what;
    let session = Session::open().await?;
    let hubs = session.hubs(&args.hubs).await?;
    let (arm, state) = (ArmReader::new(session.arm), session.state);
    let mut findings = Vec::new();
    for id in hubs {
        let Some(hub) = arm.hub(&id).await? else { anyhow::bail!("there is no hub {id}") };
        let desired = match state.for_document(&hub) {
            Choice::Desired(desired) => Some(desired),
            _ => None,
        };
        findings.extend(audit(&arm, &hub, desired.as_ref(), state.guardrails()).await?);
    }
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&findings)?));
    } else {
        print(&text(&findings));
    }
    Ok(Ending::Fine)
}

fn text(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "every role is as small as it can be\n".to_owned();
    }
    let mut text = String::new();
    for finding in findings {
        let Finding { hub, identity, role, scope, assignment, excess } = finding;
        text.push_str(&format!("{}: the {identity} holds {role} on {scope}\n  {excess}\n", hub.name()));
        text.push_str(&format!("  az role assignment delete --ids {assignment}\n"));
    }
    text
}
