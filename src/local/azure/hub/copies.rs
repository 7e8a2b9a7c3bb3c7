//! Copies of a hub: a fleet in which every hub is as one of them is.
//!
//! What is the same in all of them they share, so that ten thousand hubs take little more room than their
//! ids and identities.

use time::OffsetDateTime;

use crate::{
    local::azure::{random::Random, roles::Assignment, state::State},
    model::{IotHubId, id::ResourceIdError},
};

impl State {
    /// Makes so many copies of a hub beside it, named by a prefix and a number, each with a system-assigned
    /// identity of its own, if the hub has one, which holds the same roles. They are there at once, without
    /// operations or events, and their grants are as old as those of the hub. User-assigned identities
    /// they share.
    pub(in crate::local::azure) fn copy_hub(
        &mut self,
        key: &str,
        count: usize,
        prefix: &str,
        now: OffsetDateTime,
    ) -> Result<(), ResourceIdError> {
        let Some(original) = self.hubs.get(key).cloned() else { return Ok(()) };
        let held = |grant: &&Assignment| {
            original.system.as_ref().is_some_and(|system| grant.principal.eq_ignore_ascii_case(system))
        };
        let grants: Vec<_> = self.assignments.values().filter(held).cloned().collect();
        let parent = original.id.as_str().rsplit_once('/').map_or("", |(parent, _)| parent);
        for at in 0..count {
            let id = IotHubId::parse(&format!("{parent}/{prefix}{at:05}"))?;
            let mut random = Random::of(self.seed, id.key());
            let mut hub = original.clone();
            hub.path = format!("{}{}", id.name().to_ascii_lowercase(), random.letters(7));
            hub.etag = self.next_etag();
            if hub.system.is_some() {
                let principal = random.guid();
                self.add_old_principal(&principal, now);
                for grant in &grants {
                    let grant = grant.of_copy(&principal, random.guid(), original.id.as_str(), id.as_str());
                    self.assignments.insert(now, grant.id().to_ascii_lowercase(), grant);
                }
                hub.system = Some(principal);
            }
            hub.id = id;
            self.hubs.insert(now, hub.id.key().to_owned(), hub);
        }
        Ok(())
    }
}
