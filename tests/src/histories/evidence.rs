//! What a history leaves behind: the clients' records, the servers' contents, the bucket's events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use node_agent::database::event::Event;
use node_agent::database::lease::Lease;

use super::ask::{is_quarantined, leads_to, said};
use super::stage::Stage;
use crate::database::{Record, rows, server_id, sql};
use crate::machine::{Machine, Trouble, wait_until};

/// For how long a server that does not answer, or is not level, is asked again: one whose disk was full looks at it each minute.
const ANSWERS: Duration = Duration::from_secs(75);
/// For how long a server must be told as kept out.
const DOUBT: Duration = Duration::from_secs(3);

/// A server at the end of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AtEnd {
    /// Its name.
    pub name: String,
    /// Its `server_id`.
    pub number: u32,
    /// Its address.
    pub address: String,
    /// It takes writes.
    pub writable: bool,
    /// Its agent says that it is kept out.
    pub quarantined: bool,
    /// It has all that the master had executed (by GTID).
    pub level: bool,
    /// The rows that the writers wrote; `None`: it does not answer.
    pub rows: Option<BTreeSet<u64>>,
    /// `CHECKSUM TABLE` of the tables.
    pub checksum: String,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What clients saw.
    pub record: Record,
    /// The servers.
    pub servers: Vec<AtEnd>,
    /// The lease before.
    pub before: Lease,
    /// The lease at the end; `None`: there is none, or none that is understood.
    pub lease: Option<Lease>,
    /// The events of the epochs since `before`, its own included, as far as they are there.
    pub events: BTreeMap<u64, Event>,
    /// Where each web machine finds the master.
    pub leads: Vec<(String, Option<String>)>,
    /// Semi-synchronous replication was on.
    pub semi_sync: bool,
    /// How old the position in the lease may be when its owner stops, in milliseconds: L, and two renewals.
    pub unknown_window: u64,
    /// Why the fleet did not become whole; `None`: it did.
    pub unsettled: Option<String>,
}

impl Stage<'_> {
    /// Looks at everything, once nobody writes any more.
    pub(super) fn look(
        &self,
        record: Record,
        before: Lease,
        semi_sync: bool,
        unsettled: Option<String>,
    ) -> Result<Evidence, Trouble> {
        let lease = self.lease().ok().flatten();
        let last = lease.as_ref().map_or(before.epoch, |lease| lease.epoch);
        // The event is written a moment after the first write is possible.
        let whole = || {
            self.world
                .bucket
                .get(&format!("prod/events/shop/{last}.json"))
                .is_ok_and(|event| event.is_some())
        };
        let _ = wait_until("the last event", Duration::from_secs(5), whole);
        let mut events = BTreeMap::new();
        for epoch in before.epoch..=last {
            let text = self
                .world
                .bucket
                .get(&format!("prod/events/shop/{epoch}.json"))?;
            if let Some(text) = text {
                let event = serde_json::from_str(&text)
                    .map_err(|e| Trouble::caused(format!("event {epoch}: {text}"), e))?;
                events.insert(epoch, event);
            }
        }
        let owner = lease.as_ref().map(|lease| lease.owner.to_string());
        let owner = owner.unwrap_or_default();
        let position = self
            .databases()
            .into_iter()
            .find(|machine| machine.name() == owner)
            .and_then(said)
            .map(|said| said.gtid);
        let servers = std::thread::scope(|scope| {
            let all: Vec<_> = self
                .databases()
                .into_iter()
                .map(|machine| {
                    let (position, owner) = (position.as_deref(), owner.as_str());
                    scope.spawn(move || at_end(machine, position, owner))
                })
                .collect();
            all.into_iter()
                .filter_map(|one| one.join().ok())
                .collect::<Vec<_>>()
        });
        let webs = self.webs();
        let leads = webs
            .into_iter()
            .map(|web| (web.name().to_owned(), leads_to(web)));
        Ok(Evidence {
            record,
            servers,
            before,
            lease,
            events,
            leads: leads.collect(),
            semi_sync,
            unknown_window: self.times.stop_serving + 2 * self.times.renew + self.times.timeout,
            unsettled,
        })
    }
}

fn at_end(machine: &Machine, position: Option<&str>, owner: &str) -> AtEnd {
    let mut end = AtEnd {
        name: machine.name().to_owned(),
        number: server_id(machine.address()),
        address: machine.address().to_owned(),
        ..AtEnd::default()
    };
    let mut answer = None;
    let _ = wait_until("it to answer", ANSWERS, || {
        answer = said(machine);
        answer.is_some()
    });
    let Some(said) = answer else {
        return end;
    };
    end.writable = said.writable;
    let wait = format!(
        "SELECT MASTER_GTID_WAIT('{}', 1)",
        position.unwrap_or_default()
    );
    // What is told for a moment, while it looks again, does not count.
    let kept_out = || wait_until("no quarantine", DOUBT, || !is_quarantined(machine)).is_err();
    // One whose disk was full becomes either only later.
    let _ = wait_until("it to have caught up, or to be kept out", ANSWERS, || {
        end.level = machine.name() == owner || sql(machine, &wait).is_ok_and(|said| said == "0");
        end.level || is_quarantined(machine) && kept_out()
    });
    end.quarantined = kept_out();
    // A connection that is cut meanwhile, by a fence or a full disk, is no difference.
    let _ = wait_until("its rows", ANSWERS, || {
        end.rows = rows(machine).ok();
        let sums = sql(machine, "CHECKSUM TABLE shop.orders, shop.others");
        end.checksum = sums.unwrap_or_default();
        end.rows.is_some() && !end.checksum.is_empty()
    });
    end
}
