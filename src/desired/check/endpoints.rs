//! Endpoints: names, targets, what they authenticate with, options of their kind.

use super::{Around, BUILT_IN, KEY, SYSTEM, at, identity};
use crate::desired::{
    strict::{Mistakes, Place, nearest, shown},
    targets::{TargetKind, Template},
};

/// Names that the service keeps for itself.
const RESERVED: [&str; 4] = [BUILT_IN, "fileNotifications", "operationsMonitoringEvents", "$default"];
/// What a blob's name is made of; all have to be there.
const FILE_NAME_TOKENS: [&str; 7] = ["{iothub}", "{partition}", "{YYYY}", "{MM}", "{DD}", "{HH}", "{mm}"];
/// What a partition key may be made of; at least one, each at most once.
const PARTITION_KEY_TOKENS: [&str; 5] = ["{iothub}", "{deviceid}", "{YYYY}", "{MM}", "{DD}"];

pub(super) fn endpoint(place: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    reserved(&place.field("name"), mistakes);
    sends_as(&place.field("as"), around, mistakes);
    let kinds = TargetKind::ALL.into_iter().filter(|kind| place.field(kind.field()).exists());
    let kinds: Vec<TargetKind> = kinds.collect();
    for kind in &kinds {
        sends_to(*kind, &place.field(kind.field()), around, mistakes);
    }
    if let [kind] = kinds.as_slice() {
        key_rule(place, *kind, mistakes);
        options(place, *kind, mistakes);
    }
    file_name_format(&place.field("fileNameFormat"), mistakes);
    partition_key(place, mistakes);
}

/// Checks that a name is not one that the service keeps for itself.
pub(in crate::desired) fn reserved(place: &Place<'_>, mistakes: &mut Mistakes) {
    let Some(name) = place.text() else { return };
    if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
        let message = format!("`{name}` is a name that the service keeps for itself");
        mistakes.push(place.mistake(message, "choose another name"));
    }
}

/// Checks what an endpoint, or file upload, authenticates with.
pub(super) fn sends_as(place: &Place<'_>, around: &Around<'_>, mistakes: &mut Mistakes) {
    let Some(text) = place.text() else { return };
    if text == KEY {
        if !around.allows_keys {
            mistakes.push(place.mistake(
                "this authenticates with a key, and the guardrails do not allow keys",
                "send with an identity, or write `allowKeys: true` under `guardrails`",
            ));
        }
        return;
    }
    if text == SYSTEM {
        if let Some(word @ ("off" | "unmanaged")) = around.system {
            mistakes.push(place.mistake(
                format!("this sends with the system-assigned identity, and the profile's `identity.system` is `{word}`"),
                "write `system: on` under the profile's `identity`",
            ));
        }
        return;
    }
    match (identity(text, around.users.unwrap_or_default()), around.users) {
        (Ok(_), _) => {}
        (Err(fault), Some(_)) => mistakes.push(at(place, fault)),
        // Some of the identities could not be read, and this may be one of them.
        (Err(fault), None) if nearest(text, [SYSTEM]).is_some() => mistakes.push(at(place, fault)),
        (Err(_), None) => {}
    }
}

/// Checks a target's id; the template, if it is good.
pub(super) fn sends_to(
    kind: TargetKind,
    place: &Place<'_>,
    around: &Around<'_>,
    mistakes: &mut Mistakes,
) -> Option<Template> {
    let template = match Template::parse(kind, place.text()?) {
        Ok(template) => template,
        Err(fault) => {
            mistakes.push(at(place, fault));
            return None;
        }
    };
    if let Some(scopes) = around.scopes
        && !scopes.iter().any(|scope| template.could_be_within(scope, around.storage))
    {
        mistakes.push(place.mistake(
            "this is outside `guardrails.targets`",
            format!("add `{}` to `guardrails.targets`, or point elsewhere", shown(&template.scope())),
        ));
    }
    Some(template)
}

/// With a key of an event hub, queue or topic there is a rule; in every other case there is none.
fn key_rule(place: &Place<'_>, kind: TargetKind, mistakes: &mut Mistakes) {
    let rule = place.field("keyRule");
    let by_key = place.field("as").text() == Some(KEY);
    match (by_key && kind.has_key_rules(), rule.exists()) {
        (true, false) => mistakes.push(place.mistake(
            "`keyRule` is missing: keys of event hubs, queues and topics belong to authorization rules",
            "add `keyRule: …`, the name of a rule that may send",
        )),
        (false, true) if by_key => mistakes
            .push(rule.mistake("keys of storage accounts and Cosmos DB belong to no rule", "drop the line")),
        (false, true) => {
            mistakes.push(rule.mistake("this is for `as: key` alone", "drop the line"));
        }
        (true, true) | (false, false) => {}
    }
}

/// Options of another kind than the target's.
fn options(place: &Place<'_>, kind: TargetKind, mistakes: &mut Mistakes) {
    for other in TargetKind::ALL.into_iter().filter(|other| *other != kind) {
        for option in other.options().iter().filter(|option| place.field(option).exists()) {
            mistakes.push(place.name_of(option).mistake(
                format!("`{option}` is for `{}` alone, and this is a `{}`", other.field(), kind.field()),
                "drop the line",
            ));
        }
    }
}

fn file_name_format(place: &Place<'_>, mistakes: &mut Mistakes) {
    let Some(text) = place.text() else { return };
    if let Some(fault) = unknown_token(text, &FILE_NAME_TOKENS) {
        return mistakes.push(place.mistake(fault.0, fault.1));
    }
    let missing: Vec<&str> = FILE_NAME_TOKENS.into_iter().filter(|token| !text.contains(token)).collect();
    if !missing.is_empty() {
        let listed = missing.iter().map(|token| format!("`{token}`")).collect::<Vec<_>>().join(", ");
        mistakes.push(place.mistake(format!("{listed} is missing"), "write all seven, in any order"));
    }
}

fn partition_key(endpoint: &Place<'_>, mistakes: &mut Mistakes) {
    let place = endpoint.field("partitionKeyTemplate");
    let name = endpoint.field("partitionKeyName");
    if name.exists() && !place.exists() && endpoint.field(TargetKind::CosmosDbContainer.field()).exists() {
        mistakes.push(name.mistake("this needs `partitionKeyTemplate`", "add `partitionKeyTemplate: …`"));
    }
    let Some(text) = place.text() else { return };
    if !name.exists() {
        mistakes.push(place.mistake("this needs `partitionKeyName`", "add `partitionKeyName: …`"));
    }
    if let Some(fault) = unknown_token(text, &PARTITION_KEY_TOKENS) {
        return mistakes.push(place.mistake(fault.0, fault.1));
    }
    let listed = PARTITION_KEY_TOKENS.map(|token| format!("`{token}`")).join(", ");
    if let Some(token) = PARTITION_KEY_TOKENS.iter().find(|token| text.matches(*token).count() > 1) {
        mistakes.push(place.mistake(format!("`{token}` is there more than once"), "keep one"));
    } else if !PARTITION_KEY_TOKENS.iter().any(|token| text.contains(token)) {
        mistakes
            .push(place.mistake("there is no placeholder in it", format!("write at least one of {listed}")));
    }
}

/// The first `{word}` that the service does not know. Case counts: `{MM}` is a month, `{mm}` a minute.
fn unknown_token(text: &str, known: &[&'static str]) -> Option<(String, String)> {
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let end = rest[start..].find('}').map_or(rest.len(), |end| start + end + 1);
        let token = &rest[start..end];
        if !known.contains(&token) {
            let fix = match nearest(token, known.iter().copied()) {
                Some(near) => format!("write `{near}`"),
                None => format!(
                    "use {}",
                    known.iter().map(|token| format!("`{token}`")).collect::<Vec<_>>().join(", ")
                ),
            };
            return Some((format!("there is no placeholder `{}` here", shown(token)), fix));
        }
        rest = &rest[end..];
    }
    None
}
