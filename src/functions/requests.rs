//! Requests become work items, and work ends in outcomes.

use tracing::{error, info, warn};

use super::{App, work::PAUSE};
use crate::{
    blobs::BlobError,
    desired::{Mistakes, Request},
    handler::{HandlerError, InvocationResponse, OutputMessage},
    outcomes::{
        Record, Word, id_of, id_of_request,
        parked::{MOST_PARKED, Parked},
        store::LastOfHub,
    },
    reconcile::Chain,
    telemetry::{self, metrics},
    work::{Origin, WorkItem},
};

/// The output bindings, as in `function.json`.
pub(super) const OUTCOMES: &str = "outcomes";
const FAILED: &str = "failed";
/// What an operator has to know when outcomes cannot be kept.
const STORE_AWAY: &str = "the container that HUBWARD_OUTCOMES names cannot be used; work goes on as soon as it can: see \
                          that it exists and that Hubward may write blobs there";

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
        match self.known(&request).await {
            Ok(Known::Ended(record)) if again => {
                // Whoever refused it may have been killed before that was told.
                return self.finish(&item, *record).await;
            }
            Ok(Known::Ended(record)) => {
                info!(hub.id = %request.hub, request.id = %request.id, "{request}: it has ended already ({})", record.outcome);
                let line = format!("{request}: it has ended already ({})", record.outcome);
                return Ok(InvocationResponse::new().log(line));
            }
            Ok(Known::KeyTaken(cause)) => {
                return self.finish(&item, Record::of(&item, Word::Refused, vec![cause], now)).await;
            }
            Ok(Known::New) => {}
            // It is looked for again before anything is done.
            Err(error) => {
                warn!(hub.id = %request.hub, request.id = %request.id, %error, "{request}: {STORE_AWAY}");
            }
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
        let record = match self.hold(&record).await {
            Ok(holds) => holds,
            Err(error) => {
                warn!(outcome.id = %outcome_id, %error, "{STORE_AWAY}");
                record
            }
        };
        let parked = Parked { text: Some(text.to_owned()), ..parked(&record, from) };
        // What is too long for a message has to lie somewhere before it may leave the queue.
        let parked = self.fitting(parked).await.map_err(HandlerError::transient)?;
        metrics::outcome(record.outcome.name(), None);
        let response = told(&record)?.send(FAILED, message(&parked)?);
        Ok(response.log(format!("a request is refused: {}", record.causes.join("; "))))
    }

    /// How the request that this names has ended, if it has.
    pub(super) async fn ended(&self, origin: &Origin) -> Result<Option<Record>, BlobError> {
        let Some(store) = &self.store else { return Ok(None) };
        store.ended(id_of_request(&origin.id, origin.digest)).await
    }

    /// What is known of a request. Its idempotency key is taken for it, unless another one has it.
    pub(super) async fn known(&self, request: &Request) -> Result<Known, BlobError> {
        let Some(store) = &self.store else { return Ok(Known::New) };
        if let Some(record) = self.ended(&Origin::of(request)).await? {
            return Ok(Known::Ended(Box::new(record)));
        }
        let digest = request.digest();
        let holder = store.claim(&request.id, digest).await?;
        if holder == digest {
            return Ok(Known::New);
        }
        let id = &request.id;
        Ok(Known::KeyTaken(format!("the id `{id}` belongs to another request ({holder}); choose another")))
    }

    /// Ends work: writes its outcome down, tells it, and parks what did not end well.
    pub(super) async fn finish(
        &self,
        item: &WorkItem,
        record: Record,
    ) -> Result<InvocationResponse, HandlerError> {
        self.finish_chain(item, record, item.chain(), None).await
    }

    /// The same at the end of a chain; `seen` is the hub's last outcome, if it was read. Where the outcome cannot be kept, nothing is told: the next look
    /// comes to the same end, and knows what this one did.
    pub(super) async fn finish_chain(
        &self,
        item: &WorkItem,
        record: Record,
        chain: Chain,
        seen: Option<LastOfHub>,
    ) -> Result<InvocationResponse, HandlerError> {
        let (record, parked) = match self.keep(item, record).await {
            Ok(kept) => kept,
            Err(error) => return self.unkept(item, chain, &error).await,
        };
        self.write_down(item, &record, seen).await?;
        self.end(item, &record, parked)
    }

    /// Tells the outcome of work, and parks what did not end well.
    pub(super) fn end(
        &self,
        item: &WorkItem,
        record: &Record,
        parked: Option<Parked>,
    ) -> Result<InvocationResponse, HandlerError> {
        metrics::outcome(record.outcome.name(), item.origin.as_ref().map(|origin| origin.kind.word()));
        let mut response = told(record)?;
        if let Some(parked) = parked {
            response = response.send(FAILED, message(&parked)?);
        }
        let asked = item.origin.as_ref().map(|Origin { id, .. }| format!(" ({id})")).unwrap_or_default();
        Ok(response.log(format!("{}: {}{asked}", item.hub.name(), record.outcome)))
    }

    /// Tells that a run over the fleet was stopped, and parks it, for somebody to see to.
    pub(super) async fn stopped(&self, record: Record) -> Result<InvocationResponse, HandlerError> {
        let parked = self.fitting(parked(&record, "Resync")).await.map_err(HandlerError::transient)?;
        Ok(told(&record)?.send(FAILED, message(&parked)?))
    }

    /// Keeps an outcome, and what is parked of it.
    async fn keep(&self, item: &WorkItem, record: Record) -> Result<(Record, Option<Parked>), BlobError> {
        let record = if item.origin.is_some() { self.hold(&record).await? } else { record };
        // A hub that no profile matches is no failure.
        if record.outcome != Word::Failed && !(item.origin.is_some() && record.outcome.is_parked()) {
            return Ok((record, None));
        }
        let parked = Parked { request: item.request.as_deref().cloned(), ..parked(&record, "hub-work") };
        let parked = self.fitting(parked).await?;
        Ok((record, Some(parked)))
    }

    /// The container of outcomes is away: the work is taken up again later, for as long as that lasts.
    pub(super) async fn unkept(
        &self,
        item: &WorkItem,
        chain: Chain,
        error: &BlobError,
    ) -> Result<InvocationResponse, HandlerError> {
        error!(hub.id = %item.hub, %error, "{}: {STORE_AWAY}", item.hub.name());
        let until = self.arm.clock().now() + PAUSE;
        self.later(item, "the container of outcomes to be reachable", until, chain).await
    }

    /// What is parked, as a message that the queue takes: what is too long for it lies in a blob.
    async fn fitting(&self, mut parked: Parked) -> Result<Parked, BlobError> {
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
                parked.blob = Some(store.keep(parked.outcome_id, &text).await?);
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
    pub(super) async fn hold(&self, record: &Record) -> Result<Record, BlobError> {
        match &self.store {
            Some(store) => store.tell(record).await,
            None => Ok(record.clone()),
        }
    }
}

/// What is known of a request before anything is done for it.
pub(super) enum Known {
    /// Nothing: it may be worked on.
    New,
    /// It has ended like this.
    Ended(Box<Record>),
    /// Another request has its idempotency key, in words.
    KeyTaken(String),
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

pub(super) fn message(value: &impl serde::Serialize) -> Result<OutputMessage, HandlerError> {
    OutputMessage::json(value).map_err(HandlerError::permanent)
}
