//! One endpoint, wanted against found.

use serde_json::Value;

use super::{describe_auth, normal_uri, place_differences};
use crate::model::{
    IotHubId,
    desired::{DesiredAuth, DesiredEndpoint, EndpointOptions, Target},
    hub::{AuthEdit, EndpointAuth, EndpointEdit, EndpointView},
    observed::{ObservedHub, TargetFacts},
};

/// The edit that makes the endpoint what it should be, if it is not.
pub(super) fn edit(
    want: &DesiredEndpoint,
    have: Option<&EndpointView<'_>>,
    observed: &ObservedHub,
) -> Option<EndpointEdit> {
    let facts = observed.target(&want.target);
    let differences = match have {
        None => vec!["create".to_owned()],
        Some(have) => differences(want, have, facts, observed.id()),
    };
    if differences.is_empty() {
        return None;
    }
    let facts = facts?;
    let auth = match (&want.auth, have) {
        (DesiredAuth::Identity(identity), _) => AuthEdit::Identity(identity.clone()),
        (DesiredAuth::Key { rule }, Some(have)) if has_key_of(have, rule.as_deref(), want, observed.id()) => {
            AuthEdit::KeepKey
        }
        (DesiredAuth::Key { rule }, _) => AuthEdit::Key { rule: rule.clone() },
    };
    Some(EndpointEdit {
        name: have.map_or(want.name.as_str(), |have| have.name).to_owned(),
        index: have.map(|have| have.index),
        target: want.target.clone(),
        endpoint_uri: facts.endpoint_uri.clone(),
        entity: facts.entity.clone(),
        auth,
        options: changed_options(&want.options, have),
        summary: differences.join(", "),
    })
}

/// What is different, in words. Without facts, the address is judged by what stands in the hub.
pub(super) fn differences(
    want: &DesiredEndpoint,
    have: &EndpointView<'_>,
    facts: Option<&TargetFacts>,
    hub: &IotHubId,
) -> Vec<String> {
    let mut differences = Vec::new();
    match (&want.auth, have.auth()) {
        (DesiredAuth::Identity(identity), auth) => {
            if auth != EndpointAuth::Identity(identity.clone()) {
                differences.push(format!("{} -> {identity}", describe_auth(&auth)));
            }
            // A key-based endpoint has its address inside the (masked) connection string, and gets a
            // new one with the identity.
            if auth != EndpointAuth::Key {
                differences.extend(address_differences(want, have, facts, hub));
            }
        }
        (DesiredAuth::Key { rule }, EndpointAuth::Key) => {
            if !has_key_of(have, rule.as_deref(), want, hub) {
                differences.push("key -> key of the wanted target and rule".to_owned());
            }
        }
        (DesiredAuth::Key { .. }, auth) => differences.push(format!("{} -> key", describe_auth(&auth))),
    }
    differences.extend(option_differences(&want.options, have));
    differences
}

fn address_differences(
    want: &DesiredEndpoint,
    have: &EndpointView<'_>,
    facts: Option<&TargetFacts>,
    hub: &IotHubId,
) -> Vec<String> {
    let Some(facts) = facts else {
        let leads = have.target(hub).as_ref() == Some(&want.target);
        return if leads { Vec::new() } else { vec![format!("target -> {}", want.target.id())] };
    };
    let mut differences = Vec::new();
    let mut compare = |member: &str, wanted: &str, normal: fn(&str) -> String| {
        let found = have.text(member).unwrap_or_default();
        if normal(found) != normal(wanted) {
            differences.push(format!("{member} {found:?} -> {wanted:?}"));
        }
    };
    let lower = |text: &str| text.to_ascii_lowercase();
    compare("endpointUri", &facts.endpoint_uri, normal_uri);
    match &want.target {
        Target::EventHub(_) | Target::ServiceBusQueue(_) | Target::ServiceBusTopic(_) => {
            compare("entityPath", &facts.entity, lower);
        }
        Target::StorageContainer(_) => compare("containerName", &facts.entity, lower),
        Target::CosmosDbContainer(_) => {
            compare("databaseName", &want.target.database().unwrap_or_default(), lower);
            compare("containerName", &facts.entity, lower);
        }
    }
    differences.extend(place_differences(have, &want.target, hub));
    differences
}

/// Whether the hub holds a key for just this target and rule. The key itself is masked; everything
/// around it in the connection string is not.
fn has_key_of(have: &EndpointView<'_>, rule: Option<&str>, want: &DesiredEndpoint, hub: &IotHubId) -> bool {
    let same_rule = match rule {
        Some(rule) => {
            have.connection_part("SharedAccessKeyName").is_some_and(|name| name.eq_ignore_ascii_case(rule))
        }
        None => true,
    };
    have.auth() == EndpointAuth::Key && same_rule && have.target(hub).as_ref() == Some(&want.target)
}

fn option_differences(wanted: &EndpointOptions, have: &EndpointView<'_>) -> Vec<String> {
    let differs = |(name, wanted): (&str, Value)| {
        let found = have.member(name);
        let is_there = found.is_some_and(|found| is_same(found, &wanted));
        (!is_there).then(|| format!("{name} {} -> {wanted}", found.unwrap_or(&Value::Null)))
    };
    wanted.members().into_iter().filter_map(differs).collect()
}

/// The options to send: all of them, or none if they are there and right.
fn changed_options(wanted: &EndpointOptions, have: Option<&EndpointView<'_>>) -> EndpointOptions {
    match have {
        Some(have) if option_differences(wanted, have).is_empty() => EndpointOptions::None,
        _ => wanted.clone(),
    }
}

/// Names of encodings come back in another case than they were sent.
pub(super) fn is_same(found: &Value, wanted: &Value) -> bool {
    match (found.as_str(), wanted.as_str()) {
        (Some(found), Some(wanted)) => found.eq_ignore_ascii_case(wanted),
        _ => found == wanted,
    }
}
