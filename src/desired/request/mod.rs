//! Operators' requests: a part of a desired state for one hub, sent on a queue.
//!
//! ```text
//! text ──strict──► values ──schema of its kind──► Request ──with the hub's document──► Choice
//! ```
//!
//! A request has no rules of its own. What it says about a hub is put into a profile that says nothing
//! else, and that goes the way of every profile: the same checks, the same guardrails, the same planner.
//! It names no role and no principal, because a profile cannot.
//!
//! Guardrails are read anew whenever a request is read: at the door, and again when it is worked on.
//!
//! The reference for authors is `docs/requests.md`.

mod docs;
mod fragment;
mod resolve;

pub use docs::RequestKind;
pub(in crate::desired) use resolve::leaving_all;

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    Choice, DesiredState,
    resolve::Profile,
    strict::{Document, Mistake, Mistakes, Place, Schema, nearest, shown},
};
use crate::model::{
    IotHubId,
    job::{JobDoor, JobId, JobRequest, JobSpec},
};

/// Longest request: it travels on in a message of the broker, which takes 256 KiB with all that is around it.
const MAX_BYTES: usize = 128 * 1024;
/// Furthest that a request may be put off.
const FURTHEST: Duration = Duration::days(30);
/// Namespace of digests, made once for this purpose.
const DIGESTS: Uuid = Uuid::from_u128(0x5c1b_7d2e_94a0_4e66_b5f3_2a90_6d1e_8c47);

static SCHEMAS: LazyLock<BTreeMap<&'static str, Schema>> =
    LazyLock::new(|| RequestKind::ALL.iter().map(|kind| (kind.word(), kind.make_schema())).collect());

/// The JSON Schema of all requests, for editors and for `hubward schema request`.
pub fn json_schema() -> Value {
    let kinds: Vec<&Value> = RequestKind::ALL.iter().map(|kind| SCHEMAS[kind.word()].value()).collect();
    json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Hubward request", "oneOf": kinds})
}

/// A request without mistakes, within the guardrails as far as that can be told without the hub.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked for.
    pub kind: RequestKind,
    /// The idempotency key.
    pub id: String,
    /// The hub.
    pub hub: IotHubId,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: String,
    /// When it may begin.
    pub not_before: Option<OffsetDateTime>,
    /// Whether it is only planned.
    pub dry_run: bool,
    ask: Ask,
    json: Value,
}

/// What a request comes to at a hub.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "made once for each request and taken apart at once")]
pub enum Wanted {
    /// A state of the hub.
    State(Choice),
    /// A bulk job.
    Job(Box<JobRequest>),
    /// The end of a bulk job.
    CancelJob(JobId),
}

/// What is asked for, with what has to be known for it.
#[derive(Debug, Clone)]
enum Ask {
    /// The profile that is for the hub.
    OwnProfile,
    /// The profile of this name.
    ProfileNamed(String),
    /// What a part of a profile says.
    Fragment(Box<Profile>),
    /// Another authentication for an endpoint that is there.
    EndpointAuth { endpoint: String, identity: String, key_rule: Option<String> },
    /// One endpoint less.
    RemoveEndpoint { endpoint: String, with_routes: bool },
    /// A bulk job. What is said of the container is a part of a profile.
    Job { part: Box<Profile>, job: JobSpec, through: JobDoor },
    /// The end of a bulk job.
    CancelJob { job_id: JobId },
    /// Nothing of the profile of this name any more.
    Offboard { profile: Option<String>, turn_identity_off: bool },
}

impl Request {
    /// Whether it is about what the hub is, and not about a job of it.
    pub fn is_about_state(&self) -> bool {
        !matches!(self.ask, Ask::Job { .. } | Ask::CancelJob { .. })
    }

    /// The request as it was written.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The same for the same request, whatever the order of its members.
    pub fn digest(&self) -> Uuid {
        digest_of(&self.json)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {} for {}", self.kind.word(), self.id, self.requested_by, self.hub.name())
    }
}

impl DesiredState {
    /// Reads a request.
    ///
    /// # Errors
    /// Every mistake in it, and everything that the guardrails do not allow.
    pub fn request(&self, text: &str, now: OffsetDateTime) -> Result<Request, Mistakes> {
        if text.len() > MAX_BYTES {
            return Err(Mistakes::from(Mistake {
                at: None,
                path: String::new(),
                message: format!("the text has {} bytes; a request has at most {MAX_BYTES}", text.len()),
                fix: "ask for less in one request".to_owned(),
            }));
        }
        self.request_in(&Document::from_json(text)?, now)
    }

    /// Reads a request that was parsed before.
    ///
    /// # Errors
    /// As of [`request`](Self::request).
    pub fn request_again(&self, json: Value, now: OffsetDateTime) -> Result<Request, Mistakes> {
        self.request_in(&Document::from_value(json), now)
    }

    fn request_in(&self, document: &Document, now: OffsetDateTime) -> Result<Request, Mistakes> {
        let root = document.root();
        let kind = kind_of(&root)?;
        let schema = &SCHEMAS[kind.word()];
        let mut mistakes = schema.check(document);
        let hub = self.hub_of(&root.field("hub"), &mut mistakes);
        let not_before = time_of(&root.field("notBefore"), now, &mut mistakes);
        let ask = self.ask(kind, &root, document.value(), &mut mistakes);
        mistakes.or(())?;
        let common: Common = schema.read(document)?;
        let (Some(hub), Some(ask)) = (hub, ask) else {
            return Err(root.mistake("this cannot be understood", "compare with docs/requests.md").into());
        };
        Ok(Request {
            kind,
            id: common.id,
            hub,
            requested_by: common.requested_by,
            reason: common.reason,
            not_before,
            dry_run: common.dry_run,
            ask,
            json: document.value().clone(),
        })
    }

    fn hub_of(&self, place: &Place<'_>, mistakes: &mut Mistakes) -> Option<IotHubId> {
        match IotHubId::parse(place.text()?) {
            Ok(hub) if self.guardrails().allows_hub(&hub) => Some(hub),
            Ok(hub) => {
                let message = format!("the hub's subscription {} is not allowed", hub.subscription());
                mistakes.push(place.mistake(message, "add it to `guardrails.subscriptions`"));
                None
            }
            Err(error) => {
                let fix = "write `/subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.Devices/IotHubs/<name>`";
                mistakes.push(place.mistake(error.to_string(), fix));
                None
            }
        }
    }
}

/// What all requests have, read once the schema has found no mistake.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Common {
    id: String,
    requested_by: String,
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

fn kind_of(root: &Place<'_>) -> Result<RequestKind, Mistakes> {
    let place = root.field("kind");
    let words = || RequestKind::ALL.iter().map(|kind| kind.word());
    let Some(word) = place.text() else {
        let fix = format!("write one JSON object with `kind`: {}", words().collect::<Vec<_>>().join(", "));
        return Err(place.mistake("a request says its kind", fix).into());
    };
    let found = RequestKind::ALL.iter().find(|kind| kind.word() == word);
    found.copied().ok_or_else(|| {
        let fix = match nearest(word, words()) {
            Some(near) => format!("write `{near}`"),
            None => format!("write one of {}", words().collect::<Vec<_>>().join(", ")),
        };
        place.mistake(format!("there is no request of the kind `{}`", shown(word)), fix).into()
    })
}

fn time_of(place: &Place<'_>, now: OffsetDateTime, mistakes: &mut Mistakes) -> Option<OffsetDateTime> {
    let time = OffsetDateTime::parse(place.text()?, &Rfc3339);
    match time {
        Ok(time) if time - now <= FURTHEST => return Some(time),
        Ok(_) => {
            let message = format!("this is more than {} days ahead", FURTHEST.whole_days());
            mistakes.push(place.mistake(message, "send the request later"));
        }
        Err(_) => {
            let fix = "write it in RFC 3339 with an offset, such as `2026-01-31T12:00:00Z`";
            mistakes.push(place.mistake("this is not a time", fix));
        }
    }
    None
}

/// The digest of what may be a request.
pub fn digest_of(json: &Value) -> Uuid {
    Uuid::new_v5(&DIGESTS, canonical(json).as_bytes())
}

/// JSON with the members of each object in order.
fn canonical(json: &Value) -> String {
    match json {
        Value::Object(members) => {
            let members: BTreeMap<&String, &Value> = members.iter().collect();
            let members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
