//! Operations on hubs: what has been accepted and takes its time.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Hub, Phase};
use crate::local::azure::{
    activity::Write,
    answer::{Answer, HubError, Reply},
    call::Call,
    events::Happening,
    settings::{FailureShape, Settings, seconds},
    state::State,
};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local::azure) enum OpKind {
    Create,
    Update,
    Delete,
}

impl OpKind {
    pub(in crate::local::azure) fn word(self) -> &'static str {
        match self {
            OpKind::Create => "create",
            OpKind::Update => "update",
            OpKind::Delete => "delete",
        }
    }
}

/// An accepted write, running or done.
#[derive(Debug, Clone)]
pub(in crate::local::azure) struct Operation {
    pub(in crate::local::azure) kind: OpKind,
    /// The hub's id as it was received.
    pub(in crate::local::azure) hub: String,
    key: String,
    started: OffsetDateTime,
    pub(in crate::local::azure) finishes: OffsetDateTime,
    /// The hub as it was, for an operation that fails.
    before: Option<Box<Hub>>,
    failure: Option<HubError>,
    /// Seconds of 404 afterwards.
    hide: Option<f64>,
    /// The signature in the poll address.
    signature: String,
    happening: Happening,
    write: Write,
    /// The final status, once there is one.
    pub(in crate::local::azure) result: Option<Value>,
}

/// What a new operation is made of.
pub(super) struct Plan {
    pub(super) kind: OpKind,
    pub(super) seconds: f64,
    pub(super) before: Option<Hub>,
    pub(super) failure: Option<HubError>,
    pub(super) hide: Option<f64>,
}

impl State {
    /// Starts an operation: its id and its end.
    pub(super) fn start(
        &mut self,
        call: &Call,
        hub: &Hub,
        plan: Plan,
        settings: &Settings,
    ) -> (String, OffsetDateTime) {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let Plan { kind, seconds: duration, before, failure, hide } = plan;
        let region = super::document::plain_region(&hub.location);
        let id = URL_SAFE_NO_PAD.encode(format!("id=os_ih_{};region={region}", self.random.guid()));
        let finishes = call.now + seconds(duration);
        let (verb, word) = if kind == OpKind::Delete { ("Delete", "delete") } else { ("Write", "write") };
        let mut happening = Happening::of(
            call,
            verb,
            hub.id.as_str(),
            &format!("Microsoft.Devices/IotHubs/{word}"),
            kind != OpKind::Create,
        );
        happening.succeeded = failure.is_none();
        let write = Write::of(call, hub.id.as_str());
        let accepted = if kind == OpKind::Delete { 202 } else { 201 };
        self.log_write(&write, "Started", None, call.now);
        self.log_write(&write, "Accepted", Some(accepted), call.now);
        let operation = Operation {
            kind,
            hub: hub.id.as_str().to_owned(),
            key: hub.id.key().to_owned(),
            started: call.now,
            finishes,
            before: before.map(Box::new),
            failure,
            hide,
            signature: self.random.letters(settings.poll_signature_length),
            happening,
            write: write.clone(),
            result: None,
        };
        self.operations.insert(id.clone(), operation);
        (id, finishes)
    }

    /// Ends every operation whose time has come, in order.
    pub(in crate::local::azure) fn settle(&mut self, now: OffsetDateTime, settings: &Settings) {
        // A timer may fire a moment before the clock shows its time.
        let soon = now + time::Duration::milliseconds(1);
        loop {
            let due = self
                .operations
                .iter()
                .filter(|(_, op)| op.result.is_none() && op.finishes <= soon)
                .min_by_key(|(_, op)| op.finishes)
                .map(|(id, _)| id.clone());
            let Some(id) = due else { return };
            self.finish(&id, settings);
        }
    }

    fn finish(&mut self, id: &str, settings: &Settings) {
        let Some(operation) = self.operations.get(id).cloned() else { return };
        let at = operation.finishes;
        let etag = self.next_etag();
        let result = match &operation.failure {
            Some(error) => {
                match operation.before.clone() {
                    Some(mut before) => {
                        before.phase = Phase::Active;
                        before.provisioning =
                            if operation.kind == OpKind::Delete { "Succeeded" } else { "Failed" };
                        before.etag = etag;
                        self.hubs.insert(at, operation.key.clone(), *before);
                    }
                    None => {
                        self.hubs.remove(at, &operation.key);
                    }
                }
                let shape: FailureShape = settings.failure_shape;
                error.operation(shape, &operation.happening.correlation, at)
            }
            None => {
                self.succeed(&operation, etag, settings);
                json!({"status": "Succeeded"})
            }
        };
        if let Some(operation) = self.operations.get_mut(id) {
            operation.result = Some(result);
            operation.before = None;
        }
        let (status, http) = match &operation.failure {
            Some(error) => ("Failed", Some(error.status())),
            None => ("Succeeded", None),
        };
        self.log_write(&operation.write, status, http, at);
        self.emit(&operation.happening, at, &settings.events);
    }

    fn succeed(&mut self, operation: &Operation, etag: String, settings: &Settings) {
        let at = operation.finishes;
        let old_system = operation.before.as_ref().and_then(|before| before.system.clone());
        if operation.kind == OpKind::Delete {
            self.hubs.remove(at, &operation.key);
            self.health.retain(|(hub, _), _| *hub != operation.key);
            self.deleted_hubs.insert(operation.key.clone());
        }
        let fresh = self.random.guid();
        let mut keeps = None;
        if let Some(hub) = self.hubs.change(at, &operation.key) {
            hub.phase = Phase::Active;
            hub.provisioning = "Succeeded";
            hub.etag = etag;
            hub.hidden_until = operation.hide.map(|hide| at + seconds(hide));
            if hub.system_on && hub.system.is_none() {
                hub.system = Some(fresh.clone());
            }
            keeps = hub.system.clone();
        }
        if let Some(gone) = old_system.filter(|old| keeps.as_ref() != Some(old)) {
            self.principals.remove(&gone);
        }
        if keeps.as_ref() == Some(&fresh) {
            self.add_principal(&fresh, at, settings);
        }
    }

    /// `…/operationResults/{id}`: the status with `asyncinfo` in the query, else what `Location` gives.
    pub(in crate::local::azure) fn poll(&self, call: &Call, id: &str, settings: &Settings) -> Answer {
        let Some(operation) = self.operations.get(id) else {
            return Err(Reply::arm(404, "NotFound", format!("The operation '{id}' could not be found.")));
        };
        // The address is signed as a whole: whoever shortens it is refused.
        if call.query.get("s").map(String::as_str) != Some(&operation.signature) {
            return Err(Reply::arm(
                403,
                "InvalidOperationSignature",
                "The operation's address is not as it was given.",
            ));
        }
        let wait = retry_after(settings);
        let with_wait = |reply: Reply| match &wait {
            Some(wait) if operation.result.is_none() => reply.with("retry-after", wait.clone()),
            _ => reply,
        };
        if call.query.contains_key("asyncinfo") {
            // `Pending` is rare, but it has been seen.
            let early = call.now - operation.started < (operation.finishes - operation.started) / 8;
            let running = json!({"status": if early { "Pending" } else { "Running" }});
            return Ok(with_wait(Reply::json(200, operation.result.clone().unwrap_or(running))));
        }
        match &operation.result {
            None => Ok(with_wait(Reply::empty(202)).with("location", self.link(call, id, false))),
            Some(_) => match &operation.failure {
                Some(error) => Err(call.refuse(error)),
                None => Ok(Reply::empty(200)),
            },
        }
    }

    /// The address at which an operation can be asked for.
    pub(super) fn link(&self, call: &Call, id: &str, status: bool) -> String {
        let Some(operation) = self.operations.get(id) else { return String::new() };
        let mut parts = operation.hub.split('/').skip(2);
        let subscription = parts.next().unwrap_or_default();
        let location = self.hubs.get(&operation.key).map_or("global", |hub| hub.location.as_str());
        let path = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Devices/locations/{}/operationResults/{id}",
            super::document::plain_region(location)
        );
        let ticks = operation.started.unix_timestamp().saturating_add(62_135_596_800) * 10_000_000;
        let query = format!(
            "api-version={}&operationSource=other{}&t={ticks}&s={}",
            call.version(),
            if status { "&asyncinfo" } else { "" },
            operation.signature
        );
        call.link(&path, &query)
    }
}

/// `Retry-After` for operations, in the caller's seconds.
pub(super) fn retry_after(settings: &Settings) -> Option<String> {
    settings.retry_after_seconds.map(|wait| format!("{}", wait.ceil().max(1.0)))
}
