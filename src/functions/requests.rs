//! Requests become work items, and work ends in outcomes.

use tracing::{info, warn};
use uuid::Uuid;

use super::App;
use crate::{
    desired::{Mistakes, Request},
    handler::{HandlerError, InvocationResponse, OutputMessage},
    outcomes::{
        Record, Word, id_of, id_of_request,
        parked::{MOST_TEXT, Parked},
    },
    telemetry,
    work::{Origin, WorkItem},
};

/// The output bindings, as in `function.json`.
const OUTCOMES: &str = "outcomes";
const FAILED: &str = "failed";

impl App {
    /// Takes a request in: what has no mistakes and is within the guardrails becomes work. Anything else
    /// is refused at once, and parked: to deliver it again would not make it better.
    pub(super) async fn request(&self, from: &str, text: &str) -> Result<InvocationResponse, HandlerError> {
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let now = self.arm.clock().now();
        let request = match state.request(text, now) {
            Ok(request) => request,
            Err(mistakes) => return self.not_understood(from, text, &mistakes).await,
        };
        if let Some(record) = self.ended(&request).await? {
            info!(hub.id = %request.hub, request.id = %request.id, "{request}: it has ended already ({})", record.outcome);
            let line = format!("{request}: it has ended already ({})", record.outcome);
            return Ok(InvocationResponse::new().log(line));
        }
        let item = WorkItem::for_request(&request, now, telemetry::trace_parent());
        if let Some(other) = self.key_is_taken(&request).await? {
            let cause =
                format!("the id `{}` belongs to another request ({other}); choose another", request.id);
            return self.finish(&item, Record::of(&item, Word::Refused, vec![cause], now)).await;
        }
        self.send(&item).await?;
        info!(hub.id = %request.hub, request.id = %request.id, "{request}: taken in");
        Ok(InvocationResponse::new().log(format!("{request}: taken in")))
    }

    /// Refuses what is no request that can be worked on.
    async fn not_understood(
        &self,
        from: &str,
        text: &str,
        mistakes: &Mistakes,
    ) -> Result<InvocationResponse, HandlerError> {
        let now = self.arm.clock().now();
        let causes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let outcome_id = id_of(text);
        warn!(causes = causes.len(), outcome.id = %outcome_id, "a request is refused: {}", causes.join("; "));
        let record = Record { received_at: Some(now), ..Record::new(outcome_id, Word::Refused, causes, now) };
        let record = self.hold(record).await?;
        let mut parked = parked(&record, from);
        if text.len() <= MOST_TEXT {
            parked.text = Some(text.to_owned());
        } else if let Some(store) = &self.store {
            parked.blob = Some(store.keep(outcome_id, text).await.map_err(HandlerError::transient)?);
        } else {
            parked.text = Some(text.chars().take(MOST_TEXT / 4).collect());
            parked
                .causes
                .push("the rest of the text is lost: HUBWARD_OUTCOMES names no container".to_owned());
        }
        let response = told(&record)?.send(FAILED, message(&parked)?);
        Ok(response.log(format!("a request is refused: {}", record.causes.join("; "))))
    }

    /// How a request has ended, if it has.
    pub(super) async fn ended(&self, request: &Request) -> Result<Option<Record>, HandlerError> {
        let Some(store) = &self.store else { return Ok(None) };
        let id = id_of_request(&request.id, request.digest());
        store.ended(id).await.map_err(HandlerError::transient)
    }

    /// The digest of another request with the same idempotency key.
    async fn key_is_taken(&self, request: &Request) -> Result<Option<Uuid>, HandlerError> {
        let Some(store) = &self.store else { return Ok(None) };
        let digest = request.digest();
        let holder = store.claim(&request.id, digest).await.map_err(HandlerError::transient)?;
        Ok((holder != digest).then_some(holder))
    }

    /// Ends work: writes its outcome down, tells it, and parks what did not end well.
    pub(super) async fn finish(
        &self,
        item: &WorkItem,
        record: Record,
    ) -> Result<InvocationResponse, HandlerError> {
        let record = if item.origin.is_some() { self.hold(record).await? } else { record };
        if let Some(store) = &self.store
            && let Err(error) = store.tell_of_hub(&item.hub, &record).await
        {
            warn!(hub.id = %item.hub, %error, "{}: its last outcome could not be written down", item.hub.name());
        }
        let mut response = told(&record)?;
        // A hub that no profile matches is no failure.
        if record.outcome == Word::Failed || (item.origin.is_some() && record.outcome.is_parked()) {
            let mut parked = parked(&record, "hub-work");
            parked.request = item.request.as_deref().cloned();
            response = response.send(FAILED, message(&parked)?);
        }
        let asked = item.origin.as_ref().map(|Origin { id, .. }| format!(" ({id})")).unwrap_or_default();
        Ok(response.log(format!("{}: {}{asked}", item.hub.name(), record.outcome)))
    }

    /// The outcome that holds: the first that was written down.
    async fn hold(&self, record: Record) -> Result<Record, HandlerError> {
        match &self.store {
            Some(store) => store.tell(&record).await.map_err(HandlerError::transient),
            None => Ok(record),
        }
    }
}

fn parked(record: &Record, from: &str) -> Parked {
    Parked {
        schema: "hubward/parked/v1".to_owned(),
        outcome_id: record.outcome_id,
        outcome: record.outcome,
        causes: record.as_message().causes,
        from: from.to_owned(),
        parked_at: record.ended_at,
        hub: record.hub.clone(),
        request: None,
        text: None,
        blob: None,
    }
}

fn told(record: &Record) -> Result<InvocationResponse, HandlerError> {
    Ok(InvocationResponse::new().send(OUTCOMES, message(&record.as_message())?))
}

fn message(value: &impl serde::Serialize) -> Result<OutputMessage, HandlerError> {
    OutputMessage::json(value).map_err(HandlerError::permanent)
}
