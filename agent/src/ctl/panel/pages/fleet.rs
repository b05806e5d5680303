//! The fleet: who is how, what remains if a zone is lost, and all servers, some at a time.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::work::Panel;
use super::{failed, frame, respond, stale};
use crate::fleet::Name;
use crate::report::fleet_status::{FleetStatus, Selection, ServerHealth, ServerRow};
use crate::report::html as show;

/// Servers of one page.
const ROWS: usize = 100;

/// What of the fleet is wanted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Wanted {
    q: String,
    product: String,
    role: String,
    zone: String,
    health: String,
    page: usize,
}

impl Wanted {
    fn selection(&self) -> Selection {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Selection {
            product: some(&self.product),
            role: some(&self.role),
            zone: some(&self.zone),
            text: some(self.q.trim()),
            problems: self.health == "problems",
            health: ServerHealth::ALL
                .into_iter()
                .find(|health| health.as_str() == self.health),
        }
    }

    /// The same, another page.
    fn at(&self, page: usize) -> String {
        let mut query = vec![format!("page={page}")];
        for (key, value) in [
            ("q", &self.q),
            ("product", &self.product),
            ("role", &self.role),
            ("zone", &self.zone),
            ("health", &self.health),
        ] {
            if !value.is_empty() {
                query.push(format!("{key}={}", encoded(value)));
            }
        }
        format!("/?{}", query.join("&"))
    }
}

/// A text as a part of a query.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

pub(in super::super) async fn fleet(
    State(panel): State<Arc<Panel>>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let seen = match panel.look().await {
        Ok(seen) => seen,
        Err(why) => return failed(&panel, "Fleet", "/", &why),
    };
    let status = &seen.view.status;
    let selection = wanted.selection();
    let rows: Vec<&ServerRow> = status
        .servers
        .iter()
        .filter(|row| selection.takes(row))
        .collect();
    let pages = rows.len().div_ceil(ROWS).max(1);
    let page = wanted.page.clamp(1, pages);
    let zones = show::Zones::of(&status.servers);
    let shown: Vec<ServerRow> = rows
        .iter()
        .skip((page - 1) * ROWS)
        .take(ROWS)
        .map(|row| (*row).clone())
        .collect();
    let body = html! {
        (stale(&seen))
        (show::summary(status))
        (filter(status, &wanted, &zones))
        (show::balance(&status.balance, &zones))
        p { (rows.len()) " of " (status.servers.len()) " servers" @if pages > 1 { ", page " (page) " of " (pages) } }
        (pager(&wanted, page, pages))
        (show::rows(&shown, &zones, status, Some("/server/")))
        (pager(&wanted, page, pages))
        (show::others(status))
    };
    respond(StatusCode::OK, frame(&panel, "Fleet", "/", None, &body))
}

fn pager(wanted: &Wanted, page: usize, pages: usize) -> Markup {
    html! {
        @if pages > 1 {
            nav aria-label="Pages of servers" { ul {
                @if page > 1 { li { a href=(wanted.at(page - 1)) rel="prev" { "← Page " (page - 1) } } }
                @if page < pages { li { a href=(wanted.at(page + 1)) rel="next" { "Page " (page + 1) " →" } } }
            } }
        }
    }
}

fn filter(status: &FleetStatus, wanted: &Wanted, zones: &show::Zones) -> Markup {
    let mut products: Vec<&str> = status
        .servers
        .iter()
        .flat_map(|row| row.products.iter().map(Name::as_str))
        .collect();
    products.sort_unstable();
    products.dedup();
    let mut roles: Vec<&str> = status
        .servers
        .iter()
        .flat_map(|row| row.roles.iter().map(Name::as_str))
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let zones: Vec<&str> = zones.names().collect();
    let mut healths = vec!["problems"];
    healths.extend(ServerHealth::ALL.map(ServerHealth::as_str));
    html! {
        form method="get" action="/" role="search" {
            label { "Name, address or trouble " input type="search" name="q" value=(wanted.q); }
            (select("Product", "product", &products, &wanted.product))
            (select("Role", "role", &roles, &wanted.role))
            (select("Zone", "zone", &zones, &wanted.zone))
            (select("Health", "health", &healths, &wanted.health))
            button type="submit" { "Show" }
            " " a href="/" { "all" }
        }
    }
}

fn select(label: &str, name: &str, values: &[&str], chosen: &str) -> Markup {
    html! {
        label { (label) " " select name=(name) {
            option value="" { "any" }
            @for value in values { option value=(value) selected[*value == chosen] { (value) } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_what_was_asked_for() {
        let wanted = Wanted {
            q: "a&b=ü".into(),
            zone: "a".into(),
            ..Wanted::default()
        };
        assert_eq!(wanted.at(2), "/?page=2&q=a%26b%3D%C3%BC&zone=a");
    }
}
