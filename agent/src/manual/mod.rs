//! The manual pages, made from what they describe: the command lines' own definitions, and the sample `agentd.toml`.
//! Nothing in them is written twice, so that they cannot differ from the programs.

mod commands;
mod help;
mod sample;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap_mangen::roff::Roff;

/// What stands at the foot of each page.
const SOURCE: &str = concat!("node-agent ", env!("CARGO_PKG_VERSION"));

/// What each part begins with: how apostrophes are printed.
const PREAMBLE: [&str; 2] = [r".ie \n(.g .ds Aq \(aq", ".el .ds Aq '"];

/// A manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file's name: `agentctl-status.1`.
    pub name: String,
    /// The page, as `man` and `mandoc` read it.
    pub text: String,
}

/// Prints the manual pages of agentd and agentctl.
#[derive(Debug, Parser)]
#[command(name = "manual", version)]
struct Args {
    /// The page to print, by the name of its file [default: list the names]
    #[arg(value_name = "PAGE")]
    page: Option<String>,
    /// The date at the foot of the page: that of the source, so that the same source makes the same page
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "")]
    date: String,
}

/// `manual`: prints the names of all pages, or one page.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match print(args.page.as_deref(), &args.date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(io::stderr(), "manual: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(wanted: Option<&str>, date: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let pages = pages(date)?;
    let Some(wanted) = wanted else {
        for page in pages {
            writeln!(out, "{}", page.name)?;
        }
        return out.flush();
    };
    let page = pages.iter().find(|page| page.name == wanted);
    let page = page.ok_or_else(|| io::Error::other(format!("there is no page {wanted}")))?;
    out.write_all(page.text.as_bytes())?;
    out.flush()
}

/// All pages of this date (`YYYY-MM-DD`), sorted by name.
pub fn pages(date: &str) -> io::Result<Vec<Page>> {
    let mut pages = commands::pages(date)?;
    pages.push(sample::page(date));
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pages)
}

/// The beginning of a page.
fn title(name: &str, section: &str, date: &str) -> Roff {
    let mut roff = Roff::new();
    let name = name.to_uppercase();
    // An empty word would be left out, and the next one taken for it.
    let date = if date.is_empty() { " " } else { date };
    roff.control("TH", [name.as_str(), section, date, SOURCE, "node-agent"]);
    roff
}

/// A page whose parts were made by themselves, as one: mandoc finds nothing to complain about.
fn tidied(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        let previous = kept.last().copied().unwrap_or_default();
        let again = PREAMBLE.contains(&line) && kept.contains(&line);
        let spaced = previous.starts_with(".SH ") && line == ".PP";
        if !again && !spaced && !line.is_empty() {
            kept.push(line);
        }
    }
    let text = kept.join("\n") + "\n";
    text.replace("\n.br\n.br\n", "\n.sp\n")
}
