//! Node list files in the four formats, and readers of them that share no code with the writers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::fleet::names::Port;
use crate::fleet::{ListFormat, Name};

/// A list file.
pub(super) struct Rendered {
    /// Its text.
    pub(super) text: String,
    /// The line of each node, from 1, in the order of the nodes.
    pub(super) lines: Vec<u32>,
}

/// One node, as a reader of the file finds it. Text has no names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    #[serde(default)]
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The list in its format: one node a line (a section in INI), in the order given.
pub(super) fn render(format: ListFormat, port: Port, nodes: &[(Name, IpAddr)]) -> Rendered {
    let mut text = match format {
        ListFormat::Json => "[\n".to_owned(),
        // `array()`, not `[]`: PHP 5.3 still runs in the field.
        ListFormat::Php => {
            "<?php\n// Written by node-agent; edit the fleet document instead.\nreturn array(\n"
                .into()
        }
        ListFormat::Ini => "; Written by node-agent; edit the fleet document instead.\n".into(),
        // No comment: nobody can know whether the reader knows comments.
        ListFormat::Text => String::new(),
    };
    let mut lines = Vec::with_capacity(nodes.len());
    let mut next = u32::try_from(text.lines().count()).unwrap_or(u32::MAX) + 1;
    for (index, (name, host)) in nodes.iter().enumerate() {
        lines.push(next);
        let _ = match format {
            ListFormat::Json => {
                let comma = if index + 1 < nodes.len() { "," } else { "" };
                writeln!(
                    text,
                    "  {{\"name\": \"{name}\", \"host\": \"{host}\", \"port\": {port}}}{comma}"
                )
            }
            ListFormat::Php => writeln!(
                text,
                "    array('name' => '{name}', 'host' => '{host}', 'port' => {port}),"
            ),
            ListFormat::Ini => writeln!(text, "[{name}]\nhost = \"{host}\"\nport = {port}"),
            ListFormat::Text => match host {
                IpAddr::V4(host) => writeln!(text, "{host}:{port}"),
                IpAddr::V6(host) => writeln!(text, "[{host}]:{port}"),
            },
        };
        next += if format == ListFormat::Ini { 3 } else { 1 };
    }
    text.push_str(match format {
        ListFormat::Json => "]\n",
        ListFormat::Php => ");\n",
        ListFormat::Ini | ListFormat::Text => "",
    });
    Rendered { text, lines }
}

/// Whether `text` reads back as exactly these nodes, in this order. The error says what was found instead.
pub(super) fn check(
    format: ListFormat,
    text: &str,
    port: Port,
    nodes: &[(Name, IpAddr)],
) -> Result<(), String> {
    let found = read(format, text)?;
    let wished: Vec<Node> = nodes
        .iter()
        .map(|(name, host)| Node {
            name: if format == ListFormat::Text {
                String::new()
            } else {
                name.to_string()
            },
            host: host.to_string(),
            port: port.get(),
        })
        .collect();
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
        ListFormat::Text => text
            .lines()
            .map(|line| {
                let (host, port) = line.rsplit_once(':').ok_or_else(|| strange(line))?;
                let host = match host.strip_prefix('[') {
                    Some(host) => host.strip_suffix(']').ok_or_else(|| strange(line))?,
                    None if host.contains(':') => return Err(strange(line)),
                    None => host,
                };
                node("", host, port)
            })
            .collect(),
    }
}

fn node(name: &str, host: &str, port: &str) -> Result<Node, String> {
    Ok(Node {
        name: name.into(),
        host: host
            .parse::<IpAddr>()
            .map_err(|_| strange(host))?
            .to_string(),
        port: port.parse().map_err(|_| strange(port))?,
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
        .map(
            |(name, keys)| match (keys.get("host"), keys.get("port"), keys.len()) {
                (Some(host), Some(port), 2) => node(name, host, port),
                _ => Err(strange(name)),
            },
        )
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
            Sign(")"),
            Sign(","),
            after @ ..,
        ] = tokens
        else {
            return Err(format!("no node after {} of them", nodes.len()));
        };
        nodes.push(node(name, host, port)?);
        tokens = after;
    }
    Ok(nodes)
}
