//! Flapping files: paths that somebody else rewrites again and again. Their repairs slow down, and the status names them.
//! Pure.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::report::text;

/// So many repairs of one path ...
const REPAIRS: usize = 5;
/// ... within so long are flapping.
const WITHIN: Duration = Duration::from_mins(1);
/// The first pause before the next repair; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// A path that was not repaired for so long does not flap any more.
const CALM_AFTER: Duration = Duration::from_mins(10);

/// The paths that were repaired of late, and how soon each may be repaired again.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    paths: BTreeMap<PathBuf, PathRepairs>,
}

#[derive(Debug, Default)]
struct PathRepairs {
    /// The last repairs, at most [`REPAIRS`].
    repairs: VecDeque<Instant>,
    /// When the last one was, by the clock.
    last_at: Option<Timestamp>,
    /// The present pause; zero where it does not flap.
    pause: Duration,
}

impl PathRepairs {
    fn last(&self) -> Option<Instant> {
        self.repairs.back().copied()
    }

    fn until(&self) -> Option<Instant> {
        (!self.pause.is_zero())
            .then(|| self.last().map(|last| last + self.pause))
            .flatten()
    }
}

impl Flapping {
    /// A path was repaired. `at`: the same moment, by the clock. Returns whether it flaps from now on.
    pub(super) fn repaired(&mut self, path: &Path, now: Instant, at: Timestamp) -> bool {
        self.paths
            .retain(|_, repairs| repairs.last().is_some_and(|last| now < last + CALM_AFTER));
        let recent = self.paths.entry(path.into()).or_default();
        recent.repairs.push_back(now);
        recent.last_at = Some(at);
        if recent.repairs.len() > REPAIRS {
            recent.repairs.pop_front();
        }
        if !recent.pause.is_zero() {
            recent.pause = (recent.pause * 2).min(LONGEST_PAUSE);
            return false;
        }
        let begins = recent.repairs.len() == REPAIRS
            && recent
                .repairs
                .front()
                .is_some_and(|first| now < *first + WITHIN);
        if begins {
            recent.pause = FIRST_PAUSE;
        }
        begins
    }

    /// When the path may be repaired: now, or after a pause.
    pub(super) fn repair_at(&self, path: &Path, now: Instant) -> Instant {
        self.paths
            .get(path)
            .and_then(PathRepairs::until)
            .map_or(now, |until| until.max(now))
    }

    /// One line for each path that flaps.
    pub(super) fn warnings(&self, now: Instant) -> Vec<String> {
        let on = |recent: &PathRepairs| {
            !recent.pause.is_zero() && recent.last().is_some_and(|last| now < last + CALM_AFTER)
        };
        self.paths
            .iter()
            .filter(|(_, recent)| on(recent))
            .map(|(path, recent)| {
                let last = recent.last_at.map_or_else(String::new, |at| {
                    format!(", last at {}", text::moment(at))
                });
                format!(
                    "somebody rewrites {} again and again{last}: find out who (another configuration tool?) and stop it, or take it out of the document; it is repaired only every {} now; where it has ended: agentctl status --ack",
                    path.display(),
                    humantime::format_duration(recent.pause)
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
    fn a_person_who_tries_a_few_times_is_not_flapping() {
        let mut flapping = Flapping::default();
        let start = Instant::now();
        for minute in 0..20 {
            let now = start + secs(minute * 20);
            flapping.repaired(Path::new(PATH), now, Timestamp::UNIX_EPOCH);
            assert_eq!(flapping.repair_at(Path::new(PATH), now), now);
        }
        assert!(flapping.warnings(start + secs(400)).is_empty());
    }

    #[test]
    fn a_hot_loop_is_slowed_reported_and_forgotten_once_it_is_calm() {
        let mut flapping = Flapping::default();
        let mut now = Instant::now();
        let (mut repairs, mut begun) = (0, 0);
        let end = now + secs(3_600);
        // The other side writes each second.
        while now < end {
            now += secs(1);
            if flapping.repair_at(Path::new(PATH), now) <= now {
                begun += u32::from(flapping.repaired(Path::new(PATH), now, Timestamp::UNIX_EPOCH));
                repairs += 1;
            }
        }
        assert!((15..25).contains(&repairs), "{repairs} repairs in an hour");
        assert_eq!(begun, 1, "it is news once");
        let warnings = flapping.warnings(now);
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains(PATH) && warnings[0].contains("5m"),
            "{warnings:?}"
        );
        assert_eq!(flapping.repair_at(Path::new("/etc/other"), now), now);

        now += CALM_AFTER;
        assert!(flapping.warnings(now).is_empty());
        flapping.repaired(Path::new(PATH), now, Timestamp::UNIX_EPOCH);
        assert_eq!(flapping.repair_at(Path::new(PATH), now), now);
    }
}
