//! The command line of `agentctl`, and its help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::settings::CONFIG_FILE;

/// Shows and steers what node-agent does on this box.
#[derive(Debug, Parser)]
#[command(
    name = "agentctl",
    version,
    about = "Shows and steers what node-agent does on this box",
    after_help = AFTER_HELP,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Args {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The heading of the flags that every command takes.
const EVERYWHERE: &str = "Options of every command";

const AFTER_HELP: &str = "\
Woken at night? In this order:
  agentctl status          is the box as the document says, and if not, why
  agentctl show last       what the last run did, with diffs and errors
  agentctl why /etc/hosts  who asked for what stands in a file
  agentctl plan            what a run would change now
  agentctl apply           change it now

Exit codes:
  0   all is well; nothing to do
  1   status: degraded, stale or waiting. Other commands: could not do it
  2   plan: changes are pending. apply: something was changed
  3   status: the agent is not running
  4   plan, apply: something asked for is not there or would fail (6: and something changes)
  64  wrong usage";

/// Flags of every command, before or after it.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The agent's configuration [default: /etc/agentd/agentd.toml]
    #[arg(long, value_name = "FILE", global = true, help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// Take everything, state and socket included, under this directory; run no command
    #[arg(long, value_name = "DIR", global = true, help_heading = EVERYWHERE)]
    pub root: Option<PathBuf>,
    /// What to print to standard output
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        global = true,
        help_heading = EVERYWHERE
    )]
    pub output: Format,
    /// Whether text is coloured; `auto`: on a terminal, unless `NO_COLOR` is set
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        global = true,
        help_heading = EVERYWHERE
    )]
    pub color: Color,
}

impl Global {
    /// The configuration file's name, for messages.
    pub fn config_name(&self) -> String {
        self.config
            .as_ref()
            .map_or(CONFIG_FILE.into(), |path| path.display().to_string())
    }
}

/// What is printed to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON value with a member `format`, the version of its layout.
    Json,
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless the environment says `NO_COLOR`.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Nowhere.
    Never,
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Say how this box is: the verdict first, then why
    #[command(
        long_about = "Say how this box is: the verdict first, then why, and what to do.\n\n\
            Asks the running agent. Where it does not answer within 2 seconds, shows what it last wrote to \
            /run/agentd/status.json, and says how old that is.",
        after_help = "Exit code: 0 converged; 1 degraded, stale or waiting; 3 the agent is not running.\n\n\
            Examples:\n  agentctl status\n  agentctl status --output json | jq .document.version"
    )]
    Status,

    /// Show what a run would change now, as a diff; change nothing
    #[command(
        long_about = "Show what a run would change now, as a diff; change nothing.\n\n\
            The plan is for the document that stands in the bucket now; where the bucket does not answer, for the \
            last good one, and that is said. With --document it is for a file: what would this box do if you \
            published it? With --as it is for another server of the fleet, on a machine that has nothing yet or, \
            with --against, that stands on another document: that needs no root, no configuration and no agent.",
        after_help = "Exit code: 0 nothing to do; 2 changes are pending; 4 something would fail, or the bucket's document cannot be used; 6 both; 1 no plan could be made.\n\n\
            Examples:\n  agentctl plan\n  agentctl plan --offline\n  agentctl plan --document fleet.json\n  \
            agentctl plan --as web-1 --document fleet.json\n  \
            agentctl plan --as web-1 --document new.json --against old.json --platform debian"
    )]
    Plan(PlanArgs),

    /// Make this box what the document says, now
    #[command(
        long_about = "Make this box what the document says, now.\n\n\
            Asks the running agent to do it and waits for the end; where none runs, does it itself, as \
            `agentd --once` does. A second run never starts while one is going on.",
        after_help = "Exit code: 0 nothing to do; 2 changed; 4 something failed, or the bucket's document could not be used; 6 both; 1 could not run at all.\n\n\
            Examples:\n  agentctl apply\n  agentctl apply --retry    # also what failed with this version before"
    )]
    Apply {
        /// Also try again what this version of the document failed at before (lift the quarantine)
        #[arg(long)]
        retry: bool,
    },

    /// List the last runs that did something
    #[command(
        after_help = "Examples:\n  agentctl history\n  agentctl history -n 100\n  agentctl history --output json | jq '.runs[0].id'"
    )]
    History {
        /// At most this many runs
        #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20)]
        number: usize,
    },

    /// Show everything of one run: diffs, errors, notes
    #[command(after_help = "Examples:\n  agentctl show last\n  agentctl show 17")]
    Show {
        /// The run's number, as `agentctl history` lists it, or `last`
        #[arg(value_name = "RUN", default_value = "last")]
        run: RunName,
    },

    /// Say who asked for a file, a line or a service, which run wrote it, and whether it is still so
    #[command(
        long_about = "Say who asked for a file, a line or a service: the document's version and the JSON pointer in it, \
            the run that wrote it and when, and whether it is still as it was written.",
        after_help = "Examples:\n  agentctl why /etc/hosts\n  agentctl why /etc/hosts mysql-master    # only the lines that say so\n  \
            agentctl why mysql-master               # the same, in every file of the agent's\n  \
            agentctl why agentd-memcached@shop.service"
    )]
    Why {
        /// A path, a systemd unit, or a word that stands in a file of the agent's
        #[arg(value_name = "PATH|UNIT|WORD")]
        subject: String,
        /// Only the lines that contain this word
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },

    /// Make an image fit to be cloned: forget what belongs to this box alone
    #[command(
        long_about = "Make an image fit to be cloned: forget what belongs to this box alone.\n\n\
            For images that were converged while they were baked (agentd --once, with or without --root). Forgets the \
            journal, copies of replaced files and the quarantine, and takes the agent's cron jobs and sites out of use: a \
            clone puts back what is its own, tested, once it knows which server it is. The last good document and the \
            ledger stay.\n\n\
            Refused while agentd runs, and where agentd.toml names the server. Never on a machine that is no template.",
        after_help = "Exit code: 0 sealed; 1 refused.\n\n\
            Examples:\n  agentctl --root /mnt/image seal\n  systemctl stop agentd && agentctl seal    # as the last step of an image built on an instance"
    )]
    Seal,

    /// Check a fleet document as the agent does, and list all its mistakes
    #[command(
        long_about = "Check a fleet document with the agent's own check, and list all its mistakes, each as \
            FILE:LINE:COLUMN: POINTER: what is wrong.",
        after_help = "Exit code: 0 no mistakes; 1 mistakes.\n\n\
            Examples:\n  agentctl validate fleet.json\n  jq . fleet.json | agentctl validate -"
    )]
    Validate {
        /// The document; `-`: standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },

    /// Print the JSON Schema of fleet documents, for editors
    #[command(
        after_help = "Example:\n  agentctl schema > fleet.schema.json    # then set it as the schema of fleet.json in your editor"
    )]
    Schema,

    /// Print the completions of a shell
    #[command(
        after_help = "Examples:\n  agentctl completions bash > /etc/bash_completion.d/agentctl\n  \
            agentctl completions zsh > /usr/share/zsh/site-functions/_agentctl\n  \
            agentctl completions fish > /usr/share/fish/vendor_completions.d/agentctl.fish"
    )]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

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
    #[arg(long = "as", value_name = "SERVER", requires = "document")]
    pub server: Option<crate::fleet::Name>,
    /// With --as: a server that stands on this document, so that only what differs is shown
    #[arg(long, value_name = "FILE", requires = "server")]
    pub against: Option<PathBuf>,
    /// With --as: where files stand on that server
    #[arg(
        long,
        value_enum,
        value_name = "FAMILY",
        requires = "server",
        default_value_t
    )]
    pub platform: FamilyName,
    /// With --as: which servers stand in its /etc/hosts
    #[arg(
        long,
        value_enum,
        value_name = "SCOPE",
        requires = "server",
        default_value_t
    )]
    pub hosts: Scope,
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

/// One run, by number or the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunName {
    /// The newest that is kept.
    Last,
    /// The one of this number.
    Number(u64),
}

impl std::str::FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            _ => text.parse().map(Self::Number).map_err(|_| {
                "expected the number of a run, as `agentctl history` lists it, or `last`".into()
            }),
        }
    }
}
