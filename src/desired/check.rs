//! The rules of the desired-state document that its schema cannot express.
//!
//! Each rule looks at a [`Place`] and says nothing where the schema has already spoken, so that a
//! document with mistakes of both sorts gets all of them told at once. What is parsed here is parsed
//! again by [`super::resolve`], with the same functions, once the document has no mistakes.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

use super::{
    strict::{Mistake, Mistakes, Place, nearest, shown},
    targets::{Fault, TargetKind, Template},
};
use crate::model::{ResourceId, desired::IdentityRef};

/// The built-in endpoint that a route may lead to.
pub(super) const BUILT_IN: &str = "events";

/// Names that the service keeps for itself.
const RESERVED: [&str; 4] = [BUILT_IN, "fileNotifications", "operationsMonitoringEvents", "$default"];

/// The message sources known today.
pub(super) const SOURCES: [&str; 7] = [
    "DeviceMessages",
    "TwinChangeEvents",
    "DeviceLifecycleEvents",
    "DeviceJobLifecycleEvents",
    "DeviceConnectionStateEvents",
    "DigitalTwinChangeEvents",
    "MqttBrokerMessages",
];

/// A source that the service's model lists and that no route can have.
const INVALID_SOURCE: &str = "Invalid";

/// Most globs that one document may have. Each is compiled, and a fleet's conditions are few.
const MAX_GLOBS: usize = 2000;

const USER_ASSIGNED: &str = "microsoft.managedidentity/userassignedidentities";
const USER_ASSIGNED_EXAMPLE: &str = "/subscriptions/<guid>/resourceGroups/<group>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>";

/// Checks a whole document.
pub(super) fn check(document: &Place<'_>, mistakes: &mut Mistakes) {
    let scopes = guardrails(&document.field("guardrails"), mistakes);
    let profiles: Vec<Place<'_>> = document.field("profiles").items().collect();
    unique(profiles.iter().map(|profile| profile.field("name")), "profile", mistakes);
    let mut globs = 0;
    for place in &profiles {
        matching(&place.field("match"), &mut globs, mistakes);
        profile(place, scopes.as_deref(), mistakes);
    }
}

/// Checks the guardrails; the allowed targets, if all of them are good.
fn guardrails(place: &Place<'_>, mistakes: &mut Mistakes) -> Option<Vec<ResourceId>> {
    let mut scopes = Vec::new();
    let mut all = true;
    for target in place.field("targets").items() {
        match target.text().map(ResourceId::parse) {
            Some(Ok(id)) => scopes.push(id),
            Some(Err(error)) => {
                let fix =
                    "write the id of a subscription, a resource group or a resource, without placeholders";
                mistakes.push(target.mistake(error.to_string(), fix));
                all = false;
            }
            None => all = false,
        }
    }
    (all && place.exists()).then_some(scopes)
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

fn profile(place: &Place<'_>, scopes: Option<&[ResourceId]>, mistakes: &mut Mistakes) {
    let identity = place.field("identity");
    let users = users(&identity.field("user"), mistakes);
    let system = identity.field("system");
    // Absent means `unmanaged`. A word that is not allowed has been told already.
    let system_word = if system.exists() { system.text() } else { Some("unmanaged") };

    let endpoints: Vec<Place<'_>> = place.field("endpoints").items().collect();
    unique(endpoints.iter().map(|endpoint| endpoint.field("name")), "endpoint", mistakes);
    for endpoint in &endpoints {
        reserved(&endpoint.field("name"), mistakes);
        sends_as(&endpoint.field("as"), system_word, users.as_deref(), mistakes);
        for kind in TargetKind::ALL {
            sends_to(kind, &endpoint.field(kind.field()), scopes, mistakes);
        }
    }
    routes(place, &endpoints, mistakes);
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

fn reserved(place: &Place<'_>, mistakes: &mut Mistakes) {
    let Some(name) = place.text() else { return };
    if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
        let message = format!("`{name}` is a name that the service keeps for itself");
        mistakes.push(place.mistake(message, "choose another name"));
    }
}

fn sends_as(
    place: &Place<'_>,
    system_word: Option<&str>,
    users: Option<&[ResourceId]>,
    mistakes: &mut Mistakes,
) {
    let Some(text) = place.text() else { return };
    if text == "system" {
        if let Some(word @ ("off" | "unmanaged")) = system_word {
            mistakes.push(place.mistake(
                format!("this sends with the system-assigned identity, and the profile's `identity.system` is `{word}`"),
                "write `system: on` under the profile's `identity`",
            ));
        }
        return;
    }
    match (identity(text, users.unwrap_or_default()), users) {
        (Ok(_), _) => {}
        (Err(fault), Some(_)) => mistakes.push(at(place, fault)),
        // Some of the identities could not be read, and this may be one of them.
        (Err(fault), None) if nearest(text, ["system"]).is_some() => mistakes.push(at(place, fault)),
        (Err(_), None) => {}
    }
}

fn sends_to(kind: TargetKind, place: &Place<'_>, scopes: Option<&[ResourceId]>, mistakes: &mut Mistakes) {
    let Some(text) = place.text() else { return };
    let template = match Template::parse(kind, text) {
        Ok(template) => template,
        Err(fault) => return mistakes.push(at(place, fault)),
    };
    let Some(scopes) = scopes else { return };
    if !scopes.iter().any(|scope| template.could_be_within(scope)) {
        mistakes.push(place.mistake(
            "this is outside `guardrails.targets`",
            format!("add `{}` to `guardrails.targets`, or point elsewhere", shown(&template.scope())),
        ));
    }
}

fn routes(profile: &Place<'_>, endpoints: &[Place<'_>], mistakes: &mut Mistakes) {
    let routes: Vec<Place<'_>> = profile.field("routes").items().collect();
    unique(routes.iter().map(|route| route.field("name")), "route", mistakes);
    let names: Vec<&str> = endpoints.iter().filter_map(|endpoint| endpoint.field("name").text()).collect();
    // With a nameless endpoint, or endpoints that could not be read, nobody knows what was meant.
    let list = profile.field("endpoints");
    let all_named =
        names.len() == endpoints.len() && (!endpoints.is_empty() || !list.exists() || list.is_list());
    for route in &routes {
        source(&route.field("source"), mistakes);
        let endpoint = route.field("endpoint");
        let Some(text) = endpoint.text().filter(|_| all_named) else { continue };
        if text == BUILT_IN || names.contains(&text) {
            continue;
        }
        let fix = match nearest(text, names.iter().copied().chain([BUILT_IN])) {
            Some(near) => format!("write `{near}`"),
            None => format!("write the name of one of the profile's endpoints, or `{BUILT_IN}`"),
        };
        mistakes.push(endpoint.mistake(format!("the profile has no endpoint `{}`", shown(text)), fix));
    }
}

fn source(place: &Place<'_>, mistakes: &mut Mistakes) {
    let Some(text) = place.text() else { return };
    if text.eq_ignore_ascii_case(INVALID_SOURCE) {
        let fix = format!("write a message source, such as `{}`", SOURCES[0]);
        mistakes.push(place.mistake(format!("`{text}` is no source that a route can have"), fix));
    } else if let Some(near) = nearest(text, SOURCES).filter(|_| !SOURCES.contains(&text)) {
        mistakes
            .push(place.mistake(format!("there is no source `{}`", shown(text)), format!("write `{near}`")));
    }
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

fn at(place: &Place<'_>, Fault { message, fix }: Fault) -> Mistake {
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
    if text == "system" {
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
