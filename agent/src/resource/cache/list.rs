//! Node list files in their formats, and readers of them that share no code with the writers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::fleet::ListFormat;

/// A list file.
pub(super) struct Rendered {
    /// Its text.
    pub(super) text: String,
    /// The line of each node, from 1, in the order of the nodes.
    pub(super) lines: Vec<u32>,
}

/// One node. Formats that have no names read back without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    #[serde(default)]
    pub(super) name: String,
    /// An address, or the path of a Unix socket.
    pub(super) host: String,
    /// 0 for a socket.
    pub(super) port: u16,
    /// Where the product gives some servers more of the keys: of all its nodes, or of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) weight: Option<u16>,
}

impl Node {
    /// `host:port` as most clients read it, or the path of the socket.
    fn place(&self) -> String {
        if self.host.starts_with('/') {
            return self.host.clone();
        }
        match self.host.parse() {
            Ok(IpAddr::V6(host)) => format!("[{host}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    fn weighted(&self, before: &str) -> String {
        self.weight
            .map_or_else(String::new, |weight| format!("{before}{weight}"))
    }
}

/// Whether the clients that read a format know IPv6 addresses.
pub(super) const fn knows_ipv6(format: ListFormat) -> bool {
    match format {
        ListFormat::Json | ListFormat::Php | ListFormat::Ini | ListFormat::Text => true,
        ListFormat::Libmemcached | ListFormat::PhpSession | ListFormat::PhpMemcacheSession => false,
    }
}

const fn has_names(format: ListFormat) -> bool {
    matches!(format, ListFormat::Json | ListFormat::Php | ListFormat::Ini)
}

/// The list in its format: one node a line (a section in INI, all in one line for PHP's sessions), in the order given.
pub(super) fn render(format: ListFormat, nodes: &[Node]) -> Rendered {
    let written = "Written by node-agent; edit the fleet document instead.";
    let mut text = match format {
        ListFormat::Json => "[\n".to_owned(),
        // `array()`, not `[]`: PHP 5.3 still runs in the field.
        ListFormat::Php => format!("<?php\n// {written}\nreturn array(\n"),
        ListFormat::Ini => format!("; {written}\n"),
        ListFormat::PhpSession => format!("; {written}\nsession.save_handler = memcached\n"),
        ListFormat::PhpMemcacheSession => format!("; {written}\nsession.save_handler = memcache\n"),
        // No comment: nobody can know whether the reader knows comments.
        ListFormat::Text | ListFormat::Libmemcached => String::new(),
    };
    let mut lines = Vec::with_capacity(nodes.len());
    let mut next = u32::try_from(text.lines().count()).unwrap_or(u32::MAX) + 1;
    let mut places = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        lines.push(next);
        let Node {
            name, host, port, ..
        } = node;
        let _ = match format {
            ListFormat::Json => {
                let comma = if index + 1 < nodes.len() { "," } else { "" };
                let weight = node.weighted(", \"weight\": ");
                writeln!(
                    text,
                    "  {{\"name\": \"{name}\", \"host\": \"{host}\", \"port\": {port}{weight}}}{comma}"
                )
            }
            ListFormat::Php => {
                let weight = node.weighted(", 'weight' => ");
                writeln!(
                    text,
                    "    array('name' => '{name}', 'host' => '{host}', 'port' => {port}{weight}),"
                )
            }
            ListFormat::Ini => {
                let weight = node.weighted("\nweight = ");
                writeln!(text, "[{name}]\nhost = \"{host}\"\nport = {port}{weight}")
            }
            ListFormat::Text => writeln!(text, "{}{}", node.place(), node.weighted(":")),
            ListFormat::Libmemcached if host.starts_with('/') => {
                writeln!(text, "--SOCKET=\"{host}\"{}", node.weighted("/?"))
            }
            ListFormat::Libmemcached => {
                writeln!(text, "--SERVER={}{}", node.place(), node.weighted("/?"))
            }
            ListFormat::PhpSession => {
                places.push(format!("{}{}", node.place(), node.weighted(":")));
                Ok(())
            }
            ListFormat::PhpMemcacheSession if host.starts_with('/') => {
                places.push(format!("unix://{host}:0{}", node.weighted("?weight=")));
                Ok(())
            }
            ListFormat::PhpMemcacheSession => {
                places.push(format!(
                    "tcp://{}{}",
                    node.place(),
                    node.weighted("?weight=")
                ));
                Ok(())
            }
        };
        next += match format {
            ListFormat::Ini => 3 + u32::from(node.weight.is_some()),
            ListFormat::PhpSession | ListFormat::PhpMemcacheSession => 0,
            _ => 1,
        };
    }
    if !places.is_empty() {
        let _ = writeln!(text, "session.save_path = \"{}\"", places.join(","));
    }
    text.push_str(match format {
        ListFormat::Json => "]\n",
        ListFormat::Php => ");\n",
        _ => "",
    });
    Rendered { text, lines }
}

/// Whether `text` reads back as exactly these nodes, in this order. The error says what was found instead.
pub(super) fn check(format: ListFormat, text: &str, nodes: &[Node]) -> Result<(), String> {
    let found = read(format, text)?;
    let mut wished = nodes.to_vec();
    if !has_names(format) {
        for node in &mut wished {
            node.name.clear();
        }
    }
    if found == wished {
        Ok(())
    } else {
        Err(format!(
            "{} nodes written, other {} found",
            wished.len(),
            found.len()
        ))
    }
}

/// Reads a list as the product's code would.
pub(super) fn read(format: ListFormat, text: &str) -> Result<Vec<Node>, String> {
    match format {
        ListFormat::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
        ListFormat::Php => read_php(text),
        ListFormat::Ini => read_ini(text),
        ListFormat::Text => text.lines().map(|line| place(line, ":")).collect(),
        ListFormat::Libmemcached => text
            .lines()
            .map(|line| {
                let socket = line
                    .strip_prefix("--SOCKET=\"")
                    .map(|rest| rest.replacen('"', "", 1));
                let server = line.strip_prefix("--SERVER=").map(str::to_owned);
                place(&socket.or(server).ok_or_else(|| strange(line))?, "/?")
            })
            .collect(),
        ListFormat::PhpSession => save_path(text, "memcached")?
            .split(',')
            .map(|one| place(one, ":"))
            .collect(),
        ListFormat::PhpMemcacheSession => save_path(text, "memcache")?
            .split(',')
            .map(|one| {
                if let Some(socket) = one.strip_prefix("unix://") {
                    return place(&socket.replacen(":0", "", 1), "?weight=");
                }
                let one = one.strip_prefix("tcp://").ok_or_else(|| strange(one))?;
                place(one, "?weight=")
            })
            .collect(),
    }
}

/// A node that is written as its place, and after `sign` its weight.
fn place(text: &str, sign: &str) -> Result<Node, String> {
    if text.starts_with('/') {
        let (host, weight) = match text.split_once(sign) {
            Some((host, weight)) => (host, Some(weight)),
            None => (text, None),
        };
        return node("", host, "0", weight);
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(inside) => inside.split_once("]:"),
        None => text.split_once(':'),
    }
    .ok_or_else(|| strange(text))?;
    let (port, weight) = match rest.split_once(sign) {
        Some((port, weight)) => (port, Some(weight)),
        None => (rest, None),
    };
    if host.contains(':') != text.starts_with('[') {
        return Err(strange(text));
    }
    node("", host, port, weight)
}

/// What PHP would take for its sessions.
fn save_path<'a>(text: &'a str, handler: &str) -> Result<&'a str, String> {
    let mut found = None;
    let mut handlers = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(';')) {
        match line.split_once(" = ").ok_or_else(|| strange(line))? {
            ("session.save_handler", value) => handlers.push(value),
            ("session.save_path", value) => {
                let value = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'));
                found = Some(value.ok_or_else(|| strange(line))?);
            }
            _ => return Err(strange(line)),
        }
    }
    if handlers != [handler] {
        return Err(strange("the handler"));
    }
    found.ok_or_else(|| strange("the path"))
}

fn node(name: &str, host: &str, port: &str, weight: Option<&str>) -> Result<Node, String> {
    let address = || host.parse::<IpAddr>().map_err(|_| strange(host));
    Ok(Node {
        name: name.into(),
        host: if host.starts_with('/') {
            host.to_owned()
        } else {
            address()?.to_string()
        },
        port: port.parse().map_err(|_| strange(port))?,
        weight: match weight {
            Some(weight) => Some(weight.parse().map_err(|_| strange(weight))?),
            None => None,
        },
    })
}

fn strange(what: &str) -> String {
    format!("cannot read {what:?}")
}

fn read_ini(text: &str) -> Result<Vec<Node>, String> {
    let mut sections: Vec<(String, BTreeMap<&str, &str>)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(';')) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.strip_suffix(']').ok_or_else(|| strange(line))?;
            sections.push((section.into(), BTreeMap::new()));
        } else {
            let (key, value) = line.split_once('=').ok_or_else(|| strange(line))?;
            let (_, keys) = sections.last_mut().ok_or_else(|| strange(line))?;
            if keys
                .insert(key.trim(), value.trim().trim_matches('"'))
                .is_some()
            {
                return Err(strange(line));
            }
        }
    }
    sections
        .iter()
        .map(|(name, keys)| {
            let weight = keys.get("weight").copied();
            match (keys.get("host"), keys.get("port"), keys.len()) {
                (Some(host), Some(port), known) if known == 2 + usize::from(weight.is_some()) => {
                    node(name, host, port, weight)
                }
                _ => Err(strange(name)),
            }
        })
        .collect()
}

/// The tokens of the PHP that a list consists of.
#[derive(Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    Sign(&'a str),
}

fn read_php(text: &str) -> Result<Vec<Node>, String> {
    use Token::{Sign, Text, Word};

    let mut rest = text
        .strip_prefix("<?php\n")
        .ok_or_else(|| strange("the start"))?;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, length) = if first.is_ascii_whitespace() {
            (None, 1)
        } else if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if let Some(inside) = rest.strip_prefix('\'') {
            let end = inside.find('\'').ok_or_else(|| strange(rest))?;
            let string = inside.get(..end).unwrap_or_default();
            // A backslash would be an escape; no list of ours has one.
            if string.contains('\\') {
                return Err(strange(string));
            }
            (Some(Text(string)), end + 2)
        } else if let Some(sign) = ["=>", "(", ")", ",", ";"]
            .into_iter()
            .find(|sign| rest.starts_with(*sign))
        {
            (Some(Sign(sign)), sign.len())
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric())
                .unwrap_or(rest.len());
            let word = rest.get(..end).filter(|word| !word.is_empty());
            (Some(Word(word.ok_or_else(|| strange(rest))?)), end)
        };
        tokens.extend(token);
        rest = rest.get(length..).unwrap_or_default();
    }

    let mut tokens = tokens.as_slice();
    let [
        Word("return"),
        Word("array"),
        Sign("("),
        inner @ ..,
        Sign(")"),
        Sign(";"),
    ] = tokens
    else {
        return Err(strange("the array"));
    };
    tokens = inner;
    let mut nodes = Vec::new();
    while !tokens.is_empty() {
        let [
            Word("array"),
            Sign("("),
            Text("name"),
            Sign("=>"),
            Text(name),
            Sign(","),
            Text("host"),
            Sign("=>"),
            Text(host),
            Sign(","),
            Text("port"),
            Sign("=>"),
            Word(port),
            after @ ..,
        ] = tokens
        else {
            return Err(format!("no node after {} of them", nodes.len()));
        };
        let (weight, after) = match after {
            [
                Sign(","),
                Text("weight"),
                Sign("=>"),
                Word(weight),
                after @ ..,
            ] => (Some(*weight), after),
            after => (None, after),
        };
        let [Sign(")"), Sign(","), after @ ..] = after else {
            return Err(format!("no end of the node {name}"));
        };
        nodes.push(node(name, host, port, weight)?);
        tokens = after;
    }
    Ok(nodes)
}
