//! How what was seen of the server looks to the protocol.

use crate::database::gtid::{Containment, Gtids};
use crate::database::lease::Lease;
use crate::database::protocol::{Health, History, Life, Replica, ServerId};
use crate::database::server::{Observation, ServerError, ThreadState};

/// Whether what has stopped the applying thread is in the data. A disk that was full, memory that was short, a lock that
/// was waited for too long are over one day, and the same transaction goes through then.
fn is_of_the_data((code, _): &(u16, String)) -> bool {
    !matches!(code, 1021 | 1026 | 1037 | 1038 | 1041 | 1114 | 1205 | 1213)
}

/// How the server looks to the protocol.
pub(super) fn health(
    seen: &Result<Observation, ServerError>,
    lease: Option<&Lease>,
    source: impl Fn(&str) -> Option<ServerId>,
    account: &str,
    errant: u64,
) -> Health {
    let dead = |life| Health {
        life,
        read_only: true,
        replica: None,
        missing: 0,
        applied: false,
        errant: 0,
        sane: false,
        history: History::Blank,
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(ServerError::Full { .. }) => return dead(Life::Full),
        Err(ServerError::NoProcess { .. }) => return dead(Life::Gone),
        Err(ServerError::Hangs { .. } | ServerError::Lost { .. }) => return dead(Life::Hangs),
        Err(_) => return dead(Life::Denied),
    };
    let goal = lease.filter(|lease| !lease.gtid.is_empty());
    let missing = goal.map_or(0, |lease| {
        // A position of another flavour cannot be compared: nobody takes over from what he does not understand.
        Gtids::parse(seen.flavour, &lease.gtid).map_or(u64::MAX, |goal| goal.beyond(&seen.reach()))
    });
    Health {
        life: Life::Answers,
        read_only: seen.read_only,
        replica: seen.replication.as_ref().map(|replication| Replica {
            source: source(&replication.host),
            receives: replication.io.state == ThreadState::Running,
            stopped: replication.io.state == ThreadState::Stopped,
            applies: replication.sql.state == ThreadState::Running,
            locked_out: replication.is_locked_out(account),
            broken: replication.io.state == ThreadState::Stopped && replication.io.error.is_some()
                || replication.sql.state == ThreadState::Stopped
                    && replication.sql.error.as_ref().is_some_and(is_of_the_data),
        }),
        missing,
        applied: seen.executed.contains(&seen.reach()) == Containment::Yes,
        errant,
        sane: seen.strict,
        history: history(seen, lease),
    }
}

/// How what a server has compares with what the lease's last owner had.
fn history(seen: &Observation, lease: Option<&Lease>) -> History {
    if seen.executed.is_empty() {
        return History::Blank;
    }
    let last = lease
        .and_then(|lease| lease.previous.as_ref())
        .and_then(|previous| Gtids::parse(seen.flavour, &previous.gtid).ok());
    match last.map(|last| last.contains(&seen.executed.tip())) {
        Some(Containment::Yes) => History::Contained,
        _ => History::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_one_day_is_told_from_what_is_in_the_data() {
        let of_the_data = |code| is_of_the_data(&(code, String::new()));
        // A full table space, a full disk, a lock's timeout.
        assert!(![1114, 1021, 1205].into_iter().any(of_the_data));
        // A row that is there already, one that is not there, a GTID out of order, a syntax error.
        assert!([1062, 1032, 1950, 1064].into_iter().all(of_the_data));
    }
}
