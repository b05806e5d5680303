//! `agentctl fleet dns`: what should stand in DNS for the products, beside what the name servers say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::args::FleetDnsArgs;
use super::super::failure::Failure;
use super::desk::Desk;
use super::published::told;
use crate::dns::look_up;
use crate::fleet::names::DnsServer;
use crate::fleet::{DocumentId, Name, WEB};
use crate::overview::{Answer, NameRow, ReportReader, Verdict, compare};
use crate::report::NodeReport;
use crate::report::text::{Paint, shown};
use crate::system::{chain, clock};

/// So many questions are under way at once.
const AT_ONCE: usize = 16;

#[derive(Serialize)]
struct Output {
    format: u32,
    document: DocumentId,
    names: Vec<NameRow>,
}

/// Compares. Exit code 1: somebody should look.
pub(super) async fn dns(desk: &Desk, wanted: &FleetDnsArgs) -> Result<u8, Failure> {
    let published = desk.published().await?;
    let document = published.good("what is published")?;
    let fleet = &document.fleet;
    if let Some(product) = &wanted.product
        && fleet
            .products
            .get(product)
            .is_none_or(|it| it.dns.is_none())
    {
        return Err(Failure::new(format!(
            "the document has no product {product} with dns"
        )));
    }
    let products = fleet.products.iter().filter_map(|(name, product)| {
        let is_wanted = wanted.product.as_ref().is_none_or(|one| one == name);
        Some((name, product.dns.as_ref()?)).filter(|_| is_wanted)
    });
    let mut asked = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    for (order, (product, dns, name)) in products
        .flat_map(|(product, dns)| dns.names.iter().map(move |name| (product, dns, name)))
        .enumerate()
    {
        let servers: Vec<Option<DnsServer>> = match wanted.server.as_slice() {
            [] => vec![dns.server.clone()],
            servers => servers.iter().cloned().map(Some).collect(),
        };
        for (at, server) in servers.into_iter().enumerate() {
            let (product, dns, name) = (product.clone(), dns.clone(), name.clone());
            let at_once = Arc::clone(&at_once);
            asked.spawn(async move {
                let _one = at_once.acquire_owned().await;
                let answer: Answer = match &server {
                    Some(server) => look_up(server, name.as_str())
                        .await
                        .map_err(|error| chain(&error)),
                    None => Err("the document does not say which name server has it (agentd.toml of the machines does): \
                         name one with --server"
                        .to_owned()),
                };
                ((order, at), product, dns, name, (server, answer))
            });
        }
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        // Only a panic could be an error, and nothing in there does.
        if let Ok((order, product, dns, name, said)) = answer {
            answers.insert(order, (product, dns, name, said));
        }
    }
    let reports = reports(desk, fleet).await?;
    let now = clock::now();
    let names = answers
        .into_values()
        .map(|(product, dns, name, (server, answer))| {
            let server = server.map(|server| server.to_string());
            let of = (&product, &dns, name.as_str());
            compare(fleet, &reports, of, (server, answer), now)
        });
    let output = Output {
        format: 1,
        document: document.id.clone(),
        names: names.collect(),
    };
    let is_problem = output.names.iter().any(NameRow::is_problem);
    desk.console.print(&output, |paint| text(&output, paint))?;
    Ok(u8::from(is_problem))
}

/// What the servers that stand in DNS say of themselves.
async fn reports(
    desk: &Desk,
    fleet: &crate::fleet::Fleet,
) -> Result<BTreeMap<Name, NodeReport>, Failure> {
    let webs: Vec<Name> = (fleet.servers.iter())
        .filter(|(_, server)| server.roles.iter().any(|role| role.as_str() == WEB))
        .map(|(name, _)| name.clone())
        .collect();
    let mut reader = ReportReader::new(desk.bucket().await?);
    let reports = reader.read_of(&webs).await.map_err(told)?;
    let named = reports.into_iter();
    Ok(named
        .filter_map(|report| Some((report.server.clone()?, report)))
        .collect())
}

fn text(output: &Output, paint: Paint) -> String {
    let mut out = String::new();
    if output.names.is_empty() {
        return "no product has dns\n".to_owned();
    }
    for row in &output.names {
        let of = match &row.server {
            Some(server) => format!("{}, says {}", row.product, shown(server)),
            None => row.product.to_string(),
        };
        let _ = writeln!(out, "{} ({of})", paint.bold(&row.name));
        if let Some(error) = &row.error {
            let _ = writeln!(out, "  {}", paint.red(&shown(error)));
        }
        for address in &row.addresses {
            let verdict = format!("{:8}", address.verdict.as_str());
            let verdict = match address.verdict {
                Verdict::Good => paint.green(&verdict),
                Verdict::Missing | Verdict::Surplus => paint.red(&verdict),
                Verdict::Away | Verdict::Foreign => paint.yellow(&verdict),
            };
            let whose = address.of.as_ref().map_or("", |name| name.as_str());
            let line = format!(
                "  {verdict} {:39} {whose:16} {}",
                address.address,
                shown(&address.why)
            );
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
    out
}
