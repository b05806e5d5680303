//! Apache virtual hosts: all of a box's sites as one generation that is switched to at once.
//!
//! A generation is a directory named after its content. The one include file that Apache's configuration
//! reads picks, by a define, either the link `current` or the link `staged`: so the configuration test of
//! what is staged runs within the server's real configuration.
//!
//! ```text
//! /etc/httpd/conf.d/zz-agentd.conf       the include file
//! /etc/httpd/agentd/current -> 3f2a…     what Apache serves
//! /etc/httpd/agentd/staged -> 3f2a…      what the configuration test reads
//! /etc/httpd/agentd/3f2a…/server.first   ports and unknown hosts
//! /etc/httpd/agentd/3f2a…/shop_www.conf  a vhost
//! /etc/httpd/agentd/3f2a…/shop_www.probe what it answers the agent's probe with
//! /etc/httpd/agentd/3f2a…/~126_shop_www.conf  its wildcard names of two labels: read after all exact ones
//! ```

mod access;
mod current;
mod directories;
mod facts;
mod names;
mod needs;
mod neighbours;
mod php;
mod quote;
mod release;
mod scan;
mod server;
mod template;
mod tls;
mod unserved;
mod vhost;
mod vhost_files;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::facts::ApacheFacts;
use self::unserved::{OPEN, closed, unserved};
use self::vhost_files::{Piece, Vhost, whole};
use super::{
    Activation, Check, Desired, GuardedList, LineOrigin, Member, MemberName, ObserveError,
    OpenLogs, OthersSites, Phase, Precaution, Probe, Question, Refusal, Resource, ServedName, Step,
    Text, Thing, Unfit, Verb, Want, Wish, logs_of,
};
use crate::fleet::names::{Port, ReleaseVersion};
use crate::fleet::{Name, Pointer};
use crate::node::{SiteView, View};
use crate::report::{Kind, Problem, Severity, StepName};
use crate::system::command::CommandLine;
use crate::system::digest::Sha256;
use crate::system::file::Files;
use crate::system::platform::{Apache, Family, Platform};

/// How long Apache's configuration test may take: it resolves names and starts nothing.
const TEST_DEADLINE: Duration = Duration::from_secs(30);
const STEP: &str = "sites";

/// The virtual hosts of a box.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sites;

impl Sites {
    /// Whether a file is how the agent switches and probes its sites, and nothing that a document asks for.
    pub fn is_internal(path: &Path, diff: &str) -> bool {
        let name = path.file_name().and_then(std::ffi::OsStr::to_str);
        let is = |names: &[&str]| name.is_some_and(|name| names.contains(&name));
        let probe = path
            .extension()
            .is_some_and(|kind| kind == "probe" || kind == "release");
        let changed = || diff.lines().filter(|line| line.starts_with(['+', '-']));
        // The generation's name stands in it, which is another one with each change.
        let renamed = is(&[current::FIRST])
            && !diff.is_empty()
            && changed().all(|line| server::is_generation_line(line.get(1..).unwrap_or_default()));
        probe || renamed || is(&["current", "staged", names::HEALTH_FILE])
    }

    /// Whether Apache's own configuration reads the agent's include file, or would if it were there. `None`: there is
    /// no such configuration.
    pub fn is_included(files: &Files, apache: &Apache) -> Option<bool> {
        scan::scan(files, apache).map(|scan| scan.included)
    }

    /// The texts of the virtual hosts that Apache serves for the agent now.
    pub fn served(files: &Files, apache: &Apache) -> Vec<String> {
        current::vhosts(files, apache)
    }

    /// Whom Apache's workers run as.
    pub fn user(files: &Files, platform: &Platform) -> String {
        facts::user(files, platform)
    }

    /// What in Apache's own configuration keeps every site from being served, and what to do.
    pub fn obstacle(files: &Files, apache: &Apache) -> Option<(String, &'static str)> {
        let (place, said) = scan::scan(files, apache)?.closed?;
        Some((closed(&place, &said), OPEN))
    }

    /// What to do where Apache's configuration does not read the agent's file.
    pub fn how_to_include(apache: &Apache) -> String {
        let dir = apache.include.parent().unwrap_or(Path::new("/"));
        format!(
            "add `IncludeOptional {}/*.conf` at the end of {}",
            dir.display(),
            apache.main_config.display()
        )
    }
}

impl Resource for Sites {
    type Facts = ApacheFacts;

    fn kind(&self) -> Kind {
        Kind::Sites
    }

    async fn observe(
        &self,
        view: &View,
        platform: &Platform,
        files: &Files,
    ) -> Result<ApacheFacts, ObserveError> {
        Ok(if view.sites.is_empty() {
            ApacheFacts::default()
        } else {
            // On the heap: a command may be run in it, and a run's future holds this one.
            Box::pin(facts::observe(view, platform, files)).await
        })
    }

    fn assumed(&self) -> ApacheFacts {
        ApacheFacts::as_installed()
    }

    fn desired(&self, view: &View, platform: &Platform, facts: &ApacheFacts) -> Desired {
        let mut desired = Desired::default();
        if view.sites.is_empty() {
            return desired;
        }
        if !facts.installed {
            let message = format!(
                "Apache is not installed on this box ({} and {} are looked for), but it has sites: install it, or build the image for the role web",
                platform.apache.main_config.display(),
                platform.apache.test.first().map_or("", String::as_str),
            );
            desired.hold(Kind::Sites, StepName(STEP.into()), message, None);
            return desired;
        }
        let mut vhosts = Vec::new();
        for site in &view.sites {
            let mut entrances = site.site.entrances(&site.origin).into_iter();
            let taken = entrances.find(|(port, _)| facts.taken.contains(&port.get()));
            if let Some((port, origin)) = taken {
                let message = taken_port(site, port, &platform.apache);
                desired.unfit.push(unfit(site, message, origin));
                continue;
            }
            if let Some(message) = release::not_ready(site, facts) {
                let origin = site.origin.then("root");
                desired.unfit.push(unfit(site, message, origin));
                continue;
            }
            let lacks = needs::lacks(site, &facts.needs, platform)
                .or_else(|| tls::unusable(site, facts))
                .or_else(|| tls::beside_plain(site, &view.sites))
                .map(|(message, field)| (message, field_of(site, field)));
            let lacks = lacks.or_else(|| {
                let why = php::waits(site, facts.pools.as_ref())?;
                Some((why, site.php_pointer()))
            });
            if let Some((message, origin)) = lacks {
                desired.unfit.push(unfit(site, message, origin));
                continue;
            }
            if let Some((place, said)) = &facts.closed
                && site.site.template.is_none()
            {
                let message = format!(
                    "site {} of {}: {}. {OPEN}",
                    site.name,
                    site.product,
                    closed(place, said)
                );
                desired
                    .unfit
                    .push(unfit(site, message, site.origin.clone()));
                continue;
            }
            let ports: Vec<u16> = site.site.ports().map(Port::get).collect();
            let addresses = match facts.addresses(&ports) {
                Ok(addresses) => addresses,
                // A template may know better: Apache's own table is looked at before the switch.
                Err(_) if site.site.template.is_some() => neighbours::alone(&ports),
                Err(why) => {
                    let origin = site.site.port_pointer(&site.origin, 0);
                    let message = format!("site {} of {}: {why}", site.name, site.product);
                    desired.unfit.push(unfit(site, message, origin));
                    continue;
                }
            };
            for (message, is_broken) in tls::doubts(site, facts) {
                desired.problems.push(Problem {
                    kind: Kind::Sites,
                    step: Some(StepName(STEP.into())),
                    severity: if is_broken {
                        Severity::Failure
                    } else {
                        Severity::Warning
                    },
                    message,
                    origin: Some(site.origin.then("tls").then("certificate")),
                });
            }
            match Vhost::render(site, &addresses, platform, facts) {
                Ok(vhost) => {
                    if !vhost.answers {
                        desired.problems.push(unproven(site));
                    }
                    vhosts.push((site, vhost));
                }
                Err(mistake) => {
                    let origin = site.origin.then("template");
                    desired.unfit.push(unfit(site, mistake, origin));
                }
            }
        }
        let texts: Vec<_> = (vhosts.iter())
            .map(|(site, vhost)| (*site, vhost.text()))
            .collect();
        let unserved = unserved(&texts, facts).into_iter();
        desired
            .problems
            .extend(unserved.map(|(message, origin)| Problem {
                kind: Kind::Sites,
                step: Some(StepName(STEP.into())),
                severity: Severity::Failure,
                message,
                origin: Some(origin),
            }));
        // Sites are one transaction: they are wished for without those that cannot be.
        if desired.unfit.is_empty() {
            let vhosts: Vec<_> = vhosts.into_iter().map(|(_, vhost)| vhost).collect();
            let log = error_log(platform);
            let mut step = step(&view.sites, &vhosts, &platform.apache, &log, facts);
            step.smoke = release::smoke(view, facts);
            step.serves = release::serves(view, facts);
            desired.steps = vec![step];
        }
        desired
    }

    fn leave_out(
        &self,
        step: &StepName,
        members: &BTreeSet<MemberName>,
        view: &mut View,
        old: Option<&View>,
    ) {
        if step.0 != STEP {
            return;
        }
        let before = |site: &SiteView| {
            old?.sites
                .iter()
                .find(|old| old.product == site.product && old.name == site.name)
        };
        let sites = std::mem::take(&mut view.sites);
        let left_out = sites
            .iter()
            .filter(|site| members.contains(&member_name(site)));
        let left_releases: BTreeSet<(Name, Option<ReleaseVersion>)> = left_out
            .filter(|site| site.release.is_some())
            .filter(|site| before(site).is_some_and(|old| old.release != site.release))
            .map(|site| (site.product.clone(), site.release.clone()))
            .collect();
        let left_releases: BTreeSet<_> = left_releases
            .iter()
            .map(|(product, release)| (product, release))
            .collect();
        view.sites = (sites.iter().cloned())
            .filter_map(|site| {
                // The sites of a product are served from one release: what one of them cannot do, none of them does.
                let goes_along = left_releases.contains(&(&site.product, &site.release))
                    && before(&site).is_some_and(|old| old.release != site.release);
                if members.contains(&member_name(&site)) || goes_along {
                    before(&site).filter(|old| old.site != site.site).cloned()
                } else {
                    Some(site)
                }
            })
            .collect();
    }
}

/// A site's name among a box's sites: `shop/www`.
fn member_name(site: &SiteView) -> MemberName {
    MemberName(format!("{}/{}", site.product, site.name))
}

/// Where the document has what a site needs: the product's PHP is no field of the site.
fn field_of(site: &SiteView, field: &str) -> Pointer {
    if field == "php" {
        site.php_pointer()
    } else {
        site.origin.then(field)
    }
}

fn unfit(site: &SiteView, message: String, origin: Pointer) -> Unfit {
    Unfit {
        kind: Kind::Sites,
        step: StepName(STEP.into()),
        member: member_name(site),
        message,
        origin: Some(origin),
    }
}

/// Apache would not refuse the port in its configuration test: it would end at the reload.
fn taken_port(site: &SiteView, port: Port, apache: &Apache) -> String {
    format!(
        "site {} of {} wants port {port}, on which a process other than {} listens: stop that one (ss -ltnp 'sport = :{port}' shows it) or give the site another port",
        site.name, site.product, apache.unit
    )
}

fn unproven(site: &SiteView) -> Problem {
    Problem {
        kind: Kind::Sites,
        step: Some(StepName(STEP.into())),
        severity: Severity::Warning,
        message: format!(
            "site {} of {}: its override template leaves out {{{{ probe }}}}, so after a reload nobody can tell whether this vhost answers or another",
            site.name, site.product
        ),
        origin: Some(site.origin.then("template")),
    }
}

/// The server's own log, where it says why it ended: the sites' have only what their clients did.
fn error_log(platform: &Platform) -> PathBuf {
    platform.apache.log_dir.join(match platform.family {
        Family::Centos => "error_log",
        Family::Debian => "error.log",
    })
}

fn step(
    sites: &[SiteView],
    vhosts: &[Vhost],
    apache: &Apache,
    error_log: &Path,
    facts: &ApacheFacts,
) -> Step {
    let (first, first_origins) = server::first(sites, apache, facts);
    let mut pieces = vec![Piece {
        name: names::HEALTH_FILE.into(),
        text: server::HEALTH.into(),
        origins: Vec::new(),
    }];
    for (site, vhost) in sites.iter().zip(vhosts) {
        pieces.extend(vhost.files.iter().cloned());
        pieces.extend(release::piece(site));
        if vhost.answers {
            pieces.push(Piece {
                name: format!("{}.probe", names::stem(site)),
                text: probe_answer(site),
                origins: whole(site),
            });
        }
    }
    let generation = generation(&first, &pieces);
    let named = server::generation_line(&generation);
    let shift = 1;
    pieces.push(Piece {
        name: current::FIRST.into(),
        text: format!("{named}{first}"),
        origins: first_origins
            .into_iter()
            .map(|origin| LineOrigin {
                line: origin.line.map(|line| line + shift),
                ..origin
            })
            .collect(),
    });
    pieces.sort_by(|a, b| a.name.cmp(&b.name));

    let all: Vec<_> = sites.iter().flat_map(whole).collect();
    let link = |name: &str, phase| Want {
        thing: Thing::Path(apache.dir.join(name)),
        wish: Wish::Link {
            target: PathBuf::from(&generation),
        },
        phase,
        shown_as: None,
        origins: all.clone(),
    };
    let file = |path: PathBuf, text: String, shown_as, origins| Want {
        thing: Thing::Path(path),
        wish: Wish::File {
            text: Text::plain(text),
            mode: 0o644,
        },
        phase: Phase::Prepare,
        shown_as,
        origins,
    };
    let mut wants: Vec<_> = pieces
        .into_iter()
        .map(|piece| {
            file(
                apache.dir.join(&generation).join(&piece.name),
                piece.text,
                Some(apache.dir.join("current").join(&piece.name)),
                piece.origins,
            )
        })
        .collect();
    wants.push(link("staged", Phase::Prepare));
    wants.push(file(
        apache.include.clone(),
        server::include(apache),
        None,
        all.clone(),
    ));
    wants.push(link("current", Phase::Commit));

    let test = |defines: &[&str]| {
        let own = apache.test.iter().map(String::as_str);
        CommandLine::new(own.chain(defines.iter().copied()), TEST_DEADLINE)
    };
    let mut step = Step::new(Kind::Sites, StepName(STEP.into()));
    step.wants = wants;
    step.list = Some(GuardedList {
        what: "virtual hosts".into(),
        entries: list(sites),
    });
    step.check = Some(Check {
        staged: test(&["-D", server::STAGED]),
        present: test(&[]),
    });
    let own = apache.test.iter().map(String::as_str);
    let table = |defines: &[&'static str]| {
        let defines = ["-D", "DUMP_VHOSTS"].iter().chain(defines).copied();
        CommandLine::new(own.clone().chain(defines), TEST_DEADLINE)
    };
    let others = OthersSites {
        present: table(&[]),
        staged: table(&["-D", server::STAGED]),
        own: apache.dir.clone(),
        ports: facts.listens.keys().copied().collect(),
        names: (sites.iter().zip(vhosts))
            .filter(|(_, vhost)| vhost.answers)
            .flat_map(|(site, _)| served_names(site, facts))
            .collect(),
        not_included: format!(
            "{} does not include {}, so Apache would not see the sites: {}",
            apache.main_config.display(),
            apache.include.display(),
            Sites::how_to_include(apache)
        ),
    };
    let logs = OpenLogs {
        unit: apache.unit.clone(),
        current: apache.dir.join("current"),
        wanted: (vhosts.iter())
            .flat_map(|vhost| logs_of(&vhost.text()).collect::<Vec<_>>())
            .collect(),
    };
    step.precautions = vec![
        Precaution::VirtualHosts(others),
        Precaution::OpenFiles(logs),
    ];
    step.activate = vec![Activation {
        unit: apache.unit.clone(),
        verb: Verb::ReloadOrStart,
        log: Some(error_log.to_path_buf()),
    }];
    step.probes = sites
        .iter()
        .zip(vhosts)
        .flat_map(|(site, vhost)| probes(site, vhost, &generation, apache, facts))
        .collect();
    step.members = (sites.iter().zip(vhosts))
        .map(|(site, vhost)| Member {
            name: member_name(site),
            file: (vhost.files.first()).map_or_else(String::new, |file| file.name.clone()),
        })
        .collect();
    step
}

/// The sites by name: a changed domain is no loss.
fn list(sites: &[SiteView]) -> Vec<String> {
    let mut names: Vec<_> = sites.iter().map(|site| member_name(site).0).collect();
    names.sort_unstable();
    names
}

fn probe_answer(site: &SiteView) -> String {
    format!("{}/{}\n", site.product, site.name)
}

/// All names of a site, wherever visitors ask for them.
fn served_names(site: &SiteView, facts: &ApacheFacts) -> Vec<ServedName> {
    let ports = site.site.ports().chain(site.site.redirect_port());
    let at = ports.flat_map(|port| {
        let each = facts.ask_at_each(port.get()).into_iter();
        each.map(move |address| SocketAddr::new(address, port.get()))
    });
    at.flat_map(|at| {
        site.site.domains.iter().map(move |domain| ServedName {
            member: member_name(site),
            host: if domain.is_wildcard() {
                names::example(domain)
            } else {
                domain.to_string()
            },
            at,
        })
    })
    .collect()
}

/// Asks the vhost by its first name, and by a name of each wildcard, for what only it, in this generation, has: a reload is
/// asynchronous, and an answer of the old generation, or of another vhost that took the name, must not pass.
fn probes(
    site: &SiteView,
    vhost: &Vhost,
    generation: &str,
    apache: &Apache,
    facts: &ApacheFacts,
) -> Vec<Probe> {
    let log = vhost::log(site, apache, "error");
    let logs_there = vhost.answers && logs_of(&vhost.text()).any(|path| path == log);
    let refusal = logs_there.then(|| Refusal {
        log,
        mark: generation.to_owned(),
        by_own_rules: site.site.template.is_some(),
    });
    let first = site.site.domains.first().map(ToString::to_string);
    let hosts: Vec<String> = first.into_iter().chain(vhost.wildcards.clone()).collect();
    let tls = site.site.tls.is_some();
    let ports = site.site.ports().map(|port| (port, tls));
    let plain = site.site.redirect_port().map(|port| (port, false));
    ports
        .chain(plain)
        .flat_map(|port| hosts.iter().map(move |host| (port, host)))
        .flat_map(|((port, tls), host)| {
            let each = facts.ask_at_each(port.get()).into_iter();
            each.map(move |address| (address, port, tls, host))
        })
        .map(|(address, port, tls, host)| Probe {
            member: Some(member_name(site)),
            question: Question::Http {
                address,
                port: port.get(),
                tls,
                host: host.clone(),
                path: if vhost.answers {
                    format!("{}/{generation}", names::WELL_KNOWN)
                } else {
                    "/".into()
                },
                body: vhost.answers.then(|| probe_answer(site)),
            },
            refusal: refusal.clone(),
        })
        .collect()
}

/// The name of a generation: its content's hash, so that equal wishes are the same generation.
fn generation(first: &str, pieces: &[Piece]) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(&text.len().to_be_bytes());
        hash.update(text.as_bytes());
    };
    add(first);
    for piece in pieces {
        add(&piece.name);
        add(&piece.text);
    }
    let mut name = hash.finish_hex();
    name.truncate(12);
    name
}
