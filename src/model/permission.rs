//! What role-based access control lets a caller do.
//!
//! An action is allowed if **any** entry allows it. An entry allows what its actions match and its
//! `notActions` do not: one entry's `notActions` take nothing away from another's actions. Names are
//! compared without case, and `*` stands for any characters, slashes included.
//! <https://learn.microsoft.com/azure/role-based-access-control/role-definitions>

use std::fmt;

use serde::Serialize;

/// Which of Azure's two planes an action belongs to. They are granted apart: Owner has no data action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Plane {
    /// Azure Resource Manager: `actions`.
    Control,
    /// The service itself: `dataActions`.
    Data,
}

/// One thing that can be allowed, such as `Microsoft.Devices/IotHubs/write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Action {
    /// Its plane.
    pub plane: Plane,
    /// Its name.
    pub name: &'static str,
}

impl Action {
    /// An action of Resource Manager.
    pub const fn control(name: &'static str) -> Self {
        Self { plane: Plane::Control, name }
    }

    /// An action of a service.
    pub const fn data(name: &'static str) -> Self {
        Self { plane: Plane::Data, name }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plane, name } = self;
        match plane {
            Plane::Control => f.write_str(name),
            Plane::Data => write!(f, "{name} (data)"),
        }
    }
}

/// One entry of what a caller may do, or of what a role lets whoever holds it do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permission {
    /// Patterns of what is allowed.
    pub actions: Vec<String>,
    /// Patterns of what is taken out of that.
    pub not_actions: Vec<String>,
    /// The same for the data plane.
    pub data_actions: Vec<String>,
    /// The same for the data plane.
    pub not_data_actions: Vec<String>,
    /// A condition of the role itself, which a few built-in roles have.
    pub condition: Option<String>,
}

impl Permission {
    /// Whether this entry alone allows an action.
    pub fn allows(&self, action: Action) -> bool {
        let (with, without) = match action.plane {
            Plane::Control => (&self.actions, &self.not_actions),
            Plane::Data => (&self.data_actions, &self.not_data_actions),
        };
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action.name));
        any(with) && !any(without)
    }
}

/// Whether any of these entries allows an action.
pub fn allows(permissions: &[Permission], action: Action) -> bool {
    permissions.iter().any(|permission| permission.allows(action))
}

/// Whether a pattern matches the whole of a name.
///
/// Goes back to the last `*` only: what an earlier one could take, the last one can take too. So it
/// needs no more than the product of the two lengths, whatever the pattern.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if c.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRITE: Action = Action::control("Microsoft.Devices/IotHubs/write");

    fn entry(actions: &[&str], not_actions: &[&str]) -> Permission {
        let owned = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect();
        Permission { actions: owned(actions), not_actions: owned(not_actions), ..Permission::default() }
    }

    #[test]
    fn wildcards_stand_anywhere_and_case_does_not_count() {
        for (pattern, fits) in [
            ("*", true),
            ("*/write", true),
            ("Microsoft.Devices/*", true),
            ("microsoft.devices/iothubs/WRITE", true),
            ("Microsoft.Devices/*/write", true),
            ("Microsoft.*/IotHubs/*", true),
            ("Microsoft.Devices/IotHubs/write*", true),
            ("*Microsoft.Devices/IotHubs/write", true),
            ("Microsoft.Devices/IotHubs", false),
            ("Microsoft.Devices/IotHubs/read", false),
            ("*/read", false),
            ("Microsoft.Devices/IotHubs/*/write", false),
            ("", false),
        ] {
            assert_eq!(entry(&[pattern], &[]).allows(WRITE), fits, "{pattern}");
        }
    }

    #[test]
    fn what_one_entry_takes_out_another_may_give() {
        let contributor = entry(&["*"], &["Microsoft.Authorization/*/Write"]);
        let grant = Action::control("Microsoft.Authorization/roleAssignments/write");
        assert!(contributor.allows(WRITE));
        assert!(!contributor.allows(grant));
        let administrator = entry(&["Microsoft.Authorization/roleAssignments/write"], &[]);
        assert!(allows(&[contributor, administrator], grant));
        assert!(!allows(&[], grant));
    }

    #[test]
    fn the_planes_are_granted_apart() {
        let send = Action::data("Microsoft.Devices/IotHubs/jobs/write");
        assert!(!entry(&["*"], &[]).allows(send), "an owner has no data action");
        let data = Permission {
            data_actions: vec!["Microsoft.Devices/IotHubs/*".into()],
            not_data_actions: vec!["*/jobs/delete".into()],
            ..Permission::default()
        };
        assert!(data.allows(send));
        assert!(!data.allows(WRITE));
        assert!(!data.allows(Action::data("Microsoft.Devices/IotHubs/jobs/delete")));
    }

    proptest! {
        /// Over few letters, so that patterns match often. The regular expression is the definition.
        #[test]
        fn patterns_match_what_their_regular_expression_matches(pattern in "[aB/*]{0,10}", name in "[abB/]{0,12}") {
            let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
            let regex = regex::Regex::new(&format!("(?is)^{}$", parts.join(".*"))).unwrap();
            prop_assert_eq!(matches(&pattern, &name), regex.is_match(&name), "{} {}", pattern, name);
        }
    }
}
