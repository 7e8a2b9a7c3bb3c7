//! What is done to a hub, and the verdict on the event that tells of it.
//!
//! No event of a hub is published anywhere; these are built from the captured events of other
//! resources and the operations in Azure's RBAC reference.

use base64::{Engine, engine::general_purpose::STANDARD};
use hubward::events::{
    Caller,
    Change::{self, Deleted, Written},
    HubEvent,
    Irrelevant::*,
    Malformed, Verdict, newest_per_hub, parse, parse_value,
};
use serde_json::{Value, json};
use time::macros::datetime;

const SUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";
const APP: &str = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c";
const PRINCIPAL: &str = "2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77";

fn hub(name: &str) -> String {
    format!("{SUB}/resourcegroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/{name}")
}

/// A complete event in the Event Grid schema: `kind` is the type without its prefix.
pub(crate) fn event(kind: &str, operation: &str, subject: &str) -> Value {
    json!({
        "subject": subject,
        "eventType": format!("Microsoft.Resources.Resource{kind}"),
        "eventTime": "2023-12-20T09:03:39.2696833Z",
        "id": "a1c6f5a0-9c61-4c30-8ac4-6c6f1d0a0001",
        "data": {
            "authorization": {
                "scope": subject,
                "action": operation,
                "evidence": {"role": "Contributor", "principalId": PRINCIPAL.replace('-', ""), "principalType": "User"},
            },
            "claims": {"appid": APP, "http://schemas.microsoft.com/identity/claims/objectidentifier": PRINCIPAL},
            "correlationId": "7f1a2c90-53a6-4b0b-9a31-64b8b5b0c001",
            "httpRequest": {"method": "PUT"},
            "resourceProvider": "Microsoft.Devices",
            "resourceUri": subject,
            "operationName": operation,
            "status": "Succeeded",
        },
        "dataVersion": "2",
        "metadataVersion": "1",
        "topic": SUB,
    })
}

fn hub_written() -> Value {
    event("WriteSuccess", "Microsoft.Devices/IotHubs/write", &hub("hub-plant-01"))
}

/// The same in the other schema.
fn cloud_event(mut event: Value) -> Value {
    let fields = event.as_object_mut().unwrap();
    for (from, to) in [("topic", "source"), ("eventType", "type"), ("eventTime", "time")] {
        let value = fields.remove(from).unwrap();
        fields.insert(to.to_owned(), value);
    }
    fields.retain(|name, _| !name.ends_with("Version"));
    fields.insert("specversion".to_owned(), json!("1.0"));
    event
}

fn verdict(event: &Value) -> Verdict {
    let mut verdicts = parse_value(event).unwrap();
    assert_eq!(verdicts.len(), 1);
    verdicts.remove(0)
}

fn hub_event(event: &Value) -> HubEvent {
    match verdict(event) {
        Verdict::Hub(event) => event,
        other => panic!("{other:?} for {event}"),
    }
}

#[test]
fn everything_that_an_event_says_about_a_hub() {
    for event in [hub_written(), cloud_event(hub_written())] {
        let read = hub_event(&event);
        assert_eq!(read.hub.to_string(), hub("hub-plant-01"));
        assert_eq!(read.subscription(), "0b1f6471-1bf0-4dda-aec3-cb9272f09590");
        assert_eq!(read.change, Written);
        assert_eq!(read.event_id.as_deref(), Some("a1c6f5a0-9c61-4c30-8ac4-6c6f1d0a0001"));
        assert_eq!(read.event_time, Some(datetime!(2023-12-20 09:03:39.2696833 UTC)));
        assert_eq!(read.caller, Some(Caller { app_id: APP.parse().ok(), object_id: PRINCIPAL.parse().ok() }));
        assert_eq!(read.correlation_id.as_deref(), Some("7f1a2c90-53a6-4b0b-9a31-64b8b5b0c001"));
        assert!(!read.is_from_elsewhere());
    }
}

#[test]
fn what_happens_on_and_around_a_hub() {
    let h = hub("hub-plant-01");
    let on = |below: &str| format!("{h}{below}");
    let role = on("/providers/Microsoft.Authorization/roleAssignments/8a1f0d5e-3f55-4a5b-8a51-0a36a2f6a001");
    let tags = on("/providers/Microsoft.Resources/tags/default");
    let is = |change: Change| Ok(change);
    for (kind, operation, subject, expected) in [
        ("WriteSuccess", "Microsoft.Devices/IotHubs/write", h.clone(), is(Written)),
        ("WriteSuccess", "Microsoft.Devices/iotHubs/Write", h.clone(), is(Written)),
        ("WriteSuccess", "MICROSOFT.DEVICES/IOTHUBS/WRITE", h.to_uppercase(), is(Written)),
        ("writesuccess", "microsoft.devices/iothubs/write", h.to_lowercase(), is(Written)),
        ("WriteSuccess", "Microsoft.Resources/tags/write", h.clone(), is(Written)),
        ("WriteSuccess", "Microsoft.Resources/tags/write", tags.clone(), is(Written)),
        ("DeleteSuccess", "Microsoft.Resources/tags/delete", tags.clone(), is(Written)),
        ("DeleteSuccess", "Microsoft.Devices/IotHubs/delete", h.clone(), is(Deleted)),
        ("DeleteSuccess", "Microsoft.Devices/IotHubs/delete", h.to_uppercase(), is(Deleted)),
        // Type and operation do not agree.
        ("DeleteSuccess", "Microsoft.Devices/IotHubs/write", h.clone(), Err(OtherOperation)),
        ("WriteSuccess", "Microsoft.Devices/IotHubs/delete", h.clone(), Err(OtherOperation)),
        ("DeleteSuccess", "", h.clone(), Err(OtherOperation)),
        ("DeleteSuccess", "Microsoft.Devices/IotHubs/delete", tags, Err(BelowHub)),
        // Not over, or over without effect.
        ("WriteFailure", "Microsoft.Devices/IotHubs/write", h.clone(), Err(NotCompleted)),
        ("WriteCancel", "Microsoft.Devices/IotHubs/write", h.clone(), Err(NotCompleted)),
        ("DeleteFailure", "Microsoft.Devices/IotHubs/delete", h.clone(), Err(NotCompleted)),
        ("DeleteCancel", "Microsoft.Devices/IotHubs/delete", h.clone(), Err(NotCompleted)),
        ("ActionSuccess", "Microsoft.Devices/iotHubs/listkeys/Action", h.clone(), Err(Action)),
        ("ActionFailure", "Microsoft.Devices/IotHubs/write", h.clone(), Err(Action)),
        // Below the hub.
        (
            "WriteSuccess",
            "Microsoft.Devices/IotHubs/certificates/write",
            on("/certificates/root"),
            Err(BelowHub),
        ),
        (
            "DeleteSuccess",
            "Microsoft.Devices/IotHubs/certificates/delete",
            on("/certificates/root"),
            Err(BelowHub),
        ),
        (
            "DeleteSuccess",
            "Microsoft.Devices/iotHubs/eventHubEndpoints/consumerGroups/Delete",
            on("/eventHubEndpoints/events/consumerGroups/my group"),
            Err(BelowHub),
        ),
        (
            "WriteSuccess",
            "Microsoft.Devices/iotHubs/eventGridFilters/Write",
            on("/eventGridFilters/f"),
            Err(BelowHub),
        ),
        ("WriteSuccess", "Microsoft.Authorization/roleAssignments/write", role.clone(), Err(BelowHub)),
        // Even if the operation is the hub's own.
        ("DeleteSuccess", "Microsoft.Devices/IotHubs/delete", role, Err(BelowHub)),
        (
            "WriteSuccess",
            "Microsoft.Insights/diagnosticSettings/write",
            on("/providers/microsoft.insights/diagnosticSettings/all"),
            Err(BelowHub),
        ),
        // Around the hub.
        (
            "WriteSuccess",
            "Microsoft.Resources/deployments/write",
            format!(
                "{SUB}/resourceGroups/rg-plant-01/providers/Microsoft.Resources/deployments/hub-plant-01"
            ),
            Err(OtherResource),
        ),
        (
            "DeleteSuccess",
            "Microsoft.Resources/subscriptions/resourcegroups/delete",
            format!("{SUB}/resourceGroups/rg-plant-01"),
            Err(OtherResource),
        ),
        (
            "WriteSuccess",
            "Microsoft.Devices/provisioningServices/write",
            format!("{SUB}/resourceGroups/rg/providers/Microsoft.Devices/provisioningServices/dps"),
            Err(OtherResource),
        ),
        (
            "WriteSuccess",
            "Microsoft.Devices/IotHubs/write",
            format!("{SUB}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/iothubs"),
            Err(OtherResource),
        ),
    ] {
        let event = event(kind, operation, &subject);
        for event in [cloud_event(event.clone()), event] {
            let found = match verdict(&event) {
                Verdict::Hub(event) => {
                    assert_eq!(event.hub.name().to_lowercase(), "hub-plant-01");
                    Ok(event.change)
                }
                Verdict::Irrelevant { reason } => Err(reason),
                malformed => panic!("{malformed:?} for {event}"),
            };
            assert_eq!(found, expected, "{kind} {operation} {subject}");
        }
    }
}

#[test]
fn resource_notifications_name_the_type_instead_of_the_operation() {
    let notification = |kind: &str, resource_type: Value, subject: &str| {
        json!({
            "id": "n", "source": SUB, "specversion": "1.0", "time": "2026-01-31T12:00:00Z", "subject": subject,
            "type": format!("Microsoft.ResourceNotifications.Resources.{kind}"),
            "data": {"resourceInfo": {"id": subject, "name": "h", "type": resource_type}},
        })
    };
    let h = hub("h");
    let written = hub_event(&notification("CreatedOrUpdated", json!("microsoft.devices/iothubs"), &h));
    assert_eq!((written.change, written.caller), (Written, None));
    let deleted = notification("Deleted", json!("Microsoft.Devices/IotHubs"), &h);
    assert_eq!(hub_event(&deleted).change, Deleted);
    let mut unsubjected = deleted;
    unsubjected["subject"] = json!("");
    assert_eq!(hub_event(&unsubjected).change, Deleted);
    for (event, reason) in [
        (notification("Deleted", json!(null), &h), OtherOperation),
        (notification("Deleted", json!("Microsoft.Devices/IotHubs/certificates"), &h), OtherOperation),
        (notification("CreatedOrUpdated", json!("x"), &format!("{h}/certificates/c")), BelowHub),
    ] {
        assert_eq!(verdict(&event), Verdict::Irrelevant { reason }, "{event}");
    }
}

#[test]
fn the_subject_may_be_missing_and_the_hub_may_not() {
    let mut event = hub_written();
    event["subject"] = json!(7);
    assert_eq!(hub_event(&event).hub.name(), "hub-plant-01");
    event["data"]["resourceUri"] = json!(null);
    assert_eq!(verdict(&event), Verdict::Malformed { reason: Malformed::NoHubId });
    event["data"]["operationName"] = json!("Microsoft.Storage/storageAccounts/write");
    assert_eq!(verdict(&event), Verdict::Irrelevant { reason: OtherResource });
    for bad in [
        "/subscriptions/not-a-guid/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/h".to_owned(),
        hub(""),
        hub("a b"),
        hub("h/"),
        hub("h/certificates//c"),
        hub(".."),
        hub("h?x=1"),
        hub("").trim_end_matches('/').to_owned(),
    ] {
        event["subject"] = json!(bad);
        assert_eq!(verdict(&event), Verdict::Malformed { reason: Malformed::BadHubId }, "{bad}");
    }
}

#[test]
fn who_did_it_may_be_told_in_any_way_or_not_at_all() {
    let principal = PRINCIPAL.parse().ok();
    let app = APP.parse().ok();
    let evidence = json!({"evidence": {"principalId": PRINCIPAL.replace('-', "")}});
    let claims = json!({"AppId": APP.to_uppercase()});
    for (authorization, claims, expected) in [
        (evidence.clone(), json!({}), Some((None, principal))),
        (json!(evidence.to_string()), json!(claims.to_string()), Some((app, principal))),
        (json!({"evidence": []}), claims.clone(), Some((app, None))),
        (json!({"evidence": {"role": "Subscription Admin"}}), json!("{claims}"), None),
        (json!([]), json!([APP]), None),
        (json!(null), json!({"appid": 7}), None),
        (json!("junk"), json!({"appid": "me"}), None),
    ] {
        let mut event = hub_written();
        event["data"]["authorization"] = authorization;
        event["data"]["claims"] = claims;
        event["data"]["httpRequest"] = json!("");
        let expected = expected.map(|(app_id, object_id)| Caller { app_id, object_id });
        assert_eq!(hub_event(&event).caller, expected, "{event}");
    }
}

#[test]
fn optional_members_of_any_type() {
    for junk in [json!(null), json!(true), json!(1.5), json!([]), json!({}), json!("\n")] {
        let mut event = hub_written();
        for name in ["id", "eventTime", "topic"] {
            event[name] = junk.clone();
        }
        for name in ["correlationId", "authorization", "claims", "httpRequest", "status"] {
            event["data"][name] = junk.clone();
        }
        let read = hub_event(&event);
        assert_eq!((read.event_id, read.event_time, read.correlation_id), (None, None, None), "{junk}");
        assert_eq!((read.caller, read.source_subscription), (None, None), "{junk}");
    }
    // Data as text, as CloudEvents may carry it, and a dead letter's extra members.
    let mut event = hub_written();
    event["data"] = json!(event["data"].to_string());
    event["deadLetterReason"] = json!("MaxDeliveryAttemptsExceeded");
    event["deliveryAttempts"] = json!(30);
    assert_eq!(hub_event(&event).change, Written);
    // Without any data, the type and the subject still say: look at this hub.
    event["data"] = json!(null);
    assert_eq!(hub_event(&event).change, Written);
}

#[test]
fn an_event_from_another_subscription_is_told_so() {
    let mut event = hub_written();
    event["topic"] = json!("/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/x");
    assert!(hub_event(&event).is_from_elsewhere());
    event["topic"] = json!(SUB.to_uppercase());
    assert!(!hub_event(&event).is_from_elsewhere());
}

#[test]
fn one_delivery_with_everything_in_it() {
    let at = |mut event: Value, id: &str, time: Value| {
        event["id"] = json!(id);
        event["eventTime"] = time;
        event
    };
    let write = |name: &str| event("WriteSuccess", "Microsoft.Devices/IotHubs/write", &hub(name));
    let delete = |name: &str| event("DeleteSuccess", "Microsoft.Devices/IotHubs/delete", &hub(name));
    let batch = json!([
        at(write("b"), "1", json!("2026-01-31T12:00:02Z")),
        at(delete("B"), "2", json!("2026-01-31T13:00:01+01:00")),
        at(write("b"), "1", json!("2026-01-31T12:00:02Z")),
        "junk",
        {"type": "of nothing"},
        at(write("a"), "3", json!("2026-01-31T12:00:00Z")),
        // The same id for another hub of the same deployment is no duplicate.
        at(write("c"), "3", json!("2026-01-31T12:00:00Z")),
        at(delete("a"), "4", json!(null)),
        at(write("a"), "5", json!("2026-01-31T12:00:09Z")),
    ]);
    let text = STANDARD.encode(batch.to_string());
    let verdicts = parse(&text).unwrap();
    assert_eq!(verdicts.len(), 9);
    assert_eq!(verdicts[2], Verdict::Irrelevant { reason: Duplicate });
    assert_eq!(verdicts[3], Verdict::Malformed { reason: Malformed::NotAnObject });
    assert_eq!(verdicts[4], Verdict::Malformed { reason: Malformed::NoSchema });
    let newest: Vec<_> = newest_per_hub(&verdicts).into_iter().map(|e| (e.hub.name(), e.change)).collect();
    assert_eq!(newest, [("a", Deleted), ("b", Written), ("c", Written)]);
}
