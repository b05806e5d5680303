//! Machines that no document names, each with a form that makes it a server.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::draft::NotEdited;
use super::super::forms::{self, Fields};
use super::super::work::Panel;
use super::server::edited;
use super::{failed, field, frame, go, message, respond, stale};
use crate::report::fleet_status::UnknownMachine;
use crate::report::text::ago;

pub(in super::super) async fn unknown(State(panel): State<Arc<Panel>>) -> Response {
    page(&panel, &Fields::default(), None).await
}

/// A new server, in the draft.
pub(in super::super) async fn assign(
    State(panel): State<Arc<Panel>>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let fields = Fields(fields);
    match edited(&panel, |fleet| forms::add_server(&fields, fleet)).await {
        Ok(()) => go("/draft"),
        Err(NotEdited(why)) => page(&panel, &fields, Some(&why)).await,
    }
}

async fn page(panel: &Panel, filled: &Fields, why: Option<&str>) -> Response {
    let seen = match panel.look().await {
        Ok(seen) => seen,
        Err(error) => return failed(panel, "Unknown machines", "/unknown", &error),
    };
    let status = &seen.view.status;
    let body = html! {
        (message(why))
        (stale(&seen))
        p { "A machine finds itself in the document by its instance id, or by its host name, which then is the server's name. What it says \
             of itself is its own word: assign only what you have started." }
        @if status.unknown.is_empty() { p { "There are none." } }
        @for machine in &status.unknown {
            section {
                h2 { (machine.id) }
                (facts(machine, status.at))
                // What was filled in and refused is there again; for the others, what is known of them.
                @let own = filled.get("machine") == machine.id;
                @if !panel.read_only { (form(machine, if own { filled } else { &NOTHING })) }
            }
        }
        @if !panel.read_only {
            section {
                h2 { "A server that has not come up yet" }
                @let own = filled.get("machine").is_empty();
                (fields_of("", "", "", if own { filled } else { &NOTHING }))
            }
        }
    };
    let code = if why.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    respond(
        code,
        frame(panel, "Unknown machines", "/unknown", None, &body),
    )
}

static NOTHING: Fields = Fields(Vec::new());

fn facts(machine: &UnknownMachine, now: jiff::Timestamp) -> Markup {
    html! {
        dl {
            @if let Some(instance) = &machine.instance { dt { "Instance" } dd { (instance) } }
            @if let Some(name) = &machine.hostname { dt { "Host name" } dd { (name) } }
            dt { "Heard" } dd { (ago(machine.heard, now)) @if machine.silent { ", " span.bad { "✖ silent since" } } }
            dt { "Tried" } dd { (machine.found_by) }
            dt { "Agent" } dd { (machine.agent) }
        }
    }
}

fn form(machine: &UnknownMachine, filled: &Fields) -> Markup {
    let label = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    let name = machine.hostname.as_deref().map_or_else(String::new, label);
    let instance = machine.instance.as_deref().unwrap_or_default();
    fields_of(&machine.id, &name, instance, filled)
}

fn fields_of(machine: &str, name: &str, instance: &str, filled: &Fields) -> Markup {
    let value = |key: &str, known: &str| match filled.get(key) {
        "" => known.to_owned(),
        text => text.to_owned(),
    };
    html! {
        form method="post" action="/unknown" {
            input type="hidden" name="machine" value=(machine);
            fieldset {
                legend { "Make it a server, in the draft" }
                (field("Name", "name", &value("name", name), "web-9"))
                (field("Address", "address", &value("address", ""), "10.0.0.1"))
                (field("Zone", "zone", &value("zone", ""), "eu-west-1a"))
                (field("Roles", "roles", &value("roles", ""), "web"))
                (field("Products", "products", &value("products", ""), "shop blog"))
                (field("Instance", "instance", &value("instance", instance), "i-…"))
                button type="submit" { "Add it to the draft" }
            }
        }
    }
}
