//! Our own rights: what is needed, what is missing, and what grants it.

use std::{collections::BTreeSet, fs, path::Path};

use hubward::{
    arm::ArmReader,
    local::azure::{Assignment, CallerPermission, Fault, FaultKind, Settings, World},
    model::{permission::Plane, role::Role},
    reconcile::Outcome,
    rights::{self, BuiltIn, Checkup, GivenBy, Need, Verdict, Warning, needs},
};
use serde_json::Value;

use crate::support::{
    cloud::Cloud,
    world::{SUBSCRIPTION, hub_id},
};

/// Everything that a document can ask for: each kind of target, keys, jobs through both doors.
pub(crate) const EVERYTHING: &str = "
version: 1
guardrails:
  subscriptions: [ 0b1f6471-1bf0-4dda-aec3-cb9272f09590 ]
  targets: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data ]
  allowKeys: true
  allowImports: [ hub1 ]
profiles:
  - name: all
    match: { tags: { egress: all } }
    identity:
      system: on
      user: [ /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-data/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress ]
    endpoints:
      - { name: e, as: id-egress, eventHub: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-{location}' }
      - { name: q, as: system, serviceBusQueue: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.ServiceBus/namespaces/sb1/queues/commands' }
      - { name: t, as: system, serviceBusTopic: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.ServiceBus/namespaces/sb1/topics/changes' }
      - { name: s, as: system, storageContainer: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive' }
      - { name: c, as: system, cosmosDbContainer: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.DocumentDB/databaseAccounts/egressdocs/sqlDatabases/fleet/containers/telemetry' }
    routes:
      - { name: all, source: DeviceMessages, endpoint: e }
    exports:
      - { name: nightly, schedule: '0 30 2 * * *', as: system, keep: 3, container: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive' }
      - { name: weekly, schedule: '0 30 3 * * 0', as: system, through: resourceManager, container: '/subscriptions/{subscription}/resourceGroups/rg-data/providers/Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive' }
";

/// The same with keys: not meant to be sent with, but to be asked about.
fn with_keys() -> String {
    let ends = [
        ("as: id-egress", "as: key, keyRule: send"),
        ("as: system, service", "as: key, keyRule: send, service"),
    ];
    let mut text = EVERYTHING
        .replace("as: system, storage", "as: key, storage")
        .replace("as: system, cosmos", "as: key, cosmos");
    for (identity, key) in ends {
        text = text.replace(identity, key);
    }
    text
}

fn data() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data")
}

fn subscription() -> String {
    format!("/subscriptions/{SUBSCRIPTION}")
}

/// A cloud in which we may do just this. Nothing takes time.
fn cloud(profiles: &str, permissions: Vec<CallerPermission>) -> Cloud {
    cloud_with(profiles, permissions, Vec::new())
}

fn cloud_with(profiles: &str, permissions: Vec<CallerPermission>, roles: Vec<Assignment>) -> Cloud {
    let mut world = World::reference();
    world.callers[0].permissions = Some(permissions);
    world.role_assignments = roles;
    Cloud::with(Settings::default(), world, profiles)
}

fn everything_else(cloud: &Cloud) -> Vec<Need> {
    needs(&cloud.state.demand(), cloud.state.guardrails())
}

/// Permissions for these needs, and nothing else: an entry for each.
fn just<'a>(needs: impl IntoIterator<Item = &'a Need>) -> Vec<CallerPermission> {
    let entry = |need: &Need| {
        let name = vec![need.action.name.to_owned()];
        let scope = need.scope.to_string();
        match need.action.plane {
            Plane::Control => CallerPermission { scope, actions: name, ..CallerPermission::default() },
            Plane::Data => CallerPermission { scope, data_actions: name, ..CallerPermission::default() },
        }
    };
    needs.into_iter().map(entry).collect()
}

fn all_needs(profiles: &str) -> Vec<Need> {
    everything_else(&cloud(profiles, Vec::new()))
}

/// Our own role assignment.
fn ours(role: &str, scope: &str, condition: Option<String>) -> Assignment {
    Assignment {
        scope: scope.to_owned(),
        role: role.to_owned(),
        principal_id: World::sample().callers[0].object_id.clone(),
        name: None,
        condition,
    }
}

fn may(scope: &str, actions: &[&str], not_actions: &[&str]) -> CallerPermission {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    CallerPermission {
        scope: scope.to_owned(),
        actions: owned(actions),
        not_actions: owned(not_actions),
        ..CallerPermission::default()
    }
}

async fn check(cloud: &Cloud) -> Checkup {
    rights::check(&ArmReader::new(cloud.arm.reader().client().clone()), &cloud.state).await.unwrap()
}

fn missing(checkup: &Checkup) -> BTreeSet<&'static str> {
    checkup.missing().map(|need| need.action.name).collect()
}

fn condition() -> Option<String> {
    BuiltIn::RbacAdministrator.condition()
}

#[tokio::test(start_paused = true)]
async fn with_every_right_nothing_is_missing_and_each_scope_is_asked_once() {
    let all = all_needs(EVERYTHING);
    // Grants come from the role that is advised; everything else is held to the letter.
    let administrator = GivenBy::BuiltIn(BuiltIn::RbacAdministrator);
    let others = all.iter().filter(|need| need.given_by != administrator);
    let role = ours("Role Based Access Control Administrator", &data(), condition());
    let cloud = cloud_with(EVERYTHING, just(others), vec![role]);
    let checkup = check(&cloud).await;
    assert_eq!(checkup.verdict, Verdict::Fine, "{checkup}");
    assert_eq!(checkup.missing().count() + checkup.unknown().count(), 0, "{checkup}");
    assert_eq!((&checkup.fixes[..], &checkup.warnings[..]), (&[][..], &[][..]), "{checkup}");
    let scopes: BTreeSet<_> = all.iter().map(|need| &need.scope).collect();
    assert_eq!(scopes.len(), 3, "the subscription, the group, the identity");
    let calls = cloud.arm.reader().client().calls();
    assert_eq!(calls["GET permissions"], 3, "{calls:?}");
    assert_eq!(calls["GET own grants"], 3, "{calls:?}");
    assert_eq!(calls["GET role"], 1, "{calls:?}");
    assert!(checkup.to_string().contains("a grant can still be refused"), "{checkup}");
}

#[tokio::test(start_paused = true)]
async fn the_rights_that_are_called_required_are_enough_for_the_work() {
    let all = all_needs(EVERYTHING);
    let cloud = cloud(EVERYTHING, just(all.iter().filter(|need| need.is_required())));
    cloud.create_hub("hub1", "all").await.unwrap();
    let reports = cloud.settle(&hub_id("hub1")).await;
    let last = &reports.last().unwrap().outcome;
    assert!(matches!(last, Outcome::InSync | Outcome::Changed), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn without_any_of_the_required_rights_the_work_stops() {
    let all = all_needs(EVERYTHING);
    let is_asked_for_later = |need: &Need| {
        // Failed writes, jobs.
        let name = need.action.name;
        need.action.plane == Plane::Data
            || ["operationResults/read", "exportDevices/action", "IotHubs/jobs/read"]
                .iter()
                .any(|later| name.ends_with(later))
    };
    let now: Vec<&Need> = all.iter().filter(|need| need.is_required() && !is_asked_for_later(need)).collect();
    assert!(now.len() >= 16, "{now:#?}");
    for taken in now {
        let rest = all.iter().filter(|need| *need != taken);
        let cloud = cloud(EVERYTHING, just(rest));
        cloud.create_hub("hub1", "all").await.unwrap();
        let reports = cloud.settle(&hub_id("hub1")).await;
        let last = &reports.last().unwrap().outcome;
        assert!(
            matches!(last, Outcome::Failed { .. } | Outcome::Blocked { .. }),
            "without {}: {last:?}",
            taken.action
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_missing_action_is_named_with_its_scope_and_what_grants_it() {
    let all = all_needs(EVERYTHING);
    let rest = all.iter().filter(|need| need.action.name != "Microsoft.Devices/IotHubs/write");
    let checkup = check(&cloud(EVERYTHING, just(rest))).await;
    assert_eq!(checkup.verdict, Verdict::Missing);
    assert_eq!(missing(&checkup), BTreeSet::from(["Microsoft.Devices/IotHubs/write"]));
    let text = checkup.to_string();
    assert!(text.contains("missing Microsoft.Devices/IotHubs/write  required: writing hubs"), "{text}");
    let [fix] = &checkup.fixes[..] else { panic!("{text}") };
    assert_eq!((fix.scope.as_str(), fix.role.name()), (subscription().as_str(), "Hubward Hubs"));
    // The role is given in full, not just with what is missing: it may have to be updated.
    assert!(fix.az[0].starts_with("role='{\"Name\":\"Hubward Hubs\""));
    assert!(fix.az[0].contains("create --role-definition \"$role\" || az role definition update"));
    assert!(fix.az[0].contains("$testall") && fix.az[0].contains("Microsoft.Authorization/permissions/read"));
    let object = &World::sample().callers[0].object_id;
    assert_eq!(
        fix.az[1],
        format!(
            "az role assignment create --assignee-object-id {object} --assignee-principal-type ServicePrincipal \
             --role 'Hubward Hubs' --scope {}",
            subscription()
        )
    );
    assert!(
        fix.bicep[0].starts_with("resource hubwardHubs 'Microsoft.Authorization/roleDefinitions@2022-04-01'")
    );
    assert!(fix.bicep[1].contains("roleDefinitionId: hubwardHubs.id"), "{:?}", fix.bicep);
}

#[tokio::test(start_paused = true)]
async fn granting_is_fixed_with_a_condition_and_identities_where_they_are() {
    let all = all_needs(EVERYTHING);
    let rest = all.iter().filter(|need| !matches!(need.given_by, GivenBy::BuiltIn(_)));
    let checkup = check(&cloud(EVERYTHING, just(rest))).await;
    let fix = |role: BuiltIn| {
        let found = checkup.fixes.iter().find(|fix| fix.role == GivenBy::BuiltIn(role));
        found.unwrap_or_else(|| panic!("{checkup}"))
    };
    let delegation = fix(BuiltIn::RbacAdministrator);
    assert_eq!(delegation.scope.as_str(), data());
    for role in Role::ALL {
        let named = delegation.az[0].contains(role.guid()) && delegation.bicep[0].contains(role.guid());
        assert_eq!(named, !role.is_of_cosmos_db(), "{role}");
    }
    assert!(delegation.az[0].ends_with("--condition-version 2.0"), "{}", delegation.az[0]);
    let identity = fix(BuiltIn::ManagedIdentityOperator);
    assert!(identity.az[0].ends_with("/userAssignedIdentities/id-egress"), "{}", identity.az[0]);
    assert!(
        identity.bicep[0].contains(
            "'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = { name: 'id-egress' }"
        ),
        "{:?}",
        identity.bicep
    );
    // Jobs of the hubs' own API are data actions, which no owner has.
    assert_eq!(fix(BuiltIn::IotHubDataContributor).gives.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_commands_survive_a_shell() {
    let checkup = check(&cloud(EVERYTHING, Vec::new())).await;
    let mut conditions = 0;
    for fix in &checkup.fixes {
        // Stands in for az: a line for each argument; there is no such role yet.
        let script = format!("az() {{ printf '%s\\n' \"$@\"; }}\n{}", fix.az.join("\n"));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{script}\n{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let after = |name: &str| text.lines().skip_while(|line| *line != name).nth(1);
        assert_eq!(after("--scope"), Some(fix.scope.as_str()));
        assert_eq!(after("--role"), Some(fix.role.name()));
        if let Some(written) = after("--condition") {
            assert_eq!(written, condition().unwrap());
            conditions += 1;
        }
        if let Some(role) = after("--role-definition") {
            let role: serde_json::Value = serde_json::from_str(role).unwrap();
            assert_eq!(role["Name"], fix.role.name());
        }
    }
    assert_eq!(conditions, 1, "{checkup}");
}

#[tokio::test(start_paused = true)]
async fn wildcards_give_and_not_actions_take_away_within_their_entry() {
    let wide = vec![
        may("", &["*/read", "microsoft.devices/*", "Microsoft.DocumentDB/*/sqlRoleAssignments/*"], &[]),
        may("", &["*"], &["Microsoft.Authorization/*/Write", "Microsoft.Devices/*", "*/delete", "*/read"]),
        CallerPermission { data_actions: vec!["Microsoft.*".into()], ..CallerPermission::default() },
    ];
    let checkup = check(&cloud(EVERYTHING, wide)).await;
    let taken =
        ["Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete"];
    assert_eq!(missing(&checkup), BTreeSet::from(taken), "{checkup}");
    assert_eq!(checkup.verdict, Verdict::Missing);
}

#[tokio::test(start_paused = true)]
async fn what_only_makes_things_unknown_is_no_failure() {
    let all = all_needs(EVERYTHING);
    let checkup = check(&cloud(EVERYTHING, just(all.iter().filter(|need| need.is_required())))).await;
    assert_eq!(checkup.verdict, Verdict::Fine, "{checkup}");
    let names = missing(&checkup);
    for name in [
        "Microsoft.Insights/eventtypes/values/read",
        "Microsoft.Authorization/roleAssignmentsUsageMetrics/read",
        "Microsoft.EventHub/namespaces/networkRuleSets/read",
    ] {
        assert!(names.contains(name), "{checkup}");
    }
    assert!(
        checkup.to_string().contains("without it, a second owner goes unnoticed for longer"),
        "{checkup}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_unknown_and_not_missing() {
    let all = all_needs(EVERYTHING);
    let cloud = cloud(EVERYTHING, just(&all));
    let path = format!("{}/providers/Microsoft.Authorization/permissions", data());
    cloud.azure.inject(Fault::new(FaultKind::Deny).on("GET", &path).times(0));
    let checkup = check(&cloud).await;
    assert_eq!(checkup.verdict, Verdict::Unknown);
    assert_eq!(checkup.missing().count(), 0, "{checkup}");
    assert!(checkup.unknown().all(|need| need.scope.as_str() == data()));
    assert!(checkup.unknown().count() > 10);
    let text = checkup.to_string();
    assert!(text.contains("unknown: what we may do there cannot be read"), "{text}");
    assert!(text.contains("Microsoft.Authorization/permissions/read has to be allowed there"), "{text}");
    assert!(text.contains("whether everything required is held is not known"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn rights_on_the_hubs_groups_are_rights_on_these_only() {
    let all = all_needs(hubward::desired::sample());
    let (hubs, others): (Vec<_>, Vec<_>) =
        all.iter().partition(|need| need.given_by.name() == "Hubward Hubs");
    let group = format!("{}/resourceGroups/rg-plant-01", subscription());
    let mut permissions = just(others);
    permissions.push(CallerPermission {
        scope: group.clone(),
        actions: hubs.iter().map(|need| need.action.name.to_owned()).collect(),
        ..CallerPermission::default()
    });
    // A role that was assigned there is what leads to the group, if we may see it.
    let role = || vec![ours("Reader", &group, None)];
    let blind = check(&cloud_with(hubward::desired::sample(), permissions.clone(), role())).await;
    assert_eq!(blind.verdict, Verdict::Missing);
    assert!(blind.to_string().contains("what is granted further down is not seen"), "{blind}");
    permissions.push(may(&subscription(), &["Microsoft.Authorization/roleAssignments/read"], &[]));
    let checkup = check(&cloud_with(hubward::desired::sample(), permissions, role())).await;
    assert_eq!(checkup.verdict, Verdict::Fine, "{checkup}");
    let held = format!("Microsoft.Devices/IotHubs/write is held only on {group}");
    assert!(checkup.to_string().contains(&held), "{checkup}");
}

#[tokio::test(start_paused = true)]
async fn power_that_is_not_needed_is_warned_of() {
    let permissions = just(&all_needs(EVERYTHING));
    let warnings = |roles: Vec<Assignment>| {
        let permissions = permissions.clone();
        async move { check(&cloud_with(EVERYTHING, permissions, roles)).await.warnings }
    };
    let free = warnings(vec![ours("Role Based Access Control Administrator", &data(), None)]).await;
    let [Warning::UnconditionalDelegation { role, scope, assignment }] = &free[..] else {
        panic!("{free:?}")
    };
    assert_eq!((role.as_str(), scope.as_str()), ("Role Based Access Control Administrator", data().as_str()));
    assert!(
        free[0].to_string().contains(&format!("az role assignment delete --ids {assignment}")),
        "{}",
        free[0]
    );

    let owner = warnings(vec![ours("Owner", &subscription(), None)]).await;
    let kinds: Vec<bool> = owner.iter().map(|found| matches!(found, Warning::BroadRole { .. })).collect();
    assert_eq!(kinds, [true, false], "broad, and free to grant: {owner:?}");
    assert!(owner[0].to_string().starts_with("Owner is held on"), "{}", owner[0]);

    // A contributor may not grant: what grants is not to be seen, and that is said.
    let contributor = warnings(vec![ours("Contributor", &data(), None)]).await;
    assert!(
        matches!(&contributor[..], [Warning::BroadRole { .. }, Warning::ConditionUnseen { .. }]),
        "{contributor:?}"
    );

    // A condition on blobs limits no grants.
    let blobs = "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'a'";
    let other = ours("User Access Administrator", &data(), Some(blobs.to_owned()));
    let other = warnings(vec![other]).await;
    assert!(other.iter().any(|found| matches!(found, Warning::UnconditionalDelegation { .. })), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_leaves_out_a_role_is_told_before_a_grant_is_refused() {
    let condition = condition()
        .unwrap()
        .replace(Role::BlobDataContributor.guid(), "00000000-0000-0000-0000-000000000001");
    let role = ours("Role Based Access Control Administrator", &subscription(), Some(condition));
    let checkup = check(&cloud_with(EVERYTHING, just(&all_needs(EVERYTHING)), vec![role])).await;
    let scope = data();
    assert_eq!(
        checkup.warnings,
        [Warning::ConditionWithoutRole { scope, role: Role::BlobDataContributor }],
        "{checkup}"
    );
    // It may be wrong: what decides is the service. So it is no failure.
    assert_eq!(checkup.verdict, Verdict::Fine);
}

#[tokio::test(start_paused = true)]
async fn role_assignments_that_cannot_be_listed_leave_the_condition_unknown() {
    let cloud = cloud(EVERYTHING, just(&all_needs(EVERYTHING)));
    cloud.azure.inject(Fault::new(FaultKind::Deny).on("GET", "*/roleAssignments").times(0));
    let checkup = check(&cloud).await;
    assert_eq!(checkup.verdict, Verdict::Fine, "{checkup}");
    assert!(matches!(&checkup.warnings[..], [Warning::ConditionUnseen { .. }]), "{:?}", checkup.warnings);
}

#[test]
fn a_document_asks_for_what_it_names_and_for_nothing_else() {
    let names = |profiles: &str| -> BTreeSet<&'static str> {
        all_needs(profiles).iter().map(|need| need.action.name).collect()
    };
    let sample = names(hubward::desired::sample());
    for word in
        ["ServiceBus", "Storage", "DocumentDB", "ManagedIdentity", "listKeys", "jobs", "exportDevices"]
    {
        assert!(!sample.iter().any(|name| name.contains(word)), "{word}: {sample:?}");
    }
    assert!(sample.contains("Microsoft.EventHub/namespaces/eventhubs/read"));
    assert!(!names(EVERYTHING).iter().any(|name| name.contains("listKeys")), "no profile uses a key");
    let keys = names(&with_keys());
    assert_eq!(keys.iter().filter(|name| name.contains("listKeys")).count(), 7, "{keys:?}");
    let unwanted = with_keys().replace("allowKeys: true", "allowKeys: false");
    assert!(hubward::desired::DesiredState::parse(&unwanted).is_err(), "keys need `allowKeys`");
    let off = format!("{EVERYTHING}  - {{ name: off, identity: {{ system: off }} }}\n");
    let delete = |profiles: &str| {
        let all = all_needs(profiles);
        all.iter().any(|need| need.action.name.ends_with("roleAssignments/delete") && need.is_required())
    };
    assert!(delete(&off) && !delete(EVERYTHING), "grants are taken back when an identity is turned off");
}

/// What the Event Grid subscription is filtered by.
fn is_of_an_event(name: &str) -> bool {
    name == "Microsoft.Devices/IotHubs/delete"
}

#[test]
fn the_list_of_rights_in_infra_is_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("infra/README.md")).unwrap();
    let written: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.starts_with("Microsoft.") && code.contains('/'))
        .collect();
    let mut needed: BTreeSet<&str> = BTreeSet::from([rights::PERMISSIONS_READ.name]);
    let (whole, _) = EVERYTHING.split_once("    exports:").unwrap();
    let documents = [EVERYTHING.to_owned(), with_keys(), format!("{whole}\n")];
    for need in documents.iter().flat_map(|document| all_needs(document)) {
        needed.insert(need.action.name);
        needed.extend(need.or.map(|or| or.name));
        assert!(text.contains(need.given_by.name()), "{} is not in infra/README.md", need.given_by);
    }
    let written: BTreeSet<&str> = written.into_iter().filter(|name| !is_of_an_event(name)).collect();
    let [unwritten, unneeded] =
        [needed.difference(&written), written.difference(&needed)].map(Iterator::collect::<Vec<_>>);
    assert_eq!((unwritten, unneeded), (vec![], vec![]), "infra/README.md and the list of needs differ");
    assert!(text.contains(&condition().unwrap()), "infra/README.md has another condition");
}

#[test]
fn the_roles_that_infra_makes_hold_what_is_needed_and_no_more() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("infra/roles.json")).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    let (whole, _) = EVERYTHING.split_once("    exports:").unwrap();
    let documents = [EVERYTHING.to_owned(), with_keys(), format!("{whole}\n")];
    let needs: Vec<_> = documents.iter().flat_map(|document| all_needs(document)).collect();
    for role in written.as_array().unwrap() {
        let name = role["name"].as_str().unwrap();
        let own = needs.iter().filter(|need| need.given_by.name() == name);
        let mut needed: BTreeSet<&str> = own.map(|need| need.action.name).collect();
        assert!(!needed.is_empty(), "nothing needs {name}");
        needed.insert(rights::PERMISSIONS_READ.name);
        if name == rights::CustomRole::Hubs.name() {
            // The other door to imports: Resource Manager instead of the hub's own API.
            needed.extend(needs.iter().filter_map(|need| need.or).map(|action| action.name));
        }
        let actions: BTreeSet<&str> =
            role["actions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(actions, needed, "{name}");
    }
    let names: BTreeSet<&str> =
        written.as_array().unwrap().iter().filter_map(|role| role["name"].as_str()).collect();
    for need in &needs {
        if let rights::GivenBy::Custom(role) = need.given_by {
            assert!(names.contains(role.name()), "infra/roles.json lacks {}", role.name());
        }
    }
}
