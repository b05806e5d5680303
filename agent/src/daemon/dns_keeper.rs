//! Keeping this box's own records in DNS: there while it is ready to take visitors, away while it is not.
//!
//! A task of its own: a name server that does not answer holds up nothing. What it goes by comes from the loop: the document, what
//! the smoke tests say, what a person has ordered.

mod aims;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::bucket::{backoff, phase};
use crate::dns::{DnsError, Key, Left, NameServer, NameWish, OwnedRecord, OwnedRecords};
use crate::fleet::names::{DnsServer, HostName};
use crate::report::DnsStatus;
use crate::settings::DnsSettings;
use crate::system::file::{Files, Found};
use crate::system::{chain, clock};

pub(super) use aims::{Aim, Aims, Course, Known, aims};

/// What others may have changed is looked at this often.
const EVERY: Duration = Duration::from_mins(5);
/// The same while addresses stay that should go.
const SOON: Duration = Duration::from_mins(1);
/// What failed is tried again from this on, ever later.
const RETRY: Duration = Duration::from_secs(10);
/// What a key's file may be as long as, at most.
const LONGEST_KEY: usize = 16 * 1024;

/// The side of the event loop.
pub(super) struct DnsKeeper {
    aims: watch::Sender<Option<Aims>>,
    state: watch::Receiver<Vec<DnsStatus>>,
    task: tokio::task::JoinHandle<()>,
}

impl DnsKeeper {
    /// Begins to keep what is aimed at. `name` spreads the looks of a fleet that booted together.
    pub(super) fn start(files: Files, settings: DnsSettings, name: String) -> Self {
        let (aims, aimed) = watch::channel(None);
        let (told, state) = watch::channel(Vec::new());
        let keeping = Keeping {
            files,
            settings,
            name,
            told,
        };
        Self {
            aims,
            state,
            task: tokio::spawn(keeping.keep(aimed)),
        }
    }

    /// What is to become of this box's names from now on.
    pub(super) fn aim(&self, aims: Aims) {
        self.aims.send_if_modified(|last| {
            let is_news = last.as_ref() != Some(&aims);
            if is_news {
                *last = Some(aims);
            }
            is_news
        });
    }

    /// Nothing is put there any more for now, and nothing is taken away that was to stay: why.
    pub(super) fn rest(&self, why: &str) {
        self.aims.send_if_modified(|last| {
            let names = last.iter_mut().flat_map(|aims| &mut aims.names);
            let mut is_news = false;
            for aim in names.filter(|aim| aim.course == Course::Join) {
                aim.course = Course::Stay(why.into());
                is_news = true;
            }
            is_news
        });
    }

    /// How that goes.
    pub(super) fn status(&self) -> Vec<DnsStatus> {
        self.state.borrow().clone()
    }
}

impl Drop for DnsKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task.
struct Keeping {
    files: Files,
    settings: DnsSettings,
    name: String,
    told: watch::Sender<Vec<DnsStatus>>,
}

/// Where a name is changed, and with what.
struct Place {
    zone: HostName,
    server: DnsServer,
    key: PathBuf,
}

impl Keeping {
    async fn keep(self, mut aimed: watch::Receiver<Option<Aims>>) {
        let mut failures = 0_u32;
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                changed = aimed.changed() => if changed.is_err() { return },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let Some(aims) = aimed.borrow_and_update().clone() else {
                continue;
            };
            let done = self.round(&aims).await;
            let is_well = done.iter().all(|status| status.error.is_none());
            let stays = (done.iter()).any(|one| one.present == Some(true) && !one.wanted);
            failures = if is_well {
                0
            } else {
                failures.saturating_add(1)
            };
            self.tell(done);
            let wait = if is_well && stays {
                // The last of a name goes soon after another has come.
                SOON
            } else if is_well {
                EVERY + phase(&self.name, EVERY) / 10
            } else {
                backoff(RETRY, failures).min(EVERY)
            };
            due = Some(Instant::now() + wait);
        }
    }

    /// Has all names be as they should.
    async fn round(&self, aims: &Aims) -> Vec<DnsStatus> {
        let mut owned = match OwnedRecords::load(&self.files) {
            Ok(owned) => owned,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(event = "state-not-read", error, "{error}");
                return self.told.borrow().clone();
            }
        };
        let mut all = Vec::new();
        for aim in &aims.names {
            all.push(self.name(aim, aims, &mut owned).await);
        }
        // What this box has put there and nothing asks for any more: names that left the document, addresses of before.
        let wanted = |record: &OwnedRecord| {
            aims.names.iter().any(|aim| {
                aim.wish.name == record.name && aim.wish.addresses.contains(&record.address)
            })
        };
        let left: Vec<OwnedRecord> = (owned.records.iter())
            .filter(|record| !wanted(record))
            .cloned()
            .collect();
        for record in left {
            let is_anothers = aims.of_others.contains(&record.address);
            all.extend(self.leave_behind(&record, is_anothers, &mut owned).await);
        }
        all
    }

    async fn name(&self, aim: &Aim, aims: &Aims, owned: &mut OwnedRecords) -> DnsStatus {
        let wish = &aim.wish;
        let mut status = DnsStatus {
            name: wish.name.to_string(),
            product: wish.product.clone(),
            addresses: wish.addresses.clone(),
            present: None,
            wanted: aim.course == Course::Join,
            reason: match &aim.course {
                Course::Join => String::new(),
                Course::Leave(why) | Course::Stay(why) => why.clone(),
            },
            checked: Some(clock::now()),
            error: None,
        };
        let place = match self.place(wish) {
            Ok(place) => place,
            Err(why) => {
                status.error = Some(why);
                return status;
            }
        };
        match self.change(aim, aims, &place, owned).await {
            Ok((present, note)) => {
                status.present = Some(present);
                if let Some(note) = note {
                    status.reason = note;
                }
            }
            Err(why) => status.error = Some(why),
        }
        status
    }

    /// Does it. Returns whether this box's addresses are there afterwards, and what a person should know.
    async fn change(
        &self,
        aim: &Aim,
        aims: &Aims,
        place: &Place,
        owned: &mut OwnedRecords,
    ) -> Result<(bool, Option<String>), String> {
        let told = |error: DnsError| chain(&error);
        let wish = &aim.wish;
        let (name, addresses) = (wish.name.as_str(), &wish.addresses);
        let server = self.server(place)?;
        match &aim.course {
            Course::Join => {
                // First on disk: what is not known to be this box's own would stay when the document lets go of it.
                let mut is_new = false;
                for address in addresses {
                    is_new |= owned.add(record(wish, place, *address));
                }
                if is_new {
                    owned.save(&self.files).map_err(|error| chain(&error))?;
                }
                let joined = server.join(name, addresses, wish.ttl).await;
                if joined.map_err(told)? {
                    tracing::info!(
                        event = "dns-joined",
                        name,
                        "this box's addresses are at {name}"
                    );
                }
                let dead = aims.of_dead.get(&wish.product);
                let dead = dead.map_or_else(BTreeSet::new, |dead| {
                    dead.difference(addresses).copied().collect()
                });
                if dead.is_empty() {
                    return Ok((true, None));
                }
                // This box's own stay, so that it is never the last that goes.
                if server.leave(name, &dead).await.map_err(told)? == Left::Gone {
                    let gone: Vec<String> = dead.iter().map(ToString::to_string).collect();
                    tracing::warn!(
                        event = "dns-dead-removed",
                        name,
                        addresses = gone.join(" "),
                        "the addresses of dead servers were taken away from {name}: {}",
                        gone.join(", ")
                    );
                }
                Ok((true, None))
            }
            Course::Leave(why) => {
                let own: BTreeSet<IpAddr> =
                    addresses.difference(&aims.of_others).copied().collect();
                let left = server.leave(name, &own).await.map_err(told)?;
                if left == Left::Last {
                    let note = format!(
                        "its addresses stay, for they are the last ones of {name}, though {why}"
                    );
                    return Ok((true, Some(note)));
                }
                if left == Left::Gone {
                    tracing::warn!(
                        event = "dns-left",
                        name,
                        why,
                        "this box has left {name}: {why}"
                    );
                }
                self.forget(owned, |record| {
                    record.name == wish.name && addresses.contains(&record.address)
                })?;
                Ok((false, None))
            }
            Course::Stay(_) => {
                let standing = server.addresses(name).await.map_err(told)?;
                Ok((standing.is_superset(addresses), None))
            }
        }
    }

    /// Takes away a record of before. `None`: it is gone, and nobody need know.
    async fn leave_behind(
        &self,
        record: &OwnedRecord,
        is_anothers: bool,
        owned: &mut OwnedRecords,
    ) -> Option<DnsStatus> {
        let place = Place {
            zone: record.zone.clone(),
            server: record.server.clone(),
            key: record.key.clone(),
        };
        let (name, address) = (record.name.as_str(), BTreeSet::from([record.address]));
        let gone = match self.server(&place) {
            // Another server's by now, which sees to it.
            _ if is_anothers => Ok(Left::Absent),
            Ok(server) => server.leave(name, &address).await.map_err(|e| chain(&e)),
            Err(why) => Err(why),
        };
        let error = match gone {
            Ok(Left::Absent) => self.forget(owned, |other| other == record).err()?,
            Ok(Left::Gone) => {
                tracing::warn!(
                    event = "dns-left",
                    name,
                    why = "nothing asks for it any more",
                    "this box has taken {} away from {name}: nothing asks for it any more",
                    record.address
                );
                self.forget(owned, |other| other == record).err()?
            }
            Ok(Left::Last) => format!(
                "{} stays at {name}, for it is the last address there, though nothing asks for it any more: put another there, or remove it by hand",
                record.address
            ),
            Err(why) => why,
        };
        Some(DnsStatus {
            name: name.to_owned(),
            product: record.product.clone(),
            addresses: address,
            present: Some(true),
            wanted: false,
            reason: "nothing asks for it any more".into(),
            checked: Some(clock::now()),
            error: Some(error),
        })
    }

    fn forget(
        &self,
        owned: &mut OwnedRecords,
        which: impl Fn(&OwnedRecord) -> bool,
    ) -> Result<(), String> {
        let before = owned.records.len();
        owned.records.retain(|record| !which(record));
        if owned.records.len() == before {
            return Ok(());
        }
        owned.save(&self.files).map_err(|error| chain(&error))
    }

    /// Where a name is changed: as the document says, or else the settings.
    fn place(&self, wish: &NameWish) -> Result<Place, String> {
        let missing = |what: &str| {
            format!(
                "neither the document nor [dns] of agentd.toml says {what}: {} is left alone",
                wish.name
            )
        };
        let server = wish.server.clone().or_else(|| self.settings.server.clone());
        let key = wish.key.as_ref().map(|key| PathBuf::from(key.as_str()));
        let key = key.or_else(|| self.settings.key.clone());
        Ok(Place {
            zone: wish.zone.clone(),
            server: server.ok_or_else(|| missing("which name server the zone's primary one is"))?,
            key: key.ok_or_else(|| missing("where the key of updates is"))?,
        })
    }

    fn server(&self, place: &Place) -> Result<NameServer, String> {
        let key = self.key(&place.key)?;
        NameServer::new(place.server.clone(), place.zone.as_str(), &key)
    }

    fn key(&self, path: &Path) -> Result<Key, String> {
        let shown = path.display();
        match self.files.read(path).map_err(|error| chain(&error))? {
            Found::File { attributes, .. } if attributes.mode & 0o077 != 0 => Err(format!(
                "others than root may read the key {shown}: chmod 0600 {shown}"
            )),
            Found::File { bytes, .. } if bytes.len() > LONGEST_KEY => {
                Err(format!("{shown} is too long to be a key"))
            }
            Found::File { bytes, .. } => Key::parse(&String::from_utf8_lossy(&bytes))
                .map_err(|error| format!("{shown} is no key of updates: {error}")),
            Found::Absent => Err(format!(
                "there is no key {shown}: make one with tsig-keygen, for this machine and the name server"
            )),
            _ => Err(format!("{shown} is no file")),
        }
    }

    /// Tells how it went, and the log what is new.
    fn tell(&self, done: Vec<DnsStatus>) {
        for status in &done {
            let before = self.told.borrow();
            let before = before.iter().find(|before| before.name == status.name);
            let before = before.and_then(|before| before.error.as_ref());
            match (&status.error, before) {
                (Some(error), None) => tracing::warn!(
                    event = "dns-failed",
                    name = status.name,
                    error,
                    "the records of {} are not as they should be: {error}",
                    status.name
                ),
                (None, Some(_)) => tracing::info!(
                    event = "dns-works",
                    name = status.name,
                    "the records of {} are looked after again",
                    status.name
                ),
                _ => {}
            }
        }
        self.told.send_replace(done);
    }
}

fn record(wish: &NameWish, place: &Place, address: IpAddr) -> OwnedRecord {
    OwnedRecord {
        product: wish.product.clone(),
        name: wish.name.clone(),
        address,
        zone: place.zone.clone(),
        server: place.server.clone(),
        key: place.key.clone(),
    }
}
