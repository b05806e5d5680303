//! The command lines of `agentctl hold`, `agentctl drain` and `agentctl undo`.

use std::time::Duration;

use crate::fleet::names::Span;
use crate::report::LONGEST_ORDER_SECS;

/// An order that stands for a while.
#[derive(Debug, Clone, clap::Args)]
pub struct OrderArgs {
    /// End it now
    #[arg(long, conflicts_with_all = ["how_long", "reason"])]
    pub end: bool,
    /// For how long, 7d at most: `30m`, `2h`. It ends by itself
    #[arg(long = "for", value_name = "TIME", default_value = "2h", value_parser = at_most_a_week)]
    pub how_long: Span,
    /// Why, for whoever finds this box so
    #[arg(long, value_name = "TEXT", required_unless_present = "end")]
    pub reason: Option<String>,
}

fn at_most_a_week(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if span.duration() > Duration::from_secs(LONGEST_ORDER_SECS) {
        return Err(
            "an order stands for 7d at most; what is to last longer is said in the document".into(),
        );
    }
    Ok(span)
}

/// A run to take back.
#[derive(Debug, Clone, clap::Args)]
pub struct UndoArgs {
    /// The run's number, as `agentctl history` lists it
    #[arg(value_name = "RUN", required_unless_present = "end")]
    pub run: Option<u64>,
    /// Go by the present document again
    #[arg(long, conflicts_with = "run")]
    pub end: bool,
}
