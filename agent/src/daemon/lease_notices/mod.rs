//! Notices: how machines that lead to a database's master hear at once that another server has become it.
//!
//! The agent of each database server lets the fleet's machines connect, says nothing, and ends all connections when another server
//! has begun to serve. To the others an ended connection means *look at the lease now*, and nothing else: what is believed is
//! what stands in the bucket, and whoever could forge a notice could only have it read once more. So the lease need not be read
//! each two seconds by everybody.
//!
//! It is a port of the agent's own. A connection that does not log in to the database's port would be ended after
//! `connect_timeout`, each of them counts as one that failed, and after `max_connect_errors` of them the server lets nobody in
//! from that machine.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | `listener` | on database servers: who is let in, when connections are ended |
//! | `subscriptions` | on all machines with leases to look at: connections that are held, and made again |

mod listener;
mod subscriptions;

pub(super) use listener::{NoticeListener, Plan};
pub(super) use subscriptions::Subscriptions;

use std::time::Duration;

/// The listener says so often that it is there, with a byte: an agent that is stopped keeps its connections, and no promise.
const ALIVE: Duration = Duration::from_secs(10);
