//! The data planes of the simulated Azure, and the Blob service among them.

use std::collections::BTreeMap;

use axum::{Router, body::Body, http::Request};
use bytes::Bytes;
use hubward::local::azure::{Azure, Fault, FaultKind, Settings, World};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::azure_sim_support::{SUB, Sim};

/// Calls to data planes, with a good token unless said otherwise.
pub(crate) struct Data {
    router: Router,
    tokens: [String; 2],
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) bytes: Bytes,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The error code that the service put into a header.
    pub(crate) fn code(&self) -> &str {
        let code = self.headers.get("iothub-errorcode").or_else(|| self.headers.get("x-ms-error-code"));
        code.map(String::as_str).unwrap_or_default()
    }
}

impl Data {
    pub(crate) fn of(azure: &Azure) -> Self {
        let token = |audience| azure.token_for(audience).expect("the world has a caller");
        Self { router: azure.data_router(), tokens: [token(Azure::IOT_HUBS), token(Azure::STORAGE)] }
    }

    /// A call to `host/path`. A broken connection has the status 0.
    pub(crate) async fn call(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Got {
        let (host, path) = url.split_once('/').expect("a host and a path");
        let token = &self.tokens[usize::from(host.contains(".blob."))];
        let mut request = Request::builder().method(method).uri(format!("/{path}")).header("host", host);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let names = response.headers().iter();
        let headers =
            names.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned())).collect();
        match axum::body::to_bytes(response.into_body(), usize::MAX).await {
            Ok(bytes) => Got { status, headers, bytes },
            Err(_) => Got { status: 0, headers, bytes: Bytes::new() },
        }
    }

    pub(crate) async fn get(&self, url: &str) -> Got {
        self.call("GET", url, &[], Body::empty()).await
    }
}

const ACCOUNT: &str = "egressdata.blob.core.windows.net";
const BLOCK_BLOB: (&str, &str) = ("x-ms-blob-type", "BlockBlob");

fn sim() -> (Sim, Data) {
    let sim = Sim::of(Settings::immediate(), World::reference(), 1.0);
    let data = Data::of(&sim.azure);
    (sim, data)
}

fn url(rest: &str) -> String {
    format!("{ACCOUNT}/archive/{rest}")
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_written_read_in_part_and_deleted() {
    let (sim, data) = sim();
    let headers = [BLOCK_BLOB, ("x-ms-blob-content-type", "text/plain"), ("x-ms-meta-fleet", "a")];
    let put = data.call("PUT", &url("a%20b/c.txt"), &headers, "0123456789").await;
    assert_eq!(put.status, 201, "{}", put.text());
    let etag = put.headers["etag"].clone();
    assert!(etag.starts_with("\"0x8D"), "{etag}");

    let whole = data.get(&url("a%20b/c.txt")).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(whole.headers["content-type"], "text/plain");
    assert_eq!((&whole.headers["x-ms-meta-fleet"], &whole.headers["etag"]), (&"a".to_owned(), &etag));
    for (header, range, text, shown) in [
        ("range", "bytes=2-4", "234", "bytes 2-4/10"),
        ("x-ms-range", "bytes=7-99", "789", "bytes 7-9/10"),
        ("range", "bytes=9-", "9", "bytes 9-9/10"),
    ] {
        let part = data.call("GET", &url("a%20b/c.txt"), &[(header, range)], "").await;
        assert_eq!((part.status, part.text().as_str()), (206, text));
        assert_eq!(part.headers["content-range"], shown);
    }
    let beyond = data.call("GET", &url("a%20b/c.txt"), &[("range", "bytes=10-")], "").await;
    assert_eq!((beyond.status, beyond.code()), (416, "InvalidRange"));

    let head = data.call("HEAD", &url("a%20b/c.txt"), &[], "").await;
    assert_eq!((head.status, head.headers["content-length"].as_str(), head.bytes.len()), (200, "10", 0));
    let other = data.call("GET", &url("a%20b/c.txt"), &[("if-match", "\"0x8D0\"")], "").await;
    assert_eq!((other.status, other.code()), (412, "ConditionNotMet"));
    let same = data.call("GET", &url("a%20b/c.txt"), &[("if-none-match", &etag)], "").await;
    assert_eq!(same.status, 304);
    let again = data.call("PUT", &url("a%20b/c.txt"), &[BLOCK_BLOB, ("if-none-match", "*")], "x").await;
    assert_eq!((again.status, again.code()), (409, "BlobAlreadyExists"));

    let listed = sim.get("/_sim/blobs/egressdata/archive").await.body;
    assert_eq!((&listed[0]["name"], &listed[0]["size"]), (&json!("a b/c.txt"), &json!(10)));
    assert_eq!(data.call("DELETE", &url("a%20b/c.txt"), &[], "").await.status, 202);
    let gone = data.call("HEAD", &url("a%20b/c.txt"), &[], "").await;
    assert_eq!((gone.status, gone.code()), (404, "BlobNotFound"));
    let missing = data.get(&format!("{ACCOUNT}/nowhere/x")).await;
    assert_eq!((missing.status, missing.code()), (404, "ContainerNotFound"));
    assert!(missing.text().contains("<Code>ContainerNotFound</Code>"), "{}", missing.text());
    let untyped = data.call("PUT", &url("x"), &[], "x").await;
    assert_eq!((untyped.status, untyped.code()), (400, "MissingRequiredHeader"));
}

#[tokio::test(start_paused = true)]
async fn blocks_become_a_blob_in_the_order_of_their_list() {
    let (sim, data) = sim();
    for (id, text) in [("YQ%3D%3D", "one "), ("Yg%3D%3D", "two ")] {
        let put = data.call("PUT", &url(&format!("b?comp=block&blockid={id}")), &[], text).await;
        assert_eq!(put.status, 201);
    }
    assert_eq!(data.get(&url("b")).await.status, 404, "not committed yet");
    let list = |ids: &[&str]| {
        let blocks: String = ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
        format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>")
    };
    let unknown = data.call("PUT", &url("b?comp=blocklist"), &[], list(&["YQ==", "eg=="])).await;
    assert_eq!((unknown.status, unknown.code()), (400, "InvalidBlockList"));
    let put = data.call("PUT", &url("b?comp=blocklist"), &[], list(&["Yg==", "YQ=="])).await;
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(data.get(&url("b")).await.text(), "two one ");
    let kept = data.call("PUT", &url("b?comp=blocklist"), &[], list(&["YQ=="])).await;
    assert_eq!((kept.status, data.get(&url("b")).await.text().as_str()), (201, "one "));
    assert_eq!(sim.get("/_sim/state").await.body["counters"]["dataCalls"], 8);
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let (sim, data) = sim();
    for name in ["a/1", "a/2", "a/3", "b&c"] {
        let path = format!("/_sim/blobs/egressdata/archive/{name}");
        assert_eq!(sim.call("PUT", &path, &[], json!("x")).await.status, 201);
    }
    let list = format!("{ACCOUNT}/archive?restype=container&comp=list");
    let all = data.get(&list).await.text();
    assert!(
        all.contains("<Name>b&amp;c</Name>") && all.ends_with("<NextMarker /></EnumerationResults>"),
        "{all}"
    );
    let first = data.get(&format!("{list}&prefix=a/&maxresults=2")).await.text();
    assert_eq!(first.matches("<Blob>").count(), 2);
    let marker = first.split("<NextMarker>").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    let rest = data.get(&format!("{list}&prefix=a/&maxresults=2&marker={marker}")).await.text();
    assert!(rest.contains("<Name>a/3</Name>") && rest.matches("<Blob>").count() == 1, "{rest}");

    let made = format!("{ACCOUNT}/fresh?restype=container");
    assert_eq!(data.call("PUT", &made, &[], "").await.status, 201);
    assert_eq!(data.call("PUT", &made, &[], "").await.code(), "ContainerAlreadyExists");
    assert_eq!(data.call("DELETE", &made, &[], "").await.status, 202);
    assert_eq!(data.call("HEAD", &made, &[], "").await.code(), "ContainerNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_door_of_the_data_planes_opens_with_its_own_token() {
    let (sim, data) = sim();
    sim.hub("h1", json!({})).await;
    let arm = format!("Bearer {}", sim.azure.token().unwrap());
    let blob = data.call("GET", &url("x"), &[("authorization", &arm)], "").await;
    assert_eq!((blob.status, blob.code()), (401, "AuthenticationFailed"));
    assert!(blob.headers["www-authenticate"].contains("https://storage.azure.com"));
    let jobs = "h1.azure-devices.net/jobs?api-version=2021-04-12";
    let hub = data.call("GET", jobs, &[("authorization", &arm)], "").await;
    assert_eq!((hub.status, hub.code()), (401, "IotHubUnauthorized"));
    assert_eq!(hub.json()["Message"], "ErrorCode:IotHubUnauthorized;Unauthorized");
    assert_eq!(data.get(jobs).await.json(), json!([]));
    let other = data.get("h2.azure-devices.net/jobs?api-version=2021-04-12").await;
    assert_eq!((other.status, other.code()), (401, "IotHubNotFound"));
    assert_eq!(data.get("nobody.blob.core.windows.net/a/b").await.status, 0, "nobody is there");
    assert_eq!(data.get("example.org/a").await.status, 404);
    assert_eq!(data.get("localhost/_sim/state").await.status, 200);
    let last = sim.azure.state()["log"].as_array().unwrap().last().cloned().unwrap();
    assert_eq!((&last["host"], &last["path"]), (&json!("h2.azure-devices.net"), &json!("/jobs")));
}

#[tokio::test(start_paused = true)]
async fn faults_reach_the_data_planes_by_host_and_path() {
    let (sim, data) = sim();
    sim.hub("h1", json!({})).await;
    let jobs = "h1.azure-devices.net/jobs?api-version=2021-04-12";
    let inject = |kind, path: &str| sim.azure.inject(Fault::new(kind).on("GET", path));
    inject(FaultKind::Throttle, "*.azure-devices.net/jobs");
    assert_eq!(data.get(&url("x")).await.status, 404, "another host");
    let slow = data.get(jobs).await;
    assert_eq!((slow.status, slow.code()), (429, "ThrottlingBacklogTimeout"));
    assert!(!slow.headers.contains_key("retry-after"));
    inject(FaultKind::Deny, "h1.azure-devices.net/");
    let denied = data.get(jobs).await;
    assert_eq!((denied.status, denied.code()), (401, "IotHubUnauthorized"));
    assert!(denied.text().contains("is not authorized for GET on /jobs due to no assigned permissions"));
    inject(FaultKind::ServerError, "azure-devices.net");
    assert_eq!(data.get(jobs).await.status, 500);
    inject(FaultKind::ResetBefore, "azure-devices.net");
    assert_eq!(data.get(jobs).await.status, 0);
    inject(FaultKind::Deny, "*.blob.core.windows.net/archive/*");
    assert_eq!(data.get(&url("x")).await.code(), "AuthorizationPermissionMismatch");
    inject(FaultKind::SlowAnswer, "*/archive/*");
    let before = tokio::time::Instant::now();
    assert_eq!(data.get(&url("x")).await.status, 404);
    assert_eq!(before.elapsed().as_secs(), 30);

    // A closed network keeps out whoever comes from outside, whatever their roles.
    let account =
        format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata");
    let shut = json!({"id": account, "properties": {"publicNetworkAccess": "Disabled"}});
    assert_eq!(sim.call("PATCH", "/_sim/targets", &[], shut).await.status, 200);
    let kept_out = data.get(&url("x")).await;
    assert_eq!((kept_out.status, kept_out.code()), (403, "AuthorizationFailure"));
}
