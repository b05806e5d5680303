//! Which server of a chain is the master now, and which one serves as a replica.

use crate::fleet::{Database, Fleet, Name, ServerState};

/// The present master of a product's database: the first of its chain. An elected master, once there are
/// elections, is decided here and nowhere else.
pub fn master(database: &Database) -> Option<&Name> {
    database.chain.first()
}

/// The server that replica aliases lead to: the first active one of the chain that is not the master, else a
/// draining one (it still replicates), else the master itself.
pub fn replica<'f>(fleet: &'f Fleet, database: &'f Database) -> Option<&'f Name> {
    let master = master(database)?;
    let in_state = |wanted: ServerState| {
        database.chain.iter().find(|name| {
            *name != master
                && fleet
                    .servers
                    .get(*name)
                    .is_some_and(|server| server.state == wanted)
        })
    };
    in_state(ServerState::Active)
        .or_else(|| in_state(ServerState::Draining))
        .or(Some(master))
}
