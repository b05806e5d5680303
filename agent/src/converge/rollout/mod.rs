//! Rollouts: how far a version may go. What the bucket says of it, and what must be seen before it may go on.
//!
//! `rollouts/N.json` is a fact, not intent: machines and desks may open the next wave or halt, and nothing else follows from it.
//! Where it is missing, the first wave may take the version. How a machine goes by it stands in `intake::staging`.

mod gate;
mod progress;

pub use gate::{Decision, Gate};
pub use progress::{Halt, Opening, Progress, ProgressError, Read, Written, change, parse, read};
