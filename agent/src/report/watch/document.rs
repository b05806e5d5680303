//! Readings of the document that the box stands on, and of the newest one.

use super::run::TROUBLES;
use super::{Area, Graph, Kind, Range, Reading, Seen, Unit, What, patience};
use crate::report::DocumentStatus;

static AGE_GRAPH: Graph = Graph {
    name: "agentd_document_age",
    title: "node-agent: age of the document",
    axis: "seconds",
    info: "How long ago the bucket last said that the box's document is the present one.",
};

static EXPIRY_GRAPH: Graph = Graph {
    name: "agentd_document_expiry",
    title: "node-agent: time until the document expires",
    axis: "seconds",
    info: "The time left until the box's document expires; negative: it has expired, and is kept.",
};

static VERSION_GRAPH: Graph = Graph {
    name: "agentd_document_version",
    title: "node-agent: version of the document",
    axis: "version",
    info: "The version of the document that the box stands on.",
};

/// A document is renewed before its last three days, or its last quarter where it lives shorter.
const EXPIRY_WARNING_SECS: i64 = 3 * 24 * 3600;
/// One that expired so long ago has been forgotten. New boxes refuse it.
const EXPIRED_CRITICAL: f64 = -24.0 * 3600.0;

static AGE: What = What {
    area: Area::Document,
    name: "document_age",
    metric: "document_confirmed_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &AGE_GRAPH,
    label: "since it was confirmed",
    help: "When the bucket last said that the box's document is the present one",
    says: |it| format!("document not confirmed for {}", it.age()),
    todo: "agentctl status",
    covered_by: &["up", "status_age", "bucket_silence"],
};

static LEFT: What = What {
    area: Area::Document,
    name: "document_left",
    metric: "document_expires_timestamp",
    kind: Kind::Left,
    unit: Unit::Seconds,
    graph: &EXPIRY_GRAPH,
    label: "until it expires",
    help: "When the box's document expires",
    says: |it| {
        if it.number < 0.0 {
            format!("document expired {} ago", it.age())
        } else {
            format!("document expires in {}", it.age())
        }
    },
    todo: "publish a new version",
    covered_by: &[],
};

static VERSION: What = What {
    area: Area::Document,
    name: "document_version",
    metric: "document_version",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &VERSION_GRAPH,
    label: "version",
    help: "The version of the document that the box stands on",
    says: |it| format!("the document's version is {}", it.number),
    todo: "publish the right one",
    covered_by: &[],
};

static REFUSED: What = What {
    area: Area::Document,
    name: "document_refused",
    metric: "document_refused",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &TROUBLES,
    label: "newest document refused",
    help: "Whether the newest document in the bucket was refused",
    says: |it| it.first("the newest document was refused"),
    todo: "agentctl status; publish a mended one",
    covered_by: &[],
};

pub(super) fn readings(seen: Seen<'_>) -> Vec<Reading> {
    let document = seen.status.and_then(|status| status.document.as_ref());
    let refused = seen.status.map(|status| status.refused.is_some());
    vec![
        Reading::moment(&AGE, document.map(|document| document.confirmed))
            .warns(Range::at_most(patience(seen, 900, 3)))
            .alarms(Range::at_most(patience(seen, 3600, 6))),
        Reading::moment(&LEFT, document.map(|document| document.expires))
            .warns(Range::at_least(document.map_or(0.0, soon)))
            .alarms(Range::at_least(EXPIRED_CRITICAL)),
        Reading::count(&VERSION, document.map(|document| document.id.version)),
        Reading::flag(&REFUSED, refused)
            .warns(Range::at_most(0.0))
            .because(why_refused(seen)),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a document's life")]
fn soon(document: &DocumentStatus) -> f64 {
    let life = document.expires.as_second() - document.issued.as_second();
    EXPIRY_WARNING_SECS.min(life / 4).max(0) as f64
}

fn why_refused(seen: Seen<'_>) -> Vec<String> {
    let Some(refused) = seen.status.and_then(|status| status.refused.as_ref()) else {
        return Vec::new();
    };
    let which = refused.version.map_or_else(
        || "the newest document".to_owned(),
        |version| format!("version {version}"),
    );
    let mut details = vec![format!("{which} was refused: since {}", refused.since)];
    details.extend(refused.errors.iter().cloned());
    details
}
