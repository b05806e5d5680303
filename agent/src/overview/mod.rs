//! What all machines of a fleet say of themselves, read from the bucket: bounded, at once, and again only what has changed. Not what
//! it comes to: that is [`crate::report::fleet_status`]; but for DNS, where name servers have a say.

mod fleet_dns;
mod reader;
mod summary;

pub use fleet_dns::{AddressRow, Answer, NameRow, Verdict, compare};
pub use reader::ReportReader;
pub use summary::{FRESH, Summary, SummaryError};
