//! What a role assignment of ours says of itself: for which hub and which of its identities it was made.
//!
//! ```text
//! Hubward: hub /subscriptions/…/IotHubs/plant-01 as system (profile standard)
//! Hubward: hub /subscriptions/…/IotHubs/plant-01 as /subscriptions/…/userAssignedIdentities/id-egress (bulk jobs)
//! ```
//!
//! A principal is a bare GUID. Once its hub is gone, nothing but this tells whose it was.

use super::{IotHubId, ResourceId, desired::IdentityRef};

/// How each of them begins.
const START: &str = "Hubward: hub ";
/// The word for a hub's own identity.
const SYSTEM: &str = "system";
/// Longest description that is written. Azure publishes no limit for it; ids of hubs and identities in groups
/// with long names fit.
const LONGEST: usize = 1000;

/// For whom a grant was made, as the grant itself says. Anybody who may write grants may write this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The hub.
    pub hub: IotHubId,
    /// Which of its identities.
    pub identity: IdentityRef,
}

impl Claim {
    /// The claim as the description of a grant, with what it was made for, such as `profile standard`. What it
    /// was made for is left out where all does not fit.
    pub fn describe(&self, purpose: &str) -> String {
        let identity = match &self.identity {
            IdentityRef::System => SYSTEM,
            IdentityRef::User(id) => id.as_str(),
        };
        let claim = format!("{START}{} as {identity}", self.hub);
        let whole = format!("{claim} ({purpose})");
        if whole.chars().count() <= LONGEST { whole } else { claim }
    }

    /// What a description claims. `None` for one that is not ours, or that is of a time when only the hub's name
    /// was written: a name alone does not tell which hub it was.
    pub fn read(description: &str) -> Option<Self> {
        let mut words = description.strip_prefix(START)?.split(' ');
        let hub = IotHubId::parse(words.next()?).ok()?;
        if words.next()? != "as" {
            return None;
        }
        let identity = match words.next()? {
            SYSTEM => IdentityRef::System,
            id => IdentityRef::User(ResourceId::parse(id).ok()?),
        };
        Some(Self { hub, identity })
    }

    /// The profile that a grant was made for, if it was for one and there was room to say so.
    pub fn profile_in(description: &str) -> Option<&str> {
        let (_, name) = description.strip_prefix(START)?.split_once(" (profile ")?;
        name.strip_suffix(')')
    }

    /// The hub's name in a description of the time when nothing else was written: `Hubward: hub plant-01 (profile
    /// standard)`.
    pub fn name_in_old(description: &str) -> Option<&str> {
        let name = description.strip_prefix(START)?.split(' ').next()?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/H1";
    const USER: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id1";

    fn claim(identity: IdentityRef) -> Claim {
        Claim { hub: IotHubId::parse(HUB).unwrap(), identity }
    }

    #[test]
    fn what_is_written_is_read() {
        for identity in [IdentityRef::System, IdentityRef::User(ResourceId::parse(USER).unwrap())] {
            let claim = claim(identity);
            for purpose in ["profile standard", "bulk jobs", &"p".repeat(2000)] {
                let text = claim.describe(purpose);
                assert!(text.len() <= LONGEST, "{text}");
                assert_eq!(Claim::read(&text), Some(claim.clone()), "{text}");
                let profile = (purpose == "profile standard").then_some("standard");
                assert_eq!(Claim::profile_in(&text), profile, "{text}");
                assert_eq!(Claim::name_in_old(&text), None);
            }
        }
        assert!(
            claim(IdentityRef::System).describe("profile x").ends_with("/IotHubs/H1 as system (profile x)")
        );
    }

    #[test]
    fn anything_else_claims_nothing() {
        for text in [
            "",
            "made by hand",
            "Hubward: hub H1 (profile standard)",
            "Hubward: hub  as system",
            &format!("Hubward: hub {HUB}"),
            &format!("Hubward: hub {HUB} (profile standard)"),
            &format!("Hubward: hub {HUB}/certificates/c as system"),
            &format!("Hubward: hub {HUB} as ../x"),
            &format!(" Hubward: hub {HUB} as system"),
        ] {
            assert_eq!(Claim::read(text), None, "{text}");
        }
        assert_eq!(Claim::name_in_old("Hubward: hub H1 (profile standard)"), Some("H1"));
        assert_eq!(Claim::name_in_old("made by hand"), None);
    }
}
