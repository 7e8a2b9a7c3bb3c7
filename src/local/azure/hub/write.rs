//! PUT, PATCH and DELETE of a hub.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    Hub, Phase, access, document,
    operation::{OpKind, Plan},
    secrets, validate,
};
use crate::{
    local::azure::{
        Azure,
        answer::{Answer, HubError, Reply},
        call::Call,
        faults::FaultKind,
        settings::{EndpointValidation, Settings},
        state::State,
    },
    model::{IotHubId, ResourceId},
};

impl Azure {
    /// A PUT: makes a hub, or replaces all of it.
    pub(in crate::local::azure) fn put_hub(&self, state: &mut State, call: &Call, id: &IotHubId) -> Answer {
        let settings = &self.inner.settings;
        let body = call.json()?;
        document::check_shape(&body).map_err(|name| {
            let message = format!(
                "The request content was invalid and could not be deserialized: 'The value of {name} has the wrong type.'."
            );
            Reply::arm(400, "InvalidRequestContent", message)
        })?;
        let group = state.group(id.subscription(), id.resource_group().unwrap_or_default())?.name.clone();
        let known = state.hubs.get(id.key()).cloned();
        ready(state, call, id, known.as_ref(), Some(&body), settings)?;
        let Some(location) = body["location"].as_str().filter(|text| !text.is_empty()) else {
            let message = "The location property is required for this definition.";
            return Err(Reply::arm(400, "LocationRequired", message));
        };
        if let Some(hub) = known.as_ref().filter(|hub| !same_region(&hub.location, location)) {
            let message = format!(
                "The resource '{}' already exists in location '{}' in resource group '{group}'. A resource with the same \
                 name cannot be created in location '{location}'. Please select a new resource name.",
                id.name(),
                hub.location
            );
            return Err(Reply::arm(409, "InvalidResourceLocation", message));
        }
        let taken =
            state.hubs.values().any(|hub| hub.id != *id && hub.id.name().eq_ignore_ascii_case(id.name()));
        if taken {
            let message = format!("IotHub name '{}' not available.", id.name());
            return Err(call.refuse(&HubError::new(409_004, message)));
        }
        check_sku(&body["sku"]).map_err(|error| call.refuse(&error))?;
        let (system_on, users) = parse_identity(state, call, id, &body["identity"])?;

        let old = known.as_ref().map(|hub| hub.properties.clone());
        let shown = document::sent(&body["properties"]);
        let mut sent = shown.clone();
        secrets::restore(&mut sent, old.as_deref()).map_err(|name| {
            let message = format!(
                "endpointName:{name}, exceptionMessage:No valid combination of account information found."
            );
            call.refuse(&HubError::new(400_116, message))
        })?;

        let mut hub = match &known {
            Some(hub) => hub.clone(),
            None => Hub::blank(own_id(id, &group), call.now, &mut state.random),
        };
        let old_secrets = hub.secrets();
        hub.location =
            known.as_ref().map_or_else(|| document::plain_region(location), |hub| hub.location.clone());
        hub.tags = body.get("tags").filter(|tags| tags.is_object()).cloned().unwrap_or_else(|| json!({}));
        hub.sku = document::sku(&body["sku"]);
        let mut properties = document::complete(sent.clone(), old.as_deref(), hub.sku["name"] == "F1");
        document::give_ids(&mut properties, old.as_deref(), &hub.id, &mut state.random);
        hub.properties = Arc::new(properties);
        hub.system = if system_on { hub.system } else { None };
        hub.system_on = system_on;
        hub.users = users;
        if let Some(policies) =
            secrets::policies(&body["properties"]["authorizationPolicies"], &mut state.random)
        {
            hub.policies = Arc::new(policies);
        }
        validate::check(&hub, old.as_deref(), &settings.refusals).map_err(|error| call.refuse(&error))?;
        let mut failure = match access::check(state, &hub, old.as_deref(), call.now, settings) {
            Err(error) if settings.endpoint_validation == EndpointValidation::Sync => {
                return Err(call.refuse(&error));
            }
            other => other.err(),
        };
        if let Some(fault) = call.hits.get(FaultKind::FailOperation) {
            failure = Some(asked_for(fault));
        }

        state.counters.hub_puts_accepted += 1;
        state.old_secrets.extend(old_secrets);
        state.old_secrets.extend(hub.secrets());
        let answered = if settings.unmask_put_answer { sent } else { shown };
        let answer = put_answer(state, &hub, known.is_some(), answered, &body, settings);
        let (kind, mut duration) = match known {
            Some(_) => (OpKind::Update, settings.hub_update_seconds),
            None => (OpKind::Create, settings.hub_create_seconds),
        };
        if let Some(fault) = call.hits.get(FaultKind::SlowOperation) {
            duration += fault.seconds.unwrap_or(600.0);
        }
        let hide = call.hits.get(FaultKind::NotFoundWindow).map(|fault| fault.seconds.unwrap_or(60.0));
        if let Some(known) = known.as_ref().filter(|_| call.hits.get(FaultKind::DropChange).is_some()) {
            hub = known.clone();
        }
        let plan = Plan { kind, seconds: duration, before: known, failure, hide };
        Ok(self.accept(state, call, hub, plan, Reply::json(201, answer), false))
    }

    /// A PATCH: tags, and nothing else.
    pub(in crate::local::azure) fn patch_hub(&self, state: &mut State, call: &Call, id: &IotHubId) -> Answer {
        let settings = &self.inner.settings;
        let body = call.json()?;
        let known = state.hub(call, id)?.clone();
        ready(state, call, id, Some(&known), None, settings)?;
        if ["identity", "properties", "sku"].iter().any(|name| !body[*name].is_null()) {
            return Err(call.refuse(&HubError::new(400_158, "Only tags can be changed by PATCH.")));
        }
        let mut hub = known.clone();
        if let Some(tags) = body.get("tags").filter(|tags| tags.is_object()) {
            hub.tags = tags.clone();
        }
        let failure = call.hits.get(FaultKind::FailOperation).map(asked_for);
        let slow =
            call.hits.get(FaultKind::SlowOperation).map_or(0.0, |fault| fault.seconds.unwrap_or(600.0));
        let hide = call.hits.get(FaultKind::NotFoundWindow).map(|fault| fault.seconds.unwrap_or(60.0));
        let plan = Plan {
            kind: OpKind::Update,
            seconds: settings.hub_update_seconds + slow,
            before: Some(known),
            failure,
            hide,
        };
        let view = hub.view(state, call.version());
        Ok(self.accept(state, call, hub, plan, Reply::json(200, view), false))
    }

    /// A DELETE. What is not there is 204.
    pub(in crate::local::azure) fn delete_hub(
        &self,
        state: &mut State,
        call: &Call,
        id: &IotHubId,
    ) -> Answer {
        let settings = &self.inner.settings;
        let Some(known) = state.hubs.get(id.key()).cloned() else { return Ok(Reply::empty(204)) };
        ready(state, call, id, Some(&known), None, settings)?;
        state.old_secrets.extend(known.secrets());
        let slow =
            call.hits.get(FaultKind::SlowOperation).map_or(0.0, |fault| fault.seconds.unwrap_or(600.0));
        let failure = call.hits.get(FaultKind::FailOperation).map(asked_for);
        let plan = Plan {
            kind: OpKind::Delete,
            seconds: settings.hub_delete_seconds + slow,
            before: Some(known.clone()),
            failure,
            hide: None,
        };
        Ok(self.accept(state, call, known, plan, Reply::empty(202), true))
    }

    /// Makes a write an operation, and adds the headers that lead to it.
    fn accept(
        &self,
        state: &mut State,
        call: &Call,
        mut hub: Hub,
        plan: Plan,
        reply: Reply,
        location: bool,
    ) -> Reply {
        let phase = match plan.kind {
            OpKind::Create => Phase::Activating,
            OpKind::Update => Phase::Transitioning,
            OpKind::Delete => Phase::Deleting,
        };
        hub.phase = phase;
        hub.provisioning = phase.word();
        hub.hidden_until = None;
        hub.etag = state.next_etag();
        let settings = &self.inner.settings;
        let (operation, finishes) = state.start(call, &hub, plan, settings);
        state.hubs.insert(call.now, hub.id.key().to_owned(), hub);
        self.wake_at(finishes);
        let mut reply = reply.with("azure-asyncoperation", state.link(call, &operation, true));
        if location {
            reply = reply.with("location", state.link(call, &operation, false));
        }
        match super::operation::retry_after(&self.scaled()) {
            Some(wait) => reply.with("retry-after", wait),
            None => reply,
        }
    }
}

/// Whether a hub can be written: it is at rest, and the caller has seen its newest form.
fn ready(
    state: &State,
    call: &Call,
    id: &IotHubId,
    known: Option<&Hub>,
    body: Option<&Value>,
    settings: &Settings,
) -> Result<(), Reply> {
    let busy = known.is_some_and(|hub| hub.phase != Phase::Active);
    if busy || call.hits.get(FaultKind::Conflict409).is_some() {
        let message = format!(
            "{} is not currently in Active state. Try the request again after it is in Active state.",
            id.name()
        );
        return Err(call.refuse(&HubError::new(409_002, message)));
    }
    let stale =
        |tag: Option<&str>| tag.is_some_and(|tag| tag != "*" && known.is_none_or(|hub| hub.etag != tag));
    let header = call.header("if-match").and_then(header_tag);
    let in_body =
        body.and_then(|body| body["etag"].as_str()).filter(|tag| !tag.is_empty() && known.is_some());
    if call.hits.get(FaultKind::PreconditionFailed).is_some()
        || (settings.check_if_match && stale(header))
        || (settings.check_body_etag && stale(in_body))
    {
        let message = "Either bad ETag was supplied or IotHub description was changed.";
        return Err(call.refuse(&HubError::new(412_001, message)));
    }
    const ASSIGN: &str = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action";
    let fault = call.hits.get(FaultKind::DenyIdentity);
    let named = body.and_then(|body| body["identity"]["userAssignedIdentities"].as_object());
    let mut named = named.into_iter().flat_map(|map| map.keys());
    let refused =
        named.find(|identity| fault.is_some() || !state.may(&call.caller, ASSIGN, identity, call.now));
    let Some(identity) = refused else { return Ok(()) };
    let message = fault.and_then(|fault| fault.message.clone()).unwrap_or_else(|| {
        format!(
            "The client '{}' with object id '{}' has permission to perform action \
             'Microsoft.Devices/IotHubs/write' on scope '{id}'; however, it does not have permission to perform \
             action(s) '{ASSIGN}' on the linked scope(s) '{identity}' (respectively) or the linked scope(s) are invalid.",
            call.caller.client, call.caller.object
        )
    });
    Err(Reply::arm(403, "LinkedAuthorizationFailed", message))
}

/// The tag of an `If-Match` header. Old az releases sent a whole dictionary as text there, which the
/// service let pass; so does this.
fn header_tag(header: &str) -> Option<&str> {
    if header.trim_start().starts_with('{') {
        return None;
    }
    Some(header.trim().trim_start_matches("W/").trim_matches('"')).filter(|tag| !tag.is_empty())
}

fn asked_for(fault: &crate::local::azure::Fault) -> HubError {
    let code = fault.code.as_ref().and_then(|code| {
        code.as_u64()
            .or_else(|| code.as_str().and_then(|text| text.parse().ok()))
            .and_then(|code| u32::try_from(code).ok())
    });
    let default = "Either bad ETag was supplied or IotHub description was changed.";
    HubError::new(code.unwrap_or(412_001), fault.message.as_deref().unwrap_or(default))
}

/// The id as the hub keeps it: with the group's own spelling.
fn own_id(id: &IotHubId, group: &str) -> IotHubId {
    let text = format!(
        "/subscriptions/{}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{}",
        id.subscription(),
        id.name()
    );
    IotHubId::parse(&text).unwrap_or_else(|_| id.clone())
}

fn same_region(a: &str, b: &str) -> bool {
    document::plain_region(a) == document::plain_region(b)
}

fn check_sku(sku: &Value) -> Result<(), HubError> {
    let name = sku["name"].as_str().unwrap_or_default().to_ascii_uppercase();
    let most = match name.as_str() {
        "F1" => 1,
        "S3" | "B3" => 10,
        "S1" | "S2" | "B1" | "B2" => 200,
        _ => return Err(HubError::invalid(format!("The sku '{name}' is not valid."))),
    };
    let capacity = sku.get("capacity").filter(|capacity| !capacity.is_null());
    match capacity.map(Value::as_u64) {
        None => Ok(()),
        Some(Some(units)) if (1..=most).contains(&units) => Ok(()),
        Some(_) => Err(HubError::invalid(format!("The capacity is out of range for {name}."))),
    }
}

/// The wanted identities. An identity that is left out is gone; ids that only the service knows
/// (`principalId`, `tenantId`) are passed over.
fn parse_identity(
    state: &State,
    call: &Call,
    hub: &IotHubId,
    block: &Value,
) -> Result<(bool, Vec<String>), Reply> {
    let kind = block["type"].as_str().unwrap_or("None");
    let (mut system, mut user) = (false, false);
    for word in kind.split(',').map(|word| word.trim().to_ascii_lowercase()) {
        match word.as_str() {
            "systemassigned" => system = true,
            "userassigned" => user = true,
            "none" | "" => {}
            _ => {
                let message = format!("The identity type '{kind}' is not valid.");
                return Err(Reply::arm(400, "InvalidIdentityType", message));
            }
        }
    }
    let listed = block["userAssignedIdentities"].as_object();
    let mut users = Vec::new();
    for (id, value) in listed.into_iter().flatten() {
        if value.is_null() {
            continue;
        }
        let known = ResourceId::parse(id).ok().and_then(|id| state.identities.get(id.key()));
        let Some(known) = known else {
            let message = format!(
                "Identity operation for resource '{hub}' failed with error 'Failed to perform resource identity \
                 operation. Status: 'BadRequest'. Response: '{{\"error\":{{\"code\":\"BadRequest\",\"message\":\
                 \"Resource '{id}' was not found.\"}}}}'.'."
            );
            return Err(Reply::arm(400, "FailedIdentityOperation", message));
        };
        if !users.contains(&known.id) {
            users.push(known.id.clone());
        }
    }
    if user == users.is_empty() {
        let message =
            format!("The identity type '{kind}' does not fit the user-assigned identities of the request.");
        return Err(Reply::arm(400, "InvalidRequestContent", message));
    }
    let _ = call;
    Ok((system, users))
}

/// The 201: what was sent, with the tag from before and with secrets in the clear.
fn put_answer(
    state: &State,
    hub: &Hub,
    updating: bool,
    sent: Map<String, Value>,
    body: &Value,
    settings: &Settings,
) -> Value {
    let mut answer = hub.head(updating.then_some(hub.etag.as_str()));
    let mut shown = Map::new();
    if updating {
        shown.insert(
            "operationsMonitoringProperties".to_owned(),
            json!({"events": {
                "None": "None", "Connections": "None", "DeviceTelemetry": "None", "C2DCommands": "None",
                "DeviceIdentityOperations": "None", "FileUploadOperations": "None", "Routes": "None",
            }}),
        );
    }
    shown.insert("provisioningState".to_owned(), json!("Accepted"));
    if sent.contains_key("authorizationPolicies") || (updating && settings.policies_in_put_answer) {
        shown.insert("authorizationPolicies".to_owned(), json!(*hub.policies));
    }
    for (name, value) in sent {
        if name != "authorizationPolicies" {
            shown.insert(name, value);
        }
    }
    if updating {
        let events = hub.properties["eventHubEndpoints"]["events"].clone();
        let all = shown.entry("eventHubEndpoints").or_insert_with(|| json!({"events": events}));
        all["operationsMonitoringEvents"] = (*hub.monitoring).clone();
    }
    for (name, default) in [
        ("enableFileUploadNotifications", json!(false)),
        ("features", json!("None")),
        ("allowedFqdnList", json!([])),
    ] {
        shown.entry(name).or_insert(default);
    }
    answer.insert("properties".to_owned(), Value::Object(shown));
    answer.insert("sku".to_owned(), hub.sku.clone());
    if body["identity"].is_object() {
        let mut identity = hub.identity(state, false);
        if let Some(principal) = hub.system.as_ref().filter(|_| settings.principal_in_put_answer) {
            identity["principalId"] = json!(principal);
        }
        answer.insert("identity".to_owned(), identity);
    }
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_bare_quoted_and_as_a_dictionary() {
        assert_eq!(header_tag("AAAADGg/ebM="), Some("AAAADGg/ebM="));
        assert_eq!(header_tag("W/\"AAAADGg/ebM=\""), Some("AAAADGg/ebM="));
        assert_eq!(header_tag("{'IF-MATCH': 'AAAADGg/ebM='}"), None);
    }

    #[test]
    fn skus_have_limits() {
        assert!(check_sku(&json!({"name": "S1", "capacity": 200})).is_ok());
        assert!(check_sku(&json!({"name": "s3"})).is_ok());
        for odd in [
            json!({"name": "S3", "capacity": 11}),
            json!({"name": "X1"}),
            json!({"name": "S1", "capacity": 0}),
            json!({}),
        ] {
            assert!(check_sku(&odd).is_err(), "{odd}");
        }
    }
}
