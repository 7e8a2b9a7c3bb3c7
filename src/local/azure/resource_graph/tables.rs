//! The tables: which resources are rows of which, and what the columns of a row hold.
//!
//! Whole documents are large, so a row is a reference until a column is asked for that needs one.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    eval::Cells,
    value::{Datum, Type},
};
use crate::local::azure::{
    hub::{Hub, NEWEST_VERSION},
    resources::Identity,
    roles::Assignment,
    state::State,
};

/// The columns of both tables, in the order in which the service answers with them.
pub(super) const COLUMNS: [(&str, Type); 16] = [
    ("id", Type::Text),
    ("name", Type::Text),
    ("type", Type::Text),
    ("tenantId", Type::Text),
    ("kind", Type::Text),
    ("location", Type::Text),
    ("resourceGroup", Type::Text),
    ("subscriptionId", Type::Text),
    ("managedBy", Type::Text),
    ("sku", Type::Dynamic),
    ("plan", Type::Dynamic),
    ("properties", Type::Dynamic),
    ("tags", Type::Dynamic),
    ("identity", Type::Dynamic),
    ("zones", Type::Dynamic),
    ("extendedLocation", Type::Dynamic),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Resources,
    Authorization,
}

impl Table {
    /// A table by its name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        let tables = [("resources", Table::Resources), ("authorizationresources", Table::Authorization)];
        tables.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, table)| table)
    }
}

/// One resource.
pub(super) struct Resource<'a> {
    state: &'a State,
    /// As Resource Manager spells it.
    id: Cow<'a, str>,
    /// In lower case, as the whole table has it.
    pub(super) kind: Cow<'a, str>,
    source: Source<'a>,
    /// Its document, if that is small enough to be kept once it was made.
    small: OnceCell<Value>,
}

enum Source<'a> {
    Hub(&'a Hub),
    Grant(&'a Assignment),
    Target(&'a Value),
    Identity(&'a Identity),
}

impl State {
    /// The rows of a table as they were at a time, of subscriptions that are asked about.
    pub(super) fn graph_rows<'a>(
        &'a self,
        table: Table,
        then: OffsetDateTime,
        is_asked_for: &dyn Fn(&str) -> bool,
    ) -> Vec<Resource<'a>> {
        // Keys are ids in lower case: `/subscriptions/{id}/…`.
        let is_within = |key: &str| key.split('/').nth(2).is_some_and(is_asked_for);
        let row = |id, kind, source| Resource { state: self, id, kind, source, small: OnceCell::new() };
        match table {
            Table::Authorization => {
                let grants = self.assignments.as_of(then).into_iter().filter(|(key, _)| is_within(key));
                let kind = || Cow::Borrowed("microsoft.authorization/roleassignments");
                grants.map(|(_, grant)| row(Cow::Owned(grant.id()), kind(), Source::Grant(grant))).collect()
            }
            Table::Resources => {
                let hubs = self.hubs.as_of(then).into_iter().filter(|(key, _)| is_within(key));
                let hubs = hubs.map(|(_, hub)| {
                    let kind = Cow::Borrowed("microsoft.devices/iothubs");
                    row(Cow::Borrowed(hub.id.as_str()), kind, Source::Hub(hub))
                });
                let identities = self.identities.iter().filter(|(key, _)| is_within(key)).map(|(_, own)| {
                    let kind = Cow::Borrowed("microsoft.managedidentity/userassignedidentities");
                    row(Cow::Borrowed(own.id.as_str()), kind, Source::Identity(own))
                });
                // What lies below another resource is not in the table.
                let targets = self.targets.iter().filter(|(key, _)| is_within(key)).filter_map(|(_, own)| {
                    let (id, kind) = (own["id"].as_str()?, own["type"].as_str()?.to_ascii_lowercase());
                    let is_top = kind.split('/').count() == 2;
                    is_top.then(|| row(Cow::Borrowed(id), Cow::Owned(kind), Source::Target(own)))
                });
                hubs.chain(identities).chain(targets).collect()
            }
        }
    }
}

impl Resource<'_> {
    /// The id in lower case, as permissions are held against it.
    pub(super) fn key(&self) -> String {
        self.id.to_ascii_lowercase()
    }

    /// What a GET of it shows, keys masked.
    fn document(&self) -> Value {
        match self.source {
            Source::Hub(hub) => hub.view(self.state, NEWEST_VERSION),
            Source::Grant(grant) => {
                let mut view = grant.view(false);
                for name in ["scope", "roleDefinitionId"] {
                    let own = &mut view["properties"][name];
                    *own = own.as_str().map(respelled).into();
                }
                view
            }
            Source::Target(view) => view.clone(),
            Source::Identity(identity) => identity.view(&self.state.tenant),
        }
    }

    fn location(&self) -> &str {
        match self.source {
            Source::Hub(hub) => hub.location(),
            Source::Grant(_) => "",
            Source::Target(view) => view["location"].as_str().unwrap_or_default(),
            Source::Identity(identity) => &identity.location,
        }
    }

    fn part(&self, after: &str) -> &str {
        let mut parts = self.id.split('/').skip_while(|part| !part.eq_ignore_ascii_case(after));
        parts.nth(1).unwrap_or_default()
    }
}

/// A resource with its document, once that was needed. That of a hub goes when it was looked at.
pub(super) struct Shown<'r> {
    resource: &'r Resource<'r>,
    large: OnceCell<Value>,
}

impl<'r> Shown<'r> {
    pub(super) fn of(resource: &'r Resource<'r>) -> Self {
        Self { resource, large: OnceCell::new() }
    }
}

impl Cells for Shown<'_> {
    fn cell(&self, at: usize) -> Datum<'_> {
        let own = self.resource;
        match COLUMNS.get(at).map_or("", |(name, _)| *name) {
            "id" => Datum::owned(respelled(&own.id)),
            "name" => Datum::text(own.id.rsplit('/').next().unwrap_or_default()),
            "type" => Datum::text(&own.kind),
            "tenantId" => Datum::text(&own.state.tenant),
            "location" => Datum::text(own.location()),
            "resourceGroup" => Datum::owned(own.part("resourceGroups").to_ascii_lowercase()),
            "subscriptionId" => Datum::owned(own.part("subscriptions").to_ascii_lowercase()),
            "kind" | "managedBy" => Datum::text(""),
            name @ ("sku" | "properties" | "tags" | "identity") => {
                let kept = if matches!(own.source, Source::Hub(_)) { &self.large } else { &own.small };
                let document = kept.get_or_init(|| own.document());
                document.get(name).map_or(Datum::Null, Datum::of)
            }
            _ => Datum::Null,
        }
    }
}

/// An id in one of the spellings that Azure's services use, always the same for the same id: only names
/// stay as they are.
fn respelled(id: &str) -> String {
    let way = id.bytes().map(u32::from).sum::<u32>() % 4;
    if way == 0 {
        return id.to_owned();
    }
    // How far behind the last `providers` a segment is: its namespace, then types and names in turn.
    let mut behind: Option<usize> = None;
    let segments = id.split('/').map(|segment| {
        behind = match behind {
            _ if segment.eq_ignore_ascii_case("providers") => Some(0),
            at => at.map(|at| at + 1),
        };
        match (behind, way) {
            (None, 1 | 2) if segment.eq_ignore_ascii_case("resourceGroups") => segment.to_ascii_lowercase(),
            (Some(1), 2) => segment.to_ascii_lowercase(),
            (Some(at), 2) if at > 1 && at % 2 == 0 => segment.to_ascii_lowercase(),
            (Some(at), 3) if at > 1 && at % 2 == 0 => segment.to_ascii_uppercase(),
            _ => segment.to_owned(),
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_spelled_in_several_ways_and_name_the_same() {
        let id =
            |at| format!("/subscriptions/s/resourceGroups/RG/providers/Microsoft.Devices/IotHubs/Hub{at}");
        let spelled: Vec<String> = (0..4).map(|at| respelled(&id(at))).collect();
        for (at, text) in spelled.iter().enumerate() {
            assert!(
                text.eq_ignore_ascii_case(&id(at))
                    && text.contains("/RG/")
                    && text.ends_with(&format!("/Hub{at}"))
            );
            assert_eq!(*text, respelled(&id(at)), "the same each time");
        }
        let has = |part: &str| spelled.iter().any(|text| text.contains(part));
        assert!(
            has("/resourcegroups/")
                && has("/resourceGroups/")
                && has("/IOTHUBS/")
                && has("/microsoft.devices/iothubs/")
        );
    }
}
