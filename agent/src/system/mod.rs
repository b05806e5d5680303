//! The ground floor: files, commands with deadlines, clocks, accounts, the platform table.
//!
//! The only place with system calls. It knows nothing of fleets or resources.

pub mod account_files;
pub mod accounts;
pub mod archive;
pub mod certificate;
pub mod clock;
pub mod command;
pub mod connections;
pub mod crash;
pub mod digest;
pub mod disk;
pub mod file;
pub mod interactive;
pub mod lock;
pub mod machine_marks;
pub mod memory;
pub mod mounts;
pub mod object;
pub mod outside;
pub mod own_thread;
pub mod package_manager;
pub mod platform;
pub mod ports;
pub mod presence;
pub mod process;
pub mod random;
pub mod readable;
pub mod root;
pub mod routes;
pub mod socket;
pub mod spelling;
pub mod systemd;
pub mod tail;
pub mod unit_environment;

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
