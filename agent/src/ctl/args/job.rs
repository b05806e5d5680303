//! The command line of `agentctl job`, and its help.

use crate::fleet::names::Span;

/// A cron job to run and record.
#[derive(Debug, Clone, clap::Args)]
pub struct JobArgs {
    /// The job's name, as `agentctl jobs` lists it
    #[arg(value_name = "JOB", value_parser = name)]
    pub name: String,
    /// After so long it gets SIGTERM, and what is left of its process group ten seconds later SIGKILL: `4m`
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
    /// Print what it prints, too: cron mails that
    #[arg(long)]
    pub print: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, last = true)]
    pub command: Vec<String>,
}

/// Names of jobs are names of files: no other directory can be meant.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if (1..=200).contains(&text.len()) && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a job, as agentctl jobs lists it: shop_tick".into())
    }
}
