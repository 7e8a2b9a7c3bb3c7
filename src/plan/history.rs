//! Who wrote a hub before, so that two owners do not undo each other for ever.
//!
//! Azure remembers it for us: its activity log has every write of a hub with its caller and with the
//! correlation id that the caller sent. Ours is made from the fingerprint of what was wanted, so a
//! write of ours for the same wanted state is told from one for another; and from whether more writes
//! were to follow, so that only the one that left nothing to do counts as one that can be undone.
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

/// One write of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubWrite {
    /// When it got there.
    pub at: OffsetDateTime,
    /// Whether it was ours, and for which wanted state.
    pub by: Writer,
    /// How far it got.
    pub stage: Stage,
}

/// How far a write got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The service took it on.
    Accepted,
    /// It took effect.
    Succeeded,
}

/// Who wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// We did, under this [`mark`].
    Us(Option<Uuid>),
    /// Somebody else, by the name that the log gives.
    Other(String),
    /// Whoever it was, the hub was deleted. What comes after it is another hub.
    Deleter,
}

/// The mark of a write for the wanted state with a fingerprint. One that leaves nothing to write
/// has another mark than one that more have to follow.
pub fn mark(fingerprint: Uuid, is_last: bool) -> Uuid {
    if is_last { fingerprint } else { Uuid::new_v5(&fingerprint, b"more to follow") }
}

/// Whether somebody else undoes what is wanted: after a write of ours that left nothing to do,
/// somebody else wrote and we had to write for just this state again, twice, the write that is to
/// come included. A write of ours for another state starts the count afresh.
pub fn second_owner(writes: &[HubWrite], fingerprint: Uuid, undone_here: usize) -> Option<Blocked> {
    let mut writes: Vec<&HubWrite> = writes.iter().filter(|write| write.stage == Stage::Succeeded).collect();
    writes.sort_by_key(|write| write.at);
    let (mut times, mut is_done, mut is_touched) = (0, false, false);
    let mut others: Vec<String> = Vec::new();
    for write in writes {
        match &write.by {
            Writer::Us(Some(ours)) if *ours == mark(fingerprint, true) => {
                times += usize::from(is_touched);
                (is_done, is_touched) = (true, false);
            }
            Writer::Us(Some(ours)) if *ours == mark(fingerprint, false) => {}
            Writer::Us(_) | Writer::Deleter => {
                (times, is_done, is_touched) = (0, false, false);
                others.clear();
            }
            Writer::Other(name) if is_done => {
                is_touched = true;
                if !others.contains(name) {
                    others.push(name.clone());
                }
            }
            Writer::Other(_) => {}
        }
    }
    let times = (times + usize::from(is_touched)).max(undone_here);
    (times >= UNDONE).then_some(Blocked::SecondOwner { times, by: others })
}

/// When the hub may be written again, if it was written as often as it may be in an hour. Writes
/// that failed after the service had taken them on count too.
pub fn over_budget(writes: &[HubWrite], per_hour: u32, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let at_stage = |stage: Stage| {
        let mut ours: Vec<OffsetDateTime> = writes
            .iter()
            .filter(|write| matches!(write.by, Writer::Us(_)) && write.stage == stage)
            .filter(|write| now - write.at < Duration::HOUR)
            .map(|write| write.at)
            .collect();
        ours.sort();
        ours
    };
    // The same write may be there at both stages.
    let ours = [Stage::Accepted, Stage::Succeeded].map(at_stage).into_iter().max_by_key(Vec::len)?;
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
            'p' => Writer::Us(Some(mark(MARK, false))),
            '?' => Writer::Us(None),
            '-' => Writer::Deleter,
            name => Writer::Other(name.to_string()),
        };
        let start = NOW - Duration::minutes(words.len() as i64);
        let at = |minute: usize| start + Duration::minutes(minute as i64);
        let write = |(minute, word)| HubWrite { at: at(minute), by: by(word), stage: Stage::Succeeded };
        words.chars().enumerate().map(write).collect()
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
            // What happens between the two writes of an onboarding undoes nothing.
            ("ptut", None),
            ("ptuptut", Some(2)),
            // A write for another wanted state, after a profile or a tag was changed, starts afresh.
            ("uxuxu", None),
            ("utxtutxt", None),
            // So does a hub that was deleted and made anew.
            ("ut-tut", None),
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
        // What is an hour old counts no more.
        let later = NOW + Duration::minutes(53);
        assert_eq!(over_budget(&story("utututu"), 4, later), None);
    }

    #[test]
    fn a_write_that_was_taken_on_counts_once_however_it_ended() {
        let mut writes = story("uu");
        let accepted = |write: &HubWrite| HubWrite { stage: Stage::Accepted, ..write.clone() };
        writes.extend(story("uuu").iter().map(accepted));
        assert_eq!(over_budget(&writes, 4, NOW), None);
        assert_eq!(over_budget(&writes, 3, NOW), Some(NOW + Duration::minutes(57)));
        // Each of two at both stages: an hour is counted from when it took effect.
        let mut both = story("u-u-");
        both.retain(|write| write.by != Writer::Deleter);
        let earlier = |write: &HubWrite| HubWrite { at: write.at - Duration::MINUTE, ..accepted(write) };
        both.extend(both.clone().iter().map(earlier));
        assert_eq!(over_budget(&both, 1, NOW), Some(NOW + Duration::minutes(58)));
        assert_eq!(second_owner(&story("utut").iter().map(accepted).collect::<Vec<_>>(), MARK, 0), None);
    }
}
