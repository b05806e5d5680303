//! Apache's own configuration, as far as the agent's part must fit into it: ports and default vhosts.
//!
//! Not a full parser: what it does not understand it passes over. The check and the probes catch the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Component, Path, PathBuf};

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
    /// Ports, each with an address at which the box itself reaches it.
    pub listens: BTreeMap<u16, IpAddr>,
    /// The agent's own file is read, or would be if it were there.
    pub included: bool,
    /// Modules that are loaded, by both of their names: `remoteip_module`, `mod_remoteip.c`.
    pub modules: BTreeSet<String>,
    /// Ports that have a vhost for all addresses before the agent's include file: it answers unknown hosts.
    pub defaults: BTreeSet<u16>,
}

/// Reads the main configuration and all that it includes, the agent's own file left out. `None`: there is none.
pub(super) fn scan(files: &Files, apache: &Apache) -> Option<Scan> {
    let mut scanner = Scanner {
        files,
        include: &apache.include,
        server_root: server_root(&apache.main_config),
        defines: BTreeMap::new(),
        modules: STATIC.iter().map(ToString::to_string).collect(),
        past_own: false,
        left: FILES,
        scan: Scan::default(),
    };
    let text = scanner.read(&apache.main_config)?;
    scanner.file(&text, 0);
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
    server_root: PathBuf,
    defines: BTreeMap<String, String>,
    modules: BTreeSet<String>,
    past_own: bool,
    left: u32,
    scan: Scan,
}

impl Scanner<'_> {
    fn file(&mut self, text: &str, depth: u32) {
        // For each open section, whether what is in it counts.
        let mut sections: Vec<bool> = Vec::new();
        for line in logical_lines(text) {
            let words: Vec<_> = words(&line)
                .into_iter()
                .map(|word| self.resolved(&word))
                .collect();
            let Some((first, rest)) = words.split_first() else {
                continue;
            };
            let counts = sections.last().copied().unwrap_or(true);
            if first.starts_with("</") {
                sections.pop();
            } else if let Some(section) = first.strip_prefix('<') {
                sections.push(counts && self.enters(&section.to_ascii_lowercase(), rest));
            } else if counts {
                self.directive(&first.to_ascii_lowercase(), rest, depth);
            }
        }
    }

    /// Whether what stands in a section counts.
    fn enters(&mut self, section: &str, arguments: &[String]) -> bool {
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
                if !self.past_own {
                    let ports = arguments.iter().filter_map(|text| default_port(text));
                    self.scan.defaults.extend(ports);
                }
                true
            }
            _ => true,
        }
    }

    fn directive(&mut self, name: &str, arguments: &[String], depth: u32) {
        let Some(first) = arguments.first() else {
            return;
        };
        match name {
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
                if let Some((port, address)) = listen(first) {
                    let known = self.scan.listens.entry(port).or_insert(address);
                    if address.is_loopback() {
                        *known = address;
                    }
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
            self.file(&text, depth + 1);
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

/// Lines with continuations joined, comments and empty ones left out.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        if let Some(begun) = line.strip_suffix('\\') {
            open.push_str(begun);
            continue;
        }
        open.push_str(line);
        let whole = std::mem::take(&mut open);
        let whole = whole.trim();
        if !whole.is_empty() && !whole.starts_with('#') {
            lines.push(whole.to_string());
        }
    }
    lines
}

/// A directive's words, quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(end) if character == end => quote = None,
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A `Listen` argument as a port and the address to ask it at.
fn listen(argument: &str) -> Option<(u16, IpAddr)> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let Some((host, port)) = argument.rsplit_once(':') else {
        return Some((argument.parse().ok()?, loopback));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>().unwrap_or(loopback);
    let address = if address.is_unspecified() {
        loopback
    } else {
        address
    };
    Some((port.parse().ok()?, address))
}

/// The port of a `<VirtualHost>` argument that stands for all addresses.
fn default_port(argument: &str) -> Option<u16> {
    let (host, port) = argument.trim_end_matches('>').rsplit_once(':')?;
    matches!(host, "*" | "_default_" | "0.0.0.0" | "[::]")
        .then(|| port.parse().ok())
        .flatten()
}

/// Whether `name` fits a pattern of `*` and `?`.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, name),
        (Some((b'*', rest)), Some((_, more))) => glob(rest, name) || glob(pattern, more),
        (Some((b'?', rest)), Some((_, more))) => glob(rest, more),
        (Some((wanted, rest)), Some((got, more))) => wanted == got && glob(rest, more),
        _ => false,
    }
}
