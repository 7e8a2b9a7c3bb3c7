//! The az CLI changed real hubs, and what it read and wrote was recorded. From what it read, wanting
//! what it wanted, our PUT has the same `identity`, `routing` and `storageEndpoints`.
//!
//! Keys aside, these are the differences, each on purpose:
//!
//! - az sends names of sources in lower case; we send them as the service spells them.
//! - az leaves `authenticationType: keyBased` out, which absent means; we write it.
//! - az echoes `identity.principalId` and `tenantId`; they are read-only and we leave them out.
//! - az leaves members out that no longer apply; we write null over them, as the service asks for.
//! - File upload with a key is not something that Hubward sets up, so where az did, the file-upload
//!   entry is not compared; nor where az removed it.
//! - Names of key-based endpoints' targets stand in the connection string only; both say the same.

use std::collections::BTreeMap;

use hubward::{
    model::{
        ResourceId,
        desired::{
            CloudToDevice, Connection, DesiredAuth, DesiredEndpoint, DesiredEnrichment, DesiredFileUpload,
            DesiredHub, DesiredIdentity, DesiredRoute, EndpointOptions, Guardrails, IdentityRef,
            Notifications, StorageOptions, StorageScope, Switch, Target,
        },
        duration::IsoDuration,
        hub::{EndpointAuth, EndpointView, HubDocument, Secrets, Slot},
        observed::{Grant, HeldRole, Network, ObservedHub, ObservedTarget, TargetFacts},
    },
    plan::{Step, plan},
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, macros::datetime};

use crate::support::fixtures;

const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);

#[test]
fn from_what_az_read_we_write_what_az_wrote() {
    let sessions = fixtures("sessions");
    assert!(sessions.len() > 10);
    for (name, session) in sessions {
        same_write(&name, &session["read"], &session["written"]);
    }
}

/// Every hub write of the wider collection, where a checkout has it beside the repository.
#[test]
#[expect(clippy::print_stdout, reason = "says that it was skipped")]
fn every_recorded_write_at_hand_is_ours_too() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    let Ok(text) = std::fs::read_to_string(folder.join("sequences.json")) else {
        println!("skipped: no collection of recordings beside this checkout");
        return;
    };
    let sequences: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for (_, files) in sequences.into_iter().filter(|(name, _)| name.starts_with("azcli")) {
        let mut read: Option<Value> = None;
        for file in files {
            let record: Value =
                serde_json::from_str(&std::fs::read_to_string(folder.join(&file)).unwrap()).unwrap();
            let json = |member: &str| {
                record[member].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
            };
            let url = record["url"].as_str().or(record["uri"].as_str()).unwrap_or_default();
            let path: Vec<&str> = url.split('?').next().unwrap_or_default().rsplit('/').collect();
            if !path.get(1).is_some_and(|kind| kind.eq_ignore_ascii_case("iothubs")) {
                continue;
            }
            match record["method"].as_str() {
                Some("GET") => read = json("responseBody").filter(|hub| hub["properties"].is_object()),
                Some("PUT") if record["status"] == 201 => {
                    let Some((read, written)) = read.as_ref().zip(json("requestBody")) else { continue };
                    // A PUT without an etag makes a hub, which is not ours to do.
                    if written["properties"]["routing"].is_object() && written["etag"].is_string() {
                        same_write(&file, read, &written);
                        compared += 1;
                    }
                }
                _ => {}
            }
        }
    }
    assert!(compared > 25, "only {compared} writes were compared");
}

fn same_write(name: &str, read: &Value, written: &Value) {
    let before = HubDocument::from_json(read.clone()).unwrap();
    let wanted = wanted(&before, written);
    let body = ours(name, &before, &wanted);
    let parts = |hub: &Value| {
        let mut parts = json!({
            "identity": hub["identity"], "routing": hub["properties"]["routing"],
            "fileUpload": hub["properties"]["storageEndpoints"]["$default"],
        });
        if wanted.file_upload.is_none() {
            parts["fileUpload"] = Value::Null;
        }
        normal(&mut parts);
        parts
    };
    let (ours, theirs) = (parts(&body), parts(written));
    assert_eq!(ours, theirs, "{name}:\n{ours:#}\nand az:\n{theirs:#}");
}

/// Plans and writes until nothing is left to write; the last body.
fn ours(name: &str, before: &HubDocument, wanted: &Wanted) -> Value {
    let guardrails = Guardrails {
        subscriptions: vec![before.id().subscription().to_owned()],
        targets: wanted
            .desired
            .uses()
            .map(|used| used.target.id().clone())
            .chain(wanted.keyed.clone())
            .collect(),
        identities: Vec::new(),
        allow_removals: true,
        allow_keys: true,
        allow_imports: Vec::new(),
        storage_grants: StorageScope::Container,
        max_hubs_changed: 1,
        max_writes_per_hub: 10,
        grant_window: IsoDuration::parse("PT15M").unwrap(),
        reserved: None,
    };
    let mut document = before.clone();
    for _ in 0..4 {
        let observed = observed(document.clone(), wanted);
        let plan = plan(&wanted.desired, &observed, &guardrails, NOW);
        assert!(plan.blocked.is_empty(), "{name}: {plan}");
        let Some(step) = plan.steps.first() else {
            return Value::Object(document.json().clone());
        };
        let Step::EditHub { edit } = step else { panic!("{name}: {plan}") };
        let body = edit.put_body(&document, &wanted.secrets).unwrap().json;
        let mut after = body.clone();
        for member in ["id", "name", "type"] {
            after[member] = before.json()[member].clone();
        }
        if after["identity"]["type"].as_str().is_some_and(|word| word.contains("SystemAssigned")) {
            let principal = before.identity().system_principal.unwrap_or_else(|| "s".to_owned());
            after["identity"]["principalId"] = principal.into();
        }
        document = HubDocument::from_json(after).unwrap();
    }
    panic!("{name}: it never ends");
}

struct Wanted {
    desired: DesiredHub,
    secrets: Secrets,
    /// Targets of endpoints with keys.
    keyed: Vec<ResourceId>,
    file_upload: Option<()>,
    users: Vec<ResourceId>,
}

/// What az wanted, read off what it wrote.
fn wanted(before: &HubDocument, written: &Value) -> Wanted {
    let mut written = written.clone();
    for member in ["id", "name", "type"] {
        written[member] = before.json()[member].clone();
    }
    let after = HubDocument::from_json(written).unwrap();
    let identity = after.identity();
    let users: Vec<ResourceId> = identity.user_assigned.keys().cloned().collect();
    let mut secrets = Secrets::default();
    let mut keyed = Vec::new();
    let found = before.endpoints();
    let endpoints = after.endpoints().into_iter().filter_map(|endpoint| {
        let target = endpoint.target(before.id())?;
        let auth = match endpoint.auth() {
            EndpointAuth::Identity(identity) => DesiredAuth::Identity(identity),
            // One that was there and stays is not ours.
            _ if found.iter().any(|have| have.is_named(endpoint.name)) => return None,
            _ => {
                let text = endpoint.text("connectionString").unwrap().to_owned();
                secrets.add(Slot::Endpoint(endpoint.name.into()), [("connectionString", text)]);
                keyed.push(target.id().clone());
                let rule = endpoint.connection_part("SharedAccessKeyName").map(str::to_owned);
                DesiredAuth::Key { rule }
            }
        };
        let options = options(&endpoint, &target);
        Some(DesiredEndpoint { name: endpoint.name.into(), target, auth, options })
    });
    let endpoints: Vec<_> = endpoints.collect();
    let upload = after.file_upload().and_then(|upload| match upload.auth() {
        EndpointAuth::Identity(identity) => Some((upload, identity)),
        _ => None,
    });
    let file_upload = upload.map(|(upload, identity)| DesiredFileUpload {
        container: Target::StorageContainer(
            ResourceId::parse(&format!(
                "/subscriptions/{}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/{}/blobServices/default/containers/{}",
                before.id().subscription(),
                upload.account().unwrap(),
                upload.text("containerName").unwrap()
            ))
            .unwrap(),
        ),
        auth: DesiredAuth::Identity(identity),
        connection: Connection::IdentityOnly,
        sas_ttl: upload.text("sasTtlAsIso8601").and_then(IsoDuration::parse),
        notifications: Notifications::default(),
    });
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    Wanted {
        file_upload: file_upload.as_ref().map(|_| ()),
        keyed,
        secrets,
        users: users.clone(),
        desired: DesiredHub {
            hub: before.id().clone(),
            profile: "az".into(),
            identity: DesiredIdentity {
                system: if identity.system_assigned { Switch::On } else { Switch::Off },
                user: users,
                detach: Vec::new(),
                detach_others: true,
            },
            endpoints,
            routes: after
                .routes()
                .into_iter()
                .map(|route| DesiredRoute {
                    name: route.name.into(),
                    source: route.source().into(),
                    condition: route.condition().into(),
                    endpoint: route.endpoints()[0].into(),
                    enabled: route.is_enabled(),
                })
                .collect(),
            fallback: match after.fallback() {
                Some(true) => Switch::On,
                Some(false) => Switch::Off,
                None => Switch::Unmanaged,
            },
            enrichments: after
                .enrichments()
                .into_iter()
                .map(|one| DesiredEnrichment {
                    key: one.key.into(),
                    value: one.value().into(),
                    endpoints: names(one.endpoints()),
                })
                .collect(),
            file_upload,
            cloud_to_device: CloudToDevice::default(),
            exports: Vec::new(),
            owned: Vec::new(),
            revoke_unneeded: false,
            owned_prefixes: gone(before, &after),
            allow_target_hosts: false,
        },
    }
}

fn options(endpoint: &EndpointView<'_>, target: &Target) -> EndpointOptions {
    if !matches!(target, Target::StorageContainer(_)) {
        return EndpointOptions::None;
    }
    let number = |name: &str| endpoint.member(name).and_then(Value::as_u64).map(|n| n as u32);
    EndpointOptions::Storage(StorageOptions {
        encoding: endpoint.text("encoding").map(str::to_owned),
        batch_frequency_in_seconds: number("batchFrequencyInSeconds"),
        max_chunk_size_in_bytes: number("maxChunkSizeInBytes"),
        file_name_format: endpoint.text("fileNameFormat").map(str::to_owned),
    })
}

/// Names that were there and went: az removed them, so they are taken to be ours.
fn gone(before: &HubDocument, after: &HubDocument) -> Vec<String> {
    let names = |hub: &HubDocument| {
        let endpoints = hub.endpoints().into_iter().map(|one| one.name.to_owned());
        let routes = hub.routes().into_iter().map(|one| one.name.to_owned());
        let enrichments = hub.enrichments().into_iter().map(|one| one.key.to_owned());
        endpoints.chain(routes).chain(enrichments).collect::<Vec<_>>()
    };
    let left = names(after);
    names(before).into_iter().filter(|name| !left.contains(name)).collect()
}

/// Everything that az sent to is there, granted long ago.
fn observed(hub: HubDocument, wanted: &Wanted) -> ObservedHub {
    let principal = |identity: &IdentityRef| match identity {
        IdentityRef::System => hub.identity().system_principal.unwrap_or_else(|| "s".into()),
        IdentityRef::User(id) => id.name().to_owned(),
    };
    let grants = wanted.desired.uses().map(|used| Grant {
        id: used.target.id().to_string(),
        scope: used.target.id().clone(),
        role: HeldRole::Ours(used.target.role()),
        principal: principal(used.identity),
        is_conditional: false,
        created_on: Some(NOW - Duration::DAY),
        description: None,
    });
    let facts = |target: &Target| {
        let service = target.service().unwrap();
        let uri = match target {
            Target::StorageContainer(_) => format!("https://{}.blob.core.windows.net/", service.name()),
            _ => format!("sb://{}.servicebus.windows.net", service.name()),
        };
        ObservedTarget::Found(TargetFacts {
            endpoint_uri: uri,
            entity: target.id().name().into(),
            network: Network::Open,
            takes_keys: true,
        })
    };
    let endpoints = wanted.desired.endpoints.iter().map(|endpoint| &endpoint.target);
    let upload = wanted.desired.file_upload.iter().map(|upload| &upload.container);
    ObservedHub {
        grants: grants.collect(),
        targets: endpoints.chain(upload).map(|target| (target.id().clone(), facts(target))).collect(),
        user_identities: wanted.users.iter().map(|id| (id.clone(), Some(id.name().to_owned()))).collect(),
        readable: Default::default(),
        assignments_left: Default::default(),
        hub,
    }
}

/// Takes out what is not a difference; see the top of this file.
fn normal(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| {
                !member.is_null() && !["principalId", "tenantId", "clientId"].contains(&name.as_str())
            });
            // Absent means this.
            members.retain(|name, member| name != "authenticationType" || *member != json!("keyBased"));
            // Unlike absent, an empty list of enrichments is what a removal leaves.
            members.retain(|name, member| name != "enrichments" || *member != json!([]));
            for (name, member) in members.iter_mut() {
                match member {
                    Value::String(text) if ["source", "encoding"].contains(&name.as_str()) => {
                        *text = text.to_ascii_lowercase();
                    }
                    Value::String(text) if name == "connectionString" => *text = without_key(text),
                    _ => normal(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normal),
        _ => {}
    }
}

fn without_key(text: &str) -> String {
    let mut parts: Vec<&str> = text.split(';').filter(|part| !part.contains("Key=")).collect();
    parts.sort_unstable();
    parts.join(";")
}
