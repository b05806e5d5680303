//! The protocol's numbers for servers and for versions of the lease: it knows no names.

use crate::bucket;
use crate::database::lease::Lease;
use crate::database::protocol::{Ms, Rules, ServerId, Servers, Tag, View};
use crate::database::store::Stored;
use crate::fleet::Name;
use crate::system::{clock, machine_marks};

use super::context::Context;

/// The numbers of servers. A name keeps its number; no product has so many that they run out.
#[derive(Debug, Default)]
pub(super) struct ServerIds {
    names: Vec<Name>,
    /// This server's name, and its machine's marks.
    own: Option<(Name, Vec<String>)>,
    /// A machine with the very marks of this one writes under its name.
    twin: bool,
    /// How often somebody wrote over this server's own write, under its name.
    overwritten: u32,
}

/// The highest number: a server that came when all others were given has it, and is nobody's candidate.
const LAST: u8 = 31;
/// One write that is not known may have been under way when the agent was started anew. Two are another agent's.
const TWIN: u32 = 2;

impl ServerIds {
    pub(super) fn id(&mut self, name: &Name) -> ServerId {
        let place = self.names.iter().position(|known| known == name);
        let place = place.unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        });
        let place = u8::try_from(place).unwrap_or(LAST);
        ServerId(if place < ServerId::NAMESAKE.0 {
            place
        } else {
            LAST
        })
    }

    pub(super) fn name(&self, id: ServerId) -> Option<&Name> {
        let given = id.0 < ServerId::NAMESAKE.0;
        self.names.get(usize::from(id.0)).filter(|_| given)
    }

    /// A write of this server's was refused, and `there` stands in its place; `last` is the version that it was to replace.
    /// Whoever counts on from that under this server's name is no older version that somebody put back.
    pub(super) fn note_refusal(&mut self, there: &Lease, last: Option<&Lease>) {
        let follows = last.is_some_and(|last| {
            last.owner == there.owner && last.epoch == there.epoch && last.seq < there.seq
        });
        if follows && self.own.as_ref().is_some_and(|(me, _)| *me == there.owner) {
            self.overwritten += 1;
            self.twin |= self.overwritten >= TWIN;
        }
    }

    pub(super) fn list(&self, servers: Servers) -> Vec<Name> {
        let mut names: Vec<_> = servers
            .iter()
            .filter_map(|id| self.name(id).cloned())
            .collect();
        names.sort();
        names
    }

    /// The protocol's rules for a context.
    pub(super) fn rules(&mut self, context: &Context, trusted: bool) -> Rules {
        self.own = Some((context.me.clone(), context.machine.clone()));
        let me = self.id(&context.me);
        let chain = context
            .chain
            .iter()
            .map(|member| self.id(&member.name))
            .collect();
        Rules {
            me,
            chain,
            never: context
                .never
                .iter()
                .map(|name| self.id(name))
                .collect::<Servers>(),
            automatic: context.automatic(),
            bucket: trusted,
            other_lease: context.other_lease,
            abreast: context.semi_sync,
            timing: context.timing(),
            omit: crate::database::protocol::Omissions::default(),
        }
    }

    /// Whether a lease is that of another machine which goes by this server's name.
    fn is_namesakes(&self, lease: &Lease) -> bool {
        self.own.as_ref().is_some_and(|(me, marks)| {
            *me == lease.owner && (self.twin || machine_marks::are_others(&lease.machine, marks))
        })
    }

    /// A lease as the protocol sees it. `ours`: it is known to be of this agent's own writing.
    pub(super) fn view(&mut self, lease: &Lease, tag: Tag, ours: bool) -> View {
        let owner = if !ours && self.is_namesakes(lease) {
            ServerId::NAMESAKE
        } else {
            self.id(&lease.owner)
        };
        let age = clock::now().duration_since(lease.since).as_millis();
        View {
            tag,
            epoch: lease.epoch,
            owner,
            state: lease.state,
            armed: lease.armed,
            held: lease.held.iter().map(|name| self.id(name)).collect(),
            to: lease.to.as_ref().map(|name| self.id(name)),
            ttl: lease.ttl_ms,
            age: Ms::try_from(age).unwrap_or(0),
            planned: lease.planned,
            opening: lease.opening,
            observed: lease.observed,
            unopened: lease.unopened,
            complete: lease
                .previous
                .as_ref()
                .is_some_and(|previous| previous.complete),
        }
    }
}

/// The last version of the lease that is known, and its number.
#[derive(Debug, Default)]
pub(super) struct LeaseVersions {
    number: u64,
    last: Option<Stored>,
}

impl LeaseVersions {
    /// Takes note of a version, and says its number.
    pub(super) fn note(&mut self, stored: Stored) -> Tag {
        if self.last.as_ref().is_none_or(|last| last.tag != stored.tag) {
            self.number += 1;
        }
        self.last = Some(stored);
        Tag(self.number)
    }

    /// The version of this number, if it still is the last one.
    pub(super) fn get(&self, tag: Tag) -> Option<&Stored> {
        self.last.as_ref().filter(|_| tag.0 == self.number)
    }

    pub(super) fn last(&self) -> Option<&Lease> {
        self.last.as_ref().map(|stored| &stored.lease)
    }

    pub(super) fn tag(&self) -> Option<&bucket::Tag> {
        self.last.as_ref().map(|stored| &stored.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::lease::tests::lease;

    fn ids(me: &str, marks: &[&str]) -> ServerIds {
        let marks = marks.iter().map(|&mark| mark.to_owned()).collect();
        ServerIds {
            own: Some((me.parse().unwrap(), marks)),
            ..ServerIds::default()
        }
    }

    #[test]
    fn a_lease_under_this_servers_name_by_another_machine_is_anothers() {
        // Written by the machine with the mark 0123456789ab.
        let lease = lease("shop", "db-1");
        let owner = |ids: &mut ServerIds, ours| ids.view(&lease, Tag(1), ours).owner;
        let mut itself = ids("db-1", &["0123456789ab", "cccccccccccc"]);
        assert_ne!(owner(&mut itself, false), ServerId::NAMESAKE);
        let mut clone = ids("db-1", &["dddddddddddd"]);
        assert_eq!(owner(&mut clone, false), ServerId::NAMESAKE);
        // What it wrote itself, when its cards were others, is its own; and other names are others' anyway.
        assert_ne!(owner(&mut clone, true), ServerId::NAMESAKE);
        assert_ne!(
            owner(&mut ids("db-2", &["dddddddddddd"]), false),
            ServerId::NAMESAKE
        );
        assert_ne!(owner(&mut ids("db-1", &[]), false), ServerId::NAMESAKE);
    }

    #[test]
    fn a_clone_with_the_very_marks_is_known_by_its_second_write() {
        let mut one = ids("db-1", &["0123456789ab"]);
        let last = lease("shop", "db-1");
        let mut there = last.clone();
        // An old version that somebody has put back counts on from nothing.
        for _ in 0..5 {
            one.note_refusal(&there, Some(&last));
        }
        assert!(!one.is_namesakes(&there));
        there.seq += 1;
        one.note_refusal(&there, Some(&last));
        assert!(
            !one.is_namesakes(&there),
            "it may be a write from before a start"
        );
        one.note_refusal(&there, Some(&last));
        assert!(one.is_namesakes(&there));
    }

    #[test]
    fn numbers_that_mean_something_are_given_to_no_name() {
        let mut ids = ServerIds::default();
        for number in 0..40 {
            let name: Name = format!("db-{number}").parse().unwrap();
            assert_ne!(ids.id(&name), ServerId::NAMESAKE);
        }
    }
}
