//! Long-running operations: polled from one second with back-off, at the service's pace if it says one.
//!
//! The write of a hub is followed by reading the hub: it says itself when it is at rest again, and that
//! answer is needed anyway. Its operation is asked only when the hub is at rest and does not show the
//! write, which is how a failure looks from outside. Everything else is followed by its operation.
//!
//! The back-off is steep on purpose. Recorded updates of a hub took thirty to thirty-one seconds,
//! every one of them: the third poll comes at the thirty-first, and polls before it tell nothing.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    client::{Answer, ArmClient, Call},
    error::{ArmError, Refusal},
    resources::ArmWriter,
};
use crate::model::{
    IotHubId,
    hub::{HubDocument, PutBody, Rest},
};

/// Pauses before the first polls; after them, [`LATER`].
const FIRST: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// Pause before each poll after the first ones.
const LATER: Duration = Duration::from_secs(15);
/// Shortest and longest pause that a service may ask for.
const ASKED: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Longest time one invocation follows an operation. Updates of a hub take half a minute to two;
/// a longer one is looked at again by a scheduled message, from the hub's own state.
const PATIENCE: Duration = Duration::from_secs(150);

impl ArmClient {
    /// Follows the operation that a write has started until it ends well, ends badly, or takes
    /// longer than an invocation should wait.
    pub(super) async fn finish(&self, label: &'static str, accepted: Answer) -> Result<(), ArmError> {
        let Some(link) = accepted.operation else { return Ok(()) };
        let mut pace = Pace::new(label);
        let mut asked = accepted.retry_after;
        loop {
            pace.wait(self, asked).await?;
            let answer = self.poll(label, &link).await?;
            match Progress::of(label, &answer)? {
                Progress::Succeeded => return Ok(()),
                Progress::Running => {}
            }
            asked = answer.retry_after;
        }
    }

    async fn poll(&self, label: &'static str, link: &str) -> Result<Answer, ArmError> {
        self.send(Call::get("GET operation", self.own_link(label, link)?)).await
    }
}

impl ArmWriter {
    /// Follows the write of a hub until the hub is at rest and shows it, and gives the hub as it is
    /// then. A new etag alone proves nothing: somebody else may have written while ours failed.
    pub(super) async fn settle(
        &self,
        label: &'static str,
        id: &IotHubId,
        sent: &PutBody,
        accepted: Answer,
    ) -> Result<HubDocument, ArmError> {
        let mut pace = Pace::new(label);
        loop {
            pace.wait(self.client(), accepted.retry_after).await?;
            // "Not found" passes: a hub can be unreadable for a while after a write.
            let Some(hub) = self.reader().hub_as(POLL, id).await? else { continue };
            let is_new = hub.etag().is_some() && hub.etag() != sent.etag.as_deref();
            match hub.rest() {
                Rest::Busy => {}
                Rest::Good if is_new && sent.is_shown_by(&hub) => return Ok(hub),
                Rest::Good | Rest::Bad => {
                    let Some(link) = &accepted.operation else { return Ok(hub) };
                    let answer = self.client().poll(label, link).await?;
                    if let Progress::Succeeded = Progress::of(label, &answer)?
                        && (is_new || hub.etag().is_none() || hub.rest() == Rest::Bad)
                    {
                        return Ok(hub);
                    }
                }
            }
        }
    }
}

/// The pauses before polls, until an invocation should wait no longer.
struct Pace {
    label: &'static str,
    started: Instant,
    pauses: std::array::IntoIter<Duration, 3>,
}

impl Pace {
    fn new(label: &'static str) -> Self {
        Self { label, started: Instant::now(), pauses: FIRST.into_iter() }
    }

    /// Waits for the next poll: as long as the service asks for, or else as long as is usual.
    async fn wait(&mut self, client: &ArmClient, asked: Option<Duration>) -> Result<(), ArmError> {
        if self.started.elapsed() > PATIENCE {
            return Err(ArmError::OutOfTime(self.label.to_owned()));
        }
        let usual = self.pauses.next().unwrap_or(LATER);
        client.pause(asked.map_or(usual, |asked| asked.clamp(ASKED.0, ASKED.1)), self.label).await
    }
}

/// Named apart from other reads of a hub, so that polls can be counted.
const POLL: &str = "GET hub (poll)";

enum Progress {
    Running,
    Succeeded,
}

impl Progress {
    /// Reads a poll's answer. A failed operation is an error with the inner code.
    fn of(label: &'static str, answer: &Answer) -> Result<Self, ArmError> {
        // The older `Location` style: 202 while running, 200 or 204 at the end.
        if answer.status == 202 {
            return Ok(Self::Running);
        }
        if answer.status == 204 || answer.body.is_empty() {
            return Ok(Self::Succeeded);
        }
        let json = answer.json("GET operation")?;
        match json.get("status").and_then(Value::as_str).unwrap_or("Succeeded") {
            word if word.eq_ignore_ascii_case("Succeeded") => Ok(Self::Succeeded),
            word if ["Failed", "Canceled", "Cancelled"].iter().any(|end| word.eq_ignore_ascii_case(end)) => {
                let mut refusal = Refusal::parse(label, answer.status, &answer.body);
                refusal.later = true;
                refusal.request_id.clone_from(&answer.request_id);
                if refusal.code == format!("HTTP {}", answer.status) {
                    refusal.code = word.to_owned();
                }
                Err(ArmError::Refused(Box::new(refusal)))
            }
            _ => Ok(Self::Running),
        }
    }
}
