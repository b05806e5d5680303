//! Readings of the bucket.

use super::{Area, Graph, Kind, Range, Reading, Seen, Unit, What, patience};

static SILENCE_GRAPH: Graph = Graph {
    name: "agentd_bucket_silence",
    title: "node-agent: the bucket's last good answer",
    axis: "seconds ago",
    info: "How long ago the bucket last answered as it should. Grows while the bucket is away.",
};

static LATENCY_GRAPH: Graph = Graph {
    name: "agentd_bucket_latency",
    title: "node-agent: latency of the bucket",
    axis: "seconds",
    info: "How long the last good request to the bucket took.",
};

static FAILURES_GRAPH: Graph = Graph {
    name: "agentd_bucket_failures",
    title: "node-agent: failures of the bucket",
    axis: "failures in a row",
    info: "How many requests to the bucket have failed since its last good answer.",
};

static POLLS_GRAPH: Graph = Graph {
    name: "agentd_polls",
    title: "node-agent: polls of the bucket",
    axis: "polls / ${graph_period}",
    info: "How often the bucket was asked, and how often it had no good answer.",
};

static SILENCE: What = What {
    area: Area::Bucket,
    name: "bucket_silence",
    metric: "bucket_last_answer_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &SILENCE_GRAPH,
    label: "silence",
    help: "When the bucket last answered as it should",
    says: |it| format!("bucket silent for {}", it.age()),
    todo: "agentctl status",
    covered_by: &["up", "status_age"],
};

static LATENCY: What = What {
    area: Area::Bucket,
    name: "bucket_latency",
    metric: "bucket_latency",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    graph: &LATENCY_GRAPH,
    label: "last request",
    help: "How long the last good request to the bucket took",
    says: |it| format!("the bucket takes {:.1} s to answer", it.number),
    todo: "look at the network",
    covered_by: &[],
};

static FAILURES: What = What {
    area: Area::Bucket,
    name: "bucket_failures",
    metric: "bucket_failures_in_a_row",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &FAILURES_GRAPH,
    label: "failures in a row",
    help: "How many requests in a row had no good answer",
    says: |it| format!("{} to the bucket failed in a row", it.count("request")),
    todo: "agentctl status",
    covered_by: &["bucket_silence"],
};

static POLLS: What = What {
    area: Area::Bucket,
    name: "polls",
    metric: "polls",
    kind: Kind::Counter,
    unit: Unit::None,
    graph: &POLLS_GRAPH,
    label: "polls",
    help: "Polls of the bucket",
    says: |it| it.count("poll"),
    todo: "",
    covered_by: &[],
};

static FAILED_POLLS: What = What {
    area: Area::Bucket,
    name: "failed_polls",
    metric: "failed_polls",
    kind: Kind::Counter,
    unit: Unit::None,
    graph: &POLLS_GRAPH,
    label: "without a good answer",
    help: "Polls of the bucket that had no good answer",
    says: |it| it.count("failed poll"),
    todo: "agentctl status",
    covered_by: &[],
};

pub(super) fn readings(seen: Seen<'_>) -> Vec<Reading> {
    let status = seen.status;
    let bucket = status.map(|status| &status.bucket);
    let counters = status.map(|status| status.counters);
    // One that never answered has been silent since the start.
    let answered = status.map(|status| status.bucket.last_answer.unwrap_or(status.agent.started));
    let why: Vec<_> = bucket
        .and_then(|bucket| bucket.error.clone())
        .into_iter()
        .collect();
    vec![
        Reading::moment(&SILENCE, answered)
            .warns(Range::at_most(patience(seen, 300, 3)))
            .alarms(Range::at_most(patience(seen, 3600, 6)))
            .because(why.clone()),
        Reading::millis(&LATENCY, bucket.and_then(|bucket| bucket.latency_ms)),
        Reading::count(&FAILURES, bucket.map(|bucket| bucket.failures.into())).because(why),
        Reading::count(&POLLS, counters.map(|counters| counters.polls)),
        Reading::count(
            &FAILED_POLLS,
            counters.map(|counters| counters.failed_polls),
        ),
    ]
}
