//! The others: operators who make and delete hubs, and somebody who changes them for reasons of their own.

use std::{collections::BTreeMap, time::Duration};

use axum::body::Body;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{
    SimulationError,
    invariants::FOREIGN,
    log::Log,
    profiles::OWN,
    story::{hub_id, hub_name},
};
use crate::local::azure::{Azure, Settings};

/// The client id of the world's second caller.
const CLIENT: &str = "c44b4083-3bb0-49c1-b47d-974e53cbdf3c";
/// How often somebody tries who finds a hub busy.
const TRIES: usize = 2000;
/// What they do until they try again.
const PAUSE: Duration = Duration::from_secs(7);

/// Everybody but the program, and what they remember of each hub.
pub(super) struct Others {
    azure: Azure,
    log: Log,
    token: String,
    /// What is not ours in each hub, as it was when they looked last.
    seen: BTreeMap<usize, Value>,
}

impl Others {
    pub(super) async fn new(azure: &Azure, log: &Log) -> Result<Self, SimulationError> {
        let request = http::Request::get(format!(
            "/msi/token?api-version=2019-08-01&resource=https://management.azure.com/&client_id={CLIENT}"
        ))
        .header("x-identity-header", Settings::default().identity_header)
        .body(Body::empty())
        .map_err(|error| SimulationError(error.to_string()))?;
        let (_, answer) = send(azure.identity_router(), request).await;
        let token = answer["access_token"].as_str().ok_or_else(|| SimulationError("no token".into()))?;
        Ok(Self { azure: azure.clone(), log: log.clone(), token: token.to_owned(), seen: BTreeMap::new() })
    }

    async fn call(&self, method: &str, hub: usize, etag: Option<&str>, body: &Value) -> (u16, Value) {
        self.ask(method, &format!("{}?api-version=2023-06-30", hub_id(hub)), etag, body).await
    }

    async fn ask(&self, method: &str, uri: &str, etag: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "127.0.0.1:4101")
            .header("authorization", format!("Bearer {}", self.token));
        if let Some(etag) = etag {
            request = request.header("if-match", etag);
        }
        match request.body(Body::from(body.to_string())) {
            Ok(request) => send(self.azure.arm_router(), request).await,
            Err(error) => (0, json!(error.to_string())),
        }
    }

    /// Does something until Azure takes it on.
    async fn insist(
        &self,
        what: &str,
        method: &str,
        hub: usize,
        body: &Value,
    ) -> Result<(), SimulationError> {
        for _ in 0..TRIES {
            let (status, answer) = self.call(method, hub, None, body).await;
            match status {
                200..300 | 404 => return Ok(()),
                409 => tokio::time::sleep(PAUSE).await,
                _ => return Err(SimulationError(format!("{what}: {status} {answer}"))),
            }
        }
        Err(SimulationError(format!("{what}: never came through")))
    }

    /// A hub with the tag of its profile, and with a few things that are nobody's business.
    pub(super) async fn create(&mut self, hub: usize, profile: &str) -> Result<(), SimulationError> {
        let route = json!({"name": "theirs", "source": "TwinChangeEvents", "condition": "true",
            "endpointNames": ["events"], "isEnabled": true});
        let body = json!({"location": "westus2", "sku": {"name": "S1", "capacity": 1},
            "tags": {"egress": profile, "owner": "plant"}, "properties": {"routing": {"routes": [route]}}});
        self.insist("create", "PUT", hub, &body).await?;
        let (_, found) = self.call("GET", hub, None, &Value::Null).await;
        self.seen.insert(hub, foreign(&found));
        Ok(())
    }

    pub(super) async fn delete(&mut self, hub: usize) -> Result<(), SimulationError> {
        self.insist("delete", "DELETE", hub, &Value::Null).await?;
        self.log.deleted(hub_name(hub));
        self.seen.remove(&hub);
        Ok(())
    }

    /// Changes one thing of a hub; again, when somebody else was quicker.
    pub(super) async fn change(
        &mut self,
        hub: usize,
        kind: usize,
        nth: usize,
    ) -> Result<(), SimulationError> {
        for _ in 0..TRIES {
            if self.try_to_change(hub, kind, nth).await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(SimulationError("change: never came through".into()))
    }

    /// Reads a hub, changes one thing, and writes it with the etag. Whether there is nothing more to do.
    pub(super) async fn try_to_change(
        &mut self,
        hub: usize,
        kind: usize,
        nth: usize,
    ) -> Result<bool, SimulationError> {
        let (status, mut found) = self.call("GET", hub, None, &Value::Null).await;
        if status == 404 {
            return Ok(true);
        }
        self.compare(hub, &found);
        let etag = found["etag"].as_str().unwrap_or_default().to_owned();
        edit(&mut found, kind, nth);
        let (status, answer) = self.call("PUT", hub, Some(&etag), &found).await;
        match status {
            200..300 => {
                let (_, found) = self.call("GET", hub, None, &Value::Null).await;
                self.seen.insert(hub, foreign(&found));
                Ok(true)
            }
            409 | 412 => Ok(false),
            _ => Err(SimulationError(format!("change: {status} {answer}"))),
        }
    }

    /// Takes a role of a hub away, as somebody who clears up may.
    pub(super) async fn revoke(&self, hub: usize, nth: usize) -> Result<(), SimulationError> {
        let state = self.azure.state();
        let owners = self.azure.principals();
        let is_its = |grant: &&Value| {
            let principal = grant["properties"]["principalId"].as_str().unwrap_or_default();
            owners
                .get(&principal.to_ascii_lowercase())
                .is_some_and(|id| id.eq_ignore_ascii_case(&hub_id(hub)))
        };
        let all: Vec<&Value> =
            state["roleAssignments"].as_array().into_iter().flatten().filter(is_its).collect();
        let Some(id) = all.get(nth % all.len().max(1)).and_then(|grant| grant["id"].as_str()) else {
            return Ok(());
        };
        self.log.say(format!("revoked    {id}"));
        let (status, answer) =
            self.ask("DELETE", &format!("{id}?api-version=2022-04-01"), None, &Value::Null).await;
        match status {
            200..300 => Ok(()),
            _ => Err(SimulationError(format!("revoke: {status} {answer}"))),
        }
    }

    /// Whether there is such a hub, be it on its way out.
    pub(super) async fn is_there(&self, hub: usize) -> bool {
        self.call("GET", hub, None, &Value::Null).await.0 == 200
    }

    /// Event Grid tells of a hub to which nothing has happened.
    pub(super) async fn event(&self, hub: usize) -> Result<(), SimulationError> {
        let body = json!({"hub": hub_name(hub), "verb": "write"}).to_string();
        self.sim("POST", "events", body).await.map(|_| ())
    }

    /// Puts a text into a container of the data account.
    pub(super) async fn lay(&self, container: &str, blob: &str, text: &str) -> Result<(), SimulationError> {
        self.sim("PUT", &format!("blobs/egressdata/{container}/{blob}"), text.to_owned()).await.map(|_| ())
    }

    /// Everything that is kept in the container of outcomes, as one text.
    pub(super) async fn outcomes(&self) -> Result<String, SimulationError> {
        const CONTAINER: &str = "blobs/hubwardstate/outcomes";
        let listed = self.sim("GET", CONTAINER, String::new()).await?;
        let listed: Value =
            serde_json::from_str(&listed).map_err(|error| SimulationError(error.to_string()))?;
        let mut all = String::new();
        for blob in listed.as_array().into_iter().flatten() {
            let name = blob["name"].as_str().unwrap_or_default();
            all.push_str(&self.sim("GET", &format!("{CONTAINER}/{name}"), String::new()).await?);
        }
        Ok(all)
    }

    /// A call to the simulator's own addresses.
    async fn sim(&self, method: &str, path: &str, body: String) -> Result<String, SimulationError> {
        let request = http::Request::builder().method(method).uri(format!("/_sim/{path}"));
        let request = request.header("host", "127.0.0.1:4101").body(Body::from(body));
        let request = request.map_err(|error| SimulationError(error.to_string()))?;
        let (status, answer) = text(self.azure.arm_router(), request).await;
        match status {
            200..300 => Ok(answer),
            _ => Err(SimulationError(format!("{method} {path}: {status} {answer}"))),
        }
    }

    /// Looks at every hub for the last time.
    pub(super) async fn compare_all(&self) {
        for hub in self.seen.keys() {
            let (status, found) = self.call("GET", *hub, None, &Value::Null).await;
            if status == 200 {
                self.compare(*hub, &found);
            }
        }
    }

    fn compare(&self, hub: usize, found: &Value) {
        let now = foreign(found);
        let Some(before) = self.seen.get(&hub).filter(|before| **before != now) else { return };
        self.log.broke(FOREIGN, format!("{}: {before} became {now}", hub_name(hub)));
    }
}

/// What is not ours: all but what the service itself changes, what has a name of ours, and what profiles may
/// say of a hub as a whole.
fn foreign(hub: &Value) -> Value {
    let mut properties = hub["properties"].clone();
    for name in [
        "state",
        "provisioningState",
        "hostName",
        "eventHubEndpoints",
        "storageEndpoints",
        "enableFileUploadNotifications",
        "messagingEndpoints",
    ] {
        properties.as_object_mut().map(|all| all.shift_remove(name));
    }
    let routing = &mut properties["routing"];
    routing["fallbackRoute"] = Value::Null;
    let is_theirs = |item: &Value, key: &str| {
        let name = item[key].as_str().unwrap_or_default();
        !name.starts_with(OWN) && !name.starts_with("req-")
    };
    let keep = |list: &mut Value, key: &str| {
        if let Some(list) = list.as_array_mut() {
            list.retain(|item| is_theirs(item, key));
        }
    };
    keep(&mut routing["routes"], "name");
    keep(&mut routing["enrichments"], "key");
    if routing["enrichments"].as_array().is_none_or(Vec::is_empty) {
        routing["enrichments"] = Value::Null;
    }
    for (_, list) in routing["endpoints"].as_object_mut().into_iter().flatten() {
        keep(list, "name");
    }
    // A list that the service shows only when something is in it.
    if let Some(lists) = routing["endpoints"].as_object_mut() {
        lists.retain(|_, list| list.as_array().is_some_and(|list| !list.is_empty()));
    }
    json!({"tags": hub["tags"], "sku": hub["sku"], "location": hub["location"], "properties": properties})
}

fn edit(hub: &mut Value, kind: usize, nth: usize) {
    let key = format!("theirs-{nth}");
    let properties = &mut hub["properties"];
    let push = |list: &mut Value, item: Value| {
        if !list.is_array() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.retain(|one| one["name"] != item["name"]);
            list.push(item);
        }
    };
    match kind {
        0 => hub["tags"][&key] = "yes".into(),
        1 => push(
            &mut properties["routing"]["routes"],
            json!({"name": key, "source": "DeviceLifecycleEvents", "condition": "true", "endpointNames": ["events"],
                "isEnabled": true}),
        ),
        2 => push(
            &mut properties["routing"]["endpoints"]["serviceBusQueues"],
            json!({"name": key, "connectionString": format!(
                "Endpoint=sb://theirs.servicebus.windows.net/;SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0{nth};EntityPath=q")}),
        ),
        3 => properties["cloudToDevice"]["maxDeliveryCount"] = json!(20 + nth),
        // One of ours, which makes that somebody's business.
        _ => {
            if let Some(routes) = properties["routing"]["routes"].as_array_mut() {
                routes.retain(|route| route["name"] != format!("{OWN}0"));
            }
        }
    }
}

async fn send(router: axum::Router, request: http::Request<Body>) -> (u16, Value) {
    let (status, body) = text(router, request).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

async fn text(router: axum::Router, request: http::Request<Body>) -> (u16, String) {
    let answer = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    (status, String::from_utf8_lossy(&body).into_owned())
}
