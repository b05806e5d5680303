//! The reading of servers that were found dead.

use super::run::TROUBLES;
use super::{Area, Kind, Range, Reading, Seen, Unit, What};
use crate::report::EvictionStatus;

static EVICTED: What = What {
    area: Area::Run,
    name: "evicted",
    metric: "evicted_servers",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &TROUBLES,
    label: "dead servers",
    help: "Servers that this machine and others found dead, and that are left out of DNS or node lists since",
    says: |it| format!("dead: {}", it.first("a server")),
    todo: "agentctl status",
    covered_by: &[],
};

pub(super) fn readings(seen: Seen<'_>) -> Vec<Reading> {
    let lines = seen.status.map(|status| {
        // Those who found it dead say so; all others would only say the same.
        let is_witness = |one: &&EvictionStatus| {
            let here = status.node.name.as_ref();
            one.out && here.is_some_and(|here| one.by.contains(here))
        };
        let out = status.evictions.iter().filter(is_witness);
        out.map(EvictionStatus::line).collect::<Vec<_>>()
    });
    vec![
        Reading::count(&EVICTED, lines.as_ref().map(|lines| lines.len() as u64))
            .warns(Range::at_most(0.0))
            .because(lines.unwrap_or_default()),
    ]
}
