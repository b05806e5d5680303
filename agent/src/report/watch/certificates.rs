//! The reading of the certificates of this box's sites.

use super::{Area, Graph, Kind, Range, Reading, Seen, Unit, What};
use crate::report::CertificateStatus;

static GRAPH: Graph = Graph {
    name: "agentd_certificate",
    title: "node-agent: time until the first certificate ends",
    axis: "seconds",
    info: "The time left until the first of the certificates ends that sites of this box are served with; negative: it has ended.",
};

/// Whoever renews certificates does so a month ahead: after two weeks of that something is wrong.
const WARNING: f64 = 14.0 * 24.0 * 3600.0;
/// Visitors are about to be turned away.
const CRITICAL: f64 = 3.0 * 24.0 * 3600.0;

static LEFT: What = What {
    area: Area::Run,
    name: "certificate_left",
    metric: "certificate_expires_timestamp",
    kind: Kind::Left,
    unit: Unit::Seconds,
    graph: &GRAPH,
    label: "until the first one ends",
    help: "When the first of the certificates ends that sites of this machine are served with",
    says: |it| {
        if it.number < 0.0 {
            format!("a certificate ended {} ago", it.age())
        } else {
            format!("a certificate ends in {}", it.age())
        }
    },
    todo: "renew it: agentctl status names the file",
    covered_by: &[],
};

/// None on a box without sites that speak TLS.
pub(super) fn readings(seen: Seen<'_>) -> Option<Reading> {
    let certificates = &seen.status?.certificates;
    let first = certificates.iter().map(|one| one.until).min()?;
    Some(
        Reading::moment(&LEFT, Some(first))
            .warns(Range::at_least(WARNING))
            .alarms(Range::at_least(CRITICAL))
            .because(certificates.iter().map(CertificateStatus::line).collect()),
    )
}
