//! The Service Bus processor: parallelism, sessions, lock renewal, complete and abandon.
//!
//! Success completes a message and failure abandons it at once; how often it comes back and when it
//! is dead-lettered is the broker's business.
//!
//! Facts: `Azure/azure-sdk-for-net`
//! `sdk/servicebus/Microsoft.Azure.WebJobs.Extensions.ServiceBus/src/Config/ServiceBusOptions.cs` and
//! `Listeners/ServiceBusListener.cs`;
//! <https://learn.microsoft.com/azure/azure-functions/functions-bindings-service-bus>.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Host;
use super::envelope::TriggerInput;
use super::function::{Function, Trigger};
use super::status::{DiagnosticCode, Running};
use crate::local::servicebus::{BusError, Delivery, SessionLock};

/// Feeds a function from its queue until the host stops.
pub(crate) async fn listen(host: Arc<Host>, function: Arc<Function>) {
    let Trigger::ServiceBus { entity, sessions, many, auto_complete } = &function.trigger else { return };
    let listener = Listener {
        entity: entity.clone(),
        many: *many,
        auto_complete: auto_complete.unwrap_or(host.host_json.service_bus.auto_complete),
        client: client(&host),
        host: Arc::clone(&host),
        function: Arc::clone(&function),
    };
    let mut stopping = host.stopping();
    if !listener.wait_for_entity(*sessions, &mut stopping).await {
        return;
    }
    let options = host.host_json.service_bus.clone();
    let listener = Arc::new(listener);
    if !*sessions {
        let parallel = if *many { 1 } else { options.max_concurrent_calls };
        return listener.pump(None, parallel).await;
    }
    let mut open = JoinSet::new();
    while !*stopping.borrow() {
        if open.len() >= options.max_concurrent_sessions {
            tokio::select! {
                _ = open.join_next() => {}
                _ = stopping.changed() => {}
            }
            continue;
        }
        tokio::select! {
            session = host.bus.accept_session(entity) => if let Ok(session) = session {
                open.spawn(Arc::clone(&listener).run_session(session));
            },
            Some(_) = open.join_next() => {}
            _ = stopping.changed() => {}
        }
    }
    while open.join_next().await.is_some() {}
}

struct Listener {
    host: Arc<Host>,
    function: Arc<Function>,
    entity: String,
    many: bool,
    auto_complete: bool,
    client: Value,
}

impl Listener {
    /// Waits for the queue to be created. False when it can never be used, or the host stops.
    async fn wait_for_entity(&self, sessions: bool, stopping: &mut watch::Receiver<bool>) -> bool {
        let mut changes = self.host.bus.changes();
        let mut reported = false;
        loop {
            changes.mark_unchanged();
            if let Some(options) = self.host.bus.queue_options(&self.entity) {
                if options.requires_session == sessions {
                    return true;
                }
                let (entity, has) = (&self.entity, options.requires_session);
                let message = format!(
                    "the entity `{entity}` has requiresSession {has}, and the trigger isSessionsEnabled {sessions}"
                );
                self.diagnose(DiagnosticCode::MissingEntity, message);
                return false;
            }
            if !reported {
                reported = true;
                let error = BusError::NotFound(self.entity.clone());
                self.diagnose(DiagnosticCode::MissingEntity, error.to_string());
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = stopping.changed() => return false,
            }
        }
    }

    async fn run_session(self: Arc<Self>, session: SessionLock) {
        let parallel =
            if self.many { 1 } else { self.host.host_json.service_bus.max_concurrent_calls_per_session };
        let session = Arc::new(session);
        let renewal = async {
            while self.host.bus.renew_session(&self.entity, &session).is_ok() {
                self.host.clock.sleep(self.half_lock()).await;
            }
        };
        tokio::select! {
            () = self.pump(Some(&session), parallel) => {}
            () = renewal => self.diagnose(
                DiagnosticCode::LockLost,
                format!("the lock of session `{}` was lost", session.session_id),
            ),
        }
        self.host.bus.release_session(&self.entity, &session);
    }

    /// Receives and handles with up to `parallel` calls at a time, until the host stops or, in a
    /// session, until nothing has come for the idle time-out.
    async fn pump(self: &Arc<Self>, session: Option<&Arc<SessionLock>>, parallel: usize) {
        let options = &self.host.host_json.service_bus;
        let batch = if self.many { options.max_batch } else { 1 };
        let mut stopping = self.host.stopping();
        let mut running = JoinSet::new();
        while !*stopping.borrow() {
            if running.len() >= parallel {
                // Running calls are never cut short by a stop: the host waits for them.
                running.join_next().await;
                continue;
            }
            let received = async {
                match session {
                    Some(session) => self.host.bus.receive_in_session(&self.entity, session, batch).await,
                    None => self.host.bus.receive(&self.entity, batch).await,
                }
            };
            let idle = async {
                match session {
                    Some(_) => self.host.clock.sleep(options.session_idle_timeout).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = received => match received {
                    Ok(deliveries) => {
                        let guard = self.host.activity.begin(&self.function.name);
                        let in_session = session.is_some();
                        running.spawn(Arc::clone(self).handle(deliveries, in_session, guard));
                    }
                    Err(err) => {
                        self.diagnose(DiagnosticCode::LockLost, err.to_string());
                        break;
                    }
                },
                Some(_) = running.join_next() => {}
                () = idle, if running.is_empty() => break,
                _ = stopping.changed() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn handle(self: Arc<Self>, deliveries: Vec<Delivery>, in_session: bool, _running: Running) {
        let (host, function) = (&*self.host, &*self.function);
        let input = match (&deliveries[..], self.many) {
            ([one], false) => Ok(TriggerInput::bus_one(one, function.data_type, &self.client)),
            (batch, _) => TriggerInput::bus_many(batch, function.data_type, &self.client),
        };
        let succeeded = match input {
            Err(reason) => {
                host.diagnose(DiagnosticCode::Undecodable, Some(&function.name), reason);
                host.activity.ended(&function.name, false);
                false
            }
            Ok(input) => {
                let run = host.run(function, &input, host.background_trace());
                tokio::select! {
                    result = run => result.is_ok(),
                    never = self.keep_locks(&deliveries, in_session) => match never {},
                }
            }
        };
        for delivery in &deliveries {
            let settled = match succeeded {
                true if self.auto_complete => host.bus.complete(&self.entity, delivery.lock_token),
                true => Ok(()),
                false => host.bus.abandon(&self.entity, delivery.lock_token),
            };
            if let Err(err) = settled {
                let id = delivery.message.message_id.as_deref().unwrap_or_default();
                self.diagnose(DiagnosticCode::LockLost, format!("message {id}: {err}"));
            }
        }
    }

    /// Renews at half time, as long as the host is willing to. Batches are not renewed, and in a
    /// session it is the session that is renewed.
    async fn keep_locks(&self, deliveries: &[Delivery], in_session: bool) -> Infallible {
        let limit = self.host.host_json.service_bus.max_auto_lock_renewal;
        let mut held = self.half_lock();
        if !self.many && !in_session {
            while held <= limit {
                self.host.clock.sleep(self.half_lock()).await;
                for delivery in deliveries {
                    let _ = self.host.bus.renew_lock(&self.entity, delivery.lock_token);
                }
                held += self.half_lock();
            }
        }
        std::future::pending().await
    }

    fn half_lock(&self) -> Duration {
        let options = self.host.bus.queue_options(&self.entity).unwrap_or_default();
        (options.lock_duration / 2).max(Duration::from_millis(1))
    }

    fn diagnose(&self, code: DiagnosticCode, message: String) {
        self.host.diagnose(code, Some(&self.function.name), message);
    }
}

fn client(host: &Host) -> Value {
    let namespace = &host.bus_namespace;
    json!({
        "FullyQualifiedNamespace": namespace,
        "IsClosed": false,
        "TransportType": 0,
        "Identifier": format!("{namespace}-{}", host.guid()),
    })
}
