//! The command line of `agentctl db`, and its help.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::control::messages::{DatabaseOrder, DatabaseRequest};
use crate::database::archive::Gtid;
use crate::database::snapshot::SnapshotId;
use crate::fleet::Name;
use crate::fleet::names::Span;

/// How long somebody works on the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceSpan(pub Duration);

impl FromStr for MaintenanceSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        let (least, most) = (Duration::from_mins(1), Duration::from_hours(12));
        if (least..=most).contains(&span) {
            Ok(Self(span))
        } else {
            Err("from 1m to 12h; for longer, agentctl db pause".to_owned())
        }
    }
}

/// The commands of `agentctl db`.
#[derive(Debug, Clone, Subcommand)]
pub enum DbCommand {
    /// Show who is the master, who replicates from whom, and who would take over or why nobody would
    #[command(
        long_about = "Show who is the master, who replicates from whom, and who would take over or why nobody would.\n\n\
            On a database server: everything, as its agent sees it. On any other machine of the product: what the lease says.",
        after_help = "Exit code: 0 all is well; 1 something needs a person, or the lease is not heard of; 3 the agent is not running.\n\n\
            Examples:\n  agentctl db status\n  agentctl db status shop --output json | jq '.databases[0].lease.epoch'"
    )]
    Status {
        /// Only this product's
        #[arg(value_name = "PRODUCT")]
        product: Option<Name>,
    },

    /// Hand the master's part to another server; nothing is lost, writes stop for about a second
    #[command(
        long_about = "Hand the master's part to another server; nothing is lost, writes stop for about a second.\n\n\
            Waits until the other one is nearly level, closes the master, waits until the other one has everything, and \
            hands over the lease. Where it does not come level in time, the master goes on as before. Type it on the master: \
            `agentctl db status` on any machine of the product says which that is.",
        after_help = "Exit code: 0 handed over (--noop: could be); 1 not; 3 the agent is not running.\n\n\
            Examples:\n  agentctl db switchover shop --noop      # only say the steps\n  agentctl db switchover shop\n  agentctl db switchover shop --to db-3"
    )]
    Switchover {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// To this server [default: the one that would take over]
        #[arg(long, value_name = "SERVER")]
        to: Option<Name>,
        /// Only say what would be done
        #[arg(long)]
        noop: bool,
    },

    /// Take over from a dead master, though the agents would not by themselves
    #[command(
        long_about = "Take over from a dead master, though the agents would not by themselves.\n\n\
            For when `agentctl db status` says that nobody would: after a failover a moment ago, with failover = \"manual\", while \
            paused, or where more would be lost than max_lost. The lease must have run out all the same. Type it on the server that is to be \
            the master. What the old master had and this server never received is lost; the event says how much that is at least.\n\n\
            --old-master-is-off is your word that nobody can write to the old master any more. The agent believes you: switch the \
            machine off first.",
        after_help = "Exit code: 0 this server is the master (--noop: could be); 1 not; 3 the agent is not running.\n\n\
            Examples:\n  agentctl db takeover shop --noop\n  agentctl db takeover shop --old-master-is-off"
    )]
    Takeover {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// You have switched the old master off
        #[arg(long)]
        old_master_is_off: bool,
        /// Only say what would be done
        #[arg(long)]
        noop: bool,
    },

    /// Have the master stay the master while somebody works on the servers: package upgrades, restarts
    #[command(
        long_about = "Have the master stay the master while somebody works on the servers: package upgrades, restarts.\n\n\
            Nobody else takes over, for a while. A master that is stopped and started again is opened as soon as it answers; one that \
            loses the bucket and its locks still closes. It returns once all servers know it, and ends by itself, or by `agentctl db \
            resume`. Type it on any of the product's database servers; it holds for all of them.",
        after_help = "Exit code: 0 it holds; 1 not; 3 the agent is not running.\n\n\
            Examples:\n  agentctl db maintenance shop --for 10m --reason 'mariadb 10.11.19' && apt-get install mariadb-server && agentctl db resume shop"
    )]
    Maintenance {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// How long at the most, 1m to 12h
        #[arg(long = "for", value_name = "SPAN", default_value = "15m")]
        span: MaintenanceSpan,
        /// Why, for whoever reads `agentctl db status` at night
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },

    /// Do nothing by itself until `resume`, but watch: nothing is closed, opened, killed or taken over
    #[command(
        long_about = "Do nothing by itself until `agentctl db resume`, but watch: nothing is closed, opened, killed or taken over.\n\n\
            The master goes on renewing its lease, which says that it is only watched; its dead-man's gate is taken away. If it fails, \
            it stays down, and the status and the monitors say so at once. What a person orders is carried out, on all servers: after \
            a switchover the old master is closed. For work after which the master is to go on by itself there is `agentctl db \
            maintenance`. Type it on any of the product's database servers; it holds for all of them.",
        after_help = "Exit code: 0 it holds; 1 not; 3 the agent is not running.\n\n\
            Examples:\n  agentctl db pause shop --reason 'new disks in db-2'\n  agentctl db resume shop"
    )]
    Pause {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// Why, for whoever reads `agentctl db status` at night
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },

    /// Let the master be changed by itself again
    #[command(
        after_help = "Exit code: 0 it holds no more; 1 not; 3 the agent is not running.\n\nExample:\n  agentctl db resume shop"
    )]
    Resume {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
    },

    /// List the snapshots in the bucket: how old, how large, and which a drill has restored
    #[command(
        long_about = "List the snapshots in the bucket: how old, how large, and which a drill has restored.\n\n\
            Needs the bucket and no agent: on a box it is the one of agentd.toml, elsewhere that of --fleet or desk.toml.",
        after_help = "Exit code: 0; 1 the bucket does not answer, or there is no snapshot.\n\n\
            Examples:\n  agentctl db snapshots\n  agentctl db snapshots shop --output json | jq -r '.snapshots[-1].id'\n  \
            agentctl db snapshots shop --fleet s3://example-fleet/prod"
    )]
    Snapshots {
        /// Only this product's
        #[arg(value_name = "PRODUCT")]
        product: Option<Name>,
        /// Where they are
        #[command(flatten)]
        place: BucketArgs,
    },

    /// Take a snapshot, beside those that the document's schedule asks for
    Snapshot {
        /// What to do
        #[command(subcommand)]
        command: SnapshotCommand,
    },

    /// Restore a snapshot into a new data directory, or into a database server that has nothing
    #[command(
        long_about = "Restore a snapshot into a new data directory, or into a database server that has nothing.\n\n\
            Needs the bucket, the programs of a MariaDB server, and no agent. With --into, a database server of its own is started \
            in a directory that is empty or not there, without network; at the end it is stopped, and your server can be started \
            on the directory. With --socket, the server that is running there is filled: one that has databases, replicates or has \
            a history of its own is refused. The copy is verified while it comes; each table's rows are counted at the end. Accounts \
            come too, those that are there already stay. Last, it says how the server joins replication.\n\n\
            Where the binary log is archived, what was committed after the snapshot is replayed: all that there is, or as far as --before \
            or --at says. A moment is resolved to a transaction first, which is shown, and only transactions stop a replay. The snapshot \
            is then the newest one before that point.\n\n\
            What broke off is begun anew: remove the directory, and what stands beside it with .restoring.",
        after_help = "Exit code: 0 restored (--noop: could be); 1 not.\n\n\
            Examples:\n  agentctl db restore shop --into /srv/restored --noop      # what it would take\n  \
            agentctl db restore shop --into /var/lib/mysql --fleet s3://example-fleet/prod\n  \
            agentctl db restore shop --before 0-11-253 --into /srv/restored\n  \
            agentctl db restore shop --at 2026-11-24T15:59:00Z --into /srv/restored --noop\n  \
            agentctl db restore shop --snapshot 20261124T150000Z-e7-db-4 --socket /run/mysqld/mysqld.sock"
    )]
    Restore(RestoreArgs),

    /// Find a statement in the archived binary log: which transaction it was, and what to restore to
    #[command(
        long_about = "Find a statement in the archived binary log: which transaction it was, and what to restore to.\n\n\
            Needs the bucket and no agent. Letters' size and spaces make no difference. Found are statements as the log has them: \
            definitions (DROP, ALTER, TRUNCATE, GRANT) always, changes of rows only where the server logs statements \
            (binlog_format). All of the archive since --since is downloaded.",
        after_help = "Exit code: 0 found; 1 not.\n\n\
            Examples:\n  agentctl db find shop 'DROP TABLE'\n  agentctl db find shop 'truncate' --since 2026-11-24T00:00:00Z"
    )]
    Find {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// A part of the statement
        #[arg(value_name = "TEXT")]
        text: String,
        /// Only what was committed since then [default: a day ago]
        #[arg(long, value_name = "TIME")]
        since: Option<Timestamp>,
        /// Where the archive is
        #[command(flatten)]
        place: BucketArgs,
    },

    /// Delete the snapshots that are not kept any more
    #[command(
        long_about = "Delete the snapshots that are not kept any more.\n\n\
            The server that takes the snapshots does it by itself, if its key may delete; this is for keys that may, and for \
            looking first. Never deleted are the newest one, the newest that a drill has restored, and the last of each \
            epoch. Only what a snapshot's own manifest names is deleted.",
        after_help = "Exit code: 0 deleted (--noop: could be); 1 not.\n\n\
            Examples:\n  agentctl db prune shop --noop\n  agentctl db prune shop --keep 1h=7d --keep 1d=5w"
    )]
    Prune {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// Keep one of each stretch of the first length for the second one, as `keep` in the document
        /// [default: 15m=1d, 1h=7d, 1d=5w, 30d=1y]
        #[arg(long, value_name = "LENGTH=TIME", value_parser = tier)]
        keep: Vec<(Span, Span)>,
        /// Only say what would be deleted
        #[arg(long)]
        noop: bool,
        /// Ask nothing
        #[arg(long)]
        yes: bool,
        /// Where they are
        #[command(flatten)]
        place: BucketArgs,
    },

    /// Let this machine's server, which is kept out, replicate from the master again
    #[command(
        long_about = "Let this machine's server, which is kept out, replicate from the master again.\n\n\
            A server is kept out when it has transactions that the master lacks. They were saved to the bucket; \
            look at them first. --discard is your word that the master goes on without them: all that this server has is \
            thrown away, and the master's data are copied.",
        after_help = "Exit code: 0 it replicates (--noop: could); 1 not; 3 the agent is not running.\n\n\
            Examples:\n  agentctl db rejoin shop --noop\n  agentctl db rejoin shop --accept\n  agentctl db rejoin shop --discard"
    )]
    Rejoin {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// Let go of what this server has and the master lacks
        #[arg(long)]
        discard: bool,
        /// Forget what this server wrote itself, where that changes nothing (FLUSH, ANALYZE): nothing is copied
        #[arg(long, conflicts_with = "discard")]
        accept: bool,
        /// Only say what would be done
        #[arg(long)]
        noop: bool,
    },
}

/// The commands of `agentctl db snapshot`.
#[derive(Debug, Clone, Subcommand)]
pub enum SnapshotCommand {
    /// Take one now, on the server that takes the product's snapshots
    #[command(
        after_help = "Exit code: 0 taken (--noop: could be); 1 not; 3 the agent is not running.\n\n\
            Example:\n  agentctl db snapshot now shop"
    )]
    Now {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// Only say what would be done
        #[arg(long)]
        noop: bool,
    },
}

/// Where snapshots are looked for.
#[derive(Debug, Clone, Args)]
pub struct BucketArgs {
    /// The bucket [default: the one of agentd.toml on a box, else `fleet` in desk.toml]
    #[arg(long, value_name = "URL", env = "NODE_AGENT_FLEET")]
    pub fleet: Option<String>,
    /// The desk's settings [default: ~/.config/node-agent/desk.toml]
    #[arg(long, value_name = "FILE", env = "NODE_AGENT_DESK")]
    pub desk: Option<PathBuf>,
    /// The name is the one in the bucket's keys; nobody is asked on which cluster a product is
    #[arg(long)]
    pub exact: bool,
}

/// What `agentctl db restore` takes.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The product
    #[arg(value_name = "PRODUCT")]
    pub product: Name,
    /// This one [default: the newest that a drill has restored]
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<SnapshotId>,
    /// Up to just before this transaction, as `agentctl db find` shows it
    #[arg(long, value_name = "GTID", conflicts_with_all = ["at", "no_archive", "no_accounts"])]
    pub before: Option<Gtid>,
    /// Up to the last transaction that was committed at this moment or before, such as 2026-11-30T02:59:00Z
    #[arg(long, value_name = "TIME", conflicts_with_all = ["no_archive", "no_accounts"])]
    pub at: Option<Timestamp>,
    /// The snapshot alone, without what the archive has behind it
    #[arg(long)]
    pub no_archive: bool,
    /// Into this directory, which is empty or not there: the data directory of a server to come
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "socket",
        conflicts_with = "socket"
    )]
    pub into: Option<PathBuf>,
    /// Into the running server with this socket, which has nothing
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The file with that server's administrator, as `credentials` in agentd.toml names one [default: root, by the socket]
    #[arg(long, value_name = "FILE", requires = "socket")]
    pub credentials: Option<PathBuf>,
    /// The account that owns the directory [default: mysql, where there is one]
    #[arg(long, value_name = "ACCOUNT", requires = "into")]
    pub account: Option<String>,
    /// The buffer pool while it is filled, in MiB: much of it makes it fast
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..=1_048_576))]
    pub memory: u64,
    /// Leave the accounts out; statements about accounts may be in the archive, so that stays out too
    #[arg(long)]
    pub no_accounts: bool,
    /// Only say what would be done, and what it would take
    #[arg(long)]
    pub noop: bool,
    /// Where the snapshots are
    #[command(flatten)]
    pub place: BucketArgs,
}

/// Reads `15m=1d`.
fn tier(text: &str) -> Result<(Span, Span), String> {
    let (every, long) = text
        .split_once('=')
        .ok_or("expected two lengths of time, such as 15m=1d")?;
    let read = |text: &str| text.parse::<Span>().map_err(|error| error.to_string());
    Ok((read(every)?, read(long)?))
}

impl DbCommand {
    /// The order that it gives; `None`: it only looks.
    pub fn ask(&self) -> Option<DatabaseRequest> {
        let (product, order, noop) = match self {
            Self::Status { .. }
            | Self::Snapshots { .. }
            | Self::Restore(_)
            | Self::Find { .. }
            | Self::Prune { .. } => return None,
            Self::Snapshot {
                command: SnapshotCommand::Now { product, noop },
            } => (product, DatabaseOrder::Snapshot, *noop),
            Self::Switchover { product, to, noop } => {
                let order = DatabaseOrder::Switchover { to: to.clone() };
                (product, order, *noop)
            }
            Self::Takeover {
                product,
                old_master_is_off,
                noop,
            } => {
                let order = DatabaseOrder::TakeOver {
                    old_master_is_off: *old_master_is_off,
                };
                (product, order, *noop)
            }
            Self::Rejoin {
                product,
                discard,
                accept,
                noop,
            } => {
                let order = DatabaseOrder::Rejoin {
                    discard: *discard,
                    accept: *accept,
                };
                (product, order, *noop)
            }
            Self::Pause { product, reason } => {
                let reason = reason.clone();
                let order = DatabaseOrder::Hold {
                    held: true,
                    reason,
                    maintenance_secs: None,
                };
                (product, order, false)
            }
            Self::Maintenance {
                product,
                span,
                reason,
            } => {
                let order = DatabaseOrder::Hold {
                    held: true,
                    reason: reason.clone(),
                    maintenance_secs: Some(span.0.as_secs()),
                };
                (product, order, false)
            }
            Self::Resume { product } => {
                let order = DatabaseOrder::Hold {
                    held: false,
                    reason: None,
                    maintenance_secs: None,
                };
                (product, order, false)
            }
        };
        Some(DatabaseRequest {
            product: product.clone(),
            order,
            noop,
        })
    }
}
