//! What stands after the options in a help text, as sections of a page.

use clap_mangen::roff::{Roff, bold, roman};

/// The sections of a help text. Its paragraphs are parted by empty lines; one that begins `Title:` is a section.
pub(super) fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let (title, rest) = split(paragraph);
        let (heading, of) = heading(title);
        roff.control("SH", [heading.as_str()]);
        if let Some(of) = of {
            roff.text([roman(format!("{of}:"))]);
        }
        match rest.strip_prefix('\n') {
            Some(lines) if heading != "EXAMPLES" && is_table(lines) => table(&mut roff, lines),
            Some(lines) => literal(&mut roff, lines),
            None => {
                roff.text([roman(rest.replace('\n', " ").trim())]);
            }
        }
    }
    roff
}

/// The title of a paragraph, empty where it has none, and what follows the colon.
fn split(paragraph: &str) -> (&str, &str) {
    let first = paragraph.lines().next().unwrap_or_default();
    match paragraph.split_once(':') {
        // `note: a longer sentence` is text; a title has a capital and stands in the first line.
        Some((title, rest))
            if title.len() < first.len()
                && title.starts_with(|c: char| c.is_ascii_uppercase())
                && (rest.starts_with('\n') || title.split(' ').count() < 3) =>
        {
            (title, rest)
        }
        _ => ("", paragraph),
    }
}

/// As manual pages call it, and what it holds for, if not for all.
fn heading(title: &str) -> (String, Option<String>) {
    if title.is_empty() {
        return ("NOTES".into(), None);
    }
    for codes in ["Exit codes", "Exit code"] {
        if let Some(of) = title.strip_prefix(codes) {
            let of = of.trim().strip_prefix("of ").map(|of| format!("Of {of}"));
            return ("EXIT STATUS".into(), of);
        }
    }
    match title {
        "Example" => ("EXAMPLES".into(), None),
        _ => (title.to_uppercase(), None),
    }
}

/// Lines of a word or two, at least two spaces, and what they mean.
fn is_table(lines: &str) -> bool {
    lines
        .lines()
        .next()
        .is_some_and(|line| line.trim_start().contains("  "))
}

fn table(roff: &mut Roff, lines: &str) {
    for line in lines.lines().map(str::trim) {
        match line.split_once("  ") {
            Some((term, what)) => {
                roff.control("TP", []);
                roff.text([bold(term)]);
                roff.text([roman(what.trim())]);
            }
            // Goes on from the line above.
            None => {
                roff.text([roman(line)]);
            }
        }
    }
}

fn literal(roff: &mut Roff, lines: &str) {
    roff.control("PP", []);
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.trim_start())]);
    }
    roff.control("fi", []);
}
