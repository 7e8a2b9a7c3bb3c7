//! Hubs in the simulated Azure: what a write answers, what a read shows, and what is refused.

use hubward::local::azure::{EndpointValidation, Settings};
use serde_json::{Value, json};

use crate::azure_sim_support::{Sim, endpoint, hub_path, pass};

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
