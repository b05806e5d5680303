//! Snapshots of a product's databases: taken, restored, shown to be restorable, and let go.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | [`id`] | what a snapshot is called, and where its objects lie |
//! | [`manifest`] | what it says of itself; what a drill says of it |
//! | [`content`] | what is in a dump, read while it passes by |
//! | [`inventory`] | what a server has |
//! | [`outgoing`] | compressing and uploading at once, in bounded memory |
//! | [`take`] | one snapshot, from the look at the server to the manifest |
//! | `leftovers` | what runs that were killed left in the bucket |
//! | [`throwaway`] | a database server of our own |
//! | [`restore`] | a snapshot into a server that has nothing |
//! | [`prove`] | the drill: restored, and compared |
//! | [`retention`] | which are kept, and why |
//! | [`catalog`] | what the bucket has |
//! | [`schedule`] | when one is due |
//! | [`worker`] | all of it in the daemon, beside everything else |
//!
//! A snapshot is one once it has a manifest, which is put last and never replaced. It is *restorable* once it has a proof.

pub mod catalog;
pub mod content;
pub mod id;
pub mod inventory;
mod leftovers;
pub mod manifest;
pub mod outgoing;
pub mod prove;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod take;
pub mod throwaway;
pub mod worker;

pub use id::SnapshotId;
pub use manifest::{Manifest, Proof};
