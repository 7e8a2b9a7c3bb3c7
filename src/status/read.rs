//! Reading with a limit: what was not read in time is named, and the rest goes on.

use std::fmt;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

/// A part of a view that is read for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// The desired state.
    Profiles,
    /// What the last resync found.
    Resync,
    /// What is parked.
    Failed,
    /// How work at the hub ended last.
    LastOutcome,
    /// The hub's document.
    Hub,
    /// Targets and grants, for the plan.
    Plan,
    /// What the hub says of endpoints and routes.
    Health,
    /// The hub's jobs.
    Jobs,
}

impl Part {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Profiles => "the profiles",
            Self::Resync => "the last resync",
            Self::Failed => "failed requests",
            Self::LastOutcome => "the last outcome",
            Self::Hub => "the hub",
            Self::Plan => "the plan and the grants",
            Self::Health => "the health of endpoints and routes",
            Self::Jobs => "the jobs",
        }
    }
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRead {
    /// What.
    pub what: Part,
    /// Why.
    pub cause: String,
}

/// Keeps what was read, and a list of what was not.
#[derive(Debug)]
pub(super) struct Reading {
    until: Instant,
    not_read: Vec<NotRead>,
}

impl Reading {
    /// Reads end at `until`.
    pub(super) fn until(until: Instant) -> Self {
        Self { until, not_read: Vec::new() }
    }

    /// Waits for a read until the time is up.
    pub(super) async fn in_time<T, E: fmt::Display>(
        until: Instant,
        what: Part,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, NotRead> {
        match timeout_at(until, read).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(NotRead { what, cause: error.to_string() }),
            Err(_) => Err(NotRead { what, cause: "it took too long".to_owned() }),
        }
    }

    /// The value, if there is one; else it is noted that there is none.
    pub(super) fn keep<T>(&mut self, read: Result<T, NotRead>) -> Option<T> {
        read.map_err(|not_read| self.not_read.push(not_read)).ok()
    }

    /// Reads one thing and keeps it.
    pub(super) async fn read<T, E: fmt::Display>(
        &mut self,
        what: Part,
        read: impl Future<Output = Result<T, E>>,
    ) -> Option<T> {
        let read = Self::in_time(self.until, what, read).await;
        self.keep(read)
    }

    /// When reads end.
    pub(super) fn limit(&self) -> Instant {
        self.until
    }

    /// What was not read.
    pub(super) fn end(self) -> Vec<NotRead> {
        self.not_read
    }
}
