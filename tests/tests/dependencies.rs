//! The crates of the tree are what `deny.toml` allows: licences, one provider of cryptography, no crate twice without a
//! reason, one source. What `cargo deny` checks without a network, by the same file.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A crate of the tree.
struct Crate {
    name: String,
    version: String,
    licence: String,
    /// Where it comes from, if not from the registry.
    source: Option<String>,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What `deny.toml` says.
fn rules() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    text.parse().unwrap()
}

fn strings<'t>(rules: &'t toml::Table, section: &str, list: &str, field: &str) -> Vec<&'t str> {
    let list = rules[section][list].as_array().unwrap();
    let text = |entry: &'t toml::Value| {
        entry
            .as_str()
            .unwrap_or_else(|| entry[field].as_str().unwrap())
    };
    list.iter().map(text).collect()
}

/// All crates that some program or test of this workspace is made of.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo reads what is on the disk, and asks no network"
)]
fn crates() -> Vec<Crate> {
    // Not `cargo metadata`: that lists what optional features would bring, too.
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal,build,dev",
            "--locked",
            "--offline",
        ])
        .args([
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "none",
            "--no-dedupe",
        ])
        .args(["--format", "{p}|{l}"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    lines.iter().map(|line| one(line)).collect()
}

/// `serde_derive v1.0.0 (proc-macro)|MIT OR Apache-2.0`; what is not of the registry says in brackets where it is from.
fn one(line: &str) -> Crate {
    let (package, licence) = line.split_once('|').unwrap();
    let mut words = package.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let version = words.next().unwrap().trim_start_matches('v').to_owned();
    let source = words
        .find(|word| *word != "(proc-macro)")
        .map(str::to_owned);
    Crate {
        name,
        version,
        licence: licence.to_owned(),
        source,
    }
}

/// Whether an expression is satisfied by these licences.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    // Older crates write `MIT/Apache-2.0`.
    let mode = spdx::ParseMode {
        allow_slash_as_or_operator: true,
        ..spdx::ParseMode::STRICT
    };
    let Ok(expression) = spdx::Expression::parse_mode(expression, mode) else {
        return false;
    };
    expression.evaluate(|needed| allowed.contains(&needed.to_string().as_str()))
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let rules = rules();
    let allowed = strings(&rules, "licenses", "allow", "");
    let all = crates();
    assert!(all.len() > 200, "{}", all.len());
    let wrong: Vec<String> = all
        .iter()
        .filter(|one| !is_allowed(&one.licence, &allowed))
        .map(|one| format!("{} {}: {:?}", one.name, one.version, one.licence))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let is_used = |licence: &&str| {
        let but: Vec<&str> = allowed
            .iter()
            .copied()
            .filter(|one| one != licence)
            .collect();
        all.iter()
            .any(|one| one.licence.contains(*licence) || !is_allowed(&one.licence, &but))
    };
    let unused: Vec<&&str> = allowed.iter().filter(|licence| !is_used(licence)).collect();
    assert!(unused.is_empty(), "nothing has these licences: {unused:?}");
}

#[test]
fn expressions_are_understood() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for (expression, is) in [
        ("MIT OR Apache-2.0", true),
        ("Apache-2.0/MIT", true),
        ("MIT AND Apache-2.0", false),
        ("ISC AND (Apache-2.0 OR MIT)", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-3.0-only", false),
        ("", false),
        ("whatever", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), is, "{expression}");
    }
}

#[test]
fn no_crate_comes_twice_without_a_reason_and_none_that_is_banned() {
    let rules = rules();
    let all = crates();
    let banned = strings(&rules, "bans", "deny", "crate");
    let there: Vec<&str> = (all.iter().map(|one| one.name.as_str()))
        .filter(|name| banned.contains(name))
        .collect();
    assert!(there.is_empty(), "banned: {there:?}");

    let skipped = strings(&rules, "bans", "skip", "crate");
    let is_skipped = |name: &str, version: &str| {
        (skipped.iter())
            .filter_map(|skip| skip.split_once('@'))
            .any(|(of, from)| {
                of == name && (version == from || version.starts_with(&format!("{from}.")))
            })
    };
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in &all {
        versions.entry(&one.name).or_default().insert(&one.version);
    }
    let twice: Vec<_> = versions
        .iter()
        .filter(|(name, versions)| {
            versions
                .iter()
                .filter(|version| !is_skipped(name, version))
                .count()
                > 1
        })
        .collect();
    assert!(twice.is_empty(), "several versions: {twice:?}");
    let stale: Vec<_> = skipped
        .iter()
        .filter(|skip| {
            let (name, _) = skip.split_once('@').unwrap();
            versions.get(name).is_none_or(|versions| versions.len() < 2)
        })
        .collect();
    assert!(stale.is_empty(), "not there twice any more: {stale:?}");
}

#[test]
fn one_provider_of_cryptography_and_one_source_of_crates() {
    let all = crates();
    let has = |name: &str| all.iter().any(|one| one.name == name);
    assert!(has("aws-lc-rs") && has("rustls"));
    let own = ["node-agent", "node-agent-model", "node-agent-tests"];
    let elsewhere: Vec<String> = all
        .iter()
        .filter(|one| one.source.is_some() && !own.contains(&one.name.as_str()))
        .map(|one| format!("{} {:?}", one.name, one.source))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}
