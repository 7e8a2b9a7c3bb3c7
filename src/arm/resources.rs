//! The operations Hubward uses, split by power: [`ArmReader`] can only read, [`ArmWriter`] writes.
//!
//! A command that only plans is handed a reader and has no way to write.

use azure_core::http::Method;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    client::{ArmClient, Call, Repeat},
    error::ArmError,
};
use crate::model::{
    IotHubId, ResourceId,
    hub::{HubDocument, PutBody},
    observed::{Grant, ObservedTarget},
    role::Role,
};

/// Newest stable api-version of IoT Hub. Older ones break identity endpoints; never use one.
const IOT_HUB: &str = "2023-06-30";
/// Role assignments.
const AUTHORIZATION: &str = "2022-04-01";
/// Event Hubs.
const EVENT_HUB: &str = "2024-01-01";
/// User-assigned identities.
const MANAGED_IDENTITY: &str = "2023-01-31";

/// Reads from ARM.
#[derive(Clone)]
pub struct ArmReader {
    client: ArmClient,
}

/// Writes to ARM, and reads.
#[derive(Clone)]
pub struct ArmWriter {
    reader: ArmReader,
}

impl ArmReader {
    /// The reading half of a client.
    pub fn new(client: ArmClient) -> Self {
        Self { client }
    }

    /// The client below.
    pub fn client(&self) -> &ArmClient {
        &self.client
    }

    async fn get(&self, label: &'static str, path: &str, api_version: &str) -> Result<Value, ArmError> {
        let url = self.client.url(path, api_version);
        let call = Call { label, method: Method::Get, url, if_match: None, body: None, repeat: Repeat::Safe };
        self.client.send(call).await?.json(label)
    }

    /// Reads a list, page by page.
    async fn list(&self, label: &'static str, first: azure_core::http::Url) -> Result<Vec<Value>, ArmError> {
        let mut values = Vec::new();
        let mut next = Some(first);
        while let Some(url) = next {
            let call =
                Call { label, method: Method::Get, url, if_match: None, body: None, repeat: Repeat::Safe };
            let mut page = self.client.send(call).await?.json(label)?;
            if let Some(Value::Array(page)) = page.get_mut("value").map(Value::take) {
                values.extend(page);
            }
            next = match page.get("nextLink").and_then(Value::as_str).filter(|link| !link.is_empty()) {
                Some(link) => Some(self.client.own_link(label, link)?),
                None => None,
            };
        }
        Ok(values)
    }

    /// Reads a hub. `None` if there is none; right after a write of ours that may pass.
    pub async fn hub(&self, id: &IotHubId) -> Result<Option<HubDocument>, ArmError> {
        match self.get("GET hub", id.as_str(), IOT_HUB).await {
            Ok(json) => HubDocument::from_json(json)
                .map(Some)
                .map_err(|error| ArmError::Unreadable { call: "GET hub".into(), cause: error.to_string() }),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The hubs of one subscription.
    pub async fn hubs(&self, subscription: &str) -> Result<Vec<HubDocument>, ArmError> {
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Devices/IotHubs");
        let list = self.list("GET hubs", self.client.url(&path, IOT_HUB)).await?;
        list.into_iter()
            .map(|json| {
                HubDocument::from_json(json).map_err(|error| ArmError::Unreadable {
                    call: "GET hubs".into(),
                    cause: error.to_string(),
                })
            })
            .collect()
    }

    /// Reads an event hub and the address of its namespace. The address comes from ARM and never
    /// changes, so it is read once per process.
    pub async fn event_hub(&self, id: &ResourceId) -> Result<ObservedTarget, ArmError> {
        let Some(namespace) = id.parent() else {
            return Ok(ObservedTarget::Unreadable(format!("{id} has no namespace")));
        };
        let Some(endpoint_uri) = self.namespace_address(&namespace).await? else {
            return Ok(ObservedTarget::Missing(namespace));
        };
        match self.get("GET event hub", id.as_str(), EVENT_HUB).await {
            Ok(json) => {
                let name = json.get("name").and_then(Value::as_str).unwrap_or(id.name());
                Ok(ObservedTarget::EventHub { endpoint_uri, entity_path: name.to_owned() })
            }
            Err(error) if error.is_not_found() => Ok(ObservedTarget::Missing(id.clone())),
            Err(error) => Err(error),
        }
    }

    /// `sb://{host}` of a namespace, from `serviceBusEndpoint` (`https://{host}:443/`).
    async fn namespace_address(&self, namespace: &ResourceId) -> Result<Option<String>, ArmError> {
        let known =
            |addresses: &std::collections::BTreeMap<String, String>| addresses.get(namespace.key()).cloned();
        let cache = self.client.namespaces();
        if let Some(address) = known(&cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
            return Ok(Some(address));
        }
        const LABEL: &str = "GET namespace";
        let json = match self.get(LABEL, namespace.as_str(), EVENT_HUB).await {
            Ok(json) => json,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let address = json
            .pointer("/properties/serviceBusEndpoint")
            .and_then(Value::as_str)
            .and_then(|text| azure_core::http::Url::parse(text).ok())
            .and_then(|url| Some(format!("sb://{}", url.host_str()?)))
            .ok_or_else(|| ArmError::Unreadable {
                call: LABEL.into(),
                cause: format!("the namespace {} shows no serviceBusEndpoint", namespace.name()),
            })?;
        cache
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(namespace.key().to_owned(), address.clone());
        Ok(Some(address))
    }

    /// The principal of a user-assigned identity; `None` if there is no such identity.
    pub async fn user_identity(&self, id: &ResourceId) -> Result<Option<String>, ArmError> {
        match self.get("GET identity", id.as_str(), MANAGED_IDENTITY).await {
            Ok(json) => {
                Ok(json.pointer("/properties/principalId").and_then(Value::as_str).map(str::to_owned))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The role assignments of a principal at a scope, above it and below it.
    pub async fn grants(&self, scope: &ResourceId, principal: &str) -> Result<Vec<Grant>, ArmError> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments");
        let mut url = self.client.url(&path, AUTHORIZATION);
        url.query_pairs_mut().append_pair("$filter", &format!("principalId eq '{principal}'"));
        let list = self.list("GET grants", url).await?;
        Ok(list.iter().filter_map(read_grant).collect())
    }
}

impl ArmWriter {
    /// Reads and writes through a client.
    pub fn new(client: ArmClient) -> Self {
        Self { reader: ArmReader::new(client) }
    }

    /// The reading half.
    pub fn reader(&self) -> &ArmReader {
        &self.reader
    }

    fn client(&self) -> &ArmClient {
        &self.reader.client
    }

    /// Writes a hub and waits until the write is through. The etag goes both into `If-Match` and
    /// into the body: the service was seen to ignore a wrong header.
    ///
    /// The answer to the PUT holds keys. Its body is dropped unread.
    pub async fn put_hub(&self, id: &IotHubId, body: &PutBody) -> Result<(), ArmError> {
        const LABEL: &str = "PUT hub";
        let call = Call {
            label: LABEL,
            method: Method::Put,
            url: self.client().url(id.as_str(), IOT_HUB),
            if_match: body.etag.as_deref(),
            body: Some(&body.json),
            repeat: Repeat::IfRefused,
        };
        let mut accepted = self.client().send(call).await?;
        accepted.body = Vec::new();
        self.client().finish(LABEL, accepted).await
    }

    /// Grants a role. The assignment's name follows from scope, principal and role, so the same
    /// grant is the same write. Answers with the assignment as Azure has it, with its age.
    pub async fn grant(
        &self,
        scope: &ResourceId,
        role: Role,
        principal: &str,
        reason: &str,
    ) -> Result<Grant, ArmError> {
        const LABEL: &str = "PUT grant";
        let name = super::assignment_name(scope, role, principal);
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
        let definition = format!(
            "/subscriptions/{}/providers/Microsoft.Authorization/roleDefinitions/{}",
            scope.subscription(),
            role.guid()
        );
        let body = json!({"properties": {
            "roleDefinitionId": definition,
            "principalId": principal,
            // Without it a fresh identity is "not found", and a delegation condition on the
            // principal's type refuses the write.
            "principalType": "ServicePrincipal",
            "description": reason,
        }});
        let call = Call {
            label: LABEL,
            method: Method::Put,
            url: self.client().url(&path, AUTHORIZATION),
            if_match: None,
            body: Some(&body),
            repeat: Repeat::Safe,
        };
        let json = self.client().send(call).await?.json(LABEL)?;
        read_grant(&json).ok_or_else(|| ArmError::Unreadable {
            call: LABEL.into(),
            cause: "the role assignment has no scope, principal or createdOn".into(),
        })
    }
}

fn read_grant(json: &Value) -> Option<Grant> {
    let properties = json.get("properties")?;
    let text = |name: &str| properties.get(name).and_then(Value::as_str);
    Some(Grant {
        scope: ResourceId::parse(text("scope")?).ok()?,
        role: Role::from_definition_id(text("roleDefinitionId")?),
        principal: text("principalId")?.to_owned(),
        is_conditional: text("condition").is_some_and(|condition| !condition.is_empty()),
        created_on: OffsetDateTime::parse(text("createdOn")?, &Rfc3339).ok()?,
    })
}
