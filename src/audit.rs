//! Looks into the roles that a hub's identities hold: too far up, too broad, or of no use.
//!
//! Reads only. Each finding names the assignment and, where a narrower one would do, the scopes for it.

use serde::Serialize;

use crate::{
    arm::{ArmError, ArmReader},
    model::{
        IotHubId, ResourceId,
        desired::{DesiredHub, Guardrails, IdentityRef},
        hub::HubDocument,
        observed::Grant,
    },
    plan::{Excess, excess, needed},
};

/// What is too much about one role assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The hub.
    pub hub: IotHubId,
    /// The identity that holds the role.
    pub identity: IdentityRef,
    /// The role, by name.
    pub role: String,
    /// Where.
    pub scope: ResourceId,
    /// The assignment's own id.
    pub assignment: String,
    /// What is too much about it.
    pub excess: Excess,
}

/// Audits one hub, whose wanted state says what it needs.
///
/// # Errors
/// What Azure has against a read.
pub async fn audit(
    arm: &ArmReader,
    hub: &HubDocument,
    desired: Option<&DesiredHub>,
    guardrails: &Guardrails,
) -> Result<Vec<Finding>, ArmError> {
    let identity = hub.identity();
    let system = identity.system_principal.map(|principal| (IdentityRef::System, principal));
    let users = identity
        .user_assigned
        .into_iter()
        .filter_map(|(id, principal)| Some((IdentityRef::User(id), principal?)));
    let mut findings = Vec::new();
    for (identity, principal) in system.into_iter().chain(users) {
        let mut grants: Vec<Grant> = Vec::new();
        for scope in guardrails.outermost_targets() {
            for grant in arm.grants(scope, &principal).await? {
                if !grants.iter().any(|known| known.id.eq_ignore_ascii_case(&grant.id)) {
                    grants.push(grant);
                }
            }
        }
        let needed = needed(hub, desired, guardrails, &identity);
        for grant in grants {
            if let Some((role, excess)) = excess(hub, &grant, &identity, &needed, guardrails) {
                findings.push(Finding {
                    hub: hub.id().clone(),
                    identity: identity.clone(),
                    role,
                    scope: grant.scope,
                    assignment: grant.id,
                    excess,
                });
            }
        }
    }
    Ok(findings)
}
