//! The harness: what tests share.

pub mod agent;
pub mod bind;
pub mod browser;
pub mod database;
pub mod desk;
pub mod documents;
pub mod histories;
pub mod iam;
pub mod machine;
pub mod moto;
pub mod proxy;
pub mod repository;
pub mod s3;
pub mod scratch;
pub mod signing;
pub mod store;
pub mod strace;
pub mod terminal;
pub mod web;
