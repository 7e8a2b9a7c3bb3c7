//! How many queries a caller may send: so many in a window of time that begins with the first.
//!
//! <https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests>

use std::{collections::BTreeMap, time::Duration};

use time::OffsetDateTime;

use crate::local::azure::settings::{ResourceGraphSettings, seconds};

/// The windows of all callers, by object id.
#[derive(Debug, Default)]
pub(in crate::local::azure) struct Quotas(BTreeMap<String, Window>);

#[derive(Debug, Clone, Copy)]
struct Window {
    began: OffsetDateTime,
    used: u32,
}

/// What a caller has left, and for how long the window goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) queries: u32,
    pub(super) resets_after: Duration,
    pub(super) is_over: bool,
}

impl Left {
    /// What a caller has left whose queries nobody counts.
    pub(super) fn everything(settings: &ResourceGraphSettings) -> Self {
        Self { queries: settings.queries, resets_after: seconds(settings.window_seconds), is_over: false }
    }
}

impl Quotas {
    /// Takes one query from what a caller has left.
    pub(super) fn take(
        &mut self,
        caller: &str,
        now: OffsetDateTime,
        settings: &ResourceGraphSettings,
    ) -> Left {
        let length = seconds(settings.window_seconds);
        let fresh = Window { began: now, used: 0 };
        let window = self.0.entry(caller.to_owned()).or_insert(fresh);
        if window.began + length <= now {
            *window = fresh;
        }
        let resets_after = Duration::try_from(window.began + length - now).unwrap_or_default();
        let is_over = window.used >= settings.queries;
        window.used += u32::from(!is_over);
        Left { queries: settings.queries - window.used.min(settings.queries), resets_after, is_over }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_used_up_and_begins_anew() {
        let settings = ResourceGraphSettings { queries: 2, window_seconds: 5.0, ..Default::default() };
        let mut quotas = Quotas::default();
        let mut take = |caller: &str, at: u64| {
            let left = quotas.take(caller, OffsetDateTime::UNIX_EPOCH + Duration::from_secs(at), &settings);
            (left.queries, left.resets_after.as_secs(), left.is_over)
        };
        assert_eq!([take("a", 0), take("a", 1), take("a", 2)], [(1, 5, false), (0, 4, false), (0, 3, true)]);
        assert_eq!((take("b", 2), take("a", 5)), ((1, 5, false), (1, 5, false)));
    }
}
