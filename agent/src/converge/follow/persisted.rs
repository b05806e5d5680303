//! The leases as they are persisted over a restart: `/var/lib/agentd/epochs.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::converge::state;
use crate::fleet::Name;
use crate::node::{Elected, Elections};
use crate::system::file::{FileError, Files};

const FILE: &str = "epochs.json";

/// The file: each product's highest epoch, and the owner that the box goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PersistedEpochs {
    format: u32,
    /// Products that are in the document no more stay: should they come back, their epochs go on.
    products: BTreeMap<Name, PersistedLease>,
}

impl Default for PersistedEpochs {
    fn default() -> Self {
        Self {
            format: 1,
            products: BTreeMap::new(),
        }
    }
}

/// What is kept of one product's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PersistedLease {
    /// The highest epoch that was seen, and its owner.
    pub(super) highest: Elected,
    /// The owner that the box goes by: of the highest epoch, or of the one before it while that one's owner is not
    /// serving yet. `None`: nobody was serving yet in any epoch that was seen.
    pub(super) elected: Option<Elected>,
}

impl PersistedEpochs {
    pub(super) fn load(files: &Files) -> Result<Self, FileError> {
        Ok(state::load(files, FILE)?.unwrap_or_default())
    }

    pub(super) fn save(&self, files: &Files) -> Result<(), FileError> {
        state::save(files, FILE, self)
    }

    pub(super) fn of(&self, product: &Name) -> Option<&PersistedLease> {
        self.products.get(product)
    }

    pub(super) fn keep(&mut self, product: &Name, lease: PersistedLease) {
        self.products.insert(product.clone(), lease);
    }

    /// Takes over what `other` has of a higher epoch, or of the same one after its owner began to serve.
    pub(super) fn take_higher(&mut self, other: Self) {
        let rank = |lease: &PersistedLease| {
            let elected = lease.elected.as_ref().map(|elected| elected.epoch);
            (lease.highest.epoch, elected)
        };
        for (product, lease) in other.products {
            let newer = self
                .of(&product)
                .is_none_or(|known| rank(known) < rank(&lease));
            if newer {
                self.keep(&product, lease);
            }
        }
    }

    pub(super) fn elections(&self) -> Elections {
        (self.products.iter())
            .filter_map(|(product, kept)| Some((product.clone(), kept.elected.clone()?)))
            .collect()
    }
}
