//! `hubward plan`: what would change. Handed a reader, so that it cannot write.

use std::sync::Arc;

use anyhow::Context;
use azure_core::http::HttpClient;
use clap::Args;
use serde_json::json;

use super::{Ending, Usage, print, remark};
use crate::{
    arm::ArmReader,
    config::{AzureSettings, ProcessEnvironment},
    connect,
    model::IotHubId,
    profiles::Profiles,
    reconcile::{Outcome, plan_hub},
};

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Only these hubs, by resource id; without it, all hubs of the guardrails' subscriptions.
    #[arg(long = "hub", value_name = "ID")]
    hubs: Vec<String>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: PlanArgs) -> anyhow::Result<Ending> {
    let settings =
        AzureSettings::read(&ProcessEnvironment).map_err(|mistakes| Usage(mistakes.to_string()))?;
    let transport: Arc<dyn HttpClient> = Arc::new(connect::http_client()?);
    let credential =
        connect::credential(&settings, transport.clone()).context("no credential; sign in with az login")?;
    let profiles = Profiles::new(settings.profiles.clone(), credential.clone(), transport.clone());
    let state = profiles.load().await.map_err(|error| Usage(error.to_string()))?;
    let arm = ArmReader::new(connect::arm_client(&settings, credential, transport));

    let hubs = match args.hubs.as_slice() {
        [] => {
            let mut found = Vec::new();
            for subscription in &state.guardrails().subscriptions {
                found.extend(arm.hubs(subscription).await?.into_iter().map(|hub| hub.id().clone()));
            }
            found.sort();
            found
        }
        given => given
            .iter()
            .map(|text| IotHubId::parse(text).map_err(|error| Usage(format!("--hub {text}: {error}"))))
            .collect::<Result<_, _>>()?,
    };
    if hubs.is_empty() {
        remark("no hubs in the subscriptions of the guardrails");
    }

    let mut ending = Ending::Fine;
    let mut documents = Vec::new();
    for hub in hubs {
        let planned = plan_hub(&arm, &state, &hub).await;
        match &planned {
            Ok(plan) if !plan.blocked.is_empty() => ending = Ending::Refused,
            Ok(_) => {}
            // A hub that no profile asks for is left alone; only one that was named is a refusal.
            Err(Outcome::Refused { .. }) if args.hubs.is_empty() => {}
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

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused { causes } => format!("left as it is: {}", causes.join("; ")),
        Outcome::Blocked { causes } => format!("blocked: {}", causes.join("; ")),
        Outcome::Failed { cause } => cause.clone(),
        Outcome::Waiting { cause, .. } => format!("waiting for {cause}"),
        Outcome::InSync | Outcome::Changed => "in sync".to_owned(),
    }
}
