//! What grants a missing right: commands of `az`, and the same in Bicep.
//!
//! <https://learn.microsoft.com/cli/azure/role>,
//! <https://learn.microsoft.com/azure/templates/microsoft.authorization/roleassignments>

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::{
    needs::{Need, PERMISSIONS_READ},
    roles::{BuiltIn, CustomRole, GivenBy},
};
use crate::{
    arm::Principal,
    model::{
        ResourceId,
        permission::{Action, Plane},
    },
};

/// What to do about everything that one role would give at one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fix {
    /// Where.
    pub scope: ResourceId,
    /// The role.
    pub role: GivenBy,
    /// Whether something that is required is among what it gives.
    pub required: bool,
    /// The missing actions that it gives.
    pub gives: Vec<Action>,
    /// The commands, in order, for a POSIX shell.
    pub az: Vec<String>,
    /// The same as Bicep, a line for each resource.
    pub bicep: Vec<String>,
}

/// The fixes for what is missing. `all` is everything that is needed: a role of one's own is made with
/// all of its actions, so that the same role serves every scope.
pub fn fixes(missing: &[&Need], all: &[Need], principal: &Principal) -> Vec<Fix> {
    let mut groups: BTreeMap<(&ResourceId, GivenBy), Vec<&Need>> = BTreeMap::new();
    for need in missing {
        groups.entry((&need.scope, need.given_by)).or_default().push(need);
    }
    let fix = |((scope, role), needs): ((&ResourceId, GivenBy), Vec<&Need>)| {
        let (mut az, mut bicep) = (Vec::new(), Vec::new());
        if let GivenBy::Custom(role) = role {
            let definition = Definition::of(role, all);
            az.push(definition.az());
            bicep.push(definition.bicep());
        }
        az.push(assign_az(scope, role, principal));
        bicep.extend(assign_bicep(scope, role, principal));
        Fix {
            scope: scope.clone(),
            role,
            required: needs.iter().any(|need| need.is_required()),
            gives: needs.iter().map(|need| need.action).collect(),
            az,
            bicep,
        }
    };
    groups.into_iter().map(fix).collect()
}

/// A role that has to be made.
struct Definition {
    role: CustomRole,
    actions: Vec<&'static str>,
    data_actions: Vec<&'static str>,
    scopes: Vec<String>,
}

impl Definition {
    fn of(role: CustomRole, all: &[Need]) -> Self {
        let own = || all.iter().filter(|need| need.given_by == GivenBy::Custom(role));
        let actions = |plane: Plane| {
            let names = own().map(|need| need.action).filter(|action| action.plane == plane);
            names.map(|action| action.name).collect::<BTreeSet<_>>()
        };
        let mut control = actions(Plane::Control);
        control.insert(PERMISSIONS_READ.name);
        let scopes: BTreeSet<String> = own().map(|need| assignable(&need.scope)).collect();
        Self {
            role,
            actions: control.into_iter().collect(),
            data_actions: actions(Plane::Data).into_iter().collect(),
            scopes: scopes.into_iter().collect(),
        }
    }

    /// Makes the role, or makes the one that is there the same.
    fn az(&self) -> String {
        let Self { role, actions, data_actions, scopes } = self;
        let definition = json!({
            "Name": role.name(), "Description": role.description(), "Actions": actions, "DataActions": data_actions,
            "AssignableScopes": scopes,
        });
        format!(
            "role={}; az role definition create --role-definition \"$role\" || az role definition update --role-definition \"$role\"",
            quoted(&definition.to_string())
        )
    }

    fn bicep(&self) -> String {
        let Self { role, actions, data_actions, scopes } = self;
        let list = |texts: &[&str]| texts.iter().map(|text| literal(text)).collect::<Vec<_>>().join(", ");
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        format!(
            "resource {} 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {{ name: guid(subscription().id, {name}), \
             properties: {{ roleName: {name}, description: {}, type: 'CustomRole', assignableScopes: [{}], \
             permissions: [{{ actions: [{}], dataActions: [{}] }}] }} }}",
            symbol(&[role.name()]),
            literal(role.description()),
            list(&scopes),
            list(actions),
            list(data_actions),
            name = literal(role.name()),
        )
    }
}

/// Roles can be made assignable in subscriptions and groups, not in single resources.
fn assignable(scope: &ResourceId) -> String {
    let segments = if scope.resource_group().is_some() { 5 } else { 3 };
    scope.as_str().split('/').take(segments).collect::<Vec<_>>().join("/")
}

fn assign_az(scope: &ResourceId, role: GivenBy, principal: &Principal) -> String {
    let mut command = format!(
        "az role assignment create --assignee-object-id {} --assignee-principal-type {} --role {} --scope {}",
        quoted(object_id(principal)),
        kind(principal),
        quoted(role.name()),
        quoted(scope.as_str()),
    );
    if let Some(condition) = condition(role) {
        command.push_str(&format!(" --condition {} --condition-version 2.0", quoted(&condition)));
    }
    command
}

fn assign_bicep(scope: &ResourceId, role: GivenBy, principal: &Principal) -> Vec<String> {
    let definition = match role {
        GivenBy::Custom(role) => format!("{}.id", symbol(&[role.name()])),
        GivenBy::BuiltIn(role) => format!(
            "subscriptionResourceId('Microsoft.Authorization/roleDefinitions', {})",
            literal(role.guid())
        ),
    };
    let mut lines = Vec::new();
    let mut member = String::new();
    if let Some((kind, name)) = kind_and_name(scope) {
        let symbol = symbol(&["at", scope.name()]);
        lines.push(format!(
            "resource {symbol} '{kind}@{}' existing = {{ name: {} }} // in {}",
            api_version(&kind),
            literal(&name),
            assignable(scope)
        ));
        member = format!("scope: {symbol}, ");
    }
    let condition = condition(role).map_or_else(String::new, |condition| {
        format!(", condition: {}, conditionVersion: '2.0'", literal(&condition))
    });
    let (object, role) = (literal(object_id(principal)), role.name());
    lines.push(format!(
        "resource {} 'Microsoft.Authorization/roleAssignments@2022-04-01' = {{ {member}name: guid({}, {object}, {}), \
         properties: {{ principalId: {object}, principalType: '{}', roleDefinitionId: {definition}{condition} }} }} // in {}",
        symbol(&[role, "on", scope.name()]),
        literal(scope.as_str()),
        literal(role),
        kind(principal),
        assignable(scope),
    ));
    lines
}

fn condition(role: GivenBy) -> Option<String> {
    match role {
        GivenBy::BuiltIn(role) => BuiltIn::condition(role),
        GivenBy::Custom(_) => None,
    }
}

fn object_id(principal: &Principal) -> &str {
    principal.object_id.as_deref().unwrap_or("OBJECT-ID-OF-THE-APPS-IDENTITY")
}

fn kind(principal: &Principal) -> &'static str {
    if principal.is_user { "User" } else { "ServicePrincipal" }
}

/// The full type of a resource and its name with those above it; `None` for a subscription or a group.
fn kind_and_name(scope: &ResourceId) -> Option<(String, String)> {
    let parts: Vec<&str> = scope.as_str().split('/').collect();
    let at = parts.iter().rposition(|part| part.eq_ignore_ascii_case("providers"))?;
    let pairs = parts.get(at + 2..)?;
    let kind: Vec<&str> = pairs.iter().step_by(2).copied().collect();
    let name: Vec<&str> = pairs.iter().skip(1).step_by(2).copied().collect();
    Some((format!("{}/{}", parts.get(at + 1)?, kind.join("/")), name.join("/")))
}

/// A version that the type has. Which one does not matter to a resource that is only named.
fn api_version(kind: &str) -> &'static str {
    match kind.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "microsoft.eventhub" => "2024-01-01",
        "microsoft.servicebus" => "2021-11-01",
        "microsoft.storage" => "2023-05-01",
        "microsoft.documentdb" => "2024-05-15",
        "microsoft.managedidentity" => "2023-01-31",
        _ => "API-VERSION",
    }
}

/// One word of a POSIX shell, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A string of Bicep.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'").replace("${", r"\${"))
}

/// A name for a Bicep resource, made of words.
fn symbol(words: &[&str]) -> String {
    let words = words.join(" ");
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = String::new();
    for word in words {
        let (first, rest) = word.split_at(1);
        let first = if name.is_empty() { first.to_ascii_lowercase() } else { first.to_ascii_uppercase() };
        name.push_str(&first);
        name.push_str(rest);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_survives_the_shell_and_bicep() {
        assert_eq!(quoted("a/b"), "a/b");
        assert_eq!(quoted("!(x{'y'})"), r"'!(x{'\''y'\''})'");
        assert_eq!(literal("x{'y'} ${z} $t"), r"'x{\'y\'} \${z} $t'");
        assert_eq!(symbol(&["Hubward Hubs", "on", "id-egress.1"]), "hubwardHubsOnIdEgress1");
    }

    #[test]
    fn a_resource_is_named_with_those_above_it() {
        let id = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/e1";
        let id = ResourceId::parse(id).unwrap();
        let (kind, name) = kind_and_name(&id).unwrap();
        assert_eq!((kind.as_str(), name.as_str()), ("Microsoft.EventHub/namespaces/eventhubs", "ns1/e1"));
        assert_eq!(assignable(&id), "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg");
        assert_eq!(kind_and_name(&ResourceId::parse(&assignable(&id)).unwrap()), None);
    }
}
