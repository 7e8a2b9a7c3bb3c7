//! Exports of a hub's devices, again and again.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{IdentityRef, Target};
use crate::model::{
    IotHubId,
    job::{CONFIGURATIONS, JobDoor, JobRequest, JobSpec, Keep},
};

/// Namespace of the ids of scheduled requests, made once for this purpose.
const REQUESTS: Uuid = Uuid::from_u128(0x4c1e_93d0_7a6f_4b52_9e0b_1f73_c8d2_5a64);

/// One scheduled export of one hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredExport {
    /// Its name, unique in the profile.
    pub name: String,
    /// When, in UTC: an NCRONTAB expression.
    pub schedule: String,
    /// Where to.
    pub container: Target,
    /// With which identity.
    pub identity: IdentityRef,
    /// Whether the devices' keys are left out.
    pub exclude_keys: bool,
    /// Whether configurations and deployments are exported too.
    pub include_configurations: bool,
    /// The name of its blobs.
    pub blob_name: BlobName,
    /// How many stay.
    pub keep: Option<u32>,
    /// Which of the hub's doors the job goes through.
    pub through: JobDoor,
}

/// A blob's name, around the time in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlobName {
    /// What stands before the time.
    pub before: String,
    /// What stands behind it.
    pub after: String,
}

impl BlobName {
    /// The name for one time, which stands in it as `20260131T023000Z`.
    pub fn at(&self, time: OffsetDateTime) -> String {
        format!("{}{}{}", self.before, crate::schedule::stamp(time), self.after)
    }
}

impl DesiredExport {
    /// The request for one occurrence, which may have been missed a while ago. The same occurrence is the
    /// same request.
    pub fn request(&self, hub: &IotHubId, occurrence: OffsetDateTime, now: OffsetDateTime) -> JobRequest {
        let key = format!("{}|{}|{}", hub.key(), self.name.to_lowercase(), occurrence.unix_timestamp());
        let blob_name = self.blob_name.at(occurrence);
        JobRequest {
            id: Uuid::new_v5(&REQUESTS, key.as_bytes()),
            job: JobSpec::Export {
                configurations_blob_name: self
                    .include_configurations
                    .then(|| format!("{blob_name}{CONFIGURATIONS}")),
                blob_name,
                exclude_keys: self.exclude_keys,
            },
            container: self.container.id().clone(),
            identity: self.identity.clone(),
            through: self.through,
            requested_by: format!("schedule {}", self.name),
            requested_at: now,
            keep: self.keep.map(|count| Keep {
                count,
                before: self.blob_name.before.clone(),
                after: self.blob_name.after.clone(),
                besides: self.include_configurations.then(|| CONFIGURATIONS.to_owned()),
            }),
        }
    }
}
