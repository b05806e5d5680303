//! Logging: to the journal with fields, or to stderr as text, JSON or logfmt. Never to stdout.

#[cfg(test)]
mod events;
mod logfmt;
mod text;

use std::io;
use std::os::unix::fs::MetadataExt;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::settings::{LogFormat, LogSettings};

/// Sets up logging for the rest of the process. Does nothing where that was done before.
pub(super) fn init(settings: LogSettings) {
    let level = LevelFilter::from_level(settings.level);
    // Libraries speak only of what is wrong: the SDK would log each request.
    let filter = Targets::new()
        .with_target("node_agent", level)
        .with_default(level.min(LevelFilter::WARN));
    let layer = layer(settings.format).with_filter(filter);
    // An error means that there is a subscriber already: a second one would only say things twice.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

fn layer(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let stderr = fmt::layer().with_writer(io::stderr).with_target(false);
    match format {
        LogFormat::Json => stderr
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        LogFormat::Logfmt => stderr.event_format(logfmt::Logfmt).boxed(),
        LogFormat::Text => stderr.event_format(text::Text).boxed(),
        LogFormat::Journal => journal().unwrap_or_else(|| layer(LogFormat::Text)),
        LogFormat::Auto if stderr_is_the_journal() => {
            journal().unwrap_or_else(|| layer(LogFormat::Text))
        }
        LogFormat::Auto => layer(LogFormat::Text),
    }
}

fn journal() -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
    let layer = tracing_journald::layer().ok()?;
    Some(layer.with_syslog_identifier("agentd".into()).boxed())
}

/// Whether stderr leads to the journal, as systemd tells its children: device and inode of the stream.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}
