use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::{
    desired::Choice,
    model::{
        desired::{DesiredHub, OwnedPart, Switch},
        hub::HubDocument,
    },
};

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);
const HUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/hub1";
const ALERTS: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/alerts";
const SHARED: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress";

fn state(guardrails: &str) -> DesiredState {
    let text = format!(
        "version: 1\nguardrails:\n  subscriptions: [ 0b1f6471-1bf0-4dda-aec3-cb9272f09590 ]\n  targets: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data ]\n{guardrails}profiles:\n  - name: standard\n    match: {{ tags: {{ egress: standard }} }}\n    identity: {{ system: on }}\n    endpoints: [ {{ name: telemetry, eventHub: {ALERTS}, as: system }} ]\n    routes: [ {{ name: all, source: DeviceMessages, endpoint: telemetry }} ]\n"
    );
    DesiredState::parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn request(kind: &str, rest: Value) -> Value {
    let mut request = json!({"schema": "hubward/v1", "kind": kind, "id": "r-1", "hub": HUB,
        "requestedBy": "ada@example.com", "reason": "a test"});
    for (name, value) in rest.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn read(state: &DesiredState, request: &Value) -> Request {
    state.request(&request.to_string(), NOW).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(state: &DesiredState, request: &Value) -> String {
    state.request(&request.to_string(), NOW).map(|request| request.to_string()).unwrap_err().to_string()
}

fn hub(properties: Value) -> HubDocument {
    HubDocument::from_json(
        json!({"id": HUB, "location": "westus2", "sku": {"name": "S1"}, "tags": {"egress": "standard"}, "etag": "e",
        "properties": properties}),
    )
    .unwrap()
}

fn with_endpoint() -> HubDocument {
    hub(json!({"routing": {
        "endpoints": {"eventHubs": [{"name": "Old", "authenticationType": "identityBased",
            "endpointUri": "sb://ns1.servicebus.windows.net", "entityPath": "alerts",
            "subscriptionId": "0b1f6471-1bf0-4dda-aec3-cb9272f09590", "resourceGroup": "rg-data"}]},
        "routes": [{"name": "r1", "source": "DeviceMessages", "endpointNames": ["old"]},
            {"name": "r2", "source": "DeviceMessages", "endpointNames": ["events"]}],
        "enrichments": [{"key": "k", "value": "v", "endpointNames": ["OLD"]}]}}))
}

fn choice(state: &DesiredState, request: &Request, hub: &HubDocument) -> Choice {
    match state.for_request(request, hub, NOW) {
        Wanted::State(choice) => choice,
        other => panic!("{other:?}"),
    }
}

fn desired(choice: Choice) -> DesiredHub {
    match choice {
        Choice::Desired(desired) => desired,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_part_of_a_profile_leaves_everything_else_as_it_is() {
    let state = state("");
    let ask = request(
        "EnsureEndpoint",
        json!({"endpoint": {"name": "alerts", "eventHub": ALERTS, "as": "system"}}),
    );
    let wanted = desired(choice(&state, &read(&state, &ask), &hub(json!({}))));
    let mut expected = DesiredHub::leaving_all(IotHubId::parse(HUB).unwrap(), "request".into());
    expected.identity.system = Switch::On;
    expected.endpoints.clone_from(&wanted.endpoints);
    assert_eq!(wanted, expected);
    assert_eq!(wanted.endpoints[0].target.id().as_str(), ALERTS);
}

#[test]
fn profiles_are_found_by_hub_or_by_name() {
    let state = state("");
    let mut other = hub(json!({}));
    let own = desired(choice(&state, &read(&state, &request("Reconcile", json!({}))), &other));
    assert_eq!(own.profile, "standard");
    other = HubDocument::from_json(
        json!({"id": HUB, "location": "westus2", "sku": {"name": "S1"}, "properties": {}}),
    )
    .unwrap();
    assert_eq!(choice(&state, &read(&state, &request("Reconcile", json!({}))), &other), Choice::NoProfile);
    let named = request("Onboard", json!({"profile": "Standard"}));
    assert_eq!(desired(choice(&state, &read(&state, &named), &other)).profile, "standard");
    let text = mistakes(&state, &request("Onboard", json!({"profile": "standrad"})));
    assert_eq!(text, "profile: there is no profile `standrad`; fix: write `standard`");
}

#[test]
fn another_authentication_keeps_the_target() {
    let state = state("");
    let ask = read(&state, &request("SetEndpointAuth", json!({"endpoint": "old", "as": "system"})));
    let wanted = desired(choice(&state, &ask, &with_endpoint()));
    assert_eq!(
        (wanted.endpoints[0].name.as_str(), wanted.endpoints[0].target.id().as_str()),
        ("Old", ALERTS)
    );
    let ask = read(&state, &request("SetEndpointAuth", json!({"endpoint": "odl", "as": "system"})));
    let Choice::Refused(causes) = choice(&state, &ask, &with_endpoint()) else { panic!() };
    assert_eq!(
        causes[0].to_string(),
        "profile request, endpoint: `odl`: the hub has no such endpoint; fix: write `Old`"
    );
}

#[test]
fn removing_names_what_goes_and_nothing_else() {
    let state = state("");
    let names = |with_routes: bool| {
        let ask = request("RemoveEndpoint", json!({"endpoint": "old", "withRoutes": with_routes}));
        let wanted = desired(choice(&state, &read(&state, &ask), &with_endpoint()));
        wanted.owned.into_iter().map(|own| (own.part, own.name)).collect::<Vec<_>>()
    };
    let endpoint = (OwnedPart::Endpoint, "old".to_owned());
    assert_eq!(names(false), std::slice::from_ref(&endpoint));
    let (route, key) = ((OwnedPart::Route, "r1".to_owned()), (OwnedPart::Enrichment, "k".to_owned()));
    assert_eq!(names(true), [route, key, endpoint]);
}

#[test]
fn routes_lead_to_what_the_hub_has() {
    let state = state("");
    let route = |endpoint: &str| {
        let route = json!({"name": "new", "source": "DeviceMessages", "endpoint": endpoint});
        read(&state, &request("EnsureRoutes", json!({"routes": [route]})))
    };
    desired(choice(&state, &route("old"), &with_endpoint()));
    desired(choice(&state, &route("events"), &hub(json!({}))));
    let Choice::Refused(causes) = choice(&state, &route("oldd"), &with_endpoint()) else { panic!() };
    assert_eq!((causes[0].field.as_str(), causes[0].fix.as_str()), ("routes[0].endpoint", "write `Old`"));
    let text = mistakes(&state, &request("EnsureRoutes", json!({})));
    assert_eq!(text, "this asks for nothing; fix: add `routes`, `enrichments` or `fallback`");
}

#[test]
fn a_message_brings_no_identity_of_its_own() {
    let ask = |id: &str| {
        request("EnsureEndpoint", json!({"endpoint": {"name": "a", "eventHub": ALERTS, "as": id}}))
    };
    let text = mistakes(&state(""), &ask(SHARED));
    assert!(
        text.starts_with("endpoint.as: this identity is in no profile and outside `guardrails.identities`"),
        "{text}"
    );
    let allowed = state(
        "  identities: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data ]\n",
    );
    let wanted = desired(choice(&allowed, &read(&allowed, &ask(SHARED)), &hub(json!({}))));
    assert_eq!(wanted.identity.user[0].as_str(), SHARED);
    let text = mistakes(&allowed, &ask("sytem"));
    assert_eq!(text, "endpoint.as: `sytem` is no identity; fix: write `system`");
}

#[test]
fn mistakes_are_named_in_the_words_of_the_request() {
    let state = state("");
    let many = json!({"schema": "hubward/v2", "kind": "EnsureEndpoint", "id": "-", "hub": "hub1", "requestedby": "x",
        "reason": "", "dryrun": true, "notBefore": "tomorrow",
        "endpoint": {"name": "events", "eventHub": ALERTS.replace("rg-data", "rg-theirs"), "as": "system", "role": "Owner"}});
    insta::assert_snapshot!(mistakes(&state, &many), @r#"
    dryrun: unknown field; fix: write `dryRun`

    endpoint.eventHub: this is outside `guardrails.targets`; fix: add `/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-theirs` to `guardrails.targets`, or point elsewhere

    endpoint.name: `events` is a name that the service keeps for itself; fix: choose another name

    endpoint.role: there is no field `role`: what an endpoint sends to implies the role and the scope; fix: drop the line

    hub: a resource id begins with `/subscriptions/<guid>`; fix: write `/subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.Devices/IotHubs/<name>`

    id: `-` is not allowed here; fix: write 1 to 128 letters, digits, `.`, `_`, `:` or `-`, with a letter or digit first

    notBefore: this is not a time; fix: write it in RFC 3339 with an offset, such as `2026-01-31T12:00:00Z`

    reason: `` is not allowed here; fix: write 1 to 256 characters on one line

    requestedby: unknown field; fix: write `requestedBy`

    schema: this must be "hubward/v1", not `hubward/v2`; fix: write "hubward/v1"
    "#);
    let text = mistakes(&state, &json!({"kind": "EnsureEndpoints"}));
    assert_eq!(text, "kind: there is no request of the kind `EnsureEndpoints`; fix: write `EnsureEndpoint`");
    let elsewhere = HUB.replace("0b1f6471", "00000000");
    let text = mistakes(&state, &request("Reconcile", json!({"hub": elsewhere})));
    assert!(text.starts_with("hub: the hub's subscription 00000000-"), "{text}");
    let text =
        mistakes(&self::state("  allowRemovals: true\n"), &request("Offboard", json!({"confirm": "hub2"})));
    assert_eq!(text, "confirm: `hub2` is not the hub's name; fix: write `hub1`, if that is the hub you mean");
    let text = state.request("{\"kind\":\"Reconcile\",\"kind\":\"Offboard\"}", NOW).unwrap_err().to_string();
    assert!(text.contains("kind: `kind` comes twice; fix: keep one of the two"), "{text}");
}

#[test]
fn offboarding_takes_what_the_profile_lists() {
    let state = state("  allowRemovals: true\n");
    let ask = request("Offboard", json!({"confirm": "HUB1", "profile": "Standard", "turnIdentityOff": true}));
    let matched = hub(json!({}));
    let causes = choice(&state, &read(&state, &ask), &matched).causes();
    assert!(causes[0].contains("profile standard still matches the hub"), "{causes:?}");
    let out = json!({"id": HUB, "location": "westus2", "sku": {"name": "S1"}, "tags": {}, "etag": "e", "properties": {}});
    let wanted = desired(choice(&state, &read(&state, &ask), &HubDocument::from_json(out).unwrap()));
    assert!(wanted.owns(OwnedPart::Endpoint, "Telemetry") && wanted.owns(OwnedPart::Route, "all"));
    assert!(!wanted.owns(OwnedPart::Route, "theirs") && wanted.revoke_unneeded);
    assert_eq!(wanted.identity.system, Switch::Off);
}

#[test]
fn the_same_request_has_the_same_digest() {
    let state = state("");
    let one = request("Onboard", json!({"profile": "standard"}));
    let mut members: Vec<(String, Value)> = one.as_object().unwrap().clone().into_iter().collect();
    members.reverse();
    let turned = Value::Object(members.into_iter().collect());
    assert_eq!(read(&state, &one).digest(), read(&state, &turned).digest());
    let other = request("Onboard", json!({"profile": "standard", "dryRun": true}));
    assert_ne!(read(&state, &one).digest(), read(&state, &other).digest());
}

#[test]
fn jobs_are_checked_like_scheduled_exports() {
    let container = "/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/{hub}";
    let export =
        json!({"container": container, "as": "system", "blobName": "d.txt", "includeConfigurations": true});
    let state = state("");
    let ask = read(&state, &request("ExportDevices", export.clone()));
    let Wanted::Job(job) = state.for_request(&ask, &hub(json!({})), NOW) else { panic!() };
    assert_eq!(job.container.name(), "hub1");
    assert_eq!((job.id, job.requested_by.as_str()), (ask.digest(), "ada@example.com"));
    let JobSpec::Export { exclude_keys: true, configurations_blob_name: Some(second), .. } = &job.job else {
        panic!()
    };
    assert_eq!(second, "d.txt.configurations");
    let import = json!({"container": container, "as": "system", "blobName": "d.txt", "confirm": "hub1"});
    let text = mistakes(&state, &request("ImportDevices", import.clone()));
    assert!(text.starts_with("hub: `guardrails.allowImports` does not name hub1"), "{text}");
    let allowed = self::state("  allowImports: [ hub1 ]\n");
    let ask = read(&allowed, &request("ImportDevices", import));
    assert!(matches!(allowed.for_request(&ask, &hub(json!({})), NOW), Wanted::Job(_)));
    let mut bad = export;
    bad["as"] = "key".into();
    bad["container"] = container.replace("rg-data", "rg-theirs").into();
    let text = mistakes(&state, &request("ExportDevices", bad));
    assert!(
        text.contains("as: an export goes with an identity") && text.contains("container: this is outside"),
        "{text}"
    );
    let ask = read(&state, &request("CancelJob", json!({"jobId": "j-1"})));
    let Wanted::CancelJob(id) = state.for_request(&ask, &hub(json!({})), NOW) else { panic!() };
    assert_eq!(id.to_string(), "j-1");
}
