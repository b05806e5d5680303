//! What all machines of a fleet say of themselves, read from the bucket: bounded, at once, and again only what has changed. Not what
//! it comes to: that is [`crate::report::fleet_status`].

mod reader;
mod summary;

pub use reader::ReportReader;
pub use summary::{FRESH, Summary, SummaryError};
