//! Warnings of the floors below (a damaged state file), as `agentctl` says them: `warning: what happened: which file: why`.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::report::text::{Paint, shown};

/// How a warning is written.
pub struct AsMessage(pub Paint);

impl<S, N> FormatEvent<S, N> for AsMessage
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = EventText::default();
        event.record(&mut text);
        writeln!(
            out,
            "{} {}",
            self.0.yellow("warning:"),
            shown(&format!("{}{}", text.message, text.details))
        )
    }
}

/// What an event says.
#[derive(Default)]
struct EventText {
    message: String,
    details: String,
}

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // A word for programs that read logs.
            "event" => Ok(()),
            "path" | "error" | "why" => write!(self.details, ": {value:?}"),
            name => write!(self.details, ", {name} {value:?}"),
        };
    }
}
