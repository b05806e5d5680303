//! What is watched: for each number its names, its unit, where it is drawn, and what to do when it is out of range.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The parts of a box that can be checked by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The daemon itself.
    Agent,
    /// The bucket.
    Bucket,
    /// The document that the box stands on, and the newest one.
    Document,
    /// Runs and their steps: is the box as the document says?
    Run,
    /// Edits by others.
    Drift,
    /// Recorded cron jobs.
    Jobs,
    /// Databases of products.
    Database,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Agent,
        Self::Bucket,
        Self::Document,
        Self::Run,
        Self::Drift,
        Self::Jobs,
        Self::Database,
    ];

    /// Its name on command lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Bucket => "bucket",
            Self::Document => "document",
            Self::Run => "run",
            Self::Drift => "drift",
            Self::Jobs => "jobs",
            Self::Database => "database",
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl FromStr for Area {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|area| area.as_str() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no part `{text}`; the parts are {names}")
        })
    }
}

/// In what a number is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things.
    None,
}

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, from the start of the daemon on.
    Counter,
    /// A moment in the past: its age is what is looked at.
    Age,
    /// A moment to come: the time left is what is looked at.
    Left,
}

/// A picture that Munin draws.
#[derive(Debug, PartialEq, Eq)]
pub struct Graph {
    /// Its name among the graphs of the machine.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What stands at its vertical axis.
    pub axis: &'static str,
    /// What it shows, in a sentence.
    pub info: &'static str,
}

/// One number that is watched. All that is not the number itself.
#[derive(Debug)]
pub struct What {
    /// Whose.
    pub area: Area,
    /// Its name: Nagios' label, Munin's field, what `-w NAME=RANGE` says. Unique; at most 19 characters.
    pub name: &'static str,
    /// Its name in OpenMetrics, without the prefix `agentd_` and without what unit and kind append.
    pub metric: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// Of what.
    pub unit: Unit,
    /// Where Munin draws it.
    pub graph: &'static Graph,
    /// What Munin writes beside its line.
    pub label: &'static str,
    /// What it is, in a sentence without a full stop.
    pub help: &'static str,
    /// What is wrong when it is out of range: a few words.
    pub says: fn(&Alarmed<'_>) -> String,
    /// What to do then: a command, or a few words.
    pub todo: &'static str,
    /// Readings that explain this one: when one of them alarms, this one says nothing new.
    pub covered_by: &'static [&'static str],
}

/// A step's name is told in so many characters: what is wrong with it must fit the line too.
const LONGEST_NAME: usize = 45;

/// A number out of its range, for whoever puts it into words.
#[derive(Debug)]
pub struct Alarmed<'a> {
    /// The number.
    pub number: f64,
    /// Whose it is, where there are several: a product.
    pub of: Option<&'a str>,
    /// More about it, the first line first.
    pub details: &'a [String],
}

impl Alarmed<'_> {
    /// The number as an age: `3 min`.
    pub fn age(&self) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an age in seconds; too large a float becomes the largest number"
        )]
        let secs = self.number.abs() as i64;
        crate::report::text::age(secs)
    }

    /// The number and its noun: `2 steps`.
    pub fn count(&self, noun: &str) -> String {
        let plural = if (self.number - 1.0).abs() < f64::EPSILON {
            ""
        } else {
            "s"
        };
        format!("{} {noun}{plural}", self.number)
    }

    /// The first detail up to its first colon, not too long, or else these words.
    pub fn words(&self, otherwise: &str) -> String {
        let first = self.details.first().map(String::as_str);
        let words = first.and_then(|line| line.split(": ").next());
        let words = words.filter(|words| !words.is_empty());
        let mut text = words.unwrap_or(otherwise).to_owned();
        if let Some((cut, _)) = text.char_indices().nth(LONGEST_NAME) {
            text.truncate(cut);
            text.push_str("...");
        }
        text
    }

    /// The same, and how many more of its kind there are.
    pub fn first(&self, otherwise: &str) -> String {
        let more = self.number - 1.0;
        if more > 0.0 {
            format!("{} and {more} more", self.words(otherwise))
        } else {
            self.words(otherwise)
        }
    }
}
