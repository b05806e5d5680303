use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap_mangen::roff::Roff;

use super::*;
use crate::settings::{Overrides, Settings};
use crate::system::command::CommandLine;

fn all() -> Vec<Page> {
    pages("2026-01-31").unwrap()
}

fn text(name: &str) -> String {
    let page = all().into_iter().find(|page| page.name == name);
    page.unwrap_or_else(|| panic!("no page {name}")).text
}

#[expect(
    clippy::disallowed_methods,
    reason = "a scratch file needs no durability"
)]
fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn each_command_has_its_page_and_is_named_by_agentctl() {
    let names: BTreeSet<_> = all().into_iter().map(|page| page.name).collect();
    let agentctl = text("agentctl.1");
    for command in crate::ctl::Args::command().get_subcommands() {
        let page = format!("agentctl-{}", command.get_name());
        let shown = !command.is_hide_set();
        assert_eq!(names.contains(&format!("{page}.1")), shown, "{page}");
        if shown {
            let escaped = page.replace('-', r"\-");
            assert!(agentctl.contains(&format!("{escaped}(1)")), "{page}");
        }
    }
    for page in ["agentctl.1", "agentd.8", "agentd.toml.5"] {
        assert!(names.contains(page), "{page}");
    }
}

/// The code's own list of settings, `section.key`: it names those that it knows where it meets one that it does not.
fn known() -> BTreeSet<String> {
    let root = tempfile::tempdir().unwrap();
    let known_in = |section: &str| {
        let header = match section {
            "" => String::new(),
            _ => format!("[{section}]\n"),
        };
        put(
            &root.path().join("etc/agentd/agentd.toml"),
            &format!("{header}qqqqqqqq = 1\n"),
        );
        let overrides = Overrides {
            root: Some(root.path().into()),
            fleet: Some("file:///srv".into()),
            trust_none: true,
            ..Overrides::default()
        };
        let said = Settings::load(&overrides).unwrap_err().to_string();
        let (_, list) = said.split_once("there is no setting qqqqqqqq")?;
        let (_, list) = list.split_once("known are ")?;
        let list = list.lines().next().unwrap();
        Some(list.split(", ").map(str::to_owned).collect::<Vec<_>>())
    };
    let mut all = BTreeSet::new();
    let mut sections = vec![String::new()];
    while let Some(section) = sections.pop() {
        let Some(keys) = known_in(&section) else {
            // No section: a setting, or a section whose keys are anybody's.
            all.insert(if section.contains('.') {
                section
            } else {
                format!(".{section}")
            });
            continue;
        };
        sections.extend(keys.into_iter().map(|key| match section.as_str() {
            "" => key,
            above => format!("{above}.{key}"),
        }));
    }
    all
}

#[test]
fn each_setting_is_explained() {
    let page = text("agentd.toml.5");
    let mut section = "";
    let mut explained = BTreeSet::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix(".SH ") {
            section = heading
                .split_once('[')
                .map_or("", |(_, name)| name.trim_end_matches("]\""));
        }
        if line == ".TP" || line == ".TQ" {
            let term = lines.next().unwrap();
            let key = term.strip_prefix(r"\fB").unwrap().split(r"\fR").next();
            let said = lines.peek().unwrap();
            assert!(
                !said.starts_with('.') || *said == ".TQ",
                "{term}: no comment stands before it"
            );
            explained.insert(match section {
                // Names of services.
                "platform.units" => section.to_owned(),
                _ => format!("{section}.{}", key.unwrap()),
            });
        }
    }
    let known = known().into_iter();
    // Its section cannot stand in the sample beside its word.
    let known: BTreeSet<String> = known
        .map(|key| {
            if key.starts_with("trust.") {
                ".trust".into()
            } else {
                key
            }
        })
        .collect();
    assert!(
        known.contains(".fleet") && known.contains("s3.endpoint"),
        "{known:?}"
    );
    assert_eq!(known, explained);
}

#[tokio::test]
async fn mandoc_reads_them_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    for page in all() {
        let path = directory.path().join(&page.name);
        put(&path, &page.text);
        // Below a warning are matters of taste: long lines.
        let lint = [
            "/usr/bin/mandoc",
            "-Tlint",
            "-Wwarning",
            path.to_str().unwrap(),
        ];
        let lint = CommandLine::new(lint, Duration::from_secs(10));
        let said = crate::system::command::run(&lint).await;
        let said = said.expect("tests/setup installs mandoc");
        assert!(said.success && said.said().is_empty(), "{}", said.said());
    }
}

#[test]
fn the_end_of_a_help_text_becomes_sections() {
    let help = "Settings win.\nReally.\n\n\
        Woken at night? In this order:\n  agentctl status    is it well,\n                     or why not\n\n\
        Exit codes of --once:\n  0   nothing to do\n  64  wrong usage\n\n\
        Exit code: 0 well;\n1 not.\n\n\
        Examples:\n  agentctl plan\n  .hidden 'quoted'    # a comment";
    insta::assert_snapshot!(help::sections(help).to_roff());
}

#[test]
fn parts_are_put_together_without_what_each_repeats() {
    let part = |heading: &str| {
        let mut roff = Roff::new();
        roff.control("SH", [heading]);
        roff.control("PP", []);
        roff.text([clap_mangen::roff::roman("the box's words ")]);
        roff.render()
    };
    let page = tidied(&(part("ONE") + &part("TWO")));
    assert_eq!(
        page,
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.SH ONE\nthe box\\*(Aqs words\n.SH TWO\nthe box\\*(Aqs words\n"
    );
}
