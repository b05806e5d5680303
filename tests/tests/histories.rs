//! Promise: whatever is broken, there are never two masters, what is lost was declared, and the fleet becomes whole again
//! by itself. A few histories of the many that `cargo run -p node-agent-tests --bin histories` plays.
//!
//! Needs what `tests/setup` makes.

#![cfg(test)]

use node_agent_tests::histories::fault::Target;
use node_agent_tests::histories::{Fault, Plan, Stage, Times, plan::Strike, play};
use node_agent_tests::machine::Fleet;

/// One history: what, whom, for how many milliseconds, which variant, and whether commits wait for a replica, which is switched
/// on while the servers run.
type Telling = (Fault, Target, u64, u64, bool);

/// The most telling ones, one after the other on the same machines.
const TELLING: [Telling; 10] = [
    (Fault::KillMysqld, Target::Master, 0, 0, false),
    (Fault::Power, Target::Master, 5000, 0, false),
    (Fault::CutAll, Target::Master, 5000, 0, false),
    (Fault::CutBucket, Target::Master, 4000, 0, false),
    (Fault::BucketHangs, Target::All, 4000, 0, false),
    (Fault::DownAgent, Target::Master, 5000, 0, false),
    (Fault::Freeze, Target::Master, 4500, 0, false),
    // The candidate's agent dies in the middle of its takeover, at `database: stop receiving`.
    (Fault::StepKill, Target::Candidate, 3000, 3, false),
    (Fault::CutPair, Target::Candidate, 3000, 0, true),
    (Fault::Power, Target::Master, 4000, 0, true),
];

fn plans() -> Vec<Plan> {
    let one = |(number, (fault, target, lasts, variant, semi_sync)): (u64, Telling)| Plan {
        seed: number,
        semi_sync,
        strikes: vec![Strike {
            fault,
            target,
            other: match target {
                Target::Master => Target::Second,
                _ => Target::Master,
            },
            at: 300,
            lasts,
            variant,
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
