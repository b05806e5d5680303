//! What should stand in DNS for the products of a fleet, beside what name servers say. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use crate::dns::addresses;
use crate::fleet::{Dns, Fleet, Name, Server, ServerState, WEB};
use crate::report::fleet_status::SILENT_AFTER;
use crate::report::{EvictionStatus, NodeReport, Ready};

/// How an address at a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is there, and should be.
    Good,
    /// It is not there, and should not be.
    Away,
    /// It should be there, and is not.
    Missing,
    /// It is there, and should not be.
    Surplus,
    /// It is there and belongs to no server of the document: put there by hand, or left behind.
    Foreign,
}

impl Verdict {
    /// Whether a person should look.
    pub const fn is_problem(self) -> bool {
        matches!(self, Self::Missing | Self::Surplus)
    }

    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "there",
            Self::Away => "away",
            Self::Missing => "missing",
            Self::Surplus => "surplus",
            Self::Foreign => "nobody's",
        }
    }
}

/// One address at one name, as one name server has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressRow {
    /// The address.
    pub address: IpAddr,
    /// The server whose it is.
    pub of: Option<Name>,
    /// How it is.
    pub verdict: Verdict,
    /// Why it should not be there, or what else is to be known; empty where all is said.
    pub why: String,
}

/// One name, as one name server has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NameRow {
    /// The product.
    pub product: Name,
    /// The name.
    pub name: String,
    /// Which name server was asked. `None`: nobody says which.
    pub server: Option<String>,
    /// Why it could not be asked, or what is wrong with the name as a whole.
    pub error: Option<String>,
    /// Its addresses, and those that it should have.
    pub addresses: Vec<AddressRow>,
}

impl NameRow {
    /// Whether a person should look.
    pub fn is_problem(&self) -> bool {
        self.error.is_some() || self.addresses.iter().any(|row| row.verdict.is_problem())
    }
}

/// What a name server says of a name: its addresses, each with how long others may remember it in seconds; or why it says nothing.
pub type Answer = Result<BTreeMap<IpAddr, u32>, String>;

/// Compares what stands at a name of a product with what should.
///
/// Whether a server's addresses should be there it says itself; of one that says nothing nobody knows, and what is there is right.
pub fn compare(
    fleet: &Fleet,
    reports: &BTreeMap<Name, NodeReport>,
    (product, dns, name): (&Name, &Dns, &str),
    (server, answer): (Option<String>, Answer),
    now: Timestamp,
) -> NameRow {
    let mut row = NameRow {
        product: product.clone(),
        name: name.to_owned(),
        server,
        error: None,
        addresses: Vec::new(),
    };
    let standing = match answer {
        Ok(standing) => standing,
        Err(why) => {
            row.error = Some(why);
            return row;
        }
    };
    let ours = fleet.servers.iter().filter(|(_, server)| {
        server.products.contains(product) && server.roles.iter().any(|it| it.as_str() == WEB)
    });
    let mut known = BTreeSet::new();
    for (server_name, server) in ours {
        let wish = wish(server_name, server, product, name, reports, now);
        for address in addresses(server) {
            let is_there = standing.contains_key(&address);
            // An address that has moved to another server is that one's.
            let is_anothers = wish.wanted != Some(true)
                && fleet.servers.iter().any(|(other, it)| {
                    other != server_name
                        && it.state == ServerState::Active
                        && addresses(it).contains(&address)
                });
            if is_anothers || !known.insert(address) {
                continue;
            }
            let verdict = match (wish.wanted, is_there) {
                (Some(true) | None, true) => Verdict::Good,
                (Some(true), false) => Verdict::Missing,
                (Some(false), true) => Verdict::Surplus,
                (Some(false) | None, false) => Verdict::Away,
            };
            row.addresses.push(AddressRow {
                address,
                of: Some(server_name.clone()),
                verdict,
                why: wish.why.clone(),
            });
        }
    }
    let others = standing.keys().filter(|address| !known.contains(*address));
    row.addresses.extend(others.map(|address| {
        AddressRow {
            address: *address,
            of: (fleet.servers.iter())
                .find(|(_, server)| addresses(server).contains(address))
                .map(|(name, _)| name.clone()),
            verdict: Verdict::Foreign,
            why: format!("it is no web server's of {product}: put there by hand, or left behind"),
        }
    }));
    let longest = standing.values().max();
    row.error = if standing.is_empty() {
        Some("it has no addresses at all".to_owned())
    } else {
        longest.filter(|ttl| **ttl > dns.ttl_secs()).map(|ttl| {
            let wanted = dns.ttl_secs();
            format!("its addresses may be remembered for {ttl} s, and the document says {wanted}")
        })
    };
    row
}

struct Wish {
    /// `None`: nobody knows.
    wanted: Option<bool>,
    why: String,
}

fn wish(
    name: &Name,
    server: &Server,
    product: &Name,
    at: &str,
    reports: &BTreeMap<Name, NodeReport>,
    now: Timestamp,
) -> Wish {
    let away = |why: String| Wish {
        wanted: Some(false),
        why,
    };
    match server.state {
        ServerState::Active => {}
        ServerState::Draining => return away("the document has it drain".into()),
        ServerState::Retired => return away("the document has it retired".into()),
    }
    let is_out = |row: &&EvictionStatus| {
        let part = crate::fleet::EvictPart::Web;
        row.out && row.part == part && row.server == *name && row.product == *product
    };
    let fresh = |report: &&NodeReport| {
        let age = now.duration_since(report.written);
        jiff::SignedDuration::try_from(SILENT_AFTER).is_ok_and(|longest| age <= longest)
    };
    let heard = reports.values().filter(fresh);
    let told =
        heard.filter_map(|report| Some((report.written, report.evictions.iter().find(is_out)?)));
    let own = reports.get(name);
    if let Some((_, out)) = told.max_by_key(|(told, _)| *told) {
        let is_back = own.is_some_and(|own| {
            own.written > out.since && !own.evictions.iter().any(|row| is_out(&row))
        });
        if !is_back {
            return away(out.line());
        }
    }
    let Some(own) = own.filter(fresh) else {
        return Wish {
            wanted: None,
            why: format!("{name} is silent: whether it should be there is not known"),
        };
    };
    if let Some(drain) = &own.drain {
        return away(format!("a person has it drain {}", drain.fixed()));
    }
    let said = own.dns.iter().find(|row| row.name == at);
    if said.is_some_and(|said| !said.wanted) {
        let readiness = own.readiness.iter().find(|one| one.product == *product);
        let unready = readiness.filter(|one| one.ready != Ready::True);
        let why = unready.map_or_else(String::new, |one| format!(": {}", one.reason));
        return away(format!("it is not ready{why}"));
    }
    Wish {
        wanted: Some(true),
        why: said.and_then(|said| said.error.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        let web = |address: &str, more: &str| -> serde_json::Value {
            let text = format!(
                r#"{{"address": "{address}", "roles": ["web"], "products": ["shop"]{more}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        serde_json::from_value(serde_json::json!({
            "format": 1, "fleet": "f", "version": 1,
            "issued": "2026-01-01T00:00:00Z", "expires": "2036-01-01T00:00:00Z",
            "servers": {
                "web-1": web("10.0.0.1", ""),
                "web-2": web("10.0.0.2", r#", "public": ["198.51.100.2", "2001:db8::2"]"#),
                "web-3": web("10.0.0.3", r#", "state": "draining""#),
                "web-4": web("10.0.0.4", ""),
                "web-5": web("10.0.0.5", ""),
            },
            "products": {"shop": {
                "sites": {"www": {"domains": ["shop.example.com"], "root": "/srv/shop"}},
                "dns": {"zone": "example.com", "names": ["shop.example.com"]},
            }},
        }))
        .unwrap()
    }

    fn report(server: &str, more: &serde_json::Value) -> (Name, NodeReport) {
        let mut report = serde_json::json!({
            "format": 1, "written": "2026-11-30T11:55:00Z", "server": server, "found_by": "", "machine": {},
            "agent": {"version": "0.1.0", "started": "2026-11-30T01:00:00Z"}, "document": null,
            "health": "converged", "alarms": [], "steps": {}, "last_run": null,
            "dns": [{"name": "shop.example.com", "present": true, "wanted": true}],
        });
        for (key, value) in more.as_object().unwrap() {
            report[key] = value.clone();
        }
        (
            server.parse().unwrap(),
            serde_json::from_value(report).unwrap(),
        )
    }

    fn look(reports: &BTreeMap<Name, NodeReport>, standing: &[(&str, u32)]) -> NameRow {
        let fleet = fleet();
        let shop: Name = "shop".parse().unwrap();
        let dns = fleet.products[&shop].dns.clone().unwrap();
        let answer = standing
            .iter()
            .map(|(one, ttl)| (one.parse().unwrap(), *ttl));
        compare(
            &fleet,
            reports,
            (&shop, &dns, "shop.example.com"),
            (None, Ok(answer.collect())),
            "2026-11-30T12:00:00Z".parse().unwrap(),
        )
    }

    fn verdicts(row: &NameRow) -> Vec<(String, &'static str)> {
        let rows = row.addresses.iter();
        rows.map(|one| (one.address.to_string(), one.verdict.as_str()))
            .collect()
    }

    #[test]
    fn each_address_is_judged_by_what_its_server_says() {
        let none = || serde_json::json!({});
        let reports = [
            report("web-1", &none()),
            report("web-2", &none()),
            report(
                "web-4",
                &serde_json::json!({"dns": [{"name": "shop.example.com", "present": false, "wanted": false}],
                "readiness": [{"product": "shop", "ready": "false", "reason": "GET /health: 503", "release": null}]}),
            ),
        ];
        let standing = [
            ("10.0.0.1", 60),
            ("198.51.100.2", 60),
            ("10.0.0.3", 60),
            ("10.0.0.5", 60),
            ("203.0.113.9", 60),
        ];
        let row = look(&reports.into(), &standing);
        let expected = [
            ("10.0.0.1", "there"),
            ("198.51.100.2", "there"),
            ("2001:db8::2", "missing"),
            ("10.0.0.3", "surplus"),
            ("10.0.0.4", "away"),
            // Silent: nobody knows.
            ("10.0.0.5", "there"),
            ("203.0.113.9", "nobody's"),
        ];
        let expected: Vec<(String, &str)> = expected
            .iter()
            .map(|(at, is)| ((*at).to_owned(), *is))
            .collect();
        assert_eq!(verdicts(&row), expected);
        assert!(row.is_problem() && row.error.is_none());
        assert!(row.addresses[4].why.contains("503"), "{row:?}");
    }

    #[test]
    fn a_dead_server_is_to_be_away_though_its_last_report_says_otherwise() {
        let out = serde_json::json!({"evictions": [{"product": "shop", "part": "web", "server": "web-1", "out": true,
            "since": "2026-11-30T11:57:00Z", "by": ["web-2"], "why": "silent"}]});
        let reports = [
            report("web-1", &serde_json::json!({})),
            report("web-2", &out),
        ];
        let row = look(
            &reports.into(),
            &[("10.0.0.1", 60), ("198.51.100.2", 60), ("2001:db8::2", 60)],
        );
        assert_eq!(row.addresses[0].verdict, Verdict::Surplus);
        assert!(
            row.addresses[0].why.contains("web-2 found it dead"),
            "{row:?}"
        );
    }

    #[test]
    fn a_name_without_addresses_and_one_that_is_remembered_for_too_long_are_problems() {
        let reports = || [report("web-1", &serde_json::json!({}))].into();
        assert!(
            look(&reports(), &[])
                .error
                .unwrap()
                .contains("no addresses")
        );
        let long = look(&reports(), &[("10.0.0.1", 3600)]);
        assert!(long.error.unwrap().contains("3600 s"));
    }
}
