//! Addresses of the pages, which go on working with the key that a page was opened with.

use azure_core::credentials::Secret;
use url::form_urlencoded::Serializer;

use crate::{handler::HttpTrigger, model::IotHubId, status::Filter};

/// The header in which a key travels unseen.
const KEY_HEADER: &str = "x-functions-key";
/// Where the page is when its address cannot be read.
const USUAL: [&str; 2] = ["api", "status"];

/// Where links lead.
///
/// A key that came in the address is carried on in links, or none of them would open; whoever sees the page has
/// it in the address line. A key that came in a header stands nowhere on the page.
#[derive(Debug, Clone)]
pub struct Links {
    /// The path of the fleet's page, without a slash at its end.
    page: String,
    /// The path of the document.
    document: String,
    key: Option<Secret>,
}

impl Links {
    /// Links for the page that was asked for.
    pub fn of(request: &HttpTrigger) -> Self {
        let path = url::Url::parse(&request.url).ok().map(|url| url.path().to_owned()).unwrap_or_default();
        let asked = request.params.get("hub").and_then(|hub| hub.as_str()).unwrap_or_default();
        let below = asked.split('/').filter(|part| !part.is_empty()).count();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        parts.truncate(parts.len().saturating_sub(below));
        if parts.is_empty() {
            parts = USUAL.to_vec();
        }
        let page = format!("/{}", parts.join("/"));
        parts.pop();
        parts.push("hubs");
        let by_header = request.headers.get(KEY_HEADER).is_some();
        let key = request.url_key.clone().filter(|_| !by_header);
        Self { page, document: format!("/{}", parts.join("/")), key }
    }

    /// The path of the fleet's page, for a form.
    pub(super) fn form(&self) -> &str {
        &self.page
    }

    /// The key, if the page's own address has it.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(Secret::secret)
    }

    /// Some of the fleet.
    pub(super) fn fleet(&self, filter: &Filter) -> String {
        self.with_query(&self.page, Some(filter))
    }

    /// The same as a document.
    pub(super) fn fleet_document(&self, filter: &Filter) -> String {
        self.with_query(&self.document, Some(filter))
    }

    /// One hub.
    pub(super) fn hub(&self, hub: &IotHubId) -> String {
        self.with_query(&below(&self.page, hub), None)
    }

    /// The same as a document.
    pub(super) fn hub_document(&self, hub: &IotHubId) -> String {
        self.with_query(&below(&self.document, hub), None)
    }

    fn with_query(&self, path: &str, filter: Option<&Filter>) -> String {
        let mut query = Serializer::new(String::new());
        if let Some(Filter { standing, profile, q, page }) = filter {
            let page = (*page > 1).then(|| page.to_string());
            let standing = standing.map(|kind| kind.word().to_owned());
            let values = [("standing", &standing), ("profile", profile), ("q", q), ("page", &page)];
            for (name, value) in values {
                if let Some(value) = value {
                    query.append_pair(name, value);
                }
            }
        }
        if let Some(key) = self.key() {
            query.append_pair("code", key);
        }
        let query = query.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }
}

/// Names of resources need no escaping in a path.
fn below(path: &str, hub: &IotHubId) -> String {
    format!("{path}/{}/{}/{}", hub.subscription(), hub.resource_group().unwrap_or("-"), hub.name())
}
