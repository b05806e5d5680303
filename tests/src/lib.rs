//! The harness: what tests share.

pub mod agent;
pub mod machine;
pub mod moto;
pub mod proxy;
pub mod s3;
pub mod store;
pub mod terminal;
pub mod web;
