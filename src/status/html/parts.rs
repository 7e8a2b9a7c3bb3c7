//! What both pages are put together from.

use maud::{Markup, html};
use time::{Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::Links;
use crate::{
    fleet::Standing,
    outcomes::Word,
    status::{FailedWork, NotRead, Part},
};

/// A table; the first cell of each row is its heading. On narrow screens its rows become blocks, so the roles
/// that they have as a table are written down.
pub(super) fn table<'a>(
    caption: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<Markup>> + 'a,
) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for column in columns { th scope="col" role="columnheader" { (column) } }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (at, cell) in row.iter().enumerate() {
                            @if at == 0 {
                                th scope="row" role="rowheader" { (cell) }
                            } @else {
                                td role="cell" data-label=[columns.get(at)] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Lines, as a list if there are several.
pub(super) fn lines(lines: &[String]) -> Markup {
    html! {
        @match lines {
            [] => {}
            [line] => (line),
            lines => ul { @for line in lines { li { (line) } } }
        }
    }
}

/// A moment, and how far from now it is.
pub(super) fn moment(at: OffsetDateTime, now: OffsetDateTime) -> Markup {
    let text = rfc3339(at);
    html! { time datetime=(text) { (text) } " (" (age(at, now)) ")" }
}

/// A moment that may not be there.
pub(super) fn moment_or(at: Option<OffsetDateTime>, now: OffsetDateTime, none: &str) -> Markup {
    match at {
        Some(at) => moment(at, now),
        None => html! { (none) },
    }
}

fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.checked_to_offset(UtcOffset::UTC).unwrap_or(at);
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// `3 minutes ago`, `in 2 hours`, `now`.
fn age(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let span = span((now - at).abs());
    match (span.is_empty(), at > now) {
        (true, _) => "now".to_owned(),
        (false, true) => format!("in {span}"),
        (false, false) => format!("{span} ago"),
    }
}

/// A span in its largest unit; nothing for less than a second.
fn span(span: Duration) -> String {
    let units = [
        (span.whole_days(), "day"),
        (span.whole_hours(), "hour"),
        (span.whole_minutes(), "minute"),
        (span.whole_seconds(), "second"),
    ];
    let largest = units.into_iter().find(|(count, _)| *count > 0);
    largest.map(|(count, unit)| counted(count.unsigned_abs(), unit)).unwrap_or_default()
}

/// `1 hub`, `2 hubs`.
pub(super) fn counted(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// A number of things in memory.
pub(super) fn counted_here(count: usize, unit: &str) -> String {
    counted(u64::try_from(count).unwrap_or(u64::MAX), unit)
}

/// Where a hub stands: in words, and in a colour besides.
pub(super) fn standing(standing: &Standing) -> Markup {
    let kind = standing.kind();
    let words = match standing {
        Standing::Differs { changes } => counted(*changes, "change"),
        _ => kind.label().to_owned(),
    };
    html! { span.badge.(kind.word()) { (words) } }
}

/// What is to be known of where it stands.
pub(super) fn details(standing: &Standing, now: OffsetDateTime) -> Markup {
    match standing {
        Standing::Waiting { since } => html! { "for grants to spread, since " (moment(*since, now)) },
        Standing::Differs { .. } | Standing::InSync | Standing::NoProfile => html! {},
        Standing::Blocked { causes } | Standing::Refused { causes } => lines(causes),
    }
}

/// How work ended, in a word and in a colour.
pub(super) fn outcome(word: Word) -> Markup {
    let class = match word {
        Word::InSync | Word::Changed => "good",
        Word::Planned => "idle",
        Word::Waiting => "busy",
        Word::Blocked | Word::Failed => "bad",
        Word::Refused => "warn",
    };
    html! { span.badge.(class) { (word) } }
}

/// What could not be read.
pub(super) fn not_read(list: &[NotRead]) -> Markup {
    html! {
        @if !list.is_empty() {
            div.note.warn {
                p { strong { "Not everything could be read." } }
                ul { @for NotRead { what, cause } in list { li { (what.name()) ": " (cause) } } }
            }
        }
    }
}

/// A part of a page: its content, or a word on why there is none.
pub(super) fn section(
    id: &str,
    heading: &str,
    content: Option<Markup>,
    empty: &str,
    (part, unread): (Part, &[NotRead]),
) -> Markup {
    let is_unread = unread.iter().any(|one| one.what == part);
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (heading) }
            @match content {
                Some(content) => (content),
                None if is_unread => p { "Not known: it could not be read." },
                None => p { (empty) },
            }
        }
    }
}

/// What is parked.
pub(super) fn failed(caption: &str, list: &[FailedWork], links: &Links, now: OffsetDateTime) -> Markup {
    let rows = list.iter().map(|failed| {
        let id = failed.outcome_id.to_string();
        vec![
            html! { span.code { (id.get(..8).unwrap_or(&id)) } },
            outcome(failed.outcome),
            html! {
                @match failed.hub_id() {
                    Some(hub) => a href=(links.hub(&hub)) { (hub.name()) },
                    None => @if let Some(hub) = &failed.hub { (hub) },
                }
            },
            lines(&failed.causes),
            html! { (failed.from) },
            moment(failed.parked_at, now),
        ]
    });
    table(caption, &["Outcome id", "Outcome", "Hub", "Cause", "Came in at", "Parked"], rows)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        let now = datetime!(2026-02-03 04:05:06 UTC);
        for (at, told) in [
            (datetime!(2026-02-03 04:05:06 UTC), "now"),
            (datetime!(2026-02-03 04:05:05 UTC), "1 second ago"),
            (datetime!(2026-02-03 04:03:00 UTC), "2 minutes ago"),
            (datetime!(2026-02-03 06:05:06 UTC), "in 2 hours"),
            (datetime!(2026-02-01 04:05:06 UTC), "2 days ago"),
        ] {
            assert_eq!(age(at, now), told);
        }
        let last = moment(datetime!(9999-12-31 23:59:59 -1), now).into_string();
        assert!(last.contains("9999-12-31T23:59:59-01:00"), "{last}");
        let text = moment(datetime!(2026-02-03 05:05:06.789 +1), now).into_string();
        assert_eq!(text, r#"<time datetime="2026-02-03T04:05:06Z">2026-02-03T04:05:06Z</time> (now)"#);
    }
}
