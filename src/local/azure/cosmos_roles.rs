//! Role assignments inside Cosmos DB accounts. They are not Azure's role assignments: they live in
//! the account, have no type of principal and no times, and every write of one takes a while.
//!
//! Shapes and polling as recorded in az's tests: 202 with `{"status":"Enqueued"}`, both
//! `Azure-AsyncOperation` and `Location`; an update may change the role.
//! <https://learn.microsoft.com/rest/api/cosmos-db-resource-provider/sql-resources/create-update-sql-role-assignment>

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Azure,
    answer::{Answer, Reply},
    call::Call,
    cosmos::{CONTRIBUTOR, refuse, role_of},
    events::Happening,
    faults::FaultKind,
    resources::{no_route, page},
    settings::{Settings, seconds},
    state::{State, is_within},
};
use crate::model::ResourceId;

const OPERATION: &str = "Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments";

/// A role assignment of an account.
#[derive(Debug, Clone)]
pub(super) struct CosmosGrant {
    /// The account's lower-cased id.
    pub(super) account: String,
    id: String,
    /// The role's GUID, lower-cased.
    role: String,
    role_definition: String,
    principal: String,
    scope: String,
    /// From when on the grant has an effect.
    pub(super) effective: OffsetDateTime,
}

impl CosmosGrant {
    /// As a GET shows it: without any time.
    pub(super) fn view(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.id.rsplit('/').next(),
            "properties": {
                "roleDefinitionId": self.role_definition,
                "principalId": self.principal,
                "scope": self.scope,
            },
            "type": OPERATION,
        })
    }

    fn is(&self, id: &str) -> bool {
        self.id.eq_ignore_ascii_case(id)
    }
}

/// A write of a role assignment, running or done.
#[derive(Debug, Clone)]
pub(super) struct CosmosOperation {
    started: OffsetDateTime,
    finishes: OffsetDateTime,
    /// Id of the assignment.
    subject: String,
    /// What will be there, or nothing after a DELETE.
    wanted: Option<CosmosGrant>,
    /// Code and text of the failure it ends with.
    failure: Option<(String, String)>,
    done: bool,
    happening: Happening,
}

fn missing(name: &str) -> Reply {
    refuse(404, "NotFound", format!("The Role Assignment with Id [{name}] does not exist."))
}

impl Azure {
    /// Calls to `{account}/sqlRoleAssignments`.
    pub(super) fn cosmos_assignment(
        &self,
        state: &mut State,
        call: &Call,
        account: &ResourceId,
        name: Option<&str>,
        rest: &[&str],
    ) -> Answer {
        let Some(name) = name else {
            if call.method != "GET" {
                return Err(no_route(call));
            }
            let all = state.cosmos.iter().filter(|grant| grant.account == account.key());
            let all = all.map(CosmosGrant::view).collect();
            return Ok(page(call, all, self.inner.settings.page_size));
        };
        let id = format!("{}/sqlRoleAssignments/{name}", account.as_str());
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let found = state.cosmos.iter().find(|grant| grant.is(&id));
                Ok(Reply::json(200, found.ok_or_else(|| missing(name))?.view()))
            }
            ("GET", ["operationresults", operation]) => state.cosmos_result(call, operation, &self.scaled()),
            ("PUT", []) => {
                let wanted = self.cosmos_wanted(state, call, account, &id, name)?;
                Ok(self.start_cosmos(state, call, account, id, Some(wanted)))
            }
            ("DELETE", []) => {
                if !state.cosmos.iter().any(|grant| grant.is(&id)) {
                    return Ok(Reply::empty(204));
                }
                Ok(self.start_cosmos(state, call, account, id, None))
            }
            _ => Err(no_route(call)),
        }
    }

    /// What a PUT asks for, checked.
    fn cosmos_wanted(
        &self,
        state: &mut State,
        call: &Call,
        account: &ResourceId,
        id: &str,
        name: &str,
    ) -> Result<CosmosGrant, Reply> {
        let settings = &self.inner.settings;
        let bad = |message: String| refuse(400, "BadRequest", message);
        if name.len() != 36 || uuid::Uuid::try_parse(name).is_err() {
            return Err(bad(format!("The Role Assignment Id [{name}] is not a valid GUID.")));
        }
        let body = call.json()?;
        let text = |field: &str| body["properties"][field].as_str().unwrap_or_default();
        let (role_definition, principal) = (text("roleDefinitionId"), text("principalId"));
        let scope = text("scope").trim_end_matches('/');
        let role = role_of(account, role_definition)
            .ok_or_else(|| bad(format!("The Role Definition [{role_definition}] does not exist.")))?;
        if uuid::Uuid::try_parse(principal).is_err() {
            return Err(bad(format!("The principal ID [{principal}] is not a valid GUID.")));
        }
        if !is_scope(account, scope) {
            return Err(bad(format!("The scope [{scope}] is not a resource of this account.")));
        }
        let before = state.cosmos.iter().find(|grant| grant.is(id)).cloned();
        let moved = before.as_ref().is_some_and(|grant| {
            !grant.principal.eq_ignore_ascii_case(principal) || !grant.scope.eq_ignore_ascii_case(scope)
        });
        if moved {
            let message = "The principal and the scope of a Role Assignment are not allowed to be updated.";
            return Err(bad(message.to_owned()));
        }
        // There is no type of principal here, so a young one is always looked up.
        if state.is_unknown(call, principal, false) {
            let message = format!(
                "The provided principal ID [\"{principal}\"] was not found in the AAD tenant(s) [{}] which are \
                 associated with the customer's subscription.",
                state.tenant
            );
            return Err(bad(message));
        }
        let delay = match call.hits.get(FaultKind::LatePropagation) {
            Some(fault) => fault.seconds.unwrap_or(600.0),
            None => state.random.between(settings.propagation_min_seconds, settings.propagation_max_seconds),
        };
        let finished = call.now + duration(call, settings);
        let effective = match before.filter(|grant| grant.role == role) {
            Some(same) => same.effective,
            None => finished + seconds(delay),
        };
        Ok(CosmosGrant {
            account: account.key().to_owned(),
            id: id.to_owned(),
            role,
            role_definition: role_definition.to_owned(),
            principal: principal.to_owned(),
            scope: scope.to_owned(),
            effective,
        })
    }

    fn start_cosmos(
        &self,
        state: &mut State,
        call: &Call,
        account: &ResourceId,
        id: String,
        wanted: Option<CosmosGrant>,
    ) -> Reply {
        let finishes = call.now + duration(call, &self.inner.settings);
        let (verb, word) = if wanted.is_some() { ("Write", "write") } else { ("Delete", "delete") };
        let existed = state.cosmos.iter().any(|grant| grant.is(&id));
        let mut happening = Happening::of(call, verb, &id, &format!("{OPERATION}/{word}"), existed);
        let failure = call.hits.get(FaultKind::FailOperation).map(|fault| {
            let code = fault.code.as_ref().map(|code| code.as_str().map_or(code.to_string(), str::to_owned));
            let message = fault.message.clone().unwrap_or_else(|| "The operation failed.".to_owned());
            (code.unwrap_or_else(|| "InternalServerError".to_owned()), message)
        });
        happening.succeeded = failure.is_none();
        let operation = state.random.guid();
        let place = state.targets[account.key()]["location"].as_str().unwrap_or("westus2").to_owned();
        let version = format!("api-version={}", call.version());
        let status = format!(
            "/subscriptions/{}/providers/Microsoft.DocumentDB/locations/{place}/operationsStatus/{operation}",
            account.subscription()
        );
        let result = format!("{id}/operationResults/{operation}");
        let record = CosmosOperation {
            started: call.now,
            finishes,
            subject: id,
            wanted,
            failure,
            done: false,
            happening,
        };
        state.cosmos_operations.insert(operation, record);
        self.wake_at(finishes);
        let reply = Reply::json(202, json!({"status": "Enqueued"}))
            .with("azure-asyncoperation", call.link(&status, &version))
            .with("location", call.link(&result, &version));
        with_wait(reply, &self.scaled())
    }
}

/// Whether a scope is the account, a database of it (`/dbs/{d}`) or a container (`/colls/{c}`).
fn is_scope(account: &ResourceId, scope: &str) -> bool {
    let scope = scope.to_ascii_lowercase();
    let Some(rest) = scope.strip_prefix(account.key()) else { return false };
    let parts: Vec<&str> = rest.split('/').collect();
    matches!(parts.as_slice(), [""] | ["", "dbs", _] | ["", "dbs", _, "colls", _])
        && parts.iter().skip(1).all(|part| !part.is_empty())
}

fn duration(call: &Call, settings: &Settings) -> std::time::Duration {
    let slow = call.hits.get(FaultKind::SlowOperation).map_or(0.0, |fault| fault.seconds.unwrap_or(600.0));
    seconds(settings.cosmos_role_seconds + slow)
}

fn with_wait(reply: Reply, settings: &Settings) -> Reply {
    match settings.retry_after_seconds {
        Some(wait) => reply.with("retry-after", wait.to_string()),
        None => reply,
    }
}

impl State {
    /// Whether a principal may write to a container: with the contributor's role on the container,
    /// its database or the account, effective by now.
    pub(super) fn is_cosmos_granted(
        &self,
        principal: &str,
        account: &str,
        database: &str,
        container: &str,
        now: OffsetDateTime,
    ) -> bool {
        let target = format!("{account}/dbs/{database}/colls/{container}").to_ascii_lowercase();
        self.cosmos.iter().any(|grant| {
            grant.principal.eq_ignore_ascii_case(principal)
                && grant.role == CONTRIBUTOR
                && grant.effective <= now
                && is_within(&target, &grant.scope.to_ascii_lowercase())
        })
    }

    /// Ends every operation whose time has come, in order.
    pub(super) fn settle_cosmos(&mut self, now: OffsetDateTime, settings: &Settings) {
        let soon = now + time::Duration::milliseconds(1);
        loop {
            let running = self.cosmos_operations.iter_mut().map(|(_, op)| op);
            let due = running.filter(|op| !op.done && op.finishes <= soon).min_by_key(|op| op.finishes);
            let Some(operation) = due else { return };
            operation.done = true;
            let operation = operation.clone();
            if operation.failure.is_none() {
                self.cosmos.retain(|grant| !grant.is(&operation.subject));
                let there = |grant: &CosmosGrant| self.targets.contains_key(&grant.account);
                if let Some(grant) = operation.wanted.filter(there) {
                    self.cosmos.push(grant);
                }
            }
            self.emit(&operation.happening, operation.finishes, &settings.events);
        }
    }

    /// What the operation's status address answers.
    pub(super) fn cosmos_status(&self, call: &Call, id: &str, settings: &Settings) -> Answer {
        let Some(operation) = self.cosmos_operations.get(id) else {
            return Err(refuse(404, "NotFound", format!("The operation '{id}' does not exist.")));
        };
        let body = match (&operation.failure, operation.done) {
            (_, false) => {
                let early = call.now - operation.started < (operation.finishes - operation.started) / 8;
                json!({"status": if early { "Enqueued" } else { "Dequeued" }})
            }
            (None, true) => json!({"status": "Succeeded"}),
            (Some((code, message)), true) => {
                json!({"status": "Failed", "error": {"code": code, "message": message}})
            }
        };
        let reply = Reply::json(200, body);
        Ok(if operation.done { reply } else { with_wait(reply, settings) })
    }

    /// What the operation's `Location` answers: at the end, the assignment itself.
    fn cosmos_result(&self, call: &Call, id: &str, settings: &Settings) -> Answer {
        let Some(operation) = self.cosmos_operations.get(id) else {
            return Err(refuse(404, "NotFound", format!("The operation '{id}' does not exist.")));
        };
        if !operation.done {
            let reply = Reply::json(202, json!({"status": "Dequeued"}));
            let version = format!("api-version={}", call.version());
            return Ok(with_wait(reply.with("location", call.link(&call.path, &version)), settings));
        }
        match (&operation.failure, &operation.wanted) {
            (Some((code, message)), _) => Err(refuse(500, code, message.as_str())),
            (None, Some(grant)) => Ok(Reply::json(200, grant.view())),
            (None, None) => Ok(Reply::empty(204)),
        }
    }
}
