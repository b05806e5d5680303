//! Events as `key=value` lines.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::system::clock;

/// `ts=… level=info msg="…" key=value`.
pub(super) struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
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
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write!(out, "ts={} level={level} msg=", clock::now())?;
        value(&mut out, &fields.message)?;
        for (key, text) in &fields.others {
            write!(out, " {key}=")?;
            value(&mut out, text)?;
        }
        out.write_char('\n')
    }
}

/// What an event says: its message, and its fields beside it.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    /// A field beside the message, as text.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut others = self.others.iter();
        others.find_map(|(key, text)| (*key == name).then_some(text.as_str()))
    }

    fn take(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, text: &str) {
        self.take(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, shown: &dyn fmt::Debug) {
        self.take(field, format!("{shown:?}"));
    }
}

/// Bare where that cannot be misread, else quoted with escapes.
fn value(out: &mut impl Write, text: &str) -> fmt::Result {
    let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(bare) {
        out.write_str(text)
    } else {
        write!(out, "{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_event_is_one_line_whatever_it_says() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .event_format(Logfmt);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(
                step = "sites",
                took_ms = 12,
                error = "line one\nline \"two\"",
                empty = "",
                "put back"
            );
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let (stamp, rest) = text.split_once(" level=").unwrap();
        assert!(stamp.starts_with("ts=2"), "{stamp}");
        assert_eq!(
            rest,
            "warn msg=\"put back\" step=sites took_ms=12 error=\"line one\\nline \\\"two\\\"\" empty=\"\"\n"
        );
    }
}
