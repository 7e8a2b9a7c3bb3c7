//! `hubward apply`: brings hubs to what their profiles say, from here and with your own sign-in.

use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    Ending,
    azure::{HubArgs, Session},
    print, remark, request,
};
use crate::{
    arm::ArmWriter,
    outcomes::{Record, id_of, of_look},
    reconcile::{Aim, Chain, NotFound, Outcome, Reconciler},
};

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    hubs: HubArgs,
    /// Longest time to wait for each hub, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
    /// One JSON document a hub instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ApplyArgs) -> anyhow::Result<Ending> {
    let session = Session::open().await?;
    let all = args.hubs.hubs.is_empty();
    let reconciler = Reconciler::new(ArmWriter::new(session.arm.clone()));
    let mut worst = Ending::Fine;
    for hub in session.hubs(&args.hubs).await? {
        let until = Instant::now() + Duration::from_secs(args.timeout);
        let mut chain = Chain::default();
        let report = loop {
            let aim = Aim::profile(&session.state);
            let report = reconciler.reconcile(aim, &hub, NotFound::Final, &chain).await;
            let Outcome::Waiting { cause, until: due, .. } = &report.outcome else { break report };
            let now: OffsetDateTime = session.arm.clock().now();
            let pause = Duration::try_from(*due - now).unwrap_or_default();
            if Instant::now() + pause > until {
                break report;
            }
            remark(&format!("{}: waiting for {cause}", hub.name()));
            tokio::time::sleep(pause).await;
            chain = report.chain;
        };
        let (word, causes) = of_look(&report.outcome);
        let now = session.arm.clock().now();
        let record = Record {
            hub: Some(hub.as_str().to_owned()),
            ..Record::new(id_of(hub.key()), word, causes, now).with_report(&report)
        };
        print(&request::shown(&record, args.json)?);
        // A hub that no profile asks for is left alone; only one that was named is a refusal.
        let is_left_alone =
            all && matches!(report.outcome, Outcome::Refused { .. }) && report.profile.is_none();
        if !is_left_alone {
            worst = worst.max(request::ending(word));
        }
    }
    Ok(worst)
}
