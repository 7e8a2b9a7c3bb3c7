//! Bulk jobs of a hub, through either of its doors.
//!
//! The hub's own API (`/jobs/create`, `/jobs/{id}`) is the one that Microsoft's tools use; `/jobs/v2` is
//! another feature. Resource Manager (`exportDevices`, `importDevices`) is for hubs whose own API cannot be
//! reached: it writes dates in another way and cannot cancel. Both become one [`ObservedJob`].
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-bulk-identity-mgmt>

use azure_core::http::{Method, Url};
use serde_json::{Value, json};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

use super::{
    client::{ArmClient, Call, Repeat},
    error::ArmError,
    resources::{ArmReader, ArmWriter, IOT_HUB, text},
};
use crate::model::{
    desired::IdentityRef,
    hub::HubDocument,
    job::{JobDoor, JobId, JobRequest, JobSpec, JobStatus, ObservedJob, Shown},
};

/// The hub's own API.
const DATA_PLANE: &str = "2021-04-12";

impl ArmClient {
    /// A hub's own API. Its address comes from the hub's document and is never built.
    fn hub_door(&self, hub: &HubDocument) -> Result<ArmClient, ArmError> {
        let unreadable = || ArmError::Unreadable {
            call: "GET hub".into(),
            cause: "the hub shows no hostName that can be called".into(),
        };
        let host = hub.host_name().ok_or_else(unreadable)?;
        let url = Url::parse(&format!("https://{host}")).map_err(|_| unreadable())?;
        if url.host_str() != Some(host.to_ascii_lowercase().as_str()) {
            return Err(unreadable());
        }
        Ok(self.at_door(url, self.hub_scope().to_owned()))
    }
}

impl ArmReader {
    /// The hub's jobs, of all kinds.
    pub async fn jobs(&self, hub: &HubDocument, door: JobDoor) -> Result<Vec<ObservedJob>, ArmError> {
        const LABEL: &str = "GET jobs";
        let list = match door {
            JobDoor::DataPlane => {
                let client = self.client.hub_door(hub)?;
                let url = client.url("/jobs", DATA_PLANE);
                match client.send(Call::get(LABEL, url)).await?.json(LABEL)? {
                    Value::Array(jobs) => jobs,
                    _ => Vec::new(),
                }
            }
            JobDoor::ResourceManager => {
                self.list(LABEL, self.client.url(&format!("{}/jobs", hub.id()), IOT_HUB)).await?
            }
        };
        Ok(list.iter().filter_map(read).collect())
    }

    /// One job; `None` if the hub does not know it (any more: it forgets after 30 days).
    pub async fn job(
        &self,
        hub: &HubDocument,
        door: JobDoor,
        id: &JobId,
    ) -> Result<Option<ObservedJob>, ArmError> {
        const LABEL: &str = "GET job";
        let (client, path, version) = match door {
            JobDoor::DataPlane => (self.client.hub_door(hub)?, format!("/jobs/{id}"), DATA_PLANE),
            JobDoor::ResourceManager => (self.client.clone(), format!("{}/jobs/{id}", hub.id()), IOT_HUB),
        };
        let url = client.url(&path, version);
        match client.send(Call::get(LABEL, url)).await {
            Ok(answer) => Ok(read(&answer.json(LABEL)?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ArmWriter {
    /// Starts a job. Not idempotent: it is sent again only after a 429, which says that nothing was done.
    /// When [`ArmError::fate_unknown`], ask for the hub's jobs before trying again. `container` is the container's address, without a signature.
    pub async fn create_job(
        &self,
        hub: &HubDocument,
        request: &JobRequest,
        container: &str,
    ) -> Result<ObservedJob, ArmError> {
        const LABEL: &str = "POST job";
        let (client, path, version, body) = match request.through {
            JobDoor::DataPlane => (
                self.client().hub_door(hub)?,
                "/jobs/create".to_owned(),
                DATA_PLANE,
                data_plane_body(request, container),
            ),
            JobDoor::ResourceManager => {
                let action = match request.job {
                    JobSpec::Export { .. } => "exportDevices",
                    JobSpec::Import { .. } => "importDevices",
                };
                let path = format!("{}/{action}", hub.id());
                (self.client().clone(), path, IOT_HUB, manager_body(request, container))
            }
        };
        let call = Call {
            method: Method::Post,
            body: Some(&body),
            repeat: Repeat::IfThrottled,
            ..Call::get(LABEL, client.url(&path, version))
        };
        let json = client.send(call).await?.json(LABEL)?;
        read(&json).ok_or_else(|| ArmError::Unreadable {
            call: LABEL.into(),
            cause: "the answer has no jobId".into(),
        })
    }

    /// Cancels a job, through the hub's own API.
    pub async fn cancel_job(&self, hub: &HubDocument, id: &JobId) -> Result<(), ArmError> {
        let client = self.client().hub_door(hub)?;
        let url = client.url(&format!("/jobs/{id}"), DATA_PLANE);
        client.send(Call { method: Method::Delete, ..Call::get("DELETE job", url) }).await.map(|_| ())
    }
}

fn data_plane_body(request: &JobRequest, container: &str) -> Value {
    let mut body = match &request.job {
        JobSpec::Export { blob_name, exclude_keys, configurations_blob_name } => {
            let mut body = json!({
                "type": "export", "outputBlobContainerUri": container, "outputBlobName": blob_name,
                "excludeKeysInExport": exclude_keys,
            });
            if let Some(name) = configurations_blob_name {
                body["includeConfigurations"] = true.into();
                body["configurationsBlobName"] = name.as_str().into();
            }
            body
        }
        JobSpec::Import { blob_name, confirm: _ } => json!({
            "type": "import", "inputBlobContainerUri": container, "inputBlobName": blob_name,
            "outputBlobContainerUri": container,
        }),
    };
    body["storageAuthenticationType"] = "identityBased".into();
    with_identity(body, request)
}

fn manager_body(request: &JobRequest, container: &str) -> Value {
    let mut body = match &request.job {
        JobSpec::Export { blob_name, exclude_keys, configurations_blob_name } => {
            let mut body = json!({
                "exportBlobContainerUri": container, "exportBlobName": blob_name, "excludeKeys": exclude_keys,
            });
            if let Some(name) = configurations_blob_name {
                body["includeConfigurations"] = true.into();
                body["configurationsBlobName"] = name.as_str().into();
            }
            body
        }
        JobSpec::Import { blob_name, confirm: _ } => json!({
            "inputBlobContainerUri": container, "inputBlobName": blob_name,
            "outputBlobContainerUri": container,
        }),
    };
    body["authenticationType"] = "identityBased".into();
    with_identity(body, request)
}

/// No `identity` means the system-assigned one.
fn with_identity(mut body: Value, request: &JobRequest) -> Value {
    if let IdentityRef::User(id) = &request.identity {
        body["identity"] = json!({"userAssignedIdentity": id.as_str()});
    }
    body
}

fn read(json: &Value) -> Option<ObservedJob> {
    let owned = |name: &str| text(json, name).map(str::to_owned);
    let kind = text(json, "/type").unwrap_or("unknown").to_ascii_lowercase();
    // What an import writes is its error log, which nobody asked for by name.
    let end = if kind == "import" { "input" } else { "output" };
    // ISO 8601 through one door, RFC 1123 through the other.
    let date = text(json, "/startTimeUtc").and_then(|text| {
        OffsetDateTime::parse(text, &Rfc3339).or_else(|_| OffsetDateTime::parse(text, &Rfc2822)).ok()
    });
    Some(ObservedJob {
        id: JobId::try_from(owned("/jobId")?).ok()?,
        status: JobStatus::parse(text(json, "/status").unwrap_or("unknown")),
        progress: json.get("progress").and_then(Value::as_u64).unwrap_or(0).min(100) as u32,
        failure_reason: owned("/failureReason"),
        shown: Shown {
            blob_name: owned(&format!("/{end}BlobName")),
            container: owned(&format!("/{end}BlobContainerUri")),
            exclude_keys: json.get("excludeKeysInExport").and_then(Value::as_bool),
            by_identity: text(json, "/storageAuthenticationType")
                .map(|kind| kind.eq_ignore_ascii_case("identityBased")),
            user: owned("/identity/userAssignedIdentity"),
        },
        started: date,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_both_doors_look_alike() {
        let data = json!({"jobId": "1", "type": "export", "status": "running", "progress": 40,
            "startTimeUtc": "2026-01-31T12:00:00.123Z", "failureReason": null});
        let manager = json!({"jobId": "1", "type": "export", "status": "running",
            "startTimeUtc": "Sat, 31 Jan 2026 12:00:00 GMT"});
        let (data, manager) = (read(&data).unwrap(), read(&manager).unwrap());
        assert_eq!((data.status, manager.status), (JobStatus::Active, JobStatus::Active));
        assert_eq!(data.started.unwrap().unix_timestamp(), manager.started.unwrap().unix_timestamp());
        assert_eq!((data.progress, data.failure_reason), (40, None));
        assert!(read(&json!({"status": "running"})).is_none());
        assert!(read(&json!({"jobId": "../devices/d1"})).is_none(), "an id becomes part of an address");
    }

    #[test]
    fn an_import_is_known_by_what_it_reads() {
        let import = json!({"jobId": "1", "type": "import", "status": "running", "inputBlobName": "devices.txt",
            "outputBlobName": "importErrors.log", "inputBlobContainerUri": "https://a/in",
            "outputBlobContainerUri": "https://a/out", "storageAuthenticationType": "identityBased"});
        let Shown { blob_name, container, by_identity, .. } = read(&import).unwrap().shown;
        assert_eq!((blob_name.as_deref(), container.as_deref()), (Some("devices.txt"), Some("https://a/in")));
        assert_eq!(by_identity, Some(true));
    }
}
