//! The digest of many things whose order does not matter: the sum of their digests.

use crate::system::digest::Sha256;

/// A sum of digests, and of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    count: u64,
    sum: u128,
}

impl Sum {
    /// Adds one.
    pub(super) fn add(&mut self, hash: Sha256) {
        let first: u128 = hash
            .finish()
            .iter()
            .take(16)
            .fold(0, |number, byte| (number << 8) | u128::from(*byte));
        self.sum = self.sum.wrapping_add(first);
        self.count += 1;
    }

    /// Adds all of another one.
    pub(super) fn join(&mut self, other: &Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.count += other.count;
    }

    /// How many were added.
    pub(super) const fn count(self) -> u64 {
        self.count
    }

    /// As hexadecimal digits.
    pub(super) fn hex(self) -> String {
        format!("{:032x}", self.sum)
    }
}
