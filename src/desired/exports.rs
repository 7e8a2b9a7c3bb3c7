//! Scheduled exports: from the document to what one hub should be exported to, and when.

use super::{
    check,
    profiles::ExportDoc,
    targets::{Fault, TargetKind, Template},
};
use crate::{
    model::{
        ResourceId,
        desired::{BlobName, DesiredExport, Target},
        job::JobDoor,
    },
    schedule::Ncrontab,
};

/// What stands for the hub's name in a blob's name.
pub(super) const HUB: &str = "{hub}";
/// What stands for the occurrence.
pub(super) const TIME: &str = "{time}";

/// An export, with its container still to be filled in.
#[derive(Debug, Clone)]
pub(super) struct ExportTemplate {
    pub(super) container: Template,
    pub(super) schedule: Ncrontab,
    blob_name: String,
    rest: ExportDoc,
    users: Vec<ResourceId>,
}

impl ExportTemplate {
    pub(super) fn compile(doc: &ExportDoc, users: &[ResourceId]) -> Result<Self, Fault> {
        let schedule = doc.schedule.parse().map_err(|error| unscheduled(&error))?;
        check::identity(&doc.identity, users)?;
        Ok(Self {
            container: Template::parse(TargetKind::StorageContainer, &doc.container)?,
            schedule,
            blob_name: blob_name(doc.blob_name.as_deref(), &doc.name.0),
            rest: doc.clone(),
            users: users.to_vec(),
        })
    }

    /// Its name, unique in the profile.
    pub(super) fn name(&self) -> &str {
        &self.rest.name.0
    }

    /// Which of the hub's doors its jobs go through.
    pub(super) fn through(&self) -> JobDoor {
        self.rest.through.into()
    }

    /// Whether older exports are deleted.
    pub(super) fn prunes(&self) -> bool {
        self.rest.keep.is_some()
    }

    /// What one hub should be exported to.
    pub(super) fn resolve(&self, container: Target, hub: &str) -> Result<DesiredExport, Fault> {
        let name = self.blob_name.replace(HUB, hub);
        let (before, after) = name.split_once(TIME).unwrap_or((&name, ""));
        let doc = &self.rest;
        Ok(DesiredExport {
            name: doc.name.0.clone(),
            schedule: self.schedule.to_string(),
            container,
            identity: check::identity(&doc.identity, &self.users)?,
            exclude_keys: doc.exclude_keys,
            include_configurations: doc.include_configurations,
            blob_name: BlobName { before: before.to_owned(), after: after.to_owned() },
            keep: doc.keep,
            through: doc.through.into(),
        })
    }
}

/// The name of an export's blobs.
pub(super) fn blob_name(written: Option<&str>, export: &str) -> String {
    written.map_or_else(|| format!("{HUB}/{export}-{TIME}.txt"), str::to_owned)
}

/// What is wrong with a schedule.
pub(super) fn unscheduled(error: &crate::schedule::NcrontabError) -> Fault {
    Fault::new(error.to_string(), "write such as `0 30 2 * * *`, every day at 02:30 UTC")
}
