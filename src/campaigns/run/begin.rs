//! Hubs whose turn it is, to be converted or to go back: what is about to be done is written down, then done.

use futures::future::try_join_all;
use tokio::time::Instant;

use super::{At, Runner, SIDE_BY_SIDE, Seen, StepError, Unready, fail};
use crate::{
    blobs::{BlobError, Version},
    campaigns::{
        campaign::{Campaign, Wave},
        give_back::{Way, way},
        hubs::{Page, Row, Standing, Tally},
        store::PageAt,
    },
};

/// Which hubs it is the turn of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Those that wait to be converted.
    Convert,
    /// Those that are to go back.
    GoBack,
}

impl Turn {
    /// How many of a page it is the turn of.
    fn of_page(self, tally: &Tally) -> usize {
        match self {
            Turn::Convert => tally.waiting,
            Turn::GoBack => tally.to_go_back,
        }
    }

    fn is_of(self, row: &Row, wave: &Wave) -> bool {
        match self {
            Turn::Convert => row.standing == Standing::Waiting,
            Turn::GoBack => row.is_to_go_back(wave),
        }
    }
}

impl Runner<'_> {
    /// Begins with as many hubs as may be worked on at once. With too many failures, none is converted any more.
    pub(super) async fn begin(
        &self,
        campaign: &mut Campaign,
        number: usize,
        turn: Turn,
        version: &Version,
        seen: &mut Seen,
    ) -> Result<(), StepError> {
        for page in 0..campaign.waves[number].pages.len() {
            let tally = campaign.waves[number].tally();
            let room = (campaign.rules.at_once as usize).saturating_sub(tally.under_way);
            let is_failed = tally.failed > campaign.rules.tolerate as usize;
            if room == 0 || (turn == Turn::Convert && is_failed) {
                return Ok(());
            }
            if campaign.waves[number].pages[page].is_none_or(|tally| turn.of_page(&tally) == 0) {
                continue;
            }
            let place = At { campaign, number, goes_on: turn == Turn::Convert };
            if let Some(rows) = self.both(place, page, room, turn, version, seen).await? {
                self.note(campaign, number, page, &rows, seen);
            }
            if seen.is_cut_short {
                return Ok(());
            }
        }
        Ok(())
    }

    /// First writes down what is about to be done for some hubs of a page, then does it.
    async fn both(
        &self,
        place: At<'_>,
        page: usize,
        room: usize,
        turn: Turn,
        campaign_version: &Version,
        seen: &mut Seen,
    ) -> Result<Option<Page>, StepError> {
        if Instant::now() > self.until {
            seen.is_cut_short = true;
            return Ok(None);
        }
        let campaign = place.campaign;
        let at = PageAt { run: campaign.run, wave: place.number, page };
        let (mut rows, version) = self.blobs.page(&campaign.id, at).await?;
        let mut chosen: Vec<&mut Row> =
            rows.hubs.iter_mut().filter(|row| turn.is_of(row, place.wave())).take(room).collect();
        for rows in chosen.chunks_mut(SIDE_BY_SIDE) {
            try_join_all(rows.iter_mut().map(|row| self.write_down(place, row))).await?;
        }
        let version = self.blobs.save_page(&campaign.id, at, &rows, &version).await?;
        // What an operator said meanwhile comes first.
        let (_, last) =
            self.blobs.campaign(&campaign.id).await?.ok_or(BlobError::NoBlob(campaign.id.clone()))?;
        if last != *campaign_version {
            return Err(BlobError::Moved.into());
        }
        for rows in rows.hubs.chunks_mut(SIDE_BY_SIDE) {
            try_join_all(rows.iter_mut().map(|row| self.send_off(place, row))).await?;
        }
        self.blobs.save_page(&campaign.id, at, &rows, &version).await?;
        Ok(Some(rows))
    }

    /// Writes down what a hub is, before it is changed.
    async fn write_down(&self, at: At<'_>, row: &mut Row) -> Result<(), StepError> {
        let (wave, now) = (at.wave(), self.now());
        let goes_back = row.is_to_go_back(wave);
        if !goes_back {
            row.turn = wave.turn;
        }
        let (hub, desired) = match self.wanted(at, row).await {
            Ok(found) => found,
            Err(Unready::NotNow) => {
                row.cause = Some("the hub could not be read; it is tried again".to_owned());
                return Ok(());
            }
            Err(Unready::Never(cause)) if goes_back => {
                row.back_turn = wave.back;
                row.to(Standing::NotRolledBack, now, Some(cause));
                return Ok(());
            }
            Err(Unready::Never(cause)) => {
                fail(row, wave, now, cause);
                return Ok(());
            }
        };
        if goes_back {
            row.back_turn = wave.back;
            let Way { endpoints, left } = way(row, &hub);
            let left = Some(left.join("; ")).filter(|text| !text.is_empty());
            let next = if endpoints.is_empty() { Standing::RolledBack } else { Standing::BackRecorded };
            row.going_back = endpoints;
            row.to(next, now, left);
            return Ok(());
        }
        let profile = &at.campaign.profile;
        match self.state.profile_of(&hub) {
            other if at.campaign.by_match && other != Some(profile.as_str()) => {
                let other = other.map_or("no profile".to_owned(), |other| format!("profile {other}"));
                fail(row, wave, now, format!("the hub is for {other} by now"));
            }
            _ => {
                row.record(&desired, &hub);
                row.to(Standing::Recorded, now, None);
            }
        }
        Ok(())
    }

    /// Does what was written down.
    async fn send_off(&self, at: At<'_>, row: &mut Row) -> Result<(), StepError> {
        match row.standing {
            Standing::Recorded => self.send(at, row).await,
            Standing::BackRecorded => self.take_back(at, row).await,
            _ => Ok(()),
        }
    }
}
