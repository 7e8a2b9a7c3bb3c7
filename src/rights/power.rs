//! Power that Hubward holds and does not need, and conditions that stand in its way.
//!
//! Whoever may grant roles without a condition may grant any role to anybody, themselves included.
//! <https://learn.microsoft.com/azure/role-based-access-control/delegate-role-assignments-overview>

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::Serialize;
use uuid::Uuid;

use super::roles::BuiltIn;
use crate::{
    arm::{ArmReader, OwnAssignment, RoleDefinition},
    model::{
        ResourceId,
        permission::{Action, Permission, allows},
        role::{BroadRole, Role},
    },
};

/// What lets somebody grant roles.
const GRANTING: Action = Action::control("Microsoft.Authorization/roleAssignments/write");

/// Something about our own role assignments that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase", tag = "warning")]
pub enum Warning {
    /// Owner, Contributor or User Access Administrator.
    #[serde(rename_all = "camelCase")]
    BroadRole {
        /// The role.
        role: String,
        /// Where it was assigned.
        scope: String,
        /// The assignment's id.
        assignment: String,
    },
    /// Roles can be granted without limit.
    #[serde(rename_all = "camelCase")]
    UnconditionalDelegation {
        /// The role that gives it.
        role: String,
        /// Where it was assigned.
        scope: String,
        /// The assignment's id.
        assignment: String,
    },
    /// Every condition that we are held by leaves out a role that has to be granted.
    #[serde(rename_all = "camelCase")]
    ConditionWithoutRole {
        /// Where grants are to be made.
        scope: String,
        /// The role that no condition names.
        role: Role,
    },
    /// Roles can be granted, and whether a condition limits that could not be seen.
    #[serde(rename_all = "camelCase")]
    ConditionUnseen {
        /// Where.
        scope: String,
        /// Why.
        cause: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::BroadRole { role, scope, assignment } => write!(
                f,
                "{role} is held on {scope}: much more than is needed; grant what infra/README.md lists, then az role \
                 assignment delete --ids {assignment}"
            ),
            Warning::UnconditionalDelegation { role, scope, assignment } => write!(
                f,
                "{role} on {scope} may grant any role to anybody: it has no condition; assign {} with a condition (infra/README.md has \
                 it), then az role assignment delete --ids {assignment}",
                BuiltIn::RbacAdministrator.name()
            ),
            Warning::ConditionWithoutRole { scope, role } => write!(
                f,
                "no condition of our role assignments names {role} ({}): granting it on {scope} will be refused; add it to the \
                 condition",
                role.guid()
            ),
            Warning::ConditionUnseen { scope, cause } => write!(
                f,
                "roles can be granted on {scope}, and whether a condition limits that is not known: {cause}; a grant can still be \
                 refused"
            ),
        }
    }
}

/// What is held at one scope.
pub(super) struct Held<'a> {
    pub(super) scope: &'a ResourceId,
    pub(super) permissions: &'a [Permission],
    /// `None` where they could not be listed.
    pub(super) assignments: Option<&'a [OwnAssignment]>,
    /// The roles that are to be granted there.
    pub(super) granted: Vec<Role>,
}

/// Each warning once, sorted. Reads each role that we hold once.
pub(super) async fn warnings(arm: &ArmReader, held: &[Held<'_>]) -> Vec<Warning> {
    let mut roles: BTreeMap<Uuid, Option<RoleDefinition>> = BTreeMap::new();
    for held in held {
        for own in held.assignments.unwrap_or_default() {
            if let Entry::Vacant(unread) = roles.entry(own.role) {
                unread.insert(arm.role(held.scope, own.role).await.ok().flatten());
            }
        }
    }
    let mut found: Vec<Warning> = held.iter().flat_map(|held| held.warnings(&roles)).collect();
    found.sort();
    found.dedup();
    found
}

impl Held<'_> {
    fn warnings(&self, roles: &BTreeMap<Uuid, Option<RoleDefinition>>) -> Vec<Warning> {
        let scope = || self.scope.to_string();
        let granting = !self.granted.is_empty() && allows(self.permissions, GRANTING);
        let Some(assignments) = self.assignments else {
            let cause = "our own role assignments cannot be listed there".to_owned();
            return granting
                .then(|| Warning::ConditionUnseen { scope: scope(), cause })
                .into_iter()
                .collect();
        };
        let mut found = Vec::new();
        let mut conditions = Vec::new();
        let mut is_free = false;
        for own in assignments {
            let definition = roles.get(&own.role).and_then(Option::as_ref);
            let told = || (name(own.role, definition), own.scope.clone(), own.id.clone());
            if is_broad(own.role) {
                let (role, scope, assignment) = told();
                found.push(Warning::BroadRole { role, scope, assignment });
            }
            let entries = definition.into_iter().flat_map(|definition| &definition.permissions);
            for entry in entries.filter(|entry| entry.allows(GRANTING)) {
                let condition = own.condition.as_ref().or(entry.condition.as_ref());
                let covers = self.is_covered_by(own);
                match condition.filter(|condition| is_about_grants(condition)) {
                    Some(condition) if covers => conditions.push(condition.as_str()),
                    Some(_) => {}
                    None => {
                        is_free |= covers;
                        let (role, scope, assignment) = told();
                        found.push(Warning::UnconditionalDelegation { role, scope, assignment });
                    }
                }
            }
        }
        if granting && !is_free && conditions.is_empty() {
            let cause = "it comes from none of the role assignments that we can see".to_owned();
            found.push(Warning::ConditionUnseen { scope: scope(), cause });
        }
        if granting && !is_free && !conditions.is_empty() {
            let left_out = self.granted.iter().filter(|role| !names(&conditions, **role));
            found.extend(left_out.map(|role| Warning::ConditionWithoutRole { scope: scope(), role: *role }));
        }
        found
    }

    /// Whether an assignment was made at this scope or above it, management groups and `/` included.
    fn is_covered_by(&self, own: &OwnAssignment) -> bool {
        match ResourceId::parse(&own.scope) {
            Ok(at) => self.scope.is_within(&at),
            Err(_) => true,
        }
    }
}

fn is_broad(role: Uuid) -> bool {
    let known = BroadRole::from_definition_id(&role.to_string());
    matches!(known, Some(BroadRole::Owner | BroadRole::Contributor | BroadRole::UserAccessAdministrator))
}

/// A role's name, or its GUID where nobody tells the name.
fn name(role: Uuid, definition: Option<&RoleDefinition>) -> String {
    let guid = role.to_string();
    match (definition, BroadRole::from_definition_id(&guid)) {
        (Some(definition), _) => definition.name.clone(),
        (None, Some(known)) => known.to_string(),
        (None, None) => guid,
    }
}

/// Whether a condition limits grants at all. There are conditions on blobs, too.
fn is_about_grants(condition: &str) -> bool {
    condition.to_ascii_lowercase().contains("microsoft.authorization/roleassignments")
}

/// Whether any of these conditions may let a role be granted. One that does not speak of roles lets
/// every role be granted.
fn names(conditions: &[&str], role: Role) -> bool {
    conditions.iter().any(|condition| {
        let condition = condition.to_ascii_lowercase();
        !condition.contains("roledefinitionid") || condition.contains(role.guid())
    })
}
