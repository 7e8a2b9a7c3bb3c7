//! The simulated Azure as its callers see it: stories told through its routers, on paused time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, http::Request};
use hubward::local::{
    azure::{Azure, EndpointValidation, EventSink, Fault, FaultKind, Settings, World},
    clock::SimClock,
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const SUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";
const EVENT_HUB: &str =
    "/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2";
const SENDER: &str = "2b629674-e913-4c01-ae53-ef4638d8f975";
const GRANT: &str = "5b8f7a1e-0000-4000-8000-000000000001";

/// A simulator with a caller who has a token.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) azure: Azure,
    router: Router,
    token: String,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

impl Sim {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::of(settings, World::sample(), 1.0)
    }

    pub(crate) fn of(settings: Settings, world: World, speed: f64) -> Self {
        let epoch = time::macros::datetime!(2026-03-01 12:00 UTC);
        let azure = Azure::new(settings, world, SimClock::start(epoch, speed));
        let token = azure.token().expect("the world has a caller");
        Self { router: azure.arm_router(), azure, token }
    }

    /// A call; the API version is added, and a body that is not null sent.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let join = if path.contains('?') { '&' } else { '?' };
        let uri = match path.contains("api-version") || path.starts_with("/_sim") {
            true => path.to_owned(),
            false => format!("{path}{join}api-version=2023-06-30"),
        };
        let mut request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1:7071");
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response =
            self.router.clone().oneshot(request.body(body).expect("a request")).await.expect("an answer");
        let status = response.status().as_u16();
        let names = response.headers().iter();
        let headers =
            names.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned())).collect();
        let body = match axum::body::to_bytes(response.into_body(), usize::MAX).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            Err(_) => json!("connection lost"),
        };
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Value::Null).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, &[], body).await
    }

    /// A hub, Active.
    pub(crate) async fn hub(&self, name: &str, more: Value) -> Value {
        let mut body = json!({"name": name, "resourceGroup": "rg-plant-01", "wait": true});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let made = self.call("POST", "/_sim/hubs", &[], body).await;
        assert_eq!(made.status, 200, "{}", made.body);
        made.body
    }

    async fn grant(&self, principal: &str) -> Answer {
        let role = format!("{SUB}/providers/Microsoft.Authorization/roleDefinitions/{SENDER}");
        let path = format!("{SUB}{EVENT_HUB}/providers/Microsoft.Authorization/roleAssignments/{GRANT}");
        let properties =
            json!({"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"});
        self.put(&path, json!({"properties": properties})).await
    }
}

pub(crate) fn hub_path(name: &str) -> String {
    format!("{SUB}/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/{name}")
}

/// An identity endpoint to the sample world's event hub.
fn endpoint() -> Value {
    json!({
        "name": "eh", "subscriptionId": "0b1f6471-1bf0-4dda-aec3-cb9272f09590", "resourceGroup": "rg-data",
        "authenticationType": "identityBased", "endpointUri": "sb://ns1.servicebus.windows.net",
        "entityPath": "telemetry-westus2",
    })
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[derive(Default)]
struct Inbox {
    got: Mutex<Vec<(Value, BTreeMap<String, String>)>>,
    answers: Mutex<Vec<u16>>,
}

#[async_trait]
impl EventSink for Inbox {
    async fn deliver(&self, body: Value, headers: BTreeMap<String, String>) -> u16 {
        self.got.lock().unwrap().push((body, headers));
        self.answers.lock().unwrap().pop().unwrap_or(200)
    }
}

impl Inbox {
    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_answers_201_with_the_old_etag_and_secrets_and_a_get_masks_them() {
    let sim = Sim::new(Settings::default());
    let text = "Endpoint=sb://x.servicebus.windows.net:5671/;SharedAccessKeyName=p;SharedAccessKey=topsecretkey=;EntityPath=e";
    let hub = sim
        .hub("h1", json!({"endpoints": {"eventHubs": [{"name": "keyed", "connectionString": text}]}}))
        .await;
    let path = hub_path("h1");
    let shown = sim.get(&path).await.body;
    let endpoint = &shown["properties"]["routing"]["endpoints"]["eventHubs"][0];
    assert_eq!(endpoint["connectionString"], text.replace("topsecretkey=", "****"));
    assert!(endpoint["id"].is_string(), "the service gives ids");
    assert_eq!(shown["properties"]["authorizationPolicies"], Value::Null);

    // Echo the masked document, as az does.
    let answer = sim.call("PUT", &path, &[("if-match", hub["etag"].as_str().unwrap())], shown.clone()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.body["etag"], hub["etag"]);
    assert_eq!(answer.body["properties"]["provisioningState"], "Accepted");
    assert_eq!(answer.body["properties"]["state"], Value::Null);
    assert!(answer.body.to_string().contains("topsecretkey="), "the mask was put back");
    assert!(answer.body["properties"]["authorizationPolicies"][0]["primaryKey"].is_string());
    assert!(answer.headers.contains_key("azure-asyncoperation"));
    assert!(!answer.headers.contains_key("location"));

    let poll =
        answer.headers["azure-asyncoperation"].strip_prefix("http://127.0.0.1:7071").expect("our own host");
    assert_eq!(sim.get(poll).await.body, json!({"status": "Pending"}));
    pass(10).await;
    assert_eq!(sim.get(poll).await.body, json!({"status": "Running"}));
    assert_eq!(sim.get(&path).await.body["properties"]["state"], "Transitioning");
    pass(21).await;
    // Node's SDK gives the valueless parameter a value.
    let odd = poll.replace("&asyncinfo", "&asyncinfo=undefined");
    assert_eq!(sim.get(&odd).await.body, json!({"status": "Succeeded"}));
    let after = sim.get(&path).await.body;
    assert_eq!(after["properties"]["state"], "Active");
    assert_ne!(after["etag"], hub["etag"]);
    assert_eq!(after["properties"]["routing"], shown["properties"]["routing"]);
    assert!(sim.azure.secrets().iter().any(|secret| secret == "topsecretkey="));
    let state = sim.azure.state().to_string();
    assert!(
        sim.azure.secrets().iter().all(|secret| !state.contains(secret.as_str())),
        "state holds no secret"
    );
}

#[tokio::test(start_paused = true)]
async fn an_identity_endpoint_is_refused_until_the_grant_has_spread() {
    let sim = Sim::new(Settings::default());
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let principal = hub["identity"]["principalId"].as_str().expect("a principal").to_owned();
    let mut wanted = hub.clone();
    wanted["properties"]["routing"]["endpoints"]["eventHubs"] = json!([endpoint()]);

    let refused = sim.put(&hub_path("h1"), wanted.clone()).await;
    assert_eq!((refused.status, refused.body["code"].as_u64()), (400, Some(400_117)));
    assert!(refused.body["message"].as_str().unwrap().contains("endpointName:eh"));

    assert_eq!(sim.grant(&principal).await.status, 201);
    pass(10).await;
    assert_eq!(sim.put(&hub_path("h1"), wanted.clone()).await.status, 400, "granted, but not yet effective");
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], false);
    pass(40).await;
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], true);
    let accepted = sim.put(&hub_path("h1"), wanted.clone()).await;
    assert_eq!(accepted.status, 201, "{}", accepted.body);
    assert_eq!(accepted.body["identity"]["principalId"], Value::Null);

    pass(31).await;
    let missing = sim.get(&hub_path("h1")).await.body;
    let mut elsewhere = missing.clone();
    elsewhere["properties"]["routing"]["endpoints"]["eventHubs"][0]["entityPath"] = json!("nowhere");
    let refused = sim.put(&hub_path("h1"), elsewhere).await;
    assert_eq!(refused.body["code"], 400_121, "a target that is not there is told apart");

    let mut off = missing.clone();
    off["identity"] = json!({"type": "None"});
    assert_eq!(sim.put(&hub_path("h1"), off).await.body["code"], 400_118, "an endpoint uses the identity");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_may_come_from_the_operation_and_undoes_the_write() {
    let sim = Sim::new(Settings { endpoint_validation: EndpointValidation::Async, ..Settings::default() });
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let mut wanted = hub.clone();
    wanted["properties"]["routing"]["endpoints"]["eventHubs"] = json!([endpoint()]);
    let accepted = sim.put(&hub_path("h1"), wanted).await;
    assert_eq!(accepted.status, 201);
    pass(31).await;
    let poll = accepted.headers["azure-asyncoperation"].strip_prefix("http://127.0.0.1:7071").unwrap();
    let status = sim.get(poll).await.body;
    assert_eq!(status["status"], "Failed");
    assert_eq!(status["error"]["details"][0]["code"], "400117");
    let after = sim.get(&hub_path("h1")).await.body;
    assert_eq!(after["properties"]["routing"], hub["properties"]["routing"]);
    assert_eq!(after["properties"]["provisioningState"], "Failed");
    let events = sim.azure.events();
    assert_eq!(events[1]["event"]["eventType"], "Microsoft.Resources.ResourceWriteFailure");
    assert_eq!(events[1]["passesFilter"], false);
}

#[tokio::test(start_paused = true)]
async fn two_writers_meet_412_and_409() {
    let sim = Sim::new(Settings::default());
    let hub = sim.hub("h1", json!({})).await;
    let path = hub_path("h1");
    let changed = sim.call("PATCH", "/_sim/hubs/h1", &[], json!({"tags": {"by": "someone"}})).await;
    assert_eq!(changed.status, 201);
    let busy = sim.put(&path, hub.clone()).await;
    assert_eq!((busy.status, busy.body["code"].as_u64()), (409, Some(409_002)));
    pass(31).await;
    let etag = hub["etag"].as_str().unwrap();
    let stale = sim.put(&path, hub.clone()).await;
    assert_eq!((stale.status, stale.body["code"].as_u64()), (412, Some(412_001)));
    let mut without = hub.clone();
    without.as_object_mut().unwrap().remove("etag");
    let stale = sim.call("PUT", &path, &[("if-match", etag)], without.clone()).await;
    assert_eq!(stale.status, 412);
    assert_eq!(sim.put(&path, without).await.status, 201, "nothing to compare with");
    let absent =
        sim.call("PUT", &hub_path("h2"), &[("if-match", etag)], json!({"location": "westus2"})).await;
    assert_eq!(absent.status, 412, "a tag cannot fit a hub that is not there");
    assert_eq!(sim.azure.state()["counters"]["hubPuts"], 5, "the operator's write is not counted");
}

#[tokio::test(start_paused = true)]
async fn a_young_principal_is_not_found_without_its_type() {
    let sim = Sim::new(Settings { principal_visible_seconds: 40.0, ..Settings::default() });
    let id =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1");
    let made = sim.put(&id, json!({"location": "westus2"})).await;
    assert_eq!(made.status, 201);
    assert!(made.body["id"].as_str().unwrap().contains("/resourcegroups/"));
    let principal = made.body["properties"]["principalId"].as_str().unwrap().to_owned();
    let path = format!("{SUB}{EVENT_HUB}/providers/Microsoft.Authorization/roleAssignments/{GRANT}");
    let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{SENDER}");
    let body = json!({"properties": {"roleDefinitionId": role, "principalId": principal}});
    let refused = sim.put(&path, body.clone()).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &json!("PrincipalNotFound")));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains(&principal.replace('-', "")));
    pass(41).await;
    assert_eq!(sim.put(&path, body.clone()).await.status, 201);
    assert_eq!(sim.put(&path, body.clone()).await.status, 200, "the same again");
    let other = path.replace(GRANT, "5b8f7a1e-0000-4000-8000-000000000002");
    let exists = sim.put(&other, body.clone()).await;
    assert_eq!((exists.status, &exists.body["error"]["code"]), (409, &json!("RoleAssignmentExists")));
    let mut wider = body;
    wider["properties"]["principalId"] = json!("9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02");
    let update = sim.put(&path, wider).await;
    assert_eq!(update.body["error"]["code"], "RoleAssignmentUpdateNotPermitted");
    let list = |filter: String| {
        let (sim, all) =
            (&sim, format!("{SUB}/providers/Microsoft.Authorization/roleAssignments?$filter={filter}"));
        async move { sim.get(&all).await.body["value"].as_array().map(Vec::len) }
    };
    assert_eq!(list(format!("principalId%20eq%20'{principal}'")).await, Some(1), "above the assignment");
    assert_eq!(list("atScope()".to_owned()).await, Some(0));
    let call = |method: &'static str| sim.call(method, &path, &[], Value::Null);
    assert_eq!(
        (call("DELETE").await.status, call("DELETE").await.status, call("GET").await.status),
        (200, 204, 404)
    );
}

#[tokio::test(start_paused = true)]
async fn events_arrive_after_each_write_and_are_retried() {
    let sim = Sim::new(Settings::default());
    let inbox = Arc::new(Inbox::default());
    sim.azure.set_event_sink(inbox.clone());
    inbox.answers.lock().unwrap().push(503);
    let hub = sim.hub("h1", json!({})).await;
    assert_eq!(inbox.count(), 0, "not at once");
    pass(3).await;
    assert_eq!(inbox.count(), 1);
    pass(11).await;
    assert_eq!(inbox.count(), 2, "again after 10 s");
    {
        let got = inbox.got.lock().unwrap();
        let (body, headers) = &got[1];
        assert_eq!(body[0]["subject"], hub["id"]);
        assert_eq!(body[0]["eventType"], "Microsoft.Resources.ResourceWriteSuccess");
        assert_eq!(body[0]["data"]["operationName"], "Microsoft.Devices/IotHubs/write");
        assert_eq!(body[0]["data"]["httpRequest"], Value::Null, "only changes and deletes have it");
        assert_eq!(
            (headers["aeg-event-type"].as_str(), headers["aeg-delivery-count"].as_str()),
            ("Notification", "1")
        );
        assert_eq!(got[0].0[0]["id"], got[1].0[0]["id"]);
    }
    sim.azure.inject(Fault::new(FaultKind::DuplicateEvent));
    assert_eq!(sim.put(&hub_path("h1"), hub).await.status, 201);
    pass(40).await;
    assert_eq!(inbox.count(), 4, "once more than once");
    let body = inbox.got.lock().unwrap()[3].0[0].clone();
    assert_eq!(body["data"]["httpRequest"]["method"], "PUT");
    let claims = &body["data"]["claims"];
    assert_eq!(claims["appid"], "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01");
    assert_eq!(body["data"]["authorization"]["evidence"]["principalId"], "9c2a7d4451c84b1e8f0e3d5a5b7e9c02");
    let again = sim.call("POST", "/_sim/events", &[], json!({"id": body["id"]})).await;
    assert_eq!(again.status, 202);
    assert_eq!(sim.call("DELETE", &hub_path("h1"), &[], Value::Null).await.status, 202);
    pass(40).await;
    assert_eq!(inbox.got.lock().unwrap()[5].0[0]["eventType"], "Microsoft.Resources.ResourceDeleteSuccess");
    assert_eq!(sim.azure.state()["counters"]["eventsDelivered"], 4);
}

#[tokio::test(start_paused = true)]
async fn calls_are_throttled_by_bucket_and_by_fault() {
    let mut settings = Settings::default();
    settings.throttling.reads = 3.0;
    let sim = Sim::new(settings);
    let path = format!("{SUB}/resourceGroups/rg-data");
    for left in ["2", "1", "0"] {
        let answer = sim.get(&path).await;
        assert_eq!(answer.headers["x-ms-ratelimit-remaining-subscription-reads"], left);
    }
    let refused = sim.get(&path).await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (429, "1"));
    pass(1).await;
    assert_eq!(sim.get(&path).await.status, 200);
    let fault = json!({"fault": "throttle", "match": {"method": "GET", "path": "*/rg-data"}, "times": 2, "retryAfter": 5});
    assert_eq!(sim.call("POST", "/_sim/faults", &[], fault).await.status, 201);
    pass(1).await;
    for expected in [(429, Some("5")), (429, Some("5")), (200, None)] {
        let answer = sim.get(&path).await;
        assert_eq!((answer.status, answer.headers.get("retry-after").map(String::as_str)), expected);
    }
    assert_eq!(sim.azure.state()["counters"]["throttled"], 3);
    let wrong = sim.call("POST", "/_sim/faults", &[], json!({"fault": "thunder"})).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body["error"].as_str().unwrap().contains("thunder"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_took_effect_and_a_reset_did_not() {
    let sim = Sim::new(Settings::immediate());
    let hub = sim.hub("h1", json!({})).await;
    let mut tagged = hub.clone();
    tagged["tags"] = json!({"a": "b"});
    sim.azure.inject(Fault::new(FaultKind::ResetBefore));
    assert_eq!(sim.put(&hub_path("h1"), tagged.clone()).await.body, "connection lost");
    assert_eq!(sim.get(&hub_path("h1")).await.body["tags"], json!({}));
    sim.azure.inject(Fault::new(FaultKind::LoseAnswer).status(503));
    assert_eq!(sim.put(&hub_path("h1"), tagged.clone()).await.status, 503);
    assert_eq!(sim.get(&hub_path("h1")).await.body["tags"], json!({"a": "b"}));
    sim.azure.inject(Fault::new(FaultKind::BadJson));
    assert_eq!(sim.get(&hub_path("h1")).await.body, Value::Null);
    sim.azure.inject(Fault::new(FaultKind::NotFoundWindow).seconds(60.0));
    tagged.as_object_mut().unwrap().remove("etag");
    assert_eq!(sim.put(&hub_path("h1"), tagged).await.status, 201);
    let hidden = sim.get(&hub_path("h1")).await;
    assert_eq!((hidden.status, hidden.body["code"].as_u64()), (404, Some(404_002)));
    pass(61).await;
    assert_eq!(sim.get(&hub_path("h1")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_turned_off_and_on_is_another() {
    let world = r#"{"subscriptions": [{"id": "0b1f6471-1bf0-4dda-aec3-cb9272f09590"}],
        "userAssignedIdentities": [{"id": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-plant-01/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"}],
        "iotHubs": [{"id": "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/h1", "identity": {"type": "SystemAssigned"}}]}"#;
    let sim = Sim::of(Settings::immediate(), World::parse(world).unwrap(), 1.0);
    let path = hub_path("h1");
    let mut hub = sim.get(&path).await.body;
    let first = hub["identity"]["principalId"].clone();
    assert!(first.is_string());
    let user = format!(
        "{SUB}/resourceGroups/RG-PLANT-01/providers/microsoft.managedidentity/userAssignedIdentities/U1"
    );
    hub["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {&user: {}}});
    let answer = sim.put(&path, hub).await;
    assert_eq!(answer.status, 201);
    let spelled = format!(
        "{SUB}/resourcegroups/rg-plant-01/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"
    );
    assert_eq!(
        answer.body["identity"],
        json!({"type": "UserAssigned", "userAssignedIdentities": {&spelled: {}}})
    );
    let mut hub = sim.get(&path).await.body;
    assert!(hub["identity"]["userAssignedIdentities"][&spelled]["principalId"].is_string());
    // az sends back what only the service knows.
    hub["identity"]["type"] = json!("SystemAssigned,UserAssigned");
    hub["identity"]["principalId"] = first.clone();
    hub["identity"]["tenantId"] = json!("x");
    assert_eq!(sim.put(&path, hub).await.status, 201);
    let hub = sim.get(&path).await.body;
    assert_eq!(hub["identity"]["type"], "SystemAssigned, UserAssigned");
    assert_ne!(hub["identity"]["principalId"], first);
    let asked = sim.get(&format!("{path}/providers/Microsoft.ManagedIdentity/identities/default")).await;
    assert_eq!(asked.body["properties"]["principalId"], hub["identity"]["principalId"]);
    let mut none = hub.clone();
    none["identity"] =
        json!({"type": "UserAssigned", "userAssignedIdentities": {user.replace("U1", "u2"): {}}});
    assert_eq!(sim.put(&path, none).await.body["error"]["code"], "FailedIdentityOperation");
}

#[tokio::test(start_paused = true)]
async fn documents_are_refused_with_the_documented_codes() {
    let sim = Sim::new(Settings::immediate());
    let keyed = json!({"name": "keyed", "connectionString": "Endpoint=sb://x/;SharedAccessKeyName=p;SharedAccessKey=k=;EntityPath=e"});
    let routes =
        json!([{"name": "r", "source": "devicemessages", "endpointNames": ["keyed"], "isEnabled": true}]);
    let hub = sim.hub("h1", json!({"endpoints": {"eventHubs": [keyed]}, "routes": routes})).await;
    assert_eq!(hub["properties"]["routing"]["routes"][0]["source"], "DeviceMessages");
    let refused = |change: fn(&mut Value)| {
        let mut body = hub.clone();
        change(&mut body["properties"]);
        let sim = &sim;
        async move { sim.put(&hub_path("h1"), body).await.body["code"].as_u64().unwrap_or_default() }
    };
    let lists = |p: &mut Value| p["routing"]["endpoints"]["eventHubs"] = json!([]);
    assert_eq!(refused(lists).await, 400_111);
    let renamed = |p: &mut Value| {
        p["routing"]["endpoints"]["eventHubs"][0]["name"] = json!("other");
        p["routing"]["routes"] = json!([]);
    };
    assert_eq!(refused(renamed).await, 400_116, "a mask is worth nothing under another name");
    let two = |p: &mut Value| p["routing"]["routes"][0]["endpointNames"] = json!(["events", "keyed"]);
    assert_eq!(refused(two).await, 400_004);
    let enrich = |p: &mut Value| {
        p["routing"]["enrichments"] = json!([{"key": "k", "value": "v", "endpointNames": ["x"]}])
    };
    assert_eq!(refused(enrich).await, 400_131);
    let twice = |p: &mut Value| {
        let copy = p["routing"]["endpoints"]["eventHubs"][0].clone();
        p["routing"]["endpoints"]["serviceBusQueues"] = json!([copy]);
    };
    assert_eq!(refused(twice).await, 400_116);
    let tls = |p: &mut Value| p["minTlsVersion"] = json!("2.5");
    assert_eq!(refused(tls).await, 400_089);
    let upload = |p: &mut Value| p["enableFileUploadNotifications"] = json!(true);
    assert_eq!(refused(upload).await, 400_004);
    let nobody = |p: &mut Value| {
        p["routing"]["endpoints"]["eventHubs"][0]["authenticationType"] = json!("identityBased");
        p["routing"]["endpoints"]["eventHubs"][0]["endpointUri"] = json!("sb://ns1.servicebus.windows.net");
        p["routing"]["endpoints"]["eventHubs"][0]["entityPath"] = json!("telemetry-westus2");
    };
    assert_eq!(refused(nobody).await, 400_118);
    let unknown = |p: &mut Value| p["someDay"] = json!({"kept": null, "too": 1});
    assert_eq!(refused(unknown).await, 0);
    let after = sim.get(&hub_path("h1")).await.body;
    assert_eq!(after["properties"]["someDay"], json!({"kept": null, "too": 1}), "what is not known is kept");
    let taken = hub_path("H1").replace("rg-plant-01", "rg-data");
    let taken = sim.put(&taken, json!({"location": "westus2", "sku": {"name": "S1"}})).await;
    assert_eq!(taken.body["code"], 409_004);
    let moved = sim.put(&hub_path("h1"), json!({"location": "eastus", "sku": {"name": "S1"}})).await;
    assert_eq!((moved.status, &moved.body["error"]["code"]), (409, &json!("InvalidResourceLocation")));
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_what_is_wrong_with_their_calls() {
    let sim = Sim::new(Settings::default());
    let bare = |uri: String| async {
        let request = Request::builder().uri(uri).header("host", "x").body(Body::empty()).unwrap();
        sim.azure.arm_router().oneshot(request).await.unwrap()
    };
    let refused = bare(format!("{SUB}?api-version=2022-12-01")).await;
    assert_eq!(refused.status(), 401);
    assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer authorization_uri="));
    assert_eq!(bare("/metadata/endpoints?api-version=2022-09-01".to_owned()).await.status(), 200);
    let code = |answer: Answer| {
        (answer.status, answer.body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let told = |status: u16, text: &str| (status, text.to_owned());
    let hub = hub_path("h1");
    assert_eq!(code(sim.get(&format!("{hub}?api-version=")).await), told(400, "MissingApiVersionParameter"));
    assert_eq!(code(sim.get(&hub).await), told(404, "ResourceNotFound"));
    assert_eq!(code(sim.get(&hub.replace("rg-plant-01", "x")).await), told(404, "ResourceGroupNotFound"));
    assert_eq!(code(sim.get(&hub.replace("0b1f6471", "1b1f6471")).await), told(404, "SubscriptionNotFound"));
    assert_eq!(code(sim.put(&hub, json!([1])).await), told(400, "InvalidRequestContent"));
    let head = sim.call("HEAD", &format!("{SUB}/resourcegroups/RG-DATA"), &[], Value::Null).await;
    assert_eq!(head.status, 204);
    let answer = sim
        .call(
            "GET",
            &format!("{SUB}/resourcegroups/RG-DATA"),
            &[("x-ms-client-request-id", "me")],
            Value::Null,
        )
        .await;
    assert_eq!(answer.headers["x-ms-client-request-id"], "me");
    assert_eq!(answer.headers["date"], "Sun, 01 Mar 2026 12:00:00 GMT", "the simulated time");
    assert_eq!(
        answer.body["id"],
        format!("{SUB}/resourceGroups/rg-data").to_lowercase().replace("resourcegroups", "resourceGroups")
    );
    let namespace =
        sim.get(&format!("{SUB}/resourcegroups/rg-data/providers/microsoft.eventhub/namespaces/NS1")).await;
    assert_eq!(namespace.body["properties"]["serviceBusEndpoint"], "https://ns1.servicebus.windows.net:443/");
    assert_eq!(sim.get(&format!("{SUB}{EVENT_HUB}")).await.status, 200);
    assert_eq!(code(sim.get(&format!("{SUB}{EVENT_HUB}x")).await), told(404, "ResourceNotFound"));
    let name = json!({"name": "h1"});
    let path = format!("{SUB}/providers/Microsoft.Devices/checkNameAvailability");
    assert_eq!(sim.call("POST", &path, &[], name).await.body["nameAvailable"], true);
    sim.azure.inject(Fault::new(FaultKind::Deny).on("PUT", "roleAssignments"));
    assert_eq!(
        code(sim.grant("9c2a7d44-51c8-4b1e-8f0e-3d5a5b7e9c02").await),
        told(403, "AuthorizationFailed")
    );
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let sim = Sim::new(Settings { page_size: 2, ..Settings::immediate() });
    for name in ["h1", "h2", "h3"] {
        sim.hub(name, json!({})).await;
    }
    let first = sim.get(&format!("{SUB}/providers/Microsoft.Devices/IotHubs")).await.body;
    assert_eq!(first["value"].as_array().unwrap().len(), 2);
    let next = first["nextLink"].as_str().unwrap().strip_prefix("http://127.0.0.1:7071").unwrap();
    let rest = sim.get(next).await.body;
    assert_eq!(rest["value"][0]["name"], "h3");
    assert_eq!(rest["nextLink"], Value::Null);
    let group = sim.get(&format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.Devices/IotHubs")).await;
    assert_eq!(group.body["value"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_given_to_those_who_ask_properly() {
    let sim = Sim::new(Settings::default());
    let azure = &sim.azure;
    let ask = |uri: &'static str, headers: &'static [(&'static str, &'static str)]| async move {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = azure.identity_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice::<Value>(&bytes).unwrap())
    };
    const SECRET: &[(&str, &str)] = &[("x-identity-header", "local-identity-header")];
    let uri = "/msi/token?resource=https://management.azure.com/&api-version=2019-08-01";
    assert_eq!(ask(uri, &[]).await.0, 401);
    assert_eq!(ask("/msi/token?resource=x", SECRET).await.0, 400);
    let (status, body) = ask(uri, SECRET).await;
    assert_eq!(status, 200);
    let expires: i64 = body["expires_on"].as_str().unwrap().parse().unwrap();
    assert!(expires > time::OffsetDateTime::now_utc().unix_timestamp(), "real time");
    assert_eq!(body["access_token"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(ask(uri, SECRET).await.1["access_token"], body["access_token"], "cached, as in Azure");
    let nobody =
        "/msi/token?resource=x&api-version=2019-08-01&client_id=00000000-0000-0000-0000-000000000009";
    assert_eq!(ask(nobody, SECRET).await.0, 400);
    let imds = "/metadata/identity/oauth2/token?resource=https://storage.azure.com/&api-version=2018-02-01";
    assert_eq!(ask(imds, &[]).await.0, 400);
    assert_eq!(ask(imds, &[("metadata", "true")]).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_fast_clock_shortens_every_wait() {
    let sim =
        Sim::of(Settings { retry_after_seconds: Some(90.0), ..Settings::default() }, World::sample(), 60.0);
    sim.hub("h1", json!({})).await;
    let deleted = sim.call("DELETE", &hub_path("h1"), &[], Value::Null).await;
    assert_eq!((deleted.status, deleted.headers["retry-after"].as_str()), (202, "2"));
    let location = deleted.headers["location"].strip_prefix("http://127.0.0.1:7071").unwrap().to_owned();
    assert_eq!(sim.get(&location).await.status, 202);
    assert_eq!(sim.get(&hub_path("h1")).await.body["properties"]["state"], "Deleting");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(sim.get(&location).await.status, 200);
    let gone = sim.get(&hub_path("h1")).await;
    assert_eq!((gone.status, gone.body["code"].as_u64()), (404, Some(404_002)));
    assert_eq!(sim.call("DELETE", &hub_path("h1"), &[], Value::Null).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_azure() {
    async fn story() -> Value {
        let sim = Sim::new(Settings::default());
        let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
        sim.grant(hub["identity"]["principalId"].as_str().unwrap()).await;
        sim.azure.state()
    }
    assert_eq!(story().await, story().await);
}

#[tokio::test(start_paused = true)]
async fn operations_fail_drag_on_and_are_denied_when_asked_to() {
    let sim = Sim::new(Settings::default());
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let principal = hub["identity"]["principalId"].as_str().unwrap().to_owned();
    let path = hub_path("h1");
    let poll = |answer: &Answer| {
        let link =
            answer.headers["azure-asyncoperation"].strip_prefix("http://127.0.0.1:7071").unwrap().to_owned();
        let sim = &sim;
        async move { sim.get(&link).await }
    };
    let mut body = hub.clone();
    body.as_object_mut().unwrap().remove("etag");
    body["tags"] = json!({"a": "b"});
    sim.azure.inject(Fault::new(FaultKind::FailOperation).code(409_002));
    let failing = sim.put(&path, body.clone()).await;
    pass(31).await;
    assert_eq!(poll(&failing).await.body["error"]["details"][0]["code"], "409002");
    let after = sim.get(&path).await.body;
    assert_eq!((&after["tags"], &after["identity"]), (&json!({}), &hub["identity"]), "undone");

    sim.azure.inject(Fault::new(FaultKind::SlowOperation).seconds(100.0));
    let slow = sim.put(&path, body.clone()).await;
    pass(120).await;
    assert_eq!(poll(&slow).await.body["status"], "Running");
    pass(20).await;
    assert_eq!(poll(&slow).await.body["status"], "Succeeded");
    let cut = slow.headers["azure-asyncoperation"].split("&t=").next().unwrap().to_owned();
    let cut = cut.strip_prefix("http://127.0.0.1:7071").unwrap();
    assert_eq!(sim.get(cut).await.status, 403, "the address is to be used as it is");

    sim.azure.inject(Fault::new(FaultKind::Conflict409));
    assert_eq!(sim.put(&path, body.clone()).await.status, 409);
    sim.azure.inject(Fault::new(FaultKind::PreconditionFailed));
    assert_eq!(sim.put(&path, body.clone()).await.status, 412);
    sim.azure.inject(Fault::new(FaultKind::PrincipalNotFound).times(2));
    assert_eq!((sim.grant(&principal).await.status, sim.grant(&principal).await.status), (400, 400));
    sim.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(300.0));
    assert_eq!(sim.grant(&principal).await.status, 201);
    pass(290).await;
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], false);
    pass(11).await;
    assert_eq!(sim.azure.state()["roleAssignments"][0]["propagated"], true);

    let user =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1");
    sim.put(&user, json!({"location": "westus2"})).await;
    body["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {&user: {}}});
    sim.azure.inject(Fault::new(FaultKind::DenyIdentity));
    let denied = sim.put(&path, body.clone()).await;
    assert_eq!((denied.status, &denied.body["error"]["code"]), (403, &json!("LinkedAuthorizationFailed")));
    assert_eq!(sim.azure.state()["faults"], json!([]), "all of them are used up");
}

#[tokio::test(start_paused = true)]
async fn an_event_may_be_a_cloud_event_come_late_or_get_lost() {
    let mut settings = Settings::default();
    settings.events.cloud_events = true;
    let sim = Sim::new(settings);
    let inbox = Arc::new(Inbox::default());
    sim.azure.set_event_sink(inbox.clone());
    let hub = sim.hub("h1", json!({})).await;
    pass(3).await;
    {
        let got = inbox.got.lock().unwrap();
        let (body, headers) = &got[0];
        assert_eq!(body["specversion"], "1.0");
        assert_eq!((&body["subject"], &body["source"]), (&hub["id"], &json!(SUB)));
        assert_eq!(headers["content-type"], "application/cloudevents+json; charset=utf-8");
    }
    let path = hub_path("h1");
    sim.azure.inject(Fault::new(FaultKind::LoseEvent));
    assert_eq!(sim.call("PATCH", &path, &[], json!({"tags": {}})).await.status, 200);
    pass(60).await;
    assert_eq!(inbox.count(), 1);
    sim.azure.inject(Fault::new(FaultKind::LateEvent).seconds(500.0));
    assert_eq!(sim.call("PATCH", &path, &[], json!({"tags": {}})).await.status, 200);
    pass(400).await;
    assert_eq!(inbox.count(), 1);
    pass(200).await;
    assert_eq!(inbox.count(), 2);
    let told = sim.call("POST", "/_sim/events", &[], json!({"hub": "h1", "verb": "delete"})).await;
    assert_eq!(told.body["eventType"], "Microsoft.Resources.ResourceDeleteSuccess");
    pass(3).await;
    assert_eq!(inbox.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_grant_on_the_parent_counts_for_queues_topics_and_containers() {
    let data = format!("{SUB}/resourceGroups/rg-data");
    let (hub, user) =
        (hub_path("h1"), format!("{data}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/u1"));
    let account = format!("{data}/providers/Microsoft.Storage/storageAccounts/acct1");
    let bus = format!("{data}/providers/Microsoft.ServiceBus/namespaces/bus1");
    let principal = "7c0f0d3e-58a2-4d0e-9a64-0a4f3d3b6c11";
    let grant = |scope: &str, role: &str| json!({"scope": scope, "role": role, "principalId": principal});
    let world = |grants: Value| {
        let world = json!({
            "userAssignedIdentities": [{"id": user, "principalId": principal}],
            "serviceBusNamespaces": [{"id": bus, "queues": ["q"], "topics": ["t"]}],
            "storageAccounts": [{"id": account, "containers": ["c"]}],
            "roleAssignments": grants,
            "iotHubs": [{"id": hub, "identity": {"type": "UserAssigned", "userAssignedIdentities": {&user: {}}}}],
        });
        World::parse(&world.to_string()).unwrap()
    };
    let uses = |name: &str, uri: &str, more: Value| {
        let mut endpoint = json!({
            "name": name, "endpointUri": uri, "authenticationType": "identityBased",
            "identity": {"userAssignedIdentity": user.replace("resourceGroups", "resourcegroups")},
        });
        endpoint.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        endpoint
    };
    let uri = "sb://bus1.servicebus.windows.net";
    let container =
        |name: &str| uses("c", "https://acct1.blob.core.windows.net", json!({"containerName": name}));
    let lists = |container: Value| {
        json!({
            "serviceBusQueues": [uses("q", uri, json!({"entityPath": "q"}))],
            "serviceBusTopics": [uses("t", uri, json!({"entityPath": "t"}))],
            "storageContainers": [container],
        })
    };
    let grants = json!([
        grant(&bus, "Azure Service Bus Data Sender"),
        grant(&account, "Storage Blob Data Contributor")
    ]);

    let sim = Sim::of(Settings::immediate(), world(grants.clone()), 1.0);
    let mut body = sim.get(&hub).await.body;
    body["properties"]["routing"]["endpoints"] = lists(container("nowhere"));
    assert_eq!(sim.put(&hub, body.clone()).await.body["code"], 400_123);
    body["properties"]["routing"]["endpoints"] = lists(container("c"));
    let accepted = sim.put(&hub, body.clone()).await;
    assert_eq!(accepted.status, 201, "{}", accepted.body);
    let again = sim.get(&hub).await.body;
    assert_eq!(sim.put(&hub, again.clone()).await.status, 201, "a GET can be sent back");

    let mut upload = sim.get(&hub).await.body;
    upload["properties"]["storageEndpoints"]["$default"] = json!({
        "containerName": "c", "authenticationType": "identityBased",
        "connectionString": "DefaultEndpointsProtocol=https;AccountName=acct1;AccountKey=uploadkey=",
    });
    assert_eq!(sim.put(&hub, upload.clone()).await.body["code"], 400_118, "there is no system identity");
    upload["properties"]["storageEndpoints"]["$default"]["identity"] = json!({"userAssignedIdentity": user});
    assert_eq!(sim.put(&hub, upload).await.status, 201);

    let sim = Sim::of(Settings::immediate(), world(json!([grants[0]])), 1.0);
    body.as_object_mut().unwrap().remove("etag");
    assert_eq!(sim.put(&hub, body).await.body["code"], 400_117, "nothing was granted on the account");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_document_is_refused_and_breaks_nothing() {
    let sim = Sim::new(Settings::immediate());
    let hub = sim.hub("h1", json!({})).await;
    for path in [
        "/properties",
        "/properties/eventHubEndpoints",
        "/properties/eventHubEndpoints/events",
        "/properties/routing",
        "/properties/routing/endpoints",
        "/properties/routing/endpoints/eventHubs",
        "/properties/routing/routes",
        "/properties/routing/fallbackRoute",
        "/properties/storageEndpoints",
        "/properties/storageEndpoints/$default",
        "/properties/messagingEndpoints",
        "/properties/cloudToDevice",
        "/properties/minTlsVersion",
        "/properties/features",
        "/identity",
        "/sku",
        "/tags",
        "/location",
    ] {
        for odd in [json!("text"), json!(7), json!([1]), json!([{}]), json!({"a": [{}]}), Value::Null] {
            let mut body = hub.clone();
            body.as_object_mut().unwrap().remove("etag");
            *body.pointer_mut(path).unwrap() = odd.clone();
            let status = sim.put(&hub_path("h1"), body.clone()).await.status;
            assert!(matches!(status, 201 | 400 | 409), "{path} = {odd}: {status}");
            assert_eq!(sim.get(&hub_path("h1")).await.status, 200, "{path} = {odd}");
            body["name"] = json!("h2");
            body["resourceGroup"] = json!("rg-data");
            let status = sim.call("POST", "/_sim/hubs", &[], body).await.status;
            assert!(matches!(status, 201 | 400 | 409), "{path} = {odd}: {status}");
            sim.call("DELETE", "/_sim/hubs/h2", &[], Value::Null).await;
        }
    }
    let mut many = hub.clone();
    many["properties"]["eventHubEndpoints"]["events"]["partitionCount"] = json!(u64::MAX);
    many["name"] = json!("h3");
    let path = hub_path("h3");
    assert_eq!(sim.put(&path, many).await.body["code"], 400_016);
}

/// Over a real socket, on real time.
#[tokio::test]
async fn a_lost_connection_is_one_for_a_real_client_and_a_webhook_gets_the_events() {
    let sim = Sim::new(Settings::immediate());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let webhook = axum::routing::post(move |axum::Json(body): axum::Json<Value>| async move {
        sender.send(body).unwrap();
    });
    let app = sim.azure.arm_router();
    let app = Router::new().route("/hook", webhook).fallback_service(app);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let hook = format!("http://{address}/hook").parse().unwrap();
    sim.azure.set_event_sink(Arc::new(hubward::local::azure::HttpEventSink::new(hook)));

    let client = reqwest::Client::new();
    let url = format!("http://{address}{}?api-version=2023-06-30", hub_path("h1"));
    let put = || {
        let body = json!({"location": "westus2", "sku": {"name": "S1", "capacity": 1}});
        client.put(&url).bearer_auth(sim.azure.token().unwrap()).body(body.to_string()).send()
    };
    sim.azure.inject(Fault::new(FaultKind::LoseAnswer));
    assert!(put().await.is_err(), "no answer at all, not even a status");
    let answer = put().await.unwrap();
    assert_eq!(answer.status(), 201);
    let poll = answer.headers()["azure-asyncoperation"].to_str().unwrap().to_owned();
    assert!(poll.starts_with(&format!("http://{address}/subscriptions/")));
    assert_eq!(client.get(&poll).bearer_auth(sim.azure.token().unwrap()).send().await.unwrap().status(), 200);
    for _ in 0..2 {
        let event = inbox.recv().await.unwrap();
        assert_eq!(event[0]["subject"], hub_path("h1"));
    }
}

/// An `Authorization` header with a token for this audience, from the platform's endpoint.
async fn bearer(azure: &Azure, audience: &str, client: &str) -> String {
    let uri = format!("/msi/token?resource={audience}&api-version=2019-08-01&client_id={client}");
    let request = Request::builder().uri(uri).header("x-identity-header", "local-identity-header");
    let request = request.body(Body::empty()).unwrap();
    let response = azure.identity_router().oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    format!("Bearer {}", body["access_token"].as_str().expect("a token"))
}

/// A call as `Sim::call` makes it, with another token.
async fn call_as(azure: &Azure, bearer: &str, method: &str, uri: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1:7071");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = request.header("authorization", bearer).body(body).unwrap();
    let response = azure.arm_router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

const HANDLER: &str = "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01";
const OPERATOR: &str = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c";

#[tokio::test(start_paused = true)]
async fn clients_are_understood_with_a_slash_too_many_and_with_a_token_for_the_address_they_call() {
    let sim = Sim::new(Settings::default());
    sim.hub("h1", json!({})).await;
    // az puts its path behind whatever address it was given.
    let cloud = sim.call("GET", "//metadata/endpoints?api-version=2022-09-01", &[], Value::Null).await;
    assert_eq!(cloud.body["resourceManager"], "http://127.0.0.1:7071/");
    let before = sim.azure.state()["counters"]["armCalls"].clone();
    assert_eq!(before, 0, "the cloud's description is no call to Resource Manager");
    let hub = sim.get(&format!("/{}/", hub_path("h1"))).await;
    assert_eq!((hub.status, &hub.body["id"]), (200, &json!(hub_path("h1"))));

    // SDKs that know only an address take it for the audience too.
    let uri = format!("{}?api-version=2023-06-30", hub_path("h1"));
    for (audience, status) in [
        ("http://127.0.0.1:7071", 200),
        ("http://127.0.0.1:7071/", 200),
        ("https://management.azure.com/", 200),
        ("http://127.0.0.1:7072", 401),
        ("http://127.0.0.1:7071/graph/", 401),
    ] {
        let token = bearer(&sim.azure, audience, HANDLER).await;
        let (answered, body) = call_as(&sim.azure, &token, "GET", &uri, Value::Null).await;
        assert_eq!(answered, status, "{audience}: {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_directory_tells_az_whose_an_object_id_is() {
    let sim = Sim::new(Settings::default());
    let hub = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let principal = hub["identity"]["principalId"].as_str().expect("a principal").to_owned();
    let cloud = sim.call("GET", "/metadata/endpoints?api-version=2022-09-01", &[], Value::Null).await;
    let address = cloud.body["microsoftGraphResourceId"].as_str().expect("an address").to_owned();
    let token = bearer(&sim.azure, &address, OPERATOR).await;
    let root = format!("{}v1.0", address.strip_prefix("http://127.0.0.1:7071").expect("our own host"));
    let by_id = format!("{root}/directoryObjects/getByIds");
    let ids = json!({"ids": [principal.to_uppercase(), OPERATOR], "types": ["servicePrincipal"]});

    let (_, early) = call_as(&sim.azure, &token, "POST", &by_id, ids.clone()).await;
    assert_eq!(early["value"], json!([]), "the directory takes a while to know a new identity");
    pass(6).await;
    let (status, found) = call_as(&sim.azure, &token, "POST", &by_id, ids.clone()).await;
    assert_eq!((status, found["value"].as_array().map(Vec::len)), (200, Some(1)), "{found}");
    let found = &found["value"][0];
    assert_eq!((&found["id"], &found["displayName"]), (&json!(principal), &json!("h1")));
    assert_eq!(found["@odata.type"], "#microsoft.graph.servicePrincipal");

    let named =
        |id: &str| format!("{root}/servicePrincipals?$filter=servicePrincipalNames/any(c:c%20eq%20'{id}')");
    let (_, found) = call_as(&sim.azure, &token, "GET", &named(OPERATOR), Value::Null).await;
    assert_eq!(found["value"][0]["id"], "2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77");
    let (_, found) =
        call_as(&sim.azure, &token, "GET", &named("00000000-1111-4222-8333-444444444444"), Value::Null).await;
    assert_eq!(found, json!({"value": []}));
    let other = format!("{root}/servicePrincipals?$filter=startswith(displayName,'h')");
    assert_eq!(call_as(&sim.azure, &token, "GET", &other, Value::Null).await.0, 400);
    let (status, refused) = call_as(&sim.azure, &token, "GET", &format!("{root}/users"), Value::Null).await;
    assert_eq!((status, &refused["error"]["code"]), (404, &json!("Request_ResourceNotFound")));

    // Resource Manager's tokens are not the directory's, and its calls are counted elsewhere.
    let wrong = bearer(&sim.azure, "https://management.azure.com/", OPERATOR).await;
    assert_eq!(call_as(&sim.azure, &wrong, "POST", &by_id, ids).await.0, 401);
    assert_eq!(sim.azure.state()["counters"]["armCalls"], 0);
}

#[tokio::test(start_paused = true)]
async fn people_and_their_tools_are_another_caller_than_the_handler() {
    let sim = Sim::new(Settings::immediate());
    let document = json!({"location": "westus2", "sku": {"name": "S1", "capacity": 1}});
    for (client, name) in [(OPERATOR, "h1"), (HANDLER, "h2")] {
        let token = bearer(&sim.azure, "https://management.azure.com/", client).await;
        let uri = format!("{}?api-version=2023-06-30", hub_path(name));
        assert_eq!(call_as(&sim.azure, &token, "PUT", &uri, document.clone()).await.0, 201);
        pass(1).await;
    }
    let events = sim.azure.events().to_string();
    // The handler passes over events of its own writes; what a person does with az must not look so.
    assert!(events.contains("2b0c5f0e-7a55-4d0c-9a3e-0d4f6a1c9e77"), "{events}");
    let log = sim.azure.state()["log"].clone();
    let callers: Vec<&str> =
        log.as_array().into_iter().flatten().filter_map(|c| c["caller"].as_str()).collect();
    assert_eq!(callers, ["operator", "hubward"]);
}
