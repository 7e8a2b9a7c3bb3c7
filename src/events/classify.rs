//! One event in, one verdict out.

use serde_json::{Map, Value};

use super::{
    Caller, Change, HubEvent, Irrelevant, Malformed, Verdict,
    fields::{guid, id, member, object, text, time},
};
use crate::model::IotHubId;

/// What an event's type says happened, as far as it may concern a hub.
enum Kind {
    /// A resource was written: create, update, or one of the extensions' writes.
    Write,
    /// A resource was deleted.
    Delete,
    /// A resource notification, which names the resource's type instead of the operation.
    NotifiedWrite,
    NotifiedDelete,
}

/// What an event's resource id points at.
enum Target {
    Hub(IotHubId),
    /// The `tags` resource of a hub, by which the tags API speaks of the hub's tags.
    HubTags(IotHubId),
    Below,
    Elsewhere,
    BadHub,
    Unnamed,
}

const HUB_WRITE: &str = "microsoft.devices/iothubs/write";
const HUB_DELETE: &str = "microsoft.devices/iothubs/delete";
const TAGS_WRITE: &str = "microsoft.resources/tags/write";
const TAGS_DELETE: &str = "microsoft.resources/tags/delete";
/// Segments of a hub's id, the empty one before the first slash included.
const HUB_SEGMENTS: usize = 9;

pub(super) fn classify(event: &Value) -> Verdict {
    let Some(event) = event.as_object() else { return malformed(Malformed::NotAnObject) };
    let Some(name) = type_name(event) else { return malformed(Malformed::NoSchema) };
    let kind = match kind(name) {
        Ok(kind) => kind,
        Err(reason) => return irrelevant(reason),
    };
    let data = object(event, "data").unwrap_or_default();
    let operation = text(&data, "operationName").map(str::to_ascii_lowercase);
    let operation = operation.as_deref();
    let (hub, on_tags) = match target(resource_id(event, &data)) {
        Target::Hub(hub) => (hub, false),
        Target::HubTags(hub) => (hub, true),
        Target::Below => return irrelevant(Irrelevant::BelowHub),
        Target::Elsewhere => return irrelevant(Irrelevant::OtherResource),
        Target::BadHub => return malformed(Malformed::BadHubId),
        Target::Unnamed => {
            return match operation {
                Some(HUB_WRITE | HUB_DELETE) => malformed(Malformed::NoHubId),
                _ => irrelevant(Irrelevant::OtherResource),
            };
        }
    };
    match change(kind, operation, on_tags, &data) {
        Ok(change) => Verdict::Hub(HubEvent {
            hub,
            change,
            event_id: id(event, "id"),
            event_time: text(event, "eventTime").or_else(|| text(event, "time")).and_then(time),
            caller: caller(&data),
            correlation_id: id(&data, "correlationId"),
            source_subscription: source(event).and_then(subscription),
        }),
        Err(reason) => irrelevant(reason),
    }
}

/// What makes an event the same as another: id, type and resource. The id alone is not enough,
/// deletes have been seen to use the id of the whole deployment. `None` if there is no id.
pub(super) fn fingerprint(event: &Value) -> Option<(String, String, String)> {
    let event = event.as_object()?;
    let data = object(event, "data").unwrap_or_default();
    let fold = |text: Option<&str>| text.unwrap_or_default().to_ascii_lowercase();
    Some((id(event, "id")?, fold(type_name(event)), fold(resource_id(event, &data))))
}

/// The event's type, in either schema. A CloudEvent without `specversion` is taken if it says where
/// it is from; printed samples have `topic` there instead of `source`.
fn type_name(event: &Map<String, Value>) -> Option<&str> {
    text(event, "eventType").or_else(|| {
        let is_cloud_event = member(event, "specversion").is_some() || source(event).is_some();
        text(event, "type").filter(|_| is_cloud_event)
    })
}

fn source(event: &Map<String, Value>) -> Option<&str> {
    text(event, "topic").or_else(|| text(event, "source"))
}

/// The type alone decides on success; the `status` inside has been seen to contradict it.
fn kind(name: &str) -> Result<Kind, Irrelevant> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "microsoft.resources.resourcewritesuccess" => Ok(Kind::Write),
        "microsoft.resources.resourcedeletesuccess" => Ok(Kind::Delete),
        "microsoft.resources.resourcewritefailure"
        | "microsoft.resources.resourcewritecancel"
        | "microsoft.resources.resourcedeletefailure"
        | "microsoft.resources.resourcedeletecancel" => Err(Irrelevant::NotCompleted),
        "microsoft.resourcenotifications.resources.createdorupdated" => Ok(Kind::NotifiedWrite),
        "microsoft.resourcenotifications.resources.deleted" => Ok(Kind::NotifiedDelete),
        "microsoft.eventgrid.subscriptionvalidationevent" => Err(Irrelevant::SubscriptionValidation),
        "microsoft.eventgrid.subscriptiondeletedevent" => Err(Irrelevant::SubscriptionDeleted),
        _ if name.starts_with("microsoft.resources.resourceaction") => Err(Irrelevant::Action),
        _ if name.starts_with("microsoft.devices.") => Err(Irrelevant::DeviceEvent),
        _ => Err(Irrelevant::OtherType),
    }
}

fn resource_id<'a>(event: &'a Map<String, Value>, data: &'a Map<String, Value>) -> Option<&'a str> {
    text(event, "subject")
        .or_else(|| text(data, "resourceUri"))
        .or_else(|| text(member(data, "resourceInfo")?.as_object()?, "id"))
}

/// Looks at whole segments, never at prefixes: a hub's child begins like the hub.
fn target(resource_id: Option<&str>) -> Target {
    let Some(resource_id) = resource_id else { return Target::Unnamed };
    let parts: Vec<&str> = resource_id.split('/').collect();
    let (head, rest) = parts.split_at(parts.len().min(HUB_SEGMENTS));
    let is = |at: usize, word: &str| head.get(at).is_some_and(|part| part.eq_ignore_ascii_case(word));
    if !(is(5, "providers") && is(6, "microsoft.devices") && is(7, "iothubs")) {
        return Target::Elsewhere;
    }
    let Ok(hub) = IotHubId::parse(&head.join("/")) else { return Target::BadHub };
    let rest: Vec<String> = rest.iter().map(|part| part.to_ascii_lowercase()).collect();
    match rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Target::Hub(hub),
        ["providers", "microsoft.resources", "tags", "default"] => Target::HubTags(hub),
        rest if rest.iter().any(|part| part.is_empty()) => Target::BadHub,
        _ => Target::Below,
    }
}

/// Type, operation and resource have to agree. A write that does not name its operation is taken
/// (looking once too often does no harm); a delete is not.
fn change(
    kind: Kind,
    operation: Option<&str>,
    on_tags: bool,
    data: &Map<String, Value>,
) -> Result<Change, Irrelevant> {
    let notified_type = || {
        let info = object(data, "resourceInfo")?;
        text(&info, "type").map(|name| name.eq_ignore_ascii_case(IotHubId::TYPE))
    };
    match (kind, operation) {
        (Kind::Write, Some(TAGS_WRITE)) | (Kind::Delete, Some(TAGS_DELETE)) => Ok(Change::Written),
        (Kind::Write, None) => Ok(Change::Written),
        _ if on_tags => Err(Irrelevant::BelowHub),
        (Kind::Write, Some(HUB_WRITE)) => Ok(Change::Written),
        (Kind::Delete, Some(HUB_DELETE)) => Ok(Change::Deleted),
        (Kind::NotifiedWrite, _) if notified_type() != Some(false) => Ok(Change::Written),
        (Kind::NotifiedDelete, _) if notified_type() == Some(true) => Ok(Change::Deleted),
        _ => Err(Irrelevant::OtherOperation),
    }
}

/// The claims name the caller; the evidence of its role does too, without dashes.
fn caller(data: &Map<String, Value>) -> Option<Caller> {
    let claims = object(data, "claims").unwrap_or_default();
    let claim = |name: &str| text(&claims, name).and_then(guid);
    let evidence = || {
        let authorization = object(data, "authorization")?;
        text(object(&authorization, "evidence")?.as_ref(), "principalId").and_then(guid)
    };
    let app_id = claim("appid");
    let object_id = claim("http://schemas.microsoft.com/identity/claims/objectidentifier").or_else(evidence);
    (app_id.is_some() || object_id.is_some()).then_some(Caller { app_id, object_id })
}

/// The subscription that a topic or source begins with.
fn subscription(scope: &str) -> Option<uuid::Uuid> {
    let mut parts = scope.split('/').skip(1);
    parts.next().filter(|word| word.eq_ignore_ascii_case("subscriptions"))?;
    parts.next().and_then(guid)
}

fn irrelevant(reason: Irrelevant) -> Verdict {
    Verdict::Irrelevant { reason }
}

fn malformed(reason: Malformed) -> Verdict {
    Verdict::Malformed { reason }
}
