//! What a caller may do: shown on request, and held against every call to Resource Manager.
//!
//! A caller without `permissions` in the world may do everything, here and in every answer. One with them
//! may do what they say and what its role assignments say, once those are effective.
//! <https://learn.microsoft.com/rest/api/authorization/permissions>,
//! <https://learn.microsoft.com/azure/role-based-access-control/overview#how-azure-rbac-determines-if-a-user-has-access-to-a-resource>

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    call::Caller,
    role_definitions,
    state::{State, is_within},
};

/// What is allowed at a scope, by one role or as one role.
struct Entry<'a> {
    actions: Vec<&'a str>,
    not_actions: Vec<&'a str>,
    data_actions: Vec<&'a str>,
    not_data_actions: Vec<&'a str>,
}

impl State {
    /// The caller's permissions at a scope, as a list of them shows them.
    pub(super) fn permissions(&self, caller: &Caller, scope: &str, now: OffsetDateTime) -> Vec<Value> {
        let entries = self.entries(caller, scope, now).into_iter();
        let shown = entries.map(|entry| {
            json!({
                "actions": entry.actions, "notActions": entry.not_actions,
                "dataActions": entry.data_actions, "notDataActions": entry.not_data_actions,
            })
        });
        shown.collect()
    }

    /// Whether a caller may do something in Resource Manager to what is at a path.
    pub(super) fn may(&self, caller: &Caller, action: &str, path: &str, now: OffsetDateTime) -> bool {
        self.rights(caller, now).may(action, &path.to_ascii_lowercase())
    }

    fn entries(&self, caller: &Caller, scope: &str, now: OffsetDateTime) -> Vec<Entry<'_>> {
        let here = scope.to_ascii_lowercase();
        let held = self.rights(caller, now).0.into_iter();
        held.filter(|(scope, _)| is_within(&here, scope)).map(|(_, entry)| entry).collect()
    }

    /// Everything that a caller may do anywhere.
    pub(super) fn rights(&self, caller: &Caller, now: OffsetDateTime) -> Rights<'_> {
        let mut held = Vec::new();
        match self.limits.get(&caller.object.to_ascii_lowercase()) {
            None => held.push((
                String::new(),
                Entry {
                    actions: vec!["*"],
                    not_actions: Vec::new(),
                    data_actions: vec!["*"],
                    not_data_actions: Vec::new(),
                },
            )),
            Some(own) => held.extend(own.iter().map(|entry| {
                let scope = entry.scope.to_ascii_lowercase();
                let entry = Entry {
                    actions: texts(&entry.actions),
                    not_actions: texts(&entry.not_actions),
                    data_actions: texts(&entry.data_actions),
                    not_data_actions: texts(&entry.not_data_actions),
                };
                (scope, entry)
            })),
        }
        let grants = self
            .assignments
            .values()
            .filter(|grant| grant.principal.eq_ignore_ascii_case(&caller.object) && grant.effective <= now);
        held.extend(grants.filter_map(|grant| {
            let role = role_definitions::definition(&grant.role)?;
            let entry = Entry {
                actions: role.actions.to_vec(),
                not_actions: role.not_actions.to_vec(),
                data_actions: role.data_actions.to_vec(),
                not_data_actions: Vec::new(),
            };
            Some((grant.scope.to_ascii_lowercase(), entry))
        }));
        Rights(held)
    }
}

/// What a caller may do, by lower-cased scopes.
pub(super) struct Rights<'a>(Vec<(String, Entry<'a>)>);

impl Rights<'_> {
    /// Whether it may do something to what has this lower-cased id.
    pub(super) fn may(&self, action: &str, id: &str) -> bool {
        self.0.iter().any(|(scope, entry)| {
            let any = |patterns: &[&str]| patterns.iter().any(|pattern| covers(pattern, action));
            is_within(id, scope) && any(&entry.actions) && !any(&entry.not_actions)
        })
    }

    /// Whether it may do everything everywhere, so that nothing need be asked one by one.
    pub(super) fn is_everything(&self) -> bool {
        self.0.iter().any(|(scope, entry)| {
            scope.is_empty() && entry.actions.contains(&"*") && entry.not_actions.is_empty()
        })
    }

    /// Whether it may read anything at, above or below this lower-cased scope.
    pub(super) fn reads_in(&self, here: &str) -> bool {
        self.0.iter().any(|(scope, entry)| {
            let reads =
                |pattern: &&str| pattern.ends_with('*') || pattern.to_ascii_lowercase().ends_with("/read");
            (is_within(here, scope) || is_within(scope, here)) && entry.actions.iter().any(reads)
        })
    }
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Whether a pattern stands for an action: its parts around each `*`, one after the other.
fn covers(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == action };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(action) = action.strip_prefix(first) else { return false };
    let Some(mut action) = action.strip_suffix(last) else { return false };
    for part in middle.split('*') {
        match action.find(part) {
            Some(at) => action = &action[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_actions() {
        let action = "Microsoft.Devices/IotHubs/jobs/read";
        for (pattern, fits) in [
            ("*", true),
            ("**", true),
            ("*/read", true),
            ("microsoft.devices/*/READ", true),
            ("Microsoft.*/IotHubs/*/read", true),
            ("*/jobs/jobs/*", false),
            ("Microsoft.Devices/IotHubs/jobs/read*/read", false),
            ("*/write", false),
            ("Microsoft.Devices/IotHubs", false),
        ] {
            assert_eq!(covers(pattern, action), fits, "{pattern}");
        }
    }
}
