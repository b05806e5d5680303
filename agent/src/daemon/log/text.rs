//! Events as lines for people: when, how bad, the message, which says it all, and the event's name, to search for. The
//! other fields are for programs.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logfmt::Fields;
use crate::report::text::shown;
use crate::system::clock;

/// `2026-11-23T02:57:00Z INFO hosts: repaired: … (step-changed)`, in one line whatever it says.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level();
        let message = fields.message.trim_end().replace('\n', "; ");
        write!(out, "{} {level:>5} {}", clock::now(), shown(&message))?;
        if let Some(name) = fields.get("event") {
            write!(out, " ({name})")?;
        }
        writeln!(out)
    }
}
