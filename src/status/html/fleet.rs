//! The fleet's page.

use maud::{Markup, html};
use time::Duration;

use super::{
    Links, page,
    parts::{counted_here, details, failed, moment, moment_or, not_read, section, standing, table},
};
use crate::{
    fleet::{HubRow, QUARTER, StandingKind},
    queue::MOST_AT_ONCE,
    status::{Filter, FleetView, NextExport, Part, ProfileSummary, Resync},
};

/// A resync is overdue when three in a row have not come.
const OVERDUE: Duration = Duration::minutes(3 * QUARTER.whole_minutes());

/// The fleet as a page.
pub fn fleet_page(view: &FleetView, links: &Links) -> String {
    let main = html! {
        h1 { "Fleet" }
        (as_of(view))
        (not_read(&view.not_read))
        @if let Some(resync) = &view.resync {
            (trouble(resync))
            (tiles(view, links))
            (hubs(view, links))
            (profiles(view, links))
        }
        (exports(view))
        (parked(view, links))
    };
    page("Fleet", links, Some(&links.fleet_document(&view.filter.at(view.page))), &main)
}

fn as_of(view: &FleetView) -> Markup {
    let Some(resync) = &view.resync else {
        return html! {
            @if !view.not_read.iter().any(|not_read| not_read.what == Part::Resync) {
                p { "No resync has run yet. The first one starts with the function app; hubs are shown when it has ended." }
            }
        };
    };
    html! {
        p { "As the resync of " (moment(resync.at, view.at)) " found it." }
        @if view.at - resync.at > OVERDUE {
            div.note.warn { p { "A resync is due every " (QUARTER.whole_minutes()) " minutes, and this one is older: look at the log of the function Resync." } }
        }
    }
}

fn trouble(resync: &Resync) -> Markup {
    html! {
        @if let Some(stopped) = resync.stopped {
            div.note.bad { p {
                "The resync was stopped: " (stopped.wanted) " hubs would have to be changed, and guardrails.maxHubsChanged allows "
                (stopped.allowed) "."
            } }
        }
        @if !resync.unread.is_empty() {
            div.note.warn {
                p { "Subscriptions that could not be read; their hubs are missing:" }
                ul { @for (subscription, cause) in &resync.unread { li { span.code { (subscription) } ": " (cause) } } }
            }
        }
    }
}

/// One tile for each word, which leads to its hubs.
fn tiles(view: &FleetView, links: &Links) -> Markup {
    let tile = |kind: Option<StandingKind>, count: usize, label: &str| {
        let filter = Filter { standing: kind, ..view.filter.at(1) };
        let current = (view.filter.standing == kind).then_some("true");
        html! {
            li { a href=(links.fleet(&filter)) aria-current=[current] {
                span.number { (count) } " " span.of { (label) }
            } }
        }
    };
    html! {
        ul.tiles aria-label="Hubs by where they stand" {
            (tile(None, view.summary.hubs, "hubs in all"))
            @for (kind, count) in &view.summary.standing { (tile(Some(*kind), *count, kind.label())) }
        }
    }
}

fn hubs(view: &FleetView, links: &Links) -> Markup {
    let first = (view.page - 1) * crate::status::PAGE;
    let range = match view.hubs.len() {
        0 => "No hubs".to_owned(),
        count => format!("Hubs {} to {} of {}", first + 1, first + count, view.matching),
    };
    let caption = if view.filter.takes_all() { range } else { format!("{range} that were asked for") };
    let row = |row: &HubRow| {
        let HubRow { hub, location, profile, standing: stands, queued } = row;
        vec![
            html! {
                a href=(links.hub(hub)) { (hub.name()) }
                span.small { (hub.resource_group().unwrap_or_default()) " · " (hub.subscription()) }
            },
            standing(stands),
            html! { @if let Some(profile) = profile { (profile) } @else { "none" } },
            html! { (location) },
            html! { (details(stands, view.at)) @if *queued { p.small { "put on the queue to be looked at" } } },
        ]
    };
    let columns = ["Hub", "Standing", "Profile", "Region", "Details"];
    html! {
        section aria-labelledby="hubs" {
            h2 #hubs { "Hubs" }
            (form(view, links))
            @if view.hubs.is_empty() { p { (caption) "." } }
            @else { (table(&caption, &columns, view.hubs.iter().map(row))) }
            (pages(view, links))
        }
    }
}

fn form(view: &FleetView, links: &Links) -> Markup {
    let Filter { standing, profile, q, .. } = &view.filter;
    // One that no hub has stays chosen, or the form would say something else than the table.
    let listed = |name: &str| view.profiles.iter().any(|one| one.profile == name);
    let other = profile.as_deref().filter(|name| !listed(name));
    html! {
        form method="get" action=(links.form()) role="search" aria-label="Hubs" {
            div {
                label for="standing" { "Standing" }
                select #standing name="standing" {
                    option value="" { "any" }
                    @for kind in StandingKind::ALL {
                        option value=(kind.word()) selected[*standing == Some(kind)] { (kind.label()) }
                    }
                }
            }
            div {
                label for="profile" { "Profile" }
                select #profile name="profile" {
                    option value="" { "any" }
                    @if let Some(other) = other { option value=(other) selected { (other) } }
                    @for ProfileSummary { profile: name, .. } in &view.profiles {
                        option value=(name) selected[profile.as_ref() == Some(name)] { (name) }
                    }
                }
            }
            div {
                label for="q" { "Id, region or cause" }
                input #q name="q" type="search" maxlength="200" value=[q.as_ref()];
            }
            @if let Some(key) = links.key() { input type="hidden" name="code" value=(key); }
            button type="submit" { "Show" }
            @if !view.filter.takes_all() { a href=(links.fleet(&Filter::default())) { "Show all" } }
        }
    }
}

fn pages(view: &FleetView, links: &Links) -> Markup {
    let link = |page: usize, text: &str, rel: &str| {
        html! { a href=(links.fleet(&view.filter.at(page))) rel=(rel) { (text) } }
    };
    html! {
        @if view.pages > 1 {
            nav.pages aria-label="Pages of hubs" {
                @if view.page > 1 { (link(1, "First", "first")) (link(view.page - 1, "Previous", "prev")) }
                span { "Page " (view.page) " of " (view.pages) }
                @if view.page < view.pages { (link(view.page + 1, "Next", "next")) (link(view.pages, "Last", "last")) }
            }
        }
    }
}

fn profiles(view: &FleetView, links: &Links) -> Markup {
    let row = |one: &ProfileSummary| {
        let filter = Filter { profile: Some(one.profile.clone()), ..Filter::default() };
        vec![
            html! { a href=(links.fleet(&filter)) { (one.profile) } },
            html! { (one.hubs) },
            html! { (one.in_sync) },
            html! { (one.hubs - one.in_sync) },
        ]
    };
    html! {
        @if !view.profiles.is_empty() {
            section aria-labelledby="profiles" {
                h2 #profiles { "Profiles" }
                (table("Hubs of each profile", &["Profile", "Hubs", "In sync", "Not in sync"], view.profiles.iter().map(row)))
            }
        }
    }
}

fn exports(view: &FleetView) -> Markup {
    let row = |next: &NextExport| {
        vec![
            html! { (next.export) },
            html! { (next.profile) },
            moment_or(next.at, view.at, "never"),
            html! { span.code { (next.schedule) } },
            html! { (next.hubs) },
        ]
    };
    let content = (!view.next_exports.is_empty()).then(|| {
        let columns = ["Export", "Profile", "Next", "Schedule (UTC)", "Hubs"];
        table("Exports of the profiles, the soonest first", &columns, view.next_exports.iter().map(row))
    });
    let of = (Part::Profiles, view.not_read.as_slice());
    section("exports", "Next exports", content, "No profile lists an export.", of)
}

fn parked(view: &FleetView, links: &Links) -> Markup {
    let count = counted_here(view.failed.len(), "message");
    let more = view.failed.len() >= MOST_AT_ONCE;
    let content = (!view.failed.is_empty()).then(|| {
        html! {
            (failed(&format!("The oldest {count} on the queue hub-failed"), &view.failed, links, view.at))
            p.small {
                @if more { "There may be more. " }
                "Send one again with " code { "hubward failed replay" } " and its outcome id."
            }
        }
    });
    let of = (Part::Failed, view.not_read.as_slice());
    section("failed", "Failed requests", content, "Nothing is parked on the queue hub-failed.", of)
}
