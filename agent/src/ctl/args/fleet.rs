//! The command line of `agentctl fleet`, and its help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::fleet::Name;
use crate::fleet::names::{DnsServer, ReleaseVersion};

/// Which desk it is: what `agentctl fleet` takes before or after its commands, and `agentctl panel`.
#[derive(Debug, Clone, Args)]
pub struct DeskArgs {
    /// The desk's settings [default: ~/.config/node-agent/desk.toml]
    #[arg(long, value_name = "FILE", global = true, env = "NODE_AGENT_DESK")]
    pub desk: Option<PathBuf>,
    /// The bucket, as `fleet` in desk.toml names it [default: that]
    #[arg(long, value_name = "URL", global = true, env = "NODE_AGENT_FLEET")]
    pub fleet: Option<String>,
    /// The key to sign with: a private key's file, or a .pub file whose key ssh-agent or a token has [default: `key` in desk.toml]
    #[arg(long, value_name = "FILE", global = true, env = "NODE_AGENT_KEY")]
    pub key: Option<PathBuf>,
}

/// What `agentctl fleet` takes.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// Which desk it is.
    #[command(flatten)]
    pub at: DeskArgs,
    /// What to do
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What `agentctl panel` takes.
#[derive(Debug, Clone, Args)]
pub struct PanelArgs {
    /// Which desk it is.
    #[command(flatten)]
    pub at: DeskArgs,
    /// Where it listens: an address of this machine alone; port 0: any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8788")]
    pub listen: SocketAddr,
    /// Only show: no form, no draft, no publication
    #[arg(long)]
    pub read_only: bool,
    /// The file that is edited [default: draft-FLEET.json beside the desk's settings]
    #[arg(long, value_name = "FILE")]
    pub draft: Option<PathBuf>,
    /// Read the machines' own reports, not the summary that a monitor machine makes of them
    #[arg(long)]
    pub direct: bool,
}

/// What publishing commands have in common.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// Ask nothing: for CI
    #[arg(long)]
    pub yes: bool,
    /// Expire so long from now: 30d [default: as the document says]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub valid_for: Option<std::time::Duration>,
    /// Publish though the file was edited from another version than the one that is published now
    #[arg(long)]
    pub any_version: bool,
    /// Publish though what lies in the bucket now is not signed by those who must
    #[arg(long)]
    pub replace_unverified: bool,
    /// Have all servers take it at once, whatever `rollout` in the document says: in an emergency
    #[arg(long)]
    pub urgent: bool,
    /// Show the plan for machines laid out so
    #[arg(long, value_enum, value_name = "FAMILY", default_value_t)]
    pub platform: super::FamilyName,
}

/// The commands of `agentctl fleet rollout`.
#[derive(Debug, Clone, Subcommand)]
pub enum RolloutCommand {
    /// Show how far the published version is, and what the next wave waits for
    Status,
    /// Have it go no further: servers that have taken it keep it
    Halt {
        /// Why: whoever asks is told
        #[arg(long, value_name = "TEXT", default_value = "halted by a person")]
        reason: String,
    },
    /// Let it go on after it was halted: its servers are watched anew
    Resume,
    /// Halt it, and publish the last version again that all servers had taken, for all at once
    Abort {
        /// That version instead
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
        /// How to publish it
        #[command(flatten)]
        how: PublishArgs,
    },
}

/// How a change of who signs is made.
#[derive(Debug, Clone, Args)]
pub struct RotateArgs {
    /// Ask nothing
    #[arg(long)]
    pub yes: bool,
    /// Sign with this key too: where an old and a new one must, and both are yours
    #[arg(long, value_name = "FILE")]
    pub also_key: Vec<PathBuf>,
    /// Write it to a file for others to sign, instead of publishing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The lowest version that counts from then on [default: the published one]
    #[arg(long, value_name = "VERSION")]
    pub version_floor: Option<u64>,
    /// Have machines and monitors say so when it is older: 365d [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub valid_for: Option<std::time::Duration>,
}

/// What of a fleet is shown, and how.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Show it again and again, each 10s or so often as this says
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10s", require_equals = true,
        value_parser = humantime::parse_duration)]
    pub watch: Option<std::time::Duration>,
    /// Write a page for a browser to this file, which needs nothing beside it, instead of printing
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// List only servers that somebody should look at
    #[arg(long)]
    pub problems: bool,
    /// Only servers with this product
    #[arg(long, value_name = "NAME")]
    pub product: Option<Name>,
    /// Only servers of this role
    #[arg(long, value_name = "NAME")]
    pub role: Option<Name>,
    /// Only servers in this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Read the machines' own reports, not the summary that a monitor machine makes of them
    #[arg(long)]
    pub direct: bool,
}

/// Which names are compared, and where they are asked.
#[derive(Debug, Clone, Args)]
pub struct FleetDnsArgs {
    /// Only names of this product
    #[arg(long, value_name = "NAME")]
    pub product: Option<Name>,
    /// Ask this name server, by address or name, with or without a port; may be given several times [default: what the document says]
    #[arg(long, value_name = "SERVER")]
    pub server: Vec<DnsServer>,
}

/// The commands of `agentctl fleet key`.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// List the keys that count, and how many of them must sign
    List,
    /// Have a key count
    Add {
        /// Its .pub file, with a name at the end of its line
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How
        #[command(flatten)]
        how: RotateArgs,
    },
    /// Have a key count no longer; what is published is signed anew, if it was by that key
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// How
        #[command(flatten)]
        how: RotateArgs,
    },
    /// Set how many keys must sign
    Threshold {
        /// So many
        #[arg(value_name = "NUMBER")]
        number: usize,
        /// How
        #[command(flatten)]
        how: RotateArgs,
    },
    /// Say the same again: with another version floor, or another date by which it should be renewed
    Renew {
        /// How
        #[command(flatten)]
        how: RotateArgs,
    },
    /// Add your signature to a change that was written to a file
    Cosign {
        /// The file; it is replaced
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ask nothing
        #[arg(long)]
        yes: bool,
    },
    /// Publish a change that enough have signed
    Publish {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ask nothing
        #[arg(long)]
        yes: bool,
    },
}

/// The commands of `agentctl fleet`.
#[derive(Debug, Clone, Subcommand)]
pub enum FleetCommand {
    /// Begin a fleet: a first document, signed, and the lines that its machines need
    #[command(
        long_about = "Begin a fleet: a first document, signed, and the lines that its machines need.\n\n\
            Writes the desk's settings where there are none, publishes version 1 (with no servers, or --document FILE) and prints \
            what to write into agentd.toml. Without --signing-key an Ed25519 key is made beside the settings.",
        after_help = "Example:\n  agentctl fleet init --fleet s3://example-fleet/prod --name prod --signing-key ~/.ssh/id_ed25519_sk.pub"
    )]
    Init {
        /// The fleet's name
        #[arg(long, value_name = "NAME")]
        name: Name,
        /// The first document; its version is set to 1 [default: one without servers]
        #[arg(long, value_name = "FILE")]
        document: Option<PathBuf>,
        /// The public keys that may sign, each a .pub file; the first is signed with [default: one is made]
        #[arg(long, value_name = "FILE")]
        signing_key: Vec<PathBuf>,
    },

    /// Show the whole fleet at a glance: who is well, who is not and why, who is silent, what remains if a zone is lost
    #[command(
        long_about = "Show the whole fleet at a glance: who is well, who is not and why, who is silent, what remains if a zone is lost.\n\n\
            Compares the published document with what each machine last said of itself in the bucket (nodes/SERVER.json, put at each \
            news and every 15 minutes). A machine that has said nothing for 30 minutes is silent, whatever it said before. Problems \
            stand first, the worst of them first. Machines that the document does not name are listed too. Where a machine of the \
            role `monitor` puts all reports into one object, that one is read while it is fresh.",
        after_help = "Exit code: 0 all servers are well; 1 somebody should look at one, or it could not be seen.\n\n\
            Examples:\n  agentctl fleet status\n  agentctl fleet status --problems --watch\n  agentctl fleet status --product shop --role web\n  \
            agentctl fleet status --html status.html --watch=1m    # for a screen on the wall\n  \
            agentctl fleet status --output json | jq '.servers[] | select(.health == \"silent\") | .server'"
    )]
    Status {
        /// What is shown
        #[command(flatten)]
        wanted: StatusArgs,
    },

    /// Compare what should stand in DNS for the products with what the name servers say
    #[command(
        long_about = "Compare what should stand in DNS for the products with what the name servers say.\n\n\
            Whether a server's addresses should be there is what its report says: ready, draining, found dead by others. Each name is asked at the \
            name server of the document, or at those that are named here: primaries, secondaries, resolvers. Nothing is changed.",
        after_help = "Exit code: 0 all is as it should be; 1 an address is missing or should not be there, or a name server does not answer.\n\nExamples:\n  \
            agentctl fleet dns\n  \
            agentctl fleet dns --product shop --server 10.0.0.53 --server 1.1.1.1\n  \
            agentctl fleet dns --output json | jq '.names[].addresses[] | select(.verdict == \"missing\")'"
    )]
    Dns {
        /// What is compared
        #[command(flatten)]
        wanted: FleetDnsArgs,
    },

    /// Print the document that is published now, verified, or write it to a file
    #[command(
        after_help = "Exit code: 0; 1 there is none, or it is not signed by those who must.\n\nExample:\n  agentctl fleet get fleet.json"
    )]
    Get {
        /// The file to write [default: standard output]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },

    /// Edit the published document in $EDITOR, check it, and publish it
    #[command(
        long_about = "Edit the published document in $EDITOR, check it, and publish it.\n\n\
            As long as it has mistakes the editor is opened again, with them listed, until it has none or you give up. What you \
            wrote stays in the file that is named at the end until it is published.",
        after_help = "Example:\n  EDITOR='vim' agentctl fleet edit"
    )]
    Edit {
        /// How to publish it
        #[command(flatten)]
        how: PublishArgs,
    },

    /// Check a document as the agent does; also whether machines that stand on the published one take it
    #[command(
        after_help = "Exit code: 0 no mistakes; 1 mistakes.\n\nExample:\n  agentctl fleet validate fleet.json"
    )]
    Validate {
        /// The document; `-`: standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },

    /// Say who signed a document, and whether machines take its signatures
    #[command(
        after_help = "Exit code: 0 those have signed who must; 1 not.\n\nExample:\n  agentctl fleet verify fleet.json"
    )]
    Verify {
        /// The document; `-`: standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },

    /// Show how two versions differ: A and B are versions or files [default: the published one and the one before]
    #[command(
        after_help = "Examples:\n  agentctl fleet diff\n  agentctl fleet diff 41 42\n  agentctl fleet diff 42 fleet.json"
    )]
    Diff {
        /// The older one
        #[arg(value_name = "A")]
        before: Option<String>,
        /// The newer one
        #[arg(value_name = "B", requires = "before")]
        after: Option<String>,
    },

    /// Show for every server what a document would change against the published one
    #[command(
        after_help = "Exit code: 0 nothing to do; 2 changes; 4 something would not come true; 6 both.\n\nExamples:\n  agentctl fleet plan fleet.json\n  agentctl plan --as web-1 --document fleet.json --against published.json    # one in full"
    )]
    Plan {
        /// The document
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// For machines laid out so
        #[arg(long, value_enum, value_name = "FAMILY", default_value_t)]
        platform: super::FamilyName,
    },

    /// Sign a document as the next version, into a file, for others to cosign
    #[command(
        long_about = "Sign a document as the next version, into a file, for others to cosign.\n\n\
            Sets `version` and `issued` and signs; publishes nothing. Where several must sign, the others add theirs with \
            `agentctl fleet cosign`, and whoever is last publishes the file.",
        after_help = "Example:\n  agentctl fleet sign fleet.json --out signed.json"
    )]
    Sign {
        /// The document
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The signed document
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How it is made the next version
        #[command(flatten)]
        how: PublishArgs,
    },

    /// Add your signature to a signed document
    #[command(
        long_about = "Add your signature to a signed document.\n\nWhat it would change is shown first, as `agentctl fleet plan` does: you vouch for it.",
        after_help = "Example:\n  agentctl fleet cosign signed.json && agentctl fleet publish signed.json"
    )]
    Cosign {
        /// The signed document; it is replaced
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ask nothing
        #[arg(long)]
        yes: bool,
    },

    /// Publish a document: check, show the plan, ask, sign, put it into the bucket
    #[command(
        long_about = "Publish a document: check, show the plan, ask, sign, put it into the bucket.\n\n\
            Sets `version` to the next one and `issued` to now. The file must have been edited from the version that is published \
            (its own `version` says so), or somebody else's change would be lost. First versions/N.json is written, which nobody \
            can write twice, then fleet.json, which must not have changed meanwhile: of two who publish at once one is told whose \
            version came between. A document that enough have signed already (agentctl fleet sign, cosign) is published as it is.",
        after_help = "Exit code: 0 published; 1 not.\n\nExamples:\n  agentctl fleet get fleet.json && $EDITOR fleet.json && agentctl fleet publish fleet.json\n  agentctl fleet publish fleet.json --yes --valid-for 30d    # in CI"
    )]
    Publish {
        /// The document
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How to publish it
        #[command(flatten)]
        how: PublishArgs,
    },

    /// Who may sign: list, add and remove keys, and set how many of them must
    #[command(
        long_about = "Who may sign: list, add and remove keys, and set how many of them must.\n\n\
            Each change is a new trust/N.json in the bucket, signed by as many as must sign until then and by as many as must sign from then on. \
            Machines follow it by themselves, one after the other from the keys of their agentd.toml on: none of these needs to be touched. \
            Versions below the published one do not count from then on (--version-floor says another one).",
        after_help = "Examples:\n  agentctl fleet key add bob.pub\n  agentctl fleet key remove alice --key ~/.ssh/bob\n  \
            agentctl fleet key add carol.pub --out trust.json    # others sign it: agentctl fleet key cosign trust.json\n  \
            agentctl fleet key renew --version-floor 43          # after a version by far too high"
    )]
    Key {
        /// What to do
        #[command(subcommand)]
        command: KeyCommand,
    },

    /// Upload a product's release, and print what the document has to say of it
    #[command(
        long_about = "Upload a product's release, and print what the document has to say of it.\n\n\
            The archive is unpacked beside everything first, as machines will: what they would refuse is told here. It goes to \
            releases/PRODUCT/VERSION.tar.zst (or .tar.gz), which nobody can write twice; what is there already with the same \
            content is taken. Nothing is published: put the printed lines into the document.",
        after_help = "Exit code: 0 it is there; 1 not.\n\nExample:\n  tar -C build --zstd -cf 2026-11-28.1.tar.zst . && agentctl fleet release shop 2026-11-28.1.tar.zst"
    )]
    Release {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// The archive: .tar.zst, .tar.gz or .tgz
        #[arg(value_name = "ARCHIVE")]
        archive: PathBuf,
        /// The release's version [default: the archive's name without its ending]
        #[arg(long, value_name = "VERSION")]
        version: Option<ReleaseVersion>,
    },

    /// How far the published version is, where it goes out in waves: look, halt, let it go on, go back
    #[command(
        long_about = "How far the published version is, where it goes out in waves: look, halt, let it go on, go back.\n\n\
            `rollout` in the document names canaries, waves and a bake time. Servers open the next wave themselves when all of the waves \
            before have stood well on the version for that time, and halt where one cannot live with it, or says nothing.",
        after_help = "Exit code of status: 0; 1 it was halted.\n\nExamples:\n  agentctl fleet rollout status\n  agentctl fleet rollout halt --reason 'the shop is slow'\n  agentctl fleet rollout abort"
    )]
    Rollout {
        /// What to do
        #[command(subcommand)]
        command: RolloutCommand,
    },

    /// List the published versions: who signed them, when, and what changed
    #[command(after_help = "Example:\n  agentctl fleet log -n 50")]
    Log {
        /// At most this many versions
        #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20)]
        number: usize,
    },

    /// Print a version as it was published
    #[command(after_help = "Example:\n  agentctl fleet show 41 > old.json")]
    Show {
        /// The version
        #[arg(value_name = "VERSION")]
        version: u64,
    },

    /// Publish the content of an older version as a new one
    #[command(after_help = "Example:\n  agentctl fleet rollback 41")]
    Rollback {
        /// The version whose content comes back
        #[arg(value_name = "VERSION")]
        version: u64,
        /// How to publish it
        #[command(flatten)]
        how: PublishArgs,
    },
}
