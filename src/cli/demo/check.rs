//! Reads the simulated Azure: is the hub what the reference says, and does a message arrive?

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{GROUP, SUBSCRIPTION};
use crate::model::{IotHubId, role::Role};

/// The five grants: role, and where.
pub(super) const GRANTS: [(Role, &str); 5] = [
    (Role::EventHubsDataSender, "/namespaces/ns1/eventhubs/telemetry-westus2"),
    (Role::EventHubsDataSender, "/namespaces/ns1/eventhubs/alerts"),
    (Role::ServiceBusDataSender, "/namespaces/sb1/queues/commands"),
    (Role::ServiceBusDataSender, "/namespaces/sb1/topics/changes"),
    (Role::BlobDataContributor, "/storageaccounts/egressdata/blobservices/default/containers/archive"),
];
/// The endpoints, by the list they stand in.
const ENDPOINTS: [(&str, &str); 5] = [
    ("eventHubs", "telemetry"),
    ("eventHubs", "alerts"),
    ("serviceBusQueues", "commands"),
    ("serviceBusTopics", "changes"),
    ("storageContainers", "archive"),
];
/// Routes that take every device message, and where they lead.
const TAKE_ALL: [&str; 2] = ["telemetry", "archive"];

/// Checks identity, grants, endpoints, routes, enrichment and file upload, and that there is nothing
/// else. Gives the identity's principal.
pub(in crate::cli) fn hub_is_ready(state: &Value, name: &str) -> anyhow::Result<String> {
    let id = IotHubId::parse(&format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Devices/IotHubs/{name}"
    ))?;
    let hubs = state["hubs"].as_array().context("no hubs")?;
    let hub = hubs
        .iter()
        .find(|hub| hub["id"].as_str().is_some_and(|text| text.eq_ignore_ascii_case(id.as_str())))
        .context("the hub is not there")?;
    ensure!(hub["properties"]["state"] == "Active", "the hub is not active");
    ensure!(hub["identity"]["type"] == "SystemAssigned", "the system-assigned identity is off");
    let principal =
        hub["identity"]["principalId"].as_str().context("the identity has no principal")?.to_owned();
    grants(state, &principal)?;
    endpoints(&hub["properties"]["routing"])?;
    let upload = &hub["properties"]["storageEndpoints"]["$default"];
    ensure!(upload["authenticationType"] == "identityBased", "file upload does not use an identity");
    ensure!(upload["containerName"] == "archive", "file upload goes elsewhere");
    let connection = upload["connectionString"].as_str().unwrap_or_default();
    ensure!(!connection.contains("AccountKey"), "file upload holds a key");
    ensure!(hub["properties"]["enableFileUploadNotifications"] == true, "notifications are off");
    Ok(principal)
}

fn grants(state: &Value, principal: &str) -> anyhow::Result<()> {
    let found = state["roleAssignments"].as_array().context("no grants")?;
    let is_own = |grant: &&Value| {
        let holder = grant["properties"]["principalId"].as_str().unwrap_or_default();
        holder.eq_ignore_ascii_case(principal)
    };
    let found: Vec<&Value> = found.iter().filter(is_own).collect();
    ensure!(found.len() == GRANTS.len(), "there are {} grants instead of {}", found.len(), GRANTS.len());
    for (role, scope) in GRANTS {
        let is_it = |grant: &&Value| {
            let text =
                |name: &str| grant["properties"][name].as_str().unwrap_or_default().to_ascii_lowercase();
            text("principalId") == principal.to_ascii_lowercase()
                && text("roleDefinitionId").ends_with(role.guid())
                && text("scope").ends_with(scope)
        };
        ensure!(found.iter().any(is_it), "{role} is not granted on …{scope}");
    }
    Ok(())
}

/// The endpoints of a hub, of whatever kind.
pub(in crate::cli) fn all_endpoints(routing: &Value) -> impl Iterator<Item = &Value> {
    let lists = routing["endpoints"].as_object();
    lists.into_iter().flat_map(|lists| lists.values()).filter_map(Value::as_array).flatten()
}

fn endpoints(routing: &Value) -> anyhow::Result<()> {
    let lists = routing["endpoints"].as_object().context("no endpoints")?;
    let count = all_endpoints(routing).count();
    ensure!(count == ENDPOINTS.len(), "there are {count} endpoints instead of {}", ENDPOINTS.len());
    for (list, name) in ENDPOINTS {
        let found = lists.get(list).and_then(Value::as_array).into_iter().flatten();
        let endpoint = found
            .into_iter()
            .find(|endpoint| endpoint["name"] == name)
            .with_context(|| format!("no {name}"))?;
        ensure!(endpoint["authenticationType"] == "identityBased", "{name} does not use an identity");
        let connection = endpoint.get("connectionString");
        ensure!(connection.is_none_or(Value::is_null), "{name} has a connection string");
    }
    let routes = routing["routes"].as_array().context("no routes")?;
    ensure!(routes.len() == ENDPOINTS.len(), "there are {} routes instead of 5", routes.len());
    for (_, name) in ENDPOINTS {
        let leads_there =
            |route: &Value| route["endpointNames"] == json!([name]) && route["isEnabled"] == true;
        ensure!(routes.iter().any(leads_there), "no route leads to {name}");
    }
    let enriched = routing["enrichments"].as_array().is_some_and(|list| list.len() == 1);
    ensure!(enriched, "the enrichment is not there");
    Ok(())
}

/// Checks that the device's message arrived, and with which identity.
pub(super) fn delivered(deliveries: &Value, principal: &str) -> anyhow::Result<()> {
    let list = deliveries.as_array().context("nothing was routed")?;
    for name in TAKE_ALL {
        let delivery = list.iter().find(|one| one["endpoint"] == name);
        let delivery = delivery.with_context(|| format!("nothing went to {name}: {deliveries}"))?;
        ensure!(
            delivery["delivered"] == true && delivery["with"] == "identity",
            "the device's message did not arrive at {name}: {delivery}"
        );
        ensure!(delivery["principal"] == principal, "another identity delivered it to {name}");
    }
    Ok(())
}
