//! Role assignments, and how long a grant takes to be effective.
//!
//! <https://learn.microsoft.com/rest/api/authorization/role-assignments>,
//! <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Azure,
    answer::{Answer, Reply, iso},
    call::Call,
    events::Happening,
    faults::FaultKind,
    resources::page,
    role_definitions::{self, Role},
    settings::seconds,
    state::{State, is_within},
};

/// A role assignment.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) scope: String,
    pub(super) name: String,
    /// The role's GUID, lower-cased.
    pub(super) role: String,
    role_definition: String,
    pub(super) principal: String,
    kind: String,
    condition: Value,
    condition_version: Value,
    description: Value,
    created: OffsetDateTime,
    updated: OffsetDateTime,
    created_by: String,
    updated_by: String,
    /// From when on the grant has an effect.
    pub(super) effective: OffsetDateTime,
}

impl Assignment {
    /// A grant of old.
    pub(super) fn of_old(
        world: &super::world::Assignment,
        name: String,
        role: &Role,
        when: OffsetDateTime,
    ) -> Self {
        let super::world::Assignment { scope, principal_id, condition, role: _, name: _ } = world;
        let subscription = scope.split('/').nth(2).unwrap_or_default();
        Self {
            scope: scope.to_owned(),
            name,
            role: role.guid.to_owned(),
            role_definition: format!(
                "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{}",
                role.guid
            ),
            principal: principal_id.clone(),
            kind: "ServicePrincipal".to_owned(),
            condition: json!(condition),
            condition_version: json!(condition.as_ref().map(|_| "2.0")),
            description: Value::Null,
            created: when,
            updated: when,
            created_by: String::new(),
            updated_by: String::new(),
            effective: when,
        }
    }

    /// The same grant for the principal of a copy of a hub, whose id stands where the hub's stood.
    pub(super) fn of_copy(&self, principal: &str, name: String, hub: &str, copy: &str) -> Self {
        let description = self.description.as_str().map(|text| text.replace(hub, copy));
        Self { principal: principal.to_owned(), name, description: description.into(), ..self.clone() }
    }

    pub(super) fn id(&self) -> String {
        format!("{}/providers/Microsoft.Authorization/roleAssignments/{}", self.scope, self.name)
    }

    /// As a GET shows it; the answer to a PUT leaves `createdBy` null.
    pub(super) fn view(&self, put: bool) -> Value {
        json!({
            "properties": {
                "roleDefinitionId": self.role_definition,
                "principalId": self.principal,
                "principalType": self.kind,
                "scope": self.scope,
                "condition": self.condition,
                "conditionVersion": self.condition_version,
                "createdOn": iso(self.created),
                "updatedOn": iso(self.updated),
                "createdBy": if put { Value::Null } else { json!(self.created_by) },
                "updatedBy": self.updated_by,
                "delegatedManagedIdentityResourceId": null,
                "description": self.description,
            },
            "id": self.id(),
            "type": "Microsoft.Authorization/roleAssignments",
            "name": self.name,
        })
    }
}

fn missing(name: &str) -> Reply {
    Reply::arm(404, "RoleAssignmentNotFound", format!("The role assignment '{name}' is not found."))
}

impl Azure {
    /// Calls below `{scope}/providers/Microsoft.Authorization/`.
    pub(super) fn authorization(&self, call: &Call, scope: &str, rest: &[&str]) -> Answer {
        let mut state = self.lock();
        state.check_scope(scope)?;
        let kind = rest.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
        match (call.method.as_str(), kind.as_str(), &rest[1.min(rest.len())..]) {
            ("GET", "roledefinitions", []) => Ok(role_definitions::list(call, scope)),
            ("GET", "roledefinitions", [name]) => {
                let role =
                    role_definitions::definition(name).filter(|role| role.guid.eq_ignore_ascii_case(name));
                let role = role.ok_or_else(|| {
                    let message = format!("The specified role definition with ID '{name}' does not exist.");
                    Reply::arm(404, "RoleDefinitionDoesNotExist", message)
                })?;
                Ok(Reply::json(200, role.view(scope.split('/').nth(2).unwrap_or_default())))
            }
            ("GET", "permissions", []) => Ok(page(
                call,
                state.permissions(&call.caller, scope, call.now),
                self.inner.settings.page_size,
            )),
            ("GET", "roleassignments", []) => {
                state.list_assignments(call, scope, self.inner.settings.page_size)
            }
            ("GET", "roleassignmentsusagemetrics", []) => {
                let (limit, used) = (self.inner.settings.role_assignment_limit, state.assignments_in(scope));
                Ok(Reply::json(
                    200,
                    json!({
                        "subscriptionId": scope.split('/').nth(2),
                        "roleAssignmentsLimit": limit,
                        "roleAssignmentsCurrentCount": used,
                        "roleAssignmentsRemainingCount": limit.saturating_sub(used),
                    }),
                ))
            }
            ("PUT", "roleassignments", [name]) => self.put_assignment(&mut state, call, scope, name),
            ("GET", "roleassignments", [name]) => {
                let key = assignment_key(scope, name);
                let found = state.assignments.get(&key).ok_or_else(|| missing(name))?;
                Ok(Reply::json(200, found.view(false)))
            }
            ("DELETE", "roleassignments", [name]) => {
                let Some(gone) = state.assignments.remove(call.now, &assignment_key(scope, name)) else {
                    return Ok(Reply::empty(204));
                };
                let what = Happening::of(
                    call,
                    "Delete",
                    &gone.id(),
                    "Microsoft.Authorization/roleAssignments/delete",
                    true,
                );
                state.emit(&what, call.now, &self.inner.settings.events);
                Ok(Reply::json(200, gone.view(false)))
            }
            _ => Err(super::resources::no_route(call)),
        }
    }

    fn put_assignment(&self, state: &mut State, call: &Call, scope: &str, name: &str) -> Answer {
        let settings = &self.inner.settings;
        if name.len() != 36 || uuid::Uuid::try_parse(name).is_err() {
            let message = format!(
                "The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
            );
            return Err(Reply::arm(400, "InvalidRoleAssignmentId", message));
        }
        let body = call.json()?;
        let properties = &body["properties"];
        let text = |field: &str| properties[field].as_str().filter(|text| !text.is_empty());
        let bad = |message: String| Reply::arm(400, "BadRequestFormat", message);
        let (Some(definition_id), Some(principal)) = (text("roleDefinitionId"), text("principalId")) else {
            return Err(bad("The request was incorrectly formatted.".to_owned()));
        };
        if uuid::Uuid::try_parse(principal).is_err() {
            return Err(bad(format!(
                "The principal ID '{principal}' is not valid. Principal ID must be a GUID."
            )));
        }
        let guid = definition_id.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        if role_definitions::definition(&guid).is_none_or(|role| role.guid != guid) {
            let message =
                format!("The specified role definition with ID '{}' does not exist.", guid.replace('-', ""));
            return Err(Reply::arm(400, "RoleDefinitionDoesNotExist", message));
        }
        let key = assignment_key(scope, name);
        let same = |grant: &Assignment| {
            grant.principal.eq_ignore_ascii_case(principal)
                && grant.role == guid
                && grant.scope.eq_ignore_ascii_case(scope)
        };
        // A name is unique in the whole directory, not only at its scope.
        let taken = state.assignments.values().find(|grant| grant.name.eq_ignore_ascii_case(name)).cloned();
        if taken.as_ref().is_some_and(|grant| !same(grant)) {
            return Err(Reply::arm(
                400,
                "RoleAssignmentUpdateNotPermitted",
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
            ));
        }
        if taken.is_none() && state.assignments.values().any(same) {
            return Err(Reply::arm(409, "RoleAssignmentExists", "The role assignment already exists."));
        }
        state.check_principal(call, principal, text("principalType").is_some())?;
        let (limit, used) = (settings.role_assignment_limit, state.assignments_in(scope));
        if taken.is_none() && used >= limit {
            let message = format!("No more role assignments can be created; the limit is {limit}.");
            return Err(Reply::arm(400, "RoleAssignmentLimitExceeded", message));
        }

        let content = |field: &str| properties.get(field).cloned().unwrap_or(Value::Null);
        let (condition, version, description) =
            (content("condition"), content("conditionVersion"), content("description"));
        if let Some(grant) = &taken
            && grant.condition == condition
            && grant.condition_version == version
            && grant.description == description
        {
            return Ok(Reply::json(200, grant.view(false)));
        }
        let delay = match call.hits.get(FaultKind::LatePropagation) {
            Some(fault) => fault.seconds.unwrap_or(600.0),
            None => state.random.between(settings.propagation_min_seconds, settings.propagation_max_seconds),
        };
        let by = call.caller.object.clone();
        let existed = taken.is_some();
        let (created, created_by, effective) = match taken {
            Some(grant) => (grant.created, grant.created_by, grant.effective),
            None => (call.now, by.clone(), call.now + seconds(delay)),
        };
        let grant = Assignment {
            scope: scope.to_owned(),
            name: name.to_owned(),
            role: guid,
            role_definition: definition_id.to_owned(),
            principal: principal.to_owned(),
            kind: text("principalType").unwrap_or("ServicePrincipal").to_owned(),
            condition,
            condition_version: version,
            description,
            created,
            updated: call.now,
            created_by,
            updated_by: by,
            effective,
        };
        let view = grant.view(true);
        let what = Happening::of(
            call,
            "Write",
            &grant.id(),
            "Microsoft.Authorization/roleAssignments/write",
            existed,
        );
        state.assignments.insert(call.now, key, grant);
        state.emit(&what, call.now, &settings.events);
        Ok(Reply::json(201, view))
    }
}

impl State {
    /// How many role assignments there are in a scope's subscription, at any scope.
    fn assignments_in(&self, scope: &str) -> usize {
        let subscription = scope.split('/').take(3).collect::<Vec<_>>().join("/").to_ascii_lowercase();
        let inside = |grant: &&Assignment| is_within(&grant.scope.to_ascii_lowercase(), &subscription);
        self.assignments.values().filter(inside).count()
    }

    /// Whether an assignment to this principal is refused, because nobody knows it or as a fault.
    pub(super) fn is_unknown(&mut self, call: &Call, principal: &str, typed: bool) -> bool {
        let mut unknown = call.hits.get(FaultKind::PrincipalNotFound).is_some();
        match self.principals.get_mut(&principal.to_ascii_lowercase()) {
            Some(known) if known.refusals > 0 => {
                known.refusals -= 1;
                unknown = true;
            }
            Some(known) => unknown |= !typed && known.visible > call.now,
            // A typed assignment is taken on trust: nobody looks the principal up.
            None => unknown |= !typed,
        }
        unknown
    }

    fn check_principal(&mut self, call: &Call, principal: &str, typed: bool) -> Result<(), Reply> {
        if !self.is_unknown(call, principal, typed) {
            return Ok(());
        }
        let message = format!(
            "Principal {} does not exist in the directory {}. Check that you have the correct principal ID. If you \
             are creating this principal and then immediately assigning a role, this error might be related to a \
             replication delay. In this case, set the role assignment principalType property to a value, such as \
             ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype",
            principal.replace('-', ""),
            self.tenant
        );
        Err(Reply::arm(400, "PrincipalNotFound", message))
    }

    /// Without a filter, and with one on a principal, a list holds what is at, above and below the
    /// scope; `atScope()` leaves out what is below.
    fn list_assignments(&self, call: &Call, scope: &str, size: usize) -> Answer {
        let filter = call.query.get("$filter").map(String::as_str).unwrap_or_default();
        let (mut principal, mut at_scope) = (None, false);
        for term in filter.split(" and ").map(str::trim).filter(|term| !term.is_empty()) {
            let lower = term.to_ascii_lowercase();
            if lower == "atscope()" {
                at_scope = true;
            } else if lower.starts_with("principalid eq ") || lower.starts_with("assignedto(") {
                principal = term.split('\'').nth(1).map(str::to_ascii_lowercase);
                if principal.is_none() {
                    return Err(unsupported(term));
                }
            } else {
                return Err(unsupported(term));
            }
        }
        let here = scope.to_ascii_lowercase();
        let found: Vec<Value> = self
            .assignments
            .values()
            .filter(|grant| principal.as_ref().is_none_or(|id| grant.principal.eq_ignore_ascii_case(id)))
            .filter(|grant| {
                let there = grant.scope.to_ascii_lowercase();
                is_within(&here, &there) || (!at_scope && is_within(&there, &here))
            })
            .map(|grant| grant.view(false))
            .collect();
        Ok(page(call, found, size))
    }
}

fn unsupported(term: &str) -> Reply {
    Reply::arm(
        400,
        "UnsupportedQuery",
        format!(
            "The filter '{term}' is not supported. Supported filters are either 'atScope()' or 'principalId eq '{{value}}' or assignedTo('{{value}}')'."
        ),
    )
}

fn assignment_key(scope: &str, name: &str) -> String {
    format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}").to_ascii_lowercase()
}
