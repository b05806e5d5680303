//! Products: sites, caches, the database's chain with its lease, releases, cron jobs; and forms for the common work.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::super::draft::NotEdited;
use super::super::forms::{self, Fields};
use super::super::work::Panel;
use super::server::{basis, edited};
use super::{failed, field, frame, go, message, respond, stale};
use crate::bucket::{BucketErrorKind, Entry, Fetched};
use crate::database::lease::{self, LEASE_LIMIT, Lease};
use crate::fleet::{Clusters, DatabaseCluster, Name, Product};
use crate::report::fleet_status::{FleetStatus, ServerRow};
use crate::report::html::{Zones, balance, health, rows};
use crate::report::text::ago;
use crate::system::chain;

/// The most archives of releases that are listed.
const ARCHIVES: usize = 200;

/// What of a product lies in the bucket.
struct InBucket {
    /// Why not, where it cannot be read; `None` in it: there is none.
    lease: Result<Option<Lease>, String>,
    archives: Result<Vec<Entry>, String>,
}

pub(in super::super) async fn products(State(panel): State<Arc<Panel>>) -> Response {
    let seen = match panel.look().await {
        Ok(seen) => seen,
        Err(why) => return failed(&panel, "Products", "/products", &why),
    };
    let mut servers: BTreeMap<&Name, (usize, usize)> = BTreeMap::new();
    for row in &seen.view.status.servers {
        for product in &row.products {
            let (all, problems) = servers.entry(product).or_default();
            *all += 1;
            *problems += usize::from(row.health.is_problem());
        }
    }
    let body = html! {
        (stale(&seen))
        table {
            caption { "Products" }
            thead { tr {
                th scope="col" { "Product" } th scope="col" { "Servers" } th scope="col" { "Trouble" } th scope="col" { "Sites" }
                th scope="col" { "Release" } th scope="col" { "Database" }
            } }
            tbody { @for (name, product) in &seen.view.document.fleet.products {
                @let (all, problems) = servers.get(name).copied().unwrap_or_default();
                tr {
                    th scope="row" { a href={ "/product/" (name) } { (name) } }
                    td { (all) }
                    td { @if problems > 0 { span.bad { "▲ " (problems) } } @else { span.good { "✔ none" } } }
                    td { (product.sites.len()) }
                    td { (product.release.as_ref().map_or_else(|| "–".to_owned(), |release| release.version.to_string())) }
                    td { @if product.database.is_some() { "yes" } @else { "–" } }
                }
            } }
        }
    };
    respond(
        StatusCode::OK,
        frame(&panel, "Products", "/products", None, &body),
    )
}

pub(in super::super) async fn product(
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
        forms::edit_product(&name, &Fields(fields), fleet)
    });
    match edited.await {
        Ok(()) => go("/draft"),
        Err(NotEdited(why)) => page(&panel, &name, Some(&why)).await,
    }
}

async fn page(panel: &Panel, name: &str, why: Option<&str>) -> Response {
    let seen = match panel.look().await {
        Ok(seen) => seen,
        Err(error) => return failed(panel, name, "/products", &error),
    };
    let (fleet, drafted) = basis(panel, &seen);
    let known = fleet.products.get_key_value(name);
    let Some((name, product)) = known else {
        let none = message(Some("There is no product of this name."));
        return respond(
            StatusCode::NOT_FOUND,
            frame(panel, name, "/products", None, &none),
        );
    };
    let clusters = Clusters::of(&fleet);
    let cluster = clusters.of_product(name);
    let lease = cluster.map_or(name, |cluster| cluster.lease);
    let found = match in_bucket(panel, name, lease).await {
        Ok(found) => found,
        Err(why) => InBucket {
            lease: Err(why.clone()),
            archives: Err(why),
        },
    };
    let status = &seen.view.status;
    let of: Vec<ServerRow> = status
        .servers
        .iter()
        .filter(|row| row.products.contains(name))
        .cloned()
        .collect();
    let zones = Zones::of(&status.servers);
    let balances: Vec<_> = (status.balance.iter())
        .filter(|balance| balance.product == *name)
        .cloned()
        .collect();
    let write = !panel.read_only;
    let body = html! {
        (message(why))
        (stale(&seen))
        @if drafted { p.message { "Sites, jobs, caches and the release are shown as the draft has them. " a href="/draft" { "The draft" } } }
        (sites(name, product, write))
        (caches(product, &fleet.servers))
        @if let Some(cluster) = cluster { (chain_of(cluster, &found.lease, status)) }
        (release(name, product, &of, &found.archives, write))
        (jobs(name, product, write))
        (balance(&balances, &zones))
        (rows(&of, &zones, status, Some("/server/")))
    };
    let code = if why.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    respond(
        code,
        frame(panel, &format!("Product {name}"), "/products", None, &body),
    )
}

async fn in_bucket(panel: &Panel, product: &Name, lease: &Name) -> Result<InBucket, String> {
    let (product, lease) = (product.clone(), lease.clone());
    panel
        .ask(move |worker| {
            Box::pin(async move {
                let bucket = worker.desk.bucket().await?;
                let got = bucket.get(&lease::key(&lease), None, LEASE_LIMIT).await;
                let read = match got {
                    Ok(Fetched::Object { bytes, .. }) => Lease::read(&bytes, &lease)
                        .map(Some)
                        .map_err(|error| chain(&error)),
                    Ok(Fetched::Unchanged) => Ok(None),
                    Err(error) if error.kind == BucketErrorKind::Missing => Ok(None),
                    Err(error) => Err(chain(&error)),
                };
                let listed = bucket
                    .list(&format!("releases/{product}/"), None, ARCHIVES)
                    .await;
                let archives = listed
                    .map(|page| page.entries)
                    .map_err(|error| chain(&error));
                Ok(InBucket {
                    lease: read,
                    archives,
                })
            })
        })
        .await
}

fn sites(of: &Name, product: &Product, write: bool) -> Markup {
    html! {
        section {
            h2 { "Sites" }
            @if product.sites.is_empty() { p { "None." } } @else {
                table {
                    thead { tr { th scope="col" { "Site" } th scope="col" { "Domains" } th scope="col" { "Directory" } @if write { th scope="col" { "Draft" } } } }
                    tbody { @for (name, site) in &product.sites { tr {
                        th scope="row" { (name) }
                        td { @for domain in &site.domains { span.chip { (domain) } " " } }
                        td { (site.root.as_ref().map_or_else(String::new, ToString::to_string)) }
                        @if write { td { (remove(of, "remove-site", name)) } }
                    } } }
                }
            }
            @if write {
                form method="post" action={ "/product/" (of) } { fieldset {
                    legend { "Add a site to the draft" }
                    (field("Name", "name", "", "www"))
                    (field("Domains", "domains", "", "shop.example.com www.shop.example.com"))
                    (field("Directory", "root", "", "/srv/shop/current/public"))
                    button type="submit" name="action" value="add-site" { "Add it to the draft" }
                } }
            }
        }
    }
}

fn remove(of: &Name, action: &str, name: &Name) -> Markup {
    html! {
        form.inline method="post" action={ "/product/" (of) } {
            input type="hidden" name="name" value=(name);
            button type="submit" name="action" value=(action) { "Remove " (name) }
        }
    }
}

fn caches(product: &Product, servers: &BTreeMap<Name, crate::fleet::Server>) -> Markup {
    let nodes = servers
        .values()
        .filter(|server| {
            server
                .roles
                .iter()
                .any(|role| role.as_str() == crate::fleet::MEMCACHED)
        })
        .count();
    html! {
        @if product.all_caches().next().is_some() {
            section {
                h2 { "Caches" }
                p.small { (nodes) " servers of the fleet have the role memcached" }
                ul { @for (name, cache) in product.all_caches() {
                    li {
                        strong { (name.map_or("cache", |name| name.as_str())) } ": " (cache.memory)
                        @if let Some(port) = cache.port { ", port " (port) }
                        @if let Some(list) = &cache.list { ", list " (list.path) }
                    }
                } }
            }
        }
    }
}

/// The chain as a tree: each replicates from the one that it stands in.
fn chain_of(
    cluster: &DatabaseCluster<'_>,
    lease: &Result<Option<Lease>, String>,
    status: &FleetStatus,
) -> Markup {
    let master = match lease {
        Ok(Some(lease)) => Some(lease.owner.clone()),
        Ok(None) => cluster.chain.first().cloned(),
        Err(_) => None,
    };
    html! {
        section {
            h2 { "Database" }
            @if cluster.products.len() > 1 || cluster.shared {
                p { "On the cluster " strong { (cluster.name) } ", with " @for product in &cluster.products { a href={ "/product/" (product) } { (product) } " " } }
            }
            @match lease {
                Ok(Some(lease)) => dl {
                    dt { "Master" } dd { strong { (lease.owner) } ", " (lease.state) }
                    dt { "Epoch" } dd { (lease.epoch) ", since " (ago(lease.since, status.at)) }
                    dt { "Renewed" } dd { (ago(lease.renewed, status.at)) ", by its owner's clock" }
                    dt { "Armed" } dd { @if lease.armed { "yes: closed by the kernel when its agent is stuck" } @else { "no" } }
                },
                Ok(None) => p { "There is no lease: the first of the chain is the master, and nobody takes over by itself." },
                Err(why) => p.bad { "The lease cannot be read: " (why) },
            }
            (link(cluster.chain, master.as_ref(), status))
            @if let Some(snapshots) = cluster.snapshots { p { "Snapshots: " (server(&snapshots.server, status)) } }
            p.small { "Switchover, rejoin and the rest: agentctl db on the database servers." }
        }
    }
}

fn link(chain: &[Name], master: Option<&Name>, status: &FleetStatus) -> Markup {
    html! {
        @if let Some((first, rest)) = chain.split_first() {
            ul { li {
                (server(first, status))
                @if master == Some(first) { " " strong { "★ master" } }
                (link(rest, master, status))
            } }
        }
    }
}

fn server(name: &Name, status: &FleetStatus) -> Markup {
    let row = status.servers.iter().find(|row| row.server == *name);
    html! {
        a href={ "/server/" (name) } { (name) }
        @if let Some(row) = row {
            " " (health(row.health))
            @for database in &row.databases { @if database.alarms > 0 { " " span.bad { "▲ " (database.alarms) " alarms" } } }
        }
    }
}

fn release(
    of: &Name,
    product: &Product,
    servers: &[ServerRow],
    archives: &Result<Vec<Entry>, String>,
    write: bool,
) -> Markup {
    let mut serving: BTreeMap<&str, usize> = BTreeMap::new();
    for row in servers {
        for ready in row.readiness.iter().filter(|ready| ready.product == *of) {
            if let Some(release) = &ready.release {
                *serving.entry(release).or_default() += 1;
            }
        }
    }
    let release = product.release.as_ref();
    let value = |text: Option<String>| text.unwrap_or_default();
    html! {
        section {
            h2 { "Release" }
            @match release {
                Some(release) => p { "The document has " strong { (release.version) } ", " (release.object) },
                None => p { "The document has none." },
            }
            @if !serving.is_empty() { p { "Served from: " @for (release, number) in &serving { span.chip { (release) " on " (number) } " " } } }
            @match archives {
                Ok(archives) if !archives.is_empty() => details {
                    summary { "Archives in the bucket" }
                    ul { @for archive in archives { li { (archive.key) ", " (archive.size >> 10) " KiB" } } }
                },
                Ok(_) => {},
                Err(why) => p.small { "Archives in the bucket could not be listed: " (why) },
            }
            @if write {
                form method="post" action={ "/product/" (of) } { fieldset {
                    legend { "Promote a release, in the draft" }
                    p.small { "agentctl fleet release " (of) " ARCHIVE uploads one and prints these three." }
                    (field("Version", "version", &value(release.map(|release| release.version.to_string())), "2026-11-28.1"))
                    (field("Object", "object", &value(release.map(|release| release.object.to_string())), "releases/…"))
                    (field("SHA-256", "sha256", &value(release.map(|release| release.sha256.to_string())), "64 digits"))
                    button type="submit" name="action" value="promote" { "Promote it in the draft" }
                } }
            }
        }
    }
}

fn jobs(of: &Name, product: &Product, write: bool) -> Markup {
    html! {
        section {
            h2 { "Cron jobs" }
            @if product.cron.is_empty() { p { "None." } } @else {
                table {
                    thead { tr { th scope="col" { "Job" } th scope="col" { "Schedule" } th scope="col" { "Account" } th scope="col" { "Command" } @if write { th scope="col" { "Draft" } } } }
                    tbody { @for (name, job) in &product.cron { tr {
                        th scope="row" { (name) }
                        td { (job.schedule) }
                        td { (job.user) }
                        td { code { (job.command) } }
                        @if write { td { (remove(of, "remove-job", name)) } }
                    } } }
                }
            }
            @if write {
                form method="post" action={ "/product/" (of) } { fieldset {
                    legend { "Add a job to the draft" }
                    (field("Name", "name", "", "tick"))
                    (field("Schedule", "schedule", "", "*/5 * * * *"))
                    (field("Account", "user", "", "shop"))
                    (field("Command", "command", "", "/srv/shop/current/bin/tick"))
                    (field("Roles", "on", "", "web"))
                    label { "Where " select name="run" { option value="each" { "on each server" } option value="one" { "on one server" } } }
                    button type="submit" name="action" value="add-job" { "Add it to the draft" }
                } }
            }
        }
    }
}
