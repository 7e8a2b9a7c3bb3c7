//! How the simulated Azure behaves. Every duration is in Azure's own seconds, on the
//! [`SimClock`](crate::local::clock::SimClock): at speed 60, 30 seconds take half a second.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything about the simulator that is not a resource. The defaults are what was seen of Azure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Seed of all GUIDs, keys and delays.
    pub seed: u64,

    /// Seconds from the PUT that creates a hub until it is Active. Seen: 108 to 151.
    pub hub_create_seconds: f64,
    /// Seconds that an update (PUT or PATCH) of a hub takes. Seen: 30 or 31, every time.
    pub hub_update_seconds: f64,
    /// Seconds that a delete takes. Seen: 30.
    pub hub_delete_seconds: f64,

    /// Seconds until a new principal is known to role-based access control. Until then an assignment
    /// to it is refused with `PrincipalNotFound`, unless `principalType` is sent. Seen: 37.
    /// <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>
    pub principal_visible_seconds: f64,
    /// The first so many assignments to each new principal are refused with `PrincipalNotFound`,
    /// even with `principalType`. Documented not to happen; clients retry all the same.
    pub principal_not_found_runs: u32,
    /// Least seconds until a role assignment is effective. Each takes a seeded time in the range.
    pub propagation_min_seconds: f64,
    /// Most seconds until a role assignment is effective. Azure promises 600.
    /// <https://learn.microsoft.com/azure/role-based-access-control/troubleshooting>
    pub propagation_max_seconds: f64,

    /// Seconds that a write of a role assignment inside a Cosmos DB account takes. Recorded: under 30.
    pub cosmos_role_seconds: f64,
    /// Seconds that an export or import is `enqueued`.
    pub job_queue_seconds: f64,
    /// Seconds that an export or import is `running`. Seen: about 3 for a small export.
    pub job_seconds: f64,
    /// Seconds more for each thousand devices.
    pub job_seconds_per_thousand: f64,
    /// Whether the record of an export or import shows the containers' addresses,
    /// `storageAuthenticationType` and `identity`. Older tests of clients expect them; a live hub had
    /// none.
    pub jobs_echo_storage: bool,
    /// Whether an import without a failed line writes its log too, empty. Documented so.
    /// <https://learn.microsoft.com/azure/iot-hub/iot-hub-how-to-clone>
    pub empty_import_log: bool,
    /// Whether an import is refused with `BlobContainerValidationError` when its blob is not there,
    /// rather than accepted to fail. Both have been told.
    pub check_input_blob: bool,
    /// Most role assignments of a subscription.
    /// <https://learn.microsoft.com/azure/role-based-access-control/troubleshoot-limits>
    pub role_assignment_limit: usize,
    /// Seconds until an event is in the activity log. Azure: 3 to 20 minutes.
    /// <https://learn.microsoft.com/azure/azure-monitor/data-platform#latency>
    pub activity_log_delay_seconds: f64,

    /// Whether a stale `If-Match` header on a hub PUT gives 412. Not known of Azure.
    pub check_if_match: bool,
    /// Whether a stale `etag` in the body of a hub PUT gives 412.
    pub check_body_etag: bool,
    /// Whether a refused routing endpoint is refused by the PUT or by its operation. Both are seen.
    pub endpoint_validation: EndpointValidation,
    /// Whether every PUT asks again for the grants of endpoints that it does not change. Not known.
    pub revalidate_unchanged_endpoints: bool,
    /// Whether file upload with an identity still needs an `AccountKey` in its connection string. Not
    /// known.
    pub file_upload_needs_key: bool,
    /// The codes of refusals whose real code no public source tells.
    pub refusals: RefusalCodes,
    /// The shape of a failed operation's status.
    pub failure_shape: FailureShape,
    /// Whether the answer to a hub PUT shows the stored keys where the caller sent the mask back.
    /// Both are recorded.
    pub unmask_put_answer: bool,
    /// Whether the answer to a hub update carries the hub's `authorizationPolicies` although they
    /// were not sent.
    pub policies_in_put_answer: bool,
    /// Whether the answer to a hub PUT has the system identity's `principalId`. Recorded without
    /// (2023) and, for an identity that is there, with (2024).
    pub principal_in_put_answer: bool,

    /// `Retry-After` of long-running operations, in Azure's seconds; the header has it in the
    /// caller's (divided by the clock's speed, at least 1). Not sent when absent. Recorded: 15, on
    /// DELETE only.
    pub retry_after_seconds: Option<f64>,
    /// Length of the signature in poll addresses. Newer answers have over 2000 characters of it.
    pub poll_signature_length: usize,
    /// Entries per page of a list; the rest is behind `nextLink`.
    pub page_size: usize,

    /// ARM's token buckets, one for each subscription, principal and kind of call.
    /// <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>
    pub throttling: Throttling,

    /// Resource Graph.
    pub resource_graph: ResourceGraphSettings,

    /// Lifetime of a token in **real** seconds, as clients compare it with their own clock.
    pub token_seconds: u64,
    /// The secret that the App Service token endpoint wants in `X-IDENTITY-HEADER`.
    pub identity_header: String,
    /// Audiences that ARM takes besides the address that it was called at, without a slash at the end.
    pub arm_audiences: Vec<String>,

    /// Events of finished writes.
    pub events: EventSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            hub_create_seconds: 120.0,
            hub_update_seconds: 30.0,
            hub_delete_seconds: 30.0,
            principal_visible_seconds: 5.0,
            principal_not_found_runs: 0,
            propagation_min_seconds: 15.0,
            propagation_max_seconds: 45.0,
            cosmos_role_seconds: 15.0,
            job_queue_seconds: 2.0,
            job_seconds: 20.0,
            job_seconds_per_thousand: 1.0,
            jobs_echo_storage: false,
            empty_import_log: true,
            check_input_blob: false,
            role_assignment_limit: 4000,
            activity_log_delay_seconds: 300.0,
            check_if_match: true,
            check_body_etag: true,
            endpoint_validation: EndpointValidation::Sync,
            revalidate_unchanged_endpoints: false,
            file_upload_needs_key: false,
            refusals: RefusalCodes::default(),
            failure_shape: FailureShape::Nested,
            unmask_put_answer: true,
            policies_in_put_answer: true,
            principal_in_put_answer: false,
            retry_after_seconds: None,
            poll_signature_length: 2048,
            page_size: 100,
            throttling: Throttling::default(),
            resource_graph: ResourceGraphSettings::default(),
            token_seconds: 86_400,
            identity_header: "local-identity-header".to_owned(),
            arm_audiences: [
                "https://management.azure.com",
                "https://management.core.windows.net",
                "https://management.usgovcloudapi.net",
                "https://management.chinacloudapi.cn",
            ]
            .map(str::to_owned)
            .to_vec(),
            events: EventSettings::default(),
        }
    }
}

impl Settings {
    /// No waiting and no throttling: for tests whose subject is not time.
    pub fn immediate() -> Self {
        Self {
            hub_create_seconds: 0.0,
            hub_update_seconds: 0.0,
            hub_delete_seconds: 0.0,
            principal_visible_seconds: 0.0,
            propagation_min_seconds: 0.0,
            propagation_max_seconds: 0.0,
            cosmos_role_seconds: 0.0,
            job_queue_seconds: 0.0,
            job_seconds: 0.0,
            job_seconds_per_thousand: 0.0,
            activity_log_delay_seconds: 0.0,
            throttling: Throttling { enabled: false, ..Throttling::default() },
            events: EventSettings { delay_seconds: 0.0, ..EventSettings::default() },
            ..Self::default()
        }
    }
}

/// When a routing endpoint that may not be used is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointValidation {
    /// The PUT answers 400.
    Sync,
    /// The PUT answers 201 and its operation fails.
    Async,
}

/// The shape of a failed operation's status; both have been seen through clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureShape {
    /// `{"status":"Failed","error":{"code":"ResourceOperationFailure","details":[{"code":"400117"…}]}}`
    Nested,
    /// `{"status":"Failed","code":400117,"httpStatusCode":400,"message":…}`
    Numeric,
}

/// Codes of the refusals that no public source shows in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RefusalCodes {
    /// The identity may not write to the container. 400117 is known.
    pub storage_denied: u32,
    /// The identity may not send to the event hub. A stand-in.
    pub event_hub_denied: u32,
    /// The identity may not send to the queue or topic. A stand-in.
    pub service_bus_denied: u32,
    /// The identity may not write to the Cosmos DB container. A stand-in.
    pub cosmos_denied: u32,
    /// A key that does not open the target, or a target that takes no keys. A stand-in.
    pub key_denied: u32,
    /// A target that is not among the hub's `allowedFqdnList`. A stand-in.
    pub outbound_denied: u32,
    /// The event hub, queue, topic or namespace does not exist. A stand-in.
    pub target_missing: u32,
    /// An endpoint uses an identity that the hub does not have (any more). A stand-in.
    pub identity_missing: u32,
}

impl Default for RefusalCodes {
    fn default() -> Self {
        Self {
            storage_denied: 400_117,
            event_hub_denied: 400_117,
            service_bus_denied: 400_117,
            cosmos_denied: 400_117,
            key_denied: 400_119,
            outbound_denied: 400_122,
            target_missing: 400_121,
            identity_missing: 400_118,
        }
    }
}

/// ARM's token buckets: how many calls fit, and how many come back each of Azure's seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Throttling {
    /// Whether there is any throttling.
    pub enabled: bool,
    /// Size of the bucket for reads.
    pub reads: f64,
    /// Reads that come back each second.
    pub reads_per_second: f64,
    /// Size of the bucket for writes.
    pub writes: f64,
    /// Writes that come back each second.
    pub writes_per_second: f64,
    /// Size of the bucket for deletes.
    pub deletes: f64,
    /// Deletes that come back each second.
    pub deletes_per_second: f64,
}

impl Default for Throttling {
    fn default() -> Self {
        Self {
            enabled: true,
            reads: 250.0,
            reads_per_second: 25.0,
            writes: 200.0,
            writes_per_second: 10.0,
            deletes: 200.0,
            deletes_per_second: 10.0,
        }
    }
}

/// How far Resource Graph is behind, and how often it may be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceGraphSettings {
    /// Hubs are shown as they were so many seconds ago.
    pub resources_lag_seconds: f64,
    /// Role assignments are shown as they were so many seconds ago: another feed than that of hubs.
    pub authorization_lag_seconds: f64,
    /// Queries that a caller may send in a window.
    /// <https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests>
    pub queries: u32,
    /// Length of the window.
    pub window_seconds: f64,
    /// Most subscriptions of a query; those beyond are left out, and a header says so.
    pub subscriptions: usize,
}

impl Default for ResourceGraphSettings {
    fn default() -> Self {
        Self {
            resources_lag_seconds: 0.0,
            authorization_lag_seconds: 0.0,
            queries: 15,
            window_seconds: 5.0,
            subscriptions: 10_000,
        }
    }
}

/// The event subscription on the simulated subscription's topic.
///
/// Numbers of the retry schedule: <https://learn.microsoft.com/azure/event-grid/delivery-and-retry>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventSettings {
    /// The event subscription's name, as it is sent in `aeg-subscription-name` (in capitals).
    pub subscription: String,
    /// Seconds from the end of an operation to the first delivery.
    pub delay_seconds: f64,
    /// CloudEvents 1.0 rather than the Event Grid schema.
    pub cloud_events: bool,
    /// Event types that are delivered.
    pub types: Vec<String>,
    /// Operations that are delivered, compared without case.
    pub operations: Vec<String>,
    /// Most attempts for one event. Azure: 1 to 30.
    pub max_attempts: u32,
    /// Seconds after which an event is given up. Azure: at most 86400.
    pub ttl_seconds: f64,
}

impl Default for EventSettings {
    fn default() -> Self {
        Self {
            subscription: "hub-changes".to_owned(),
            delay_seconds: 2.0,
            cloud_events: false,
            types: ["Microsoft.Resources.ResourceWriteSuccess", "Microsoft.Resources.ResourceDeleteSuccess"]
                .map(str::to_owned)
                .to_vec(),
            operations: ["Microsoft.Devices/IotHubs/write", "Microsoft.Devices/IotHubs/delete"]
                .map(str::to_owned)
                .to_vec(),
            max_attempts: 30,
            ttl_seconds: 86_400.0,
        }
    }
}

/// Seconds as a duration; what makes no sense counts as zero.
pub(super) fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_back_and_name_what_is_unknown() {
        let text = serde_json::to_string(&Settings::default()).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), Settings::default());
        let some = r#"{"endpointValidation": "async", "propagationMaxSeconds": 600}"#;
        let read: Settings = serde_json::from_str(some).unwrap();
        assert_eq!(read.endpoint_validation, EndpointValidation::Async);
        let err = serde_json::from_str::<Settings>(r#"{"sed": 1}"#).unwrap_err();
        assert!(err.to_string().contains("`sed`"));
    }
}
