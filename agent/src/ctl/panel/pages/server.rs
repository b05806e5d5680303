//! One server: what the document has of it, what it says of itself, what the draft makes of it; and its forms.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::draft::NotEdited;
use super::super::forms::{self, Fields};
use super::super::work::{Panel, Seen};
use super::{failed, field, frame, go, message, respond, stale, words};
use crate::fleet::{Edit, Fleet, Server, ServerState};
use crate::report::fleet_status::ServerRow;
use crate::report::html::{Zones, health, zone};
use crate::report::text::{ago, moment};

pub(in super::super) async fn server(
    State(panel): State<Arc<Panel>>,
    Path(name): Path<String>,
) -> Response {
    page(&panel, &name, None).await
}

/// What a form asks for, made in the draft.
pub(in super::super) async fn edit(
    State(panel): State<Arc<Panel>>,
    Path(name): Path<String>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let edited = edited(&panel, |fleet| {
        forms::edit_server(&name, &Fields(fields), fleet)
    });
    match edited.await {
        Ok(()) => go("/draft"),
        Err(NotEdited(why)) => page(&panel, &name, Some(&why)).await,
    }
}

/// Makes edits that depend on what the fleet is in the draft.
pub(super) async fn edited(
    panel: &Panel,
    edits: impl FnOnce(&Fleet) -> Result<Vec<Edit>, String>,
) -> Result<(), NotEdited> {
    let view = panel.look().await.map_err(NotEdited)?.view;
    let draft = panel.draft.read()?.map(|draft| draft.document());
    let document = match draft {
        Some(Ok(document)) => document,
        Some(Err(_)) => {
            return Err(NotEdited(
                "The draft has mistakes: mend its text first (Draft), then the forms work.".into(),
            ));
        }
        None => view.document.clone(),
    };
    let edits = edits(&document.fleet).map_err(NotEdited)?;
    panel.draft.edit(&edits, &view.bytes)
}

/// The document that forms are filled in from: the draft, where there is a good one.
pub(super) fn basis(panel: &Panel, seen: &Seen) -> (Arc<Fleet>, bool) {
    let draft = panel.draft.read().ok().flatten();
    match draft.map(|draft| draft.document()) {
        Some(Ok(document)) => (document.fleet, true),
        _ => (Arc::clone(&seen.view.document.fleet), false),
    }
}

async fn page(panel: &Panel, name: &str, why: Option<&str>) -> Response {
    let seen = match panel.look().await {
        Ok(seen) => seen,
        Err(error) => return failed(panel, name, "/", &error),
    };
    let status = &seen.view.status;
    let row = status
        .servers
        .iter()
        .find(|row| row.server.as_str() == name);
    let (fleet, drafted) = basis(panel, &seen);
    let server = fleet.servers.get(name);
    if row.is_none() && server.is_none() {
        let page = frame(
            panel,
            name,
            "/",
            None,
            &message(Some("There is no server of this name.")),
        );
        return respond(StatusCode::NOT_FOUND, page);
    }
    let zones = Zones::of(&status.servers);
    let body = html! {
        (message(why))
        (stale(&seen))
        @match row {
            Some(row) => (told(row, &zones, status.at)),
            None => p { "It is in the draft only." },
        }
        p { a href={ "/plan/" (name) } { "What the draft would change on it" } }
        @match server {
            Some(server) if !panel.read_only => (form(name, server, drafted)),
            Some(_) => {},
            None => p.message { "The draft removes it." },
        }
    };
    let code = if why.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    respond(
        code,
        frame(panel, &format!("Server {name}"), "/", None, &body),
    )
}

fn told(row: &ServerRow, zones: &Zones, now: jiff::Timestamp) -> Markup {
    html! {
        p { (health(row.health)) @if row.state == ServerState::Draining { ", " span.state { "⇣ draining" } } }
        @if !row.reasons.is_empty() { ul.reasons { @for reason in &row.reasons { li { (reason) } } } }
        dl {
            dt { "Address" } dd { (row.address) }
            dt { "Zone" } dd { (zone(zones, row.zone.as_ref())) }
            dt { "Roles" } dd { (words(&row.roles)) }
            dt { "Products" } dd { @for product in &row.products { a href={ "/product/" (product) } { (product) } " " } }
            dt { "Version" } dd { (row.version.map_or_else(|| "not known".to_owned(), |version| version.to_string())) }
            dt { "Heard" } dd {
                @match row.heard { Some(heard) => { (ago(heard, now)) " (" (moment(heard)) ")" }, None => "never" }
            }
            @if let Some(agent) = &row.agent { dt { "Agent" } dd { (agent) } }
            @if !row.services_down.is_empty() { dt { "Services down" } dd.bad { (row.services_down.join(", ")) } }
            @for ready in &row.readiness {
                dt { (ready.product) } dd {
                    "ready: " (ready.ready.as_str())
                    @if let Some(release) = &ready.release { ", release " (release) }
                    @if !ready.reason.is_empty() { ": " (ready.reason) }
                }
            }
            @for database in &row.databases {
                dt { "Database of " (database.product) } dd {
                    (database.part.as_str())
                    @if let Some(master) = &database.master { ", master is " (master) }
                    @if database.alarms > 0 { ", " span.bad { (database.alarms) " alarms" } }
                }
            }
        }
        p.small { "In full, on the machine: agentctl status, agentctl show last, agentctl why PATH" }
    }
}

fn form(name: &str, server: &Server, drafted: bool) -> Markup {
    let action = format!("/server/{name}");
    let act = |action: &str, label: &str| html! { button type="submit" name="action" value=(action) { (label) } " " };
    html! {
        h2 { "Change it in the draft" }
        @if drafted { p.small { "As the draft has it now." } }
        form method="post" action=(action) {
            fieldset {
                legend { "Takes part" }
                @if server.state != ServerState::Active { (act("activate", "Make it active")) }
                @if server.state == ServerState::Active { (act("drain", "Drain: it leaves node lists, and keeps running")) }
                @if server.state != ServerState::Retired { (act("retire", "Retire: its agent removes what it owns")) }
                @if server.state == ServerState::Retired { (act("remove", "Remove it from the document")) }
            }
        }
        form method="post" action=(action) {
            fieldset {
                legend { "Place and work" }
                (field("Address", "address", &server.address.to_string(), "10.0.0.1"))
                (field("Zone", "zone", server.zone.as_ref().map_or("", |zone| zone.as_str()), "eu-west-1a"))
                (field("Roles", "roles", &words(&server.roles), "web"))
                (field("Products", "products", &words(&server.products), "shop blog"))
                (field("Instance", "instance", server.instance.as_ref().map_or("", |id| id.as_str()), "i-…"))
                button type="submit" name="action" value="change" { "Change it in the draft" }
            }
        }
    }
}
