//! A caller of the simulated Azure, on paused time, and what its stories share.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use async_trait::async_trait;
use axum::{Router, body::Body, http::Request};
use hubward::local::{
    azure::{Azure, EventSink, Settings, World},
    clock::SimClock,
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const SUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";
pub(crate) const EVENT_HUB: &str =
    "/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2";
pub(crate) const SENDER: &str = "2b629674-e913-4c01-ae53-ef4638d8f975";
pub(crate) const GRANT: &str = "5b8f7a1e-0000-4000-8000-000000000001";
pub(crate) const HANDLER: &str = "6d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01";
pub(crate) const OPERATOR: &str = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c";

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

    pub(crate) async fn grant(&self, principal: &str) -> Answer {
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
pub(crate) fn endpoint() -> Value {
    json!({
        "name": "eh", "subscriptionId": "0b1f6471-1bf0-4dda-aec3-cb9272f09590", "resourceGroup": "rg-data",
        "authenticationType": "identityBased", "endpointUri": "sb://ns1.servicebus.windows.net",
        "entityPath": "telemetry-westus2",
    })
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Where events arrive, and what it answers to the next ones.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) got: Mutex<Vec<(Value, BTreeMap<String, String>)>>,
    pub(crate) answers: Mutex<Vec<u16>>,
}

#[async_trait]
impl EventSink for Inbox {
    async fn deliver(&self, body: Value, headers: BTreeMap<String, String>) -> u16 {
        self.got.lock().unwrap().push((body, headers));
        self.answers.lock().unwrap().pop().unwrap_or(200)
    }
}

impl Inbox {
    pub(crate) fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

/// An `Authorization` header with a token for this audience, from the platform's endpoint.
pub(crate) async fn bearer(azure: &Azure, audience: &str, client: &str) -> String {
    let uri = format!("/msi/token?resource={audience}&api-version=2019-08-01&client_id={client}");
    let request = Request::builder().uri(uri).header("x-identity-header", "local-identity-header");
    let request = request.body(Body::empty()).unwrap();
    let response = azure.identity_router().oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    format!("Bearer {}", body["access_token"].as_str().expect("a token"))
}

/// A call as `Sim::call` makes it, with another token.
pub(crate) async fn call_as(
    azure: &Azure,
    bearer: &str,
    method: &str,
    uri: &str,
    body: Value,
) -> (u16, Value) {
    let request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1:7071");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = request.header("authorization", bearer).body(body).unwrap();
    let response = azure.arm_router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
