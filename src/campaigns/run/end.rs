//! What comes after a wave: a pause, the next one, the end; and the end of a rollback.

use time::Duration;

use super::{AT_ONCE, PACE, Runner, Seen};
use crate::{
    campaigns::{
        campaign::{Campaign, MOST_CAUSES, Phase, State},
        hubs::Tally,
    },
    outcomes::Word,
};

impl Runner<'_> {
    /// More hubs failed than may.
    pub(super) fn pause(&self, campaign: &mut Campaign, number: usize, seen: &Seen) {
        let failed = campaign.waves[number].tally().failed;
        let first = seen.failed.first().map_or("no cause", String::as_str);
        let more = if failed > 1 { format!(" (and {} more)", failed - 1) } else { String::new() };
        let cause = format!("wave {}: {first}{more}", number + 1);
        let told = seen.failed.iter().take(MOST_CAUSES).map(|cause| format!("wave {}: {cause}", number + 1));
        let head = format!("campaign {} is paused: {failed} hubs of wave {} failed", campaign.id, number + 1);
        campaign.tell(Word::Blocked, std::iter::once(head).chain(told).collect(), self.now());
        campaign.state = State::Paused { cause };
    }

    /// What comes after a wave in which nothing is under way any more; how soon to go on, if at once.
    pub(super) fn end_of(&self, campaign: &mut Campaign, number: usize, seen: &Seen) -> Option<Duration> {
        let wave = &mut campaign.waves[number];
        let tally = wave.tally();
        let is_open = tally.waiting + tally.under_way + tally.to_go_back > 0
            || wave.pages.iter().any(Option::is_none)
            || seen.is_cut_short;
        if tally.failed > campaign.rules.tolerate as usize {
            return Some(AT_ONCE);
        }
        if is_open {
            return (tally.waiting > 0).then_some(PACE);
        }
        match wave.phase {
            Phase::Converting => {
                let soak = i64::try_from(campaign.rules.soak_seconds).unwrap_or(i64::MAX);
                wave.phase = Phase::Soaking { until: self.now() + Duration::seconds(soak) };
                None
            }
            Phase::Soaking { .. } => None,
            Phase::Checking if tally.verified > 0 => Some(PACE),
            Phase::Checking | Phase::Done => {
                wave.phase = Phase::Done;
                if number + 1 < campaign.waves.len() {
                    campaign.current = number + 1;
                    return Some(AT_ONCE);
                }
                self.complete(campaign);
                None
            }
        }
    }

    fn complete(&self, campaign: &mut Campaign) {
        let tally = campaign.waves.iter().fold(Tally::default(), |sum, wave| sum.plus(wave.tally()));
        let hubs: usize = campaign.waves.iter().map(|wave| wave.hubs).sum();
        let not_done = hubs.saturating_sub(tally.done);
        let mut causes =
            vec![format!("campaign {} is completed: {} of {hubs} hubs", campaign.id, tally.done)];
        for (count, what) in [
            (tally.failed + tally.left, "failed and are left"),
            (tally.rolled_back, "were rolled back"),
            (tally.not_rolled_back, "could not be rolled back"),
        ] {
            if count > 0 {
                causes.push(format!("{count} {what}: `hubward campaign status {}` names them", campaign.id));
            }
        }
        let word = match (not_done, tally.changed) {
            (0, 0) => Word::InSync,
            (0, _) => Word::Changed,
            _ => Word::Failed,
        };
        campaign.tell(word, causes, self.now());
        campaign.state = State::Completed;
    }

    /// Tells the end of a rollback when it is there.
    pub(super) fn end_of_rollback(&self, campaign: &mut Campaign, number: usize, seen: &Seen) {
        let wave = &mut campaign.waves[number];
        let tally = wave.tally();
        let is_open = tally.under_way + tally.to_go_back > 0
            || wave.pages.iter().any(Option::is_none)
            || seen.is_cut_short;
        if wave.back <= wave.back_told || is_open {
            return;
        }
        wave.back_told = wave.back;
        let head = format!(
            "campaign {}: wave {} is rolled back: {} hubs",
            campaign.id,
            number + 1,
            tally.rolled_back
        );
        let (word, mut causes) = match tally.not_rolled_back {
            0 => (Word::Changed, vec![head]),
            count => (Word::Failed, vec![head, format!("{count} hubs could not be brought back")]),
        };
        causes.extend(seen.not_back.iter().cloned());
        campaign.tell(word, causes, self.now());
    }
}
