//! What keeps a record from being looked at or changed, in words that say what to do.

use std::io;

/// A name server was asked in vain.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// It cannot be reached.
    #[error("the name server {server} cannot be reached")]
    Unreachable {
        /// Which.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says nothing.
    #[error("the name server {server} did not answer within {secs} s")]
    Silent {
        /// Which.
        server: String,
        /// The deadline, in seconds.
        secs: u64,
    },
    /// What it says is no answer.
    #[error("what the name server {server} says is not understood: {what}")]
    Foreign {
        /// Which.
        server: String,
        /// Why.
        what: String,
    },
    /// One of both clocks is wrong.
    #[error(
        "the name server {server} refuses this machine's clock, which is {off} s {direction} its own: set the one that is wrong (chronyc tracking)"
    )]
    Clock {
        /// Which.
        server: String,
        /// By how much, in seconds.
        off: u64,
        /// `ahead of` or `behind`.
        direction: &'static str,
    },
    /// It does not know the key.
    #[error(
        "the name server {server} knows no key {key}: the name of the key and its algorithm must be the same in both files"
    )]
    UnknownKey {
        /// Which.
        server: String,
        /// The key's name.
        key: String,
    },
    /// It knows another secret by that name.
    #[error(
        "the name server {server} has another secret for the key {key}: put the same file on both machines"
    )]
    WrongKey {
        /// Which.
        server: String,
        /// The key's name.
        key: String,
    },
    /// What it answers is not signed as it should be: somebody else may have answered.
    #[error("the answer of the name server {server} is not signed with the key {key}")]
    Unsigned {
        /// Which.
        server: String,
        /// The key's name.
        key: String,
    },
    /// The zone is not its own.
    #[error(
        "the name server {server} does not answer for the zone {zone}: name the zone's primary server"
    )]
    NotItsZone {
        /// Which.
        server: String,
        /// The zone.
        zone: String,
    },
    /// The key may not do that.
    #[error(
        "the name server {server} refuses it to the key {key}: its update-policy must grant the key A and AAAA of {name}"
    )]
    Refused {
        /// Which.
        server: String,
        /// The key's name.
        key: String,
        /// The name.
        name: String,
    },
    /// What the update requires is not so (any more).
    #[error("the records of {name} have changed in this moment, again and again")]
    Changed {
        /// The name.
        name: String,
    },
    /// It took the update, and the record is not there.
    #[error(
        "the name server {server} took the record of {name}, and does not have it: is there a CNAME of that name?"
    )]
    NotKept {
        /// Which.
        server: String,
        /// The name.
        name: String,
    },
    /// It answers with an error of another kind.
    #[error("the name server {server} answers {code} to what concerns {name}")]
    Failed {
        /// Which.
        server: String,
        /// Its code, as DNS calls it.
        code: String,
        /// The name.
        name: String,
    },
}
