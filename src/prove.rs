//! After a write: what the hub itself says about its endpoints and routes.
//!
//! A hub's health report says `unknown` until messages flow, and then it is told as unknown: nothing
//! is claimed that the service does not say. Reading it changes nothing, and when it cannot be read,
//! that too is only told.

use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    arm::{ArmReader, EndpointHealth},
    model::{
        desired::{DesiredHub, DesiredRoute},
        hub::HubDocument,
    },
};

/// What the hub says about what was wanted of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Each wanted endpoint.
    pub endpoints: Vec<EndpointProof>,
    /// Each wanted route.
    pub routes: Vec<RouteProof>,
}

/// How one endpoint fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointProof {
    /// Its name.
    pub name: String,
    /// `healthy`, `degraded`, `unhealthy`, `dead`, or `unknown`.
    pub health: String,
    /// The last error, or why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When something was last sent there: the health is as old as that.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<OffsetDateTime>,
}

/// What the service's route test says about one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteProof {
    /// Its name.
    pub name: String,
    /// What came of the test.
    pub test: RouteTest,
}

/// What came of a route test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteTest {
    /// It takes an empty device message.
    Takes,
    /// It should take every device message, and does not take an empty one.
    DoesNotTake,
    /// Whether it takes anything depends on the message, or it is for another source, or off.
    Unknown,
}

impl EndpointProof {
    /// What speaks against the endpoint, in words.
    pub fn doubt(&self) -> Option<String> {
        let words = ["degraded", "unhealthy", "dead"];
        let is_sick = words.iter().any(|word| self.health.eq_ignore_ascii_case(word));
        let detail = self.detail.as_deref().unwrap_or("no reason given");
        is_sick.then(|| format!("endpoint {} is {}: {detail}", self.name, self.health))
    }

    /// Whether it is known to be well.
    pub fn is_healthy(&self) -> bool {
        self.health.eq_ignore_ascii_case("healthy")
    }

    /// Whether the health is of something that was sent after a time. Where the service does not tell, it
    /// is taken to be.
    pub fn is_since(&self, time: OffsetDateTime) -> bool {
        self.last_attempt.is_none_or(|attempt| attempt > time)
    }
}

impl Proof {
    /// What speaks against the write, in words.
    pub fn doubts(&self) -> Vec<String> {
        let sick = self.endpoints.iter().filter_map(EndpointProof::doubt);
        let idle = self.routes.iter().filter(|route| route.test == RouteTest::DoesNotTake);
        sick.chain(idle.map(|route| format!("route {} takes no messages", route.name))).collect()
    }
}

/// Asks the hub: one read, and one more if a device message can be tested with.
pub async fn prove(arm: &ArmReader, desired: &DesiredHub, hub: &HubDocument) -> Proof {
    let mut proof = Proof::default();
    if !desired.endpoints.is_empty() {
        let health = arm.endpoint_health(hub.id()).await.map_err(|error| error.to_string());
        proof.endpoints = desired.endpoints.iter().map(|want| endpoint(&want.name, hub, &health)).collect();
    }
    let is_testable =
        |route: &&DesiredRoute| route.enabled && route.source.eq_ignore_ascii_case("DeviceMessages");
    if desired.routes.is_empty() {
        return proof;
    }
    let taken = if desired.routes.iter().any(|route| is_testable(&route)) {
        arm.routes_for_an_empty_message(hub.id()).await.ok()
    } else {
        None
    };
    let test = |route: &DesiredRoute| match &taken {
        Some(taken) if is_testable(&route) => {
            if taken.iter().any(|name| name.eq_ignore_ascii_case(&route.name)) {
                RouteTest::Takes
            } else if route.condition.trim().eq_ignore_ascii_case("true") {
                RouteTest::DoesNotTake
            } else {
                RouteTest::Unknown
            }
        }
        _ => RouteTest::Unknown,
    };
    proof.routes = desired
        .routes
        .iter()
        .map(|route| RouteProof { name: route.name.clone(), test: test(route) })
        .collect();
    proof
}

fn endpoint(name: &str, hub: &HubDocument, health: &Result<Vec<EndpointHealth>, String>) -> EndpointProof {
    let unknown = |detail: Option<String>| EndpointProof {
        name: name.to_owned(),
        health: "unknown".to_owned(),
        detail,
        last_attempt: None,
    };
    let health = match health {
        Ok(health) => health,
        Err(cause) => return unknown(Some(cause.clone())),
    };
    let id = hub.endpoints().into_iter().find(|view| view.is_named(name)).and_then(|view| view.text("id"));
    let found = id.and_then(|id| health.iter().find(|one| one.endpoint_id.eq_ignore_ascii_case(id)));
    match found {
        None => unknown(Some("the hub does not report on it".to_owned())),
        Some(found) => EndpointProof {
            name: name.to_owned(),
            health: found.status.clone(),
            detail: found.last_known_error.clone(),
            last_attempt: found.last_attempt,
        },
    }
}
