//! Events of finished writes, and their delivery.
//!
//! Every finished PUT, PATCH, POST or DELETE is one `Microsoft.Resources.*` event of the
//! subscription. Those that the event subscription's filter lets through are delivered at least
//! once, with Event Grid's headers and retry schedule.
//! <https://learn.microsoft.com/azure/event-grid/event-schema-subscriptions>,
//! <https://learn.microsoft.com/azure/event-grid/delivery-and-retry>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    Azure,
    answer::iso,
    call::{Call, Caller},
    faults::{FaultKind, Hits},
    settings::{EventSettings, seconds},
    state::State,
};

/// Takes events, as a webhook would.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Takes one delivery: the body and its headers (lower-case names). Answers with an HTTP status;
    /// only 200 to 204 is a success.
    async fn deliver(&self, body: Value, headers: BTreeMap<String, String>) -> u16;
}

/// Posts events to a webhook.
#[derive(Debug, Clone)]
pub struct HttpEventSink {
    url: url::Url,
    client: reqwest::Client,
}

impl HttpEventSink {
    /// A sink for this address.
    pub fn new(url: url::Url) -> Self {
        Self { url, client: reqwest::Client::new() }
    }
}

#[async_trait]
impl EventSink for HttpEventSink {
    async fn deliver(&self, body: Value, headers: BTreeMap<String, String>) -> u16 {
        // Event Grid waits 30 s for an answer, and counts anything later as a failure.
        let mut request =
            self.client.post(self.url.clone()).timeout(Duration::from_secs(30)).body(body.to_string());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        match request.send().await {
            Ok(answer) => answer.status().as_u16(),
            Err(err) if err.is_timeout() => 408,
            Err(_) => 503,
        }
    }
}

/// Event Grid's waits before each retry; the last one repeats.
const RETRIES: [u64; 10] = [10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200];

/// What happened, before it is an event.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    /// `Write`, `Delete` or `Action`.
    pub(super) verb: &'static str,
    pub(super) succeeded: bool,
    pub(super) subject: String,
    pub(super) operation: String,
    pub(super) caller: Caller,
    pub(super) correlation: String,
    /// Only for changes and deletes of what was there before.
    pub(super) request: Option<Value>,
    pub(super) hits: Hits,
}

impl Happening {
    /// A successful `verb` on `subject` by this call.
    pub(super) fn of(call: &Call, verb: &'static str, subject: &str, operation: &str, existed: bool) -> Self {
        let request = existed.then(|| {
            json!({
                "clientRequestId": call.header("x-ms-client-request-id").unwrap_or(&call.request_id),
                "clientIpAddress": "127.0.0.1",
                "method": call.method,
                "url": format!("{}{}", call.origin, call.target),
            })
        });
        Self {
            verb,
            succeeded: true,
            subject: subject.to_owned(),
            operation: operation.to_owned(),
            caller: call.caller.clone(),
            correlation: call.correlation_id.clone(),
            request,
            hits: call.hits.clone(),
        }
    }
}

/// All events so far, and those that wait for a delivery task.
#[derive(Debug, Default)]
pub(super) struct Events {
    all: Vec<Record>,
    outbox: Vec<usize>,
}

#[derive(Debug)]
struct Record {
    event: Value,
    passes: bool,
    late: f64,
    attempts: Vec<Value>,
}

impl Events {
    pub(super) fn emitted(&self) -> usize {
        self.all.len()
    }

    pub(super) fn delivered(&self) -> usize {
        let done = |record: &&Record| {
            record
                .attempts
                .iter()
                .any(|attempt| attempt["status"].as_u64().is_some_and(|s| (200..=204).contains(&s)))
        };
        self.all.iter().filter(done).count()
    }

    /// Every event with what became of it.
    pub(super) fn view(&self) -> Value {
        let view = |record: &Record| json!({"event": record.event, "passesFilter": record.passes, "attempts": record.attempts});
        Value::Array(self.all.iter().map(view).collect())
    }

    pub(super) fn by_id(&self, id: &str) -> Option<Value> {
        self.all.iter().find(|record| record.event["id"] == *id).map(|record| record.event.clone())
    }

    /// Queues an event as it stands, whatever the filter says.
    pub(super) fn queue(&mut self, event: Value) {
        self.outbox.push(self.all.len());
        self.all.push(Record { event, passes: true, late: 0.0, attempts: Vec::new() });
    }

    fn take_outbox(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.outbox)
    }
}

impl State {
    /// Records what happened, and queues it if the event subscription wants it.
    pub(super) fn emit(&mut self, what: &Happening, now: OffsetDateTime, settings: &EventSettings) -> String {
        let kind = format!("{}{}", what.verb, if what.succeeded { "Success" } else { "Failure" });
        let kind = format!("Microsoft.Resources.Resource{kind}");
        let id = if what.verb == "Delete" { what.correlation.clone() } else { self.random.guid() };
        let event = event(what, &kind, &id, &self.tenant, now);
        let passes = settings.types.contains(&kind)
            && settings.operations.iter().any(|want| want.eq_ignore_ascii_case(&what.operation));
        let lost = what.hits.get(FaultKind::LoseEvent).is_some();
        let late = what.hits.get(FaultKind::LateEvent).map_or(0.0, |fault| fault.seconds.unwrap_or(600.0));
        let at = self.events.all.len();
        self.events.all.push(Record { event, passes: passes && !lost, late, attempts: Vec::new() });
        if passes && !lost {
            self.events.outbox.push(at);
            if what.hits.get(FaultKind::DuplicateEvent).is_some() {
                self.events.outbox.push(at);
            }
        }
        id
    }
}

/// The event in Event Grid's schema.
fn event(what: &Happening, kind: &str, id: &str, tenant: &str, now: OffsetDateTime) -> Value {
    let subscription = what.subject.split('/').nth(2).unwrap_or_default();
    let provider = what.operation.split('/').next().unwrap_or_default();
    let plain = |guid: &str| guid.replace('-', "");
    let mut data = Map::new();
    data.insert(
        "authorization".to_owned(),
        json!({
            "scope": what.subject,
            "action": what.operation,
            "evidence": {
                "role": "Contributor",
                "roleAssignmentScope": format!("/subscriptions/{subscription}"),
                "roleAssignmentId": "7c9283d62e844fb88f452ed4d221bf86",
                "roleDefinitionId": "b24988ac618042a0ab8820f7382dd24c",
                "principalId": plain(&what.caller.object),
                "principalType": "ServicePrincipal",
            },
        }),
    );
    data.insert(
        "claims".to_owned(),
        json!({
            "aud": "https://management.core.windows.net/",
            "iss": format!("https://sts.windows.net/{tenant}/"),
            "appid": what.caller.client,
            "http://schemas.microsoft.com/identity/claims/objectidentifier": what.caller.object,
            "http://schemas.microsoft.com/identity/claims/tenantid": tenant,
            "idtyp": "app",
            "ver": "1.0",
        }),
    );
    data.insert("correlationId".to_owned(), json!(what.correlation));
    if let Some(request) = &what.request {
        data.insert("httpRequest".to_owned(), request.clone());
    }
    let status = if what.succeeded { "Succeeded" } else { "Failed" };
    for (name, value) in [
        ("resourceProvider", provider),
        ("resourceUri", &what.subject),
        ("operationName", &what.operation),
        ("status", status),
        ("subscriptionId", subscription),
        ("tenantId", tenant),
    ] {
        data.insert(name.to_owned(), json!(value));
    }
    json!({
        "subject": what.subject,
        "eventType": kind,
        "eventTime": iso(now),
        "id": id,
        "data": data,
        "dataVersion": "2",
        "metadataVersion": "1",
        "topic": format!("/subscriptions/{subscription}"),
    })
}

/// The same event as CloudEvents 1.0.
fn cloud_event(event: &Value) -> Value {
    json!({
        "id": event["id"],
        "source": event["topic"],
        "specversion": "1.0",
        "type": event["eventType"],
        "subject": event["subject"],
        "time": event["eventTime"],
        "data": event["data"],
    })
}

impl Azure {
    /// Starts a delivery task for each event that waits for one. Without a runtime they go on waiting.
    pub(super) fn deliver_waiting(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let waiting = self.lock().events.take_outbox();
        for at in waiting {
            runtime.spawn(self.clone().deliver(at));
        }
    }

    async fn deliver(self, at: usize) {
        let settings = self.inner.settings.events.clone();
        let clock = self.inner.clock.clone();
        let first = clock.now();
        let late = self.lock().events.all.get(at).map_or(0.0, |record| record.late);
        clock.sleep(seconds(settings.delay_seconds + late)).await;
        for attempt in 0..settings.max_attempts {
            let Some(sink) = self.sink() else { return };
            let Some(event) = self.lock().events.all.get(at).map(|record| record.event.clone()) else {
                return;
            };
            let (body, headers) = envelope(&event, attempt, &settings);
            let status = sink.deliver(body, headers).await;
            let entry = json!({"time": iso(clock.now()), "status": status});
            if let Some(record) = self.lock().events.all.get_mut(at) {
                record.attempts.push(entry);
            }
            // Success, and what Event Grid never tries again.
            if matches!(status, 200..=204 | 400 | 401 | 403 | 413) {
                return;
            }
            let step = usize::try_from(attempt).unwrap_or(usize::MAX).min(RETRIES.len() - 1);
            clock.sleep(Duration::from_secs(RETRIES[step])).await;
            if (clock.now() - first).as_seconds_f64() > settings.ttl_seconds {
                return;
            }
        }
    }

    fn sink(&self) -> Option<Arc<dyn EventSink>> {
        self.inner.sink.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

fn envelope(event: &Value, attempt: u32, settings: &EventSettings) -> (Value, BTreeMap<String, String>) {
    let mut headers = BTreeMap::from([
        ("aeg-event-type".to_owned(), "Notification".to_owned()),
        ("aeg-subscription-name".to_owned(), settings.subscription.to_uppercase()),
        ("aeg-delivery-count".to_owned(), attempt.to_string()),
    ]);
    if settings.cloud_events {
        headers.insert("content-type".to_owned(), "application/cloudevents+json; charset=utf-8".to_owned());
        headers.insert("aeg-metadata-version".to_owned(), "1.0".to_owned());
        return (cloud_event(event), headers);
    }
    headers.insert("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
    headers.insert("aeg-metadata-version".to_owned(), "1".to_owned());
    headers.insert("aeg-data-version".to_owned(), "2".to_owned());
    (json!([event]), headers)
}
