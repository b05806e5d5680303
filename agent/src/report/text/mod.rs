//! The report as people read it: on a terminal, in a mail, at 3 a.m. Pure: text in, text out.
//!
//! Everything that comes from files, commands or the bucket passes through [`shown`]: a hostile
//! file must not drive the terminal of whoever looks at its diff.

mod database;
mod fleet;
mod plan;
mod run;
mod status;
mod step;
mod words;

#[cfg(test)]
mod tests;

pub use database::{database, database_line};
pub use fleet::{fleet, source};
pub use plan::{PlanFor, Row, plan, table};
pub use run::{history, key_names, run, run_line, signed_by, summary};
pub use status::{Heard, status};
pub use step::{Detail, Tense, diff, problem, step, step_line};
pub use words::{age, ago, count, headline, moment, one_line, shown, size, took};

/// Whether text is coloured (ANSI escape sequences), and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// Escape sequences are written.
    pub on: bool,
}

impl Paint {
    /// No escape sequences.
    pub const PLAIN: Self = Self { on: false };
    /// Escape sequences.
    pub const COLOR: Self = Self { on: true };

    /// What is added, or good.
    pub fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What is removed.
    pub fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// What is wrong.
    pub fn alarm(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What should be known.
    pub fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    /// A hunk's header.
    pub fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What may be skipped.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }
}

/// Appends `text` with each line after the first indented by `indent` spaces. Control characters are shown escaped.
fn push_indented(out: &mut String, text: &str, indent: usize) {
    for (index, line) in text.trim_end().lines().enumerate() {
        if index > 0 {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(&shown(line));
    }
    out.push('\n');
}
