//! What somebody asks for: the fleet, which of its rows, or one hub.

use http::StatusCode;
use serde::Serialize;

use crate::{
    fleet::{HubRow, StandingKind},
    handler::HttpTrigger,
    model::IotHubId,
};

/// Most characters of one value in the query.
const LONGEST: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The fleet, or some of its rows.
    Fleet(Filter),
    /// One hub.
    Hub(IotHubId),
}

/// Which rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Those that stand so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<StandingKind>,
    /// Those of this profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Those with this in the id, the region or a cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// The page, from 1.
    #[serde(skip)]
    pub page: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self { standing: None, profile: None, q: None, page: 1 }
    }
}

/// Why there is no such page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The status of the answer.
    pub status: StatusCode,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Mistake {
    /// Something is wrong with the question.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail: detail.into() }
    }

    /// There is no such thing.
    pub fn no_such(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, detail: detail.into() }
    }

    /// It may be there, and cannot be told now.
    pub fn away(cause: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, detail: cause.to_owned() }
    }

    /// Its short name.
    pub fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }
}

impl Ask {
    /// Reads a request: the route's `hub`, else the query.
    ///
    /// # Errors
    /// What is asked for is no hub, no filter or no page.
    pub fn read(request: &HttpTrigger) -> Result<Self, Mistake> {
        let path = request.params.get("hub").and_then(|hub| hub.as_str()).unwrap_or_default();
        let path = path.trim_matches('/');
        if !path.is_empty() {
            return hub_at(path).map(Ask::Hub);
        }
        let value = |name: &str| {
            let value = request.query.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
            match value {
                Some(text) if text.chars().count() > LONGEST => {
                    Err(Mistake::bad(format!("`{name}` is longer than {LONGEST} characters")))
                }
                found => Ok(found.map(str::to_owned)),
            }
        };
        let standing = value("standing")?.map(|word| standing(&word)).transpose()?;
        let page = match value("page")? {
            None => 1,
            Some(text) => {
                let page = text.parse().ok().filter(|page| *page > 0);
                page.ok_or_else(|| Mistake::bad("`page` is not a number from 1 on"))?
            }
        };
        Ok(Ask::Fleet(Filter { standing, profile: value("profile")?, q: value("q")?, page }))
    }
}

fn standing(word: &str) -> Result<StandingKind, Mistake> {
    let found = StandingKind::ALL.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word));
    found.ok_or_else(|| {
        let words = StandingKind::ALL.map(StandingKind::word).join(", ");
        Mistake::bad(format!("`standing` is none of {words}"))
    })
}

/// `{subscription}/{resource group}/{hub}`
fn hub_at(path: &str) -> Result<IotHubId, Mistake> {
    let parts: Vec<&str> = path.split('/').collect();
    let [subscription, group, name] = parts.as_slice() else {
        return Err(Mistake::no_such("the address of a hub ends with subscription/resource group/hub"));
    };
    let id = format!(
        "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{name}"
    );
    IotHubId::parse(&id).map_err(|error| Mistake::bad(format!("this is no hub: {error}")))
}

impl Filter {
    /// Whether a row is asked for.
    pub fn takes(&self, row: &HubRow) -> bool {
        let standing = self.standing.is_none_or(|kind| row.standing.kind() == kind);
        let profile = self.profile.is_none() || self.profile == row.profile;
        standing && profile && self.q.as_deref().is_none_or(|text| holds(row, text))
    }

    /// Whether every row is asked for.
    pub fn takes_all(&self) -> bool {
        Self { page: 1, ..self.clone() } == Self::default()
    }

    /// The same rows, another page of them.
    #[must_use]
    pub fn at(&self, page: usize) -> Self {
        Self { page, ..self.clone() }
    }
}

fn holds(row: &HubRow, text: &str) -> bool {
    let text = text.to_lowercase();
    row.hub.key().contains(&text)
        || row.location.to_lowercase().contains(&text)
        || row.standing.causes().iter().any(|cause| cause.to_lowercase().contains(&text))
}
