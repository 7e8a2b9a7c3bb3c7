//! What an export writes, and what an import reads and writes.

use super::{
    blob::Content,
    jobs::{Job, Refused},
    registry_import::LineError,
    settings::Settings,
    state::State,
};

/// How lines end.
const NEW_LINE: &str = "\r\n";
/// The first line of an export without keys.
const WARNING: &str = "WARNING: this file has no keys. Whoever imports it gives new keys to every device in it; \
                       remove this line to do so.";

/// The blob that an import reads.
pub(super) fn input(job: &Job) -> &str {
    job.text("inputBlobName").unwrap_or("devices.txt")
}

/// How many lines a blob has.
pub(super) fn lines(state: &State, container: &str, name: &str) -> usize {
    state.blob(container, name).map_or(0, |blob| blob.data.iter().filter(|byte| **byte == b'\n').count())
}

impl State {
    /// Does what a job is for. An error is the reason why it failed.
    pub(super) fn run_job(&mut self, job: &Job, settings: &Settings) -> Result<(), String> {
        let at = job.ends();
        let (input, output) = self.containers(job, at).map_err(|refused| match refused {
            Refused::Input => "Unauthorized to read from input blob container.".to_owned(),
            Refused::Output => "Unauthorized to write to output blob container.".to_owned(),
            _ => "The identity is not assigned to the IoT hub.".to_owned(),
        })?;
        let configurations = job.text("configurationsBlobName").unwrap_or("configurations.txt");
        let configurations = Some(configurations).filter(|_| job.request["includeConfigurations"] == true);
        let mut files = match input {
            None => self.export(job, configurations),
            Some(input) => self.import(job, &input, configurations)?,
        };
        if !job.is_export && !settings.empty_import_log {
            files.retain(|(_, text)| !text.is_empty());
        }
        for (name, text) in files {
            self.put_blob(&output, &name, Content::plain(text), at);
        }
        Ok(())
    }

    fn export(&self, job: &Job, configurations: Option<&str>) -> Vec<(String, String)> {
        let without_keys = job.request["excludeKeysInExport"] == true;
        let registry = self.registries.get(&job.hub);
        let mut text = String::new();
        if without_keys {
            text.push_str(WARNING);
            text.push_str(NEW_LINE);
        }
        for (id, entry) in registry.into_iter().flat_map(|registry| &registry.entries) {
            text.push_str(&entry.line(id, without_keys).to_string());
            text.push_str(NEW_LINE);
        }
        let mut files = vec![(job.text("outputBlobName").unwrap_or("devices.txt").to_owned(), text)];
        if let Some(name) = configurations {
            let all = registry.into_iter().flat_map(|registry| registry.configurations.values());
            files.push((name.to_owned(), all.map(|one| format!("{one}{NEW_LINE}")).collect()));
        }
        files
    }

    fn import(
        &mut self,
        job: &Job,
        container: &str,
        configurations: Option<&str>,
    ) -> Result<Vec<(String, String)>, String> {
        let read = |state: &Self, name: &str| {
            let blob =
                state.blob(container, name).ok_or_else(|| format!("The blob '{name}' does not exist."))?;
            Ok::<_, String>(String::from_utf8_lossy(&blob.data).into_owned())
        };
        let devices = read(self, input(job))?;
        let configurations = configurations.map(|name| read(self, name)).transpose()?;
        let mut errors = Vec::new();
        let filled = |text: &str| !text.trim().is_empty();
        let lines = devices.trim_start_matches('\u{feff}').lines().filter(|line| filled(line));
        if lines.clone().next().is_some_and(|line| line.starts_with("WARNING")) {
            // All or nothing: nobody gets new keys without having been asked.
            errors.push(LineError::warning());
        } else {
            errors.extend(lines.filter_map(|line| self.import_line(&job.hub, line.trim()).err()));
            let lines = configurations.as_deref().unwrap_or_default().lines().filter(|line| filled(line));
            errors.extend(lines.filter_map(|line| self.import_configuration(&job.hub, line.trim()).err()));
        }
        let log = errors.iter().map(|error| format!("{}{NEW_LINE}", error.view())).collect();
        Ok(vec![(job.text("outputBlobName").unwrap_or("importErrors.log").to_owned(), log)])
    }
}
