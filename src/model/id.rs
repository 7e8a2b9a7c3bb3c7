//! Azure resource ids: compared without case, sent back as they were received.
//!
//! ARM itself is not consistent about case (`resourcegroups` and `resourceGroups` for the same
//! resource), so equality, ordering and hashing use the lower-cased text, while `Display` keeps the
//! spelling that came in. See the naming rules of Azure Resource Manager:
//! <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Longest id that is taken. ARM's own limit for a whole id is not published; the longest real
/// ids (five nested names of 260 characters) stay well below this.
const MAX_LEN: usize = 2048;

/// A full resource id: `/subscriptions/{guid}[/resourceGroups/{name}[/providers/{ns}/{type}/{name}…]]`.
///
/// Also holds the ids of a subscription and of a resource group, because scopes may be either.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceId {
    text: String,
    key: String,
}

/// Why a text is not a resource id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceIdError {
    /// Does not begin with `/subscriptions/{guid}`.
    #[error("a resource id begins with `/subscriptions/<guid>`")]
    NoSubscription,
    /// Has an empty segment, a trailing slash or an odd number of segments.
    #[error("a resource id is made of `/name/value` pairs without empty parts")]
    Shape,
    /// Holds a character that no resource name may have, or a path trick such as `..`.
    #[error("a resource id must not contain `{0}`")]
    Character(String),
    /// Longer than 2048 characters.
    #[error("a resource id has at most {MAX_LEN} characters")]
    TooLong,
    /// A resource id, but of another kind.
    #[error("expected the id of {expected}, such as `{example}`")]
    Kind {
        /// What was wanted, in words.
        expected: &'static str,
        /// The shape that was wanted.
        example: &'static str,
    },
}

impl ResourceId {
    /// Parses and checks an id. Nothing is trimmed or repaired.
    pub fn parse(text: &str) -> Result<Self, ResourceIdError> {
        if text.len() > MAX_LEN {
            return Err(ResourceIdError::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(ResourceIdError::NoSubscription)?;
        let parts: Vec<&str> = rest.split('/').collect();
        if parts.len() < 2 || !parts[0].eq_ignore_ascii_case("subscriptions") {
            return Err(ResourceIdError::NoSubscription);
        }
        // `try_parse` also takes braces and urn forms; a segment of an id is the plain form.
        if parts[1].len() != 36 || uuid::Uuid::try_parse(parts[1]).is_err() {
            return Err(ResourceIdError::NoSubscription);
        }
        for part in &parts {
            check_segment(part)?;
        }
        let well_formed = match parts.get(2) {
            None => true,
            Some(word) if word.eq_ignore_ascii_case("resourceGroups") => {
                parts.len() == 4 || (parts.len() > 4 && provider_chain(&parts[4..]))
            }
            Some(_) => provider_chain(&parts[2..]),
        };
        if !well_formed {
            return Err(ResourceIdError::Shape);
        }
        Ok(Self { text: text.to_owned(), key: text.to_ascii_lowercase() })
    }

    /// The id as it was received.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The lower-cased id: the only form to key state by.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The subscription's GUID, lower-cased.
    pub fn subscription(&self) -> &str {
        self.key.split('/').nth(2).unwrap_or_default()
    }

    /// The resource group's name, as received.
    pub fn resource_group(&self) -> Option<&str> {
        let mut parts = self.text.split('/').skip(3);
        parts.next().filter(|word| word.eq_ignore_ascii_case("resourceGroups")).and_then(|_| parts.next())
    }

    /// The last segment, as received: the resource's own name.
    pub fn name(&self) -> &str {
        self.text.rsplit('/').next().unwrap_or_default()
    }

    /// The full type of the (innermost) resource, lower-cased: `microsoft.eventhub/namespaces/eventhubs`.
    /// `None` for a subscription or a resource group.
    pub fn resource_type(&self) -> Option<String> {
        let parts: Vec<&str> = self.key.split('/').collect();
        let at = parts.iter().rposition(|part| *part == "providers")?;
        let mut kind = parts.get(at + 1)?.to_string();
        for word in parts[at + 2..].iter().step_by(2) {
            kind.push('/');
            kind.push_str(word);
        }
        Some(kind)
    }

    /// The id one `/type/name` pair up: the namespace of an event hub.
    pub fn parent(&self) -> Option<ResourceId> {
        let cut = |text: &str| {
            let end = text.rmatch_indices('/').nth(1)?.0;
            Some(text[..end].to_owned())
        };
        Self::parse(&cut(&self.text)?).ok()
    }

    /// The Cosmos DB account that this is, or that it lies in.
    pub fn cosmos_account(&self) -> Option<ResourceId> {
        let mut id = self.clone();
        while id.resource_type()? != "microsoft.documentdb/databaseaccounts" {
            id = id.parent()?;
        }
        Some(id)
    }

    /// Whether this id is `scope` or lies below it, compared by whole segments.
    pub fn is_within(&self, scope: &ResourceId) -> bool {
        self.key.strip_prefix(scope.key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// `providers/{namespace}` followed by one or more `{type}/{name}` pairs, repeated for extension
/// resources (`…/providers/Microsoft.Authorization/roleAssignments/{guid}`).
fn provider_chain(parts: &[&str]) -> bool {
    parts.len() >= 4
        && parts.len().is_multiple_of(2)
        && parts[0].eq_ignore_ascii_case("providers")
        && parts[1].contains('.')
}

fn check_segment(part: &str) -> Result<(), ResourceIdError> {
    if part.is_empty() {
        return Err(ResourceIdError::Shape);
    }
    if part.chars().all(|c| c == '.') {
        return Err(ResourceIdError::Character(part.to_owned()));
    }
    // Every character that a resource name of the kinds we touch may have. Percent signs, query
    // and fragment marks and anything beyond ASCII are what path tricks are made of.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.()$~".contains(c);
    match part.chars().find(|c| !allowed(*c)) {
        Some(bad) => Err(ResourceIdError::Character(bad.escape_default().to_string())),
        None => Ok(()),
    }
}

impl FromStr for ResourceId {
    type Err = ResourceIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ResourceId {
    type Error = ResourceIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.text
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for ResourceId {}
impl PartialOrd for ResourceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for ResourceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}
impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// The id of exactly one IoT hub: never of something above or below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "ResourceId", into = "ResourceId")]
pub struct IotHubId(ResourceId);

impl IotHubId {
    /// The type as [`ResourceId::resource_type`] gives it.
    pub const TYPE: &'static str = "microsoft.devices/iothubs";

    /// Parses an id and checks that it names a hub.
    pub fn parse(text: &str) -> Result<Self, ResourceIdError> {
        ResourceId::parse(text)?.try_into()
    }

    /// The hub's id as a plain resource id.
    pub fn resource(&self) -> &ResourceId {
        &self.0
    }

    /// The hub's name, as received.
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

impl std::ops::Deref for IotHubId {
    type Target = ResourceId;
    fn deref(&self) -> &ResourceId {
        &self.0
    }
}

impl TryFrom<ResourceId> for IotHubId {
    type Error = ResourceIdError;
    fn try_from(id: ResourceId) -> Result<Self, Self::Error> {
        let is_hub = id.resource_type().as_deref() == Some(Self::TYPE)
            && id.resource_group().is_some()
            && id.key().split('/').count() == 9;
        if is_hub {
            Ok(Self(id))
        } else {
            Err(ResourceIdError::Kind {
                expected: "an IoT hub",
                example: "/subscriptions/{guid}/resourceGroups/{group}/providers/Microsoft.Devices/IotHubs/{hub}",
            })
        }
    }
}

impl From<IotHubId> for ResourceId {
    fn from(hub: IotHubId) -> Self {
        hub.0
    }
}

impl fmt::Display for IotHubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUB: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590";

    fn id(rest: &str) -> ResourceId {
        ResourceId::parse(&format!("{SUB}{rest}")).unwrap()
    }

    #[test]
    fn ids_differ_by_more_than_case() {
        let a = id("/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/Hub1");
        let b = id("/resourcegroups/RG/providers/microsoft.devices/iothubs/hub1");
        assert_eq!(a, b);
        assert_eq!(a.name(), "Hub1");
        assert_eq!(b.resource_group(), Some("RG"));
        assert_eq!(a.subscription(), "0b1f6471-1bf0-4dda-aec3-cb9272f09590");
    }

    #[test]
    fn types_and_parents() {
        let eh = id("/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/ns1/eventhubs/telemetry");
        assert_eq!(eh.resource_type().unwrap(), "microsoft.eventhub/namespaces/eventhubs");
        assert_eq!(eh.parent().unwrap().name(), "ns1");
        assert!(eh.is_within(&id("/resourceGroups/RG")));
        assert!(!eh.is_within(&id("/resourceGroups/r")));
        assert_eq!(id("").resource_type(), None);
    }

    #[test]
    fn a_child_of_a_hub_is_not_the_hub() {
        let hub = "/resourceGroups/rg/providers/Microsoft.Devices/IotHubs/h";
        assert!(IotHubId::parse(&format!("{SUB}{hub}")).is_ok());
        for below in ["/certificates/c", "/providers/Microsoft.Authorization/roleAssignments/x"] {
            assert!(IotHubId::parse(&format!("{SUB}{hub}{below}")).is_err(), "{below}");
        }
    }

    #[test]
    fn tricks_are_refused() {
        for bad in [
            "",
            "/",
            "subscriptions/x",
            "/subscriptions/not-a-guid",
            "/subscriptions/{0b1f6471-1bf0-4dda-aec3-cb9272f09590}",
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/",
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups",
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/..",
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/a%2fb",
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/a?b=c",
            "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/рg",
        ] {
            assert!(ResourceId::parse(bad).is_err(), "{bad}");
        }
    }
}
