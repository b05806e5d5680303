//! The fleet document: its model, its typed strings, how it is read and checked. No input or output.

mod document;
mod envelope;
mod model;
pub mod names;
mod pointer;
mod schedule;
mod strict;

pub use document::{Document, Mistake};
pub use envelope::Signature;
pub use model::{
    Aliases, Cache, CacheList, CronJob, CronRun, Database, Fleet, ListFormat, Product, Role,
    Server, ServerState, Site, Snapshots,
};
pub use names::Name;
pub use pointer::Pointer;
