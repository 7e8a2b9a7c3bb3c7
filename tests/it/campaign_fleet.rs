//! A fleet that sends with keys, for campaigns: its broker, which drops what it has seen before, and its devices.

use std::collections::BTreeSet;

use hubward::{
    campaigns::{
        campaign::{Campaign, Rules, Unknown},
        hubs::{Row, Standing},
        orders::{Hubs, Order, OrderError, Plan, Planned, obey, start},
        step::CampaignStep,
        store::{CampaignBlobs, PageAt},
        waves::Size,
    },
    desired::DesiredState,
    model::IotHubId,
    outcomes::{Record, Word},
    work::WorkItem,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    functions::{Functions, store},
    requests::{Told, document, request},
    support::world::hub_id,
};

pub(crate) const GUARDRAILS: &str = "  allowKeys: true\n  maxWritesPerHub: 100\n";
pub(crate) const BY: &str = "ada@contoso.example";

pub(crate) fn profiles(guardrails: &str) -> String {
    document(guardrails).replace("- name: standard\n", "- name: standard\n    rollout: campaign\n")
}

pub(crate) fn state(document: &str) -> DesiredState {
    DesiredState::parse(document).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

pub(crate) fn rules() -> Rules {
    Rules { soak_seconds: 1800, tolerate: 0, verify_seconds: 600, unknown: Unknown::Accept, at_once: 50 }
}

pub(crate) fn plan(id: &str, sizes: &str) -> Plan {
    Plan {
        id: id.to_owned(),
        profile: "Standard".to_owned(),
        first: Vec::new(),
        sizes: Size::list("--waves", sizes).unwrap(),
        rules: rules(),
        requested_by: BY.to_owned(),
        reason: "no keys any more".to_owned(),
    }
}

/// What is on the queue of work.
#[expect(clippy::large_enum_variant, reason = "a handful of them, for a moment")]
pub(crate) enum Message {
    Hub(WorkItem),
    Step(CampaignStep),
}

impl Message {
    pub(crate) fn due(&self) -> Option<OffsetDateTime> {
        match self {
            Message::Hub(item) => item.due(),
            Message::Step(step) => Some(step.due),
        }
    }

    pub(crate) fn id(&self) -> Uuid {
        match self {
            Message::Hub(item) => item.work_id,
            Message::Step(step) => step.step_id,
        }
    }
}

/// A fleet on keys, and a broker that drops what it has seen before.
pub(crate) struct Fleet {
    pub(crate) functions: Functions,
    pub(crate) hubs: Vec<IotHubId>,
    pub(crate) blobs: CampaignBlobs,
    pub(crate) waiting: Vec<(Message, u32)>,
    pub(crate) seen: BTreeSet<Uuid>,
    pub(crate) told: Told,
    pub(crate) document: String,
}

impl Fleet {
    pub(crate) async fn on_keys(count: usize) -> Self {
        let document = profiles(GUARDRAILS);
        let functions = Functions::of(false, &document);
        let blobs = CampaignBlobs::of(&store(&functions.cloud));
        let mut hubs = Vec::new();
        for nth in 0..count {
            let hub = hub_id(&format!("hub{nth:02}"));
            functions.cloud.create_hub(hub.name(), "standard").await.unwrap();
            let event_hub = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2";
            let endpoint = json!({"endpoint": {"name": "telemetry", "eventHub": event_hub, "as": "key",
                "keyRule": "RootManageSharedAccessKey"}});
            let told = functions.ask(&request("EnsureEndpoint", &format!("key-{nth}"), &hub, endpoint)).await;
            assert_eq!(told.outcomes[0].outcome, Word::Changed, "{told:#?}");
            let routes =
                json!({"routes": [{"name": "all", "source": "DeviceMessages", "endpoint": "telemetry"}]});
            let told = functions.ask(&request("EnsureRoutes", &format!("route-{nth}"), &hub, routes)).await;
            assert_eq!(told.outcomes[0].outcome, Word::Changed, "{told:#?}");
            hubs.push(hub);
        }
        Self {
            functions,
            hubs,
            blobs,
            waiting: Vec::new(),
            seen: BTreeSet::new(),
            told: Told::default(),
            document,
        }
    }

    pub(crate) async fn planned(&self, plan: Plan) -> Planned {
        let arm = self.functions.cloud.arm.reader();
        let hubs = arm.hubs("0b1f6471-1bf0-4dda-aec3-cb9272f09590").await.unwrap();
        let now = self.functions.cloud.clock.now();
        plan.over(&state(&self.document), Hubs::Matching(hubs), now).unwrap()
    }

    pub(crate) async fn start(&mut self, plan: Plan) {
        let planned = self.planned(plan).await;
        start(&self.blobs, self.functions.queue(), &planned, None).await.unwrap();
        self.collect();
    }

    pub(crate) async fn say(&mut self, order: Order) -> Result<Campaign, OrderError> {
        let said = (BY, self.functions.cloud.clock.now());
        let state = state(&self.document);
        let said = obey(&self.blobs, self.functions.queue(), &state, "c1", &order, said, None).await;
        self.collect();
        said
    }

    pub(crate) fn collect(&mut self) {
        let items = self.functions.sent().into_iter().map(Message::Hub);
        let steps = self.functions.steps_sent().into_iter().map(Message::Step);
        for message in items.chain(steps) {
            if self.seen.insert(message.id()) {
                self.waiting.push((message, 1));
            }
        }
    }

    pub(crate) async fn campaign(&self) -> Campaign {
        self.blobs.campaign("c1").await.unwrap().unwrap().0
    }

    pub(crate) async fn rows(&self) -> Vec<(usize, Row)> {
        let campaign = self.campaign().await;
        let mut rows = Vec::new();
        for (number, wave) in campaign.waves.iter().enumerate() {
            for page in 0..wave.pages.len() {
                let at = PageAt { run: campaign.run, wave: number, page };
                let (page, _) = self.blobs.page("c1", at).await.unwrap();
                rows.extend(page.hubs.into_iter().map(|row| (number + 1, row)));
            }
        }
        rows
    }

    pub(crate) async fn row(&self, hub: &IotHubId) -> Row {
        self.rows().await.into_iter().map(|(_, row)| row).find(|row| row.hub == *hub).unwrap()
    }

    pub(crate) async fn deliver(&self, message: &Message, count: u32) -> (u16, Value) {
        match message {
            Message::Hub(item) => self.functions.deliver(&serde_json::to_string(item).unwrap(), count).await,
            Message::Step(step) => self.functions.deliver_step(step, &step.session_id(), count).await,
        }
    }

    /// Delivers one message, in time; `false` if there is none.
    pub(crate) async fn deliver_next(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        self.waiting.sort_by_key(|(message, _)| message.due());
        let (message, count) = self.waiting.remove(0);
        if let Some(due) = message.due() {
            self.functions.cloud.clock.sleep_until(due).await;
        }
        let (status, answer) = self.deliver(&message, count).await;
        assert_eq!(status, 200, "{answer}");
        self.told.add(&answer);
        self.collect();
        true
    }

    /// Delivers until nothing is left.
    pub(crate) async fn play(&mut self) {
        for _ in 0..20_000 {
            if !self.deliver_next().await {
                return;
            }
        }
        panic!("it never ends");
    }

    /// Delivers until a hub stands so.
    pub(crate) async fn play_until(&mut self, hub: &IotHubId, standing: Standing) {
        while self.row(hub).await.standing != standing {
            assert!(self.deliver_next().await, "{hub} never got there: {:?}", self.row(hub).await);
        }
    }

    pub(crate) fn auth(&self, hub: &IotHubId) -> String {
        let found = self.functions.cloud.hub(hub);
        let endpoint = &found["properties"]["routing"]["endpoints"]["eventHubs"][0];
        endpoint["authenticationType"].as_str().unwrap_or("keyBased").to_owned()
    }

    pub(crate) fn on_identities(&self) -> Vec<&str> {
        self.hubs.iter().filter(|hub| self.auth(hub) == "identityBased").map(IotHubId::name).collect()
    }

    /// A message of a device at each hub arrives, with what the hub authenticates with.
    pub(crate) async fn assert_egress(&self, story: &str) {
        for hub in &self.hubs {
            let sent =
                self.functions.cloud.sim("POST", &format!("hubs/{}/messages", hub.name()), json!({})).await;
            let with = if self.auth(hub) == "identityBased" { "identity" } else { "key" };
            assert_eq!(
                (&sent["deliveries"][0]["delivered"], &sent["deliveries"][0]["with"]),
                (&json!(true), &json!(with)),
                "{story}: {sent}"
            );
        }
    }

    /// The roles of a hub go, or come back, behind its back.
    pub(crate) async fn take_roles_from(&self, hub: &IotHubId) {
        let principal = self.functions.cloud.hub(hub)["identity"]["principalId"].clone();
        for grant in self.functions.cloud.grants() {
            let grant_of = &grant["properties"]["principalId"];
            if *grant_of == principal {
                let id = grant["id"].as_str().unwrap();
                let (status, answer) =
                    self.functions.cloud.call("DELETE", id, "2022-04-01", &Value::Null).await;
                assert_eq!(status, 200, "{answer}");
            }
        }
    }

    pub(crate) async fn message(&self, hub: &IotHubId) -> bool {
        let sent =
            self.functions.cloud.sim("POST", &format!("hubs/{}/messages", hub.name()), json!({})).await;
        sent["deliveries"][0]["delivered"] == true
    }

    pub(crate) fn of_campaign(&self) -> Vec<&Record> {
        self.told.outcomes.iter().filter(|record| record.campaign.is_some()).collect()
    }

    pub(crate) async fn assert_no_secret(&self) {
        let client = self.functions.cloud.arm.reader().client();
        let container = hubward::blobs::Container::new(
            hubward::local::azure::OUTCOMES_CONTAINER,
            client.credential(),
            client.transport(),
        )
        .unwrap();
        let names = container.names("campaigns/").await.unwrap();
        assert!(names.len() > 1, "{names:?}");
        for name in names {
            let text = container.text(&name, 10_000_000).await.unwrap().unwrap();
            self.functions.cloud.assert_no_secret(&text, &name);
            assert!(!text.contains("SharedAccessKey=") && !text.contains("Endpoint=sb"), "{name}");
        }
    }
}
