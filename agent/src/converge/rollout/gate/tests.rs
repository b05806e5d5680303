use super::*;

const BAKE: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_mins(30);

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// What `server` says, written `at` minutes past ten; `more` replaces or adds fields.
fn report(server: &str, at: u32, more: &str) -> NodeReport {
    let mut report: serde_json::Value = serde_json::from_str(&format!(
        r#"{{"format": 1, "written": "2026-11-30T10:{at:02}:00Z", "server": "{server}", "found_by": "", "machine": {{}},
            "agent": {{"version": "0.1.0", "started": "2026-11-30T09:00:00Z"}}, "document": null, "health": "converged", "alarms": [],
            "steps": {{}}, "last_run": null, "stands_on": 8, "well_since": "2026-11-30T10:00:00Z"}}"#
    ))
    .unwrap();
    let more: serde_json::Value = serde_json::from_str(more).unwrap();
    for (key, value) in more.as_object().unwrap() {
        report[key] = value.clone();
    }
    serde_json::from_value(report).unwrap()
}

struct Watch {
    gate: Gate,
    start: Instant,
}

impl Watch {
    fn over(servers: &[&str]) -> Self {
        let start = Instant::now();
        let servers = servers.iter().map(|server| name(server)).collect();
        Self {
            gate: Gate::new(8, servers, BAKE, PATIENCE, start),
            start,
        }
    }

    fn at(&self, minutes: u64) -> Instant {
        self.start + Duration::from_mins(minutes)
    }

    fn hear(&mut self, minutes: u32, server: &str, more: &str) {
        let now = self.at(minutes.into());
        self.gate.take(&report(server, minutes, more), now);
    }

    fn decide(&self, minutes: u64) -> Decision {
        self.gate.decide(self.at(minutes))
    }
}

fn waits(decision: &Decision, what: &str) {
    assert!(
        matches!(decision, Decision::Wait(why) if why.contains(what)),
        "{decision:?}"
    );
}

fn halts(decision: &Decision, what: &str) {
    assert!(
        matches!(decision, Decision::Halt(why) if why.contains(what)),
        "{decision:?}"
    );
}

#[test]
fn all_must_stand_well_for_the_bake_time() {
    let mut watch = Watch::over(&["web-1", "web-2"]);
    waits(&watch.decide(0), "word of web-1, web-2");
    watch.hear(1, "web-1", r#"{"well_since": "2026-11-30T10:01:00Z"}"#);
    waits(&watch.decide(1), "word of web-2");
    for minutes in [3, 5, 7] {
        watch.hear(
            minutes,
            "web-1",
            r#"{"well_since": "2026-11-30T10:01:00Z"}"#,
        );
        watch.hear(
            minutes,
            "web-2",
            r#"{"well_since": "2026-11-30T10:03:00Z"}"#,
        );
    }
    waits(&watch.decide(7), "web-2 (well, 60 s to go)");
    assert!(matches!(watch.decide(8), Decision::Open(_)));
}

#[test]
fn who_was_unwell_in_between_begins_anew_though_nobody_saw_it() {
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(0, "web-1", "{}");
    watch.hear(4, "web-1", r#"{"well_since": "2026-11-30T10:03:00Z"}"#);
    waits(&watch.decide(6), "web-1");
    watch.hear(8, "web-1", r#"{"well_since": "2026-11-30T10:03:00Z"}"#);
    assert!(matches!(watch.decide(9), Decision::Open(_)));
}

#[test]
fn silence_is_not_health() {
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(0, "web-1", r#"{"well_since": "2026-11-30T09:58:00Z"}"#);
    // Nothing more of it: it was to report each two and a half minutes.
    waits(&watch.decide(8), "word of web-1");
    halts(&watch.decide(31), "web-1 did not report");
}

#[test]
fn a_new_watcher_takes_the_servers_own_word_for_how_long_it_stands() {
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(0, "web-1", r#"{"well_since": "2026-11-30T09:54:00Z"}"#);
    assert!(matches!(watch.decide(0), Decision::Open(_)));
}

#[test]
fn a_server_that_cannot_live_with_it_halts_at_once() {
    for (says, why) in [
        (
            r#"{"health": "degraded", "steps": {"quarantined": 1}, "alarms": ["sites: no answer"]}"#,
            "web-1 could not take it: sites: no answer",
        ),
        (
            r#"{"stands_on": 7, "refused": {"version": 8, "since": "2026-11-30T10:00:00Z", "error": "unknown field"}}"#,
            "web-1 refuses it: unknown field",
        ),
    ] {
        let mut watch = Watch::over(&["web-1", "web-2"]);
        watch.hear(0, "web-1", says);
        halts(&watch.decide(0), why);
    }
}

#[test]
fn one_that_is_unwell_is_given_a_while() {
    let unwell = r#"{"health": "degraded", "alarms": ["httpd.service is down"]}"#;
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(0, "web-1", unwell);
    waits(&watch.decide(1), "httpd.service is down");
    watch.hear(2, "web-1", unwell);
    watch.hear(5, "web-1", unwell);
    waits(&watch.decide(5), "httpd.service is down");
    halts(
        &watch.decide(6),
        "web-1 is not well with it: httpd.service is down",
    );
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(
        0,
        "web-1",
        r#"{"readiness": [{"product": "shop", "ready": "false", "reason": "502", "release": null}]}"#,
    );
    waits(&watch.decide(0), "shop is not ready: 502");
}

#[test]
fn who_has_not_taken_it_is_missing_and_who_went_on_ends_it() {
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(0, "web-1", r#"{"stands_on": 7}"#);
    waits(&watch.decide(1), "word of web-1");
    watch.hear(3, "web-1", r#"{"stands_on": 9}"#);
    assert_eq!(watch.decide(3), Decision::Superseded);
}

#[test]
fn a_server_that_a_person_holds_is_not_waited_for_and_proves_nothing() {
    const HELD: &str = r#"{"health": "degraded", "alarms": ["nothing is changed on this box"],
        "hold": {"format": 1, "since": "2026-11-30T10:00:00Z", "until": "2026-11-30T11:00:00Z", "by": "alice", "reason": "new disks"}}"#;
    let mut watch = Watch::over(&["web-1", "web-2"]);
    watch.hear(0, "web-1", HELD);
    watch.hear(0, "web-2", "{}");
    waits(&watch.decide(1), "web-2 (well");
    watch.hear(5, "web-2", "{}");
    // Not even that it is silent, while it is held, nor for how long.
    let opened = watch.decide(6);
    let Decision::Open(evidence) = &opened else {
        panic!("{opened:?}")
    };
    assert!(
        evidence.starts_with("web-2 stood well")
            && evidence.contains("nobody waited for web-1 (on hold until"),
        "{evidence}"
    );
    // All held: nothing was seen, however long that lasts; it is no failure either.
    let mut watch = Watch::over(&["web-1"]);
    watch.hear(0, "web-1", HELD);
    waits(
        &watch.decide(45),
        "web-1 (on hold until 2026-11-30 11:00:00Z, by alice: new disks)",
    );
    // When the hold has ended, it is waited for as any other.
    halts(&watch.decide(61), "web-1 did not report");
}

#[test]
fn a_server_that_broke_and_is_held_since_halts_the_version_all_the_same() {
    let mut watch = Watch::over(&["web-1", "web-2"]);
    watch.hear(
        0,
        "web-1",
        r#"{"health": "degraded", "steps": {"put_back": 1}, "alarms": ["sites: no answer"],
            "hold": {"format": 1, "since": "2026-11-30T10:00:00Z", "until": "2026-11-30T11:00:00Z", "by": "alice", "reason": "a look"}}"#,
    );
    halts(&watch.decide(0), "web-1 could not take it");
}
