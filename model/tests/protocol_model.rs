//! The failover protocol, model-checked: what must always hold does, in all states of small worlds; and each part of the
//! protocol is needed, for without it the checker finds the history that shows why.

use node_agent_model::setups;

/// More than any of the short setups has: a search that ends at this has not seen everything.
const MOST: usize = 3_000_000;

#[test]
fn no_history_makes_two_masters_loses_what_was_received_or_ends_without_a_master() {
    let mut reached = Vec::new();
    let mut states = 0;
    for setup in setups::short() {
        let name = setup.name;
        let verdict = setup.check(MOST, 2, None);
        assert!(verdict.broken.is_empty(), "{name}: {:#?}", verdict.broken);
        assert!(verdict.whole, "{name} has more than {MOST} states");
        eprintln!("{name}: {} states", verdict.states);
        states += verdict.states;
        reached.extend(verdict.reached);
    }
    eprintln!("{states} states");
    // A model in which nothing happens would hold as well.
    for wanted in ["a failover", "a switchover", "a master by its locks"] {
        assert!(reached.contains(&wanted), "{wanted} never happened");
    }
}

#[test]
fn without_any_one_part_of_the_protocol_the_checker_finds_out() {
    for (setup, property) in setups::broken(false) {
        let name = setup.name;
        let verdict = setup.check(MOST, 2, Some(property));
        let found = verdict
            .broken
            .iter()
            .find(|(broken, _)| *broken == property);
        let found = found.map(|(_, steps)| steps.len());
        assert!(
            found.is_some(),
            "{name}: `{property}` was to be broken, found {:?} in {} states",
            verdict.broken,
            verdict.states
        );
        eprintln!(
            "{name}: found in {} states, after {found:?} steps",
            verdict.states
        );
    }
}
