//! What can be broken: names, and what each is.

use std::fmt;
use std::str::FromStr;

/// Whom a fault strikes, by the part that a server has when it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The owner of the lease.
    Master,
    /// The first of the chain that is not the master.
    Candidate,
    /// The second of the chain that is not the master.
    Second,
    /// The snapshot server.
    Snapshots,
    /// web-1.
    Web,
    /// Everybody.
    All,
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Master => "master",
            Self::Candidate => "candidate",
            Self::Second => "second",
            Self::Snapshots => "snapshots",
            Self::Web => "web",
            Self::All => "all",
        })
    }
}

/// The four database servers by their parts.
pub const SERVERS: &[Target] = &[
    Target::Master,
    Target::Candidate,
    Target::Second,
    Target::Snapshots,
];

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// It is over when it has happened.
    Moment,
    /// Anything from a fraction of the TTL to twice.
    Any,
    /// Past the TTL.
    Long,
}

macro_rules! faults {
    ($($name:ident $word:literal $targets:expr, $lasts:ident, $what:literal;)*) => {
        /// A fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $what] $name,)*
        }

        impl Fault {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on the command line and in results.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What is done.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// Whom it may strike.
            pub const fn targets(self) -> &'static [Target] {
                match self { $(Self::$name => $targets,)* }
            }

            /// How long it lasts.
            pub const fn lasts(self) -> Lasts {
                match self { $(Self::$name => Lasts::$lasts,)* }
            }
        }
    };
}

faults! {
    KillMysqld "kill-mysqld" SERVERS, Moment, "SIGKILL to the database server";
    StopMysqld "stop-mysqld" SERVERS, Any, "SIGSTOP to the database server, SIGCONT later";
    KillAgent "kill-agent" SERVERS, Moment, "SIGKILL to the agent; systemd starts it again";
    DownAgent "down-agent" SERVERS, Long, "SIGKILL to the agent, and it stays down past the TTL while its server lives";
    StopAgent "stop-agent" SERVERS, Any, "SIGSTOP to the agent, SIGCONT later";
    StopBoth "stop-both" SERVERS, Any, "SIGSTOP to agent and database server, SIGCONT later";
    RestartAgent "restart-agent" SERVERS, Moment, "systemctl restart of the agent";
    StepKill "step-kill" &[Target::Master, Target::Candidate], Any, "SIGKILL to the agent at a step of the protocol, and a fault that leads to that step";
    Freeze "freeze" SERVERS, Any, "all processes of the machine stand still, and go on later";
    Power "power" SERVERS, Any, "the machine's power is cut, and it is booted later";
    CutAll "cut-all" SERVERS, Any, "the machine's network cable is pulled";
    CutBucket "cut-bucket" SERVERS, Any, "the machine hears nothing of the bucket";
    CutPair "cut-pair" SERVERS, Any, "two database machines hear nothing of each other";
    CutOneWay "cut-one-way" SERVERS, Any, "one database machine hears nothing of another one, which hears it";
    CutWeb "cut-web" &[Target::Web], Any, "web-1 and the master hear nothing of each other";
    Flap "flap" SERVERS, Any, "the machine's network cable is pulled and plugged in, again and again";
    BucketRefused "bucket-refused" &[Target::All, Target::Master, Target::Candidate], Any, "connections to the bucket are refused";
    BucketHangs "bucket-hangs" &[Target::All, Target::Master, Target::Candidate], Any, "the bucket takes requests and does not answer";
    BucketErrors "bucket-errors" &[Target::All, Target::Master, Target::Candidate], Any, "the bucket answers 500 or 503";
    BucketSlow "bucket-slow" &[Target::All, Target::Master, Target::Candidate], Any, "the bucket answers late";
    BucketLosesReplies "bucket-loses-replies" &[Target::All, Target::Master, Target::Candidate], Any, "writes are done, and their answers are lost";
    BucketTwice "bucket-twice" &[Target::All, Target::Master, Target::Candidate], Any, "a proxy repeats writes: the second answer, 412, is the one that comes";
    HungDisk "hung-disk" SERVERS, Any, "the server's disk hangs: whoever writes waits and cannot be killed";
    FullDisk "full-disk" SERVERS, Any, "the server's disk is full";
    TooMany "too-many" &[Target::Master, Target::Candidate], Any, "all connections of the server are taken (error 1040)";
    LockTables "lock-tables" &[Target::Master], Any, "a client holds LOCK TABLES";
    LongTransaction "long-transaction" &[Target::Master], Any, "a client holds a transaction open with rows locked";
    Lag "lag" &[Target::Candidate, Target::Second, Target::Snapshots], Any, "a replica applies seconds late";
    StopSql "stop-sql" &[Target::Candidate, Target::Second, Target::Snapshots], Moment, "a replica's applying thread is stopped";
    StopIo "stop-io" &[Target::Candidate, Target::Second, Target::Snapshots], Moment, "a replica's receiving thread is stopped";
    Errant "errant" &[Target::Candidate, Target::Second, Target::Snapshots], Moment, "a transaction of its own on a replica";
    SnapshotsAhead "snapshots-ahead" &[Target::Master], Long, "the candidates are cut off while the snapshot server receives, then the master's power is cut";
    Switchover "switchover" &[Target::Master, Target::Candidate], Moment, "a person hands over";
    TwoSwitchovers "two-switchovers" &[Target::Master], Moment, "two persons hand over at once, to different servers";
    ClockJump "clock-jump" SERVERS, Any, "the agent's wall clock jumps by hours or days, forth or back, and back again";
    BucketDenied "bucket-denied" &[Target::All, Target::Master, Target::Candidate], Any, "the bucket lets nobody in (403)";
    ReplicaDown "replica-down" &[Target::Candidate, Target::Second, Target::Snapshots], Any, "a replica's server is stopped, and started later";
    LeftGate "left-gate" SERVERS, Moment, "a dead-man's table that an earlier agent left keeps clients out, and the agent is started anew";
    RestartMysqld "restart-mysqld" SERVERS, Moment, "systemctl restart of the database server";
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|fault| fault.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("no fault is called {text}; there are: {}", names.join(", "))
        })
    }
}

/// The steps of the protocol at which an agent can be killed, as `system::crash::point` names them.
pub const STEPS: &[&str] = &[
    "database: write the lease",
    "database: close",
    "database: kill",
    "database: stop receiving",
    "database: drain",
    "database: forget the source",
    "database: arm",
    "database: open",
    "database: follow",
    "database: start replication",
];
