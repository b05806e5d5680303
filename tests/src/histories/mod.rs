//! Histories: real database servers on booted machines are broken in ways drawn from a seed, while clients write; then
//! the invariants of a failover are checked from what the clients saw and what the servers have.
//!
//! | part | what it is responsible for |
//! |---|---|
//! | `dice` | numbers from a seed |
//! | `fault` | what can be broken, by name |
//! | `times` | the protocol's times in a history |
//! | `plan` | what is broken when, drawn from the seed |
//! | `stage` | the machines: booted once, made whole, put back to the beginning |
//! | `ask` | what machines say of themselves |
//! | `strike` | each fault done and undone |
//! | `play` | one history from begin to end |
//! | `evidence` | what it left behind |
//! | `check` | what must hold of that |
//! | `timeline` | what happened when, for people |
//! | `sum` | results |
//!
//! What is broken how, what is checked and what came of it stands in `docs/failover-histories.md`.

mod ask;
pub mod check;
mod dice;
pub mod evidence;
pub mod fault;
pub mod plan;
mod play;
mod stage;
mod strike;
pub mod sum;
mod timeline;
pub mod times;

pub use fault::Fault;
pub use plan::Plan;
pub use play::{Played, play};
pub use stage::Stage;
pub use sum::{Outcome, table};
pub use times::{Pace, Times};
