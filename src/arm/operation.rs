//! Long-running operations: polled from one second with back-off, at the service's pace if it says one.
//!
//! The back-off is steep on purpose. Recorded updates of a hub took thirty to thirty-one seconds,
//! every one of them: the third poll comes at the thirty-first, and polls before it tell nothing.

use std::time::Duration;

use azure_core::http::Method;
use serde_json::Value;

use super::{
    client::{Answer, ArmClient, Call, Repeat},
    error::{ArmError, Refusal},
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
        let started = tokio::time::Instant::now();
        let mut asked = accepted.retry_after;
        for pause in FIRST.into_iter().chain(std::iter::repeat(LATER)) {
            if started.elapsed() > PATIENCE {
                return Err(ArmError::OutOfTime(label.to_owned()));
            }
            let pause = asked.map_or(pause, |asked| asked.clamp(ASKED.0, ASKED.1));
            self.pause(pause, label).await?;
            let url = self.own_link(label, &link)?;
            let call = Call {
                label: "GET operation",
                method: Method::Get,
                url,
                if_match: None,
                body: None,
                repeat: Repeat::Safe,
            };
            let answer = self.send(call).await?;
            match Progress::of(label, &answer)? {
                Progress::Succeeded => return Ok(()),
                Progress::Running => {}
            }
            asked = answer.retry_after;
        }
        Err(ArmError::OutOfTime(label.to_owned()))
    }
}

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
