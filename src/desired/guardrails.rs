//! From the checked document to the guardrails in force.

use super::{
    profiles::{GuardrailsDoc, IsoText},
    targets::Fault,
};
use crate::model::{ResourceId, desired::Guardrails, duration::IsoDuration};

/// The guardrails of a checked document.
pub(super) fn guardrails(doc: &GuardrailsDoc) -> Result<Guardrails, Fault> {
    let GuardrailsDoc {
        subscriptions,
        targets,
        identities,
        allow_removals,
        allow_keys,
        allow_imports,
        storage_grants,
        max_hubs_changed,
        max_writes_per_hub,
        grant_window,
    } = doc;
    let scopes = |ids: &[String]| {
        let parse = |id: &String| {
            ResourceId::parse(id).map_err(|error| Fault::new(error.to_string(), "write a resource id"))
        };
        ids.iter().map(parse).collect::<Result<_, _>>()
    };
    Ok(Guardrails {
        subscriptions: subscriptions.iter().map(|guid| guid.0.to_ascii_lowercase()).collect(),
        targets: scopes(targets)?,
        identities: scopes(identities)?,
        allow_removals: *allow_removals,
        allow_keys: *allow_keys,
        allow_imports: allow_imports.iter().map(|name| name.0.to_ascii_lowercase()).collect(),
        storage_grants: (*storage_grants).into(),
        max_hubs_changed: *max_hubs_changed,
        max_writes_per_hub: *max_writes_per_hub,
        grant_window: duration(grant_window)?,
        reserved: None,
    })
}

/// A duration of a checked document.
pub(super) fn duration(text: &IsoText) -> Result<IsoDuration, Fault> {
    IsoDuration::parse(&text.0)
        .ok_or_else(|| Fault::new(format!("`{}` is not a duration", text.0), "write such as `PT1H`"))
}
