//! What a server is in its product, by the document and the settings.

use super::servers::{ServerId, Servers};
use crate::settings::Timing;

/// What a server is in its product, by the document and the settings. It changes with the document only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rules {
    /// This server.
    pub me: ServerId,
    /// The document's chain, in its order.
    pub chain: Vec<ServerId>,
    /// The chain's servers that are never made master by themselves.
    pub never: Servers,
    /// Whether masters change without a person.
    pub automatic: bool,
    /// Whether the bucket's conditional writes are known to be what leases need. Without that no lease is made or taken
    /// over; one that stands is kept.
    pub bucket: bool,
    /// Whether a lease of another name may stand in the bucket that a server of this chain owns: no first one is made then.
    pub other_lease: bool,
    /// All replicate from the owner, none from another replica: where its commits wait for a replica's word, and the word of
    /// one that hangs on another replica is none.
    pub abreast: bool,
    /// The times.
    pub timing: Timing,
    /// What is left out. Nothing, except where a test shows that it would be noticed.
    pub omit: Omissions,
}

/// Parts of the protocol that can be left out, so that a test shows that each is needed. The daemon leaves out none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Omissions {
    /// Ownership counts from when the answer came, not from when the request was sent.
    pub sent_time: bool,
    /// A refused write is taken for a bucket that is away.
    pub refusal_fences: bool,
    /// A master goes on while the bucket is away without holding any lock.
    pub masters_locks: bool,
    /// A candidate takes over without asking for the lock on its own server.
    pub candidates_lock: bool,
    /// A candidate takes over though the lease lists others, and not him.
    pub listed: bool,
    /// What was received is not applied before the source is forgotten.
    pub drain: bool,
    /// A master that cannot be reached is taken for closed although nothing outside its agent closes it.
    pub unreachable_is_open: bool,
    /// A server is opened by a confirmation that is older than what was done since.
    pub recheck: bool,
    /// A server that replicates from nobody is taken for one that has all that the last owner had.
    pub given: bool,
    /// The gate is taken away as soon as the server is closed.
    pub gate: bool,
}

impl Rules {
    /// The candidates to follow `owner`, in their order.
    pub fn candidates(&self, owner: ServerId) -> impl Iterator<Item = ServerId> + '_ {
        self.chain
            .iter()
            .copied()
            .filter(move |&server| server != owner && !self.never.contains(server))
    }

    /// On which servers this one, as the owner, wants locks to go on without the bucket. Itself where there is no
    /// candidate: then nobody may take over who is added later, before the owner knows of him.
    pub fn eligible(&self) -> Servers {
        let others: Servers = self.candidates(self.me).collect();
        if others.is_empty() {
            Servers::of(self.me)
        } else {
            others
        }
    }

    /// From whom this server replicates, as long as `owner` is the master: from the one before it in the chain, with
    /// the owner first. A server outside the chain replicates from the owner, and so does everybody where they stand
    /// abreast.
    pub fn source(&self, owner: ServerId) -> ServerId {
        if self.abreast {
            return owner;
        }
        let mut before = owner;
        for &server in self.chain.iter().filter(|&&server| server != owner) {
            if server == self.me {
                return before;
            }
            before = server;
        }
        owner
    }
}
