//! Views as pages: made on the server, without scripts, with everything escaped by the template.
//!
//! The one style sheet stands in the page; the content security policy names its digest and forbids
//! everything else.

mod fleet;
mod hub;
mod links;
mod parts;

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub use fleet::fleet_page;
pub use hub::hub_page;
pub use links::Links;

use super::{Filter, Mistake};

/// The style sheet as a browser reads it, whatever line ends it was checked out with.
static STYLE: LazyLock<String> = LazyLock::new(|| include_str!("style.css").replace("\r\n", "\n"));

/// What a browser may do with a page: show it in its own style, and follow its links and its form.
pub fn content_security_policy() -> String {
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

/// A page around its main part.
fn page(title: &str, links: &Links, document: Option<&str>, main: &Markup) -> String {
    let fleet = links.fleet(&Filter::default());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · Hubward" }
                style { (PreEscaped(STYLE.as_str())) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    span.name { "Hubward" }
                    nav aria-label="Pages" {
                        ul {
                            li { a href=(fleet) { "Fleet" } }
                            @if let Some(document) = document {
                                li { a href=(document) { "This page as JSON" } }
                            }
                        }
                    }
                }
                main #main tabindex="-1" { (main) }
                footer { p { "Hubward " (env!("CARGO_PKG_VERSION")) ". This page reads and changes nothing." } }
            }
        }
    };
    page.into_string()
}

/// There is no such page, and why.
pub fn mistake_page(mistake: &Mistake, links: &Links) -> String {
    let main = html! {
        h1 { (mistake.title()) }
        p { (mistake.detail) }
        p { a href=(links.fleet(&Filter::default())) { "Go to the fleet" } }
    };
    page(mistake.title(), links, None, &main)
}
