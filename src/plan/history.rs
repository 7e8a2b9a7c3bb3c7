//! Who wrote a hub before, so that two owners do not undo each other for ever.
//!
//! Azure remembers it for us: its activity log has every write of a hub with its caller and with the
//! correlation id that the caller sent. Ours is the fingerprint of what was wanted, so a write of ours
//! for the same wanted state is told from one for another.
//! <https://learn.microsoft.com/azure/azure-monitor/platform/activity-log-schema>
//!
//! The log is some minutes behind. Until it has caught up, the process's own memory stands in.

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::blocked::Blocked;

/// How far back the log is read.
pub const LOOK_BACK: Duration = Duration::hours(24);
/// Undone so often, we stop.
const UNDONE: usize = 2;

/// One successful write of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubWrite {
    /// When it was done.
    pub at: OffsetDateTime,
    /// Whether it was ours, and for which wanted state.
    pub by: Writer,
}

/// Who wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// We did, for the wanted state with this fingerprint.
    Us(Option<Uuid>),
    /// Somebody else, by the name that the log gives.
    Other(String),
}

/// Whether somebody else undoes what is wanted: our writes for just this state were followed by
/// somebody else's, twice, and it is still (again) to be written.
pub fn second_owner(writes: &[HubWrite], fingerprint: Uuid, undone_here: usize) -> Option<Blocked> {
    let mut writes: Vec<&HubWrite> = writes.iter().collect();
    writes.sort_by_key(|write| write.at);
    let (mut times, mut open) = (0, false);
    let mut others: Vec<String> = Vec::new();
    for write in writes {
        match &write.by {
            Writer::Us(mark) => open |= *mark == Some(fingerprint),
            Writer::Other(name) => {
                if open {
                    times += 1;
                    open = false;
                    if !others.contains(name) {
                        others.push(name.clone());
                    }
                }
            }
        }
    }
    let times = times.max(undone_here);
    (times >= UNDONE).then_some(Blocked::SecondOwner { times, by: others })
}

/// When the hub may be written again, if it was written as often as it may be in an hour.
pub fn over_budget(writes: &[HubWrite], per_hour: u32, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let mut ours: Vec<OffsetDateTime> = writes
        .iter()
        .filter(|write| matches!(write.by, Writer::Us(_)) && now - write.at < Duration::HOUR)
        .map(|write| write.at)
        .collect();
    ours.sort();
    let over = ours.len().checked_sub(per_hour as usize)?;
    ours.get(over).map(|oldest_that_counts| *oldest_that_counts + Duration::HOUR)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-31 12:00:00 UTC);
    const MARK: Uuid = Uuid::from_u128(1);

    fn story(words: &str) -> Vec<HubWrite> {
        let by = |word: char| match word {
            'u' => Writer::Us(Some(MARK)),
            'x' => Writer::Us(Some(Uuid::from_u128(2))),
            '?' => Writer::Us(None),
            name => Writer::Other(name.to_string()),
        };
        let start = NOW - Duration::minutes(words.len() as i64);
        let at = |minute: usize| start + Duration::minutes(minute as i64);
        words.chars().enumerate().map(|(minute, word)| HubWrite { at: at(minute), by: by(word) }).collect()
    }

    #[test]
    fn an_owner_that_undoes_us_twice_is_noticed() {
        for (words, times) in [
            ("", None),
            ("uu", None),
            ("uut", None),
            ("uttttt", None),
            ("utut", Some(2)),
            ("uutuutuut", Some(3)),
            // Writes for another wanted state, as before a profile was changed, do not count.
            ("xtxtxt", None),
            ("xtxtut", None),
            ("?t?t", None),
        ] {
            let found = second_owner(&story(words), MARK, 0);
            let expected = times.map(|times| Blocked::SecondOwner { times, by: vec!["t".into()] });
            assert_eq!(found, expected, "{words}");
        }
        let here = Blocked::SecondOwner { times: 2, by: Vec::new() };
        assert_eq!(second_owner(&[], MARK, 2), Some(here), "the log is behind");
    }

    #[test]
    fn a_hub_is_written_so_often_in_an_hour_and_then_has_to_wait() {
        assert_eq!(over_budget(&story("ututu"), 4, NOW), None);
        // Written 7, 5, 3 and 1 minutes ago.
        assert_eq!(over_budget(&story("utututu"), 4, NOW), Some(NOW + Duration::minutes(53)));
        assert_eq!(over_budget(&story("utututu"), 2, NOW), Some(NOW + Duration::minutes(57)));
    }
}
