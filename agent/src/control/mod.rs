//! The control socket: how `agentctl` asks the daemon on the same box.
//!
//! One JSON line asks, JSON lines answer, then the connection ends. Whoever can open the socket may
//! ask: it belongs to root and its group (0660). Not how the daemon carries requests out.

pub mod client;
pub mod messages;
pub mod server;

/// The socket, under the root.
pub const SOCKET: &str = "/run/agentd/agentd.sock";

#[cfg(test)]
mod tests;
