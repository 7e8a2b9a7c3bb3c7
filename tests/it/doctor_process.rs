//! `hubward doctor` and the check at the handler's start, as processes against the simulated Azure.

use std::{
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use azure_core::http::Url;
use hubward::{
    config::ProfilesSource,
    connect,
    local::{
        azure::{Azure, CallerPermission, Fault, FaultKind, Settings, World},
        clock::SimClock,
        workbench::SimCredential,
    },
    profiles::Profiles,
    rights,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    process::Command,
};
use tracing_subscriber::fmt::MakeWriter;

const PATIENCE: Duration = Duration::from_secs(30);

/// A simulated Azure on sockets, with the settings that lead there.
pub(crate) struct Stage {
    pub(crate) azure: Azure,
    settings: Vec<(&'static str, String)>,
    folder: TempDir,
}

async fn stage(permissions: Option<Vec<CallerPermission>>) -> Stage {
    stage_at(1.0, permissions).await
}

/// The same, in which time runs so many times as fast.
pub(crate) async fn stage_at(speed: f64, permissions: Option<Vec<CallerPermission>>) -> Stage {
    let mut world = World::sample();
    world.callers[0].permissions = permissions;
    let settings = Settings::default();
    let header = settings.identity_header.clone();
    let azure = Azure::new(settings, world, SimClock::start(time::OffsetDateTime::now_utc(), speed));
    let mut addresses = Vec::new();
    for router in [azure.arm_router(), azure.identity_router()] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(format!("http://{}", listener.local_addr().unwrap()));
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles.yaml");
    std::fs::write(&profiles, hubward::desired::sample()).unwrap();
    let settings = vec![
        ("HUBWARD_PROFILES", profiles.display().to_string()),
        ("HUBWARD_ARM_ENDPOINT", addresses[0].clone()),
        ("IDENTITY_ENDPOINT", format!("{}/msi/token", addresses[1])),
        ("IDENTITY_HEADER", header),
        ("HUBWARD_BUS_ENDPOINT", addresses[0].clone()),
    ];
    Stage { azure, settings, folder }
}

impl Stage {
    async fn doctor(&self, arguments: &[&str]) -> Output {
        self.run(&[&["doctor"], arguments].concat()).await
    }

    /// One of our commands, in a process of its own.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubward"));
        command.args(arguments).env_clear().envs(self.settings.iter().cloned());
        tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap()
    }
}

fn anything() -> CallerPermission {
    let all = || vec!["*".to_owned()];
    CallerPermission { actions: all(), data_actions: all(), ..CallerPermission::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_code_tells_fine_missing_and_unknown_apart() {
    let fine = stage(None).await;
    let output = fine.doctor(&[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("nothing that is required is missing"), "{text}");

    let poor = stage(Some(vec![CallerPermission {
        not_actions: vec!["Microsoft.Devices/IotHubs/write".into()],
        ..anything()
    }]))
    .await;
    let output = poor.doctor(&["--json"]).await;
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["verdict"]), (Some(3), &"missing".into()), "{json:#}");
    let missing =
        json["scopes"].as_array().unwrap().iter().flat_map(|scope| scope["missing"].as_array().unwrap());
    let missing: Vec<&Value> = missing.map(|need| &need["action"]["name"]).collect();
    assert_eq!(missing, ["Microsoft.Devices/IotHubs/write"]);
    assert!(json["fixes"][0]["az"][1].as_str().unwrap().starts_with("az role assignment create"));

    fine.azure.inject(Fault::new(FaultKind::Deny).on("GET", "/permissions").times(0));
    let output = fine.doctor(&[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("is not known"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handler_checks_at_its_start_unless_it_is_told_not_to() {
    let stage = stage(Some(vec![CallerPermission {
        not_actions: vec!["*/routingEndpointsHealth/read".into()],
        ..anything()
    }]))
    .await;
    let start = |check: &'static str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hubward-handler"));
        command.env_clear().envs(stage.settings.iter().cloned());
        command.env("FUNCTIONS_CUSTOMHANDLER_PORT", "0").env("HUBWARD_CHECK_RIGHTS", check);
        command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    };
    let asked = || {
        let state = stage.azure.state();
        state["counters"]["armCalls"].as_u64().unwrap()
    };
    let mut handler = start("off");
    let mut lines = BufReader::new(handler.stdout.take().unwrap()).lines();
    let ready = tokio::time::timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("hubward-handler is ready") {
                return true;
            }
        }
        false
    });
    assert!(ready.await.unwrap());
    assert_eq!(asked(), 0);
    handler.kill().await.unwrap();

    let mut handler = start("on");
    let mut lines = BufReader::new(handler.stdout.take().unwrap()).lines();
    let told = tokio::time::timeout(PATIENCE, async {
        let mut told = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap();
            let message = line["message"].as_str().unwrap_or_default().to_owned();
            let is_summary = message.starts_with("our own rights: nothing that is required is missing");
            told.push((line["level"].as_str().unwrap_or_default().to_owned(), message));
            if is_summary {
                break;
            }
        }
        told
    });
    let told = told.await.unwrap();
    let of_rights: Vec<&String> = told
        .iter()
        .filter(|(level, text)| level == "WARN" && text.starts_with("we may not"))
        .map(|(_, text)| text)
        .collect();
    let [line] = &of_rights[..] else { panic!("{told:?}") };
    assert!(
        line.contains("routingEndpointsHealth/read") && line.contains("az role definition create"),
        "{line}"
    );
    assert!(handler.try_wait().unwrap().is_none(), "it goes on");
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;
    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn a_check_that_cannot_be_made_is_told_and_harms_nothing() {
    let stage = stage(None).await;
    let transport = Arc::new(connect::http_client().unwrap());
    let credential = Arc::new(SimCredential(stage.azure.clone()));
    let endpoint = stage.settings.iter().find(|(name, _)| *name == "HUBWARD_ARM_ENDPOINT").unwrap();
    let arm = hubward::arm::ArmClient::new(
        Url::parse(&endpoint.1).unwrap(),
        "https://management.azure.com/.default".into(),
        credential.clone(),
        transport.clone(),
        hubward::arm::AzureClock::local(),
    );
    let source = ProfilesSource::File(stage.folder.path().join("not-there.yaml"));
    let profiles = Profiles::new(source, credential, transport);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    rights::at_start(&profiles, &arm).await;
    drop(guard);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("our own rights are not checked: there are no profiles"), "{text}");
    assert_eq!(stage.azure.state()["counters"]["armCalls"], 0);
}
