//! Role assignments: those of Azure RBAC, and those that Cosmos DB keeps itself.
//!
//! Both look alike from above: a scope, a role, a principal, and a name that follows from the three.
//! <https://learn.microsoft.com/rest/api/authorization/role-assignments>,
//! <https://learn.microsoft.com/rest/api/cosmos-db-resource-provider/sql-resources/create-update-sql-role-assignment>

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    error::{ArmError, Reaction},
    resources::{AUTHORIZATION, ArmReader, ArmWriter, COSMOS_DB, ListPages, text},
};
use crate::model::{
    ResourceId,
    observed::{AssignmentsLeft, Grant, HeldRole},
    role::{BroadRole, Role},
};

/// How many role assignments a subscription has room for. Published with the portal only.
const USAGE: &str = "2019-08-01-preview";

impl ArmReader {
    /// The role assignments of a principal at a scope, above it and below it.
    pub async fn grants(&self, scope: &ResourceId, principal: &str) -> Result<Vec<Grant>, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let mut url = self.client.url(&path, AUTHORIZATION);
        url.query_pairs_mut().append_pair("$filter", &format!("principalId eq '{principal}'"));
        let list = self.list("GET grants", url).await?;
        Ok(list.iter().filter_map(read_grant).collect())
    }

    /// The role assignments of everybody at a scope, above it and below it.
    pub async fn grants_of_all(&self, scope: &ResourceId) -> Result<Vec<Grant>, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let list = self.list("GET all grants", self.client.url(&path, AUTHORIZATION)).await?;
        Ok(list.iter().filter_map(read_grant).collect())
    }

    /// What Cosmos DB lets a principal do in an account. It does not say since when.
    pub async fn cosmos_grants(&self, account: &ResourceId, principal: &str) -> Result<Vec<Grant>, ArmError> {
        let grants = self.cosmos_grants_of_all(account).await?;
        Ok(grants.into_iter().filter(|grant| grant.is_of(principal)).collect())
    }

    /// What Cosmos DB lets anybody do in an account.
    pub async fn cosmos_grants_of_all(&self, account: &ResourceId) -> Result<Vec<Grant>, ArmError> {
        let path = format!("{account}/sqlRoleAssignments");
        let list = self.list("GET Cosmos DB grants", self.client.url(&path, COSMOS_DB)).await?;
        Ok(list.iter().filter_map(|json| read_cosmos_grant(account, json)).collect())
    }

    /// Everybody's role assignments at a scope, above it and below it, page by page.
    pub fn fleet_grants(&self, scope: &ResourceId) -> ListPages {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        self.pages("GET fleet grants", self.client.url(&path, AUTHORIZATION))
    }

    /// What Cosmos DB lets everybody do in an account.
    pub async fn fleet_cosmos_grants(&self, account: &ResourceId) -> Result<Vec<Grant>, ArmError> {
        let path = format!("{account}/sqlRoleAssignments");
        let list = self.list("GET fleet Cosmos DB grants", self.client.url(&path, COSMOS_DB)).await?;
        Ok(list.iter().filter_map(|json| read_cosmos_grant(account, json)).collect())
    }

    /// How many role assignments a subscription has room for; `None` where that cannot be read.
    pub async fn assignments_left(&self, subscription: &str) -> Result<Option<AssignmentsLeft>, ArmError> {
        self.client.usage().or_read(subscription, self.read_assignments_left(subscription)).await
    }

    async fn read_assignments_left(&self, subscription: &str) -> Result<Option<AssignmentsLeft>, ArmError> {
        let path = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleAssignmentsUsageMetrics"
        );
        let json = match self.get("GET grants usage", &path, USAGE).await {
            Ok(json) => json,
            Err(error) if error.reaction() == Reaction::Fail => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = |name: &str| json.get(name).and_then(Value::as_u64);
        let (limit, left) = (number("roleAssignmentsLimit"), number("roleAssignmentsRemainingCount"));
        Ok(limit.zip(left).map(|(limit, left)| AssignmentsLeft { limit, left }))
    }
}

impl ArmWriter {
    /// Grants a role. The assignment's name follows from scope, principal and role, so the same
    /// grant is the same write. Answers with the assignment as Azure has it, with its age; for Cosmos
    /// DB, which does not tell the age, with the time of this write.
    pub async fn grant(
        &self,
        scope: &ResourceId,
        role: Role,
        principal: &str,
        reason: &str,
    ) -> Result<Grant, ArmError> {
        let name = super::assignment_name(scope, role, principal);
        if role.is_of_cosmos_db() {
            return self.cosmos_grant(scope, role, principal, &name.to_string()).await;
        }
        const LABEL: &str = "PUT grant";
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
        let definition = format!(
            "/subscriptions/{}/providers/Microsoft.Authorization/roleDefinitions/{}",
            scope.subscription(),
            role.guid()
        );
        let body = json!({"properties": {
            "roleDefinitionId": definition,
            "principalId": principal,
            // Without it a fresh identity is "not found", and a delegation condition on the
            // principal's type refuses the write.
            "principalType": "ServicePrincipal",
            "description": reason,
        }});
        let json = self.put(LABEL, &path, AUTHORIZATION, &body).await?;
        json.as_ref().and_then(read_grant).ok_or_else(|| ArmError::Unreadable {
            call: LABEL.into(),
            cause: "the role assignment has no scope, principal or createdOn".into(),
        })
    }

    async fn cosmos_grant(
        &self,
        scope: &ResourceId,
        role: Role,
        principal: &str,
        name: &str,
    ) -> Result<Grant, ArmError> {
        const LABEL: &str = "PUT Cosmos DB grant";
        let account = scope.cosmos_account().ok_or_else(|| ArmError::Unreadable {
            call: LABEL.into(),
            cause: format!("{scope} is not in a Cosmos DB account"),
        })?;
        let id = format!("{account}/sqlRoleAssignments/{name}");
        let body = json!({"properties": {
            "roleDefinitionId": format!("{account}/sqlRoleDefinitions/{}", role.guid()),
            "scope": data_scope(&account, scope),
            "principalId": principal,
        }});
        self.put(LABEL, &id, COSMOS_DB, &body).await?;
        Ok(Grant {
            id,
            scope: scope.clone(),
            role: HeldRole::Ours(role),
            principal: principal.to_owned(),
            is_conditional: false,
            created_on: Some(self.client().clock().now()),
            description: None,
        })
    }

    /// Takes a role assignment away. One that is not there counts as taken away.
    pub async fn revoke(&self, id: &str, role: Role) -> Result<(), ArmError> {
        if role.is_of_cosmos_db() {
            self.delete("DELETE Cosmos DB grant", id, COSMOS_DB).await
        } else {
            self.delete("DELETE grant", id, AUTHORIZATION).await
        }
    }
}

/// A role assignment as Azure shows it.
pub fn read_grant(json: &Value) -> Option<Grant> {
    let property = |name: &str| text(json, &format!("/properties/{name}"));
    Some(Grant {
        id: text(json, "/id")?.to_owned(),
        scope: ResourceId::parse(property("scope")?).ok()?,
        role: held(property("roleDefinitionId")?),
        principal: property("principalId")?.to_owned(),
        is_conditional: property("condition").is_some(),
        created_on: Some(OffsetDateTime::parse(property("createdOn")?, &Rfc3339).ok()?),
        description: property("description").map(str::to_owned),
    })
}

fn read_cosmos_grant(account: &ResourceId, json: &Value) -> Option<Grant> {
    let property = |name: &str| text(json, &format!("/properties/{name}"));
    Some(Grant {
        id: text(json, "/id")?.to_owned(),
        scope: resource_scope(account, property("scope")?)?,
        role: held(property("roleDefinitionId")?),
        principal: property("principalId")?.to_owned(),
        is_conditional: false,
        created_on: None,
        description: None,
    })
}

fn held(definition: &str) -> HeldRole {
    let ours = Role::from_definition_id(definition).map(HeldRole::Ours);
    ours.or(BroadRole::from_definition_id(definition).map(HeldRole::Broad)).unwrap_or(HeldRole::Other)
}

/// A scope as Cosmos DB writes it: `{account}/dbs/{database}/colls/{container}`.
fn data_scope(account: &ResourceId, scope: &ResourceId) -> String {
    let below = scope.as_str().get(account.as_str().len()..).unwrap_or_default();
    let mut parts = below.split('/').skip(1);
    let mut text = account.to_string();
    while let (Some(word), Some(name)) = (parts.next(), parts.next()) {
        let word = if word.eq_ignore_ascii_case("sqlDatabases") { "dbs" } else { "colls" };
        text.push_str(&format!("/{word}/{name}"));
    }
    text
}

/// The other way round. Cosmos DB also takes a scope without the account before it.
fn resource_scope(account: &ResourceId, scope: &str) -> Option<ResourceId> {
    let below = match scope.get(..account.as_str().len()) {
        Some(start) if start.eq_ignore_ascii_case(account.as_str()) => &scope[start.len()..],
        _ => scope,
    };
    let mut id = account.to_string();
    let mut parts = below.split('/').filter(|part| !part.is_empty());
    while let Some(word) = parts.next() {
        let name = parts.next()?;
        let word = match word.to_ascii_lowercase().as_str() {
            "dbs" => "sqlDatabases",
            "colls" => "containers",
            _ => return None,
        };
        id.push_str(&format!("/{word}/{name}"));
    }
    ResourceId::parse(&id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_cosmos_db_are_written_in_two_ways() {
        let account = ResourceId::parse(
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.DocumentDB/databaseAccounts/a",
        )
        .unwrap();
        for (resource, data) in
            [("", ""), ("/sqlDatabases/d", "/dbs/d"), ("/sqlDatabases/d/containers/c", "/dbs/d/colls/c")]
        {
            let id = ResourceId::parse(&format!("{account}{resource}")).unwrap();
            assert_eq!(id.cosmos_account().as_ref(), Some(&account));
            let text = data_scope(&account, &id);
            assert_eq!(text, format!("{account}{data}"));
            assert_eq!(resource_scope(&account, &text).as_ref(), Some(&id));
            assert_eq!(resource_scope(&account, if data.is_empty() { "/" } else { data }), Some(id));
        }
        assert_eq!(resource_scope(&account, "/dbs/d/nonsense/c"), None);
        let of_another = account.as_str().replace("databaseAccounts/a", "databaseAccounts/b");
        assert_eq!(resource_scope(&account, &format!("{of_another}/dbs/d")), None);
    }
}
