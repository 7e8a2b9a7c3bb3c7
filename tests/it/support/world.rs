//! A small world for plan stories: start at rest, disturb one thing, read the plan as an operator
//! would.

use std::collections::{BTreeMap, BTreeSet};

use hubward::{
    desired::{Choice, DesiredState},
    model::{
        IotHubId, ResourceId,
        desired::DesiredHub,
        hub::{HubDocument, Secrets},
        observed::{Grant, HeldRole, Network, ObservedHub, ObservedTarget, TargetFacts},
        role::Role,
    },
    plan::{HubPlan, Step, plan},
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, macros::datetime};

pub(crate) const SUBSCRIPTION: &str = "0b1f6471-1bf0-4dda-aec3-cb9272f09590";
pub(crate) const PRINCIPAL: &str = "58cc0000-0000-4000-8000-000000000001";
pub(crate) const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);

pub(crate) fn id(rest: &str) -> ResourceId {
    ResourceId::parse(&format!("/subscriptions/{SUBSCRIPTION}{rest}")).unwrap()
}

pub(crate) fn event_hub(name: &str) -> ResourceId {
    id(&format!("/resourceGroups/rg-data/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/{name}"))
}

pub(crate) fn hub_id(name: &str) -> IotHubId {
    IotHubId::parse(
        id(&format!("/resourceGroups/rg-plant-01/providers/Microsoft.Devices/IotHubs/{name}")).as_str(),
    )
    .unwrap()
}

/// One hub, what the sample profile wants of it, and what is found.
pub(crate) struct World {
    pub(crate) profiles: String,
    pub(crate) hub: Value,
    pub(crate) targets: BTreeMap<ResourceId, ObservedTarget>,
    pub(crate) user_identities: BTreeMap<ResourceId, Option<String>>,
    pub(crate) grants: Vec<Grant>,
}

impl World {
    /// A hub just created: no identity, nothing routed.
    pub(crate) fn new_hub() -> Self {
        let mut world = Self {
            profiles: hubward::desired::sample().to_owned(),
            hub: json!({
                "id": hub_id("hub1").as_str(), "name": "hub1", "type": "Microsoft.Devices/IotHubs",
                "location": "westus2", "tags": {"egress": "standard"}, "etag": "AAAAAAAAAAE=",
                "properties": {
                    "state": "Active", "provisioningState": "Succeeded", "hostName": "hub1.azure-devices.net",
                    "eventHubEndpoints": {"events": {"retentionTimeInDays": 1, "partitionCount": 4, "path": "hub1"}},
                    "routing": {
                        "endpoints": {"eventHubs": [], "serviceBusQueues": [], "serviceBusTopics": [], "storageContainers": []},
                        "routes": [],
                        "fallbackRoute": {"name": "$fallback", "source": "DeviceMessages", "condition": "true", "endpointNames": ["events"], "isEnabled": true}
                    }
                },
                "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
                "identity": {"type": "None"}
            }),
            targets: BTreeMap::new(),
            user_identities: BTreeMap::new(),
            grants: Vec::new(),
        };
        world.add_target(&event_hub("telemetry-westus2"), "sb://ns1.servicebus.windows.net");
        world
    }

    /// A hub that is as the sample profile wants it.
    pub(crate) fn at_rest() -> Self {
        let mut world = Self::new_hub();
        world.hub["identity"] = json!({"type": "SystemAssigned", "principalId": PRINCIPAL, "tenantId": "t"});
        world.hub["properties"]["routing"]["endpoints"]["eventHubs"] = json!([{
            "name": "telemetry", "id": "9c3bf0c6-0d7e-4a5a-93f5-3e1a6d4c0001", "subscriptionId": SUBSCRIPTION,
            "resourceGroup": "rg-data", "authenticationType": "identityBased",
            "endpointUri": "sb://ns1.servicebus.windows.net", "entityPath": "telemetry-westus2"
        }]);
        world.hub["properties"]["routing"]["routes"] = json!([{
            "name": "all", "source": "DeviceMessages", "condition": "true",
            "endpointNames": ["telemetry"], "isEnabled": true
        }]);
        world.grant(event_hub("telemetry-westus2"), PRINCIPAL, Duration::hours(3));
        world
    }

    pub(crate) fn grant(&mut self, scope: ResourceId, principal: &str, age: Duration) {
        self.grants.push(Grant {
            id: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{}", self.grants.len()),
            scope,
            role: HeldRole::Ours(Role::EventHubsDataSender),
            principal: principal.into(),
            is_conditional: false,
            created_on: Some(NOW - age),
            description: None,
        });
    }

    /// Something to send to that everybody may reach.
    pub(crate) fn add_target(&mut self, id: &ResourceId, endpoint_uri: &str) {
        let target = ObservedTarget::Found(TargetFacts {
            endpoint_uri: endpoint_uri.into(),
            entity: id.name().into(),
            network: Network::Open,
            takes_keys: true,
        });
        self.targets.insert(id.clone(), target);
    }

    pub(crate) fn endpoint(&mut self) -> &mut Value {
        &mut self.hub["properties"]["routing"]["endpoints"]["eventHubs"][0]
    }

    pub(crate) fn document(&self) -> HubDocument {
        HubDocument::from_json(self.hub.clone()).unwrap()
    }

    pub(crate) fn state(&self) -> DesiredState {
        DesiredState::parse(&self.profiles).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    pub(crate) fn desired(&self) -> DesiredHub {
        match self.state().for_document(&self.document()) {
            Choice::Desired(desired) => desired,
            other => panic!("the profile is not for this hub: {other:?}"),
        }
    }

    pub(crate) fn observed(&self) -> ObservedHub {
        ObservedHub {
            hub: self.document(),
            targets: self.targets.clone(),
            user_identities: self.user_identities.clone(),
            grants: self.grants.clone(),
            readable: BTreeSet::new(),
            assignments_left: BTreeMap::new(),
        }
    }

    pub(crate) fn plan(&self) -> HubPlan {
        plan(&self.desired(), &self.observed(), self.state().guardrails(), NOW)
    }

    /// The plan for what the profile wants, and a change to that.
    pub(crate) fn plan_with(&self, change: impl FnOnce(&mut DesiredHub)) -> HubPlan {
        let mut desired = self.desired();
        change(&mut desired);
        plan(&desired, &self.observed(), self.state().guardrails(), NOW)
    }

    /// The plan in words.
    pub(crate) fn rendered(&self) -> String {
        self.plan().to_string()
    }

    /// What the service would make of the plan's first step, so that the next plan can be read.
    pub(crate) fn carry_out_first_step(&mut self) {
        match self.plan().steps.first().cloned().expect("a step") {
            Step::EditHub { edit } => {
                let mut body = edit.put_body(&self.document(), &Secrets::default()).unwrap().json;
                for (name, value) in self.hub.as_object().unwrap() {
                    if body.get(name).is_none() {
                        body[name] = value.clone();
                    }
                }
                for name in ["state", "provisioningState", "hostName"] {
                    body["properties"][name] = self.hub["properties"][name].clone();
                }
                if body["identity"]["type"].as_str().is_some_and(|word| word.contains("SystemAssigned")) {
                    body["identity"]["principalId"] = PRINCIPAL.into();
                }
                self.hub = body;
            }
            Step::Grant(step) => {
                let principal = step.principal.expect("a principal");
                self.grant(step.scope, &principal, Duration::ZERO);
            }
            Step::Revoke(step) => self.grants.retain(|grant| grant.id != step.id),
            Step::AwaitPropagation { .. } => {
                for grant in &mut self.grants {
                    grant.created_on = grant.created_on.map(|at| at - Duration::seconds(60));
                }
            }
        }
    }
}
