//! From a request and the hub's document to what the hub should be.

use serde_json::json;
use time::OffsetDateTime;

use super::{
    Ask, Request, Wanted,
    fragment::{NAME, identity_for},
};
use crate::{
    desired::{
        Choice, DesiredState, HubFacts, Refusal,
        check::{BUILT_IN, KEY},
        strict::{Mistakes, nearest},
        targets::TargetKind,
        with_facts,
    },
    model::{
        desired::{DesiredHub, Owned, OwnedPart, Switch},
        hub::HubDocument,
        job::JobRequest,
    },
};

impl DesiredState {
    /// What a request comes to at the hub of this document.
    pub fn for_request(&self, request: &Request, hub: &HubDocument, now: OffsetDateTime) -> Wanted {
        if !self.guardrails().allows_hub(hub.id()) || request.hub != *hub.id() {
            return Wanted::State(Choice::OutOfScope);
        }
        let choice = match &request.ask {
            Ask::OwnProfile => self.for_document(hub),
            Ask::ProfileNamed(name) => self.resolve_named(name, hub),
            Ask::Fragment(profile) => {
                let choice = with_facts(hub, |facts| profile.resolve(facts, self.guardrails()));
                match choice {
                    Choice::Desired(desired) => leads_somewhere(desired, hub),
                    other => other,
                }
            }
            Ask::EndpointAuth { endpoint, identity, key_rule } => {
                self.other_auth(hub, endpoint, identity, key_rule.as_deref())
            }
            Ask::RemoveEndpoint { endpoint, with_routes } => removal(hub, endpoint, *with_routes),
            Ask::Offboard { profile, turn_identity_off } => {
                self.offboarding(hub, profile.as_deref(), *turn_identity_off)
            }
            Ask::CancelJob { job_id } => return Wanted::CancelJob(job_id.clone()),
            Ask::Job { part, job, through } => {
                let choice = with_facts(hub, |facts| part.resolve(facts, self.guardrails()));
                match choice {
                    Choice::Desired(mut desired) if !desired.exports.is_empty() => {
                        let place = desired.exports.swap_remove(0);
                        return Wanted::Job(Box::new(JobRequest {
                            id: request.digest(),
                            job: job.clone(),
                            container: place.container.id().clone(),
                            identity: place.identity,
                            through: *through,
                            requested_by: request.requested_by.clone(),
                            requested_at: now,
                            keep: None,
                        }));
                    }
                    other => other,
                }
            }
        };
        Wanted::State(choice)
    }

    /// The endpoint as it is, with another authentication.
    fn other_auth(&self, hub: &HubDocument, name: &str, sends_as: &str, key_rule: Option<&str>) -> Choice {
        let endpoints = hub.endpoints();
        let Some(found) = endpoints.iter().find(|endpoint| endpoint.is_named(name)) else {
            let names = endpoints.iter().map(|endpoint| endpoint.name);
            return refused("endpoint", name, "the hub has no such endpoint", &near(name, names));
        };
        let Some(target) = found.target(hub.id()) else {
            let fix = "send EnsureEndpoint, which names the target";
            return refused("endpoint", name, "where it sends to cannot be told from the hub", fix);
        };
        let kind = TargetKind::of_target(&target);
        let mut endpoint = json!({"name": found.name, "as": sends_as, kind.field(): target.id().as_str()});
        if let Some(rule) = key_rule.filter(|_| sends_as == KEY) {
            endpoint["keyRule"] = rule.into();
        }
        let part = json!({"identity": identity_for(sends_as), "endpoints": [endpoint]});
        let renamed =
            [("endpoints[0].as", "as"), ("endpoints[0].keyRule", "keyRule"), ("endpoints[0]", "endpoint")];
        let mut mistakes = Mistakes::default();
        match self.fragment(&part, &renamed, &mut mistakes) {
            Some(Ask::Fragment(profile)) => {
                with_facts(hub, |facts| profile.resolve(facts, self.guardrails()))
            }
            _ => Choice::Refused(mistakes.iter().map(refusal).collect()),
        }
    }

    fn offboarding(&self, hub: &HubDocument, profile: Option<&str>, turn_identity_off: bool) -> Choice {
        let name = hub.id().name();
        if let Some(matching) = self.profile_of(hub) {
            let message = format!("profile {matching} still matches the hub and would bring everything back");
            let fix = format!("take {name} out of its `match`, then send this with `profile`: `{matching}`");
            return refused("hub", name, &message, &fix);
        }
        let mut desired = leaving_all(hub);
        // Without a profile, nothing in the hub is known to be ours; its roles still are.
        if let Some(profile) = profile {
            match self.resolve_named(profile, hub) {
                Choice::Desired(profile) => desired.own_what_it_lists(&profile),
                other => return other,
            }
        }
        desired.revoke_unneeded = true;
        if turn_identity_off {
            desired.identity.system = Switch::Off;
        }
        Choice::Desired(desired)
    }

    /// What a profile says of a hub, whatever hubs it is for.
    pub(in crate::desired) fn resolve_named(&self, name: &str, hub: &HubDocument) -> Choice {
        let named = self.profiles.iter().find(|profile| profile.name() == name);
        let resolve = |facts: &HubFacts<'_>| match named {
            Some(profile) => profile.resolve(facts, self.guardrails()),
            None => Choice::NoProfile,
        };
        with_facts(hub, resolve)
    }
}

/// A state in which everything is left as it is found.
pub(in crate::desired) fn leaving_all(hub: &HubDocument) -> DesiredHub {
    DesiredHub::leaving_all(hub.id().clone(), NAME.to_owned())
}

/// The hub without an endpoint, and without what leads to it alone.
fn removal(hub: &HubDocument, name: &str, with_routes: bool) -> Choice {
    if hub.other_endpoints().iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
        let message = "the endpoint is of a kind that only other api-versions know";
        return refused("endpoint", name, message, "remove it with the tool that made it");
    }
    // One that is not there is removed already; routes that nobody would miss it for are not ours to take.
    let with_routes = with_routes && hub.endpoints().iter().any(|endpoint| endpoint.is_named(name));
    let mut desired = leaving_all(hub);
    let alone =
        |names: Vec<&str>| !names.is_empty() && names.iter().all(|other| other.eq_ignore_ascii_case(name));
    if with_routes {
        let routes = hub.routes().into_iter().filter(|route| alone(route.endpoints()));
        desired
            .owned
            .extend(routes.map(|route| Owned { part: OwnedPart::Route, name: route.name.to_owned() }));
        let enrichments = hub.enrichments().into_iter().filter(|enrichment| alone(enrichment.endpoints()));
        desired
            .owned
            .extend(enrichments.map(|own| Owned { part: OwnedPart::Enrichment, name: own.key.to_owned() }));
    }
    desired.owned.push(Owned { part: OwnedPart::Endpoint, name: name.to_owned() });
    Choice::Desired(desired)
}

/// Routes and enrichments lead to endpoints that the hub has or gets.
fn leads_somewhere(desired: DesiredHub, hub: &HubDocument) -> Choice {
    let endpoints = hub.endpoints();
    let others = hub.other_endpoints();
    let mut known: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name).collect();
    known.extend(others.iter().map(|endpoint| endpoint.name));
    known.extend(desired.endpoints.iter().map(|endpoint| endpoint.name.as_str()));
    known.push(BUILT_IN);
    let routes = desired
        .routes
        .iter()
        .enumerate()
        .map(|(nth, route)| (format!("routes[{nth}].endpoint"), route.endpoint.as_str()));
    let enrichments = desired.enrichments.iter().enumerate().flat_map(|(nth, enrichment)| {
        let names = enrichment.endpoints.iter().enumerate();
        names.map(move |(place, name)| (format!("enrichments[{nth}].endpoints[{place}]"), name.as_str()))
    });
    let astray: Vec<Refusal> = routes
        .chain(enrichments)
        .filter(|(_, name)| !known.iter().any(|own| own.eq_ignore_ascii_case(name)))
        .map(|(field, name)| {
            one(&field, name, "the hub has no such endpoint", &near(name, known.iter().copied()))
        })
        .collect();
    if astray.is_empty() { Choice::Desired(desired) } else { Choice::Refused(astray) }
}

fn near<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("write `{near}`"),
        None => format!("write one of {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn refused(field: &str, value: &str, message: &str, fix: &str) -> Choice {
    Choice::Refused(vec![one(field, value, message, fix)])
}

fn one(field: &str, value: &str, message: &str, fix: &str) -> Refusal {
    Refusal {
        profile: NAME.to_owned(),
        field: field.to_owned(),
        value: value.to_owned(),
        guardrail: None,
        message: message.to_owned(),
        fix: fix.to_owned(),
    }
}

fn refusal(mistake: &crate::desired::Mistake) -> Refusal {
    one(&mistake.path, "", &mistake.message, &mistake.fix)
}
