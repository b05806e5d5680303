//! The command line of `agentd` (contract).

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::settings::Overrides;

/// Keeps this machine as the fleet document says.
#[derive(Debug, Parser)]
#[command(
    name = "agentd",
    version,
    about = "Keeps this machine as the fleet document says",
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub struct Args {
    /// The configuration [default: /etc/agentd/agentd.toml, under --root]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the fleet document lies: `s3://bucket/prefix` or `file:///directory`
    #[arg(long, value_name = "URL")]
    pub fleet: Option<String>,
    /// Which server of the document this machine is [default: found by instance metadata or host name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Take everything, state and socket included, under this directory; run no command
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Who must vouch for documents; `none` accepts unsigned ones
    #[arg(long, value_name = "WHOM")]
    pub trust: Option<Trust>,
    /// Make one run and exit, instead of staying
    #[arg(long)]
    pub once: bool,
    /// Print what one run would change and exit; write nothing
    #[arg(long)]
    pub noop: bool,
}

const LONG_ABOUT: &str = "\
Keeps this machine as the fleet document says: /etc/hosts, memcached node lists and instances, Apache virtual hosts, \
cron jobs. It asks the bucket for the document again and again, applies what changed, and mends what somebody edited. \
Each change is checked, switched as a whole, probed, and put back if it does not work. Where the bucket does not \
answer it goes by the last good document.";

const AFTER_HELP: &str = "\
Settings of the command line win over those of the configuration. Without --once and --noop agentd stays
and keeps the machine; `agentctl` talks to it.

Exit codes of --once and --noop:
  0   nothing to do
  2   something was changed (--noop: would be)
  4   something asked for is not there, or the newest document could not be had (6: and something changed)
  1   no run could be made
  64  wrong usage

A daemon that stays exits with 78 where its configuration has mistakes; its unit does not start it again then.";

/// Who must vouch for documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Trust {
    /// Nobody: unsigned documents are accepted.
    None,
}

impl Args {
    /// What the command line says over the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            fleet: self.fleet.clone(),
            node: self.node.clone(),
            root: self.root.clone(),
            trust_none: self.trust == Some(Trust::None),
        }
    }
}
