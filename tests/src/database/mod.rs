//! Real database servers for tests: by themselves on loopback, for what one server and its neighbours do; and on booted
//! machines with agents, for what a product's chain does. And what writers saw of it.

mod alone;
mod brand;
mod clients;
mod disk;
mod machines;
mod record;

pub use alone::{Alone, PEER, chain, chain_of};
pub use brand::Brand;
pub use clients::{insert, meanwhile, pause, settled};
pub use disk::Disk;
pub use machines::{
    DATA, DatabaseFleet, SERVERS, Setup, WEBS, database_config, document, rows, server_id, sql,
    try_sql,
};
pub use record::{Became, Record, Write};
