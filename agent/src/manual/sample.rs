//! agentd.toml(5): the comments of the sample configuration, which packages install.

use clap_mangen::roff::{Roff, bold, roman};

use super::commands::see_also;
use super::{Page, tidied, title};

/// The sample. The tests of the settings see to it that all of it is true.
pub(super) const SAMPLE: &str = include_str!("../../../packaging/agentd.toml");

/// The page.
pub(super) fn page(date: &str) -> Page {
    let mut roff = title("agentd.toml", "5", date);
    let mut entry = Entry::default();
    let mut top = true;
    for line in SAMPLE.lines() {
        if let Some(setting) = setting(line) {
            entry.settings.push(setting);
            continue;
        }
        // Settings that follow each other share the comment before the first.
        if !entry.settings.is_empty() {
            entry.print(&mut roff);
        }
        if let Some(section) = line.strip_prefix('[') {
            roff.control("SH", [format!("SECTION [{section}").as_str()]);
        } else if let Some(comment) = line.strip_prefix('#') {
            entry.said.push(comment.trim_end());
        } else if top {
            header(&mut roff, &entry.said);
            entry = Entry::default();
            top = false;
        } else {
            entry.print(&mut roff);
        }
    }
    entry.print(&mut roff);
    see_also(&mut roff, ["agentd(8)", "agentctl(1)"].map(str::to_owned));
    Page {
        name: "agentd.toml.5".into(),
        text: tidied(&roff.render()),
    }
}

/// Comment lines, and the settings below them.
#[derive(Debug, Default)]
struct Entry {
    said: Vec<&'static str>,
    settings: Vec<&'static str>,
}

impl Entry {
    /// Prints it, and begins a new one.
    fn print(&mut self, roff: &mut Roff) {
        for (index, setting) in self.settings.drain(..).enumerate() {
            let key = setting.split(' ').next().unwrap_or_default();
            let value = setting.strip_prefix(key).unwrap_or_default();
            roff.control(if index == 0 { "TP" } else { "TQ" }, []);
            roff.text([bold(key), roman(value)]);
        }
        let lines = self.said.drain(..).filter(|line| !line.trim().is_empty());
        let lines: Vec<&str> = lines.collect();
        for part in lines.chunk_by(|before, after| !is_quoted(before) && !is_quoted(after)) {
            // What is quoted stands in lines of its own.
            if part.iter().any(|line| is_quoted(line)) {
                roff.control("br", []);
            }
            let trimmed: Vec<&str> = part.iter().map(|line| line.trim()).collect();
            roff.text([roman(trimmed.join(" "))]);
            if part.iter().any(|line| is_quoted(line)) {
                roff.control("br", []);
            }
        }
    }
}

/// Whether a comment's line shows what to write.
fn is_quoted(line: &str) -> bool {
    line.starts_with("    ")
}

/// `key = value`, whether it is in force or shown in a comment.
fn setting(line: &'static str) -> Option<&'static str> {
    let shown = line.strip_prefix("# ").unwrap_or(line);
    let (key, _) = shown.split_once(" = ")?;
    let is_key = key
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_key.then_some(shown)
}

/// What stands before the first empty line: `/path: what the file is for`, and what holds for all of it.
fn header(roff: &mut Roff, said: &[&str]) {
    let (first, rest) = said.split_first().unwrap_or((&"", &[]));
    let first = first.trim();
    let (path, what) = first.split_once(": ").unwrap_or((first, ""));
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!(
        "agentd.toml - {}",
        what.trim_end_matches('.')
    ))]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman(path)]);
    roff.control("SH", ["DESCRIPTION"]);
    let rest: Vec<&str> = rest.iter().map(|line| line.trim()).collect();
    for part in rest
        .split(|line| line.is_empty())
        .filter(|part| !part.is_empty())
    {
        roff.text([roman(part.join(" "))]);
    }
    roff.control("SH", ["SETTINGS"]);
}
