//! The harness: what tests share.

pub mod machine;
pub mod proxy;
pub mod s3;
