//! What happens in a history, drawn from its seed.

use std::fmt;

use super::dice::Dice;
use super::fault::{Fault, Lasts, STEPS, Target};
use super::times::Times;

/// One fault at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// What.
    pub fault: Fault,
    /// Whom.
    pub target: Target,
    /// The other end, of what has two.
    pub other: Target,
    /// When, in milliseconds after the writers have begun.
    pub at: u64,
    /// For how long, in milliseconds; 0: it is over at once.
    pub lasts: u64,
    /// A variant's number: which status, which step.
    pub variant: u64,
}

/// A history to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// It is drawn from this.
    pub seed: u64,
    /// Semi-synchronous replication is on.
    pub semi_sync: bool,
    /// One to three faults, by their moments.
    pub strikes: Vec<Strike>,
}

impl Strike {
    /// The step at which a [`Fault::StepKill`] kills.
    pub fn step(&self) -> &'static str {
        let many = u64::try_from(STEPS.len()).unwrap_or(1).max(1);
        let at = usize::try_from(self.variant % many).unwrap_or(0);
        STEPS.get(at).copied().unwrap_or_default()
    }
}

impl Plan {
    /// The history of this seed, with these faults alone (all that there are, in general) and moments that suit the times.
    pub fn draw(seed: u64, faults: &[Fault], times: &Times) -> Self {
        let mut dice = Dice::new(seed);
        let ttl = times.ttl;
        // In rows of ten seeds: it costs a fleet that begins anew.
        let semi_sync = seed / 10 % 4 == 3;
        // Most histories have one fault, or nobody could say what an outage is due to.
        let many = match dice.between(1, 10) {
            1..=5 => 1,
            6..=8 => 2,
            _ => 3,
        };
        let mut strikes = Vec::new();
        for _ in 0..many {
            let Some(fault) = dice.one_of(faults) else {
                continue;
            };
            let target = if fault.targets().contains(&Target::Master) && dice.percent(50) {
                Target::Master
            } else {
                dice.one_of(fault.targets()).unwrap_or(Target::Master)
            };
            let others = [Target::Master, Target::Candidate, Target::Second];
            let others: Vec<_> = others.into_iter().filter(|it| *it != target).collect();
            strikes.push(Strike {
                fault,
                target,
                other: dice.one_of(&others).unwrap_or(Target::Candidate),
                at: dice.between(0, ttl * 6 / 5),
                lasts: match fault.lasts() {
                    Lasts::Moment => 0,
                    Lasts::Any => dice.between(ttl / 10, ttl * 2),
                    Lasts::Long => dice.between(ttl * 3 / 2, ttl * 5 / 2),
                },
                variant: dice.between(0, 999),
            });
        }
        strikes.sort_by_key(|strike| strike.at);
        Self {
            seed,
            semi_sync,
            strikes,
        }
    }

    /// When the last fault is over, in milliseconds after the writers have begun.
    pub fn over(&self) -> u64 {
        let ends = self.strikes.iter().map(|strike| strike.at + strike.lasts);
        ends.max().unwrap_or(0)
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.fault, self.target)?;
        match self.fault {
            Fault::CutPair | Fault::CutOneWay => write!(out, "/{}", self.other)?,
            Fault::StepKill => write!(out, " ({})", self.step())?,
            _ => {}
        }
        write!(out, " at {} ms", self.at)?;
        if self.lasts > 0 {
            write!(out, " for {} ms", self.lasts)?;
        }
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "seed {}: ", self.seed)?;
        if self.semi_sync {
            out.write_str("semi-sync, ")?;
        }
        let strikes: Vec<_> = self.strikes.iter().map(ToString::to_string).collect();
        out.write_str(&strikes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_history_and_all_faults_are_drawn() {
        let draw = |seed| Plan::draw(seed, Fault::ALL, &Times::FAST);
        assert_eq!(draw(7), draw(7));
        let all: Vec<_> = (0..2000).flat_map(|seed| draw(seed).strikes).collect();
        for fault in Fault::ALL {
            let of: Vec<_> = all.iter().filter(|it| it.fault == *fault).collect();
            for target in fault.targets() {
                assert!(of.iter().any(|it| it.target == *target), "{fault} {target}");
            }
        }
        for step in STEPS {
            assert!(all.iter().any(|it| it.step() == *step), "{step}");
        }
        assert!(all.iter().all(|it| it.target != it.other));
    }

    #[test]
    fn only_the_faults_that_were_asked_for_are_drawn() {
        let asked = [Fault::Power, Fault::Freeze];
        let strikes = (0..100).flat_map(|seed| Plan::draw(seed, &asked, &Times::FAST).strikes);
        assert!(strikes.into_iter().all(|it| asked.contains(&it.fault)));
    }
}
