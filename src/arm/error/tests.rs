use serde_json::json;

use super::*;

fn reaction(status: u16, body: &str) -> Reaction {
    Refusal::parse("PUT hub", status, body.as_bytes()).reaction()
}

#[test]
fn the_three_shapes_are_read() {
    let hub = Refusal::parse(
        "PUT hub",
        400,
        br#"{"code":400116,"httpStatusCode":"BadRequest","message":"endpointName:x, exceptionMessage:AccountKey=abc;x. errorcode: IH400116."}"#,
    );
    assert_eq!((hub.code.as_str(), hub.number()), ("400116", Some(400_116)));
    assert!(!hub.message.contains("abc"));
    let arm = Refusal::parse("PUT grant", 403, br#"{"error":{"code":"AuthorizationFailed","message":"no"}}"#);
    assert_eq!(arm.code, "AuthorizationFailed");
    let operation = Refusal::parse(
        "PUT hub",
        200,
        br#"{"status":"Failed","error":{"code":"ResourceOperationFailure","message":"m","details":[{"code":"412001","message":"Either bad ETag was supplied","details":[]}]}}"#,
    );
    assert_eq!(operation.number(), Some(412_001));
    assert_eq!(operation.reaction(), Reaction::Reread);
    assert_eq!(operation.message, "Either bad ETag was supplied");
    assert_eq!(Refusal::parse("GET hub", 502, b"<html>").code, "HTTP 502");
}

#[test]
fn reactions_follow_the_code() {
    let cases = [
        (409, r#"{"code":409002,"message":"not currently in Active state"}"#, Reaction::Wait(BUSY)),
        (412, r#"{"code":412001,"message":"Invalid ETag supplied."}"#, Reaction::Reread),
        (400, r#"{"code":400117,"message":"x"}"#, Reaction::MaybeNotYet),
        (
            400,
            r#"{"code":400130,"message":"Unauthorized to send to endpoint telemetry"}"#,
            Reaction::MaybeNotYet,
        ),
        (400, r#"{"code":400130,"message":"the name is too long"}"#, Reaction::Fail),
        (400, r#"{"code":400200,"message":"no access to that"}"#, Reaction::Fail),
        (400, r#"{"code":400111,"message":"endpoint still routed"}"#, Reaction::Fail),
        (400, r#"{"code":"400142","message":"(IH400142) Database does not exist"}"#, Reaction::Fail),
        (409, r#"{"error":{"code":"RoleAssignmentExists","message":"x"}}"#, Reaction::AlreadyThere),
        (400, r#"{"error":{"code":"PrincipalNotFound","message":"x"}}"#, Reaction::PrincipalYoung),
        (
            400,
            r#"{"code":"BadRequest","message":"The provided principal ID [\"p\"] was not found in the AAD tenant(s) [t]"}"#,
            Reaction::PrincipalYoung,
        ),
        (403, r#"{"error":{"code":"AuthorizationFailed","message":"x"}}"#, Reaction::Fail),
        (400, r#"{"error":{"code":"RoleAssignmentUpdateNotPermitted","message":"x"}}"#, Reaction::Fail),
        (403, r#"{"error":{"code":"LinkedAuthorizationFailed","message":"x"}}"#, Reaction::Fail),
        (409, r#"{"code":409004,"message":"IotHub name 'h' not available"}"#, Reaction::Fail),
        (409, r#"{"error":{"code":"ScopeLocked","message":"x"}}"#, Reaction::Fail),
        (409, r#"{"message":"the previous update is still going on"}"#, Reaction::Wait(BUSY)),
        (400, r#"{"code":400123,"message":"Endpoint Name:e, Storage Container Name:c."}"#, Reaction::Fail),
        (400, r#"{"code":400116,"message":"endpointName:e, No valid combination"}"#, Reaction::Fail),
        (
            400,
            r#"{"error":{"code":"FailedIdentityOperation","message":"Status: 'Conflict'. pending delete"}}"#,
            Reaction::Wait(TROUBLE),
        ),
        (500, r#"{"error":{"code":"InternalServerError","message":"x"}}"#, Reaction::Wait(TROUBLE)),
        (400, r#"{"error":{"code":"FailedIdentityOperation","message":"no"}}"#, Reaction::Fail),
        (400, r#"{"error":{"code":"Other","message":"Conflict"}}"#, Reaction::Fail),
        (409, r#"{"error":{"code":"Conflict","message":"x"}}"#, Reaction::Wait(BUSY)),
        (412, "", Reaction::Reread),
        (401, "", Reaction::Wait(TROUBLE)),
        (408, "", Reaction::Wait(TROUBLE)),
        (429, "", Reaction::Wait(TROUBLE)),
        (503, "", Reaction::Wait(TROUBLE)),
        (404, "", Reaction::Fail),
        (
            403,
            r#"{"Message":"ErrorCode:JobQuotaExceeded;Error: 403","ExceptionMessage":""}"#,
            Reaction::Wait(BUSY),
        ),
        (403, r#"{"code":403003,"message":"Job quota has been exceeded."}"#, Reaction::Wait(BUSY)),
        (
            400,
            r#"{"Message":"ErrorCode:BlobContainerValidationError;Error: 400\r\nMessage: Unauthorized to write to output blob container."}"#,
            Reaction::MaybeNotYet,
        ),
        (
            400,
            r#"{"code":400007,"message":"Unable to access blob. errorcode: IH400007."}"#,
            Reaction::MaybeNotYet,
        ),
    ];
    for (status, body, expected) in cases {
        assert_eq!(reaction(status, body), expected, "{status} {body}");
    }
}

#[test]
fn nothing_like_a_key_stays_in_a_sentence() {
    let long = format!("{}=", "Ab3/".repeat(11).trim_end_matches('/'));
    for text in [
        "a SharedAccessKey=s3cr3t;EntityPath=b",
        "see https://x/y?sig=s3cr3t&se=1",
        "accountkey = s3cr3t",
        r#"{"primaryKey":"s3cr3t","name":"n"}"#,
        r#"{\"secondaryKey\": \"s3cr3t\"}"#,
        "SharedAccessKey: s3cr3t",
        "SharedAccessSignature='s3cr3t'",
        &format!("the value {long} is not"),
    ] {
        let text = redact(text);
        assert!(!text.contains("s3cr3t") && !text.contains(&long) && text.contains("****"), "{text}");
    }
    for harmless in [
        "SharedAccessKeyName=send;x",
        "the key of a route: none",
        "IH400117, id 7a1e4c1d9f004b7fa1a37c1a4e5b6c7d8e9f0a1b2c",
    ] {
        assert_eq!(redact(harmless), harmless);
    }
}

#[test]
fn a_number_is_found_behind_a_name_that_looks_like_one() {
    let refusal =
        |message: &str| Refusal::parse("PUT hub", 400, json!({"message": message}).to_string().as_bytes());
    assert_eq!(refusal("endpoint IH-PLANT-IH12 is bad. errorcode: IH400117").number(), Some(400_117));
    assert_eq!(refusal("endpoint IH-PLANT is bad").number(), None);
}

#[test]
fn what_may_have_taken_effect_is_told_from_what_has_not() {
    let refused = |status: u16| ArmError::Refused(Box::new(Refusal::parse("POST job", status, b"")));
    for status in [408, 500, 502, 503, 504] {
        assert!(refused(status).fate_unknown(), "{status}");
    }
    for status in [400, 403, 404, 409, 412, 429, 499] {
        assert!(!refused(status).fate_unknown(), "{status}");
    }
    let (call, cause) = ("POST job".to_owned(), String::new());
    assert!(ArmError::Unreadable { call: call.clone(), cause: cause.clone() }.fate_unknown());
    assert!(!ArmError::NoToken { scope: call.clone(), cause }.fate_unknown());
    assert!(!ArmError::OutOfTime(call).fate_unknown());
    assert_eq!([429, 404, 503].map(|status| refused(status).is_throttled()), [true, false, false]);
    assert_eq!([429, 404, 410].map(|status| refused(status).is_not_found()), [false, true, false]);
    let with = |code: &str| {
        let body = json!({"error": {"code": code, "message": "m"}}).to_string();
        ArmError::Refused(Box::new(Refusal::parse("DELETE grant", 409, body.as_bytes())))
    };
    assert!(with("scopelocked").is_locked() && !with("Conflict").is_locked());
}

#[test]
fn the_innermost_detail_is_told_beside_the_outer_code_and_once() {
    let refusal = |body: Value| Refusal::parse("PUT hub", 400, body.to_string().as_bytes());
    let nested = |depth: usize| {
        (0..depth)
            .fold(json!({"code": "inner"}), |inner, n| json!({"code": format!("c{n}"), "details": [inner]}))
    };
    let mut told =
        refusal(json!({"error": {"code": "outer", "message": "m", "details": [nested(2), {"code": ""}]}}));
    assert_eq!(told.details, ["c1", "c0", "inner"]);
    assert_eq!(told.to_string(), "ARM refused PUT hub with 400 outer (inner): m");
    told.details = vec!["outer".into()];
    (told.later, told.request_id) = (true, Some("r-1".into()));
    assert_eq!(told.to_string(), "ARM failed PUT hub with 400 outer: m [x-ms-request-id r-1]");
    told.message.clear();
    told.request_id = None;
    assert_eq!(told.to_string(), "ARM failed PUT hub with 400 outer");
    // However deep somebody nests them, it comes to an end.
    assert_eq!(refusal(nested(50)).details.len(), 5);
    assert_eq!(refusal(json!({"Code": 400117, "MESSAGE": "m"})).number(), Some(400_117));
}
