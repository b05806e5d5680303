//! What the draft would change on each server, and its publication: what was looked at is what is published, or nothing is.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::super::args::{FamilyName, PublishArgs};
use super::super::super::failure::Failure;
use super::super::super::fleet::{Basis, described, planned, publish_quietly};
use super::super::draft::{Draft, NotEdited};
use super::super::forms::Fields;
use super::super::work::{Panel, Publishing, Seen};
use super::draft::mistakes_list;
use super::{failed, field, frame, go, message, respond, stale};
use crate::fleet::Document;
use crate::report::text::{Detail, Paint, PlanFor, Row, count, plan as plan_text};

/// Servers whose plans are listed; the others are counted.
const LISTED: usize = 500;

/// What there is to plan for.
struct Ready {
    seen: Seen,
    draft: Draft,
    document: Document,
}

/// The draft, if it is a good one; else the page that says what is wrong.
async fn ready(panel: &Panel) -> Result<Ready, Box<Response>> {
    let fail = |why: &str| Box::new(failed(panel, "Plan", "/publish", why));
    let seen = panel.look().await.map_err(|why| fail(&why))?;
    let draft = panel.draft.read().map_err(|NotEdited(why)| fail(&why))?;
    let Some(draft) = draft else {
        let body = html! { p { "There is no draft, so there is nothing to publish. " a href="/draft" { "Begin one" } } };
        return Err(Box::new(respond(
            StatusCode::OK,
            frame(panel, "Plan", "/publish", None, &body),
        )));
    };
    match draft.document() {
        Ok(document) => Ok(Ready {
            seen,
            draft,
            document,
        }),
        Err(mistakes) => {
            let body =
                html! { (mistakes_list(&mistakes)) p { a href="/draft" { "To the draft" } } };
            Err(Box::new(respond(
                StatusCode::OK,
                frame(panel, "Plan", "/publish", None, &body),
            )))
        }
    }
}

pub(in super::super) async fn plan(State(panel): State<Arc<Panel>>) -> Response {
    let ready = match ready(&panel).await {
        Ok(ready) => ready,
        Err(page) => return *page,
    };
    let (document, before) = (ready.document.clone(), ready.seen.view.document.clone());
    let rows = panel.ask(move |worker| Box::pin(async move { worker.rows(document, before) }));
    let rows = match rows.await {
        Ok(rows) => rows,
        Err(why) => return failed(&panel, "Plan", "/publish", &why),
    };
    let published = ready.seen.view.status.document.version;
    let fits = ready.document.id.version == published;
    let body = html! {
        (stale(&ready.seen))
        (table(&rows))
        @if !fits {
            p.message.bad role="alert" { "It was edited from version " (ready.document.id.version) ", and version " (published) " is published by now: see "
                a href="/draft" { "the draft" } "." }
        } @else if !panel.read_only {
            (publish_form(&ready, published))
        }
    };
    respond(
        StatusCode::OK,
        frame(&panel, "Plan", "/publish", None, &body),
    )
}

fn table(rows: &[Row]) -> Markup {
    let told: Vec<&Row> = rows
        .iter()
        .filter(|row| row.changes || row.failures)
        .collect();
    html! {
        p { (told.iter().filter(|row| row.changes).count()) " of " (count(rows.len(), "server")) " would change" }
        @if !told.is_empty() {
            table {
                caption { "What would change" }
                thead { tr { th scope="col" { "Server" } th scope="col" { "Steps" } th scope="col" { "Files" } th scope="col" { "Services" } th scope="col" { "Would not come true" } } }
                tbody { @for row in told.iter().take(LISTED) { tr {
                    th scope="row" { a href={ "/plan/" (row.node) } { (row.node) } }
                    td { (row.steps.join(", ")) }
                    td.number { (row.files) }
                    td { (row.services.join(", ")) }
                    td { @if !row.not.is_empty() { span.bad { "▲ " (row.not.join(", ")) } } }
                } } }
            }
            @if told.len() > LISTED { p { "and " (told.len() - LISTED) " more: agentctl fleet plan DRAFT lists all" } }
        }
    }
}

fn publish_form(ready: &Ready, published: u64) -> Markup {
    html! {
        form method="post" action="/publish" {
            input type="hidden" name="digest" value=(ready.draft.digest);
            input type="hidden" name="published" value=(published);
            fieldset {
                legend { "Publish" }
                (field("Expires so long from now (empty: as the text says)", "valid_for", "", "30d"))
                @if ready.document.fleet.rollout.is_some() {
                    label { input type="checkbox" name="urgent" value="yes"; " To all servers at once, without waves: in an emergency" }
                }
                p.small { "The key of this desk signs: a passphrase or a touch is asked for in the terminal of the panel." }
                button type="submit" { "Sign and publish the version after " (published) " of " (ready.document.id.fleet) }
            }
        }
    }
}

pub(in super::super) async fn one(
    State(panel): State<Arc<Panel>>,
    Path(name): Path<String>,
) -> Response {
    let ready = match ready(&panel).await {
        Ok(ready) => ready,
        Err(page) => return *page,
    };
    let (document, before) = (ready.document.clone(), ready.seen.view.document.clone());
    let wanted = name.clone();
    let text = panel.ask(move |_| Box::pin(async move { one_plan(&wanted, document, before) }));
    let body = match text.await {
        Ok(text) => html! {
            (stale(&ready.seen))
            pre { (text) }
            p { a href="/plan" { "All servers" } ", " a href={ "/server/" (name) } { "the server" } }
        },
        Err(why) => message(Some(&why)),
    };
    respond(
        StatusCode::OK,
        frame(&panel, &format!("Plan for {name}"), "/publish", None, &body),
    )
}

fn one_plan(name: &str, document: Document, before: Document) -> Result<String, Failure> {
    let server = document
        .fleet
        .servers
        .get_key_value(name)
        .map(|(server, _)| server.clone())
        .ok_or_else(|| Failure::new(format!("the draft has no server {name}")))?;
    let desk = planned("the draft", document, Some(before), FamilyName::default());
    let plan = desk.plan(&server)?;
    let what = PlanFor {
        node: &server,
        document: &plan.document,
        basis: &desk.basis,
    };
    Ok(plan_text(
        what,
        &plan.records(true),
        &plan.problems,
        Detail::Usual,
        Paint::PLAIN,
    ))
}

pub(in super::super) async fn publishing(State(panel): State<Arc<Panel>>) -> Response {
    let (reload, body) = match panel.publishing() {
        Publishing::Nothing => {
            return go("/plan");
        }
        Publishing::UnderWay => (
            Some(2),
            html! { p.message role="status" { "A version is being signed and published. If it takes long: the terminal of the panel asks for a passphrase or \
            a touch." } },
        ),
        Publishing::Done(what) => (
            None,
            html! { p.message.good role="status" { "✔ " (what) } p { a href="/" { "See it arrive" } } },
        ),
        Publishing::Failed(why) => (
            None,
            html! { (message(Some(&why))) p { a href="/draft" { "To the draft" } ", which is kept. " a href="/plan" { "Plan and try again" } } },
        ),
    };
    respond(
        StatusCode::OK,
        frame(&panel, "Publish", "/publish", reload, &body),
    )
}

/// Begins to publish what somebody has looked at.
pub(in super::super) async fn publish(
    State(panel): State<Arc<Panel>>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Response {
    let fields = Fields(fields);
    let refuse = |why: &str| {
        let body = html! { (message(Some(why))) p { a href="/plan" { "Look again" } } };
        respond(
            StatusCode::CONFLICT,
            frame(&panel, "Publish", "/publish", None, &body),
        )
    };
    let valid_for = match fields.get("valid_for") {
        "" => None,
        text => match humantime::parse_duration(text) {
            Ok(time) => Some(time),
            Err(error) => {
                return refuse(&format!(
                    "{text:?} is no time: {error}. Write 30d, or nothing."
                ));
            }
        },
    };
    let draft = match panel.draft.read() {
        Ok(Some(draft)) if draft.digest == fields.get("digest") => draft,
        Ok(_) => {
            return refuse(
                "The draft was changed since you looked at its plan: nothing was published.",
            );
        }
        Err(NotEdited(why)) => return refuse(&why),
    };
    let urgent = fields.get("urgent") == "yes";
    let read = draft.document();
    if read
        .map(|document| document.id.version.to_string())
        .ok()
        .as_deref()
        != Some(fields.get("published"))
    {
        return refuse(
            "Another version was published since you looked at the plan: nothing was published.",
        );
    }
    if panel.set_publishing(Publishing::UnderWay) {
        tokio::spawn(publish_draft(Arc::clone(&panel), draft, valid_for, urgent));
    }
    go("/publish")
}

async fn publish_draft(
    panel: Arc<Panel>,
    draft: Draft,
    valid_for: Option<std::time::Duration>,
    urgent: bool,
) {
    let how = PublishArgs {
        yes: true,
        valid_for,
        any_version: false,
        replace_unverified: false,
        urgent,
        platform: FamilyName::default(),
    };
    let text = draft.text.clone();
    let published = panel.ask_for_long(move |worker| {
        Box::pin(async move {
            worker.desk.walk().await?;
            publish_quietly(
                &worker.desk,
                "the draft",
                text.as_bytes(),
                &how,
                Basis::ItsVersion,
            )
            .await
        })
    });
    let end = match published.await {
        Ok(id) => {
            // Whoever went on editing keeps what he wrote.
            let kept = panel.draft.discard(&draft.digest).err();
            let kept = kept.map_or_else(String::new, |NotEdited(why)| format!("\n{why}"));
            Publishing::Done(format!(
                "Published {} of {}.{kept}",
                described(id.version, &[]),
                id.fleet
            ))
        }
        Err(why) => Publishing::Failed(why),
    };
    panel.forget();
    panel.set_publishing(end);
}
