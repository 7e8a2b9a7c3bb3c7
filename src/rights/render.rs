//! A checkup as people read it.

use std::fmt;

use super::{
    checkup::{Checkup, ScopeCheck, Verdict},
    fix::Fix,
    needs::{Need, PERMISSIONS_READ, Weight},
};

/// Said whenever roles are to be granted.
const NOT_SHOWN: &str =
    "conditions of role assignments are not part of what Azure says we may do: a grant can still be refused";

impl fmt::Display for Checkup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { checked_as, verdict, scopes, fixes, warnings } = self;
        let id = checked_as.object_id.as_deref().unwrap_or("somebody without an object id");
        match checked_as.is_user {
            true => writeln!(
                f,
                "rights of {id}, a person who is signed in: the app's own are in its log, at its start"
            )?,
            false => writeln!(f, "rights of {id}")?,
        }
        for scope in scopes {
            write!(f, "\n{scope}")?;
            for fix in fixes.iter().filter(|fix| fix.scope == scope.scope) {
                write!(f, "{fix}")?;
            }
        }
        if !warnings.is_empty() {
            writeln!(f, "\nwarnings")?;
            for warning in warnings {
                writeln!(f, "  {warning}")?;
            }
        }
        writeln!(f, "\n{}", self.summary())?;
        match verdict {
            Verdict::Fine => Ok(()),
            Verdict::Missing | Verdict::Unknown => {
                writeln!(f, "a role that has just been assigned takes some minutes to show")
            }
        }
    }
}

impl Checkup {
    /// One sentence, for the end of the table and for the log.
    pub fn summary(&self) -> String {
        let count = |required: bool| self.missing().filter(|need| need.is_required() == required).count();
        let (required, optional) = (count(true), count(false));
        let unknown = self.unknown().count();
        let held: usize = self.scopes.iter().map(|scope| scope.held.len() + scope.held_below.len()).sum();
        let mut text = match self.verdict {
            Verdict::Fine => "nothing that is required is missing".to_owned(),
            Verdict::Missing => {
                format!("{required} required right{} missing", if required == 1 { " is" } else { "s are" })
            }
            Verdict::Unknown => "whether everything required is held is not known".to_owned(),
        };
        text.push_str(&format!(": {held} held, {optional} optional missing, {unknown} unknown"));
        if self.scopes.iter().any(ScopeCheck::grants) {
            text.push_str(&format!("; {NOT_SHOWN}"));
        }
        text
    }
}

impl ScopeCheck {
    /// Whether roles are to be granted there.
    fn grants(&self) -> bool {
        use super::roles::{BuiltIn, GivenBy};
        let administrator = GivenBy::BuiltIn(BuiltIn::RbacAdministrator);
        self.all().any(|need| need.given_by == administrator)
    }

    fn all(&self) -> impl Iterator<Item = &Need> {
        let below = self.held_below.iter().map(|below| &below.need);
        self.held.iter().chain(&self.missing).chain(&self.unknown).chain(below)
    }
}

impl fmt::Display for ScopeCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, held, held_below, sees_below, missing, unknown, unreadable } = self;
        writeln!(f, "{scope}")?;
        if let Some(cause) = unreadable {
            writeln!(f, "  unknown: what we may do there cannot be read: {cause}")?;
            writeln!(f, "  ({PERMISSIONS_READ} has to be allowed there, and the scope has to be there)")?;
        }
        let width =
            missing.iter().chain(unknown).map(|need| need.action.to_string().len()).max().unwrap_or(0);
        let mut line = |word: &str, need: &Need| {
            let what = match need.weight {
                Weight::Required => format!("required: {}", need.purpose),
                Weight::Optional(without) => format!("optional: {}; without it, {without}", need.purpose),
            };
            let or = need.or.map_or_else(String::new, |or| format!(" (or {or})"));
            writeln!(f, "  {word:8}{:width$}  {what}{or}", need.action.to_string())
        };
        missing.iter().try_for_each(|need| line("missing", need))?;
        unknown.iter().try_for_each(|need| line("unknown", need))?;
        if !missing.is_empty() && !sees_below {
            let read = "Microsoft.Authorization/roleAssignments/read";
            writeln!(f, "  (what is granted further down is not seen: {read} is not allowed there)")?;
        }
        for below in held_below {
            let scopes: Vec<&str> = below.scopes.iter().map(|scope| scope.as_str()).collect();
            writeln!(f, "  {} is held only on {}", below.need.action, scopes.join(", "))?;
        }
        match missing.len() + unknown.len() + held_below.len() {
            0 => writeln!(f, "  held: all {}", held.len()),
            _ => writeln!(f, "  held: {}", held.len()),
        }
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope: _, role, required, gives, az, bicep } = self;
        let what = if *required { "required" } else { "optional" };
        let gives: Vec<&str> = gives.iter().map(|action| action.name).collect();
        writeln!(f, "  fix ({what}): {role} gives {}", gives.join(", "))?;
        az.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        bicep.iter().try_for_each(|line| writeln!(f, "    bicep: {line}"))
    }
}
