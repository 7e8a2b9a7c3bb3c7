//! The rights that Hubward needs, for what the document asks for and for nothing else.
//!
//! Names of actions: <https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations>.

use std::collections::BTreeSet;

use serde::Serialize;

use super::roles::{BuiltIn, CustomRole, GivenBy};
use crate::{
    desired::{Demand, TargetDemand},
    model::{
        ResourceId,
        desired::Guardrails,
        hub::EndpointKind,
        job::JobDoor,
        permission::{Action, Permission, allows},
    },
};

/// What the check itself needs. It is no [`Need`]: when it is missing, nothing else can be told.
pub const PERMISSIONS_READ: Action = Action::control("Microsoft.Authorization/permissions/read");

/// One right that is needed at one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// Where.
    pub scope: ResourceId,
    /// What has to be allowed.
    pub action: Action,
    /// What will do in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub or: Option<Action>,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether the work stops without it.
    pub weight: Weight,
    /// The narrowest role that gives it.
    pub given_by: GivenBy,
}

/// What comes of it when a right is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Weight {
    /// The work stops.
    Required,
    /// The work goes on, and this is what is missing then.
    Optional(&'static str),
}

impl Need {
    /// Whether these permissions are enough for it.
    pub fn is_met(&self, permissions: &[Permission]) -> bool {
        [Some(self.action), self.or].into_iter().flatten().any(|action| allows(permissions, action))
    }

    /// Whether the work stops without it.
    pub fn is_required(&self) -> bool {
        self.weight == Weight::Required
    }
}

use Weight::{Optional, Required};

/// An action, what it is for, and what comes of it when it is missing.
type Row = (Action, &'static str, Weight);

const fn row(name: &'static str, purpose: &'static str, weight: Weight) -> Row {
    (Action::control(name), purpose, weight)
}

/// On the hubs' subscriptions.
const HUBS: [Row; 6] = [
    row("Microsoft.Devices/IotHubs/read", "reading hubs", Required),
    row("Microsoft.Devices/IotHubs/write", "writing hubs", Required),
    row(
        "Microsoft.Devices/locations/operationResults/read",
        "learning why the write of a hub failed",
        Required,
    ),
    row(
        "Microsoft.Devices/IotHubs/routingEndpointsHealth/read",
        "what a hub says of its endpoints after a write",
        Optional("reports say `unknown`"),
    ),
    row(
        "Microsoft.Devices/IotHubs/routing/routes/$testall/action",
        "asking a hub where a message would go after a write",
        Optional("reports say `unknown`"),
    ),
    row(
        "Microsoft.Insights/eventtypes/values/read",
        "the activity log, to notice a second owner",
        Optional("a second owner goes unnoticed for longer"),
    ),
];

/// On whatever subscription or group the resync asks Azure Resource Graph about: it answers for resources that may be
/// read as well.
/// <https://learn.microsoft.com/azure/governance/resource-graph/overview#permissions-in-azure-resource-graph>
const GRAPH: Row = row(
    "Microsoft.ResourceGraph/resources/read",
    "comparing the whole fleet in a few queries",
    Optional("a resync lists subscription by subscription, and compares no fleet in more than 24 of them"),
);

const NAMESPACE_RULES: Weight = Optional("a firewall is noticed only when the hub is refused");

/// Reading a kind of target, its namespace or account, and its firewall.
fn reads(kind: EndpointKind) -> &'static [Row] {
    const EVENT_HUB: &[Row] = &[
        row("Microsoft.EventHub/namespaces/read", "addresses of event hubs", Required),
        row("Microsoft.EventHub/namespaces/eventhubs/read", "whether an event hub is there", Required),
        row("Microsoft.EventHub/namespaces/networkRuleSets/read", "firewalls of event hubs", NAMESPACE_RULES),
    ];
    const QUEUE: &[Row] = &[
        row("Microsoft.ServiceBus/namespaces/read", "addresses of queues and topics", Required),
        row("Microsoft.ServiceBus/namespaces/queues/read", "whether a queue is there", Required),
        row(
            "Microsoft.ServiceBus/namespaces/networkRuleSets/read",
            "firewalls of queues and topics",
            NAMESPACE_RULES,
        ),
    ];
    const TOPIC: &[Row] = &[
        QUEUE[0],
        row("Microsoft.ServiceBus/namespaces/topics/read", "whether a topic is there", Required),
        QUEUE[2],
    ];
    const CONTAINER: &[Row] = &[
        row("Microsoft.Storage/storageAccounts/read", "addresses and firewalls of storage", Required),
        row(
            "Microsoft.Storage/storageAccounts/blobServices/containers/read",
            "whether a storage container is there",
            Required,
        ),
    ];
    const COSMOS: &[Row] = &[
        row("Microsoft.DocumentDB/databaseAccounts/read", "addresses and firewalls of Cosmos DB", Required),
        row(
            "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/read",
            "whether a Cosmos DB container is there",
            Required,
        ),
    ];
    match kind {
        EndpointKind::EventHub => EVENT_HUB,
        EndpointKind::ServiceBusQueue => QUEUE,
        EndpointKind::ServiceBusTopic => TOPIC,
        EndpointKind::StorageContainer => CONTAINER,
        EndpointKind::CosmosDbContainer => COSMOS,
    }
}

/// Fetching a key of a kind of target.
fn keys(kind: EndpointKind) -> &'static [Row] {
    const PURPOSE: &str = "fetching a key when `as: key` or `connection: accountKey` is written";
    const OF_NAMESPACE: Weight = Optional("a `keyRule` has to be the target's own, not its namespace's");
    const EVENT_HUB: &[Row] = &[
        row("Microsoft.EventHub/namespaces/eventhubs/authorizationRules/listKeys/action", PURPOSE, Required),
        row("Microsoft.EventHub/namespaces/authorizationRules/listKeys/action", PURPOSE, OF_NAMESPACE),
    ];
    const QUEUE: &[Row] = &[
        row("Microsoft.ServiceBus/namespaces/queues/authorizationRules/listKeys/action", PURPOSE, Required),
        row("Microsoft.ServiceBus/namespaces/authorizationRules/listKeys/action", PURPOSE, OF_NAMESPACE),
    ];
    const TOPIC: &[Row] = &[
        row("Microsoft.ServiceBus/namespaces/topics/authorizationRules/listKeys/action", PURPOSE, Required),
        QUEUE[1],
    ];
    const STORAGE: &[Row] = &[row("Microsoft.Storage/storageAccounts/listKeys/action", PURPOSE, Required)];
    const COSMOS: &[Row] = &[row("Microsoft.DocumentDB/databaseAccounts/listKeys/action", PURPOSE, Required)];
    match kind {
        EndpointKind::EventHub => EVENT_HUB,
        EndpointKind::ServiceBusQueue => QUEUE,
        EndpointKind::ServiceBusTopic => TOPIC,
        EndpointKind::StorageContainer => STORAGE,
        EndpointKind::CosmosDbContainer => COSMOS,
    }
}

const JOBS_READ: Action = Action::data("Microsoft.Devices/IotHubs/jobs/read");
const JOBS_WRITE: Action = Action::data("Microsoft.Devices/IotHubs/jobs/write");
const JOBS_DELETE: Action = Action::data("Microsoft.Devices/IotHubs/jobs/delete");
const ARM_JOBS_READ: Action = Action::control("Microsoft.Devices/IotHubs/jobs/read");
const ARM_EXPORT: Action = Action::control("Microsoft.Devices/IotHubs/exportDevices/action");
const ARM_IMPORT: Action = Action::control("Microsoft.Devices/IotHubs/importDevices/action");
const BLOBS_READ: Action =
    Action::data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read");
const BLOBS_DELETE: Action =
    Action::data("Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete");

/// Every right that the document asks for, each once: on the hubs' subscriptions, the targets, the
/// identities.
pub fn needs(demand: &Demand, guardrails: &Guardrails) -> Vec<Need> {
    let mut list = List::default();
    for subscription in &guardrails.subscriptions {
        if let Some(scope) = subscription_scope(subscription) {
            hubs(&mut list, &scope, demand);
        }
    }
    for target in &demand.targets {
        targets(&mut list, target, demand);
    }
    for identity in &demand.identities {
        const PURPOSE: &str = "writing a hub that has this user-assigned identity";
        let given_by = GivenBy::BuiltIn(BuiltIn::ManagedIdentityOperator);
        for name in [
            "Microsoft.ManagedIdentity/userAssignedIdentities/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
        ] {
            list.add(identity, row(name, PURPOSE, Required), given_by);
        }
    }
    list.needs
}

fn hubs(list: &mut List, scope: &ResourceId, demand: &Demand) {
    for row in HUBS.into_iter().chain([GRAPH]) {
        list.add(scope, row, GivenBy::Custom(CustomRole::Hubs));
    }
    let data = GivenBy::BuiltIn(BuiltIn::IotHubDataContributor);
    if demand.exports.contains(&JobDoor::DataPlane) {
        list.add(scope, (JOBS_WRITE, "starting scheduled exports", Required), data);
        list.add(scope, (JOBS_READ, "following scheduled exports", Required), data);
        let without = Optional("an export that never ends keeps its hub busy");
        list.add(scope, (JOBS_DELETE, "cancelling exports that never end", without), data);
    }
    if demand.exports.contains(&JobDoor::ResourceManager) {
        let given_by = GivenBy::Custom(CustomRole::Hubs);
        list.add(scope, (ARM_EXPORT, "starting exports `through: resourceManager`", Required), given_by);
        list.add(scope, (ARM_JOBS_READ, "following exports `through: resourceManager`", Required), given_by);
    }
    if demand.imports {
        list.add_either(scope, (JOBS_WRITE, "starting imports", Required), ARM_IMPORT, data);
        list.add_either(scope, (JOBS_READ, "following imports", Required), ARM_JOBS_READ, data);
    }
}

fn targets(list: &mut List, target: &TargetDemand, demand: &Demand) {
    let TargetDemand { scope, kinds, granted, keyed, prunes } = target;
    for kind in kinds {
        for row in reads(*kind) {
            list.add(scope, *row, GivenBy::Custom(CustomRole::Targets));
        }
    }
    let taking_back = match demand.turns_identities_off {
        true => Required,
        false => {
            Optional("roles of deleted hubs are left; needed as soon as a profile turns an identity off")
        }
    };
    if !target.granted_roles().is_empty() {
        let read =
            row("Microsoft.Authorization/roleAssignments/read", "reading hubs' role assignments", Required);
        list.add(scope, read, GivenBy::Custom(CustomRole::Targets));
        list.add(scope, GRAPH, GivenBy::Custom(CustomRole::Targets));
        let administrator = GivenBy::BuiltIn(BuiltIn::RbacAdministrator);
        let write = row("Microsoft.Authorization/roleAssignments/write", "granting roles to hubs", Required);
        let delete = row("Microsoft.Authorization/roleAssignments/delete", "taking grants back", taking_back);
        list.add(scope, write, administrator);
        list.add(scope, delete, administrator);
        if let Some(subscription) = subscription_scope(scope.subscription()) {
            let room = row(
                "Microsoft.Authorization/roleAssignmentsUsageMetrics/read",
                "how much room there is for role assignments",
                Optional("nobody is warned before the subscription is full"),
            );
            list.add(&subscription, room, GivenBy::Custom(CustomRole::Usage));
        }
    }
    if granted.contains(&EndpointKind::CosmosDbContainer) {
        const ROWS: [(&str, &str); 3] = [
            ("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments/read", "reading grants in Cosmos DB"),
            ("Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments/write", "granting in Cosmos DB"),
            (
                "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments/delete",
                "taking grants in Cosmos DB back",
            ),
        ];
        for (name, purpose) in ROWS {
            let weight = if name.ends_with("/delete") { taking_back } else { Required };
            list.add(scope, row(name, purpose, weight), GivenBy::Custom(CustomRole::CosmosGrants));
        }
    }
    for kind in keyed {
        for row in keys(*kind) {
            list.add(scope, *row, GivenBy::Custom(CustomRole::Keys));
        }
    }
    if *prunes {
        let contributor = GivenBy::BuiltIn(BuiltIn::BlobDataContributor);
        let without = Optional("older exports pile up");
        list.add(scope, (BLOBS_READ, "listing older exports (`keep`)", without), contributor);
        list.add(scope, (BLOBS_DELETE, "deleting older exports (`keep`)", without), contributor);
    }
    if demand.imports {
        let without = Optional("no devices can be imported from containers here");
        let reader = GivenBy::BuiltIn(BuiltIn::BlobDataReader);
        list.add(
            scope,
            (BLOBS_READ, "checking the input of imports and reading their error log", without),
            reader,
        );
    }
}

/// The scope of a whole subscription.
fn subscription_scope(subscription: &str) -> Option<ResourceId> {
    ResourceId::parse(&format!("/subscriptions/{subscription}")).ok()
}

/// Needs without repetition.
#[derive(Default)]
struct List {
    needs: Vec<Need>,
    known: BTreeSet<(ResourceId, Action)>,
}

impl List {
    fn add(&mut self, scope: &ResourceId, (action, purpose, weight): Row, given_by: GivenBy) {
        self.push(Need { scope: scope.clone(), action, or: None, purpose, weight, given_by });
    }

    fn add_either(&mut self, scope: &ResourceId, row: Row, or: Action, given_by: GivenBy) {
        let (action, purpose, weight) = row;
        self.push(Need { scope: scope.clone(), action, or: Some(or), purpose, weight, given_by });
    }

    /// The first to ask for a right says what it is for: it asks for no less than a later one.
    fn push(&mut self, need: Need) {
        if self.known.insert((need.scope.clone(), need.action)) {
            self.needs.push(need);
        }
    }
}
