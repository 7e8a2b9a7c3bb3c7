//! Azure's activity log: who wrote a hub, and when.
//! <https://learn.microsoft.com/rest/api/monitor/activity-logs/list>

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    error::ArmError,
    resources::{ArmReader, text},
};
use crate::model::IotHubId;

const ACTIVITY: &str = "2015-04-01";
/// The claim that holds a caller's object id.
const OBJECT_ID: &str = "http://schemas.microsoft.com/identity/claims/objectidentifier";

/// One write of a hub, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedWrite {
    /// When it got this far.
    pub at: OffsetDateTime,
    /// Whether it took effect; if not, the service has taken it on and its end may be another entry.
    pub succeeded: bool,
    /// Whether the hub was deleted.
    pub is_deletion: bool,
    /// Who, as the log names it.
    pub caller: String,
    /// Whether that is us.
    pub is_ours: bool,
    /// The correlation id that came with the write.
    pub correlation: Option<Uuid>,
}

impl ArmReader {
    /// The writes of a hub since some time ago that were not refused at the door. The log is some
    /// minutes behind.
    pub async fn hub_writes(&self, hub: &IotHubId, since: Duration) -> Result<Vec<LoggedWrite>, ArmError> {
        let path = format!(
            "/subscriptions/{}/providers/Microsoft.Insights/eventtypes/management/values",
            hub.subscription()
        );
        let now = self.client.clock().now();
        let time = |time: OffsetDateTime| {
            let whole = time.replace_nanosecond(0).unwrap_or(time);
            whole.format(&Rfc3339).unwrap_or_default()
        };
        let filter = format!(
            "eventTimestamp ge '{}' and eventTimestamp le '{}' and resourceUri eq '{hub}'",
            time(now - since),
            time(now + Duration::MINUTE)
        );
        let mut url = self.client.url(&path, ACTIVITY);
        url.query_pairs_mut().append_pair("$filter", &filter).append_pair(
            "$select",
            "caller,claims,correlationId,eventTimestamp,operationName,resourceId,status",
        );
        let list = self.list("GET activity log", url).await?;
        let own = self.client.own_ids().await?;
        Ok(list.iter().filter_map(|event| read(event, hub, &own)).collect())
    }
}

fn read(event: &Value, hub: &IotHubId, own: &[String]) -> Option<LoggedWrite> {
    let is = |pointer: &str, word: &str| {
        text(event, pointer).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    let is_deletion = is("/operationName/value", "Microsoft.Devices/IotHubs/delete");
    let is_write = is("/operationName/value", "Microsoft.Devices/IotHubs/write");
    let succeeded = is("/status/value", "Succeeded");
    let got_on = succeeded || is("/status/value", "Accepted");
    if !(is_write || is_deletion) || !got_on || !is("/resourceId", hub.as_str()) {
        return None;
    }
    let claim = |name: &str| event.get("claims")?.get(name)?.as_str();
    let caller = text(event, "/caller");
    let ids = [caller, claim("appid"), claim("oid"), claim(OBJECT_ID)];
    let is_ours = ids.into_iter().flatten().any(|id| own.iter().any(|own| own.eq_ignore_ascii_case(id)));
    Some(LoggedWrite {
        at: OffsetDateTime::parse(text(event, "/eventTimestamp")?, &Rfc3339).ok()?,
        succeeded,
        is_deletion,
        caller: caller.unwrap_or("unknown").to_owned(),
        is_ours,
        correlation: text(event, "/correlationId").and_then(|id| Uuid::try_parse(id).ok()),
    })
}

/// What a token says about whoever it is for. Nothing is proven by it and nothing has to be: it is our
/// own token.
pub(super) fn claims_in_token(token: &str) -> Value {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    claims.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

/// Client id and object id of whoever a token is for.
pub(super) fn ids_in_token(token: &str) -> Vec<String> {
    let claims = claims_in_token(token);
    ["appid", "azp", "oid"].iter().filter_map(|name| Some(claims.get(name)?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/h";

    fn event(pointer: &str, value: Value) -> Option<LoggedWrite> {
        let mut event = json!({
            "operationName": {"value": "Microsoft.Devices/IotHubs/write"}, "status": {"value": "Succeeded"},
            "resourceId": HUB.to_uppercase(), "eventTimestamp": "2026-01-31T12:00:00Z", "caller": "them",
            "claims": {}, "correlationId": null,
        });
        *event.pointer_mut(pointer).unwrap() = value;
        read(&event, &IotHubId::parse(HUB).unwrap(), &["our-app".to_owned(), "our-object".to_owned()])
    }

    #[test]
    fn a_write_of_the_hub_that_got_on_counts_and_nothing_else() {
        let is_one = |pointer: &str, value: &str| event(pointer, value.into()).is_some();
        assert!(is_one("/caller", "them"));
        assert!(is_one("/operationName/value", "microsoft.devices/iothubs/WRITE"));
        assert!(
            event("/operationName/value", "Microsoft.Devices/IotHubs/delete".into()).unwrap().is_deletion
        );
        assert!(!event("/caller", "them".into()).unwrap().is_deletion);
        assert!(!is_one("/operationName/value", "Microsoft.Devices/IotHubs/listkeys/action"));
        assert!(!event("/status/value", "Accepted".into()).unwrap().succeeded);
        assert!(event("/status/value", "Succeeded".into()).unwrap().succeeded);
        assert!(!is_one("/status/value", "Failed"));
        assert!(!is_one("/status/value", "Started"));
        assert!(!is_one("/resourceId", &format!("{HUB}/eventHubEndpoints/events")));
        assert!(!is_one("/eventTimestamp", "yesterday"));
    }

    #[test]
    fn a_write_is_ours_by_any_of_the_ids_that_the_log_may_show() {
        assert!(!event("/caller", "them".into()).unwrap().is_ours);
        assert!(event("/caller", "OUR-OBJECT".into()).unwrap().is_ours);
        for claim in ["appid", "oid", OBJECT_ID] {
            assert!(event("/claims", json!({claim: "our-app"})).unwrap().is_ours, "{claim}");
        }
        let nobody = event("/caller", Value::Null).unwrap();
        assert_eq!((nobody.caller.as_str(), nobody.is_ours), ("unknown", false));
    }

    #[test]
    fn a_token_tells_whom_it_is_for() {
        let token = |claims: Value| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()));
        assert_eq!(ids_in_token(&token(json!({"oid": "o", "appid": "a", "aud": "x"}))), ["a", "o"]);
        assert_eq!(ids_in_token(&token(json!({"azp": "a"}))), ["a"]);
        assert!(ids_in_token("no token").is_empty());
    }
}
