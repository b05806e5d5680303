//! Database servers: what is asked of one, what is done to one, and how it is spoken to.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | [`Server`] | all that is done to one server, each with a deadline; nothing that would not be safe |
//! | [`Observation`] | what a server says of itself |
//! | [`Lock`] | a user-level lock held on a server by an open session |
//! | [`Dialect`] | what differs between `MariaDB` and `MySQL`: statements, and how answers read |
//! | [`Process`] | the server's process on this machine: killing it, and knowing that it is gone |
//! | [`audit`] | what the server's own configuration must say |
//! | [`omissions`] | what makes it lack what its source has: filters, skipped errors, engines without rows |
//! | [`idle_writes`] | whether such transactions change anything, and forgetting those that do not |
//! | [`surplus`] | the transactions that another server lacks, saved as statements |
//! | [`credentials`] | the file with the accounts |
//!
//! It decides nothing: what is done when stands in `protocol`. Whatever it refuses, it refuses because the server's own
//! behaviour would lose or mix transactions; the error says what a person can do.

pub(in crate::database) mod accounts;
pub mod audit;
pub mod credentials;
mod dialect;
pub(in crate::database) mod dump;
mod error;
pub mod idle_writes;
mod instance;
mod lock;
mod mariadb;
mod mysql;
mod observation;
pub mod omissions;
mod process;
mod replicate;
mod reseed;
mod scheduler;
mod semi_sync;
mod session;
pub mod surplus;
#[cfg(test)]
mod tests;

pub use dialect::{Dialect, ObservationRows, Source, Unreadable};
pub use error::ServerError;
pub use instance::{Closed, HeartbeatResult, Server};
pub use lock::{Lock, lock_name};
pub use mariadb::MariaDb;
pub use mysql::MySql;
pub use observation::{Observation, Replication, SemiSync, Thread, ThreadState};
pub use process::Process;
pub use reseed::{Progress, ReseedError};
pub use semi_sync::Log;
pub use session::{Place, Row, Session, Statement, Target};
