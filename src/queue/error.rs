//! What a queue service refuses, and what to do about it.
//!
//! Codes: <https://learn.microsoft.com/rest/api/storageservices/queue-service-error-codes> and
//! `/common-rest-api-error-codes`.

use std::{error::Error, time::Duration};

use azure_core::error::ErrorKind;

use super::Access;

/// A call to a queue that did not succeed. No text quotes a signature or a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The address cannot be used; nothing was sent.
    #[error("{0}")]
    Address(String),
    /// The service answered, and said no.
    #[error("could not {call}: the service answered {status} {code}{hint}")]
    Refused {
        /// What was asked, and where.
        call: String,
        /// The HTTP status.
        status: u16,
        /// The service's word.
        code: String,
        /// What to do about it; empty, or begins with `; `.
        hint: String,
    },
    /// No (complete) answer came. Whether the call took effect is unknown.
    #[error("could not {call}: no answer: {cause}")]
    NoAnswer {
        /// What was asked, and where.
        call: String,
        /// The transport's words.
        cause: String,
    },
    /// No token was to be had.
    #[error("could not {call}: no token: {cause}")]
    NoToken {
        /// What was asked, and where.
        call: String,
        /// The credential's words.
        cause: String,
    },
    /// The answer is not what the contract says.
    #[error("could not {call}: the answer is none of a queue service; check the address")]
    Unreadable {
        /// What was asked, and where.
        call: String,
    },
}

/// What is asked of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Send,
    Peek,
    Receive,
    Update,
    Delete,
}

impl Call {
    fn at(self, place: &str) -> String {
        let words = match self {
            Call::Create => "create",
            Call::Send => "put a message on",
            Call::Peek => "look into",
            Call::Receive => "take messages from",
            Call::Update => "give a message back to",
            Call::Delete => "delete a message from",
        };
        format!("{words} {place}")
    }

    /// The least role that allows it.
    fn role(self) -> &'static str {
        match self {
            Call::Create | Call::Update => "Storage Queue Data Contributor",
            Call::Send => "Storage Queue Data Message Sender",
            Call::Peek => "Storage Queue Data Reader",
            Call::Receive | Call::Delete => "Storage Queue Data Message Processor",
        }
    }
}

impl QueueError {
    pub(super) fn new(call: Call, place: &str, access: Access, error: &azure_core::Error) -> Self {
        let asked = call.at(place);
        match error.kind() {
            ErrorKind::HttpResponse { status, error_code, .. } => {
                let status = u16::from(*status);
                let code = error_code.clone().unwrap_or_default();
                let hint = hint(call, place, access, status, &code);
                QueueError::Refused { call: asked, status, code, hint }
            }
            ErrorKind::Connection | ErrorKind::Io => {
                QueueError::NoAnswer { call: asked, cause: innermost(error) }
            }
            ErrorKind::Credential => QueueError::NoToken { call: asked, cause: error.to_string() },
            _ => Self::unreadable(call, place),
        }
    }

    pub(super) fn silent(call: Call, place: &str, limit: Duration) -> Self {
        QueueError::NoAnswer { call: call.at(place), cause: format!("none in {} s", limit.as_secs()) }
    }

    pub(super) fn unreadable(call: Call, place: &str) -> Self {
        QueueError::Unreadable { call: call.at(place) }
    }

    /// The service's code, if it answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            QueueError::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the queue is not there.
    pub fn is_missing_queue(&self) -> bool {
        self.code() == Some("QueueNotFound")
    }
}

fn hint(call: Call, place: &str, access: Access, status: u16, code: &str) -> String {
    match (code, access) {
        ("QueueNotFound", _) => "; create the queue, or check its name".to_owned(),
        ("MessageNotFound" | "PopReceiptMismatch", _) => {
            "; somebody else has taken or deleted the message since".to_owned()
        }
        ("RequestBodyTooLarge" | "MessageTooLarge", _) => {
            "; a message can have 64 KiB, and base64 makes it a third longer".to_owned()
        }
        ("AuthorizationFailure", Access::Token) => {
            "; the account's firewall does not let us in: check its network rules".to_owned()
        }
        (_, Access::Token) if status == 403 => {
            format!("; our identity needs {} on {place}; a new grant takes up to ten minutes", call.role())
        }
        (_, Access::Signature) if status == 403 => {
            "; the SAS does not allow this: check its signature, its end (se), and that it is for queues \
             (ss=q), for all of them (srt=sco), with all permissions (sp=rwdlacup)"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// The first cause: the errors around it quote the whole URL, with its signature.
fn innermost(error: &azure_core::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if cause.is::<reqwest::Error>() { "the connection broke".to_owned() } else { cause.to_string() }
}
