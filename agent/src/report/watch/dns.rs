//! The reading of this box's own records in DNS.

use super::run::TROUBLES;
use super::{Area, Kind, Range, Reading, Seen, Unit, What};
use crate::report::DnsStatus;

static DNS: What = What {
    area: Area::Run,
    name: "dns",
    metric: "dns_names_in_trouble",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &TROUBLES,
    label: "DNS names",
    help: "Names at which this machine's own records are not as they should be, or cannot be seen",
    says: |it| format!("DNS: {}", it.first("a name")),
    todo: "agentctl status",
    covered_by: &[],
};

pub(super) fn readings(seen: Seen<'_>) -> Vec<Reading> {
    let lines = seen.status.map(|status| {
        let troubled = status.dns.iter().filter(|dns| dns.error.is_some());
        troubled.map(DnsStatus::line).collect::<Vec<_>>()
    });
    vec![
        Reading::count(&DNS, lines.as_ref().map(|lines| lines.len() as u64))
            .warns(Range::at_most(0.0))
            .because(lines.unwrap_or_default()),
    ]
}
