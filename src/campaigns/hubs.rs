//! How far one hub of a campaign has come, and what its endpoints were before.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::campaign::{Campaign, Wave};
use crate::{
    desired::RequestKind,
    model::{
        IotHubId, ResourceId,
        desired::{DesiredHub, IdentityRef},
        hub::{EndpointAuth, EndpointView, HubDocument},
    },
};

/// Most hubs of a page.
pub const PAGE: usize = 200;
/// Most characters of a cause that is kept.
const MOST_CAUSE: usize = 400;
/// Longest reason of a campaign: it goes into the reason of each request.
pub const MOST_REASON: usize = 180;

/// Hubs of one wave that are kept together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order in which their turn comes.
    pub hubs: Vec<Row>,
}

/// One hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The hub.
    pub hub: IotHubId,
    /// How far it is.
    pub standing: Standing,
    /// The turn of the wave in which it got there.
    #[serde(default)]
    pub turn: u32,
    /// The turn in which it began to go back; 0 if it never did.
    #[serde(default)]
    pub back_turn: u32,
    /// Since when.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<OffsetDateTime>,
    /// Whether a request was sent: from then on the hub may be another one than before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
    /// Whether a request changed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Why it failed, what is waited for, or what was left when it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What the endpoints that the profile names were before it was touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// Endpoints that are on their way back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub going_back: Vec<String>,
}

/// How far a hub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Its turn has not come.
    Waiting,
    /// What it was is written down; its request is about to be sent.
    Recorded,
    /// Its request was sent.
    Sent,
    /// Its request ended well; its endpoints are looked at.
    Verifying,
    /// They are as they should be.
    Verified,
    /// So they were after the wave was left alone for a while.
    Done,
    /// It failed.
    Failed,
    /// What goes back is written down; the requests for it are about to be sent.
    BackRecorded,
    /// They were sent.
    GoingBack,
    /// It is what it was, as far as that can be.
    RolledBack,
    /// It could not be brought back.
    NotRolledBack,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Waiting => "waiting",
            Standing::Recorded => "about to be changed",
            Standing::Sent => "being changed",
            Standing::Verifying => "being verified",
            Standing::Verified => "verified",
            Standing::Done => "done",
            Standing::Failed => "failed",
            Standing::BackRecorded => "about to go back",
            Standing::GoingBack => "going back",
            Standing::RolledBack => "rolled back",
            Standing::NotRolledBack => "not rolled back",
        })
    }
}

impl Standing {
    /// Whether something is under way for the hub.
    pub fn is_under_way(self) -> bool {
        use Standing::{BackRecorded, GoingBack, Recorded, Sent, Verifying};
        matches!(self, Recorded | Sent | Verifying | BackRecorded | GoingBack)
    }
}

/// What an endpoint was. Nothing here is secret: neither a key nor a connection string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// The endpoint's name.
    pub name: String,
    /// What it authenticated with.
    pub auth: AuthBefore,
    /// What it sent to, as far as the hub tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ResourceId>,
}

/// What an endpoint authenticated with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthBefore {
    /// It was not there.
    Absent,
    /// With a key.
    #[serde(rename_all = "camelCase")]
    Key {
        /// The name of the authorization rule whose key it was, for targets that have such rules.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<String>,
    },
    /// With an identity of the hub.
    Identity(IdentityRef),
    /// With something that cannot be read.
    Unreadable,
}

impl AuthBefore {
    /// What an endpoint authenticates with now.
    pub fn of(endpoint: &EndpointView<'_>) -> Self {
        match endpoint.auth() {
            EndpointAuth::Key => {
                AuthBefore::Key { rule: endpoint.connection_part("SharedAccessKeyName").map(str::to_owned) }
            }
            EndpointAuth::Identity(identity) => AuthBefore::Identity(identity),
            EndpointAuth::Unreadable(_) => AuthBefore::Unreadable,
        }
    }
}

impl Row {
    /// A hub whose turn has not come.
    pub fn new(hub: IotHubId) -> Self {
        Self {
            hub,
            standing: Standing::Waiting,
            turn: 0,
            back_turn: 0,
            since: None,
            touched: false,
            changed: false,
            cause: None,
            before: Vec::new(),
            going_back: Vec::new(),
        }
    }

    /// Moves on.
    pub(super) fn to(&mut self, standing: Standing, now: OffsetDateTime, cause: Option<String>) {
        self.standing = standing;
        self.since = Some(now);
        self.cause = cause.map(|cause| cause.chars().take(MOST_CAUSE).collect());
    }

    /// Writes down what the endpoints are that the profile names. What a hub was before it was touched for
    /// the first time stays written down.
    pub(super) fn record(&mut self, desired: &DesiredHub, hub: &HubDocument) {
        if self.touched {
            return;
        }
        let (known, others) = (hub.endpoints(), hub.other_endpoints());
        let before = |name: &String| match known.iter().find(|endpoint| endpoint.is_named(name)) {
            Some(found) => Before {
                name: found.name.to_owned(),
                auth: AuthBefore::of(found),
                target: found.target(hub.id()).map(|target| target.id().clone()),
            },
            None => {
                let is_other = others.iter().any(|other| other.name.eq_ignore_ascii_case(name));
                let auth = if is_other { AuthBefore::Unreadable } else { AuthBefore::Absent };
                Before { name: name.clone(), auth, target: None }
            }
        };
        self.before = desired.endpoints.iter().map(|endpoint| before(&endpoint.name)).collect();
    }

    /// Whether the hub failed, and that counts.
    pub fn has_failed(&self, wave: &Wave) -> bool {
        self.standing == Standing::Failed && self.turn > wave.left
    }

    /// Whether the hub is to go back, and has not begun to.
    pub fn is_to_go_back(&self, wave: &Wave) -> bool {
        use Standing::{Done, Failed, NotRolledBack, Verified, Verifying, Waiting};
        let may_begin =
            matches!(self.standing, Waiting | Verifying | Verified | Done | Failed | NotRolledBack);
        wave.back > 0 && self.touched && self.back_turn < wave.back && may_begin
    }

    /// The request that brings the hub to the profile.
    pub(super) fn request(&self, campaign: &Campaign, wave: usize) -> Value {
        let mut request = self.common(campaign, wave, RequestKind::Onboard, &self.turn.to_string());
        request["profile"] = campaign.profile.as_str().into();
        request
    }

    /// The requests that bring back what went.
    pub(super) fn requests_back(&self, campaign: &Campaign, wave: usize) -> Vec<Value> {
        let request = |(nth, name): (usize, &String)| {
            let before = self.before.iter().find(|before| before.name == *name)?;
            let mut request = self.common(
                campaign,
                wave,
                RequestKind::SetEndpointAuth,
                &format!("{}b{nth}", self.back_turn),
            );
            request["endpoint"] = name.as_str().into();
            match &before.auth {
                AuthBefore::Key { rule } => {
                    request["as"] = "key".into();
                    if let Some(rule) = rule {
                        request["keyRule"] = rule.as_str().into();
                    }
                }
                AuthBefore::Identity(IdentityRef::System) => request["as"] = "system".into(),
                AuthBefore::Identity(IdentityRef::User(id)) => request["as"] = id.as_str().into(),
                AuthBefore::Absent | AuthBefore::Unreadable => return None,
            }
            Some(request)
        };
        self.going_back.iter().enumerate().filter_map(request).collect()
    }

    /// What all requests of a campaign have. Nothing in it depends on when or by whom it is made, so the
    /// same request is the same message.
    fn common(&self, campaign: &Campaign, wave: usize, kind: RequestKind, turn: &str) -> Value {
        let Campaign { id, run, requested_by, reason, .. } = campaign;
        let run = &run.simple().to_string()[..8];
        let number = wave + 1;
        let key = format!("campaign:{id}:{run}:{number}:{turn}:{}", self.hub.name());
        json!({"schema": "hubward/v1", "kind": kind.word(), "id": key, "hub": self.hub.as_str(),
            "requestedBy": requested_by, "reason": format!("campaign {id}, wave {number}: {reason}")})
    }
}

/// What hubs came to, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tally {
    /// Their turn has not come.
    pub waiting: usize,
    /// Something is under way for them.
    pub under_way: usize,
    /// They are as they should be; the wave is being left alone.
    pub verified: usize,
    /// They are done.
    pub done: usize,
    /// They failed.
    pub failed: usize,
    /// They failed, and are left.
    pub left: usize,
    /// They are to go back, and have not begun to.
    pub to_go_back: usize,
    /// They are what they were.
    pub rolled_back: usize,
    /// They could not be brought back.
    pub not_rolled_back: usize,
    /// They were changed by the campaign, whatever came of it.
    pub changed: usize,
}

impl Tally {
    /// Of some hubs of a wave.
    pub fn of(rows: &[Row], wave: &Wave) -> Self {
        let mut tally = Self::default();
        for row in rows {
            tally.changed += usize::from(row.changed);
            let place = match row.standing {
                _ if row.is_to_go_back(wave) => &mut tally.to_go_back,
                standing if standing.is_under_way() => &mut tally.under_way,
                Standing::Verified => &mut tally.verified,
                Standing::Done => &mut tally.done,
                Standing::Failed if row.has_failed(wave) => &mut tally.failed,
                Standing::Failed => &mut tally.left,
                Standing::RolledBack => &mut tally.rolled_back,
                Standing::NotRolledBack => &mut tally.not_rolled_back,
                _ => &mut tally.waiting,
            };
            *place += 1;
        }
        tally
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            under_way: self.under_way + other.under_way,
            verified: self.verified + other.verified,
            done: self.done + other.done,
            failed: self.failed + other.failed,
            left: self.left + other.left,
            to_go_back: self.to_go_back + other.to_go_back,
            rolled_back: self.rolled_back + other.rolled_back,
            not_rolled_back: self.not_rolled_back + other.not_rolled_back,
            changed: self.changed + other.changed,
        }
    }
}
