//! The summary for people.

use serde_json::Value;

use super::{HUB, StepSeen, Summary};
use crate::model::role::Role;

/// The writes in the simulator's log, named by what they are for.
pub(super) fn steps_seen(state: &Value) -> Vec<StepSeen> {
    let log = state["log"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut hub_puts = 0;
    let mut steps = Vec::new();
    for entry in log {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        if text("method") != "PUT" {
            continue;
        }
        let path = text("path").to_ascii_lowercase();
        let step = if path.contains("/roleassignments/") {
            grant(text("path"))
        } else if !path.contains("/microsoft.devices/iothubs/") {
            // Outcomes that are kept as blobs.
            continue;
        } else {
            hub_puts += 1;
            let words = match hub_puts {
                1 => "turn the system-assigned identity on",
                2 => "write endpoints, routes, enrichment and file upload",
                _ => "write the hub again",
            };
            words.to_owned()
        };
        let at = text("time").to_owned();
        steps.push(StepSeen { at, step, status: entry["status"].as_u64().unwrap_or_default() });
    }
    steps
}

/// A grant, by the path of its assignment.
fn grant(path: &str) -> String {
    let scope = path.to_ascii_lowercase();
    let scope = scope.split("/providers/microsoft.authorization/").next().unwrap_or_default();
    let role = if scope.contains("/microsoft.eventhub/") {
        Role::EventHubsDataSender
    } else if scope.contains("/microsoft.servicebus/") {
        Role::ServiceBusDataSender
    } else {
        Role::BlobDataContributor
    };
    format!("grant {role} on {}", scope.rsplit('/').next().unwrap_or_default())
}

pub(super) fn table(summary: &Summary) -> String {
    let delivery = &summary.deliveries[0];
    let mut text = format!(
        "{HUB} sends with its own identity ({}), and holds no key.\n\n",
        delivery["principal"].as_str().unwrap_or("?")
    );
    for (number, StepSeen { at, step, status }) in summary.steps.iter().enumerate() {
        let time = at.get(11..19).unwrap_or(at);
        text.push_str(&format!("  {}. {time} UTC  {step} ({status})\n", number + 1));
    }
    text.push('\n');
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<28}{value}\n"));
    row("verified in Azure", if summary.verified { "yes" } else { "NO" }.to_owned());
    row("calls to Resource Manager", summary.arm_calls.to_string());
    row("hub PUTs", summary.hub_puts.to_string());
    row("waits (scheduled messages)", summary.waits.to_string());
    row("time on Azure's clock", format!("{:.0} s", summary.azure_seconds));
    row("time on this computer", format!("{:.1} s at speed {}", summary.seconds, summary.speed));
    row(
        "the same event again",
        format!("{} reads, {} writes", summary.second_event.arm_calls, summary.second_event.writes),
    );
    row(
        "the next hub of the fleet",
        format!("{} calls, {} hub PUTs", summary.next_hub.arm_calls, summary.next_hub.hub_puts),
    );
    text.push_str("\n  calls by kind\n");
    for (kind, count) in summary.calls.as_object().into_iter().flatten() {
        text.push_str(&format!("    {count:>3}  {kind}\n"));
    }
    text
}
