//! The activity log: who wrote which hub, when, and how it ended. Never what was in it.
//!
//! A write begins with a `Started` event; one that is refused has a `Failed` one at once, one that is
//! accepted has `Accepted`, and `Succeeded` or `Failed` when its operation ends. All share the caller's
//! correlation id. Events can be read some minutes later, newest first.
//! <https://learn.microsoft.com/rest/api/monitor/activity-logs/list>,
//! <https://learn.microsoft.com/azure/azure-monitor/platform/activity-log-schema>

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Azure,
    answer::{Answer, Reply, iso},
    call::{Call, Caller},
    resources::{no_route, page},
    settings::seconds,
    state::State,
};

/// Days that the log goes back.
const DAYS: i64 = 90;

/// A write, as far as the log tells of it.
#[derive(Debug, Clone)]
pub(super) struct Write {
    resource: String,
    operation: String,
    caller: Caller,
    correlation: String,
    client_request: String,
    method: String,
}

impl Write {
    /// This call, as a write of a resource.
    pub(super) fn of(call: &Call, resource: &str) -> Self {
        let word = if call.method == "DELETE" { "delete" } else { "write" };
        Self {
            resource: resource.to_owned(),
            operation: format!("Microsoft.Devices/IotHubs/{word}"),
            caller: call.caller.clone(),
            correlation: call.correlation_id.clone(),
            client_request: call.header("x-ms-client-request-id").unwrap_or(&call.request_id).to_owned(),
            method: call.method.clone(),
        }
    }
}

/// All events so far, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Activity(Vec<(OffsetDateTime, Value)>);

impl State {
    /// Writes down that a write has got to a status, with the HTTP status that goes with it.
    pub(super) fn log_write(&mut self, write: &Write, status: &str, http: Option<u16>, at: OffsetDateTime) {
        let id = self.random.guid();
        let twice = |value: &str| json!({"value": value, "localizedValue": value});
        let phrase = http.and_then(|http| axum::http::StatusCode::from_u16(http).ok());
        let phrase = phrase.and_then(|http| http.canonical_reason()).unwrap_or_default().replace(' ', "");
        let sub = http.map(|http| format!("{phrase} (HTTP Status Code: {http})")).unwrap_or_default();
        let begins = status == "Started";
        let (name, title) =
            if begins { ("BeginRequest", "Begin request") } else { ("EndRequest", "End request") };
        let parts: Vec<&str> = write.resource.split('/').collect();
        let ticks = at.unix_timestamp_nanos() / 100 + 621_355_968_000_000_000;
        let Caller { client, object, .. } = &write.caller;
        let event = json!({
            "authorization": {"action": write.operation, "scope": write.resource},
            "caller": object,
            "channels": "Operation",
            "claims": {
                "aud": "https://management.core.windows.net/",
                "iss": format!("https://sts.windows.net/{}/", self.tenant),
                "appid": client,
                "appidacr": "2",
                "idtyp": "app",
                "http://schemas.microsoft.com/identity/claims/objectidentifier": object,
                "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier": object,
                "http://schemas.microsoft.com/identity/claims/tenantid": self.tenant,
                "ver": "1.0",
            },
            "correlationId": write.correlation,
            "description": "",
            "eventDataId": id,
            "eventName": {"value": name, "localizedValue": title},
            "category": twice("Administrative"),
            "httpRequest": {
                "clientRequestId": write.client_request, "clientIpAddress": "127.0.0.1", "method": write.method,
            },
            "id": format!("{}/events/{id}/ticks/{ticks}", write.resource),
            "level": if status == "Failed" { "Error" } else { "Informational" },
            "resourceGroupName": parts.get(4),
            "resourceProviderName": twice("Microsoft.Devices"),
            "resourceType": twice("Microsoft.Devices/IotHubs"),
            "resourceId": write.resource,
            "operationId": write.correlation,
            "operationName": twice(&write.operation),
            "properties": if phrase.is_empty() { json!({}) } else { json!({"statusCode": phrase}) },
            "status": twice(status),
            "subStatus": {"value": phrase, "localizedValue": sub},
            "eventTimestamp": iso(at),
            "submissionTimestamp": iso(at),
            "subscriptionId": parts.get(2),
            "tenantId": self.tenant,
        });
        self.activity.0.push((at, event));
    }

    /// A write that was refused: it began, and that was all.
    pub(super) fn log_refused(&mut self, call: &Call, resource: &str, http: u16) {
        let write = Write::of(call, resource);
        self.log_write(&write, "Started", None, call.now);
        self.log_write(&write, "Failed", Some(http), call.now);
    }
}

/// What a `$filter` asks for.
#[derive(Debug, Default)]
struct Wanted {
    from: Option<OffsetDateTime>,
    to: Option<OffsetDateTime>,
    /// Members and the value that each must have, compared without case.
    equal: Vec<(&'static str, String)>,
}

fn bad(message: String) -> Reply {
    Reply::json(400, json!({"code": "BadRequest", "message": message}))
}

/// The terms of a filter, without the `and`s between them, whatever their case.
fn terms(filter: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    for word in filter.split_whitespace() {
        if word.eq_ignore_ascii_case("and") {
            terms.push(String::new());
        } else if let Some(term) = terms.last_mut() {
            if !term.is_empty() {
                term.push(' ');
            }
            term.push_str(word);
        }
    }
    terms
}

fn filter(text: &str) -> Result<Wanted, Reply> {
    const MEMBERS: [(&str, &str); 5] = [
        ("resourceuri", "/resourceId"),
        ("resourceid", "/resourceId"),
        ("correlationid", "/correlationId"),
        ("resourcegroupname", "/resourceGroupName"),
        ("resourceprovider", "/resourceProviderName/value"),
    ];
    let mut wanted = Wanted::default();
    for term in terms(text) {
        let unknown = || bad(format!("The filter '{term}' is not supported."));
        let mut parts = term.splitn(3, ' ');
        let (Some(name), Some(operator), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unknown());
        };
        let value = value.trim_matches('\'');
        let time = || OffsetDateTime::parse(value, &Rfc3339).map_err(|_| unknown());
        let name = name.to_ascii_lowercase();
        match (name.as_str(), operator.to_ascii_lowercase().as_str()) {
            ("eventtimestamp", "ge") => wanted.from = Some(time()?),
            ("eventtimestamp", "le") => wanted.to = Some(time()?),
            ("eventchannels", "eq") => {}
            (name, "eq") => {
                let member = MEMBERS.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
                wanted.equal.push((member.1, value.trim_end_matches('/').to_owned()));
            }
            _ => return Err(unknown()),
        }
    }
    Ok(wanted)
}

impl Azure {
    /// `/subscriptions/{s}/providers/Microsoft.Insights/eventtypes/management/values`
    pub(super) fn activity(&self, call: &Call) -> Answer {
        let parts = call.segments();
        let lower = call.path.to_ascii_lowercase();
        if !lower.ends_with("/providers/microsoft.insights/eventtypes/management/values")
            || parts.len() != 7
            || call.method != "GET"
        {
            return Err(no_route(call));
        }
        let settings = &self.inner.settings;
        let state = self.lock();
        state.check_scope(&call.path)?;
        let wanted = filter(call.query.get("$filter").map(String::as_str).unwrap_or_default())?;
        let from =
            wanted.from.ok_or_else(|| bad("The filter needs a start: eventTimestamp ge.".to_owned()))?;
        if from < call.now - time::Duration::days(DAYS) {
            return Err(bad(format!("The start may be at most {DAYS} days ago.")));
        }
        let names: Vec<&str> = call
            .query
            .get("$select")
            .map(|text| text.split(',').map(str::trim).collect())
            .unwrap_or_default();
        let seen = call.now - seconds(settings.activity_log_delay_seconds);
        let subscription = parts[1];
        let fits = |(at, event): &&(OffsetDateTime, Value)| {
            let same = |name: &str, value: &str| {
                event.pointer(name).and_then(Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(value))
            };
            *at <= seen
                && *at >= from
                && wanted.to.is_none_or(|to| *at <= to)
                && same("/subscriptionId", subscription)
                && wanted.equal.iter().all(|(name, value)| same(name, value))
        };
        let all =
            state.activity.0.iter().rev().filter(fits).map(|(_, event)| select(event, &names)).collect();
        Ok(page(call, all, settings.page_size))
    }
}

/// Only the named members; all without names.
fn select(event: &Value, names: &[&str]) -> Value {
    let Some(members) = event.as_object().filter(|_| !names.is_empty()) else { return event.clone() };
    let named = |(name, _): &(&String, &Value)| names.iter().any(|want| want.eq_ignore_ascii_case(name));
    let kept = members.iter().filter(named).map(|(name, value)| (name.clone(), value.clone()));
    Value::Object(kept.collect::<Map<String, Value>>())
}
