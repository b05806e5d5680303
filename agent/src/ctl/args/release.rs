//! The command line of `agentctl release`, and its help.

use clap::Subcommand;

use crate::fleet::Name;
use crate::fleet::names::ReleaseVersion;

/// The commands of `agentctl release`.
#[derive(Debug, Clone, Subcommand)]
pub enum ReleaseCommand {
    /// List the releases on this box: which one is in use, which failed and why
    #[command(after_help = "Exit code: 0.\n\n\
            Examples:\n  agentctl release list\n  agentctl release list shop --output json | jq -r '.products[0].in_use'")]
    List {
        /// Only this product's
        #[arg(value_name = "PRODUCT")]
        product: Option<Name>,
    },

    /// Compare the files of a release with what was unpacked
    #[command(
        long_about = "Compare the files of a release with what was unpacked, byte for byte.\n\n\
            Files that came beside them are not looked at, nor is what releases share.",
        after_help = "Exit code: 0 all are as they were unpacked; 1 some are not.\n\n\
            Examples:\n  agentctl release verify shop\n  agentctl release verify shop 2026-11-28.1"
    )]
    Verify {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// The release [default: the one in use]
        #[arg(value_name = "VERSION")]
        version: Option<ReleaseVersion>,
    },

    /// Go back to another release on this box, at once
    #[command(
        long_about = "Go back to another release on this box, at once and without the bucket.\n\n\
            Sites are switched as by the document: tested, reloaded gracefully, asked. It holds until the document names another \
            version than it does now; the document's own version ends it. What a command before a switch did (a \
            migration) is not undone. To go back in the whole fleet, name the old version in the document.",
        after_help = "Exit code: as agentctl apply; 1 there is no such release.\n\n\
            Examples:\n  agentctl release rollback shop\n  agentctl release rollback shop 2026-11-27.3"
    )]
    Rollback {
        /// The product
        #[arg(value_name = "PRODUCT")]
        product: Name,
        /// The release [default: the one that worked before the one in use]
        #[arg(value_name = "VERSION")]
        version: Option<ReleaseVersion>,
    },
}
