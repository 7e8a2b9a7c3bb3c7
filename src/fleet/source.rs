//! Where a resync reads: Resource Graph for many subscriptions, lists of Resource Manager for few.

use serde_json::{Value, json};

use crate::{
    arm::{ArmError, ArmReader, GraphPages, ListPages, read_grant},
    model::{desired::Guardrails, role::Role},
};

/// Subscriptions up to which lists stand in for Resource Graph where that refuses us.
pub(super) const FEW: usize = 24;

/// Where a resync reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// Resource Graph; where it refuses us and subscriptions are few, lists.
    #[default]
    Auto,
    /// Resource Graph.
    Graph,
    /// Lists: one of hubs for each subscription, one of grants for each scope of the guardrails. Always
    /// current.
    List,
}

impl Source {
    /// A source by its name: `auto`, `graph` or `list`.
    pub fn parse(text: &str) -> Option<Self> {
        let names = [("auto", Source::Auto), ("graph", Source::Graph), ("list", Source::List)];
        names.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, source)| source)
    }
}

/// Hubs, whole: the planner reads what it needs.
pub(super) const HUBS: &str = "resources \
    | where type =~ 'microsoft.devices/iothubs' \
    | project id, name, type, location, tags, identity, sku, properties \
    | order by id asc";

/// The grants of our roles, one row for each holder, so that a fleet's grants are a few pages.
pub(super) fn grants_query() -> String {
    let of_role = |role: &Role| format!("tostring(properties.roleDefinitionId) endswith '{}'", role.guid());
    let roles: Vec<String> = Role::ALL.iter().filter(|role| !role.is_of_cosmos_db()).map(of_role).collect();
    format!(
        "authorizationresources \
         | where type =~ 'microsoft.authorization/roleassignments' \
         | where tostring(properties.principalType) =~ 'ServicePrincipal' \
         | where {} \
         | extend principalId = tostring(properties.principalId) \
         | summarize grants = make_list(bag_pack('id', id, 'scope', properties.scope, \
         'role', properties.roleDefinitionId, 'on', properties.createdOn, 'is', properties.condition, \
         'for', properties.description)) by principalId \
         | project id = principalId, grants \
         | order by id asc",
        roles.join(" or ")
    )
}

/// A role assignment of a row, in the shape in which Resource Manager lists it.
fn assignment(principal: &str, packed: &Value) -> Value {
    let member = |name: &str| packed.get(name).cloned().unwrap_or_default();
    json!({"id": member("id"), "properties": {
        "scope": member("scope"), "roleDefinitionId": member("role"), "principalId": principal,
        "createdOn": member("on"), "condition": member("is"), "description": member("for"),
    }})
}

/// The grants in a row of [`grants_query`].
pub(super) fn grants_in_row(row: &Value) -> Vec<crate::model::observed::Grant> {
    let principal = row.get("id").and_then(Value::as_str).unwrap_or_default();
    let packed = row.get("grants").and_then(Value::as_array).into_iter().flatten();
    packed.filter_map(|packed| read_grant(&assignment(principal, packed))).collect()
}

/// Pages of hubs.
pub(super) enum HubPages<'a> {
    Graph(GraphPages<'a>),
    List(Box<ListPages>),
}

impl HubPages<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Value>>, ArmError> {
        match self {
            HubPages::Graph(pages) => pages.next().await,
            HubPages::List(pages) => pages.next().await,
        }
    }
}

/// The subscriptions that grants are looked for in: those of targets.
pub(super) fn target_subscriptions(guardrails: &Guardrails) -> Vec<String> {
    let mut all: Vec<String> =
        guardrails.outermost_targets().map(|scope| scope.subscription().to_owned()).collect();
    all.sort();
    all.dedup();
    all
}

/// Reads the hubs of one subscription from Resource Manager.
pub(super) fn listed(arm: &ArmReader, subscription: &str) -> HubPages<'static> {
    HubPages::List(Box::new(arm.fleet_hubs(subscription)))
}
