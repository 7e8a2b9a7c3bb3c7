//! The storage queue loop: polling, parallelism, redelivery, poison.
//!
//! Facts: `Azure/azure-sdk-for-net` `sdk/storage/Microsoft.Azure.WebJobs.Extensions.Storage.Queues`
//! (`QueueListener`, `QueueProcessor`) and `…Storage.Common` (`RandomizedExponentialBackoffStrategy`);
//! <https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue>.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use super::Host;
use super::envelope::TriggerInput;
use super::function::Function;
use super::status::{DiagnosticCode, Running};
use crate::local::storage_queue::QueueMessage;

/// How long a message is invisible while it is being handled; renewed at half time.
const VISIBILITY: Duration = Duration::from_secs(600);
/// The first pause of an idle listener; each next one is twice as long, give or take a fifth.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A message that failed for good goes to the queue of this name.
const POISON_SUFFIX: &str = "-poison";

/// Feeds a function from its queue until the host stops.
pub(crate) async fn listen(host: Arc<Host>, function: Arc<Function>, queue: String) {
    let options = host.host_json.queues.clone();
    let mut stopping = host.stopping();
    let mut arrivals = host.queues.arrivals();
    let mut running = JoinSet::new();
    let (mut pause, mut missing_reported) = (FIRST_PAUSE, false);
    while !*stopping.borrow() {
        while running.try_join_next().is_some() {}
        if running.len() > options.new_batch_threshold {
            tokio::select! {
                _ = running.join_next() => {}
                _ = stopping.changed() => {}
            }
            continue;
        }
        arrivals.mark_unchanged();
        let claim = host.activity.claim();
        let batch = host.queues.get(&queue, options.batch_size, VISIBILITY).unwrap_or_else(|err| {
            if !missing_reported {
                missing_reported = true;
                let message = format!("{err}; a trigger does not create its queue");
                host.diagnose(DiagnosticCode::MissingEntity, Some(&function.name), message);
            }
            Vec::new()
        });
        if batch.is_empty() {
            drop(claim);
            let jitter = 0.8 + 0.4 * host.random();
            tokio::select! {
                () = host.clock.sleep(pause.mul_f64(jitter)) => {
                    pause = (pause * 2).min(options.max_polling_interval.max(FIRST_PAUSE));
                }
                _ = arrivals.changed() => pause = FIRST_PAUSE,
                _ = stopping.changed() => {}
            }
            continue;
        }
        pause = FIRST_PAUSE;
        for message in batch {
            let guard = host.activity.begin(&function.name);
            let (host, function, queue) = (Arc::clone(&host), Arc::clone(&function), queue.clone());
            running.spawn(async move { handle(&host, &function, &queue, message, guard).await });
        }
        drop(claim);
    }
    while running.join_next().await.is_some() {}
}

async fn handle(host: &Host, function: &Function, queue: &str, mut message: QueueMessage, _running: Running) {
    let options = &host.host_json.queues;
    if message.dequeue_count > options.max_dequeue_count {
        return poison(host, queue, &message);
    }
    let body = if options.base64 {
        match STANDARD.decode(&message.text) {
            Ok(body) => body,
            Err(err) => {
                let text = format!(
                    "a message in `{queue}` is not base64 ({err}): encode it, or set \
                     extensions.queues.messageEncoding to none"
                );
                host.diagnose(DiagnosticCode::Undecodable, Some(&function.name), text);
                return poison(host, queue, &message);
            }
        }
    } else {
        message.text.clone().into_bytes()
    };
    let input = TriggerInput::queue(&message, body, function.data_type);
    let run = host.run(function, &input, host.background_trace());
    tokio::pin!(run);
    let result = loop {
        tokio::select! {
            result = &mut run => break result,
            () = host.clock.sleep(VISIBILITY / 2) => {
                match host.queues.update(queue, message.id, &message.pop_receipt, VISIBILITY) {
                    Ok(receipt) => message.pop_receipt = receipt,
                    Err(err) => host.diagnose(DiagnosticCode::LockLost, Some(&function.name), err.to_string()),
                }
            }
        }
    };
    if result.is_err() && message.dequeue_count >= options.max_dequeue_count {
        return poison(host, queue, &message);
    }
    let settled = match result {
        Ok(_) => host.queues.delete(queue, message.id, &message.pop_receipt),
        Err(_) => {
            let wait = options.visibility_timeout;
            host.queues.update(queue, message.id, &message.pop_receipt, wait).map(drop)
        }
    };
    if let Err(err) = settled {
        host.diagnose(DiagnosticCode::LockLost, Some(&function.name), err.to_string());
    }
}

/// Moves a message to the poison queue. A poison queue has none of its own.
fn poison(host: &Host, queue: &str, message: &QueueMessage) {
    if queue.ends_with(POISON_SUFFIX) {
        return;
    }
    let target = format!("{queue}{POISON_SUFFIX}");
    host.queues.create(&target);
    if host.queues.put(&target, message.text.clone()).is_ok() {
        let _ = host.queues.delete(queue, message.id, &message.pop_receipt);
    }
}
