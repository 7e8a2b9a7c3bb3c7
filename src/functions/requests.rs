//! Requests become work items, and work ends in outcomes.

use tracing::{info, warn};
use uuid::Uuid;

use super::App;
use crate::{
    desired::{Mistakes, Request},
    handler::{HandlerError, InvocationResponse, OutputMessage},
    outcomes::{
        Record, Word, id_of, id_of_request,
        parked::{MOST_PARKED, Parked},
        store::tell_of_hub,
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
    /// `again` says that somebody may have begun with it already.
    pub(super) async fn request(
        &self,
        from: &str,
        text: &str,
        again: bool,
    ) -> Result<InvocationResponse, HandlerError> {
        let state = self.profiles.current().await.map_err(HandlerError::transient)?;
        let now = self.arm.clock().now();
        let request = match state.request(text, now) {
            Ok(request) => request,
            Err(mistakes) => return self.not_understood(from, text, &mistakes).await,
        };
        let item = WorkItem::for_request(&request, now, telemetry::trace_parent());
        if let Some(record) = self.ended(&Origin::of(&request)).await? {
            if again {
                // Whoever refused it may have been killed before that was told.
                return self.finish(&item, record).await;
            }
            info!(hub.id = %request.hub, request.id = %request.id, "{request}: it has ended already ({})", record.outcome);
            let line = format!("{request}: it has ended already ({})", record.outcome);
            return Ok(InvocationResponse::new().log(line));
        }
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
        let parked = Parked { text: Some(text.to_owned()), ..parked(&record, from) };
        let parked = self.fitting(parked).await?;
        let response = told(&record)?.send(FAILED, message(&parked)?);
        Ok(response.log(format!("a request is refused: {}", record.causes.join("; "))))
    }

    /// How the request that this names has ended, if it has.
    pub(super) async fn ended(&self, origin: &Origin) -> Result<Option<Record>, HandlerError> {
        let Some(store) = &self.store else { return Ok(None) };
        let id = id_of_request(&origin.id, origin.digest);
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
            && let Err(error) = tell_of_hub(store.as_ref(), &item.hub, record.clone()).await
        {
            warn!(hub.id = %item.hub, %error, "{}: its last outcome could not be written down", item.hub.name());
        }
        let mut response = told(&record)?;
        // A hub that no profile matches is no failure.
        if record.outcome == Word::Failed || (item.origin.is_some() && record.outcome.is_parked()) {
            let mut parked = parked(&record, "hub-work");
            parked.request = item.request.as_deref().cloned();
            let parked = self.fitting(parked).await?;
            response = response.send(FAILED, message(&parked)?);
        }
        let asked = item.origin.as_ref().map(|Origin { id, .. }| format!(" ({id})")).unwrap_or_default();
        Ok(response.log(format!("{}: {}{asked}", item.hub.name(), record.outcome)))
    }

    /// Tells that a run over the fleet was stopped, and parks it, for somebody to see to.
    pub(super) async fn stopped(&self, record: Record) -> Result<InvocationResponse, HandlerError> {
        let parked = self.fitting(parked(&record, "Resync")).await?;
        Ok(told(&record)?.send(FAILED, message(&parked)?))
    }

    /// What is parked, as a message that the queue takes: what is too long for it lies in a blob.
    async fn fitting(&self, mut parked: Parked) -> Result<Parked, HandlerError> {
        let length = |parked: &Parked| serde_json::to_string(parked).map_or(usize::MAX, |text| text.len());
        if length(&parked) <= MOST_PARKED {
            return Ok(parked);
        }
        parked.causes.truncate(10);
        for cause in &mut parked.causes {
            *cause = cause.chars().take(400).collect();
        }
        let request = parked.request.take().map(|request| request.to_string());
        let long = parked.text.take().or(request).filter(|text| !text.is_empty());
        match (&self.store, long) {
            (Some(store), Some(text)) => {
                let kept = store.keep(parked.outcome_id, &text).await;
                parked.blob = Some(kept.map_err(HandlerError::transient)?);
            }
            (None, Some(_)) => {
                let lost = "what came in is too long for a message, and HUBWARD_OUTCOMES names no container";
                parked.causes.push(lost.to_owned());
            }
            _ => {}
        }
        Ok(parked)
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
