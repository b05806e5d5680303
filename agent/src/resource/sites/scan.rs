//! Apache's own configuration, as far as the agent's part must fit into it: ports, vhosts of others, and what closes all.
//!
//! Not a full parser: what it does not understand it passes over. The check, Apache's own table of its vhosts and the
//! probes catch the rest.

mod access;
mod address;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use self::access::Access;
pub(super) use self::address::VhostAddress;
use self::text::{glob, logical_lines, words};

use crate::system::file::{Files, Found};
use crate::system::platform::Apache;
use crate::system::root::plain;

/// Includes within includes that are followed.
const DEPTH: u32 = 16;
/// Files that are read at most: an include that leads in circles ends here.
const FILES: u32 = 4_096;
/// Modules that are compiled in and therefore never loaded.
const STATIC: [&str; 7] = [
    "core.c",
    "http_core.c",
    "mod_so.c",
    "mod_log_config.c",
    "mod_unixd.c",
    "mod_version.c",
    "mod_watchdog.c",
];

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Ports that are listened on.
    pub listens: BTreeMap<u16, Listened>,
    /// The agent's own file is read, or would be if it were there.
    pub included: bool,
    /// Modules that are loaded, by both of their names: `remoteip_module`, `mod_remoteip.c`.
    pub modules: BTreeSet<String>,
    /// Whom the workers run as, where the configuration says so itself.
    pub user: Option<String>,
    /// Virtual hosts of others, in order.
    pub vhosts: Vec<OthersVhost>,
    /// Where everything is closed to everybody in a way that no vhost of the agent's opens again, in the words of the
    /// configuration.
    pub closed: Option<(Place, String)>,
}

/// A line of Apache's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.path.display(), self.line)
    }
}

/// Where a port is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listened {
    /// The addresses; `::` for all of both families.
    pub addresses: BTreeSet<IpAddr>,
    /// The first `Listen` that says so. `None`: taken as given.
    pub place: Option<Place>,
}

/// A `<VirtualHost>` of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OthersVhost {
    /// Its addresses.
    pub addresses: Vec<VhostAddress>,
    /// Where it stands.
    pub place: Place,
    /// It is read before the agent's include file: of those that share an address, the first answers unknown hosts.
    pub first: bool,
}

/// Reads the main configuration and all that it includes, the agent's own file left out. `None`: there is none.
pub(super) fn scan(files: &Files, apache: &Apache) -> Option<Scan> {
    let mut scanner = Scanner {
        files,
        include: &apache.include,
        dir: &apache.dir,
        server_root: server_root(&apache.main_config),
        defines: BTreeMap::new(),
        modules: STATIC.iter().map(ToString::to_string).collect(),
        past_own: false,
        vhosts: 0,
        left: FILES,
        scan: Scan::default(),
    };
    let text = scanner.read(&apache.main_config)?;
    scanner.file(&apache.main_config, &text, 0);
    scanner.scan.included = scanner.past_own;
    scanner.scan.modules = scanner.modules;
    Some(scanner.scan)
}

/// What `ServerRoot` is where the configuration does not say so, as distributions compile it in.
fn server_root(main: &Path) -> PathBuf {
    let dir = main.parent().unwrap_or(Path::new("/"));
    match (dir.file_name(), dir.parent()) {
        (Some(name), Some(parent)) if name == "conf" => parent.to_path_buf(),
        _ => dir.to_path_buf(),
    }
}

struct Scanner<'a> {
    files: &'a Files,
    include: &'a Path,
    dir: &'a Path,
    server_root: PathBuf,
    defines: BTreeMap<String, String>,
    modules: BTreeSet<String>,
    past_own: bool,
    /// Virtual hosts that are open.
    vhosts: u32,
    left: u32,
    scan: Scan,
}

/// A section that is open.
struct Section {
    /// Whether what is in it counts.
    counts: bool,
    /// It is a virtual host.
    vhost: bool,
    /// What it lets whom do, where it is one that all files of the agent's lie under.
    access: Option<Access>,
}

impl Scanner<'_> {
    fn file(&mut self, path: &Path, text: &str, depth: u32) {
        let mut sections: Vec<Section> = Vec::new();
        for (line, text) in logical_lines(text) {
            let words: Vec<_> = words(&text)
                .into_iter()
                .map(|word| self.resolved(&word))
                .collect();
            let Some((first, rest)) = words.split_first() else {
                continue;
            };
            let place = || Place {
                path: path.to_path_buf(),
                line,
            };
            let counts = sections.last().is_none_or(|section| section.counts);
            if first.starts_with("</") {
                let section = sections.pop();
                self.vhosts -= u32::from(section.as_ref().is_some_and(|section| section.vhost));
                if let Some(access) = section.and_then(|section| section.access) {
                    access.told(&mut self.scan.closed);
                }
            } else if let Some(section) = first.strip_prefix('<') {
                let section = section.to_ascii_lowercase();
                let own = counts && self.enters(&section, rest, place);
                let vhost = section == "virtualhost";
                self.vhosts += u32::from(vhost);
                // A vhost's own sections are about that one only.
                let access =
                    (own && self.vhosts == 0).then(|| Access::of(&section, rest, self.dir));
                sections.push(Section {
                    counts: own,
                    vhost,
                    access: access.flatten(),
                });
            } else if counts {
                let name = first.to_ascii_lowercase();
                if let Some(access) = sections
                    .last_mut()
                    .and_then(|section| section.access.as_mut())
                {
                    access.directive(&name, rest, &text, place);
                }
                self.directive(&name, rest, place, depth);
            }
        }
    }

    /// Whether what stands in a section counts.
    fn enters(
        &mut self,
        section: &str,
        arguments: &[String],
        place: impl FnOnce() -> Place,
    ) -> bool {
        let argument = arguments
            .first()
            .map_or("", |text| text.trim_end_matches('>'));
        let (wanted, name) = match argument.strip_prefix('!') {
            Some(name) => (false, name),
            None => (true, argument),
        };
        match section {
            "ifmodule" => self.modules.contains(name) == wanted,
            "ifdefine" => self.defines.contains_key(name) == wanted,
            "iffile" => self.files.root().real(&self.absolute(name)).exists() == wanted,
            "virtualhost" => {
                let addresses = arguments.iter().filter_map(|text| address::vhost(text));
                self.scan.vhosts.push(OthersVhost {
                    addresses: addresses.collect(),
                    place: place(),
                    first: !self.past_own,
                });
                true
            }
            // What is in it counts where it is used.
            "macro" => false,
            _ => true,
        }
    }

    fn directive(
        &mut self,
        name: &str,
        arguments: &[String],
        place: impl FnOnce() -> Place,
        depth: u32,
    ) {
        let Some(first) = arguments.first() else {
            return;
        };
        match name {
            // Debian's is a variable of its start script.
            "user" if !first.is_empty() && self.vhosts == 0 => {
                self.scan.user = Some(first.clone());
            }
            "serverroot" => self.server_root = PathBuf::from(first),
            "define" => {
                let value = arguments.get(1).cloned().unwrap_or_default();
                self.defines.insert(first.clone(), value);
            }
            "undefine" => {
                self.defines.remove(first);
            }
            "loadmodule" => {
                self.modules.insert(first.clone());
                if let Some(stem) = arguments
                    .get(1)
                    .and_then(|file| Path::new(file).file_stem())
                {
                    self.modules.insert(format!("{}.c", stem.to_string_lossy()));
                }
            }
            "listen" => {
                if let Some((port, address)) = address::listen(first) {
                    let known = self.scan.listens.entry(port);
                    let known = known.or_insert_with(|| Listened {
                        addresses: BTreeSet::new(),
                        place: Some(place()),
                    });
                    known.addresses.insert(address);
                }
            }
            "include" | "includeoptional" if depth < DEPTH => {
                let pattern = self.absolute(first);
                for path in self.matching(&pattern) {
                    self.included(&path, depth);
                }
            }
            _ => {}
        }
    }

    fn included(&mut self, path: &Path, depth: u32) {
        if path == self.include {
            self.past_own = true;
        } else if let Some(text) = self.read(path) {
            self.file(path, &text, depth + 1);
        } else if depth < DEPTH {
            for name in self.files.list(path).unwrap_or_default() {
                self.included(&path.join(name), depth + 1);
            }
        }
    }

    /// A file's text, links followed (Debian enables things by linking them): these are only read.
    fn read(&mut self, path: &Path) -> Option<String> {
        let mut path = path.to_path_buf();
        for _ in 0..8 {
            self.left = self.left.checked_sub(1)?;
            match self.files.read(&path).ok()? {
                Found::File { bytes, .. } => {
                    return Some(String::from_utf8_lossy(&bytes).into_owned());
                }
                Found::Link(target) => path = plain(&path.parent()?.join(target)),
                _ => return None,
            }
        }
        None
    }

    /// The paths that a pattern stands for, sorted as Apache sorts them. The agent's own include file
    /// is among them even where it is not there yet: what counts is what comes before it.
    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let parts: Vec<_> = pattern
            .components()
            .filter_map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let mut found = vec![PathBuf::from("/")];
        for (index, part) in parts.iter().enumerate() {
            if !part.contains(['*', '?']) {
                for path in &mut found {
                    path.push(part);
                }
                continue;
            }
            let last = index + 1 == parts.len();
            found = found
                .iter()
                .flat_map(|dir| {
                    let mut names = self.files.list(dir).unwrap_or_default();
                    if last && self.include.parent() == Some(dir) {
                        let own = self.include.file_name().and_then(|name| name.to_str());
                        names.extend(own.map(String::from));
                        names.sort_unstable();
                        names.dedup();
                    }
                    names.retain(|name| {
                        part.starts_with('.') == name.starts_with('.')
                            && glob(part.as_bytes(), name.as_bytes())
                    });
                    names
                        .into_iter()
                        .map(|name| dir.join(name))
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        found
    }

    fn absolute(&self, path: &str) -> PathBuf {
        plain(&self.server_root.join(path))
    }

    fn resolved(&self, word: &str) -> String {
        let mut out = String::new();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                break;
            };
            out.push_str(before);
            out.push_str(self.defines.get(name).map_or("", String::as_str));
            rest = after;
        }
        out.push_str(rest);
        out
    }
}
