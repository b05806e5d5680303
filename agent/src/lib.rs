//! node-agent: one daemon on every machine of a hosting fleet, one document in a bucket.
//!
//! The map of the house. A module uses only what stands on its own floor or below (the same map, which a test keeps,
//! stands in `docs/architecture.md`):
//!
//! | floor | rooms |
//! |---|---|
//! | doors | `bin/agentd.rs`, `bin/agentctl.rs`; [`manual`] (their manual pages, for the packages) |
//! | 6 | [`daemon`] (triggers, the loop), [`ctl`] (`agentctl`, one module a subcommand) |
//! | 5 | [`converge`] (a run: transaction, ledger, journal, quarantine) |
//! | 4 | [`resource`] (what each part of the document means on a box), [`database`] (leases, failover), [`dns`] (this box's own records), [`overview`] (what all machines say) |
//! | 3 | [`node`], [`identity`], [`bucket`], [`control`], [`settings`] |
//! | 2 | [`fleet`] (the document), [`report`] (what people and monitors see) |
//! | 1 | [`system`] (files, commands, clock, platform: the only place with system calls) |
//!
//! [`fleet`], [`node`] and [`report`] do no input or output.

pub mod bucket;
pub mod control;
pub mod converge;
pub mod ctl;
pub mod daemon;
pub mod database;
pub mod dns;
pub mod fleet;
pub mod identity;
pub mod manual;
pub mod node;
pub mod overview;
pub mod report;
pub mod resource;
pub mod settings;
pub mod system;
