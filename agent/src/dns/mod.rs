//! This box's own records in DNS: dynamic updates (RFC 2136) that are signed (TSIG, RFC 8945), asked of the zone's primary
//! server.
//!
//! [`wanted()`] works out which records a box should have (pure), [`NameServer`] looks at a name and changes it. When that is
//! done is the daemon's business. What others have at a name always stays: addresses come and go by value, and the last of a
//! name never goes, by what the update itself requires of the server and not by a look before it.

mod error;
mod key;
mod message;
mod name_server;
mod owned;
mod wanted;

pub use error::DnsError;
pub use key::{Key, KeyError};
pub use name_server::{Left, NameServer, look_up};
pub use owned::{OwnedRecord, OwnedRecords};
pub use wanted::{NameWish, addresses, addresses_of_dead, addresses_of_others, wanted};
