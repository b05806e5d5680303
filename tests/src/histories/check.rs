//! The invariants: what must hold after each history, whatever was broken in it. Pure, on the evidence.

use std::collections::BTreeSet;

use super::evidence::{AtEnd, Evidence};
use crate::database::{Became, SERVERS, Write, server_id};

/// What a server says to a client whose connection it ends: then nobody knows whether the write was done.
const CUT: [&str; 4] = ["1927", "1317", "1053", "1152"];
/// How many are named in a sentence.
const NAMED: usize = 5;

/// Everything that does not hold, a sentence each, with the invariant's number first.
pub fn violations(evidence: &Evidence) -> Vec<String> {
    let checks = [
        one_master_at_a_time,
        losses_were_declared,
        nothing_is_lost_with_semi_sync,
        epochs_have_events,
        servers_are_alike,
        unknown_writes_are_there_or_not,
        refused_writes_are_not_there,
        all_are_led_to_the_one_master,
    ];
    let settled = evidence.unsettled.iter().map(|why| format!("I0 {why}"));
    let found = checks.iter().flat_map(|check| check(evidence));
    settled.chain(found).collect()
}

/// The acknowledged rows that the master of the end lacks.
pub fn lost(evidence: &Evidence) -> BTreeSet<u64> {
    evidence
        .master()
        .and_then(|master| master.rows.as_ref())
        .map(|rows| evidence.record.lost(rows))
        .unwrap_or_default()
}

impl Evidence {
    /// The owner of the lease at the end.
    fn master(&self) -> Option<&AtEnd> {
        let owner = self.lease.as_ref()?.owner.as_str();
        self.servers.iter().find(|server| server.name == owner)
    }

    /// The owners of the epochs from the one before the history on, by their events and the lease, as `server_id`s.
    fn owners(&self) -> Vec<u32> {
        let mut owners = vec![number(self.before.owner.as_str())];
        let later = self
            .events
            .iter()
            .filter(|(epoch, _)| **epoch > self.before.epoch);
        owners.extend(later.map(|(_, event)| number(event.owner.as_str())));
        // A missing event is I4's; who the last owner is the lease says too.
        let untold = self.lease.as_ref().filter(|lease| {
            lease.epoch > self.before.epoch && !self.events.contains_key(&lease.epoch)
        });
        owners.extend(untold.map(|lease| number(lease.owner.as_str())));
        owners
    }

    /// Those that must be alike.
    fn in_use(&self) -> impl Iterator<Item = &AtEnd> {
        self.servers.iter().filter(|server| !server.quarantined)
    }
}

fn number(name: &str) -> u32 {
    let found = SERVERS.iter().find(|(server, _)| *server == name);
    found.map_or(0, |(_, address)| server_id(address))
}

fn some(rows: &BTreeSet<u64>) -> String {
    let named: Vec<_> = rows.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if rows.len() > NAMED { ", …" } else { "" };
    format!("{} ({}{more})", rows.len(), named.join(", "))
}

/// I1: who acknowledged writes, in turn, are the owners of the epochs, in turn: two that take turns more often did so at once.
fn one_master_at_a_time(evidence: &Evidence) -> Vec<String> {
    let reigns = evidence.record.reigns();
    let owners = evidence.owners();
    let mut left = owners.iter().peekable();
    let in_turn = reigns.iter().all(|server| {
        while left.peek().is_some_and(|owner| *owner != server) {
            left.next();
        }
        left.peek().is_some()
    });
    if in_turn {
        return Vec::new();
    }
    vec![format!(
        "I1 two masters: writes were acknowledged by {reigns:?} in turn, the epochs from {} on were of {owners:?}",
        evidence.before.epoch
    )]
}

/// I2: what was acknowledged and is not there was acknowledged by a master that was replaced by a change whose event
/// admits a loss; and what it acknowledged before the last position that anybody could know of is in the event's number.
fn losses_were_declared(evidence: &Evidence) -> Vec<String> {
    let lost = lost(evidence);
    let mut found = Vec::new();
    for (server, writes) in evidence.record.reigns_with_writes() {
        let gone: Vec<&&Write> = writes
            .iter()
            .filter(|write| lost.contains(&write.id))
            .collect();
        if gone.is_empty() {
            continue;
        }
        let losses = evidence.events.iter().filter_map(|(epoch, event)| {
            let from = event.from.as_ref().map(|from| number(from.as_str()));
            (*epoch > evidence.before.epoch && from == Some(server))
                .then_some(event.loss.as_ref())
                .flatten()
        });
        let admitted: Vec<_> = losses.filter(|loss| !loss.none).collect();
        let ids: BTreeSet<u64> = gone.iter().map(|write| write.id).collect();
        if admitted.is_empty() {
            found.push(format!(
                "I2 lost, and no event admits a loss of server {server}: {}",
                some(&ids)
            ));
            continue;
        }
        let counted: u64 = admitted.iter().map(|loss| loss.at_least).sum();
        let last = writes.iter().map(|write| write.ended).max().unwrap_or(0);
        let known: BTreeSet<u64> = gone
            .iter()
            .filter(|write| write.ended + evidence.unknown_window < last)
            .map(|write| write.id)
            .collect();
        if u64::try_from(known.len()).unwrap_or(u64::MAX) > counted {
            found.push(format!(
                "I2 more is lost of server {server} than its event's {counted}, acknowledged more than {} ms before its last \
                 acknowledgement: {}",
                evidence.unknown_window,
                some(&known)
            ));
        }
    }
    found
}

/// I3: with semi-synchronous replication nothing that was acknowledged is lost.
fn nothing_is_lost_with_semi_sync(evidence: &Evidence) -> Vec<String> {
    let lost = lost(evidence);
    if !evidence.semi_sync || lost.is_empty() {
        return Vec::new();
    }
    vec![format!("I3 lost with semi-sync: {}", some(&lost))]
}

/// I4: epochs only grow, each has an event, and each event continues the one before it.
fn epochs_have_events(evidence: &Evidence) -> Vec<String> {
    let Some(lease) = &evidence.lease else {
        return vec!["I4 there is no lease".into()];
    };
    if lease.epoch < evidence.before.epoch {
        return vec![format!(
            "I4 the epoch went back from {} to {}",
            evidence.before.epoch, lease.epoch
        )];
    }
    let mut found = Vec::new();
    let mut owner = evidence.before.owner.clone();
    let mut nonces = BTreeSet::new();
    for epoch in evidence.before.epoch + 1..=lease.epoch {
        let Some(event) = evidence.events.get(&epoch) else {
            found.push(format!("I4 epoch {epoch} has no event"));
            continue;
        };
        let continues =
            evidence.events.contains_key(&(epoch - 1)) || epoch == evidence.before.epoch + 1;
        if event.epoch != epoch || (continues && event.from.as_ref() != Some(&owner)) {
            found.push(format!(
                "I4 the event of epoch {epoch} says epoch {}, from {:?}; before was {owner}",
                event.epoch,
                event.from.as_ref().map(ToString::to_string)
            ));
        }
        if !nonces.insert(event.nonce.to_string()) {
            found.push(format!("I4 two events have the nonce {}", event.nonce));
        }
        owner.clone_from(&event.owner);
    }
    if evidence.events.contains_key(&lease.epoch) && owner != lease.owner {
        found.push(format!(
            "I4 the lease is of {}, the last event of {owner}",
            lease.owner
        ));
    }
    found
}

/// I5: every server ends equal to the master, or is kept out, with reason.
fn servers_are_alike(evidence: &Evidence) -> Vec<String> {
    let Some(master) = evidence.master() else {
        return vec!["I5 there is no master to compare with".into()];
    };
    let mut found = Vec::new();
    for server in evidence.in_use() {
        let name = &server.name;
        if server.rows.is_none() {
            found.push(format!("I5 {name} does not answer"));
        } else if !server.level {
            found.push(format!(
                "I5 {name} has not got what {} has, and is not kept out",
                master.name
            ));
        } else if server.rows != master.rows || server.checksum != master.checksum {
            found.push(format!(
                "I5 {name} differs from {} and is not kept out",
                master.name
            ));
        }
    }
    for server in evidence.servers.iter().filter(|server| server.quarantined) {
        let same = server.rows == master.rows && server.checksum == master.checksum;
        if server.level && same && server.name != master.name {
            let name = &server.name;
            found.push(format!(
                "I5 {name} is kept out, and has what {} has and no more",
                master.name
            ));
        }
    }
    if master.quarantined {
        found.push(format!("I5 the master {} is kept out", master.name));
    }
    found
}

/// I6: a write of which the client does not know is there on all servers, or on none.
fn unknown_writes_are_there_or_not(evidence: &Evidence) -> Vec<String> {
    let all: Vec<_> = evidence
        .in_use()
        .filter_map(|server| server.rows.as_ref())
        .collect();
    let unknown = evidence
        .record
        .writes
        .iter()
        .filter(|write| write.became == Became::Unknown);
    let split: BTreeSet<u64> = unknown
        .map(|write| write.id)
        .filter(|id| {
            let on = all.iter().filter(|rows| rows.contains(id)).count();
            on > 0 && on < all.len()
        })
        .collect();
    if split.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "I6 unknown writes are on some servers only: {}",
        some(&split)
    )]
}

/// I7: a write that was refused is not there, unless its connection was cut.
fn refused_writes_are_not_there(evidence: &Evidence) -> Vec<String> {
    let Some(rows) = evidence.master().and_then(|master| master.rows.as_ref()) else {
        return Vec::new();
    };
    let mut ghosts = evidence.record.ghosts(rows);
    for write in &evidence.record.writes {
        if CUT.iter().any(|code| write.why.contains(code)) {
            ghosts.remove(&write.id);
        }
    }
    if ghosts.is_empty() {
        return Vec::new();
    }
    vec![format!("I7 refused, and there: {}", some(&ghosts))]
}

/// I8: exactly one server takes writes, it owns the lease, and web machines are led to it.
fn all_are_led_to_the_one_master(evidence: &Evidence) -> Vec<String> {
    let writable: Vec<_> = evidence
        .servers
        .iter()
        .filter(|server| server.writable)
        .collect();
    let names: Vec<_> = writable.iter().map(|server| server.name.as_str()).collect();
    let Some(master) = evidence.master() else {
        return vec![format!("I8 no master; writable: {names:?}")];
    };
    let mut found = Vec::new();
    if names != [master.name.as_str()] {
        found.push(format!(
            "I8 writable: {names:?}; the owner is {}",
            master.name
        ));
    }
    for (web, leads) in &evidence.leads {
        if leads.as_deref() != Some(master.address.as_str()) {
            found.push(format!(
                "I8 {web} is led to {}, the master is {}",
                leads.as_deref().unwrap_or("nobody"),
                master.address
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests;
