//! What came of a history, as a line of JSON; what came of all, as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::check;
use super::evidence::Evidence;
use super::plan::Plan;
use crate::database::Became;

/// What came of one history.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// Writes that were acknowledged, that failed, of which nothing is known.
    pub writes: [usize; 3],
    /// Acknowledged and not there.
    pub lost: usize,
    /// The longest time without an acknowledgement, in milliseconds.
    pub outage: u64,
    /// How many changes of master there were.
    pub changes: u64,
    /// From the end of the last fault until the fleet was whole, in milliseconds.
    pub settled: u64,
    /// Servers that ended kept out.
    pub quarantined: Vec<String>,
    /// What does not hold.
    pub violations: Vec<String>,
    /// How long all of it took, in milliseconds.
    pub took: u64,
}

impl Outcome {
    /// Judges a history. `settled` and `took` are in milliseconds.
    pub fn of(plan: Plan, evidence: &Evidence, settled: u64, took: u64) -> Self {
        let count = |became| {
            let writes = evidence.record.writes.iter();
            writes.filter(|write| write.became == became).count()
        };
        let last = evidence.lease.as_ref().map_or(0, |lease| lease.epoch);
        let kept_out = evidence.servers.iter().filter(|server| server.quarantined);
        Self {
            plan,
            writes: [
                count(Became::Ok),
                count(Became::Failed),
                count(Became::Unknown),
            ],
            lost: check::lost(evidence).len(),
            outage: evidence.record.outage(),
            changes: last.saturating_sub(evidence.before.epoch),
            settled,
            quarantined: kept_out.map(|server| server.name.clone()).collect(),
            violations: check::violations(evidence),
            took,
        }
    }

    /// The one fault and its target, or that there were several.
    fn what(&self) -> String {
        let faults: BTreeSet<_> = self.plan.strikes.iter().map(|it| it.fault).collect();
        match (faults.len(), self.plan.strikes.first()) {
            (1, Some(strike)) => format!("{} {}", strike.fault, strike.target),
            _ => "(several)".into(),
        }
    }

    /// The line of the results' file.
    pub fn line(&self) -> Value {
        let faults: Vec<_> = self.plan.strikes.iter().map(|it| it.fault.name()).collect();
        let [ok, failed, unknown] = self.writes;
        json!({
            "seed": self.plan.seed, "plan": self.plan.to_string(), "what": self.what(), "faults": faults, "semi_sync": self.plan.semi_sync,
            "ok": ok, "failed": failed, "unknown": unknown, "lost": self.lost, "outage_ms": self.outage,
            "changes": self.changes, "settled_ms": self.settled, "quarantined": self.quarantined,
            "violations": self.violations, "took_ms": self.took,
        })
    }
}

/// By fault, and in all: how many, the outages, the losses.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut by_fault: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        by_fault.entry(outcome.what()).or_default().push(outcome);
    }
    let mut out = format!(
        "{:<32} {:>5} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6} {:>8} {:>6} {:>5}\n",
        "what alone",
        "runs",
        "min",
        "median",
        "p95",
        "max",
        "changes",
        "lost",
        "unknown",
        "quarr.",
        "wrong"
    );
    for (name, outcomes) in &by_fault {
        row(&mut out, name, outcomes);
    }
    row(&mut out, "all", &outcomes.iter().collect::<Vec<_>>());
    out.push_str("min to max: the longest time without an acknowledged write in each history, in milliseconds\n");
    out
}

fn row(out: &mut String, name: &str, outcomes: &[&Outcome]) {
    let mut outages: Vec<u64> = outcomes.iter().map(|it| it.outage).collect();
    outages.sort_unstable();
    let share = |percent: usize| quantile(&outages, percent);
    let total = |of: fn(&Outcome) -> usize| outcomes.iter().map(|it| of(it)).sum::<usize>();
    let changes: u64 = outcomes.iter().map(|it| it.changes).sum();
    let _ = writeln!(
        out,
        "{name:<32} {:>5} {:>7} {:>7} {:>7} {:>7} {changes:>7} {:>6} {:>8} {:>6} {:>5}",
        outcomes.len(),
        share(0),
        share(50),
        share(95),
        share(100),
        total(|it| it.lost),
        total(|it| it.writes[2]),
        total(|it| it.quarantined.len()),
        total(|it| usize::from(!it.violations.is_empty())),
    );
}

/// The nearest rank, of sorted numbers; 0 where there are none.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_numbers_that_were_measured() {
        let numbers: Vec<u64> = (1..=20).collect();
        let of = |percent| quantile(&numbers, percent);
        assert_eq!([of(0), of(50), of(95), of(100)], [1, 10, 19, 20]);
        assert_eq!(quantile(&[], 50), 0);
    }
}
