//! What hubs leave behind: a hub is deleted, made again, loses its identity; its grants go, and those of nobody else.

use hubward::{
    arm::assignment_name,
    local::azure::{Fault, FaultKind},
    model::{IotHubId, ResourceId, role::Role},
    offboard::orphans,
    outcomes::{Record, Word, store::OutcomeStore},
    work::WorkItem,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    doctor_process::stage_at,
    functions::{Functions, item, store},
    support::{
        cloud::{pass, request},
        profiles::{GROUP, alerts, archive, cosmos, id_egress, one_by_user, profile},
        world::{SUBSCRIPTION, event_hub, hub_id},
    },
};

const SENDER: Role = Role::EventHubsDataSender;

/// An event hub, a container and a Cosmos DB container, all as the hub itself.
pub(crate) fn three() -> String {
    profile(&format!(
        "    match: {{ tags: {{ egress: standard }} }}\n    identity: {{ system: on }}\n    ownedPrefixes: [ hw- ]\n    endpoints: [ {{ name: hw-a, eventHub: {}, as: system }}, {{ name: hw-b, storageContainer: {}, as: system }}, {{ name: hw-c, cosmosDbContainer: {}, as: system }} ]\n    routes: [ {{ name: hw-a, source: DeviceMessages, endpoint: hw-a }} ]\n",
        alerts(),
        archive(),
        cosmos()
    ))
}

pub(crate) fn list(functions: &Functions, name: &str) -> Vec<Value> {
    functions.cloud.azure.state()[name].as_array().cloned().unwrap_or_default()
}

/// How many role assignments there are, of Azure RBAC and of Cosmos DB.
pub(crate) fn grants(functions: &Functions) -> (usize, usize) {
    (list(functions, "roleAssignments").len(), list(functions, "cosmosRoleAssignments").len())
}

/// Delivers a message and all that come of it, each when it is due. What was logged at the end of each.
pub(crate) async fn deliver(functions: &Functions, text: &str) -> Vec<String> {
    let mut logs = Vec::new();
    let mut texts = vec![text.to_owned()];
    while !texts.is_empty() {
        let (status, answer) = functions.work(&texts.remove(0)).await;
        assert_eq!(status, 200, "{answer}");
        logs.push(answer["Logs"][0].as_str().unwrap().to_owned());
        for next in functions.sent() {
            if let Some(due) = next.due() {
                functions.cloud.clock.sleep_until(due).await;
            }
            texts.push(serde_json::to_string(&next).unwrap());
        }
        assert!(logs.len() < 40, "{logs:?}");
    }
    logs
}

pub(crate) async fn ready(document: &str) -> (Functions, IotHubId) {
    let functions = Functions::of(false, document);
    let hub = functions.cloud.new_hub("hub1").await;
    deliver(&functions, &item(hub.clone())).await;
    // Long enough for no grant to be young.
    pass(3600).await;
    functions.cloud.reset_counters().await.unwrap();
    (functions, hub)
}

async fn delete(functions: &Functions, hub: &IotHubId) {
    functions.cloud.sim("DELETE", &format!("hubs/{}?wait=true", hub.name()), json!({})).await;
    assert_eq!(functions.cloud.hub(hub), Value::Null);
}

fn text(item: &WorkItem) -> String {
    serde_json::to_string(item).unwrap()
}

fn deleted(hub: &IotHubId, event: &str) -> String {
    text(&WorkItem::for_event(hub.clone(), true, Some(event.into()), None))
}

fn leftovers(hub: &IotHubId) -> String {
    text(&WorkItem::for_leftovers(hub.clone(), Uuid::from_u128(7)))
}

pub(crate) async fn record(functions: &Functions, hub: &IotHubId) -> Record {
    store(&functions.cloud).of_hub(hub).await.unwrap().unwrap()
}

/// A role assignment that somebody makes.
pub(crate) async fn assign(functions: &Functions, name: &str, principal: &str, description: &str) -> String {
    let id = format!("{}/providers/Microsoft.Authorization/roleAssignments/{name}", alerts());
    let role = format!(
        "/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{}",
        SENDER.guid()
    );
    let body = json!({"properties": {"roleDefinitionId": role, "principalId": principal,
        "principalType": "ServicePrincipal", "description": description}});
    let (status, answer) = functions.cloud.call("PUT", &id, "2022-04-01", &body).await;
    assert_eq!(status, 201, "{answer}");
    id
}

fn our_name(principal: &str) -> String {
    assignment_name(&ResourceId::parse(&alerts()).unwrap(), SENDER, principal).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_deleted_hub_takes_its_grants_with_it() {
    let (functions, hub) = ready(&three()).await;
    assert_eq!(grants(&functions), (2, 1));
    delete(&functions, &hub).await;
    assert_eq!(grants(&functions), (2, 1), "Azure leaves them");
    assert_eq!(deliver(&functions, &deleted(&hub, "d1")).await, ["hub1: Changed"]);
    assert_eq!(grants(&functions), (0, 0));
    let told = record(&functions, &hub).await;
    assert_eq!((told.outcome, told.warnings), (Word::Changed, vec!["the hub is gone".to_owned()]));
    let steps: Vec<&str> = told.steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert!(steps[0].contains("once the system-assigned identity of hub hub1"), "{steps:?}");
    assert!(steps.iter().any(|step| step.contains("Cosmos DB Built-in Data Contributor")), "{steps:?}");
    // Once more: there is nothing left to do.
    assert_eq!(deliver(&functions, &deleted(&hub, "d2")).await, ["hub1: InSync"]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_whose_deletion_nobody_told_is_looked_for_several_times() {
    let (functions, hub) = ready(&three()).await;
    delete(&functions, &hub).await;
    let logs = deliver(&functions, &leftovers(&hub)).await;
    assert_eq!(logs, ["hub1: Waiting", "hub1: Waiting", "hub1: Waiting", "hub1: Changed"]);
    assert_eq!(grants(&functions), (0, 0));

    // A look for another reason comes to the same end.
    let (functions, hub) = ready(&three()).await;
    delete(&functions, &hub).await;
    let logs = deliver(&functions, &item(hub.clone())).await;
    assert_eq!(logs.last().unwrap(), "hub1: Changed", "{logs:?}");
    assert_eq!(grants(&functions), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_only_unreadable_keeps_its_grants() {
    let (functions, hub) = ready(&three()).await;
    let missing = Fault { status: Some(404), ..Fault::new(FaultKind::ServerError) };
    functions.cloud.azure.inject(missing.on("GET", "IotHubs/hub1").times(1));
    let logs = deliver(&functions, &leftovers(&hub)).await;
    assert_eq!(logs, ["hub1: Waiting", "hub1: InSync"]);
    assert_eq!(grants(&functions), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hub_made_again_under_its_name_gets_its_own_grants_and_loses_the_old_ones() {
    let (functions, hub) = ready(&three()).await;
    let old = functions.cloud.hub(&hub)["identity"]["principalId"].clone();
    delete(&functions, &hub).await;
    functions.cloud.create_hub("hub1", "standard").await.unwrap();
    let mut logs = deliver(&functions, &deleted(&hub, "d1")).await;
    logs.extend(deliver(&functions, &item(hub.clone())).await);
    assert!(logs.iter().any(|log| log == "hub1: Changed"), "{logs:?}");
    assert_eq!(grants(&functions), (2, 1));
    let new = functions.cloud.hub(&hub)["identity"]["principalId"].clone();
    assert_ne!(old, new);
    for grant in list(&functions, "roleAssignments").iter().chain(&list(&functions, "cosmosRoleAssignments"))
    {
        assert_eq!(grant["properties"]["principalId"], new);
    }
    functions.cloud.assert_delivers(&hub, "made again").await;
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_was_turned_off_by_hand_leaves_nothing_behind() {
    let (functions, hub) = ready(&three()).await;
    let old = functions.cloud.hub(&hub)["identity"]["principalId"].clone();
    let bare = json!({"identity": {"type": "None"}, "properties": {"routing": {"endpoints": {"eventHubs": [],
        "storageContainers": [], "cosmosDBSqlContainers": []}, "routes": []}}, "wait": true});
    functions.cloud.sim("PATCH", "hubs/hub1", bare).await;
    assert_eq!(functions.cloud.hub(&hub)["identity"]["type"], "None");
    let logs = deliver(&functions, &item(hub.clone())).await;
    // A message of its own looks for what the old principal left.
    assert_eq!(logs.last().unwrap(), "hub1: Changed", "{logs:?}");
    assert_eq!(grants(&functions), (2, 1), "{logs:?}");
    let held = list(&functions, "roleAssignments");
    assert!(held.iter().all(|grant| grant["properties"]["principalId"] != old));
    let told = record(&functions, &hub).await.principals.unwrap();
    assert!(told.former.is_empty() && told.system.is_some(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_or_not_of_this_hub_survives() {
    let (functions, hub) = ready(&three()).await;
    let elsewhere = hub.as_str().replace("0b1f6471", "deadbeef");
    let other = functions.cloud.create_hub("hub2", "none").await;
    other.unwrap();
    let say = |id: &str| format!("Hubward: hub {id} as system (profile p)");
    let guid = |n: u32| format!("7b1c0f55-0000-4000-8000-{n:012}");
    let mut theirs = Vec::new();
    for (name, principal, description) in [
        // The same role, made by hand, for somebody.
        (Uuid::from_u128(1).to_string(), guid(1), String::new()),
        // By hand, and it says that it is ours: its name says that it is not.
        (Uuid::from_u128(2).to_string(), guid(2), say(hub.as_str())),
        // Another deployment's, whose hubs are elsewhere.
        (our_name(&guid(3)), guid(3), say(&elsewhere)),
        // Of the time when only the name was written.
        (our_name(&guid(4)), guid(4), "Hubward: hub hub1 (profile p)".to_owned()),
        // Of another hub.
        (our_name(&guid(5)), guid(5), say(hub_id("hub2").as_str())),
    ] {
        theirs.push(assign(&functions, &name, &principal, &description).await);
    }
    delete(&functions, &hub).await;
    pass(3600).await;
    assert_eq!(deliver(&functions, &deleted(&hub, "d1")).await, ["hub1: Changed"]);
    let left: Vec<String> = list(&functions, "roleAssignments")
        .iter()
        .map(|grant| grant["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(left.len(), theirs.len(), "{left:?}");
    assert!(theirs.iter().all(|id| left.contains(id)), "{left:?}");

    // What claims a living hub is an orphan only if the hub does not have the principal: hub2 has none.
    let found = orphans(functions.cloud.arm.reader(), &functions.cloud.state).await.unwrap();
    let ids: Vec<&String> = found.leftovers.iter().map(|leftover| &leftover.grant.id).collect();
    assert_eq!(ids, [&theirs[4]]);
}

#[tokio::test(start_paused = true)]
async fn a_forged_description_does_not_take_a_living_hubs_grant_away() {
    let (functions, hub) = ready(&three()).await;
    let living = functions.cloud.hub(&hub)["identity"]["principalId"].as_str().unwrap().to_owned();
    let ghost = hub_id("ghost");
    assign(&functions, &our_name(&living), &living, &format!("Hubward: hub {ghost} as system (profile p)"))
        .await;
    let logs = deliver(&functions, &deleted(&ghost, "d1")).await;
    assert_eq!(logs, ["ghost: InSync"]);
    assert_eq!(grants(&functions), (2, 1));
    let found = orphans(functions.cloud.arm.reader(), &functions.cloud.state).await.unwrap();
    assert!(found.leftovers.is_empty(), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn the_grants_of_a_shared_identity_stay_and_are_told() {
    let (functions, hub) = ready(&one_by_user("eventHub", &alerts())).await;
    assert_eq!(grants(&functions), (1, 0));
    delete(&functions, &hub).await;
    assert_eq!(deliver(&functions, &deleted(&hub, "d1")).await, ["hub1: InSync"]);
    assert_eq!(grants(&functions), (1, 0));
    let told = record(&functions, &hub).await;
    assert_eq!(told.warnings.len(), 2, "{told:?}");
    assert!(told.warnings[0].starts_with("the user-assigned identity id-egress keeps"), "{told:?}");

    // The identity itself goes.
    let missing = Fault { status: Some(404), ..Fault::new(FaultKind::ServerError) };
    functions.cloud.azure.inject(missing.on("GET", &id_egress()).times(0));
    let mut functions = functions;
    functions.cloud.restart();
    functions.restart();
    assert_eq!(deliver(&functions, &deleted(&hub, "d2")).await, ["hub1: Changed"]);
    assert_eq!(grants(&functions), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn throttled_in_the_middle_it_goes_on_by_message_and_does_nothing_twice() {
    let (functions, hub) = ready(&three()).await;
    delete(&functions, &hub).await;
    functions.cloud.azure.inject(
        Fault { retry_after: Some(600.0), skip: 1, ..Fault::new(FaultKind::Throttle) }
            .on("DELETE", "roleAssignments")
            .times(1),
    );
    let logs = deliver(&functions, &deleted(&hub, "d1")).await;
    assert_eq!(logs[0], "hub1: Waiting", "{logs:?}");
    assert_eq!(logs.last().unwrap(), "hub1: Changed", "{logs:?}");
    assert_eq!(grants(&functions), (0, 0));
    let told = record(&functions, &hub).await;
    let mut steps: Vec<&str> = told.steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    steps.sort_unstable();
    steps.dedup();
    assert_eq!((steps.len(), told.steps.len()), (3, 3), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn killed_in_the_middle_the_same_message_ends_it() {
    let mut seen = std::collections::BTreeSet::new();
    for after in [1, 50, 200, 400, 800] {
        let (mut functions, hub) = ready(&three()).await;
        delete(&functions, &hub).await;
        let message = deleted(&hub, "d1");
        let slow = Fault { seconds: Some(0.1), ..Fault::new(FaultKind::SlowAnswer) };
        functions.cloud.azure.inject(slow.on("DELETE", "").times(0));
        let killed = std::time::Duration::from_millis(after);
        let is_over = tokio::time::timeout(killed, functions.work(&message)).await.is_ok();
        seen.insert((is_over, grants(&functions)));
        functions.cloud.restart();
        functions.restart();
        functions.sent();
        functions.deliver(&message, 2).await;
        assert_eq!(grants(&functions), (0, 0), "killed after {after} ms");
    }
    assert!(seen.len() > 1, "it was killed at one point only: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_named_and_the_rest_goes() {
    let (functions, hub) = ready(&three()).await;
    delete(&functions, &hub).await;
    let locked = Fault {
        status: Some(409),
        code: Some(json!("ScopeLocked")),
        message: Some(
            "The scope cannot perform delete operation because following scope(s) are locked.".into(),
        ),
        ..Fault::new(FaultKind::ServerError)
    };
    functions.cloud.azure.inject(locked.on("DELETE", "eventhubs/alerts").times(0));
    let logs = deliver(&functions, &deleted(&hub, "d1")).await;
    assert_eq!(logs, ["hub1: Blocked"]);
    let told = record(&functions, &hub).await;
    assert!(
        told.causes[0].contains("ScopeLocked") && told.causes[0].contains("a lock is in the way"),
        "{told:?}"
    );
    assert_eq!(grants(&functions), (1, 0), "the others are gone");
    functions.cloud.clear_faults().await;
    assert_eq!(deliver(&functions, &deleted(&hub, "d2")).await, ["hub1: Changed"]);
    assert_eq!(grants(&functions), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_hub_may_be_changed_and_nothing_is() {
    let (mut functions, hub) = ready(&three()).await;
    functions.rewrite(&three().replace("allowRemovals: true", "allowRemovals: true\n  maxHubsChanged: 0"));
    delete(&functions, &hub).await;
    assert_eq!(deliver(&functions, &deleted(&hub, "d1")).await, ["hub1: Refused"]);
    assert_eq!(grants(&functions), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_young_grant_of_a_hub_that_is_not_found_is_not_touched_at_once() {
    let functions = Functions::of(false, &three());
    let hub = functions.cloud.new_hub("hub1").await;
    deliver(&functions, &item(hub.clone())).await;
    // The news of an earlier hub's end comes late, and the new one is not readable for a moment.
    let missing = Fault { status: Some(404), ..Fault::new(FaultKind::ServerError) };
    functions.cloud.azure.inject(missing.on("GET", "IotHubs/hub1").times(1));
    let logs = deliver(&functions, &deleted(&hub, "d1")).await;
    assert_eq!(logs.last().unwrap(), "hub1: InSync", "{logs:?}");
    assert_eq!(grants(&functions), (2, 1));
    functions.cloud.assert_delivers(&hub, "alive").await;
}

#[tokio::test(start_paused = true)]
async fn the_audit_finds_what_was_left_and_what_takes_it_away() {
    let (functions, hub) = ready(&three()).await;
    let arm = &functions.cloud.arm;
    let found = orphans(arm.reader(), &functions.cloud.state).await.unwrap();
    assert_eq!((found.leftovers.len(), found.unread.len(), found.warnings.len()), (0, 0, 0), "{found:?}");
    delete(&functions, &hub).await;
    let found = orphans(arm.reader(), &functions.cloud.state).await.unwrap();
    let commands: Vec<String> = found.leftovers.iter().map(hubward::offboard::Leftover::command).collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    assert!(commands[0].starts_with(&format!("az role assignment delete --ids {GROUP}/")), "{commands:?}");
    assert!(commands[2].contains("--account-name egressdocs --role-assignment-id "), "{commands:?}");

    // A subscription that cannot be read is left alone.
    functions.cloud.azure.inject(Fault::new(FaultKind::Deny).on("GET", "Microsoft.Devices/IotHubs").times(0));
    let unread = orphans(arm.reader(), &functions.cloud.state).await.unwrap();
    assert_eq!((unread.leftovers.len(), unread.unread.len()), (0, 1), "{unread:?}");
    functions.cloud.clear_faults().await;

    for leftover in &found.leftovers {
        hubward::offboard::take_away(arm, leftover).await.unwrap();
    }
    assert_eq!(grants(&functions), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_orphans_and_takes_them_away_only_when_asked() {
    // A quarter of an hour passes in half a second.
    let stage = stage_at(1800.0, None).await;
    let scope = event_hub("telemetry-westus2");
    let name = assignment_name(&scope, SENDER, "7b1c0f55-0000-4000-8000-0000000000bb");
    let id = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
    let body = json!({"properties": {
        "roleDefinitionId": format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{}", SENDER.guid()),
        "principalId": "7b1c0f55-0000-4000-8000-0000000000bb", "principalType": "ServicePrincipal",
        "description": format!("Hubward: hub {} as system (profile p)", hub_id("hub1")),
    }});
    let token = stage.azure.token().unwrap();
    let path = format!("{id}?api-version=2022-04-01");
    let (status, answer) = request(&stage.azure, &token, "PUT", &path, None, &body).await;
    assert_eq!(status, 201, "{answer}");
    let count = || stage.azure.state()["roleAssignments"].as_array().unwrap().len();
    let run = async |arguments: &[&str]| {
        let output = stage.run(&[&["grants", "audit", "--orphans"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };

    // A hub that was made a moment ago may not be found yet: first it is only a warning.
    let mut told = Value::Null;
    for _ in 0..100 {
        told = serde_json::from_str(&run(&["--json"]).await).unwrap();
        if told["orphans"] != json!([]) {
            break;
        }
        assert!(told["warnings"][0].as_str().unwrap().contains("less than PT15M ago"), "{told}");
    }
    assert_eq!(
        (&told["orphans"][0]["assignment"], &told["orphans"][0]["outcome"]),
        (&json!(id), &json!("left"))
    );
    assert_eq!(count(), 1);
    assert!(run(&[]).await.contains(&format!("az role assignment delete --ids {id}")));
    assert_eq!(count(), 1, "nothing is taken away unasked");
    assert!(run(&["--fix"]).await.contains("taken away"));
    assert_eq!(count(), 0);
    assert_eq!(run(&["--fix"]).await, "no role is left behind\n");
}
