//! The rules of the desired-state document that its schema cannot express.
//!
//! Each rule looks at a [`Place`] and says nothing where the schema has already spoken, so that a
//! document with mistakes of both sorts gets all of them told at once. What is parsed here is parsed
//! again by [`super::resolve`], with the same functions, once the document has no mistakes.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

mod endpoints;
mod exports;
mod file_upload;
mod routing;

pub(super) use endpoints::reserved;

use super::{
    strict::{Mistake, Mistakes, Place, nearest, shown},
    targets::Fault,
};
use crate::model::{
    ResourceId,
    desired::{IdentityRef, StorageScope},
    duration::IsoDuration,
};

/// What `as` says for the system-assigned identity.
pub(super) const SYSTEM: &str = "system";
/// What `as` says for a key.
pub(super) const KEY: &str = "key";

/// The built-in endpoint that a route may lead to.
pub(super) const BUILT_IN: &str = "events";

/// Most globs that one document may have. Each is compiled, and a fleet's conditions are few.
const MAX_GLOBS: usize = 2000;

const USER_ASSIGNED: &str = "microsoft.managedidentity/userassignedidentities";
const USER_ASSIGNED_EXAMPLE: &str = "/subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>";

/// Checks a whole document.
pub(super) fn check(document: &Place<'_>, mistakes: &mut Mistakes) {
    check_all(document, false, mistakes);
}

/// Checks a document whose profiles are parts of one: their routes may lead to endpoints that a hub has
/// already.
pub(super) fn check_part(document: &Place<'_>, mistakes: &mut Mistakes) {
    check_all(document, true, mistakes);
}

fn check_all(document: &Place<'_>, is_part: bool, mistakes: &mut Mistakes) {
    let guardrails = guardrails(&document.field("guardrails"), mistakes);
    let profiles: Vec<Place<'_>> = document.field("profiles").items().collect();
    unique(profiles.iter().map(|profile| profile.field("name")), "profile", mistakes);
    let mut globs = 0;
    for place in &profiles {
        matching(&place.field("match"), &mut globs, mistakes);
        quiet_hours(&place.field("quietHours"), mistakes);
        profile(place, &guardrails, is_part, mistakes);
    }
}

/// Hours that end when they begin would be none, or all.
fn quiet_hours(place: &Place<'_>, mistakes: &mut Mistakes) {
    let (from, to) = (place.field("from"), place.field("to"));
    if let (Some(begin), Some(end)) = (from.text(), to.text())
        && begin == end
    {
        let message = format!("`{}` is when they begin, too", shown(end));
        mistakes.push(to.mistake(message, "write another time than in `from`"));
    }
}

/// What the guardrails say, as far as it could be read.
struct GuardrailsRead {
    /// The allowed targets, if all of them are good.
    targets: Option<Vec<ResourceId>>,
    storage: StorageScope,
    allows_keys: bool,
    /// In lower case.
    subscriptions: Vec<String>,
}

/// Ids without placeholders, if all of them are good.
fn scopes(list: &Place<'_>, mistakes: &mut Mistakes) -> Option<Vec<ResourceId>> {
    let mut scopes = Vec::new();
    let mut all = true;
    for scope in list.items() {
        match scope.text().map(ResourceId::parse) {
            Some(Ok(id)) => scopes.push(id),
            Some(Err(error)) => {
                let fix =
                    "write the id of a subscription, a resource group or a resource, without placeholders";
                mistakes.push(scope.mistake(error.to_string(), fix));
                all = false;
            }
            None => all = false,
        }
    }
    all.then_some(scopes)
}

fn guardrails(place: &Place<'_>, mistakes: &mut Mistakes) -> GuardrailsRead {
    let targets = scopes(&place.field("targets"), mistakes);
    scopes(&place.field("identities"), mistakes);
    duration(&place.field("grantWindow"), &GRANT_WINDOW, mistakes);
    let subscriptions = place.field("subscriptions").items();
    GuardrailsRead {
        targets: targets.filter(|_| place.exists()),
        storage: match place.field("storageGrants").text() {
            Some("account") => StorageScope::Account,
            _ => StorageScope::Container,
        },
        allows_keys: place.field("allowKeys").is_true(),
        subscriptions: subscriptions.filter_map(|item| Some(item.text()?.to_ascii_lowercase())).collect(),
    }
}

/// A range of durations, and how it is written.
struct Range {
    low: &'static str,
    high: &'static str,
}

/// What a grant may take to spread.
const GRANT_WINDOW: Range = Range { low: "PT5M", high: "PT2H" };

fn duration(place: &Place<'_>, range: &Range, mistakes: &mut Mistakes) {
    let Some(text) = place.text() else { return };
    let Range { low, high } = range;
    let fix = format!("write a duration from {low} to {high}, such as `{low}`");
    let seconds = |text: &str| IsoDuration::parse(text).map(|duration| duration.seconds());
    match seconds(text) {
        None => mistakes.push(place.mistake(format!("`{}` is not a duration in ISO 8601", shown(text)), fix)),
        Some(given) if Some(given) < seconds(low) || Some(given) > seconds(high) => {
            mistakes.push(place.mistake(format!("`{text}` is out of range"), fix));
        }
        Some(_) => {}
    }
}

fn matching(place: &Place<'_>, globs: &mut usize, mistakes: &mut Mistakes) {
    let lists = ["locations", "resourceGroups", "names"];
    let before = *globs;
    *globs += place.field("tags").fields().count();
    *globs += lists.iter().map(|list| place.field(list).items().count()).sum::<usize>();
    if *globs > MAX_GLOBS {
        if before <= MAX_GLOBS {
            let message = format!("the document has more than {MAX_GLOBS} conditions up to here");
            mistakes.push(place.mistake(message, "use globs that stand for several names"));
        }
        return;
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in place.field("tags").fields() {
        if let Some(first) = seen.insert(name.to_lowercase(), name) {
            let message =
                format!("tag names are compared without case, and `{}` is here already", shown(first));
            mistakes.push(value.mistake(message, "keep one of the two"));
        }
        if let Some(Err(fault)) = value.text().map(glob) {
            mistakes.push(at(&value, fault));
        }
    }
    for list in lists {
        for item in place.field(list).items() {
            let Some(text) = item.text() else { continue };
            if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
                let message = format!(
                    "`{}` (U+{:04X}) is never part of such a name",
                    shown(&c.to_string()),
                    u32::from(c)
                );
                mistakes.push(
                    item.mistake(message, "type the name again; some letters of other scripts look alike"),
                );
            } else if let Err(fault) = glob(text) {
                mistakes.push(at(&item, fault));
            }
        }
    }
}

/// What a profile's parts are checked against.
struct Around<'a> {
    /// The allowed targets, if all of them are good.
    scopes: Option<&'a [ResourceId]>,
    storage: StorageScope,
    allows_keys: bool,
    subscriptions: &'a [String],
    /// `identity.system`; `None` if it is not one of the words.
    system: Option<&'a str>,
    /// `identity.user`, if all of them are good.
    users: Option<&'a [ResourceId]>,
    /// Names of the profile's endpoints; `None` when nobody knows what was meant.
    endpoints: Option<Vec<&'a str>>,
}

fn profile(place: &Place<'_>, guardrails: &GuardrailsRead, is_part: bool, mistakes: &mut Mistakes) {
    let identity = place.field("identity");
    let users = users(&identity.field("user"), mistakes);
    detached(&identity.field("detach"), users.as_deref(), mistakes);
    let system = identity.field("system");
    let endpoints: Vec<Place<'_>> = place.field("endpoints").items().collect();
    let around = Around {
        scopes: guardrails.targets.as_deref(),
        storage: guardrails.storage,
        allows_keys: guardrails.allows_keys,
        subscriptions: &guardrails.subscriptions,
        // Absent means `unmanaged`. A word that is not allowed has been told already.
        system: if system.exists() { system.text() } else { Some("unmanaged") },
        users: users.as_deref(),
        endpoints: names(place, &endpoints).filter(|_| !is_part),
    };
    unique(endpoints.iter().map(|endpoint| endpoint.field("name")), "endpoint", mistakes);
    for endpoint in &endpoints {
        endpoints::endpoint(endpoint, &around, mistakes);
    }
    routing::routes(place, &around, mistakes);
    routing::enrichments(place, &around, mistakes);
    file_upload::file_upload(&place.field("fileUpload"), &around, mistakes);
    file_upload::cloud_to_device(&place.field("cloudToDevice"), mistakes);
    exports::exports(&place.field("exports"), &around, mistakes);
    unique(place.field("ownedPrefixes").items(), "prefix", mistakes);
}

/// Names of endpoints. With a nameless endpoint, or endpoints that could not be read, nobody knows what
/// was meant.
fn names<'a>(profile: &Place<'a>, endpoints: &[Place<'a>]) -> Option<Vec<&'a str>> {
    let names: Vec<&str> = endpoints.iter().filter_map(|endpoint| endpoint.field("name").text()).collect();
    let list = profile.field("endpoints");
    let all_named =
        names.len() == endpoints.len() && (!endpoints.is_empty() || !list.exists() || list.is_list());
    all_named.then_some(names)
}

/// Identities to detach: ids, and none that is to be attached too.
fn detached(place: &Place<'_>, users: Option<&[ResourceId]>, mistakes: &mut Mistakes) {
    for item in place.items() {
        match item.text().map(user) {
            Some(Ok(id)) if users.is_some_and(|users| users.contains(&id)) => {
                mistakes.push(item.mistake("this identity is in `identity.user` too", "keep one of the two"));
            }
            Some(Err(fault)) => mistakes.push(at(&item, fault)),
            Some(Ok(_)) | None => {}
        }
    }
}

/// Checks the user-assigned identities; they themselves, if all of them are good.
fn users(place: &Place<'_>, mistakes: &mut Mistakes) -> Option<Vec<ResourceId>> {
    let mut users: Vec<ResourceId> = Vec::new();
    let mut all = true;
    for item in place.items() {
        match item.text().map(user) {
            Some(Ok(id)) if users.contains(&id) => {
                mistakes.push(item.mistake("this identity is listed already", "drop the line"));
            }
            Some(Ok(id)) => users.push(id),
            Some(Err(fault)) => {
                mistakes.push(at(&item, fault));
                all = false;
            }
            None => all = false,
        }
    }
    all.then_some(users)
}

/// Names that differ by more than case.
fn unique<'a>(names: impl Iterator<Item = Place<'a>>, what: &str, mistakes: &mut Mistakes) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for place in names {
        let Some(name) = place.text() else { continue };
        match seen.get(&name.to_lowercase()) {
            Some(first) => {
                let message = format!(
                    "another {what} is named `{}` (names are compared without case), see {first}",
                    shown(name)
                );
                mistakes.push(place.mistake(message, "choose another name"));
            }
            None => {
                seen.insert(name.to_lowercase(), place.path().to_owned());
            }
        }
    }
}

pub(super) fn at(place: &Place<'_>, Fault { message, fix }: Fault) -> Mistake {
    place.mistake(message, fix)
}

/// Parses the id of a user-assigned identity.
pub(super) fn user(text: &str) -> Result<ResourceId, Fault> {
    let fix = format!("write {USER_ASSIGNED_EXAMPLE}");
    let id = ResourceId::parse(text).map_err(|error| Fault::new(error.to_string(), fix.clone()))?;
    let is_identity = id.resource_type().as_deref() == Some(USER_ASSIGNED)
        && id.resource_group().is_some()
        && id.key().split('/').count() == 9;
    if is_identity { Ok(id) } else { Err(Fault::new("this is not the id of a user-assigned identity", fix)) }
}

/// Finds the identity that an endpoint names: `system`, a listed id, or the name of just one of them.
pub(super) fn identity(text: &str, users: &[ResourceId]) -> Result<IdentityRef, Fault> {
    if text == SYSTEM {
        return Ok(IdentityRef::System);
    }
    let fits =
        |id: &&ResourceId| id.key() == text.to_ascii_lowercase() || id.name().eq_ignore_ascii_case(text);
    let mut found = users.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(IdentityRef::User(id.clone())),
        (Some(_), Some(_)) => Err(Fault::new(
            format!("several identities in `identity.user` are named `{}`", shown(text)),
            "write the full id",
        )),
        (None, _) => {
            let message =
                format!("`{}` is neither `system` nor in the profile's `identity.user`", shown(text));
            let names = users.iter().map(ResourceId::name).chain(["system"]);
            let fix = match nearest(text, names) {
                Some(near) => format!("write `{near}`"),
                None => "write `system`, or add the identity's id to `identity.user`".to_owned(),
            };
            Err(Fault::new(message, fix))
        }
    }
}

/// Compiles a glob. Values are names and not paths, so `*` stands for any text.
pub(super) fn glob(text: &str) -> Result<GlobMatcher, Fault> {
    let glob =
        GlobBuilder::new(text).case_insensitive(true).literal_separator(false).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| {
        Fault::new(
            format!("`{}` is not a glob: {}", shown(text), error.kind()),
            "write `*`, `?`, `[a-z]` and `{one,two}`, with `\\` before a character that is meant as it stands",
        )
    })
}
