//! From a checked document to what each hub should be.

use globset::GlobMatcher;

use super::{
    Choice, HubFacts, Refusal, check,
    exports::ExportTemplate,
    guardrails::duration,
    profiles::{
        CloudToDeviceDoc, Drift, EndpointDoc, EnrichmentDoc, FileUploadDoc, IdentityDoc, MatchDoc,
        NotificationsDoc, ProfileDoc, QuietHoursDoc, Rollout, RouteDoc,
    },
    quiet::QuietHours,
    targets::{Fault, TargetKind, Template, Values},
};
use crate::model::{
    ResourceId,
    desired::{
        CloudToDevice, Connection, CosmosOptions, DesiredAuth, DesiredEndpoint, DesiredEnrichment,
        DesiredFileUpload, DesiredHub, DesiredIdentity, DesiredRoute, EndpointOptions, Guardrails,
        Notifications, StorageOptions, Switch, Target,
    },
    duration::IsoDuration,
};

/// A profile with its conditions compiled and its templates parsed.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    path: String,
    name: String,
    rollout: Rollout,
    drift: Drift,
    quiet_hours: Option<QuietHours>,
    conditions: Conditions,
    identity: DesiredIdentity,
    endpoints: Vec<EndpointTemplate>,
    routes: Vec<DesiredRoute>,
    fallback: Switch,
    enrichments: Vec<DesiredEnrichment>,
    file_upload: Option<FileUploadTemplate>,
    cloud_to_device: CloudToDevice,
    exports: Vec<ExportTemplate>,
    owned_prefixes: Vec<String>,
    allow_target_hosts: bool,
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
    auth: DesiredAuth,
    options: EndpointOptions,
}

#[derive(Debug, Clone)]
struct FileUploadTemplate {
    container: Template,
    /// With the container still to be filled in.
    rest: FileUploadRest,
}

#[derive(Debug, Clone)]
struct FileUploadRest {
    auth: DesiredAuth,
    connection: Connection,
    sas_ttl: Option<IsoDuration>,
    notifications: Notifications,
}

/// Something that hubs send to, and what with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sends<'a> {
    /// Where to.
    pub(super) template: &'a Template,
    /// Whether an identity is granted a role there.
    pub(super) by_identity: bool,
    /// Whether a key is fetched there.
    pub(super) by_key: bool,
}

/// A region as Azure's programs spell it: `West US 2` is `westus2`.
pub(super) fn normalise_location(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').flat_map(char::to_lowercase).collect()
}

fn quiet(doc: &QuietHoursDoc) -> Result<QuietHours, Fault> {
    QuietHours::of(doc).ok_or_else(|| {
        Fault::new("`quietHours` has no such time".to_owned(), "write times such as `\"22:00\"`")
    })
}

impl Profile {
    /// Compiles a checked profile.
    pub(super) fn compile(index: usize, doc: &ProfileDoc) -> Result<Profile, Fault> {
        let ProfileDoc {
            name,
            rollout,
            drift,
            quiet_hours,
            matching,
            identity,
            endpoints,
            routes,
            fallback,
            enrichments,
            file_upload,
            cloud_to_device,
            exports,
            owned_prefixes,
            outbound,
        } = doc;
        let IdentityDoc { system, user, detach, detach_others } = identity;
        let ids = |texts: &[String]| texts.iter().map(|id| check::user(id)).collect::<Result<Vec<_>, _>>();
        let user = ids(user)?;
        let endpoints = endpoints.iter().map(|endpoint| EndpointTemplate::compile(endpoint, &user));
        let file_upload = file_upload.as_ref().map(|doc| FileUploadTemplate::compile(doc, &user));
        let exports = exports.iter().map(|export| ExportTemplate::compile(export, &user));
        let CloudToDeviceDoc { default_ttl, max_delivery_count } = cloud_to_device;
        Ok(Profile {
            path: format!("profiles[{index}]"),
            name: name.0.clone(),
            rollout: *rollout,
            drift: *drift,
            quiet_hours: quiet_hours.as_ref().map(quiet).transpose()?,
            conditions: Conditions::compile(matching)?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            routes: routes.iter().map(desired_route).collect(),
            fallback: (*fallback).into(),
            enrichments: enrichments.iter().map(desired_enrichment).collect(),
            file_upload: file_upload.transpose()?,
            cloud_to_device: CloudToDevice {
                default_ttl: default_ttl.as_ref().map(duration).transpose()?,
                max_delivery_count: *max_delivery_count,
            },
            exports: exports.collect::<Result<_, _>>()?,
            owned_prefixes: owned_prefixes.iter().map(|prefix| prefix.0.clone()).collect(),
            allow_target_hosts: outbound.allow_targets,
            identity: DesiredIdentity {
                system: (*system).into(),
                user,
                detach: ids(detach)?,
                detach_others: *detach_others,
            },
        })
    }

    /// The profile's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether its hubs are changed by campaigns and requests alone.
    pub(super) fn is_by_campaign(&self) -> bool {
        self.rollout == Rollout::Campaign
    }

    /// Whether drift is reported, and not repaired.
    pub(super) fn reports_drift(&self) -> bool {
        self.drift == Drift::Report
    }

    /// When drift is not repaired.
    pub(super) fn quiet_hours(&self) -> Option<&QuietHours> {
        self.quiet_hours.as_ref()
    }

    /// Which identities its hubs have.
    pub(super) fn identity(&self) -> &DesiredIdentity {
        &self.identity
    }

    /// Its exports.
    pub(super) fn exports(&self) -> &[ExportTemplate] {
        &self.exports
    }

    /// Everything that its hubs send to, with names still to be filled in.
    pub(super) fn sends(&self) -> impl Iterator<Item = Sends<'_>> {
        let endpoints = self.endpoints.iter().map(|endpoint| {
            let by_key = endpoint.auth.identity().is_none();
            Sends { template: &endpoint.template, by_identity: !by_key, by_key }
        });
        let upload = self.file_upload.iter().map(|upload| {
            let FileUploadRest { auth, connection, .. } = &upload.rest;
            let by_identity = auth.identity().is_some();
            let by_key = !by_identity || *connection == Connection::AccountKey;
            Sends { template: &upload.container, by_identity, by_key }
        });
        let exports = self.exports.iter().map(|export| Sends {
            template: &export.container,
            by_identity: true,
            by_key: false,
        });
        endpoints.chain(upload).chain(exports)
    }

    /// The user-assigned identities that it lists.
    pub(super) fn identities(&self) -> &[ResourceId] {
        &self.identity.user
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
        let mut refusals = Vec::new();
        let mut endpoints = Vec::with_capacity(self.endpoints.len());
        for (nth, endpoint) in self.endpoints.iter().enumerate() {
            let EndpointTemplate { name, kind, template, auth, options } = endpoint;
            let field = format!("{}.endpoints[{nth}].{}", self.path, kind.field());
            match self.target(&field, *kind, template, &values, guardrails) {
                Ok(target) => endpoints.push(DesiredEndpoint {
                    name: name.clone(),
                    target,
                    auth: auth.clone(),
                    options: options.clone(),
                }),
                Err(refusal) => refusals.push(*refusal),
            }
        }
        let file_upload = self.file_upload.as_ref().and_then(|upload| {
            let field = format!("{}.fileUpload.container", self.path);
            let container = self
                .target(&field, TargetKind::StorageContainer, &upload.container, &values, guardrails)
                .and_then(|container| self.in_own_subscription(&field, container, facts));
            let FileUploadRest { auth, connection, sas_ttl, notifications } = upload.rest.clone();
            match container {
                Ok(container) => {
                    Some(DesiredFileUpload { container, auth, connection, sas_ttl, notifications })
                }
                Err(refusal) => {
                    refusals.push(*refusal);
                    None
                }
            }
        });
        let mut exports = Vec::with_capacity(self.exports.len());
        for (nth, export) in self.exports.iter().enumerate() {
            let field = format!("{}.exports[{nth}].container", self.path);
            let container =
                self.target(&field, TargetKind::StorageContainer, &export.container, &values, guardrails);
            let export = container.and_then(|container| {
                let unusable = |fault| self.refusal(&field, export.container.text(), None, fault);
                export.resolve(container, facts.id.name()).map_err(unusable)
            });
            match export {
                Ok(export) => exports.push(export),
                Err(refusal) => refusals.push(*refusal),
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
            fallback: self.fallback,
            enrichments: self.enrichments.clone(),
            file_upload,
            cloud_to_device: self.cloud_to_device.clone(),
            exports,
            owned_prefixes: self.owned_prefixes.clone(),
            owned: Vec::new(),
            revoke_unneeded: false,
            allow_target_hosts: self.allow_target_hosts,
        })
    }

    /// A target for one hub, inside the guardrails together with the scope of its grant.
    fn target(
        &self,
        field: &str,
        kind: TargetKind,
        template: &Template,
        values: &Values<'_>,
        guardrails: &Guardrails,
    ) -> Result<Target, Box<Refusal>> {
        let id = template.fill(values).map_err(|fault| self.refusal(field, template.text(), None, fault))?;
        let target = kind.target(id);
        let scope = target.grant_scope(guardrails.storage_grants);
        for id in [target.id(), &scope] {
            if guardrails.is_reserved(id) {
                let fault = Fault::new("Hubward keeps its own outcomes there", "point to another container");
                return Err(self.refusal(field, id.as_str(), None, fault));
            }
            if !guardrails.allows_target(id) {
                let fix =
                    format!("add `{id}` or a scope above it to `guardrails.targets`, or point elsewhere");
                let fault = Fault::new("this is outside the guardrail", fix);
                return Err(self.refusal(field, id.as_str(), Some("guardrails.targets"), fault));
            }
        }
        Ok(target)
    }

    /// The service takes an account of the hub's own subscription only.
    fn in_own_subscription(
        &self,
        field: &str,
        container: Target,
        facts: &HubFacts<'_>,
    ) -> Result<Target, Box<Refusal>> {
        if container.id().subscription() == facts.id.subscription() {
            return Ok(container);
        }
        let fault = Fault::new(
            "file upload needs an account in the hub's own subscription",
            "write `/subscriptions/{subscription}/…`, or a profile of its own for these hubs",
        );
        Err(self.refusal(field, container.id().as_str(), None, fault))
    }

    fn refusal(
        &self,
        field: &str,
        value: &str,
        guardrail: Option<&'static str>,
        fault: Fault,
    ) -> Box<Refusal> {
        Box::new(Refusal {
            profile: self.name.clone(),
            field: field.to_owned(),
            value: value.to_owned(),
            guardrail,
            message: fault.message,
            fix: fault.fix,
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
        let rule = doc.key_rule.as_ref().map(|rule| rule.0.clone());
        Ok(EndpointTemplate {
            name: doc.name.0.clone(),
            kind,
            template: Template::parse(kind, id)?,
            auth: auth(&doc.identity, rule, users)?,
            options: options(kind, doc),
        })
    }
}

fn auth(text: &str, rule: Option<String>, users: &[ResourceId]) -> Result<DesiredAuth, Fault> {
    if text == check::KEY {
        return Ok(DesiredAuth::Key { rule });
    }
    check::identity(text, users).map(DesiredAuth::Identity)
}

fn options(kind: TargetKind, doc: &EndpointDoc) -> EndpointOptions {
    match kind {
        TargetKind::EventHub | TargetKind::ServiceBusQueue | TargetKind::ServiceBusTopic => {
            EndpointOptions::None
        }
        TargetKind::StorageContainer => EndpointOptions::Storage(StorageOptions {
            encoding: doc.encoding.map(|encoding| encoding.word().to_owned()),
            batch_frequency_in_seconds: doc.batch_frequency_in_seconds,
            max_chunk_size_in_bytes: doc.max_chunk_size_in_bytes,
            file_name_format: doc.file_name_format.clone(),
        }),
        TargetKind::CosmosDbContainer => EndpointOptions::Cosmos(CosmosOptions {
            partition_key_name: doc.partition_key_name.clone(),
            partition_key_template: doc.partition_key_template.clone(),
        }),
    }
}

impl FileUploadTemplate {
    fn compile(doc: &FileUploadDoc, users: &[ResourceId]) -> Result<FileUploadTemplate, Fault> {
        let FileUploadDoc { container, identity, connection, sas_ttl, notifications } = doc;
        let NotificationsDoc { enabled, lock_duration, ttl, max_delivery_count } = notifications;
        Ok(FileUploadTemplate {
            container: Template::parse(TargetKind::StorageContainer, container)?,
            rest: FileUploadRest {
                auth: auth(identity, None, users)?,
                connection: (*connection).into(),
                sas_ttl: sas_ttl.as_ref().map(duration).transpose()?,
                notifications: Notifications {
                    enabled: *enabled,
                    lock_duration: lock_duration.as_ref().map(duration).transpose()?,
                    ttl: ttl.as_ref().map(duration).transpose()?,
                    max_delivery_count: *max_delivery_count,
                },
            },
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

fn desired_enrichment(doc: &EnrichmentDoc) -> DesiredEnrichment {
    let EnrichmentDoc { key, value, endpoints } = doc;
    DesiredEnrichment { key: key.0.clone(), value: value.clone(), endpoints: endpoints.clone() }
}
