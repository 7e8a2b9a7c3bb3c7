//! What Azure would refuse, or take and then not deliver, told before it is asked.
//!
//! Only what an edit is about to write is looked at: what is in place has been taken by the hub.
//! Rules: <https://learn.microsoft.com/azure/iot-hub/iot-hub-managed-identity>,
//! <https://learn.microsoft.com/azure/iot-hub/virtual-network-support>.

use std::collections::BTreeMap;

use super::{GrantStep, blocked::Blocked};
use crate::model::{
    desired::{DesiredHub, IdentityRef, Target},
    hub::{AuthEdit, ConnectionEdit, HubEdit},
    observed::{Network, ObservedHub},
};

/// Everything that an edit would meet at its targets.
pub(super) fn check(desired: &DesiredHub, observed: &ObservedHub, edit: &HubEdit) -> Vec<Blocked> {
    let mut blocked = Vec::new();
    for endpoint in &edit.endpoints {
        let by = format!("endpoint {}", endpoint.name);
        let needs_key = matches!(endpoint.auth, AuthEdit::Key { .. });
        let identity = endpoint.auth.identity();
        one(&by, &endpoint.target, identity, needs_key, desired, observed, &mut blocked);
    }
    if let Some(storage) = edit.file_upload.iter().find_map(|upload| upload.storage.as_ref()) {
        let needs_key = storage.connection == ConnectionEdit::WithKey;
        let identity = storage.identity.as_ref();
        one("file upload", &storage.target, identity, needs_key, desired, observed, &mut blocked);
    }
    if let Some(upload) = &desired.file_upload
        && upload.container.id().subscription() != observed.id().subscription()
    {
        let subscription = upload.container.id().subscription().to_owned();
        blocked.push(Blocked::UploadElsewhere { subscription });
    }
    blocked
}

fn one(
    by: &str,
    target: &Target,
    identity: Option<&IdentityRef>,
    needs_key: bool,
    desired: &DesiredHub,
    observed: &ObservedHub,
    blocked: &mut Vec<Blocked>,
) {
    let Some(facts) = observed.target(target) else { return };
    let (by, service) = (by.to_owned(), target.service_name());
    match (facts.network, identity) {
        (Network::Open | Network::Unknown, _) | (Network::TrustedServices, Some(IdentityRef::System)) => {}
        (Network::Closed, _) => {
            blocked.push(Blocked::TargetClosed { by: by.clone(), service: service.clone() });
        }
        (Network::TrustedServices, identity) => {
            let with = identity.map_or("key".to_owned(), IdentityRef::to_string);
            blocked.push(Blocked::NotTrusted { by: by.clone(), with, service: service.clone() });
        }
    }
    let hub = &observed.hub;
    let allowed = hub.allowed_hosts().iter().any(|host| host.eq_ignore_ascii_case(facts.host()));
    if hub.restricts_outbound() && !allowed && !desired.allow_target_hosts {
        blocked.push(Blocked::HostNotAllowed { by: by.clone(), host: facts.host().to_owned() });
    }
    if needs_key && !facts.takes_keys {
        blocked.push(Blocked::KeysOff { by, service });
    }
}

/// Subscriptions that have no room for the role assignments that are needed.
pub(super) fn assignments(observed: &ObservedHub, grants: &[GrantStep]) -> Vec<Blocked> {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for grant in grants.iter().filter(|grant| !grant.role.is_of_cosmos_db()) {
        *needed.entry(grant.scope.subscription()).or_default() += 1;
    }
    let short = needed.into_iter().filter_map(|(subscription, needed)| {
        let room = observed.assignments_left.get(subscription).filter(|room| room.left < needed)?;
        Some(Blocked::AssignmentLimit {
            subscription: subscription.to_owned(),
            needed,
            left: room.left,
            limit: room.limit,
        })
    });
    short.collect()
}
