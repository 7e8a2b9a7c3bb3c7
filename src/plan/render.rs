//! A plan in words, the way operators know it from `terraform plan`.

use std::fmt;

use super::{GrantStep, HubPlan, Step};
use crate::model::hub::HubEdit;

impl fmt::Display for HubPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (profile {})", self.hub.name(), self.profile)?;
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for blocked in &self.blocked {
            writeln!(f, "  blocked: {blocked}")?;
        }
        if self.is_in_sync() {
            return writeln!(f, "  in sync");
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {}. {step}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::EditHub { edit } => write!(f, "update the hub:\n{}", Changes(edit)),
            Step::Grant(grant) => write!(f, "{grant}"),
            Step::AwaitPropagation { until: None } => f.write_str("wait until the grants have spread"),
            Step::AwaitPropagation { until: Some(until) } => {
                let until = until.replace_nanosecond(0).unwrap_or(*until);
                write!(
                    f,
                    "wait until the grants have spread (ask the hub at {:02}:{:02}:{:02} UTC)",
                    until.hour(),
                    until.minute(),
                    until.second()
                )
            }
        }
    }
}

impl fmt::Display for GrantStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant {} on {} to the {}", self.role, self.scope.name(), self.identity)?;
        if self.principal.is_none() {
            f.write_str(" (its principal is known after the step before)")?;
        }
        Ok(())
    }
}

/// The changes of one PUT, one a line.
struct Changes<'a>(&'a HubEdit);

impl fmt::Display for Changes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HubEdit { identity, endpoints, routes } = self.0;
        let mut lines: Vec<String> = Vec::new();
        if let Some(identity) = identity {
            match identity.system {
                Some(true) => lines.push("+ system-assigned identity".into()),
                Some(false) => lines.push("- system-assigned identity".into()),
                None => {}
            }
            lines.extend(identity.attach.iter().map(|id| format!("+ user-assigned identity {}", id.name())));
        }
        for endpoint in endpoints {
            match endpoint.index {
                None => lines.push(format!(
                    "+ endpoint {} -> event hub {}/{} as {}",
                    endpoint.name,
                    endpoint.target.parent().as_ref().map_or("?", |parent| parent.name()),
                    endpoint.entity_path,
                    endpoint.identity
                )),
                Some(_) => lines.push(format!("~ endpoint {}: {}", endpoint.name, endpoint.summary)),
            }
        }
        for edit in routes {
            let route = &edit.route;
            match edit.index {
                None => lines.push(format!(
                    "+ route {}: {} where {} -> {}{}",
                    route.name,
                    route.source,
                    route.condition,
                    route.endpoint,
                    if route.enabled { "" } else { " (off)" }
                )),
                Some(_) => lines.push(format!("~ route {}: {}", route.name, edit.summary)),
            }
        }
        let text: Vec<String> = lines.iter().map(|line| format!("       {line}")).collect();
        f.write_str(&text.join("\n"))
    }
}
