//! The archive of a product's binary log: what is committed between two snapshots, in the bucket within seconds.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | [`gtid`] | one transaction's number; the last one of each domain |
//! | [`events`] | the binary log's events, as far as they say where transactions begin and end |
//! | [`segment`] | what a piece of a binary log is called in the bucket, and what it says of itself |
//! | [`store`] | which logs and segments the bucket has; reading one, verified |
//! | [`ship`] | the snapshot server's binary log into the bucket |
//! | [`walk`] | the transactions of the archive in their order, across files, servers and changes of master |
//! | [`reach`] | how far a snapshot can be brought with the archive, and where that stops |
//! | [`replay`] | transactions into a server that a snapshot was restored into |
//! | [`search`] | the statement that did it, and the transaction before it |
//! | [`retention`] | which of it no snapshot needs any more |
//!
//! What is archived is the log of the snapshot server, not of the master: it has what the master has, by replication, in one line of
//! history across changes of master; reading it costs the master nothing; and its position is the one that snapshots are taken at.
//! The price is its lag, which the status counts to what would be lost.

pub mod events;
pub mod gtid;
pub mod reach;
pub mod replay;
pub mod retention;
pub mod search;
pub mod segment;
pub mod ship;
pub mod store;
pub mod walk;

pub use gtid::{Gtid, Tips};
