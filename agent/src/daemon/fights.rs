//! Somebody who rewrites what the agent keeps, again and again: noticed, told, and not fought at full speed. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// So many repairs of one path ...
const REPAIRS: usize = 5;
/// ... within so long are a fight.
const WITHIN: Duration = Duration::from_mins(1);
/// The first pause before the next repair; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// A path left alone for so long is at peace.
const PEACE: Duration = Duration::from_mins(10);

/// The paths that were repaired of late.
#[derive(Debug, Default)]
pub(super) struct Fights {
    paths: BTreeMap<PathBuf, Fight>,
}

#[derive(Debug, Default)]
struct Fight {
    /// The last repairs, at most [`REPAIRS`].
    repairs: VecDeque<Instant>,
    /// The present pause; zero before it is a fight.
    pause: Duration,
}

impl Fight {
    fn last(&self) -> Option<Instant> {
        self.repairs.back().copied()
    }

    fn until(&self) -> Option<Instant> {
        (!self.pause.is_zero())
            .then(|| self.last().map(|last| last + self.pause))
            .flatten()
    }
}

impl Fights {
    /// A path was repaired. Returns whether that makes it a fight.
    pub(super) fn repaired(&mut self, path: &Path, now: Instant) -> bool {
        self.paths
            .retain(|_, fight| fight.last().is_some_and(|last| now < last + PEACE));
        let fight = self.paths.entry(path.into()).or_default();
        fight.repairs.push_back(now);
        if fight.repairs.len() > REPAIRS {
            fight.repairs.pop_front();
        }
        if !fight.pause.is_zero() {
            fight.pause = (fight.pause * 2).min(LONGEST_PAUSE);
            return false;
        }
        let begins = fight.repairs.len() == REPAIRS
            && fight
                .repairs
                .front()
                .is_some_and(|first| now < *first + WITHIN);
        if begins {
            fight.pause = FIRST_PAUSE;
        }
        begins
    }

    /// When the path may be repaired: now, or after a pause.
    pub(super) fn repair_at(&self, path: &Path, now: Instant) -> Instant {
        self.paths
            .get(path)
            .and_then(Fight::until)
            .map_or(now, |until| until.max(now))
    }

    /// One line for each fight that goes on.
    pub(super) fn told(&self, now: Instant) -> Vec<String> {
        let on = |fight: &Fight| {
            !fight.pause.is_zero() && fight.last().is_some_and(|last| now < last + PEACE)
        };
        self.paths
            .iter()
            .filter(|(_, fight)| on(fight))
            .map(|(path, fight)| {
                format!(
                    "somebody rewrites {} again and again: find out who (another configuration tool?) and stop it, or take it out of the document; it is repaired only every {} now",
                    path.display(),
                    humantime::format_duration(fight.pause)
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/etc/hosts";

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_person_who_tries_a_few_times_is_no_fight() {
        let mut fights = Fights::default();
        let start = Instant::now();
        for minute in 0..20 {
            let now = start + secs(minute * 20);
            fights.repaired(Path::new(PATH), now);
            assert_eq!(fights.repair_at(Path::new(PATH), now), now);
        }
        assert!(fights.told(start + secs(400)).is_empty());
    }

    #[test]
    fn a_hot_loop_is_slowed_told_and_forgotten_in_peace() {
        let mut fights = Fights::default();
        let mut now = Instant::now();
        let (mut repairs, mut begun) = (0, 0);
        let end = now + secs(3_600);
        // The other side writes each second.
        while now < end {
            now += secs(1);
            if fights.repair_at(Path::new(PATH), now) <= now {
                begun += u32::from(fights.repaired(Path::new(PATH), now));
                repairs += 1;
            }
        }
        assert!((15..25).contains(&repairs), "{repairs} repairs in an hour");
        assert_eq!(begun, 1, "it is news once");
        let told = fights.told(now);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(PATH) && told[0].contains("5m"), "{told:?}");
        assert_eq!(fights.repair_at(Path::new("/etc/other"), now), now);

        now += PEACE;
        assert!(fights.told(now).is_empty());
        fights.repaired(Path::new(PATH), now);
        assert_eq!(fights.repair_at(Path::new(PATH), now), now);
    }
}
