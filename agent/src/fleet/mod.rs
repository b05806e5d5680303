//! The fleet document: its model, its typed strings, how it is read and checked. No input or output.

mod account;
pub mod advice;
mod bundle;
mod check;
mod clusters;
mod cron_run;
mod dns;
mod document;
mod draft;
mod envelope;
mod evict;
mod file;
mod findings;
mod locate;
mod measure;
mod model;
pub mod names;
mod package;
mod php;
mod pointer;
mod position;
pub mod release;
mod rollout;
mod schema;
mod secret;
mod service;
mod shape;
pub mod signing;
mod site;
pub(crate) mod strict;
mod take_over;
mod text_edit;
mod tls;
mod tree;
mod walk;
mod wording;

pub use account::{Group, User};
pub use bundle::{Bundle, applies, bundles};
pub use clusters::{Clusters, DatabaseCluster};
pub use cron_run::CronRun;
pub use dns::{Dns, DnsKey};
pub use document::{Document, DocumentId, Refused};
pub use draft::Draft;
pub use envelope::{Signature, sealed, signed_part, unsealed};
pub use evict::{Evict, EvictPart};
pub use file::FileEntry;
pub use findings::{Mistake, OtherPlace};
pub use model::{
    Aliases, Cache, CacheList, Cluster, CronJob, Database, Fleet, ListFormat, MEMCACHED, MONITOR,
    Product, Role, Server, ServerState, Snapshots, WEB,
};
pub use names::Name;
pub use package::Package;
pub use php::{Php, PoolManager};
pub use pointer::Pointer;
pub use release::{BeforeSwitch, Release, SmokeTest};
pub use rollout::Rollout;
pub use schema::schema;
pub use secret::SecretSource;
pub use service::{AtBoot, Service};
pub use site::{BasicAuth, DirectoryOption, Override, Redirect, Satisfy, Scheme, Site};
pub use take_over::take_over;
pub use text_edit::{Edit, EditError};
pub use tls::{Tls, TlsKey};
