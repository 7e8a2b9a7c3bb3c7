//! What we ourselves may do, and through which role assignments.
//!
//! <https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource-group>; the same
//! list at a subscription is not in the OpenAPI and has been answered for as long as there are roles.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    activity::claims_in_token,
    client::ArmClient,
    error::ArmError,
    resources::{AUTHORIZATION, ArmReader, text},
};
use crate::model::{ResourceId, permission::Permission};

/// Who our token is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// The object id in the directory, which role assignments name. A token without one is no token of
    /// Entra ID.
    pub object_id: Option<String>,
    /// Whether it is a person who is signed in, and not an app's identity.
    pub is_user: bool,
}

/// One of our own role assignments, or of a group that we are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAssignment {
    /// Its resource id.
    pub id: String,
    /// Where it was made: a management group or `/`, too.
    pub scope: String,
    /// The role definition's GUID.
    pub role: Uuid,
    /// Its condition.
    pub condition: Option<String>,
}

/// What a role is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleDefinition {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub permissions: Vec<Permission>,
}

impl ArmClient {
    /// Who our token is for.
    pub async fn principal(&self) -> Result<Principal, ArmError> {
        Ok(principal(&self.claims(claims_in_token).await?))
    }
}

impl ArmReader {
    /// What we may do at a scope, by whatever is granted there and above. Conditions of role assignments
    /// are not part of the answer.
    pub async fn permissions(&self, scope: &ResourceId) -> Result<Vec<Permission>, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        let list = self.list("GET permissions", self.client.url(&path, AUTHORIZATION)).await?;
        Ok(list.iter().map(permission).collect())
    }

    /// Our role assignments at a scope, above it and below it.
    pub async fn own_assignments(
        &self,
        scope: &ResourceId,
        object_id: &str,
    ) -> Result<Vec<OwnAssignment>, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let mut url = self.client.url(&path, AUTHORIZATION);
        url.query_pairs_mut().append_pair("$filter", &format!("assignedTo('{object_id}')"));
        let list = self.list("GET own grants", url).await?;
        Ok(list.iter().filter_map(assignment).collect())
    }

    /// What a role is; `None` if nobody knows it at this scope.
    pub async fn role(&self, scope: &ResourceId, role: Uuid) -> Result<Option<RoleDefinition>, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleDefinitions/{role}");
        let found = self.find("GET role", &path, AUTHORIZATION).await?;
        Ok(found.map(|json| {
            let permissions = json.pointer("/properties/permissions").and_then(Value::as_array);
            RoleDefinition {
                name: text(&json, "/properties/roleName").map_or_else(|| role.to_string(), str::to_owned),
                permissions: permissions.into_iter().flatten().map(permission).collect(),
            }
        }))
    }
}

/// Whom a token with these claims is for.
fn principal(claims: &Value) -> Principal {
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    // Tokens of apps say so; older ones of the same endpoint have no claim that people's have.
    let is_user = match claim("idtyp") {
        Some(kind) => kind.eq_ignore_ascii_case("user"),
        None => claim("scp").is_some() || claim("upn").is_some(),
    };
    Principal { object_id: claim("oid"), is_user }
}

fn permission(json: &Value) -> Permission {
    let list = |name: &str| {
        let texts = json.get(name).and_then(Value::as_array).into_iter().flatten();
        texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    Permission {
        actions: list("actions"),
        not_actions: list("notActions"),
        data_actions: list("dataActions"),
        not_data_actions: list("notDataActions"),
        condition: text(json, "/condition").map(str::to_owned),
    }
}

fn assignment(json: &Value) -> Option<OwnAssignment> {
    let property = |name: &str| text(json, &format!("/properties/{name}"));
    Some(OwnAssignment {
        id: text(json, "/id")?.to_owned(),
        scope: property("scope")?.to_owned(),
        role: Uuid::try_parse(property("roleDefinitionId")?.rsplit('/').next()?).ok()?,
        condition: property("condition").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_list_leaves_out_or_says_as_null_allows_nothing() {
        let read = permission(&json!({"actions": ["*/read"], "notActions": null}));
        assert_eq!(read, Permission { actions: vec!["*/read".into()], ..Permission::default() });
        assert_eq!(permission(&json!(null)), Permission::default());
    }

    #[test]
    fn an_assignment_above_subscriptions_is_one_too() {
        let read =
            assignment(&json!({"id": "/providers/Microsoft.Authorization/roleAssignments/x", "properties": {
            "scope": "/", "condition": "", "roleDefinitionId":
            "/providers/Microsoft.Authorization/roleDefinitions/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"}}));
        let read = read.unwrap();
        assert_eq!((read.scope.as_str(), read.condition), ("/", None));
    }

    #[test]
    fn people_are_told_from_apps_by_what_their_tokens_say() {
        for (claims, is_user) in [
            (json!({"oid": "o", "idtyp": "User"}), true),
            (json!({"oid": "o", "idtyp": "app", "scp": "user_impersonation"}), false),
            (json!({"oid": "o", "scp": "user_impersonation"}), true),
            (json!({"oid": "o", "upn": "ada@example.net"}), true),
            (json!({"oid": "o", "appid": "a"}), false),
        ] {
            let found = principal(&claims);
            assert_eq!((found.object_id.as_deref(), found.is_user), (Some("o"), is_user), "{claims}");
        }
    }
}
