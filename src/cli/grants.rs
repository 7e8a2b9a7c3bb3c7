//! `hubward grants audit`: which roles are too much, and what would do instead; with `--orphans`, which roles are left
//! of hubs that are gone. Changes nothing without `--fix`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Ending, Usage,
    azure::{HubArgs, Session},
    print, remark,
};
use crate::{
    arm::{ArmReader, ArmWriter},
    audit::{Finding, audit},
    desired::Choice,
    model::{IotHubId, ResourceId, desired::IdentityRef},
    offboard,
};

#[derive(Debug, Args)]
pub(super) struct GrantsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show roles that are too wide, too broad or unused, and what would do instead; or those that are left behind.
    Audit(AuditArgs),
}

#[derive(Debug, Args)]
struct AuditArgs {
    #[command(flatten)]
    hubs: HubArgs,
    /// Instead, look for our roles that no hub can use any more ("identity not found"), in all of the guardrails'
    /// targets.
    #[arg(long, conflicts_with = "hubs")]
    orphans: bool,
    /// Take those roles away.
    #[arg(long, requires = "orphans")]
    fix: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// One role that is left behind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Orphan {
    hub: IotHubId,
    identity: IdentityRef,
    role: String,
    scope: ResourceId,
    principal: String,
    assignment: String,
    command: String,
    /// `left`, `takenAway` or `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    orphans: Vec<Orphan>,
    kept: Vec<String>,
    unread: Vec<String>,
    warnings: Vec<String>,
}

pub(super) async fn run(args: GrantsArgs) -> anyhow::Result<Ending> {
    let What::Audit(args) = args.what;
    let session = Session::open().await?;
    if args.orphans {
        return look_for_orphans(session, args.fix, args.json).await;
    }
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

async fn look_for_orphans(session: Session, fix: bool, json: bool) -> anyhow::Result<Ending> {
    let (arm, state) = (ArmWriter::new(session.arm), session.state);
    let found = offboard::orphans(arm.reader(), &state).await?;
    if fix && state.guardrails().max_hubs_changed == 0 {
        return Err(Usage("guardrails.maxHubsChanged is 0, so nothing may be changed".to_owned()).into());
    }
    let mut told = Told {
        orphans: Vec::new(),
        kept: found.kept.iter().map(offboard::kept_line).collect(),
        unread: found.unread,
        warnings: found.warnings,
    };
    for leftover in found.leftovers {
        let (outcome, cause) = match fix {
            false => ("left", None),
            true => match offboard::take_away(&arm, &leftover).await {
                Ok(()) => ("takenAway", None),
                Err(error) => ("failed", Some(error.explained())),
            },
        };
        let orphan = Orphan {
            command: leftover.command(),
            hub: leftover.hub,
            identity: leftover.identity,
            role: leftover.role.to_string(),
            scope: leftover.grant.scope,
            principal: leftover.grant.principal,
            assignment: leftover.grant.id,
            outcome,
            cause,
        };
        if !json {
            print(&orphan_text(&orphan));
        }
        told.orphans.push(orphan);
    }
    let is_failed = told.orphans.iter().any(|orphan| orphan.outcome == "failed");
    if json {
        print(&format!("{}\n", serde_json::to_string(&told)?));
    } else {
        if told.orphans.is_empty() {
            print("no role is left behind\n");
        }
        for line in told.kept.iter().chain(&told.unread).chain(&told.warnings) {
            remark(line);
        }
    }
    Ok(match (is_failed, told.unread.is_empty()) {
        (true, _) => Ending::Failed,
        (false, false) => Ending::Unknown,
        (false, true) => Ending::Fine,
    })
}

fn orphan_text(orphan: &Orphan) -> String {
    let Orphan { hub, identity, role, scope, principal, command, outcome, cause, .. } = orphan;
    let what = format!("{}: {principal}, once its {identity}, holds {role} on {scope}\n", hub.name());
    match (*outcome, cause) {
        ("takenAway", _) => format!("{what}  taken away\n"),
        (_, Some(cause)) => format!("{what}  could not be taken away: {cause}\n  {command}\n"),
        _ => format!("{what}  {command}\n"),
    }
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
