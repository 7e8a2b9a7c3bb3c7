//! What a check found.

use serde::Serialize;

use super::{fix::Fix, needs::Need, power::Warning};
use crate::{arm::Principal, model::ResourceId};

/// What we may do, and what we may not.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkup {
    /// Whose rights these are.
    pub checked_as: Principal,
    /// What it comes to.
    pub verdict: Verdict,
    /// Scope by scope.
    pub scopes: Vec<ScopeCheck>,
    /// What to do about what is missing, and about what could not be seen.
    pub fixes: Vec<Fix>,
    /// Power that is not needed, and grants that would be refused.
    pub warnings: Vec<Warning>,
}

/// One scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeCheck {
    /// The scope.
    pub scope: ResourceId,
    /// Rights that are held on all of it.
    pub held: Vec<Need>,
    /// Rights that are held on parts of it only.
    pub held_below: Vec<HeldBelow>,
    /// Whether our role assignments could be listed, without which nothing is seen of what is below.
    pub sees_below: bool,
    /// Rights that are not held.
    pub missing: Vec<Need>,
    /// Rights of which nothing is known.
    pub unknown: Vec<Need>,
    /// Why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A right that is granted further down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldBelow {
    /// The right.
    pub need: Need,
    /// Where it is held.
    pub scopes: Vec<ResourceId>,
}

/// What a check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing that is required is missing.
    Fine,
    /// Something that is required is missing.
    Missing,
    /// Nothing that is required is known to be missing, and some of it could not be seen.
    Unknown,
}

impl Checkup {
    /// The rights that are not held.
    pub fn missing(&self) -> impl Iterator<Item = &Need> {
        self.scopes.iter().flat_map(|scope| &scope.missing)
    }

    /// The rights of which nothing is known.
    pub fn unknown(&self) -> impl Iterator<Item = &Need> {
        self.scopes.iter().flat_map(|scope| &scope.unknown)
    }

    /// The fix for a need that is not known to be met.
    pub fn fix_of(&self, need: &Need) -> Option<&Fix> {
        self.fixes.iter().find(|fix| fix.scope == need.scope && fix.role == need.given_by)
    }
}

impl Verdict {
    pub(super) fn of(scopes: &[ScopeCheck]) -> Self {
        let any = |needs: fn(&ScopeCheck) -> &[Need]| scopes.iter().flat_map(needs).any(Need::is_required);
        if any(|scope| &scope.missing) {
            Verdict::Missing
        } else if any(|scope| &scope.unknown) {
            Verdict::Unknown
        } else {
            Verdict::Fine
        }
    }
}
