//! What must always hold, and the runs of the checker.

use std::hash::{DefaultHasher, Hash, Hasher};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::fault::Happening;
use crate::world::{Node, Setup, World, Wrong};

impl Model for Setup {
    type State = World;
    type Action = Happening;

    fn init_states(&self) -> Vec<World> {
        vec![World::settled(self)]
    }

    fn actions(&self, world: &World, happenings: &mut Vec<Happening>) {
        world.happenings(self, happenings);
    }

    fn next_state(&self, world: &World, what: Happening) -> Option<World> {
        let mut next = world.clone();
        next.happen(self, what);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWO, |_, world: &World| world.writable().len() <= 1),
            Property::always(STOPS, |_, world: &World| {
                world.nodes.iter().all(|node| node.refused < Some(2))
            }),
            Property::always(SHUT, |setup: &Setup, world: &World| {
                let masters = world.writable().len();
                !setup.deadman || masters == 0 || !world.nodes.iter().any(Node::is_abused)
            }),
            Property::always("epochs are unique and grow", |_, world: &World| {
                world.wrong != Some(Wrong::Epoch)
            }),
            Property::always(FRESH, |_, world: &World| world.wrong != Some(Wrong::Fresh)),
            Property::always("nothing received is thrown away", |_, world: &World| {
                world.wrong != Some(Wrong::Relay)
            }),
            Property::always("a switchover loses nothing", |_, world: &World| {
                world.wrong != Some(Wrong::Switchover)
            }),
            Property::always(
                "one failover in a cool-down",
                |setup: &Setup, world: &World| world.failovers <= 1 || setup.timing.cooldown == 0,
            ),
            Property::always(OWN, |_, world: &World| world.wrong != Some(Wrong::Errant)),
            Property::always(
                "no moment without a master",
                |setup: &Setup, world: &World| !setup.steady || !world.writable().is_empty(),
            ),
            // Looked for from some of the states only, chosen by what they are: it takes as long as a hundred states.
            Property::always("a master again", |setup: &Setup, world: &World| {
                let mut hasher = DefaultHasher::new();
                world.hash(&mut hasher);
                let number = hasher.finish();
                !number.is_multiple_of(setup.look)
                    || world.has_hope(setup, (number / setup.look).is_multiple_of(2))
            }),
            Property::sometimes("a failover", |_, world: &World| {
                world.failovers > 0 && !world.writable().is_empty()
            }),
            Property::sometimes("a switchover", |_, world: &World| {
                world.failovers == 0
                    && world.object.is_some_and(|object| object.epoch > 1)
                    && !world.writable().is_empty()
            }),
            Property::sometimes("a master by its locks", |_, world: &World| world.by_locks),
        ]
    }
}

/// The property that matters most.
pub const TWO: &str = "never two masters";

/// A lease is taken over only once its owner has stopped.
pub const FRESH: &str = "no takeover of a fresh lease";

/// Who was refused a write of the lease does not go on.
pub const STOPS: &str = "a master that is refused stops";

/// Clients that write to whom they reach do not write beside the master.
pub const SHUT: &str = "an old master is shut until it follows";

/// What a server has that its masters lacked stays out.
pub const OWN: &str = "nobody with a history of his own becomes master";

/// What a run of the checker found.
#[derive(Debug)]
pub struct Verdict {
    /// Different states.
    pub states: usize,
    /// The longest history.
    pub depth: usize,
    /// Whether all states were seen.
    pub whole: bool,
    /// What can happen at all: a failover, a switchover, a master by its locks.
    pub reached: Vec<&'static str>,
    /// What does not hold, and the shortest history that shows it.
    pub broken: Vec<(&'static str, Vec<String>)>,
}

impl Setup {
    /// Searches all states, up to `most`; stops at the first property that does not hold, or once `wanted` does not.
    pub fn check(self, most: usize, threads: usize, wanted: Option<&'static str>) -> Verdict {
        let finish = wanted.map_or(HasDiscoveries::AnyFailures, |wanted| {
            HasDiscoveries::AllOf([wanted].into())
        });
        let checker = self
            .checker()
            .threads(threads)
            .target_state_count(most)
            .finish_when(finish)
            .spawn_bfs()
            .join();
        let mut reached = Vec::new();
        let mut broken = Vec::new();
        for (name, path) in checker.discoveries() {
            if checker
                .model()
                .property(name)
                .expectation
                .discovery_is_failure()
            {
                let steps = path.into_actions();
                let steps = steps.iter().map(|step| format!("{step:?}"));
                broken.push((name, steps.collect::<Vec<_>>()));
            } else {
                reached.push(name);
            }
        }
        reached.sort_unstable();
        Verdict {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            whole: broken.is_empty() && checker.state_count() < most,
            reached,
            broken,
        }
    }
}
