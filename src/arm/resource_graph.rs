//! Azure Resource Graph: many subscriptions in one query, a page at a time.
//!
//! It is fed by Resource Manager and lags behind it, and it leaves out what we may not read without a
//! word. So it can say where to look, and nothing else: absence proves nothing.
//! <https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources>

use azure_core::http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    client::Call,
    error::ArmError,
    resources::{ArmReader, text},
};

const API_VERSION: &str = "2022-10-01";
const LABEL: &str = "POST Resource Graph";
/// Rows of a page: the most that there may be.
const PAGE: u64 = 1000;
/// Subscriptions of one query. Above some 300 it is slow.
const SUBSCRIPTIONS: usize = 200;

/// Asks Resource Graph, no more often than it allows.
pub struct ResourceGraph {
    reader: ArmReader,
    /// When the next query may be sent, once the quota is used up.
    not_before: Option<Instant>,
}

/// The pages of one query.
pub struct GraphPages<'a> {
    graph: &'a mut ResourceGraph,
    query: &'a str,
    /// Subscriptions still to be asked about. The first group may be half read.
    groups: Vec<&'a [String]>,
    token: Option<String>,
}

impl ResourceGraph {
    /// Asks through a reader.
    pub fn new(reader: ArmReader) -> Self {
        Self { reader, not_before: None }
    }

    /// A query about subscriptions. It has to project `id` and to be ordered: otherwise pages are cut off.
    pub fn query<'a>(&'a mut self, subscriptions: &'a [String], query: &'a str) -> GraphPages<'a> {
        let groups = subscriptions.chunks(SUBSCRIPTIONS).rev().collect();
        GraphPages { graph: self, query, groups, token: None }
    }

    async fn ask(
        &mut self,
        subscriptions: &[String],
        query: &str,
        token: Option<&str>,
    ) -> Result<(Vec<Value>, Option<String>), ArmError> {
        let client = self.reader.client();
        if let Some(moment) = self.not_before.take() {
            client.pause(moment.saturating_duration_since(Instant::now()), "Resource Graph's quota").await?;
        }
        let mut options = json!({"resultFormat": "objectArray", "$top": PAGE});
        if let Some(token) = token {
            options["$skipToken"] = token.into();
        }
        let body = json!({"subscriptions": subscriptions, "query": query, "options": options});
        let url = client.url("/providers/Microsoft.ResourceGraph/resources", API_VERSION);
        let call = Call { method: Method::Post, body: Some(&body), ..Call::get(LABEL, url) };
        let answer = client.send(call).await?;
        if answer.quota.remaining == Some(0) {
            self.not_before = answer.quota.resets_after.map(|pause| Instant::now() + pause);
        }
        let unreadable = |cause: &str| ArmError::Unreadable { call: LABEL.into(), cause: cause.into() };
        if answer.quota.left_out {
            return Err(unreadable("there are more subscriptions than it answers for"));
        }
        let mut page = answer.json(LABEL)?;
        let next = text(&page, "/$skipToken").map(str::to_owned);
        // A text, and not a truth value.
        let is_cut = match page.get("resultTruncated") {
            Some(Value::String(word)) => word.eq_ignore_ascii_case("true"),
            Some(Value::Bool(is_cut)) => *is_cut,
            _ => false,
        };
        if is_cut && next.is_none() {
            return Err(unreadable("rows are missing, and there is no way to the rest"));
        }
        if next.is_some() && next.as_deref() == token {
            return Err(unreadable("the next page is the same one"));
        }
        match page.get_mut("data").map(Value::take) {
            Some(Value::Array(rows)) => Ok((rows, next)),
            _ => Err(unreadable("`data` is not a list of rows")),
        }
    }
}

impl GraphPages<'_> {
    /// The rows of the next page, if there is one.
    ///
    /// # Errors
    /// It could not be read, or rows are missing.
    pub async fn next(&mut self) -> Result<Option<Vec<Value>>, ArmError> {
        let Some(group) = self.groups.last().copied() else { return Ok(None) };
        let (rows, next) = self.graph.ask(group, self.query, self.token.as_deref()).await?;
        if next.is_none() {
            self.groups.pop();
        }
        self.token = next;
        Ok(Some(rows))
    }
}
