//! What has to hold: looked at in the simulated Azure and in what left the program, never asked of the planner.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Iso8601};
use uuid::Uuid;

use super::{
    log::Log,
    profiles::{Document, Profile, TARGETS, Target, UPLOADS, user_identity},
    story::{Story, hub_id, hub_name},
};
use crate::{
    desired::{DesiredState, digest_of},
    local::azure::Azure,
    outcomes::{Record, Word, id_of, id_of_request},
};

pub(super) const ONE_OUTCOME: &str = "one outcome";
pub(super) const CONVERGED: &str = "converged";
pub(super) const FOREIGN: &str = "nothing foreign changed";
pub(super) const GRANTS: &str = "no grant but the hub's";
pub(super) const JOBS: &str = "no job twice";
pub(super) const IMPORTS: &str = "no import but where it is allowed";
pub(super) const TRUTH: &str = "what is told is true";
pub(super) const SECRETS: &str = "no secret in any output";
pub(super) const WRITES: &str = "bounded writes";
pub(super) const NOTHING_LOST: &str = "nothing given up";

/// Writes of a hub in one look, at the most.
const EDITS_OF_A_LOOK: usize = 6;

/// Clocks of processes are right to a second, once Azure has told the time.
const CLOCKS_AGREE: time::Duration = time::Duration::seconds(2);

/// The grants that a story allows, and whom principals have ever belonged to.
pub(super) struct Grants {
    /// What the document allows to send to.
    targets: Vec<Target>,
    at_account: bool,
    owners: Mutex<BTreeMap<String, String>>,
}

impl Grants {
    pub(super) fn new(document: &Document) -> Self {
        let targets =
            TARGETS.into_iter().chain([UPLOADS]).filter(|target| document.allows(*target)).collect();
        Self { targets, at_account: document.at_account, owners: Mutex::default() }
    }

    fn owners(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn learn(&self, principals: &BTreeMap<String, String>) {
        let mut owners = self.owners();
        for (principal, owner) in principals {
            if !owners.contains_key(principal) {
                owners.insert(principal.clone(), owner.clone());
            }
        }
    }

    /// A grant is asked for: on a target, with its role, for a principal that was the named hub's.
    pub(super) fn asked(&self, log: &Log, path: &str, body: &Value) {
        let properties = &body["properties"];
        let text = |name: &str| properties[name].as_str().unwrap_or_default().to_ascii_lowercase();
        let role = text("roleDefinitionId").rsplit('/').next().unwrap_or_default().to_owned();
        let is_cosmos = path.contains("/sqlroleassignments/");
        let scope = match path.split_once("/providers/microsoft.authorization/") {
            Some((scope, _)) if !is_cosmos => scope.to_owned(),
            // Cosmos DB has its own words for what is inside an account.
            _ => text("scope").replace("/dbs/", "/sqldatabases/").replace("/colls/", "/containers/"),
        };
        let fits = |target: &Target| {
            target.is_cosmos() == is_cosmos
                && target.role == role
                && target.scope(self.at_account).eq_ignore_ascii_case(&scope)
        };
        if !self.targets.iter().any(fits) {
            log.broke(GRANTS, format!("role {role} on {scope}"));
        }
        let principal = text("principalId");
        let owners = self.owners();
        let Some(owner) = owners.get(&principal) else {
            return log.broke(GRANTS, format!("for {principal}, who is nobody"));
        };
        let claim = text("description");
        if !is_cosmos && !claim.contains(owner.as_str()) {
            log.broke(GRANTS, format!("for {principal} of {owner}, as `{claim}`"));
        }
    }
}

/// Everything that is known when a run is over.
pub(super) struct Ending<'a> {
    pub(super) story: &'a Story,
    pub(super) azure: &'a Azure,
    pub(super) log: &'a Log,
    pub(super) outcomes: &'a [Record],
    pub(super) dead: &'a [String],
    /// Texts that were put on the queue of requests.
    pub(super) asked: &'a BTreeSet<String>,
    /// The hubs that there are.
    pub(super) present: &'a BTreeSet<usize>,
    /// The blobs in which outcomes are kept.
    pub(super) blobs: &'a str,
}

impl Ending<'_> {
    pub(super) fn check(&self) {
        let state = self.azure.state();
        self.each_request_has_one_outcome();
        for text in self.dead {
            self.log.broke(NOTHING_LOST, text.chars().take(200).collect());
        }
        for hub in self.present {
            self.hub_is_as_its_profile_says(&state, *hub);
        }
        self.no_grant_outlives_its_principal(&state);
        self.no_job_came_twice(&state);
        self.a_job_that_is_told_of_was_done(&state);
        self.writes_are_bounded();
        self.no_secret_came_out();
    }

    fn each_request_has_one_outcome(&self) {
        let now = self.azure.now();
        let Ok(state) = DesiredState::parse(&self.story.document.text()) else { return };
        let mut known = BTreeSet::new();
        for text in self.asked {
            let json: Value = serde_json::from_str(text).unwrap_or_default();
            let id = match state.request(text, now) {
                Ok(_) => id_of_request(json["id"].as_str().unwrap_or_default(), digest_of(&json)),
                Err(_) => id_of(text),
            };
            known.insert(id);
            // What is refused as it comes in is told at once, even if that cannot be kept: then the time of another
            // copy is its own.
            let is_kept = self.log.was_kept(&id.to_string());
            let ends: BTreeSet<(Word, Option<OffsetDateTime>)> =
                self.told(id).map(|(word, at)| (word, is_kept.then_some(at))).collect();
            if ends.len() != 1 {
                self.log.broke(ONE_OUTCOME, format!("{} of {text}", ends.len()));
            }
        }
        for record in self.outcomes.iter().filter(|record| record.request.is_some()) {
            if !known.contains(&record.outcome_id) {
                self.log.broke(ONE_OUTCOME, format!("{:?} was asked by nobody", record.request));
            }
        }
    }

    fn told(&self, id: Uuid) -> impl Iterator<Item = (Word, OffsetDateTime)> {
        let ends = self.outcomes.iter().filter(move |record| record.outcome_id == id);
        ends.map(|record| (record.outcome, record.ended_at))
    }

    fn hub_is_as_its_profile_says(&self, state: &Value, hub: usize) {
        let profile = &self.story.document.profiles[self.story.hubs[hub]];
        let broke = |how: String| self.log.broke(CONVERGED, format!("{}: {how}", hub_name(hub)));
        let found = items(&state["hubs"]).find(|found| is(&found["id"], &hub_id(hub)));
        let Some(found) = found else { return broke("is not there".into()) };
        let properties = &found["properties"];
        if found["properties"]["state"] != "Active" {
            broke(format!("is {}", properties["state"]));
        }
        let kind = found["identity"]["type"].as_str().unwrap_or_default();
        if profile.system && !kind.contains("SystemAssigned") {
            broke("has no identity of its own".into());
        }
        let users = found["identity"]["userAssignedIdentities"].as_object();
        if profile.user
            && !users.is_some_and(|all| all.keys().any(|id| id.eq_ignore_ascii_case(&user_identity())))
        {
            broke("has not the user-assigned identity".into());
        }
        let routing = &properties["routing"];
        for want in &profile.endpoints {
            let endpoint =
                items(&routing["endpoints"][want.target.list]).find(|one| one["name"] == want.name);
            let is_there = endpoint.is_some_and(|one| want.sender.is_of(one));
            if !is_there {
                broke(format!("endpoint {} is {endpoint:?}", want.name));
            }
            let route = items(&routing["routes"]).find(|one| one["name"] == want.name);
            if !route.is_some_and(|one| one["source"] == want.source && one["endpointNames"][0] == want.name)
            {
                broke(format!("route {} is {route:?}", want.name));
            }
        }
        for key in &profile.enrichments {
            if !items(&routing["enrichments"]).any(|one| one["key"] == *key) {
                broke(format!("enrichment {key} is missing"));
            }
        }
        let upload = &properties["storageEndpoints"]["$default"];
        if profile.file_upload
            && (upload["containerName"] != "uploads" || upload["authenticationType"] != "identityBased")
        {
            broke("file upload is not set up".into());
        }
        self.hub_has_its_grants(state, found, profile, &broke);
    }

    fn hub_has_its_grants(&self, state: &Value, hub: &Value, profile: &Profile, broke: &dyn Fn(String)) {
        let own = hub["identity"]["principalId"].as_str().unwrap_or_default().to_owned();
        let user = self.azure.principals().into_iter().find(|(_, owner)| is_text(owner, &user_identity()));
        let user = user.map(|(principal, _)| principal).unwrap_or_default();
        for (target, as_user) in profile.grants() {
            let principal = if as_user { &user } else { &own };
            let list = if target.is_cosmos() { "cosmosRoleAssignments" } else { "roleAssignments" };
            let is_it = |grant: &&Value| {
                let scope = grant["properties"]["scope"].as_str().unwrap_or_default().to_ascii_lowercase();
                let scope = scope.replace("/dbs/", "/sqldatabases/").replace("/colls/", "/containers/");
                let role = grant["properties"]["roleDefinitionId"].as_str().unwrap_or_default();
                is(&grant["properties"]["principalId"], principal)
                    && role.to_ascii_lowercase().ends_with(target.role)
                    && is_text(&scope, &target.scope(self.story.document.at_account))
            };
            match items(&state[list]).filter(is_it).count() {
                1 => {}
                count => broke(format!("{count} grants on {}", target.below)),
            }
        }
    }

    fn no_grant_outlives_its_principal(&self, state: &Value) {
        let living = self.azure.principals();
        for grant in items(&state["roleAssignments"]) {
            let principal = grant["properties"]["principalId"].as_str().unwrap_or_default();
            if !living.contains_key(&principal.to_ascii_lowercase()) {
                let scope = &grant["properties"]["scope"];
                self.log.broke(GRANTS, format!("{principal} is dead and has a role on {scope}"));
            }
        }
    }

    fn no_job_came_twice(&self, state: &Value) {
        for (hub, jobs) in state["jobs"].as_object().into_iter().flatten() {
            let name = hub.rsplit('/').next().unwrap_or_default();
            let mut blobs: BTreeMap<(String, String), usize> = BTreeMap::new();
            for job in items(jobs) {
                self.log.say(format!(
                    "{:<10} {name} {}",
                    job["type"].as_str().unwrap_or("job"),
                    job["status"]
                ));
                if job["type"] == "import"
                    && !self.story.document.imports.iter().any(|one| is_text(one, name))
                {
                    self.log.broke(IMPORTS, format!("{hub}: {}", job["inputBlobName"]));
                }
                if job["status"] != "failed" && job["status"] != "cancelled" {
                    *blobs.entry((job["type"].to_string(), blob_of(job).to_string())).or_insert(0) += 1;
                }
            }
            for ((kind, blob), count) in blobs.into_iter().filter(|(_, count)| *count > 1) {
                self.log.broke(JOBS, format!("{hub}: {count} times {kind} of {blob}"));
            }
        }
    }

    /// Whoever is told that devices were exported or imported relies on it.
    fn a_job_that_is_told_of_was_done(&self, state: &Value) {
        for request in self.asked {
            let ask: Value = serde_json::from_str(request).unwrap_or_default();
            let kind = match ask["kind"].as_str() {
                Some("ExportDevices") => "export",
                Some("ImportDevices") => "import",
                _ => continue,
            };
            let jobs = state["jobs"].as_object().into_iter().flatten();
            let ends: Vec<OffsetDateTime> = jobs
                .filter(|(hub, _)| is(&ask["hub"], hub))
                .flat_map(|(_, jobs)| items(jobs))
                .filter(|job| job["type"] == kind && job["status"] == "completed")
                .filter(|job| *blob_of(job) == ask["blobName"])
                .filter_map(|job| OffsetDateTime::parse(job["ended"].as_str()?, &Iso8601::DEFAULT).ok())
                .collect();
            let id = id_of_request(ask["id"].as_str().unwrap_or_default(), digest_of(&ask));
            for (_, told) in self.told(id).filter(|(word, _)| *word == Word::Changed) {
                if !ends.iter().any(|end| *end <= told + CLOCKS_AGREE) {
                    self.log.broke(TRUTH, format!("no {kind} was complete at {told}, for {request}"));
                }
            }
        }
    }

    /// Each look tells what it wrote when it has ended, so what is forgotten is at the most what one look writes,
    /// each time that one could not tell: its process died, or a message or the outcome could not be kept.
    fn writes_are_bounded(&self) {
        let most = self.story.document.max_writes as usize + self.log.untold() * EDITS_OF_A_LOOK;
        for ((hub, _), times) in self.log.writes() {
            let within = |from: &OffsetDateTime| {
                times.iter().filter(|at| **at >= *from && **at - *from < time::Duration::HOUR).count()
            };
            let count = times.iter().map(within).max().unwrap_or_default();
            if count > most {
                self.log.broke(WRITES, format!("{hub}: {count} in an hour, and {most} are allowed"));
            }
        }
    }

    fn no_secret_came_out(&self) {
        let output = self.log.output_text();
        let mut secrets: BTreeSet<String> = self.azure.secrets().into_iter().collect();
        // Tokens are many, and all begin alike.
        let tokens: Vec<String> = secrets.iter().filter(|text| text.starts_with("eyJ")).cloned().collect();
        secrets.retain(|text| !text.starts_with("eyJ"));
        let begins = tokens.first().and_then(|token| token.split('.').next()).map(|head| format!("{head}."));
        for secret in secrets.iter().chain(&begins) {
            for (place, text) in [("output", output.as_str()), ("blobs", self.blobs)] {
                if let Some(at) = text.find(secret.as_str()) {
                    let before: String = text[..at].chars().rev().take(60).collect();
                    let before: String = before.chars().rev().collect();
                    self.log.broke(SECRETS, format!("in the {place}, after `{before}`"));
                }
            }
        }
    }
}

/// The blob that a job is about.
fn blob_of(job: &Value) -> &Value {
    if job["type"] == "import" { &job["inputBlobName"] } else { &job["outputBlobName"] }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is(value: &Value, text: &str) -> bool {
    value.as_str().is_some_and(|value| is_text(value, text))
}

fn is_text(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
