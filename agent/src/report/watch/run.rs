//! Readings of runs and their steps, and of edits by others.

use jiff::Timestamp;

use super::{Area, Graph, Kind, Range, Reading, Seen, Unit, Value, What};
use crate::report::{Outcome, Problem, Ready, ServiceDown, Severity, Status, StepCounts, row};

static RUNS_GRAPH: Graph = Graph {
    name: "agentd_runs",
    title: "node-agent: runs",
    axis: "per ${graph_period}",
    info: "Runs, and the steps that they changed, repaired and failed at. Most runs find nothing to do.",
};

static TIME_GRAPH: Graph = Graph {
    name: "agentd_run_time",
    title: "node-agent: time of a run",
    axis: "seconds",
    info: "How long the latest run took.",
};

pub(super) static TROUBLES: Graph = Graph {
    name: "agentd_troubles",
    title: "node-agent: what is not as the document says",
    axis: "number",
    info: "Steps in trouble as of the latest run, other problems, a refused document, fights over files. All should be 0, but for warnings.",
};

static LATEST_GRAPH: Graph = Graph {
    name: "agentd_run_age",
    title: "node-agent: the latest run",
    axis: "seconds",
    info: "How long ago the latest run was, and how long the oldest failing step has been failing.",
};

static CHANGED_GRAPH: Graph = Graph {
    name: "agentd_change_age",
    title: "node-agent: the last change of this machine",
    axis: "seconds ago",
    info: "How long ago a run last changed something on this machine.",
};

/// A step that is tried again may well succeed; after so long it wakes somebody.
const FAILING_CRITICAL: f64 = 900.0;
/// A run is made at least once a minute, except while a long one goes on.
const LATEST_WARNING: f64 = 900.0;

/// A number of steps or problems that should be 0.
macro_rules! trouble {
    ($id:ident, $area:expr, $name:literal, $metric:literal, $label:literal, $help:literal, $says:expr, $todo:literal, $covered:expr) => {
        static $id: What = What {
            area: $area,
            name: $name,
            metric: $metric,
            kind: Kind::Gauge,
            unit: Unit::None,
            graph: &TROUBLES,
            label: $label,
            help: $help,
            says: $says,
            todo: $todo,
            covered_by: $covered,
        };
    };
}

trouble!(
    BROKEN,
    Area::Run,
    "steps_broken",
    "steps_broken",
    "broken",
    "Steps that failed and could not be put back: a person must look",
    |it| format!("broken: {}", it.first("a step")),
    "agentctl show last",
    &[]
);
trouble!(
    FAILED,
    Area::Run,
    "steps_failed",
    "steps_failed",
    "failed",
    "Steps that failed and are tried again",
    |it| format!("failed: {}", it.first("a step")),
    "agentctl status",
    &["failing_time"]
);
trouble!(
    PUT_BACK,
    Area::Run,
    "steps_put_back",
    "steps_put_back",
    "put back",
    "Steps that did not work and were put back",
    |it| format!("put back: {}", it.first("a step")),
    "agentctl show last",
    &[]
);
trouble!(
    QUARANTINED,
    Area::Run,
    "steps_quarantined",
    "steps_quarantined",
    "quarantined",
    "Steps that are not tried again until the document changes or a person says so",
    |it| format!("quarantined: {}", it.first("a step")),
    "agentctl status",
    &[]
);
trouble!(
    HELD,
    Area::Run,
    "steps_held",
    "steps_held",
    "held",
    "Steps that the guard holds until the document confirms them",
    |it| format!("held: {}", it.first("a step")),
    "agentctl plan, then confirm",
    &["ordered"]
);
trouble!(
    ORDERED,
    Area::Run,
    "ordered",
    "standing_orders",
    "standing orders",
    "Orders of persons that stand: nothing is changed here, no more visitors are taken, a version is taken back",
    |it| it.first("ordered by a person"),
    "agentctl status",
    &[]
);
trouble!(
    UNMET,
    Area::Run,
    "unmet",
    "unmet",
    "cannot be",
    "Other things asked for that cannot be on this box",
    |it| format!("cannot be: {}", it.first("something")),
    "agentctl status",
    &[]
);
trouble!(
    WARNINGS,
    Area::Run,
    "warnings",
    "warnings",
    "warnings",
    "What a person should know, though all asked for is there",
    |it| it.count("warning"),
    "agentctl status",
    &[]
);
trouble!(
    FIGHTS,
    Area::Drift,
    "drift_trouble",
    "drift_trouble",
    "fights",
    "Files that somebody rewrites again and again, or that cannot be watched",
    |it| it.first("somebody fights the agent"),
    "agentctl status",
    &[]
);

trouble!(
    SERVICES,
    Area::Run,
    "services_down",
    "services_down",
    "services down",
    "Services of this machine's sites and caches that do not run: nobody is served",
    |it| it.first("a service does not run"),
    "agentctl status",
    &[]
);
trouble!(
    CRON_DOWN,
    Area::Run,
    "cron_down",
    "cron_down",
    "cron down",
    "Whether cron does not run, and this machine has jobs",
    |it| it.first("cron does not run"),
    "systemctl start it",
    &[]
);

trouble!(
    NOT_READY,
    Area::Run,
    "not_ready",
    "products_not_ready",
    "products not ready",
    "Products of this machine whose smoke tests fail",
    |it| format!("not ready: {}", it.first("a product")),
    "agentctl status",
    &["services_down"]
);

static FAILING: What = What {
    area: Area::Run,
    name: "failing_time",
    metric: "failing",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    graph: &LATEST_GRAPH,
    label: "a step has failed",
    help: "How long the oldest failing step has been failing; 0: none is",
    says: |it| format!("failing for {}: {}", it.age(), it.words("a step")),
    todo: "agentctl status",
    covered_by: &[],
};

static TIME: What = What {
    area: Area::Run,
    name: "run_time",
    metric: "run_duration",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    graph: &TIME_GRAPH,
    label: "latest run",
    help: "How long the latest run took",
    says: |it| format!("the latest run took {}", it.age()),
    todo: "agentctl show last",
    covered_by: &[],
};

static LATEST: What = What {
    area: Area::Run,
    name: "run_age",
    metric: "run_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &LATEST_GRAPH,
    label: "latest run",
    help: "When the latest run began, also one that found nothing to do",
    says: |it| format!("no run was made for {}", it.age()),
    todo: "journalctl -u agentd",
    covered_by: &["up", "status_age", "trouble", "waiting"],
};

static CHANGED: What = What {
    area: Area::Run,
    name: "change_age",
    metric: "change_timestamp",
    kind: Kind::Age,
    unit: Unit::Seconds,
    graph: &CHANGED_GRAPH,
    label: "last change",
    help: "When the last run began that changed something on this box",
    says: |it| format!("something was changed {} ago", it.age()),
    todo: "agentctl show last",
    covered_by: &[],
};

/// What is counted from the start of the daemon on.
macro_rules! counter {
    ($id:ident, $area:expr, $name:literal, $unit:expr, $graph:expr, $label:literal, $help:literal, $noun:literal) => {
        static $id: What = What {
            area: $area,
            name: $name,
            metric: $name,
            kind: Kind::Counter,
            unit: $unit,
            graph: $graph,
            label: $label,
            help: $help,
            says: |it| it.count($noun),
            todo: "agentctl history",
            covered_by: &[],
        };
    };
}

counter!(
    RUNS,
    Area::Run,
    "runs",
    Unit::None,
    &RUNS_GRAPH,
    "runs",
    "Runs",
    "run"
);
counter!(
    CHANGES,
    Area::Run,
    "changes",
    Unit::None,
    &RUNS_GRAPH,
    "changed steps",
    "Steps changed because the document asked for it",
    "change"
);
counter!(
    REPAIRS,
    Area::Drift,
    "repairs",
    Unit::None,
    &RUNS_GRAPH,
    "repaired steps",
    "Steps repaired because somebody else had changed them",
    "repair"
);
counter!(
    FAILURES,
    Area::Run,
    "failures",
    Unit::None,
    &RUNS_GRAPH,
    "failed steps",
    "Failures of steps, each try counted",
    "failure"
);
counter!(
    REFUSALS,
    Area::Document,
    "refusals",
    Unit::None,
    &RUNS_GRAPH,
    "refused documents",
    "Documents that were refused",
    "refused document"
);

pub(super) fn readings(seen: Seen<'_>, now: Timestamp) -> Vec<Reading> {
    let status = seen.status;
    let steps = status.map(|status| status.steps);
    let counters = status.map(|status| status.counters);
    let known = |count: fn(StepCounts) -> u64| steps.map(count);
    let should_be_none = |what, number| Reading::count(what, number).warns(Range::at_most(0.0));
    let because = |outcome| status.map_or_else(Vec::new, |status| because(status, outcome));
    let failing = [because(Outcome::Failed), because(Outcome::Broken)].concat();
    let latest = status.and_then(|status| status.latest_run);
    let unmet = status.map(unmet);
    let down = status.map(down);
    vec![
        Reading::count(&BROKEN, known(|steps| steps.broken))
            .alarms(Range::at_most(0.0))
            .because(because(Outcome::Broken)),
        Reading::count(
            &SERVICES,
            down.as_ref().map(|(serving, _)| serving.len() as u64),
        )
        .alarms(Range::at_most(0.0))
        .because(
            down.as_ref()
                .map_or_else(Vec::new, |(serving, _)| serving.clone()),
        ),
        Reading::count(
            &NOT_READY,
            status.map(|status| not_ready(status).len() as u64),
        )
        .alarms(Range::at_most(0.0))
        .because(status.map_or_else(Vec::new, not_ready)),
        Reading::new(&FAILING, steps.map(|steps| failing_for(steps, now)))
            .alarms(Range::at_most(FAILING_CRITICAL))
            .because(failing),
        should_be_none(&FAILED, known(|steps| steps.failed)).because(because(Outcome::Failed)),
        should_be_none(&PUT_BACK, known(|steps| steps.put_back)).because(because(Outcome::PutBack)),
        should_be_none(&QUARANTINED, known(|steps| steps.quarantined))
            .because(because(Outcome::Quarantined)),
        should_be_none(&HELD, known(|steps| steps.held)).because(because(Outcome::Held)),
        should_be_none(&ORDERED, status.map(|status| ordered(status).len() as u64))
            .because(status.map_or_else(Vec::new, ordered)),
        should_be_none(&CRON_DOWN, down.as_ref().map(|(_, cron)| cron.len() as u64))
            .because(down.map_or_else(Vec::new, |(_, cron)| cron)),
        should_be_none(&UNMET, unmet.as_ref().map(|unmet| unmet.len() as u64))
            .because(unmet.unwrap_or_default()),
        should_be_none(&FIGHTS, status.map(|status| status.drift.len() as u64))
            .because(status.map_or_else(Vec::new, |status| status.drift.clone())),
        Reading::count(&WARNINGS, status.map(warnings)),
        Reading::millis(&TIME, latest.map(|latest| latest.took_ms)),
        Reading::moment(&LATEST, latest.map(|latest| latest.started))
            .warns(Range::at_most(LATEST_WARNING)),
        Reading::moment(&CHANGED, status.and_then(|status| status.changed)),
        Reading::count(&RUNS, counters.map(|counters| counters.runs)),
        Reading::count(&CHANGES, counters.map(|counters| counters.changes)),
        Reading::count(&REPAIRS, counters.map(|counters| counters.repairs)),
        Reading::count(&FAILURES, counters.map(|counters| counters.failures)),
        Reading::count(&REFUSALS, counters.map(|counters| counters.refusals)),
    ]
}

/// The orders that stand, each with its reason first.
fn ordered(status: &Status) -> Vec<String> {
    let orders = [("on hold", &status.hold), ("drained", &status.drain)];
    let standing = orders.into_iter().filter_map(|(what, order)| {
        let order = order.as_ref()?;
        Some(format!("{what} ({}): {}", order.reason, order.fixed()))
    });
    let undone = status.undone.as_ref();
    let undone =
        undone.map(|undone| format!("version {} taken back: {}", undone.version, undone.line()));
    standing.chain(undone).collect()
}

/// The products whose smoke tests fail, each with why.
fn not_ready(status: &Status) -> Vec<String> {
    let failing = status
        .readiness
        .iter()
        .filter(|one| one.ready == Ready::False);
    failing
        .map(|one| format!("{}: {}", one.product, one.reason))
        .collect()
}

/// What is said of the services that serve people and do not run, and of cron.
fn down(status: &Status) -> (Vec<String>, Vec<String>) {
    let (cron, serving): (Vec<_>, Vec<_>) = status
        .services
        .iter()
        .partition(|down| down.serves == row::Kind::Cron);
    let said = |downs: Vec<&ServiceDown>| downs.iter().map(|down| down.message.clone()).collect();
    (said(serving), said(cron))
}

#[expect(clippy::cast_precision_loss, reason = "seconds since a failure")]
fn failing_for(steps: StepCounts, now: Timestamp) -> Value {
    let since = |at: Timestamp| (now.as_second() - at.as_second()).max(1) as f64;
    Value::Number(steps.failing_since.map_or(0.0, since))
}

/// The steps that ended so, each with what it said.
fn because(status: &Status, outcome: Outcome) -> Vec<String> {
    let last = status.last_run.iter().flat_map(|run| &run.steps);
    let told: Vec<_> = last
        .filter(|step| step.outcome == outcome)
        .map(|step| {
            format!(
                "{}: {}",
                step.step,
                step.error.as_deref().unwrap_or_default()
            )
        })
        .collect();
    if !told.is_empty() {
        return told;
    }
    // A run that only found what was known already is not kept; the problems tell of it.
    let all = failures(status);
    let unmet = all.len().saturating_sub(in_trouble(status));
    all.into_iter().skip(unmet).map(told_of).collect()
}

/// Problems that are no step's: those of the run stand first, then one for each step in trouble.
fn unmet(status: &Status) -> Vec<String> {
    let all = failures(status);
    let unmet = all.len().saturating_sub(in_trouble(status));
    all.into_iter().take(unmet).map(told_of).collect()
}

fn in_trouble(status: &Status) -> usize {
    usize::try_from(status.steps.all()).unwrap_or(usize::MAX)
}

fn failures(status: &Status) -> Vec<&Problem> {
    let failures = |problem: &&Problem| problem.severity == Severity::Failure;
    status.problems.iter().filter(failures).collect()
}

fn told_of(problem: &Problem) -> String {
    match &problem.step {
        Some(step) => format!("{step}: {}", problem.message),
        None => format!("{}: {}", problem.kind, problem.message),
    }
}

fn warnings(status: &Status) -> u64 {
    let warnings = |problem: &&Problem| problem.severity == Severity::Warning;
    status.problems.iter().filter(warnings).count() as u64
}
