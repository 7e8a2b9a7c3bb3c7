//! A hub's page.

use maud::{Markup, html};

use super::{
    Links, page,
    parts::{details, failed, lines, moment, moment_or, not_read, outcome, section, standing, table},
};
use crate::{
    plan::Spread,
    prove::{EndpointProof, RouteProof, RouteTest},
    status::{GrantView, HubExport, HubView, JobView, OutcomeView, Part, PlanView},
};

/// A hub as a page.
pub fn hub_page(view: &HubView, links: &Links) -> String {
    let name = view.hub.name();
    let main = html! {
        h1 { (name) }
        (not_read(&view.not_read))
        (facts(view))
        (plan(view))
        (grants(view))
        (health(view))
        (jobs(view))
        (exports(view))
        (last_outcome(view))
        (parked(view, links))
    };
    page(name, links, Some(&links.hub_document(&view.hub)), &main)
}

fn facts(view: &HubView) -> Markup {
    html! {
        dl {
            dt { "Standing now" }
            dd {
                @match &view.standing {
                    Some(stands) => { (standing(stands)) " " (details(stands, view.at)) }
                    None => "not known",
                }
            }
            @if let Some(seen) = &view.at_last_resync {
                dt { "At the last resync" }
                dd { (standing(&seen.standing)) " " (moment(seen.at, view.at)) }
            }
            dt { "Profile" } dd { (view.profile.as_deref().unwrap_or("none")) }
            @if let Some(location) = &view.location { dt { "Region" } dd { (location) } }
            dt { "Resource group" } dd { (view.hub.resource_group().unwrap_or_default()) }
            dt { "Subscription" } dd { span.code { (view.hub.subscription()) } }
            dt { "Looked at" } dd { (moment(view.at, view.at)) }
        }
    }
}

fn plan(view: &HubView) -> Markup {
    let content = view.plan.as_ref().map(|PlanView { steps, blocked, warnings }| {
        html! {
            @if !blocked.is_empty() {
                div.note.bad { p { strong { "Blocked. " } "Nothing is written to the hub before this is mended:" } ul { @for cause in blocked { li { (cause) } } } }
            }
            @if !warnings.is_empty() {
                div.note.warn { p { "To be known:" } ul { @for warning in warnings { li { (warning) } } } }
            }
            @if steps.is_empty() && blocked.is_empty() { p { "Nothing: the hub is as its profile says." } }
            @if !steps.is_empty() {
                ol {
                    @for step in steps {
                        li {
                            (step.step)
                            @if !step.changes.is_empty() {
                                ul.changes { @for change in &step.changes { li.code { (change) } } }
                            }
                        }
                    }
                }
            }
        }
    });
    let of = (Part::Plan, view.not_read.as_slice());
    section("plan", "What would be changed", content, "There is no plan for this hub.", of)
}

fn grants(view: &HubView) -> Markup {
    let row = |GrantView { grant, .. }: &GrantView| {
        let (class, word) = match grant.state {
            Spread::Granted => ("busy", "granted"),
            Spread::Readable => ("busy", "readable, not used yet"),
            Spread::Effective => ("good", "in use"),
        };
        vec![
            html! { (grant.role) },
            html! { (grant.scope.name()) },
            html! { (grant.identity) },
            html! { span.badge.(class) { (word) } },
            moment_or(grant.created_on, view.at, "Azure does not say"),
        ]
    };
    let content = (!view.grants.is_empty()).then(|| {
        let columns = ["Role", "Target", "Held by", "State", "Made"];
        table(
            "Role assignments that the profile needs and that are there",
            &columns,
            view.grants.iter().map(row),
        )
    });
    let of = (Part::Plan, view.not_read.as_slice());
    section("grants", "Grants", content, "None that a profile needs is there.", of)
}

fn health(view: &HubView) -> Markup {
    let endpoint = |one: &EndpointProof| {
        let class = match &one.health {
            _ if one.is_healthy() => "good",
            _ if one.doubt().is_some() => "bad",
            _ => "idle",
        };
        vec![
            html! { (one.name) },
            html! { span.badge.(class) { (one.health) } },
            html! { @if let Some(detail) = &one.detail { (detail) } },
            moment_or(one.last_attempt, view.at, "nothing was sent yet, or the hub does not say"),
        ]
    };
    let route = |RouteProof { name, test }: &RouteProof| {
        let (class, word) = match test {
            RouteTest::Takes => ("good", "takes an empty message"),
            RouteTest::DoesNotTake => ("bad", "takes no messages"),
            RouteTest::Unknown => ("idle", "depends on the message"),
        };
        vec![html! { (name) }, html! { span.badge.(class) { (word) } }]
    };
    let (endpoints, routes) = (&view.health.endpoints, &view.health.routes);
    let content = (!endpoints.is_empty() || !routes.is_empty()).then(|| {
        html! {
            @if !endpoints.is_empty() {
                (table("What the hub says of the profile's endpoints", &["Endpoint", "Health", "Detail", "Last sent"], endpoints.iter().map(endpoint)))
            }
            @if !routes.is_empty() {
                (table("What the hub says of the profile's routes", &["Route", "Test"], routes.iter().map(route)))
            }
        }
    });
    let of = (Part::Health, view.not_read.as_slice());
    section("health", "Endpoints and routes", content, "No profile lists any for this hub.", of)
}

fn jobs(view: &HubView) -> Markup {
    let row = |job: &JobView| {
        let class = match job.status {
            "completed" => "good",
            "active" => "busy",
            "failed" => "bad",
            _ => "idle",
        };
        vec![
            html! { span.code { (job.id) } },
            html! { (job.job) },
            html! { span.badge.(class) { (job.status) } " " (job.progress) " %" },
            html! { @if let Some(blob) = &job.blob { (blob) } },
            moment_or(job.started, view.at, "the hub does not say"),
            html! { @if let Some(failure) = &job.failure { (failure) } },
        ]
    };
    let content = (!view.jobs.is_empty()).then(|| {
        let columns = ["Job", "Kind", "Status", "Blob", "Started", "Failure"];
        table("Exports and imports that the hub remembers", &columns, view.jobs.iter().map(row))
    });
    let of = (Part::Jobs, view.not_read.as_slice());
    section("jobs", "Jobs", content, "The hub shows no export or import.", of)
}

fn exports(view: &HubView) -> Markup {
    let row = |next: &HubExport| {
        vec![
            html! { (next.export) },
            moment_or(next.at, view.at, "never"),
            html! { span.code { (next.schedule) } },
            html! { @if let Some(blob) = &next.blob { (blob) } },
        ]
    };
    let content = (!view.next_exports.is_empty()).then(|| {
        let columns = ["Export", "Next", "Schedule (UTC)", "Blob"];
        table("Exports of the profile, the soonest first", &columns, view.next_exports.iter().map(row))
    });
    let of = (Part::Hub, view.not_read.as_slice());
    section("exports", "Next exports", content, "No profile lists an export for this hub.", of)
}

fn parked(view: &HubView, links: &Links) -> Markup {
    let caption = "Of the oldest messages on the queue hub-failed, those about this hub";
    let content = (!view.failed.is_empty()).then(|| failed(caption, &view.failed, links, view.at));
    let of = (Part::Failed, view.not_read.as_slice());
    section("failed", "Failed requests", content, "None of the oldest is about this hub.", of)
}

fn last_outcome(view: &HubView) -> Markup {
    let content = view.last_outcome.as_ref().map(|last| {
        let OutcomeView { outcome: word, causes, ended_at, looks, request, request_id, steps, warnings, .. } = last;
        html! {
            p {
                (outcome(*word)) " " (moment(*ended_at, view.at)) ", after " (looks) " "
                @if *looks == 1 { "look" } @else { "looks" } "."
            }
            dl {
                @if !causes.is_empty() { dt { "Cause" } dd { (lines(causes)) } }
                @if let Some(kind) = request { dt { "Request" } dd { (kind.word()) @if let Some(id) = request_id { " " span.code { (id) } } } }
                @if !warnings.is_empty() { dt { "To be known" } dd { (lines(warnings)) } }
                dt { "Outcome id" } dd { span.code { (last.outcome_id) } }
            }
            @if !steps.is_empty() { ol { @for step in steps { li { (step) } } } }
        }
    });
    let of = (Part::LastOutcome, view.not_read.as_slice());
    section("outcome", "Last outcome", content, "No work at this hub has ended yet.", of)
}
