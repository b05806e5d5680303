//! The agent's lines of `/etc/hosts`: one server or alias a line, so that `grep` answers whole and a diff shows one line
//! a change.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::{
    Desired, GuardedList, LineOrigin, ObserveError, Phase, Resource, Step, Thing, Want, Wish, block,
};
use crate::fleet::Pointer;
use crate::node::{HostEntry, View};
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::file::{Files, Found};
use crate::system::platform::Platform;
use rows::{Row, rows};

/// Where the file stands, on every Unix.
pub const PATH: &str = "/etc/hosts";

/// The one step of this resource.
const STEP: &str = "hosts";

/// What `/etc/hosts` says outside the agent's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostsFacts {
    /// Its lines that give an address names, in order.
    pub outside: Vec<HostsLine>,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsLine {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The address.
    pub address: IpAddr,
    /// Its first name as it is written: what the resolver calls the address, and all other names of the line.
    pub first: String,
    /// Its names, in lower case, in order.
    pub names: Vec<String>,
}

/// Names of other servers, and those that follow a database's roles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hosts;

impl Resource for Hosts {
    type Facts = HostsFacts;

    fn kind(&self) -> Kind {
        Kind::Hosts
    }

    /// A change of master must not wait for a run that waits for a package or a service.
    fn is_fast(&self) -> bool {
        true
    }

    async fn observe(
        &self,
        _view: &View,
        _platform: &Platform,
        files: &Files,
    ) -> Result<HostsFacts, ObserveError> {
        // A file that cannot be read is the step's own failure when it is written; here it is as good as empty.
        let Ok(Found::File { bytes, .. }) = files.read(Path::new(PATH)) else {
            return Ok(HostsFacts::default());
        };
        Ok(HostsFacts::of(&bytes))
    }

    fn desired(&self, view: &View, _platform: &Platform, facts: &HostsFacts) -> Desired {
        let name = StepName(STEP.into());
        let withheld = withheld(view, &name);
        let rows = rows(view, facts);
        if rows.is_empty() {
            return Desired {
                problems: withheld,
                ..Desired::default()
            };
        }
        let text = render(&rows);
        let wished: BTreeSet<(IpAddr, String)> = rows
            .iter()
            .flat_map(|row| (row.names.iter()).map(|name| (row.address, name.to_ascii_lowercase())))
            .collect();
        if pairs(&text) != wished {
            let mut desired = Desired::default();
            desired.hold(Kind::Hosts, name, format!("the lines for {PATH} do not read back as they were meant; the present ones stay. This is a fault of the agent: please report it with the document"), None);
            return desired;
        }

        // Whatever others' lines say too: only the document makes this list shorter.
        let mut entries: Vec<String> = view.hosts.iter().map(|host| host.name.clone()).collect();
        entries.sort_unstable();
        entries.dedup();
        let origins = rows
            .iter()
            .zip(1..)
            .flat_map(|(row, line)| {
                row.origins.iter().map(move |origin| LineOrigin {
                    line: Some(line),
                    pointer: (*origin).clone(),
                })
            })
            .collect();
        let mut step = Step::new(Kind::Hosts, name);
        step.wants = vec![Want {
            thing: Thing::Path(PATH.into()),
            wish: Wish::Block { text },
            phase: Phase::Commit,
            shown_as: None,
            origins,
        }];
        step.list = Some(GuardedList {
            what: "host names".into(),
            entries,
        });
        let mut problems = shadowing(view, facts, &step.name);
        problems.extend(withheld);
        Desired {
            problems,
            steps: vec![step],
            ..Desired::default()
        }
    }
}

impl HostsFacts {
    /// What a hosts file says outside the agent's lines. Names in another encoding than UTF-8 are nobody's names.
    pub fn of(file: &[u8]) -> Self {
        Self {
            outside: block::outside(file)
                .into_iter()
                .filter_map(|(number, line)| parse_line(number, &String::from_utf8_lossy(line)))
                .collect(),
        }
    }
}

fn render(rows: &[Row<'_>]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{}\t{}", row.address, row.names.join(" "));
    }
    text
}

/// Reads one line as the resolver does: an address, then names, up to a `#`.
fn parse_line(number: usize, line: &str) -> Option<HostsLine> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let address = words.next()?;
    // A zone (fe80::1%eth0) is legal there and says nothing about which address it is.
    let address = address.split('%').next()?.parse().ok()?;
    let words: Vec<&str> = words.collect();
    Some(HostsLine {
        number,
        address,
        first: (*words.first()?).to_owned(),
        names: words.iter().map(|word| word.to_ascii_lowercase()).collect(),
    })
}

fn pairs(text: &str) -> BTreeSet<(IpAddr, String)> {
    text.lines()
        .zip(1..)
        .filter_map(|(line, number)| parse_line(number, line))
        .flat_map(|line| line.names.into_iter().map(move |name| (line.address, name)))
        .collect()
}

/// What is left out so that the agent does not cut itself off.
fn withheld(view: &View, step: &StepName) -> Vec<Problem> {
    let told = view.withheld.iter().map(|host| Problem {
        kind: Kind::Hosts,
        step: Some(step.clone()),
        severity: Severity::Failure,
        message: format!(
            "the alias {} is left out of {PATH}: agentd reaches the bucket by this name, and with another address for it would never see a document again. Take it out of the document",
            host.name
        ),
        origin: Some(host.origin.clone()),
    });
    told.collect()
}

/// Lines outside the block that give one of our names another address.
///
/// Standing first is not enough: glibc's `getaddrinfo` collects the addresses of every line that has
/// the name, so a forgotten line would still send some clients to the old machine.
fn shadowing(view: &View, facts: &HostsFacts, step: &StepName) -> Vec<Problem> {
    let mut ours: BTreeMap<&str, (BTreeSet<IpAddr>, Option<&Pointer>)> = BTreeMap::new();
    for host in &view.hosts {
        for name in host.fqdn.as_deref().into_iter().chain([&*host.name]) {
            let known = ours.entry(name).or_default();
            known.0.insert(host.address);
            known.1 = known.1.or(Some(&host.origin));
        }
    }
    let is_own = |name: &str| {
        let own = |host: &&HostEntry| host.name == view.name.as_str();
        let fqdn = view
            .hosts
            .iter()
            .find(own)
            .and_then(|host| host.fqdn.as_deref());
        name == view.name.as_str() || Some(name) == fqdn
    };
    let mut problems = Vec::new();
    for line in &facts.outside {
        for name in &line.names {
            let Some((addresses, origin)) = ours.get(name.as_str()) else {
                continue;
            };
            // Debian's installer writes `127.0.1.1 OWN-NAME`: it leads to the same machine.
            let is_itself = line.address.is_loopback() && is_own(name);
            if addresses.contains(&line.address) || is_itself {
                continue;
            }
            let right: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            problems.push(Problem {
                kind: Kind::Hosts,
                step: Some(step.clone()),
                severity: Severity::Warning,
                message: format!(
                    "line {} of {PATH} says that {name} is {}, the document says {}: programs may get either. Delete {name} from that line",
                    line.number,
                    line.address,
                    right.join(" and "),
                ),
                origin: origin.cloned(),
            });
        }
    }
    problems
}
