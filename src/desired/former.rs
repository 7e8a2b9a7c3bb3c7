//! What a hub should be that matches its profile no more: without what that has brought.
//!
//! That a hub matches no profile proves nothing: most hubs never did. The grants that were made for it do.
//! Each says for which hub and for which profile it was made, and what of that profile is still in the hub is
//! what goes. Needs `guardrails.allowRemovals`.

use super::{Choice, DesiredState, request::leaving_all};
use crate::model::{claim::Claim, desired::DesiredHub, hub::HubDocument};

impl DesiredState {
    /// What a hub that no profile matches should be, by what the grants of its identities say of themselves.
    /// `None` if nothing shows that it ever had a profile of this document, or nothing may be removed.
    pub fn for_former<'a>(
        &self,
        hub: &HubDocument,
        descriptions: impl IntoIterator<Item = &'a str>,
    ) -> Option<DesiredHub> {
        if !self.guardrails().allow_removals || !self.guardrails().allows_hub(hub.id()) {
            return None;
        }
        let is_for_it = |text: &&str| Claim::read(text).is_some_and(|claim| claim.hub == *hub.id());
        let mut names: Vec<&str> =
            descriptions.into_iter().filter(is_for_it).filter_map(Claim::profile_in).collect();
        names.sort_unstable();
        names.dedup();
        let mut left: Option<DesiredHub> = None;
        for name in names {
            let Choice::Desired(profile) = self.resolve_named(name, hub) else { continue };
            let left = left.get_or_insert_with(|| {
                let mut left = leaving_all(hub);
                left.profile = profile.profile.clone();
                left.revoke_unneeded = true;
                left
            });
            left.own_what_it_lists(&profile);
        }
        left
    }
}
