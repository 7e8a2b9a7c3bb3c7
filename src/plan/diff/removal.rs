//! What is there and not wanted, among the names that are ours alone.

use crate::model::{
    desired::{DesiredHub, OwnedPart},
    hub::{HubDocument, Part, Removal},
};

/// What has no place in the desired state any more.
#[derive(Debug, Default)]
pub(in crate::plan) struct Stale {
    /// Endpoints, routes and enrichments with a name that is ours.
    pub(in crate::plan) parts: Vec<Removal>,
}

impl Stale {
    /// Whether a part of this name goes.
    pub(in crate::plan) fn holds(&self, is_part: impl Fn(Part) -> bool, name: &str) -> bool {
        self.parts.iter().any(|gone| is_part(gone.part) && gone.name == name)
    }
}

impl Removal {
    /// Whether the desired state names this part outright.
    pub(in crate::plan) fn is_named_by(&self, desired: &DesiredHub) -> bool {
        let part = match self.part {
            Part::Endpoint(_) => OwnedPart::Endpoint,
            Part::Route => OwnedPart::Route,
            Part::Enrichment => OwnedPart::Enrichment,
        };
        desired.names_to_go(part, &self.name)
    }
}

/// Everything with one of our names that the desired state does not list.
pub(in crate::plan) fn stale(desired: &DesiredHub, hub: &HubDocument) -> Stale {
    let unwanted = |part: OwnedPart, name: &str, wanted: &[&str]| {
        desired.owns(part, name) && !wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let routes: Vec<&str> = desired.routes.iter().map(|want| want.name.as_str()).collect();
    let endpoints: Vec<&str> = desired.endpoints.iter().map(|want| want.name.as_str()).collect();
    let mut parts = Vec::new();
    for route in hub.routes() {
        if unwanted(OwnedPart::Route, route.name, &routes) {
            parts.push(Removal { part: Part::Route, name: route.name.to_owned(), index: route.index });
        }
    }
    for enrichment in hub.enrichments() {
        if desired.owns(OwnedPart::Enrichment, enrichment.key)
            && !desired.enrichments.iter().any(|want| want.key == enrichment.key)
        {
            let (name, index) = (enrichment.key.to_owned(), enrichment.index);
            parts.push(Removal { part: Part::Enrichment, name, index });
        }
    }
    for endpoint in hub.endpoints() {
        if unwanted(OwnedPart::Endpoint, endpoint.name, &endpoints) {
            let (name, index) = (endpoint.name.to_owned(), endpoint.index);
            parts.push(Removal { part: Part::Endpoint(endpoint.kind), name, index });
        }
    }
    Stale { parts }
}
