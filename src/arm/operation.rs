//! Long-running operations: polled from one second with back-off, at the service's pace if it says one.

use std::time::Duration;

use azure_core::http::Method;
use serde_json::Value;

use super::{
    client::{Answer, ArmClient, Call, Repeat},
    error::{ArmError, Refusal},
};

/// First pause before a poll.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause between polls.
const LONGEST: Duration = Duration::from_secs(15);
/// Longest time one invocation follows an operation. Updates of a hub take half a minute to two;
/// a longer one is looked at again by a scheduled message, from the hub's own state.
const PATIENCE: Duration = Duration::from_secs(150);

impl ArmClient {
    /// Follows the operation that a write has started until it ends well, ends badly, or takes
    /// longer than an invocation should wait.
    pub(super) async fn finish(&self, label: &'static str, accepted: Answer) -> Result<(), ArmError> {
        let Some(link) = accepted.operation else { return Ok(()) };
        let started = tokio::time::Instant::now();
        let mut pause = FIRST;
        let mut asked = accepted.retry_after;
        loop {
            if started.elapsed() > PATIENCE {
                return Err(ArmError::OutOfTime(label.to_owned()));
            }
            self.pause(asked.unwrap_or(pause).clamp(FIRST, LONGEST), label).await?;
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
            pause = (pause * 2).min(LONGEST);
        }
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
