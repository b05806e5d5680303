//! The command line of `agentctl plan`: for what, against what, how it is shown.

use std::path::PathBuf;

use clap::ValueEnum;

/// What is planned.
#[derive(Debug, Clone, clap::Args)]
pub struct PlanArgs {
    /// Plan for the last good document; do not ask the bucket
    #[arg(long, conflicts_with = "document")]
    pub offline: bool,
    /// Plan for this document; `-`: standard input
    #[arg(long, value_name = "FILE")]
    pub document: Option<PathBuf>,
    /// Plan for this server instead of this box, on a machine that has nothing yet
    #[arg(
        long = "as",
        value_name = "SERVER",
        requires = "document",
        group = "desk"
    )]
    pub server: Option<crate::fleet::Name>,
    /// Plan for each server of the document, in a table: what its files and services would see
    #[arg(long, requires = "document", group = "desk")]
    pub all: bool,
    /// With --as or --all: servers that stand on this document, so that only what differs is shown
    #[arg(long, value_name = "FILE", requires = "desk")]
    pub against: Option<PathBuf>,
    /// With --as or --all: where files stand on those servers
    #[arg(
        long,
        value_enum,
        value_name = "FAMILY",
        requires = "desk",
        default_value_t
    )]
    pub platform: FamilyName,
    /// With --as or --all: which servers stand in /etc/hosts
    #[arg(
        long,
        value_enum,
        value_name = "SCOPE",
        requires = "desk",
        default_value_t
    )]
    pub hosts: Scope,
    /// Leave the diffs out: a line for each file and service
    #[arg(long)]
    pub summary: bool,
    /// Show the agent's own internals too: links to generations, what sites answer its probes with
    #[arg(short, long)]
    pub verbose: bool,
}

/// The layouts of `--platform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum FamilyName {
    /// httpd, crond: CentOS, RHEL, Rocky, Alma, Fedora, Amazon Linux
    #[default]
    Centos,
    /// apache2, cron: Debian, Ubuntu
    Debian,
}

/// The scopes of `--hosts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Scope {
    /// Those that share a product with it
    #[default]
    Products,
    /// All
    Fleet,
}
