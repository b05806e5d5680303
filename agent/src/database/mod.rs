//! The databases of a product: which server is the master, and how another one takes over.
//!
//! The map of the room. Its only shared thing is the bucket; its only arbiter is the *lease*, one object a product.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | [`lease`] | what a lease says, and what no lease may say |
//! | [`store`] | reading and replacing a lease with compare-and-swap; what to make of a doubtful answer |
//! | [`semantics`] | the probe of a bucket's conditional writes, before anything is staked on them |
//! | [`event`] | the record of each change of master |
//! | [`driver`] | the protocol carried out: one thread a product |
//! | [`protocol`] | who may serve, who takes over, and when: pure |
//! | [`hold`] | a person's word that nothing changes by itself for now |
//! | [`gtid`] | positions in the stream of transactions: read, compared, counted |
//! | [`deadman`] | what closes a server to its clients when its agent no longer says that it may serve |
//! | [`archive`] | the binary log in the bucket: what is committed between two snapshots |
//! | [`snapshot`] | copies of the databases in the bucket: taken, restored, shown to be restorable |
//! | [`server`] | database servers: what is asked of one and done to it, `MariaDB`'s way and `MySQL`'s |
//!
//! What a machine without the database does with leases, following them, stands in [`crate::node`] (what it means)
//! and [`crate::converge`] (what is asked and kept). Nobody but the agents of a product's database servers writes
//! leases; nobody ever deletes one.

pub mod archive;
pub mod deadman;
pub mod driver;
pub mod event;
pub mod gtid;
pub mod hold;
pub mod lease;
pub mod protocol;
pub mod semantics;
pub mod server;
pub mod snapshot;
pub mod store;
