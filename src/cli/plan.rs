//! `hubward plan`: what would change. Handed a reader, so that it cannot write.

use clap::Args;
use serde_json::json;

use super::{
    Ending,
    azure::{HubArgs, Session},
    print,
};
use crate::{
    arm::ArmReader,
    reconcile::{Outcome, plan_hub},
};

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    hubs: HubArgs,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: PlanArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    let hubs = session.hubs(&args.hubs).await?;
    let (arm, state) = (ArmReader::new(session.arm), session.state);
    let all = args.hubs.hubs.is_empty();

    let mut ending = Ending::Fine;
    let mut documents = Vec::new();
    for hub in hubs {
        let planned = plan_hub(&arm, &state, &hub).await;
        match &planned {
            Ok(plan) if !plan.blocked.is_empty() => ending = Ending::Refused,
            Ok(_) => {}
            // A hub that no profile asks for is left alone; only one that was named is a refusal.
            Err(Outcome::Refused { .. }) if all => {}
            Err(Outcome::Refused { .. }) => ending = Ending::Refused,
            Err(outcome @ (Outcome::Failed { .. } | Outcome::Waiting { .. })) => {
                anyhow::bail!("{}: {}", hub.name(), describe(outcome))
            }
            Err(_) => {}
        }
        match planned {
            Ok(plan) if args.json => documents.push(serde_json::to_value(&plan)?),
            Ok(plan) => print(&plan.to_string()),
            Err(outcome) if args.json => documents.push(json!({"hub": hub, "outcome": outcome})),
            Err(outcome) => print(&format!("{}\n  {}\n", hub.name(), describe(&outcome))),
        }
    }
    if args.json {
        print(&format!("{}\n", serde_json::to_string(&documents)?));
    }
    Ok(ending)
}

pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { causes } => format!("left as it is: {}", causes.join("; ")),
        Outcome::Blocked { causes } => format!("blocked: {}", causes.join("; ")),
        Outcome::Failed { cause } | Outcome::Planned { cause, .. } => cause.clone(),
        Outcome::Waiting { cause, .. } => format!("waiting for {cause}"),
        Outcome::InSync | Outcome::Changed => "in sync".to_owned(),
    }
}
