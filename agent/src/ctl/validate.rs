//! `agentctl validate`: the agent's own check of a document, with the lines that are wrong.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::console::Console;
use super::failure::Failure;
use crate::fleet::advice::{advice, unserved};
use crate::fleet::{Document, Fleet, Mistake};
use crate::report::DocumentId;
use crate::report::text::{Paint, ago, count, shown};
use crate::system::clock;

/// Mistakes that are shown with their line; the others in a line each.
const QUOTED: usize = 5;
/// Characters of a line that are shown around a mistake: a document may be a single line.
const QUOTE_WIDTH: usize = 100;
/// No document is larger than this, in bytes.
const LIMIT: u64 = 256 * 1024 * 1024;

#[derive(Serialize)]
struct ValidationOutput<'a> {
    format: u32,
    file: &'a str,
    valid: bool,
    document: Option<&'a DocumentId>,
    mistakes: &'a [Mistake],
    /// Why no box that stands on the document of --against would take this one.
    refusals: &'a [String],
    warnings: Vec<String>,
}

/// Checks a document and lists its mistakes; with `against`, also whether boxes that stand on that one take it.
pub fn validate(file: &Path, against: Option<&Path>, console: Console) -> Result<u8, Failure> {
    let before = against.map(|file| document(file, console)).transpose()?;
    let before = before.as_ref().zip(against);
    checked(
        file,
        before.map(|(before, file)| (before, file.display().to_string())),
        console,
    )
}

/// The same, against a document that was read and what it is called.
pub fn checked(
    file: &Path,
    before: Option<(&Document, String)>,
    console: Console,
) -> Result<u8, Failure> {
    let (name, bytes) = read(file)?;
    let result = Document::read(&bytes);
    let (document, mistakes) = match &result {
        Ok(document) => (Some(document), &[][..]),
        Err(mistakes) => (None, mistakes.as_slice()),
    };
    let refusals = match (document, before) {
        (Some(document), Some((before, name))) => refusals(document, before, &name),
        _ => Vec::new(),
    };
    let output = ValidationOutput {
        format: 1,
        file: &name,
        valid: document.is_some() && refusals.is_empty(),
        document: document.map(|document| &document.id),
        mistakes,
        refusals: &refusals,
        warnings: document
            .map_or_else(Vec::new, |document| warnings(&document.fleet, clock::now())),
    };
    console.print(&output, |paint| match document {
        Some(document) => good(&document.fleet, &refusals, &output.warnings, &name, paint),
        None => bad(mistakes, &name, &bytes, paint),
    })?;
    Ok(u8::from(!output.valid))
}

/// Why a box that stands on `before` would not take `document`, be it ever so good. None where they are the same.
pub fn refusals(document: &Document, before: &Document, file: &str) -> Vec<String> {
    let (new, old) = (&document.id, &before.id);
    if new.fleet != old.fleet {
        return vec![format!(
            "it is of the fleet `{}`, and {file} of `{}`: publish it where that fleet's machines look, or correct `fleet`",
            new.fleet, old.fleet
        )];
    }
    if new.digest != old.digest && new.version <= old.version {
        return vec![format!(
            "its version, {}, is not above that of {file}, {}: every box would refuse it; write \"version\": {}",
            new.version,
            old.version,
            old.version.saturating_add(1)
        )];
    }
    Vec::new()
}

/// A document that must be good: for planning.
pub fn document(file: &Path, console: Console) -> Result<Document, Failure> {
    let (name, bytes) = read(file)?;
    Document::read(&bytes)
        .map_err(|mistakes| not_good(&mistakes, &name, &bytes))
        .inspect(|document| {
            for warning in pressing(&document.fleet, clock::now()) {
                console.note(&format!("{name}: {warning}"));
            }
        })
}

/// The mistakes of a document, as a failure.
pub fn not_good(mistakes: &[Mistake], name: &str, bytes: &[u8]) -> Failure {
    let listed = bad(mistakes, name, bytes, Paint::PLAIN);
    Failure::new(format!(
        "{name} is not a good document\n{}",
        listed.trim_end()
    ))
}

/// A file, or standard input for `-`: what it is called, and its bytes.
pub fn read(file: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut bytes = Vec::new();
    let name = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let opened: std::io::Result<Box<dyn Read>> = if file == Path::new("-") {
        Ok(Box::new(std::io::stdin().lock()))
    } else {
        std::fs::File::open(file).map(|file| Box::new(file) as Box<dyn Read>)
    };
    opened
        .and_then(|source| source.take(LIMIT).read_to_end(&mut bytes))
        .map_err(|error| Failure::because(format!("cannot read {name}"), error))?;
    Ok((name, bytes))
}

fn good(
    fleet: &Fleet,
    refusals: &[String],
    warnings: &[String],
    name: &str,
    paint: Paint,
) -> String {
    let mut out = format!(
        "{} version {}: {}, {}, {}; {}\n",
        fleet.fleet,
        fleet.version,
        count(fleet.servers.len(), "server"),
        count(fleet.roles.len(), "role"),
        count(fleet.products.len(), "product"),
        if refusals.is_empty() {
            paint.green("ok")
        } else {
            paint.alarm("WOULD BE REFUSED")
        }
    );
    for refusal in refusals {
        let _ = writeln!(
            out,
            "{}: {} {refusal}",
            shown(name),
            paint.alarm("refused:")
        );
    }
    for warning in warnings {
        let _ = writeln!(
            out,
            "{}: {} {warning}",
            shown(name),
            paint.yellow("warning:")
        );
    }
    out
}

/// All that is worth a second look.
pub fn warnings(fleet: &Fleet, now: Timestamp) -> Vec<String> {
    let mut warnings = pressing(fleet, now);
    let advice = advice(fleet).into_iter();
    warnings.extend(advice.map(|advice| format!("{}: {}", advice.pointer, advice.message)));
    warnings
}

/// What must be known also where the document is only used: advice on how to write it is for who checks it.
pub fn pressing(fleet: &Fleet, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let (issued, expires) = (fleet.issued.0, fleet.expires.0);
    if expires <= now {
        warnings.push(format!(
            "it expired {}: a box with no state refuses it; publish it with a later `expires`",
            ago(expires, now)
        ));
    } else if expires.as_second() - now.as_second() < 3 * 24 * 60 * 60 {
        warnings.push(format!("it expires {}", ago(expires, now)));
    }
    if issued > now {
        warnings.push(format!("it says that it is issued {}", ago(issued, now)));
    }
    if fleet.confirm {
        warnings.push(
            "it says \"confirm\": true: this version may shrink any list past the guard".into(),
        );
    }
    let unserved = unserved(fleet).into_iter();
    warnings.extend(unserved.map(|each| format!("{}: {}", each.pointer, each.message)));
    warnings
}

/// Each mistake as `FILE:LINE:COLUMN: pointer: message`, the first ones with their line and a caret.
fn bad(mistakes: &[Mistake], name: &str, bytes: &[u8], paint: Paint) -> String {
    let mut out = String::new();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    for (index, mistake) in mistakes.iter().enumerate() {
        let place = mistake.position.map_or_else(
            || format!("{}:", shown(name)),
            |(line, column)| format!("{}:{line}:{column}:", shown(name)),
        );
        out.push_str(&paint.bold(&place));
        if !mistake.pointer.0.is_empty() {
            let _ = write!(out, " {}:", shown(&mistake.pointer.0));
        }
        for (number, line) in mistake.message.lines().enumerate() {
            out.push_str(if number == 0 { " " } else { "    " });
            out.push_str(&shown(line));
            out.push('\n');
        }
        if index >= QUOTED {
            continue;
        }
        let other = mistake.other.as_ref();
        for place in [mistake.position, other.and_then(|other| other.position)] {
            let line = place.and_then(|(line, column)| {
                let index = usize::try_from(line).ok()?.checked_sub(1)?;
                Some((line, column, *lines.get(index)?))
            });
            if let Some((number, column, line)) = line {
                quote(&mut out, number, column, line, paint);
            }
        }
    }
    let _ = writeln!(out, "{}: {}", shown(name), count(mistakes.len(), "mistake"));
    out
}

/// A line of the document with a caret under the column (from 1, in bytes).
fn quote(out: &mut String, number: u32, column: u32, line: &[u8], paint: Paint) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end();
    let byte = usize::try_from(column)
        .unwrap_or(usize::MAX)
        .saturating_sub(1);
    let at = text
        .char_indices()
        .take_while(|(index, _)| *index < byte)
        .count();
    let from = at.saturating_sub(QUOTE_WIDTH / 2);
    let quoted: String = text.chars().skip(from).take(QUOTE_WIDTH).collect();
    let before: String = text.chars().skip(from).take(at - from).collect();
    // Tabs would put the caret elsewhere.
    let (quoted, before) = (quoted.replace('\t', " "), before.replace('\t', " "));
    let (quoted, before) = (shown(&quoted), shown(&before));
    let (left, right) = (
        if from > 0 { "…" } else { "" },
        if text.chars().count() > from + QUOTE_WIDTH {
            "…"
        } else {
            ""
        },
    );
    let pad = " ".repeat(before.chars().count() + left.chars().count());
    let _ = writeln!(
        out,
        "{} {left}{quoted}{right}",
        paint.dim(&format!("{number:>6} |"))
    );
    let _ = writeln!(out, "{} {pad}{}", paint.dim("       |"), paint.alarm("^"));
}

#[cfg(test)]
mod tests;
