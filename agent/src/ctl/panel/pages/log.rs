//! The published versions: who signed them, when, what changed; and an older one as a draft.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::super::super::fleet::{changes_of, version_bytes, version_entries};
use super::super::draft::{NotEdited, without_signatures};
use super::super::forms::Fields;
use super::super::work::Panel;
use super::draft::colored;
use super::{failed, frame, go, message, respond};
use crate::fleet::{Edit, Pointer};
use crate::report::text::{ago, key_names, moment};
use crate::system::clock;

/// So many versions are listed.
const LISTED: usize = 20;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Wanted {
    version: Option<u64>,
}

pub(in super::super) async fn log(
    State(panel): State<Arc<Panel>>,
    Query(wanted): Query<Wanted>,
) -> Response {
    page(&panel, wanted.version, None).await
}

async fn page(panel: &Panel, version: Option<u64>, why: Option<&str>) -> Response {
    let entries = panel
        .ask(|worker| Box::pin(async move { version_entries(&worker.desk, LISTED).await }))
        .await;
    let entries = match entries {
        Ok(entries) => entries,
        Err(why) => return failed(panel, "Versions", "/log", &why),
    };
    let changes = match version {
        None => None,
        Some(version) => {
            let asked = panel.ask(move |worker| {
                Box::pin(async move { changes_of(&worker.desk, version).await })
            });
            Some((version, asked.await))
        }
    };
    let now = clock::now();
    let body = html! {
        (message(why))
        @if let Some((version, changes)) = &changes { (one(panel, *version, changes)) }
        table {
            caption { "Versions" }
            thead { tr { th scope="col" { "Version" } th scope="col" { "Issued" } th scope="col" { "Signed by" } th scope="col" { "What changed" } } }
            tbody { @for entry in &entries { tr {
                th scope="row" { a href={ "/log?version=" (entry.version) } { (entry.version) } }
                td { @if let Some(issued) = entry.issued { (moment(issued)) " (" (ago(issued, now)) ")" } }
                td { @if entry.signers.is_empty() { "nobody" } @else { (key_names(&entry.signers)) } }
                td { (entry.summary) @if let Some(why) = &entry.refused { p.bad { "No machine takes it: " (why) } } }
            } } }
        }
    };
    let code = if why.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    respond(code, frame(panel, "Versions", "/log", None, &body))
}

fn one(panel: &Panel, version: u64, changes: &Result<(String, String), String>) -> Markup {
    html! {
        section {
            h2 { "Version " (version) }
            @match changes {
                Ok((before, diff)) => {
                    p { "What it changed in " (before) ":" }
                    (colored(diff))
                },
                Err(why) => (message(Some(why))),
            }
            @if !panel.read_only {
                form method="post" action="/log" {
                    input type="hidden" name="version" value=(version);
                    button type="submit" { "Make its content the draft" }
                }
            }
        }
    }
}

/// An older version's content as the draft, where there is none: published, it is a new version.
pub(in super::super) async fn take(
    State(panel): State<Arc<Panel>>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let fields = Fields(fields);
    let version: Option<u64> = fields.get("version").parse().ok();
    match taken(&panel, version).await {
        Ok(()) => go("/draft"),
        Err(why) => page(&panel, version, Some(&why)).await,
    }
}

async fn taken(panel: &Panel, version: Option<u64>) -> Result<(), String> {
    let version = version.ok_or("Which version?")?;
    let view = panel.look().await?.view;
    let told = |NotEdited(why)| why;
    if panel.draft.read().map_err(told)?.is_some() {
        return Err("There is a draft already: publish or discard it first.".into());
    }
    let bytes = panel
        .ask(move |worker| Box::pin(async move { version_bytes(&worker.desk, version).await }))
        .await?;
    // What is edited from is what is published now.
    let place = Pointer::of(["signed", "version"]);
    let edit = Edit::Set(place, json!(view.status.document.version));
    let text = edit
        .apply(&without_signatures(&bytes))
        .map_err(|error| error.to_string())?;
    let now = crate::system::digest::sha256_hex(without_signatures(&view.bytes).as_bytes());
    panel.draft.replace(&text, &now, &view.bytes).map_err(told)
}
