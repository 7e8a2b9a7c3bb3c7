//! Exports and imports of devices in the simulated Azure.

use std::time::Duration;

use hubward::local::azure::{Fault, FaultKind, Settings, World};
use serde_json::{Value, json};

use crate::{
    azure_sim_blobs::{Data, Got},
    azure_sim_support::{SUB, Sim, hub_path},
};

const BLOB: &str = "ba92f5b4-2d11-453d-a403-e96b0029c9fe";
const CONTAINER: &str = "https://egressdata.blob.core.windows.net/archive";

fn account() -> String {
    format!("{SUB}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata")
}

fn url(hub: &str, rest: &str) -> String {
    format!("{hub}.azure-devices.net/jobs{rest}?api-version=2021-04-12")
}

fn export() -> Value {
    json!({"type": "export", "outputBlobContainerUri": CONTAINER, "storageAuthenticationType": "identityBased"})
}

fn import() -> Value {
    json!({
        "type": "import", "inputBlobContainerUri": CONTAINER, "outputBlobContainerUri": CONTAINER,
        "storageAuthenticationType": "identityBased",
    })
}

async fn grant(sim: &Sim, principal: &Value) -> String {
    let name = uuid::Uuid::new_v4();
    let path = format!("{}/providers/Microsoft.Authorization/roleAssignments/{name}", account());
    let role = format!("/providers/Microsoft.Authorization/roleDefinitions/{BLOB}");
    let properties =
        json!({"roleDefinitionId": role, "principalId": principal, "principalType": "ServicePrincipal"});
    assert_eq!(sim.put(&path, json!({"properties": properties})).await.status, 201);
    path
}

/// A hub with an identity that may use the container, and devices.
async fn hub(sim: &Sim, name: &str, devices: Value) -> Value {
    let made = sim.hub(name, json!({"identity": {"type": "SystemAssigned"}})).await;
    grant(sim, &made["identity"]["principalId"]).await;
    add(sim, name, devices).await
}

async fn add(sim: &Sim, name: &str, devices: Value) -> Value {
    let added = sim.call("POST", &format!("/_sim/hubs/{name}/devices"), &[], devices).await;
    assert_eq!(added.status, 201, "{}", added.body);
    added.body
}

async fn registry(sim: &Sim, name: &str) -> Value {
    sim.get(&format!("/_sim/hubs/{name}/devices")).await.body
}

async fn create(data: &Data, hub: &str, body: &Value) -> Got {
    data.call("POST", &url(hub, "/create"), &[], body.to_string()).await
}

/// Creates a job and waits for its end.
async fn run(data: &Data, hub: &str, body: Value) -> Value {
    let made = create(data, hub, &body).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let id = made.json()["jobId"].as_str().unwrap().to_owned();
    loop {
        let job = data.get(&url(hub, &format!("/{id}"))).await.json();
        if !["enqueued", "running"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn text(data: &Data, name: &str) -> String {
    let got = data.get(&format!("egressdata.blob.core.windows.net/archive/{name}")).await;
    if got.status == 200 { got.text() } else { format!("{} {}", got.status, got.code()) }
}

async fn upload(data: &Data, lines: &[Value]) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let headers = [("x-ms-blob-type", "BlockBlob")];
    let path = "egressdata.blob.core.windows.net/archive/devices.txt";
    assert_eq!(data.call("PUT", path, &headers, body).await.status, 201);
}

fn sim(settings: Settings) -> (Sim, Data) {
    let sim = Sim::of(settings, World::reference(), 1.0);
    let data = Data::of(&sim.azure);
    (sim, data)
}

/// Everything at once, but jobs.
fn timed() -> Settings {
    let usual = Settings::default();
    Settings {
        job_queue_seconds: usual.job_queue_seconds,
        job_seconds: usual.job_seconds,
        job_seconds_per_thousand: usual.job_seconds_per_thousand,
        ..Settings::immediate()
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_devices_come_to_another_hub_as_they_were() {
    let (sim, data) = sim(timed());
    let configuration = json!({"id": "c1", "priority": 1, "targetCondition": "tags.line=1"});
    let before = hub(&sim, "h1", json!({"count": 10_000, "configurations": [configuration]})).await;
    assert_eq!((&before["count"], &before["modules"]), (&json!(10_000), &json!(800)));
    hub(&sim, "h2", json!({})).await;
    let mut request = export();
    request["includeConfigurations"] = json!(true);
    let began = tokio::time::Instant::now();
    assert_eq!(run(&data, "h1", request).await["status"], "completed");
    assert!((30..=36).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let file = text(&data, "devices.txt").await;
    assert_eq!(file.lines().count(), 10_800);
    assert!(file.lines().all(|line| line.starts_with("{\"id\":\"device-")));

    let mut request = import();
    request["includeConfigurations"] = json!(true);
    let done = run(&data, "h2", request).await;
    assert_eq!((&done["status"], &done["progress"]), (&json!("completed"), &json!(100)));
    assert_eq!(text(&data, "importErrors.log").await, "", "an empty log says that all went well");
    let after = registry(&sim, "h2").await;
    assert_eq!((&after["digest"], &after["count"]), (&before["digest"], &json!(10_000)));

    add(&sim, "h2", json!({"devices": [{"deviceId": "one-more"}]})).await;
    assert_ne!(registry(&sim, "h2").await["digest"], before["digest"]);
    let secrets = sim.azure.secrets();
    let key = serde_json::from_str::<Value>(file.lines().next().unwrap()).unwrap()["authentication"]
        ["symmetricKey"]["primaryKey"]
        .clone();
    assert!(secrets.iter().any(|secret| key == secret.as_str()), "a device's key is a secret");
    let state = sim.azure.state().to_string();
    assert!(!state.contains(key.as_str().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_hub_without_access_gets_no_job() {
    let (sim, data) = sim(Settings::immediate());
    let user = format!(
        "{SUB}/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress"
    );
    let made = sim.hub("h1", json!({"identity": {"type": "SystemAssigned"}})).await;
    let refused = |got: &Got| {
        assert_eq!((got.status, got.code()), (400, "BlobContainerValidationError"));
        let body = got.json();
        let message = body["Message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(
            "ErrorCode:BlobContainerValidationError;Error: 400 ErrorCode: BlobContainerValidationError\r\n\
             Message: Unauthorized to write to output blob container.\r\nTimestamp: "
        ));
        assert!(
            message.ends_with("\r\nPublic Message: Unauthorized to write to output blob container."),
            "{message}"
        );
    };
    refused(&create(&data, "h1", &export()).await);
    let principal = &made["identity"]["principalId"];
    sim.azure.inject(Fault::new(FaultKind::LatePropagation).seconds(30.0));
    grant(&sim, principal).await;
    refused(&create(&data, "h1", &export()).await);
    tokio::time::sleep(Duration::from_secs(31)).await;

    let mut other = export();
    other["identity"] = json!({"userAssignedIdentity": user});
    let missing = create(&data, "h1", &other).await;
    assert_eq!((missing.status, missing.code()), (400, "ArgumentInvalid"), "the hub has no such identity");
    let mut nowhere = export();
    nowhere["outputBlobContainerUri"] = json!(CONTAINER.replace("archive", "nowhere"));
    refused(&create(&data, "h1", &nowhere).await);
    let mut keyed = export();
    keyed["storageAuthenticationType"] = json!("keyBased");
    refused(&create(&data, "h1", &keyed).await);
    keyed["outputBlobContainerUri"] = json!(format!("{CONTAINER}?sv=2020&sig=abc"));
    assert_eq!(run(&data, "h1", keyed.clone()).await["status"], "completed");

    let change = |properties: Value| {
        let (sim, body) = (&sim, json!({"id": account(), "properties": properties}));
        async move { assert_eq!(sim.call("PATCH", "/_sim/targets", &[], body).await.status, 200) }
    };
    change(json!({"networkAcls": {"defaultAction": "Deny", "bypass": "None"}})).await;
    refused(&create(&data, "h1", &export()).await);
    change(json!({"networkAcls": {"bypass": "AzureServices"}})).await;
    refused(&create(&data, "h1", &keyed).await);
    assert_eq!(run(&data, "h1", export()).await["status"], "completed", "as a trusted service");
    let bad = create(&data, "h1", &json!({"type": "backup"})).await;
    assert_eq!((bad.status, bad.code()), (400, "ArgumentInvalid"));
    assert_eq!(create(&data, "h1", &json!({"type": "export"})).await.code(), "ArgumentNull");
}

#[tokio::test(start_paused = true)]
async fn jobs_wait_run_end_and_stand_in_each_others_way() {
    let (sim, data) = sim(timed());
    hub(&sim, "h1", json!({"count": 10})).await;
    hub(&sim, "h2", json!({"count": 1})).await;
    let first = create(&data, "h1", &export()).await.json();
    assert_eq!((&first["status"], &first["progress"]), (&json!("enqueued"), &json!(0)));
    assert_eq!((&first["excludeKeysInExport"], &first["failureReason"]), (&json!(false), &Value::Null));
    for hidden in ["outputBlobContainerUri", "storageAuthenticationType", "identity"] {
        assert_eq!(first[hidden], Value::Null);
    }
    let full = create(&data, "h1", &import()).await;
    assert_eq!((full.status, full.code()), (403, "JobQuotaExceeded"));
    let message = full.json()["Message"].as_str().unwrap().to_owned();
    assert!(message.contains("\nMessage: Job quota has been exceeded\nTimestamp: "), "{message}");
    let arm = json!({"exportBlobContainerUri": CONTAINER, "excludeKeys": true, "authenticationType": "identityBased"});
    let through_arm = |body: Value, word: &str| {
        let (sim, path) = (&sim, format!("{}/{word}", hub_path("h1")));
        async move { sim.call("POST", &path, &[], body).await }
    };
    assert_eq!(through_arm(arm.clone(), "exportDevices").await.body["code"], 403_003);
    assert_eq!(create(&data, "h2", &export()).await.status, 200, "another hub has its own");

    let one = url("h1", &format!("/{}", first["jobId"].as_str().unwrap()));
    tokio::time::sleep(Duration::from_secs(12)).await;
    let running = data.get(&one).await.json();
    assert_eq!(running["status"], "running");
    assert!((40..60).contains(&running["progress"].as_u64().unwrap()), "{running}");
    assert_eq!(text(&data, "devices.txt").await, "404 BlobNotFound");
    assert_eq!(data.call("DELETE", &one, &[], "").await.status, 204);
    assert_eq!(data.get(&one).await.json()["status"], "cancelled");
    assert_eq!(data.call("DELETE", &one, &[], "").await.status, 500, "it is over");
    let unknown = data.get(&url("h1", "/0b1f6471-0000-4dda-aec3-cb9272f09590")).await;
    assert_eq!((unknown.status, unknown.code()), (404, "JobNotFound"));
    let other_kind = data.get(&one.replace("/jobs/", "/jobs/v2/")).await.json();
    assert_eq!(other_kind["status"], "unknown");

    let made = through_arm(arm, "exportDevices").await;
    assert_eq!((made.status, &made.body["status"]), (200, &json!("enqueued")), "{}", made.body);
    let started = made.body["startTimeUtc"].as_str().unwrap();
    assert!(started.starts_with("Sun, 01 Mar 2026 ") && started.ends_with(" GMT"), "{started}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let job = format!("{}/jobs/{}", hub_path("h1"), made.body["jobId"].as_str().unwrap());
    assert_eq!(sim.get(&job).await.body["status"], "completed");
    assert_eq!(sim.get(&format!("{}/jobs", hub_path("h1"))).await.body["value"].as_array().unwrap().len(), 2);
    assert_eq!(data.get(&url("h1", "")).await.json().as_array().unwrap().len(), 2, "one store for both");
    let file = text(&data, "devices.txt").await;
    let (warning, rest) = file.split_once("\r\n").unwrap();
    assert!(!warning.starts_with('{') && rest.starts_with('{'), "{warning}");
    assert!(rest.contains("\"primaryKey\":null") && rest.lines().count() == 10);
    let gone = json!({"exportBlobContainerUri": format!("{CONTAINER}x"), "excludeKeys": true, "authenticationType": "identityBased"});
    let denied = through_arm(gone, "exportDevices").await;
    assert_eq!((denied.status, &denied.body["code"]), (400, &json!(400_007)));
    assert!(denied.body["message"].as_str().unwrap().starts_with("Unable to access blob."));

    let jobs = sim.azure.state()["jobs"][hub_path("h1")].clone();
    assert_eq!((&jobs[0]["status"], &jobs[0]["caller"]), (&json!("cancelled"), &json!("hubward")));
    assert_eq!((&jobs[1]["type"], &jobs[1]["through"]), (&json!("export"), &json!("arm")));
}

#[tokio::test(start_paused = true)]
async fn an_import_does_what_each_line_says_and_logs_what_it_could_not() {
    let (sim, data) = sim(Settings::immediate());
    let device = |id: &str| json!({"id": id, "authentication": {"symmetricKey": {"primaryKey": "a2V5MQ==", "secondaryKey": "a2V5Mg=="}}});
    hub(&sim, "h1", json!({"devices": [device("a"), device("b"), device("c")]})).await;
    let tag = "MDAwMA==";
    let line = |id: &str, mode: &str, more: Value| {
        let mut line = json!({"id": id, "importMode": mode, "status": "enabled"});
        line.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        line
    };
    upload(
        &data,
        &[
            line("a", "create", json!({})),
            line("b", "updateTwin", json!({"tags": {"site": "x"}})),
            line("c", "delete", json!({})),
            line("d", "update", json!({})),
            line("e", "createOrUpdate", json!({"moduleId": ""})),
            line("e", "create", json!({"moduleId": "m"})),
            line("f", "create", json!({"moduleId": "m"})),
            line("a", "updateIfMatchETag", json!({"eTag": tag})),
            line("a", "deleteIfMatchETag", json!({"eTag": "*"})),
            json!({"id": "g", "importMode": "create"}),
            line("h", "create", json!({"authentication": {"type": "SELF_SIGNED"}})),
            line("i", "CreateOrUpdateIfMatchETag", json!({"eTag": tag})),
        ],
    )
    .await;
    let done = run(&data, "h1", import()).await;
    assert_eq!((&done["status"], &done["failureReason"]), (&json!("completed"), &Value::Null));
    let log = text(&data, "importErrors.log").await;
    let errors: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(Option<&str>, u64)> = errors
        .iter()
        .map(|error| (error["deviceId"].as_str(), error["errorCode"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("a"), 409_001),
            (Some("d"), 404_001),
            (Some("f"), 404_001),
            (Some("a"), 412_001),
            (None, 400_012),
            (None, 400_012),
        ]
    );
    assert!(errors[4]["errorStatus"].as_str().unwrap().starts_with("Invalid device format in line: {"));
    let now = registry(&sim, "h1").await;
    assert_eq!((&now["ids"], &now["modules"]), (&json!(["b", "e", "i"]), &json!(1)));
    let secrets = sim.azure.secrets();
    assert!(secrets.iter().any(|secret| secret == "a2V5MQ=="), "a key that was is a secret still");
    let statistics = data.get("h1.azure-devices.net/statistics/devices?api-version=2021-04-12").await.json();
    assert_eq!((&statistics["totalDeviceCount"], &statistics["disabledDeviceCount"]), (&json!(3), &json!(0)));
}

#[tokio::test(start_paused = true)]
async fn an_export_without_keys_is_not_imported_by_mistake() {
    let (sim, data) =
        sim(Settings { empty_import_log: false, jobs_echo_storage: true, ..Settings::immediate() });
    let before = hub(&sim, "h1", json!({"count": 3})).await;
    let mut request = export();
    request["excludeKeysInExport"] = json!(true);
    request["outputBlobName"] = json!("devices.txt");
    let done = run(&data, "h1", request).await;
    assert_eq!(done["outputBlobContainerUri"], CONTAINER, "a setting shows it");
    assert_eq!(run(&data, "h1", import()).await["status"], "completed");
    let log = text(&data, "importErrors.log").await;
    assert!(log.contains("400009") && log.lines().count() == 1, "{log}");
    assert_eq!(registry(&sim, "h1").await["digest"], before["digest"], "nothing happened");

    let file = text(&data, "devices.txt").await;
    let lines: Vec<Value> = file.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    upload(&data, &lines).await;
    let path = "egressdata.blob.core.windows.net/archive/importErrors.log";
    assert_eq!(data.call("DELETE", path, &[], "").await.status, 202);
    assert_eq!(run(&data, "h1", import()).await["status"], "completed");
    assert_ne!(registry(&sim, "h1").await["digest"], before["digest"], "every device has new keys");
    assert_eq!(text(&data, "importErrors.log").await, "404 BlobNotFound", "a setting: no log without errors");
}

#[tokio::test(start_paused = true)]
async fn jobs_fail_for_reasons_that_show() {
    let (sim, data) = sim(timed());
    hub(&sim, "h1", json!({"count": 3})).await;
    let reason = |job: &Value| job["failureReason"].as_str().unwrap_or_default().to_owned();
    let missing = run(&data, "h1", import()).await;
    assert_eq!(
        (&missing["status"], reason(&missing).as_str()),
        (&json!("failed"), "The blob 'devices.txt' does not exist.")
    );
    sim.azure.inject(Fault::new(FaultKind::FailJob).message("Storage was busy."));
    let failed = run(&data, "h1", export()).await;
    assert_eq!((&failed["status"], reason(&failed).as_str()), (&json!("failed"), "Storage was busy."));
    sim.azure.inject(Fault::new(FaultKind::SlowJob).seconds(100.0));
    let began = tokio::time::Instant::now();
    assert_eq!(run(&data, "h1", export()).await["status"], "completed");
    assert!(began.elapsed() > Duration::from_secs(120));

    // What is taken away while a job runs is missing at its end.
    let made = create(&data, "h1", &export()).await.json();
    let assignments = format!("{}/providers/Microsoft.Authorization/roleAssignments", account());
    let all = sim.get(&assignments).await.body;
    for one in all["value"].as_array().unwrap() {
        sim.call("DELETE", one["id"].as_str().unwrap(), &[], Value::Null).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    let ended = data.get(&url("h1", &format!("/{}", made["jobId"].as_str().unwrap()))).await.json();
    assert_eq!(
        (&ended["status"], reason(&ended).as_str()),
        (&json!("failed"), "Unauthorized to write to output blob container.")
    );

    // An answer that is lost has made a job all the same.
    hub(&sim, "h2", json!({})).await;
    sim.azure.inject(Fault::new(FaultKind::LoseAnswer).on("POST", "h2.azure-devices.net/jobs/create"));
    assert_eq!(create(&data, "h2", &export()).await.status, 0);
    assert_eq!(data.get(&url("h2", "")).await.json().as_array().unwrap().len(), 1);
    assert_eq!(sim.call("DELETE", "/_sim/hubs/h2?wait=true", &[], Value::Null).await.status, 204);
    let jobs = sim.azure.state()["jobs"].clone();
    let of_gone =
        jobs.as_object().unwrap().iter().find(|(hub, _)| hub.to_lowercase().ends_with("/h2")).unwrap().1;
    assert_eq!(
        (&of_gone[0]["status"], &of_gone[0]["failureReason"]),
        (&json!("failed"), &json!("The IoT hub was deleted."))
    );
    hub(&sim, "h2", json!({})).await;
    assert_eq!(data.get(&url("h2", "")).await.json(), json!([]), "a new hub knows nothing of them");
}

#[tokio::test(start_paused = true)]
async fn a_world_may_begin_with_devices() {
    let mut world = World::reference();
    let principal = "7d1f0f9e-3a55-4f0b-9a6b-0f6a2f1d7c01";
    world.iot_hubs = vec![
        json!({"id": hub_path("h1"), "devices": 7, "identity": {"type": "SystemAssigned", "principalId": principal}}),
        json!({"id": hub_path("h2"), "devices": [{"id": "a", "modules": [{"moduleId": "m"}]}]}),
    ];
    let read = World::parse(&serde_json::to_string(&world).unwrap()).unwrap();
    let settings = Settings { check_input_blob: true, ..Settings::immediate() };
    let sim = Sim::of(settings, read, 1.0);
    assert_eq!(registry(&sim, "h1").await["count"], 7);
    let second = registry(&sim, "h2").await;
    assert_eq!((&second["ids"], &second["modules"]), (&json!(["a"]), &json!(1)));
    grant(&sim, &json!(principal)).await;
    let data = Data::of(&sim.azure);
    let refused = create(&data, "h1", &import()).await;
    assert_eq!((refused.status, refused.code()), (400, "BlobContainerValidationError"), "a setting");
    let err = World::parse(&json!({"iotHubs": [{"id": hub_path("h1"), "devices": "x"}]}).to_string());
    assert_eq!(err.unwrap_err().field, "iotHubs[0].devices");
}
