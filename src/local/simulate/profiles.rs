//! Profiles that are drawn: documents without mistakes, and what they come to, said a second time.
//!
//! The invariants are held against what stands here, and not against what the planner says.

use std::collections::BTreeSet;

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use super::story::{MOST_HUBS, hub_name};

/// The subscription of the reference world.
pub(super) const SUBSCRIPTION: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
/// What a name begins with that a profile owns.
pub(super) const OWN: &str = "hw-";

/// The resource group of everything that hubs may send to.
pub(super) fn group() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-data")
}

/// A kind of target: the field of a profile, the list of a hub, what it is, and the role that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) field: &'static str,
    pub(super) list: &'static str,
    pub(super) below: &'static str,
    pub(super) role: &'static str,
}

const EVENT_HUB_SENDER: &str = "2b629674-e913-4c01-ae53-ef4638d8f975";
const SERVICE_BUS_SENDER: &str = "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39";
const BLOB_CONTRIBUTOR: &str = "ba92f5b4-2d11-453d-a403-e96b0029c9fe";
/// The role inside Cosmos DB accounts.
const COSMOS_CONTRIBUTOR: &str = "00000000-0000-0000-0000-000000000002";

/// Everything that hubs may send to.
pub(super) const TARGETS: [Target; 6] = [
    Target {
        field: "eventHub",
        list: "eventHubs",
        below: "Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry-westus2",
        role: EVENT_HUB_SENDER,
    },
    Target {
        field: "eventHub",
        list: "eventHubs",
        below: "Microsoft.EventHub/namespaces/ns1/eventhubs/alerts",
        role: EVENT_HUB_SENDER,
    },
    Target {
        field: "serviceBusQueue",
        list: "serviceBusQueues",
        below: "Microsoft.ServiceBus/namespaces/sb1/queues/commands",
        role: SERVICE_BUS_SENDER,
    },
    Target {
        field: "serviceBusTopic",
        list: "serviceBusTopics",
        below: "Microsoft.ServiceBus/namespaces/sb1/topics/changes",
        role: SERVICE_BUS_SENDER,
    },
    Target {
        field: "storageContainer",
        list: "storageContainers",
        below: "Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/archive",
        role: BLOB_CONTRIBUTOR,
    },
    Target {
        field: "cosmosDbContainer",
        list: "cosmosDBSqlContainers",
        below: "Microsoft.DocumentDB/databaseAccounts/egressdocs/sqlDatabases/fleet/containers/telemetry",
        role: COSMOS_CONTRIBUTOR,
    },
];

/// Where files are uploaded to.
pub(super) const UPLOADS: Target = Target {
    field: "container",
    list: "storageContainers",
    below: "Microsoft.Storage/storageAccounts/egressdata/blobServices/default/containers/uploads",
    role: BLOB_CONTRIBUTOR,
};

impl Target {
    pub(super) fn id(self) -> String {
        format!("{}/providers/{}", group(), self.below)
    }

    /// Where the role is granted.
    pub(super) fn scope(self, at_account: bool) -> String {
        let id = self.id();
        match id.split_once("/blobServices/") {
            Some((account, _)) if at_account => account.to_owned(),
            _ => id,
        }
    }

    /// The namespace or account that it lies in.
    fn account(self) -> String {
        let below: Vec<&str> = self.below.splitn(4, '/').take(3).collect();
        format!("{}/providers/{}", group(), below.join("/"))
    }

    /// Whether keys of it belong to authorization rules.
    pub(super) fn has_rules(self) -> bool {
        !matches!(self.field, "storageContainer" | "cosmosDbContainer")
    }

    /// The name of the container, of those in storage accounts.
    pub(super) fn container(self) -> &'static str {
        self.below.rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn is_cosmos(self) -> bool {
        self.role == COSMOS_CONTRIBUTOR
    }
}

/// The user-assigned identity of the reference world.
pub(super) fn user_identity() -> String {
    format!("{}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-egress", group())
}

/// A rule that each namespace has.
pub(super) const ROOT_RULE: &str = "RootManageSharedAccessKey";

/// What an endpoint authenticates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    System,
    User,
    Key,
}

impl Sender {
    fn word(self) -> &'static str {
        match self {
            Sender::System => "system",
            Sender::User => "id-egress",
            Sender::Key => "key",
        }
    }

    /// Whether this is how an endpoint of a hub authenticates.
    pub(super) fn is_of(self, endpoint: &Value) -> bool {
        let by_identity = endpoint["authenticationType"] == "identityBased";
        by_identity == (self != Sender::Key) && endpoint["identity"].is_object() == (self == Sender::User)
    }
}

/// One endpoint of a profile, with a route to it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) sender: Sender,
    pub(super) source: &'static str,
}

/// What a profile wants of a hub.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) system: bool,
    pub(super) user: bool,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) enrichments: Vec<String>,
    pub(super) file_upload: bool,
    pub(super) fallback: bool,
    pub(super) export: bool,
}

/// What the document says as a whole.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) profiles: Vec<Profile>,
    /// `guardrails.targets`.
    targets: Vec<String>,
    pub(super) removals: bool,
    pub(super) at_account: bool,
    pub(super) max_writes: u32,
    /// `guardrails.allowKeys`.
    keys: bool,
    /// `guardrails.allowImports`.
    pub(super) imports: Vec<String>,
}

impl Document {
    pub(super) fn draw(random: &mut StdRng) -> Self {
        let (count, keys) = (random.random_range(1..=3), random.random_bool(0.4));
        let profiles: Vec<Profile> = (0..count).map(|at| Profile::draw(random, at, keys)).collect();
        let targets = if random.random_bool(0.5) {
            vec![group()]
        } else {
            let needed = profiles.iter().flat_map(Profile::targets).map(Target::account);
            needed.collect::<BTreeSet<_>>().into_iter().collect()
        };
        Self {
            profiles,
            targets,
            removals: random.random_bool(0.6),
            at_account: random.random_bool(0.2),
            max_writes: random.random_range(2..=12),
            keys,
            imports: (0..MOST_HUBS).map(hub_name).filter(|_| random.random_bool(0.6)).collect(),
        }
    }

    /// Whether hubs may send there at all.
    pub(super) fn allows(&self, target: Target) -> bool {
        self.targets.iter().any(|scope| *scope == group() || *scope == target.account())
    }

    /// As it is written. JSON is YAML.
    pub(super) fn text(&self) -> String {
        let profiles: Vec<Value> = self.profiles.iter().map(Profile::json).collect();
        json!({
            "version": 1,
            "guardrails": {
                "subscriptions": [SUBSCRIPTION], "targets": self.targets, "allowRemovals": self.removals,
                "storageGrants": if self.at_account { "account" } else { "container" },
                "maxWritesPerHub": self.max_writes, "allowKeys": self.keys, "allowImports": self.imports,
            },
            "profiles": profiles,
        })
        .to_string()
    }
}

impl Profile {
    fn draw(random: &mut StdRng, at: usize, keys: bool) -> Self {
        let system = random.random_bool(0.75);
        let user = !system || random.random_bool(0.4);
        let count = random.random_range(1..=4);
        let targets: Vec<Target> = TARGETS.choose_multiple(random, count).copied().collect();
        let sources = ["DeviceMessages", "TwinChangeEvents", "DeviceLifecycleEvents"];
        let endpoint = |random: &mut StdRng, (nth, target)| Endpoint {
            name: format!("{OWN}{nth}"),
            target,
            sender: if keys && random.random_bool(0.3) {
                Sender::Key
            } else if user && (!system || random.random_bool(0.5)) {
                Sender::User
            } else {
                Sender::System
            },
            source: sources[random.random_range(0..sources.len())],
        };
        Self {
            name: format!("p{at}"),
            system,
            user,
            endpoints: targets.into_iter().enumerate().map(|one| endpoint(random, one)).collect(),
            enrichments: (0..random.random_range(0..3)).map(|nth| format!("{OWN}e{nth}")).collect(),
            file_upload: system && random.random_bool(0.25),
            fallback: random.random_bool(0.3),
            export: system && random.random_bool(0.3),
        }
    }

    fn json(&self) -> Value {
        let endpoint = |one: &Endpoint| {
            let mut endpoint =
                json!({"name": one.name, (one.target.field): one.target.id(), "as": one.sender.word()});
            if one.sender == Sender::Key && one.target.has_rules() {
                endpoint["keyRule"] = ROOT_RULE.into();
            }
            endpoint
        };
        let route = |one: &Endpoint| json!({"name": one.name, "source": one.source, "endpoint": one.name});
        let mut profile = json!({
            "name": self.name,
            "match": {"tags": {"egress": self.name}},
            "identity": {"system": if self.system { "on" } else { "unmanaged" }},
            "ownedPrefixes": [OWN],
            "endpoints": self.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "routes": self.endpoints.iter().map(route).collect::<Vec<_>>(),
            "enrichments": self.enrichments.iter()
                .map(|key| json!({"key": key, "value": "$iothubname", "endpoints": ["events"]})).collect::<Vec<_>>(),
        });
        if self.user {
            profile["identity"]["user"] = json!([user_identity()]);
        }
        if self.fallback {
            profile["fallback"] = "on".into();
        }
        if self.file_upload {
            profile["fileUpload"] = json!({"container": UPLOADS.id(), "as": "system", "sasTtl": "PT1H"});
        }
        if self.export {
            profile["exports"] = json!([{"name": "often", "schedule": "0 20 * * * *",
                "container": TARGETS[4].id(), "as": "system", "blobName": "{hub}-{time}.txt"}]);
        }
        profile
    }

    /// The roles that hubs of this profile need: target, and whether the user-assigned identity has it.
    pub(super) fn grants(&self) -> Vec<(Target, bool)> {
        let by_identity = self.endpoints.iter().filter(|one| one.sender != Sender::Key);
        let endpoints = by_identity.map(|one| (one.target, one.sender == Sender::User));
        let upload = self.file_upload.then_some((UPLOADS, false));
        let export = self.export.then_some((TARGETS[4], false));
        endpoints.chain(upload).chain(export).collect()
    }

    /// Everything that it names.
    fn targets(&self) -> impl Iterator<Item = Target> {
        self.endpoints.iter().map(|one| one.target).chain(self.grants().into_iter().map(|(target, _)| target))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::desired::DesiredState;

    #[test]
    fn documents_that_are_drawn_have_no_mistakes() {
        for seed in 0..200 {
            let text = Document::draw(&mut StdRng::seed_from_u64(seed)).text();
            DesiredState::parse(&text).unwrap_or_else(|mistakes| panic!("{seed}: {mistakes}\n{text}"));
        }
    }
}
