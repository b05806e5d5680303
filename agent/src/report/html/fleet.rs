//! The fleet as a page: the verdict, what remains if a zone is lost, a table of servers, what is unknown.

use maud::{Markup, html};

use super::alone;
use super::marks::{Zones, health, zone};
use crate::fleet::{Name, ServerState};
use crate::report::Ready;
use crate::report::fleet_status::{Balance, FleetStatus, ServerHealth, ServerRow};
use crate::report::text::{ago, count, moment, source};

/// So many rows do not push the servers off the screen.
const OPEN: usize = 20;

/// The whole fleet as one page that stands alone.
pub fn fleet_page(status: &FleetStatus) -> String {
    let fleet = status.document.fleet.as_str();
    let zones = Zones::of(&status.servers);
    let body = html! {
        header { p.fleet { (fleet) } h1 { "Fleet status" } }
        main {
            (summary(status))
            (balance(&status.balance, &zones))
            (rows(&status.servers, &zones, status, None))
            (others(status))
        }
    };
    alone(&format!("{fleet}: fleet status"), fleet, &body)
}

/// The verdict: how many servers are how, of which version, from where and when.
pub fn summary(status: &FleetStatus) -> Markup {
    html! {
        section.summary aria-label="Summary" {
            p {
                "Version " strong { (status.document.version) } ", issued " (ago(status.issued, status.at)) ": "
                (count(status.tally.servers, "server"))
                @if status.tally.draining > 0 { ", " (status.tally.draining) " draining" }
                @if status.expires <= status.at { ". " strong.bad { "It has expired." } }
            }
            @if let Some(why) = &status.halted { p.message.bad { "▲ Its rollout was halted: " (why) } }
            ul.tally {
                @for each in ServerHealth::ALL {
                    @if let Some(number) = status.health.get(&each) {
                        li { strong { (number) } " " (health(each)) }
                    }
                }
            }
            p.small { "As of " (moment(status.at)) ", " (source(status)) "." }
        }
    }
}

/// What remains if a zone is lost: a row for each product and role.
pub fn balance(balances: &[Balance], zones: &Zones) -> Markup {
    html! {
        @if !balances.is_empty() {
            // On paper nobody can open it.
            details open[balances.len() <= OPEN] {
                summary { "If a zone is lost: what remains" }
                table {
                    thead { tr { th scope="col" { "Product" } th scope="col" { "Role" } th scope="col" { "Working" } th scope="col" { "Zones" } th scope="col" { "Remain" } } }
                    tbody {
                        @for each in balances {
                            tr {
                                th scope="row" { (each.product) }
                                td { (each.role.as_ref().map_or("none", Name::as_str)) }
                                td { (each.working) " of " (each.servers) }
                                td { @for share in &each.zones { span.share { (zone(zones, share.zone.as_ref())) " " (share.servers) } " " } }
                                td class=(if each.remain == 0 { "bad" } else if each.remain * 2 < each.servers { "warn" } else { "good" }) {
                                    (each.remain) " of " (each.servers)
                                    @if each.remain == 0 { " (none)" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table of servers. `link`: the beginning of the address of a server's own page.
pub fn rows(
    servers: &[ServerRow],
    zones: &Zones,
    status: &FleetStatus,
    link: Option<&str>,
) -> Markup {
    html! {
        table.servers {
            caption { "Servers" }
            thead { tr {
                th scope="col" { "Server" } th scope="col" { "Health" } th scope="col" { "Zone" } th scope="col" { "Roles" }
                th scope="col" { "Products" } th scope="col" { "Version" } th scope="col" { "Heard" }
            } }
            tbody { @for each in servers { (row(each, zones, status, link)) } }
        }
    }
}

/// One of its rows.
pub fn row(row: &ServerRow, zones: &Zones, status: &FleetStatus, link: Option<&str>) -> Markup {
    html! {
        tr {
            th scope="row" {
                @if let Some(link) = link { a href={ (link) (row.server) } { (row.server) } } @else { (row.server) }
                @if row.state == ServerState::Draining { " " span.state { "⇣ draining" } }
            }
            td {
                (health(row.health))
                @if !row.reasons.is_empty() { ul.reasons { @for reason in &row.reasons { li { (reason) } } } }
            }
            td { (zone(zones, row.zone.as_ref())) }
            td { (names(&row.roles)) }
            td { (products(row, link.is_some())) }
            td.number { (row.version.map_or_else(|| "–".to_owned(), |version| version.to_string())) }
            td { (row.heard.map_or_else(|| "never".to_owned(), |heard| ago(heard, status.at))) }
        }
    }
}

fn names(names: &[Name]) -> Markup {
    html! { @for name in names { span.chip { (name) } " " } }
}

fn products(row: &ServerRow, links: bool) -> Markup {
    html! {
        @for product in &row.products {
            @let ready = row.readiness.iter().find(|ready| ready.product == *product);
            span.chip {
                @if links { a href={ "/product/" (product) } { (product) } } @else { (product) }
                @if let Some(ready) = ready {
                    @if let Some(release) = &ready.release { " " (release) }
                    @if ready.ready == Ready::False { " " span.bad { "! not ready" } }
                }
            }
            " "
        }
    }
}

/// What is unknown, what the document does not have, what could not be read.
pub fn others(status: &FleetStatus) -> Markup {
    html! {
        @if !status.unknown.is_empty() {
            section {
                h2 { "Machines that the document does not name" }
                ul { @for machine in &status.unknown {
                    li {
                        strong { (machine.id) } " "
                        @if let Some(name) = &machine.hostname { (name) ", " }
                        "heard " (ago(machine.heard, status.at))
                        @if machine.silent { ", silent since" }
                    }
                } }
            }
        }
        @if !status.strays.is_empty() {
            section {
                h2 { "Reports of servers that the document does not have" }
                ul { @for stray in &status.strays { li { strong { (stray.server) } ", heard " (ago(stray.heard, status.at)) } } }
            }
        }
        @if !status.unread.is_empty() {
            section {
                h2 { "Reports that could not be read" }
                ul { @for (key, why) in &status.unread { li { strong { (key) } ": " (why) } } }
            }
        }
    }
}
