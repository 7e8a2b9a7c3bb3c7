//! What is drawn from the seed: a fleet, its profiles, and everything that happens to it.

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::profiles::{Document, OWN, ROOT_RULE, SUBSCRIPTION, TARGETS, Target, UPLOADS, user_identity};
use crate::local::azure::{
    EndpointValidation, EventSettings, FailureShape, Fault, FaultKind, ResourceGraphSettings, Settings,
};

/// Hubs of a fleet, at the most.
pub(super) const MOST_HUBS: usize = 6;

/// How something is said in the story: at which second, and what.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) at: f64,
    pub(super) what: What,
}

/// What happens.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// An operator makes a hub with this tag.
    Create { hub: usize },
    /// And deletes it.
    Delete { hub: usize },
    /// Somebody else changes a hub.
    Foreign { hub: usize, kind: usize, nth: usize },
    /// Somebody takes a role of a hub away.
    Revoke { hub: usize, nth: usize },
    /// Somebody puts devices where an import will look for them.
    Lay { container: &'static str, blob: String, devices: String },
    /// A text on the queue of requests.
    Ask { text: String },
    /// Something goes wrong in Azure.
    Fault(Box<Fault>),
    /// Event Grid tells once more of a hub, for no reason.
    Event { hub: usize },
    /// The machines stand still for so many seconds.
    Jump { seconds: u64 },
}

/// A time in which something does not answer.
#[derive(Debug, Clone)]
pub(super) struct Outage {
    pub(super) what: &'static str,
    pub(super) from: f64,
    pub(super) until: f64,
}

/// Everything that a seed says.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) document: Document,
    /// The profile of each hub.
    pub(super) hubs: Vec<usize>,
    pub(super) instances: usize,
    pub(super) acts: Vec<Act>,
    pub(super) outages: Vec<Outage>,
    /// How many invocations may end in the death of their process, and how likely each is to.
    pub(super) deaths: u32,
    pub(super) death: f64,
    /// How often somebody is to change a hub just after it was read, and is done before it is written.
    pub(super) races: u32,
    /// When the faults end.
    pub(super) calm: f64,
}

/// A hub's name.
pub(super) fn hub_name(hub: usize) -> String {
    format!("plant{hub}")
}

/// The hub of a name.
pub(super) fn hub_of_name(name: &str) -> Option<usize> {
    name.strip_prefix("plant")?.parse().ok()
}

/// A hub's id.
pub(super) fn hub_id(hub: usize) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/{}",
        hub_name(hub)
    )
}

impl Story {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let random = &mut random;
        let document = Document::draw(random);
        let hubs: Vec<usize> = (0..random.random_range(1..=MOST_HUBS))
            .map(|_| random.random_range(0..document.profiles.len()))
            .collect();
        let calm = random.random_range(600.0..5400.0);
        let mut acts = Vec::new();
        for hub in 0..hubs.len() {
            let made = random.random_range(0.0..120.0);
            acts.push(Act { at: made, what: What::Create { hub } });
            for nth in 0..random.random_range(0..3) {
                // Another owner of file upload would be in a fight, and that is another story.
                let kind = random.random_range(0..4);
                let at = random.random_range(made + 150.0..calm + 300.0);
                acts.push(Act { at, what: What::Foreign { hub, kind, nth } });
            }
            if random.random_bool(0.2) {
                let at = random.random_range(made + 300.0..calm + 400.0);
                acts.push(Act { at, what: What::Foreign { hub, kind: 4, nth: 0 } });
            }
            if random.random_bool(0.2) {
                let (at, nth) = (random.random_range(made + 300.0..calm + 400.0), random.random_range(0..8));
                acts.push(Act { at, what: What::Revoke { hub, nth } });
            }
            if random.random_bool(0.12) {
                let gone = random.random_range(made + 150.0..calm);
                acts.push(Act { at: gone, what: What::Delete { hub } });
                if random.random_bool(0.6) {
                    let again = gone + random.random_range(60.0..600.0);
                    acts.push(Act { at: again, what: What::Create { hub } });
                }
            }
            if random.random_bool(0.3) {
                acts.push(Act { at: random.random_range(0.0..calm), what: What::Event { hub } });
            }
        }
        for nth in 0..random.random_range(0..=8) {
            let text = request(random, nth, &hubs, &document);
            acts.extend(devices_of(random, &text, calm));
            for _ in 0..random.random_range(1..=2) {
                acts.push(Act {
                    at: random.random_range(100.0..calm),
                    what: What::Ask { text: text.clone() },
                });
            }
        }
        for _ in 0..random.random_range(0..=12) {
            let fault = Box::new(fault(random));
            acts.push(Act { at: random.random_range(0.0..calm), what: What::Fault(fault) });
        }
        if random.random_bool(0.15) {
            let (at, seconds) = (random.random_range(60.0..calm), random.random_range(30..1800));
            acts.push(Act { at, what: What::Jump { seconds } });
        }
        acts.sort_by(|one, other| one.at.total_cmp(&other.at));
        let mut outages = Vec::new();
        for what in ["tokens", "broker"] {
            if random.random_bool(0.2) {
                let from = random.random_range(0.0..calm);
                outages.push(Outage { what, from, until: (from + random.random_range(5.0..90.0)).min(calm) });
            }
        }
        Self {
            seed,
            settings: settings(random, seed),
            document,
            hubs,
            instances: random.random_range(1..=3),
            acts,
            outages,
            deaths: random.random_range(0..=4),
            death: random.random_range(0.02..0.3),
            races: random.random_range(0..=2),
            calm,
        }
    }

    /// The story in words, as far as it was known before anything happened.
    pub(super) fn tell(&self) -> Vec<String> {
        let mut lines = vec![
            format!("seed {}: {} hubs, {} instances", self.seed, self.hubs.len(), self.instances),
            format!("profiles: {}", self.document.text()),
            format!("up to {} deaths, likelihood {:.2}; {} races", self.deaths, self.death, self.races),
        ];
        lines.extend(
            self.outages
                .iter()
                .map(|outage| format!("{:>9.3}  no {} until {:.3}", outage.from, outage.what, outage.until)),
        );
        lines.extend(self.acts.iter().map(|act| format!("{:>9.3}  {}", act.at, act.what.words())));
        lines.push(format!("{:>9.3}  the faults end", self.calm));
        lines
    }
}

impl What {
    pub(super) fn words(&self) -> String {
        match self {
            What::Create { hub } => format!("an operator makes {}", hub_name(*hub)),
            What::Delete { hub } => format!("an operator deletes {}", hub_name(*hub)),
            What::Foreign { hub, kind, nth } => {
                format!("somebody changes {} (kind {kind}, {nth})", hub_name(*hub))
            }
            What::Revoke { hub, nth } => format!("somebody takes a role of {} away ({nth})", hub_name(*hub)),
            What::Lay { container, blob, devices } => {
                format!("somebody puts {} devices into {container}/{blob}", devices.lines().count())
            }
            What::Ask { text } => format!("request {text}"),
            What::Fault(fault) => format!("fault {}", json!(fault)),
            What::Event { hub } => format!("an event of {} for no reason", hub_name(*hub)),
            What::Jump { seconds } => format!("all stands still for {seconds} s"),
        }
    }
}

fn settings(random: &mut StdRng, seed: u64) -> Settings {
    let propagation_max_seconds = if random.random_bool(0.3) { 600.0 } else { 45.0 };
    Settings {
        seed,
        principal_visible_seconds: random.random_range(0.0..60.0),
        principal_not_found_runs: random.random_range(0..3),
        propagation_max_seconds,
        activity_log_delay_seconds: random.random_range(180.0..1200.0),
        endpoint_validation: if random.random_bool(0.5) {
            EndpointValidation::Sync
        } else {
            EndpointValidation::Async
        },
        failure_shape: if random.random_bool(0.5) { FailureShape::Nested } else { FailureShape::Numeric },
        principal_in_put_answer: random.random_bool(0.5),
        retry_after_seconds: random.random_bool(0.3).then_some(15.0),
        poll_signature_length: 64,
        events: EventSettings {
            delay_seconds: random.random_range(1.0..60.0),
            cloud_events: random.random_bool(0.3),
            ..EventSettings::default()
        },
        check_input_blob: random.random_bool(0.5),
        resource_graph: ResourceGraphSettings {
            resources_lag_seconds: random.random_range(0.0..60.0),
            authorization_lag_seconds: random.random_range(0.0..60.0),
            ..ResourceGraphSettings::default()
        },
        ..Settings::default()
    }
}

/// A fault of any kind, for calls of ours.
fn fault(random: &mut StdRng) -> Fault {
    const ANY: [FaultKind; 6] = [
        FaultKind::Throttle,
        FaultKind::ServerError,
        FaultKind::ResetBefore,
        FaultKind::LoseAnswer,
        FaultKind::BadJson,
        FaultKind::SlowAnswer,
    ];
    const OWN: [FaultKind; 12] = [
        FaultKind::Conflict409,
        FaultKind::PreconditionFailed,
        FaultKind::NotFoundWindow,
        FaultKind::SlowOperation,
        FaultKind::FailOperation,
        FaultKind::PrincipalNotFound,
        FaultKind::LatePropagation,
        FaultKind::DuplicateEvent,
        FaultKind::LoseEvent,
        FaultKind::LateEvent,
        FaultKind::FailJob,
        FaultKind::SlowJob,
    ];
    let (times, skip) = (random.random_range(1..=4), random.random_range(0..6));
    let fault = if random.random_bool(0.5) {
        let kind = ANY[random.random_range(0..ANY.len())];
        let places = [
            ("GET", "/iothubs/"),
            ("PUT", "/iothubs/"),
            ("PUT", "/roleassignments/"),
            ("GET", "/providers/"),
            ("POST", "azure-devices.net/jobs/create"),
            ("POST", "resourcegraph"),
        ];
        if random.random_bool(0.1) {
            // The container of outcomes, where other faults would be tried again at random pauses.
            let path = "*hubwardstate.blob.core.windows.net/outcomes/*";
            return Fault::new(FaultKind::Deny).on("PUT", path).times(times).skip(skip);
        }
        let (method, path) = places[random.random_range(0..places.len())];
        let fault = Fault::new(kind).on(method, path);
        match kind {
            FaultKind::Throttle if random.random_bool(0.5) => {
                fault.retry_after(random.random_range(1.0..60.0))
            }
            FaultKind::ServerError if random.random_bool(0.5) => fault.status(503),
            FaultKind::SlowAnswer => fault.seconds(random.random_range(1.0..90.0)),
            _ => fault,
        }
    } else {
        let kind = OWN[random.random_range(0..OWN.len())];
        let fault = Fault::new(kind);
        match kind {
            FaultKind::SlowOperation | FaultKind::SlowJob | FaultKind::LateEvent => {
                fault.seconds(random.random_range(30.0..900.0))
            }
            FaultKind::LatePropagation => fault.seconds(random.random_range(60.0..600.0)),
            FaultKind::NotFoundWindow => fault.seconds(random.random_range(10.0..120.0)),
            _ => fault,
        }
    };
    fault.times(times).skip(skip)
}

/// A request: most make sense, some do not, and some mean harm.
fn request(random: &mut StdRng, nth: usize, hubs: &[usize], document: &Document) -> String {
    let hub = random.random_range(0..hubs.len());
    let mut ask = json!({"schema": "hubward/v1", "kind": "Reconcile", "id": format!("r-{nth}"),
        "hub": hub_id(hub), "requestedBy": "ada@contoso.example", "reason": "a story"});
    let target = TARGETS[random.random_range(0..TARGETS.len())];
    let name = format!("req-{nth}");
    let earlier = format!("req-{}", random.random_range(0..=nth));
    let (archive, is_user) = (random.random_bool(0.5), random.random_bool(0.5));
    let mut say = |kind: &str, rest: Value| {
        ask["kind"] = kind.into();
        for (field, value) in rest.as_object().into_iter().flatten() {
            ask[field] = value.clone();
        }
    };
    let endpoint =
        |one: Target, id: String| json!({"endpoint": {"name": name, (one.field): id, "as": "system"}});
    // There, and none of the document's business.
    let outside = TARGETS.into_iter().find(|target| !document.allows(*target));
    match random.random_range(0..24) {
        0 | 1 => {}
        2 => say("Onboard", json!({"profile": format!("p{}", hubs[hub])})),
        3 => say("Onboard", json!({"profile": format!("p{}", hubs[hub]), "dryRun": true})),
        4 => say("SetIdentity", json!({"identity": {"system": "on"}})),
        5 | 6 => say("EnsureEndpoint", endpoint(target, target.id())),
        7 => say(
            "EnsureRoutes",
            json!({"routes": [{"name": name, "source": "DeviceMessages", "endpoint": "events"}]}),
        ),
        8 => say("RemoveEndpoint", json!({"endpoint": "req-0", "withRoutes": true})),
        9 | 10 => say(
            "ExportDevices",
            json!({"container": UPLOADS.id(), "as": "system", "blobName": format!("export-{nth}.txt")}),
        ),
        11 => say("CancelJob", json!({"jobId": "nobody"})),
        12 => say("Offboard", json!({"confirm": hub_name(hub), "profile": format!("p{}", hubs[hub])})),
        13 => say(
            "ConfigureFileUpload",
            json!({"fileUpload": {"container": UPLOADS.id(), "as": "system", "sasTtl": "PT1H"}}),
        ),
        14 | 15 => say(
            "ImportDevices",
            json!({"container": if archive { TARGETS[4].id() } else { UPLOADS.id() }, "as": "system",
                "blobName": format!("import-{nth}.txt"), "confirm": hub_name(hub)}),
        ),
        16 => {
            let mut with_key = endpoint(target, target.id());
            with_key["endpoint"]["as"] = "key".into();
            if target.has_rules() {
                with_key["endpoint"]["keyRule"] = ROOT_RULE.into();
            }
            say("EnsureEndpoint", with_key);
        }
        17 => say("SetEndpointAuth", json!({"endpoint": earlier, "as": "key", "keyRule": ROOT_RULE})),
        18 => {
            let sender = if is_user { user_identity() } else { "system".to_owned() };
            say("SetEndpointAuth", json!({"endpoint": earlier, "as": sender}));
        }
        19 => {
            say("SetEndpointAuth", json!({"endpoint": format!("{OWN}0"), "as": "key", "keyRule": ROOT_RULE}))
        }
        // From here on they mean harm.
        20 => say("EnsureEndpoint", endpoint(target, target.id().replace("rg-data", "rg-plant-01"))),
        21 => {
            let target = outside.unwrap_or(target);
            say("EnsureEndpoint", endpoint(target, target.id()));
        }
        22 => say("SetIdentity", json!({"identity": {"system": "on"}, "role": "Owner"})),
        _ => {
            // The key of another request.
            ask["id"] = "r-0".into();
            ask["reason"] = "another story".into();
        }
    }
    ask.to_string()
}

/// The devices that a request wants to import, put there in time or too late; sometimes nobody does.
fn devices_of(random: &mut StdRng, request: &str, calm: f64) -> Option<Act> {
    let ask: Value =
        serde_json::from_str(request).ok().filter(|ask: &Value| ask["kind"] == "ImportDevices")?;
    let container = [TARGETS[4], UPLOADS].into_iter().find(|one| ask["container"] == one.id())?.container();
    let blob = ask["blobName"].as_str()?.to_owned();
    let count = random.random_range(1..=4);
    let mut lines: Vec<String> = (0..count)
        .map(
            |nth| json!({"id": format!("{blob}-{nth}"), "status": "enabled", "importMode": "createOrUpdate"}),
        )
        .map(|device| device.to_string())
        .collect();
    if random.random_bool(0.2) {
        // The hub has no such device.
        lines.push(json!({"id": "nobody", "status": "enabled", "importMode": "update"}).to_string());
    }
    let at = if random.random_bool(0.8) { 0.0 } else { random.random_range(0.0..calm) };
    let what = What::Lay { container, blob, devices: lines.join("\n") };
    random.random_bool(0.9).then_some(Act { at, what })
}
