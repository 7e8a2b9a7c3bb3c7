//! From a checked document to what each hub should be.

use globset::GlobMatcher;

use super::{
    Choice, HubFacts, Refusal, check,
    profiles::{EndpointDoc, GuardrailsDoc, IdentityDoc, MatchDoc, ProfileDoc, RouteDoc},
    targets::{Fault, TargetKind, Template, Values},
};
use crate::model::{
    ResourceId,
    desired::{DesiredEndpoint, DesiredHub, DesiredIdentity, DesiredRoute, Guardrails, IdentityRef},
};

/// A profile with its conditions compiled and its templates parsed.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    path: String,
    name: String,
    conditions: Conditions,
    identity: DesiredIdentity,
    endpoints: Vec<EndpointTemplate>,
    routes: Vec<DesiredRoute>,
}

#[derive(Debug, Clone)]
struct Conditions {
    tags: Vec<(String, GlobMatcher)>,
    locations: Vec<GlobMatcher>,
    resource_groups: Vec<GlobMatcher>,
    names: Vec<GlobMatcher>,
}

#[derive(Debug, Clone)]
struct EndpointTemplate {
    name: String,
    kind: TargetKind,
    template: Template,
    identity: IdentityRef,
}

/// A region as Azure's programs spell it: `West US 2` is `westus2`.
pub(super) fn normalise_location(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').flat_map(char::to_lowercase).collect()
}

/// The guardrails of a checked document.
pub(super) fn guardrails(doc: &GuardrailsDoc) -> Result<Guardrails, Fault> {
    let GuardrailsDoc { subscriptions, targets, allow_removals, max_hubs_changed } = doc;
    Ok(Guardrails {
        subscriptions: subscriptions.iter().map(|guid| guid.0.to_ascii_lowercase()).collect(),
        targets: targets
            .iter()
            .map(|id| {
                ResourceId::parse(id).map_err(|error| Fault::new(error.to_string(), "write a resource id"))
            })
            .collect::<Result<_, _>>()?,
        allow_removals: *allow_removals,
        max_hubs_changed: *max_hubs_changed,
    })
}

impl Profile {
    /// Compiles a checked profile.
    pub(super) fn compile(index: usize, doc: &ProfileDoc) -> Result<Profile, Fault> {
        let ProfileDoc { name, matching, identity, endpoints, routes } = doc;
        let IdentityDoc { system, user } = identity;
        let user = user.iter().map(|id| check::user(id)).collect::<Result<Vec<_>, _>>()?;
        let endpoints = endpoints.iter().map(|endpoint| EndpointTemplate::compile(endpoint, &user));
        Ok(Profile {
            path: format!("profiles[{index}]"),
            name: name.0.clone(),
            conditions: Conditions::compile(matching)?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            identity: DesiredIdentity { system: (*system).into(), user },
            routes: routes.iter().map(desired_route).collect(),
        })
    }

    /// The profile's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is for this hub.
    pub(super) fn matches(&self, facts: &HubFacts<'_>) -> bool {
        let Conditions { tags, locations, resource_groups, names } = &self.conditions;
        let any = |globs: &[GlobMatcher], text: &str| {
            globs.is_empty() || globs.iter().any(|glob| glob.is_match(text))
        };
        any(names, facts.id.name())
            && any(resource_groups, facts.id.resource_group().unwrap_or_default())
            && any(locations, &normalise_location(facts.location))
            && tags.iter().all(|(name, glob)| {
                let mut named = facts.tags.iter().filter(|(tag, _)| tag.to_lowercase() == *name);
                named.any(|(_, value)| glob.is_match(value))
            })
    }

    /// What this hub should be, or everything that stands against it.
    pub(super) fn resolve(&self, facts: &HubFacts<'_>, guardrails: &Guardrails) -> Choice {
        let location = normalise_location(facts.location);
        let values = Values {
            hub: facts.id.name(),
            location: &location,
            resource_group: facts.id.resource_group().unwrap_or_default(),
            subscription: facts.id.subscription(),
        };
        let mut endpoints = Vec::with_capacity(self.endpoints.len());
        let mut refusals = Vec::new();
        for (nth, EndpointTemplate { name, kind, template, identity }) in self.endpoints.iter().enumerate() {
            let refusal = |value: String, guardrail, Fault { message, fix }| Refusal {
                profile: self.name.clone(),
                field: format!("{}.endpoints[{nth}].{}", self.path, kind.field()),
                value,
                guardrail,
                message,
                fix,
            };
            match template.fill(&values) {
                Ok(id) if guardrails.allows_target(&id) => endpoints.push(DesiredEndpoint {
                    name: name.clone(),
                    target: kind.target(id),
                    identity: identity.clone(),
                }),
                Ok(id) => {
                    let fix =
                        format!("add `{id}` or a scope above it to `guardrails.targets`, or point elsewhere");
                    let fault = Fault::new("this is outside the guardrail", fix);
                    refusals.push(refusal(id.to_string(), Some("guardrails.targets"), fault));
                }
                Err(fault) => refusals.push(refusal(template.text().to_owned(), None, fault)),
            }
        }
        if !refusals.is_empty() {
            return Choice::Refused(refusals);
        }
        Choice::Desired(DesiredHub {
            hub: facts.id.clone(),
            profile: self.name.clone(),
            identity: self.identity.clone(),
            endpoints,
            routes: self.routes.clone(),
        })
    }
}

impl Conditions {
    fn compile(doc: &MatchDoc) -> Result<Conditions, Fault> {
        let MatchDoc { tags, locations, resource_groups, names } = doc;
        let tags = tags.iter().map(|(name, value)| Ok((name.to_lowercase(), check::glob(&value.0)?)));
        Ok(Conditions {
            tags: tags.collect::<Result<_, _>>()?,
            locations: locations
                .iter()
                .map(|glob| check::glob(&normalise_location(&glob.0)))
                .collect::<Result<_, _>>()?,
            resource_groups: resource_groups
                .iter()
                .map(|glob| check::glob(&glob.0))
                .collect::<Result<_, _>>()?,
            names: names.iter().map(|glob| check::glob(&glob.0)).collect::<Result<_, _>>()?,
        })
    }
}

impl EndpointTemplate {
    fn compile(doc: &EndpointDoc, users: &[ResourceId]) -> Result<EndpointTemplate, Fault> {
        let (kind, id) = TargetKind::of(doc)
            .ok_or_else(|| Fault::new("an endpoint has no target", "add `eventHub: …`"))?;
        Ok(EndpointTemplate {
            name: doc.name.0.clone(),
            kind,
            template: Template::parse(kind, id)?,
            identity: check::identity(&doc.identity, users)?,
        })
    }
}

fn desired_route(doc: &RouteDoc) -> DesiredRoute {
    let RouteDoc { name, source, condition, endpoint, enabled } = doc;
    DesiredRoute {
        name: name.0.clone(),
        source: source.0.clone(),
        condition: condition.clone(),
        endpoint: endpoint.clone(),
        enabled: *enabled,
    }
}
