//! The draft: its text with the document's checks beside it, and what it changes.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::super::fleet::{unified, version_bytes};
use super::super::super::validate::warnings;
use super::super::draft::{Draft, NotEdited, mistake_line, without_signatures};
use super::super::forms::Fields;
use super::super::work::{Panel, Seen};
use super::{failed, frame, go, message, respond, stale};
use crate::fleet::Mistake;
use crate::report::text::count;
use crate::system::clock;
use crate::system::digest::sha256_hex;

pub(in super::super) async fn draft(State(panel): State<Arc<Panel>>) -> Response {
    page(&panel, None, None).await
}

/// Another text.
pub(in super::super) async fn edit(
    State(panel): State<Arc<Panel>>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let fields = Fields(fields);
    let view = match panel.look().await {
        Ok(seen) => seen.view,
        Err(why) => return failed(&panel, "Draft", "/draft", &why),
    };
    let (text, edited) = (fields.raw("text"), fields.get("digest"));
    match panel.draft.replace(text, edited, &view.bytes) {
        Ok(()) => go("/draft"),
        // What was typed is not lost.
        Err(NotEdited(why)) => page(&panel, Some(&why), Some(text)).await,
    }
}

/// The draft's changes, in what somebody else has published meanwhile.
pub(in super::super) async fn take_over(State(panel): State<Arc<Panel>>) -> Response {
    match taken_over(&panel).await {
        Ok(()) => go("/draft"),
        Err(why) => page(&panel, Some(&why), None).await,
    }
}

async fn taken_over(panel: &Panel) -> Result<(), String> {
    let view = panel.look().await?.view;
    let told = |NotEdited(why)| why;
    let Some(draft) = panel.draft.read().map_err(told)? else {
        return Ok(());
    };
    let read = draft.document();
    let from = read
        .map_err(|_| "The draft has mistakes: mend them first.")?
        .id
        .version;
    let base = panel
        .ask(move |worker| Box::pin(async move { version_bytes(&worker.desk, from).await }))
        .await?;
    panel.draft.take_over(&base, &view.bytes).map_err(told)
}

/// No draft.
pub(in super::super) async fn discard(
    State(panel): State<Arc<Panel>>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    match panel.draft.discard(Fields(fields).get("digest")) {
        Ok(()) => go("/draft"),
        Err(NotEdited(why)) => page(&panel, Some(&why), None).await,
    }
}

async fn page(panel: &Panel, why: Option<&str>, typed: Option<&str>) -> Response {
    let seen = match panel.look().await {
        Ok(seen) => seen,
        Err(error) => return failed(panel, "Draft", "/draft", &error),
    };
    let draft = match panel.draft.read() {
        Ok(draft) => draft,
        Err(NotEdited(error)) => return failed(panel, "Draft", "/draft", &error),
    };
    let begun = without_signatures(&seen.view.bytes);
    let text = draft
        .as_ref()
        .map_or(begun.as_str(), |draft| draft.text.as_str());
    let digest = sha256_hex(text.as_bytes());
    let body = html! {
        (message(why))
        (stale(&seen))
        @match &draft {
            None => p { "There is no draft. Forms begin one, and so does a change of the text below. Nothing changes on any machine before \
                         you publish." },
            Some(draft) => (state(panel, draft, &seen)),
        }
        @if !panel.read_only {
            h2 { "As a text" }
            form method="post" action="/draft" {
                input type="hidden" name="digest" value=(digest);
                label for="text" { "The document" }
                textarea id="text" name="text" spellcheck="false" autocomplete="off" { "\n" (typed.unwrap_or(text)) }
                button type="submit" { "Save and check" }
            }
        }
    };
    let code = if why.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    respond(code, frame(panel, "Draft", "/draft", None, &body))
}

fn state(panel: &Panel, draft: &Draft, seen: &Seen) -> Markup {
    let published = seen.view.status.document.version;
    let read = draft.document();
    html! {
        p.small { "Kept in " (panel.draft.path().display()) }
        @match &read {
            Err(mistakes) => (mistakes_list(mistakes)),
            Ok(document) => {
                @if document.id.version == published {
                    p.message.good { "No mistakes. " a href="/plan" { "What it would change on each server, and publish" } }
                } @else {
                    p.message.bad role="alert" {
                        "It was edited from version " (document.id.version) ", and version " (published) " is published by now: what changed in \
                         between would be lost."
                    }
                    @if !panel.read_only {
                        form method="post" action="/draft/take-over" {
                            button type="submit" { "Make its changes in version " (published) }
                        }
                    }
                }
                @for warning in warnings(&document.fleet, clock::now()) { p.warn { "! " (warning) } }
            }
        }
        h2 { "What it changes" }
        (colored(&unified(&seen.view.bytes, draft.text.as_bytes())))
        @if !panel.read_only {
            form.inline method="post" action="/draft/discard" {
                input type="hidden" name="digest" value=(draft.digest);
                button type="submit" { "Discard the draft" }
            }
        }
    }
}

/// The mistakes of a draft that cannot be published.
pub(super) fn mistakes_list(mistakes: &[Mistake]) -> Markup {
    html! {
        div.message.bad role="alert" {
            (count(mistakes.len(), "mistake"))
            ul { @for mistake in mistakes { li { (mistake_line(mistake)) } } }
        }
    }
}

/// A diff, with its signs and colours.
pub(super) fn colored(diff: &str) -> Markup {
    html! {
        @if diff.is_empty() { p { "Nothing." } } @else {
            pre { @for line in diff.lines() {
                @let class = match line.as_bytes().first() { Some(b'+') => "added", Some(b'-') => "removed", _ => "same" };
                span class=(class) { (line) } "\n"
            } }
        }
    }
}
