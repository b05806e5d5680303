//! What is wrong with settings, all of it at once, each with the line it stands in.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// One mistake in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, what was expected, and the nearest right name for a misspelt one.
    pub message: String,
}

/// Where a mistake stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1, and its text.
    Line(usize, String),
    /// An option of the command line: `--fleet`.
    Option(&'static str),
    /// Nowhere: something is missing.
    Absent,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration {path}; correct --config, or write the file (packaging/agentd.toml is a commented sample)"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The root cannot be used.
    #[error("cannot use --root {dir}; it must be an existing directory")]
    Root {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings say what cannot be.
    #[error("{}", list(path, mistakes))]
    Mistakes {
        /// The file, whether or not it exists.
        path: PathBuf,
        /// All of them: those of the file in its order, then the others.
        mistakes: Vec<Mistake>,
    },
}

fn list(path: &std::path::Path, mistakes: &[Mistake]) -> String {
    let mut text = match mistakes.len() {
        1 => format!("{}: one mistake", path.display()),
        many => format!("{}: {many} mistakes", path.display()),
    };
    for mistake in mistakes {
        text.push_str("\n  ");
        text.push_str(&mistake.to_string());
    }
    text
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(line, text) => write!(out, "line {line}: {text}\n    {}", self.message),
            Place::Option(option) => write!(out, "{option}: {}", self.message),
            Place::Absent => self.message.fmt(out),
        }
    }
}

/// Mistakes as they are found in one file.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    source: &'a str,
    found: Vec<(usize, Mistake)>,
}

impl<'a> Mistakes<'a> {
    pub(super) const fn of(source: &'a str) -> Self {
        Self {
            source,
            found: Vec::new(),
        }
    }

    /// A mistake at these bytes of the file.
    pub(super) fn at(&mut self, span: Option<Range<usize>>, message: impl Into<String>) {
        let message = message.into();
        let (offset, place) = match span {
            Some(span) => (span.start, self.line(span.start)),
            None => (usize::MAX, Place::Absent),
        };
        self.found.push((offset, Mistake { place, message }));
    }

    /// A mistake that stands in no line.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        let message = message.into();
        self.found.push((usize::MAX, Mistake { place, message }));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in the order of the file.
    pub(super) fn into_list(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|(offset, _)| *offset);
        self.found.into_iter().map(|(_, mistake)| mistake).collect()
    }

    fn line(&self, offset: usize) -> Place {
        let before = self.source.as_bytes().get(..offset).unwrap_or_default();
        let index = before
            .split(|byte| *byte == b'\n')
            .count()
            .saturating_sub(1);
        let text = self.source.lines().nth(index).unwrap_or_default();
        Place::Line(index + 1, text.trim().chars().take(120).collect())
    }
}
