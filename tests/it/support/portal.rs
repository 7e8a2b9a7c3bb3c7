//! Somebody else who writes hubs.

use axum::body::Body;
use hubward::{
    local::azure::{Azure, Settings},
    model::IotHubId,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::cloud::{Cloud, pass, request};

/// Somebody at the portal: reads a hub, changes one thing, writes it with the etag, and does it again
/// when the hub was busy or has changed meanwhile.
pub(crate) struct Portal {
    azure: Azure,
    hub: IotHubId,
    token: String,
}

impl Portal {
    pub(crate) async fn new(cloud: &Cloud, hub: &IotHubId) -> Self {
        // The world's second caller, who is not the handler.
        let request = http::Request::get(
            "/msi/token?api-version=2019-08-01&resource=https://management.azure.com/&client_id=c44b4083-3bb0-49c1-b47d-974e53cbdf3c",
        )
        .header("x-identity-header", Settings::default().identity_header)
        .body(Body::empty())
        .unwrap();
        let answer = cloud.azure.identity_router().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let token = body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
        Self { azure: cloud.azure.clone(), hub: hub.clone(), token }
    }

    async fn call(&self, method: &str, etag: Option<&str>, body: &Value) -> (u16, Value) {
        let path = format!("{}?api-version=2023-06-30", self.hub);
        request(&self.azure, &self.token, method, &path, etag, body).await
    }

    /// Makes one change, however often that has to be tried.
    pub(crate) async fn change(&self, change: impl Fn(&mut Value)) {
        for _ in 0..500 {
            let (status, mut hub) = self.call("GET", None, &Value::Null).await;
            if status == 200 {
                change(&mut hub);
                let etag = hub["etag"].as_str().unwrap().to_owned();
                let (status, answer) = self.call("PUT", Some(&etag), &hub).await;
                match status {
                    201 => return,
                    409 | 412 => {}
                    _ => panic!("the portal was refused: {status} {answer}"),
                }
            }
            pass(7).await;
        }
        panic!("the portal never got through");
    }

    /// Gives the hub just these tags, and nothing else; it is at rest then.
    pub(crate) async fn tag(&self, tags: Value) {
        let (status, answer) = self.call("PATCH", None, &json!({"tags": tags})).await;
        assert!(status < 300, "{status} {answer}");
        pass(40).await;
    }

    /// Takes out what we put in, as a template that does not know it does.
    pub(crate) async fn undo(&self) {
        self.change(|hub| {
            hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([]);
            hub["properties"]["routing"]["routes"] = json!([]);
        })
        .await;
        pass(60).await;
    }

    /// Deletes the hub, as soon as it is at rest.
    pub(crate) async fn delete(&self) {
        for _ in 0..60 {
            let (status, answer) = self.call("DELETE", None, &Value::Null).await;
            match status {
                202 => return,
                409 => pass(3).await,
                _ => panic!("the portal was refused: {status} {answer}"),
            }
        }
        panic!("the portal never got through");
    }
}
