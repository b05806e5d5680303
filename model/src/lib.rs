//! A model of a product's servers, for the model checker: each runs the agent's own protocol machine.
//!
//! | part | what it models |
//! |---|---|
//! | [`world`] | servers, agents, the bucket with its compare-and-swap, requests under way, locks, dead-men |
//! | [`deed`] | what a machine wants done, done |
//! | [`fault`] | what can happen: time, answers early, late and never, crashes, cuts, hangs |
//! | [`hope`] | whether there is a master again, if nothing else happens |
//! | [`check`] | what must always hold, and the runs of the checker |
//!
//! Time is in ticks, one a renewal. It is always the same moment: with each tick everything remembered grows older,
//! and what is older than anybody asks for is as old as that. So the number of states is finite without a bound on time;
//! what bounds it is how many faults a history may have.

#![expect(
    clippy::indexing_slicing,
    reason = "a model that is wrong about its own numbers shall panic"
)]

pub mod check;
pub mod deed;
pub mod fault;
pub mod hope;
pub mod setups;
pub mod world;
