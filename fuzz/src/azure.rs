//! What Azure answers, and what the simulated Azure is asked.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions},
    http::{AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode, Url, headers::Headers},
};
use hubward::{
    arm::{ArmClient, ArmError, ArmReader, AzureClock, Reaction},
    desired::{DesiredState, sample},
    local::{
        azure::{Azure, Settings, World},
        clock::SimClock,
        in_process::InProcess,
    },
    model::{
        IotHubId,
        desired::IdentityRef,
        hub::{HubDocument, HubEdit, IdentityEdit, Secrets},
    },
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use tokio::runtime::{Builder, Runtime};

use super::text;

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00 UTC);
const SUBSCRIPTION: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
/// Longest sentence of a service that is told on.
const LONGEST_MESSAGE: usize = 1000;

static STATE: LazyLock<DesiredState> =
    LazyLock::new(|| DesiredState::parse(sample()).expect("the sample has no mistakes"));

static HUB: LazyLock<IotHubId> = LazyLock::new(|| {
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/h1"
    );
    IotHubId::parse(&id).expect("a hub's id")
});

/// Paused time: a wait between two tries takes none.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// A Resource Manager that gives everybody the same answer.
#[derive(Debug)]
struct Parrot {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

#[async_trait]
impl HttpClient for Parrot {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.insert(*name, value.clone());
        }
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(self.status), headers, self.body.clone()))
    }
}

#[async_trait]
impl TokenCredential for Parrot {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(Secret::new("a-token"), NOW + time::Duration::days(1)))
    }
}

/// `{status} {retry-after} {time until the quota is renewed}`, of which the last two may be missing, and, behind the
/// line, what Resource Manager says to a read of a hub. A refusal is told in few words without anything like a key,
/// and something is done about it within a day.
pub fn arm_errors(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Some(line) = text(&data[..end]) else { return };
    let mut words = line.split_whitespace();
    let status = words.next().and_then(|status| status.parse().ok());
    let Some(status) = status.filter(|status| (200..600).contains(status)) else { return };
    let headers = ["retry-after", "x-ms-user-quota-resets-after"].into_iter().zip(words.map(str::to_owned));
    let arm = Arc::new(Parrot { status, headers: headers.collect(), body: data[end + 1..].to_vec() });
    let client = ArmClient::new(
        Url::parse("https://arm.test").expect("a URL"),
        "https://management.azure.com/.default".to_owned(),
        arm.clone(),
        arm,
        AzureClock::starting_at(NOW),
    );
    let answer = runtime().block_on(ArmReader::new(client).hub(&HUB));
    match &answer {
        Ok(Some(hub)) => assert!((200..300).contains(&status) && !hub.id().name().is_empty()),
        Ok(None) => assert!(status == 404 || status == 204, "{status} is not an absence"),
        Err(error) => refused(error, status),
    }
}

fn refused(error: &ArmError, status: u16) {
    error.explained();
    error.fate_unknown();
    if let Reaction::Wait(pause) | Reaction::Garbled(pause) = error.reaction() {
        assert!(pause.as_secs() <= 24 * 60 * 60, "{pause:?} is for ever");
    }
    let ArmError::Refused(refusal) = error else { return };
    assert_eq!(refusal.status, status);
    assert!(!refusal.code.is_empty());
    assert!(refusal.message.chars().count() <= LONGEST_MESSAGE);
    let keys = refusal.message.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)));
    for word in keys.filter(|word| word.ends_with('=')) {
        let key = word.trim_end_matches('=').rsplit('=').next().unwrap_or_default();
        assert!(key.len() < 42, "`{key}` may be a key");
    }
}

/// The document of a hub, looked at from all sides and edited. An edit changes what it names and nothing else.
pub fn hubs(data: &[u8]) {
    let Ok(json) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(hub) = HubDocument::from_json(json) else { return };
    let identity = hub.identity();
    hub.is_ready();
    hub.rest();
    hub.created_at();
    hub.preview_settings();
    for endpoint in hub.endpoints() {
        endpoint.auth();
        endpoint.target(hub.id());
        endpoint.connection_part("HostName");
    }
    for route in hub.routes() {
        assert!(route.is_named(route.name));
        route.endpoints();
    }
    for enrichment in hub.enrichments() {
        enrichment.endpoints();
    }
    if let Some(upload) = hub.file_upload() {
        upload.account();
        upload.auth();
    }
    hub.other_endpoints();
    hub.allowed_hosts();
    hub.users_of(&IdentityRef::System);
    let choice = STATE.for_document(&hub);
    assert_eq!(choice, STATE.for_document(&hub));
    let on = IdentityEdit { system: Some(true), ..IdentityEdit::default() };
    let edit = HubEdit { identity: Some(on), ..HubEdit::default() };
    let Ok(body) = edit.put_body(&hub, &Secrets::default()) else { return };
    let written = HubDocument::from_json(body.json.clone());
    if let Ok(written) = written {
        assert!(written.identity().system_assigned);
        assert_eq!(written.tags(), hub.tags());
        assert_eq!(written.routes().len(), hub.routes().len());
        assert!(identity.user_assigned.keys().all(|id| written.identity().user_assigned.contains_key(id)));
    }
}

/// A query of the simulated Resource Graph, over two hubs. It is answered, or refused as a query.
pub fn graph_queries(data: &[u8]) {
    let Some(query) = text(data) else { return };
    runtime().block_on(async {
        let azure = Azure::new(Settings::immediate(), World::sample(), SimClock::start(NOW, 1.0));
        let token = azure.token().expect("the world has a caller");
        let arm = InProcess::new().with("arm.test", azure.arm_router());
        for hub in ["h1", "H2"] {
            let body =
                json!({"name": hub, "resourceGroup": "rg-plant-01", "wait": true, "tags": {"rank": hub}});
            assert!(matches!(post(&arm, "_sim/hubs", &token, &body).await.0, 200 | 201));
        }
        let path = "providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01";
        let body = json!({"subscriptions": [SUBSCRIPTION], "query": query});
        let (status, answer) = post(&arm, path, &token, &body).await;
        match status {
            200 => {
                let count = answer["count"].as_u64().expect("a count");
                assert!(answer["totalRecords"].as_u64().is_some_and(|total| total >= count));
                assert_eq!(answer["data"].as_array().map(Vec::len), usize::try_from(count).ok());
            }
            400 => assert_eq!(answer["error"]["code"], "BadRequest"),
            _ => panic!("{status} {answer}"),
        }
    });
}

async fn post(arm: &InProcess, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let url = Url::parse(&format!("https://arm.test/{path}")).expect("a URL");
    let mut request = Request::new(url, Method::Post);
    request.insert_header("authorization", format!("Bearer {token}"));
    request.insert_header("content-type", "application/json");
    request.set_body(Body::from(body.to_string()));
    let answer = arm.execute_request(&request).await.expect("an answer");
    let (status, _, body) = answer.deconstruct();
    let body = body.collect().await.expect("a body");
    (status.into(), serde_json::from_slice(&body).expect("JSON"))
}
