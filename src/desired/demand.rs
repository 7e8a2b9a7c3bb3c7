//! What all profiles together ask for: what our own rights are held against.
//!
//! No hub is looked at, so placeholders are still open, and a target counts for every scope of the
//! guardrails that some hub could find it in.

use std::collections::BTreeSet;

use super::{
    exports::ExportTemplate,
    resolve::{Profile, Sends},
};
use crate::model::{
    ResourceId,
    desired::{Guardrails, Switch},
    hub::EndpointKind,
    job::JobDoor,
    role::Role,
};

/// What all profiles together ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// The outermost scopes of `guardrails.targets`, and what is sent to within each.
    pub targets: Vec<TargetDemand>,
    /// User-assigned identities that are attached to hubs.
    pub identities: BTreeSet<ResourceId>,
    /// The doors that scheduled exports go through, each once.
    pub exports: Vec<JobDoor>,
    /// Whether devices may be imported into any hub.
    pub imports: bool,
    /// Whether the system-assigned identity of any hub is turned off, which takes its grants away.
    pub turns_identities_off: bool,
}

/// What is sent to within one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetDemand {
    /// The scope.
    pub scope: ResourceId,
    /// The kinds of targets that are read.
    pub kinds: BTreeSet<EndpointKind>,
    /// Those that hubs' identities are granted roles on.
    pub granted: BTreeSet<EndpointKind>,
    /// Those whose keys are fetched.
    pub keyed: BTreeSet<EndpointKind>,
    /// Whether older exports are deleted there.
    pub prunes: bool,
}

impl Demand {
    pub(super) fn of(profiles: &[Profile], guardrails: &Guardrails) -> Self {
        let mut exports = Vec::new();
        for door in profiles.iter().flat_map(Profile::exports).map(ExportTemplate::through) {
            if !exports.contains(&door) {
                exports.push(door);
            }
        }
        Self {
            targets: guardrails
                .outermost_targets()
                .map(|scope| TargetDemand::of(scope, profiles, guardrails))
                .collect(),
            identities: profiles.iter().flat_map(|profile| profile.identity().user.clone()).collect(),
            exports,
            imports: !guardrails.allow_imports.is_empty(),
            turns_identities_off: profiles.iter().any(|profile| profile.identity().system == Switch::Off),
        }
    }
}

impl TargetDemand {
    /// The roles of Azure RBAC that are granted there, each once.
    pub fn granted_roles(&self) -> Vec<Role> {
        let mut roles: Vec<Role> = self.granted.iter().map(|kind| role(*kind)).collect();
        roles.retain(|role| !role.is_of_cosmos_db());
        roles.dedup();
        roles
    }

    fn of(scope: &ResourceId, profiles: &[Profile], guardrails: &Guardrails) -> Self {
        let here = |sends: &Sends<'_>| sends.template.could_be_within(scope, guardrails.storage_grants);
        let sends: Vec<Sends<'_>> = profiles.iter().flat_map(Profile::sends).filter(here).collect();
        let kinds = |fits: &dyn Fn(&Sends<'_>) -> bool| {
            sends
                .iter()
                .filter(|sends| fits(sends))
                .map(|sends| sends.template.kind().endpoint_kind())
                .collect()
        };
        let prunes = profiles.iter().flat_map(Profile::exports).any(|export| {
            export.prunes() && export.container.could_be_within(scope, guardrails.storage_grants)
        });
        Self {
            scope: scope.clone(),
            kinds: kinds(&|_| true),
            granted: kinds(&|sends| sends.by_identity),
            keyed: kinds(&|sends| sends.by_key && guardrails.allow_keys),
            prunes,
        }
    }
}

/// The role that a kind of target implies, as [`Target::role`](crate::model::desired::Target::role) has it.
fn role(kind: EndpointKind) -> Role {
    match kind {
        EndpointKind::EventHub => Role::EventHubsDataSender,
        EndpointKind::ServiceBusQueue | EndpointKind::ServiceBusTopic => Role::ServiceBusDataSender,
        EndpointKind::StorageContainer => Role::BlobDataContributor,
        EndpointKind::CosmosDbContainer => Role::CosmosDataContributor,
    }
}
