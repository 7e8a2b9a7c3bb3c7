//! What it costs to plan a hub and to compare a fleet, against the number of hubs and of endpoints.
//!
//! `cargo bench --bench planner` prints a table, and then how the cost grows: the exponent that a straight
//! line through the logarithms has. 1 is a cost in proportion.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use divan::{Bencher, black_box, counter::ItemsCount};
use hubward::{
    desired::{Choice, DesiredState},
    fleet::{FleetGrants, Standing, compare},
    model::{
        ResourceId,
        desired::DesiredHub,
        hub::HubDocument,
        observed::{Grant, HeldRole, ObservedHub},
        role::Role,
    },
    plan::plan,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

const SUBSCRIPTION: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";
const NOW: OffsetDateTime = datetime!(2026-01-31 12:00 UTC);

const HUBS: [usize; 4] = [10, 100, 1_000, 10_000];
/// Ten is what an IoT hub takes.
const ENDPOINTS: [usize; 3] = [1, 5, 10];

/// A fleet that is as its profile wants it: the case that comes each quarter of an hour.
struct Fleet {
    state: DesiredState,
    documents: Vec<HubDocument>,
    grants: FleetGrants,
    observed: Vec<(DesiredHub, ObservedHub)>,
}

impl Fleet {
    fn new(hubs: usize, endpoints: usize) -> Self {
        let state = DesiredState::parse(&profiles(endpoints)).expect("the profiles have no mistakes");
        let mut fleet =
            Self { state, documents: Vec::new(), grants: FleetGrants::default(), observed: Vec::new() };
        for hub in 0..hubs {
            let principal = Uuid::from_u128(hub as u128 + 1).to_string();
            let document = HubDocument::from_json(document(hub, &principal, endpoints)).expect("it is a hub");
            let grants: Vec<Grant> = (0..endpoints).map(|at| grant(&principal, at)).collect();
            grants.iter().for_each(|grant| fleet.grants.learn(grant.clone()));
            let Choice::Desired(desired) = fleet.state.for_document(&document) else {
                panic!("a profile is for every hub")
            };
            let observed = ObservedHub {
                hub: document.clone(),
                targets: BTreeMap::new(),
                user_identities: BTreeMap::new(),
                readable: grants.iter().map(|grant| grant.id.clone()).collect::<BTreeSet<_>>(),
                grants,
                assignments_left: BTreeMap::new(),
            };
            fleet.documents.push(document);
            fleet.observed.push((desired, observed));
        }
        fleet
    }

    /// Plans every hub; how many need nothing.
    fn plan(&self) -> usize {
        let guardrails = self.state.guardrails();
        let plans = self.observed.iter().map(|(desired, observed)| plan(desired, observed, guardrails, NOW));
        plans.filter(|plan| plan.is_in_sync()).count()
    }

    /// Compares every hub with its profile, as a resync does; how many are in order.
    fn compare(&self, documents: Vec<HubDocument>) -> usize {
        let compared = documents.into_iter().map(|hub| compare(&self.state, hub, &self.grants, NOW));
        compared.filter(|(_, standing)| *standing == Standing::InSync).count()
    }
}

fn profiles(endpoints: usize) -> String {
    let mut text = format!(
        "version: 1\nguardrails:\n  subscriptions: [{}]\n  targets: [{SUBSCRIPTION}/resourceGroups/rg-data]\n\
         profiles:\n  - name: standard\n    match: {{tags: {{egress: standard}}}}\n    identity: {{system: on}}\n    endpoints:\n",
        SUBSCRIPTION.trim_start_matches("/subscriptions/")
    );
    for at in 0..endpoints {
        text.push_str(&format!("      - {{name: e{at}, eventHub: {}, as: system}}\n", target(at)));
    }
    text.push_str("    routes:\n");
    for at in 0..endpoints {
        text.push_str(&format!(
            "      - {{name: r{at}, source: DeviceMessages, condition: \"true\", endpoint: e{at}}}\n"
        ));
    }
    text
}

fn target(at: usize) -> String {
    format!(
        "{SUBSCRIPTION}/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/target{at}"
    )
}

fn document(hub: usize, principal: &str, endpoints: usize) -> Value {
    let event_hubs = (0..endpoints).map(|at| {
        json!({"name": format!("e{at}"), "id": Uuid::from_u128(at as u128), "resourceGroup": "rg-data",
            "subscriptionId": SUBSCRIPTION.trim_start_matches("/subscriptions/"),
            "authenticationType": "identityBased", "endpointUri": "sb://ns1.servicebus.windows.net",
            "entityPath": format!("target{at}")})
    });
    let routes = (0..endpoints).map(|at| {
        json!({"name": format!("r{at}"), "source": "DeviceMessages", "condition": "true",
            "endpointNames": [format!("e{at}")], "isEnabled": true})
    });
    let name = format!("hub{hub:05}");
    json!({
        "id": format!("{SUBSCRIPTION}/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/{name}"),
        "name": name, "type": "Microsoft.Devices/IotHubs", "location": "westus2", "etag": "AAAAAAAAAAE=",
        "tags": {"egress": "standard"}, "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
        "identity": {"type": "SystemAssigned", "principalId": principal, "tenantId": "t"},
        "properties": {"state": "Active", "provisioningState": "Succeeded", "routing": {
            "endpoints": {"eventHubs": event_hubs.collect::<Value>(), "serviceBusQueues": [],
                "serviceBusTopics": [], "storageContainers": []},
            "routes": routes.collect::<Value>(),
            "fallbackRoute": {"name": "$fallback", "source": "DeviceMessages", "condition": "true",
                "endpointNames": ["events"], "isEnabled": true}}},
    })
}

fn grant(principal: &str, at: usize) -> Grant {
    let scope = ResourceId::parse(&target(at)).expect("a target's id is one");
    Grant {
        id: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{principal}-{at}"),
        scope,
        role: HeldRole::Ours(Role::EventHubsDataSender),
        principal: principal.to_owned(),
        is_conditional: false,
        created_on: Some(NOW - time::Duration::days(1)),
        description: None,
    }
}

fn sizes() -> impl Iterator<Item = (usize, usize)> {
    HUBS.into_iter().flat_map(|hubs| ENDPOINTS.into_iter().map(move |endpoints| (hubs, endpoints)))
}

#[divan::bench(args = sizes(), sample_count = 10, sample_size = 1)]
fn plan_each_hub(bencher: Bencher<'_, '_>, (hubs, endpoints): (usize, usize)) {
    let fleet = Fleet::new(hubs, endpoints);
    assert_eq!(fleet.plan(), hubs, "all hubs are in order");
    bencher.counter(ItemsCount::new(hubs)).bench_local(|| black_box(fleet.plan()));
}

#[divan::bench(args = sizes(), sample_count = 10, sample_size = 1)]
fn compare_the_fleet(bencher: Bencher<'_, '_>, (hubs, endpoints): (usize, usize)) {
    let fleet = Fleet::new(hubs, endpoints);
    assert_eq!(fleet.compare(fleet.documents.clone()), hubs, "all hubs are in order");
    bencher
        .counter(ItemsCount::new(hubs))
        .with_inputs(|| fleet.documents.clone())
        .bench_local_values(|documents| black_box(fleet.compare(documents)));
}

/// The shortest of a few runs, in seconds: to plan, and to compare.
fn shortest(hubs: usize, endpoints: usize) -> [f64; 2] {
    let fleet = Fleet::new(hubs, endpoints);
    let mut best = [f64::INFINITY; 2];
    // Small fleets are measured more often: one run of theirs is short.
    for _ in 0..(20_000 / hubs).clamp(5, 200) {
        let documents = fleet.documents.clone();
        let began = Instant::now();
        black_box(fleet.plan());
        let planned = Instant::now();
        black_box(fleet.compare(documents));
        let took = [(planned - began).as_secs_f64(), planned.elapsed().as_secs_f64()];
        best = [best[0].min(took[0]), best[1].min(took[1])];
    }
    best
}

/// The slope of a straight line through the logarithms, by least squares.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (mean_x, mean_y) =
        (logs.iter().map(|(x, _)| x).sum::<f64>() / n, logs.iter().map(|(_, y)| y).sum::<f64>() / n);
    let above: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    above / below
}

#[expect(clippy::print_stdout, reason = "it is what the bench is for")]
fn state_growth() {
    let measured: Vec<(usize, usize, [f64; 2])> =
        sizes().map(|(hubs, endpoints)| (hubs, endpoints, shortest(hubs, endpoints))).collect();
    for (at, name) in ["plan", "compare"].into_iter().enumerate() {
        println!();
        for endpoints in ENDPOINTS {
            let of = measured.iter().filter(|(_, with, _)| *with == endpoints);
            let points: Vec<(f64, f64)> = of.map(|(hubs, _, took)| (*hubs as f64, took[at])).collect();
            let slope = exponent(&points);
            println!("{name}: with {endpoints} endpoints, the cost grows as hubs^{slope:.2}");
        }
        for hubs in HUBS {
            let of = measured.iter().filter(|(with, ..)| *with == hubs);
            let points: Vec<(f64, f64)> =
                of.map(|(_, endpoints, took)| (*endpoints as f64, took[at])).collect();
            let per_hub: Vec<String> =
                points.iter().map(|(_, took)| format!("{:.1}", took / hubs as f64 * 1e6)).collect();
            let slope = exponent(&points);
            println!(
                "{name}: {hubs} hubs, µs a hub with {ENDPOINTS:?} endpoints: {}; it grows as endpoints^{slope:.2}",
                per_hub.join(", ")
            );
        }
    }
}

fn main() {
    divan::main();
    state_growth();
}
