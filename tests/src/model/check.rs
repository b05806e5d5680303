//! What must always hold, and the runs of the checker.

use stateright::{Checker, Model, Property};

use super::fault::Happening;
use super::world::{Setup, World, Wrong};

/// Ticks after which there must be a master again, where there can be one.
const PATIENCE: u8 = 30;

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
            Property::always("never two masters", |_, world: &World| {
                world.writable().len() <= 1
            }),
            Property::always("epochs are unique and grow", |_, world: &World| {
                world.wrong != Some(Wrong::Epoch)
            }),
            Property::always("no takeover of a fresh lease", |_, world: &World| {
                world.wrong != Some(Wrong::Fresh)
            }),
            Property::always("nothing received is thrown away", |_, world: &World| {
                world.wrong != Some(Wrong::Relay)
            }),
            Property::always("a switchover loses nothing", |_, world: &World| {
                world.wrong != Some(Wrong::Switchover)
            }),
            Property::always("histories are not mixed", |_, world: &World| {
                world.wrong != Some(Wrong::Mixed)
            }),
            Property::always("one failover in a cool-down", |_, world: &World| {
                world.failovers <= 1
            }),
            Property::always("a master again", |_, world: &World| {
                world.waiting < PATIENCE
            }),
        ]
    }
}

/// What a run of the checker found.
#[derive(Debug)]
pub struct Verdict {
    /// Different states.
    pub states: usize,
    /// The longest history.
    pub depth: usize,
    /// Whether all states were seen.
    pub whole: bool,
    /// What does not hold, and the shortest history that shows it.
    pub broken: Vec<(&'static str, Vec<String>)>,
}

impl Setup {
    /// Searches all states, up to `most`; stops at the first property that does not hold.
    pub fn check(self, most: usize, threads: usize) -> Verdict {
        let checker = self
            .checker()
            .threads(threads)
            .target_state_count(most)
            .finish_when(stateright::HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let broken = checker
            .discoveries()
            .into_iter()
            .map(|(name, path)| {
                let steps = path.into_actions();
                (name, steps.iter().map(|step| format!("{step:?}")).collect())
            })
            .collect::<Vec<_>>();
        Verdict {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            whole: broken.is_empty() && checker.state_count() < most,
            broken,
        }
    }
}
