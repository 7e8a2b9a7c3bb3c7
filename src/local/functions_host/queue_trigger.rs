//! The storage queue loop: polling, parallelism, redelivery, poison.
//!
//! With queues of a real service, pauses, renewal and visibility are real time however fast the host's
//! clock runs, and what the service does not answer shows as a [`DiagnosticCode::QueueTrouble`].
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
use super::queues::{Fault, HostQueues};
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
    let (mut pause, mut trouble_reported) = (FIRST_PAUSE, false);
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
        let batch = match take(&host, &function, &queue).await {
            Ok(batch) => {
                trouble_reported = false;
                batch
            }
            Err(err) => {
                if !trouble_reported {
                    trouble_reported = true;
                    host.diagnose_queue(&function, &err);
                }
                Vec::new()
            }
        };
        if batch.is_empty() {
            let jitter = 0.8 + 0.4 * host.random();
            tokio::select! {
                () = host.queues.sleep(&host.clock, pause.mul_f64(jitter)) => {
                    pause = (pause * 2).min(options.max_polling_interval.max(FIRST_PAUSE));
                }
                _ = arrivals.changed() => pause = FIRST_PAUSE,
                _ = stopping.changed() => {}
            }
            continue;
        }
        pause = FIRST_PAUSE;
        for (message, guard) in batch {
            let (host, function, queue) = (Arc::clone(&host), Arc::clone(&function), queue.clone());
            running.spawn(async move { handle(&host, &function, &queue, message, guard).await });
        }
    }
    while running.join_next().await.is_some() {}
}

/// Takes the next messages, each of which counts as running from now on.
async fn take(host: &Host, function: &Function, queue: &str) -> Result<Vec<(QueueMessage, Running)>, Fault> {
    let batch_size = host.host_json.queues.batch_size;
    let begin = |message| (message, host.activity.begin(&function.name));
    match &host.queues {
        HostQueues::Embedded(queues) => {
            let _claim = host.activity.claim();
            let batch = queues.get(queue, batch_size, VISIBILITY)?;
            Ok(batch.into_iter().map(begin).collect())
        }
        HostQueues::Remote(queues) => {
            let batch = queues.get(queue, batch_size, VISIBILITY).await?;
            Ok(batch.into_iter().map(begin).collect())
        }
    }
}

async fn handle(host: &Host, function: &Function, queue: &str, mut message: QueueMessage, _running: Running) {
    let options = &host.host_json.queues;
    if message.dequeue_count > options.max_dequeue_count {
        return poison(host, function, queue, &message).await;
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
                return poison(host, function, queue, &message).await;
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
            () = host.queues.sleep(&host.clock, VISIBILITY / 2) => {
                match host.queues.update(queue, &message, VISIBILITY).await {
                    Ok(receipt) => message.pop_receipt = receipt,
                    Err(err) => host.diagnose(DiagnosticCode::LockLost, Some(&function.name), err.to_string()),
                }
            }
        }
    };
    if result.is_err() && message.dequeue_count >= options.max_dequeue_count {
        return poison(host, function, queue, &message).await;
    }
    let settled = match result {
        Ok(_) => host.queues.delete(queue, &message).await,
        Err(_) => host.queues.update(queue, &message, options.visibility_timeout).await.map(drop),
    };
    if let Err(err) = settled {
        host.diagnose(DiagnosticCode::LockLost, Some(&function.name), err.to_string());
    }
}

/// Moves a message to the poison queue. A poison queue has none of its own. A message that cannot be
/// moved stays, and comes back.
async fn poison(host: &Host, function: &Function, queue: &str, message: &QueueMessage) {
    if queue.ends_with(POISON_SUFFIX) {
        return;
    }
    match host.queues.put(&format!("{queue}{POISON_SUFFIX}"), &message.text).await {
        Ok(()) => {
            if let Err(err) = host.queues.delete(queue, message).await {
                host.diagnose(DiagnosticCode::LockLost, Some(&function.name), err.to_string());
            }
        }
        Err(err) => host.diagnose_queue(function, &err),
    }
}
