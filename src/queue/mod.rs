//! Storage queues, seen from outside: put a message, look, take, delete.
//!
//! In Azure the Functions host reads the app's queues and nobody else has to. This is for whoever stands
//! on the other side: an operator who puts a message or looks into a poison queue, and the stand-in for
//! the host, which reads a real queue service with it.
//!
//! [`QueueService`] is an account's queues and what lets us in: a token, over https only, or the
//! signature in a SAS URL, which may also go over plain http to loopback (Azurite). The signature is in
//! no `Debug`, log or error. [`StorageQueue`] is one of the queues. A call that gets no answer is made
//! again, so a message may be there twice; its readers are used to that.
//!
//! Facts: <https://learn.microsoft.com/rest/api/storageservices/queue-service-rest-api>; roles:
//! <https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-queue-service-operations>.

mod error;

use std::{fmt, sync::Arc, time::Duration};

use azure_core::{
    credentials::TokenCredential,
    http::{
        ClientOptions, ExponentialRetryOptions, HttpClient, RequestContent, RetryOptions, Transport, Url,
        XmlFormat, headers::HeaderName,
    },
};
use azure_storage_queue::{
    QueueClient, QueueServiceClient, QueueServiceClientOptions,
    models::{
        QueueClientPeekMessagesOptions, QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions,
        QueueMessage,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use time::OffsetDateTime;

use crate::config::is_loopback;
use error::Call;
pub use error::QueueError;

/// A version of the protocol that takes Entra tokens and that every Azurite of the last years knows.
const VERSION: &str = "2021-12-02";
/// The most messages that the service gives at once.
pub const MOST_AT_ONCE: usize = 32;
/// Longest time one call may take, tries included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries after the first one.
const RETRIES: u32 = 3;
/// The new pop receipt in the answer to an update.
const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");

/// How a message's text travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageEncoding {
    /// As base64 of the text.
    #[default]
    Base64,
    /// As it is.
    Plain,
}

impl MessageEncoding {
    /// What the `host.json` that we ship tells the host to expect: `extensions.queues.messageEncoding`,
    /// `base64` or `none`. An app setting that overrides it cannot be seen from here.
    pub fn shipped() -> Self {
        let host: Value = serde_json::from_str(include_str!("../../host.json")).unwrap_or_default();
        match host["extensions"]["queues"]["messageEncoding"].as_str() {
            Some("none") => Self::Plain,
            _ => Self::Base64,
        }
    }

    fn encode(self, text: &str) -> String {
        match self {
            Self::Base64 => STANDARD.encode(text),
            Self::Plain => text.to_owned(),
        }
    }

    /// A text that is not encoded as it should be stays as it is: whoever looks wants to see it.
    fn decode(self, text: String) -> String {
        let decoded = match self {
            Self::Base64 => STANDARD.decode(&text).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
            Self::Plain => None,
        };
        decoded.unwrap_or(text)
    }
}

/// A message without having taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeekedMessage {
    /// Made up by the service.
    pub id: String,
    /// What was sent.
    pub text: String,
    /// How often it was taken.
    pub dequeue_count: u32,
    /// When it was sent.
    pub inserted_at: OffsetDateTime,
    /// When it leaves by itself.
    pub expires_at: OffsetDateTime,
}

/// A message that nobody else sees for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenMessage {
    /// The message.
    pub message: PeekedMessage,
    /// Proves that we are the latest reader.
    pub pop_receipt: String,
    /// When others see it again.
    pub next_visible_at: OffsetDateTime,
}

/// What lets us in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Token,
    Signature,
}

/// The queues of one storage account; clones share the connections.
#[derive(Clone)]
pub struct QueueService {
    client: Arc<QueueServiceClient>,
    address: String,
    access: Access,
}

impl fmt::Debug for QueueService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueService").field("address", &self.address).finish_non_exhaustive()
    }
}

impl QueueService {
    /// An account's queues with our identity, at an address such as
    /// `https://acct1.queue.core.windows.net`.
    ///
    /// # Errors
    ///
    /// The address is not https.
    pub fn with_token(
        endpoint: Url,
        credential: Arc<dyn TokenCredential>,
        transport: Arc<dyn HttpClient>,
    ) -> Result<Self, QueueError> {
        if endpoint.scheme() != "https" {
            let text = "a queue service that gets our token must be https; plain http takes a SAS URL";
            return Err(QueueError::Address(text.to_owned()));
        }
        Self::new(endpoint, Some(credential), transport)
    }

    /// An account's queues with a signature: the URL of the queue service with an account SAS behind it.
    ///
    /// # Errors
    ///
    /// The address is neither https nor loopback, or has no signature.
    pub fn with_sas(url: Url, transport: Arc<dyn HttpClient>) -> Result<Self, QueueError> {
        let wrong = |text: &str| Err(QueueError::Address(text.to_owned()));
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
            return wrong("the URL of the queue service must be https; http is only taken on loopback");
        }
        if !url.query_pairs().any(|(name, value)| name == "sig" && !value.is_empty()) {
            return wrong(
                "the URL of the queue service has no `sig`; give it an account SAS for queues, such as \
                 http://127.0.0.1:10001/devstoreaccount1?sv=…&sig=…",
            );
        }
        Self::new(url, None, transport)
    }

    fn new(
        url: Url,
        credential: Option<Arc<dyn TokenCredential>>,
        transport: Arc<dyn HttpClient>,
    ) -> Result<Self, QueueError> {
        let address = format!("{}://{}{}", url.scheme(), url.authority(), url.path().trim_end_matches('/'));
        let access = if credential.is_some() { Access::Token } else { Access::Signature };
        let retry = ExponentialRetryOptions { max_retries: RETRIES, ..ExponentialRetryOptions::default() };
        let options = QueueServiceClientOptions {
            client_options: ClientOptions {
                transport: Some(Transport::new(transport)),
                retry: RetryOptions::exponential(retry),
                ..ClientOptions::default()
            },
            version: VERSION.to_owned(),
        };
        let client = QueueServiceClient::new(url, credential, Some(options));
        // The client's own words may quote the URL.
        let client = client.map_err(|_| QueueError::Address(format!("{address} is no queue service")))?;
        Ok(Self { client: Arc::new(client), address, access })
    }

    /// The address, without the signature.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One of the queues, whether it is there or not.
    ///
    /// # Errors
    ///
    /// The name cannot be part of an address.
    pub fn queue(&self, name: &str, encoding: MessageEncoding) -> Result<StorageQueue, QueueError> {
        let name = name.to_lowercase();
        let client = self.client.queue_client(&name);
        let client = client.map_err(|_| QueueError::Address(format!("`{name}` is no name of a queue")))?;
        let place = format!("queue {name} of {}", self.address);
        Ok(StorageQueue { client, place, access: self.access, encoding })
    }
}

/// A storage queue.
pub struct StorageQueue {
    client: QueueClient,
    place: String,
    access: Access,
    encoding: MessageEncoding,
}

impl fmt::Debug for StorageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageQueue").field("place", &self.place).finish_non_exhaustive()
    }
}

impl StorageQueue {
    /// Creates the queue, unless it is there.
    ///
    /// # Errors
    ///
    /// The service says no or nothing, as for all calls.
    pub async fn create(&self) -> Result<(), QueueError> {
        match self.call(Call::Create, self.client.create(None)).await {
            // One with other metadata is there.
            Err(error) if error.code() == Some("QueueAlreadyExists") => Ok(()),
            created => created.map(drop),
        }
    }

    /// Puts a message, to appear at once or after a delay of up to seven days; returns its id.
    pub async fn send(&self, text: &str, visibility_delay: Option<Duration>) -> Result<String, QueueError> {
        let message = QueueMessage { message_text: Some(self.encoding.encode(text)) };
        let body = RequestContent::<QueueMessage, XmlFormat>::try_from(message);
        let body = body.map_err(|error| self.failed(Call::Send, &error))?;
        let options = QueueClientSendMessageOptions {
            visibility_timeout: visibility_delay.map(seconds),
            ..QueueClientSendMessageOptions::default()
        };
        let answer = self.call(Call::Send, self.client.send_message(body, Some(options))).await?;
        let sent = answer.into_model().and_then(|list| list.into_message());
        let sent = sent.map_err(|error| self.failed(Call::Send, &error))?;
        sent.message_id.ok_or_else(|| self.odd(Call::Send))
    }

    /// Looks at up to `n` visible messages, at most [`MOST_AT_ONCE`], without taking them.
    pub async fn peek(&self, n: usize) -> Result<Vec<PeekedMessage>, QueueError> {
        let options = QueueClientPeekMessagesOptions {
            number_of_messages: Some(at_once(n)),
            ..QueueClientPeekMessagesOptions::default()
        };
        let answer = self.call(Call::Peek, self.client.peek_messages(Some(options))).await?;
        let list = answer.into_model().map_err(|error| self.failed(Call::Peek, &error))?;
        let peeked = list.items.unwrap_or_default().into_iter().map(|found| {
            let times = (found.insertion_time, found.expiration_time);
            self.message(found.message_id, found.message_text, found.dequeue_count, times)
        });
        peeked.collect::<Option<_>>().ok_or_else(|| self.odd(Call::Peek))
    }

    /// Takes up to `n` visible messages, at most [`MOST_AT_ONCE`], which nobody else sees for `visibility`.
    pub async fn receive(&self, n: usize, visibility: Duration) -> Result<Vec<TakenMessage>, QueueError> {
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(at_once(n)),
            visibility_timeout: Some(seconds(visibility)),
            ..QueueClientReceiveMessagesOptions::default()
        };
        let answer = self.call(Call::Receive, self.client.receive_messages(Some(options))).await?;
        let list = answer.into_model().map_err(|error| self.failed(Call::Receive, &error))?;
        let taken = list.items.unwrap_or_default().into_iter().map(|found| {
            let times = (found.insertion_time, found.expiration_time);
            Some(TakenMessage {
                message: self.message(found.message_id, found.message_text, found.dequeue_count, times)?,
                pop_receipt: found.pop_receipt?,
                next_visible_at: found.time_next_visible?,
            })
        });
        taken.collect::<Option<_>>().ok_or_else(|| self.odd(Call::Receive))
    }

    /// Makes a taken message visible to others after `visibility`; returns its new pop receipt.
    pub async fn update(
        &self,
        id: &str,
        pop_receipt: &str,
        visibility: Duration,
    ) -> Result<String, QueueError> {
        let update = self.client.update_message(id, pop_receipt, seconds(visibility), None);
        let answer = self.call(Call::Update, update).await?;
        let receipt = answer.headers().get_optional_string(&POP_RECEIPT);
        receipt.ok_or_else(|| self.odd(Call::Update))
    }

    /// Removes a taken message.
    pub async fn delete(&self, id: &str, pop_receipt: &str) -> Result<(), QueueError> {
        self.call(Call::Delete, self.client.delete_message(id, pop_receipt, None)).await.map(drop)
    }

    /// A message as the service describes it; none when something is missing.
    fn message(
        &self,
        id: Option<String>,
        text: Option<String>,
        dequeue_count: Option<i64>,
        (inserted_at, expires_at): (Option<OffsetDateTime>, Option<OffsetDateTime>),
    ) -> Option<PeekedMessage> {
        Some(PeekedMessage {
            id: id?,
            text: self.encoding.decode(text.unwrap_or_default()),
            dequeue_count: u32::try_from(dequeue_count?).ok()?,
            inserted_at: inserted_at?,
            expires_at: expires_at?,
        })
    }

    async fn call<T>(
        &self,
        call: Call,
        answer: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, QueueError> {
        match tokio::time::timeout(TIMEOUT, Box::pin(answer)).await {
            Ok(answer) => answer.map_err(|error| self.failed(call, &error)),
            Err(_) => Err(QueueError::silent(call, &self.place, TIMEOUT)),
        }
    }

    fn failed(&self, call: Call, error: &azure_core::Error) -> QueueError {
        QueueError::new(call, &self.place, self.access, error)
    }

    fn odd(&self, call: Call) -> QueueError {
        QueueError::unreadable(call, &self.place)
    }
}

/// The service counts in seconds: begun ones count.
fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn at_once(n: usize) -> i32 {
    n.clamp(1, MOST_AT_ONCE) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_travel_as_host_json_says_and_odd_ones_can_still_be_seen() {
        assert_eq!(MessageEncoding::shipped(), MessageEncoding::Plain, "the handler takes both");
        let base64 = MessageEncoding::Base64;
        assert_eq!(base64.encode("{\"a\":1}"), "eyJhIjoxfQ==");
        assert_eq!(base64.decode("eyJhIjoxfQ==".into()), "{\"a\":1}");
        assert_eq!(base64.decode("{\"a\":1}".into()), "{\"a\":1}");
        assert_eq!(MessageEncoding::Plain.decode("eyJhIjoxfQ==".into()), "eyJhIjoxfQ==");
    }

    #[test]
    fn begun_seconds_count_and_the_service_gives_1_to_32() {
        assert_eq!([0, 1, 1000, 1001].map(|ms| seconds(Duration::from_millis(ms))), [0, 1, 1, 2]);
        assert_eq!([0, 5, 100].map(at_once), [1, 5, 32]);
    }
}
