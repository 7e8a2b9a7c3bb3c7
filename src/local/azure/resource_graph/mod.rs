//! Azure Resource Graph: many subscriptions in one query.
//!
//! `tokens` cuts the query, `parse` takes it apart, `bind` resolves its names, `eval` and `run` carry it
//! out over the rows of `tables`. This file is the door: who may ask about what and how often, pages, and
//! the shape of answers.
//! <https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources>

mod bind;
mod eval;
mod parse;
mod quota;
mod run;
mod tables;
mod tokens;
mod value;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

pub(super) use quota::Quotas;

use super::{
    Azure,
    answer::{Answer, Reply, iso},
    call::Call,
    faults::FaultKind,
    permissions::Rights,
    resources::no_route,
    settings::seconds,
    state::State,
};
use bind::Plan;
use quota::Left;
use run::{Answered, Page};
use tables::Table;

/// Rows of a page, if nothing is said, and the most.
const PAGE: usize = 100;
const MOST: usize = 1000;
/// The versions of this operation, oldest first; those before the second answer with tables by default.
const VERSIONS: [&str; 4] = ["2019-04-01", "2021-03-01", "2021-06-01-preview", "2022-10-01"];

/// Whether a path is that of Resource Graph.
pub(super) fn is_at(path: &str) -> bool {
    path.eq_ignore_ascii_case("/providers/Microsoft.ResourceGraph/resources")
}

/// The service's error.
fn refused(call: &Call, status: u16, code: &str, details: Vec<Value>) -> Reply {
    let (time, id) = (iso(call.now), &call.correlation_id);
    let message = format!(
        "Please provide below info when asking for support: timestamp = {time}, correlationId = {id}."
    );
    Reply::json(status, json!({"error": {"code": code, "message": message, "details": details}}))
}

fn detail(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message})
}

/// A body that asks for what there is not.
fn bad_request(call: &Call, message: &str) -> Reply {
    refused(call, 400, "BadRequest", vec![detail("InvalidRequest", message)])
}

/// A query that is not understood: the first detail says so, the second where.
fn bad_query(call: &Call, mistake: &tokens::Mistake) -> Reply {
    let general = "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and fix \
                   the error before retrying.";
    refused(call, 400, "BadRequest", vec![detail("InvalidQuery", general), mistake.view()])
}

/// What a request asks for, besides its query.
struct Request {
    query: String,
    /// In lower case; `None` for all that there are.
    subscriptions: Option<Vec<String>>,
    page: Page,
    is_table: bool,
}

impl Azure {
    /// Calls below `/providers/Microsoft.ResourceGraph`; `rest` is what follows, lower-cased.
    pub(super) fn resource_graph(&self, call: &Call, rest: &[&str]) -> Answer {
        if (call.method.as_str(), rest) != ("POST", &["resources"]) {
            return Err(no_route(call));
        }
        if !VERSIONS.contains(&call.version()) {
            let message = format!(
                "No registered resource provider found for API version '{}' for type 'resources'. The supported \
                 api-versions are '{}'.",
                call.version(),
                VERSIONS.join(", ")
            );
            return Err(Reply::arm(400, "NoRegisteredProviderFound", message));
        }
        let settings = &self.inner.settings;
        let mut state = self.lock();
        let left = match settings.throttling.enabled {
            true => state.graph_quotas.take(&call.caller.object, call.now, &settings.resource_graph),
            false => Left::everything(&settings.resource_graph),
        };
        let reply = if left.is_over {
            state.counters.throttled += 1;
            let text = "Client application has been throttled and should not attempt to repeat the request until an \
                        amount of time has elapsed. Please see https://aka.ms/resourcegraph-throttling for help.";
            let wait = self.callers_seconds(left.resets_after.as_secs_f64());
            refused(call, 429, "RateLimiting", vec![detail("RateLimiting", text)])
                .with("retry-after", wait.to_string())
        } else {
            self.ask_graph(&state, call).unwrap_or_else(|refusal| refusal)
        };
        Ok(self.with_quota(reply, left))
    }

    fn with_quota(&self, reply: Reply, left: Left) -> Reply {
        let wait = seconds(self.callers_seconds(left.resets_after.as_secs_f64()));
        reply
            .with("x-ms-user-quota-remaining", left.queries.to_string())
            .with("x-ms-user-quota-resets-after", value::clock(wait))
    }

    fn ask_graph(&self, state: &State, call: &Call) -> Answer {
        let settings = &self.inner.settings.resource_graph;
        let request = read(call)?;
        let rights = state.rights(&call.caller, call.now);
        let asked = match &request.subscriptions {
            Some(some) => some.clone(),
            None => state.subscriptions.keys().cloned().collect(),
        };
        let is_cut = asked.len() > settings.subscriptions;
        let asked: Vec<&String> = asked
            .iter()
            .take(settings.subscriptions)
            .filter(|id| {
                state.subscriptions.contains_key(*id) && rights.reads_in(&format!("/subscriptions/{id}"))
            })
            .collect();
        if asked.is_empty() {
            let text =
                "Access is denied to the requested resource. The user might not have enough permission.";
            return Err(refused(call, 403, "AccessDenied", vec![detail("AccessDenied", text)]));
        }
        let query = parse::parse(&request.query).map_err(|mistake| bad_query(call, &mistake))?;
        let plan = bind::bind(&query).map_err(|mistake| bad_query(call, &mistake))?;
        let lag = match plan.table {
            Table::Resources => settings.resources_lag_seconds,
            Table::Authorization => settings.authorization_lag_seconds,
        };
        let rows =
            state.graph_rows(plan.table, call.now - seconds(lag), &|id| asked.iter().any(|one| *one == id));
        let rows = rows.into_iter().filter(|row| may_read(&rights, row));
        let answered = run::run(&plan, rows, call.now, request.page);
        let body = page(call, &request, &plan, answered);
        let reply = Reply::json(200, body).with("x-ms-resource-graph-request-duration", "0:00:00:00.0500000");
        Ok(if is_cut { reply.with("x-ms-tenant-subscription-limit-hit", "true") } else { reply })
    }
}

fn may_read(rights: &Rights<'_>, row: &tables::Resource<'_>) -> bool {
    rights.is_everything() || rights.may(&format!("{}/read", row.kind), &row.key())
}

/// Takes the body apart.
fn read(call: &Call) -> Result<Request, Reply> {
    let body = call.json()?;
    let bad = |message: &str| bad_request(call, message);
    let query = body["query"].as_str().filter(|query| !query.trim().is_empty());
    let query = query.ok_or_else(|| bad("The query is missing."))?.to_owned();
    if !body["managementGroups"].is_null() {
        return Err(bad("The simulated Azure has no management groups."));
    }
    let subscriptions = match &body["subscriptions"] {
        Value::Null => None,
        Value::Array(list) if list.iter().all(Value::is_string) => {
            Some(list.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect::<Vec<_>>())
        }
        _ => return Err(bad("The subscriptions have to be a list of ids.")),
    };
    let options = &body["options"];
    let number = |name: &str, usual: usize| match &options[name] {
        Value::Null => Ok(usual),
        value => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| bad(&format!("{name} has to be a whole number."))),
    };
    let (top, mut skip) = (number("$top", PAGE)?, number("$skip", 0)?);
    if !(1..=MOST).contains(&top) {
        return Err(bad(&format!("$top has to be between 1 and {MOST}.")));
    }
    let is_table = match options["resultFormat"].as_str().map(str::to_ascii_lowercase).as_deref() {
        None => call.version() < VERSIONS[1],
        Some("table") => true,
        Some("objectarray") => false,
        Some(_) => return Err(bad("The resultFormat has to be table or objectArray.")),
    };
    if let Some(token) = options["$skipToken"].as_str() {
        skip = skipped(token, &query, subscriptions.as_deref())
            .ok_or_else(|| bad("The $skipToken is not one of this query."))?;
    }
    Ok(Request { query, subscriptions, page: Page { skip, top }, is_table })
}

/// A token that leads to the rest, good for one query about these subscriptions.
fn token(skip: usize, query: &str, subscriptions: Option<&[String]>) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (query, subscriptions).hash(&mut hasher);
    STANDARD.encode(format!("{skip}:{:016x}", hasher.finish()))
}

fn skipped(given: &str, query: &str, subscriptions: Option<&[String]>) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(given).ok()?).ok()?;
    let skip = text.split_once(':')?.0.parse().ok()?;
    (token(skip, query, subscriptions) == given).then_some(skip)
}

/// The answer's body. Without an id among the columns, or with a number of rows in the query itself,
/// there is no way to the rest, and it says that rows are missing.
fn page(call: &Call, request: &Request, plan: &Plan, answered: Answered) -> Value {
    let Answered { total, mut rows } = answered;
    let mut has_pages = !plan.is_limited && plan.columns.iter().any(|column| column.name == "id");
    if call.hits.get(FaultKind::TruncateResult).is_some() {
        rows.truncate(rows.len() / 2);
        has_pages = false;
    }
    let end = request.page.skip.saturating_add(rows.len());
    let has_more = end < total;
    let count = rows.len();
    let data = if request.is_table {
        let kinds =
            plan.columns.iter().map(|column| json!({"name": column.name, "type": column.value.kind.word()}));
        json!({"columns": kinds.collect::<Vec<_>>(), "rows": rows})
    } else {
        let names = || plan.columns.iter().map(|column| column.name.clone());
        rows.into_iter().map(|row| Value::Object(names().zip(row).collect::<Map<_, _>>())).collect()
    };
    let mut body = json!({
        "totalRecords": total,
        "count": count,
        "resultTruncated": if has_more && !has_pages { "true" } else { "false" },
        "facets": [],
        "data": data,
    });
    if has_more && has_pages {
        body["$skipToken"] = json!(token(end, &request.query, request.subscriptions.as_deref()));
    }
    body
}
