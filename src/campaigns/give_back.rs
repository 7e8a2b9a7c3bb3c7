//! What of a hub goes back when its wave is rolled back, and what has to be left.

use super::hubs::{AuthBefore, Before, Row};
use crate::model::{
    ResourceId,
    hub::{EndpointView, HubDocument},
};

/// What is to be done for a hub that goes back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Endpoints that get back what they authenticated with.
    pub(super) endpoints: Vec<String>,
    /// What is left as it is, and why.
    pub(super) left: Vec<String>,
}

/// Compares what the endpoints were with what they are.
pub(super) fn way(row: &Row, hub: &HubDocument) -> Way {
    let mut way = Way::default();
    let endpoints = hub.endpoints();
    for Before { name, auth, target } in &row.before {
        let found = endpoints.iter().find(|endpoint| endpoint.is_named(name));
        let left = match (auth, found) {
            (AuthBefore::Absent | AuthBefore::Unreadable, None) => continue,
            (AuthBefore::Absent, Some(_)) => {
                "was not there before, and stays: take it away with RemoveEndpoint"
            }
            (AuthBefore::Unreadable, Some(_)) => "authenticated with something that could not be read",
            (_, None) => "is gone by now",
            (_, Some(found)) if !leads_to(found, hub, target.as_ref()) => {
                "sent to another target before; only its authentication goes back"
            }
            (_, Some(_)) => "",
        };
        if !left.is_empty() {
            way.left.push(format!("endpoint {name} {left}"));
        }
        let can_go_back = matches!(auth, AuthBefore::Key { .. } | AuthBefore::Identity(_));
        if let Some(found) = found.filter(|_| can_go_back)
            && !is_same(&AuthBefore::of(found), auth)
        {
            way.endpoints.push(name.clone());
        }
    }
    way
}

/// Whether an endpoint leads to a target, judged by names: an endpoint with a key may not tell the target's
/// resource group.
fn leads_to(endpoint: &EndpointView<'_>, hub: &HubDocument, target: Option<&ResourceId>) -> bool {
    let names = |id: &ResourceId| id.key().split_once("/providers/").map(|(_, names)| names.to_owned());
    endpoint.target(hub.id()).and_then(|now| names(now.id())) == target.and_then(names)
}

/// Which rule a key belonged to does not matter: whoever changed that since, did it on purpose.
fn is_same(now: &AuthBefore, before: &AuthBefore) -> bool {
    matches!((now, before), (AuthBefore::Key { .. }, AuthBefore::Key { .. })) || now == before
}
