//! What ARM refuses, and what to do about it.
//!
//! Errors come in three shapes: the IoT hub provider's own (`{"code": 400116, …}`, a *number*, though
//! its OpenAPI says string), ARM's wrapper (`{"error": {"code": "AuthorizationFailed", …}}`), and a
//! failed operation (`{"status": "Failed", "error": {…, "details": […]}}`). All become one
//! [`ArmError`] that answers one question, [`ArmError::reaction`].

use std::{fmt, sync::LazyLock, time::Duration};

use regex::Regex;
use serde_json::Value;

/// A call to ARM that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArmError {
    /// The service answered, and said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No (complete) answer came. Whether a write took effect is unknown.
    #[error("no answer from {host} to {call}: {cause}")]
    NoAnswer {
        /// What was asked, such as `GET hub`.
        call: String,
        /// Who did not answer.
        host: String,
        /// The transport's words.
        cause: String,
    },
    /// The answer is not what the contract says.
    #[error("cannot read the answer to {call}: {cause}")]
    Unreadable {
        /// What was asked.
        call: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// No token was to be had.
    #[error("no token for {scope}: {cause}")]
    NoToken {
        /// The scope that was asked for.
        scope: String,
        /// The credential's words.
        cause: String,
    },
    /// A link leads to another host than the configured one; no token was sent there.
    #[error("{call} was answered with a link to `{host}`, which is not the configured endpoint")]
    ForeignLink {
        /// What was asked.
        call: String,
        /// Where the link leads.
        host: String,
    },
    /// The time allowed for this invocation is over; the work goes on in a later one.
    #[error("out of time for this invocation while waiting for {0}")]
    OutOfTime(String),
    /// There are more calls than Resource Manager takes at once; this one was not sent.
    #[error("{call} has to wait its turn for {} s: Resource Manager takes only so many calls", pause.as_secs())]
    NoTurn {
        /// What was to be asked.
        call: String,
        /// How long until it can be asked.
        pause: Duration,
    },
}

/// The service's "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked, such as `PUT hub`.
    pub call: String,
    /// The HTTP status; that of the poll if the operation failed later.
    pub status: u16,
    /// ARM's word, or the hub provider's number as text.
    pub code: String,
    /// The service's sentence, with anything like a key taken out.
    pub message: String,
    /// Codes of nested details, innermost last.
    pub details: Vec<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// `x-ms-request-id`, for a support case.
    pub request_id: Option<String>,
    /// Whether the call was accepted first and failed as an operation.
    pub later: bool,
}

/// What a caller should do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// The answer made no sense. Once, that is something on the way; always, a person has to look.
    Garbled(Duration),
    /// Read the resource again and plan afresh: it changed, or our write's fate is unknown.
    Reread,
    /// Nothing is wrong; come back after this time.
    Wait(Duration),
    /// The principal is new and not known everywhere yet.
    PrincipalYoung,
    /// The hub refuses an identity endpoint: not yet, if the grant is young.
    MaybeNotYet,
    /// It is there already, under another name.
    AlreadyThere,
    /// A person has to look at it.
    Fail,
}

/// How long to stay away from a hub that is busy with another write.
const BUSY: Duration = Duration::from_secs(15);
/// How long to stay away when the service is in trouble and does not say for how long.
const TROUBLE: Duration = Duration::from_secs(30);

impl ArmError {
    /// What to do about it.
    pub fn reaction(&self) -> Reaction {
        match self {
            ArmError::Refused(refusal) => refusal.reaction(),
            ArmError::NoAnswer { .. } => Reaction::Reread,
            ArmError::NoToken { .. } => Reaction::Wait(TROUBLE),
            ArmError::OutOfTime(_) => Reaction::Wait(BUSY),
            ArmError::NoTurn { pause, .. } => Reaction::Wait(*pause),
            ArmError::Unreadable { .. } => Reaction::Garbled(TROUBLE),
            ArmError::ForeignLink { .. } => Reaction::Fail,
        }
    }

    /// Whether a write that cannot be repeated may have taken effect all the same.
    pub fn fate_unknown(&self) -> bool {
        match self {
            ArmError::Refused(refusal) => refusal.status == 408 || refusal.status >= 500,
            ArmError::NoAnswer { .. } | ArmError::Unreadable { .. } => true,
            ArmError::NoToken { .. }
            | ArmError::NoTurn { .. }
            | ArmError::ForeignLink { .. }
            | ArmError::OutOfTime(_) => false,
        }
    }

    /// Whether the service refused because of the rate of calls.
    pub fn is_throttled(&self) -> bool {
        matches!(self, ArmError::Refused(refusal) if refusal.status == 429)
    }

    /// Whether the service says that the resource is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ArmError::Refused(refusal) if refusal.status == 404)
    }

    /// Whether somebody has put a lock on what was to be written or deleted.
    pub fn is_locked(&self) -> bool {
        matches!(self, ArmError::Refused(refusal) if refusal.has_code("ScopeLocked"))
    }
}

impl Refusal {
    /// The hub provider's number, from wherever it stands: the code, a nested detail, or the
    /// `errorcode: IH…` mark in the sentence.
    pub fn number(&self) -> Option<u32> {
        let parse = |text: &str| text.strip_prefix("IH").unwrap_or(text).parse().ok();
        self.details.iter().rev().chain([&self.code]).find_map(|code| parse(code)).or_else(|| {
            // A name in the sentence may hold the two letters too.
            self.message.match_indices("IH").find_map(|(at, _)| {
                let digits: String =
                    self.message[at + 2..].chars().take_while(char::is_ascii_digit).collect();
                (digits.len() == 6).then(|| digits.parse().ok()).flatten()
            })
        })
    }

    /// Whether the service's code, or a nested one, is this.
    pub(super) fn has_code(&self, code: &str) -> bool {
        self.details.iter().chain([&self.code]).any(|own| own.eq_ignore_ascii_case(code))
    }

    fn reaction(&self) -> Reaction {
        match self.number() {
            // Another write is going on, even right after a GET that said Active.
            Some(409_002) => return Reaction::Wait(self.retry_after.unwrap_or(BUSY)),
            Some(412_001) => return Reaction::Reread,
            // Bad input, a missing target, a name that is taken: waiting never helps.
            Some(400_111 | 400_116 | 400_123 | 400_142 | 400_158 | 409_004) => return Reaction::Fail,
            Some(400_117) => return Reaction::MaybeNotYet,
            Some(400_100..=400_199) if self.speaks_of_access() => return Reaction::MaybeNotYet,
            _ => {}
        }
        // A hub's own API: another job is on, a role that has not spread, a pause that it does not time.
        if self.has_code("JobQuotaExceeded") || self.number() == Some(403_003) {
            return Reaction::Wait(BUSY);
        }
        if self.has_code("BlobContainerValidationError") || self.number() == Some(400_007) {
            return Reaction::MaybeNotYet;
        }
        if self.has_code("RoleAssignmentExists") {
            return Reaction::AlreadyThere;
        }
        // A person has put it there, and only a person takes it away.
        if self.has_code("ScopeLocked") {
            return Reaction::Fail;
        }
        // Cosmos DB has no code of its own for a principal that is new to it.
        if self.has_code("PrincipalNotFound") || self.message.contains("was not found in the AAD tenant") {
            return Reaction::PrincipalYoung;
        }
        if self.has_code("FailedIdentityOperation") && self.message.contains("Conflict") {
            return Reaction::Wait(TROUBLE);
        }
        match self.status {
            409 => Reaction::Wait(self.retry_after.unwrap_or(BUSY)),
            412 => Reaction::Reread,
            429 => Reaction::Wait(self.retry_after.unwrap_or(TROUBLE)),
            408 | 500 | 502 | 503 | 504 => Reaction::Wait(self.retry_after.unwrap_or(TROUBLE)),
            401 => Reaction::Wait(TROUBLE),
            _ => Reaction::Fail,
        }
    }

    /// Whether the sentence is about access, or names an endpoint: the marks of a refusal that a
    /// role which has not spread yet can explain. The exact text for event hubs and Service Bus is
    /// not published, so both are taken.
    fn speaks_of_access(&self) -> bool {
        const MARKS: [&str; 6] = ["authoriz", "unauthoriz", "forbidden", "permission", "access", "endpoint"];
        let text = self.message.to_ascii_lowercase();
        MARKS.iter().any(|mark| text.contains(mark))
    }

    /// Reads an error body of any of the three shapes.
    pub(super) fn parse(call: &str, status: u16, body: &[u8]) -> Self {
        let mut refusal = Self {
            call: call.to_owned(),
            status,
            code: String::new(),
            message: String::new(),
            details: Vec::new(),
            retry_after: None,
            request_id: None,
            later: false,
        };
        if let Ok(json) = serde_json::from_slice::<Value>(body) {
            let inner = json.get("error").filter(|inner| inner.is_object()).unwrap_or(&json);
            refusal.code = code_text(inner);
            let message = member(inner, "message").and_then(Value::as_str).unwrap_or_default();
            // A hub's own API repeats its code at the start of the sentence.
            let (code, sentence) =
                match message.strip_prefix("ErrorCode:").and_then(|rest| rest.split_once(';')) {
                    Some((code, sentence)) => (Some(code), sentence),
                    None => (None, message),
                };
            if let Some(code) = code.filter(|_| refusal.code.is_empty()) {
                refusal.code = code.to_owned();
            }
            refusal.message = redact(sentence);
            collect_details(inner, &mut refusal.details, 0);
            // A failed operation's wrapper says nothing ("ResourceOperationFailure"); its first
            // detail has the cause.
            let cause = inner.get("details").and_then(|details| details.get(0));
            if let Some(cause) = cause.and_then(|cause| member(cause, "message")).and_then(Value::as_str) {
                refusal.message = redact(cause);
            }
        }
        if refusal.code.is_empty() {
            refusal.code = format!("HTTP {status}");
        }
        refusal
    }
}

/// `code` as text, whether it is sent as a string or as a number.
fn code_text(json: &Value) -> String {
    match member(json, "code") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn collect_details(json: &Value, codes: &mut Vec<String>, depth: usize) {
    let details = json.get("details").and_then(Value::as_array);
    for detail in details.into_iter().flatten().take(8) {
        let code = code_text(detail);
        if !code.is_empty() {
            codes.push(code);
        }
        if depth < 4 {
            collect_details(detail, codes, depth + 1);
        }
    }
}

/// Providers differ in the case of `code` and `message`.
fn member<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    let object = json.as_object()?;
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Takes out of a service's sentence what could be a key, and bounds its length: the value after a
/// word for one, whether as in a connection string, a URL, JSON or prose; and, wherever it stands,
/// anything that looks like the Base64 of 256 bits or more.
fn redact(text: &str) -> String {
    static KEYS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let patterns = [
            r#"(?i)((?:key|secret|password|signature|\bsig)\\?["']?\s*[:=]\s*\\?["']?)[^\s"'\\;&,}]+"#,
            r"()[A-Za-z0-9+/_-]{42,}={1,2}",
        ];
        patterns.into_iter().filter_map(|pattern| Regex::new(pattern).ok()).collect()
    });
    const LONGEST: usize = 1000;
    let mut text = text.to_owned();
    for pattern in KEYS.iter() {
        text = pattern.replace_all(&text, "${1}****").into_owned();
    }
    text.chars().take(LONGEST).collect()
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.later { "failed" } else { "refused" };
        write!(f, "ARM {verb} {} with {} {}", self.call, self.status, self.code)?;
        if let Some(inner) = self.details.last().filter(|inner| **inner != self.code) {
            write!(f, " ({inner})")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " [x-ms-request-id {id}]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
