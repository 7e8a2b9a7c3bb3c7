//! Callers of the simulated Azure: their tokens, the directory that knows them, and what they are told.

use axum::{body::Body, http::Request};
use hubward::local::azure::{Fault, FaultKind, Settings};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::azure_sim_support::{
    Answer, EVENT_HUB, HANDLER, OPERATOR, SUB, Sim, bearer, call_as, hub_path, pass,
};

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
