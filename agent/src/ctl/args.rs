//! The command line of `agentctl`, and its help.

mod db;
mod fleet;
mod job;
mod limit;
mod order;
mod plan;
mod release;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::report::watch::Area;
use crate::settings::CONFIG_FILE;

pub use db::{BucketArgs, DbCommand, RestoreArgs};
pub use fleet::{
    DeskArgs, FleetArgs, FleetCommand, FleetDnsArgs, KeyCommand, PanelArgs, PublishArgs,
    RolloutCommand, RotateArgs, StatusArgs,
};
pub use job::JobArgs;
pub use limit::Limit;
pub use order::{OrderArgs, UndoArgs};
pub use plan::{FamilyName, PlanArgs, Scope};
pub use release::ReleaseCommand;

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
  agentctl doctor          what keeps the agent itself from working
  agentctl show last       what the last run did, with diffs and errors
  agentctl show failed     the same of the last run in which something failed
  agentctl why /etc/hosts  who asked for what stands in a file
  agentctl plan            what a run would change now
  agentctl apply           change it now
  agentctl db status       who is the database's master, and who would take over

Exit codes:
  0   all is well; nothing to do
  1   status: degraded, stale or waiting. doctor: things to look at. Other commands: could not do it
  2   plan: changes are pending. apply: something was changed. doctor: something is broken
  3   status: the agent is not running
  4   plan, apply: something asked for is not there or would fail (6: and something changes)
  64  wrong usage (check: 3)";

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
            Examples:\n  agentctl status\n  agentctl status --ack    # I know who rewrote that file, and it has ended\n  \
            agentctl status --output json | jq .document.version"
    )]
    Status {
        /// Have the agent forget the fights over files that have ended, so that the box is not degraded for them any
        /// longer; one that goes on is told again
        #[arg(long)]
        ack: bool,
    },

    /// Say what on this box keeps the agent from working, and how to mend it; change nothing
    #[command(
        long_about = "Say what on this box keeps the agent from working, and how to mend it; change nothing.\n\n\
            Looks at the configuration, the agent's directories and unit, disks, SELinux, the bucket and its credentials \
            (with the environment of the agent's unit), the clock, the document, which server this box is, the files that \
            it writes, /etc/hosts and nsswitch.conf, Apache, memcached and cron. All at once, each for at most 30 seconds; \
            the agent need not run. With --root nothing that needs a command is looked at.",
        after_help = "Exit code: 0 nothing is wrong; 1 things to look at; 2 something keeps the agent, or what it keeps, from working.\n\n\
            Examples:\n  sudo agentctl doctor\n  agentctl doctor --output json | jq -r '.findings[] | .check + \": \" + .message'"
    )]
    Doctor,

    /// Show what a run would change now, as a diff; change nothing
    #[command(
        long_about = "Show what a run would change now, as a diff; change nothing.\n\n\
            The plan is for the document that stands in the bucket now; where the bucket does not answer, for the \
            last good one, and that is said. With --document it is for a file: what would this box do if you \
            published it? With --as it is for another server of the fleet, and with --all for each of them, on machines \
            that have nothing yet or, with --against, that stand on another document: that needs no root, no \
            configuration and no agent. Files stand where CentOS has them; --platform debian has them where Debian does.",
        after_help = "Exit code: 0 nothing to do; 2 changes are pending; 4 something would fail, or the bucket's document cannot be used; 6 both; 1 no plan could be made.\n\n\
            Examples:\n  agentctl plan\n  agentctl plan --offline\n  agentctl plan --document fleet.json\n  \
            agentctl plan --as web-1 --document fleet.json\n  \
            agentctl plan --as web-1 --document new.json --against old.json --platform debian\n  \
            agentctl plan --all --document new.json --against old.json    # who sees what of it?"
    )]
    Plan(PlanArgs),

    /// Make this box what the document says, now
    #[command(
        long_about = "Make this box what the document says, now.\n\n\
            Asks the running agent to do it and waits for the end; where none runs, does it itself, as \
            `agentd --once` does. A second run never starts while one is going on.",
        after_help = "Exit code: 0 nothing to do; 2 changed; 4 something failed, or the bucket's document could not be used; 6 both; 1 could not run at all.\n\
            With --simple-exit: 0 all is as the document says, changed or not; 4 and 1 as above.\n\n\
            Examples:\n  agentctl apply\n  agentctl apply --retry    # also what failed with this version before\n  \
            agentctl apply --simple-exit && systemctl start deploy-hooks"
    )]
    Apply(ApplyArgs),

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
    #[command(
        after_help = "Examples:\n  agentctl show last\n  agentctl show failed    # the last one in which something failed\n  agentctl show 17"
    )]
    Show {
        /// The run's number, as `agentctl history` lists it, `last`, or `failed`
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

    /// The databases of this box's products: who is the master, orders to change that, and snapshots
    #[command(
        long_about = "The databases of this box's products: who is the master, and orders to change that; and their snapshots.\n\n\
            Orders go to the agent of a database server of the product. docs/failover.md says what it does by itself, \
            docs/snapshots.md how snapshots are taken and restored.",
        after_help = "Examples:\n  agentctl db status\n  agentctl db switchover shop --noop\n  agentctl db pause shop --reason 'new disks in db-2'"
    )]
    Db {
        /// What to do
        #[command(subcommand)]
        command: DbCommand,
    },

    /// The releases of products' code on this box: list them, check them, go back to another
    #[command(
        after_help = "Examples:\n  agentctl release list\n  agentctl release verify shop\n  agentctl release rollback shop"
    )]
    Release {
        /// What to do
        #[command(subcommand)]
        command: ReleaseCommand,
    },

    /// Hold this box as it is for a while: nothing is changed, not even repaired, until then
    #[command(
        long_about = "Hold this box as it is for a while: nothing is changed, not even repaired, until then.\n\n\
            A run that goes on ends first. Documents are read as before, reports are put, databases fail over and the names of their \
            masters follow; what an interrupted run had begun is brought to its end. Monitors warn of the hold, with its reason. It outlives \
            restarts, and ends by itself.",
        after_help = "Exit code: 0; 1 it could not be ordered.\n\n\
            Examples:\n  agentctl hold --for 2h --reason 'new disks'\n  agentctl plan    # what waits\n  agentctl hold --end"
    )]
    Hold(OrderArgs),

    /// Take back on this box what a run did for the present document, until the document moves
    #[command(
        long_about = "Take back on this box what a run did for the present document, until the document moves.\n\n\
            The box goes by the version before again, in all that the present one changed: by a run, with its checks, probes and \
            transactions. Databases and who is their master go by the present version all the same. Another version ends it.\n\n\
            Refused, and why: runs for another version than the present one, runs that only repaired what somebody else had changed \
            (with where the copies are), and where there is no version before. What stays is told: packages, accounts that are locked and not \
            deleted, what a release's command did.",
        after_help = "Exit code: as agentctl apply; 1 refused.\n\n\
            Examples:\n  agentctl undo 17\n  agentctl undo --end"
    )]
    Undo(UndoArgs),

    /// Have this box take no more visitors for a while, as far as it has a say in that; it goes on serving
    #[command(
        long_about = "Have this box take no more visitors for a while, as far as it has a say in that; it goes on serving.\n\n\
            It leaves DNS, where the document has it keep its own records there, and /run/agentd/draining is there: a health page that \
            answers 503 while it is has load balancers send nobody more. Status, monitors and its report say so. It outlives restarts, and ends \
            by itself.\n\n\
            What it does not do: other servers go by the document, so node lists of memcached keep this box, and jobs that run once still run \
            here. For that publish \"state\": \"draining\" of it.",
        after_help = "Exit code: 0; 1 it could not be ordered.\n\n\
            Examples:\n  agentctl drain --for 1h --reason 'kernel'\n  agentctl undrain"
    )]
    Drain(OrderArgs),

    /// Have this box take visitors again, where a person had it drain
    #[command(
        after_help = "Exit code: 0; 1 it could not be ordered.\n\nExample:\n  agentctl undrain"
    )]
    Undrain,

    /// List the recorded cron jobs of this box: which failed, took too long or did not run, and what they said
    #[command(
        long_about = "List the recorded cron jobs of this box: which failed, took too long or did not run, and what they said.\n\n\
            Jobs are recorded whose document says \"record\": true. Needs no agent. What jobs printed only root and their own account can read.",
        after_help = "Exit code: 0 all are well; 1 one of those listed is not.\n\n\
            Examples:\n  agentctl jobs\n  agentctl jobs shop_tick    # with all that is kept of what it printed\n  \
            agentctl jobs --output json | jq -r '.jobs[] | select(.state == \"missed\") | .job'"
    )]
    Jobs {
        /// Only this one
        #[arg(value_name = "JOB")]
        job: Option<String>,
    },

    /// Run a cron job and record how it ends: what the tables of recorded jobs call
    #[command(
        long_about = "Run a cron job and record how it ends: what the tables of recorded jobs call.\n\n\
            The command gets the environment, directory and input of this one. It is left out where the one before it still runs. Needs \
            no agent, no bucket and no root: a job runs whatever else does not, and where its record cannot be written it runs unrecorded.",
        after_help = "Exit code: that of the command; 75 it still runs; 124 its time limit ended it; 127 it could not be started; 128 and the number of the signal that ended it.\n\n\
            Example:\n  agentctl job shop_tick --timeout 4m -- /bin/sh -c '/srv/shop/current/bin/tick'"
    )]
    Job(JobArgs),

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
        after_help = "Exit code: 0 no mistakes; 1 mistakes, or with --against a document that its boxes would refuse.\n\n\
            Examples:\n  agentctl validate fleet.json\n  agentctl validate new.json --against published.json\n  jq . fleet.json | agentctl validate -"
    )]
    Validate {
        /// The document; `-`: standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The document that is published now: boxes that stand on it must take the new one, so it is of the same fleet and
        /// has a higher version
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },

    /// Say to Nagios how this box is: a plugin by its guidelines
    #[command(
        version,
        long_about = "Say to Nagios how this box is: a plugin by its guidelines.\n\n\
            Prints one line, performance data behind it, and exits with the verdict. Reads what agentd last wrote to \
            /run/agentd/status.json, so it needs no root and never waits for a busy agent. One that is dead or has \
            fallen silent is CRITICAL.",
        after_help = CHECK_HELP
    )]
    Check(CheckArgs),

    /// Answer munin-node: a multigraph plugin
    #[command(
        long_about = "Answer munin-node: a multigraph plugin.\n\n\
            To be called by the wrapper that is linked into /etc/munin/plugins. Needs no root; where the agent is \
            dead, its values are U.",
        after_help = "Exit code: 0.\n\nExamples:\n  agentctl munin\n  agentctl munin config\n  munin-run agentd"
    )]
    Munin {
        /// What munin-node asks
        #[arg(value_enum, value_name = "WHAT", default_value_t)]
        what: MuninAsk,
    },

    /// Print metrics for Prometheus, as OpenMetrics text
    #[command(
        long_about = "Print metrics for Prometheus, as OpenMetrics text.\n\n\
            With --write they go into a file, whole or not at all, for the textfile collector of node_exporter.",
        after_help = "Exit code: 0; 1 the file could not be written.\n\n\
            Examples:\n  agentctl metrics\n  agentctl metrics --write /var/lib/prometheus/node-exporter/agentd.prom"
    )]
    Metrics {
        /// Write this file instead of standard output
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },

    /// At a desk: sign, publish, compare and take back documents; needs no agent and no root
    #[command(
        long_about = "At a desk: sign, publish, compare and take back documents; needs no agent and no root.\n\n\
            Where the bucket is, which key signs and whose signatures count stand in ~/.config/node-agent/desk.toml, \
            in the environment or in flags: docs/signing.md.",
        after_help = "Examples:\n  agentctl fleet get fleet.json && editor fleet.json && agentctl fleet publish fleet.json\n  agentctl fleet edit\n  agentctl fleet log\n  agentctl fleet rollback 41"
    )]
    Fleet(FleetArgs),

    /// At a desk: the fleet in a browser, with a draft to edit, plan, sign and publish
    #[command(
        long_about = "At a desk: the fleet in a browser, with a draft to edit, plan, sign and publish.\n\n\
            Listens on this machine alone and prints a link, which works once and begins a session of that browser. Pages show what \
            `agentctl fleet status` shows, each server, each product, machines that no document names, and the published versions. \
            Forms and the document's text change a draft, a file at the desk, and nothing else; it is planned for every server, signed \
            and published by the code of `agentctl fleet publish`, which asks for a passphrase or a touch in this terminal. The bucket \
            is asked only while somebody looks. Ctrl-C ends it; machines do not notice.",
        after_help = "Examples:\n  agentctl panel\n  agentctl panel --read-only --listen 127.0.0.1:9000\n  \
            ssh -L 8788:127.0.0.1:8788 desk agentctl panel    # from elsewhere: open the printed link here"
    )]
    Panel(PanelArgs),

    /// Have this box forget who signs, and go by the keys of agentd.toml again: where too many keys are lost
    #[command(
        long_about = "Have this box forget who signs, and go by the keys of agentd.toml again: where too many keys are lost.\n\n\
            A box follows the trust/N.json of the bucket and never goes back. Where so many keys are lost that nobody can sign the next \
            one, write the new keys into agentd.toml of each box ([trust], with generation = N of the last trust/N.json that is void \
            then, or a new bucket), stop agentd, run this, and start it. The last good document is kept, if the new keys signed it; so is the \
            version below which none is accepted, unless --forget-version. docs/signing.md has the whole procedure.",
        after_help = "Exit code: 0 forgotten; 1 refused: agentd runs.\n\n\
            Example:\n  systemctl stop agentd && agentctl trust-reset && systemctl start agentd"
    )]
    TrustReset {
        /// Forget also which version was accepted last: an older one is taken then, if it is signed
        #[arg(long)]
        forget_version: bool,
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

const CHECK_HELP: &str = "\
Exit code: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN: also wrong usage, --help and --version. With --passive: 0.

Parts: agent, bucket, document, run, drift, jobs, database.

The readings that -w and -c can limit are those of the performance data. Without a name it is document_age, the seconds since the bucket last said that the box's document is the present one.

No age is known more exactly than the status file is written, once a minute: below 62 seconds (document_age and bucket_silence: below 62 and the time between two polls, 72 by default; run_age: below 125) a healthy box alarms.

Ranges:
  10      alert below 0 or above 10
  10:     alert below 10
  ~:10    alert above 10
  10:20   alert outside 10 to 20
  @10:20  alert inside 10 to 20

Examples:
  agentctl check
  agentctl check -w 600 -c 7200
  agentctl check document -c document_left=172800:    # wake us two days before it expires
  agentctl check --passive | send_nsca -H monitor -c /etc/send_nsca.cfg";

/// What is checked, and how it is said.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Only these parts [default: all]
    #[arg(value_name = "PART")]
    pub parts: Vec<Area>,
    /// When a reading is a WARNING
    #[arg(short, long, value_name = "[NAME=]RANGE", allow_hyphen_values = true)]
    pub warning: Vec<Limit>,
    /// When a reading is CRITICAL
    #[arg(short, long, value_name = "[NAME=]RANGE", allow_hyphen_values = true)]
    pub critical: Vec<Limit>,
    /// Answer UNKNOWN after so many seconds, whatever hangs
    #[arg(short, long, value_name = "SECONDS", default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Say more: once, all alarms in the line; twice, lines with their details; three times, all readings
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print passive results for `send_nsca`: host, service, code and output, with tabs between
    #[arg(long)]
    pub passive: bool,
    /// With --passive: this machine's name in Nagios [default: its name in the document, or its host name]
    #[arg(long, value_name = "NAME", requires = "passive")]
    pub host: Option<String>,
    /// With --passive: the service's name in Nagios; parts that are named are services `NAME PART`
    #[arg(
        long,
        value_name = "NAME",
        default_value = "agentd",
        requires = "passive"
    )]
    pub service: String,
}

/// What munin-node asks of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum MuninAsk {
    /// The values
    #[default]
    Fetch,
    /// What is drawn, and how; with `MUNIN_CAP_DIRTYCONFIG=1` also the values
    Config,
    /// Whether the plugin is of use on this machine
    Autoconf,
    /// What could be linked; nothing, for this plugin
    Suggest,
}

/// How this box is made what the document says.
#[derive(Debug, Clone, clap::Args)]
pub struct ApplyArgs {
    /// Also try again what this version of the document failed at before (lift the quarantine)
    #[arg(long)]
    pub retry: bool,
    /// Exit with 0 where all is as the document says, also where something was changed for it: for `apply && …` in scripts
    #[arg(long)]
    pub simple_exit: bool,
    /// Show the agent's own internals too: links to generations, what sites answer its probes with
    #[arg(short, long)]
    pub verbose: bool,
}

/// One run, by number or the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunName {
    /// The newest that is kept.
    Last,
    /// The newest that is kept in which something failed.
    Failed,
    /// The one of this number.
    Number(u64),
}

impl std::str::FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            "failed" => Ok(Self::Failed),
            _ => text.parse().map(Self::Number).map_err(|_| {
                "expected the number of a run, as `agentctl history` lists it, `last` or `failed`".into()
            }),
        }
    }
}
