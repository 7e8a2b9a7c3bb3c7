//! Everything about hubs that changes nothing: GET, lists, keys, names, health.

use serde_json::{Value, json};

use super::{Hub, Phase, routes};
use crate::{
    local::azure::{
        Azure,
        answer::{Answer, HubError, Reply},
        call::Call,
        events::Happening,
        resources::{no_route, page},
        state::State,
    },
    model::{IotHubId, ResourceId},
};

impl State {
    /// A hub that is there and not hidden. For one that never was, ARM answers; for one that is gone
    /// or hidden, the provider does.
    pub(super) fn hub(&self, call: &Call, id: &IotHubId) -> Result<&Hub, Reply> {
        let group = id.resource_group().unwrap_or_default();
        if let Some(hub) = self.hubs.get(id.key()).filter(|hub| !hub.is_hidden(call.now)) {
            return Ok(hub);
        }
        if self.hubs.contains_key(id.key()) || self.deleted_hubs.contains(id.key()) {
            let message = format!(
                "IotHub '{}' not found under ResourceGroup '{group}' and Subscription '{}'.",
                id.name(),
                id.subscription()
            );
            return Err(call.refuse(&HubError::new(404_002, message)));
        }
        let message = format!(
            "The Resource 'Microsoft.Devices/IotHubs/{}' under resource group '{group}' was not found. For more \
             details please go to https://aka.ms/ARMResourceNotFoundFix",
            id.name()
        );
        Err(Reply::not_found("ResourceNotFound", message))
    }
}

impl Azure {
    /// Calls below `…/providers/Microsoft.Devices`; `rest` is what follows, lower-cased.
    pub(in crate::local::azure) fn devices(&self, call: &Call, scope: &str, rest: &[&str]) -> Answer {
        let mut state = self.lock();
        state.check_scope(scope)?;
        let settings = &self.inner.settings;
        match (call.method.as_str(), rest) {
            ("POST", ["checknameavailability"]) => check_name(&state, call),
            ("GET", ["locations", _, "operationresults", _]) => {
                // The id is compared as it came: base64 knows upper and lower case.
                let id = call.path.rsplit('/').next().unwrap_or_default();
                state.poll(call, id, &self.scaled())
            }
            ("GET", ["iothubs"]) => {
                let below = scope.to_ascii_lowercase();
                let all = state
                    .hubs
                    .iter()
                    .filter(|(key, hub)| {
                        super::super::state::is_within(key, &below) && !hub.is_hidden(call.now)
                    })
                    .map(|(_, hub)| hub.view(&state, call.version()))
                    .collect();
                Ok(page(call, all, settings.page_size))
            }
            (method, ["iothubs", _, below @ ..]) => {
                let cut = call.segments().len() - below.len();
                let id = format!("/{}", call.segments()[..cut].join("/"));
                let id = IotHubId::parse(&id).map_err(|_| no_route(call))?;
                match (method, below) {
                    ("PUT" | "PATCH" | "DELETE", []) => {
                        let answer = match method {
                            "PUT" => self.put_hub(&mut state, call, &id),
                            "PATCH" => self.patch_hub(&mut state, call, &id),
                            _ => self.delete_hub(&mut state, call, &id),
                        };
                        if let Err(refusal) = &answer {
                            state.log_refused(call, id.as_str(), refusal.status);
                        }
                        answer
                    }
                    ("GET", []) => {
                        let hub = state.hub(call, &id)?;
                        Ok(Reply::json(200, hub.view(&state, call.version())))
                    }
                    _ => self.below_hub(&mut state, call, &id, below),
                }
            }
            _ => Err(no_route(call)),
        }
    }

    fn below_hub(&self, state: &mut State, call: &Call, id: &IotHubId, below: &[&str]) -> Answer {
        let hub = state.hub(call, id)?.clone();
        match (call.method.as_str(), below) {
            ("POST", ["listkeys"]) => {
                self.listed(state, call, id, "Microsoft.Devices/iotHubs/listkeys/Action");
                Ok(Reply::json(200, json!({"value": *hub.policies})))
            }
            ("POST", ["iothubkeys", name, "listkeys"]) => {
                let found = hub.policies.iter().find(|policy| {
                    policy["keyName"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name))
                });
                let Some(found) = found.cloned() else {
                    let message = format!("SharedAccessKey '{name}' not found.");
                    return Err(call.refuse(&HubError::new(404_004, message)));
                };
                self.listed(state, call, id, "Microsoft.Devices/iotHubs/iotHubKeys/listkeys/Action");
                Ok(Reply::json(200, found))
            }
            ("GET", ["routingendpointshealth"]) => {
                let all = state.health_of(&hub);
                Ok(page(call, all, self.inner.settings.page_size))
            }
            ("POST", ["exportdevices" | "importdevices"]) | ("GET", ["jobs"] | ["jobs", _]) => {
                self.arm_jobs(state, call, id.key(), below)
            }
            ("POST", ["routing", "routes", "$testall"]) => routes::test_all(&hub, call),
            ("POST", ["routing", "routes", "$testnew"]) => routes::test_new(call),
            ("GET", ["skus"]) => {
                let sku = |name: &str, most: u32| {
                    json!({
                        "resourceType": "Microsoft.Devices/IotHubs",
                        "sku": {"name": name, "tier": "Standard"},
                        "capacity": {"minimum": 1, "maximum": most, "default": 1, "scaleType": "Manual"},
                    })
                };
                Ok(Reply::json(200, json!({"value": [sku("S1", 200), sku("S2", 200), sku("S3", 10)]})))
            }
            ("GET", ["providers", "microsoft.managedidentity", "identities", "default"]) => {
                let principal = hub.system.as_ref().filter(|_| hub.phase == Phase::Active);
                let Some(principal) = principal else {
                    let message = "The identity of the resource was not found.";
                    return Err(Reply::arm(404, "ResourceNotFound", message));
                };
                Ok(Reply::json(
                    200,
                    json!({
                        "id": format!("{}/providers/Microsoft.ManagedIdentity/identities/default", hub.id),
                        "name": "default",
                        "type": "Microsoft.ManagedIdentity/identities",
                        "location": hub.location,
                        "properties": {"tenantId": state.tenant, "principalId": principal, "clientId": principal},
                    }),
                ))
            }
            _ => Err(no_route(call)),
        }
    }

    fn listed(&self, state: &mut State, call: &Call, id: &IotHubId, operation: &str) {
        let what = Happening::of(call, "Action", id.as_str(), operation, true);
        state.emit(&what, call.now, &self.inner.settings.events);
    }
}

fn check_name(state: &State, call: &Call) -> Answer {
    let body = call.json()?;
    let name = body["name"].as_str().unwrap_or_default();
    if state.hubs.values().any(|hub| hub.id.name().eq_ignore_ascii_case(name)) {
        return Ok(Reply::json(
            200,
            json!({
                "nameAvailable": false, "reason": "AlreadyExists",
                "message": format!("IotHub name '{name}' is not available"),
            }),
        ));
    }
    let fits = ResourceId::parse(&format!(
        "{}/x/{name}",
        "/subscriptions/00000000-0000-0000-0000-000000000000/providers/A.B"
    ))
    .is_ok();
    let message = if fits { Value::Null } else { json!("The name is not valid") };
    Ok(Reply::json(200, json!({"nameAvailable": fits, "reason": "Invalid", "message": message})))
}
