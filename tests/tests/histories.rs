//! Promise: whatever is broken, there are never two masters, what is lost was declared, and the fleet becomes whole again
//! by itself. A few histories of the many that `cargo run -p node-agent-tests --bin histories` plays.
//!
//! Needs what `tests/setup` makes.

#![cfg(test)]

use node_agent_tests::histories::fault::Target;
use node_agent_tests::histories::{Fault, Plan, Stage, Times, plan::Strike, play};
use node_agent_tests::machine::Fleet;

/// The most telling ones, one after the other on the same machines: what, whom, for how many milliseconds, and whether
/// commits wait for a replica. That is switched on while the servers run.
const TELLING: [(Fault, Target, u64, bool); 9] = [
    (Fault::KillMysqld, Target::Master, 0, false),
    (Fault::Power, Target::Master, 5000, false),
    (Fault::CutAll, Target::Master, 5000, false),
    (Fault::CutBucket, Target::Master, 4000, false),
    (Fault::BucketHangs, Target::All, 4000, false),
    (Fault::DownAgent, Target::Master, 5000, false),
    (Fault::Freeze, Target::Master, 4500, false),
    (Fault::CutPair, Target::Candidate, 3000, true),
    (Fault::Power, Target::Master, 4000, true),
];

fn plans() -> Vec<Plan> {
    let one = |(number, (fault, target, lasts, semi_sync))| Plan {
        seed: number,
        semi_sync,
        strikes: vec![Strike {
            fault,
            target,
            other: if target == Target::Master {
                Target::Second
            } else {
                Target::Master
            },
            at: 300,
            lasts,
            variant: 0,
        }],
    };
    (0..).zip(TELLING).map(one).collect()
}

#[test]
fn whatever_is_broken_there_is_one_master_and_nothing_is_lost_without_a_word() {
    let fleet = Fleet::new().unwrap();
    let mut stage = Stage::boot(&fleet, Times::FAST).unwrap();
    let mut changes = 0;
    for plan in plans() {
        let played = play(&mut stage, &plan).unwrap();
        let outcome = &played.outcome;
        eprintln!("{}", outcome.line());
        assert!(outcome.violations.is_empty(), "{}", played.story);
        // A history in which nobody writes shows nothing.
        assert!(outcome.writes[0] > 50, "{}", outcome.line());
        changes += outcome.changes;
        if played.spoiled {
            stage.reset().unwrap();
        }
    }
    assert!(
        changes > 0,
        "no master was ever changed: the faults did not strike"
    );
}
