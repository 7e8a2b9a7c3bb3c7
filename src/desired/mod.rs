//! The desired-state document (`profiles.yaml`): parsed strictly, then asked hub by hub.
//!
//! ```text
//! text ──strict──► values with positions ──profiles (schema), check (rules)──► DesiredState
//! DesiredState + HubFacts ──resolve──► Choice: what this hub should be, or why nothing is said
//! ```
//!
//! Every mistake is reported at once, each with its line, its path and the fix. A document that has
//! been parsed can still refuse a hub: placeholders are filled in per hub, and what comes out is
//! checked against the guardrails again.
//!
//! ```
//! use hubward::{
//!     desired::{Choice, DesiredState, HubFacts, sample},
//!     model::IotHubId,
//! };
//!
//! let state = DesiredState::parse(sample())?;
//! let hub = IotHubId::parse(
//!     "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg-iot/providers/Microsoft.Devices/IotHubs/hub1",
//! )?;
//! let facts = HubFacts::new(&hub, "West US 2", [("egress", "standard")]);
//! let Choice::Desired(want) = state.for_hub(&facts) else { panic!("the sample is for this hub") };
//! assert_eq!(want.endpoints[0].target.id().name(), "telemetry-westus2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The reference for authors is `docs/profiles.md`.

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use serde::{Serialize, Serializer};

use crate::{
    model::{
        IotHubId, ResourceId,
        desired::{DesiredHub, Guardrails, ReservedContainer},
        hub::{EndpointKind, HubDocument},
    },
    schedule::Ncrontab,
};

mod check;
mod demand;
mod exports;
mod former;
mod guardrails;
mod profiles;
mod quiet;
mod request;
mod resolve;
pub mod strict;
mod targets;

pub use demand::{Demand, TargetDemand};
pub use quiet::QuietHours;
pub use request::{Request, RequestKind, Wanted, digest_of, json_schema as request_schema};
pub use strict::{Mistake, Mistakes};

use profiles::ProfilesDoc;
use resolve::Profile;
use strict::{Document, Schema};

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<ProfilesDoc>);

/// The JSON Schema of the document, for editors and for `hubward schema profiles`.
pub fn json_schema() -> serde_json::Value {
    SCHEMA.value().clone()
}

/// A commented document to start from.
pub fn sample() -> &'static str {
    include_str!("../../profiles.sample.yaml")
}

/// The reference hub: two event hubs, a queue, a topic, a container and file upload, all with the hub's
/// own identity. What `hubward demo` plays and `hubward bench onboard` counts.
pub fn reference() -> &'static str {
    include_str!("../../profiles.reference.yaml")
}

/// What the fleet should be: a document that was parsed and has no mistakes.
///
/// Serializes as the document itself, with every default written out.
#[derive(Debug, Clone)]
pub struct DesiredState {
    document: ProfilesDoc,
    guardrails: Guardrails,
    profiles: Vec<Profile>,
}

impl DesiredState {
    /// Parses and checks a YAML document.
    ///
    /// # Errors
    /// Every mistake in it, in the order of the text.
    pub fn parse(text: &str) -> Result<DesiredState, Mistakes> {
        let document = Document::from_yaml(text)?;
        let root = document.root();
        let mut mistakes = SCHEMA.check(&document);
        check::check(&root, &mut mistakes);
        mistakes.or(())?;
        let document: ProfilesDoc = SCHEMA.read(&document)?;
        // What `check` let pass compiles; should the two ever disagree, it is told and not ignored.
        let late = |path: String, fault: targets::Fault| {
            Mistakes::from(Mistake { at: None, path, message: fault.message, fix: fault.fix })
        };
        let guardrails = guardrails::guardrails(&document.guardrails)
            .map_err(|fault| late("guardrails".to_owned(), fault))?;
        let profiles = document.profiles.iter().enumerate().map(|(index, profile)| {
            Profile::compile(index, profile).map_err(|fault| late(format!("profiles[{index}]"), fault))
        });
        let profiles = profiles.collect::<Result<_, _>>()?;
        Ok(DesiredState { document, guardrails, profiles })
    }

    /// The same, where this container is the app's own and no target for anybody.
    #[must_use]
    pub fn reserving(mut self, container: Option<ReservedContainer>) -> Self {
        self.guardrails.reserved = container;
        self
    }

    /// What keeps a run small and in its place.
    pub fn guardrails(&self) -> &Guardrails {
        &self.guardrails
    }

    /// The names of the profiles, in the document's order.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(Profile::name)
    }

    /// The profile that is for the hub of this document, whether or not it can be used for it.
    pub fn profile_of(&self, hub: &HubDocument) -> Option<&str> {
        let matches = |facts: &HubFacts<'_>| self.profiles.iter().find(|profile| profile.matches(facts));
        with_facts(hub, matches).filter(|_| self.guardrails.allows_hub(hub.id())).map(Profile::name)
    }

    /// Whether the hubs of the profile of this name are changed by campaigns and requests alone.
    pub fn is_by_campaign(&self, profile: &str) -> bool {
        self.profiles.iter().any(|known| known.name() == profile && known.is_by_campaign())
    }

    /// Whether a hub of the profile of this name that was in order is only reported when it differs.
    pub fn reports_drift(&self, profile: &str) -> bool {
        self.profiles.iter().any(|known| known.name() == profile && known.reports_drift())
    }

    /// When hubs of the profile of this name are not repaired.
    pub fn quiet_hours(&self, profile: &str) -> Option<&QuietHours> {
        self.profiles.iter().find(|known| known.name() == profile)?.quiet_hours()
    }

    /// Whether it matters for any profile that a hub was in order before.
    pub fn asks_for_the_past(&self) -> bool {
        self.profiles.iter().any(|profile| profile.reports_drift() || profile.quiet_hours().is_some())
    }

    /// What the hub of this document should be.
    pub fn for_document(&self, hub: &HubDocument) -> Choice {
        with_facts(hub, |facts| self.for_hub(facts))
    }

    /// What all profiles together ask for, before any hub has filled in its names.
    pub fn demand(&self) -> Demand {
        Demand::of(&self.profiles, &self.guardrails)
    }

    /// The Cosmos DB accounts that the guardrails or the profiles name, and whether those are all: profiles may
    /// name others with placeholders.
    pub fn cosmos_accounts(&self) -> (BTreeSet<ResourceId>, bool) {
        let named = self.guardrails.targets.iter().filter_map(ResourceId::cosmos_account);
        let mut accounts: BTreeSet<ResourceId> = named.collect();
        let mut is_all = true;
        let templates = self.profiles.iter().flat_map(Profile::sends).map(|sends| sends.template);
        for template in
            templates.filter(|template| template.kind().endpoint_kind() == EndpointKind::CosmosDbContainer)
        {
            // An id with its nine parts up to the account's name.
            let text = template.text().split('/').take(9).collect::<Vec<_>>().join("/");
            match ResourceId::parse(&text) {
                Ok(id) => accounts.extend(id.cosmos_account()),
                Err(_) => is_all = false,
            }
        }
        (accounts, is_all)
    }

    /// The schedules of all exports: when none of them is due, no hub has to be looked at.
    pub fn export_schedules(&self) -> impl Iterator<Item = &Ncrontab> {
        self.exports().map(|(_, _, schedule)| schedule)
    }

    /// The exports of all profiles: the profile, the export's name, and when.
    pub fn exports(&self) -> impl Iterator<Item = (&str, &str, &Ncrontab)> {
        self.profiles.iter().flat_map(|profile| {
            profile.exports().iter().map(|export| (profile.name(), export.name(), &export.schedule))
        })
    }

    /// What one hub should be. The first profile that matches it decides, alone.
    pub fn for_hub(&self, facts: &HubFacts<'_>) -> Choice {
        if !self.guardrails.allows_hub(facts.id) {
            return Choice::OutOfScope;
        }
        match self.profiles.iter().find(|profile| profile.matches(facts)) {
            Some(profile) => profile.resolve(facts, &self.guardrails),
            None => Choice::NoProfile,
        }
    }
}

impl Serialize for DesiredState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

/// The facts of a hub that was read.
fn with_facts<T>(hub: &HubDocument, ask: impl FnOnce(&HubFacts<'_>) -> T) -> T {
    let tags = hub.tags();
    let tags = tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    ask(&HubFacts::new(hub.id(), hub.location(), tags))
}

/// What profiles are matched with: facts that every hub shows when it is read.
#[derive(Debug, Clone)]
pub struct HubFacts<'a> {
    /// The hub.
    pub id: &'a IotHubId,
    /// Its region, as `West US 2` or as `westus2`.
    pub location: &'a str,
    /// Its tags, as name and value.
    pub tags: Vec<(&'a str, &'a str)>,
}

impl<'a> HubFacts<'a> {
    /// The facts of one hub.
    pub fn new(
        id: &'a IotHubId,
        location: &'a str,
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> HubFacts<'a> {
        HubFacts { id, location, tags: tags.into_iter().collect() }
    }
}

/// What the document says about one hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::large_enum_variant, reason = "made once for each look and taken apart at once")]
pub enum Choice {
    /// It should be this.
    Desired(DesiredHub),
    /// No profile matches: the hub is left as it is.
    NoProfile,
    /// Its subscription is not in the guardrails: the hub is not touched.
    OutOfScope,
    /// A profile matches and cannot be used for this hub. Never empty.
    Refused(Vec<Refusal>),
}

impl Choice {
    /// Why there is nothing desired, in words.
    pub fn causes(&self) -> Vec<String> {
        match self {
            Choice::Desired(_) => Vec::new(),
            Choice::NoProfile => vec!["no profile matches the hub".to_owned()],
            Choice::OutOfScope => {
                vec!["the hub's subscription is not in guardrails.subscriptions".to_owned()]
            }
            Choice::Refused(refusals) => refusals.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Why a profile cannot be used for one hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The profile that matched.
    pub profile: String,
    /// The field, such as `profiles[0].endpoints[1].eventHub`.
    pub field: String,
    /// The value: with its placeholders filled in, if that was possible.
    pub value: String,
    /// The guardrail that refuses it, if it is one.
    pub guardrail: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub fix: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { profile, field, value, guardrail, message, fix } = self;
        write!(f, "profile {profile}, {field}: `{value}`: {message}")?;
        if let Some(guardrail) = guardrail {
            write!(f, " `{guardrail}`")?;
        }
        write!(f, "; fix: {fix}")
    }
}

#[cfg(test)]
mod tests;
