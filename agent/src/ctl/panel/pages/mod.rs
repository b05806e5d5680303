//! The pages, a file each, and what all of them have around them.

pub(super) mod draft;
pub(super) mod fleet;
pub(super) mod log;
pub(super) mod plan;
pub(super) mod product;
pub(super) mod server;
pub(super) mod unknown;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::work::{Panel, Publishing, Seen};
use crate::fleet::Name;
use crate::report::html::fleet_color;

/// Where a page stands in the row of links.
const PLACES: [(&str, &str); 6] = [
    ("/", "Fleet"),
    ("/products", "Products"),
    ("/unknown", "Unknown machines"),
    ("/draft", "Draft"),
    ("/publish", "Publish"),
    ("/log", "Versions"),
];

/// A page as a browser gets it.
fn respond(status: StatusCode, page: Markup) -> Response {
    let kind = (CONTENT_TYPE, "text/html; charset=utf-8");
    (status, [kind], page.into_string()).into_response()
}

/// To another page, after a form.
fn go(to: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, to.to_owned())]).into_response()
}

/// A whole page: the fleet's name and colour, where one can go, what one must know, and the body.
fn frame(panel: &Panel, title: &str, place: &str, reload: Option<u32>, body: &Markup) -> Markup {
    let view = panel.last();
    let fleet = view
        .as_ref()
        .map_or("", |view| view.status.document.fleet.as_str());
    let unknown = view.as_ref().map_or(0, |view| view.status.unknown.len());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if let Some(secs) = reload { meta http-equiv="refresh" content=(secs); }
                title { (fleet) ": " (title) }
                link rel="stylesheet" href="/style.css";
            }
            body class=(fleet_color(fleet)) {
                a.skip href="#main" { "To the content" }
                header {
                    p.fleet { (fleet) }
                    h1 { (title) }
                    @if panel.read_only { p.state { "read-only" } }
                }
                nav aria-label="Pages" { ul {
                    @for (to, name) in PLACES {
                        li { a href=(to) aria-current=[(to == place).then_some("page")] {
                            (name)
                            @if to == "/unknown" && unknown > 0 { " (" (unknown) ")" }
                        } }
                    }
                } }
                main id="main" {
                    @if panel.publishing() == Publishing::UnderWay {
                        p.message { "A version is being published. " a href="/publish" { "How it goes" } }
                    }
                    (body)
                }
            }
        }
    }
}

/// What somebody must know before the rest.
fn message(text: Option<&str>) -> Markup {
    html! { @if let Some(text) = text { p.message.bad role="alert" { (text) } } }
}

/// That what is shown is not of now.
fn stale(seen: &Seen) -> Markup {
    html! {
        @if let Some(why) = &seen.stale {
            p.message.bad role="alert" { "This is not of now: the fleet could not be seen.\n" (why) }
        }
    }
}

/// A page that only says why there is no other.
fn failed(panel: &Panel, title: &str, place: &str, why: &str) -> Response {
    let body = message(Some(why));
    let page = frame(panel, title, place, None, &body);
    respond(StatusCode::BAD_GATEWAY, page)
}

/// An answer for whoever is not inside: it says nothing of the fleet.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "agentctl panel" } link rel="stylesheet" href="/style.css"; }
            body { main { h1 { "agentctl panel" } p { (text) } } }
        }
    };
    respond(status, page)
}

/// There is no such page.
pub(super) async fn nothing() -> Response {
    plain(StatusCode::NOT_FOUND, "There is no such page.")
}

/// A field with its label.
fn field(label: &str, name: &str, value: &str, hint: &str) -> Markup {
    html! {
        label { (label) " " input type="text" name=(name) value=(value) placeholder=(hint) autocomplete="off" spellcheck="false"; }
    }
}

fn words(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    names.join(" ")
}
