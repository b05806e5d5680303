//! Where `agentctl` prints: data to standard output, messages to standard error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::args::{Color, Format, Global};
use super::failure::Failure;
use super::warnings::AsMessage;
use crate::report::text::{Paint, shown};

/// The two streams, and how they want their text.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    /// What is printed to standard output.
    pub format: Format,
    /// How text to standard output is coloured.
    pub paint: Paint,
    errors: Paint,
}

impl Console {
    /// As the flags and the environment say.
    pub fn new(global: &Global) -> Self {
        let paint = |terminal: bool| match global.color {
            Color::Always => Paint::COLOR,
            Color::Never => Paint::PLAIN,
            Color::Auto => Paint {
                on: terminal && environment_allows_color(),
            },
        };
        Self {
            format: global.output,
            paint: paint(io::stdout().is_terminal()),
            errors: paint(io::stderr().is_terminal()),
        }
    }

    /// Prints data in the format that was asked for.
    pub fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(Paint) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Text => self.print_text(&text(self.paint)),
            Format::Json => {
                let mut json = serde_json::to_string_pretty(value)
                    .map_err(|error| Failure::because("cannot write JSON", error))?;
                json.push('\n');
                self.print_text(&json)
            }
        }
    }

    /// Prints data as it is.
    #[expect(
        clippy::unused_self,
        reason = "printing goes through the console, so that one place knows the streams"
    )]
    pub fn print_text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            // `agentctl history | head`: whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => {
                done.map_err(|error| Failure::because("cannot write to standard output", error))
            }
        }
    }

    /// A message beside the data.
    pub fn note(self, message: &str) {
        let mut text = self.errors.yellow("note:");
        for (index, line) in message.trim_end().lines().enumerate() {
            text.push_str(if index == 0 { " " } else { "\n  " });
            text.push_str(&shown(line));
        }
        text.push('\n');
        say(&text);
    }

    /// What is being done, while it takes long.
    pub fn progress(self, doing: &str) {
        say(&format!("{}\n", self.errors.dim(&shown(doing))));
    }

    /// How far something is, on one line of a terminal that is written again and again; nothing where there is no terminal.
    pub fn meter(self, text: &str) {
        if io::stderr().is_terminal() {
            say(&format!("\r\x1b[K{}", self.errors.dim(&shown(text))));
        }
    }

    /// Ends a meter's line.
    #[expect(
        clippy::unused_self,
        reason = "printing goes through the console, so that one place knows the streams"
    )]
    pub fn meter_ends(self) {
        if io::stderr().is_terminal() {
            say("\r\x1b[K");
        }
    }

    /// The one place that says why a command could not be done.
    pub fn fail(self, failure: &Failure) {
        say(&failure.text(self.errors));
    }

    /// Warnings of the floors below (a damaged state file) are printed to standard error.
    pub fn say_warnings(self) {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(io::stderr)
            .with_max_level(tracing::Level::WARN)
            .event_format(AsMessage(self.errors))
            .finish();
        // Fails only where one is set already: then warnings have their place.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

fn say(text: &str) {
    // Nobody is left to tell where standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn environment_allows_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
