//! IoT hubs: read, listed, written; and what they tell about their routing.
//! <https://learn.microsoft.com/rest/api/iothub/iot-hub-resource>

use azure_core::http::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use uuid::Uuid;

use super::{
    client::{Call, Repeat},
    error::ArmError,
    pace::Urgency,
    resources::{ArmReader, ArmWriter, IOT_HUB, ListPages, text},
};
use crate::model::{
    IotHubId,
    hub::{HubDocument, PutBody},
};

/// What a hub tells about one of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointHealth {
    /// The endpoint's own id, or `events`.
    pub endpoint_id: String,
    /// `unknown` until something was sent; then `healthy`, `degraded`, `unhealthy` or `dead`.
    pub status: String,
    /// The last error, in the service's words.
    pub last_known_error: Option<String>,
    /// When something was last sent there, if the service tells: what it says is as old as that.
    pub last_attempt: Option<OffsetDateTime>,
}

impl ArmReader {
    /// Reads a hub. `None` if there is none; right after a write of ours that may pass.
    pub async fn hub(&self, id: &IotHubId) -> Result<Option<HubDocument>, ArmError> {
        self.hub_as("GET hub", id).await
    }

    pub(super) async fn hub_as(
        &self,
        label: &'static str,
        id: &IotHubId,
    ) -> Result<Option<HubDocument>, ArmError> {
        let json = self.find(label, id.as_str(), IOT_HUB).await?;
        json.map(|json| document(label, json)).transpose()
    }

    /// The hubs of one subscription.
    pub async fn hubs(&self, subscription: &str) -> Result<Vec<HubDocument>, ArmError> {
        const LABEL: &str = "GET hubs";
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Devices/IotHubs");
        let list = self.list(LABEL, self.client.url(&path, IOT_HUB)).await?;
        list.into_iter().map(|json| document(LABEL, json)).collect()
    }

    /// The hubs of one subscription, page by page, as they are.
    pub fn fleet_hubs(&self, subscription: &str) -> ListPages {
        let path = format!("/subscriptions/{subscription}/providers/Microsoft.Devices/IotHubs");
        self.pages("GET fleet hubs", self.client.url(&path, IOT_HUB))
    }

    /// How the hub's endpoints fare.
    pub async fn endpoint_health(&self, id: &IotHubId) -> Result<Vec<EndpointHealth>, ArmError> {
        let path = format!("{id}/routingEndpointsHealth");
        let list = self.list("GET endpoint health", self.client.url(&path, IOT_HUB)).await?;
        let health = list.iter().filter_map(|json| {
            Some(EndpointHealth {
                endpoint_id: text(json, "/endpointId")?.to_owned(),
                status: text(json, "/healthStatus").unwrap_or("unknown").to_owned(),
                last_known_error: text(json, "/lastKnownError").map(str::to_owned),
                last_attempt: text(json, "/lastSendAttemptTime")
                    .and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok()),
            })
        });
        Ok(health.collect())
    }

    /// Names of the routes that would take an empty device message.
    pub async fn routes_for_an_empty_message(&self, id: &IotHubId) -> Result<Vec<String>, ArmError> {
        let path = format!("{id}/routing/routes/$testall");
        let body = json!({"routingSource": "DeviceMessages", "message": {"body": "{}"}});
        let answer = self.ask("POST route test", &path, IOT_HUB, &body).await?;
        let routes = answer.get("routes").and_then(Value::as_array);
        let names = routes
            .into_iter()
            .flatten()
            .filter_map(|route| text(route, "/properties/name").map(str::to_owned));
        Ok(names.collect())
    }
}

impl ArmWriter {
    /// Writes a hub, waits until the write is through, and reads the hub. The etag goes both into
    /// `If-Match` and into the body: the service was seen to ignore a wrong header. `mark` becomes
    /// the correlation id, which Azure's activity log keeps. `urgency` is early if more has to follow.
    ///
    /// The answer to the PUT holds keys. Its body is dropped unread, but for whether it is JSON: if not, and if it
    /// names no operation, something on the way answered, and whether the service took the write on is not known.
    pub async fn put_hub(
        &self,
        id: &IotHubId,
        body: &PutBody,
        mark: Uuid,
        urgency: Urgency,
    ) -> Result<HubDocument, NotWritten> {
        const LABEL: &str = "PUT hub";
        let call = Call {
            method: Method::Put,
            if_match: body.etag.as_deref(),
            correlation: Some(mark),
            body: Some(&body.json),
            repeat: Repeat::IfRefused,
            urgency,
            ..Call::get(LABEL, self.client().url(id.as_str(), IOT_HUB))
        };
        let mut accepted = self.client().send(call).await.map_err(NotWritten::refused)?;
        let body_of_answer = std::mem::take(&mut accepted.body);
        if accepted.operation.is_none()
            && !body_of_answer.is_empty()
            && let Err(error) = serde_json::from_slice::<IgnoredAny>(&body_of_answer)
        {
            let cause = format!("no JSON, at line {} column {}", error.line(), error.column());
            return Err(NotWritten::after_all(ArmError::Unreadable { call: LABEL.into(), cause }));
        }
        self.settle(LABEL, id, body, accepted).await.map_err(NotWritten::after_all)
    }
}

/// A hub that is not as it was to be written, or of which that is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{error}")]
pub struct NotWritten {
    /// Why.
    pub error: ArmError,
    /// Whether the service took the write on, or may have: whatever came of it, it counts as one.
    pub may_have_been_taken_on: bool,
}

impl NotWritten {
    /// The PUT itself came to nothing, as far as can be told. A 503 says that nothing was done.
    fn refused(error: ArmError) -> Self {
        let may_have_been_taken_on = match &error {
            ArmError::Refused(refusal) if refusal.status == 503 => false,
            ArmError::ForeignLink { .. } => true,
            error => error.fate_unknown(),
        };
        Self { error, may_have_been_taken_on }
    }

    /// It was taken on, and failed, or nobody could see what became of it.
    fn after_all(error: ArmError) -> Self {
        Self { error, may_have_been_taken_on: true }
    }
}

fn document(label: &'static str, json: Value) -> Result<HubDocument, ArmError> {
    HubDocument::from_json(json)
        .map_err(|error| ArmError::Unreadable { call: label.into(), cause: error.to_string() })
}
