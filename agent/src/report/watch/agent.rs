//! Readings of the daemon itself.

use jiff::Timestamp;

use super::run::TROUBLES;
use super::{Area, Graph, Kind, Range, Reading, Seen, Unit, Value, What};
use crate::report::Health;

static UP_GRAPH: Graph = Graph {
    name: "agentd_up",
    title: "node-agent: does it run?",
    axis: "1: yes, 0: no",
    info: "Whether agentd runs.",
};

static DAEMON: Graph = Graph {
    name: "agentd_daemon",
    title: "node-agent: silence of the daemon",
    axis: "seconds",
    info: "How long ago agentd wrote its status, which it does at least once a minute, and how long it has not known what this machine should be.",
};

static UPTIME_GRAPH: Graph = Graph {
    name: "agentd_uptime",
    title: "node-agent: uptime of the daemon",
    axis: "seconds",
    info: "How long ago agentd started.",
};

static MEMORY_GRAPH: Graph = Graph {
    name: "agentd_memory",
    title: "node-agent: memory",
    axis: "bytes",
    info: "What agentd holds in memory (resident).",
};

/// The status is written at least once a minute, but not while a run goes on.
const WRITTEN_WARNING: f64 = 180.0;
/// No step takes longer than 6 minutes, and the watchdog bites before.
const WRITTEN_CRITICAL: f64 = 900.0;
/// Ten times what it needs, half of what its unit lets it have.
const MEMORY_WARNING: f64 = 128.0 * 1024.0 * 1024.0;
/// A box that has just booted may take so long to learn what to be.
const WAITING_WARNING: f64 = 60.0;
/// No document at all for so long: nothing keeps this box.
const WAITING_CRITICAL: f64 = 900.0;

static UP: What = What {
    area: Area::Agent,
    name: "up",
    metric: "up",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &UP_GRAPH,
    label: "runs",
    help: "Whether agentd runs",
    says: |_| "agentd is not running".into(),
    todo: "systemctl start agentd",
    covered_by: &[],
};

static STATUS_AGE: What = What {
    area: Area::Agent,
    name: "status_age",
    metric: "status_written_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &DAEMON,
    label: "age of its status",
    help: "When agentd last wrote its status file",
    says: |it| format!("agentd has said nothing for {}", it.age()),
    todo: "systemctl status agentd",
    covered_by: &["up"],
};

static TROUBLE: What = What {
    area: Area::Agent,
    name: "trouble",
    metric: "trouble",
    kind: Kind::Gauge,
    unit: Unit::None,
    graph: &TROUBLES,
    label: "agentd cannot do its work",
    help: "Whether agentd cannot do its own work: its state cannot be read, a document not be written to disk",
    says: |it| it.first("agentd cannot do its work"),
    todo: "journalctl -u agentd",
    covered_by: &[],
};

static WAITING: What = What {
    area: Area::Agent,
    name: "waiting",
    metric: "waiting",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    graph: &DAEMON,
    label: "does not know what to be",
    help: "How long the box has not known what to be: no document, or not in it; 0: it knows",
    says: |it| format!("{} ({})", it.words("it does not know what to be"), it.age()),
    todo: "agentctl status",
    covered_by: &["up"],
};

static STARTED: What = What {
    area: Area::Agent,
    name: "uptime",
    metric: "start_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &UPTIME_GRAPH,
    label: "uptime",
    help: "When agentd started",
    says: |it| format!("agentd runs for {} only", it.age()),
    todo: "journalctl -u agentd",
    covered_by: &["up"],
};

static MEMORY: What = What {
    area: Area::Agent,
    name: "memory",
    metric: "resident_memory",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    graph: &MEMORY_GRAPH,
    label: "resident",
    help: "What agentd holds in memory (resident)",
    says: |it| format!("agentd holds {:.0} MiB", it.number / (1024.0 * 1024.0)),
    todo: "systemctl restart agentd",
    covered_by: &[],
};

pub(super) fn readings(seen: Seen<'_>, now: Timestamp) -> Vec<Reading> {
    let status = seen.status;
    let live = status.filter(|_| seen.running != Some(false));
    let agent = status.map(|status| &status.agent);
    let trouble = agent.and_then(|agent| agent.trouble.clone());
    // Where there is no status at all, that is said in its own words.
    let up = match (status, seen.running) {
        (Some(_), running) => running.or(Some(true)),
        (None, running) => running,
    };
    let mut waiting = Reading::new(&WAITING, status.map(|status| waiting(status, now)))
        .warns(Range::at_most(WAITING_WARNING));
    if status.is_some_and(|status| status.document.is_none()) {
        waiting = waiting.alarms(Range::at_most(WAITING_CRITICAL));
    }
    vec![
        Reading::flag(&UP, up).alarms(Range::at_least(1.0)),
        Reading::moment(&STATUS_AGE, status.map(|status| status.written))
            .warns(Range::at_most(WRITTEN_WARNING))
            .alarms(Range::at_most(WRITTEN_CRITICAL)),
        Reading::moment(&STARTED, live.map(|status| status.agent.started)),
        Reading::flag(&TROUBLE, agent.map(|agent| agent.trouble.is_some()))
            .alarms(Range::at_most(0.0))
            .because(trouble.into_iter().collect()),
        waiting.because(reasons(seen)),
        Reading::count(&MEMORY, live.and_then(|status| status.agent.memory_bytes))
            .warns(Range::at_most(MEMORY_WARNING)),
    ]
}

/// Since its start, or 0 where it knows.
#[expect(clippy::cast_precision_loss, reason = "seconds since a start")]
fn waiting(status: &crate::report::Status, now: Timestamp) -> Value {
    Value::Number(match status.health {
        Health::Waiting => {
            let since = now.as_second() - status.agent.started.as_second();
            since.max(0) as f64
        }
        Health::Converged | Health::Degraded => 0.0,
    })
}

fn reasons(seen: Seen<'_>) -> Vec<String> {
    seen.status
        .filter(|status| status.health == Health::Waiting)
        .map(|status| status.reasons.clone())
        .unwrap_or_default()
}
