//! The protocol's numbers for servers and for versions of the lease: it knows no names.

use crate::bucket;
use crate::database::lease::Lease;
use crate::database::protocol::{Ms, Rules, ServerId, Servers, Tag, View};
use crate::database::store::Stored;
use crate::fleet::Name;
use crate::system::clock;

use super::context::Context;

/// The numbers of servers. A name keeps its number; no product has so many that they run out.
#[derive(Debug, Default)]
pub(super) struct ServerIds(Vec<Name>);

/// The highest number: a server that came when all others were given has it, and is nobody's candidate.
const LAST: u8 = 31;

impl ServerIds {
    pub(super) fn id(&mut self, name: &Name) -> ServerId {
        let place = self.0.iter().position(|known| known == name);
        let place = place.unwrap_or_else(|| {
            self.0.push(name.clone());
            self.0.len() - 1
        });
        ServerId(u8::try_from(place).unwrap_or(LAST).min(LAST))
    }

    pub(super) fn name(&self, id: ServerId) -> Option<&Name> {
        self.0.get(usize::from(id.0)).filter(|_| id.0 < LAST)
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
            abreast: context.semi_sync,
            timing: context.timing(),
            omit: crate::database::protocol::Omissions::default(),
        }
    }

    /// A lease as the protocol sees it.
    pub(super) fn view(&mut self, lease: &Lease, tag: Tag) -> View {
        let age = clock::now().duration_since(lease.since).as_millis();
        View {
            tag,
            epoch: lease.epoch,
            owner: self.id(&lease.owner),
            state: lease.state,
            armed: lease.armed,
            held: lease.held.iter().map(|name| self.id(name)).collect(),
            to: lease.to.as_ref().map(|name| self.id(name)),
            ttl: lease.ttl_ms,
            age: Ms::try_from(age).unwrap_or(0),
            planned: lease.planned,
            opening: lease.opening,
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
