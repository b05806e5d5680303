//! The harness: what tests share.
