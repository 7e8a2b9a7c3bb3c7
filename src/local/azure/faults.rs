//! Faults: what goes wrong, asked for by name and never by chance.
//!
//! A fault waits for calls that match, applies to the next `times` of them (after letting `skip`
//! pass), and is gone. `README.md` beside this file lists what each one does.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One fault, as posted to `/_sim/faults` or given to [`Azure::inject`](super::Azure::inject).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub fault: FaultKind,
    /// Which calls it concerns. Left out: all that this kind can apply to.
    #[serde(rename = "match", default)]
    pub matching: Matching,
    /// How many matching calls it hits; 0 is all of them, until the faults are cleared.
    #[serde(default = "once")]
    pub times: u32,
    /// How many matching calls it lets pass first.
    #[serde(default)]
    pub skip: u32,
    /// `Retry-After` in Azure's seconds; no header when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<f64>,
    /// The status to answer with, where the kind leaves a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The error code: a number for the hub provider's shape, a text for ARM's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Value>,
    /// The error's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A duration in Azure's seconds, for the kinds that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

fn once() -> u32 {
    1
}

/// Which calls a fault concerns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Matching {
    /// The method, such as `PUT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A part of the path, or with `*` a pattern for the whole of it. Compared without case. The path
    /// of a call to a data plane begins with its host, as in `h1.azure-devices.net/jobs/create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The caller's client id or object id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// 429.
    Throttle,
    /// 500, or `status`; nothing has happened.
    ServerError,
    /// The connection breaks before anything has happened. With `status`: that answer instead.
    ResetBefore,
    /// The call takes effect, then its answer is lost. With `status`: that answer instead.
    LoseAnswer,
    /// 409002: the hub is busy, whatever a GET says.
    Conflict409,
    /// 412001, whatever the etag.
    PreconditionFailed,
    /// After this write of a hub, GET answers 404 for `seconds` (default 60).
    NotFoundWindow,
    /// This operation takes `seconds` longer (default 600).
    SlowOperation,
    /// This write is accepted and its operation fails (default code 412001).
    FailOperation,
    /// This PUT of a hub is accepted and its operation succeeds, and the hub stays as it was.
    DropChange,
    /// This role assignment is refused because nobody knows the principal.
    PrincipalNotFound,
    /// This role assignment takes `seconds` (default 600) to be effective.
    LatePropagation,
    /// The answer is 200, or `status`, and not JSON.
    BadJson,
    /// 403 `AuthorizationFailed`; what the data planes have in its place.
    Deny,
    /// 403 `LinkedAuthorizationFailed` for a hub PUT that carries user-assigned identities.
    DenyIdentity,
    /// The answer comes `seconds` later (default 30).
    SlowAnswer,
    /// The event of this write is delivered twice.
    DuplicateEvent,
    /// The event of this write is never delivered.
    LoseEvent,
    /// The event of this write comes `seconds` later (default 600).
    LateEvent,
    /// This export or import is accepted and fails, for the reason in `message`.
    FailJob,
    /// This export or import takes `seconds` longer (default 600).
    SlowJob,
    /// Resource Graph leaves out half of the page's rows and gives no way to them.
    TruncateResult,
}

impl Fault {
    /// A fault that hits the next call it can apply to.
    pub fn new(fault: FaultKind) -> Self {
        Self {
            fault,
            matching: Matching::default(),
            times: 1,
            skip: 0,
            retry_after: None,
            status: None,
            code: None,
            message: None,
            seconds: None,
        }
    }

    /// Only for this method, and paths with this part or of this pattern.
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.matching.method = Some(method.to_owned());
        self.matching.path = Some(path.to_owned());
        self
    }

    /// For so many calls; 0 is without end.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Lets so many matching calls pass first.
    #[must_use]
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// With this `Retry-After`, in Azure's seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: f64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// With this duration, in Azure's seconds.
    #[must_use]
    pub fn seconds(mut self, seconds: f64) -> Self {
        self.seconds = Some(seconds);
        self
    }

    /// With this status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With this text.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// With this error code.
    #[must_use]
    pub fn code(mut self, code: impl Into<Value>) -> Self {
        self.code = Some(code.into());
        self
    }

    fn concerns(&self, call: &Subject<'_>) -> bool {
        let Matching { method, path, caller } = &self.matching;
        self.fault.applies_to(call)
            && method.as_ref().is_none_or(|want| want.eq_ignore_ascii_case(call.method))
            && path.as_ref().is_none_or(|want| path_matches(want, call.path))
            && caller.as_ref().is_none_or(|want| call.caller.iter().any(|id| id.eq_ignore_ascii_case(want)))
    }
}

/// What a fault is matched against.
pub(super) struct Subject<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Client id and object id.
    pub(super) caller: [&'a str; 2],
}

impl FaultKind {
    fn applies_to(self, call: &Subject<'_>) -> bool {
        let path = call.path.to_ascii_lowercase();
        if !path.starts_with('/') {
            return self.applies_to_data(call.method, &path);
        }
        let (write, delete) = (matches!(call.method, "PUT" | "PATCH"), call.method == "DELETE");
        let assignment = path.contains("/providers/microsoft.authorization/roleassignments/");
        let hub = !assignment
            && path
                .split_once("/providers/microsoft.devices/iothubs/")
                .is_some_and(|(_, rest)| !rest.trim_end_matches('/').contains('/') && !rest.is_empty());
        let cosmos =
            path.contains("/microsoft.documentdb/databaseaccounts/") && path.contains("/sqlroleassignments/");
        match self {
            Self::NotFoundWindow | Self::PreconditionFailed => hub && write,
            Self::Conflict409 => hub && (write || delete),
            Self::SlowOperation | Self::FailOperation => (hub || cosmos) && (write || delete),
            Self::PrincipalNotFound | Self::LatePropagation => (assignment || cosmos) && call.method == "PUT",
            Self::DenyIdentity | Self::DropChange => hub && call.method == "PUT",
            Self::FailJob | Self::SlowJob => {
                call.method == "POST"
                    && (path.ends_with("/exportdevices") || path.ends_with("/importdevices"))
            }
            Self::TruncateResult => call.method == "POST" && super::resource_graph::is_at(&path),
            Self::DuplicateEvent | Self::LoseEvent | Self::LateEvent => write || delete,
            Self::Throttle
            | Self::ServerError
            | Self::ResetBefore
            | Self::LoseAnswer
            | Self::BadJson
            | Self::Deny
            | Self::SlowAnswer => self.hits_any_call(),
        }
    }
}

impl FaultKind {
    /// Whether it is about calls as such, and not about what they are for.
    fn hits_any_call(self) -> bool {
        matches!(
            self,
            Self::Throttle
                | Self::ServerError
                | Self::ResetBefore
                | Self::LoseAnswer
                | Self::BadJson
                | Self::Deny
                | Self::SlowAnswer
        )
    }

    /// Whether it can hit a call to a data plane, whose path begins with the host.
    fn applies_to_data(self, method: &str, path: &str) -> bool {
        match self {
            Self::FailJob | Self::SlowJob => method == "POST" && path.ends_with("/jobs/create"),
            kind => kind.hits_any_call(),
        }
    }
}

/// The faults that are waiting.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn waiting(&self) -> &[Fault] {
        &self.0
    }

    /// The faults that hit this call, at most one of a kind: the oldest.
    pub(super) fn take(&mut self, call: &Subject<'_>) -> Hits {
        let mut hits = Hits::default();
        for fault in &mut self.0 {
            if !fault.concerns(call) || hits.get(fault.fault).is_some() {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            hits.0.push(fault.clone());
            if fault.times > 0 {
                fault.times -= 1;
                // 0 would be without end from here on, so a spent fault is marked and dropped below.
                if fault.times == 0 {
                    fault.times = SPENT;
                }
            }
        }
        self.0.retain(|fault| fault.times != SPENT);
        hits
    }
}

const SPENT: u32 = u32::MAX;

/// The faults that hit one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Hits(Vec<Fault>);

impl Hits {
    pub(super) fn get(&self, kind: FaultKind) -> Option<&Fault> {
        self.0.iter().find(|fault| fault.fault == kind)
    }
}

fn path_matches(want: &str, path: &str) -> bool {
    let (want, path) = (want.to_ascii_lowercase(), path.to_ascii_lowercase());
    let mut parts = want.split('*');
    let Some(first) = parts.next() else { return true };
    if !want.contains('*') {
        return path.contains(first);
    }
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let mut last = "";
    for part in parts {
        last = part;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    last.is_empty() || path.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_hub() -> Subject<'static> {
        Subject {
            method: "PUT",
            path: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/h1",
            caller: ["app", "oid"],
        }
    }

    #[test]
    fn a_fault_hits_as_often_as_it_says() {
        let mut faults = Faults::default();
        faults.add(Fault::new(FaultKind::Throttle).times(2).skip(1));
        let hits = (0..5).filter(|_| faults.take(&put_hub()).get(FaultKind::Throttle).is_some()).count();
        assert_eq!(hits, 2);
        assert!(faults.waiting().is_empty());
        faults.add(Fault::new(FaultKind::Throttle).times(0));
        assert!((0..5).all(|_| faults.take(&put_hub()).get(FaultKind::Throttle).is_some()));
    }

    #[test]
    fn paths_match_by_part_or_pattern() {
        let path = put_hub().path;
        for (want, fits) in [
            ("iothubs/H1", true),
            ("*/iothubs/*", true),
            ("*/h1", true),
            ("*/h2", false),
            ("iothubs/*", false),
        ] {
            assert_eq!(path_matches(want, path), fits, "{want}");
        }
    }

    #[test]
    fn kinds_keep_to_their_calls() {
        assert!(FaultKind::FailOperation.applies_to(&put_hub()));
        assert!(!FaultKind::PrincipalNotFound.applies_to(&put_hub()));
        let get = Subject { method: "GET", ..put_hub() };
        assert!(!FaultKind::Conflict409.applies_to(&get));
    }
}
