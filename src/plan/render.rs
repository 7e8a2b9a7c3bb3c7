//! A plan in words, the way operators know it from `terraform plan`.

use std::fmt;

use super::{GrantStep, HubPlan, RevokeStep, Step};
use crate::model::{
    desired::Target,
    hub::{AuthEdit, EndpointEdit, HubEdit},
};

impl fmt::Display for HubPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (profile {})", self.hub.name(), self.profile)?;
        for warning in &self.warnings {
            writeln!(f, "  note: {warning}")?;
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
            Step::EditHub { edit } => {
                let lines: Vec<String> =
                    edit_lines(edit).iter().map(|line| format!("       {line}")).collect();
                write!(f, "update the hub:\n{}", lines.join("\n"))
            }
            Step::Grant(grant) => write!(f, "{grant}"),
            Step::Revoke(RevokeStep { scope, role, identity, .. }) => {
                write!(f, "take {role} on {} away from the {identity}", scope.name())
            }
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
            f.write_str(" (its principal is known when the identity is there)")?;
        }
        Ok(())
    }
}

/// The changes of one PUT, one a line.
pub fn edit_lines(edit: &HubEdit) -> Vec<String> {
    let HubEdit { identity, endpoints, routes, enrichments, file_upload, settings, removals } = edit;
    let mut lines: Vec<String> = Vec::new();
    if let Some(identity) = identity {
        match identity.system {
            Some(true) => lines.push("+ system-assigned identity".into()),
            Some(false) => lines.push("- system-assigned identity".into()),
            None => {}
        }
        lines.extend(identity.attach.iter().map(|id| format!("+ user-assigned identity {}", id.name())));
        lines.extend(identity.detach.iter().map(|id| format!("- user-assigned identity {}", id.name())));
    }
    lines.extend(endpoints.iter().map(endpoint_line));
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
    for edit in enrichments {
        let enrichment = &edit.enrichment;
        match edit.index {
            None => lines.push(format!(
                "+ enrichment {} = {} for {}",
                enrichment.key,
                enrichment.value,
                enrichment.endpoints.join(", ")
            )),
            Some(_) => lines.push(format!("~ enrichment {}: {}", enrichment.key, edit.summary)),
        }
    }
    if let Some(edit) = file_upload {
        match &edit.storage {
            Some(storage) if edit.summary.starts_with("create") => lines.push(format!(
                "+ file upload -> container {} {}",
                container(&storage.target, &storage.container),
                storage
                    .identity
                    .as_ref()
                    .map_or("with a key".to_owned(), |identity| format!("as {identity}"))
            )),
            _ => lines.push(format!("~ file upload: {}", edit.summary)),
        }
    }
    lines.extend(settings.iter().map(|edit| format!("~ {}", edit.summary)));
    lines.extend(removals.iter().map(|gone| format!("- {} {}", gone.part.word(), gone.name)));
    lines
}

fn endpoint_line(edit: &EndpointEdit) -> String {
    if edit.index.is_some() {
        return format!("~ endpoint {}: {}", edit.name, edit.summary);
    }
    let with = match &edit.auth {
        AuthEdit::Identity(identity) => format!("as {identity}"),
        AuthEdit::Key { .. } | AuthEdit::KeepKey => "with a key".to_owned(),
    };
    let kind = edit.target.kind();
    format!("+ endpoint {} -> {kind} {} {with}", edit.name, container(&edit.target, &edit.entity))
}

/// `ns1/telemetry`, `acct/container`, `acct/database/container`.
fn container(target: &Target, entity: &str) -> String {
    let service = target.service_name();
    match target.database() {
        Some(database) => format!("{service}/{database}/{entity}"),
        None => format!("{service}/{entity}"),
    }
}
