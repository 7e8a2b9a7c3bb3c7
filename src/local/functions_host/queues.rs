//! Where a host's storage queues are: embedded, or in a real queue service.

use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use crate::local::clock::SimClock;
use crate::local::storage_queue::{QueueMessage, StorageQueueError, StorageQueues};
use crate::queue::{MessageEncoding, QueueError, QueueService, StorageQueue};

/// The storage queues that triggers read and outputs write.
#[derive(Debug, Clone)]
pub enum HostQueues {
    /// In memory, on the host's clock.
    Embedded(StorageQueues),
    /// In a real service, Azurite for instance, in real time.
    ///
    /// The service tells nobody what waits in it: the host asks with pauses that grow up to
    /// `maxPollingInterval`, as it does in Azure, and notices at once only what it has put there itself.
    Remote(RemoteQueues),
}

/// The queues of a real service.
#[derive(Debug, Clone)]
pub struct RemoteQueues {
    service: QueueService,
    /// Counts what this host has put.
    puts: watch::Sender<u64>,
}

impl From<StorageQueues> for HostQueues {
    fn from(queues: StorageQueues) -> Self {
        HostQueues::Embedded(queues)
    }
}

impl From<QueueService> for HostQueues {
    fn from(service: QueueService) -> Self {
        HostQueues::Remote(RemoteQueues { service, puts: watch::Sender::new(0) })
    }
}

/// Why a queue said no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Embedded(#[from] StorageQueueError),
    #[error(transparent)]
    Remote(#[from] QueueError),
}

impl Fault {
    pub(crate) fn is_missing_queue(&self) -> bool {
        match self {
            Fault::Embedded(error) => matches!(error, StorageQueueError::QueueNotFound(_)),
            Fault::Remote(error) => error.is_missing_queue(),
        }
    }
}

impl HostQueues {
    /// Puts a text on a queue, which is created when it is missing.
    pub(crate) async fn put(&self, queue: &str, text: &str) -> Result<(), Fault> {
        match self {
            HostQueues::Embedded(queues) => {
                if !queues.exists(queue) {
                    queues.create(queue);
                }
                queues.put(queue, text)?;
            }
            HostQueues::Remote(queues) => {
                let target = queues.queue(queue)?;
                match target.send(text, None).await {
                    Err(error) if error.is_missing_queue() => {
                        target.create().await?;
                        target.send(text, None).await?;
                    }
                    sent => drop(sent?),
                }
                queues.puts.send_modify(|count| *count += 1);
            }
        }
        Ok(())
    }

    /// Makes a message visible after `visibility` and returns its new pop receipt.
    pub(crate) async fn update(
        &self,
        queue: &str,
        message: &QueueMessage,
        visibility: Duration,
    ) -> Result<String, Fault> {
        let (id, receipt) = (message.id, &message.pop_receipt);
        match self {
            HostQueues::Embedded(queues) => Ok(queues.update(queue, id, receipt, visibility)?),
            HostQueues::Remote(queues) => {
                Ok(queues.queue(queue)?.update(&id.to_string(), receipt, visibility).await?)
            }
        }
    }

    /// Removes a message.
    pub(crate) async fn delete(&self, queue: &str, message: &QueueMessage) -> Result<(), Fault> {
        let (id, receipt) = (message.id, &message.pop_receipt);
        match self {
            HostQueues::Embedded(queues) => Ok(queues.delete(queue, id, receipt)?),
            HostQueues::Remote(queues) => Ok(queues.queue(queue)?.delete(&id.to_string(), receipt).await?),
        }
    }

    /// How many messages could be got now, as far as the host knows: not what waits in a real service.
    pub(crate) fn visible(&self, queue: &str) -> usize {
        match self {
            HostQueues::Embedded(queues) => queues.visible(queue),
            HostQueues::Remote(_) => 0,
        }
    }

    /// Changes whenever somebody known to the host has made a message visible.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        match self {
            HostQueues::Embedded(queues) => queues.arrivals(),
            HostQueues::Remote(queues) => queues.puts.subscribe(),
        }
    }

    /// Changes with every change that the host knows of.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        match self {
            HostQueues::Embedded(queues) => queues.changes(),
            HostQueues::Remote(queues) => queues.puts.subscribe(),
        }
    }

    /// Waits on the clock that the queues run on.
    pub(crate) async fn sleep(&self, clock: &SimClock, duration: Duration) {
        match self {
            HostQueues::Embedded(_) => clock.sleep(duration).await,
            HostQueues::Remote(_) => tokio::time::sleep(duration).await,
        }
    }
}

impl RemoteQueues {
    /// Takes up to `max` visible messages, which nobody else sees for `visibility`.
    pub(crate) async fn get(
        &self,
        queue: &str,
        max: usize,
        visibility: Duration,
    ) -> Result<Vec<QueueMessage>, Fault> {
        let taken = self.queue(queue)?.receive(max, visibility).await?;
        let messages = taken.into_iter().map(|taken| {
            let message = taken.message;
            // Ids are GUIDs by contract.
            let id = Uuid::parse_str(&message.id).map_err(|_| {
                QueueError::Address(format!(
                    "{} gives messages ids that are no GUIDs",
                    self.service.address()
                ))
            })?;
            Ok(QueueMessage {
                id,
                text: message.text,
                pop_receipt: taken.pop_receipt,
                dequeue_count: message.dequeue_count,
                inserted_at: message.inserted_at,
                expires_at: message.expires_at,
                next_visible_at: taken.next_visible_at,
            })
        });
        messages.collect()
    }

    /// The host itself decodes and encodes.
    fn queue(&self, name: &str) -> Result<StorageQueue, Fault> {
        Ok(self.service.queue(name, MessageEncoding::Plain)?)
    }
}
