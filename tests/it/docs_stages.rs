//! Where the commands of the docs are run: for each section, what its reader has by then.

use hubward::{
    local::{
        azure::Settings,
        cloud::{LocalCloud, LocalOptions},
    },
    model::IotHubId,
};
use serde_json::json;

use crate::{
    requests::document,
    support::{
        azurite::azurite,
        local::{create_hub, local},
        page::{blocks, read},
        shell::Shell,
        world::{SUBSCRIPTION, hub_id, id},
    },
};

/// A shell, and the cloud that its settings lead to.
pub(crate) struct Stage {
    pub(crate) shell: Shell,
    cloud: Option<LocalCloud>,
    /// Commands with this in them cannot be run on this machine.
    pub(crate) lacks: Vec<&'static str>,
}

impl Stage {
    fn bare() -> Self {
        Self { shell: Shell::new(), cloud: None, lacks: Vec::new() }
    }

    /// A local cloud with these profiles.
    async fn cloud(profiles: &str, more: impl FnOnce(LocalOptions) -> LocalOptions) -> (Self, LocalCloud) {
        let mut stage = Self::bare();
        let cloud = LocalCloud::start(more(local(stage.shell.folder(), profiles))).await.unwrap();
        stage.shell.set_all(cloud.client_settings());
        (stage, cloud)
    }

    fn with(mut self, cloud: LocalCloud) -> Option<Self> {
        self.cloud = Some(cloud);
        Some(self)
    }

    /// Stops everything.
    pub(crate) async fn end(mut self) {
        self.shell.stop().await;
        if let Some(cloud) = self.cloud {
            cloud.host.shutdown().await;
        }
    }
}

/// The example of a kind in the reference of requests.
fn example(kind: &str) -> String {
    let page = read("docs/requests.md");
    let found = blocks(&page).into_iter().find(|block| block.section == kind);
    found.unwrap_or_else(|| panic!("{kind} has no example")).text
}

fn container() -> String {
    id("/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive")
        .to_string()
}

async fn with_devices(cloud: &LocalCloud, hub: &IotHubId) {
    let path = format!("hubs/{}/devices", hub.name());
    cloud.sim("POST", &path, json!({"count": 5, "prefix": "d"})).await.unwrap();
}

/// What a reader of this section has.
pub(crate) async fn stage(page: &str, section: &str) -> Option<Stage> {
    match (page, section) {
        // These start a cloud of their own, or need none.
        ("README.md", "Hubward") | ("docs/profiles.md", "In an editor") => Some(Stage::bare()),
        ("src/local/azure/README.md", "With az and the SDKs") => Some(Stage::bare()),
        ("docs/performance.md", "One hub" | "A cold fleet") => Some(Stage::bare()),
        ("docs/performance.md", "The handler beside its peers") => {
            let mut stage = Stage::bare();
            stage.shell.set("HANDLER", env!("CARGO_BIN_EXE_hubward-handler"));
            Some(stage)
        }
        ("README.md", "Sixty seconds with the local cloud") => {
            let mut stage = Stage::bare();
            stage.shell.file("reconcile.json", &example("Reconcile"));
            match azurite() {
                Some(azurite) => {
                    let queues = azurite.signed_address("docs");
                    stage.shell.set("QUEUES", queues.as_str());
                    stage.shell.set("HUBWARD_QUEUES", queues.as_str());
                }
                None => stage.lacks.extend(["--storage", "failed", "--to storage"]),
            }
            Some(stage)
        }
        ("README.md", "Bulk jobs") => {
            // Of no hour that may have been lately: an app that starts makes up for those.
            let nightly = format!(
                "    exports: [ {{ name: nightly, schedule: '0 30 2 29 2 *', container: {}, as: system }} ]\n",
                container()
            );
            let profiles = document("  allowImports: [ hub1 ]\n") + &nightly;
            let (mut stage, cloud) = Stage::cloud(&profiles, |options| options).await;
            create_hub(&cloud, "hub1", "standard").await;
            with_devices(&cloud, &hub_id("hub1")).await;
            stage.shell.set("HUB_ID", hub_id("hub1").as_str());
            stage.shell.set("CONTAINER_ID", &container());
            stage.with(cloud)
        }
        ("README.md", "Requests") => {
            let (mut stage, cloud) = Stage::cloud(hubward::desired::reference(), |options| options).await;
            create_hub(&cloud, "hub-plant-01", "none").await;
            stage.shell.file("onboard.json", &example("Onboard"));
            stage.shell.file("identity.json", &example("SetIdentity"));
            stage.shell.set("HOST", &cloud.addresses.functions);
            stage.shell.set("HUBWARD_HOST_KEY", &cloud.master_key);
            stage.with(cloud)
        }
        ("README.md", "Commands") => {
            let lab = "  - name: lab\n    match: { names: [ 'lab-*' ] }\n    identity: { system: on }\n";
            // A job that can be caught while it runs.
            let azure = Settings { job_seconds: 36_000.0, ..Settings::default() };
            let slow = |options| LocalOptions { azure, ..options };
            let (mut stage, cloud) = Stage::cloud(&(document("") + lab), slow).await;
            // What is missing stays so until somebody asks.
            cloud.deliver_events(false);
            create_hub(&cloud, "hub1", "standard").await;
            create_hub(&cloud, "lab-1", "none").await;
            stage.shell.set("HUB_ID", hub_id("hub1").as_str());
            stage.shell.set("LAB_ID", hub_id("lab-1").as_str());
            stage.shell.set("CONTAINER_ID", &container());
            stage.shell.set("HANDLER", env!("CARGO_BIN_EXE_hubward-handler"));
            stage.with(cloud)
        }
        ("docs/campaigns.md", "Campaigns") => {
            let page = read("docs/campaigns.md");
            let profiles = blocks(&page).into_iter().find(|block| block.language == "yaml").unwrap().text;
            assert!(profiles.contains(SUBSCRIPTION));
            // Two soaks of half an hour, with a resync in the midst: a handler that asks Azure for nothing lives in real
            // time and never sees the end of them.
            let fast = |options| LocalOptions { speed: 300.0, resync: true, ..options };
            let (stage, cloud) = Stage::cloud(&profiles, fast).await;
            for hub in ["hub1", "hub2"] {
                create_hub(&cloud, hub, "standard").await;
            }
            stage.with(cloud)
        }
        ("docs/migrating.md", "First look") => {
            let (stage, cloud) = Stage::cloud(&document("  maxHubsChanged: 0\n"), |options| options).await;
            create_hub(&cloud, "hub1", "standard").await;
            stage.with(cloud)
        }
        _ => None,
    }
}
